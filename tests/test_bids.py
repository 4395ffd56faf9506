"""Runs of BIDS datasets become samples whose labels and times can be checked by hand."""

import json
import shutil
import warnings
from pathlib import Path

import joblib
import nibabel
import numpy as np
import pandas as pd
import pytest
from nilearn._utils.data_gen import create_fake_bids_dataset
from nilearn.interfaces.fmriprep import load_confounds
from nilearn.maskers import NiftiMasker

from skfmri.cli import main
from skfmri.datasets import load_bids_runs, load_bids_samples
from skfmri.preprocessing import clean_runs
from tests.bids_trees import write_events, write_image, write_study


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFMRI_CACHE", str(tmp_path / "store"))


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path / "study")


def labels(study, **options):
    """Labels of the volumes, as one letter each."""
    samples = load_bids_runs(study, task="see", **options).samples
    return "".join(name[:1] or "." for name in samples.y)


def events(study, *rows):
    write_events(study / "sub-01/func/sub-01_task-see_events.tsv", rows)


def sidecar(study, **fields):
    path = study / "sub-01/func/sub-01_task-see_bold.json"
    path.write_text(json.dumps(fields))
    return path


class TestLabels:
    def test_of_events_that_begin_when_a_volume_does(self, study):
        # Volumes represent 1, 3, 5 ... s, and show what happened 4 s earlier: -3, -1, 1 ... 35 s.
        assert labels(study, shift=4) == "..fffffhhhhhfffff..."

    def test_of_events_that_begin_within_a_volume_leave_out_transitions(self, study):
        # What volumes show is now at 0, 2 ... 30 s: there are borders at 0, 10, 20 and 30 s.
        assert labels(study, shift=3) == "..ffff.hhhh.ffff...."

    def test_keep_transitions_if_asked_with_what_was_in_the_middle(self, study):
        assert labels(study, shift=3, keep_transitions=True) == ".fffffhhhhhfffff...."

    def test_default_to_a_delay_of_4_and_a_half_seconds(self, study):
        assert labels(study) == labels(study, shift=4.5)
        # At 0.5, 2.5, 4.5, 6.5 and 8.5 s; the first is nearer than 1 s to the onset.
        assert labels(study) == "...ffff.hhhh.ffff..."

    def test_follow_the_time_that_slice_timing_gives(self, study):
        # Slices at 0 to 1 s: a volume represents its half second, so 0.5 - 3.5 = -3 s and so on.
        sidecar(study, SliceTiming=[0.0, 0.5, 1.0])
        assert labels(study, shift=3.5) == labels(study, shift=3.5, t_r=2.0)
        assert labels(study, shift=3.5) == "..fffffhhhhhfffff..."

    def test_follow_the_start_time_before_slice_timing(self, study):
        sidecar(study, SliceTiming=[0.0, 0.5, 1.0], StartTime=2.0)
        assert labels(study, shift=5) == "..fffffhhhhhfffff..."

    def test_are_missing_if_no_event_has_one(self, study):
        events(study, (0, 10, "face"), (10, 10, None), (20, 10, "house"))
        assert labels(study, shift=4) == "..fffff.....hhhhh..."

    def test_of_other_columns(self, study):
        columns = ("onset", "duration", "trial_type", "rank")
        rows = [(0, 10, "x", 3), (10, 10, "x", "n/a"), (20, 10, "x", 1)]
        write_events(study / "sub-01/func/sub-01_task-see_events.tsv", rows, columns)
        assert labels(study, shift=4, label="rank") == "..33333.....11111..."

    def test_join_short_stimuli_of_a_block_if_asked(self, study):
        onsets = [*range(0, 10, 2), *range(20, 30, 2)]
        events(study, *[(onset, 0.5, "face" if onset < 10 else "house") for onset in onsets])
        with pytest.raises(
            ValueError, match=r"None of 10 events has a volume.* 2 s.* max_gap=1.5 "
        ):
            labels(study)
        # From 0 to 8.5 and from 20 to 28.5 s.
        assert labels(study, shift=4, max_gap=1.5) == "..ffff......hhhh...."

    def test_of_events_that_are_made_longer(self, study):
        events(study, (0, 0, "face"), (20, None, "house"))
        assert labels(study, shift=4, duration=10.0) == "..fffff.....hhhhh..."

    def test_of_touching_events_of_one_kind_know_no_transition(self, study):
        events(study, (0, 5, "face"), (5, 5, "face"))
        assert labels(study, shift=4) == "..fffff............."

    def test_ignore_events_of_other_classes(self, study):
        events(study, (0, 10, "face"), (3, 1, "key"), (10, 10, "house"))
        assert labels(study, shift=4, classes=["face", "house"]) == "..fffffhhhhh........"

    def test_name_the_event_of_each_volume(self, study):
        found = load_bids_runs(study, task="see", shift=4)
        assert found.blocks.tolist() == [-1] * 2 + [0] * 5 + [1] * 5 + [2] * 5 + [-1] * 3


