"""One call from an estimator to scores that can be trusted."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from joblib import hash as content_hash
from sklearn.model_selection import LeaveOneGroupOut, check_cv

from skfmri._validation import check_number
from skfmri.evaluation.baseline import baselines_by_name
from skfmri.evaluation.fingerprints import fingerprint, parameters_of, versions
from skfmri.evaluation.folds import learnable_splits
from skfmri.evaluation.kinds import kind_of
from skfmri.evaluation.ledger import Ledger
from skfmri.evaluation.permutation import plan_chance_test
from skfmri.evaluation.result import DECODER, DUMMY, DecodingResult
from skfmri.evaluation.scoring import make_scorer_of
from skfmri.evaluation.seen import refuse_seen
from skfmri.evaluation.tables import (
    comparison_table,
    fold_row,
    fold_table,
    learning_curve_table,
    prediction_table,
    scores_of_models,
    summary_table,
    warn_of_undefined,
)
from skfmri.evaluation.targets import find_target_and_groups
from skfmri.evaluation.units import Units
from skfmri.preprocessing.cut_groups import carry_groups
from skfmri.statistics import FEWEST_BOOTSTRAPS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from skfmri._types import CrossValidation, Estimator, FilePath, Scoring, Values, Volumes


def evaluate_decoder(
    estimator: Estimator,
    X: Volumes,
    y: Values | None = None,
    *,
    groups: Values | None = None,
    cv: CrossValidation = None,
    scoring: Scoring = None,
    baseline: str | Sequence[str] | Estimator | Mapping[str, Any] | None = ("linear", "multiscale"),
    blocks: Values | None = None,
    permutation: Literal["auto", "within", "groups"] | None = "auto",
    n_permutations: int = 0,
    n_bootstraps: int = 10_000,
    confidence: float = 0.95,
    ledger: FilePath | None = None,
    n_jobs: int | None = None,
    random_state: int | None = None,
    on_fold: Callable[[dict[str, Any]], object] | None = None,
    on_fitted: Callable[[int, Any, Any, Any], object] | None = None,
) -> DecodingResult:
    """Cross-validate a decoder by group, beside linear models and a dummy on the same folds.

    A mean score over folds leaves three questions open: how much would it vary with other groups,
    is it better than the best linear model, and could shuffled labels have reached it? This answers
    all three from one set of folds. Splits that cut through a group are refused.

    Parameters
    ----------
    estimator : classifier, regressor, pipeline or search
        The decoder; clones of it are fitted. A search such as `GridSearchCV` is fitted in each
        fold, so its score is that of a nested cross-validation. Whether it is a regressor is asked
        of :func:`sklearn.base.is_regressor`.
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Samples.
    y : array-like of shape (n_samples,), default=None
        Labels; None takes ``X.y``. For a regressor they are numbers.
    groups : array-like of shape (n_samples,), default=None
        What must not be split; None takes ``X.groups``.
    cv : int, splitter, iterable or None, default=None
        Any scikit-learn splitter; None leaves one group out at a time.
    scoring : str, callable, list, dict or None, default=None
        As in `cross_validate`; None means accuracy and balanced accuracy, for a regressor "r2",
        "neg_mean_absolute_error", "neg_root_mean_squared_error", "pearson" and "spearman". The last
        two are correlations, which scikit-learn does not have. The first metric is the one that is
        tested. A scorer gets recorded outputs instead of the estimator and positions instead of X,
        so it can use `predict`, `predict_proba` and `decision_function`, but not the volumes.
    baseline : str, sequence of str, estimator, dict or None, default=("linear", "multiscale")
        What to compare with; a dict has one estimator per name. "linear" is `linear_baseline` of
        the estimator, "multiscale" is `multiscale_baseline`: its pipeline with a logistic
        regression, or with a `MultiscaleRidgeClassifier`, in place of the classifier. One that is
        the decoder itself is left out, and so is, with a warning, "multiscale" for more than 10,000
        training samples. For a regressor, "linear" is a ridge regression. A dummy that knows only
        the class balance, or the mean of the labels, is always included.
    blocks : array-like of shape (n_samples,), default=None
        Stretches of samples that share a label within a group, such as stimulation blocks, and that
        permutations keep together. None takes samples that follow each other with one label, since
        neighbours in time are alike, and brings these stretches into a new order, so that each
        label keeps its number of samples; if all samples are independent, pass
        ``np.arange(len(y))``. Blocks that are passed stay where they are and exchange labels, so
        those of one label must not be larger by design.
        Numbers that change slowly within groups, with neighbours that correlate above 0.3, are not
        tested unless blocks are passed.
    permutation : {"auto", "within", "groups"} or None, default="auto"
        How labels are shuffled to test whether the first metric is better than chance: within
        groups or among whole groups. "auto" takes the latter if each group has a single label. None
        makes no test.
    n_permutations : int, default=0
        Largest number of permutations with refits; each costs as much as the cross-validation. They
        stop earlier if the result is clearly null. If labels of whole groups are shuffled, the
        splits are drawn anew. A list of splits cannot be, so make it without regard to the labels.
        A pipeline that ends in a `MultiscaleRidgeClassifier` or `MultiscaleRidgeRegressor`, after
        steps of skfmri that do not look at labels, is refitted in closed form, which takes
        milliseconds. With 0, predictions are kept and compared with labels shuffled 1000 times
        (200 times for metrics that only scikit-learn computes), which takes no fit.
    n_bootstraps : int, default=10000
        Number of times the groups are drawn for the intervals; at least 100.
    confidence : float, default=0.95
        Confidence level of all intervals.
    ledger : path-like, default=None
        File that keeps each finished fold and permutation. If the call is killed at any moment,
        the same call continues where it stopped and ends with the same numbers.
    n_jobs : int, default=None
        Number of joblib workers.
    random_state : int, default=None
        Gives each fold a different seed, which replaces every `random_state` among the parameters
        of the models: with one seed for all folds, a lucky draw of initial weights would help all
        of them. None draws one, which the result and the ledger record.
    on_fold : callable, default=None
        Called after each fold with its row of `DecodingResult.folds`, a dict. Folds come in the
        order in which they finish.
    on_fitted : callable, default=None
        Called in each fold as ``on_fitted(fold, decoder, X_test, y_test)``, with the fitted decoder
        and the held-out samples, for whatever scores do not show, such as a map of its weights.
        It runs in the process that fitted the fold, with `n_jobs` a worker, so it should write
        files rather than fill lists. With a `ledger` it runs before the fold counts as finished,
        and never again after that.

    Returns
    -------
    result : DecodingResult

    Raises
    ------
    ValueError
        If labels or groups are missing. If labels of a regressor are not one finite number per
        sample, or are all equal. If labels of a classifier are numbers with fractions. If labels
        that are to be permuted are all equal. If a split has a group on both sides, or trains on
        samples of a single label. If test volumes were trained on by the network that
        `initial_weights` of the decoder or of a baseline come from. If `scoring` is empty, a
        baseline is not an estimator, or the ledger belongs to another computation.

    Warns
    -----
    UserWarning
        If it is not known which volumes `initial_weights` were trained on.

    See Also
    --------
    skfmri.audit_leakage : Looks for leaks that groups alone do not reveal.
    skfmri.evaluation.fit_search : Fits one search that can be resumed.

    Notes
    -----
    - The score of a classifier is the mean over folds, as with `cross_val_score`. That of a
      regressor is the metric of the out-of-fold predictions of all samples, averaged over repeats,
      as with `cross_val_predict`: where a fold holds one value of y, such as the age of a subject,
      R2 and correlations have no value in it.
    - Its interval comes from drawing groups, not volumes, which are not independent observations:
      :func:`skfmri.statistics.bootstrap_interval` of the scores of each group. For a regressor, the
      metric is that of the predictions of all drawn groups together
      (:func:`skfmri.statistics.bootstrap_interval_of_sums`); the Spearman correlation takes the
      ranks among all predictions, not among those drawn. Metrics other than those of the default
      and "neg_mean_squared_error" have no interval.
    - Correlations over all samples also count what distinguishes groups, such as sites or subjects.
      Rows ``pearson_within_groups`` and ``spearman_within_groups`` of the summary are means over
      groups of the correlation inside each, weighted by samples; groups in which y does not vary
      have none. The dummy shows another reason to distrust the correlation over all samples: it
      predicts the mean of the other groups, so the higher the labels of a group, the lower its
      prediction, and the correlation is negative without any information.
    - The difference to a baseline is tested over folds with
      :func:`skfmri.statistics.corrected_resampled_t_test`, since folds share training samples. A
      decoder that is clearly better than each of several baselines is better than the best of
      them, whichever that is, and this needs no correction [1]_. That it is worse than one of them
      is claimed after a correction for their number [2]_.
    - For a regressor, R2 is ``1 - SSE / SST``, and the squared errors SSE of a repeat add up over
      its folds. So the difference of two models is the mean over `J` folds of `R` repeats of
      ``J / R * (SSE_baseline - SSE_decoder) / SST``, with SSE of the fold and SST of the repeat.
      These are tested, likewise those of the mean absolute or squared error. The root of the latter
      and correlations are not sums over folds: their differences have an interval over groups, but
      no test.
    - Labels are permuted by :func:`skfmri.statistics.permute_labels`. The test is
      :func:`skfmri.statistics.prediction_permutation_test`, which allows for the models that are
      not fitted anew and so is conservative, or with `n_permutations` the exact
      :func:`skfmri.statistics.sequential_permutation_test`. Only its p-value says whether a decoder
      is better than chance. The dummy does not: if groups differ in their labels, it predicts the
      wrong class for those held out, and anything is better than that. If the design allows no
      test, `DecodingResult.untested` says why.

    References
    ----------
    .. [1] Berger, R. L. (1982). Multiparameter hypothesis testing and acceptance sampling.
       Technometrics, 24, 295-300. https://doi.org/10.1080/00401706.1982.10487790
    .. [2] Holm, S. (1979). A simple sequentially rejective multiple test procedure. Scandinavian
       Journal of Statistics, 6, 65-70. https://www.jstor.org/stable/4615733

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
    with ExitStack() as held:
        result, _ = evaluated(
            *(held, estimator, X, y),
            groups=groups,
            cv=cv,
            scoring=scoring,
            baseline=baseline,
            blocks=blocks,
            permutation=permutation,
            n_permutations=n_permutations,
            n_bootstraps=n_bootstraps,
            confidence=confidence,
            ledger=ledger,
            n_jobs=n_jobs,
            random_state=random_state,
            on_fold=on_fold,
            on_fitted=on_fitted,
        )
    return result


