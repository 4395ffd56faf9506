"""A model tried on one empty volume, before anybody relies on it."""

import warnings

import numpy as np
from sklearn.base import BaseEstimator, is_regressor

from skfmri._validation import check_fitted_shape
from skfmri.persistence.parameters import ALTERED
from skfmri.samples import NiftiSamples


def try_out(estimator):
    """Raise ValueError unless each step of a fitted model takes what the one before it gives.

    A file may hold sound parts that do not fit together, which would otherwise show only in a
    prediction, as an error of some library. Networks, whose weights are checked against their
    architecture, are not run.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    """
    X, last = None, None
    for step in _steps(estimator):
        if last is not None:
            raise ValueError(
                f"{type(last).__name__} in it is not a transformer, but {type(step).__name__} "
                f"follows. {ALTERED}"
            )
        if not hasattr(step, "transform"):
            last = step
        try:
            X = _empty(step) if X is None else X
            # The first step may be a function of anything.
            if X is not None:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    X = _output(step, X)
        except Exception as error:  # parts that do not fit may fail anywhere
            raise ValueError(
                f"{type(step).__name__} in it cannot be used: {type(error).__name__}: {error} "
                f"{ALTERED}"
            ) from error


def _steps(estimator):
    """Yield the steps of a pipeline, also of those inside it."""
    if not hasattr(estimator, "steps"):
        yield estimator
        return
    for _, step in estimator.steps:
        if isinstance(step, BaseEstimator):
            yield from _steps(step)
        elif step not in (None, "passthrough"):
            raise ValueError(f"{step!r} is not a step of a pipeline. {ALTERED}")


def _empty(step):
    """Return one sample of zeros for a step, or None if it does not say what it takes."""
    if hasattr(step, "grid_shape_"):
        return NiftiSamples.from_array(np.zeros((1, *step.grid_shape_), np.float32), step.affine_)
    if hasattr(step, "X_shape_"):
        # Of a network only the shape is looked at, so this takes no memory.
        return np.broadcast_to(np.float32(0), (1, *step.X_shape_[1:]))
    # Arrays of the file, which are no larger than it.
    mean, weights = getattr(step, "mean_", None), getattr(step, "coef_", None)
    if isinstance(mean, np.ndarray):
        return np.zeros((1, *mean.shape))
    if isinstance(weights, np.ndarray):
        # Those of a single number have no axis for it.
        n_features = weights.shape[-1:]
        return np.zeros((1, *n_features)).reshape(1, *getattr(step, "sample_shape_", n_features))
    return None


def _output(step, X):
    """Return what a step makes of a sample; None if it is the last."""
    if hasattr(step, "transform"):
        return step.transform(X)
    if hasattr(step, "X_shape_"):
        check_fitted_shape(X.shape[1:], step.X_shape_[1:], type(step).__name__)
        if step.n_features_in_ != X.shape[1]:
            raise ValueError(f"its n_features_in_ is {step.n_features_in_!r}, not {X.shape[1]}.")
        return None
    if is_regressor(step):
        predicted = step.predict(X)
        if not np.isfinite(predicted).all():
            raise ValueError(f"it predicts {predicted.tolist()}.")
        return None
    scores = getattr(step, "predict_proba", step.decision_function)(X)
    step.predict(X)
    n_scores = 2 if scores.ndim == 1 else scores.shape[1]
    if step.classes_.shape != (n_scores,) or not np.isfinite(scores).all():
        raise ValueError(
            f"its scores of {n_scores} classes are {scores.tolist()}, and its classes are "
            f"{step.classes_.tolist()}."
        )
    return None
