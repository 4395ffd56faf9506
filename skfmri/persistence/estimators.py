"""Fitted estimators as plain values beside arrays, restored without code from a file.

An estimator may decide itself what is saved of its fit, by two methods:

``__skfmri_getstate__()``
    Returns the fitted attributes by name, without what can be derived from them. The values are
    plain, or arrays. Raises ValueError if parameters were changed since the fit in a way that
    would change predictions.
``__skfmri_setstate__(state)``
    Sets these attributes on an estimator that has its parameters already, and derives the rest.
    Raises ValueError if they do not fit together.

Of any other estimator the public attributes whose names end in an underscore are saved, as
scikit-learn names what `fit` has found.
"""

import inspect
import sys
from functools import partial

from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skfmri.estimators.origin import SOURCE, bare_network, last_network, sources_of
from skfmri.estimators.scikit_learn import BOOKKEEPING, OUTPUT_CONFIG
from skfmri.evaluation.encoding import decode, encode
from skfmri.persistence.objects import (
    SPLITTERS,
    build_image,
    build_keras,
    build_loss,
    describe_object,
    find_class,
    find_function,
    full_name,
)
from skfmri.persistence.parameters import ALTERED, OBJECTS, check_parameter, check_rotator

# Modules by the names of classes that they hold. No file makes any other module be imported.
ESTIMATORS = {
    "DecodingPipeline": "skfmri.pipeline",
    "MultiscaleRidgeClassifier": "skfmri.estimators.ridge",
    "MultiscaleRidgeRegressor": "skfmri.estimators.ridge_regressor",
    "NiftiSlabRotator": "skfmri.preprocessing",
    "SlabCNNClassifier": "skfmri.estimators.classifier",
    "SlabCNNRegressor": "skfmri.estimators.regressor",
    "VolumeCNNClassifier": "skfmri.estimators.classifier",
    "VolumeCNNRegressor": "skfmri.estimators.regressor",
    "VoxelZScorer": "skfmri.preprocessing",
    "FunctionTransformer": "sklearn.preprocessing",
    "LinearSVC": "sklearn.svm",
    "LogisticRegression": "sklearn.linear_model",
    "PCA": "sklearn.decomposition",
    "Pipeline": "sklearn.pipeline",
    "Ridge": "sklearn.linear_model",
    "RidgeCV": "sklearn.linear_model",
    "StandardScaler": "sklearn.preprocessing",
}
NETWORKS = ("SlabCNNClassifier", "SlabCNNRegressor", "VolumeCNNClassifier", "VolumeCNNRegressor")
# Parameters that no prediction needs. They are left out if they cannot be saved.
NOT_NEEDED = ("callbacks", "memory", "random_state", "validation")


def to_plain(estimator):
    """Return a fitted estimator as JSON-serialisable values.

    Parameters
    ----------
    estimator : estimator
        Fitted; of `ESTIMATORS`, or of a subclass of one of `NETWORKS`.

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
        If it is not fitted, if it or a part of it cannot be saved, or if a parameter that affects
        predictions was changed since it was fitted.
    """
    writer = _Writer()
    return _describe_estimator(estimator, writer), writer.arrays, writer.left_out


def from_plain(content, arrays, classes=()):
    """Return the estimator that `to_plain` was given.

    Parameters
    ----------
    content, arrays : dict, list of ndarray
        What `to_plain` returned.
    classes : dict of str to type, default=()
        Classes by name that are not part of skfmri.

    Returns
    -------
    estimator : estimator
        Fitted.

    Raises
    ------
    ValueError
        If a class, a parameter or a kind of value is unknown, or if weights do not fit their
        network.
    """
    classes = dict(classes)
    builders = {
        "estimator": lambda content: _build_estimator(content, inner, classes),
        "splitter": lambda content: _build(find_class(SPLITTERS, content["class"]), content, inner),
        "function": find_function,
        "image": lambda content: build_image(content, inner),
        "optimizer": lambda content: build_keras(content, inner, "optimizers"),
        "schedule": lambda content: build_keras(content, inner, "optimizers.schedules"),
        "loss": lambda content: build_loss(content, inner),
    }

    def inner(content, kinds=None):
        """Return a value, in which objects of these kinds may occur; None means any."""
        allowed = builders if kinds is None else {kind: builders[kind] for kind in kinds}
        return decode(content, arrays, allowed)

    return _build_estimator(content, inner, classes)


def classes_by_name(classes):
    """Return the user's classes by name, or raise an error.

    Parameters
    ----------
    classes : sequence of type
        Subclasses of `NETWORKS`.

    Returns
    -------
    by_name : dict of str to type
    """
    by_name = {}
    for cls in classes:
        if not inspect.isclass(cls) or not _is_network(cls):
            raise TypeError(
                f"classes holds {cls!r}, which is not a subclass of {', '.join(NETWORKS[:-1])} "
                f"or {NETWORKS[-1]}."
            )
        if by_name.setdefault(cls.__name__, cls) is not cls:
            raise ValueError(f"classes holds two classes called {cls.__name__}. Pass one of them.")
    return by_name


def custom_classes(estimator):
    """Return the classes in an estimator that are not part of skfmri.

    Parameters
    ----------
    estimator : estimator
        A scikit-learn estimator.

    Returns
    -------
    custom : list of type
    """
    inside = [
        estimator,
        *estimator.get_params().values(),
        *map(last_network, sources_of(estimator)),
    ]
    found = {type(value) for value in inside if isinstance(value, BaseEstimator)}
    return [cls for cls in found if _is_network(cls) and not _is_known(cls)]


