"""Labels of an evaluation, checked against the estimator that is to predict them."""

import numpy as np
from sklearn.base import is_regressor
from sklearn.utils.multiclass import type_of_target

from skfmri._validation import find_labels_and_groups
from skfmri.estimators.targets import as_columns, check_spread, numbers


def predicts_numbers(estimator):
    """Return whether an estimator is a regressor; any other counts as a classifier."""
    return hasattr(estimator, "__sklearn_tags__") and is_regressor(estimator)


def are_classes(estimator, y):
    """Return whether labels are classes; without an estimator, if they have no fractions."""
    if estimator is not None:
        return not predicts_numbers(estimator)
    return type_of_target(y) != "continuous"


def find_target_and_groups(estimator, X, y, groups):
    """Return labels that suit an estimator, and groups; those of X if None is given.

    Parameters
    ----------
    estimator : classifier, regressor, pipeline, search or None
        Decides whether labels are numbers or classes.
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Samples.
    y, groups : array-like of shape (n_samples,) or None
        Labels and groups.

    Returns
    -------
    y : ndarray of shape (n_samples,)
        Of float64 for a regressor.
    groups : ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        If they are missing or do not match X, if a regressor gets anything but one finite number
        per sample or the same number for all, or if a classifier gets numbers with fractions.
    """
    if not predicts_numbers(estimator):
        y, groups = find_labels_and_groups(X, y, groups)
        if estimator is None:
            return y, groups
        if y.dtype.kind == "f" and type_of_target(y) == "continuous":
            fraction = y[y != np.round(y)][0]
            raise ValueError(
                f"y holds numbers such as {fraction:g}, which are not classes. Pass a regressor to "
                "predict numbers, or turn y into classes."
            )
        return y, groups
    given = np.shape(getattr(X, "y", None) if y is None else y)
    if len(given) > 1:
        raise ValueError(
            f"y has shape {given}, but one number per sample is needed. Evaluate one column at a "
            "time, such as y[:, 0]."
        )
    y, groups = find_labels_and_groups(X, y, groups)
    y = numbers(y, "y", "a regressor")
    check_spread(as_columns(y))
    return y, groups
