"""The linear operator that resamples volumes from one grid to another."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg, ndimage, sparse

try:
    from skfmri.resampling import _splines
except ImportError:
    # It was installed without a compiler.
    _splines = None

SPLINE_ORDERS = {"continuous": 3, "linear": 1, "nearest": 0}
FILE_ORDER = (2, 1, 0)


def unchanged_axis(transform, tolerance=1e-9):
    """Return the voxel axis that a transform maps to itself by whole voxels, or None.

    Parameters
    ----------
    transform : ndarray of shape (4, 4)
        From voxels to voxels.
    tolerance : float, default=1e-9
        Largest rounding error of an entry.

    Returns
    -------
    axis : int or None
    """
    for axis in range(3):
        unit = np.eye(3)[axis]
        errors = transform[axis, :3] - unit, transform[:3, axis] - unit
        step = transform[axis, 3]
        if np.abs([*errors[0], *errors[1], step - round(step)]).max() < tolerance:
            return axis
    return None


@dataclass(frozen=True)
class ResamplingOperator:
    """A linear map from volumes of one grid to a box of another.

    Made by `resampling_operator`; used through `apply_operator` and `apply_transpose`.

    Attributes
    ----------
    weights : ndarray or csr_array
        Rows are voxels of the box, columns voxels of the grid, of one plane each where
        `plane_axis` is not None; the last axis runs slowest, as in a NIfTI file.
    prefilters : tuple
        For each axis None or the matrix that turns samples into spline coefficients.
    grid_shape, box_shape : tuple of int
        Shapes of a volume and of the result.
    is_recursive : bool
        Whether the prefilters are such as `_splines` computes by recursion, where that was
        compiled, instead of multiplying with them.
    plane_axis : int or None
        The axis that resampling leaves alone.
    source_planes, box_planes : slice or None
        Planes along `plane_axis` that are read, and where they go in the box.
    """

    weights: object
    prefilters: tuple
    grid_shape: tuple
    box_shape: tuple
    is_recursive: bool = False
    plane_axis: int | None = None
    source_planes: slice | None = None
    box_planes: slice | None = None


def resampling_operator(transform, grid_shape, box, order, *, keeps_zeros=False):
    """Return the operator that samples volumes at the voxels of a box.

    Interpolation by B-splines is linear in the data, prefilter included, so it can be computed
    once for all volumes. Points outside of the volume give 0; splines are mirrored at its
    rim, as in `scipy.ndimage.affine_transform`.

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
        Whether voxels must be zero where splines cancel to zero. Filtering in single precision
        leaves more than that. Gives float32 all the same where one matrix does everything, else
        float64.

    Returns
    -------
    operator : ResamplingOperator
        A sparse matrix to be applied to spline coefficients, or one dense matrix for all planes:
        where the transform leaves an axis alone and the box is thin, if zeros are to be kept or
        the recursive filter was not compiled.

    References
    ----------
    Unser, Aldroubi & Eden (1993), B-spline signal processing. IEEE Transactions on Signal
    Processing 41:821-848. https://doi.org/10.1109/78.193220
    """
    box = tuple((int(first), int(end)) for first, end in box)
    box_shape = tuple(end - first for first, end in box)
    coordinates = _source_coordinates(transform, box)
    inside = np.ones(box_shape, dtype=bool)
    for values, length in zip(coordinates, grid_shape, strict=True):
        inside &= (values >= 0) & (values <= length - 1)
    plane_axis = _plane_axis(transform, inside)
    dtype = np.float64 if keeps_zeros else np.float32
    filters = [_prefilter(length, dtype) if order == 3 else None for length in grid_shape]
    if plane_axis is None:
        weights = _sparse_weights(coordinates, inside, grid_shape, FILE_ORDER, order, dtype)
        return ResamplingOperator(weights, tuple(filters), tuple(grid_shape), box_shape)

    along = inside.any(axis=tuple(axis for axis in range(3) if axis != plane_axis))
    here = np.flatnonzero(along)
    first = here[0] if len(here) else 0
    box_planes = slice(int(first), int(first) + len(here))
    shift = box[plane_axis][0] + round(transform[plane_axis, 3])
    source_planes = slice(box_planes.start + shift, box_planes.stop + shift)
    coordinates = [np.take(values, first, axis=plane_axis) for values in coordinates]
    inside = inside.any(axis=plane_axis)
    axes = tuple(axis for axis in FILE_ORDER if axis != plane_axis)
    filters[plane_axis] = None
    is_thin = inside.size <= 2 * sum(grid_shape[axis] for axis in axes)
    if order == 3 and is_thin and (keeps_zeros or _splines is None):
        # Costs less than products that filter whole planes first.
        weights = _dense_weights(coordinates, inside, grid_shape, axes).astype(np.float32)
        filters = [None, None, None]
    else:
        kept = [values for axis, values in enumerate(coordinates) if axis != plane_axis]
        lengths = [length for axis, length in enumerate(grid_shape) if axis != plane_axis]
        weights = _sparse_weights(kept, inside, lengths, (1, 0), order, dtype)
    is_filtered = any(matrix is not None for matrix in filters)
    return ResamplingOperator(
        weights,
        tuple(filters),
        tuple(grid_shape),
        box_shape,
        is_filtered and weights.dtype == np.float32 and weights.indices.dtype == np.int32,
        plane_axis,
        source_planes,
        box_planes,
    )


def apply_operator(operator, volumes):
    """Resample volumes.

    Parameters
    ----------
    operator : ResamplingOperator
    volumes : ndarray of shape (k, x, y, z)
        Read fastest where x runs fastest in memory, as in a NIfTI file.

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
    if operator.is_recursive and _splines is not None:
        # The view leaves out a byte order that is named although it is this machine's.
        planes = np.require(_plane_last(volumes, p), dtype, ["C", "ALIGNED"]).view(dtype)
        values = np.empty((n_volumes, weights.shape[0], planes.shape[3]), dtype=dtype)
        _splines.resample_planes(planes, weights.indptr, weights.indices, weights.data, values)
        target[...] = values.reshape(target.shape)
        return boxes
    stored = np.asarray(volumes, dtype=dtype).transpose(0, 3, 2, 1)
    stored = _filter_axes(stored, operator.prefilters)
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


