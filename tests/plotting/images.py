"""Images to draw, or drawn."""

import nibabel
import numpy as np

SHAPE = (9, 11, 13)
RAS = np.array([[4, 0, 0, -18], [0, 3, 0, -12], [0, 0, 2, -10], [0, 0, 0, 1.0]])
LAS = RAS * [[-1, 1, 1, -1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
TURN = nibabel.affines.from_matvec(nibabel.eulerangles.euler2mat(z=0.1, y=-0.15, x=0.2))
PLANES = {"x": (1, 2), "y": (0, 2), "z": (0, 1)}


def image_of(values, affine=LAS):
    return nibabel.Nifti1Image(np.asarray(values, dtype=np.float32), affine)


def moved(affine, voxel):
    """The affine of a grid that begins at another voxel."""
    return affine @ nibabel.affines.from_matvec(np.eye(3), voxel)


def cut_axes(ax):
    """Axes of the planes that nilearn has drawn for `ax`, by their direction."""
    found = {}
    for plane in ax.figure.axes:
        texts = [text.get_text() for text in plane.texts]
        names = [text[0] for text in texts if text[1:3] == " ="]
        if names:
            found[names[0]] = plane
    return found


def drawn_points(image):
    """World coordinates of the pixels of a drawn image that are not hidden, with their values."""
    values = np.ma.masked_invalid(image.get_array())
    left, right, low, high = image.get_extent()
    assert image.origin == "upper"
    across = left + (np.arange(values.shape[1]) + 0.5) * (right - left) / values.shape[1]
    up = high - (np.arange(values.shape[0]) + 0.5) * (high - low) / values.shape[0]
    across, up = np.meshgrid(across, up)
    shown = ~np.ma.getmaskarray(values)
    return across[shown], up[shown], np.asarray(values)[shown]


def outline(plane):
    """Vertices of the outline of a slab."""
    (path,) = plane.collections[-1].get_paths()
    return path