def test_overlapping_events_are_named_by_file_and_row(study):
    events(study, (0, 10, "face"), (10, 10, "house"), (15, 3, "cat"))
    message = r"sub-01_task-see_events.tsv .* rows 2 \(house\) and 3 \(cat\).*overlap_tolerance=3 "
    with pytest.raises(ValueError, match=message):
        labels(study)
    events(study, (0, 10.008, "face"), (10, 10, "house"))
    assert labels(study, shift=4) == "..fffffhhhhh........"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "kind"}, r"events.tsv has no column 'kind'. Its columns are 'onset', 'dura"),
        ({"task": "hear"}, "has task-hear. Those found have task-see"),
        ({"space": "MNI"}, "has space-MNI. Those found have no space"),
        ({"subjects": ["02", "01"]}, "has sub-02. Those found have sub-01"),
        ({"derivatives": "fmriprep"}, "There is no folder .*study/fmriprep or .*derivatives"),
        ({"classes": ["cat"]}, "classes contains 'cat', but .* has 'face', 'house'"),
        ({"classes": "face"}, "classes must be a list of labels"),
        ({"groups": "session"}, "_bold.nii.gz has no session"),
        ({"groups": "site"}, "groups must be one of run, subject, session"),
        ({"shift": "4"}, "shift must be a number of seconds"),
        ({"duration": -1.0}, "duration must be a number of seconds"),
        ({"t_r": 0}, "t_r must be a number of seconds"),
        ({"confounds": "simple"}, "sub-01_task-see_desc-confounds_timeseries.tsv"),
        ({"confounds": "simple", "clean": False}, "confounds= has no effect with clean=False"),
        ({"high_pass": 0.01, "clean": False}, "high_pass= has no effect with clean=False"),
    ],
)
def test_what_does_not_fit_is_refused(study, options, message):
    with pytest.raises(ValueError, match=message):
        load_bids_samples(study, **{"task": "see", **options})


def test_tables_that_are_no_events_are_refused_by_name(study):
    table = study / "sub-01/func/sub-01_task-see_events.tsv"
    write_events(table, [(0, "face")], ("onset", "trial_type"))
    with pytest.raises(ValueError, match=r"_events.tsv has no column 'duration'"):
        labels(study)
    events(study, (0, 10, "face"), ("soon", 10, "face"))
    with pytest.raises(ValueError, match=r"_events.tsv has 1 .* valid onset, .* row 2 .*'soon'"):
        labels(study)
    events(study, (0, 10, None))
    with pytest.raises(
        ValueError, match=r"No event has a label, in .*_events.tsv or any other run"
    ):
        labels(study)
    table.unlink()
    with pytest.raises(ValueError, match=r"no events for .*_bold.nii.gz: neither .*_events.tsv"):
        labels(study)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"There is no folder .*nowhere"):
        load_bids_samples(tmp_path / "nowhere", task="see")
    with pytest.raises(ValueError, match="There is no image such as"):
        load_bids_samples(tmp_path, task="see")


