import errno
import os
import shutil
import sys

import nibabel
import numpy as np
import pandas as pd
import pytest

import skfmri.cli.decode
import skfmri.cli.predict
from skfmri._cache import store_directory
from skfmri.cli import main
from skfmri.cli.places import cache_at


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Arguments of a command whose work, if it began, would fail the test."""

    def work(*args, **options):
        raise AssertionError("the work began")

    monkeypatch.setattr(skfmri.cli.decode, "read_inputs", work)
    monkeypatch.setattr(skfmri.cli.decode, "simulate_inputs", work)
    monkeypatch.setattr(skfmri.cli.predict, "load", work)
    (tmp_path / "file").write_text("mine")
    volumes = np.zeros((2, 3, 4, 6), np.float32)
    nibabel.save(nibabel.Nifti1Image(volumes, np.eye(4)), tmp_path / "x.nii")
    table = pd.DataFrame({"label": ["a", "b"] * 3, "group": [1, 1, 2, 2, 3, 3]})
    table.to_csv(tmp_path / "x.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return ["decode", "x.nii", "--labels", "x.csv"]


def complaint(argv, capsys):
    """Run a command that must fail; return its one line."""
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("skfmri: error: ")
    assert "Errno" not in line
    return line


BELOW_A_FILE = os.path.join("file", "below")
NOT_UTF8 = pytest.param(
    b"x\xff.skfmri".decode(errors="surrogateescape"),
    "not in UTF-8",
    marks=pytest.mark.skipif(sys.platform != "linux", reason="names are text here"),
)
LONG = 250 * "x"


@pytest.mark.parametrize(
    ("path", "problem"), [("file", "cannot be written to file"), (BELOW_A_FILE, ""), NOT_UTF8]
)
def test_an_impossible_out_is_found_before_the_work(study, path, problem, capsys):
    for argv in ([*study, "--out", path], ["demo", "--out", path]):
        line = complaint(argv, capsys)
        assert "--out: " in line
        assert problem in line
    assert sorted(os.listdir()) == ["file", "x.csv", "x.nii"]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        (os.path.join("nowhere", "x"), "there is no directory nowhere"),
        (BELOW_A_FILE, "there is no directory file"),
        (".", "is a directory"),
        ("file", "exists already"),
        (LONG, "File name too long"),
        NOT_UTF8,
    ],
)
def test_an_impossible_model_or_file_is_found_before_the_work(study, path, problem, capsys):
    line = complaint([*study, "--out", "out", "--model", path], capsys)
    assert "--model" in line
    assert problem in line
    assert os.listdir("out") == []


def test_a_file_for_predictions_or_a_report_is_tried_first(study, monkeypatch, capsys):
    monkeypatch.setattr(skfmri.cli.predict, "training_record", lambda path: {"samples": None})
    open("model", "w").close()
    for argv in (["predict", "model", "x.nii"], ["report", "."]):
        line = complaint([*argv, "--out", LONG], capsys)
        assert line.startswith("skfmri: error: --out: ")
        assert "File name too long" in line


def test_a_directory_that_takes_no_file_is_found_before_the_work(study, monkeypatch, capsys):
    os.mkdir("full")
    opened = os.open

    def refusing(path, *args, **options):
        if "full" in os.fspath(path):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return opened(path, *args, **options)

    monkeypatch.setattr(os, "open", refusing)
    line = complaint(["demo", "--out", "full"], capsys)
    assert "--out: Results cannot be written to full: Read-only file system" in line
    touched = type(skfmri.cli.places.Path()).touch

    def refusing_touch(path, *args, **options):
        if "full" in os.fspath(path):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), os.fspath(path))
        return touched(path, *args, **options)

    monkeypatch.setattr(skfmri.cli.places.Path, "touch", refusing_touch)
    model = os.path.join("full", "model")
    line = complaint([*study, "--out", "out", "--model", model], capsys)
    assert f"--model: {model} cannot be written: Read-only file system" in line


@pytest.mark.parametrize("path", ["file", BELOW_A_FILE])
@pytest.mark.parametrize("command", ["decode", "demo", "predict"])
def test_an_impossible_cache_is_found_before_the_work(study, command, path, monkeypatch, capsys):
    argv = {
        "decode": [*study, "--out", "out"],
        "demo": ["demo", "--out", "out"],
        "predict": ["predict", "model", "x.nii"],
    }[command]
    open("model", "w").close()
    line = complaint([*argv, "--cache", path], capsys)
    assert f"The cache directory {path}, which --cache or SKFMRI_CACHE names, " in line
    assert "Set --cache or SKFMRI_CACHE to a directory" in line
    monkeypatch.setenv("SKFMRI_CACHE", path)
    assert "SKFMRI_CACHE" in complaint(argv, capsys)
    assert not os.path.exists("out")


class TestCache:
    @pytest.mark.parametrize("earlier", ["before", None])
    def test_it_is_there_for_the_command_and_its_workers_only(self, earlier, tmp_path, monkeypatch):
        monkeypatch.delenv("SKFMRI_CACHE", raising=False)
        if earlier is not None:
            monkeypatch.setenv("SKFMRI_CACHE", earlier)
        with cache_at(str(tmp_path / "new" / "cache")):
            assert os.environ["SKFMRI_CACHE"] == str(tmp_path / "new" / "cache")
            assert store_directory() == tmp_path / "new" / "cache"
        assert os.environ.get("SKFMRI_CACHE") == earlier
        assert list((tmp_path / "new" / "cache").iterdir()) == []

    def test_copies_of_images_go_there(self, tmp_path, capsys):
        volumes = np.random.default_rng(0).normal(size=(30, 31, 32, 6)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(volumes, np.eye(4)), tmp_path / "x.nii.gz")
        (tmp_path / "x.csv").write_text("label,group\n" + "a,1\nb,1\n" * 3)
        argv = ["decode", str(tmp_path / "x.nii.gz"), "--labels", str(tmp_path / "x.csv")]
        argv += ["--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
        assert main(argv) == 2
        assert "All volumes are in one group" in capsys.readouterr().err
        assert len(list((tmp_path / "cache").glob("*.skfmri-copy"))) == 1
        shutil.rmtree(tmp_path / "cache")
