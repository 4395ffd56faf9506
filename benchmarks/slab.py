"""Time with peak memory of the slab, from file name to array, against the notebook's nilearn code.

Both sides run in processes of their own, in turn. Times exclude imports; peak memory is that of
the whole process. Run: python benchmarks/slab.py [--quick]
"""

import argparse
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np

SHAPE = (40, 51, 41)
AFFINE = np.array([[4.0, 0, 0, -78], [0, 4, 0, -112], [0, 0, 4, -70], [0, 0, 0, 1]])

NOTEBOOK = """
import nibabel, numpy as np
from nilearn.image import crop_img, resample_img

def run(path):
    func = nibabel.load(path)
    c, s = np.cos(0.35), np.sin(0.35)
    rotation = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]])
    rotated = resample_img(
        nibabel.Nifti1Image(func.get_fdata(), rotation @ func.affine),
        target_affine=func.affine, interpolation="continuous")
    return np.moveaxis(crop_img(rotated).get_fdata()[:, :, 12:15, :], -1, 0)
"""

SKFMRI = """
from skfmri.preprocessing import NiftiSlabRotator

def run(path):
    return NiftiSlabRotator(angle=0.35, slab=(12, 15)).fit_transform(path)
"""

MEASURE = """
import json, resource, sys, time, warnings
import numpy as np
warnings.simplefilter("ignore")
start = time.perf_counter()
slabs = run(sys.argv[1])
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
np.save(sys.argv[2], slabs.astype(np.float32))
print(json.dumps({"seconds": seconds, "peak": peak}))
"""


def write_volumes(path, n_volumes):
    """Write noisy heads, positive inside and zero outside, as float32."""
    rng = np.random.default_rng(0)
    grid = np.meshgrid(*[np.linspace(-1, 1, length) for length in SHAPE], indexing="ij")
    inside = sum(axis**2 for axis in grid)[..., np.newaxis] < 0.8
    noise = 0.3 * rng.normal(size=(*SHAPE, 1)) + 0.1 * rng.normal(size=(*SHAPE, n_volumes))
    data = inside * np.abs(1 + noise)
    nibabel.save(nibabel.Nifti1Image(data.astype(np.float32), AFFINE), path)


def measure(code, path, folder):
    """Return seconds, peak memory in MiB and the slabs of one run in a new process."""
    # A new store for each run: decoding the file is part of the work.
    with tempfile.TemporaryDirectory(dir=folder) as store:
        result = Path(store) / "slabs.npy"
        printed = subprocess.run(
            [sys.executable, "-c", code + MEASURE, str(path), str(result)],
            env={**os.environ, "SKFMRI_CACHE": store},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        figures = json.loads(printed.splitlines()[-1])
        return figures["seconds"], figures["peak"], np.load(result)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="24 volumes, one run of each")
    parser.add_argument("--volumes", type=int, default=384)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    n_volumes, n_runs = (24, 1) if args.quick else (args.volumes, args.runs)
    figures = {"notebook": [], "skfmri": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "volumes.nii.gz"
        # In a process of its own: the peak of a parent counts as the peak of its children.
        writer = multiprocessing.Process(target=write_volumes, args=(path, n_volumes))
        writer.start()
        writer.join()
        for _ in range(n_runs):
            slabs = {}
            for name, code in (("notebook", NOTEBOOK), ("skfmri", SKFMRI)):
                seconds, peak, slabs[name] = measure(code, path, folder)
                figures[name].append((seconds, peak))
        difference = np.abs(slabs["notebook"] - slabs["skfmri"]).max()
    print(f"{n_volumes} volumes of 40 x 51 x 41, {os.cpu_count()} cores, {platform.processor()}")
    print(f"{'':10s} {'seconds':>8s} {'peak MiB':>9s}   medians of {n_runs}")
    medians = {name: np.median(values, axis=0) for name, values in figures.items()}
    for name, (seconds, peak) in medians.items():
        print(f"{name:10s} {seconds:8.2f} {peak:9.0f}")
    ratio = medians["skfmri"] / medians["notebook"]
    print(f"{'ratio':10s}   1/{1 / ratio[0]:.1f}     1/{1 / ratio[1]:.2f}")
    print(f"largest difference of any value: {difference:.1e}; shapes {slabs['skfmri'].shape}")


if __name__ == "__main__":
    main()
