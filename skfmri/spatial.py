"""Rotations with the grids on which rotated volumes are sampled."""

from __future__ import annotations

import math
import re
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import linalg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from skfmri._types import Axis, GridShape, Shape

AXES = {"x": 0, "y": 1, "z": 2}
# A head turned about one axis needs at most twice its voxels, a thin one or one far from the world
# origin some more. Small volumes may grow more than that, since little memory is at stake.
LARGEST_GROWTH = 10
SMALL_GRID = 2**20


def angle_in_radians(angle: float | str) -> float:
    """Return an angle in radians, or raise ValueError.

    Parameters
    ----------
    angle : float or str
        A number of radians, or a text in degrees such as "20 deg".

    Returns
    -------
    radians : float
        Finite.

    Raises
    ------
    ValueError
        If it is neither.

    Examples
    --------
    >>> from skfmri.spatial import angle_in_radians
    >>> angle_in_radians(0.5), round(angle_in_radians("180 deg"), 4)
    (0.5, 3.1416)
    """
    value = angle
    if isinstance(angle, str):
        match = re.fullmatch(r"\s*(\S+?)\s*deg\s*", angle)
        try:
            value = math.radians(float(match[1])) if match else None
        except ValueError:
            value = None
    if not isinstance(value, Real) or not np.isfinite(value):
        raise ValueError(
            "angle must be a finite number of radians, or a text in degrees such as "
            f'"20 deg", but is {angle!r}.'
        )
    return value


def rotation_matrix(angle: float, axis: Axis) -> NDArray[np.float64]:
    """Return the rotation about a world axis through the origin.

    Parameters
    ----------
    angle : float
        Angle in radians, counter-clockwise when the axis points towards the viewer.
    axis : {"x", "y", "z"}
        World axis: left to right, back to front or bottom to top.

    Returns
    -------
    rotation : ndarray of shape (4, 4)

    Examples
    --------
    >>> import numpy as np
    >>> from skfmri.spatial import rotation_matrix
    >>> np.round(rotation_matrix(np.pi / 2, "x") @ [0, 1, 0, 1]).tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    first, second = [(1, 2), (2, 0), (0, 1)][AXES[axis]]
    # A whole number of quarter turns must move voxels exactly onto voxels.
    cosine, sine = (_without_rounding(f(angle), angle) for f in (np.cos, np.sin))
    rotation = np.eye(4)
    rotation[first, first] = rotation[second, second] = cosine
    rotation[second, first], rotation[first, second] = sine, -sine
    return rotation


def _without_rounding(value, angle):
    """Return a sine or cosine, made whole if only the rounding of the angle keeps it from that."""
    error = np.finfo(float).eps * max(1, abs(angle))
    return float(round(value)) if abs(value - round(value)) <= error else value


def rotated_grid(
    grid_shape: Shape, affine: NDArray[Any], rotation: NDArray[Any], name: str = "the volumes"
) -> tuple[NDArray[np.float64], GridShape]:
    """Return the grid on which a rotated volume is sampled.

    The volume gets the affine ``rotation @ affine`` and is sampled along the old axes, on a grid
    that begins at the old origin and is large enough for every voxel centre that the rotation does
    not move before that origin. nilearn's `resample_img` does the same for a 4 x 4 target affine
    without a target shape. Each step is computed as in nilearn, so that rounding puts voxels at the
    edge on the same side.

    Parameters
    ----------
    grid_shape : tuple of int
        Native grid ``(x, y, z)``.
    affine, rotation : ndarray of shape (4, 4)
        Voxel-to-RAS matrix of the native grid, and a rotation in world space.
    name : str, default="the volumes"
        What the affine comes from, for error messages.

    Returns
    -------
    transform : ndarray of shape (4, 4)
        From voxels of the rotated grid to voxels of the native grid.
    rotated_shape : tuple of int
        Number of voxels of the rotated grid along each axis.

    Raises
    ------
    ValueError
        If the rotation moves the whole volume before the origin of its grid, or if the rotated grid
        would be too large for the affine to be right.
    """
    moved = rotation @ affine
    corners = np.array(np.meshgrid(*[(0.0, n - 1) for n in grid_shape], [1.0])).reshape(4, -1)
    with np.errstate(over="ignore", invalid="ignore"):
        last = (np.linalg.inv(affine).dot(moved) @ corners)[:3].max(axis=1)
    if (last < 0).any():
        raise ValueError(
            f"The rotation moves {name} off the grid, because the world origin is far away. Check "
            "the affine in the header, or choose a smaller angle."
        )
    found, native = float(np.prod(np.ceil(last) + 1)), math.prod(grid_shape)
    # Written so that NaN is refused.
    if not found <= max(LARGEST_GROWTH * native, SMALL_GRID):
        raise ValueError(
            f"Rotated, {name} would need a grid of {found:.3g} voxels instead of {native}, so an "
            f"entry of the affine is probably wrong: {affine.tolist()}. Correct the sform or qform "
            "in the header. If the affine is right, choose a smaller angle, or images whose world "
            "origin is inside the head."
        )
    rotated_shape = tuple(int(np.ceil(value)) + 1 for value in last)
    if np.array_equal(moved, affine):
        return np.eye(4), rotated_shape
    return linalg.inv(moved).dot(affine), rotated_shape


def native_affine(
    affine: NDArray[Any], rotation: NDArray[Any], first_voxel: Sequence[int]
) -> NDArray[np.float64]:
    """Return the affine that places part of a rotated grid in native world space.

    Parameters
    ----------
    affine, rotation : ndarray of shape (4, 4)
        As passed to `rotated_grid`.
    first_voxel : sequence of 3 ints
        Voxel of the rotated grid at which the part begins.

    Returns
    -------
    affine : ndarray of shape (4, 4)
        Voxel-to-RAS matrix of the part, with the rotation undone.
    """
    shift = np.eye(4)
    shift[:3, 3] = first_voxel
    return linalg.inv(rotation) @ affine @ shift
