"""Splitters, functions, parts of Keras: what stands as a parameter in a model."""

import importlib
import inspect
from functools import partial

SPLITTERS = {
    "GroupKFold": "sklearn.model_selection",
    "GroupShuffleSplit": "sklearn.model_selection",
    "LeaveOneGroupOut": "sklearn.model_selection",
    "LeavePGroupsOut": "sklearn.model_selection",
    "RepeatedGroupKFold": "skfmri.model_selection",
    "RepeatedStratifiedGroupKFold": "skfmri.model_selection",
    "StratifiedGroupKFold": "sklearn.model_selection",
}
# Of FunctionTransformer; `linear_baseline` has it.
FUNCTIONS = {"_flatten": "skfmri.evaluation.decoder"}


def known(table, name):
    """Return what a table says where to find, or raise ValueError."""
    if name not in table:
        raise ValueError(
            f"{name!r} is not known to this version of skfmri, which knows {', '.join(table)}. "
            "The file was altered, or written by a newer version: pip install --upgrade skfmri."
        )
    return getattr(importlib.import_module(table[name]), name)


def full_name(cls):
    """Return module and name of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def describe_object(value, inner):
    """Return a splitter, a function or a part of Keras in what JSON knows.

    Parameters
    ----------
    value : object
        The object.
    inner : callable
        Encodes the values that it consists of.

    Returns
    -------
    content : dict
        One entry, whose key tells what it is.

    Raises
    ------
    TypeError
        If it is of any other kind.
    """
    cls = type(value)
    if cls.__name__ in SPLITTERS and known(SPLITTERS, cls.__name__) is cls:
        parameters = {key: inner(getattr(value, key)) for key in inspect.signature(cls).parameters}
        return {"splitter": {"class": cls.__name__, "parameters": parameters}}
    if inspect.isfunction(value) and FUNCTIONS.get(value.__name__) == value.__module__:
        return {"function": value.__name__}
    loss = partial(value) if inspect.isfunction(value) else value
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
        f"{full_name(cls)} is none of the values that can be saved: numbers, text, arrays, lists, "
        "tuples and dicts of these, and Keras' own optimizers and functions of losses."
    )


def build_keras(content, inner, place):
    """Return the optimizer or schedule that `describe_object` was given."""
    cls = _keras_class(content["class"], place)
    if cls is None:
        raise ValueError(f"Keras has no class {content['class']!r} in keras.{place}.")
    # Not from_config, which imports what a description in the configuration names.
    return cls(**{key: inner(value) for key, value in content["config"].items()})


def build_loss(content, inner):
    """Return the loss that `describe_object` was given."""
    function = _loss_function(content["function"])
    if function is None:
        raise ValueError(f"Keras has no loss {content['function']!r} in keras.losses.")
    keywords = {key: inner(value) for key, value in content["keywords"].items()}
    return partial(function, **keywords) if keywords else function


def _loss_function(name):
    # Loaded where it is needed, for it loads Keras.
    from skfmri.networks.recipe import loss_function

    return loss_function(name)


def _keras_config(value, inner):
    config = value.get_config()
    if isinstance(config.get("learning_rate"), dict):
        # Keras would name a module, and import it when it reads.
        config["learning_rate"] = value._learning_rate
    described = [key for key, item in config.items() if isinstance(item, dict)]
    if described:
        name = full_name(type(value))
        raise TypeError(f"{name} holds another object of Keras as its {described[0]}.")
    return {key: inner(item) for key, item in config.items()}


def _keras_class(name, place):
    """Return a class of Keras' own by its name, or None."""
    from skfmri.networks.backend import keras

    module, base = keras.optimizers, keras.optimizers.Optimizer
    if place == "optimizers.schedules":
        module, base = module.schedules, module.schedules.LearningRateSchedule
    found = getattr(module, name, None)
    return found if inspect.isclass(found) and issubclass(found, base) else None