class _Writer:
    """Collects the arrays that JSON cannot hold, and the parameters that are left out."""

    def __init__(self):
        self.arrays, self.left_out = [], []

    def plain(self, value, label):
        """Return a value as JSON-serialisable values, or raise ValueError naming its place."""
        try:
            return encode(value, self.arrays, self._other)
        except TypeError as error:
            raise ValueError(f"{label} cannot be saved. {error}") from error

    def plain_or_none(self, value, label):
        """Return the same, or None for a value that cannot be saved."""
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
            "networks can. Of a search, save best_estimator_. For anything else keep "
            "the code, and fit it again."
        )
    check_is_fitted(estimator)
    content = {"class": cls.__name__}
    if not _is_known(cls):
        content["module"] = cls.__module__
    content["parameters"] = {}
    for key, value in _parameters(estimator).items():
        write = writer.plain_or_none if key in NOT_NEEDED else writer.plain
        if key == "memory" and value is not None:
            # A path is of no use elsewhere, and reveals more about a machine than a model should.
            writer.left_out.append(f"{cls.__name__}.{key}")
            value = None
        content["parameters"][key] = write(value, f"{cls.__name__}.{key}")
    content["fitted"] = {
        key: writer.plain(value, f"{cls.__name__}.{key}")
        for key, value in _fitted(estimator).items()
    }
    return content


def _parameters(estimator):
    """Return the parameters that are written."""
    parameters = estimator.get_params(deep=False)
    if parameters.get("mask") is not None and hasattr(estimator, "region_"):
        # What was read of the mask, and not its path: the file exists on this machine alone.
        parameters["mask"] = estimator.region_
    if parameters.get(SOURCE) is not None:
        # What it started from itself is a matter of the training record.
        parameters[SOURCE] = bare_network(parameters[SOURCE])
    if type(estimator).__module__.startswith("sklearn."):
        # scikit-learn drops parameters over time, so only those that were set are written.
        defaults = inspect.signature(type(estimator)).parameters
        return {k: v for k, v in parameters.items() if not _is_same(v, defaults[k].default)}
    return parameters


def _fitted(estimator):
    """Return the fitted attributes that are written."""
    has_hook = hasattr(estimator, "__skfmri_getstate__")
    state = estimator.__skfmri_getstate__() if has_hook else vars(estimator)
    return {key: value for key, value in state.items() if _is_fitted(type(estimator), key)}


def _is_fitted(cls, key):
    """Return whether a class may have a fitted attribute of this name."""
    if key == OUTPUT_CONFIG:
        return True
    if not hasattr(cls, "__skfmri_setstate__") and (key.startswith("_") or not key.endswith("_")):
        return False
    # Nothing may shadow a method, or change what Python or scikit-learn do with the estimator.
    is_hidden = key.startswith(("__", *BOOKKEEPING)) or callable(getattr(cls, key, None))
    return key.isidentifier() and not is_hidden


def _build_estimator(content, inner, classes):
    name = content["class"]
    cls = classes.get(name) if "module" in content else find_class(ESTIMATORS, name)
    if cls is None:
        raise ValueError(
            f"There is an estimator of the class {name!r} of the module {content['module']!r}, "
            "which is not part of skfmri. Loading runs no code from a file: import the class and "
            f"pass it, as in load(path, classes=[{name}])."
        )
    estimator = _build(cls, content, inner)
    parameters = estimator.get_params(deep=False)
    state = {}
    for key, value in content["fitted"].items():
        if key in parameters or not _is_fitted(cls, key):
            raise ValueError(f"{name} cannot have an attribute {key!r}. {ALTERED}")
        state[key] = inner(value, _kinds(cls, key))
    if name == "NiftiSlabRotator":
        check_rotator(state)
    if hasattr(estimator, "__skfmri_setstate__"):
        estimator.__skfmri_setstate__(state)
    else:
        vars(estimator).update(state)
    check_is_fitted(estimator)
    return estimator


def _build(cls, content, inner):
    described = content["parameters"]
    unknown = described.keys() - inspect.signature(cls).parameters.keys()
    if unknown:
        raise ValueError(
            f"{cls.__name__} has no parameter {sorted(unknown)[0]!r} in this version. Install the "
            "versions that wrote the file; its model card names them."
        )
    parameters = {key: inner(value, _kinds(cls, key)) for key, value in described.items()}
    if _is_ours(cls):
        for key, value in parameters.items():
            check_parameter(cls, key, value)
    return cls(**parameters)


def _kinds(cls, key):
    """Return the kinds of objects that a parameter or an attribute may hold; None means any."""
    # What the names in a class of the user's mean, only its code says.
    return OBJECTS.get(key, () if _is_ours(cls) else None)


def _is_ours(cls):
    return cls.__module__.split(".")[0] in ("skfmri", "sklearn")


def _is_known(cls):
    return cls.__name__ in ESTIMATORS and find_class(ESTIMATORS, cls.__name__) is cls


def _is_network(cls):
    # Classes whose module was never imported cannot have been subclassed.
    module = sys.modules.get("skfmri.estimators.base")
    return module is not None and issubclass(cls, module.BaseCNN)


def _is_same(value, default):
    # Comparing an array gives an array, which is not True.
    return value is default or (type(value) is type(default) and value == default) is True
