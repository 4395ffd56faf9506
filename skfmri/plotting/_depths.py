"""The extent of a slab, as a function of points in mm."""

import nibabel
import numpy as np
from nibabel.affines import apply_affine
from scipy import ndimage

from skfmri.plotting._images import as_finite, read_image
from skfmri.preprocessing import NiftiSlabRotator


def inside_slab(slab):
    """Return an image that is 1 inside of the slab and 0 elsewhere."""
    if isinstance(slab, NiftiSlabRotator):
        image = slab.inverse_transform(np.ones(getattr(slab, "slab_shape_", 0)))
        inside = np.isfinite(image.get_fdata())
    else:
        image = read_image(slab, "slab")
        inside = as_finite(image).get_fdata() != 0
    if not inside.any():
        raise ValueError(
            f"The slab is empty: all {inside.size} voxels of its image are 0. Pass an image that "
            "is not 0 inside of the slab, or a fitted NiftiSlabRotator."
        )
    return nibabel.Nifti1Image(inside.astype(np.float32), image.affine)


def depth_in_box(affine, shape):
    """Return a function of points in mm, positive inside of the box of a grid, 0 on its faces."""
    to_voxels = np.linalg.inv(affine)

    def depth(points):
        voxels = apply_affine(to_voxels, points)
        return np.minimum(voxels + 0.5, np.array(shape) - 0.5 - voxels).min(axis=-1)

    return depth


def depth_in_mask(image):
    """Return a function of points in mm, positive where a mask of ones exceeds one half."""
    to_voxels = np.linalg.inv(image.affine)

    def depth(points):
        voxels = np.moveaxis(apply_affine(to_voxels, points), -1, 0)
        mask = image.get_fdata()
        return ndimage.map_coordinates(mask, voxels, order=1, mode="grid-constant") - 0.5

    return depth
