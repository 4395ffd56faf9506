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
from skfmri.samples.nifti import copy_bytes, stream_batches

# Less is not worth a line.
WORTH_SAYING = 1e9


def describe_disk(args, samples, *, is_cleaned, n_made=None, decoder=None):
    """Return how much disk a run will take, where and how long, or None if that is little.

    Parameters
    ----------
    args : argparse.Namespace
        Arguments of ``skfmri decode`` or ``skfmri predict``.
    samples : NiftiSamples
        All volumes, before cleaning.
    is_cleaned : bool
        Whether their runs will be cleaned.
    n_made : int, default=None
        Number of block means or estimates that are made of the volumes and kept in their place.
    decoder : estimator, default=None
        Fitted decoder, whose slab is needed. None takes the slab that the arguments describe.

    Returns
    -------
    text : str or None
    """
    # Whatever the type of the values, decoded copies are hardly larger than float64.
    if 8 * math.prod(samples.shape) < WORTH_SAYING:
        return None
    if is_cleaned:
        is_used = _is_near_slab(args, samples) if decoder is None else _is_read(decoder, samples)
        n_bytes = _kept_bytes(samples, is_used, len(samples) if n_made is None else n_made)
        days = os.environ.get(DAYS_VARIABLE) or LASTING_DAYS
        what = "cleaned runs" if n_made is None else "maps made of the runs"
        what, time = f"what the slab needs of the {what}", f"{days} days"
    else:
        n_bytes, what, time = copy_bytes(samples), "decoded copies of the images", "a day"
    if n_bytes < WORTH_SAYING:
        return None
    path = store_directory()
    free = shutil.disk_usage(path).free
    return (
        f"up to about {n_bytes / 1e9:.1f} GB in {path} ({free / 1e9:.1f} GB are free): {what}, "
        f"kept for {time} after the last use; --cache DIR names another place"
    )


def _kept_bytes(samples, is_used, n_kept_volumes):
    """Return about how much is kept of what is made of runs: the voxels near the slab."""
    n_voxels = math.prod(samples.grid_shape)
    n_kept = min(n_voxels, BLOCK_VOXELS * len(blocks_of(is_used)))
    n_runs = len(np.unique(samples.runs))
    of_summaries = n_runs * summary_bytes(n_kept_volumes // n_runs, samples.grid_shape)
    return FLOAT.itemsize * n_kept * n_kept_volumes + of_summaries


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


def _is_read(decoder, samples):
    """Return which voxels a fitted decoder reads: those of its slab, or all."""
    for step in dict(getattr(decoder, "steps", ())).values():
        if isinstance(step, NiftiSlabRotator):
            return voxels_of_slab(step)
    return np.ones(samples.grid_shape, bool)
