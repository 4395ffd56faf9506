"""Checks on the data that a network is trained with."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import check_array, check_consistent_length

from skfmri._validation import check_fitted_shape


def check_samples(X):
    """Raise ValueError unless a network can be trained on the samples."""
    if X.ndim not in (2, 4):
        raise ValueError(
            f"X has shape {X.shape}. Pass samples of shape (n_samples, x, y, z), where a single "
            "slice has z = 1, or features of shape (n_samples, n_features)."
        )
    check_finite(X)


def check_finite(X, n_at_once=64):
    """Raise ValueError if a value is not finite in float32."""
    for start in range(0, len(X), n_at_once):
        with np.errstate(over="ignore"):
            chunk = np.asarray(X[start : start + n_at_once], np.float32)
        bad = ~np.isfinite(chunk.reshape(len(chunk), -1)).all(axis=1)
        if bad.any():
            raise ValueError(
                f"X holds NaN, infinity or a value too large for float32, first in sample "
                f"{start + int(bad.argmax())}. Mask or replace such voxels first."
            )


def total_weight(n_samples, y, class_weight, sample_weight):
    """Return class weight times sample weight of each sample, float32."""
    total = np.ones(n_samples, np.float32)
    if class_weight is not None:
        total *= compute_sample_weight(class_weight, y).astype(np.float32)
    if sample_weight is not None:
        sample_weight = np.asarray(sample_weight, np.float32)
        if sample_weight.shape != (n_samples,):
            raise ValueError(
                f"Found sample_weight of shape {sample_weight.shape} for {n_samples} samples. "
                "Pass one weight per sample."
            )
        total *= sample_weight
    if not np.isfinite(total).all() or (total < 0).any() or not total.any():
        raise ValueError(
            "sample_weight and class_weight must be finite, not negative, and not all zero. Their "
            f"product runs from {total.min()} to {total.max()}."
        )
    return total


def check_validation(validation_data, sample_shape, encode, groups, name):
    """Return validation samples, targets as the network takes them, and weights.

    Raises ValueError unless they fit the training samples.

    Parameters
    ----------
    validation_data : tuple
        Samples and labels, optionally followed by sample weights and groups, which may be None.
    sample_shape : tuple of int
        Shape of one training sample.
    encode : callable
        Takes targets as the user gives them, and returns them as the network takes them.
    groups : array-like or None
        Groups of the training samples.
    name : str
        Name of the estimator, for the error message.
    """
    is_tuple = isinstance(validation_data, tuple)
    if not is_tuple or not 2 <= len(validation_data) <= 4:
        found = f"a tuple of {len(validation_data)}" if is_tuple else type(validation_data).__name__
        raise ValueError(
            "validation_data must be a tuple (X, y), (X, y, sample_weight) or (X, y, "
            f"sample_weight, groups), but is {found}."
        )
    X, y, weight, validation_groups = (*validation_data, None, None)[:4]
    X = check_array(X, allow_nd=True, dtype=None, ensure_all_finite=False)
    y = np.asarray(y)
    check_consistent_length(X, y)
    check_fitted_shape(X.shape[1:], sample_shape, name)
    check_finite(X)
    targets = encode(y)
    shared = ()
    if groups is not None and validation_groups is not None:
        shared = np.intersect1d(groups, validation_groups)
    if len(shared):
        raise ValueError(
            f"Group {shared[0]} is in the training and in the validation samples, so early "
            "stopping would be judged on data the network was trained on. Hold out whole groups."
        )
    return X, targets, total_weight(len(X), y, None, weight)


def warn_if_diverged(losses):
    """Warn if the loss of an epoch is not finite."""
    bad = ~np.isfinite(losses)
    if bad.any():
        warnings.warn(
            f"The loss was {losses[int(bad.argmax())]} in epoch {int(bad.argmax()) + 1}, so "
            "predictions are meaningless. Choose a smaller learning_rate, or scale X.",
            ConvergenceWarning,
            # Skips fit and its wrappers, to point to the line that called fit.
            stacklevel=5,
        )
