"""Fits of an evaluation as units of work, each done at most once."""

from functools import partial
from itertools import chain, count, islice, product, repeat

import numpy as np
from joblib import Parallel, delayed

from skfmri.evaluation.fingerprints import fingerprint, parameters_of
from skfmri.evaluation.folds import fit_and_predict, with_seed
from skfmri.evaluation.kinds import score_one
from skfmri.evaluation.outcomes import check_outcome
from skfmri.evaluation.result import DECODER
from skfmri.evaluation.ridge_permutation import has_closed_form, outputs_for_labelings
from skfmri.statistics import permute_labels

# Far more than it takes to find labels that leave each class in each training set, if there are any
# to speak of.
MOST_DRAWS = 1000
# Permutations that are scored together if they need no refits. The first are few, because a null
# result ends early.
FIRST_BATCH, NEXT_BATCH = 50, 500


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
    kind : type
        `Classes` or `Numbers`.
    """

    def __init__(self, X, groups, splits, *, random_state, ledger, n_jobs, on_fitted, kind):
        self.X, self.groups, self.splits, self.kind = X, groups, splits, kind
        self.random_state, self.ledger = random_state, ledger
        self.n_jobs, self.on_fitted = n_jobs, on_fitted
        seeds = np.random.SeedSequence(random_state).generate_state(len(splits)) >> 1
        self.seeds = seeds.tolist()

    def outcomes(self, models, y, *tag, splits=None, reduce=None):
        """Yield the model's name, fold and outcome: first from the ledger, then newly computed.

        `tag` distinguishes units of permuted labels; `splits` replaces those of the evaluation;
        `reduce` makes an outcome smaller before it is kept.
        """
        splits = self.splits if splits is None else splits
        missing = []
        # The decoder comes first: if a worker loads TensorFlow after its first task, joblib takes
        # that for a memory leak and replaces the worker.
        for (name, model), fold in product(models.items(), range(len(splits))):
            key = fingerprint([parameters_of(model), fold, *tag])
            check = self.kind.check_kept
            if reduce is None:
                check = partial(check_outcome, is_classes=self.kind.is_classes)
            check = partial(check, n_test=len(splits[fold][1]))
            known = None if self.ledger is None else self.ledger.get(key, check)
            if known is None:
                missing.append((name, fold, key))
            else:
                yield name, fold, known
        tasks = (
            delayed(_unit)(
                number,
                with_seed(models[name], self.seeds[fold]),
                *(self.X, y, self.groups, *splits[fold], self.ledger),
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

    def permuted_scores(self, model, y, score, metric, *, blocks, reorder, scheme, splits_of):
        """Yield the mean score over the folds for one permutation of the labels after another.

        `splits_of` returns the splits for given labels. It is asked if labels of whole groups are
        shuffled: splits that were balanced for the true labels would not be so for others, and
        would make the true labels look better than they are.
        """
        permuted = self._permuted_labels(y, blocks, reorder, scheme, splits_of)
        if not has_closed_form(model):
            for shuffled, splits in permuted:
                yield self._refitted_score(model, shuffled, splits, score, metric)
            return
        for size in chain([FIRST_BATCH], repeat(NEXT_BATCH)):
            batch = list(islice(permuted, size))
            # Without a refit only if the splits do not depend on the labels.
            closed = [shuffled for shuffled, splits in batch if self._are_ours(splits)]
            scores = iter(self._scores_in_closed_form(model, np.array(closed), score, metric))
            for shuffled, splits in batch:
                if self._are_ours(splits):
                    yield next(scores)
                else:
                    yield self._refitted_score(model, shuffled, splits, score, metric)

    def _permuted_labels(self, y, blocks, reorder, scheme, splits_of):
        """Yield permuted labels with their splits, without end."""
        for number in count():
            rng = np.random.default_rng([self.random_state, number])
            if scheme == "groups":
                yield self._shuffled_groups(y, splits_of, rng)
            else:
                options = {"blocks": blocks, "reorder": reorder, "random_state": rng}
                yield permute_labels(y, self.groups, **options), self.splits

    def _refitted_score(self, model, shuffled, splits, score, metric):
        """Return the mean score of a model that is fitted to permuted labels in each fold."""
        score_labels = partial(score_one, score, metric)

        def reduce(fold, outcome):
            return self.kind.kept(outcome, shuffled[splits[fold][1]], score_labels)

        # Of numbers predictions are kept, which serve every metric.
        tag = (shuffled, metric) if self.kind.is_classes else (shuffled,)
        tag = tag if splits is self.splits else (*tag, splits)
        kept = [None] * len(splits)
        units = self.outcomes({DECODER: model}, shuffled, *tag, splits=splits, reduce=reduce)
        for _, fold, of_fold in units:
            kept[fold] = of_fold
        return self.kind.score_kept(kept, splits, shuffled, score_labels)

    def _scores_in_closed_form(self, model, labelings, score, metric):
        """Return the mean score of a ridge for each of many permutations."""
        if not len(labelings):
            return []
        tasks = (
            delayed(outputs_for_labelings)(model, self.X, labelings, self.groups, *split)
            for split in self.splits
        )
        folds = Parallel(self.n_jobs, return_as="generator")(tasks)
        return self.kind.score_labelings(folds, self.splits, labelings, score, metric)

    def _are_ours(self, splits):
        """Return whether splits are those of the evaluation."""
        if splits is self.splits:
            return True
        pairs = zip(chain(*splits), chain(*self.splits), strict=False)
        return len(splits) == len(self.splits) and all(np.array_equal(*pair) for pair in pairs)

    def _shuffled_groups(self, y, splits_of, rng):
        """Return labels shuffled among whole groups, with splits of theirs.

        Labels for which the splitter finds no splits are drawn again. If the true labels leave each
        class in each training set, so must the permuted ones, since most classifiers fail
        otherwise. Under the null hypothesis the true labels are as likely as any others of this
        kind, so the test stays valid.
        """
        are_complete = self.kind.is_classes and _train_on_all_classes(self.splits, y)
        for _ in range(MOST_DRAWS):
            shuffled = permute_labels(y, self.groups, scheme="groups", random_state=rng)
            try:
                splits = splits_of(shuffled)
            except ValueError:
                continue
            if not are_complete or _train_on_all_classes(splits, shuffled):
                return shuffled, splits
        raise ValueError(
            f"None of {MOST_DRAWS} permutations of the labels of whole groups could be split so "
            "that each fold trains on all classes. Use more groups per class, larger training "
            "sets, or n_permutations=0."
        )

    def _on_fitted(self, fold):
        return None if self.on_fitted is None else partial(self.on_fitted, fold)


def _train_on_all_classes(splits, y):
    n_classes = len(np.unique(y))
    return all(len(np.unique(y[train])) == n_classes for train, _ in splits)


def _unit(number, *arguments, on_fitted):
    return number, fit_and_predict(*arguments, on_fitted=on_fitted)
