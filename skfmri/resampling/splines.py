"""Interpolation by B-splines, written as matrices."""

# Splines interpolate in two linear steps. A prefilter along each axis turns samples into spline
# coefficients (cubic splines only; samples are the coefficients of the lower orders). A value
# between voxels is then a weighted sum of the coefficients around it: along each axis 1, 2 or 4
# taps for order 0, 1 or 3, whose weights multiply across axes. `resample_planes` is a compiled
# function that does both for planes, with the prefilter as a recursion, and is None without a
# compiler.

import numpy as np
from scipy import ndimage, sparse

try:
    from skfmri.resampling import _splines
except ImportError:
    # Installed without a compiler: matrices give the same result, more slowly.
    resample_planes = None
else:
    resample_planes = _splines.resample_planes

SPLINE_ORDERS = {"continuous": 3, "linear": 1, "nearest": 0}


def prefilter(length, dtype):
    """Return the matrix from the samples along an axis to cubic spline coefficients.

    Parameters
    ----------
    length : int
        Number of samples.
    dtype : dtype
        Type of the matrix.

    Returns
    -------
    matrix : ndarray of shape (length, length)
        For samples that are mirrored at the ends.
    """
    if length == 1:
        return np.ones((1, 1), dtype=dtype)
    return ndimage.spline_filter1d(np.eye(length), order=3, axis=0, mode="mirror").astype(dtype)


def spline_taps(coordinates, length, order):
    """Return which spline coefficients are summed at some places of an axis, with their weights.

    Parameters
    ----------
    coordinates : ndarray
        Places in voxels; flattened.
    length : int
        Number of voxels along the axis.
    order : {0, 1, 3}
        Order of the splines.

    Returns
    -------
    indices, weights : ndarray of shape (n_places, order + 1)
        Indices beyond the ends are mirrored.
    """
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


def sparse_weights(coordinates, inside, lengths, axes, order, dtype):
    """Return the matrix from spline coefficients to values at the voxels of a box.

    Parameters
    ----------
    coordinates : sequence of ndarray
        Source coordinate of each voxel of the box, one array per axis.
    inside : ndarray of bool
        Voxels of the box that lie inside the volume; the rows of others are empty.
    lengths : sequence of int
        Number of source voxels along each axis.
    axes : tuple of int
        Order of the axes in rows and columns, the slowest first.
    order : {0, 1, 3}
        Order of the splines.
    dtype : dtype
        Type of the weights.

    Returns
    -------
    weights : csr_array of shape (inside.size, product of lengths)
    """
    rows = inside.transpose(axes).ravel()
    columns = np.zeros((int(rows.sum()), 1), dtype=np.int64)
    weights = np.ones((len(columns), 1), dtype=dtype)
    for axis in axes:
        places = coordinates[axis].transpose(axes).ravel()[rows]
        indices, taps = spline_taps(places, lengths[axis], order)
        shape = len(columns), columns.shape[1] * indices.shape[1]
        columns = (columns[:, :, None] * lengths[axis] + indices[:, None, :]).reshape(shape)
        weights = (weights[:, :, None] * taps[:, None, :].astype(dtype)).reshape(shape)
    starts = np.concatenate([[0], np.cumsum(rows * columns.shape[1])])
    shape = (len(rows), int(np.prod(lengths)))
    index_type = np.int32 if max(columns.size, shape[1]) < 2**31 else np.int64
    parts = (weights.ravel(), columns.ravel().astype(index_type), starts.astype(index_type))
    matrix = sparse.csr_array(parts, shape=shape)
    # Otherwise SciPy would do so at some later time and change the order of summation.
    matrix.sum_duplicates()
    return matrix


def dense_weights(coordinates, inside, grid_shape, axes):
    """Return the matrix from samples of a plane to values, with the cubic prefilter folded in.

    Parameters
    ----------
    coordinates : sequence of 3 ndarrays
        Source coordinates of each voxel of a plane of the box; 2-D.
    inside : ndarray of bool
        Voxels of the plane that lie inside the volume; the rows of others are 0.
    grid_shape : tuple of int
        Shape of a volume.
    axes : tuple of int
        The two axes of the plane, the slower one first.

    Returns
    -------
    weights : ndarray of shape (inside.size, voxels of a source plane)
    """
    factors = []
    for axis in axes:
        length = grid_shape[axis]
        indices, taps = spline_taps(coordinates[axis].T, length, 3)
        factor = np.zeros((len(indices), length))
        np.add.at(factor, (np.arange(len(indices))[:, None], indices), taps)
        factors.append(factor @ prefilter(length, float))
    weights = (factors[0][:, :, None] * factors[1][:, None, :]).reshape(inside.size, -1)
    weights[~inside.T.ravel()] = 0
    return weights


def filter_axes(stored, prefilters):
    """Multiply each axis of volumes by its matrix.

    Parameters
    ----------
    stored : ndarray of shape (k, z, y, x)
    prefilters : sequence of 3 ndarrays or None
        Matrices for x, y and z; None leaves an axis unchanged.

    Returns
    -------
    filtered : ndarray of shape (k, z, y, x)
    """
    n_volumes, nz, ny, nx = stored.shape
    along_x, along_y, along_z = prefilters
    if along_x is not None:
        stored = (stored.reshape(-1, nx) @ along_x.T).reshape(stored.shape)
    if along_y is not None:
        stored = np.matmul(along_y, stored)
    if along_z is not None:
        stored = np.matmul(along_z, stored.reshape(n_volumes, nz, ny * nx))
    return stored.reshape(n_volumes, nz, ny, nx)
