"""The work that every row is measured on, with the processes that do it."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SHAPE = (40, 51, 41)
AFFINE = np.array([[4.0, 0, 0, -78], [0, 4, 0, -112], [0, 0, 4, -70], [0, 0, 0, 1]])
ANGLE, SLAB = 0.35, (12, 15)


@dataclass(frozen=True)
class Work:
    """Files in a folder, all made by `prepare`, and the amount of work done with them."""

    folder: Path
    quick: bool

    @property
    def n_volumes(self):
        """Number of volumes in the file."""
        return 48 if self.quick else 384

    @property
    def volumes(self):
        """Path of the file."""
        return str(self.folder / "volumes.nii.gz")

    @property
    def many_volumes(self):
        """Path of a file with ten times as many volumes."""
        return str(self.folder / "many_volumes.nii.gz")

    @property
    def labels(self):
        """Blocks of eyes open against eyes closed, eight volumes each."""
        return np.arange(self.n_volumes) // 4 % 2

    @property
    def n_groups(self):
        """Number of groups, each of which is a fold."""
        return 2 if self.quick else 6

    @property
    def groups(self):
        """One group for each equal part of the run."""
        return np.arange(self.n_volumes) * self.n_groups // self.n_volumes

    def slabs(self):
        """Return z-scored slabs, float32 of shape (n_volumes, 40, 56, 3)."""
        return np.load(self.folder / "slabs.npy")

    def epochs(self, number):
        """Return the number of epochs, or for a smoke run the fewest that can be timed."""
        return 4 if self.quick else number


def prepare(work, many):
    """Write noisy heads, positive inside and zero outside, that differ between classes."""
    import nibabel

    from skfmri import NiftiSlabRotator, VoxelZScorer

    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"))
    inside = (grid**2).sum(axis=0) < 1
    effect = 0.06 * (((grid.T - [0.3, 0.2, -0.2]).T ** 2).sum(axis=0) < 0.1)
    anatomy = 1 + 0.3 * rng.normal(size=SHAPE)
    data = np.empty((*SHAPE, work.n_volumes), np.float32, order="F")
    for i, label in enumerate(work.labels):
        noise = 0.1 * rng.normal(size=SHAPE)
        data[..., i] = inside * np.abs(anatomy + noise + label * effect)
    nibabel.save(nibabel.Nifti1Image(data, AFFINE), work.volumes)
    if many:
        data = np.concatenate([data] * 10, axis=-1)
        nibabel.save(nibabel.Nifti1Image(data, AFFINE), work.many_volumes)
    slabs = NiftiSlabRotator(angle=ANGLE, slab=SLAB).fit_transform(work.volumes)
    slabs = VoxelZScorer().fit_transform(slabs).astype(np.float32)
    np.save(work.folder / "slabs.npy", slabs)


def rotation():
    """Return the rotation about the x axis as a matrix of shape (4, 4)."""
    cosine, sine = np.cos(ANGLE), np.sin(ANGLE)
    return np.array([[1, 0, 0, 0], [0, cosine, -sine, 0], [0, sine, cosine, 0], [0, 0, 0, 1]])


def touch_memory(work, n_bytes=2**30):
    """Use memory once, in another process, unless the figures of a smoke run do not matter.

    A virtual machine gets memory from its host on first use, which takes longer than most of what
    is measured here.
    """
    if work.quick:
        return
    subprocess.run([sys.executable, "-c", f"b'1' * {n_bytes}"], check=True)


def run(name, work):
    """Do the work of one side in a new process.

    Returns
    -------
    figures : dict
        What the side returned, with "process" (seconds from start to end) and "peak" (MiB).
    """
    command = [sys.executable, str(Path(__file__).parent), "--side", name]
    command += ["--folder", str(work.folder)] + ["--quick"] * work.quick
    touch_memory(work)
    # A new cache for each run, because decoding the file is part of the work.
    with tempfile.TemporaryDirectory(dir=work.folder) as store:
        environment = {
            **os.environ,
            "SKFMRI_CACHE": store,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "PYTHONWARNINGS": "ignore",
        }
        start = time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1]) | {"process": seconds}


def alternate(names, work, repeats):
    """Run several sides in turn; after each turn yield the median of every figure so far."""
    found = {name: [] for name in names}
    for _ in range(repeats):
        for name in names:
            found[name].append(run(name, work))
            print(f"  {name}: {found[name][-1]}", file=sys.stderr, flush=True)
        yield {
            name: {key: float(np.median([one[key] for one in runs])) for key in runs[0]}
            for name, runs in found.items()
        }


def peak_memory():
    """Return the peak memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def median_seconds(function, repeats):
    """Return the median seconds of several calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))
