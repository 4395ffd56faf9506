"""The matrix that removes drift, noise or scale from the time series of one run."""

# Detrending, filtering and regressing out confounds are linear in the time series, so what they do
# to a run is one matrix, whose columns are nilearn's answers to unit impulses: volumes that are 1
# at one moment and 0 at all others. One product then cleans any number of voxels. Standardising is
# not linear; it divides the products by their spread. A matrix leaves rounding errors where the
# right answer is 0, and dividing by their spread would make them noise of unit variance.

from functools import lru_cache

import numpy as np
from scipy.interpolate import CubicSpline

# Smallest spread after cleaning, as a fraction of the root mean square before, that is not rounding
# of float32 volumes; then the same for confounds, which are float64.
SMALLEST_SPREAD = 1e-6
SMALLEST_CONFOUND = 1e-12
BLOCK_COLUMNS = 512


def clean_columns(columns, kept, confounds, *, detrend, high_pass, t_r):
    """Return what nilearn makes of time series, without standardising them.

    Parameters
    ----------
    columns : ndarray of shape (n_volumes, n)
        Finite; what volumes hold that are not kept does not matter.
    kept : ndarray of shape (n_kept,), int
        Positions of the volumes that are kept, sorted. The others are left out of the fit. Only a
        filter needs equal steps in time, so for it they are bridged by a cubic spline through
        those that are kept.
    confounds : ndarray of shape (n_volumes, n_confounds) or None
        Signals to regress out.
    detrend : bool
        Whether to remove a linear trend.
    high_pass : float or None
        Lowest frequency to keep, in Hz.
    t_r : float or None
        Seconds from one volume to the next; only a filter needs it.

    Returns
    -------
    cleaned : ndarray of shape (n_kept, n)

    Raises
    ------
    ValueError
        If the series are too short for the filter.
    """
    # Imported here, so that the package loads faster for those who clean nothing.
    from nilearn.signal import clean

    options = {"detrend": detrend, "standardize": None, "filter": False}
    if high_pass is None:
        columns, confounds = columns[kept], None if confounds is None else confounds[kept]
        return clean(columns, confounds=confounds, **options)
    places = kept - kept[0]
    columns = _bridged(columns, kept)
    if confounds is not None:
        confounds = _bridged(confounds, kept)
    options |= {"filter": "butterworth", "high_pass": high_pass, "t_r": t_r}
    if len(kept) < len(columns):
        options["sample_mask"] = places
    return clean(columns, confounds=confounds, **options)


def cleaning_matrix(kept, confounds, *, detrend, high_pass, t_r, center):
    """Return the matrix that turns the kept volumes of a run into cleaned ones.

    The two matrices that were asked for last are remembered.

    Parameters
    ----------
    kept, confounds, detrend, high_pass, t_r
        As in `clean_columns`. Confounds of which cleaning leaves nothing but rounding errors, such
        as constants, are ignored; nilearn would scale the errors up and regress them out.
    center : bool
        Whether the cleaned series get a mean of 0 if they do not have it anyway.

    Returns
    -------
    matrix : ndarray of shape (n_kept, n_kept), float64
        Read-only.
    """
    kept = np.asarray(kept, dtype=np.int64)
    table = None if confounds is None else np.ascontiguousarray(confounds[: kept[-1] + 1], float)
    parts = (None, 0) if table is None else (table.tobytes(), table.shape[1])
    # Without a filter, time has no unit.
    return _matrix(kept.tobytes(), *parts, detrend, high_pass, t_r if high_pass else None, center)


def apply_matrix(matrix, series, *, removes_mean, standardize, weights=None, dtype=np.float64):
    """Clean time series by the matrix of their run, or compute sums of the cleaned volumes.

    Parameters
    ----------
    matrix : ndarray of shape (n_kept, n_kept), float64, or None
        From `cleaning_matrix`, centred if `standardize`; None leaves the series as they are.
    series : ndarray of shape (n_kept, n)
        Finite values, one column per voxel.
    removes_mean : bool
        Whether the matrix removes the mean by a trend or a filter, or the weights do.
    standardize : bool
        Whether to divide each cleaned series by its standard deviation, with ``n_kept - 1``
        degrees of freedom.
    weights : ndarray of shape (n_sums, n_kept), float64, default=None
        Each row gives a weighted sum of the cleaned volumes. None gives these themselves.
    dtype : dtype, default=np.float64
        Of what is returned. Everything before is computed in float64.

    Returns
    -------
    results : ndarray of shape (n_kept, n) or (n_sums, n)
        If a mean is removed or a spread divided by, voxels that do not vary, or only by rounding
        errors once they are cleaned, are exactly 0. If not, a constant stays what it is.
    factors : ndarray of shape (n,), float64
        What `row_of_operator` times the series has to be multiplied by to give a row of the
        results: 0 for voxels that are 0, else 1 or the inverse of the standard deviation.
    """
    is_still = (series == series[0]).all(axis=0)
    moves = np.flatnonzero(~is_still)
    all_move = len(moves) == series.shape[1]
    moving = series if all_move else np.take(series, moves, axis=1)
    moving = moving.astype(np.float64, copy=False)
    # The spread has to be known before sums are made of what is divided by it.
    operator = matrix if weights is None or standardize else _product(weights, matrix)
    products = operator @ moving
    factors = np.ones(series.shape[1])
    if removes_mean or standardize:
        factors[is_still] = 0
        factors[moves] = _factors(products, moving, operator, weights, standardize)
        products *= factors if all_move else factors[moves]
    if standardize and weights is not None:
        products = weights @ products
    if all_move:
        return products.astype(dtype, copy=False), factors
    results = np.zeros((len(products), series.shape[1]), dtype)
    results[:, moves] = products
    if not (removes_mean or standardize):
        sums = 1 if weights is None else weights.sum(axis=1, keepdims=True)
        results[:, is_still] = sums * series[:1, is_still]
    return results, factors


