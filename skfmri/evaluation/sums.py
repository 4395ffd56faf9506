"""Metrics of numbers, as functions of sums over samples.

A sum over a pool is the sum over its groups, so thousands of draws of groups need no pass through
the samples.
"""

from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

# A spread below this share of the squares it is computed from is rounding.
ROUNDING = 1e-12


class Sums(NamedTuple):
    """Sums over samples; labels and predictions are those minus their mean over the pool.

    Attributes
    ----------
    n, label, label_squared, predicted, predicted_squared, product : ndarray
        Number of samples, and sums of labels, predictions, their squares and their products.
    error, error_squared : ndarray
        Sums of absolute and of squared errors.
    """

    n: np.ndarray
    label: np.ndarray
    label_squared: np.ndarray
    predicted: np.ndarray
    predicted_squared: np.ndarray
    product: np.ndarray
    error: np.ndarray
    error_squared: np.ndarray


@dataclass(frozen=True)
class Ratio:
    """A metric that is an offset minus a sum of errors by what it is measured against.

    Parameters
    ----------
    offset : float
        The score without any error.
    errors : str
        Name of the sum.
    against : callable
        Returns the denominator from sums.
    """

    offset: float
    errors: str
    against: object

    def __call__(self, sums):
        """Return the metric."""
        return self.offset - self.loss(sums, sums)

    def loss(self, part, whole):
        """Return what the errors of a part take from the metric of the whole."""
        return getattr(part, self.errors) / self.against(whole)


def _spread_of_labels(sums):
    return _spread(sums.n, sums.label, sums.label_squared)


def _spread(n, total, squares):
    """Return the sum of squared distances to the mean; NaN if there are none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = squares - total**2 / n
    return np.where(spread > ROUNDING * squares, spread, np.nan)


def _root_mean_squared_error(sums):
    return -np.sqrt(sums.error_squared / sums.n)


def _correlation(sums):
    product = sums.product - sums.label * sums.predicted / sums.n
    predicted = _spread(sums.n, sums.predicted, sums.predicted_squared)
    correlation = product / np.sqrt(_spread_of_labels(sums) * predicted)
    # A constant says nothing of labels that vary.
    is_constant = np.isnan(predicted) & np.isfinite(_spread_of_labels(sums))
    return np.where(is_constant, 0.0, correlation)


# By scikit-learn's names, where it has them.
OF_SUMS = {
    "r2": Ratio(1.0, "error_squared", _spread_of_labels),
    "neg_mean_absolute_error": Ratio(0.0, "error", attrgetter("n")),
    "neg_mean_squared_error": Ratio(0.0, "error_squared", attrgetter("n")),
    "neg_root_mean_squared_error": _root_mean_squared_error,
    "pearson": _correlation,
    "spearman": _correlation,
}
# Computed from the ranks in the pool.
RANKED = ("spearman",)


def score_rows(metric, labels, predicted):
    """Return the metric of predictions for each of many vectors of labels.

    Parameters
    ----------
    metric : str
        A key of `OF_SUMS`.
    labels : ndarray of shape (..., n_samples)
        Label vectors.
    predicted : ndarray of shape (n_samples,)
        Predictions.

    Returns
    -------
    scores : ndarray of shape (...)
        NaN where the metric is not defined.
    """
    terms = _terms(metric, labels, predicted)
    return _of_sums(metric, np.stack([term.sum(axis=-1) for term in terms], axis=-1))


def sum_by(metric, labels, predicted, codes, n_codes):
    """Return the sums that a metric is computed from, over the samples of each code.

    Parameters
    ----------
    metric : str
        A key of `OF_SUMS`.
    labels, predicted : ndarray of shape (n_samples,)
        Labels and predictions of a pool.
    codes : ndarray of int, of shape (n_samples,)
        From 0, such as those of groups.
    n_codes : int
        Number of codes.

    Returns
    -------
    sums : ndarray of shape (n_codes, n_sums)
    """
    terms = _terms(metric, labels, predicted)
    return np.stack([np.bincount(codes, term, minlength=n_codes) for term in terms], axis=-1)


def mean_score(metric, sums):
    """Return the metric of pools, averaged over them.

    Parameters
    ----------
    metric : str
        A key of `OF_SUMS`.
    sums : ndarray of shape (..., n_pools, n_sums)
        From `sum_by`, added up.

    Returns
    -------
    score : ndarray of shape (...)
    """
    return _of_sums(metric, sums).mean(axis=-1)


def parts_of(metric, sums):
    """Return the parts that folds have in a metric, such that the metric is their mean.

    Parameters
    ----------
    metric : str
        A key of `OF_SUMS`.
    sums : ndarray of shape (n_folds, n_pools, n_sums)
        Sums of each fold, which are 0 in all pools but one.

    Returns
    -------
    parts : ndarray of shape (n_folds,)
        NaN for metrics that are not a `Ratio`: they are no sums over folds.
    """
    n_folds, n_pools, _ = sums.shape
    ratio = OF_SUMS[metric]
    if not isinstance(ratio, Ratio):
        return np.full(n_folds, np.nan)
    losses = ratio.loss(_named(sums), _named(sums.sum(axis=0)))
    return ratio.offset - n_folds / n_pools * losses.sum(axis=1)


def _of_sums(metric, sums):
    with np.errstate(invalid="ignore", divide="ignore"):
        return OF_SUMS[metric](_named(sums))


def _named(sums):
    return Sums(*np.moveaxis(sums, -1, 0))


def _terms(metric, labels, predicted):
    """Return for each of `Sums` what is summed, an array like the labels."""
    error = predicted - labels
    if metric in RANKED:
        labels, predicted = rankdata(labels, axis=-1), rankdata(predicted, axis=-1)
    # Far from zero, squares would cancel.
    labels, predicted = labels - labels.mean(), predicted - predicted.mean()
    terms = (1.0, labels, labels**2, predicted, predicted**2)
    terms += (labels * predicted, np.abs(error), error**2)
    return [np.broadcast_to(term, error.shape) for term in terms]
