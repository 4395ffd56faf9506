"""Slabs or maps on the anatomy, in world coordinates."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from nibabel.affines import apply_affine
from nilearn.plotting import plot_anat, plot_stat_map

from skfmri.docstrings import fill_docstring
from skfmri.plotting._axes import make_axes
from skfmri.plotting._depths import depth_in_box, depth_in_mask, inside_slab
from skfmri.plotting._images import (
    IN_PLANE,
    as_finite,
    check_cut_coords,
    extent,
    is_dark_around,
    lay_out,
    nearest_inside,
    peak,
    read_image,
)
from skfmri.plotting._parameter_docs import PLOTS
from skfmri.preprocessing import NiftiSlabRotator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from skfmri._types import ImageOrPath
    from skfmri.samples import NiftiSamples

FIGURE_SIZE = (8.0, 3.2)
SLAB_COLOR = "#E69F00"
OUTLINE_POINTS = 401
INVISIBLE_SHARE = 0.01
# Grey in the middle: on an anatomy, white would make values near 0 the most conspicuous.
MAP_COLORS = LinearSegmentedColormap.from_list(
    "skfmri_map", ["#78CBFF", "#1F7AC9", "#6E6E6E", "#CF3F2B", "#FFB84D"], N=257
)


@fill_docstring(PLOTS)
def plot_slab(
    slab: NiftiSlabRotator | ImageOrPath,
    anatomy: ImageOrPath | NiftiSamples,
    *,
    cut_coords: Sequence[float] | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a slab on the anatomy, in native space.

    An angle and slice numbers do not show what a slab contains. Check before training that it
    passes through the structure of interest.

    Parameters
    ----------
    slab : NiftiSlabRotator, image or path
        A fitted rotator, or a 3-D image that is not zero inside of the slab.
    anatomy : image, path or NiftiSamples
        {anatomy}
    {cut_coords}
    {title}
    {ax_replaced}

    Returns
    -------
    {ax_with_planes}

    Raises
    ------
    ValueError
        If an image is not 3-D, the slab is empty, or `cut_coords` is outside the anatomy.
    {image_types}

    Notes
    -----
    Left is on the left and marked "L". Oblique images are resampled upright for display. An oblique
    image of a single slice is drawn as it was acquired, with its tilt undone.

    The outline of a rotator is that of the box of its voxels, so its edges are straight. The box
    contains the voxels where ``rotator.inverse_transform`` is finite. The outline of a region, or
    of an image, runs where linear interpolation between inside and outside gives one half.

    Examples
    --------
    >>> from skfmri import NiftiSamples, NiftiSlabRotator
    >>> from skfmri.datasets import make_eyes_open_closed
    >>> from skfmri.plotting import plot_slab
    >>> samples = NiftiSamples(make_eyes_open_closed(2, n_chunks=2).images)
    >>> rotator = NiftiSlabRotator(angle=0.35, slab=(12, 15)).fit(samples)
    >>> ax = plot_slab(rotator, samples, title="Slab")
    >>> ax.get_title()
    'Slab'
    """
    anatomy = read_image(anatomy, "anatomy", takes_mean=True)
    inside = inside_slab(slab)
    upright, flat_inside, plane = lay_out(anatomy, inside)
    if plane is not None:
        depth = depth_in_mask(flat_inside)
    elif isinstance(slab, NiftiSlabRotator) and slab.slab_mask_ is None:
        depth = depth_in_box(slab.slab_affine_, slab.slab_shape_)
    elif isinstance(slab, NiftiSlabRotator):
        depth = depth_in_mask(slab.to_nifti(slab.slab_mask_))
    else:
        depth = depth_in_mask(inside)
    if cut_coords is None:
        middle = np.argwhere(inside.get_fdata()).mean(axis=0).round()
        cut_coords = nearest_inside(apply_affine(inside.affine, middle), upright)
    cut_coords = check_cut_coords(cut_coords, plane, anatomy=upright)
    ax = _frame(ax)
    display = plot_anat(upright, colorbar=False, **_how(upright, cut_coords, plane, ax))
    _place(display, ax, upright)
    for cut in display.axes.values():
        _outline(cut, depth, upright)
    return _finish(display, ax, cut_coords, title)


