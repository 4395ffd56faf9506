import contextlib
import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings

import nibabel
import numpy as np
import pandas as pd
import pytest

import skfmri._files
import skfmri.cli.decode
import skfmri.cli.inputs
import skfmri.evaluation.ledger
from skfmri.cli import main
from skfmri.estimators.defaults import SMALL_SAMPLE
from skfmri.networks import convolutional_network
from skfmri.report.directory import ResultDirectory

SHAPE = (12, 13, 10)
RESULTS = [
    "comparisons.csv",
    "folds.csv",
    "groups.csv",
    "learning_curves.csv",
    "ledger.jsonl",
    "manifest.json",
    "maps",
    "mean.nii.gz",
    "predictions.csv",
    "report.html",
    "saliency.nii.gz",
    "settings.json",
    "sign_consistency.nii.gz",
    "slab.nii.gz",
    "summary.csv",
]
FAST = ["--filters", "2", "--n-blocks", "1", "--dense-units", "8", "--epochs", "4"]
FAST += ["--slab", "2:5", "--angle", "0.1", "--batch-size", "8", "--size", "notebook"]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two images with 24 volumes in 3 runs, and their table; a blob tells the labels apart."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    labels = np.array(["cat", "dog", "", "rest"] * 6)
    volumes = rng.normal(10, 0.3, size=(24, *SHAPE)).astype(np.float32)
    volumes[labels == "cat", 4:8, 4:9, 2:8] += 3
    affine = np.diag([3.0, 3, 3, 1])
    affine[:3, 3] = [-16, -18, -13]
    for name, part in (("one.nii.gz", volumes[:8]), ("two.nii.gz", volumes[8:])):
        nibabel.save(nibabel.Nifti1Image(np.moveaxis(part, 0, -1), affine), folder / name)
    table = pd.DataFrame({"label": labels, "group": np.repeat([1, 2, 3], 8), "kind": labels})
    table = table.assign(same=1, row=np.arange(24))
    table.to_csv(folder / "labels.csv", index=False)
    return folder


def arguments(study, out, *more):
    images = [str(study / "one.nii.gz"), str(study / "two.nii.gz")]
    table = ["--labels", str(study / "labels.csv")]
    return ["decode", *images, *table, "--out", str(out), *FAST, *more]


