"""Provenance of a saved model."""

from numbers import Real
from pathlib import Path

import numpy as np
import pandas as pd
from nibabel.affines import voxel_sizes

from skfmri._validation import check_same_grid
from skfmri.samples.nifti import list_images, trace

# Entries that are read again, with their kinds.
SAMPLES = {"grid_shape": list, "affine": list, "cleaning": dict | None}
CLEANING = dict.fromkeys(("detrend", "standardize", "confounds", "sample_masks"), bool)
CLEANING |= {"high_pass": Real | None, "t_r": list}
# Of the fits that the weights of a network come from.
FIT = {"class": str, "frozen": list, "samples": dict | None}
SAMPLES_OF_FIT = {"n_volumes": int, "n_groups": int, "files": list}
# Settings of functions that may have been applied besides; a file names only those that were.
OF_MODELS = {"hrf_model": str, "t_r": list, "start": list}
DERIVATIONS = {
    "average_blocks": {},
    "estimate_trials": {"method": str, **OF_MODELS},
    "estimate_conditions": OF_MODELS,
    "center_groups": {"by": bool, "scale": bool, "maps_per_group": list},
}


def describe_samples(samples, *, has_classes=True):
    """Describe training samples as JSON-serialisable values.

    Parameters
    ----------
    samples : NiftiSamples
        The training samples.
    has_classes : bool, default=True
        Whether their labels are classes. Numbers, such as the ages of people, are not recorded.

    Returns
    -------
    description : dict
        Numbers of volumes, runs and files, the grid, the volumes of each class and group, how the
        runs were cleaned, and the settings of other functions that the volumes come from.
    """
    originals, _, derivations = trace(samples)
    # Folders reveal more about a machine than a model should.
    files = [Path(name).name for name, _ in list_images(originals)]
    places = originals.acquisition_order()[0]
    counts = None
    if samples.y is not None and has_classes:
        table = pd.crosstab(samples.groups.astype(str), samples.y.astype(str))
        counts = table.to_dict("index")
    return {
        "n_volumes": len(samples),
        "n_runs": len(np.unique(samples.runs)),
        "n_groups": len(np.unique(samples.groups)),
        "grid_shape": list(samples.grid_shape),
        "affine": samples.affine.tolist(),
        "voxel_sizes_mm": voxel_sizes(samples.affine).tolist(),
        "volumes_per_group": counts,
        "files": [
            {"name": name, "n_volumes": int((places == number).sum())}
            for number, name in enumerate(files)
            if (places == number).any()
        ],
        "cleaning": dict(derivations).get("clean_runs"),
        "derivations": {name: how for name, how in derivations if name != "clean_runs"},
    }


def check_record(record):
    """Return the training record of a file, or raise ValueError if entries of it are missing.

    Parameters
    ----------
    record : object
        What `save` has written: ``samples`` from `describe_samples` or None, ``result``, and
        ``initial_weights``, the fits before this one, which older files lack.

    Returns
    -------
    record : dict
    """
    _check_entries(record, "", {"samples": dict | None, "result": dict | None})
    _check_earlier_fits(record)
    samples = record["samples"]
    if samples is None:
        return record
    _check_entries(samples, "samples.", SAMPLES)
    _check_numbers(samples, "samples.", "grid_shape", (3,))
    _check_numbers(samples, "samples.", "affine", (4, 4))
    cleaning = samples["cleaning"]
    if cleaning is not None:
        _check_entries(cleaning, "samples.cleaning.", CLEANING)
        _check_numbers(cleaning, "samples.cleaning.", "t_r", (len(cleaning["t_r"]),))
    _check_derivations(samples)
    return record


def _check_earlier_fits(record):
    """Raise ValueError unless fits that the weights come from are what is written."""
    fits = record.setdefault("initial_weights", [])
    if not isinstance(fits, list):
        raise ValueError(f"initial_weights is {fits!r}")
    for number, fit in enumerate(fits):
        place = f"initial_weights.{number}."
        _check_entries(fit, place, FIT)
        if fit["samples"] is not None:
            _check_entries(fit["samples"], f"{place}samples.", SAMPLES_OF_FIT)
            for file in fit["samples"]["files"]:
                _check_entries(file, f"{place}samples.files.", {"name": str})


def _check_derivations(samples):
    """Raise ValueError unless settings of functions are what is written; files may lack them."""
    place = "samples.derivations."
    derivations = samples.setdefault("derivations", {})
    if not isinstance(derivations, dict):
        raise ValueError(f"samples.derivations is {derivations!r}")
    # A later version may know more functions, of which no prediction in Python needs to know.
    for name in DERIVATIONS.keys() & derivations.keys():
        _check_entries(derivations[name], f"{place}{name}.", DERIVATIONS[name])
        for key in DERIVATIONS[name].keys() & {"t_r", "start"}:
            times = derivations[name]
            _check_numbers(times, f"{place}{name}.", key, (len(times[key]),))
    if "center_groups" in derivations:
        centring = derivations["center_groups"]
        _check_numbers(centring, f"{place}center_groups.", "maps_per_group", (2,))


def _check_numbers(content, place, key, shape):
    """Raise ValueError unless an entry is an array of finite numbers."""
    try:
        values = np.array(content[key])
    except (TypeError, ValueError):
        values = np.array(None)
    are_numbers = values.dtype.kind in "iuf" and np.isfinite(values).all()
    if values.shape != shape or not are_numbers:
        raise ValueError(f"{place}{key} is {content[key]!r}")


def _check_entries(content, place, kinds):
    """Raise ValueError unless a part of a record has entries of certain kinds."""
    for key, kind in kinds.items():
        if not isinstance(content, dict) or key not in content:
            raise ValueError(f"there is no {place}{key}")
        if not isinstance(content[key], kind):
            raise ValueError(f"{place}{key} is {content[key]!r}")


def check_samples(samples, estimator):
    """Raise ValueError if an estimator cannot have been trained on these samples."""
    classes = getattr(estimator, "classes_", None)
    if samples.y is not None and classes is not None:
        unknown = np.setxor1d(samples.y.astype(str), classes.astype(str))
        if len(unknown):
            raise ValueError(
                f"The class {str(unknown[0])!r} is only in the samples or only in the model, whose "
                f"classes are {', '.join(map(str, classes))}. Pass the samples that it was fitted "
                "on."
            )
    check_grid(estimator, samples.grid_shape, samples.affine, "samples")


def check_grid(estimator, grid_shape, affine, name):
    """Raise ValueError if an estimator was fitted on another grid."""
    for _, step in getattr(estimator, "steps", [(None, estimator)]):
        if hasattr(step, "affine_"):
            reference = step.grid_shape_, step.affine_, "the model"
            check_same_grid(grid_shape, affine, name, *reference)
