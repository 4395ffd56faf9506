"""The linear operator that resamples volumes from one grid to another."""

from __future__ import annotations

# Resampling is linear in the data, so it can be computed once for a pair of grids and applied to
# any number of volumes, and its transpose carries maps back. The operator is a product of matrices:
# a prefilter along each axis, then the weights of the splines, one row for each voxel of the box.
# If the rotation leaves one axis alone, all planes across that axis share the same small matrix:
# volumes are then seen as columns, one for each plane. Such planes are resampled by the compiled
# recursion, if there is one; if not, by one dense matrix with the prefilters folded in if the box
# is thin, or by the matrices one after the other. If voxels fall exactly onto voxels, nothing is
# interpolated and values are copied: filters would turn exact zeros into rounding errors.
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import linalg, ndimage, sparse

from skfmri.resampling.splines import (
    dense_weights,
    filter_axes,
    prefilter,
    resample_planes,
    sparse_weights,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from skfmri._types import Shape, SplineOrder

FILE_ORDER = (2, 1, 0)
# Largest rounding error of a coordinate in voxels.
TOLERANCE = 1e-9
# Smallest weight of a voxel, summed over the box, as a fraction of the largest, that is needed.
SMALLEST_WEIGHT = 2e-6


def unchanged_axis(transform: NDArray[Any]) -> int | None:
    """Return the voxel axis that a transform only shifts, by whole voxels, or None.

    Parameters
    ----------
    transform : ndarray of shape (4, 4)
        From voxels to voxels.

    Returns
    -------
    axis : int or None
    """
    for axis in range(3):
        unit = np.eye(3)[axis]
        errors = transform[axis, :3] - unit, transform[:3, axis] - unit
        step = transform[axis, 3]
        if np.abs([*errors[0], *errors[1], step - round(step)]).max() < TOLERANCE:
            return axis
    return None


@dataclass(frozen=True)
class ResamplingOperator:
    """A linear map from volumes of one grid to a box of another.

    Made by `resampling_operator`; used through `apply_operator` and `apply_transpose`.

    Attributes
    ----------
    weights : ndarray or csr_array
        Rows are voxels of the box, columns voxels of the grid; those of one plane if `plane_axis`
        is not None. The last axis runs slowest, as in a NIfTI file.
    prefilters : tuple
        For each axis the matrix that turns samples into spline coefficients, or None.
    grid_shape, box_shape : tuple of int
        Shapes of a volume and of the result.
    is_recursive : bool
        Whether the compiled part, if there is one, can take the place of the matrices.
    plane_axis : int or None
        The axis that resampling leaves alone.
    source_planes, box_planes : slice or None
        Planes along `plane_axis` that are read, and their place in the box.
    """

    weights: NDArray[Any] | sparse.csr_array
    prefilters: tuple[NDArray[Any] | None, ...]
    grid_shape: Shape
    box_shape: Shape
    is_recursive: bool = False
    plane_axis: int | None = None
    source_planes: slice | None = None
    box_planes: slice | None = None


def resampling_operator(
    transform: NDArray[Any],
    grid_shape: Shape,
    box: Sequence[tuple[int, int]],
    order: SplineOrder,
    *,
    keeps_zeros: bool = False,
    compiled: bool | None = None,
) -> ResamplingOperator:
    """Return the operator that samples volumes at the voxels of a box.

    Interpolation by B-splines is linear in the data, prefilter included, so it can be computed
    once for all volumes. Points outside the volume give 0; splines are mirrored at its edges, as
    in `scipy.ndimage.affine_transform`. If all points are voxels, their values are copied.

    Parameters
    ----------
    transform : ndarray of shape (4, 4)
        From voxels of the grid of the box to voxels of the volume.
    grid_shape : tuple of int
        Shape of a volume.
    box : sequence of 3 pairs of int
        First voxel and end along each axis of the grid of the box.
    order : {0, 1, 3}
        Order of the splines.
    keeps_zeros : bool, default=False
        Whether voxels must be exactly zero where splines cancel to zero. Filtering in single
        precision leaves a residue there, so this returns float64, except for a single dense matrix,
        which is float32 in any case.
    compiled : bool, default=None
        Whether to use the compiled recursion when possible; False uses matrices, which give the
        same result up to rounding. None means True, if there is a compiled part.

    Returns
    -------
    operator : ResamplingOperator
        Holds a sparse matrix that is applied to spline coefficients, or one dense matrix for all
        planes. It is dense if the transform leaves an axis alone, the box is thin, and either zeros
        are to be kept or the compiled recursion is not used.

    References
    ----------
    Unser, Aldroubi & Eden (1993), B-spline signal processing. IEEE Transactions on Signal
    Processing 41:821-848. https://doi.org/10.1109/78.193220
    """
    compiled = resample_planes is not None if compiled is None else compiled
    box = tuple((int(first), int(end)) for first, end in box)
    box_shape = tuple(end - first for first, end in box)
    coordinates = _source_coordinates(transform, box)
    inside = np.ones(box_shape, dtype=bool)
    for values, length in zip(coordinates, grid_shape, strict=True):
        inside &= (values >= 0) & (values <= length - 1)
    coordinates, order = _without_rounding(coordinates, order)
    plane_axis = _plane_axis(transform, inside)
    dtype = np.float64 if keeps_zeros else np.float32
    filters = [prefilter(length, dtype) if order == 3 else None for length in grid_shape]
    if plane_axis is None:
        weights = sparse_weights(coordinates, inside, grid_shape, FILE_ORDER, order, dtype)
        return ResamplingOperator(weights, tuple(filters), tuple(grid_shape), box_shape)

    along = inside.any(axis=tuple(axis for axis in range(3) if axis != plane_axis))
    here = np.flatnonzero(along)
    first = here[0] if len(here) else 0
    box_planes = slice(int(first), int(first) + len(here))
    shift = box[plane_axis][0] + round(transform[plane_axis, 3])
    source_planes = slice(box_planes.start + shift, box_planes.stop + shift)
    # All planes are alike, so one of them gives the weights.
    plane = [np.take(values, first, axis=plane_axis) for values in coordinates]
    inside = inside.any(axis=plane_axis)
    filters[plane_axis] = None
    folds_filters = order == 3 and (keeps_zeros or not compiled)
    if folds_filters and _is_thin(inside, grid_shape, plane_axis):
        # Costs less than products that filter whole planes first.
        weights = dense_weights(plane, inside, grid_shape, _plane_axes(plane_axis))
        weights, filters = weights.astype(np.float32), [None, None, None]
    else:
        kept = [values for axis, values in enumerate(plane) if axis != plane_axis]
        lengths = [length for axis, length in enumerate(grid_shape) if axis != plane_axis]
        weights = sparse_weights(kept, inside, lengths, (1, 0), order, dtype)
    return ResamplingOperator(
        weights,
        tuple(filters),
        tuple(grid_shape),
        box_shape,
        compiled and _is_recursive(weights, filters),
        plane_axis,
        source_planes,
        box_planes,
    )


def apply_operator(operator: ResamplingOperator, volumes: NDArray[Any]) -> NDArray[Any]:
    """Resample volumes.

    Parameters
    ----------
    operator : ResamplingOperator
    volumes : ndarray of shape (k, x, y, z)
        Read fastest if x runs fastest in memory, as in a NIfTI file.

    Returns
    -------
    boxes : ndarray of shape ``(k, *operator.box_shape)``
        In the precision of the operator.
    """
    n_volumes = len(volumes)
    weights, dtype = operator.weights, operator.weights.dtype
    boxes = np.zeros((n_volumes, *operator.box_shape), dtype=dtype)
    p = operator.plane_axis
    if p is not None:
        volumes = volumes[(slice(None),) * (p + 1) + (operator.source_planes,)]
        target = _plane_last(boxes, p)[..., operator.box_planes]
    # An operator may have been unpickled on a machine without the compiled part.
    if operator.is_recursive and resample_planes is not None:
        # The view drops an explicit byte order, even if it is that of this machine.
        planes = np.require(_plane_last(volumes, p), dtype, ["C", "ALIGNED"]).view(dtype)
        values = np.empty((n_volumes, weights.shape[0], planes.shape[3]), dtype=dtype)
        resample_planes(planes, weights.indptr, weights.indices, weights.data, values)
        target[...] = values.reshape(target.shape)
        return boxes
    stored = np.asarray(volumes, dtype=dtype).transpose(0, 3, 2, 1)
    stored = filter_axes(stored, operator.prefilters)
    if p is None:
        values = weights @ stored.reshape(n_volumes, -1).T
        boxes.transpose(0, 3, 2, 1)[...] = values.T.reshape(n_volumes, *operator.box_shape[::-1])
        return boxes
    columns = _plane_columns(stored.transpose(0, 3, 2, 1), p)
    if sparse.issparse(weights):
        values = [weights @ column for column in columns]
    else:
        values = np.matmul(weights, columns)
    for i in range(n_volumes):
        target[i] = values[i].reshape(target.shape[1:])
    return boxes


def reaches_data(operator: ResamplingOperator) -> bool:
    """Return whether any voxel of the box lies inside the volumes.

    Parameters
    ----------
    operator : ResamplingOperator

    Returns
    -------
    reaches : bool
    """
    if operator.box_planes is not None and operator.box_planes.stop == operator.box_planes.start:
        return False
    return bool(abs(operator.weights).sum() > 0)


def needed_voxels(
    operator: ResamplingOperator, wanted: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Return the voxels of the volumes that matter for voxels of the box.

    With cubic splines every voxel of a volume has a weight, but most weights are tiny. Without
    those below the limit, results differ by less than 1e-5 of the range of the values.

    Parameters
    ----------
    operator : ResamplingOperator
    wanted : ndarray of bool, shape `operator.box_shape`, default=None
        Voxels of the box that are to be computed; None means all.

    Returns
    -------
    is_needed : ndarray of shape ``operator.grid_shape``, bool
    """
    filters = [None if matrix is None else np.abs(matrix) for matrix in operator.prefilters]
    sizes = replace(operator, weights=abs(operator.weights), prefilters=tuple(filters))
    wanted = np.ones(operator.box_shape) if wanted is None else wanted
    sums = apply_transpose(sizes, wanted[np.newaxis])[0]
    return sums > SMALLEST_WEIGHT * sums.max()


def apply_transpose(operator: ResamplingOperator, boxes: NDArray[Any]) -> NDArray[np.float32]:
    """Carry values from a box back to the grid of the volumes, by the transposed operator.

    The gradient of a function of the box becomes the gradient of the same function of the
    volume, because ``<apply_operator(v), b> == <v, apply_transpose(b)>``.

    Parameters
    ----------
    operator : ResamplingOperator
    boxes : ndarray of shape ``(k, *operator.box_shape)``

    Returns
    -------
    volumes : ndarray of shape ``(k, *operator.grid_shape)``, float32
    """
    n_volumes = len(boxes)
    boxes = np.asarray(boxes, dtype=np.float32)
    volumes = np.zeros((n_volumes, *operator.grid_shape), dtype=np.float32)
    transposed = operator.weights.T
    p = operator.plane_axis
    if p is None:
        values = transposed @ boxes.transpose(0, 3, 2, 1).reshape(n_volumes, -1).T
        stored = np.ascontiguousarray(values.T).reshape(n_volumes, *operator.grid_shape[::-1])
        volumes[...] = stored.transpose(0, 3, 2, 1)
    else:
        columns = _plane_columns(boxes, p)[..., operator.box_planes]
        target = _plane_last(volumes, p)[..., operator.source_planes]
        for i in range(n_volumes):
            target[i] = (transposed @ columns[i]).reshape(target.shape[1:])
    filters = [None if matrix is None else matrix.T for matrix in operator.prefilters]
    return filter_axes(volumes.transpose(0, 3, 2, 1), filters).transpose(0, 3, 2, 1)


def resample_back(
    boxes: NDArray[Any],
    transform: NDArray[Any],
    first_voxel: Sequence[int],
    grid_shape: Shape,
    order: SplineOrder,
    mask: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Resample boxes of the rotated grid to the native grid.

    Parameters
    ----------
    boxes : ndarray of shape (k, x, y, z)
        Values on a box of the rotated grid.
    transform : ndarray of shape (4, 4)
        From voxels of the rotated grid to voxels of the native grid.
    first_voxel : sequence of 3 ints
        Voxel of the rotated grid at which the box begins.
    grid_shape : tuple of int
        Native grid.
    order : {0, 1, 3}
        Order of the splines.
    mask : ndarray of bool, shape (x, y, z), default=None
        Voxels of the box that hold a value, at least one; None means all. For the interpolation
        others take the value of the nearest of these.

    Returns
    -------
    volumes : ndarray of shape ``(k, *grid_shape)``, float32
        NaN where a voxel centre is more than half a voxel outside the box, or closest to a voxel
        outside the mask or a value that is not finite.
    """
    if mask is not None:
        nearest = ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True)
        boxes = boxes[:, *nearest]
    back = linalg.inv(transform)
    back[:3, 3] -= first_voxel
    coordinates = _source_coordinates(back, [(0, length) for length in grid_shape])
    reached = np.ones(grid_shape, dtype=bool)
    for axis, length in enumerate(boxes.shape[1:]):
        # Rounding must not decide about voxels exactly half a voxel outside.
        reached &= (coordinates[axis] > -0.5 - 1e-9) & (coordinates[axis] < length - 0.5 + 1e-9)
        coordinates[axis] = coordinates[axis].clip(0, length - 1)
    if mask is not None:
        reached[reached] = _are_nearest(mask, [values[reached] for values in coordinates])
    points, order = _without_rounding([values[reached] for values in coordinates], order)
    volumes = np.full((len(boxes), *grid_shape), np.nan, dtype=np.float32)
    for volume, box in zip(volumes, boxes, strict=True):
        # A spline would spread one NaN through the whole box.
        finite = np.isfinite(box)
        filled = np.where(finite, box, 0).astype(float)
        values = ndimage.map_coordinates(filled, points, order=order, mode="mirror")
        if not finite.all():
            values[~_are_nearest(finite, points)] = np.nan
        volume[reached] = values
    return volumes


def _are_nearest(mask, points):
    """Return which points of a box are nearest to a voxel of a mask."""
    return ndimage.map_coordinates(mask.astype(np.uint8), points, order=0, mode="mirror") > 0


def resampled_bound(
    transform: NDArray[Any], magnitudes: NDArray[Any], shape: Shape, order: SplineOrder
) -> NDArray[Any]:
    """Return how large resampled values can be if only magnitudes of voxels are known.

    Parameters
    ----------
    transform : ndarray of shape (4, 4)
        From voxels of the new grid to voxels of the volumes.
    magnitudes : ndarray of shape (x, y, z)
        Largest absolute value of each voxel in any volume.
    shape : tuple of int
        New grid.
    order : {0, 1, 3}
        Order of the splines.

    Returns
    -------
    bound : ndarray of the given shape
        No volume of these magnitudes gives a larger absolute value.
    """
    # B-splines are never negative, so only the prefilter needs absolute values.
    if unchanged_axis(transform) is not None:
        box = [(0, length) for length in shape]
        operator = resampling_operator(transform, magnitudes.shape, box, order)
        filters = [None if matrix is None else np.abs(matrix) for matrix in operator.prefilters]
        operator = replace(
            operator, weights=abs(operator.weights), prefilters=tuple(filters), is_recursive=False
        )
        return apply_operator(operator, magnitudes[np.newaxis])[0]
    if order == 3:
        for axis, length in enumerate(magnitudes.shape):
            product = np.tensordot(np.abs(prefilter(length, float)), magnitudes, (1, axis))
            magnitudes = np.moveaxis(product, 0, axis)
    return ndimage.affine_transform(
        magnitudes,
        transform[:3, :3],
        offset=transform[:3, 3],
        output_shape=shape,
        order=order,
        prefilter=False,
    )


def _source_coordinates(transform, box):
    """Return the source coordinates of a box as three arrays, summed in SciPy's order."""
    indices = np.meshgrid(*[np.arange(*span, dtype=float) for span in box], indexing="ij")
    return [
        ((row[3] + indices[0] * row[0]) + indices[1] * row[1]) + indices[2] * row[2]
        for row in transform[:3]
    ]


def _without_rounding(coordinates, order):
    """Return coordinates and order; if the coordinates are those of voxels, whole and 0."""
    voxels = [np.rint(values) for values in coordinates]
    errors = (np.abs(a - b).max(initial=0) for a, b in zip(coordinates, voxels, strict=True))
    return (voxels, 0) if max(errors) < TOLERANCE else (coordinates, order)


def _plane_axis(transform, inside):
    """Return the axis along which resampling takes whole planes, or None."""
    axis = unchanged_axis(transform)
    if axis is None:
        return None
    others = tuple(other for other in range(3) if other != axis)
    along = inside.any(axis=others, keepdims=True)
    across = inside.any(axis=axis, keepdims=True)
    # Rounding may put single voxels at the edge outside; then the planes are not all alike.
    return axis if np.array_equal(inside, along & across) else None


def _plane_axes(plane_axis):
    """Return the axes of a plane in file order."""
    return tuple(axis for axis in FILE_ORDER if axis != plane_axis)


def _is_thin(inside, grid_shape, plane_axis):
    """Return whether a plane of the box has so few voxels that a dense matrix is cheap."""
    return inside.size <= 2 * sum(grid_shape[axis] for axis in _plane_axes(plane_axis))


def _is_recursive(weights, filters):
    """Return whether the compiled recursion takes the weights and gives what the filters do."""
    is_filtered = any(matrix is not None for matrix in filters)
    # Filters come with sparse weights, whose types are the only ones that were compiled.
    return is_filtered and weights.dtype == np.float32 and weights.indices.dtype == np.int32


def _plane_last(volumes, plane_axis):
    """Return a view with the plane axis last and the others in file order."""
    axes = [axis + 1 for axis in _plane_axes(plane_axis)]
    return volumes.transpose(0, *axes, plane_axis + 1)


def _plane_columns(volumes, plane_axis):
    """Return volumes as ``(k, voxels of a plane, planes)``."""
    moved = _plane_last(volumes, plane_axis)
    return moved.reshape(len(moved), moved.shape[1] * moved.shape[2], moved.shape[3])
