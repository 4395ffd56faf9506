"""Volumes with values that are not finite."""

import warnings

import numpy as np

from skfmri.report.words import counted
from skfmri.samples.nifti import list_images, stream_batches

MOST_NAMED = 10


def find_damaged(samples, *, is_kept=True, watch=None):
    """Return which volumes are not finite at voxels where another volume is.

    Voxels that are not finite in any volume hold no data, such as those around a masked brain.

    Parameters
    ----------
    samples : NiftiSamples
        Volumes; all are read once, a few at a time.
    is_kept : bool, default=True
        Whether decoded copies of compressed images are kept. They are of no use later if runs are
        cleaned.
    watch : callable, default=None
        Called with an iterator over batches and the number of volumes; yields the batches.

    Returns
    -------
    is_damaged : ndarray of shape (n_samples,), bool
        Which volumes are not finite at some of these voxels.
    is_empty : ndarray of shape (n_samples,), bool
        Which volumes are finite nowhere.
    share : float
        Share of the voxels with data that are not finite in some volume.
    """
    is_ever = np.zeros(samples.grid_shape, bool)
    is_always = np.ones(samples.grid_shape, bool)
    counts = []
    batches = samples.iter_batches() if is_kept else stream_batches(samples)
    for batch in batches if watch is None else watch(batches, len(samples)):
        is_finite = np.isfinite(batch)
        is_ever |= is_finite.any(axis=0)
        is_always &= is_finite.all(axis=0)
        counts.append(is_finite.sum(axis=(1, 2, 3)))
    n_finite, n_voxels = np.concatenate(counts), np.count_nonzero(is_ever)
    share = 1 - np.count_nonzero(is_always) / max(1, n_voxels)
    return n_finite < n_voxels, n_finite == 0, share


def find_dropped(samples, is_used, *, drop, is_cleaned, watch=None):
    """Return which volumes are left out because they are not finite.

    Parameters
    ----------
    samples : NiftiSamples
        All volumes.
    is_used : ndarray of shape (n_samples,), bool
        Those that have a part in the work. The others are not looked at.
    drop : bool
        Whether any is to be left out. If not, a warning says what there is.
    is_cleaned : bool
        Whether their runs are cleaned.
    watch : callable, default=None
        As in `find_damaged`.

    Returns
    -------
    is_dropped : ndarray of shape (n_samples,), bool

    Raises
    ------
    ValueError
        If no volume would be left.
    """
    is_dropped, used = np.zeros(len(samples), bool), samples[is_used]
    is_damaged, is_empty, share = find_damaged(used, is_kept=not is_cleaned, watch=watch)
    if is_empty.all():
        raise ValueError(
            f"No finite value in any of {counted(len(used), 'volume')}, such as "
            f"{name_volumes(used[:1])}. Check the images."
        )
    if not is_damaged.any():
        return is_dropped
    found = (
        f"{is_damaged.sum()} of {counted(len(used), 'volume')} hold NaN or infinite values where "
        f"others hold data: {name_volumes(used[is_damaged])}."
    )
    if not drop:
        if is_empty.any():
            found += f" Without any finite value: {name_volumes(used[is_empty])}."
        found += f" {_effect(share, is_cleaned)}"
        if not is_damaged.all():
            found += " Leave these volumes out with --drop-nonfinite."
        warnings.warn(found, stacklevel=2)
    elif is_damaged.all():
        raise ValueError(
            f"--drop-nonfinite would leave no volume. {found} Give them finite values outside a "
            "mask that they share, or do without --drop-nonfinite."
        )
    else:
        is_dropped[is_used] = is_damaged
    return is_dropped


def _effect(share, is_cleaned):
    if is_cleaned:
        return "Such values count as 0 when runs are cleaned, which alters the rest of the run."
    return (
        f"{100 * share:.1f} % of the voxels that hold data are in doubt: they become 0 in every "
        "fold that trains on such a volume."
    )


def list_volumes(samples):
    """Return volumes as JSON-serialisable values: the name of an image, and the number there."""
    names = [name for name, _ in list_images(samples)]
    places = zip(*samples.acquisition_order(), strict=True)
    return [{"image": names[image], "volume": int(volume)} for image, volume in places]


def name_volumes(samples):
    """Return volumes as text: each image with the numbers of its volumes, from 0.

    Parameters
    ----------
    samples : NiftiSamples
        Volumes.

    Returns
    -------
    text : str
        Such as ``one.nii: 0 to 3, 7; two.nii: 5``.
    """
    of_image, positions = samples.acquisition_order()
    names = [name for name, _ in list_images(samples)]
    places = [(names[i], positions[of_image == i]) for i in dict.fromkeys(of_image.tolist())]
    shown = [f"{name}: {ranges(np.sort(numbers))}" for name, numbers in places[:MOST_NAMED]]
    if len(places) > MOST_NAMED:
        shown.append(f"and {len(places) - MOST_NAMED} more images")
    return "; ".join(shown)


def ranges(numbers):
    """Return ascending numbers as text, neighbours as ranges."""
    breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
    stretches = np.split(np.array(numbers), breaks)
    return ", ".join(str(s[0]) if len(s) == 1 else f"{s[0]} to {s[-1]}" for s in stretches)
