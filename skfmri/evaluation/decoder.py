"""One call from an estimator to scores that can be trusted."""

from contextlib import nullcontext
from functools import partial
from itertools import count, product

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, hash as content_hash
from sklearn.base import BaseEstimator, clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skfmri._validation import check_number, find_labels_and_groups
from skfmri.evaluation.folds import fit_and_predict, grouped_splits, is_search, with_seed
from skfmri.evaluation.ledger import Ledger, fingerprint, parameters_of, versions
from skfmri.evaluation.result import DECODER, DUMMY, DecodingResult
from skfmri.evaluation.scoring import make_scorer_of
from skfmri.evaluation.tables import (
    comparison_table,
    fold_row,
    group_table,
    learning_curve_table,
    prediction_table,
    summary_table,
)
from skfmri.statistics import FEWEST_BOOTSTRAPS, permute_labels, sequential_permutation_test


def evaluate_decoder(
    estimator,
    X,
    y=None,
    *,
    groups=None,
    cv=None,
    scoring=None,
    baseline="linear",
    blocks=None,
    n_permutations=0,
    n_bootstraps=10_000,
    confidence=0.95,
    ledger=None,
    n_jobs=None,
    random_state=None,
    on_fold=None,
    on_fitted=None,
):
    """Cross-validate a decoder by group, beside a linear model and a dummy on the same folds.

    A mean score over folds hides three questions: how far would it move with other groups, is it
    better than a linear model, and could shuffled labels have given it? This answers all three
    from one set of folds. Splits that cut through a group are refused.

    Parameters
    ----------
    estimator : classifier, pipeline or search
        The decoder; never fitted itself. A search such as `GridSearchCV` is fitted in each fold, so
        its score is that of a nested cross-validation.
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Samples.
    y : array-like of shape (n_samples,), default=None
        Labels; None takes ``X.y``.
    groups : array-like of shape (n_samples,), default=None
        What must not be split; None takes ``X.groups``.
    cv : int, splitter, iterable or None, default=None
        Any splitter of scikit-learn; None leaves one group out at a time.
    scoring : str, callable, list, dict or None, default=None
        As in `cross_validate`; None stands for accuracy and balanced accuracy. The first
        metric is the one that is tested. A scorer gets recorded outputs instead of the estimator
        and positions instead of X, so it can use `predict`, `predict_proba` and
        `decision_function`, but not the volumes.
    baseline : {"linear"}, estimator, dict of str to estimator, or None, default="linear"
        What to compare with. "linear" is `linear_baseline` of the estimator. A dummy that knows
        nothing but the class balance is always there.
    blocks : array-like of shape (n_samples,), default=None
        Stretches of samples that share a label within a group, such as stimulation blocks, and that
        permutations keep together. Without them volumes are exchanged one by one, which makes p
        too small where neighbours in time are alike.
    n_permutations : int, default=0
        Largest number of label permutations within groups; each costs as much as the
        cross-validation. A clearly null result ends earlier.
    n_bootstraps : int, default=10000
        Number of times that groups are drawn for the intervals; at least 100.
    confidence : float, default=0.95
        Of all intervals.
    ledger : path-like, default=None
        File that keeps each finished fold and permutation. Killed at any moment, the same call goes
        on where it stopped and ends with the same numbers.
    n_jobs : int, default=None
        Number of joblib workers.
    random_state : int, default=None
        Gives each fold a seed of its own, in place of each `random_state` among the parameters of
        the models, since a seed shared by all folds shares the luck of one draw of weights. None
        draws one, which the result and the ledger tell.
    on_fold : callable, default=None
        Called after each fold with its row of `DecodingResult.folds`, a dict. Folds come in the
        order in which they are finished.
    on_fitted : callable, default=None
        Called in each fold as ``on_fitted(fold, decoder, X_test, y_test)``, with the fitted decoder
        and the samples held out, for what scores do not tell, such as a map of its weights. It
        runs where the fold was fitted, with `n_jobs` in a worker, so it should write files and not
        fill lists. With a `ledger` it runs before the fold counts as finished, and not again after.

    Returns
    -------
    result : DecodingResult

    Raises
    ------
    ValueError
        If there are no labels or groups, if a group lies on both sides of a split, or if the
        ledger holds other work.

    See Also
    --------
    skfmri.audit_leakage : Looks for leaks that groups alone do not show.
    skfmri.evaluation.fit_search : Fits one search that can be resumed.

    Notes
    -----
    - The score is the mean over folds, as that of `cross_val_score`.
    - Its interval comes from drawing groups, not volumes, which are no independent observations:
      :func:`skfmri.statistics.bootstrap_interval` of the groups' own scores.
    - The difference to a baseline is tested over folds with
      :func:`skfmri.statistics.corrected_resampled_t_test`, since folds share training samples.
    - Labels are permuted by :func:`skfmri.statistics.permute_labels` and stopped by
      :func:`skfmri.statistics.sequential_permutation_test`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skfmri import evaluate_decoder
    >>> X, y = np.array([[-1.0], [1.0]] * 6), np.array(["low", "high"] * 6)
    >>> groups = np.repeat([0, 1, 2], 4)
    >>> result = evaluate_decoder(LogisticRegression(), X, y, groups=groups, random_state=0)
    >>> print(result.sentences()[0])
    accuracy 1.000, 95% interval 1.000 to 1.000 over 3 groups; chance 0.500.
    """
    y, groups = find_labels_and_groups(X, y, groups)
    if check_number(n_permutations, "n_permutations", least=0):
        # Labels that cannot be exchanged are noticed before hours of work.
        permute_labels(y, groups, blocks=blocks)
    check_number(n_bootstraps, "n_bootstraps", least=FEWEST_BOOTSTRAPS)
    splits = grouped_splits(X, y, groups, cv)
    score, metrics = make_scorer_of(scoring)
    models = {DECODER: estimator, **_baselines(baseline, estimator), DUMMY: DummyClassifier()}
    free = ("random_state",) if random_state is None else ()
    if random_state is None:
        random_state = int(np.random.SeedSequence().generate_state(1)[0] >> 1)
    with (
        nullcontext()
        if ledger is None
        else Ledger(
            ledger, _identity(estimator, X, y, groups, splits, random_state), free=free
        ) as book
    ):
        if book is not None:
            random_state = book.identity["random_state"]
        row_of = partial(fold_row, splits=splits, y=y, groups=groups, score=score)
        run = _Run(X, groups, splits, random_state, book, n_jobs, on_fitted)
        outcomes = {name: [None] * len(splits) for name in models}
        for name, fold, outcome in run.outcomes(models, y):
            outcomes[name][fold] = outcome
            if on_fold is not None:
                on_fold(row_of(name, fold, outcome))
        folds = pd.DataFrame(
            row_of(name, fold, outcome)
            for name, of_fold in outcomes.items()
            for fold, outcome in enumerate(of_fold)
        )
        permutation_test = None
        if n_permutations:
            observed = folds.loc[folds["model"] == DECODER, metrics[0]].mean()
            permutation_test = sequential_permutation_test(
                observed,
                run.permuted_scores(estimator, y, blocks, score, metrics[0]),
                n_permutations=n_permutations,
            )
    group_scores = group_table(outcomes, splits, y, groups, score, metrics)
    bootstrap = {
        "n_bootstraps": n_bootstraps,
        "confidence": confidence,
        "random_state": random_state,
    }
    return DecodingResult(
        folds=folds,
        predictions=prediction_table(outcomes, splits, y, groups),
        groups=group_scores,
        learning_curves=learning_curve_table(outcomes[DECODER]),
        summary=summary_table(folds, group_scores, y, metrics, bootstrap),
        comparisons=comparison_table(folds, group_scores, metrics, bootstrap),
        permutation_test=permutation_test,
        metrics=metrics,
        classes=np.unique(y).tolist(),
        confidence=confidence,
        random_state=random_state,
    )


