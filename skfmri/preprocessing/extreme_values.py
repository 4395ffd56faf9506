"""Values that splines cannot take."""

import numpy as np

# Where filters for cubic splines could overflow float32.
LARGEST_VALUE = 1e35


def numbered(batches):
    """Yield each batch after the numbers of its volumes among all."""
    start = 0
    for batch in batches:
        yield np.arange(start, start + len(batch)), batch
        start += len(batch)


def first_too_large(batches):
    """Return the number and the largest value of the first volume that holds too large a value."""
    return next(
        (number, largest)
        for batch_numbers, batch in numbered(batches)
        for number, largest in zip(batch_numbers, np.abs(batch).max(axis=(1, 2, 3)), strict=True)
        if largest > LARGEST_VALUE
    )


def too_large(number, largest, names):
    """Return the error for a value that is too large.

    Parameters
    ----------
    number : int
        Number of the volume.
    largest : float
        The value.
    names : callable
        Returns the name of a volume by its number.

    Returns
    -------
    error : ValueError
    """
    return ValueError(
        f"There is an absolute value of {largest:.3g} in {names(number)}. Beyond "
        f"{LARGEST_VALUE:g}, splines overflow float32, and no measurement is that large. Write NaN "
        "in its place, or correct the scale in the header."
    )


def fill_nonfinite(volumes):
    """Return finite volumes: other voxels are filled from their neighbours, or with 0."""
    if np.isfinite(volumes.sum(dtype=np.float64)):
        return volumes
    # Imported here, so that the package loads faster for those whose voxels are all finite.
    from nilearn.masking import extrapolate_out_mask

    volumes = volumes.copy()
    for volume in volumes:
        finite = np.isfinite(volume)
        if not finite.all():
            volume[...] = extrapolate_out_mask(np.where(finite, volume, 0), finite, iterations=2)[0]
    return volumes


def finite_extreme(volume, function):
    """Return the smallest or largest value that is finite; 0 counts as one."""
    value = function(volume)
    return value if np.isfinite(value) else function(volume[np.isfinite(volume)], initial=0)
