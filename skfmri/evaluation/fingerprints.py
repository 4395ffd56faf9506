"""Digests by which finished work is recognised again."""

import hashlib
import importlib.metadata
import inspect
import json

import joblib
import numpy as np

PACKAGES = ("skfmri", "scikit-learn", "tensorflow", "keras", "scikeras")
PACKAGES += ("nilearn", "nibabel", "numpy", "scipy")
# Parameters that change how a result is computed or shown, but not the result itself.
WITHOUT_EFFECT = ("memory", "n_jobs", "pre_dispatch", "verbose")
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
        name: _text(parameters[name])
        for name in sorted(parameters)
        if name.split("__")[-1] not in WITHOUT_EFFECT
    }
    return {"estimator": _text(estimator), **texts}


def versions():
    """Return the versions of the packages that scores depend on."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def _text(value):
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, np.generic):
        return repr(value.item())
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_text(k)}: {_text(v)}' for k, v in value.items())}}}"
    if hasattr(value, "get_params") and not inspect.isclass(value):
        return _path(type(value))
    if inspect.isclass(value) or inspect.isroutine(value):
        return _path(value)
    if hasattr(value, "get_config"):
        # Keras writes the time into its pickles.
        config = {key: item for key, item in value.get_config().items() if key != "name"}
        return f"{_path(type(value))} {_text(config)}"
    text = repr(value)
    # An address differs in every process, and an abridged array says too little.
    if len(text) < LONGEST_REPR and " at 0x" not in text and not hasattr(value, "__array__"):
        return text
    try:
        return f"{_path(type(value))} {joblib.hash(value)}"
    except Exception:  # pickling may raise anything
        return _path(type(value))


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
