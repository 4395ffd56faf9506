"""Folders that may not be written to, or are gone in the middle of the work."""

import contextlib
import functools
import importlib.metadata
import os
import shutil
import tempfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

# Imported here, and versions are looked up beforehand, since packages may be installed where only
# their owner may read.
import skfmri.cli.decode
from skfmri import NiftiSamples, evaluate_decoder, save
from skfmri.cli.commands import main
from skfmri.evaluation.fingerprints import PACKAGES

from .runs import write_study

NOBODY = 65534


@pytest.fixture
def read_only(monkeypatch):
    """A folder that this process can read, but not write to, and a cache that it can."""
    # Not below tmp_path, whose parents only its owner may enter.
    with tempfile.TemporaryDirectory() as parent:
        folder, cache = Path(parent, "read only"), Path(parent, "cache")
        for path, mode in ((Path(parent), 0o755), (folder, 0o555), (cache, 0o1777)):
            path.mkdir(exist_ok=True)
            path.chmod(mode)
        monkeypatch.setenv("SKFMRI_CACHE", str(cache))
        known = functools.cache(importlib.metadata.version)
        for name in ("skfmri", *PACKAGES):
            known(name)
        monkeypatch.setattr(importlib.metadata, "version", known)
        with _unprivileged():
            if os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
                pytest.skip("this user may write everywhere")
            yield folder
        folder.chmod(0o755)


@contextlib.contextmanager
def _unprivileged():
    # Permissions do not count for root.
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.fixture(scope="module")
def study():
    """A folder with an image and its table, which everybody may read."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        write_study(Path(folder))
        yield Path(folder)


def evaluate(ledger, **options):
    y = np.array(["cat", "dog"] * 6)
    X = np.random.default_rng(0).normal(size=(12, 3)) + (y == "cat")[:, np.newaxis]
    groups = np.repeat([0, 1, 2], 4)
    options |= {"baseline": None, "n_bootstraps": 100, "random_state": 0}
    return evaluate_decoder(GaussianNB(), X, y, groups=groups, ledger=ledger, **options)


class TestReadOnly:
    def decode(self, study, *options):
        argv = ["decode", str(study / "bold.nii.gz"), "--labels", str(study / "labels.csv")]
        return main([*argv, *map(str, options)])

    def test_results_are_refused_before_any_work(self, study, read_only, capsys):
        assert self.decode(study, "--out", read_only / "out") == 2
        error = capsys.readouterr().err
        assert str(read_only / "out") in error
        assert "Permission denied" in error

    def test_a_model_is_refused_before_any_work(self, study, read_only, capsys, monkeypatch):
        monkeypatch.setattr(skfmri.cli.decode, "read_inputs", lambda args: pytest.fail("work"))
        with tempfile.TemporaryDirectory() as out:
            options = "--out", Path(out) / "out", "--model", read_only / "decoder.skfmri"
            assert self.decode(study, *options) == 2
        assert str(read_only / "decoder.skfmri") in capsys.readouterr().err

    def test_a_cache_is_refused_by_name(self, study, read_only, monkeypatch):
        monkeypatch.setenv("SKFMRI_CACHE", str(read_only / "cache"))
        monkeypatch.setattr("skfmri.samples.sources.UNKEPT_BYTES", 0)
        with pytest.raises(OSError, match=f"{read_only / 'cache'}.*SKFMRI_CACHE"):
            np.asarray(NiftiSamples(study / "bold.nii.gz"))

    def test_a_ledger_is_refused_by_name_before_any_fit(self, read_only):
        with pytest.raises(OSError, match=f"{read_only / 'run.jsonl'}.*Permission denied"):
            evaluate(read_only / "run.jsonl", on_fitted=lambda *_: pytest.fail("a fit"))


class TestVanished:
    def test_the_folder_of_a_ledger_is_named_and_what_is_left_goes_on(self, tmp_path):
        ledger = tmp_path / "gone" / "run.jsonl"
        with pytest.raises(OSError, match=r"gone/run\.jsonl.*No such file"):
            evaluate(ledger, on_fold=lambda row: shutil.rmtree(ledger.parent, ignore_errors=True))
        again, expected = evaluate(ledger), evaluate(None)
        assert again.predictions.equals(expected.predictions)

    def test_the_cache_is_made_again(self, study, tmp_path, monkeypatch):
        monkeypatch.setenv("SKFMRI_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("skfmri.samples.sources.UNKEPT_BYTES", 0)
        samples = NiftiSamples(study / "bold.nii.gz")
        before = np.array(samples)
        shutil.rmtree(tmp_path / "cache")
        np.testing.assert_array_equal(samples, before)

    @pytest.mark.parametrize("name", ["bold.nii", "bold.nii.gz"])
    def test_the_folder_of_an_image_is_named(self, study, tmp_path, monkeypatch, name):
        monkeypatch.setenv("SKFMRI_CACHE", str(tmp_path / "cache"))
        (tmp_path / "images").mkdir()
        path = tmp_path / "images" / name
        nibabel.save(nibabel.load(study / "bold.nii.gz"), path)
        samples = NiftiSamples(path)
        shutil.rmtree(path.parent)
        with pytest.raises((ValueError, OSError), match=f"images/{name}"):
            np.asarray(samples)

    def test_the_folder_of_a_model_is_named(self, tmp_path):
        model = LogisticRegression().fit(np.eye(2), [0, 1])
        with pytest.raises(ValueError, match=r"no directory .*gone"):
            save(model, tmp_path / "gone" / "model.skfmri")
