"""Digests by which finished work is recognised again."""

import hashlib
import importlib.metadata
import inspect
import json

import joblib
import numpy as np
from nibabel.spatialimages import SpatialImage

from skfmri.estimators.origin import SOURCE, last_network, weights_digest
from skfmri.preprocessing.mask import file_stamp

PACKAGES = ("skfmri", "scikit-learn", "tensorflow", "keras", "scikeras")
PACKAGES += ("nilearn", "nibabel", "numpy", "scipy")
# Parameters that change how a result is computed or shown, but not the result itself.
WITHOUT_EFFECT = ("memory", "n_jobs", "pre_dispatch", "verbose")
# A parameter that may name a file, whose content decides on the result.
FILE = "mask"
LONGEST_REPR = 500


def fingerprint(value):
    """Return a digest of nested dicts and lists of strings, numbers and arrays."""
    text = json.dumps(_digestible(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def parameters_of(estimator):
    """Return all parameters of an estimator as text that is the same in every process.

    Parameters
    ----------
    estimator : estimator
        A scikit-learn estimator.

    Returns
    -------
    parameters : dict of str to str
        Parameters, also of nested estimators; ``estimator`` is the class itself. Parameters that
        do not change the result, such as `n_jobs`, are left out.
    """
    parameters = estimator.get_params(deep=True)
    texts = {
        name: _named_text(name, parameters[name])
        for name in sorted(parameters)
        if name.split("__")[-1] not in WITHOUT_EFFECT
    }
    # Parameters of these are listed by themselves.
    texts |= {
        name: _path(type(parameters[name]))
        for name in texts
        if is_estimator(parameters[name]) and name.split("__")[-1] != SOURCE
    }
    return {"estimator": _path(type(estimator)), **texts}


def versions():
    """Return the versions of the packages that scores depend on."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def _named_text(name, value):
    """Return a parameter as text; with the state of a file that it names, or with its weights."""
    last = str(name).split("__")[-1]
    if last == SOURCE:
        return _texts_of_sources(value)
    if last != FILE:
        return _text(value)
    masks = value if isinstance(value, list | tuple) else [value]
    return f"{_text(value)} {[file_stamp(mask) for mask in masks]}"


def _texts_of_sources(value):
    """Return decoders whose weights others start from as text; a search has several."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_texts_of_sources, value))}]"
    return _text(value) if last_network(value) is None else f"weights {weights_digest(value)}"


def _text(value):
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, np.generic):
        return repr(value.item())
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_text(k)}: {_named_text(k, v)}' for k, v in value.items())}}}"
    if is_estimator(value):
        # Such as a candidate of a search.
        inside = {k: v for k, v in value.get_params(deep=False).items() if k not in WITHOUT_EFFECT}
        return f"{_path(type(value))} {_text(inside)}"
    if inspect.isclass(value) or inspect.isroutine(value):
        return _path(value)
    if hasattr(value, "get_config"):
        # Keras writes the time into its pickles.
        config = {key: item for key, item in value.get_config().items() if key != "name"}
        return f"{_path(type(value))} {_text(config)}"
    if isinstance(value, SpatialImage):
        # Unlike a pickle without what was computed of the image, or where it was loaded from.
        content = np.ascontiguousarray(np.asarray(value.dataobj)), value.affine
        return f"{_path(type(value))} {joblib.hash(content)}"
    text = repr(value)
    # An address differs in every process, and an abridged array says too little.
    if len(text) < LONGEST_REPR and " at 0x" not in text and not hasattr(value, "__array__"):
        return text
    try:
        return f"{_path(type(value))} {joblib.hash(value)}"
    except Exception:  # pickling may raise anything
        return _path(type(value))


def is_estimator(value):
    """Return whether a value is an estimator, and not a class of estimators."""
    return hasattr(value, "get_params") and not inspect.isclass(value)


def _path(value):
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value)}"


def _digestible(value):
    if isinstance(value, dict):
        return {str(key): _digestible(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_digestible(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return joblib.hash(value)
