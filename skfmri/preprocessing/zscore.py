"""Z-scores of voxels with statistics learned from training samples."""

from __future__ import annotations

import numbers
import warnings
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_array
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from skfmri._arrays import gathered
from skfmri._types import with_callbacks
from skfmri._validation import check_fitted_shape
from skfmri.preprocessing.cut_groups import FittedGroups, warn_of_cut_groups
from skfmri.preprocessing.defaults import ZSCORER
from skfmri.samples import NiftiSamples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from skfmri._types import Volumes

BATCH_BYTES = 64 * 1024**2
# Scoring has no statistics to merge, so small batches cost nothing and stay in the cache.
SCORING_BATCH_BYTES = 8 * 1024**2
# "auto" is this share of the median spread of the voxels that vary. Voxels whose spread is below
# this share of a typical one do not count as varying: outside the head, the ringing of splines
# gives every voxel a tiny spread.
QUIET = 0.05
# Losses up to this share pass without a warning. At the edge of the head, where interpolation
# blends data with nothing, the default threshold silences 5 to 9 % of the voxels that vary in
# maps like the notebook's: this is what it is for.
TOLERATED_SHARE = 0.1
# Of voxels that only fluctuate about 0, one mean in fifty lies further below it than this.
STANDARD_ERRORS = 2
MOST_POSITIONS = 10


def _keeps_feature_axis(scorer):
    """Return whether there are names of columns: after a 2-D fit, or for the error before any."""
    return not hasattr(scorer, "mean_") or scorer.mean_.ndim == 1