def reaches_data(operator):
    """Tell whether any voxel of the box lies inside the volumes.

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


def apply_transpose(operator, boxes):
    """Carry values from a box back to the grid of the volumes by the transposed operator.

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
    return _filter_axes(volumes.transpose(0, 3, 2, 1), filters).transpose(0, 3, 2, 1)


def resample_back(boxes, transform, first_voxel, grid_shape, order):
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

    Returns
    -------
    volumes : ndarray of shape ``(k, *grid_shape)``, float32
        NaN where a voxel centre lies more than half a voxel outside of the box, or nearest to a
        value that is not finite.
    """
    back = linalg.inv(transform)
    back[:3, 3] -= first_voxel
    coordinates = _source_coordinates(back, [(0, length) for length in grid_shape])
    reached = np.ones(grid_shape, dtype=bool)
    for axis, length in enumerate(boxes.shape[1:]):
        # Rounding must not decide on voxels that lie half a voxel away.
        reached &= (coordinates[axis] > -0.5 - 1e-9) & (coordinates[axis] < length - 0.5 + 1e-9)
        coordinates[axis] = coordinates[axis].clip(0, length - 1)
    points = [values[reached] for values in coordinates]
    volumes = np.full((len(boxes), *grid_shape), np.nan, dtype=np.float32)
    for volume, box in zip(volumes, boxes, strict=True):
        # A spline would carry one NaN through the whole box.
        finite = np.isfinite(box)
        filled = np.where(finite, box, 0).astype(float)
        values = ndimage.map_coordinates(filled, points, order=order, mode="mirror")
        if not finite.all():
            nearest = ndimage.map_coordinates(finite.astype(float), points, order=0, mode="mirror")
            values[nearest == 0] = np.nan
        volume[reached] = values
    return volumes


def resampled_bound(transform, magnitudes, shape, order):
    """Return how large resampled values can be where only voxelwise magnitudes are known.

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
        No volume gives a larger absolute value.
    """
    # B-splines are nowhere negative; only the prefilter needs absolute values.
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
            product = np.tensordot(np.abs(_prefilter(length, float)), magnitudes, (1, axis))
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
    """Return three arrays, one coordinate each, summed in the order that SciPy uses."""
    indices = np.meshgrid(*[np.arange(*span, dtype=float) for span in box], indexing="ij")
    return [
        ((row[3] + indices[0] * row[0]) + indices[1] * row[1]) + indices[2] * row[2]
        for row in transform[:3]
    ]


def _plane_axis(transform, inside):
    """Return the axis along which resampling takes whole planes, or None."""
    axis = unchanged_axis(transform)
    if axis is None:
        return None
    others = tuple(other for other in range(3) if other != axis)
    along = inside.any(axis=others, keepdims=True)
    across = inside.any(axis=axis, keepdims=True)
    # Rounding may put single voxels of the rim outside; planes are then not all alike.
    return axis if np.array_equal(inside, along & across) else None


def _prefilter(length, dtype):
    """Return the matrix from samples on an axis to cubic spline coefficients."""
    if length == 1:
        return np.ones((1, 1), dtype=dtype)
    return ndimage.spline_filter1d(np.eye(length), order=3, axis=0, mode="mirror").astype(dtype)


def _taps(coordinates, length, order):
    """Return indices and weights of the spline coefficients at some places of an axis."""
    coordinates = coordinates.ravel()
    if order == 0:
        nearest = np.floor(coordinates + 0.5).astype(int)
        return nearest[:, np.newaxis].clip(0, length - 1), np.ones((len(nearest), 1))
    base = np.floor(coordinates)
    f = coordinates - base
    if order == 1:
        weights = np.stack([1 - f, f], axis=1)
    else:
        weights = np.stack(
            [
                (1 - f) ** 3 / 6,
                (3 * f**3 - 6 * f**2 + 4) / 6,
                (-3 * f**3 + 3 * f**2 + 3 * f + 1) / 6,
                f**3 / 6,
            ],
            axis=1,
        )
    indices = base.astype(int)[:, np.newaxis] + np.arange(order + 1) - order // 2
    indices = np.abs(indices)
    indices = np.where(indices > length - 1, 2 * (length - 1) - indices, indices)
    return indices.clip(0, length - 1), weights


def _sparse_weights(coordinates, inside, lengths, axes, order, dtype):
    """Return the matrix of spline weights, voxels in the order of `axes`, slowest first."""
    rows = inside.transpose(axes).ravel()
    columns = np.zeros((int(rows.sum()), 1), dtype=np.int64)
    weights = np.ones((len(columns), 1), dtype=dtype)
    for axis in axes:
        places = coordinates[axis].transpose(axes).ravel()[rows]
        indices, taps = _taps(places, lengths[axis], order)
        shape = len(columns), columns.shape[1] * indices.shape[1]
        columns = (columns[:, :, None] * lengths[axis] + indices[:, None, :]).reshape(shape)
        weights = (weights[:, :, None] * taps[:, None, :].astype(dtype)).reshape(shape)
    starts = np.concatenate([[0], np.cumsum(rows * columns.shape[1])])
    shape = (len(rows), int(np.prod(lengths)))
    index_type = np.int32 if max(columns.size, shape[1]) < 2**31 else np.int64
    parts = (weights.ravel(), columns.ravel().astype(index_type), starts.astype(index_type))
    matrix = sparse.csr_array(parts, shape=shape)
    # SciPy would do so later, at a time of its own, and change the order of sums.
    matrix.sum_duplicates()
    return matrix


def _dense_weights(coordinates, inside, grid_shape, axes):
    """Return the matrix for one plane with the spline prefilter folded in."""
    factors = []
    for axis in axes:
        length = grid_shape[axis]
        indices, taps = _taps(coordinates[axis].T, length, 3)
        factor = np.zeros((len(indices), length))
        np.add.at(factor, (np.arange(len(indices))[:, None], indices), taps)
        factors.append(factor @ _prefilter(length, float))
    weights = (factors[0][:, :, None] * factors[1][:, None, :]).reshape(inside.size, -1)
    weights[~inside.T.ravel()] = 0
    return weights


def _filter_axes(stored, prefilters):
    """Multiply each spatial axis of ``(k, z, y, x)`` with its matrix."""
    n_volumes, nz, ny, nx = stored.shape
    along_x, along_y, along_z = prefilters
    if along_x is not None:
        stored = (stored.reshape(-1, nx) @ along_x.T).reshape(stored.shape)
    if along_y is not None:
        stored = np.matmul(along_y, stored)
    if along_z is not None:
        stored = np.matmul(along_z, stored.reshape(n_volumes, nz, ny * nx))
    return stored.reshape(n_volumes, nz, ny, nx)


def _plane_last(volumes, plane_axis):
    """Return a view with the plane axis last and the others in file order."""
    axes = [axis + 1 for axis in FILE_ORDER if axis != plane_axis]
    return volumes.transpose(0, *axes, plane_axis + 1)


def _plane_columns(volumes, plane_axis):
    """Return volumes as ``(k, voxels of a plane, planes)``."""
    moved = _plane_last(volumes, plane_axis)
    return moved.reshape(len(moved), moved.shape[1] * moved.shape[2], moved.shape[3])