def evaluated(
    held,
    estimator,
    X,
    y,
    *,
    groups,
    cv,
    scoring,
    baseline,
    blocks,
    permutation,
    n_permutations,
    n_bootstraps,
    confidence,
    ledger,
    n_jobs,
    random_state,
    on_fold,
    on_fitted,
):
    """Return a result with what its permutation test is made of.

    Parameters
    ----------
    held : contextlib.ExitStack
        Closes the ledger; until then further permutations can be fitted.
    estimator, X, y, groups, cv, scoring, baseline, blocks, permutation, n_permutations
        As in `evaluate_decoder`.
    n_bootstraps, confidence, ledger, n_jobs, random_state, on_fold, on_fitted
        As in `evaluate_decoder`.

    Returns
    -------
    result : DecodingResult
    shuffled : ShuffledScores or None
        None if a test is not wanted, or not possible with any number of groups.
    """
    kind = kind_of(estimator)
    y, groups = find_target_and_groups(estimator, X, y, groups)
    X = carry_groups(X, groups)
    chance = plan_chance_test(
        *(permutation, y, groups, blocks), n_permutations=n_permutations, kind=kind
    )
    check_number(n_bootstraps, "n_bootstraps", least=FEWEST_BOOTSTRAPS)
    # An iterator of splits becomes a list, since permutations may ask again.
    cv = LeaveOneGroupOut() if cv is None else check_cv(cv, y, classifier=kind.is_classes)
    splits = learnable_splits(X, y, groups, cv)
    score, metrics = make_scorer_of(scoring, is_classes=kind.is_classes)
    n_train = max((len(train) for train, _ in splits), default=0)
    baselines = baselines_by_name(baseline, estimator, n_train)
    refuse_seen([estimator, *baselines.values()], X, splits)
    models = {DECODER: estimator, **baselines, DUMMY: kind.dummy()}
    free = ("random_state",) if random_state is None else ()
    if random_state is None:
        random_state = int(np.random.SeedSequence().generate_state(1)[0] >> 1)
    begun_with = estimator, X, y, groups, splits, random_state
    book = held.enter_context(_opened(ledger, begun_with, free))
    if book is not None:
        random_state = book.identity["random_state"]
    options = {"ledger": book, "n_jobs": n_jobs, "on_fitted": on_fitted, "kind": kind}
    units = Units(X, groups, splits, random_state=random_state, **options)
    reasons = {}
    design = {"splits": splits, "y": y, "groups": groups}
    row_of = partial(fold_row, **design, score=partial(score, reasons=reasons))
    outcomes = _all_outcomes(units, models, y, row_of, on_fold)
    folds = fold_table(outcomes, row_of)
    scores = scores_of_models(outcomes, folds, score, metrics, kind, **design)
    of_decoder = scores[DECODER]
    warn_of_undefined(of_decoder.of_pools, reasons, kind)
    shuffled = permutation_test = untested = None
    if chance is not None:
        shuffled, permutation_test, untested = chance.test(
            *(of_decoder, metrics[0], score, units, estimator),
            splits_of=lambda labels: learnable_splits(X, labels, groups, cv),
            n_permutations=n_permutations,
            level=1 - confidence,
        )
    bootstrap = {
        "n_bootstraps": n_bootstraps,
        "confidence": confidence,
        "random_state": random_state,
    }
    result = DecodingResult(
        folds=folds,
        predictions=prediction_table(outcomes, splits, y, groups),
        groups=pd.concat([each.of_groups for each in scores.values()], ignore_index=True),
        learning_curves=learning_curve_table(outcomes[DECODER]),
        summary=summary_table(scores, y, groups, bootstrap, kind),
        comparisons=comparison_table(scores, y, groups, bootstrap, kind),
        permutation_test=permutation_test,
        untested=untested,
        metrics=metrics,
        classes=np.unique(y).tolist() if kind.is_classes else None,
        confidence=confidence,
        random_state=random_state,
    )
    return result, shuffled


def _all_outcomes(units, models, y, row_of, on_fold):
    """Return for each model the outcome of each fold, after a call of `on_fold` with its row."""
    outcomes = {name: [None] * len(units.splits) for name in models}
    for name, fold, outcome in units.outcomes(models, y):
        outcomes[name][fold] = outcome
        if on_fold is not None:
            on_fold(row_of(name, fold, outcome))
    return outcomes


def _opened(path, begun_with, free):
    """Return a context manager that gives the ledger at a path, or None without a path."""
    return nullcontext() if path is None else Ledger(path, _identity(*begun_with), free=free)


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
