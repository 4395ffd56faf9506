import io
import re
import shutil
import sys

import nibabel
import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

import skfmri
import skfmri.cli.disk
from skfmri.cli import main
from skfmri.evaluation import linear_baseline
from skfmri.persistence import model_card, training_record

AFFINE = np.array([[-3.0, 0, 0, 12], [0, 3, 0, -13], [0, 0, 3, -15], [0, 0, 0, 1]])
TINY = ["--filters", "2", "--n-blocks", "1", "--dense-units", "4", "--epochs", "3"]
TINY += ["--slab", "2:5", "--angle", "0.1", "--batch-size", "8", "--no-baseline", "--no-maps"]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Three images of 20 volumes each, two of them with a table of labels."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    labels = np.array(["cat", "house"])[np.arange(40) % 2]
    for name, part in (("one", labels[:20]), ("two", labels[20:]), ("new", labels[:20])):
        volumes = rng.normal(100, 9, size=(20, 9, 10, 11)).astype(np.float32)
        volumes[part == "house", 3:6, 3:7, 2:9] += 20
        image = nibabel.Nifti1Image(np.moveaxis(volumes, 0, -1), AFFINE)
        nibabel.save(image, folder / f"{name}.nii.gz")
    table = pd.DataFrame({"label": labels, "group": np.repeat([1, 2, 3, 4], 10)})
    table.to_csv(folder / "labels.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def model(study):
    """The file that a run has left beside its results."""
    images = [str(study / "one.nii.gz"), str(study / "two.nii.gz")]
    table = ["--labels", str(study / "labels.csv"), "--out", str(study / "results"), "--quiet"]
    path = study / "results" / "model.skfmri"
    assert main(["decode", *images, *table, *TINY, "--patience", "2", "--model", str(path)]) == 0
    return path


@pytest.fixture
def linear(study, tmp_path):
    """Save a linear model of some samples, which may be cleaned; return its path."""

    def save(samples):
        network = make_pipeline(skfmri.NiftiSlabRotator(0, slab=(2, 5)), skfmri.SlabCNNClassifier())
        path = tmp_path / "linear.skfmri"
        skfmri.save(linear_baseline(network).fit(samples, samples.y), path, samples=samples)
        return path

    return save


def labelled(study, **options):
    y = np.array(["cat", "house"])[np.arange(20) % 2]
    return skfmri.NiftiSamples(study / "one.nii.gz", y=y, **options)


class TestDecode:
    def test_it_saves_a_fit_on_all_volumes_with_the_scores_of_the_folds(self, model):
        pipeline, record = skfmri.load(model), training_record(model)
        assert pipeline.refit
        assert pipeline["cnn"].n_epochs_ <= 3
        assert record["samples"]["n_volumes"] == 40
        assert record["samples"]["files"][1] == {"name": "two.nii.gz", "n_volumes": 20}
        summary = pd.read_csv(model.parent / "summary.csv")
        assert record["result"]["summary"][0]["score"] == summary["score"][0]
        assert record["result"]["n_folds"] == 4
        assert "groups: 1, 2, 3, 4" in model_card(model)

    def test_a_model_that_is_there_or_cannot_be_written_is_noticed_before_any_work(
        self, study, model, tmp_path, capsys
    ):
        argv = ["decode", str(study / "one.nii.gz"), "--labels", str(study / "labels.csv"), *TINY]
        argv += ["--out", str(tmp_path / "out")]
        assert main([*argv, "--model", str(model)]) == 2
        assert "model.skfmri exists already" in capsys.readouterr().err
        assert main([*argv, "--model", str(tmp_path / "nowhere" / "x")]) == 2
        assert "--model: " in (error := capsys.readouterr().err)
        assert "there is no directory" in error
        assert not list((tmp_path / "out").iterdir())


class TestPredict:
    def test_the_table_holds_what_the_model_says_of_each_volume(self, study, model, capsys):
        images = [str(study / "new.nii.gz"), str(study / "one.nii.gz")]
        assert main(["predict", str(model), *images]) == 0
        table = pd.read_csv(io.StringIO(capsys.readouterr().out))
        assert table.columns.tolist() == ["image", "volume", "predicted", "p_cat", "p_house"]
        assert table["image"].tolist() == np.repeat(images, 20).tolist()
        assert table["volume"].tolist() == [*range(20)] * 2
        pipeline, samples = skfmri.load(model), skfmri.NiftiSamples(images)
        assert table["predicted"].tolist() == pipeline.predict(samples).tolist()
        found = table[["p_cat", "p_house"]].to_numpy(np.float32)
        np.testing.assert_array_equal(found, pipeline.predict_proba(samples))

    def test_phases_and_disk_space_go_to_the_standard_error_and_the_table_alone_is_printed(
        self, study, model, capsys, monkeypatch
    ):
        monkeypatch.setattr(skfmri.cli.disk, "WORTH_SAYING", 1000)
        argv = ["predict", str(model), str(study / "new.nii.gz")]
        assert main([*argv, "--quiet"]) == 0
        quiet = capsys.readouterr()
        assert "GB" not in quiet.err
        monkeypatch.setenv("FORCE_COLOR", "1")
        assert main(argv) == 0
        loud = capsys.readouterr()
        assert loud.out == quiet.out
        lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", loud.err))
        assert lines[0].startswith("up to about 0.0 GB in ")
        assert "decoded copies of the images" in " ".join(lines[:3])
        phases = ["looking at the volumes", "loading the model", "predicting"]
        started = [next(i for i, line in enumerate(lines) if line.startswith(p)) for p in phases]
        assert started == sorted(started)
        assert any("20/20" in line for line in lines)

    def test_a_file_gets_the_same_table_and_is_not_replaced_unasked(
        self, study, model, tmp_path, capsys
    ):
        argv = ["predict", str(model), str(study / "new.nii.gz")]
        assert main(argv) == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        out = ["--out", str(tmp_path / "table.csv")]
        assert main([*argv, *out]) == 0
        assert (tmp_path / "table.csv").read_text() == printed.out
        assert main([*argv, *out]) == 2
        assert "table.csv exists already" in capsys.readouterr().err
        assert main([*argv, *out, "--overwrite"]) == 0

    def test_volumes_of_the_training_are_named_whatever_the_file_is_called(
        self, study, linear, tmp_path, capsys
    ):
        path = linear(labelled(study)[[0, 1, 2, 3, 7, 9, 10]])
        copied = tmp_path / "sub-99.nii.gz"
        shutil.copy(study / "one.nii.gz", copied)
        assert main(["predict", str(path), str(study / "new.nii.gz"), str(copied)]) == 0
        error = capsys.readouterr().err.strip().splitlines()
        assert len(error) == 1
        expected = f"trained on 7 of these 40 volumes: {copied}: 0 to 3, 7, 9 to 10. Predictions"
        assert error[0].startswith(f"skfmri: warning: {path} was {expected}")

    def test_a_model_without_a_record_says_so(self, study, linear, tmp_path, capsys):
        pipeline = skfmri.load(linear(labelled(study)))
        skfmri.save(pipeline, tmp_path / "silent.skfmri")
        assert main(["predict", str(tmp_path / "silent.skfmri"), str(study / "new.nii.gz")]) == 0
        assert "warning: " in (error := capsys.readouterr().err)
        assert "does not say what it was trained on" in error

    def test_a_model_without_probabilities_gives_classes_alone(self, study, tmp_path, capsys):
        samples = labelled(study)
        pipeline = linear_baseline(skfmri.NiftiSlabRotator(0, slab=(2, 5)))
        steps = [skfmri.NiftiSlabRotator(0, slab=(2, 5)), pipeline["flatten"], StandardScaler()]
        svm = make_pipeline(*steps, LinearSVC()).fit(samples, samples.y)
        skfmri.save(svm, tmp_path / "svm.skfmri", samples=samples)
        assert main(["predict", str(tmp_path / "svm.skfmri"), str(study / "new.nii.gz")]) == 0
        table = pd.read_csv(io.StringIO(capsys.readouterr().out))
        assert table.columns.tolist() == ["image", "volume", "predicted"]
        expected = svm.predict(skfmri.NiftiSamples(study / "new.nii.gz"))
        assert table["predicted"].tolist() == expected.tolist()

    def test_names_and_classes_cannot_move_the_cursor(
        self, study, linear, tmp_path, monkeypatch, capsys
    ):
        y = np.array(["\x1b[31mcat", "house"])[np.arange(20) % 2]
        path = linear(skfmri.NiftiSamples(study / "one.nii.gz", y=y))
        argv = ["predict", str(path), str(study / "new.nii.gz")]
        assert main(argv) == 0
        piped = capsys.readouterr().out
        assert "\x1b" in piped  # the table is as it is for a file or another program
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        assert main(argv) == 0
        shown = capsys.readouterr().out
        assert shown == piped.replace("\x1b", r"\x1b")
        assert len(shown.splitlines()) == 21

    @pytest.mark.skipif(sys.platform != "linux", reason="names are text here")
    def test_a_name_that_is_not_utf_8_comes_out_readable(self, study, linear, tmp_path):
        path, table = linear(labelled(study)), tmp_path / "table.csv"
        image = tmp_path / b"b\xff.nii.gz".decode(errors="surrogateescape")
        shutil.copy(study / "new.nii.gz", image)
        assert main(["predict", str(path), str(image), "--out", str(table)]) == 0
        assert pd.read_csv(table)["image"][0] == str(tmp_path / r"b\xff.nii.gz")

    def test_damaged_volumes_are_named(self, study, model, linear, tmp_path, capsys):
        image = nibabel.load(study / "new.nii.gz")
        volumes = image.get_fdata(dtype=np.float32)
        volumes[..., 3], volumes[4, 5, 6, 4] = np.nan, np.inf
        bad = tmp_path / "bad.nii"
        nibabel.save(nibabel.Nifti1Image(volumes, image.affine), bad)
        assert main(["predict", str(model), str(bad)]) == 0
        expected = f"warning: 2 of 20 volumes hold NaN or infinite values: {bad}: 3 to 4."
        assert expected in capsys.readouterr().err
        # This one has no step that makes them finite.
        path = linear(labelled(study))
        assert main(["predict", str(path), str(bad)]) == 2
        *_, error = capsys.readouterr().err.splitlines()
        assert error == (
            f"skfmri: error: {path} cannot predict these volumes: Input X contains NaN. The model "
            "takes finite values only."
        )

    def test_mistakes_end_in_one_line_and_status_2(self, study, model, tmp_path, capsys):
        moved = nibabel.Nifti1Image(np.zeros((9, 10, 11, 3), np.float32), np.eye(4))
        nibabel.save(moved, tmp_path / "moved.nii")
        skfmri.save(skfmri.VoxelZScorer().fit(labelled(study)), tmp_path / "scorer.skfmri")
        (tmp_path / "cut.skfmri").write_bytes(model.read_bytes()[:-9])
        new = str(study / "new.nii.gz")
        for argv, message in (
            (["nowhere.skfmri", new], "There is no file nowhere.skfmri"),
            ([str(tmp_path / "cut.skfmri"), new], "is truncated or damaged"),
            ([str(model), "nowhere.nii"], "There is no file "),
            ([str(model), str(tmp_path / "moved.nii")], f"but the training data of {model} has"),
            ([str(tmp_path / "scorer.skfmri"), new], "VoxelZScorer, which does not predict"),
            ([str(model), new, "--out", str(tmp_path / "no" / "x.csv")], "there is no directory"),
            ([str(model), new, "--clean"], "as they are in the files. Leave out --clean"),
            ([str(model)], "the following arguments are required: IMAGE"),
        ):
            assert main(["predict", *argv]) == 2
            captured = capsys.readouterr()
            assert captured.out == ""
            assert message in captured.err
            assert len(captured.err.strip().splitlines()) == 1


class TestCleaning:
    def predictions(self, argv, capsys):
        assert main(["predict", *map(str, argv)]) == 0
        table = pd.read_csv(io.StringIO(capsys.readouterr().out))
        return table[["p_cat", "p_house"]].to_numpy()

    def test_a_model_of_cleaned_runs_asks_for_clean_images(self, study, linear, capsys):
        path = linear(skfmri.clean_runs(labelled(study), high_pass=0.02, t_r=2.5)[2:])
        new = study / "new.nii.gz"
        assert main(["predict", str(path), str(new)]) == 2
        error = capsys.readouterr().err
        assert "detrend, standardize, --high-pass 0.02 Hz with --t-r 2.5 s" in error
        assert "Add --clean, which cleans each image as one run" in error

        raw = skfmri.NiftiSamples([new, study / "two.nii.gz"])
        cleaned = skfmri.clean_runs(raw, high_pass=0.02, t_r=2.5)
        expected = skfmri.load(path).predict_proba(cleaned)
        found = self.predictions([path, new, study / "two.nii.gz", "--clean"], capsys)
        np.testing.assert_allclose(found, expected, atol=1e-6)

        other = skfmri.clean_runs(skfmri.NiftiSamples(new), high_pass=0.02, t_r=1.5)
        found = self.predictions([path, new, "--clean", "--t-r", "1.5"], capsys)
        np.testing.assert_allclose(found, skfmri.load(path).predict_proba(other), atol=1e-6)
        assert np.abs(found - expected[:20]).max() > 1e-4

        as_it_is = skfmri.load(path).predict_proba(skfmri.NiftiSamples(new))
        found = self.predictions([path, new, "--already-clean"], capsys)
        np.testing.assert_allclose(found, as_it_is, atol=1e-6)

    def test_volumes_of_the_training_are_named_before_they_are_cleaned(self, study, linear, capsys):
        path = linear(skfmri.clean_runs(labelled(study))[5:8])
        assert main(["predict", str(path), str(study / "one.nii.gz"), "--clean"]) == 0
        assert "one.nii.gz: 5 to 7. Predictions" in capsys.readouterr().err

    def test_what_the_command_line_cannot_clean_is_said(self, study, linear, capsys):
        confounds = np.random.default_rng(0).normal(size=(20, 2))
        path = linear(skfmri.clean_runs(labelled(study), confounds=confounds))
        assert main(["predict", str(path), str(study / "new.nii.gz"), "--clean"]) == 2
        assert "standardize, confounds. The command line has none" in capsys.readouterr().err

    def test_runs_of_several_times_between_volumes_need_the_one_of_the_images(
        self, study, linear, capsys
    ):
        y = np.array(["cat", "house"])[np.arange(40) % 2]
        samples = skfmri.NiftiSamples([study / "one.nii.gz", study / "two.nii.gz"], y=y)
        path = linear(skfmri.clean_runs(samples, high_pass=0.02, t_r=[2.0, 3.0]))
        assert main(["predict", str(path), str(study / "new.nii.gz"), "--clean"]) == 2
        assert "volumes: 2, 3 s. Pass that of the images with --t-r" in capsys.readouterr().err
        found = self.predictions([path, study / "new.nii.gz", "--clean", "--t-r", "2"], capsys)
        cleaned = skfmri.NiftiSamples(study / "new.nii.gz")
        cleaned = skfmri.clean_runs(cleaned, high_pass=0.02, t_r=2.0)
        np.testing.assert_allclose(found, skfmri.load(path).predict_proba(cleaned), atol=1e-6)

    def test_only_what_was_done_in_the_training_is_done(self, study, linear, capsys):
        path = linear(skfmri.clean_runs(labelled(study), standardize=False))
        found = self.predictions([path, study / "new.nii.gz", "--clean"], capsys)
        cleaned = skfmri.NiftiSamples(study / "new.nii.gz")
        cleaned = skfmri.clean_runs(cleaned, standardize=False)
        np.testing.assert_allclose(found, skfmri.load(path).predict_proba(cleaned), atol=1e-6)


def test_probabilities_that_are_not_finite_are_refused(study, linear, monkeypatch, capsys):
    path = linear(labelled(study))
    damaged = skfmri.load(path)
    monkeypatch.setattr("skfmri.cli.predict.load", lambda path: damaged)
    monkeypatch.setattr(damaged[-1], "predict_proba", lambda X: np.full((len(X), 2), np.nan))
    assert main(["predict", str(path), str(study / "new.nii.gz")]) == 2
    said = capsys.readouterr()
    assert f"{path} gives probabilities that are not finite for 20 of 20 volumes." in said.err
    assert said.out == ""
