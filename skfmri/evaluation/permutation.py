"""Tests of an evaluation's first metric against shuffled labels."""

import math
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from functools import partial
from itertools import tee

import numpy as np
import pandas as pd
from scipy.special import gammaln

from skfmri._validation import check_number
from skfmri.evaluation.kinds import Classes
from skfmri.evaluation.scoring import chance_level
from skfmri.statistics import (
    exchangeable_units,
    label_stretches,
    permutation_scheme,
    place_labels,
    prediction_permutation_test,
    sequential_permutation_test,
)

# How often the labels of kept predictions are shuffled; less often for metrics that call a scorer
# of scikit-learn each time.
N_PERMUTATIONS, N_SLOW_PERMUTATIONS = 1000, 200
# Above this correlation of neighbours, single samples are not exchangeable.
LARGEST_NEIGHBOUR_CORRELATION = 0.3
# Labels held at once.
N_HELD = 4_000_000


@dataclass(frozen=True)
class ShuffledScores:
    """Scores of a decoder with shuffled labels, beside that with the true ones.

    Parameters
    ----------
    score : float
        Score with the true labels.
    permuted : ndarray or iterator
        Score of one permutation after another, without end if `refitted`.
    refitted : bool
        Whether each permutation fits the models anew. If not, predictions are kept.
    scheme : {"within", "groups"} or None
        How labels are permuted; None if decoders of several subjects differ in that.
    n_partitions : int
        How many permutations differ, other than in the names of the classes.
    """

    score: float
    permuted: Iterable
    refitted: bool
    scheme: str | None
    n_partitions: int

    def test(self, n_permutations, level):
        """Return the test of the score, and why there is none if there is none.

        Parameters
        ----------
        n_permutations : int
            Largest number of permutations with refits.
        level : float
            Largest p that counts as better than chance.

        Returns
        -------
        test : PermutationTest or None
        untested : str or None
        """
        if self.refitted:
            # A copy of the iterator, so that what has been fitted can be read again.
            test = sequential_permutation_test(
                self.score, copy(self.permuted), n_permutations=n_permutations
            )
            return test._replace(scheme=self.scheme), None
        if self.n_partitions * level < 1:
            where = "among groups" if self.scheme == "groups" else "within groups"
            return None, (
                f"exchanging labels {where} gives only {self.n_partitions} different partitions "
                f"of the samples, too few for p to reach {level:.2g}. Use more groups or smaller "
                "blocks."
            )
        test = prediction_permutation_test(self.score, self.permuted)
        return test._replace(scheme=self.scheme), None


def mean_of_shuffled(parts):
    """Return the scores of several decoders as those of their mean, shuffled independently.

    Parameters
    ----------
    parts : list of ShuffledScores
        One per decoder, each with other samples.

    Returns
    -------
    mean : ShuffledScores
    """
    refitted, permuted = parts[0].refitted, [part.permuted for part in parts]
    if refitted:
        (means,) = tee((float(np.mean(scores)) for scores in zip(*permuted, strict=True)), 1)
    else:
        n_permutations = min(map(len, permuted))
        means = np.mean([scores[:n_permutations] for scores in permuted], axis=0)
    schemes = {part.scheme for part in parts}
    return ShuffledScores(
        float(np.mean([part.score for part in parts])),
        means,
        refitted,
        schemes.pop() if len(schemes) == 1 else None,
        math.prod(part.n_partitions for part in parts),
    )


