"""What a file may set in the estimators that it describes.

A file must not reach anything beyond itself. Classes come from fixed lists; this module guards the
values. Objects are built for a few parameters only, each of one kind, from lists of their own. All
other parameters are plain: numbers, text, arrays, or lists of these. Text may name a choice, such
as a solver, but never a file, a module or a function.
"""

import math
from numbers import Integral

import nibabel
import numpy as np

from skfmri._validation import check_affine, describe_grid
from skfmri.estimators.origin import SOURCE, last_network

# Kinds of objects by the parameters that may hold them.
OBJECTS = {
    "func": ("function",),
    "initial_weights": ("estimator",),
    "inverse_func": ("function",),
    "loss": ("loss",),
    "mask": ("image",),
    "optimizer": ("optimizer",),
    "steps": ("estimator",),
    "validation": ("splitter",),
}
# Parameters of scikit-learn's classes, all looked through. A later version may add one that names
# a file or code, so any other is refused.
SCIKIT_LEARN = {
    *("C", "accept_sparse", "alpha", "alpha_per_target", "alphas", "check_inverse", "class_weight"),
    *("copy", "copy_X", "cv", "dual", "feature_names_out", "fit_intercept", "func", "gcv_mode"),
    *("intercept_scaling", "inv_kw_args", "inverse_func", "iterated_power", "kw_args", "l1_ratio"),
    *("loss", "max_iter", "memory", "multi_class", "n_components", "n_groups", "n_jobs"),
    *(
        "n_oversamples",
        "n_repeats",
        "n_splits",
        "penalty",
        "positive",
        "power_iteration_normalizer",
    ),
    *("random_state", "scoring", "shuffle", "solver", "steps", "store_cv_results", "svd_solver"),
    *("test_size", "tol", "train_size", "transform_input", "validate", "verbose", "warm_start"),
    *("whiten", "with_mean", "with_std"),
}
# Far above any machine or scan, and far below what would exhaust one.
MOST_JOBS = 1024
LONGEST_AXIS, MOST_VOXELS = 2**15, 2**27
ALTERED = (
    "If the code is the same as when the model was saved, the file was altered: copy it again."
)


def check_parameter(cls, name, value):
    """Raise ValueError if a file may not give a parameter this value.

    Parameters
    ----------
    cls : type
        A class of skfmri or scikit-learn.
    name : str
        Name of the parameter.
    value : object
        Its value.
    """
    if name == "memory" and value is not None:
        raise ValueError(
            f"It sets memory={value!r} of {cls.__name__}. A fit would write your data to that "
            "folder, and run what it finds there, so no path in a file is ever used, and "
            "skfmri.save writes none. Save the model again; after loading it, choose a folder with "
            "set_params(memory=...)."
        )
    if name == "mask" and not isinstance(value, nibabel.Nifti1Image | None):
        raise ValueError(
            f"It sets mask={value!r} of {cls.__name__}. No path in a file is ever used, and "
            f"skfmri.save writes the region itself. {ALTERED}"
        )
    if name == SOURCE and value is not None and last_network(value) is not value:
        raise ValueError(
            f"It sets {SOURCE} of {cls.__name__} to a {type(value).__name__}, which is not a "
            f"network. {ALTERED}"
        )
    if cls.__module__.startswith("sklearn.") and name not in SCIKIT_LEARN:
        raise ValueError(
            f"{cls.__name__} has a parameter {name!r} that this version of skfmri does not know. "
            "Leave it at its default, or install a newer skfmri: pip install --upgrade skfmri."
        )
    is_count = value is None or (isinstance(value, Integral) and abs(value) <= MOST_JOBS)
    if name == "n_jobs" and not is_count:
        raise ValueError(
            f"{cls.__name__} has n_jobs={value!r}, but a file may ask for at most {MOST_JOBS}. "
            f"{ALTERED}"
        )


def check_rotator(state):
    """Raise ValueError unless the grids of a rotator are such as a scan may have.

    Parameters
    ----------
    state : dict
        Fitted attributes of a `NiftiSlabRotator`. Nothing is allocated for their sizes yet.
    """
    _check_grid(state["grid_shape_"])
    _check_grid(state["slab_shape_"])
    sides = tuple(end - first for first, end in state["slab_box_"])
    if sides != state["slab_shape_"]:
        raise ValueError(
            f"Its slab has {describe_grid(state['slab_shape_'])} voxels, but lies in a box of "
            f"{describe_grid(sides)}. {ALTERED}"
        )
    region = state.get("slab_mask_")
    is_mask = isinstance(region, np.ndarray) and region.dtype == bool and region.any()
    if region is not None and not (is_mask and region.shape == sides):
        raise ValueError(
            f"Its slab_mask_ is not a region of {describe_grid(sides)} voxels. {ALTERED}"
        )
    for name in ("affine_", "slab_affine_", "_transform"):
        affine = state[name]
        check_affine(affine, f"the model, {name},")
        if affine.dtype != float or affine[3].tolist() != [0, 0, 0, 1]:
            raise ValueError(
                f"Its {name} holds {affine.dtype} and ends in the row {affine[3].tolist()}. "
                f"{ALTERED}"
            )


def _check_grid(shape):
    is_grid = isinstance(shape, tuple) and len(shape) == 3
    is_grid = is_grid and all(isinstance(n, Integral) and 0 < n < LONGEST_AXIS for n in shape)
    if not is_grid or math.prod(shape) > MOST_VOXELS:
        raise ValueError(
            f"It has a grid of the shape {shape!r}, but a grid has 3 axes, each shorter than "
            f"{LONGEST_AXIS}, and at most {MOST_VOXELS} voxels. {ALTERED}"
        )
