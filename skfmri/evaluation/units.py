"""Fits of an evaluation as units of work, each done at most once."""

from functools import partial
from itertools import count, product

import numpy as np
from joblib import Parallel, delayed

from skfmri.evaluation.fingerprints import fingerprint, parameters_of
from skfmri.evaluation.folds import fit_and_predict, with_seed
from skfmri.evaluation.result import DECODER
from skfmri.statistics import permute_labels


class Units:
    """The units of one evaluation: a model, a fold, and labels.

    Parameters
    ----------
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Samples.
    groups : ndarray of shape (n_samples,)
        Groups.
    splits : list of (ndarray, ndarray)
        Training and test indices.
    random_state : int
        Seed from which each fold gets a different one.
    ledger : Ledger or None
        Keeps finished units.
    n_jobs : int or None
        Number of joblib workers.
    on_fitted : callable or None
        As in `evaluate_decoder`.
    """

    def __init__(self, X, groups, splits, *, random_state, ledger, n_jobs, on_fitted):
        self.X, self.groups, self.splits = X, groups, splits
        self.random_state, self.ledger = random_state, ledger
        self.n_jobs, self.on_fitted = n_jobs, on_fitted
        seeds = np.random.SeedSequence(random_state).generate_state(len(splits)) >> 1
        self.seeds = seeds.tolist()

    def outcomes(self, models, y, *tag, reduce=None):
        """Yield the model's name, fold and outcome: first from the ledger, then newly computed.

        `tag` distinguishes units of permuted labels; `reduce` makes an outcome smaller before it is
        kept.
        """
        missing = []
        # The decoder comes first: if a worker loads TensorFlow after its first task, joblib takes
        # that for a memory leak and replaces the worker.
        for (name, model), fold in product(models.items(), range(len(self.splits))):
            key = fingerprint([parameters_of(model), fold, *tag])
            known = None if self.ledger is None else self.ledger.get(key)
            if known is None:
                missing.append((name, fold, key))
            else:
                yield name, fold, known
        tasks = (
            delayed(_unit)(
                number,
                with_seed(models[name], self.seeds[fold]),
                *(self.X, y, self.groups, *self.splits[fold], self.ledger),
                on_fitted=None if tag or name != DECODER else self._on_fitted(fold),
            )
            for number, (name, fold, _) in enumerate(missing)
        )
        for number, outcome in Parallel(self.n_jobs, return_as="generator_unordered")(tasks):
            name, fold, key = missing[number]
            if reduce is not None:
                outcome = reduce(fold, outcome)
            if self.ledger is not None:
                self.ledger.add(key, outcome)
            yield name, fold, outcome

    def permuted_scores(self, model, y, blocks, score, metric):
        """Yield the mean score over the folds for one permutation of the labels after another."""
        for number in count():
            rng = np.random.default_rng([self.random_state, number])
            shuffled = permute_labels(y, self.groups, blocks=blocks, random_state=rng)

            def reduce(fold, outcome, shuffled=shuffled):
                test = self.splits[fold][1]
                return {"score": score(outcome, shuffled[test], np.arange(len(test)))[metric]}

            scores = np.empty(len(self.splits))
            units = self.outcomes({DECODER: model}, shuffled, shuffled, metric, reduce=reduce)
            for _, fold, outcome in units:
                scores[fold] = outcome["score"]
            yield scores.mean()

    def _on_fitted(self, fold):
        return None if self.on_fitted is None else partial(self.on_fitted, fold)


def _unit(number, *arguments, on_fitted):
    return number, fit_and_predict(*arguments, on_fitted=on_fitted)
