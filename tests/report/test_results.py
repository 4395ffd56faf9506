import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from skfmri.report import write_report
from skfmri.report.words import by

MISTAKES = {
    "no directory": (lambda d: d / "nowhere", r"There is no directory .*nowhere.*--out"),
    "no table": (lambda d: (d / "folds.csv").unlink(), "has no folds.csv. Pass a directory that"),
    "cut settings": (
        lambda d: (d / "settings.json").write_text('{"settings": {'),
        r"settings.json is damaged: .*--resume",
    ),
    "other settings": (
        lambda d: (d / "settings.json").write_text("[]"),
        "settings.json is damaged: it holds no settings",
    ),
    "missing setting": (
        lambda d: (d / "settings.json").write_text(
            '{"settings": {"seed": 1}, "data": {}, "sentences": []}'
        ),
        "settings.json is damaged: it has no setting 'network'",
    ),
    "missing parameter": (
        lambda d: drop(d / "settings.json", "pipeline", "steps", "slab", "parameters", "angle"),
        "settings.json is damaged: step slab has no 'angle'",
    ),
    "missing part": (
        lambda d: drop(d / "settings.json", "cross_validation"),
        "settings.json is damaged: it holds no cross_validation",
    ),
    "cut table": (
        lambda d: (d / "predictions.csv").write_text("model,repeat,fold,sample,group,label\n"),
        "predictions.csv is damaged: it has no column predicted",
    ),
    "cut row": (
        lambda d: cut(d / "predictions.csv", 40),
        "predictions.csv is damaged: a row ends before its last field",
    ),
    "no rows": (
        lambda d: (d / "folds.csv").write_text((d / "folds.csv").read_text().splitlines()[0]),
        "folds.csv is damaged: it has no row of the decoder",
    ),
    "empty table": (lambda d: (d / "summary.csv").write_text(""), "summary.csv is damaged"),
    "words for numbers": (
        lambda d: (d / "learning_curves.csv").write_text("fold,epoch,loss,accuracy\n0,1,x,1\n"),
        "learning_curves.csv is damaged: .*x",
    ),
    "the same fold twice": (
        lambda d: repeat_row(d / "folds.csv", 2),
        "folds.csv is damaged: rows have the same model, fold. Run the command again",
    ),
    "the same prediction twice": (
        lambda d: repeat_row(d / "predictions.csv", 9),
        "predictions.csv is damaged: rows have the same model, fold, sample",
    ),
    "half a fold": (
        lambda d: edit_table(d / "folds.csv", "fold", 0.5),
        "folds.csv is damaged: its column fold holds something else than whole numbers",
    ),
    "more than any number holds": (
        lambda d: edit_table(d / "folds.csv", "fold", "9" * 400),
        "folds.csv is damaged: ",
    ),
    "infinitely many": (
        lambda d: edit_table(d / "folds.csv", "n_train", np.inf),
        "folds.csv is damaged: its column n_train holds something else than whole numbers",
    ),
    "no score of the decoder": (
        lambda d: edit_table(d / "summary.csv", "model", "other"),
        "summary.csv is damaged: it has no accuracy of the decoder",
    ),
    "a value without end": (
        lambda d: edit_table(d / "summary.csv", "std", "k" * 5000),
        r"summary.csv is damaged: .{0,700}$",
    ),
    "a number for a sentence": (
        lambda d: set_entry(d / "settings.json", ["sentences"], ["fine", 0]),
        "settings.json is damaged: its sentences are not all text",
    ),
    "a number for a test": (
        lambda d: set_entry(d / "settings.json", ["permutation_test"], 2**63),
        "settings.json is damaged: it holds no permutation_test",
    ),
    "text for parameters": (
        lambda d: set_entry(d / "settings.json", ["pipeline", "steps", "slab", "parameters"], "no"),
        r"No report can be made of .*: its settings.json or one of its tables .*--resume",
    ),
    "a list for a number": (
        lambda d: set_entry(
            d / "settings.json", ["pipeline", "steps", "cnn", "parameters", "dropout"], [1]
        ),
        r"No report can be made of .*: its settings.json or one of its tables .*--resume",
    ),
    "a version for settings": (
        lambda d: (d / "settings.json").write_text('{"settings": {"images": 3}, "data": {}}'),
        "settings.json is damaged: ",
    ),
    "cut image": (
        lambda d: (d / "saliency.nii.gz").write_bytes((d / "saliency.nii.gz").read_bytes()[:200]),
        "saliency.nii.gz cannot be read: .*--resume",
    ),
}


def cut(path, n_bytes):
    """Cut a table off in the middle of its last row but one."""
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]) + lines[-1][: lines[-1].index(",", 8)])


def repeat_row(path, number):
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, lines[number]]))


def edit_table(path, column, value):
    """Change a value in the first row of a table."""
    table = pd.read_csv(path, dtype=object)
    table.loc[0, column] = value
    table.to_csv(path, index=False)


def set_entry(path, keys, value):
    """Set an entry of a nested JSON file."""
    content = json.loads(path.read_text())
    part = content
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    path.write_text(json.dumps(content))


def drop(path, *keys):
    """Drop an entry of a nested JSON file."""
    content = json.loads(path.read_text())
    part = content
    for key in keys[:-1]:
        part = part[key]
    del part[keys[-1]]
    path.write_text(json.dumps(content))


class TestMistakes:
    @pytest.mark.parametrize("mistake", MISTAKES)
    def test_name_the_file_and_the_way_out_and_leave_no_report(self, ordinary, tmp_path, mistake):
        damage, message = MISTAKES[mistake]
        directory = tmp_path / "results"
        shutil.copytree(ordinary, directory, ignore=shutil.ignore_patterns("report.html"))
        outcome = damage(directory)
        before = sorted(directory.iterdir())
        with pytest.raises(ValueError, match=message):
            write_report(outcome if isinstance(outcome, Path) else directory)
        assert sorted(directory.iterdir()) == before

    def test_a_run_that_was_cut_off_is_told_apart(self, tmp_path):
        (tmp_path / "ledger.jsonl").touch()
        with pytest.raises(
            ValueError, match=r"Its run did not end: the same command with --resume"
        ):
            write_report(tmp_path)

    def test_a_place_to_write_to_must_exist(self, ordinary, tmp_path):
        with pytest.raises(ValueError, match=r"no directory .*there to write report.html to"):
            write_report(ordinary, path=tmp_path / "there" / "report.html")

    def test_an_anatomy_must_be_one_volume(self, ordinary):
        image = nibabel.Nifti1Image(np.zeros((4, 5, 6, 2), np.float32), np.eye(4))
        with pytest.raises(ValueError, match=r"shape 4 x 5 x 6 x 2. Pass a single 3-D volume"):
            write_report(ordinary, anatomy=image)
        with pytest.raises(ValueError, match=r"There is no image nowhere.nii"):
            write_report(ordinary, anatomy="nowhere.nii")


def test_results_of_0_1_0_still_get_their_report(tmp_path):
    out = tmp_path / "results"
    shutil.copytree(Path(__file__).parents[1] / "data" / "results_v0.1.0", out)
    text = write_report(out).read_text()
    for words in (
        "Decoding face or house",
        "Slices 2 to 4 of the last axis",
        "standardised to mean 0",
        "{3 3} voxels, 2 filters",
        "stopped after 2 epochs without a lower loss",
        "skfmri 0.1.0",
    ):
        assert words.replace("{3 3}", by([3, 3])) in text
