"""Bootstrap intervals of scores, from groups drawn with replacement."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

from skfmri._validation import check_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from skfmri._types import RandomGenerator, Values

# With fewer, all drawn means may lie on one side of the mean.
FEWEST_BOOTSTRAPS = 100
N_DRAWN = 4_000_000


class Interval(NamedTuple):
    """An interval.

    Attributes
    ----------
    low, high : float
        Its ends.
    """

    low: float
    high: float


def bootstrap_interval(
    scores: Values,
    weights: Values | None = None,
    *,
    n_bootstraps: int = 10_000,
    confidence: float = 0.95,
    random_state: RandomGenerator = None,
) -> Interval:
    r"""Return a bootstrap confidence interval of a weighted mean over groups.

    Volumes of one run or subject are not independent observations; groups are. An interval from
    resampled volumes would be too short.

    Parameters
    ----------
    scores : array-like of shape (n_groups,)
        One score per group.
    weights : array-like of shape (n_groups,), default=None
        Weight of each group in the mean; None weights all groups equally.
    n_bootstraps : int, default=10000
        Number of times the groups are drawn, with replacement; at least 100.
    confidence : float, default=0.95
        Fraction of such intervals that contain the true mean.
    random_state : int, numpy.random.Generator or None, default=None
        Draws the groups.

    Returns
    -------
    interval : Interval
        ``low`` and ``high``; NaN for a single group, a point if all scores are equal.

    Notes
    -----
    Accuracies are skewed near 1, which Efron's bias-corrected and accelerated percentiles allow
    for. With few groups percentiles are too close together, since they ignore that the spread
    itself is only estimated. As in Hesterberg's expanded percentile interval, they are taken at

    .. math:: \Phi\left(\pm\sqrt{n / (n - 1)}\; t_{(1 + \text{confidence}) / 2,\; n - 1}\right)

    for `n` groups. They stay within the range of the scores.

    The interval shows how much the score would vary with other test groups. It would also vary with
    other training samples, most of all if decoders are hardly better than chance; the interval is
    then too short.

    References
    ----------
    B. Efron (1987). Better bootstrap confidence intervals. Journal of the American Statistical
    Association 82(397), 171-185. https://doi.org/10.1080/01621459.1987.10478410

    T. C. Hesterberg (2015). What teachers should know about the bootstrap. The American
    Statistician 69(4), 371-386. https://doi.org/10.1080/00031305.2015.1089789

    Examples
    --------
    >>> from skfmri.statistics import bootstrap_interval
    >>> bootstrap_interval([0.5, 0.5, 0.5])
    Interval(low=0.5, high=0.5)
    >>> low, high = bootstrap_interval([0.6, 0.7, 0.8, 0.7, 0.9, 0.5], random_state=0)
    >>> bool(0.5 <= low < 0.7 < high <= 0.9)
    True
    """
    scores = np.asarray(scores, float)
    _check_bootstrap(n_bootstraps, confidence)
    if scores.ndim != 1 or not len(scores):
        raise ValueError(f"scores has shape {scores.shape}. Pass one score per group.")
    if not np.isfinite(scores).all():
        raise ValueError(
            f"Found {np.sum(~np.isfinite(scores))} scores that are not finite among "
            f"{len(scores)}. Leave out groups without a score."
        )
    weights = np.ones(len(scores)) if weights is None else np.asarray(weights, float)
    if weights.shape != scores.shape or not (weights > 0).all():
        raise ValueError(
            f"weights has shape {weights.shape} for {len(scores)} groups. Pass one number above 0 "
            "per group."
        )
    if len(scores) > 1 and (scores == scores[0]).all():
        return Interval(float(scores[0]), float(scores[0]))
    return bootstrap_interval_of_sums(
        np.column_stack([scores * weights, weights]),
        _ratio,
        n_bootstraps=n_bootstraps,
        confidence=confidence,
        random_state=random_state,
    )


def _ratio(sums):
    return sums[..., 0] / sums[..., 1]


def bootstrap_interval_of_sums(
    sums: Values,
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    n_bootstraps: int = 10_000,
    confidence: float = 0.95,
    random_state: RandomGenerator = None,
) -> Interval:
    """Return a bootstrap confidence interval of a function of sums over groups.

    Scores such as R2 or a correlation are no means over groups, but they follow from sums over
    samples, and these are sums over groups. So groups can be drawn thousands of times without a
    pass through the samples.

    Parameters
    ----------
    sums : array-like of shape (n_groups, ...)
        Sums over the samples of each group.
    statistic : callable
        Takes added sums of shape ``(n_draws, ...)`` and returns an array of shape ``(n_draws,)``.
    n_bootstraps, confidence, random_state
        As in `bootstrap_interval`.

    Returns
    -------
    interval : Interval
        ``low`` and ``high``, as in `bootstrap_interval`; NaN for a single group or if the statistic
        is not defined, a point if all draws give the same.

    Notes
    -----
    A draw for which the statistic is NaN, such as one of groups with the same label, is replaced by
    another one.

    Examples
    --------
    A mean over samples, of groups with 2, 1 and 1 of them:

    >>> from skfmri.statistics import bootstrap_interval_of_sums
    >>> sums = [[2.0, 2], [3.0, 1], [1.0, 1]]
    >>> low, high = bootstrap_interval_of_sums(sums, lambda drawn: drawn[:, 0] / drawn[:, 1])
    >>> bool(1 <= low < 1.5 < high <= 3)
    True
    """
    _check_bootstrap(n_bootstraps, confidence)
    sums = np.asarray(sums, float)
    n_groups = len(sums)
    observed = float(statistic(sums.sum(axis=0)[np.newaxis])[0])
    if n_groups == 1 or not np.isfinite(observed):
        return Interval(float("nan"), float("nan"))
    # Equal scores that were added up in a different order must stay equal.
    digits = 12 - int(np.floor(np.log10(abs(observed) or 1.0)))

    def of_drawn(drawn, axis):
        rows = drawn.reshape(-1, drawn.shape[-1])
        cells = rows + n_groups * np.arange(len(rows))[:, np.newaxis]
        counts = np.bincount(cells.ravel(), minlength=n_groups * len(rows))
        totals = counts.reshape(len(rows), n_groups) @ sums.reshape(n_groups, -1)
        values = np.round(statistic(totals.reshape(-1, *sums.shape[1:])), digits)
        is_defined = np.isfinite(values)
        if is_defined.any():
            values[~is_defined] = np.resize(values[is_defined], np.sum(~is_defined))
        return values.reshape(drawn.shape[:-1])

    reach = np.sqrt(n_groups / (n_groups - 1)) * stats.t.ppf((1 + confidence) / 2, n_groups - 1)
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        # If all draws give the same, the interval is a point.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (np.arange(n_groups),),
            of_drawn,
            n_resamples=n_bootstraps,
            batch=max(1, N_DRAWN // n_groups),
            vectorized=True,
            # With two or three groups the ends are the smallest and the largest value.
            confidence_level=min(2 * stats.norm.cdf(reach) - 1, 1 - 1e-12),
            method="BCa",
            rng=np.random.default_rng(random_state),
        )
    if not np.ptp(found.bootstrap_distribution):
        return Interval(observed, observed)
    return Interval(*map(float, found.confidence_interval))


def _check_bootstrap(n_bootstraps, confidence):
    check_number(n_bootstraps, "n_bootstraps", least=FEWEST_BOOTSTRAPS)
    check_confidence(confidence)


def check_confidence(confidence):
    """Raise ValueError unless the confidence of an interval lies between 0 and 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, but is {confidence!r}.")
