"""Ridge regression over smoothness scales, whatever it predicts."""

from __future__ import annotations

import math
import warnings
from numbers import Real
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from skfmri._validation import check_fitted_shape, check_number, check_per_volume
from skfmri.estimators.defaults import MULTISCALE_RIDGE
from skfmri.kernel_ridge import (
    activation_patterns,
    can_be_left_out,
    centred_batches,
    fit_samples,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from skfmri._types import Shape

FLOATS = [np.float64, np.float32]


class BaseMultiscaleRidge(BaseEstimator):
    """A linear model whose weights a mixture of ridge regressions decides."""

    coef_: NDArray[np.float64]
    intercept_: NDArray[np.float64]
    patterns_: NDArray[np.float64]
    scales_: NDArray[np.float64]
    alpha_: NDArray[np.float64]
    mixture_: NDArray[np.float64]
    sample_shape_: Shape

    # Read by scikit-learn if metadata routing is enabled.
    __metadata_request__fit: ClassVar = {"groups": True}

    def __init__(
        self,
        scales: Sequence[float] = MULTISCALE_RIDGE.scales,
        alphas: Sequence[float] = MULTISCALE_RIDGE.alphas,
    ) -> None:
        self.scales = scales
        self.alphas = alphas

    def _check_parameters(self):
        """Return scales and strengths as lists of floats."""
        scales = _check_numbers(self.scales, "scales", least=0, below=math.inf)
        return scales, _check_numbers(self.alphas, "alphas", above=0, below=math.inf)

    def _fit(self, X, y, groups, settings, n_classes=None):
        """Fit to positions of classes, or without their number to columns of numbers.

        Returns the weights of the voxels and the scores of the mean sample, of which two classes
        have one only, and what was found by leaving groups out.
        """
        scales, alphas = settings
        labels = np.zeros(len(y), int) if n_classes is None else y
        groups, messages = groups_to_leave_out(labels, groups, type(self).__name__)
        for message in messages:
            # Skips this and fit, to point to the line that called fit.
            warnings.warn(message, UserWarning, stacklevel=3)
        scales = scales if X.ndim > 2 else [0.0]
        mean, found, weights = fit_samples(X, y, groups, scales, alphas, n_classes)
        offset = found.offset
        if n_classes == 2:
            weights, offset = weights[[1]] - weights[[0]], offset[[1]] - offset[[0]]
        self.coef_ = weights.reshape(len(weights), -1)
        self.intercept_ = offset - self.coef_ @ mean.ravel()
        self.patterns_ = activation_patterns(X, mean, weights).reshape(self.coef_.shape)
        self.scales_ = np.array(scales, float)
        self.alpha_, self.mixture_ = found.alpha, found.mixture
        self.sample_shape_ = X.shape[1:]
        return found

    def _scores(self, X):
        """Return ``X.reshape(n_samples, -1) @ coef_.T + intercept_``."""
        check_is_fitted(self)
        name = type(self).__name__
        shape = getattr(X, "shape", ())
        # scikit-learn compares only axis 1, and would report its length if the grid is wrong.
        if shape and max(len(shape), len(self.sample_shape_) + 1) > 2:
            check_fitted_shape(shape[1:], self.sample_shape_, name)
        X = validate_data(self, X, allow_nd=True, dtype=FLOATS, reset=False)
        check_fitted_shape(X.shape[1:], self.sample_shape_, name)
        # In parts, since float32 becomes float64.
        weights = np.atleast_2d(self.coef_)
        batches = centred_batches(X, np.zeros(self.sample_shape_))
        scores = [batch.reshape(len(batch), -1) @ weights.T for _, batch in batches]
        return np.concatenate(scores) + self.intercept_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


def _check_numbers(values, name, **bounds):
    """Return the numbers of a parameter as a list of floats, or raise an error."""
    values = np.atleast_1d(np.asarray(values, dtype=object)).tolist()
    if not values:
        raise ValueError(f"{name} is empty, but must hold at least one number.")
    return [float(check_number(value, f"Each of {name}", Real, **bounds)) for value in values]


def groups_to_leave_out(labels, groups, name):
    """Return the groups that a ridge leaves out, and what to warn of.

    Parameters
    ----------
    labels : ndarray of shape (n_samples,), int
        Positions of the classes; zeros for numbers.
    groups : array-like of shape (n_samples,) or None
        Groups.
    name : str
        Name of the estimator, for the messages.

    Returns
    -------
    groups : ndarray of shape (n_samples,)
        Those given, or one for each sample if there are none that can be left out.
    messages : list of str
        Warnings.

    Raises
    ------
    ValueError
        If each class has one sample only, so that nothing can be left out.
    """
    n, singly = len(labels), np.arange(len(labels))
    messages = []
    if groups is None:
        groups = singly
        messages.append(
            f"{name} got no groups, so it chooses strengths and mixture by leaving "
            f"out one of {n} samples at a time. Samples of one run or subject resemble each other, "
            "which makes that choice too optimistic. Pass groups to fit, or make it the last step "
            "of a DecodingPipeline, which finds the groups of NiftiSamples. If samples are "
            "independent, pass groups=np.arange(len(y))."
        )
    groups = check_per_volume(groups, n, "group label")
    is_known = can_be_left_out(labels, groups)
    if not is_known.any() and n > 1 and not np.any(labels):
        messages.append(
            f"All {n} samples are of one group, so {name} chooses strengths and mixture by leaving "
            "out one sample at a time, which is too optimistic. Use several groups."
        )
        groups, is_known = singly, can_be_left_out(labels, singly)
    elif not is_known.any() and not np.array_equal(groups, singly):
        messages.append(
            f"No class occurs in more than one of {len(np.unique(groups))} groups, so no left-out "
            f"group can be predicted: {name} chooses strengths, mixture and temperature by leaving "
            "out one sample at a time, which is too optimistic. Use groups that hold several "
            "classes."
        )
        groups, is_known = singly, can_be_left_out(labels, singly)
    elif is_known.any() and not is_known.all():
        messages.append(
            f"{n - is_known.sum()} of {n} samples are of classes that occur in one group only. "
            f"{name} trains on them, but chooses strengths, mixture and temperature by the others."
        )
    if not is_known.any():
        raise ValueError(
            f"Each of {n} classes has one sample only, but {name} needs at least two of a class, "
            "to leave one of them out."
        )
    return groups, messages
