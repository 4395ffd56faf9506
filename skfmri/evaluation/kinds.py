"""What an evaluation does differently for classes than for numbers.

The score of a classifier is the mean over folds. A fold may hold one value of a number, such as the
age of one subject, so the predictions of all folds of a repeat get one score. What gets one score
together is a pool: a fold for classes, a repeat for numbers.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier, DummyRegressor

from skfmri.evaluation.folds import repeat_of_split
from skfmri.evaluation.outcomes import check_numbers, check_score
from skfmri.evaluation.quick_scores import QUICK_SCORES
from skfmri.evaluation.sums import OF_SUMS, mean_score, parts_of, score_rows, sum_by
from skfmri.evaluation.targets import predicts_numbers


class Pool(NamedTuple):
    """Predictions that get one score together.

    Attributes
    ----------
    outcome : dict
        As `fit_and_predict` returns it for one split.
    test, fold : ndarray of shape (n_predictions,)
        Sample and fold of each prediction.
    """

    outcome: dict
    test: np.ndarray
    fold: np.ndarray


@dataclass(frozen=True)
class ModelScores:
    """Scores of one model.

    Parameters
    ----------
    pools : list of Pool
        Its predictions.
    of_pools : pandas.DataFrame
        One row per pool, one column per metric.
    of_folds, of_groups : pandas.DataFrame
        The model's rows of `DecodingResult.folds` and `DecodingResult.groups`.
    """

    pools: list[Pool]
    of_pools: pd.DataFrame
    of_folds: pd.DataFrame
    of_groups: pd.DataFrame

    def score(self, metric):
        """Return the mean over the pools."""
        return self.of_pools[metric].mean()


class Classes:
    """Labels are classes, and each fold is a pool."""

    is_classes = True
    unit = "folds"
    everywhere = "every fold"
    why_undefined = "their test samples lack a class."
    when_undefined = (
        "If a class is missing, hold out groups that have all classes, or choose another metric, "
        "such as accuracy."
    )
    # Metrics that are also averaged over the groups that define them.
    within_groups = ()
    dummy = DummyClassifier

    @staticmethod
    def pools(outcomes, splits):
        """Return the pools of one model.

        Parameters
        ----------
        outcomes : list of dict
            What `fit_and_predict` returned for each split.
        splits : list of (ndarray, ndarray)
            Training and test indices.

        Returns
        -------
        pools : list of Pool
        """
        return [
            Pool(outcome, test, np.full(len(test), fold))
            for fold, (outcome, (_, test)) in enumerate(zip(outcomes, splits, strict=True))
        ]

    @staticmethod
    def sums(metric, scores, y, groups):
        """Return sums over groups with the score as their function, or None if there are none.

        Parameters
        ----------
        metric : str
            Name of the metric.
        scores : ModelScores
            Scores of one model.
        y, groups : ndarray of shape (n_samples,)
            Labels and groups.

        Returns
        -------
        sums : ndarray of shape (n_groups, ...)
            In the order of the names of the groups.
        statistic : callable
            As in `bootstrap_interval_of_sums`.
        """
        weights = scores.of_groups["weight"].to_numpy()
        values = scores.of_groups[metric].to_numpy()
        if not np.isfinite(values).all():
            return None
        return np.column_stack([values * weights, weights]), _weighted_mean

    @staticmethod
    def parts(metric, scores, y):
        """Return a number per fold, of which the score is the mean; NaN if there are none."""
        return scores.of_folds[metric].to_numpy()

    @staticmethod
    def quick(metric, outcome, classes):
        """Return a function that scores rows of labels at once, or None.

        Parameters
        ----------
        metric : str
            Name of the metric.
        outcome : dict
            Of a pool.
        classes : ndarray
            All labels in ascending order; rows hold positions in it.

        Returns
        -------
        score : callable or None
        """
        if metric not in QUICK_SCORES:
            return None
        return partial(QUICK_SCORES[metric], np.searchsorted(classes, outcome["predict"]))

    @staticmethod
    def kept(outcome, labels, score):
        """Return what is kept of a fold whose labels were permuted: its score."""
        return {"score": score(outcome, labels)}

    @staticmethod
    def check_kept(kept, n_test):
        """Raise ValueError unless this is what `kept` returns."""
        check_score(kept)

    @staticmethod
    def score_kept(kept, splits, y, score):
        """Return the score of all folds from what is kept of each."""
        return float(np.mean([fold["score"] for fold in kept]))

    @staticmethod
    def score_labelings(folds, splits, labelings, score, metric):
        """Return the score of all folds for each of many label vectors.

        Parameters
        ----------
        folds : iterable of list of dict
            For each fold, an outcome for each label vector.
        splits : list of (ndarray, ndarray)
            Training and test indices.
        labelings : ndarray of shape (n_labelings, n_samples)
            Labels.
        score : callable
            From `make_scorer_of`.
        metric : str
            Name of the metric.

        Returns
        -------
        scores : ndarray of shape (n_labelings,)
        """
        of_folds = [
            _score_rows(outcomes, labelings[:, test], score, metric)
            for outcomes, (_, test) in zip(folds, splits, strict=True)
        ]
        return np.mean(of_folds, axis=0)


class Numbers:
    """Labels are numbers, and each repeat is a pool; methods are as in `Classes`."""

    is_classes = False
    unit = "repeats"
    everywhere = "every repeat"
    why_undefined = "all their test samples have one label."
    when_undefined = "Test samples whose labels differ, or choose another metric."
    within_groups = ("pearson", "spearman")
    dummy = DummyRegressor

    @staticmethod
    def pools(outcomes, splits):
        """Return the predictions of each repeat."""
        by_repeat = {}
        for repeat, pool in zip(
            repeat_of_split(splits), Classes.pools(outcomes, splits), strict=True
        ):
            by_repeat.setdefault(repeat, []).append(pool)
        return [
            Pool(
                {"predict": np.concatenate([pool.outcome["predict"] for pool in pools])},
                np.concatenate([pool.test for pool in pools]),
                np.concatenate([pool.fold for pool in pools]),
            )
            for pools in by_repeat.values()
        ]

    @staticmethod
    def sums(metric, scores, y, groups):
        """Return sums over groups with the score as their function, or None if there are none."""
        codes = np.unique(groups, return_inverse=True)[1]
        sums = _sums_by([codes[pool.test] for pool in scores.pools], metric, scores, y)
        if sums is None:
            return None
        # The first sum is the number of samples; a group that no fold tests has none.
        return sums[sums[..., 0].any(axis=1)], partial(mean_score, metric)

    @staticmethod
    def parts(metric, scores, y):
        """Return a number per fold, of which the score is the mean; NaN if there are none."""
        sums = _sums_by([pool.fold for pool in scores.pools], metric, scores, y)
        return np.full(len(scores.of_folds), np.nan) if sums is None else parts_of(metric, sums)

    @staticmethod
    def quick(metric, outcome, classes):
        """Return a function that scores rows of labels at once, or None."""
        if metric not in OF_SUMS:
            return None
        return lambda rows: score_rows(metric, classes[rows], outcome["predict"])

    @staticmethod
    def kept(outcome, labels, score):
        """Return what is kept of a fold whose labels were permuted: its predictions."""
        return {"predict": outcome["predict"]}

    @staticmethod
    def check_kept(kept, n_test):
        """Raise ValueError unless this is what `kept` returns."""
        check_numbers(kept, n_test)

    @staticmethod
    def score_kept(kept, splits, y, score):
        """Return the score of all folds from what is kept of each."""
        pools = Numbers.pools(kept, splits)
        return float(np.mean([score(pool.outcome, y[pool.test]) for pool in pools]))

    @staticmethod
    def score_labelings(folds, splits, labelings, score, metric):
        """Return the score of all folds for each of many label vectors."""
        score_labels = partial(score_one, score, metric)
        return np.array(
            [
                Numbers.score_kept(of_labels, splits, labels, score_labels)
                for of_labels, labels in zip(zip(*folds, strict=True), labelings, strict=True)
            ]
        )


def kind_of(estimator):
    """Return `Numbers` for a regressor, `Classes` for any other estimator."""
    return Numbers if predicts_numbers(estimator) else Classes


def score_one(score, metric, outcome, labels):
    """Return one metric of an outcome, given the labels of its samples."""
    return score(outcome, labels, np.arange(len(labels)))[metric]


def _score_rows(outcomes, labels, score, metric):
    """Return the score of each outcome of a fold, given its row of labels."""
    quick = QUICK_SCORES.get(metric)
    if quick is not None:
        scores = quick(np.array([outcome["predict"] for outcome in outcomes]), labels)
        # A metric of the user's may have the name of one of scikit-learn's.
        if np.isclose(scores[0], score_one(score, metric, outcomes[0], labels[0])):
            return scores
    return [
        score_one(score, metric, outcome, row)
        for outcome, row in zip(outcomes, labels, strict=True)
    ]


def _weighted_mean(sums):
    return sums[..., 0] / sums[..., 1]


def _sums_by(codes_of_pools, metric, scores, y):
    """Return sums of shape (n_codes, n_pools, n_sums), or None if the metric has none."""
    if metric not in OF_SUMS:
        return None
    n_codes = 1 + max(codes.max() for codes in codes_of_pools)
    sums = np.stack(
        [
            sum_by(metric, y[pool.test], pool.outcome["predict"], codes, n_codes)
            for codes, pool in zip(codes_of_pools, scores.pools, strict=True)
        ],
        axis=1,
    )
    # A metric of the user's may have the name of one of ours.
    return sums if np.isclose(mean_score(metric, sums.sum(axis=0)), scores.score(metric)) else None
