"""Scores computed from recorded outputs, without the estimator that gave them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import get_scorer
from sklearn.utils.metaestimators import available_if

if TYPE_CHECKING:
    from skfmri._types import Values

DEFAULT_METRICS = ("accuracy", "balanced_accuracy")


def _has(output):
    return lambda recorded: output in recorded.outcome


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


def make_scorer_of(scoring):
    """Return a function of an outcome, labels and positions that gives a dict of scores.

    Parameters
    ----------
    scoring : str, callable, list, tuple, dict or None
        As in scikit-learn's `cross_validate`; None means `DEFAULT_METRICS`.

    Returns
    -------
    score : callable
        ``score(outcome, y, positions, reasons=None)``, where y holds the labels of all test
        samples. A score that is not defined for them is NaN; the dict `reasons` then gets the
        message of the error, if there was one, under the name of the metric.
    names : list of str
        The metrics in order.
    """
    scoring = DEFAULT_METRICS if scoring is None else scoring
    if isinstance(scoring, str):
        scoring = [scoring]
    elif callable(scoring):
        scoring = {getattr(scoring, "__name__", "score"): scoring}
    scoring = dict(scoring) if isinstance(scoring, dict) else {name: name for name in scoring}
    scorers = {name: get_scorer(metric) for name, metric in scoring.items()}

    def score(outcome, y, positions, reasons=None):
        recorded, scores = RecordedOutputs(outcome), {}
        for name, scorer in scorers.items():
            try:
                scores[name] = _score(scorer, recorded, y, positions)
            except ValueError as error:
                scores[name] = float("nan")
                if reasons is not None:
                    reasons.setdefault(name, str(error))
        return scores

    return score, list(scorers)


def _score(scorer, recorded, y, positions):
    with warnings.catch_warnings():
        # The samples may hold only some of the classes. Each fold and group would warn of it; the
        # evaluation warns once of all that is NaN.
        warnings.filterwarnings("ignore", "y_pred contains classes not in y_true")
        warnings.filterwarnings("ignore", "A single label was found in 'y_true' and 'y_pred'")
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        return float(scorer(recorded, positions, y[positions]))


def score_groups(score, names, outcomes, splits, y, groups):
    """Return the score and the weight of each group alone, averaged over repeats.

    Parameters
    ----------
    score : callable
        From `make_scorer_of`.
    names : list of str
        Metrics.
    outcomes : list of dict
        One per split.
    splits : list of (ndarray, ndarray)
        Training and test indices.
    y, groups : ndarray of shape (n_samples,)
        Labels and groups.

    Returns
    -------
    table : pandas.DataFrame
        One row per group: ``group``, ``weight``, which is the group's share in the mean over folds,
        and the metrics. A score that is not defined for a group alone is NaN.
    """
    totals = {}
    for outcome, (_, test) in zip(outcomes, splits, strict=True):
        for group in np.unique(groups[test]).tolist():
            positions = np.flatnonzero(groups[test] == group)
            share = len(positions) / len(test) / len(splits)
            scores = score(outcome, y[test], positions)
            row = share * np.array([1, *(scores[name] for name in names)])
            totals[group] = totals.get(group, 0) + row
    table = pd.DataFrame(list(totals.values()), columns=["weight", *names])
    table[names] = table[names].div(table["weight"], axis=0)
    table.insert(0, "group", list(totals))
    return table.sort_values("group", ignore_index=True)


def chance_level(y: Values, metric: str = "accuracy") -> float:
    """Return the score of a decoder that knows only the class balance.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Labels.
    metric : str, default="accuracy"
        "accuracy", for which it is best to always predict the most frequent class;
        "balanced_accuracy", one over the number of classes; or a name that begins with "roc_auc".

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
    """
    _, counts = np.unique(y, return_counts=True)
    if metric == "accuracy":
        return float(counts.max() / counts.sum())
    if metric == "balanced_accuracy":
        return 1 / len(counts)
    return 0.5 if metric.startswith("roc_auc") else float("nan")
