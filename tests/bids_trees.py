"""Small BIDS datasets for tests."""

import json

import nibabel
import numpy as np
import pandas as pd

SHAPE = (3, 4, 5)
AFFINE = np.diag([3.0, 3, 3, 1])


def write_image(path, n_volumes=20, *, volumes=None, zoom=2.0, unit="sec", affine=AFFINE, seed=0):
    """Write a run of noise, or of given volumes, and return its path."""
    if volumes is None:
        volumes = np.random.default_rng(seed).normal(100, 1, size=(*SHAPE, n_volumes))
    image = nibabel.Nifti1Image(volumes.astype(np.float32), affine)
    image.header.set_zooms((3, 3, 3, zoom))
    image.header.set_xyzt_units("mm", unit)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path


def write_events(path, rows, columns=("onset", "duration", "trial_type")):
    """Write a table of events."""
    table = pd.DataFrame(rows, columns=columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")


def write_study(root):
    """Write a raw dataset of one run: 20 volumes of 2 s; events at 0, 10 and 20 s."""
    write_image(root / "sub-01/func/sub-01_task-see_bold.nii.gz")
    (root / "task-see_bold.json").write_text(json.dumps({"RepetitionTime": 2.0}))
    rows = [(0, 10, "face"), (10, 10, "house"), (20, 10, "face")]
    write_events(root / "sub-01/func/sub-01_task-see_events.tsv", rows)
    return root