class VoxelZScorer(CallbackSupportMixin, OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    r"""Scale each voxel by its mean and standard deviation over the training samples.

    Scaling each batch by its own statistics lets test samples influence the scale, and hides
    differences between training and test data. This transformer learns the statistics in `fit`.
    Two thresholds keep empty voxels at 0: outside the head, where values hardly vary, dividing
    by a tiny standard deviation would turn noise into large numbers. They are in the units of the
    data: the defaults suit maps whose values are around 1.

    Parameters
    ----------
    std_threshold : float, "auto" or None, default=0.05
        A voxel whose standard deviation is less than this becomes 0. "auto" takes 0.05 of the
        median standard deviation of the training voxels that vary, whatever the units. None
        turns it off; a constant voxel becomes 0 all the same.
    mean_threshold : float or None, default=0.05
        A mean less than this, so also a negative one, is not subtracted. None subtracts every
        mean.

    Attributes
    ----------
    mean_ : ndarray of shape X.shape[1:]
        Subtracted from X: the mean, or 0 if it is below its threshold. In the data type of the
        output.
    scale_ : ndarray of shape X.shape[1:]
        Divides X: the standard deviation, or 0 if the voxel becomes 0.
    mask_ : ndarray of bool, shape X.shape[1:]
        Voxels with finite training values, a positive standard deviation, and no statistic
        below its threshold.
    std_threshold_ : float or None
        The threshold on standard deviations that was used.
    n_features_in_ : int
        Number of voxels per sample.
    feature_names_in_ : ndarray of str
        Names of the columns, if X was a table that has any.

    Raises
    ------
    ValueError
        If a threshold is not a number, or `std_threshold` is negative; if X has no samples; if
        voxels vary but `std_threshold` would set all of them to 0; if no voxel varies only
        because a training sample is not finite, such as a volume of NaN; in `transform`, if X
        is on a different grid than the training data.

    Warns
    -----
    UserWarning
        If `std_threshold` sets more than 10 % of the voxels that vary to 0; if more than 10 % of
        the others are not centred, because their mean is clearly negative; if voxels become 0
        because a training sample is not finite there. Voxels that are not finite in any training
        sample hold no data, and are not mentioned unless all are like this. In `transform`, once
        for each `NiftiSamples`, if volumes were not fitted on but others of their groups were.

    See Also
    --------
    sklearn.preprocessing.StandardScaler : Does this for 2-D data, without thresholds.

    Notes
    -----
    With :math:`m` and :math:`s` the mean and the standard deviation (divisor `n`) of a voxel
    over the training samples,

    .. math:: z = \frac{x - m'}{s'}, \quad
        m' = \begin{cases} 0 & m < t_{mean} \\ m & \text{else} \end{cases}, \quad
        s' = \begin{cases} 0 & s < t_{std} \\ s & \text{else} \end{cases}

    and every `z` that is not finite, as after division by 0, becomes 0. A statistic equal to
    its threshold is not below it; both are compared in the data type of the output. A voxel
    with a NaN or infinite training value, or whose sum of squares overflows, is 0 for every
    sample; a NaN or infinite value in `transform` becomes 0.

    For "auto" and for warnings, a voxel varies if its standard deviation exceeds rounding error
    and is at least 0.05 of a typical one: the standard deviation at which half of the sum over
    all voxels is reached, from the largest down. Thus neither empty voxels nor the ringing of
    splines around the head count. A mean is clearly negative if it lies below both
    ``-abs(mean_threshold)`` and two standard errors under 0.

    The output of float32 data is float32; all other data give float64. Statistics are computed
    in float64, a batch of samples at a time, as deviations from the first sample, so that the
    standard deviation of a constant voxel is exactly 0. Batches are merged by the formula of
    Chan et al. [1]_. `NiftiSamples` and memory-mapped arrays are therefore never held in memory
    as a whole: `fit` holds a batch, at most 64 MB in float64 unless one sample is larger, and
    a few volumes of statistics; `transform` holds a smaller batch and its result, which is mapped
    from a temporary file if it is larger than 64 MB.

    References
    ----------
    .. [1] Chan, T. F., Golub, G. H., & LeVeque, R. J. (1983). Algorithms for computing the
       sample variance: analysis and recommendations. The American Statistician, 37(3),
       242-247. https://doi.org/10.1080/00031305.1983.10483115

    Examples
    --------
    Voxels in columns: one varies around 2, one around -2, one hardly at all. `fit` warns that the
    second is not centred.

    >>> import numpy as np
    >>> from skfmri import VoxelZScorer
    >>> X = np.array([[1.0, -1.0, 5.00], [3.0, -3.0, 5.01]])
    >>> scorer = VoxelZScorer().fit(X)
    >>> scorer.transform(X)
    array([[-1., -1.,  0.],
           [ 1., -3.,  0.]])
    >>> scorer.mean_.round(3).tolist(), scorer.mask_.tolist()
    ([2.0, 0.0, 5.005], [True, False, False])
    """

    mean_: NDArray[Any]
    scale_: NDArray[Any]
    mask_: NDArray[np.bool_]
    std_threshold_: float | None

    def __init__(
        self,
        std_threshold: float | Literal["auto"] | None = ZSCORER.std_threshold,
        mean_threshold: float | None = ZSCORER.mean_threshold,
    ) -> None:
        self.std_threshold = std_threshold
        self.mean_threshold = mean_threshold

    @with_callbacks
    def fit(self, X: Volumes, y: object = None) -> Self:
        """Learn the mean and the standard deviation of each voxel.

        Parameters
        ----------
        X : NiftiSamples or array-like of shape (n_samples, ...)
            Training samples of any number of axes: volumes, slabs or rows of voxels.
        y : object, default=None
            Ignored; present because pipelines pass it.

        Returns
        -------
        self : VoxelZScorer
        """
        _check_threshold("std_threshold", self.std_threshold, minimum=0, allowed=("auto",))
        _check_threshold("mean_threshold", self.mean_threshold, minimum=-np.inf)
        task = self._init_callback_context().call_on_fit_task_begin(estimator=self, X=X, y=y)
        data = _as_volumes(X, self)
        validate_data(self, X, skip_check_array=True)
        self.n_features_in_ = int(np.prod(data.shape[1:]))
        mean, std, n_bad_values, n_bad_samples = _moments(data)
        varying = varying_voxels(mean, std, _output_dtype(data))
        std_threshold = self.std_threshold
        if isinstance(std_threshold, str):
            std_threshold = QUIET * _median(std[varying])
        subtracted, scale, mask = _apply_thresholds(
            mean, std, _output_dtype(data), std_threshold, self.mean_threshold
        )
        messages = (
            _nonfinite_message(n_bad_values, n_bad_samples, varying.any()),
            _silenced_message(std[varying], scale[varying], std_threshold),
            _uncentred_message(mean, std, scale > 0, len(data), self.mean_threshold),
        )
        for message in filter(None, messages):
            # Between this frame and the caller's is the one of with_callbacks.
            warnings.warn(message, UserWarning, stacklevel=3)
        self.mean_, self.scale_, self.mask_ = subtracted, scale, mask
        self.std_threshold_ = std_threshold
        # Slabs, which are arrays, do not say where they come from; the step before them has warned.
        self._fitted_on = FittedGroups(X) if isinstance(X, NiftiSamples) else None
        task.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes={})
        return self

    def transform(self, X: Volumes) -> NDArray[Any]:
        """Scale each voxel with the statistics of the training samples.

        Parameters
        ----------
        X : NiftiSamples or array-like of shape (n_samples, ...)
            Samples on the training grid; not changed.

        Returns
        -------
        Z : ndarray of the shape of X, float32 or float64
            Scores without unit; finite.
        """
        data = self._check_like_training(X)
        if isinstance(X, NiftiSamples):
            warn_of_cut_groups(getattr(self, "_fitted_on", None), X)
        dtype = _output_dtype(data)
        return _standardize(data, self.mean_.astype(dtype), self.scale_.astype(dtype))

    def inverse_transform(self, X: Volumes) -> NDArray[Any]:
        """Return scores to the units of the training data, ``X * scale_ + mean_``.

        Voxels that `transform` sets to 0 come back as their entry in `mean_`: the mean, or 0
        if the mean was below its threshold or not finite.

        Parameters
        ----------
        X : NiftiSamples or array-like of shape (n_samples, ...)
            Scores on the training grid; not changed.

        Returns
        -------
        volumes : ndarray of the shape of X, float32 or float64
            Values in the units of the training data. Scores that are not finite remain so.
        """
        data = self._check_like_training(X)
        dtype = _output_dtype(data)
        return _unstandardize(data, self.mean_.astype(dtype), self.scale_.astype(dtype))

    @available_if(_keeps_feature_axis)
    def get_feature_names_out(self, input_features=None):
        """Return the names of the output columns; for a fit on 2-D data only.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the input columns; None takes `feature_names_in_`, else ``x0, x1, ...``.

        Returns
        -------
        names : ndarray of str
            Same as the names of the input columns.
        """
        return super().get_feature_names_out(input_features)

    def _check_like_training(self, X):
        check_is_fitted(self)
        data = _as_volumes(X, self)
        if data.ndim == 2 and self.mean_.ndim == 1:
            validate_data(self, X, reset=False, skip_check_array=True)
        else:
            check_fitted_shape(data.shape[1:], self.mean_.shape, type(self).__name__)
        return data

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _check_threshold(name, value, minimum, allowed=()):
    if value is None or (isinstance(value, str) and value in allowed):
        return
    is_number = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
    if not is_number or not value >= minimum:
        at_least = "" if np.isinf(minimum) else f" of at least {minimum}"
        words = "".join(f', "{word}"' for word in allowed)
        raise ValueError(
            f"{name} must be a number{at_least}{words}, or None to turn it off, but is {value!r}."
        )


