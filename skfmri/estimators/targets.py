"""Numbers that a regressor is fitted to."""

from numbers import Number

import numpy as np
import pandas as pd

# Squares of spreads within these bounds, and sums of many, are numbers that float64 has.
LEAST_SPREAD, LARGEST_SPREAD = 1e-150, 1e150


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
        found = np.where(pd.isna(found), np.nan, found.astype(object))
        for value in found.ravel().tolist():
            # Text may look like a number.
            if not isinstance(value, Number) or isinstance(value, complex):
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
    """Raise ValueError if a target is the same for all samples, or its squares are no numbers.

    Parameters
    ----------
    columns : ndarray of shape (n_samples, n_targets)
        Targets.
    """
    low, high = columns.min(axis=0), columns.max(axis=0)
    with np.errstate(over="ignore"):
        spread = high - low
    # 0.1 + 0.2 is not quite 0.3.
    rounding = 8 * np.finfo(float).eps * np.maximum(abs(low), abs(high))
    for n, of_column in enumerate(spread):
        place = f"Column {n} of y" if len(spread) > 1 else "y"
        if of_column <= rounding[n]:
            samples = "1 sample" if len(columns) == 1 else f"all {len(columns)} samples"
            raise ValueError(
                f"{place} is {low[n]:g} in {samples}, so there is nothing to predict. Choose "
                "samples whose values differ."
            )
        if not LEAST_SPREAD < of_column < LARGEST_SPREAD:
            raise ValueError(
                f"{place} runs from {low[n]:g} to {high[n]:g}, which float64 cannot square. Choose "
                "another unit, and look for values that stand for missing ones."
            )
