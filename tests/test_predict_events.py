import io

import nibabel
import numpy as np
import pandas as pd
import pytest

import skfmri
from skfmri.cli import main
from skfmri.evaluation import linear_baseline
from skfmri.persistence import model_card, training_record

GRID, N_VOLUMES, T_R = (5, 6, 7), 60, 1.5


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two runs with events; the header of the first says how long a volume takes."""
    folder, rng = tmp_path_factory.mktemp("events"), np.random.default_rng(0)
    for number in range(2):
        data = rng.normal(100, 5, (*GRID, N_VOLUMES)).astype(np.float32)
        image = nibabel.Nifti1Image(data, np.eye(4))
        image.header.set_xyzt_units("mm", "sec" if number == 0 else "unknown")
        image.header.set_zooms((1, 1, 1, T_R))
        nibabel.save(image, folder / f"run{number}.nii.gz")
        events = {"onset": 5 + 8 * np.arange(8) + number, "duration": 1.0}
        table = pd.DataFrame(events | {"trial_type": ["cat", "house"] * 4})
        table.to_csv(folder / f"run{number}_events.tsv", sep="\t", index=False)
    return folder


@pytest.fixture
def saved(tmp_path):
    """Save a linear model of samples; return its path."""

    def save(samples):
        steps = [("slab", skfmri.NiftiSlabRotator(0, slab=(2, 5))), ("last", None)]
        model = linear_baseline(skfmri.DecodingPipeline(steps)).fit(samples, samples.y)
        skfmri.save(model, tmp_path / "model.skfmri", samples=samples)
        return tmp_path / "model.skfmri"

    return save


def runs_of(study, number=0):
    return skfmri.NiftiSamples(study / f"run{number}.nii.gz")


def events_of(study, *numbers):
    return [str(study / f"run{number}_events.tsv") for number in numbers]


def predicted(argv, capsys):
    assert main(["predict", *map(str, argv)]) == 0
    return pd.read_csv(io.StringIO(capsys.readouterr().out))


def refused(argv, capsys):
    assert main(["predict", *map(str, argv)]) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    return error


@pytest.mark.parametrize("method", ["lss", "lsa"])
def test_trials_of_new_runs_are_estimated_as_in_the_training(study, saved, method, capsys):
    options = {"method": method, "start": 0.75}

    def trials_of(number):
        runs = skfmri.clean_runs(runs_of(study, number), high_pass=0.01, t_r=T_R)
        return skfmri.estimate_trials(runs, events_of(study, number), **options)

    path = saved(trials_of(0))
    table = predicted([path, study / "run1.nii.gz", "--events", *events_of(study, 1)], capsys)
    columns = ["image", "trial", "onset", "duration", "trial_type", "predicted", "p_cat", "p_house"]
    assert table.columns.tolist() == columns
    assert table["trial"].tolist() == list(range(8))
    assert table["onset"].tolist() == [6 + 8 * i for i in range(8)]
    assert table["trial_type"].tolist() == ["cat", "house"] * 4
    expected = skfmri.load(path).predict_proba(trials_of(1))
    np.testing.assert_allclose(table[["p_cat", "p_house"]], expected, atol=1e-6)


def test_trials_that_their_run_does_not_show_have_no_row(study, saved, tmp_path, capsys):
    path = saved(skfmri.estimate_trials(runs_of(study), events_of(study, 0)))
    events = pd.read_csv(events_of(study, 1)[0], sep="\t").drop(columns="trial_type")
    events.loc[2, "onset"] = 1e3
    events.to_csv(tmp_path / "events.tsv", sep="\t", index=False)
    images = [study / "run0.nii.gz", study / "run1.nii.gz"]
    argv = [path, *images, "--events", *events_of(study, 0), tmp_path / "events.tsv"]
    assert main(["predict", *map(str, argv), "--t-r", "1.5"]) == 0
    captured = capsys.readouterr()
    table = pd.read_csv(io.StringIO(captured.out))
    assert table["image"].tolist() == [str(images[0])] * 8 + [str(images[1])] * 7
    assert table["trial"].tolist() == [*range(8), 0, 1, *range(3, 8)]
    warnings = captured.err.strip().splitlines()
    assert "1 of 16 trials begin before" in warnings[0]
    assert f"trained on 8 of these 15 trials: {images[0]}: 0 to 7. Predictions" in warnings[1]


def test_conditions_of_new_runs_have_a_row_for_each_label(study, saved, capsys):
    runs = skfmri.clean_runs(runs_of(study), standardize=False)
    path = saved(skfmri.estimate_conditions(runs, events_of(study, 0)))
    argv = [path, study / "run1.nii.gz", "--events", *events_of(study, 1)]
    table = predicted(argv, capsys)
    runs = skfmri.clean_runs(runs_of(study, 1), standardize=False)
    conditions = skfmri.estimate_conditions(runs, events_of(study, 1), t_r=T_R)
    assert table["trial_type"].tolist() == conditions.y.tolist() == ["cat", "house"]
    expected = skfmri.load(path).predict_proba(conditions)
    np.testing.assert_allclose(table[["p_cat", "p_house"]], expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["trials", "blocks"])
def test_ready_made_maps_are_taken_as_they_are(study, saved, tmp_path, kind, capsys):
    if kind == "trials":
        samples = skfmri.estimate_trials(skfmri.clean_runs(runs_of(study)), events_of(study, 0))
    else:
        samples = runs_of(study)
        samples.y = np.repeat(["cat", "house"], 30)
        samples = skfmri.average_blocks(samples, np.arange(60) // 10)
    path = saved(samples)
    image = nibabel.Nifti1Image(np.moveaxis(np.asarray(samples), 0, -1), samples.affine)
    nibabel.save(image, tmp_path / "maps.nii")
    assert main(["predict", str(path), str(tmp_path / "maps.nii"), "--maps"]) == 0
    captured = capsys.readouterr()
    table = pd.read_csv(io.StringIO(captured.out))
    expected = skfmri.load(path).predict_proba(samples)
    np.testing.assert_allclose(table[["p_cat", "p_house"]], expected, atol=1e-6)
    assert f"was trained on {len(samples)} of these {len(samples)} volumes" in captured.err


def test_the_file_says_how_the_samples_were_made(study, saved):
    runs = skfmri.clean_runs(runs_of(study))
    path = saved(skfmri.estimate_trials(runs, events_of(study, 0), start=0.5))
    record = training_record(path)["samples"]
    settings = {"method": "lss", "hrf_model": "glover", "t_r": [T_R], "start": [0.5]}
    assert record["derivations"] == {"estimate_trials": settings}
    assert record["cleaning"]["standardize"]
    assert record["n_volumes"] == 8
    assert record["files"] == [{"name": "run0.nii.gz", "n_volumes": 60}]
    card = model_card(path)
    assert "estimate\\_trials with" not in card
    assert "estimates of single trials by estimate_trials with method=lss" in card
    assert "t_r=1.5 s and start=0.5 s" in card
    samples = runs_of(study)
    samples.y = np.repeat(["cat", "house"], 30)
    path = saved(skfmri.average_blocks(samples, np.arange(60) // 10))
    assert training_record(path)["samples"]["derivations"] == {"average_blocks": {}}
    assert "the means of the volumes of blocks" in model_card(path)


def test_other_ways_are_refused_with_the_right_one(study, saved, capsys):
    trials = skfmri.estimate_trials(skfmri.clean_runs(runs_of(study)), events_of(study, 0))
    new, events = study / "run1.nii.gz", events_of(study, 1)
    path = saved(trials)
    assert "Add --events FILE, one per image" in refused([path, new], capsys)
    assert "Found 1 table after --events for 2" in refused(
        [path, new, new, "--events", *events], capsys
    )
    assert "does not go with" in refused(
        [path, new, "--already-clean", "--events", *events], capsys
    )
    found = refused([path, new, "--maps", "--clean", "--start", "1"], capsys)
    assert "Leave out --start and --clean with --maps." in found
    found = refused([path, new, "--events", str(new)], capsys)
    assert "cannot be read as a table of events" in found
    path = saved(skfmri.estimate_trials(runs_of(study), events_of(study, 0)))
    assert "--start must be a number" in refused(
        [path, new, "--events", *events, "--start", "nan"], capsys
    )
    confounds = np.random.default_rng(0).normal(size=(60, 2))
    runs = skfmri.clean_runs(runs_of(study), confounds=confounds)
    path = saved(skfmri.estimate_trials(runs, events_of(study, 0)))
    found = refused([path, new, "--events", *events], capsys)
    assert "confounds. The command line has none for these images" in found
    samples = runs_of(study)
    samples.y = np.repeat(["cat", "house"], 30)
    path = saved(skfmri.average_blocks(samples, np.arange(60) // 10))
    assert "Average the volumes of each block" in refused([path, new], capsys)
    path = saved(samples)
    found = refused([path, new, "--events", *events], capsys)
    assert "trained on single volumes. Leave out --events" in found


def test_runs_of_several_times_need_those_of_the_images(study, saved, capsys):
    both = skfmri.NiftiSamples([study / "run0.nii.gz", study / "run1.nii.gz"])
    options = {"t_r": [1.5, 2.0], "start": [0.0, 1.0]}
    path = saved(skfmri.estimate_trials(both, events_of(study, 0, 1), **options))
    argv = [path, study / "run1.nii.gz", "--events", *events_of(study, 1)]
    assert "several times between volumes: 1.5, 2 s" in refused(argv, capsys)
    assert "several times: 0, 1 s. Give that" in refused([*argv, "--t-r", "1.5"], capsys)
    table = predicted([*argv, "--t-r", "1.5", "--start", "1"], capsys)
    trials = skfmri.estimate_trials(runs_of(study, 1), events_of(study, 1), t_r=1.5, start=1.0)
    expected = skfmri.load(path).predict_proba(trials)
    np.testing.assert_allclose(table[["p_cat", "p_house"]], expected, atol=1e-6)