def row_of_operator(matrix, weights, row):
    """Return the weights of the series' volumes in one row of what `apply_matrix` computes."""
    if weights is None:
        return matrix[row]
    return weights[row] if matrix is None else weights[row] @ matrix


def _factors(products, moving, operator, weights, standardize):
    """Return what to multiply products by, which is 0 for those that are only rounding errors."""
    size = np.sqrt(_sums_of_squares(moving) / len(moving))
    if standardize:
        # The matrix is centred, so these products have no mean.
        spread = np.sqrt(_sums_of_squares(products) / (len(products) - 1))
    elif weights is None:
        spread = products.std(axis=0, ddof=1)
    else:
        # An error in each volume makes one in a sum that is larger by the length of its row.
        lengths = np.linalg.norm(operator, axis=1, keepdims=True)
        spread = np.sqrt(_sums_of_squares(products / lengths) / len(products))
    is_rounding = spread < SMALLEST_SPREAD * size
    if not standardize:
        return (~is_rounding).astype(float)
    return np.divide(1, spread, out=np.zeros_like(spread), where=~is_rounding)


def _product(weights, matrix):
    return weights if matrix is None else weights @ matrix


def _sums_of_squares(columns):
    return np.einsum("ij,ij->j", columns, columns)


def removed_share(labels, kept, *, detrend, high_pass, t_r):
    """Return the share of the variance of labels within a run that removing its drift takes away.

    Parameters
    ----------
    labels : ndarray of shape (n_volumes,)
        The empty string stands for volumes without a label.
    kept, detrend, high_pass, t_r
        As in `clean_columns`.

    Returns
    -------
    share : float
        Of the indicators of all labels together: the sum of squares of what is removed from them,
        divided by that of their deviations from their means. NaN if the labels do not vary.
    """
    names = np.unique(labels[kept])
    if names.dtype.kind in "OU":
        names = names[names != ""]
    indicators = (labels[:, np.newaxis] == names).astype(float)
    indicators -= indicators[kept].mean(axis=0)
    total = (indicators[kept] ** 2).sum()
    if total == 0:
        return np.nan
    cleaned = clean_columns(indicators, kept, None, detrend=detrend, high_pass=high_pass, t_r=t_r)
    return float(((indicators[kept] - cleaned) ** 2).sum() / total)


@lru_cache(maxsize=2)
def _matrix(kept, confounds, n_confounds, detrend, high_pass, t_r, center):
    kept = np.frombuffer(kept, dtype=np.int64)
    drift = {"detrend": detrend, "high_pass": high_pass, "t_r": t_r}
    if confounds is not None:
        confounds = np.frombuffer(confounds).reshape(-1, n_confounds)
        confounds = _without_rounding_errors(confounds, kept, drift)
    matrix = np.empty((len(kept), len(kept)))
    # In blocks, because nilearn makes several copies of what it cleans.
    for first in range(0, len(kept), BLOCK_COLUMNS):
        here = kept[first : first + BLOCK_COLUMNS]
        impulses = np.zeros((kept[-1] + 1, len(here)))
        impulses[here, np.arange(len(here))] = 1
        matrix[:, first : first + len(here)] = clean_columns(impulses, kept, confounds, **drift)
    if center:
        matrix -= matrix.mean(axis=0)
    matrix.flags.writeable = False
    return matrix


def _without_rounding_errors(confounds, kept, drift):
    """Return the confounds of which cleaning leaves more than rounding errors, or None."""
    left = clean_columns(confounds, kept, None, **drift).std(axis=0)
    size = np.sqrt((confounds[kept] ** 2).mean(axis=0))
    confounds = confounds[:, left > SMALLEST_CONFOUND * size]
    return confounds if confounds.shape[1] else None


def _bridged(columns, kept):
    """Return what lies between the first kept volume and the last, with a spline in the gaps."""
    columns = columns[kept[0] : kept[-1] + 1].astype(np.float64)
    places = kept - kept[0]
    gaps = np.setdiff1d(np.arange(len(columns)), places)
    if len(gaps):
        columns[gaps] = CubicSpline(places, columns[places])(gaps)
    return columns
