"""Fitted estimators as plain values beside arrays, both ways without code from a file."""

import inspect
import sys
from contextlib import nullcontext
from functools import partial

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skfmri.persistence.encoding import decode, encode
from skfmri.persistence.objects import (
    FUNCTIONS,
    SPLITTERS,
    build_keras,
    build_loss,
    describe_object,
    full_name,
    known,
)
from skfmri.resampling.operator import SPLINE_ORDERS, apply_operator, resampling_operator

# Where a name in a file is looked up; no other module is ever imported for its sake.
ESTIMATORS = {
    "DecodingPipeline": "skfmri.pipeline",
    "NiftiSlabRotator": "skfmri.preprocessing",
    "SlabCNNClassifier": "skfmri.estimators.classifier",
    "VolumeCNNClassifier": "skfmri.estimators.classifier",
    "VoxelZScorer": "skfmri.preprocessing",
    "FunctionTransformer": "sklearn.preprocessing",
    "LinearSVC": "sklearn.svm",
    "LogisticRegression": "sklearn.linear_model",
    "PCA": "sklearn.decomposition",
    "Pipeline": "sklearn.pipeline",
    "StandardScaler": "sklearn.preprocessing",
}
NETWORKS = ("SlabCNNClassifier", "VolumeCNNClassifier")
# Parameters that no prediction needs: what cannot be saved of them is left out.
WITHOUT_USE = ("callbacks", "memory", "random_state", "validation")
# Fitted attributes whose name does not end with an underscore.
PRIVATE = {
    "NiftiSlabRotator": ("_transform",),
    "SlabCNNClassifier": ("_members",),
    "VolumeCNNClassifier": ("_members",),
}
OUTPUT_CONFIG = "_sklearn_output_config"
# Requests of metadata routing, and callbacks.
SCIKIT_LEARN_KEEPS = ("_metadata_request", "_skl", "_parent_callback_ctx")
REBUILT = ("_fitted_recipe", "_model", "_operator")


def to_plain(estimator):
    """Return a fitted estimator in what JSON knows.

    Parameters
    ----------
    estimator : estimator
        Fitted; of `ESTIMATORS`, or of a subclass of a network classifier.

    Returns
    -------
    content : dict
        Class, parameters and fitted attributes.
    arrays : list of ndarray
        The arrays among these.
    left_out : list of str
        Parameters that could not be saved and that no prediction needs.

    Raises
    ------
    ValueError
        If it is not fitted, if it or a part of it cannot be saved, or if a parameter that decides
        on predictions was changed since it was fitted.
    """
    writer = _Writer()
    return _describe_estimator(estimator, writer), writer.arrays, writer.left_out


def from_plain(content, arrays, own=()):
    """Return the estimator that `to_plain` was given.

    Parameters
    ----------
    content, arrays : dict, list of ndarray
        What `to_plain` returned.
    own : dict of str to type, default=()
        Classes by name that are not part of skfmri.

    Returns
    -------
    estimator : estimator
        Fitted.

    Raises
    ------
    ValueError
        If a class, a parameter or a kind of value is not known, or if weights do not fit their
        network.
    """
    other = {
        "estimator": lambda content: _build_estimator(content, inner, dict(own)),
        "splitter": lambda content: _build(known(SPLITTERS, content["class"]), content, inner),
        "function": lambda name: known(FUNCTIONS, name),
        "optimizer": lambda content: build_keras(content, inner, "optimizers"),
        "schedule": lambda content: build_keras(content, inner, "optimizers.schedules"),
        "loss": lambda content: build_loss(content, inner),
    }
    inner = partial(decode, arrays=arrays, other=other)
    return _build_estimator(content, inner, dict(own))


def classes_by_name(classes):
    """Return the user's own classes by name, or raise.

    Parameters
    ----------
    classes : sequence of type
        Subclasses of the network classifiers.

    Returns
    -------
    own : dict of str to type
    """
    own = {}
    for cls in classes:
        if not inspect.isclass(cls) or not _is_network(cls):
            raise TypeError(
                f"classes holds {cls!r}, which is no subclass of {' or '.join(NETWORKS)}."
            )
        if own.setdefault(cls.__name__, cls) is not cls:
            raise ValueError(f"classes holds two classes called {cls.__name__}. Pass one of them.")
    return own


def own_classes(estimator):
    """Return the classes in an estimator that are not part of skfmri.

    Parameters
    ----------
    estimator : estimator
        Of scikit-learn's kind.

    Returns
    -------
    own : list of type
    """
    inside = [estimator, *estimator.get_params().values()]
    found = {type(value) for value in inside if isinstance(value, BaseEstimator)}
    return [cls for cls in found if _is_network(cls) and not _is_known(cls)]


class _Writer:
    """Collects what JSON has no place for."""

    def __init__(self):
        self.arrays, self.left_out = [], []

    def plain(self, value, label):
        """Return a value as JSON knows it, or raise ValueError that names its place."""
        try:
            return encode(value, self.arrays, self._other)
        except TypeError as error:
            raise ValueError(f"{label} cannot be saved. {error}") from error

    def plain_or_none(self, value, label):
        """Return the same for a value that may be left out."""
        n_arrays = len(self.arrays)
        try:
            return encode(value, self.arrays, self._other)
        except TypeError:
            del self.arrays[n_arrays:]
            self.left_out.append(label)
            return None

    def _other(self, value):
        if isinstance(value, BaseEstimator):
            return {"estimator": _describe_estimator(value, self)}
        return describe_object(value, partial(encode, arrays=self.arrays, other=self._other))


