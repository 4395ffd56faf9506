"""A run that is killed, or finds the disk full, anywhere goes on and ends with the same results."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from .runs import FILES, KILLS

pytestmark = pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"),
    reason="finds the files that are written in /proc/self/fd, which Linux alone has",
)
TABLES = ("folds", "predictions", "groups", "learning_curves", "summary", "comparisons")
TIMES = ["seconds_fit", "seconds_predict"]
IMAGES = ("mean", "slab", "saliency", "sign_consistency", "maps/fold001", "maps/fold003")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of an undisturbed run, one that was killed and one without space."""
    folder = tmp_path_factory.mktemp("runs")
    script = Path(__file__).with_name("runs.py")
    subprocess.run([sys.executable, script, folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def attempts(runs):
    """What each attempt left, by the name of the run."""
    return {
        name: json.loads((runs / name / "attempts.json").read_text())
        for name in ("whole", "killed", "full")
    }


def final_names(attempt):
    """Names of the files that an attempt left, without hidden ones, which do not count."""
    return {name for name in attempt["left"] if not Path(name).name.startswith(".")}


def assert_same(found, expected):
    for name in TABLES:
        one, other = (pd.read_csv(folder / "out" / f"{name}.csv") for folder in (found, expected))
        one, other = (t.drop(columns=TIMES, errors="ignore") for t in (one, other))
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    for name in IMAGES:
        one, other = (folder / "out" / f"{name}.nii.gz" for folder in (found, expected))
        np.testing.assert_array_equal(nibabel.load(one).dataobj, nibabel.load(other).dataobj)
    assert (found / "decoder.skfmri").read_bytes() == (expected / "decoder.skfmri").read_bytes()
    assert (found / "out" / "report.html").read_text().rstrip().endswith("</html>")


class TestKilled:
    @pytest.mark.parametrize("step", KILLS)
    def test_a_kill_leaves_only_whole_files(self, attempts, step):
        steps = list(KILLS)
        attempt = attempts["killed"][step]
        assert attempt["status"] == -9
        names = final_names(attempt)
        # What is killed on its way to the disk has not got its name.
        if ":" not in KILLS[step] and step != "fold":
            assert not [name for name in names if name.endswith(KILLS[step])]
        for later in steps[steps.index(step) + 1 :]:
            assert not [name for name in names if name.endswith(KILLS[later])]
        for name in names & {"out/folds.csv", "out/mean.nii.gz"}:
            assert steps.index(step) >= steps.index("table"), name

    def test_the_resumed_run_ends_with_the_results_of_an_undisturbed_one(self, runs, attempts):
        assert attempts["whole"]["end"]["status"] == 0
        assert attempts["killed"]["end"]["status"] == 0, attempts["killed"]["end"]["error"]
        assert_same(runs / "killed", runs / "whole")

    def test_nothing_half_written_is_left_among_the_results(self, attempts):
        whole, resumed = (
            [name for name in attempts[run]["end"]["left"] if name.startswith("out/")]
            for run in ("whole", "killed")
        )
        assert resumed == whole


class TestFullDisk:
    @pytest.mark.parametrize("file", FILES)
    def test_the_file_is_named_and_nothing_half_written_is_left(self, attempts, file):
        attempt = attempts["full"][file]
        assert attempt["status"] == 2
        (line,) = attempt["error"].splitlines()
        assert line.startswith("skfmri: error: ")
        assert file in line
        assert "No space left on device" in line
        assert "--resume" in line
        hidden = set(attempt["left"]) - final_names(attempt)
        assert not hidden
        assert not [name for name in attempt["left"] if name.endswith(file)]

    def test_the_resumed_run_ends_with_the_results_of_an_undisturbed_one(self, runs, attempts):
        assert attempts["full"]["end"]["status"] == 0, attempts["full"]["end"]["error"]
        assert_same(runs / "full", runs / "whole")
        assert attempts["full"]["end"]["left"] == attempts["whole"]["end"]["left"]
