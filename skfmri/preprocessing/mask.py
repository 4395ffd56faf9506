"""A region of interest, from a mask or an atlas on any grid."""

import math
import os
import warnings
from numbers import Integral

import nibabel
import numpy as np
from nibabel.affines import apply_affine, from_matvec, voxel_sizes
from scipy import ndimage

from skfmri._validation import check_affine
from skfmri.preprocessing.defaults import ROTATOR
from skfmri.samples.images import explained_failures, open_header, split_shape

MOST_LISTED = 20
MOST_VOXELS = 20_000
# Up to this share of a region may be lost without a warning: coarse masks overhang the brain.
TOLERATED_SHARE = 0.1
# A voxel centre exactly between two voxels of the mask takes the lower one, whatever the rounding.
TIE = 1e-6


def read_region(mask, label=None):
    """Return the region that a mask shows, or that labels of an atlas name.

    Parameters
    ----------
    mask : image or path
        3-D, on any grid. Voxels that are not finite are outside.
    label : int or sequence of int, default=None
        Values of an atlas that belong to the region. None takes the voxels that are not 0, of
        which all must have the same value.

    Returns
    -------
    region : nibabel.Nifti1Image
        On the grid of the mask, cut to the box of the region. 0 outside the region; inside, the
        labels, or 1 if there are none.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError
        If the mask is neither an image nor a path.
    ValueError
        If the image is not one 3-D volume, is empty, holds several values although no label is
        given, or lacks a label.
    """
    labels, name = _check_label(label), mask_name(mask)
    if isinstance(mask, str | os.PathLike):
        mask = open_header(mask)
    if not is_image(mask):
        raise TypeError(
            f"mask must be None, an image or a path, but is a {type(mask).__name__}. Of an array "
            "make an image, which says where it lies: nibabel.Nifti1Image(array, affine)."
        )
    grid_shape, n_volumes = split_shape(mask.shape, name)
    if n_volumes != 1:
        raise ValueError(
            f"{name} holds {n_volumes} volumes, but a mask is one 3-D volume. Choose one, for "
            "example with nilearn.image.index_img."
        )
    affine = check_affine(mask.affine, name)
    with explained_failures(name):
        values = np.asanyarray(mask.dataobj).reshape(grid_shape)
    inside = _inside(values, labels, name)
    box = ndimage.find_objects(inside.astype(np.uint8))[0]
    region = inside[box] if labels is None else np.where(inside[box], values[box], 0)
    corner = from_matvec(np.eye(3), [part.start for part in box])
    # Labels may exceed 32 bits, and NIfTI tools read few types of 64.
    dtype = np.uint8 if labels is None else np.float64
    return nibabel.Nifti1Image(region.astype(dtype), affine @ corner)


def mask_name(mask, label=None):
    """Return what a mask is called in messages: its path if it has one, and its labels."""
    name = "mask"
    if isinstance(mask, str | os.PathLike):
        name = os.fspath(mask)
    elif is_image(mask):
        name = mask.get_filename() or name
    return name if label is None else f"{name} (label {label})"


def is_image(mask):
    """Return whether a mask is an image in memory, as opposed to a path."""
    return isinstance(mask, nibabel.spatialimages.SpatialImage)


def plain_image(image):
    """Return an image in memory of the same content, without its file, header and caches."""
    return nibabel.Nifti1Image(np.ascontiguousarray(np.asarray(image.dataobj)), image.affine)


