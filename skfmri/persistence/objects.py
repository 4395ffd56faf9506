"""Splitters, functions, images or parts of Keras that are parameters of a saved model."""

import importlib
import inspect
from functools import partial

import nibabel
import numpy as np

from skfmri._validation import check_affine
from skfmri.evaluation.baseline import flatten_samples
from skfmri.networks.keras_private import learning_rate_of

# Modules by the names of classes that they hold.
SPLITTERS = {
    "GroupKFold": "sklearn.model_selection",
    "GroupShuffleSplit": "sklearn.model_selection",
    "LeaveOneGroupOut": "sklearn.model_selection",
    "LeavePGroupsOut": "sklearn.model_selection",
    "RepeatedGroupKFold": "skfmri.model_selection",
    "RepeatedStratifiedGroupKFold": "skfmri.model_selection",
    "StratifiedGroupKFold": "sklearn.model_selection",
}
# Functions of a FunctionTransformer by the names that files give them, which never change.
FUNCTIONS = {"_flatten": flatten_samples}


def find_class(modules, name):
    """Return a class by its name in a file, or raise ValueError if it is not one of a list.

    Parameters
    ----------
    modules : dict of str to str
        The module of each class that is allowed. No other module is ever imported.
    name : str
        Name of the class.

    Returns
    -------
    cls : type
    """
    return getattr(importlib.import_module(_look_up(modules, name)), name)


def find_function(name):
    """Return a function by its name in a file, or raise ValueError if it is unknown."""
    return _look_up(FUNCTIONS, name)


def _look_up(table, name):
    if name not in table:
        raise ValueError(
            f"{name!r} is not known to this version of skfmri, which knows {', '.join(table)}. "
            "The file was altered, or written by a newer version: pip install --upgrade skfmri."
        )
    return table[name]


def full_name(cls):
    """Return module and name of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def describe_object(value, inner):
    """Return a splitter, a function, an image or a part of Keras as JSON-serialisable values.

    Parameters
    ----------
    value : object
        The object.
    inner : callable
        Encodes the values that it consists of.

    Returns
    -------
    content : dict
        One entry, whose key says what it is.

    Raises
    ------
    TypeError
        If it is of any other kind.
    """
    cls = type(value)
    if cls.__name__ in SPLITTERS and find_class(SPLITTERS, cls.__name__) is cls:
        parameters = {key: inner(getattr(value, key)) for key in inspect.signature(cls).parameters}
        return {"splitter": {"class": cls.__name__, "parameters": parameters}}
    for name, function in FUNCTIONS.items():
        if value is function:
            return {"function": name}
    if cls is nibabel.Nifti1Image:
        # Never its file, which is of no use elsewhere.
        data = inner(np.asanyarray(value.dataobj))
        return {"image": {"data": data, "affine": inner(value.affine)}}
    loss = partial(value) if inspect.isfunction(value) else _as_function(value)
    if isinstance(loss, partial) and not loss.args:
        name = getattr(loss.func, "__name__", "")
        if _loss_function(name) is loss.func:
            keywords = {key: inner(item) for key, item in loss.keywords.items()}
            return {"loss": {"function": name, "keywords": keywords}}
    if cls.__module__.split(".")[0] == "keras":
        for tag, place in (("optimizer", "optimizers"), ("schedule", "optimizers.schedules")):
            if _keras_class(cls.__name__, place) is cls:
                return {tag: {"class": cls.__name__, "config": _keras_config(value, inner)}}
    raise TypeError(
        f"A {full_name(cls)} is not among the values that can be saved: numbers, text, arrays; "
        "lists, tuples and dicts of these; optimizers and loss functions of Keras itself."
    )


def build_image(content, inner):
    """Return the image that `describe_object` was given, or raise ValueError."""
    data, affine = inner(content["data"], ()), inner(content["affine"], ())
    if not isinstance(data, np.ndarray) or data.ndim != 3 or data.dtype.kind not in "uif":
        raise ValueError("An image in it is not a 3-D array of numbers.")
    return nibabel.Nifti1Image(data, check_affine(affine, "an image in it"))


def build_keras(content, inner, place):
    """Return the optimizer or schedule that `describe_object` was given."""
    from skfmri.networks.backend import check_fork

    # Building one may hang in a process that TensorFlow's threads did not reach.
    check_fork()
    cls = _keras_class(content["class"], place)
    if cls is None:
        raise ValueError(f"Keras has no class {content['class']!r} in keras.{place}.")
    config = {
        key: inner(value, ("schedule",) if key == "learning_rate" else ())
        for key, value in content["config"].items()
    }
    _check_described(config, cls, ValueError)
    # Not from_config, which imports what a description in the configuration names.
    return cls(**config)


def build_loss(content, inner):
    """Return the loss that `describe_object` was given."""
    function = _loss_function(content["function"])
    if function is None:
        raise ValueError(f"Keras has no loss {content['function']!r} in keras.losses.")
    keywords = {key: inner(value, ()) for key, value in content["keywords"].items()}
    return partial(function, **keywords) if keywords else function


def _as_function(value):
    """Return a loss object of Keras as a function with options, anything else as it is."""
    if full_name(type(value)).startswith("keras.src.losses."):
        from skfmri.networks.recipe import loss_with_options

        return loss_with_options(value) or value
    return value


def _loss_function(name):
    # Imported here because it imports Keras.
    from skfmri.networks.recipe import loss_function

    return loss_function(name)


def _keras_config(value, inner):
    config = value.get_config()
    if isinstance(config.get("learning_rate"), dict):
        # Keras would write the name of a module, which it imports when it reads the description.
        config["learning_rate"] = learning_rate_of(value)
    _check_described(config, type(value), TypeError)
    return {key: inner(item) for key, item in config.items()}


def _check_described(config, cls, error):
    """Raise an error if a configuration describes an object, whose module Keras would import."""
    described = [key for key, item in config.items() if isinstance(item, dict)]
    if described:
        raise error(
            f"The {described[0]} of {full_name(cls)} is an object of Keras itself, which cannot be "
            "saved. Choose an optimizer or schedule of numbers alone."
        )


def _keras_class(name, place):
    """Return a class of Keras itself by its name, or None."""
    from skfmri.networks.backend import keras

    module, base = keras.optimizers, keras.optimizers.Optimizer
    if place == "optimizers.schedules":
        module, base = module.schedules, module.schedules.LearningRateSchedule
    found = getattr(module, name, None)
    return found if inspect.isclass(found) and issubclass(found, base) else None
