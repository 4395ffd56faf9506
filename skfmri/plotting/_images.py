"""Images made ready for drawing, upright in world coordinates."""

import nibabel
import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from nilearn.image import reorder_img, resample_img

from skfmri._validation import describe_grid
from skfmri.samples import NiftiSamples

IN_PLANE = {"x": "yz", "y": "xz", "z": "xy"}


def read_image(image, name, takes_mean=False):
    """Return a 3-D image, or the mean volume of samples if that is allowed."""
    if takes_mean and isinstance(image, NiftiSamples):
        if not len(image):
            raise ValueError(f"{name} holds 0 volumes. Choose at least one.")
        total = sum(batch.sum(axis=0, dtype=np.float64) for batch in image.iter_batches())
        return nibabel.Nifti1Image((total / len(image)).astype(np.float32), image.affine)
    if isinstance(image, (np.ndarray, NiftiSamples, list, tuple)):
        raise TypeError(
            f"{name} must be a NIfTI image or a path, but is a {type(image).__name__}. An array "
            "does not define where its voxels are: use nibabel.Nifti1Image(array, affine)."
        )
    samples = NiftiSamples(image)
    if len(samples) != 1:
        advice = f"Pass NiftiSamples({name}) to draw their mean." if takes_mean else "Pass one."
        raise ValueError(
            f"{name} must be 3-D, but holds {len(samples)} volumes of "
            f"{describe_grid(samples.grid_shape)} voxels. {advice}"
        )
    return samples[0]


def as_finite(image):
    """Return an image with 0 for values that are not finite."""
    data = np.nan_to_num(image.get_fdata(dtype=np.float32), nan=0, posinf=0, neginf=0)
    return nibabel.Nifti1Image(data, image.affine)


def lay_out(anatomy, image):
    """Return both images upright, with axes x, y, z, and the letter of the plane of one slice.

    The values of the anatomy become shades.
    """
    given = [part for part in (image, anatomy) if part is not None]
    flat = next((part for part in given if 1 in part.shape), None)
    if flat is None:
        if anatomy is not None:
            anatomy = as_shades(reorder_img(as_finite(anatomy), resample="continuous"))
        return anatomy, reorder_img(image, resample="nearest"), None
    if flat.shape.count(1) > 1:
        raise ValueError(
            f"A grid of {describe_grid(flat.shape)} voxels cannot be drawn. Pass images with more "
            "than one voxel along at least two axes."
        )
    affine, plane = _without_tilt(flat)

    def on_the_plane(part, interpolation):
        if part.shape != flat.shape or not np.allclose(part.affine, flat.affine, atol=1e-3):
            part = resample_img(part, flat.affine, flat.shape, interpolation=interpolation)
        return reorder_img(nibabel.Nifti1Image(part.get_fdata(dtype=np.float32), affine))

    if anatomy is not None:
        anatomy = as_shades(on_the_plane(as_finite(anatomy), "continuous"))
    return anatomy, on_the_plane(image, "nearest"), plane


def _without_tilt(flat):
    """Return the nearest affine along the world axes, and the axis that the one slice crosses."""
    orientation = nibabel.io_orientation(flat.affine)
    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    for axis, (world_axis, sign) in enumerate(orientation):
        affine[int(world_axis), axis] = sign * voxel_sizes(flat.affine)[axis]
    middle = (np.array(flat.shape) - 1) / 2
    affine[:3, 3] = apply_affine(flat.affine, middle) - affine[:3, :3] @ middle
    return affine, "xyz"[int(orientation[flat.shape.index(1), 0])]


def edges(image):
    """Return the outer faces of the voxels of an upright image in mm: (low, high) of each axis."""
    sizes = np.diag(image.affine)[:3]
    low = image.affine[:3, 3] - sizes / 2
    return np.column_stack([low, low + sizes * image.shape])


def extent(image, direction):
    """Return the edges of an upright image in one plane, as imshow takes them."""
    return np.concatenate([edges(image)["xyz".index(axis)] for axis in IN_PLANE[direction]])


def as_shades(anatomy):
    """Return an anatomy of values from 0 to 1, or from -1 to 0 if it is light around the head.

    nilearn hides values below 1e-6, and its limits for the shades of a light anatomy suit only
    values that are spread over much of the way from 0. Thus 0 is the shade of the ground.
    """
    data = anatomy.get_fdata()
    low, high = data.min(), data.max()
    shades = (data - (low if is_dark_around(anatomy) else high)) / ((high - low) or 1)
    return nibabel.Nifti1Image(shades.astype(np.float32), anatomy.affine)


def is_dark_around(anatomy):
    """Return whether the outer voxels of an anatomy are dark, as they are around a head.

    nilearn would also look at the faces of a single slice, which hold all of its voxels.
    """
    data = anatomy.get_fdata()
    axes = np.flatnonzero(np.array(data.shape) > 1)
    rim = np.concatenate([data.take([0, -1], axis=axis).ravel() for axis in axes])
    return bool(np.median(rim) <= (data.min() + data.max()) / 2)


def peak(image):
    """Return the position of the largest absolute value in mm; of a map of zeros, the middle."""
    values = np.abs(image.get_fdata())
    middle = (np.array(values.shape) - 1) // 2
    voxel = np.unravel_index(values.argmax(), values.shape) if values.any() else middle
    return apply_affine(image.affine, voxel)


def nearest_inside(point, *images):
    """Return the point, moved into the images if it is outside."""
    for image in images:
        half = np.diag(image.affine)[:3] / 2
        low, high = edges(image).T
        point = np.clip(point, low + half, high - half)
    return point


def check_cut_coords(cut_coords, plane, **images):
    """Return the coordinates that nilearn needs: three, or the one of the single slice."""
    if plane is not None:
        return [float(next(iter(images.values())).affine["xyz".index(plane), 3])]
    point = np.asarray(cut_coords, dtype=float)
    if point.shape != (3,) or not np.isfinite(point).all():
        raise ValueError(
            f"cut_coords must be 3 finite numbers, x, y and z in mm, but is {cut_coords!r}."
        )
    for name, image in images.items():
        for axis, value, (low, high) in zip("xyz", point, edges(image), strict=True):
            # nilearn would count from the other end and draw a different plane.
            if not low <= value <= high:
                raise ValueError(
                    f"The cut at {axis} = {value:g} mm is outside {name}, which extends from "
                    f"{low:g} to {high:g} mm. Choose cut_coords inside it."
                )
    return nearest_inside(point, *images.values()).tolist()
