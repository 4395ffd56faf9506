"""Disk space that a run will take."""

import math
import os
import shutil
import warnings

import numpy as np

from skfmri._cache import DAYS_VARIABLE, LASTING_DAYS, store_directory
from skfmri.cli.shared_options import given
from skfmri.preprocessing import NiftiSlabRotator
from skfmri.preprocessing.defaults import ROTATOR
from skfmri.preprocessing.slab import voxels_of_slab
from skfmri.samples import NiftiSamples
from skfmri.samples.cleaned_files import BLOCK_VOXELS, FLOAT, blocks_of, summary_bytes
from skfmri.samples.compressed import is_compressed
from skfmri.samples.images import open_header
from skfmri.samples.nifti import list_images, stream_batches

# Less is not worth a line.
WORTH_SAYING = 1e9


def describe_disk(args, samples, *, is_cleaned):
    """Return how much disk a run will take, where and how long, or None if that is little.

    Parameters
    ----------
    args : argparse.Namespace
        Arguments of ``skfmri decode``.
    samples : NiftiSamples
        All volumes, before cleaning.
    is_cleaned : bool
        Whether their runs will be cleaned.

    Returns
    -------
    text : str or None
    """
    # Whatever the type of the values, decoded copies are hardly larger than float64.
    if 8 * math.prod(samples.shape) < WORTH_SAYING:
        return None
    if is_cleaned:
        n_bytes, days = _cleaned_bytes(args, samples), os.environ.get(DAYS_VARIABLE) or LASTING_DAYS
        what, time = "what the slab needs of the cleaned runs", f"{days} days"
    else:
        n_bytes, what, time = _decoded_bytes(samples), "decoded copies of the images", "a day"
    if n_bytes < WORTH_SAYING:
        return None
    path = store_directory()
    free = shutil.disk_usage(path).free
    return (
        f"up to about {n_bytes / 1e9:.1f} GB in {path} ({free / 1e9:.1f} GB are free): {what}, "
        f"kept for {time} after the last use; --cache DIR names another place"
    )


def _decoded_bytes(samples):
    """Return the size of the decoded copies of all compressed images."""
    n_voxels = math.prod(samples.grid_shape)
    return sum(
        n_voxels * n_volumes * open_header(name).get_data_dtype().itemsize
        for name, n_volumes in list_images(samples)
        if is_compressed(name)
    )


def _cleaned_bytes(args, samples):
    """Return about how much is kept of runs when they are cleaned: the voxels near the slab."""
    n_voxels = math.prod(samples.grid_shape)
    n_kept = min(n_voxels, BLOCK_VOXELS * len(blocks_of(_is_near_slab(args, samples))))
    n_runs = len(np.unique(samples.runs))
    of_summaries = n_runs * summary_bytes(len(samples) // n_runs, samples.grid_shape)
    return FLOAT.itemsize * n_kept * len(samples) + of_summaries


def _is_near_slab(args, samples):
    """Return which voxels have a weight in the slab that fits the first volume."""
    volume = next(stream_batches(samples[:1]))
    rotator = NiftiSlabRotator(**given(args, vars(ROTATOR)))
    try:
        # Its warnings come when all volumes are fitted, and so do its errors.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rotator.fit(NiftiSamples.from_array(volume, samples.affine))
    except ValueError:
        return np.ones(samples.grid_shape, bool)
    return voxels_of_slab(rotator)
