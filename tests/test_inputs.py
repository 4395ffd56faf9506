"""Options of the command that name a BIDS dataset reach samples, results and report."""

import json
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import pandas as pd
import pytest

from skfmri.cli.commands import main
from skfmri.datasets import load_bids_samples
from skfmri.report.methods import methods_paragraphs
from skfmri.report.results import read_results
from skfmri.samples import NiftiSamples
from tests.bids_trees import write_events, write_image

# Two labels in turn, without a volume that shows one of them alone.
RAPID = [(3 + 4 * number, 1, "ab"[number % 2]) for number in range(8)]
BLOCKS = [(0, 10, "a"), (10, 10, "b"), (24, 10, "a")]
FAST = ["--decoder", "linear", "--no-maps", "--no-baseline", "--angle", "0", "--slab", "all"]
FAST += ["--no-crop"]
# Its pictures take seconds.
NO_REPORT = "skfmri.cli.decode.build_report", lambda path, anatomy: None


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFMRI_CACHE", str(tmp_path / "store"))
    monkeypatch.setattr(*NO_REPORT)


def write_study(root, rows):
    for subject in ("1", "2"):
        for run in ("1", "2"):
            stem = f"sub-{subject}/func/sub-{subject}_task-see_run-{run}"
            write_image(root / f"{stem}_bold.nii.gz", seed=int(subject + run))
            write_events(root / f"{stem}_events.tsv", rows)
    return root


@pytest.fixture
def rapid(tmp_path):
    return write_study(tmp_path / "rapid", RAPID)


@pytest.fixture
def blocked(tmp_path):
    return write_study(tmp_path / "blocked", BLOCKS)


@pytest.fixture
def decode(tmp_path):
    """Run ``skfmri decode`` on a dataset; return its status, settings and directory."""

    def run(root, *options, out="results"):
        argv = ["decode", "--bids", str(root), "--task", "see", *FAST, *options]
        status = main([*argv, "--out", str(tmp_path / out)])
        path = tmp_path / out / "settings.json"
        record = json.loads(path.read_text()) if path.exists() else None
        return status, record, tmp_path / out

    return run


@pytest.fixture
def seen(monkeypatch):
    """What the evaluation gets, which is not done."""
    found = {}

    def evaluate(pipeline, samples, *, blocks, **options):
        found.update(pipeline=pipeline, samples=samples, blocks=blocks)
        raise ValueError("seen enough")

    monkeypatch.setattr("skfmri.cli.decode.evaluate_decoder", evaluate)
    return found


@pytest.mark.parametrize("kind", ["trials", "conditions"])
def test_estimates_are_those_of_the_loader(rapid, decode, seen, kind):
    decode(rapid, "--samples", kind, "--high-pass", "0.02", "--quiet")
    expected = load_bids_samples(rapid, task="see", samples=kind, high_pass=0.02)
    found = seen["samples"]
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
    for name in ("y", "groups", "runs", "subjects"):
        assert getattr(found, name).tolist() == getattr(expected, name).tolist()
    # Each is a unit of permutations.
    assert len(set(seen["blocks"])) == len(found)


def test_means_of_blocks_are_those_of_the_loader(blocked, decode, seen):
    decode(blocked, "--samples", "blocks", "--classes", "a", "--rest", "r", "--quiet")
    options = {"samples": "blocks", "classes": ["a"], "rest": "r"}
    expected = load_bids_samples(blocked, task="see", **options)
    np.testing.assert_array_equal(np.asarray(seen["samples"]), np.asarray(expected))
    assert set(seen["samples"].y) == set(expected.y) == {"a", "r"}
    decode(blocked, "--samples", "blocks", "--drop", "b", "--rest", "r", "--quiet")
    assert set(seen["samples"].y) == {"a", "r"}


def test_raw_runs_make_samples_too(rapid, decode, seen):
    decode(rapid, "--samples", "trials", "--no-clean", "--quiet")
    expected = load_bids_samples(rapid, task="see", samples="trials", clean=False)
    np.testing.assert_array_equal(np.asarray(seen["samples"]), np.asarray(expected))


def test_centring_finds_the_subject_of_each_estimate(rapid, decode, seen):
    options = ["--groups", "subject", "--center-groups", "subject", "--quiet"]
    decode(rapid, "--samples", "trials", *options)
    values = np.asarray(seen["samples"])
    for subject in ("1", "2"):
        here = seen["samples"].subjects == subject
        assert np.abs(values[here].mean(axis=0)).max() < 1e-5
        assert np.abs(values[here & (seen["samples"].y == "a")].mean(axis=0)).max() > 1e-3


def test_runs_are_left_out_by_name(blocked, decode, seen):
    decode(blocked, "--exclude", "sub-1_run-1", "--quiet")
    assert set(seen["samples"].runs) == {"sub-1_run-2", "sub-2_run-1", "sub-2_run-2"}


def test_balance_reaches_the_pipeline(blocked, decode, seen):
    decode(blocked, "--undersample", "--class-weight", "balanced", "--quiet")
    assert seen["pipeline"].undersample
    assert seen["pipeline"][-1].class_weight == "balanced"