class TestTimes:
    def t_r(self, study, **options):
        return load_bids_runs(study, task="see", **options).t_r.tolist()

    def image(self, study, **options):
        return write_image(study / "sub-01/func/sub-01_task-see_bold.nii.gz", **options)

    def test_a_header_that_contradicts_the_sidecar_is_refused_with_both(self, study):
        image = self.image(study, zoom=2.5)
        message = f"RepetitionTime is 2 s in .*task-see_bold.json.*{image.name} says 2.5 .sec"
        with pytest.raises(ValueError, match=message):
            self.t_r(study)
        assert self.t_r(study, t_r=2.5) == [2.5]

    def test_a_header_in_milliseconds_contradicts_nothing(self, study):
        self.image(study, zoom=2000, unit="msec")
        assert self.t_r(study) == [2.0]

    def test_a_header_alone_is_enough_if_it_has_a_unit(self, study):
        (study / "task-see_bold.json").unlink()
        assert self.t_r(study) == [2.0]
        self.image(study, zoom=2, unit="unknown")
        with pytest.raises(
            ValueError, match=r"_bold.nii.gz is unknown: .* header says 2 \(unknown\).* t_r="
        ):
            self.t_r(study)

    def test_a_header_without_a_unit_contradicts_nothing(self, study):
        self.image(study, zoom=1, unit="unknown")
        assert self.t_r(study) == [2.0]

    def test_the_sidecar_next_to_the_image_overrides_those_higher_up(self, study):
        sidecar(study, RepetitionTime=1.5)
        self.image(study, zoom=1.5)
        assert self.t_r(study) == [1.5]

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"RepetitionTime": "2"}, "RepetitionTime in .*bold.json is '2'"),
            ({"RepetitionTime": 0}, "RepetitionTime in .*bold.json is 0 s"),
            ({"SliceTiming": [0, 900, 1800]}, "SliceTiming in .*bold.json goes up to 1800 s"),
            ({"SliceTiming": [0, None]}, "SliceTiming in .*bold.json is None"),
        ],
    )
    def test_sidecars_that_make_no_sense_are_named(self, study, fields, message):
        sidecar(study, **fields)
        with pytest.raises(ValueError, match=message):
            self.t_r(study)

    def test_volumes_at_uneven_times_are_refused(self, study):
        (study / "task-see_bold.json").write_text(json.dumps({"VolumeTiming": [0, 2, 5]}))
        with pytest.raises(ValueError, match=r"task-see_bold.json .*\(VolumeTiming\)"):
            self.t_r(study)

    def test_a_damaged_sidecar_is_named(self, study):
        sidecar(study).write_text("{")
        with pytest.raises(ValueError, match=r"sub-01_task-see_bold.json cannot be read as JSON"):
            self.t_r(study)


@pytest.fixture(scope="module")
def fake(tmp_path_factory):
    """nilearn's own fake: 2 subjects, 2 sessions, 2 runs of 30 volumes of 1.5 s, fMRIPrep's too."""
    folder = tmp_path_factory.mktemp("fake")
    root = create_fake_bids_dataset(folder, n_sub=2, n_ses=2, tasks=["main"], n_runs=[2])
    for path in root.rglob("*_events.tsv"):
        write_events(path, [(0, 12, "c0"), (12, 12, "c1"), (24, 12, "c0")])
    return root


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ("run", {"sub-01_ses-02_run-01", "sub-02_ses-01_run-02"}),
        ("session", {"sub-01_ses-02", "sub-02_ses-01"}),
        ("subject", {"sub-01", "sub-02"}),
    ],
)
def test_groups_are_runs_sessions_or_subjects(fake, groups, expected):
    samples = load_bids_samples(fake, task="main", space="MNI", groups=groups)
    assert expected <= set(samples.groups)
    assert len(np.unique(samples.groups)) == {"run": 8, "session": 4, "subject": 2}[groups]
    assert len(np.unique(samples.runs)) == 8
    for run, group in zip(samples.runs, samples.groups, strict=True):
        assert run.startswith(group)


def test_images_that_show_one_run_have_to_be_chosen(fake):
    message = "2 images show the run sub-01_ses-01_run-01: space-MNI, space-T1w. Choose"
    with pytest.raises(ValueError, match=message):
        load_bids_runs(fake, task="main")


def test_only_what_is_asked_for_is_loaded(fake):
    options = {"task": "main", "space": "T1w", "subjects": ["sub-02"]}
    study = load_bids_runs(fake, entities={"ses": "01", "desc": "fmriprep"}, **options)
    assert study.table["run"].tolist() == ["sub-02_ses-01_run-01", "sub-02_ses-01_run-02"]
    assert study.table["image"].str.endswith("_space-T1w_desc-fmriprep_bold.nii.gz").all()
    assert study.table["n_volumes"].tolist() == [30, 30]
    labelled = study.samples.y.reshape(2, 30) != ""
    assert study.table["n_labelled"].tolist() == labelled.sum(axis=1).tolist()
    assert study.samples.runs.tolist() == np.repeat(study.table["run"], 30).tolist()