@dataclass(frozen=True)
class ChanceTest:
    """How labels are shuffled to test the decoder's score.

    Parameters
    ----------
    y, groups : ndarray of shape (n_samples,)
        Labels and groups.
    blocks : ndarray of shape (n_samples,)
        What permutations keep together.
    reorder : bool
        As in `permute_labels`.
    scheme : {"within", "groups"} or None
        How labels are permuted; None if all are equal.
    kind : type
        `Classes` or `Numbers`.
    untested : str or None
        Why labels cannot be exchanged.
    """

    y: np.ndarray
    groups: np.ndarray
    blocks: np.ndarray
    reorder: bool
    scheme: str | None
    kind: type
    untested: str | None

    def test(self, scores, metric, score, units, estimator, *, splits_of, n_permutations, level):
        """Return what the score is compared with, the test, and why there is none if so.

        Parameters
        ----------
        scores, metric, score, units, estimator, splits_of
            As in `by_refits`.
        n_permutations, level
            As in `ShuffledScores.test`. With 0 permutations, or if the metric is not defined
            everywhere, predictions are kept.

        Returns
        -------
        shuffled : ShuffledScores or None
        test : PermutationTest or None
        untested : str or None
        """
        shuffled = test = untested = None
        if n_permutations:
            shuffled = self.by_refits(scores, metric, score, units, estimator, splits_of=splits_of)
        if shuffled is None:
            shuffled, untested = self.of_predictions(scores, metric, score, units.random_state)
        if shuffled is not None:
            test, untested = shuffled.test(n_permutations, level)
        return shuffled, test, untested

    def by_refits(self, scores, metric, score, units, estimator, *, splits_of):
        """Return the scores of the decoder fitted anew, or None if the metric is undefined.

        Parameters
        ----------
        scores : ModelScores
            Of the decoder.
        metric : str
            The metric to test.
        score : callable
            From `make_scorer_of`.
        units : Units
            Fits the decoder.
        estimator : classifier or regressor
            The decoder.
        splits_of : callable
            Returns the splits for given labels.

        Returns
        -------
        shuffled : ShuffledScores or None
        """
        if scores.of_pools[metric].isna().any():
            return None
        permuted = units.permuted_scores(
            *(estimator, self.y, score, metric),
            blocks=self.blocks,
            reorder=self.reorder,
            scheme=self.scheme,
            splits_of=splits_of,
        )
        return self._shuffled(scores.score(metric), tee(permuted, 1)[0], refitted=True)

    def of_predictions(self, scores, metric, score, random_state):
        """Return the scores of kept predictions, and why there are none if there are none.

        Parameters
        ----------
        scores, metric, score
            As in `by_refits`.
        random_state : int
            Draws the permutations.

        Returns
        -------
        shuffled : ShuffledScores or None
        untested : str or None
        """
        untested = self._why_untested(scores, metric)
        if untested is not None:
            return None, untested
        scorers, codes, n_permutations = self._pool_scorers(scores, metric, score)
        sets = exchangeable_units(codes, self.groups, blocks=self.blocks, scheme=self.scheme)
        rng, permuted = np.random.default_rng(random_state), []
        for labels in _permutations(codes, sets, n_permutations, rng, reorder=self.reorder):
            of_pools = [
                scorer(labels[:, pool.test])
                for scorer, pool in zip(scorers, scores.pools, strict=True)
            ]
            permuted.append(np.mean(of_pools, axis=0))
        permuted = np.concatenate(permuted)
        return self._shuffled(scores.score(metric), permuted, refitted=False), None

    def _pool_scorers(self, scores, metric, score):
        """Return for each pool a function of coded labels, the codes, and how often to call it."""
        labels, codes = np.unique(self.y, return_inverse=True)
        scorers, is_quick = [], True
        for pool, true_score in zip(scores.pools, scores.of_pools[metric], strict=True):
            scorer = self.kind.quick(metric, pool.outcome, labels)
            # A metric of the user's may have the name of one of scikit-learn's.
            if scorer is None or not np.isclose(scorer(codes[None, pool.test])[0], true_score):
                is_quick = False
                scorer = partial(_score_each, metric, score, pool.outcome, labels)
            scorers.append(scorer)
        return scorers, codes, N_PERMUTATIONS if is_quick else N_SLOW_PERMUTATIONS

    def _shuffled(self, score, permuted, *, refitted):
        return ShuffledScores(
            float(score), permuted, refitted, self.scheme, self._count_partitions()
        )

    def _why_untested(self, scores, metric):
        if scores.of_pools[metric].isna().any():
            return f"{metric} is not defined in {self.kind.everywhere}."
        if not math.isfinite(chance_level(self.y, metric)):
            return (
                f"{metric} has no known chance level. Set n_permutations to compare it with refits."
            )
        if "diverged" in scores.of_folds and scores.of_folds["diverged"].any():
            return "the network diverged."
        if self.scheme is None:
            return "all samples share one label."
        return self.untested

    def _count_partitions(self):
        """Return how many permutations differ, other than in the names of the classes."""
        log_count = -gammaln(1 + len(np.unique(self.y))) if self.kind.is_classes else 0.0
        sets = exchangeable_units(self.y, self.groups, blocks=self.blocks, scheme=self.scheme)
        for labels, _, _ in sets:
            _, counts = np.unique(labels, return_counts=True)
            log_count += gammaln(1 + len(labels)) - gammaln(1 + counts).sum()
        return math.floor(math.exp(min(log_count, 700)) + 1e-6)