@fill_docstring(PLOTS)
def plot_map(
    image: ImageOrPath,
    anatomy: ImageOrPath | NiftiSamples | None = None,
    *,
    threshold: float | None = None,
    cut_coords: Sequence[float] | None = None,
    label: str = "value",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a map on the anatomy: blue below zero, red above, grey at zero.

    Parameters
    ----------
    image : image or path
        3-D map, such as :func:`skfmri.inspection.saliency_image` returns.
    anatomy : image, path or NiftiSamples, default=None
        {anatomy}
        None draws on the grey of zero.
    threshold : float, default=None
        Voxels whose absolute value does not exceed it are hidden, so 0 hides only exact zeros. None
        also hides values whose colour looks like that of zero: up to 1 % of the largest.
    {cut_coords}
    label : str, default="value"
        What the values are, beside the colour bar.
    {title}
    {ax_replaced}

    Returns
    -------
    {ax_with_planes}

    Raises
    ------
    ValueError
        If an image is not 3-D, `threshold` is negative, or `cut_coords` is outside an image.
    {image_types}

    Notes
    -----
    Colours range from minus to plus the largest absolute value of the map. Voxels that are not
    finite are hidden like zeros. Left is on the left and marked "L". An oblique map is turned
    upright without interpolation, so every value drawn occurs in the map.

    Images of ``rotator.back_project`` fade out over many voxels around the slab; without the rule
    for None they would cover the whole anatomy.

    Examples
    --------
    >>> import nibabel
    >>> import numpy as np
    >>> from skfmri.plotting import plot_map
    >>> data = np.zeros((6, 7, 8), dtype="float32")
    >>> data[4:, 2:5, 3:6] = 2.0
    >>> ax = plot_map(nibabel.Nifti1Image(data, np.diag([4, 4, 4, 1])), title="Right")
    >>> colorbar = ax.figure.axes[-1]
    >>> [float(limit) for limit in colorbar.get_ylim()]
    [-2.0, 2.0]
    """
    threshold = _check_threshold(threshold)
    image = as_finite(read_image(image, "image"))
    anatomy = None if anatomy is None else read_image(anatomy, "anatomy", takes_mean=True)
    anatomy, image, plane = lay_out(anatomy, image)
    drawn = {"image": image} if anatomy is None else {"anatomy": anatomy, "image": image}
    if cut_coords is None:
        cut_coords = nearest_inside(peak(image), *drawn.values())
    cut_coords = check_cut_coords(cut_coords, plane, **drawn)
    largest = float(np.abs(image.get_fdata()).max())
    limit = largest or 1.0
    hidden = INVISIBLE_SHARE * limit if threshold is None else threshold
    ax = _frame(ax)
    display = plot_stat_map(
        image,
        bg_img=anatomy,
        # nilearn warns about a map that its threshold empties, so an empty one is made invisible.
        **({"threshold": hidden} if largest > hidden else {"threshold": None, "transparency": 0}),
        cmap=MAP_COLORS,
        vmin=-limit,
        vmax=limit,
        colorbar=False,
        **_how(anatomy, cut_coords, plane, ax),
    )
    _place(display, ax, *drawn.values())
    if anatomy is None:
        _show_field_of_view(display, image)
    _add_colorbar(ax, limit, threshold, label)
    return _finish(display, ax, cut_coords, title)


def _frame(ax):
    """Return axes that nilearn can draw into."""
    ax = make_axes(ax, FIGURE_SIZE)
    if not isinstance(ax.figure, Figure):
        raise ValueError(
            f"ax is in a {type(ax.figure).__name__}, but nilearn draws only into whole figures. "
            "Make the axes with Figure.subplots or subplot_mosaic."
        )
    return ax


def _check_threshold(threshold):
    if threshold is None:
        return None
    is_number = isinstance(threshold, Real) and not isinstance(threshold, bool)
    if not is_number or not threshold >= 0:
        raise ValueError(f"threshold must be None or a number of at least 0, but is {threshold!r}.")
    return float(threshold)


def _how(anatomy, cut_coords, plane, ax):
    return {
        "black_bg": anatomy is not None and is_dark_around(anatomy),
        "cut_coords": cut_coords,
        "display_mode": plane or "ortho",
        "axes": ax,
        "annotate": False,
        "draw_cross": False,
    }


def _place(display, ax, *images):
    """Align images with their voxels, and the planes with `ax`."""
    for cut in display.axes.values():
        for drawn, image in zip(cut.ax.images[-len(images) :], images, strict=True):
            place = extent(image, cut.direction)
            # nilearn stretches an image over the centres of its outer voxels.
            drawn.set_extent(place)
            cut.add_object_bounds(place)
        locate = cut.ax.get_axes_locator()

        def follow(axes, renderer, locate=locate):
            # A layout moves `ax` when the figure is drawn, after nilearn has noted its position.
            box = ax.get_position()
            display.rect = (box.x0, box.y0, box.x1, box.y1)
            return locate(axes, renderer)

        cut.ax.set_axes_locator(follow)


def _show_field_of_view(display, image):
    """Draw the ground of a map without anatomy, in the colour of zero."""
    for cut in display.axes.values():
        left, right, low, high = extent(image, cut.direction)
        ground = Rectangle(
            (left, low), right - left, high - low, facecolor=MAP_COLORS(0.5), zorder=-1
        )
        cut.ax.add_patch(ground)


def _outline(cut, depth, image):
    """Fill the slab in one plane of an upright image, and draw its outline."""
    left, right, low, high = extent(image, cut.direction)
    across, up = np.linspace(left, right, OUTLINE_POINTS), np.linspace(low, high, OUTLINE_POINTS)
    points = np.full((OUTLINE_POINTS, OUTLINE_POINTS, 3), float(cut.coord))
    points[..., "xyz".index(IN_PLANE[cut.direction][0])] = across
    points[..., "xyz".index(IN_PLANE[cut.direction][1])] = up[:, np.newaxis]
    depths = depth(points)
    # A slab that reaches the edge of the image is outlined there, too.
    depths[[0, -1]] = depths[:, [0, -1]] = -1
    if (depths > 0).any():
        cut.ax.contourf(across, up, depths, levels=[0, np.inf], colors=SLAB_COLOR, alpha=0.3)
        cut.ax.contour(across, up, depths, levels=[0], colors=SLAB_COLOR, linewidths=1.5)


def _finish(display, ax, cut_coords, title):
    digits = 0 if all(float(value).is_integer() for value in cut_coords) else 1
    display.annotate(size=9)
    for cut in display.axes.values():
        # The last text is the position; its box would stick out of the picture.
        position = cut.ax.texts[-1]
        position.set_position((0.02, 0.02))
        # Adding 0 takes the sign from what rounds to zero.
        place = f"{round(float(cut.coord), digits) + 0:.{digits}f}"
        position.set_text(f"{cut.direction} = {place} mm".replace("-", "\N{MINUS SIGN}"))
    if title is not None:
        ax.set_title(title)
    ax.figure.sca(ax)
    return ax


def _add_colorbar(ax, limit, threshold, label):
    if threshold:
        label = f"{label} (up to ±{threshold:g} hidden)"
    colors = ScalarMappable(Normalize(-limit, limit), MAP_COLORS)
    bar = ax.figure.colorbar(colors, ax=ax, label=label, shrink=0.8, pad=0.02)
    if threshold:
        bar.ax.axhspan(-min(threshold, limit), min(threshold, limit), color="white")