def test_events_that_overlap_in_nilearns_fake_are_refused(tmp_path):
    root = create_fake_bids_dataset(tmp_path, n_sub=1, n_ses=0, tasks=["main"], n_runs=[1])
    with pytest.raises(ValueError, match=r"sub-01_task-main_run-01_events.tsv has events of diff"):
        load_bids_samples(root, task="main", space="MNI")


def test_only_headers_and_tables_are_read_before_data_are_needed(fake, tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise AssertionError("volumes were read")

    with monkeypatch.context() as patched:
        patched.setattr("skfmri.samples.sources.open_data", refuse)
        patched.setattr("skfmri.samples.cleaned.apply_matrix", refuse)
        samples = load_bids_samples(fake, task="main", space="MNI", confounds=("high_pass",))
        assert not (tmp_path / "store").exists()
        with pytest.raises(AssertionError):
            np.asarray(samples)


def test_labels_are_chosen_after_cleaning(fake):
    options = {"task": "main", "space": "MNI", "subjects": ["01"]}
    study = load_bids_runs(fake, **options)
    raw = load_bids_samples(fake, clean=False, **options)
    cleaned = load_bids_samples(fake, high_pass=0.02, **options)
    labelled = study.samples.y != ""
    assert raw.y.tolist() == cleaned.y.tolist() == study.samples.y[labelled].tolist()
    whole = np.asarray(study.samples)
    np.testing.assert_array_equal(np.asarray(raw), whole[labelled])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = np.asarray(clean_runs(study.samples, high_pass=0.02, t_r=1.5))
    np.testing.assert_array_equal(np.asarray(cleaned), expected[labelled])


def test_confounds_and_masks_are_those_of_nilearn_run_by_run(fake):
    options = {"strategy": ("motion", "scrub"), "motion": "basic", "scrub": 0}
    samples = load_bids_samples(
        fake, task="main", space="MNI", confounds=options, keep_transitions=True, high_pass=0.02
    )
    study = load_bids_runs(fake, task="main", space="MNI", keep_transitions=True)
    n_left_out = 0
    for row in study.table.itertuples():
        table, mask = load_confounds(row.image, **options)
        mask_image = nibabel.Nifti1Image(np.ones((4, 4, 4), dtype=np.int8), np.eye(4))
        masker = NiftiMasker(
            mask_image, standardize="zscore_sample", detrend=True, high_pass=0.02, t_r=1.5
        )
        expected = masker.fit_transform(row.image, confounds=table, sample_mask=mask)
        kept = study.samples.y[study.samples.runs == row.run][mask] != ""
        n_left_out += 30 - len(mask)
        found = np.asarray(samples[samples.runs == row.run]).reshape(kept.sum(), -1)
        np.testing.assert_allclose(found, expected[kept], atol=1e-4)
    assert n_left_out > 0


def test_confounds_by_other_names(fake):
    options = {"task": "main", "space": "MNI", "subjects": ["01"]}
    one = load_bids_runs(fake, confounds="motion", **options)
    several = load_bids_runs(fake, confounds=["motion", "wm_csf"], **options)
    preset = load_bids_runs(fake, confounds="simple", **options)
    none = load_bids_runs(fake, confounds=(), **options)
    assert one.confounds[0].shape[1] == 24 < several.confounds[0].shape[1]
    assert "cosine00" in preset.confounds[0]
    assert none.confounds == [None] * 4
    assert all(0 not in mask for mask in none.sample_masks)
    hashes = {
        joblib.hash(load_bids_samples(fake, confounds=name, **options))
        for name in (None, (), "motion", "high_pass")
    }
    assert len(hashes) == 4


def test_confounds_that_are_not_there_are_named(fake, tmp_path):
    root = shutil.copytree(fake, tmp_path / "copy")
    confounds = root / "derivatives/sub-01/ses-02/func"
    name = "sub-01_ses-02_task-main_run-02_desc-confounds_timeseries.tsv"
    options = {"task": "main", "space": "MNI", "confounds": "motion"}
    table = pd.read_csv(confounds / name, sep="\t")
    table[:29].to_csv(confounds / name, sep="\t", index=False)
    with pytest.raises(ValueError, match=f"{name} has 29 rows, .* has 30 volumes"):
        load_bids_samples(root, **options)
    table.drop(columns="trans_x").to_csv(confounds / name, sep="\t", index=False)
    with pytest.raises(ValueError, match=f"trans_x.*{name}"):
        load_bids_samples(root, **options)
    (confounds / name).unlink()
    with pytest.raises(ValueError, match=f"ses-02.*run-02.*cannot be loaded.*{name}"):
        load_bids_samples(root, **options)


def test_subjects_on_different_grids_are_refused_by_name(study):
    image = study / "sub-02/func/sub-02_task-see_bold.nii.gz"
    write_image(image, affine=np.diag([3, 3, 4.0, 1]))
    write_events(study / "task-see_events.tsv", [(0, 10, "face")])
    with pytest.raises(ValueError, match=r"sub-02_task-see_bold.nii.gz has the affine"):
        load_bids_samples(study, task="see")


def test_events_higher_up_hold_for_all_below(study):
    write_image(study / "sub-02/func/sub-02_task-see_bold.nii.gz")
    write_events(study / "task-see_events.tsv", [(0, 10, "cat")])
    found = load_bids_runs(study, task="see", shift=4)
    own, common = found.table["events"]
    assert own.endswith("sub-01_task-see_events.tsv")
    assert common == str(study / "task-see_events.tsv")
    assert set(found.samples.y[:20]) == {"", "face", "house"}
    assert set(found.samples.y[20:]) == {"", "cat"}


def test_one_pipeline_is_found_and_several_have_to_be_chosen(study):
    name = "sub-01/func/sub-01_task-see_space-MNI_desc-preproc_bold.nii.gz"
    image = write_image(study / "derivatives/fmriprep" / name)
    (study / "derivatives/freesurfer/sub-01").mkdir(parents=True)
    found = load_bids_runs(study, task="see")
    assert found.table["image"].tolist() == [str(image)]
    write_image(study / "derivatives/other" / name)
    with pytest.raises(ValueError, match=r"of fmriprep, other\. Choose one with derivatives="):
        load_bids_runs(study, task="see")
    for derivatives in ("fmriprep", "derivatives/fmriprep", study / "derivatives/fmriprep"):
        found = load_bids_runs(study, task="see", derivatives=derivatives)
        assert found.table["image"].tolist() == [str(image)]
    raw = load_bids_runs(study, task="see", derivatives=".")
    assert raw.table["image"].tolist() == [str(study / "sub-01/func/sub-01_task-see_bold.nii.gz")]


FAST = ["--filters", "2", "--n-blocks", "1", "--dense-units", "4", "--epochs", "2", "--no-maps"]
FAST += ["--angle", "0", "--slab", "all", "--no-crop", "--no-baseline", "--quiet"]


@pytest.fixture
def decode(tmp_path):
    """Run ``skfmri decode`` on a dataset, and return its settings."""

    def run(root, *options):
        out = tmp_path / "results"
        assert main(["decode", "--bids", str(root), *options, *FAST, "--out", str(out)]) == 0
        return json.loads((out / "settings.json").read_text()), out

    return run


def test_the_command_line_decodes_a_dataset(fake, decode):
    options = ["--task", "main", "--space", "MNI", "--groups", "subject", "--shift", "3"]
    options += ["--confounds", "high_pass", "--high-pass", "0.02", "--entities", "run-01"]
    record, out = decode(fake, *options)
    source = record["source"]
    cleaning = {"detrend": True, "high_pass": 0.02, "t_r": 1.5, "confounds": "high_pass"}
    assert record["cleaning"] == cleaning
    assert (source["kind"], source["label"], source["shift"]) == ("bids", "trial_type", 3)
    assert len(source["images"]) == record["data"]["n_runs"] == 4
    assert record["data"]["groups"] == ["sub-01", "sub-02"]
    study = load_bids_runs(fake, task="main", space="MNI", entities={"run": "01"}, shift=3)
    labelled = np.flatnonzero(study.samples.y != "")
    # The first volume of a run is not in the steady state and left out, but has no label anyway.
    predictions = pd.read_csv(out / "predictions.csv").query("model == 'decoder'")
    assert sorted(predictions["sample"]) == labelled.tolist()
    names = study.samples.y[predictions["sample"]].tolist()
    assert predictions["label"].tolist() == names


def test_the_command_line_keeps_events_together_in_permutations(fake, decode, monkeypatch):
    seen = {}

    def evaluate(pipeline, samples, *, blocks, **options):
        seen.update(samples=samples, blocks=blocks)
        raise ValueError("seen enough")

    monkeypatch.setattr("skfmri.cli.decode.evaluate_decoder", evaluate)
    with pytest.raises(AssertionError):
        decode(fake, "--task", "main", "--space", "MNI", "--no-clean", "--shift", "3")
    study = load_bids_runs(fake, task="main", space="MNI", shift=3)
    labelled = study.samples.y != ""
    assert seen["blocks"].tolist() == study.blocks[labelled].tolist()
    assert len(np.unique(seen["blocks"])) == 24
    np.testing.assert_array_equal(np.asarray(seen["samples"]), np.asarray(study.samples)[labelled])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bids", "x"], "--bids x needs the task: add --task NAME"),
        (["--bids", "x", "--task", "t", "a.nii"], "--bids x and 1 images, such as a.nii"),
        (["--bids", "x", "--task", "t", "--labels", "y"], "--labels describes images with a table"),
        (["--bids", "x", "--task", "t", "--run-column", "y"], "--run-column describes images"),
        (["--bids", "x", "--task", "t"], "There is no folder x"),
        (["--bids", "x", "--task", "t", "--entities", "res"], "is not a list such as res-2"),
        (["--bids", ".", "--task", "t", "--no-clean", "--confounds", "simple"], "without --clean"),
        (["a.nii", "--labels", "b", "--shift", "4"], "--shift does nothing without --bids ROOT"),
        (["a.nii", "--labels", "b", "--keep-transitions"], "--keep-transitions does nothing"),
        (["a.nii"], "--labels CSV is missing"),
        (["--labels", "b"], "IMAGE is missing"),
        ([], "IMAGE is missing"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(tmp_path, capsys, options, message):
    assert main(["decode", *options, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


def test_filters_of_runs_that_differ_in_time_are_left_to_python(study, tmp_path, capsys):
    image = study / "sub-02/func/sub-02_task-see_bold.nii.gz"
    write_image(image, zoom=3.0)
    write_events(study / "task-see_events.tsv", [(0, 10, "face"), (10, 10, "house")])
    image.with_name("sub-02_task-see_bold.json").write_text('{"RepetitionTime": 3.0}')
    argv = ["decode", "--bids", str(study), "--task", "see", "--out", str(tmp_path / "out")]
    assert main([*argv, "--high-pass", "0.03"]) == 2
    assert "a volume takes 2 to 3 s" in capsys.readouterr().err
    samples = load_bids_samples(study, task="see", high_pass=0.03)
    whole = load_bids_runs(study, task="see").samples
    alone = clean_runs(whole[whole.runs == "sub-02"], high_pass=0.03, t_r=3.0)
    found = np.asarray(samples[samples.runs == "sub-02"])
    np.testing.assert_array_equal(found, np.asarray(alone[alone.y != ""]))


@pytest.mark.real_data
def test_a_measured_study_is_decoded_above_chance(real_data, decode, tmp_path):
    folder = real_data / "haxby_subject1"
    table = pd.read_csv(folder / "bold_slice_labels.csv")
    image = nibabel.load(folder / "bold_slice.nii.gz")
    root, t_r, n_runs = tmp_path / "haxby", 2.5, 6
    for run, part in table[table["run"] < n_runs].groupby("run"):
        stem = root / f"sub-1/func/sub-1_task-see_run-{run + 1}"
        stem.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(image.slicer[..., part.index[0] : part.index[-1] + 1], f"{stem}_bold.nii.gz")
        # Stimuli of half a second, 4.5 s before what the volumes show of them.
        labels = part["label"].replace("rest", None)
        rows = [(t_r * i - 4.5, 0.5, label) for i, label in enumerate(labels)]
        write_events(Path(f"{stem}_events.tsv"), rows)
    options = ["--task", "see", "--classes", "face,house", "--max-gap", "2", "--small-sample"]
    record, _ = decode(root, *options)
    # A block of 9 volumes, less the last one, after whose stimulus comes rest.
    assert record["data"]["volumes_per_class"] == {"face": 8 * n_runs, "house": 8 * n_runs}
    assert record["data"]["n_runs"] == n_runs
    assert record["scores"][0]["score"] > 0.8