def linear_baseline(estimator):
    """Return a pipeline that ends in logistic regression on what the estimator's network sees.

    Parameters
    ----------
    estimator : classifier, pipeline or search
        Of a pipeline all steps but the last are kept, so both see the same slab. A search
        gives the pipeline that it searches. A lone classifier gets standardised features.

    Returns
    -------
    pipeline : sklearn.pipeline.Pipeline
        Unfitted; it has no validation set, so it learns from all training samples.

    Examples
    --------
    >>> from skfmri import SlabCNNClassifier, VoxelZScorer
    >>> from sklearn.pipeline import make_pipeline
    >>> from skfmri.evaluation import linear_baseline
    >>> list(linear_baseline(make_pipeline(VoxelZScorer(), SlabCNNClassifier())).named_steps)
    ['voxelzscorer', 'flatten', 'linear']
    """
    if is_search(estimator):
        estimator = estimator.estimator
    flatten = ("flatten", FunctionTransformer(_flatten))
    linear = ("linear", LogisticRegression(max_iter=1000))
    if hasattr(estimator, "steps"):
        steps = [*clone(estimator).steps[:-1], flatten, linear]
        return Pipeline(steps, memory=estimator.memory)
    return Pipeline([flatten, ("scale", StandardScaler()), linear])


def _flatten(X):
    X = np.asarray(X)
    return X.reshape(len(X), -1)


