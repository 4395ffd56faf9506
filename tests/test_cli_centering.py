import io
import json
import re

import nibabel
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

import skfmri
from skfmri import NiftiSamples, NiftiSlabRotator, center_groups, clean_runs
from skfmri.cli import main
from skfmri.cli.arguments import make_parser
from skfmri.cli.centering import gain_sentences, names_in_bids
from skfmri.cli.inputs import read_inputs, simulate_inputs
from skfmri.cli.method import CrossValidation
from skfmri.cli.usage import check_usage
from skfmri.evaluation import evaluate_decoder, linear_baseline, multiscale_baseline
from skfmri.persistence import model_card, training_record

SHAPE = (9, 10, 11)
AFFINE = np.diag([3.0, 3, 3, 1])
FAST = ["--decoder", "linear", "--no-maps", "--no-baseline", "--slab", "2:5", "--angle", "0"]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """One image of 24 maps: 6 subjects in 3 groups, 2 maps per subject and class."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.arange(6), 4)
    labels = np.tile(["cat", "dog"], 12)
    volumes = rng.normal(10, 0.5, size=(24, *SHAPE)) + 3 * rng.normal(size=(6, *SHAPE))[subjects]
    volumes[labels == "cat", 3:6, 3:7, 2:9] += 1
    image = nibabel.Nifti1Image(np.moveaxis(volumes.astype(np.float32), 0, -1), AFFINE)
    nibabel.save(image, folder / "maps.nii.gz")
    for subject in range(6):
        here = slice(4 * subject, 4 * subject + 4)
        nibabel.save(image.slicer[..., here], folder / f"sub-{subject}.nii.gz")
    table = pd.DataFrame({"label": labels, "group": subjects // 2, "subject": subjects})
    table.assign(holed=["", *subjects[1:]]).to_csv(folder / "labels.csv", index=False)
    return folder


def arguments(study, out, *more):
    table = ["--labels", str(study / "labels.csv"), "--out", str(out)]
    return ["decode", str(study / "maps.nii.gz"), *table, *FAST, "--quiet", *more]


def inputs_of(study, *more):
    args = make_parser().parse_args(arguments(study, "out", *more))
    check_usage(args)
    return read_inputs(args)


@pytest.fixture(scope="module")
def results(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    model = ["--model", str(folder / "centred.skfmri")]
    more = ["--center-groups", "subject", "--classes", "cat,dog"]
    assert main(arguments(study, folder / "results", *more, *model)) == 0
    return folder


def mistake(argv, capsys):
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


class TestInputs:
    @pytest.mark.parametrize(
        ("more", "column", "maps"), [((), None, [8, 8]), (("subject",), "subject", [4, 4])]
    )
    def test_volumes_are_centred_within_groups_or_a_column(self, study, more, column, maps):
        found = inputs_of(study, "--center-groups", *more)
        table = pd.read_csv(study / "labels.csv")
        plain = inputs_of(study).samples
        expected = center_groups(plain, by=table[column or "group"])
        np.testing.assert_array_equal(np.asarray(found.samples), np.asarray(expected))
        np.testing.assert_array_equal(np.asarray(found.originals), np.asarray(plain))
        assert found.samples.groups.tolist() == table["group"].tolist()
        assert found.centring["column"] == column
        assert found.centring["maps_per_group"] == maps
        assert found.centring["n_unbalanced"] == found.centring["n_forced_choice"] == 0

    def test_only_the_chosen_volumes_count(self, study):
        found = inputs_of(study, "--center-groups", "subject", "--drop-nonfinite")
        means = np.asarray(found.samples).reshape(6, 4, -1).mean(axis=1)
        np.testing.assert_allclose(means, 0, atol=1e-5)

    def test_cleaning_comes_before_and_need_not_detrend(self, study):
        found = inputs_of(study, "--clean", "--no-detrend", "--center-groups", "subject")
        originals = found.originals
        expected = clean_runs(originals, detrend=False)
        by = np.repeat(np.arange(6), 4)
        expected = np.asarray(center_groups(expected, by=by))
        np.testing.assert_allclose(np.asarray(found.samples), expected, atol=1e-6)
        assert found.cleaning["detrend"] is False

    def test_simulated_maps_are_centred_by_subject(self):
        inputs = simulate_inputs(0)
        first = np.asarray(inputs.samples[:8])
        np.testing.assert_allclose(first.mean(axis=0), 0, atol=1e-6)
        assert inputs.centring["column"] == "subject"
        assert np.abs(np.asarray(inputs.originals[:1])).max() > 0.5


class TestBids:
    @pytest.fixture
    def tree(self, tmp_path):
        """Two subjects with two runs of 12 volumes, which show two conditions in turn."""
        (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8"}')
        rng = np.random.default_rng(0)
        table = pd.DataFrame({"onset": np.arange(0, 24, 4.0), "duration": 4.0})
        table = table.assign(trial_type=["cat", "dog"] * 3)
        for subject in ("01", "02"):
            folder = tmp_path / f"sub-{subject}" / "func"
            folder.mkdir(parents=True)
            for run in ("1", "2"):
                stem = folder / f"sub-{subject}_task-see_run-{run}"
                image = nibabel.Nifti1Image(rng.normal(9, 1, (*SHAPE, 12)), AFFINE)
                image.header.set_xyzt_units("mm", "sec")
                image.header["pixdim"][4] = 2.0
                nibabel.save(image, f"{stem}_bold.nii.gz")
                (folder / f"{stem.name}_bold.json").write_text('{"RepetitionTime": 2.0}')
                table.to_csv(f"{stem}_events.tsv", sep="\t", index=False)
        return tmp_path

    @pytest.mark.parametrize(("more", "n_groups"), [(["subject"], 2), (["run"], 4), ([], 2)])
    def test_runs_subjects_or_groups_are_centred(self, tree, more, n_groups):
        argv = ["decode", "--bids", str(tree), "--task", "see", "--derivatives", "."]
        argv += ["--groups", "subject", "--no-clean", "--shift", "0", "--out", "out", "--quiet"]
        args = make_parser().parse_args([*argv, "--center-groups", *more])
        found = read_inputs(args)
        assert found.centring["n_groups"] == n_groups
        names = found.samples.runs if more == ["run"] else found.samples.groups
        values = np.asarray(found.samples)
        for name in np.unique(names):
            np.testing.assert_allclose(values[names == name].mean(axis=0), 0, atol=1e-5)

    def test_sessions_of_two_subjects_differ_although_they_have_one_name(self):
        table = pd.DataFrame({"run": ["r1", "r2", "r3"], "subject": ["a", "b", "b"]})
        table = table.assign(session=["1", "1", "2"])
        names = names_in_bids(table, "session", np.array(["r3", "r1", "r2", "r1"]))
        assert names.tolist() == ["b 2", "a 1", "b 1", "a 1"]
        with pytest.raises(ValueError, match="session is not possible, since some images name no"):
            names_in_bids(table.assign(session=["1", None, "2"]), "session", table["run"])


class TestMistakes:
    def test_an_image_behind_the_option_is_not_taken_for_a_column(self, study, tmp_path, capsys):
        argv = ["decode", "--center-groups", str(study / "maps.nii.gz"), "--labels", "x.csv"]
        error = mistake([*argv, "--out", str(tmp_path)], capsys)
        assert "takes what follows it for a column" in error
        assert "--center-groups=COLUMN" in error

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (["who"], "has no column 'who'. Its columns, .*choose one with --center-groups"),
            (["holed"], "names no group in 1 labelled rows, first in row 1.*column 'holed'"),
            (["label"], "'cat' lies in 3 groups.*no more than one group each with --center-groups"),
            (["subject", "--bids", "x"], "describes images with a table, not --bids"),
        ],
    )
    def test_columns_that_do_not_serve(self, study, tmp_path, capsys, more, message):
        error = mistake(arguments(study, tmp_path, "--center-groups", *more), capsys)
        assert re.search(message, error)

    def test_bids_names_what_it_can_centre_within(self, tmp_path, capsys):
        argv = ["decode", "--bids", "x", "--task", "y", "--out", str(tmp_path)]
        error = mistake([*argv, "--center-groups", "who"], capsys)
        assert "Choose run, subject or session, or give no value for what --groups names" in error

    def test_a_trend_is_kept_only_where_runs_are_cleaned(self, study, tmp_path, capsys):
        error = mistake(arguments(study, tmp_path, "--no-detrend"), capsys)
        assert "--no-detrend does nothing without --clean" in error


class TestRecord:
    def test_settings_report_and_bundle_know_it(self, results):
        record = json.loads((results / "results" / "settings.json").read_text())
        assert record["centring"]["column"] == "subject"
        assert record["settings"]["center_groups"] == "subject"
        page = (results / "results" / "report.html").read_text(encoding="utf-8")
        assert "within 6 groups of 4 volumes of the same subject" in page
        assert "In each voxel, the mean over the 4 volumes of each group (column" in page
        assert "all steps but centring were fitted on training volumes alone" in page
        assert "forced choice" not in page
        path = results / "centred.skfmri"
        settings = {"by": True, "scale": False, "maps_per_group": [4, 4]}
        assert training_record(path)["samples"]["derivations"] == {"center_groups": settings}
        assert "- centring: each group of 4 volumes by center_groups. Centre" in model_card(path)

    def test_predictions_need_centring_or_word_that_it_was_done(self, results, study, capsys):
        argv = ["predict", str(results / "centred.skfmri")]
        images = [str(study / f"sub-{subject}.nii.gz") for subject in (1, 4)]
        error = mistake([*argv, *images], capsys)
        assert "was trained on centred volumes: each group of 4 volumes" in error
        assert "Add --center-groups" in error
        assert "--already-centered" in error
        assert main([*argv, *images, "--center-groups"]) == 0
        table = pd.read_csv(io.StringIO(capsys.readouterr().out))
        assert table["image"].tolist() == np.repeat(images, 4).tolist()
        assert table["volume"].tolist() == [0, 1, 2, 3] * 2
        samples = NiftiSamples(images)
        decoder = skfmri.load(results / "centred.skfmri")
        assert table["predicted"].tolist() == decoder.predict(center_groups(samples)).tolist()

    def test_a_table_says_which_volumes_belong_together(self, results, study, tmp_path, capsys):
        argv = ["predict", str(results / "centred.skfmri"), str(study / "maps.nii.gz")]
        by_table = ["--center-groups", "--group-table", str(study / "labels.csv")]
        assert main([*argv, *by_table, "--group-column", "subject"]) == 0
        found = pd.read_csv(io.StringIO(capsys.readouterr().out))
        images = [str(study / f"sub-{subject}.nii.gz") for subject in range(6)]
        assert main([*argv[:2], *images, "--center-groups"]) == 0
        alone = pd.read_csv(io.StringIO(capsys.readouterr().out))
        np.testing.assert_allclose(found["p_cat"], alone["p_cat"], atol=1e-5)
        centred = center_groups(NiftiSamples(images))
        image = nibabel.Nifti1Image(np.moveaxis(np.asarray(centred), 0, -1), AFFINE)
        nibabel.save(image, tmp_path / "centred.nii.gz")
        assert main([*argv[:2], str(tmp_path / "centred.nii.gz"), "--already-centered"]) == 0
        printed = capsys.readouterr()
        np.testing.assert_allclose(
            pd.read_csv(io.StringIO(printed.out))["p_cat"], alone["p_cat"], atol=1e-5
        )
        assert "was trained on 24 of these 24 volumes" in printed.err

    def test_a_table_in_another_order_than_the_images_is_refused(
        self, results, study, tmp_path, capsys
    ):
        images = [str(study / f"sub-{subject}.nii.gz") for subject in (1, 4)]
        (tmp_path / "groups.csv").write_text("group\n" + "sub-4\n" * 4 + "sub-1\n" * 4)
        argv = ["predict", str(results / "centred.skfmri"), *images, "--center-groups"]
        error = mistake([*argv, "--group-table", str(tmp_path / "groups.csv")], capsys)
        assert "names other subjects than the images in 8 rows of 8" in error
        assert "row 1 below the header has sub-4 in the column 'group'" in error

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (["--already-centered", "--group-table", "x"], "--group-table does nothing without"),
            (["--center-groups", "--group-column", "x"], "nothing without --group-table"),
            (
                ["--center-groups", "--group-table", "x"],
                "the path given to --group-table",
            ),
        ],
    )
    def test_options_that_do_not_go_together(self, results, study, capsys, more, message):
        argv = ["predict", str(results / "centred.skfmri"), str(study / "sub-1.nii.gz"), *more]
        assert message in mistake(argv, capsys)

    def test_images_of_one_map_need_a_table(self, results, study, tmp_path, capsys):
        image = nibabel.load(study / "sub-1.nii.gz")
        paths = [tmp_path / f"{i}.nii.gz" for i in range(4)]
        for i, path in enumerate(paths):
            nibabel.save(image.slicer[..., i], path)
        argv = ["predict", str(results / "centred.skfmri"), *map(str, paths), "--center-groups"]
        error = mistake(argv, capsys)
        assert "4 of 4 images hold a single volume" in error
        assert "with --group-table CSV" in error
        (tmp_path / "groups.csv").write_text("group\n" + "s\n" * 4)
        assert main([*argv, "--group-table", str(tmp_path / "groups.csv")]) == 0
        assert "was trained on 4 of these 4 volumes" in capsys.readouterr().err
        (tmp_path / "groups.csv").write_text("group,x\n" + "s,1\n" * 3 + ",1\n")
        error = mistake([*argv, "--group-table", str(tmp_path / "groups.csv")], capsys)
        assert "names no group in 1 row, first in row 4 below the header" in error

    def test_a_model_of_other_volumes_needs_none_of_it(self, study, tmp_path, capsys):
        y = np.tile(["cat", "dog"], 12)
        samples = NiftiSamples(study / "maps.nii.gz", y=y)
        pipeline = make_pipeline(NiftiSlabRotator(0, slab=(2, 5)), LogisticRegression())
        path = tmp_path / "plain.skfmri"
        skfmri.save(linear_baseline(pipeline).fit(samples, y), path, samples=samples)
        argv = ["predict", str(path), str(study / "sub-1.nii.gz")]
        error = mistake([*argv, "--center-groups"], capsys)
        assert "was trained on volumes that were not centred. Leave out --center-groups." in error
        skfmri.save(linear_baseline(pipeline).fit(samples, y), path)
        assert "does not say how" in mistake([*argv, "--already-centered"], capsys)


@pytest.mark.usefixtures("undrawn")
class TestForcedChoice:
    def test_it_is_named_where_scores_are_read(self, study, tmp_path):
        table = pd.read_csv(study / "labels.csv").assign(label=np.tile(list("abcd"), 6))
        table.to_csv(tmp_path / "labels.csv", index=False)
        out = ["--out", str(tmp_path / "out"), "--labels", str(tmp_path / "labels.csv")]
        argv = ["decode", str(study / "maps.nii.gz"), *out, *FAST, "--quiet"]
        assert main([*argv, "--center-groups", "subject"]) == 0
        record = json.loads((tmp_path / "out" / "settings.json").read_text())
        (sentence,) = [text for text in record["sentences"] if text.startswith("Forced choice")]
        assert "6 centred groups of 6 had one volume per class" in sentence
        page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
        assert "Each group had one volume per class, so these volumes were compared" in page

    def test_unbalanced_classes_are_in_the_methods(self, study, tmp_path, capsys):
        table = pd.read_csv(study / "labels.csv").assign(label=list("aabbabbb") * 3)
        table.to_csv(tmp_path / "labels.csv", index=False)
        out = ["--out", str(tmp_path / "out"), "--labels", str(tmp_path / "labels.csv")]
        argv = ["decode", str(study / "maps.nii.gz"), *out, *FAST]
        assert main([*argv, "--center-groups", "subject"]) == 0
        printed = capsys.readouterr()
        assert "6 groups of 4 volumes are centred, by subject" in printed.out
        assert "warning: Classes are not equally frequent in 3 of 6 groups" in printed.err
        assert "note: Classes are not equally frequent in 3 of 6 groups" in printed.out.replace(
            "\n", " "
        )
        page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
        assert "Classes were not equally frequent in 3 of 6 groups, so that centring" in page


@pytest.mark.usefixtures("undrawn")
class TestCleaningOfMaps:
    def test_the_methods_and_the_bundle_say_that_trends_were_kept(self, study, tmp_path, capsys):
        model = ["--model", str(tmp_path / "cleaned.skfmri")]
        argv = arguments(study, tmp_path / "out", "--clean", "--no-detrend", *model)
        assert main(argv) == 0
        assert "detrend" not in capsys.readouterr().err
        page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
        assert "detrended" not in page
        assert "was standardised to mean 0" in page
        assert training_record(model[1])["samples"]["cleaning"]["detrend"] is False
        predict = ["predict", model[1], str(study / "sub-0.nii.gz"), "--clean"]
        assert main(predict) == 0

    def test_the_warning_names_the_option(self, study, tmp_path, capsys):
        table = pd.read_csv(study / "labels.csv").assign(label=list("aaaabbbb") * 3)
        table.to_csv(tmp_path / "labels.csv", index=False)
        labels = ["--labels", str(tmp_path / "labels.csv")]
        assert main([*arguments(study, tmp_path / "out", "--clean"), *labels]) == 0
        error = capsys.readouterr().err
        assert "of the variance of the labels within runs" in error
        assert "Pass --no-detrend if the volumes are maps" in error


class TestGain:
    """What centring is worth to a linear model is computed, not claimed."""

    @pytest.fixture
    def samples(self, study):
        table = pd.read_csv(study / "labels.csv")
        about = {"y": table["label"], "groups": table["group"]}
        return NiftiSamples(study / "maps.nii.gz", **about)

    @pytest.mark.parametrize("decoder", ["other", "linear"])
    def test_it_compares_the_same_model_on_the_same_folds(self, samples, decoder):
        network = make_pipeline(NiftiSlabRotator(0, slab=(2, 5)), LinearSVC())
        make = linear_baseline if decoder == "linear" else multiscale_baseline
        pipeline = make(network)
        by = np.repeat(np.arange(6), 4)
        options = {"random_state": 0, "permutation": None}
        baseline = None if decoder == "linear" else "linear"
        result = evaluate_decoder(
            pipeline, center_groups(samples, by=by), baseline=baseline, **options
        )
        cv = CrossValidation(None, 3, None, 1, 0)
        (sentence,) = gain_sentences(samples, pipeline, cv, result)
        plain = evaluate_decoder(linear_baseline(network), samples, baseline=None, **options)
        assert f"reaches {plain.summary['score'][0]:.3f} on the same folds" in sentence
        centred = result.summary[result.summary["metric"] == "accuracy"].set_index("model")["score"]
        model = "decoder" if decoder == "linear" else "linear"
        assert f"instead of {centred[model]:.3f}." in sentence

    def test_without_a_linear_model_there_is_nothing_to_say(self, samples):
        network = make_pipeline(NiftiSlabRotator(0, slab=(2, 5)), LinearSVC())
        options = {"random_state": 0, "permutation": None, "baseline": None}
        pipeline = multiscale_baseline(network)
        result = evaluate_decoder(pipeline, samples, **options)
        assert gain_sentences(samples, pipeline, CrossValidation(None, 3, None, 1, 0), result) == []
