"""Outputs of a ridge for many permutations of its labels, from one fit of the steps before it."""

import warnings

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.preprocessing import StandardScaler
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import has_fit_parameter

from skfmri.estimators.ridge import MultiscaleRidgeClassifier, predictions_of, probabilities_of
from skfmri.estimators.ridge_regressor import MultiscaleRidgeRegressor
from skfmri.kernel_ridge import can_be_left_out, scores_of_labelings
from skfmri.preprocessing import NiftiSlabRotator, VoxelZScorer

# Steps that look at no label, so that one fit serves all permutations.
LABEL_FREE = (NiftiSlabRotator, StandardScaler, VoxelZScorer)
RIDGES = (MultiscaleRidgeClassifier, MultiscaleRidgeRegressor)
OUTPUTS = ("predict", "predict_proba", "decision_function")


def has_closed_form(estimator):
    """Return whether permuted labels need no refit of an estimator.

    Parameters
    ----------
    estimator : estimator
        A ridge, or a pipeline.

    Returns
    -------
    has_closed_form : bool
        True for one of the `RIDGES`, alone or after steps that are `LABEL_FREE`, unless the
        pipeline chooses training samples by their labels. Of subclasses nothing is known.
    """
    *head, (_, last) = getattr(estimator, "steps", [(None, estimator)])
    return (
        type(last) in RIDGES
        and getattr(estimator, "validation", None) is None
        and not getattr(estimator, "undersample", False)
        and all(step in (None, "passthrough") or type(step) in LABEL_FREE for _, step in head)
    )


def outputs_for_labelings(estimator, X, labelings, groups, train, test):
    """Return what a ridge predicts after a fit to each of many label vectors.

    Parameters
    ----------
    estimator : estimator
        For which `has_closed_form` holds.
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Samples.
    labelings : ndarray of shape (n_labelings, n_samples)
        Labels, of which each row holds the same classes or numbers.
    groups : ndarray of shape (n_samples,)
        Groups.
    train, test : ndarray of int
        Indices of the split.

    Returns
    -------
    outcomes : list of dict
        For each label vector ``classes`` and what `OUTPUTS` names; of numbers ``predict`` only.
        That is what a refit gives, up to rounding.
    """
    *head, (_, ridge) = getattr(estimator, "steps", [(None, estimator)])
    X_train, X_test = _safe_indexing(X, train), _safe_indexing(X, test)
    for _, step in head:
        if step not in (None, "passthrough"):
            step = clone(step)
            X_train, X_test = step.fit_transform(X_train), step.transform(X_test)
    groups = groups[train] if has_fit_parameter(estimator, "groups") else None
    # Checks the parameters and the samples, and warns for all.
    first = clone(ridge).fit(X_train, labelings[0, train], groups=groups)
    groups_or_rows = np.arange(len(train)) if groups is None else groups
    classes, targets = None, labelings[:, train]
    if is_classifier(ridge):
        classes, codes = np.unique(labelings, return_inverse=True)
        targets = codes.reshape(labelings.shape)[:, train]
    is_closed = np.array([_is_closed(row, groups_or_rows, classes) for row in targets])
    outcomes = [None] * len(labelings)
    if is_closed.any():
        n_classes = None if classes is None else len(classes)
        scores = scores_of_labelings(
            *(_as_floats(X_train), _as_floats(X_test), targets[is_closed], groups_or_rows),
            *(first.scales_, np.atleast_1d(ridge.alphas), n_classes),
        )
        for number, of_labels in zip(np.flatnonzero(is_closed), scores, strict=True):
            outcomes[number] = _outcome(of_labels, classes)
    for number in np.flatnonzero(~is_closed):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted = clone(ridge).fit(X_train, labelings[number, train], groups=groups)
        outcomes[number] = {
            name: getattr(fitted, name)(X_test) for name in OUTPUTS if hasattr(fitted, name)
        }
        if classes is not None:
            outcomes[number]["classes"] = fitted.classes_
    return outcomes


def _is_closed(targets, groups, classes):
    """Return whether a fit to these targets needs none of the checks of `fit`."""
    if classes is None:
        return np.ptp(targets) > 0 and len(np.unique(groups)) > 1
    return len(np.unique(targets)) == len(classes) and can_be_left_out(targets, groups).any()


def _as_floats(X):
    """Return samples in the data type in which the ridge takes them."""
    X = np.asarray(X)
    return X if X.dtype in (np.float32, np.float64) else X.astype(np.float64)


def _outcome(scores, classes):
    if classes is None:
        return {"predict": scores}
    if len(classes) == 2:
        scores = scores[:, 1] - scores[:, 0]
    return {
        "classes": classes,
        "predict": classes[predictions_of(scores)],
        "predict_proba": probabilities_of(scores),
        "decision_function": scores,
    }
