"""The box that holds all data after a rotation, found without rotating every volume."""

import warnings
from functools import partial

import numpy as np
from scipy import ndimage

from skfmri.resampling import apply_operator, resampled_bound, resampling_operator

# nilearn's crop_img keeps a plane if any rotated volume exceeds a threshold in it; the threshold is
# a fraction of the largest rotated value. To rotate all volumes for that would cost more than the
# slab itself. Instead,
# 1. one pass over the volumes finds the largest magnitude of each voxel and the strongest volume;
# 2. two cheap bounds settle most planes. Planes where the strongest volume, rotated, exceeds the
#    threshold hold data. Planes where the spline weights applied to the magnitudes, which no volume
#    can exceed, do not reach it are empty;
# 3. the few planes in between are computed for every volume, from the outside in, until one on each
#    side holds data;
# 4. the threshold itself is only known within limits, like the largest rotated value. If the
#    maximum of a plane lies within them, all volumes are rotated after all, chunk by chunk.

# The fraction of the largest value up to which nilearn's crop_img takes a voxel for empty.
EMPTY_FRACTION = 1e-8
CHUNK_VOXELS = 200_000


def value_range(batches):
    """Summarise volumes so that the crop can be bounded before any of them is rotated.

    Parameters
    ----------
    batches : iterable of ndarray of shape (k, x, y, z)
        All volumes, finite.

    Returns
    -------
    low, high : float
        Smallest and largest value, 0 included.
    magnitudes : ndarray of shape (x, y, z), float64
        Largest absolute value of each voxel.
    strongest : ndarray of shape (x, y, z)
        The volume with the largest absolute value.
    """
    low = high = 0.0
    magnitudes = strongest = None
    for batch in batches:
        largest, smallest = batch.max(axis=0), batch.min(axis=0)
        magnitude = np.maximum(largest, -smallest)
        if magnitudes is None or magnitude.max() > magnitudes.max():
            voxel = np.unravel_index(magnitude.argmax(), magnitude.shape)
            strongest = batch[(np.abs(batch[(slice(None), *voxel)]).argmax(),)].copy()
        magnitudes = magnitude if magnitudes is None else np.maximum(magnitudes, magnitude)
        low, high = min(low, float(smallest.min())), max(high, float(largest.max()))
    return low, high, magnitudes.astype(np.float64), strongest


def crop_box(read_batches, summary, transform, rotated_shape, order, *, resample=apply_operator):
    """Return the box that nilearn's `crop_img` would keep of the rotated volumes.

    Parameters
    ----------
    read_batches : callable
        Returns an iterable over all volumes in batches of shape (k, x, y, z), finite.
    summary : tuple
        What `value_range` returned for the same volumes.
    transform : ndarray of shape (4, 4)
        From voxels of the rotated grid to voxels of the native grid.
    rotated_shape : tuple of int
        Rotated grid.
    order : {0, 1, 3}
        Order of the splines.
    resample : callable, default=apply_operator
        Called with an operator and volumes for whatever is computed of all volumes.

    Returns
    -------
    box : tuple of 3 pairs of int
        First voxel and end along each axis, with a margin of one voxel inside the grid.
    """
    low, high, magnitudes, strongest = summary
    full = tuple((0, length) for length in rotated_shape)
    largest = max(-low, high)
    if largest == 0:
        warnings.warn(
            "All volumes are zero everywhere, so nothing can be cropped.", UserWarning, stacklevel=5
        )
        return full
    shown = np.abs(_rotate(strongest, transform, rotated_shape, order).clip(low, high))
    bound = resampled_bound(transform, magnitudes, rotated_shape, order)
    # The threshold depends on the largest rotated value, which is known within these limits.
    limits = EMPTY_FRACTION * float(shown.max()), EMPTY_FRACTION * largest
    possible = [np.flatnonzero(plane_maxima > limits[0] * 0.999) for plane_maxima in _maxima(bound)]
    if any(len(planes) == 0 for planes in possible):
        return full
    full = tuple((int(planes[0]), int(planes[-1]) + 1) for planes in possible)
    planes = _maxima(shown)
    sides = [
        side
        for axis in range(3)
        for side in _undecided(axis, possible[axis], np.flatnonzero(planes[axis] > limits[1]))
    ]
    operators = {
        (axis, i): _plane_operator(transform, magnitudes.shape, full, axis, i, order)
        for side in sides
        for axis, i in side
    }
    measure = partial(_largest, value_range=(low, high), resample=resample)
    _measure_planes(planes, sides, operators, read_batches, measure, limits[1])
    limit = limits[1]
    if any(limits[0] < planes[axis][i] <= limits[1] for axis, i in operators):
        parts = _chunk_operators(transform, magnitudes.shape, full, order)
        limit = max(limits[0], EMPTY_FRACTION * _largest_of_all(read_batches, parts, measure))
    return tuple(
        _with_margin(np.flatnonzero(planes[axis] > limit), rotated_shape[axis]) for axis in range(3)
    )


def _rotate(volume, transform, rotated_shape, order):
    return ndimage.affine_transform(
        np.asarray(volume, dtype=np.float64),
        transform[:3, :3],
        offset=transform[:3, 3],
        output_shape=rotated_shape,
        order=order,
    )


def _maxima(volume):
    """Return for each axis the largest value of each plane."""
    return [volume.max(axis=tuple(other for other in range(3) if other != a)) for a in range(3)]


def _undecided(axis, possible, certain):
    """Return for both sides the planes that may hold data, those farthest outside first."""
    if not len(certain):
        return [[(axis, i) for i in possible]]
    return [
        [(axis, i) for i in possible if i < certain[0]],
        [(axis, i) for i in possible[::-1] if i > certain[-1]],
    ]


def _plane_operator(transform, grid_shape, box, axis, i, order):
    box = (*box[:axis], (i, i + 1), *box[axis + 1 :])
    return resampling_operator(transform, grid_shape, box, order, keeps_zeros=True)


def _measure_planes(planes, sides, operators, read_batches, measure, enough):
    """Raise `planes` to the largest value in any volume, as far as that decides on the box."""
    sides = [side for side in sides if side]
    if not sides:
        return
    for batch in read_batches():
        # A few volumes show where the data begin, so that fewer planes are left for the rest.
        for volumes in (batch[:4], batch[4:]):
            for side in sides:
                for n_outer, (axis, i) in enumerate(side):
                    value = measure(operators[axis, i], volumes)
                    planes[axis][i] = max(planes[axis][i], value)
                    if value > enough:
                        del side[n_outer:]
                        break


def _chunk_operators(transform, grid_shape, box, order):
    """Yield operators that compute a box in chunks of bounded size."""
    plane = int(np.prod([end - first for first, end in box[:2]]))
    step = max(1, CHUNK_VOXELS // plane)
    for first in range(*box[2], step):
        part = (*box[:2], (first, min(first + step, box[2][1])))
        yield resampling_operator(transform, grid_shape, part, order)


def _largest_of_all(read_batches, operators, measure):
    """Return the largest absolute value that any of the operators gives for any volume."""
    return max(measure(operator, batch) for operator in operators for batch in read_batches())


def _largest(operator, volumes, value_range, resample):
    """Return the largest absolute value that an operator gives, after clipping."""
    if not len(volumes):
        return 0.0
    values = resample(operator, volumes)
    low, high = value_range
    return max(min(float(values.max()), high), -max(float(values.min()), low))


def _with_margin(planes, length):
    if len(planes) == 0:
        return 0, length
    return max(int(planes[0]) - 1, 0), min(int(planes[-1]) + 2, length)