def file_stamp(mask):
    """Return size and modification time of a mask that is a path to a file, else None."""
    try:
        status = os.stat(mask)
    except (OSError, TypeError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def _check_label(label):
    """Return labels as a list of int, or None; raise ValueError for anything else."""
    if label is None:
        return None
    labels = list(label) if isinstance(label, list | tuple | np.ndarray) else [label]
    are_integers = all(isinstance(n, Integral) and not isinstance(n, bool) for n in labels)
    if not labels or not are_integers:
        raise ValueError(
            f"label must be None, an int or a list of ints as the atlas holds them, but is "
            f"{label!r}. The table that comes with an atlas lists which number means which region."
        )
    if 0 in labels:
        raise ValueError(
            f"label must not hold 0, which is the background of an atlas, but is {label!r}. Choose "
            "the number of a region."
        )
    return [int(n) for n in labels]


def _inside(values, labels, name):
    """Return which voxels of a mask belong to the region."""
    if values.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} holds values of type {values.dtype}, but a mask holds real numbers. Convert "
            "it first."
        )
    if values.dtype.kind == "f":
        values = np.where(np.isfinite(values), values, 0)
    inside = values != 0
    if not inside.any():
        raise ValueError(
            f"{name} is empty: none of its {values.size} voxels differs from 0. Look at the step "
            "that made it, for example with nilearn.plotting.plot_roi."
        )
    if labels is None:
        _check_one_value(values[inside], name)
        return inside
    _check_whole(values[inside], name)
    missing = sorted(set(labels) - set(values[np.isin(values, labels)].tolist()))
    if missing:
        raise ValueError(
            f"There is no label {', '.join(map(str, missing))} in {name}, whose labels are "
            f"{_listed(values[inside])}. Choose from these."
        )
    return np.isin(values, labels)


def _check_one_value(values, name):
    """Raise ValueError if there are several values, for a mask has one."""
    if values.min() == values.max():
        return
    _check_whole(values, name)
    raise ValueError(
        f"{name} holds several values other than 0, so it is an atlas: {_listed(values)}. Choose "
        f"a region with label={int(values.min())}, or a list of several."
    )


def _check_whole(values, name):
    if values.dtype.kind == "f" and not np.array_equal(values, np.rint(values)):
        raise ValueError(
            f"{name} holds values from {values.min():.3g} to {values.max():.3g} that are not whole "
            "numbers, so it is neither a mask nor an atlas of labels. Of a map of probabilities "
            "make a mask first, for example with nilearn.image.binarize_img and a threshold."
        )


def _listed(values):
    found = np.unique(values)
    shown = ", ".join(f"{value:g}" for value in found[:MOST_LISTED])
    more = len(found) - MOST_LISTED
    return f"{shown} and {more} more" if more > 0 else shown


def region_on_grid(region, affine, grid_shape, transform, rotated_shape, name="mask"):
    """Return which voxels of a rotated grid lie in a region for which there are data.

    A voxel belongs to the region if the voxel of the mask nearest to its centre does, in mm, so the
    grids may differ.

    Parameters
    ----------
    region : nibabel.Nifti1Image
        From `read_region`.
    affine : ndarray of shape (4, 4)
        Voxel-to-RAS matrix of the native grid in mm.
    grid_shape, rotated_shape : tuple of int
        Native and rotated grid.
    transform : ndarray of shape (4, 4)
        From voxels of the rotated grid to voxels of the native grid.
    name : str, default="mask"
        Name of the mask for messages.

    Returns
    -------
    in_region : ndarray of shape `rotated_shape`, bool

    Raises
    ------
    ValueError
        If no voxel does.

    Warns
    -----
    UserWarning
        If more than 10 % of the region is not on both grids.
    """
    in_region = _nearest(region, np.linalg.inv(region.affine) @ affine @ transform, rotated_shape)
    # Beyond the outer voxel centres of the native grid there is nothing to interpolate.
    native = nibabel.Nifti1Image(np.ones(grid_shape, np.uint8), affine)
    in_region &= _nearest(native, transform, rotated_shape, mode="constant")
    voxels = np.argwhere(np.asanyarray(region.dataobj))
    if in_region.any():
        # Of many voxels some are enough for the share.
        voxels = voxels[:: math.ceil(len(voxels) / MOST_VOXELS)]
    places = apply_affine(np.linalg.inv(affine) @ region.affine, voxels)
    on_native = _are_inside(places, grid_shape)
    on_both = on_native & _are_inside(apply_affine(np.linalg.inv(transform), places), rotated_shape)
    if not in_region.any():
        raise _nowhere(region.affine, voxels, affine, grid_shape, on_native, on_both, name)
    if np.mean(on_both) < 1 - TOLERATED_SHARE:
        warnings.warn(
            f"{1 - np.mean(on_both):.0%} of the region in {name} is outside the images, or moved "
            "off their grid by the rotation, and is left out. Check that the region and the "
            "images are in the same space.",
            UserWarning,
            stacklevel=5,
        )
    return in_region


