"""Kernels of volumes at several smoothness scales."""

import numpy as np
from scipy.ndimage import gaussian_filter

BATCH_BYTES = 8 * 1024**2
# Widths of smoothing are cut off at this many sigma.
TRUNCATE = 3


def centred_batches(X, mean):
    """Yield consecutive parts of samples in float64, without their mean.

    Parameters
    ----------
    X : ndarray of shape (n_samples, ...)
        Samples.
    mean : ndarray of shape X.shape[1:], float64
        What to subtract.

    Yields
    ------
    part : slice
        Which samples.
    batch : ndarray of shape (n_batch, ...), float64
    """
    size = max(1, BATCH_BYTES // (8 * max(1, mean.size)))
    for start in range(0, len(X), size):
        part = slice(start, start + size)
        yield part, X[part] - mean


def mean_sample(X):
    """Return the mean of samples in float64, exactly that of each voxel that is constant.

    Parameters
    ----------
    X : ndarray of shape (n_samples, ...)
        Samples, read in batches.

    Returns
    -------
    mean : ndarray of shape X.shape[1:]
    """
    first = X[0].astype(np.float64)
    return first + sum(batch.sum(axis=0) for _, batch in centred_batches(X, first)) / len(X)


def smooth(volumes, sigma):
    """Return volumes after Gaussian smoothing; beyond the grid there are zeros.

    Parameters
    ----------
    volumes : ndarray of shape (n, ...)
        Volumes, slabs or maps. Along axes of length 1, and without a grid, nothing is smoothed.
    sigma : float
        Standard deviation of the Gaussian in voxels.

    Returns
    -------
    smoothed : ndarray of the same shape and data type
        With these boundaries smoothing is a symmetric matrix: it is its own transpose.
    """
    if not sigma or volumes.ndim < 3:
        return volumes
    sigmas = [0, *(sigma if length > 1 else 0 for length in volumes.shape[1:])]
    return gaussian_filter(volumes, sigmas, mode="constant", truncate=TRUNCATE)


def smoothed_kernel(X, mean, sigma):
    """Return the linear kernel of samples after centring and smoothing.

    Parameters
    ----------
    X : ndarray of shape (n_samples, ...), float32 or float64
        Samples. A few planes along axis 1 are smoothed at a time, for all samples.
    mean : ndarray of shape X.shape[1:], float64
        What to subtract: the mean of the training samples.
    sigma : float
        Smoothing in voxels.

    Returns
    -------
    kernel : ndarray of shape (n_samples, n_samples), float64
        Products of a few planes are in the data type of X.
    """
    n, n_planes = X.shape[:2]
    # Planes that take no more memory than the kernel, unless that is small.
    at_once = max(1, int(max(BATCH_BYTES, 8 * n**2) // max(1, X[:, :1].nbytes)))
    # As far as smoothing reaches.
    margin = int(TRUNCATE * sigma + 0.5) if X.ndim > 2 else 0
    kernel = np.zeros((n, n))
    for start in range(0, n_planes, at_once):
        first = max(0, start - margin)
        planes = slice(first, start + at_once + margin)
        centred = np.subtract(X[:, planes], mean[planes], dtype=X.dtype, casting="same_kind")
        block = smooth(centred, sigma)[:, start - first :][:, :at_once].reshape(n, -1)
        kernel += block @ block.T
    return kernel
