"""Checks on the outcomes of folds that come back from a file."""

from numbers import Integral, Real

import numpy as np

# Outputs of an estimator, and the number of axes each may have.
AXES = {"predict": (1,), "predict_proba": (2,), "decision_function": (1, 2)}


def check_outcome(outcome, n_test, *, is_classes=True):
    """Raise ValueError unless an outcome is one that `fit_and_predict` could have returned.

    Parameters
    ----------
    outcome : object
        What a ledger holds.
    n_test : int
        Number of test samples of the fold.
    is_classes : bool, default=True
        Whether it is that of a classifier. A regressor's has no classes.
    """
    for name in ("classes", "predict", "seconds_fit", "seconds_predict")[not is_classes :]:
        _check_has(outcome, name)
    if is_classes:
        _check_classes_and_outputs(outcome, n_test)
    else:
        check_numbers(outcome, n_test)
    for name in ("seconds_fit", "seconds_predict"):
        if not _is_number(outcome[name]):
            raise ValueError(f"its {name} is {outcome[name]!r}")
    _check_training(outcome)


def check_numbers(outcome, n_test):
    """Raise ValueError unless an outcome predicts one number per test sample.

    They need not be finite, since a network may diverge.
    """
    _check_has(outcome, "predict")
    predicted = outcome["predict"]
    _check_array(predicted, "predict", (1,), n_test)
    if predicted.dtype.kind not in "biuf":
        raise ValueError(f"its predict holds {predicted.dtype}, not numbers")


def check_score(outcome):
    """Raise ValueError unless an outcome is the score of a fold with permuted labels."""
    if not isinstance(outcome, dict) or not _is_number(outcome.get("score")):
        raise ValueError("it has no score")


def _check_has(outcome, name):
    if not isinstance(outcome, dict) or name not in outcome:
        raise ValueError(f"it has no {name}")


def _check_classes_and_outputs(outcome, n_test):
    classes = outcome["classes"]
    if not isinstance(classes, np.ndarray) or classes.ndim != 1 or not len(classes):
        raise ValueError("its classes are not an array of classes")
    for name, n_axes in AXES.items():
        if name in outcome:
            _check_output(outcome[name], name, n_axes, n_test, classes)


def _check_array(values, name, n_axes, n_test):
    is_array = isinstance(values, np.ndarray) and values.ndim in n_axes and len(values) == n_test
    if not is_array:
        raise ValueError(f"its {name} is not an array of {n_test} samples")


def _check_output(values, name, n_axes, n_test, classes):
    _check_array(values, name, n_axes, n_test)
    if name == "predict":
        unknown = set(values.tolist()) - set(classes.tolist())
        if unknown:
            raise ValueError(f"it predicts {next(iter(unknown))!r}, which is not a class")
    elif values.dtype.kind not in "biuf":
        raise ValueError(f"its {name} holds {values.dtype}")
    elif name == "predict_proba" and values.shape[1] != len(classes):
        raise ValueError(f"its {name} is of {values.shape[1]} classes, not {len(classes)}")


def _check_training(outcome):
    """Raise ValueError unless learning curves, epochs and parameters are of their kinds."""
    history = outcome.get("history", {})
    if not isinstance(history, dict) or (history and "loss" not in history):
        raise ValueError("its history has no loss")
    lengths = set()
    for name, values in history.items():
        if not isinstance(values, list) or not all(map(_is_number, values)):
            raise ValueError(f"its history of {name} holds something else than numbers")
        lengths.add(len(values))
    if len(lengths) > 1:
        raise ValueError("its history has curves of different lengths")
    if not isinstance(outcome.get("n_epochs"), Integral | None):
        raise ValueError(f"its n_epochs is {outcome['n_epochs']!r}")
    if not isinstance(outcome.get("best_params", ""), str):
        raise ValueError("its best_params are not text")


def _is_number(value):
    return isinstance(value, Real | np.floating | np.integer)
