"""Fine-tuning from the command line."""

import json
import subprocess
import sys

import nibabel
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from skfmri import (
    DecodingPipeline,
    NiftiSamples,
    NiftiSlabRotator,
    SlabCNNClassifier,
    VolumeCNNClassifier,
    save,
)
from skfmri.cli import main
from skfmri.persistence import training_record

AFFINE = np.diag([3.0, 3, 3, 1])
# A program that says which libraries the command has loaded.
CHECKED = """
import sys
from skfmri.cli import main

status = main(sys.argv[1:])
print(sorted({"sklearn", "tensorflow", "nibabel"} & set(sys.modules)))
sys.exit(status)
"""


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    """Images of two studies with one table, and models of the first one."""
    folder = tmp_path_factory.mktemp("studies")
    labels, groups = list("ab" * 6), np.repeat([1, 2, 3], 4)
    pd.DataFrame({"label": labels, "group": groups}).to_csv(folder / "labels.csv", index=False)
    for seed, name in enumerate(("old", "new")):
        volumes = np.random.default_rng(seed).normal(100, 9, (9, 10, 5, 12)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(volumes, AFFINE), folder / f"{name}.nii")
    samples = NiftiSamples(folder / "old.nii", y=labels, groups=groups)
    network = SlabCNNClassifier(**{**tiny, "epochs": 1}, padding="same", random_state=0)
    steps = [("slab", NiftiSlabRotator(0, slab=(1, 4), crop=False)), ("cnn", network)]
    decoder = DecodingPipeline(steps).fit(samples, samples.y)
    save(decoder, folder / "old.skfmri", samples=samples)
    save(LogisticRegression().fit(np.eye(4), [0, 1] * 2), folder / "linear.skfmri")
    return folder


def command(folder, image="new.nii", *options):
    argv = ["decode", folder / image, "--labels", folder / "labels.csv", "--angle", "0"]
    argv += ["--slab", "1:4", "--no-crop", "--epochs", "1", "--no-maps", "--no-baseline", "--quiet"]
    return [str(word) for word in [*argv, *options]]


def test_a_run_starts_from_a_saved_model_with_its_architecture(folder, tmp_path, capsys):
    options = ["--initial-weights", folder / "old.skfmri", "--frozen", "block1_convolution"]
    options += ["--out", tmp_path / "out", "--model", tmp_path / "new.skfmri"]
    assert main(command(folder, "new.nii", *options)) == 0, capsys.readouterr().err
    record = json.loads((tmp_path / "out" / "settings.json").read_text())
    network = record["pipeline"]["steps"]["cnn"]["parameters"]
    assert (network["filters"], network["dense_units"], network["padding"]) == (2, [4], "same")
    assert network["initial_weights"][0]["samples"]["n_volumes"] == 12
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "From the weights of a network trained on 12 volumes in 3 groups (old.nii)" in report
    assert "Not trained further: the layers block1_convolution." in report
    (fit,) = training_record(tmp_path / "new.skfmri")["initial_weights"]
    assert fit["samples"]["files"] == [{"name": "old.nii", "n_volumes": 12}]
    assert main(["predict", str(tmp_path / "new.skfmri"), str(folder / "old.nii"), "--quiet"]) == 0
    assert "was trained on 12 of these 12 volumes" in capsys.readouterr().err


def test_volumes_that_the_model_has_seen_are_refused_even_if_leaks_are_ignored(
    folder, tmp_path, capsys
):
    for more in ((), ("--ignore-leaks",)):
        options = ["--initial-weights", folder / "old.skfmri", "--out", tmp_path / "out", *more]
        assert main(command(folder, "old.nii", *options)) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "In split 0 --initial-weights were trained on 4 of the 4 test volumes" in line
        assert "Leave their labels empty, or start from a decoder" in line
        assert "--ignore-leaks" not in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--slab", "1:3"], "Cut the same slab for both, with the same slices and --no-crop"),
        (["--filters", "3"], "Give both the same settings: --filters 3 here but --filters 2 there"),
        (["--frozen", "dense7"], "--frozen names 'dense7', but the layers of the network"),
        (["--network", "3d"], "holds a 2-D network, so --network 3d cannot start from it"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_before_the_folds(
    folder, tmp_path, options, message, capsys
):
    start = ["--initial-weights", folder / "old.skfmri", "--out", tmp_path / "out"]
    assert main(command(folder, "new.nii", *start, *options)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize("network", ["2d", "3d", None])
def test_the_kind_of_network_is_that_of_the_model(folder, tmp_path, network, capsys):
    samples = NiftiSamples(folder / "old.nii", y=list("ab" * 6), groups=np.repeat([1, 2, 3], 4))
    slab = NiftiSlabRotator(0, slab=(1, 4), crop=False)
    options = {"filters": 2, "n_blocks": 1, "dense_units": [4], "epochs": 1, "random_state": 0}
    steps = [("slab", slab), ("cnn", VolumeCNNClassifier(**options))]
    save(DecodingPipeline(steps).fit(samples, samples.y), tmp_path / "volumes.skfmri")
    options = ["--initial-weights", tmp_path / "volumes.skfmri", "--out", tmp_path / "out"]
    options += [] if network is None else ["--network", network]
    status, (*_, line) = main(command(folder, "new.nii", *options)), capsys.readouterr()
    if network == "2d":
        assert status == 2
        assert "holds a 3-D network, so --network 2d cannot start from it" in line
        return
    assert status == 0, line
    record = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert record["pipeline"]["steps"]["cnn"]["class"] == "VolumeCNNClassifier"


def test_a_model_without_a_network_is_refused(folder, tmp_path, capsys):
    options = ["--initial-weights", folder / "linear.skfmri", "--out", tmp_path / "out"]
    assert main(command(folder, "new.nii", *options)) == 2
    assert "linear.skfmri does not hold a network" in capsys.readouterr().err


@pytest.fixture
def earlier(tmp_path):
    """A directory with the results of an earlier run."""
    (tmp_path / "folds.csv").touch()
    files = {"files": ["folds.csv", "maps/fold001.nii.gz"], "command": "decode"}
    text = json.dumps({"format": "skfmri results", "format_version": 1, **files})
    (tmp_path / "manifest.json").write_text(text)
    return tmp_path


def test_mistakes_in_what_options_name_are_refused_before_libraries_load(folder, earlier):
    out = ["--out", str(earlier / "new")]
    bids = ["decode", "--bids", str(earlier / "nowhere"), "--task", "x", *out]
    for argv, message in (
        (command(folder, "new.nii", "--out", earlier), "already holds folds.csv. Choose another"),
        (command(folder, "new.nii", *out, "--mask", "no.nii:3"), "no.nii. Check the path given to"),
        (bids, "nowhere. Pass the root of a BIDS dataset"),
    ):
        run = [sys.executable, "-c", CHECKED, *argv]
        found = subprocess.run(run, capture_output=True, text=True)
        assert (found.returncode, found.stdout) == (2, "[]\n")
        assert message in found.stderr
        assert found.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--frozen", "dense1"], "--frozen does nothing without --initial-weights MODEL"),
        (["--initial-weights", "no.skfmri"], "no.skfmri. Check the path given to --initial-weig"),
        (["--initial-weights", __file__, "--size", "small"], "so --size small means nothing"),
    ],
)
def test_options_that_exclude_each_other_are_named(folder, tmp_path, options, message, capsys):
    assert main(command(folder, "new.nii", "--out", tmp_path / "out", *options)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