def _as_volumes(X, estimator):
    """Return X as `NiftiSamples` or as an array of numbers, without reading or copying volumes."""
    if isinstance(X, NiftiSamples):
        if not len(X):
            raise ValueError("Found 0 volumes, but at least 1 is needed. Choose some samples.")
        return X
    # Numeric arrays keep their type: converting a mapped file would read all of it at once.
    is_numeric = isinstance(X, np.ndarray) and X.dtype.kind in "biuf"
    return check_array(
        X,
        dtype=None if is_numeric else [np.float64, np.float32],
        ensure_all_finite=False,
        allow_nd=True,
        estimator=estimator,
        input_name="X",
    )


def _output_dtype(data):
    is_single = data.dtype.newbyteorder("=") == np.float32
    return np.dtype(np.float32 if is_single else np.float64)


def _batches(data, n_bytes):
    """Return all samples in order, a few at a time, which take at most `n_bytes` as float64."""
    size = max(1, n_bytes // (8 * max(1, int(np.prod(data.shape[1:])))))
    if isinstance(data, NiftiSamples):
        return data.iter_batches(size)
    return (data[start : start + size] for start in range(0, len(data), size))


def _moments(data):
    """Return mean and standard deviation (divisor n) over the first axis, and what is damaged.

    Statistics are in float64. Damage is the number of values that are not finite in each sample,
    and the number of samples that are not finite at each voxel.
    """
    shift, n_seen = None, 0
    n_bad_values, n_bad_samples = np.zeros(len(data), int), np.zeros(data.shape[1:], int)
    with np.errstate(all="ignore"):
        for batch in _batches(data, BATCH_BYTES):
            if shift is None:
                shift = np.array(batch[0], dtype=np.float64)
                mean, squares = np.zeros_like(shift), np.zeros_like(shift)
            batch_mean, batch_squares = _batch_moments(batch, shift)
            if not np.isfinite(batch_mean).all():
                is_bad = ~np.isfinite(batch)
                n_bad_samples += is_bad.sum(axis=0)
                n_bad_values[n_seen : n_seen + len(batch)] = is_bad.reshape(len(batch), -1).sum(1)
            n_total = n_seen + len(batch)
            delta = batch_mean - mean
            mean += delta * (len(batch) / n_total)
            squares += batch_squares + delta**2 * (n_seen * len(batch) / n_total)
            n_seen = n_total
        return mean + shift, np.sqrt(squares / n_seen), n_bad_values, n_bad_samples


def _batch_moments(batch, shift):
    """Return the mean of ``batch - shift`` and the sum of its squared deviations."""
    deviations = np.subtract(batch, shift, dtype=np.float64)
    mean = deviations.mean(axis=0)
    deviations -= mean
    np.square(deviations, out=deviations)
    return mean, deviations.sum(axis=0)


def _apply_thresholds(mean, std, dtype, std_threshold, mean_threshold):
    """Return what to subtract, what to divide by and which voxels are above both thresholds."""
    finite = np.isfinite(mean) & np.isfinite(std)
    # Thresholds take the type of the statistics, or float32 would be compared with float64.
    with np.errstate(over="ignore"):
        mean, std = (np.where(finite, values, 0).astype(dtype) for values in (mean, std))
        keeps_std = std > 0
        if std_threshold is not None:
            keeps_std &= ~(std < dtype.type(std_threshold))
        keeps_mean = np.ones_like(finite)
        if mean_threshold is not None:
            keeps_mean &= ~(mean < dtype.type(mean_threshold))
    mean[~keeps_mean] = 0
    std[~keeps_std] = 0
    return mean, std, keeps_mean & keeps_std


def varying_voxels(mean, std, dtype):
    """Return which voxels vary more than by rounding and the ringing of splines.

    Parameters
    ----------
    mean, std : ndarray of float64
        Statistics of voxels over samples; voxels where they are not finite do not vary.
    dtype : dtype
        Type of the values, which limits how exact they can be.

    Returns
    -------
    varying : ndarray of bool
        Of the same shape.
    """
    rounding = 8 * np.finfo(dtype).eps
    finite = np.isfinite(mean) & np.isfinite(std)
    spread = np.where(finite, std, 0)
    spread[spread <= rounding * np.abs(np.where(finite, mean, 0))] = 0
    if not spread.any():
        return spread > 0
    # Weighted by itself, the typical spread stays the same however many empty voxels there are.
    descending = np.sort(spread, axis=None)[::-1]
    with np.errstate(over="ignore"):
        total = np.cumsum(descending)
    typical = descending[np.searchsorted(total, total[-1] / 2)]
    return (spread > 0) & (spread >= QUIET * typical)


def _median(spread):
    return float(np.median(spread)) if spread.size else 0.0


def _nonfinite_message(n_bad_values, n_bad_samples, something_varies):
    """Return which voxels samples with values that are not finite cost, or None.

    Raise ValueError if nothing varies without them, because a sample lacks all of them.
    """
    if not n_bad_values.any():
        return None
    n_samples = len(n_bad_values)
    # NaN in all samples marks voxels without data, often those around the head.
    n_without_data = np.count_nonzero(n_bad_samples == n_samples)
    n_with_data = n_bad_samples.size - n_without_data
    if not n_with_data:
        return "No training sample holds a finite value, so all voxels become 0."
    n_lost = np.count_nonzero(n_bad_samples) - n_without_data
    if not n_lost:
        return None
    damaged = np.flatnonzero(n_bad_values > n_without_data)
    worst = np.flatnonzero(n_bad_values == n_without_data + n_lost)
    details = (
        f"{len(damaged)} of {n_samples} training samples hold NaN or infinite values, which makes "
        f"{n_lost} of {n_with_data} voxels ({100 * n_lost / n_with_data:.1f} %) 0 for every "
        f"sample. Counted from 0, these samples are {_listed(damaged)}. "
    )
    if len(worst) and len(damaged) > 1:
        details += f"Not finite at all of these voxels: {_listed(worst)}. "
    details += "Leave such samples out of the training data, or repair their values."
    if len(worst) and not something_varies and n_samples - len(damaged) > 1:
        raise ValueError(f"No voxel is left that varies. {details}")
    return details


def _listed(positions):
    shown = ", ".join(str(i) for i in positions[:MOST_POSITIONS])
    n_more = len(positions) - MOST_POSITIONS
    return f"{shown} and {n_more} more" if n_more > 0 else shown


def _silenced_message(spread, scale, threshold):
    """Return how many varying voxels the threshold set to 0, or None; raise if it is all."""
    n_silenced = np.count_nonzero(scale == 0)
    if n_silenced <= TOLERATED_SHARE * spread.size:
        return None
    found = (
        f"std_threshold={threshold!r} sets {n_silenced} of {spread.size} voxels that vary "
        f"({100 * n_silenced / spread.size:.1f} %) to 0. The median standard deviation of the "
        f'voxels that vary is {_median(spread):.3g}. Set std_threshold="auto" for a threshold '
        "that adapts to the units of the data, or None for none."
    )
    if n_silenced == spread.size:
        raise ValueError(f"No voxel is left that varies. {found}")
    return found


def _uncentred_message(mean, std, is_kept, n_samples, threshold):
    """Return how many voxels the threshold leaves with a clearly negative mean, or None."""
    if threshold is None:
        return None
    n_kept = np.count_nonzero(is_kept)
    n_uncentred = _count_negative(mean[is_kept], std[is_kept], n_samples, threshold)
    if n_uncentred <= TOLERATED_SHARE * n_kept:
        return None
    return (
        f"mean_threshold={threshold!r} leaves {n_uncentred} of {n_kept} voxels "
        f"({100 * n_uncentred / n_kept:.1f} %) uncentred, because it takes their means, which are "
        f"below {-abs(threshold)}, for 0. Set mean_threshold=None to subtract every mean."
    )


def _count_negative(mean, std, n_samples, threshold):
    """Return how many means are clearly negative."""
    limit = np.minimum(-abs(threshold), -STANDARD_ERRORS * std / np.sqrt(n_samples))
    return np.count_nonzero(mean < limit)


def _count_not_zero(mean, std, n_samples, threshold):
    """Return how many means below the threshold are clearly not 0, positive ones included."""
    is_clear = np.abs(mean) > STANDARD_ERRORS * std / np.sqrt(n_samples)
    return np.count_nonzero(is_clear & (mean < threshold))


def choose_thresholds(X, **given):
    """Return thresholds that suit the units of some samples, if the defaults do not.

    For users who have set none. The choice is one of units: it is made once, from all samples, and
    no label has a part in it.

    Parameters
    ----------
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Samples as `VoxelZScorer` gets them. Those that are damaged, for which its `fit` has a
        warning, do not count.
    **given : float, "auto" or None
        Thresholds that were set by the user, by name; they stay as they are.

    Returns
    -------
    choices : dict of str to dict
        For each threshold to be replaced its ``default`` and the ``value`` that suits, with the
        number ``n_lost`` of ``n_voxels`` that the default would set to 0 or leave uncentred.
    """
    data = _as_volumes(X, None)
    mean, std, n_bad_values, n_bad_samples = _moments(data)
    is_damaged = n_bad_values > np.count_nonzero(n_bad_samples == len(data))
    if is_damaged.any() and not is_damaged.all():
        data = data[~is_damaged]
        mean, std, *_ = _moments(data)
    dtype, choices = _output_dtype(data), {}
    varying = varying_voxels(mean, std, dtype)

    def spread_kept(threshold):
        return _apply_thresholds(mean, std, dtype, threshold, None)[1]

    def consider(name, value, n_lost, n_voxels):
        if n_lost > TOLERATED_SHARE * n_voxels and name not in given:
            found = {"default": getattr(ZSCORER, name), "value": value}
            choices[name] = {**found, "n_lost": int(n_lost), "n_voxels": int(n_voxels)}

    n_varying = np.count_nonzero(varying)
    n_silenced = np.count_nonzero(spread_kept(ZSCORER.std_threshold)[varying] == 0)
    consider("std_threshold", "auto", n_silenced, n_varying)
    threshold = given.get("std_threshold", "auto" if choices else ZSCORER.std_threshold)
    if isinstance(threshold, str):
        threshold = QUIET * _median(std[varying])
    kept = spread_kept(threshold) > 0
    # Both defaults are in the same units. If these do not suit, not even positive means do.
    are_units_small = n_silenced > TOLERATED_SHARE * n_varying
    count = _count_not_zero if are_units_small else _count_negative
    n_uncentred = count(mean[kept], std[kept], len(data), ZSCORER.mean_threshold)
    consider("mean_threshold", None, n_uncentred, np.count_nonzero(kept))
    return choices


def _standardize(data, mean, scale):
    """Return ``(data - mean) / scale`` in the type of `mean`, with 0 for what is not finite."""

    def scores(batch):
        with np.errstate(all="ignore"):
            block = np.subtract(batch, mean, dtype=mean.dtype, casting="same_kind")
            block /= scale
            np.copyto(block, 0, where=~np.isfinite(block))
        return block

    return gathered(map(scores, _batches(data, SCORING_BATCH_BYTES)), data.shape, mean.dtype)


def _unstandardize(data, mean, scale):
    """Return ``data * scale + mean`` in the type of `mean`."""

    def volumes(batch):
        with np.errstate(all="ignore"):
            block = np.multiply(batch, scale, dtype=mean.dtype, casting="same_kind")
            block += mean
        return block

    return gathered(map(volumes, _batches(data, SCORING_BATCH_BYTES)), data.shape, mean.dtype)