def plan_chance_test(permutation, y, groups, blocks, *, n_permutations, kind=Classes):
    """Return how labels are shuffled, or None if no test is wanted.

    Labels that cannot be exchanged are noticed here, before hours of work.

    Parameters
    ----------
    permutation, y, groups, blocks, n_permutations
        As in `evaluate_decoder`.
    kind : type, default=Classes
        `Classes` or `Numbers`.

    Returns
    -------
    test : ChanceTest or None
    """
    check_number(n_permutations, "n_permutations", least=0)
    if permutation is None:
        if n_permutations:
            raise ValueError(
                f"n_permutations is {n_permutations}, but permutation is None, which makes no "
                'test. Pass permutation="auto".'
            )
        return None
    scheme = None
    if n_permutations or len(np.unique(y)) > 1:
        exchangeable_units(y, groups, blocks=blocks, scheme=permutation)
        scheme = permutation_scheme(y, groups)
    untested, reorder = None, blocks is None and scheme == "within"
    if blocks is None:
        blocks = label_stretches(y, groups)
        if scheme == "within" and not kind.is_classes:
            untested = _why_not_exchangeable(y, groups, blocks)
    if untested is not None and n_permutations:
        raise ValueError(f"Labels cannot be permuted: {untested}")
    return ChanceTest(y, groups, np.asarray(blocks), reorder, scheme, kind, untested)


def _why_not_exchangeable(y, groups, blocks):
    """Return that numbers change slowly within groups, or None if they do not.

    The noise of neighbours is alike too, so a slow label goes with slow noise more often than a
    shuffled one does.
    """
    order = np.argsort(groups, kind="stable")
    _, first = np.unique(blocks[order], return_index=True)
    rows = order[np.sort(first)]
    of_groups = pd.Series(y[rows]).groupby(groups[rows])
    gaps = (of_groups.transform("mean") - y[rows]).to_numpy()
    follows = groups[rows][1:] == groups[rows][:-1]
    before, after = gaps[:-1][follows], gaps[1:][follows]
    length = np.sqrt((before @ before) * (after @ after))
    correlation = before @ after / length if length else 0.0
    # Three standard errors of independent labels, which few of them may well exceed.
    if correlation <= max(LARGEST_NEIGHBOUR_CORRELATION, 3 / np.sqrt(max(1, len(before)))):
        return None
    return (
        f"labels change slowly within groups, since those of neighbours correlate at "
        f"{correlation:.2f}, so single samples cannot be exchanged. If samples are independent of "
        "each other, say so with blocks=np.arange(len(y)); else average them over blocks, or pass "
        "one sample per event."
    )


def _permutations(codes, sets, n_permutations, rng, *, reorder):
    """Yield rows of shuffled labels in batches."""
    size = max(1, N_HELD // len(codes))
    for begin in range(0, n_permutations, size):
        n_rows = min(size, n_permutations - begin)
        shuffled = np.tile(codes, (n_rows, 1))
        for labels, rows, unit in sets:
            orders = rng.permuted(np.tile(np.arange(len(labels)), (n_rows, 1)), axis=1)
            shuffled[:, rows] = place_labels(labels, unit, orders, reorder=reorder)
        yield shuffled


def _score_each(metric, score, outcome, classes, labels):
    positions = np.arange(labels.shape[1])
    return np.array([score(outcome, classes[row], positions)[metric] for row in labels])