class _Run:
    """The units of one evaluation: a model, a fold and labels, each computed at most once."""

    def __init__(self, X, groups, splits, random_state, ledger, n_jobs, on_fitted):
        self.X, self.groups, self.splits = X, groups, splits
        self.on_fitted = on_fitted
        self.random_state, self.ledger, self.n_jobs = random_state, ledger, n_jobs
        seeds = np.random.SeedSequence(random_state).generate_state(len(splits)) >> 1
        self.seeds = seeds.tolist()

    def outcomes(self, models, y, *tag, reduce=None):
        """Yield model name, fold and outcome: first what the ledger knows, then the rest.

        `tag` tells units of other labels apart; `reduce` makes an outcome smaller before it is
        kept.
        """
        missing = []
        # The decoder comes first: a worker that loads TensorFlow later than its first task seems to
        # joblib to leak memory, and is replaced.
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
                self._seeded(models[name], fold),
                *self._data(y, fold),
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

    def _seeded(self, model, fold):
        return with_seed(model, self.seeds[fold])

    def _data(self, y, fold):
        return self.X, y, self.groups, *self.splits[fold], self.ledger

    def _on_fitted(self, fold):
        return None if self.on_fitted is None else partial(self.on_fitted, fold)


def _unit(number, *arguments, on_fitted):
    return number, fit_and_predict(*arguments, on_fitted=on_fitted)


def _baselines(baseline, estimator):
    if baseline is None:
        return {}
    if isinstance(baseline, str):
        if baseline != "linear":
            raise ValueError(
                f"baseline={baseline!r} is no baseline. Pass 'linear', an estimator, a dict of "
                "names and estimators, or None."
            )
        return {"linear": linear_baseline(estimator)}
    baselines = {"baseline": baseline} if isinstance(baseline, BaseEstimator) else dict(baseline)
    taken = {DECODER, DUMMY} & baselines.keys()
    if taken:
        raise ValueError(f"A baseline cannot be called {taken.pop()!r}. Choose another name.")
    return baselines


def _identity(estimator, X, y, groups, splits, random_state):
    return {
        "samples": content_hash(X),
        "labels": content_hash(y),
        "groups": content_hash(groups),
        "splits": fingerprint(splits),
        "random_state": random_state,
        **{f"parameter {name}": value for name, value in parameters_of(estimator).items()},
        **{f"version of {name}": value for name, value in versions().items()},
    }