@pytest.fixture(scope="module")
def results(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("results") / "deeper" / "results"
    assert main(arguments(study, out, "--drop", "rest", "--quiet")) == 0
    return out


def read(path):
    """Rows of the decoder in a table of results."""
    table = pd.read_csv(path)
    return table[table["model"] == "decoder"].reset_index(drop=True)


def test_a_run_leaves_whole_files(results):
    assert sorted(path.name for path in results.iterdir()) == RESULTS
    folds = read(results / "folds.csv")
    assert folds["groups_held_out"].tolist() == [1, 2, 3]
    assert folds["n_test"].tolist() == [4, 4, 4]
    predictions = read(results / "predictions.csv")
    assert len(predictions) == 12
    np.testing.assert_allclose(predictions[["p_cat", "p_dog"]].sum(axis=1), 1, rtol=1e-5)
    accuracy = (
        (predictions["label"] == predictions["predicted"]).groupby(predictions["fold"]).mean()
    )
    np.testing.assert_allclose(accuracy, folds["accuracy"])


def test_predictions_name_the_rows_of_the_table(results, study):
    table = pd.read_csv(study / "labels.csv", keep_default_na=False)
    predictions = read(results / "predictions.csv")
    rows = table.iloc[predictions["sample"]]
    assert rows["label"].tolist() == predictions["label"].tolist()
    assert rows["group"].tolist() == predictions["group"].tolist()


def test_settings_and_versions_are_recorded(results):
    record = json.loads((results / "settings.json").read_text())
    assert record["settings"]["epochs"] == 4
    assert record["settings"]["slab"] == [2, 5]
    assert record["data"]["volumes_per_class"] == {"cat": 6, "dog": 6}
    assert record["versions"]["nilearn"]
    score = record["scores"][0]
    assert (score["model"], score["metric"]) == ("decoder", "accuracy")
    folds = read(results / "folds.csv")
    assert score["score"] == pytest.approx(folds["accuracy"].mean())
    assert score["chance"] == 0.5
    assert record["leaks_ignored"] == []
    assert record["sentences"][0].startswith("accuracy ")


def test_data_slab_and_network_are_recorded(results):
    record = json.loads((results / "settings.json").read_text())
    data = record["data"]
    assert (data["n_volumes"], data["n_runs"], data["voxel_sizes_mm"]) == (12, 3, [3, 3, 3])
    assert data["volumes_per_group"] == {str(n): {"cat": 2, "dog": 2} for n in (1, 2, 3)}
    x, y, n_slices = record["slab"]["shape"]
    assert n_slices == 3
    expected = convolutional_network((x, y, 3), 2, filters=2, n_blocks=1, dense_units=(8,))
    assert record["network"]["n_parameters"] == expected.count_params()
    assert record["saliency"] == {"method": "integrated_gradients", "n_steps": 16, "n_folds": 3}


@pytest.mark.usefixtures("undrawn")
def test_the_mean_volume_is_that_of_the_volumes_before_cleaning(study, tmp_path):
    more = ["--drop", "rest", "--clean", "--quiet", "--no-maps"]
    assert main(arguments(study, tmp_path / "out", *more)) == 0
    volumes = [nibabel.load(study / name).get_fdata() for name in ("one.nii.gz", "two.nii.gz")]
    kept = np.isin(pd.read_csv(study / "labels.csv")["label"], ["cat", "dog"])
    mean = np.concatenate(volumes, axis=-1)[..., kept].mean(axis=-1)
    found = nibabel.load(tmp_path / "out" / "mean.nii.gz").get_fdata()
    np.testing.assert_allclose(found, mean, rtol=1e-5)


def test_maps_are_the_mean_over_folds(results):
    maps = [nibabel.load(results / "maps" / f"fold00{n}.nii.gz").get_fdata() for n in (1, 2, 3)]
    found = nibabel.load(results / "saliency.nii.gz").get_fdata()
    np.testing.assert_allclose(found, np.mean(maps, axis=0), atol=1e-6)


@pytest.mark.usefixtures("undrawn")
def test_the_map_of_a_decoder_that_has_learnt_shows_the_blob(study, tmp_path):
    more = ["--drop", "rest", "--linear-path", "1", "--no-baseline", "--quiet"]
    assert main(arguments(study, tmp_path, *more)) == 0
    assert read(tmp_path / "folds.csv")["accuracy"].mean() > 0.9
    found = np.abs(nibabel.load(tmp_path / "saliency.nii.gz").get_fdata())
    inside = nibabel.load(tmp_path / "slab.nii.gz").get_fdata() > 0
    blob = np.zeros(SHAPE, bool)
    blob[4:8, 4:9, 2:8] = True
    assert found[inside & blob].mean() > 2 * found[inside & ~blob].mean()


@pytest.mark.usefixtures("undrawn")
def test_without_maps_there_are_none_and_none_of_an_earlier_run(study, results, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(results, out)
    assert main(arguments(study, out, "--drop", "rest", "--quiet", "--overwrite", "--no-maps")) == 0
    left = {"maps", "saliency.nii.gz", "sign_consistency.nii.gz"}
    assert sorted(path.name for path in out.iterdir()) == sorted(set(RESULTS) - left)
    assert json.loads((out / "settings.json").read_text())["saliency"] is None


def test_a_report_can_be_written_again_elsewhere(results, tmp_path, capsys):
    # Longer than a line, and still in one piece.
    out = tmp_path / ("a" * 80) / "other.html"
    out.parent.mkdir()
    assert main(["report", str(results), "--out", str(out)]) == 0
    assert f"Written: {out}\n" in capsys.readouterr().out
    assert out.read_text() == (results / "report.html").read_text()
    assert main(["report", str(tmp_path)]) == 2
    assert "settings.json" in capsys.readouterr().err


def test_without_matplotlib_scores_are_kept_and_the_extra_is_named(
    study, tmp_path, capsys, monkeypatch
):
    for name in [n for n in sys.modules if n.startswith(("skfmri.report", "skfmri.plotting"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    out = tmp_path / "out"
    assert main(arguments(study, out, "--drop", "rest", "--no-maps")) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "There is no report: " in shown
    assert 'pip install "skfmri[plot]"' in shown
    assert (out / "settings.json").exists()
    assert not (out / "report.html").exists()
    assert main(["report", str(out)]) == 2
    assert "skfmri[plot]" in capsys.readouterr().err


def test_an_anatomy_that_is_none_is_noticed_before_any_work(study, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(arguments(study, out, "--anatomy", "nowhere.nii")) == 2
    assert "nowhere.nii" in capsys.readouterr().err
    assert main(arguments(study, out, "--anatomy", str(study / "one.nii.gz"))) == 2
    assert "needs one volume, but" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.usefixtures("undrawn")
def test_the_same_seed_gives_the_same_files(study, results, tmp_path):
    assert main(arguments(study, tmp_path / "again", "--drop", "rest", "--quiet")) == 0
    again = (tmp_path / "again" / "predictions.csv").read_text()
    assert again == (results / "predictions.csv").read_text()


@pytest.mark.usefixtures("undrawn")
def test_the_terminal_shows_folds_and_a_table(study, tmp_path, capsys):
    options = ["--classes", "cat,dog", "--folds", "2", "--repeats", "2", "--clean"]
    assert main(arguments(study, tmp_path / "out", *options)) == 0
    shown = capsys.readouterr().out
    assert "12 volumes of 12 x 13 x 10: 6 cat, 6 dog; 3 groups" in shown
    assert "fold 4 of 4: accuracy" in shown
    # The heads of narrow columns are in two lines.
    for words in ("groups held out", "balanced", "standard deviation", "chance level"):
        assert words in shown
    assert "linear" in shown
    assert "multiscale" in shown
    assert "interval" in shown
    assert "dummy" not in shown


@pytest.mark.usefixtures("undrawn")
def test_names_in_brackets_are_shown_as_they_are(study, tmp_path, capsys):
    table = pd.read_csv(study / "labels.csv", dtype=str, keep_default_na=False)
    table["label"] = table["label"].replace({"cat": "[red]cat", "dog": "[b]"})
    table["group"] = "[run " + table["group"] + "]"
    table.to_csv(tmp_path / "labels.csv", index=False)
    argv = arguments(study, tmp_path / "out", "--labels", str(tmp_path / "labels.csv"))
    assert main([*argv, "--drop", "rest"]) == 0
    shown = capsys.readouterr().out
    assert "6 [b], 6 [red]cat" in shown
    assert "[run 2]" in shown


@pytest.mark.usefixtures("undrawn")
def test_cleaning_sees_whole_runs_before_volumes_are_dropped(study, tmp_path, monkeypatch):
    seen = []
    original = skfmri.cli.inputs.clean_runs

    def spy(samples, **options):
        seen.append(samples)
        return original(samples, **options)

    monkeypatch.setattr(skfmri.cli.inputs, "clean_runs", spy)
    assert main(arguments(study, tmp_path / "out", "--drop", "rest", "--quiet", "--clean")) == 0
    assert len(seen[0]) == 24
    assert seen[0].runs.tolist() == np.repeat(["0 1", "1 2", "1 3"], 8).tolist()


MISTAKES = {
    "missing image": (["nowhere.nii.gz"], {}, r"There is no file .*nowhere.nii.gz"),
    "missing table": ([], {"--labels": "nowhere.csv"}, "There is no file nowhere.csv"),
    "wrong column": ([], {"--label-column": "stimulus"}, "no column 'stimulus'.*'label', 'group'"),
    "wrong group column": ([], {"--group-column": "run"}, "choose one with --group-column"),
    "unknown class": (
        [],
        {"--classes": "cat,horse"},
        "--classes names 'horse', but the labels are",
    ),
    "one class left": ([], {"--classes": "cat"}, "6 volumes of 1 class are left"),
    "slab outside": ([], {"--slab": "2:99"}, "--slab 2:99 ends after slice 98.* or --slab all"),
    "slab unreadable": ([], {"--slab": "2-9"}, "'2-9' is not FIRST:END"),
    "dropout too large": ([], {"--dropout": "1.5"}, "error: --dropout must be"),
    "too many folds": ([], {"--folds": "9"}, "--folds 9 is not possible with 3 groups"),
    "repeats without folds": ([], {"--repeats": "3"}, "--repeats needs --folds"),
    "network too deep": ([], {"--n-blocks": "5"}, "--n-blocks 5 convol.* --n-blocks 2 or fewer"),
    "unknown option": (["--depth", "3"], {}, "unrecognized arguments: --depth 3"),
    "filter without cleaning": (["--t-r", "2"], {}, "--t-r does nothing without --clean"),
    "patience of nothing": ([], {"--patience": "0"}, "--patience must be"),
    "blocks of nothing": ([], {"--block-column": "trial"}, "choose one with --block-column"),
    "one group": ([], {"--group-column": "same"}, "in one group.* --group-column, or .*--groups"),
    "no fold": ([], {"--folds": "1"}, "--folds 1 is not possible with 3 groups. Choose 2 to 3"),
    "too many repeats": (
        ["--folds", "2", "--repeats", "9"],
        {},
        "--repeats 9 needs .* Set --repeats to at most 3 or choose another --folds",
    ),
    "seed below 0": ([], {"--seed": "-1"}, "--seed: '-1' is not a whole number from 0 to 42949"),
    "no jobs": ([], {"--jobs": "0"}, "--jobs: '0' is not a whole number other than 0"),
    "patience without groups": (
        [],
        {"--patience": "2", "--folds": "2"},
        "--patience holds out one of the groups .* of 3 groups it trains on 1",
    ),
    "slab reversed": ([], {"--slab": "5:2"}, "--slab 5:2 holds no slice"),
    "angle unknown": ([], {"--angle": "nan"}, "--angle must be a finite number of radians, or in"),
    "no filters": ([], {"--filters": "0"}, "--filters must be an integer of at least 1"),
    "large kernel": ([], {"--kernel-size": "99"}, r"Choose --n-blocks 0 \(only dense layers\), or"),
    "huge filters": (
        [],
        {"--filters": "999999999"},
        "network would have .* weights, .* Choose smaller --filters, --dense-units, --kernel-size",
    ),
    "more filters than can be counted": (
        [],
        {"--filters": "9999999999999"},
        "--filters: 9999999999999 is too large; 2147483647 is the largest possible",
    ),
    "huge layers": ([], {"--dense-units": "8,2147483647"}, "Choose smaller --filters, --dense-u"),
    "huge batches": ([], {"--batch-size": "9" * 30}, "--batch-size: 9+ is too large"),
    "huge committee": (
        [],
        {"--members": "2147483647"},
        "--members 2147483647 networks of .* weights take .* of memory. Choose fewer",
    ),
    "no units": ([], {"--dense-units": "0"}, "--dense-units must be an integer of at least 1"),
    "no members": ([], {"--members": "0"}, "--members must be an integer of at least 1"),
    "no step": ([], {"--learning-rate": "0"}, "--learning-rate must be a number above 0"),
    "bad momentum": ([], {"--batch-norm-momentum": "2"}, "--batch-norm-momentum must be a number"),
    "no path": ([], {"--linear-path": "0"}, "--linear-path must be a number above 0"),
    "negative threshold": ([], {"--std-threshold": "-1"}, "--std-threshold: '-1' is below 0"),
    "unknown mean": ([], {"--mean-threshold": "nan"}, "'nan' is not a number or 'none'"),
    "threshold too high": (
        ["--std-threshold", "99"],
        {},
        "--std-threshold 99.0 sets .* Set --std-threshold auto for .* or 'none' for no threshold",
    ),
    "high-pass too high": (
        ["--clean", "--high-pass", "3", "--t-r", "2"],
        {},
        r"--high-pass must lie .* \(0.25 Hz for --t-r 2.0 s\)",
    ),
    "no time": (["--clean", "--t-r", "0"], {}, "--t-r must be a positive number of seconds"),
    "short runs": (["--clean"], {"--group-column": "row"}, "at least 3.* with --run-column"),
    "runs beyond groups": (
        ["--clean"],
        {"--run-column": "same"},
        "in 2 groups .* the scanner with --run-column",
    ),
    "high-pass alone": (
        ["--clean", "--high-pass", "0.01"],
        {},
        "--high-pass 0.01 Hz .* Pass --t-r",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_one_line_and_status_2(study, tmp_path, capsys, mistake):
    more, options, message = MISTAKES[mistake]
    argv = arguments(study, tmp_path / "out", *more)
    if mistake == "missing image":
        argv = [*argv[:1], more[0], *argv[2:-1]]
    for option, value in options.items():
        argv += [option, value]
    assert main(argv) == 2
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("skfmri: error: ")
    assert not re.search(r"\b[a-z_]+=|[a-z]_[a-z]|\bNone\b", lines[0].replace(str(tmp_path), ""))
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(lines[0])
    left = list((tmp_path / "out").iterdir()) if (tmp_path / "out").exists() else []
    assert left == []


@pytest.mark.parametrize(
    "options", [["--dropout", "1.5"], ["--slab", "2:99"], ["--std-threshold", "9"]]
)
def test_a_mistake_in_the_settings_deletes_no_earlier_results(study, results, tmp_path, options):
    out = tmp_path / "out"
    shutil.copytree(results, out)
    assert main(arguments(study, out, "--drop", "rest", "--quiet", "--overwrite", *options)) == 2
    for path in results.rglob("*.*"):
        assert (out / path.relative_to(results)).read_bytes() == path.read_bytes()


def test_splits_without_anything_to_learn_delete_no_earlier_results(
    study, results, tmp_path, capsys
):
    table = pd.read_csv(study / "labels.csv", keep_default_na=False)
    labels = np.where(table["group"] == 1, "cat", "dog")
    table.assign(label=labels)[["label", "group"]].to_csv(tmp_path / "labels.csv", index=False)
    out = tmp_path / "out"
    shutil.copytree(results, out)
    argv = arguments(study, out, "--labels", str(tmp_path / "labels.csv"), "--overwrite", "--quiet")
    assert main(argv) == 2
    assert "All 16 training samples of split 0 have the label dog" in capsys.readouterr().err
    for path in results.rglob("*.*"):
        assert (out / path.relative_to(results)).read_bytes() == path.read_bytes()


def test_labels_that_do_not_fit_the_images_name_both_numbers(study, tmp_path, capsys):
    argv = arguments(study, tmp_path / "out")
    del argv[2]
    assert main(argv) == 2
    assert "24 rows below its header, but the images hold 8 volumes" in capsys.readouterr().err


def test_labelled_rows_without_a_group_are_named(study, tmp_path, capsys):
    table = pd.read_csv(study / "labels.csv", dtype=str, keep_default_na=False)
    table.loc[5, "group"] = ""
    table.to_csv(tmp_path / "labels.csv", index=False)
    argv = arguments(study, tmp_path / "out", "--labels", str(tmp_path / "labels.csv"))
    assert main(argv) == 2
    assert "names no group in 1 labelled rows, first in row 6" in capsys.readouterr().err
    assert main([*argv, "--clean"]) == 2
    assert "--clean needs whole runs" in capsys.readouterr().err


def test_earlier_results_are_kept_unless_told_otherwise(study, results, capsys):
    before = (results / "folds.csv").read_text()
    assert main(arguments(study, results, "--drop", "rest")) == 2
    assert "already holds ledger.jsonl, folds.csv" in capsys.readouterr().err
    assert (results / "folds.csv").read_text() == before
    argv = arguments(study, results, "--drop", "rest", "--overwrite", "--quiet")
    assert main(argv) == 0


def test_group_names_that_only_look_like_numbers_stay_apart():
    as_numbers = skfmri.cli.inputs.as_numbers
    assert as_numbers(np.array(["10", "9"])).tolist() == [10, 9]
    for names in (["01", "1"], ["1", "b"], ["9" * 20, "1"]):
        assert as_numbers(np.array(names)).tolist() == names


def test_the_demo_leaves_results_of_others_alone(results, tmp_path, monkeypatch, capsys):
    assert main(["demo", "--out", str(results)]) == 2
    assert "already holds ledger.jsonl, folds.csv" in capsys.readouterr().err
    shutil.copytree(results, tmp_path / "skfmri-demo")
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 2
    assert "already holds ledger.jsonl, folds.csv" in capsys.readouterr().err


@pytest.mark.usefixtures("undrawn")
class TestFilesOfTheUser:
    @pytest.fixture
    def home(self, tmp_path):
        """A directory with a folder that is called as one of the results."""
        (tmp_path / "maps").mkdir()
        (tmp_path / "maps" / "mine.nii.gz").write_text("years of work")
        (tmp_path / "mean.nii.gz").write_text("more of it")
        return tmp_path

    @pytest.mark.parametrize("more", [[], ["--overwrite"], ["--resume"], ["--no-maps"]])
    def test_are_neither_deleted_nor_replaced(self, study, home, more, capsys):
        assert main(arguments(study, home, "--drop", "rest", "--quiet", *more)) == 2
        error = capsys.readouterr().err
        assert "mean.nii.gz" in error
        assert "maps" in error or "--no-maps" in more
        assert (home / "maps" / "mine.nii.gz").read_text() == "years of work"
        assert sorted(path.name for path in home.iterdir()) == ["maps", "mean.nii.gz"]

    def test_a_folder_called_maps_is_left_alone_if_none_are_made(self, study, home):
        (home / "mean.nii.gz").unlink()
        more = ["--drop", "rest", "--quiet", "--no-maps"]
        for options in (more, [*more, "--overwrite"]):
            assert main(arguments(study, home, *options)) == 0
            assert (home / "maps" / "mine.nii.gz").read_text() == "years of work"

    @pytest.mark.parametrize("command", ["decode", "demo"])
    def test_an_empty_directory_name_is_not_the_current_one(
        self, study, home, command, monkeypatch, capsys
    ):
        monkeypatch.chdir(home)
        argv = arguments(study, "", "--drop", "rest")
        assert main(argv if command == "decode" else ["demo", "--out", ""]) == 2
        assert "the path is empty" in capsys.readouterr().err

    def test_a_report_replaces_a_file_only_if_told_to(self, results, tmp_path, capsys):
        other = tmp_path / "notes.html"
        other.write_text("mine")
        argv = ["report", str(results), "--out", str(other)]
        assert main(argv) == 2
        assert "notes.html exists already" in capsys.readouterr().err
        assert other.read_text() == "mine"
        assert main([*argv, "--overwrite"]) == 0
        assert other.read_text().startswith("<!DOCTYPE html>")

    def test_a_report_that_no_run_lists_is_the_users_own(self, results, tmp_path, capsys):
        out = tmp_path / "results"
        shutil.copytree(results, out, ignore=shutil.ignore_patterns("manifest.json"))
        (out / "report.html").write_text("mine")
        assert main(["report", str(out)]) == 2
        assert "report.html exists already" in capsys.readouterr().err
        assert (out / "report.html").read_text() == "mine"
        (out / "report.html").unlink()
        assert main(["report", str(out), "--quiet"]) == 0
        assert main(["report", str(out), "--quiet"]) == 0

    @pytest.mark.parametrize("name", ["settings.json", "manifest.json"])
    def test_a_model_takes_no_name_of_a_result(self, study, tmp_path, name, capsys):
        more = ["--drop", "rest", "--model", str(tmp_path / "out" / name)]
        assert main(arguments(study, tmp_path / "out", *more)) == 2
        assert "is the name of another result" in capsys.readouterr().err

    def test_a_resumed_run_replaces_no_file_that_is_not_a_model(
        self, study, results, tmp_path, capsys
    ):
        shutil.copytree(results, tmp_path / "out")
        (tmp_path / "model").write_text("mine")
        more = ["--drop", "rest", "--resume", "--model", str(tmp_path / "model")]
        assert main(arguments(study, tmp_path / "out", *more)) == 2
        assert "model exists already" in capsys.readouterr().err
        assert (tmp_path / "model").read_text() == "mine"


class TestADirectoryInUse:
    @pytest.fixture
    def busy(self, results, tmp_path):
        """Results that a run is writing to."""
        out = tmp_path / "out"
        shutil.copytree(results, out)
        with ResultDirectory(out):
            yield out

    @pytest.mark.parametrize("command", ["decode", "decode --resume", "demo", "report"])
    def test_is_refused_before_anything_is_deleted(self, study, results, busy, command, capsys):
        argv = {
            "decode": arguments(study, busy, "--drop", "rest", "--overwrite"),
            "decode --resume": arguments(study, busy, "--drop", "rest", "--resume"),
            "demo": ["demo", "--out", str(busy), "--overwrite"],
            "report": ["report", str(busy)],
        }[command]
        assert main(argv) == 2
        assert "in use by another run" in capsys.readouterr().err
        for path in results.rglob("*.*"):
            assert (busy / path.relative_to(results)).read_bytes() == path.read_bytes()

    def test_a_run_whose_maps_vanish_ends_with_an_error_and_its_scores(
        self, study, results, tmp_path, capsys
    ):
        out = tmp_path / "out"
        shutil.copytree(results, out)
        (out / "maps" / "fold002.nii.gz").unlink()
        assert main(arguments(study, out, "--drop", "rest", "--quiet", "--resume")) == 2
        assert "1 of 3 maps are missing" in capsys.readouterr().err
        assert json.loads((out / "settings.json").read_text())["saliency"] is None
        assert (out / "folds.csv").read_bytes() == (results / "folds.csv").read_bytes()


def test_scores_of_a_network_that_diverged_are_not_passed_off_as_scores(study, tmp_path, capsys):
    argv = arguments(study, tmp_path / "out", "--drop", "rest", "--no-maps")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main([*argv, "--learning-rate", "1e30"]) == 3
    assert "diverged in 3 of 3 folds" in " ".join(capsys.readouterr().out.split())
    assert read(tmp_path / "out" / "folds.csv")["diverged"].all()
    record = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert "diverged" in record["sentences"][0]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<strong>Do not trust these scores.</strong> The network diverged in 3 of 3" in page


@pytest.fixture(scope="class")
def odd(study, tmp_path_factory):
    """Results and output for volumes in small units, below 0, damaged, with odd labels."""
    folder = tmp_path_factory.mktemp("odd")
    one, two = (nibabel.load(study / name) for name in ("one.nii.gz", "two.nii.gz"))
    volumes = np.concatenate([one.get_fdata(), two.get_fdata()], axis=-1).astype(np.float32)
    volumes *= -1e-3
    volumes[0] = 0
    volumes[..., 5] = np.nan
    nibabel.save(nibabel.Nifti1Image(volumes, one.affine), folder / "x.nii")
    table = pd.read_csv(study / "labels.csv", dtype=str, keep_default_na=False)
    table["label"] = table["label"].replace({"dog": "\x1b[31mdog"})
    table.to_csv(folder / "labels.csv", index=False)
    argv = ["decode", str(folder / "x.nii"), "--labels", str(folder / "labels.csv"), *FAST]
    argv += ["--drop", "rest", "--no-baseline", "--no-maps", "--epochs", "1"]
    argv += ["--drop-nonfinite", "--model", str(folder / "model.skfmri")]
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        assert main([*argv, "--out", str(folder / "out")]) == 0
    return folder, " ".join(shown.getvalue().split())


class TestOddVolumes:
    def test_thresholds_are_chosen_and_said_in_output_settings_and_report(self, odd):
        folder, shown = odd
        assert re.search(
            r"--std-threshold auto is used: the default, 0.05, would set (\d+) of \1 voxels that "
            "vary to 0; --std-threshold 0.05 overrides this",
            shown,
        )
        assert re.search(
            r"--mean-threshold none is used: the default, 0.05, would leave (\d+) of \1 voxels "
            "uncentred; --mean-threshold 0.05 overrides this",
            shown,
        )
        record = json.loads((folder / "out" / "settings.json").read_text())
        expected = {"std_threshold": "auto", "mean_threshold": None}
        assert record["pipeline"]["steps"]["zscore"]["parameters"] == expected
        found = record["thresholds_chosen"]
        assert {name: choice["value"] for name, choice in found.items()} == expected
        assert not set(record["settings"]) & set(expected)
        page = " ".join((folder / "out" / "report.html").read_text().split())
        assert "Defaults that did not suit the units of the data were replaced: that of" in page
        assert skfmri.load(folder / "model.skfmri")["zscore"].get_params() == expected

    def test_volumes_that_are_not_finite_are_left_out_and_named(self, odd):
        folder, shown = odd
        image = str(folder / "x.nii")
        assert "11 volumes of 12 x 13 x 10: " in shown
        place = f"1 volume with NaN or infinite values is left out: {image}: 5"
        assert place.replace(" ", "") in shown.replace(" ", "")
        record = json.loads((folder / "out" / "settings.json").read_text())
        assert record["source"]["not_finite"] == [{"image": image, "volume": 5}]
        page = (folder / "out" / "report.html").read_text()
        assert "Left out for NaN or infinite values: 1 volume." in page
        assert 5 not in read(folder / "out" / "predictions.csv")["sample"].tolist()

    def test_control_characters_do_not_reach_the_terminal(self, odd):
        _, shown = odd
        assert "\x1b" not in shown
        assert r"\x1b[31mdog" in shown


@pytest.mark.parametrize("name", ["folds.csv", "slab.nii.gz"])
def test_a_full_disk_names_the_file_and_the_way_on(
    study, results, tmp_path, name, monkeypatch, capsys
):
    out = tmp_path / "out"
    shutil.copytree(results, out)
    synchronised = skfmri._files._sync

    def full(path):
        if path.name.endswith(name):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synchronised(path)

    monkeypatch.setattr(skfmri._files, "_sync", full)
    argv = arguments(study, out, "--drop", "rest", "--quiet", "--resume")
    assert main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"skfmri: error: {out / name} cannot be written: No space left on dev")
    assert "the same command with --resume goes on from there" in line


@pytest.mark.usefixtures("undrawn")
def test_a_full_disk_names_the_ledger_and_the_option(study, tmp_path, monkeypatch, capsys):
    written = skfmri.evaluation.ledger.Ledger._append

    def full(ledger, content):
        if ledger.path.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written(ledger, content)

    monkeypatch.setattr(skfmri.evaluation.ledger.Ledger, "_append", full)
    out = tmp_path / "out"
    more = ["--drop", "rest", "--quiet", "--no-maps", "--epochs", "1"]
    assert main(arguments(study, out, *more)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{out / 'ledger.jsonl'}: No space left on device" in line
    assert "repeat the command with --resume: it continues from there" in line
    monkeypatch.undo()
    assert main(arguments(study, out, *more, "--resume")) == 0


def test_a_signal_to_terminate_leaves_a_run_to_be_resumed(study, tmp_path, monkeypatch, capsys):
    def terminated(*args):
        if args[2] == 1:  # the fold
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(skfmri.cli.decode, "save_fold_map", terminated)
    out = tmp_path / "out"
    assert main(arguments(study, out, "--drop", "rest", "--quiet", "--epochs", "1")) == 143
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("skfmri: terminated. Finished folds are kept; ")
    assert sorted(path.name for path in out.iterdir()) == ["ledger.jsonl", "manifest.json"]
    assert len((out / "ledger.jsonl").read_bytes().splitlines()) == 2


@pytest.mark.usefixtures("undrawn")
def test_volumes_without_a_label_are_counted(study, tmp_path, capsys):
    table = pd.read_csv(study / "labels.csv", dtype=str, keep_default_na=False)
    table["label"] = table["label"].replace({"": "n/a", "rest": "NA"})
    table.to_csv(tmp_path / "labels.csv", index=False)
    argv = arguments(study, tmp_path / "out", "--labels", str(tmp_path / "labels.csv"))
    assert main([*argv, "--no-maps", "--epochs", "1"]) == 0
    shown = capsys.readouterr().out
    assert "12 volumes of 12 x 13 x 10: 6 cat, 6 dog; 3 groups" in shown
    assert "12 volumes without a label are left out" in shown


def test_rows_with_more_fields_than_the_header_are_refused(study, tmp_path, capsys):
    rows = [f"r{i},cat,{i // 8}" for i in range(24)]
    (tmp_path / "labels.csv").write_text("\n".join(["label,group", *rows]))
    argv = arguments(study, tmp_path / "out", "--labels", str(tmp_path / "labels.csv"))
    assert main(argv) == 2
    assert "more fields in its rows than names" in capsys.readouterr().err


@pytest.mark.usefixtures("undrawn")
class TestResuming:
    @pytest.fixture
    def cut_off(self, study, results, tmp_path):
        """A directory where a run was killed after its second unit of work."""
        out = tmp_path / "out"
        out.mkdir()
        lines = (results / "ledger.jsonl").read_bytes().splitlines(keepends=True)
        (out / "ledger.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:20])
        shutil.copytree(results / "maps", out / "maps")
        shutil.copy(results / "manifest.json", out)
        return out

    def test_a_run_that_was_cut_off_ends_with_the_same_files(self, study, results, cut_off):
        argv = arguments(study, cut_off, "--drop", "rest", "--quiet", "--resume")
        assert main(argv) == 0
        for name in ("predictions.csv", "summary.csv", "comparisons.csv", "groups.csv"):
            assert (cut_off / name).read_bytes() == (results / name).read_bytes()
        n_lines = len((results / "ledger.jsonl").read_bytes().splitlines())
        assert len((cut_off / "ledger.jsonl").read_bytes().splitlines()) == n_lines

    def test_it_is_not_lost_by_starting_again(self, study, cut_off, capsys):
        before = (cut_off / "ledger.jsonl").read_bytes()
        assert main(arguments(study, cut_off, "--drop", "rest")) == 2
        assert "or --resume to go on" in capsys.readouterr().err
        assert (cut_off / "ledger.jsonl").read_bytes() == before

    def test_other_settings_cannot_go_on_with_it(self, study, cut_off, capsys):
        argv = arguments(study, cut_off, "--drop", "rest", "--resume", "--filters", "3")
        assert main(argv) == 2
        assert "filters" in capsys.readouterr().err

    def test_permutations_can_be_added_to_a_finished_run(self, study, results, tmp_path):
        out = tmp_path / "out"
        shutil.copytree(results, out)
        more = ["--drop", "rest", "--quiet", "--resume", "--permutations", "2"]
        assert main(arguments(study, out, *more)) == 0
        record = json.loads((out / "settings.json").read_text())
        assert record["permutation_test"]["n_permutations"] == 2


@pytest.mark.usefixtures("undrawn")
def test_training_stops_early_on_groups_that_are_held_out(study, tmp_path):
    argv = arguments(study, tmp_path / "out", "--drop", "rest", "--patience", "1", "--quiet")
    assert main(argv) == 0
    curves = pd.read_csv(tmp_path / "out" / "learning_curves.csv")
    assert np.isfinite(curves["val_loss"]).all()
    assert read(tmp_path / "out" / "folds.csv")["n_epochs"].between(1, 4).all()


@pytest.mark.usefixtures("undrawn")
def test_neighbours_in_time_across_groups_are_a_leak_where_the_run_is_named(
    study, tmp_path, capsys
):
    table = pd.read_csv(study / "labels.csv").assign(run="the only one")
    table.to_csv(tmp_path / "labels.csv", index=False)
    argv = arguments(study, tmp_path / "out", "--labels", str(tmp_path / "labels.csv"))
    argv += ["--drop", "rest", "--folds", "3"]
    assert main([*argv, "--run-column", "run"]) == 2
    assert "within 5 volumes of a training volume" in capsys.readouterr().err
    assert main([*argv, "--epochs", "1", "--quiet"]) == 0


@pytest.mark.usefixtures("undrawn")
def test_what_looks_like_a_leak_stops_the_run_unless_it_is_accepted(study, tmp_path, capsys):
    volumes = np.asarray(nibabel.load(study / "two.nii.gz").dataobj)
    volumes[..., 12] = volumes[..., 0]  # one volume stands in two runs
    copied = tmp_path / "two.nii.gz"
    nibabel.save(nibabel.Nifti1Image(volumes, nibabel.load(study / "two.nii.gz").affine), copied)
    argv = arguments(study, tmp_path / "out", "--drop", "rest")
    argv[2] = str(copied)
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert "could not be trusted" in error
    assert "--ignore-leaks" in error
    assert main([*argv, "--ignore-leaks"]) == 0
    assert "leak ignored:" in capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert len(record["leaks_ignored"]) > 0


def test_help_and_version_name_the_command(capsys):
    for argv in (["--help"], ["--version"], ["decode", "--help"]):
        with pytest.raises(SystemExit, match="0"):
            main(argv)
        assert "skfmri" in capsys.readouterr().out


def test_an_interrupt_leaves_no_half_written_file_and_no_traceback(study, tmp_path):
    out = tmp_path / "out"
    argv = arguments(study, out, "--drop", "rest", "--epochs", "100000")
    process = subprocess.Popen(
        [sys.executable, "-m", "skfmri", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    process.stdout.readline()  # the data have been read
    time.sleep(2)
    errors = None
    while errors is None:
        process.send_signal(signal.SIGINT)
        # Like an impatient user: TensorFlow swallows an interrupt now and then.
        with contextlib.suppress(subprocess.TimeoutExpired):
            errors = process.communicate(timeout=20)[1]
    assert errors.strip().splitlines() == [
        "skfmri: interrupted. Finished folds are kept; the same command with --resume goes on from "
        "there."
    ]
    assert process.returncode == 130
    assert [path.name for path in out.iterdir() if path.suffix in (".csv", ".json")] == []


@pytest.mark.parametrize("raised", [ImportError, SystemError])
def test_an_interrupt_that_a_compiled_module_hides_is_still_one(raised, monkeypatch, capsys):
    # TensorFlow, interrupted while it is imported, raises such errors.
    def interrupted(args):
        raise raised("initialization failed") from KeyboardInterrupt()

    monkeypatch.setattr(skfmri.cli.decode, "run_demo", interrupted)
    assert main(["demo"]) == 130
    assert capsys.readouterr().err.startswith("skfmri: interrupted")

    def broken(args):
        raise raised("initialization failed")

    monkeypatch.setattr(skfmri.cli.decode, "run_demo", broken)
    with pytest.raises(raised, match="initialization failed"):
        main(["demo"])


def test_a_run_prints_no_tensorflow_noise(study, tmp_path):
    more = ["--drop", "rest", "--no-baseline", "--jobs", "2", "--epochs", "1"]
    argv = arguments(study, tmp_path / "out", *more)
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    finished = subprocess.run(
        [sys.executable, "-m", "skfmri", *argv], capture_output=True, text=True, env=environment
    )
    assert finished.returncode == 0
    assert finished.stderr == ""


@pytest.mark.real_data
def test_single_slice_data_with_drift_are_decoded_after_cleaning(real_data, tmp_path):
    folder = real_data / "haxby_subject1"
    argv = ["decode", str(folder / "bold_slice.nii.gz"), "--out", str(tmp_path / "out")]
    argv += ["--labels", str(folder / "bold_slice_labels.csv"), "--group-column", "run"]
    argv += ["--classes", "face,house", "--clean", "--angle", "0", "--slab", "all"]
    argv += ["--no-crop", "--n-blocks", "2", "--epochs", "30", "--folds", "3", "--quiet"]
    argv += ["--no-baseline", "--no-maps"]
    assert main(argv) == 0
    record = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert record["data"]["n_volumes"] == 216
    assert record["scores"][0]["score"] > 0.75


@pytest.mark.usefixtures("undrawn")
def test_the_configuration_for_small_samples_decodes_and_is_kept_in_the_settings(study, tmp_path):
    argv = arguments(study, tmp_path / "out", "--drop", "rest", "--quiet", "--small-sample")
    assert main(argv) == 0
    record = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert record["settings"]["size"] == "small"
    assert record["size"]["name"] == record["size"]["asked"] == "small"
    network = record["pipeline"]["steps"]["cnn"]["parameters"]
    assert network["linear_path"] == SMALL_SAMPLE["linear_path"]
    assert network["filters"] == 2


@pytest.mark.usefixtures("undrawn")
def test_settings_of_the_2d_network_do_not_reach_the_3d_one(study, tmp_path):
    argv = arguments(study, tmp_path / "out", "--drop", "rest", "--quiet", "--network", "3d")
    for option, value in (("--filters", "2"), ("--dense-units", "8")):
        place = argv.index(option)
        assert argv[place + 1] == value
        del argv[place : place + 2]
    assert main([*argv, "--epochs", "1", "--no-maps"]) == 0
    record = json.loads((tmp_path / "out" / "settings.json").read_text())
    network = record["pipeline"]["steps"]["cnn"]
    assert network["class"] == "VolumeCNNClassifier"
    assert network["parameters"]["filters"] == 16
    assert network["parameters"]["dense_units"] == [256, 64]
    assert "filters" not in record["settings"]
