"""Tests of an evaluation's first metric against shuffled labels."""

import math
from functools import partial

import numpy as np
from scipy.special import gammaln

from skfmri.evaluation.result import DECODER
from skfmri.evaluation.scoring import chance_level
from skfmri.statistics import (
    exchangeable_units,
    prediction_permutation_test,
    sequential_permutation_test,
)

# How often the labels of kept predictions are shuffled; less often for metrics that call a scorer of
# scikit-learn each time.
N_PERMUTATIONS, N_SLOW_PERMUTATIONS = 1000, 200
# Labels held at once.
N_HELD = 4_000_000


def permutation_test_by_refits(
    folds, metric, score, units, estimator, y, *, blocks, scheme, splits_of, n_permutations
):
    """Return the test of the decoder's mean score against refits, or None if it has no mean.

    Parameters
    ----------
    folds, metric, score
        As in `permutation_test_of_predictions`.
    units : Units
        Fits the decoder.
    estimator : classifier
        The decoder.
    y : ndarray of shape (n_samples,)
        Labels.
    blocks, scheme
        As in `permute_labels`.
    splits_of : callable
        Returns the splits for given labels.
    n_permutations : int
        Largest number of permutations.

    Returns
    -------
    test : PermutationTest or None
    """
    scores = folds.loc[folds["model"] == DECODER, metric]
    if scores.isna().any():
        return None
    permuted = units.permuted_scores(
        estimator, y, score, metric, blocks=blocks, scheme=scheme, splits_of=splits_of
    )
    test = sequential_permutation_test(scores.mean(), permuted, n_permutations=n_permutations)
    return test._replace(scheme=scheme)


def why_untested(folds, metric, y, groups, blocks, scheme, level):
    """Return why kept predictions cannot be tested, or None if they can be.

    Parameters
    ----------
    folds : pandas.DataFrame
        One row per model and fold.
    metric : str
        The metric to test.
    y, groups, blocks : ndarray of shape (n_samples,)
        Labels, groups and what permutations keep together.
    scheme : {"within", "groups"} or None
        From `permutation_scheme`; None if all labels are equal.
    level : float
        Largest p that counts as better than chance.

    Returns
    -------
    reason : str or None
    """
    if not math.isfinite(chance_level(y, metric)):
        return f"{metric} has no known chance level. Set n_permutations to compare it with refits."
    of_decoder = folds[folds["model"] == DECODER]
    if of_decoder[metric].isna().any():
        return f"{metric} is not defined in every fold."
    if "diverged" in of_decoder and of_decoder["diverged"].any():
        return "the network diverged."
    if scheme is None:
        return "all samples share one label."
    n_partitions = _count_partitions(y, groups, blocks, scheme)
    if n_partitions * level < 1:
        where = "among groups" if scheme == "groups" else "within groups"
        return (
            f"exchanging labels {where} gives only {n_partitions:.0f} different partitions of the "
            f"samples, too few for p to reach {level:.2g}. Use more groups or smaller blocks."
        )
    return None


def _count_partitions(y, groups, blocks, scheme):
    """Return how many permutations of the labels are not just other names of the classes."""
    log_count = -gammaln(1 + len(np.unique(y)))
    for labels, _, _ in exchangeable_units(y, groups, blocks=blocks, scheme=scheme):
        _, counts = np.unique(labels, return_counts=True)
        log_count += gammaln(1 + len(labels)) - gammaln(1 + counts).sum()
    return math.floor(math.exp(min(log_count, 700)) + 1e-6)


def permutation_test_of_predictions(
    folds, metric, score, outcomes, splits, y, groups, *, blocks, scheme, random_state
):
    """Return the test of the decoder's predictions, which are kept, against shuffled labels.

    Parameters
    ----------
    folds : pandas.DataFrame
        One row per model and fold.
    metric : str
        The metric to test.
    score : callable
        From `make_scorer_of`.
    outcomes : list of dict
        Of the decoder, one per split.
    splits : list of (ndarray, ndarray)
        Training and test indices.
    y, groups : ndarray of shape (n_samples,)
        Labels and groups.
    blocks, scheme
        As in `permute_labels`.
    random_state : int
        Draws the permutations.

    Returns
    -------
    test : PermutationTest
    """
    true_scores = folds.loc[folds["model"] == DECODER, metric].to_numpy()
    classes, codes = np.unique(y, return_inverse=True)
    quick = QUICK_SCORES.get(metric)
    scorers = []
    for outcome, (_, test), true_score in zip(outcomes, splits, true_scores, strict=True):
        scorer = None
        if quick is not None:
            scorer = partial(quick, np.searchsorted(classes, outcome["predict"]))
        # A metric of the user's may have the name of one of scikit-learn's.
        if scorer is None or not np.isclose(scorer(codes[None, test])[0], true_score):
            quick, scorer = None, partial(_score_each, metric, score, outcome, classes)
        scorers.append(scorer)
    n_permutations = N_SLOW_PERMUTATIONS if quick is None else N_PERMUTATIONS
    sets = exchangeable_units(codes, groups, blocks=blocks, scheme=scheme)
    rng, permuted = np.random.default_rng(random_state), []
    for labels in _permutations(codes, sets, n_permutations, rng):
        of_folds = [
            scorer(labels[:, test]) for scorer, (_, test) in zip(scorers, splits, strict=True)
        ]
        permuted.append(np.mean(of_folds, axis=0))
    test = prediction_permutation_test(true_scores.mean(), np.concatenate(permuted))
    return test._replace(scheme=scheme)


def _permutations(codes, sets, n_permutations, rng):
    """Yield rows of shuffled labels in batches."""
    size = max(1, N_HELD // len(codes))
    for begin in range(0, n_permutations, size):
        n_rows = min(size, n_permutations - begin)
        shuffled = np.tile(codes, (n_rows, 1))
        for labels, rows, unit in sets:
            shuffled[:, rows] = rng.permuted(np.tile(labels, (n_rows, 1)), axis=1)[:, unit]
        yield shuffled


def _score_each(metric, score, outcome, classes, labels):
    positions = np.arange(labels.shape[1])
    return np.array([score(outcome, classes[row], positions)[metric] for row in labels])


def _accuracies(predicted, labels):
    return (labels == predicted).mean(axis=1)


def _balanced_accuracies(predicted, labels):
    recalls = []
    for code in np.unique(labels):
        is_class = labels == code
        n_class = is_class.sum(axis=1)
        hits = (is_class & (predicted == code)).sum(axis=1)
        recalls.append(np.where(n_class, hits / np.maximum(n_class, 1), np.nan))
    return np.nanmean(recalls, axis=0)


# Scikit-learn's scorers take a millisecond per call.
QUICK_SCORES = {"accuracy": _accuracies, "balanced_accuracy": _balanced_accuracies}