def _describe_estimator(estimator, writer):
    cls = type(estimator)
    if not _is_known(cls) and not _is_network(cls):
        raise ValueError(
            f"{full_name(cls)} cannot be saved: only {', '.join(ESTIMATORS)} and subclasses of the "
            "network classifiers can. Of a search save best_estimator_. Of anything else keep "
            "the code, and fit it again."
        )
    check_is_fitted(estimator)
    _check_unchanged(estimator)
    content = {"class": cls.__name__}
    if not _is_known(cls):
        content["module"] = cls.__module__
    content["parameters"] = {}
    for key, value in _parameters(estimator).items():
        write = writer.plain_or_none if key in WITHOUT_USE else writer.plain
        # A place on disk is nobody else's, and says more about a machine than a model should.
        value = None if key == "memory" else value
        content["parameters"][key] = write(value, f"{cls.__name__}.{key}")
    content["fitted"] = {
        key: writer.plain(value, f"{cls.__name__}.{key}")
        for key, value in _fitted(estimator).items()
    }
    return content


def _parameters(estimator):
    """Return the parameters that are written."""
    parameters = estimator.get_params(deep=False)
    if type(estimator).__module__.startswith("sklearn."):
        # scikit-learn drops parameters in time; those left alone need no memory.
        defaults = inspect.signature(type(estimator)).parameters
        return {k: v for k, v in parameters.items() if not _is_same(v, defaults[k].default)}
    return parameters


def _fitted(estimator):
    """Return the fitted attributes that are written."""
    cls, without = type(estimator), {*estimator.get_params(deep=False), *REBUILT}
    return {k: v for k, v in vars(estimator).items() if k not in without and _is_fitted(cls, k)}


def _is_fitted(cls, key):
    """Return whether a class may hold a fitted attribute of this name."""
    if key == OUTPUT_CONFIG:
        return True
    if _is_known(cls):
        is_public = key[:1] != "_" and key[-1:] == "_" and key.isidentifier()
        return is_public or key in PRIVATE.get(cls.__name__, ())
    # Whatever a class of the user's own keeps is taken for needed, but for what stands in the way
    # of a method.
    is_own = key.isidentifier() and not key.startswith(("__", *SCIKIT_LEARN_KEEPS))
    return is_own and not callable(getattr(cls, key, None))


def _check_unchanged(estimator):
    """Raise ValueError where the parameters no longer give the predictions of the fit."""
    changed = False
    if "_fitted_recipe" in vars(estimator):
        changed = _recipe(estimator) != estimator._fitted_recipe
    elif "_operator" in vars(estimator):
        probe = np.random.default_rng(0).random((1, *estimator.grid_shape_), np.float32)
        pair = [apply_operator(each, probe) for each in (_operator(estimator), estimator._operator)]
        changed = not np.array_equal(*pair)
    if changed:
        raise ValueError(
            f"Parameters of {type(estimator).__name__} were changed since it was fitted, and "
            "would give other predictions. Fit it again, or set them back."
        )


def _build_estimator(content, inner, own):
    name = content["class"]
    cls = own.get(name) if "module" in content else known(ESTIMATORS, name)
    if cls is None:
        raise ValueError(
            f"There is an estimator of the class {name!r} of the module {content['module']!r}, "
            "which is not part of skfmri. Loading runs no code from a file: import the class and "
            f"pass it, as in load(path, classes=[{name}])."
        )
    estimator = _build(cls, content, inner)
    for key, value in content["fitted"].items():
        if not _is_fitted(cls, key):
            raise ValueError(f"{name} can have no attribute {key!r}.")
        setattr(estimator, key, inner(value))
    if "_members" in vars(estimator):
        estimator._fitted_recipe = _recipe(estimator)
        _check_weights(estimator)
    elif "_transform" in vars(estimator):
        estimator._operator = _operator(estimator)
    check_is_fitted(estimator)
    return estimator


def _build(cls, content, inner):
    parameters = {key: inner(value) for key, value in content["parameters"].items()}
    unknown = parameters.keys() - inspect.signature(cls).parameters.keys()
    if unknown:
        raise ValueError(
            f"{cls.__name__} has no parameter {sorted(unknown)[0]!r} in this version. Install the "
            "versions that wrote the file; its model card names them."
        )
    return cls(**parameters)


def _operator(rotator):
    order = SPLINE_ORDERS[rotator.interpolation]
    return resampling_operator(rotator._transform, rotator.grid_shape_, rotator.slab_box_, order)


def _recipe(classifier):
    settings, _ = classifier._check_parameters()
    return classifier._recipe(classifier.X_shape_[1:], classifier.n_classes_, settings)


def _check_weights(classifier):
    """Raise ValueError unless the weights have the shapes of the network."""
    from skfmri.networks.architecture import convolutional_network
    from skfmri.networks.backend import keras

    recipe = classifier._fitted_recipe
    # No memory is given to weights that are only asked for their shapes; another network than
    # ours may compute with them as soon as it is built.
    is_ours = recipe.function is convolutional_network
    with keras.StatelessScope(initialize_variables=False) if is_ours else nullcontext():
        expected = [tuple(weight.shape) for weight in recipe.model().weights]
    for weights in classifier._members:
        found = [weight.shape for weight in weights]
        if found != expected:
            raise ValueError(
                f"The weights do not fit the network of {type(classifier).__name__}: their shapes "
                f"are {found}, but it needs {expected}. The class may have changed since the model "
                "was saved: go back to the code of that time."
            )


def _is_known(cls):
    return cls.__name__ in ESTIMATORS and known(ESTIMATORS, cls.__name__) is cls


def _is_network(cls):
    # A network that is not imported cannot have been subclassed.
    module = sys.modules.get("skfmri.estimators.classifier")
    return module is not None and issubclass(cls, tuple(getattr(module, n) for n in NETWORKS))


def _is_same(value, default):
    # An array compares element by element.
    return value is default or (type(value) is type(default) and value == default) is True
