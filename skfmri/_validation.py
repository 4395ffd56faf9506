"""Checks on user input, each with its error message."""

from numbers import Integral, Real

import numpy as np

GRID_TOLERANCE_MM = 1e-3


def describe_grid(grid_shape):
    """Return a grid shape as people write it, for example ``40 x 51 x 41``."""
    return " x ".join(str(length) for length in grid_shape)


def check_same_grid(grid_shape, affine, name, reference_shape, reference_affine, reference_name):
    """Raise ValueError unless two grids have the same shape and affine.

    Affines are compared where it matters: no voxel centre may lie further than
    0.001 mm from its place in the reference, so rounding in a header is not a difference.
    """
    way_out = "Resample all images to one grid first, for example with nilearn's resample_to_img."
    if tuple(grid_shape) != tuple(reference_shape):
        raise ValueError(
            f"{name} has a grid of {describe_grid(grid_shape)} voxels, but {reference_name} has "
            f"{describe_grid(reference_shape)}. {way_out}"
        )
    if np.array_equal(affine, reference_affine):
        return
    corners = np.array(np.meshgrid(*[(0, length - 1) for length in grid_shape])).reshape(3, -1)
    shift = (affine - reference_affine) @ np.vstack([corners, np.ones(corners.shape[1])])
    if not np.abs(shift).max() <= GRID_TOLERANCE_MM:
        raise ValueError(
            f"{name} has the affine {np.round(affine, 4).tolist()}, but {reference_name} has "
            f"{np.round(reference_affine, 4).tolist()}. {way_out}"
        )


def check_number(value, name, kind=Integral, *, least=None, above=None, below=None):
    """Return a number, an integer as an int, or raise an error.

    Parameters
    ----------
    value : object
        The number.
    name : str
        Name of the parameter, for the error message.
    kind : {numbers.Integral, numbers.Real}, default=numbers.Integral
        Kind of number; a bool is neither.
    least, above, below : float, default=None
        Smallest value allowed, and bounds that are not allowed themselves.

    Returns
    -------
    value : int or object

    Raises
    ------
    TypeError
        If it is not a number of this kind.
    ValueError
        If it is out of range.
    """
    word = {Integral: "an integer", Real: "a number"}[kind]
    bounds = {"of at least": least, "above": above, "below": below}
    found = [f"{text} {bound}" for text, bound in bounds.items() if bound is not None]
    wanted = " ".join([word, " and ".join(found)]).rstrip()
    message = f"{name} must be {wanted}, but is {value!r}."
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(message)
    # Written so that NaN is out of every range.
    inside = (
        (least is None or value >= least)
        and (above is None or value > above)
        and (below is None or value < below)
    )
    if not inside:
        raise ValueError(message)
    return int(value) if kind is Integral else value


def check_affine(affine, name):
    """Return `affine` as a float64 array of shape (4, 4), or raise ValueError."""
    affine = np.asarray(affine, dtype=float)
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise ValueError(
            f"The affine of {name} must be a finite 4 x 4 array, but is {affine.tolist()}."
        )
    if abs(np.linalg.det(affine)) < 1e-12:
        raise ValueError(
            f"The affine of {name} cannot be inverted: {affine.tolist()}. "
            "Its columns must span space; look at the sform and qform in the header."
        )
    return affine


def check_per_volume(values, n_volumes, what):
    """Return `values` as an array of shape (n_volumes,), or raise ValueError."""
    values = np.asarray(values)
    if values.ndim != 1:
        raise ValueError(
            f"{what}s must be one-dimensional, but have shape {values.shape}. "
            f"Pass one {what} per volume."
        )
    if len(values) != n_volumes:
        raise ValueError(
            f"Found {len(values)} {what}s for {n_volumes} volumes. Pass one {what} per volume."
        )
    return values


def check_fitted_shape(shape, fitted_shape, estimator_name):
    """Raise ValueError unless volumes have the shape an estimator was fitted on."""
    if tuple(shape) != tuple(fitted_shape):
        raise ValueError(
            f"X holds volumes of shape {tuple(shape)}, but {estimator_name} was fitted on volumes "
            f"of shape {tuple(fitted_shape)}. Resample X to the training grid first."
        )


def check_unchanged_since_fit(is_unchanged, estimator_name):
    """Raise ValueError if the parameters no longer give the predictions of the fit."""
    if not is_unchanged:
        raise ValueError(
            f"Parameters of {estimator_name} were changed since it was fitted, and would give "
            "different predictions. Fit it again, or set them back."
        )


def find_labels_and_groups(X, y, groups):
    """Return labels and groups as arrays, those of X if None is given, or raise ValueError."""
    n_samples = X.shape[0] if hasattr(X, "shape") else len(X)
    y = getattr(X, "y", None) if y is None else y
    groups = getattr(X, "groups", None) if groups is None else groups
    if y is None:
        raise ValueError("There are no labels. Pass y, one label per sample.")
    if groups is None:
        raise ValueError(
            "There are no groups. Pass groups=, one per sample: runs, or blocks of subjects, that "
            "must not be split between training and test data."
        )
    return (
        check_per_volume(y, n_samples, "label"),
        check_per_volume(groups, n_samples, "group label"),
    )
