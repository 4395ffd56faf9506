"""Cross-validated scores that never split a group."""

import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.metrics import accuracy_score
from sklearn.model_selection import LeaveOneGroupOut


@dataclass(frozen=True)
class FoldResult:
    """What one fold of a cross-validation gave.

    Attributes
    ----------
    fold : int
        Position among the splits, from 0.
    test : ndarray of shape (n_test,)
        Indices of the test samples.
    groups_held_out : list
        Distinct groups of the test samples.
    predicted : ndarray of shape (n_test,)
        Predicted label of each test sample.
    probabilities : ndarray of shape (n_test, n_classes) or None
        Predicted probabilities in the order of `classes`, where the estimator gives them.
    classes : ndarray of shape (n_classes,)
        Labels the estimator knows.
    accuracy, balanced_accuracy : float
        Share of correct predictions, and its mean over the classes.
    seconds : float
        Time for fitting and predicting.
    """

    fold: int
    test: np.ndarray
    groups_held_out: list
    predicted: np.ndarray
    probabilities: np.ndarray | None
    classes: np.ndarray
    accuracy: float
    balanced_accuracy: float
    seconds: float


def evaluate_folds(estimator, X, y, *, groups=None, cv=None, n_jobs=None, random_state=None):
    """Fit a clone of an estimator on each split, and yield what it predicts for the rest.

    Unlike `cross_val_score` this hands out each fold when it is done, with the out-of-fold
    predictions, and refuses splits that put one group on both sides.

    Parameters
    ----------
    estimator : classifier or pipeline that ends in one
        Never fitted itself.
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Samples.
    y : array-like of shape (n_samples,)
        Labels.
    groups : array-like of shape (n_samples,), default=None
        What must not be split; where None, ``X.groups``.
    cv : splitter, default=None
        Any splitter of scikit-learn; where None, one group is left out at a time.
    n_jobs : int, default=None
        Number of joblib workers.
    random_state : int, default=None
        Gives every fold a seed of its own, in place of each `random_state` among the parameters of
        the estimator. A seed there is shared by all folds, and with it the luck of one draw of
        initial weights; None leaves it so.

    Yields
    ------
    result : FoldResult
        The folds in order.

    Raises
    ------
    ValueError
        If there are no groups, or if a group lies on both sides of a split.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skfmri.evaluation import evaluate_folds
    >>> X, y = np.array([[-1.0], [1.0]] * 6), np.array(["low", "high"] * 6)
    >>> results = evaluate_folds(LogisticRegression(), X, y, groups=np.repeat([0, 1, 2], 4))
    >>> [result.accuracy for result in results]
    [1.0, 1.0, 1.0]
    """
    groups = getattr(X, "groups", None) if groups is None else groups
    if groups is None:
        raise ValueError(
            "There are no groups. Pass groups=, one per sample: runs, or blocks of subjects, that "
            "must not be split across training and test data."
        )
    y, groups = np.asarray(y), np.asarray(groups)
    splits = list((LeaveOneGroupOut() if cv is None else cv).split(X, y, groups))
    for fold, (train, test) in enumerate(splits):
        shared = np.intersect1d(groups[train], groups[test])
        if len(shared):
            raise ValueError(
                f"Split {fold} has group {shared[0]} in its training and its test data, so its "
                "score could not be trusted. Use a splitter for groups, such as GroupKFold."
            )
    seeds = [None] * len(splits)
    if random_state is not None:
        seeds = (np.random.SeedSequence(random_state).generate_state(len(splits)) >> 1).tolist()
    yield from Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(_evaluate_fold)(_with_seed(estimator, seed), X, y, groups, fold, train, test)
        for fold, ((train, test), seed) in enumerate(zip(splits, seeds, strict=True))
    )


def fold_table(results):
    """Return one row per fold: what was held out, and the scores.

    Parameters
    ----------
    results : iterable of FoldResult

    Returns
    -------
    table : pandas.DataFrame
        Columns ``fold``, ``groups_held_out``, ``n_test``, ``accuracy``, ``balanced_accuracy``
        and ``seconds``.
    """
    return pd.DataFrame(
        {
            "fold": result.fold,
            "groups_held_out": " ".join(map(str, result.groups_held_out)),
            "n_test": len(result.test),
            "accuracy": result.accuracy,
            "balanced_accuracy": result.balanced_accuracy,
            "seconds": result.seconds,
        }
        for result in results
    )


def prediction_table(results, y, groups):
    """Return one row per prediction for a sample that was held out.

    Parameters
    ----------
    results : iterable of FoldResult
    y, groups : array-like of shape (n_samples,)
        Labels and groups of all samples.

    Returns
    -------
    table : pandas.DataFrame
        Columns ``fold``, ``sample``, ``group``, ``label``, ``predicted`` and, where there are
        probabilities, ``p_<class>`` for each class.
    """
    y, groups = np.asarray(y), np.asarray(groups)
    tables = []
    for result in results:
        table = pd.DataFrame(
            {
                "fold": result.fold,
                "sample": result.test,
                "group": groups[result.test],
                "label": y[result.test],
                "predicted": result.predicted,
            }
        )
        if result.probabilities is not None:
            columns = [f"p_{name}" for name in result.classes]
            table[columns] = result.probabilities
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def chance_level(y):
    """Return the accuracy of always naming the most frequent class.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Labels.

    Returns
    -------
    chance : float
    """
    _, counts = np.unique(y, return_counts=True)
    return float(counts.max() / counts.sum())


def _with_seed(estimator, seed):
    """Return a clone, its random states replaced unless the seed is None."""
    estimator = clone(estimator)
    if seed is not None:
        names = [name for name in estimator.get_params() if name.endswith("random_state")]
        estimator.set_params(**dict.fromkeys(names, seed))
    return estimator


def _evaluate_fold(estimator, X, y, groups, fold, train, test):
    start = time.perf_counter()
    fitted = estimator.fit(X[train], y[train])
    predicted = fitted.predict(X[test])
    has_probabilities = hasattr(fitted, "predict_proba")
    probabilities = fitted.predict_proba(X[test]) if has_probabilities else None
    return FoldResult(
        fold=fold,
        test=test,
        groups_held_out=np.unique(groups[test]).tolist(),
        predicted=predicted,
        probabilities=probabilities,
        classes=fitted.classes_,
        accuracy=float(accuracy_score(y[test], predicted)),
        balanced_accuracy=float(_balanced_accuracy(y[test], predicted)),
        seconds=time.perf_counter() - start,
    )


def _balanced_accuracy(y, predicted):
    """Return the mean over the classes in y of the share of their samples that are right."""
    return np.mean([np.mean(predicted[y == label] == label) for label in np.unique(y)])