def test_volumes_that_are_not_finite_are_left_out_of_the_models(rapid, decode, seen, tmp_path):
    path = rapid / "sub-1/func/sub-1_task-see_run-1_bold.nii.gz"
    values = np.array(np.asarray(NiftiSamples(path)))
    values[7, 0, 0, 0] = np.nan
    write_image(path, volumes=np.moveaxis(values, 0, -1))
    decode(rapid, "--samples", "trials", "--drop-nonfinite", "--quiet")
    assert len(seen["samples"]) == 32
    assert np.isfinite(np.asarray(seen["samples"])).all()


def test_without_cleaning_no_volume_can_be_left_out_of_a_model(rapid, decode, capsys):
    path = rapid / "sub-1/func/sub-1_task-see_run-1_bold.nii.gz"
    values = np.array(np.asarray(NiftiSamples(path)))
    values[7, 0, 0, 0] = np.nan
    write_image(path, volumes=np.moveaxis(values, 0, -1))
    status, *_ = decode(rapid, "--samples", "trials", "--drop-nonfinite", "--no-clean")
    assert status == 2
    assert "--samples trials needs whole runs, but --drop-nonfinite" in capsys.readouterr().err


@pytest.fixture(scope="module")
def run_of_trials(tmp_path_factory):
    """Directory of results of ``--samples trials``, and what was printed."""
    folder = tmp_path_factory.mktemp("trials")
    root = write_study(folder / "study", [(1, 0.5, None), *RAPID])
    argv = ["decode", "--bids", str(root), "--task", "see", "--samples", "trials", *FAST]
    argv += ["--groups", "subject", "--undersample", "--exclude", "sub-2_run-2"]
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(StringIO()) as said:
        patched.setenv("SKFMRI_CACHE", str(folder / "store"))
        patched.setenv("COLUMNS", "200")
        patched.setattr(*NO_REPORT)
        assert main([*argv, "--out", str(folder / "results")]) == 0
    return folder / "results", said.getvalue()


def test_results_number_the_estimates(run_of_trials):
    predictions = pd.read_csv(run_of_trials[0] / "predictions.csv").query("model == 'decoder'")
    # The first event of each run has no label.
    expected = [9 * run + trial for run in range(3) for trial in range(1, 9)]
    assert sorted(predictions["sample"]) == expected


def test_settings_say_what_a_sample_is(run_of_trials):
    record = json.loads((run_of_trials[0] / "settings.json").read_text())
    source = record["source"]
    assert (source["samples"], source["exclude"]) == ("trials", ["sub-2_run-2"])
    assert (source["rest"], source["overlap_tolerance"]) == (None, 0.01)
    assert record["data"]["derivations"]["estimate_trials"]["method"] == "lss"
    assert record["pipeline"]["parameters"]["undersample"] is True


def test_the_methods_say_what_a_sample_is(run_of_trials):
    said = dict(methods_paragraphs(read_results(run_of_trials[0])))
    assert said["Data"].startswith("The data are 24 trial estimates of 2 classes")
    assert "Left out: sub-2_run-2." in said["Data"]
    assert "left out at random until all classes had the same number" in said["Decoder"]


def test_the_methods_name_rest_overlaps_and_weights(blocked, decode):
    options = [
        "--classes",
        "a,b",
        "--rest",
        "pause",
        "--overlap-tolerance",
        "0.5",
        "--class-weight",
        "balanced",
    ]
    status, _, out = decode(blocked, *options, "--quiet")
    said = dict(methods_paragraphs(read_results(out)))
    assert status == 0
    assert "Volumes that show no event were labelled pause." in said["Data"]
    assert "Only volumes labelled a, b or pause were kept." in said["Data"]
    assert "overlapped by up to 0.5 s; volumes that show both were left out" in said["Data"]
    assert "weighted in inverse proportion" in said["Decoder"]


def test_the_terminal_says_what_a_sample_is_and_counts_trials_without_label(run_of_trials):
    assert "24 trial estimates of 3 x 4 x 5: 12 a, 12 b; 2 groups" in run_of_trials[1]
    assert "3 trial estimates without a label are left out" in run_of_trials[1]


def test_the_terminal_says_that_runs_of_one_subject_are_on_both_sides(blocked, decode, capsys):
    status, record, _ = decode(blocked)
    assert status == 0
    assert record["leaks_ignored"] == []
    said = " ".join(capsys.readouterr().out.split())
    assert "note:" in said
    assert "subject" in said.partition("note:")[2]


def test_events_without_a_volume_are_told_in_words_of_the_command(rapid, decode, seen, capsys):
    write_events(rapid / "sub-1/func/sub-1_task-see_run-1_events.tsv", BLOCKS)
    decode(rapid)
    said = capsys.readouterr().err
    assert "warning: 3 of 27 events have a volume" in said
    assert "Pass --samples trials to estimate" in said


def test_too_few_classes_are_counted_in_estimates(rapid, decode, capsys):
    status, *_ = decode(rapid, "--samples", "trials", "--drop", "b")
    assert status == 2
    assert "16 trial estimates of 1 class are left" in capsys.readouterr().err
