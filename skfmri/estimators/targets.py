"""Numbers that a regressor is fitted to."""

from numbers import Real

import numpy as np


def numbers(y, name, estimator_name):
    """Return targets in float64, or raise ValueError unless they are finite numbers.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_targets)
        Targets.
    name, estimator_name : str
        What they are called, and what is to be fitted to them, for the message.

    Returns
    -------
    numbers : ndarray of the same shape, float64
    """
    found = np.asarray(y)
    if found.dtype.kind not in "biuf":
        for value in found.ravel().tolist():
            # Text may look like a number.
            if not isinstance(value, Real):
                raise ValueError(
                    f"{name} holds {value!r}, which is not a number, but {estimator_name} predicts "
                    "numbers. For classes use a classifier, such as SlabCNNClassifier."
                )
    found = found.astype(np.float64)
    if not np.isfinite(found).all():
        n_bad = np.count_nonzero(~np.isfinite(found).reshape(len(found), -1).all(axis=1))
        raise ValueError(
            f"{name} holds NaN or infinity for {n_bad} of {len(found)} samples. Leave these "
            "samples out."
        )
    return found


def as_columns(y):
    """Return targets with a column for each, also for a single one."""
    return y.reshape(len(y), -1)


def check_spread(columns):
    """Raise ValueError if a target is the same for all samples.

    Parameters
    ----------
    columns : ndarray of shape (n_samples, n_targets)
        Targets.
    """
    constant = np.flatnonzero(np.ptp(columns, axis=0) == 0)
    if len(constant):
        place = f"Column {constant[0]} of y" if columns.shape[1] > 1 else "y"
        samples = "1 sample" if len(columns) == 1 else f"all {len(columns)} samples"
        raise ValueError(
            f"{place} is {columns[0, constant[0]]:g} in {samples}, so there is nothing to predict. "
            "Choose samples whose values differ."
        )
