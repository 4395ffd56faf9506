"""Runs of the command that are cut short at chosen places, then resumed.

Called with a folder, this script makes three runs of ``skfmri decode`` on the same data: one that
nothing disturbs, one that is killed with SIGKILL at each of `KILLS` and resumed after each, one
that finds the disk full at each of `FILES` and is resumed after each. They are forks of this
process, which has imported all that a run needs, but has not started TensorFlow. What each attempt
left is written to ``attempts.json``.
"""

import contextlib
import errno
import importlib
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path
from unittest import mock

import nibabel
import numpy as np
import pandas as pd

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

# Where a run is killed: a file about to be complete, or a function about to return.
KILLS = {
    "import": "skfmri.cli.commands:importlib.import_module",
    "decode": "skfmri.samples.compressed:GzipReader.finish",
    "fold": "ledger.jsonl",
    "map": "fold003.nii.gz",
    "table": "predictions.csv",
    "record": "settings.json",
    "report": "report.html",
    "model": "decoder.skfmri",
}
# In the order in which a run completes them.
FILES = (
    "manifest.json",
    "fold001.nii.gz",
    "ledger.jsonl",
    "folds.csv",
    "predictions.csv",
    "groups.csv",
    "learning_curves.csv",
    "summary.csv",
    "comparisons.csv",
    "mean.nii.gz",
    "slab.nii.gz",
    "saliency.nii.gz",
    "sign_consistency.nii.gz",
    "settings.json",
    "report.html",
    "decoder.skfmri",
)
OPTIONS = ["--filters", "2", "--n-blocks", "1", "--dense-units", "4", "--epochs", "1", "--quiet"]
OPTIONS += ["--slab", "2:5", "--angle", "0.1", "--batch-size", "8", "--no-baseline"]


def main(folder):
    """Make all runs."""
    write_study(folder)
    for name in ("cli.decode", "estimators.classifier", "inspection", "report.page"):
        importlib.import_module(f"skfmri.{name}")
    _leave_pictures_out()
    runs = {"whole": _whole, "killed": _killed, "full": _filled}
    for process in [_fork(partial(_write_attempts, runs[name], folder / name)) for name in runs]:
        os.waitpid(process, 0)


def _leave_pictures_out():
    """Draw nothing, which would take most of the time and writes no file."""
    pictures = importlib.import_module("skfmri.report.pictures")
    pictures._drawn = lambda draw, alt, *_, **options: pictures.Picture("data:,", alt)
    pictures.interactive_map = lambda *_: None


def write_study(folder):
    """Write one compressed image of 12 volumes in 3 groups, and its table."""
    rng = np.random.default_rng(0)
    volumes = rng.normal(10, 0.3, size=(7, 8, 6, 12)).astype(np.float32)
    volumes[2:5, 2:5, 2:5, ::2] += 3
    image = nibabel.Nifti1Image(volumes, np.diag([3.0, 3, 3, 1]))
    nibabel.save(image, folder / "bold.nii.gz")
    table = pd.DataFrame({"label": ["cat", "dog"] * 6, "group": np.repeat([1, 2, 3], 4)})
    table.to_csv(folder / "labels.csv", index=False)


def _killed(folder):
    """Kill one run again and again, each attempt in a fork of its own."""
    attempts = {}
    for step, place in KILLS.items():
        attempt = _fork(partial(_run, folder, partial(_kill_at, place)))
        status = os.waitstatus_to_exitcode(os.waitpid(attempt, 0)[1])
        attempts[step] = _describe(folder, status)
    return attempts | _whole(folder)


def _filled(folder):
    """Let one run find the disk full again and again."""
    attempts = {}
    for file in FILES:
        with mock.patch.object(os, "fsync", os.fsync):
            attempts[file] = _describe(folder, _run(folder, partial(_fill_at, file)))
    return attempts | _whole(folder)


def _whole(folder):
    """Let a run come to its end."""
    return {"end": _describe(folder, _run(folder))}


def _describe(folder, status):
    left = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return {"status": status, "left": left, "error": (folder / "stderr").read_text()}


def _write_attempts(make, folder):
    folder.mkdir()
    os.environ["SKFMRI_CACHE"] = str(folder / "cache")
    (folder / "attempts.json").write_text(json.dumps(make(folder)))


def _fork(function):
    process = os.fork()
    if process == 0:
        status = 1
        try:
            status = function() or 0
        finally:
            os._exit(status)
    return process


def _run(folder, disturb=None):
    """Return the status of one attempt, resumed if there was one before."""
    from skfmri.cli.commands import main as skfmri

    argv = ["decode", str(folder.parent / "bold.nii.gz"), *OPTIONS]
    argv += ["--labels", str(folder.parent / "labels.csv"), "--out", str(folder / "out")]
    argv += ["--model", str(folder / "decoder.skfmri")]
    if (folder / "stderr").exists():
        argv.append("--resume")
    with open(folder / "stderr", "w") as error, contextlib.redirect_stderr(error):
        if disturb is not None:
            disturb()
        return skfmri(argv)


def _kill_at(place):
    if ":" not in place:
        # A ledger is synced when it is created, then after each fold: the second is the victim.
        _before_sync(place, _tear_and_die, number=3 if place == "ledger.jsonl" else 1)
        return
    module, _, name = place.partition(":")
    owner = importlib.import_module(module)
    *owners, name = name.split(".")
    for part in owners:
        owner = getattr(owner, part)
    setattr(owner, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))


def _tear_and_die(handle):
    # As if the last bytes had not been written yet.
    os.ftruncate(handle, max(os.fstat(handle).st_size - 20, 0))
    os.kill(os.getpid(), signal.SIGKILL)


def _fill_at(file):
    def fail(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    _before_sync(file, fail)


def _before_sync(file, action, number=1):
    """Do something before a certain file is brought to the disk for the first or a later time.

    Every file of a run is synced before it counts, and a full disk may show only then.
    """
    sync, seen = os.fsync, []

    def fsync(handle):
        if os.readlink(f"/proc/self/fd/{handle}").endswith(file):
            seen.append(handle)
            if len(seen) == number:
                action(handle)
        sync(handle)

    os.fsync = fsync


if __name__ == "__main__":
    main(Path(sys.argv[1]))
