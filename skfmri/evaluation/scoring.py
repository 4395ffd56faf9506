"""Scores computed from recorded outputs, without the estimator that gave them."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import get_scorer, make_scorer, r2_score
from sklearn.utils.metaestimators import available_if

from skfmri.evaluation.sums import score_rows

if TYPE_CHECKING:
    from skfmri._types import Values

CLASS_METRICS = ("accuracy", "balanced_accuracy")
NUMBER_METRICS = (
    "r2",
    "neg_mean_absolute_error",
    "neg_root_mean_squared_error",
    "pearson",
    "spearman",
)
# What a decoder that knows nothing does best to predict.
BEST_CONSTANT = {
    "neg_mean_absolute_error": np.median,
    "neg_mean_squared_error": np.mean,
    "neg_root_mean_squared_error": np.mean,
}


def _where_labels_vary(y, predicted, *, metric):
    """Return a metric that compares with the spread of labels, NaN if they have none."""
    return metric(y, predicted) if np.ptp(y) else float("nan")


def _correlation(y, predicted, *, correlate):
    # A constant says nothing of labels that vary.
    return correlate(y, predicted).statistic if np.ptp(predicted) else 0.0


# scikit-learn gives R2 a value where labels do not vary, which is 0 or 1 whatever the decoder.
SCORERS_OF_NUMBERS = {
    name: make_scorer(_where_labels_vary, metric=metric)
    for name, metric in {
        "r2": r2_score,
        "pearson": partial(_correlation, correlate=stats.pearsonr),
        "spearman": partial(_correlation, correlate=stats.spearmanr),
    }.items()
}


def _has(output):
    return lambda recorded: output in recorded.outcome


class RecordedNumbers(RegressorMixin, BaseEstimator):
    """Stand-in for a fitted regressor; samples are given as positions among its test samples.

    Parameters
    ----------
    outcome : dict
        ``predict``, an array.
    """

    def __init__(self, outcome):
        self.outcome = outcome

    def predict(self, X):
        """Return the recorded predictions."""
        return self.outcome["predict"][X]


class RecordedOutputs(ClassifierMixin, BaseEstimator):
    """Stand-in for a fitted classifier; samples are given as positions among its test samples.

    Parameters
    ----------
    outcome : dict
        ``classes``, and an array for each output of the classifier.
    """

    def __init__(self, outcome):
        self.outcome = outcome
        self.classes_ = outcome["classes"]

    def predict(self, X):
        """Return the recorded predictions."""
        return self.outcome["predict"][X]

    @available_if(_has("predict_proba"))
    def predict_proba(self, X):
        """Return the recorded probabilities."""
        return self.outcome["predict_proba"][X]

    @available_if(_has("decision_function"))
    def decision_function(self, X):
        """Return the recorded decision values."""
        return self.outcome["decision_function"][X]


def make_scorer_of(scoring, *, is_classes=True):
    """Return a function of an outcome, labels and positions that gives a dict of scores.

    Parameters
    ----------
    scoring : str, callable, list, tuple, dict or None
        As in scikit-learn's `cross_validate`; None means `CLASS_METRICS` or `NUMBER_METRICS`.
    is_classes : bool, default=True
        Whether labels are classes. If they are numbers, `SCORERS_OF_NUMBERS` go before
        scikit-learn's.

    Returns
    -------
    score : callable
        ``score(outcome, y, positions, reasons=None)``, where y holds the labels of all test
        samples. A score that is not defined for them is NaN; the dict `reasons` then gets the
        message of the error, if there was one, under the name of the metric.
    names : list of str
        The metrics in order.
    """
    if scoring is None:
        scoring = CLASS_METRICS if is_classes else NUMBER_METRICS
    if isinstance(scoring, str):
        scoring = [scoring]
    elif callable(scoring):
        scoring = {getattr(scoring, "__name__", "score"): scoring}
    elif not isinstance(scoring, (dict, list, tuple, set)) or not scoring:
        raise ValueError(
            f"scoring is {scoring!r}, but must be a metric or several of them, such as "
            f"{', '.join(map(repr, CLASS_METRICS if is_classes else NUMBER_METRICS[:2]))}."
        )
    scoring = dict(scoring) if isinstance(scoring, dict) else {name: name for name in scoring}
    own = {} if is_classes else SCORERS_OF_NUMBERS
    scorers = {
        name: own[metric] if isinstance(metric, str) and metric in own else get_scorer(metric)
        for name, metric in scoring.items()
    }
    recorded_by = RecordedOutputs if is_classes else RecordedNumbers

    def score(outcome, y, positions, reasons=None):
        recorded, scores = recorded_by(outcome), {}
        for name, scorer in scorers.items():
            try:
                scores[name] = _score(scorer, recorded, y, positions)
            except Exception as error:  # a scorer may fail anywhere, and fits are not lost for it
                scores[name] = float("nan")
                if reasons is not None:
                    reasons.setdefault(name, _reason(error, recorded))
        return scores

    return score, list(scorers)


def _reason(error, recorded):
    """Return the message of an error, which the scores of recorded outputs raise."""
    # A metric of probabilities misses them in what stands for the decoder.
    name = type(recorded).__name__
    text = str(error).replace(f"'{name}' object", "the decoder").replace(name, "the decoder")
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"


def _score(scorer, recorded, y, positions):
    with warnings.catch_warnings():
        # The samples may hold only some of the classes. Each fold and group would warn of it; the
        # evaluation warns once of all that is NaN.
        warnings.filterwarnings("ignore", "y_pred contains classes not in y_true")
        warnings.filterwarnings("ignore", "A single label was found in 'y_true' and 'y_pred'")
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        return float(scorer(recorded, positions, y[positions]))


def score_groups(score, names, pools, y, groups):
    """Return the score and the weight of each group alone, averaged over repeats.

    Parameters
    ----------
    score : callable
        From `make_scorer_of`.
    names : list of str
        Metrics.
    pools : list of Pool
        Predictions that are scored together.
    y, groups : ndarray of shape (n_samples,)
        Labels and groups.

    Returns
    -------
    table : pandas.DataFrame
        One row per group: ``group``, ``weight``, which is the group's share in the mean over pools,
        and the metrics. A score that is not defined for a group alone is NaN.
    """
    totals = {}
    for outcome, test, _ in pools:
        for group in np.unique(groups[test]).tolist():
            positions = np.flatnonzero(groups[test] == group)
            share = len(positions) / len(test) / len(pools)
            scores = score(outcome, y[test], positions)
            row = share * np.array([1, *(scores[name] for name in names)])
            totals[group] = totals.get(group, 0) + row
    table = pd.DataFrame(list(totals.values()), columns=["weight", *names])
    table[names] = table[names].div(table["weight"], axis=0)
    table.insert(0, "group", list(totals))
    return table.sort_values("group", ignore_index=True)


def chance_level(y: Values, metric: str = "accuracy") -> float:
    """Return the score of a decoder that knows only how labels are distributed.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Labels.
    metric : str, default="accuracy"
        Of classes "accuracy", for which it is best to always predict the most frequent class;
        "balanced_accuracy", one over the number of classes; or a name that begins with "roc_auc".
        Of numbers "neg_mean_absolute_error", for which it is best to always predict the median;
        "neg_root_mean_squared_error" or "neg_mean_squared_error", for which it is the mean; or
        "r2", "pearson" or "spearman", which are then 0.

    Returns
    -------
    chance : float
        NaN for any other metric.

    Examples
    --------
    >>> from skfmri.evaluation import chance_level
    >>> chance_level(["face", "face", "face", "house"])
    0.75
    >>> chance_level(["face", "face", "face", "house"], "balanced_accuracy")
    0.5
    >>> chance_level([20, 30, 70], "neg_mean_absolute_error")
    -16.666666666666668
    """
    if metric in SCORERS_OF_NUMBERS:
        return 0.0
    if metric in BEST_CONSTANT:
        y = np.asarray(y, float)
        return float(score_rows(metric, y, np.full(len(y), BEST_CONSTANT[metric](y))))
    _, counts = np.unique(y, return_counts=True)
    if metric == "accuracy":
        return float(counts.max() / counts.sum())
    if metric == "balanced_accuracy":
        return 1 / len(counts)
    return 0.5 if metric.startswith("roc_auc") else float("nan")
