"""The record of a run, which becomes ``settings.json``."""

import inspect
import platform
from numbers import Integral, Real

import numpy as np
import pandas as pd
from nibabel.affines import voxel_sizes

from skfmri.estimators.origin import SOURCE, fitted_network, trained_on
from skfmri.evaluation.fingerprints import versions
from skfmri.report.methods_trials import UNITS
from skfmri.samples.nifti import trace


def describe_data(samples):
    """Return what was decoded, as JSON-serialisable values.

    Parameters
    ----------
    samples : NiftiSamples
        With groups and labels; those of a float type are numbers to predict, all others classes.

    Returns
    -------
    description : dict
        With ``volumes_per_class`` and ``volumes_per_group`` of classes; of numbers with
        ``numbers``, their mean, standard deviation and range, and ``volumes_per_group``.
    """
    return {
        "n_volumes": len(samples),
        "n_runs": len(np.unique(samples.runs)),
        "grid_shape": list(samples.grid_shape),
        "voxel_sizes_mm": voxel_sizes(samples.affine).tolist(),
        "affine": samples.affine.tolist(),
        **(_describe_numbers if samples.y.dtype.kind == "f" else _describe_classes)(samples),
        # Cleaning and centring have sections of their own.
        "derivations": {name: settings for name, settings in trace(samples)[2] if name in UNITS},
    }


def _describe_classes(samples):
    counts = pd.crosstab(samples.groups, samples.y)
    return {
        "volumes_per_class": counts.sum().to_dict(),
        "volumes_per_group": counts.to_dict("index"),
        "groups": counts.index.tolist(),
    }


def _describe_numbers(samples):
    numbers = pd.Series(samples.y, dtype=np.float64)
    of_groups = numbers.groupby(samples.groups)
    counts = of_groups.size()
    return {
        "numbers": {
            **numbers.agg(["mean", "std", "min", "max"]).to_dict(),
            "n_distinct_per_group": of_groups.nunique().to_dict(),
        },
        "volumes_per_group": counts.to_dict(),
        "groups": counts.index.tolist(),
    }


def describe_slab(rotator):
    """Return the slab of a fitted rotator, as JSON-serialisable values."""
    return {
        "shape": list(rotator.slab_shape_),
        "n_in_region": None if rotator.slab_mask_ is None else int(rotator.slab_mask_.sum()),
        "first_slice": rotator.slab_box_[2][0],
        "affine": rotator.slab_affine_.tolist(),
    }


def describe_estimator(estimator):
    """Return the class of an estimator with all its parameters, as JSON-serialisable values.

    Parameters
    ----------
    estimator : estimator
        A pipeline, a step of one or a splitter.

    Returns
    -------
    description : dict
        ``class``, ``parameters`` and, of a pipeline, ``steps``, each described in the same way.
        For `initial_weights` it has the fits that they come from, the last one first.
    """
    if hasattr(estimator, "get_params"):
        parameters = estimator.get_params(deep=False)
    else:
        names = inspect.signature(type(estimator)).parameters
        parameters = {name: getattr(estimator, name) for name in names}
    if parameters.get(SOURCE) is not None:
        parameters[SOURCE] = _describe_source(parameters[SOURCE])
    steps = parameters.pop("steps", None)
    described = {
        "class": type(estimator).__name__,
        "parameters": {name: _plain(value) for name, value in parameters.items()},
    }
    if steps is not None:
        described["steps"] = {name: describe_estimator(step) for name, step in steps}
    return described


def describe_software():
    """Return the versions of all that scores depend on."""
    return {
        **versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _describe_source(source):
    """Return what initial weights were trained on, instead of all settings of another decoder."""
    fits = trained_on(fitted_network(source)).fits
    kept = "n_volumes", "n_groups", "files"
    return [
        {**fit, "samples": fit["samples"] and {name: fit["samples"][name] for name in kept}}
        for fit in fits
    ]


def _plain(value):
    """Return a parameter as a JSON-serialisable value."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "split") or hasattr(value, "get_params"):
        return describe_estimator(value)
    return repr(value)