def _nowhere(mask_affine, voxels, affine, grid_shape, on_native, on_both, name):
    """Return the error for a region that holds no voxel of the rotated grid."""
    if not on_native.any():
        corners = np.stack(np.meshgrid(*[(0, n - 1) for n in grid_shape]), -1).reshape(-1, 3)
        return ValueError(
            f"The region in {name} lies outside the images: it covers "
            f"{_extent(apply_affine(mask_affine, voxels))}, they cover "
            f"{_extent(apply_affine(affine, corners))}. Check that both are in the same space."
        )
    if not on_both.any():
        return ValueError(
            f"The rotation moves the region in {name} off the grid. Choose a smaller angle."
        )
    sizes = [voxel_sizes(each).max() for each in (mask_affine, affine)]
    return ValueError(
        f"The region in {name} holds no voxel centre of the images: it has {len(voxels)} voxels of "
        f"{sizes[0]:.3g} mm, those of the images have {sizes[1]:.3g} mm. Choose a larger region, "
        "or dilate it."
    )


def cut_to_region(in_region, crop, slices, slab, start, name="mask"):
    """Return the box of the region in a slab, and the voxels of the box that belong to it.

    Parameters
    ----------
    in_region : ndarray of bool
        From `region_on_grid`.
    crop : sequence of 3 pairs of int
        Cropped part of the grid.
    slices : pair of int
        First slice and end of the slab on the grid.
    slab : pair of int or None
        The same as the user counts them; None means all slices.
    start : int
        Slice of the grid that the user counts as 0.
    name : str, default="mask"
        Name of the mask for messages.

    Returns
    -------
    box : tuple of 3 pairs of int
    mask : ndarray of bool
        Of the shape of the box.

    Raises
    ------
    ValueError
        If no voxel of the region is left.

    Warns
    -----
    UserWarning
        If `slab` has its default value, which leaves out more than 10 % of the region.
    """
    cropped = np.zeros_like(in_region)
    part = tuple(slice(*span) for span in crop)
    cropped[part] = in_region[part]
    if not cropped.any():
        raise ValueError(
            f"The region in {name} lies in planes that hold no data in any training volume, and "
            "are cropped. Check that the region and the images are in the same space; crop=False "
            "keeps such planes."
        )
    kept = np.zeros_like(cropped)
    kept[..., slice(*slices)] = cropped[..., slice(*slices)]
    if not kept.any():
        found = np.flatnonzero(cropped.any(axis=(0, 1))) - start
        raise ValueError(
            f"slab={tuple(slab)} holds no voxel of the region in {name}, which reaches "
            f"from slice {found[0]} to slice {found[-1]}. Choose some of these, or slab=None for "
            "the whole region."
        )
    share = kept.sum() / cropped.sum()
    if share < 1 - TOLERATED_SHARE and tuple(slab) == ROTATOR.slab:
        warnings.warn(
            f"slab={ROTATOR.slab} is the default and holds {share:.0%} of the region in {name}. "
            "Set slab=None to keep the whole region, or choose its slices.",
            UserWarning,
            stacklevel=4,
        )
    box = ndimage.find_objects(kept.astype(np.uint8))[0]
    return tuple((side.start, side.stop) for side in box), kept[box]


def _nearest(image, transform, shape, mode="grid-constant"):
    """Return which voxels of a grid have a centre nearest to a voxel that is not 0."""
    return ndimage.affine_transform(
        (np.asanyarray(image.dataobj) != 0).astype(np.uint8),
        transform[:3, :3],
        offset=transform[:3, 3] - (TIE if mode == "grid-constant" else 0),
        output_shape=shape,
        order=0,
        mode=mode,
    ).astype(bool)


def _are_inside(places, shape):
    """Return which places, in voxels, lie in a voxel of a grid."""
    return ((places > -0.5) & (places < np.array(shape) - 0.5)).all(axis=1)


def _extent(places):
    """Return the box of places in mm, in words."""
    ends = zip("xyz", places.min(axis=0), places.max(axis=0), strict=True)
    return ", ".join(f"{axis} {low:.0f} to {high:.0f}" for axis, low, high in ends) + " mm"
