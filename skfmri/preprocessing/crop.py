"""The box that holds all data after a rotation, found without rotating every volume."""

import warnings

import numpy as np
from scipy import ndimage

from skfmri.resampling.operator import apply_operator, resampled_bound, resampling_operator

# The fraction of the largest value up to which nilearn's crop_img takes a voxel for empty.
EMPTY_FRACTION = 1e-8
CHUNK_VOXELS = 200_000


def value_range(batches):
    """Return what is needed to know of the volumes before any is rotated.

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


def crop_box(read_batches, summary, transform, rotated_shape, order):
    """Return the box that nilearn's `crop_img` would keep of the rotated volumes.

    Only planes about which two cheap bounds disagree are computed for every volume: a plane is
    surely empty if the spline weights cannot lift the largest values above the threshold,
    and surely not if the strongest volume shows data there.

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

    Returns
    -------
    box : tuple of 3 pairs of int
        First voxel and end along each axis, with a margin of one voxel inside of the grid.
    """
    low, high, magnitudes, strongest = summary
    full = tuple((0, length) for length in rotated_shape)
    largest = max(-low, high)
    if largest == 0:
        warnings.warn(
            "All volumes are zero everywhere, so nothing can be cropped.", UserWarning, stacklevel=4
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
    _measure_planes(planes, sides, operators, read_batches, (low, high), limits[1])
    limit = limits[1]
    if any(limits[0] < planes[axis][i] <= limits[1] for axis, i in operators):
        limit = EMPTY_FRACTION * _largest_rotated(
            read_batches, transform, magnitudes.shape, full, order, (low, high), limits
        )
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


def _measure_planes(planes, sides, operators, read_batches, value_range, enough):
    """Raise `planes` to the largest value in any volume, where that decides on the box."""
    sides = [side for side in sides if side]
    if not sides:
        return
    for batch in read_batches():
        # A few volumes show where the data begin, so that fewer planes are left for the rest.
        for volumes in (batch[:4], batch[4:]):
            for side in sides:
                for n_outer, (axis, i) in enumerate(side):
                    value = _largest(operators[axis, i], volumes, value_range)
                    planes[axis][i] = max(planes[axis][i], value)
                    if value > enough:
                        del side[n_outer:]
                        break


def _largest(operator, volumes, value_range):
    """Return the largest absolute value that an operator gives, after clipping."""
    if not len(volumes):
        return 0.0
    values = apply_operator(operator, volumes)
    low, high = value_range
    return max(min(float(values.max()), high), -max(float(values.min()), low))


def _largest_rotated(read_batches, transform, grid_shape, box, order, value_range, limits):
    """Return the largest absolute value of all rotated volumes."""
    plane = int(np.prod([end - first for first, end in box[:2]]))
    step = max(1, CHUNK_VOXELS // plane)
    largest = limits[0] / EMPTY_FRACTION
    for first in range(*box[2], step):
        part = (*box[:2], (first, min(first + step, box[2][1])))
        operator = resampling_operator(transform, grid_shape, part, order)
        for batch in read_batches():
            largest = max(largest, _largest(operator, batch, value_range))
    return largest


def _with_margin(planes, length):
    if len(planes) == 0:
        return 0, length
    return max(int(planes[0]) - 1, 0), min(int(planes[-1]) + 2, length)
