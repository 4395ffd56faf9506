"""Fits on splits that keep groups whole."""

import time
import warnings

import numpy as np
from sklearn import get_config
from sklearn.base import clone, is_classifier
from sklearn.model_selection import LeaveOneGroupOut, check_cv
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import has_fit_parameter

from skfmri.evaluation.search import fit_search
from skfmri.evaluation.targets import predicts_numbers

OUTPUTS = ("predict", "predict_proba", "decision_function")


def grouped_splits(X, y, groups, cv, name="cv", *, is_classes=True):
    """Return the splits of a splitter, or raise ValueError if one of them cuts through a group.

    Parameters
    ----------
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Samples.
    y, groups : ndarray of shape (n_samples,)
        Labels and groups.
    cv : int, splitter, iterable or None
        Any scikit-learn splitter; None leaves one group out at a time.
    name : str, default="cv"
        What the splitter is called in the error message.
    is_classes : bool, default=True
        Whether labels are classes, which an integer then stratifies.

    Returns
    -------
    splits : list of (ndarray, ndarray)
        Training and test indices of each split.
    """
    cv = LeaveOneGroupOut() if cv is None else check_cv(cv, y, classifier=is_classes)
    with warnings.catch_warnings():
        # Whether groups are kept whole is looked at below.
        warnings.filterwarnings("ignore", "The groups parameter is ignored", UserWarning)
        splits = [tuple(map(np.asarray, split)) for split in cv.split(X, y, groups)]
    for number, (train, test) in enumerate(splits):
        shared = np.intersect1d(groups[train], groups[test])
        if len(shared):
            raise ValueError(
                f"Split {number} of {name} has group {shared[0]} in its training and its test "
                "data, so its score could not be trusted. Use a splitter for groups, such as "
                "GroupKFold or RepeatedGroupKFold."
            )
    return splits


def learnable_splits(X, y, groups, cv):
    """Return the splits of a splitter, or raise ValueError if nothing can be learnt in one of them.

    Parameters
    ----------
    X, y, groups, cv
        As in `grouped_splits`, which raises an error if a split cuts through a group.

    Returns
    -------
    splits : list of (ndarray, ndarray)
        Training and test indices of each split. No training samples have one label only, unless
        all samples have it.
    """
    splits = grouped_splits(X, y, groups, cv)
    for number, (train, _) in enumerate(splits):
        labels = np.unique(y[train])
        if len(labels) == 1 and len(np.unique(y)) > 1:
            raise ValueError(
                f"All {len(train)} training samples of split {number} have the label "
                f"{labels.tolist()[0]}, so there is nothing to learn. Use more groups or larger "
                "training sets."
            )
    return splits


def repeat_of_split(splits):
    """Return for each split how often its test samples were tested before."""
    n_tested = np.zeros(1 + max(int(max(map(np.max, split))) for split in splits), dtype=int)
    repeats = []
    for _, test in splits:
        repeats.append(int(n_tested[test].max()))
        n_tested[test] += 1
    return repeats


def is_search(estimator):
    """Return whether an estimator searches for parameters by an inner cross-validation."""
    return {"estimator", "cv", "refit"} <= estimator.get_params(deep=False).keys()


def with_seed(estimator, seed):
    """Return a clone with every `random_state` set to the seed, or unchanged if that is None."""
    estimator = clone(estimator)
    if seed is not None:
        names = [n for n in estimator.get_params() if n.split("__")[-1] == "random_state"]
        estimator.set_params(**dict.fromkeys(names, seed))
    return estimator


def fit_and_predict(estimator, X, y, groups, train, test, ledger=None, on_fitted=None):
    """Fit an estimator on training samples, and return its outputs for the test samples.

    Parameters
    ----------
    estimator : classifier, regressor, pipeline or search
        Fitted in place. Its fit gets the groups if it takes them.
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Samples.
    y, groups : ndarray of shape (n_samples,)
        Labels and groups.
    train, test : ndarray of int
        Indices of the split.
    ledger : Ledger, default=None
        Keeps the candidates of a search.
    on_fitted : callable, default=None
        Called with the fitted estimator, the test samples and their labels.

    Returns
    -------
    outcome : dict
        ``classes`` of a classifier; an array for each of `OUTPUTS` that the estimator has;
        ``seconds_fit`` and ``seconds_predict``; ``history``, lists per epoch, of a network;
        ``n_epochs`` of a network that stopped early; ``best_params`` of a search, as text.
    """
    X_train, y_train, groups_train = _safe_indexing(X, train), y[train], groups[train]
    is_classes = not predicts_numbers(estimator)
    start = time.perf_counter()
    if is_search(estimator):
        inner_cv = estimator.cv, "the cv of the search"
        grouped_splits(X_train, y_train, groups_train, *inner_cv, is_classes=is_classes)
        params = {"groups": groups_train}
        inner = estimator.estimator
        if not get_config()["enable_metadata_routing"] and hasattr(inner, "validation"):
            # Without routing a search does not pass the groups on.
            params[f"{inner.steps[-1][0]}__groups"] = groups_train
        if ledger is None:
            estimator.fit(X_train, y_train, **params)
        else:
            fit_search(estimator, X_train, y_train, **params, ledger=ledger)
    elif has_fit_parameter(estimator, "groups"):
        estimator.fit(X_train, y_train, groups=groups_train)
    else:
        estimator.fit(X_train, y_train)
    fitted = time.perf_counter()
    X_test = _safe_indexing(X, test)
    outcome = {
        name: np.asarray(getattr(estimator, name)(X_test))
        for name in OUTPUTS
        if hasattr(estimator, name)
    }
    if is_classes:
        outcome["classes"] = np.asarray(estimator.classes_)
    elif outcome["predict"].shape != test.shape:
        raise ValueError(
            f"{type(estimator).__name__} predicts an array of shape {outcome['predict'].shape} for "
            f"{len(test)} samples. A decoder must predict one number per sample."
        )
    outcome["seconds_fit"] = fitted - start
    outcome["seconds_predict"] = time.perf_counter() - fitted
    if on_fitted is not None:
        on_fitted(estimator, X_test, y[test])
    return outcome | _training_record(estimator)


def _training_record(estimator):
    record = {}
    if is_search(estimator):
        record["best_params"] = ", ".join(f"{k}={v!r}" for k, v in estimator.best_params_.items())
        estimator = estimator.best_estimator_
    network = getattr(estimator, "steps", [(None, estimator)])[-1][1]
    is_decoder = is_classifier(network) or predicts_numbers(network)
    if is_decoder and hasattr(network, "history_"):
        record["history"] = {name: list(values) for name, values in network.history_.items()}
        record["n_epochs"] = getattr(network, "n_epochs_", None)
    return record
