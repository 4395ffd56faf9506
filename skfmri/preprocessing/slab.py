"""Rotation of volumes into a slab of adjacent slices."""

from __future__ import annotations

import math
import numbers
import warnings
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import InputTags
from sklearn.utils.validation import check_is_fitted

from skfmri._arrays import gathered
from skfmri._types import with_callbacks
from skfmri._validation import check_same_grid, check_unchanged_since_fit
from skfmri.preprocessing.crop import crop_box, value_range
from skfmri.preprocessing.cut_groups import FittedGroups, warn_of_cut_groups
from skfmri.preprocessing.defaults import ROTATOR
from skfmri.preprocessing.extreme_values import (
    LARGEST_VALUE,
    fill_nonfinite,
    finite_extreme,
    first_too_large,
    numbered,
    too_large,
)
from skfmri.preprocessing.mask import (
    cut_to_region,
    file_stamp,
    is_image,
    mask_name,
    plain_image,
    read_region,
    region_on_grid,
)
from skfmri.resampling import (
    SPLINE_ORDERS,
    apply_operator,
    apply_transpose,
    needed_voxels,
    reaches_data,
    resample_back,
    resampling_operator,
)
from skfmri.samples import as_samples
from skfmri.samples.cleaned import batches_of_voxels, summary_of_runs
from skfmri.samples.nifti import list_images, list_spaces, volume_name
from skfmri.samples.space import (
    UNKNOWN_SPACE,
    common_space,
    describe_space,
    elsewhere,
    image_in_space,
)
from skfmri.spatial import AXES, angle_in_radians, native_affine, rotated_grid, rotation_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nibabel import Nifti1Image
    from numpy.typing import NDArray

    from skfmri._types import (
        Axis,
        Box,
        GridShape,
        ImageOrPath,
        ImageSamples,
        Interpolation,
        KnownByUser,
        Values,
    )

# What a saved rotator holds of its fit; the operator is rebuilt from it.
FITTED = (
    "affine_",
    "grid_shape_",
    "rotated_shape_",
    "_transform",
    "value_range_",
    "crop_",
    "slab_box_",
    "slab_shape_",
    "slab_affine_",
    "_space",
    "slab_mask_",
)


@dataclass(slots=True)
class _ImageInputTags(InputTags):
    """Input tags with the one by which nilearn recognises estimators of images."""

    niimg_like: bool = True


class NiftiSlabRotator(CallbackSupportMixin, TransformerMixin, BaseEstimator):
    """Rotate volumes about a world axis, crop the empty rim and keep a slab of slices.

    A slab through a tilted structure gives a 2-D network its slices as channels. The image is
    given the affine ``R @ affine`` and resampled along its old axes, planes without data are
    cropped, and slices of the last axis are kept, as nilearn's `resample_img` and `crop_img`
    would do; but only voxels of the slab are computed, through one linear operator for all
    volumes. Grid and crop are learned from the training volumes alone and used for all others,
    so test data do not influence where the slab lies.

    Parameters
    ----------
    angle : float or str, default=0.35
        Angle of the rotation: a number of radians, or a text in degrees such as "20 deg".
    axis : {"x", "y", "z"}, default="x"
        World axis (RAS) of the rotation.
    slab : tuple of 2 ints or None, default=(12, 15)
        First slice and end along the last axis, as in a Python slice. None keeps all slices.
    slab_reference : {"crop", "grid"}, default="crop"
        Whether slices are counted from the cropped volume or from the whole rotated grid.
        The crop may differ between folds; counted from the grid, the slab lies at the same place
        in every fold.
    crop : bool, default=True
        Whether to crop outer planes that hold no data in any training volume, except for one plane
        of margin.
    interpolation : {"continuous", "linear", "nearest"}, default="continuous"
        Cubic splines, linear, or nearest neighbour.
    n_jobs : int, default=None
        Number of joblib threads that share the batches of volumes. Matrix products use several
        cores anyway, so more than one seldom helps.
    mask : image, path or None, default=None
        A region to which the slab is restricted: a 3-D mask, or an atlas with `label`, on any grid
        in the space of the images. Slices are counted as without it; the slab is then cut to the
        box of the region, and its voxels outside the region are 0. With ``slab=None`` this is the
        box of the whole region.
    label : int or list of int, default=None
        Values of the atlas in `mask` that make up the region. None takes all voxels of a mask
        that are not 0.

    Attributes
    ----------
    affine_ : ndarray of shape (4, 4)
        Voxel-to-RAS matrix of the training volumes in mm.
    grid_shape_ : tuple of int
        Native grid ``(x, y, z)`` of the training volumes.
    rotated_shape_ : tuple of int
        Whole rotated grid.
    crop_ : tuple of 3 pairs of int
        First voxel and end of the cropped part on the rotated grid.
    slab_box_ : tuple of 3 pairs of int
        First voxel and end of the slab on the rotated grid.
    slab_shape_ : tuple of int
        ``(x, y, n_slices)``.
    slab_affine_ : ndarray of shape (4, 4)
        Voxel-to-RAS matrix of the slab in native world space, with the rotation undone.
    value_range_ : tuple of 2 floats
        Smallest and largest training value, 0 included.
    slab_mask_ : ndarray of bool, shape `slab_shape_`, or None
        Voxels of the slab in the region; None without `mask`.
    region_ : nibabel.Nifti1Image or None
        What was read from `mask`, cut to the box of the region: the labels, or 1, and 0 outside.

    Warns
    -----
    UserWarning
        In `fit`, if `angle` is a number beyond pi, which is probably meant in degrees; if all
        volumes are zero everywhere, so that there is nothing to crop; if headers of images disagree
        about the space that they are in; if more than 10 % of the region is outside the images, or
        left out by a `slab` at its default. In `transform`, once for the same samples, if volumes
        were not fitted on but others of their groups were, so that scores are too good: see
        :doc:`/grouping`. Nothing is known of a rotator that was pickled or loaded.

    Notes
    -----
    Points outside the native grid become 0. If the rotation moves voxels exactly onto voxels, as
    ``angle=0`` does, values are copied. As in nilearn, cubic splines are kept from ringing
    beyond the data: values are clipped to the range of the training volumes, widened by the range
    of the volume itself, so that no volume depends on others in the same batch. For the
    interpolation non-finite voxels are filled from their neighbours; the voxels of the slab
    nearest to them become NaN.

    A voxel of the slab is in the region if the voxel of `mask` nearest to its centre is. Voxels are
    set to 0 after the resampling, because blanking the images before would cut an edge into them,
    around which cubic splines ring.

    Examples
    --------
    >>> import numpy as np
    >>> from skfmri import NiftiSamples, NiftiSlabRotator
    >>> volumes = np.random.default_rng(0).random((3, 6, 7, 8)).astype("float32")
    >>> samples = NiftiSamples.from_array(volumes, np.eye(4))
    >>> rotator = NiftiSlabRotator(angle=0, slab=(2, 5)).fit(samples)
    >>> slabs = rotator.transform(samples)
    >>> slabs.shape, bool(np.allclose(slabs, volumes[..., 2:5], atol=1e-6))
    ((3, 6, 7, 3), True)
    """

    affine_: NDArray[np.float64]
    grid_shape_: GridShape
    rotated_shape_: GridShape
    crop_: Box
    slab_box_: Box
    slab_shape_: GridShape
    slab_affine_: NDArray[np.float64]
    value_range_: tuple[float, float]
    slab_mask_: NDArray[np.bool_] | KnownByUser
    region_: Nifti1Image | KnownByUser

    def __init__(
        self,
        angle: float | str = ROTATOR.angle,
        axis: Axis = ROTATOR.axis,
        slab: tuple[int, int] | None = ROTATOR.slab,
        slab_reference: Literal["crop", "grid"] = ROTATOR.slab_reference,
        crop: bool = ROTATOR.crop,
        interpolation: Interpolation = ROTATOR.interpolation,
        n_jobs: int | None = ROTATOR.n_jobs,
        mask: ImageOrPath | None = ROTATOR.mask,
        label: int | Sequence[int] | None = ROTATOR.label,
    ) -> None:
        self.angle = angle
        self.axis = axis
        self.slab = slab
        self.slab_reference = slab_reference
        self.crop = crop
        self.interpolation = interpolation
        self.n_jobs = n_jobs
        self.mask = mask
        self.label = label

    @with_callbacks
    def fit(self, X: ImageSamples, y: object = None) -> Self:
        """Learn grid, crop and operator from training volumes.

        Parameters
        ----------
        X : NiftiSamples, image, path, list of images and paths, or a column of a table of them
            Training volumes. In a column of shape (n_samples, 1), as a `ColumnTransformer` passes
            it for a list of column names, each row is one volume.
        y : ignored
            Present because pipelines pass it.

        Returns
        -------
        self : NiftiSlabRotator

        Raises
        ------
        ValueError
            If a parameter is not allowed, if `slab` lies outside the volumes, if the rotation moves
            the volumes off their grid or needs far more voxels than they have, which means that
            the affine is damaged, or if a value exceeds 1e35 in size; if `mask` is not one 3-D
            volume, is empty, lacks a label, holds several values although `label` is None, or if
            no voxel of its region is in the slab.
        TypeError
            If X or `mask` is an array, which has no affine.
        FileNotFoundError
            If there is no file at the path in `mask`.
        """
        self._check_parameters()
        self.region_ = None if self.mask is None else read_region(self.mask, self.label)
        angle = angle_in_radians(self.angle)
        if not isinstance(self.angle, str) and abs(angle) > math.pi:
            # Between this frame and the caller's is the one of with_callbacks.
            warnings.warn(_degrees_message(self.angle), UserWarning, stacklevel=3)
        task = self._init_callback_context().call_on_fit_task_begin(estimator=self, X=X, y=y)
        samples = _samples_of(X)
        if not len(samples):
            raise ValueError("Found 0 volumes to fit on. Pass at least one.")
        self.affine_, self.grid_shape_ = samples.affine, samples.grid_shape
        rotation = rotation_matrix(angle, self.axis)
        self._transform, self.rotated_shape_ = rotated_grid(
            self.grid_shape_, self.affine_, rotation, volume_name(samples, 0)
        )
        self._space = _space_of(samples)
        in_region = self._find_region()
        self._find_crop(samples)
        self.slab_box_, self.slab_mask_ = (*self.crop_[:2], self._slice_range()), None
        if in_region is not None:
            start = self.crop_[2][0] if self.slab_reference == "crop" else 0
            self.slab_box_, self.slab_mask_ = cut_to_region(
                in_region,
                self.crop_,
                self.slab_box_[2],
                self.slab,
                start,
                mask_name(self.mask, self.label),
            )
        self.slab_shape_ = tuple(end - first for first, end in self.slab_box_)
        self.slab_affine_ = native_affine(
            self.affine_, rotation, [first for first, _ in self.slab_box_]
        )
        self._operator = self._slab_operator()
        if not reaches_data(self._operator):
            raise ValueError(
                f"The slab at slices {self.slab_box_[2][0]} to {self.slab_box_[2][1] - 1} of the "
                f"rotated grid {self.rotated_shape_} holds no voxel of {volume_name(samples, 0)}, "
                f"whose grid is {self.grid_shape_}. Choose other slices; for a single slice use "
                "angle=0."
            )
        self._fitted_on = FittedGroups(samples)
        task.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes={})
        return self

    def transform(self, X: ImageSamples) -> NDArray[np.float32]:
        """Cut the slab out of volumes.

        Parameters
        ----------
        X : NiftiSamples, image, path, list of images and paths, or a column of a table of them
            Volumes on the grid of the training volumes.

        Returns
        -------
        slabs : ndarray of shape (n_samples, x, y, n_slices), float32
            If larger than 64 MB, mapped from a temporary file in ``$SKFMRI_CACHE`` or the system's
            directory for such files, so that they need not fit into memory if that is on a disk.

        Raises
        ------
        ValueError
            If X is on a different grid than the training volumes, or if values are too large for
            cubic splines in float32.
        """
        check_is_fitted(self)
        samples = _samples_of(X)
        check_same_grid(
            samples.grid_shape,
            samples.affine,
            "X",
            self.grid_shape_,
            self.affine_,
            "the training data of NiftiSlabRotator",
        )
        warn_of_cut_groups(getattr(self, "_fitted_on", None), samples)
        names = partial(volume_name, samples)
        # Of cleaned runs, what the operator needs is kept, not whole volumes.
        batches = numbered(batches_of_voxels(samples, partial(voxels_of_slab, self)))
        if len(samples) == 1 or effective_n_jobs(self.n_jobs) == 1:
            pieces = (self._resample(*batch, names) for batch in batches)
        else:
            threads = Parallel(n_jobs=self.n_jobs, prefer="threads", return_as="generator")
            pieces = threads(delayed(self._resample)(*batch, names) for batch in batches)
        return gathered(pieces, (len(samples), *self.slab_shape_), np.float32)

    def to_nifti(self, maps: Values) -> Nifti1Image:
        """Return maps in slab space as an image at the position of the slab.

        Parameters
        ----------
        maps : array-like of shape (x, y, n_slices) or (n_maps, x, y, n_slices)
            One number per voxel of the slab.

        Returns
        -------
        image : nibabel.Nifti1Image
            3-D for one map, else 4-D, on the grid of the slab in native world space, which its
            header names as that of the first training image does.
        """
        maps, is_single = self._check_maps(maps)
        return _image_of(maps, self.slab_affine_, elsewhere(self._space), is_single)

    def inverse_transform(self, X: Values) -> Nifti1Image:
        """Put slabs back onto the native grid.

        Parameters
        ----------
        X : array-like of shape (x, y, n_slices) or (n_maps, x, y, n_slices)
            Slabs or maps in slab space.

        Returns
        -------
        image : nibabel.Nifti1Image
            3-D for one map, else 4-D, on the native grid; interpolated within the slab and NaN for
            voxels whose centre lies more than half a voxel outside it, or is nearest to a voxel
            outside the region. The header names the space as that of the first training image
            does.
        """
        maps, is_single = self._check_maps(X)
        first_voxel = [first for first, _ in self.slab_box_]
        order = SPLINE_ORDERS[self.interpolation]
        volumes = resample_back(
            maps, self._transform, first_voxel, self.grid_shape_, order, self.slab_mask_
        )
        return _image_of(volumes, self.affine_, self._space, is_single)

    def back_project(self, maps: Values) -> Nifti1Image:
        """Carry maps to the native grid by the transpose of the resampling.

        A gradient with respect to the slab becomes the gradient with respect to the volume.
        Unlike `inverse_transform` this does not interpolate values: each voxel of the slab
        distributes its value over the native voxels it was computed from, by their weights. Voxels
        outside the region, which are always 0, have none.

        Parameters
        ----------
        maps : array-like of shape (x, y, n_slices) or (n_maps, x, y, n_slices)
            Gradients or weights in slab space.

        Returns
        -------
        image : nibabel.Nifti1Image
            3-D for one map, else 4-D, on the native grid; 0 outside the slab, or with "continuous"
            close to 0, because cubic splines depend slightly on distant voxels. This is the exact
            transpose of the resampling; :func:`~skfmri.inspection.saliency_image` sets voxels
            outside the slab to NaN.
        """
        maps, is_single = self._check_maps(maps)
        if self.slab_mask_ is not None:
            maps = np.where(self.slab_mask_, maps, 0)
        volumes = apply_transpose(self._operator, maps)
        return _image_of(volumes, self.affine_, self._space, is_single)

    def __getstate__(self):
        # joblib hashes what pickle writes, so a cache notices if the file of the mask is rewritten.
        # An image drags along where it was loaded from, and what was computed of it.
        mask = plain_image(self.mask) if is_image(self.mask) else self.mask
        return {**super().__getstate__(), "mask": mask, "_mask_stamp": file_stamp(self.mask)}

    def set_output(self, *, transform: str | None = None) -> Self:
        """Leave the output as it is, or say why slabs cannot become a table.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} or None, default=None
            Kind of output.

        Returns
        -------
        self : NiftiSlabRotator

        Raises
        ------
        ValueError
            For "pandas" and "polars", whose tables have two dimensions.
        """
        if transform not in (None, "default"):
            raise ValueError(
                "NiftiSlabRotator gives slabs of shape (n_samples, x, y, n_slices), which a table "
                f"cannot hold, so transform={transform!r} is not possible. Set the output of the "
                "steps behind the one that flattens them, such as pipe[-1].set_output, or leave it "
                "out."
            )
        return self

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_operator")

    def __skfmri_getstate__(self):
        probe = np.random.default_rng(0).random((1, *self.grid_shape_), np.float32)
        found = [apply_operator(each, probe) for each in (self._slab_operator(), self._operator)]
        check_unchanged_since_fit(np.array_equal(*found), type(self).__name__)
        return {name: getattr(self, name) for name in FITTED}

    def __skfmri_setstate__(self, state):
        # Version 0.1 did not save the space, and had no regions.
        state = {"_space": UNKNOWN_SPACE, "slab_mask_": None, **state}
        vars(self).update({name: state[name] for name in FITTED})
        self.region_ = None if self.mask is None else read_region(self.mask, self.label)
        if (self.region_ is None) != (self.slab_mask_ is None):
            raise ValueError("A rotator with a mask has a slab_mask_, and one without has none.")
        self._operator = self._slab_operator()
        self.to_nifti(np.zeros(self.slab_shape_, np.float32))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = _ImageInputTags(two_d_array=False, allow_nan=True)
        tags.requires_fit = True
        return tags

    def _check_parameters(self):
        for name, allowed in (
            ("axis", tuple(AXES)),
            ("slab_reference", ("crop", "grid")),
            ("interpolation", tuple(SPLINE_ORDERS)),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be one of {', '.join(map(repr, allowed))}, "
                    f"but is {getattr(self, name)!r}."
                )
        if self.mask is None and self.label is not None:
            raise ValueError(
                f"label={self.label!r} chooses a region of an atlas, but mask is None. Pass the "
                "atlas as mask, or label=None."
            )
        if self.slab is None:
            return
        is_pair = isinstance(self.slab, (tuple, list)) and len(self.slab) == 2
        if not is_pair or not all(isinstance(i, numbers.Integral) for i in self.slab):
            raise ValueError(
                f"slab must be None or a pair (first slice, end) of ints, but is {self.slab!r}."
            )
        if not 0 <= self.slab[0] < self.slab[1]:
            raise ValueError(
                f"slab={tuple(self.slab)} holds no slice. The first slice must be at least 0, and "
                "the end larger than it."
            )

    def _find_region(self):
        """Return which voxels of the rotated grid are in the region, or None without one."""
        if self.region_ is None:
            return None
        return region_on_grid(
            self.region_,
            self.affine_,
            self.grid_shape_,
            self._transform,
            self.rotated_shape_,
            mask_name(self.mask, self.label),
        )

    def _find_crop(self, samples):
        """Set the range of the training values, and the box that holds data."""
        summary, read_batches = self._summarise(samples)
        self.value_range_ = summary[:2]
        if max(map(abs, self.value_range_)) > LARGEST_VALUE:
            filled = (fill_nonfinite(batch) for batch in samples.iter_batches())
            raise too_large(*first_too_large(filled), partial(volume_name, samples))
        self.crop_ = tuple((0, length) for length in self.rotated_shape_)
        if self.crop:
            order = SPLINE_ORDERS[self.interpolation]
            self.crop_ = crop_box(
                read_batches, summary, self._transform, self.rotated_shape_, order
            )

    def _summarise(self, samples):
        """Return what `value_range` finds, and a function that returns batches of volumes."""
        # If all slices are needed, whole volumes are read anyway.
        takes_all = self.slab is None and self.mask is None
        known = None if takes_all else summary_of_runs(samples)
        if known is not None:
            return known
        summary = value_range(samples.iter_batches())
        if np.isfinite(summary[2]).all():
            return summary, samples.iter_batches

        def read_batches():
            return (fill_nonfinite(batch) for batch in samples.iter_batches())

        return value_range(read_batches()), read_batches

    def _slice_range(self):
        """Return first slice and end of the slab on the rotated grid."""
        if self.slab is None:
            return self.crop_[2]
        first, end = self.crop_[2] if self.slab_reference == "crop" else (0, self.rotated_shape_[2])
        if self.slab[1] > end - first:
            counted = "cropped volume" if self.slab_reference == "crop" else "rotated grid"
            raise ValueError(
                f"slab={tuple(self.slab)} ends after slice {self.slab[1] - 1}, but the {counted} "
                f"has {end - first} slices. Choose a slab between 0 and {end - first}, or "
                "slab=None for all slices."
            )
        return first + int(self.slab[0]), first + int(self.slab[1])

    def _slab_operator(self):
        """Return the operator that computes the voxels of the slab, and no others."""
        order = SPLINE_ORDERS[self.interpolation]
        return resampling_operator(self._transform, self.grid_shape_, self.slab_box_, order)

    def _resample(self, numbers, volumes, names):
        """Return the slabs of some volumes, whose numbers and names are for error messages."""
        with np.errstate(invalid="ignore", over="ignore"):
            slabs = apply_operator(self._operator, volumes)
        if self.slab_mask_ is not None:
            slabs[:, ~self.slab_mask_] = 0
        damaged = []
        for i, slab in enumerate(slabs):
            # The slab is small; its whole volume is only examined if that can make a difference.
            low, high = slab.min(), slab.max()
            is_finite = math.isfinite(low) and math.isfinite(high)
            if not is_finite and not np.isfinite(volumes[i]).all():
                damaged.append(i)
            elif not is_finite:
                raise too_large(numbers[i], np.abs(volumes[i]).max(), names)
            elif self.interpolation == "continuous":
                if low < self.value_range_[0]:
                    limit = min(self.value_range_[0], finite_extreme(volumes[i], np.min))
                    np.maximum(slab, limit, out=slab)
                if high > self.value_range_[1]:
                    limit = max(self.value_range_[1], finite_extreme(volumes[i], np.max))
                    np.minimum(slab, limit, out=slab)
        if damaged:
            slabs[damaged] = self._resample_damaged(numbers[damaged], volumes[damaged], names)
        return slabs

    def _resample_damaged(self, numbers, volumes, names):
        slabs = self._resample(numbers, fill_nonfinite(volumes), names)
        nearest = resampling_operator(self._transform, self.grid_shape_, self.slab_box_, 0)
        invalid = ~np.isfinite(volumes)
        is_lost = apply_operator(nearest, invalid.astype(np.float32)) > 0
        if self.slab_mask_ is not None:
            is_lost &= self.slab_mask_
        slabs[is_lost] = np.nan
        return slabs

    def _check_maps(self, maps):
        """Return maps with a sample axis, and whether it was missing."""
        check_is_fitted(self)
        maps = np.asarray(maps, dtype=np.float32)
        is_single = maps.ndim == 3
        maps = maps[np.newaxis] if is_single else maps
        if maps.shape[1:] != self.slab_shape_:
            raise ValueError(
                f"Found maps of shape {maps.shape[1:]} for a slab of shape {self.slab_shape_}. "
                "Pass (x, y, n_slices), or (n_maps, x, y, n_slices), as transform gives them."
            )
        return maps, is_single


def voxels_of_slab(rotator):
    """Return which native voxels matter for the slab of a fitted rotator, as a bool volume."""
    return needed_voxels(rotator._operator, rotator.slab_mask_)


def _samples_of(X):
    """Return X as `NiftiSamples`; each row of a table with one column is one volume."""
    is_numeric = isinstance(X, np.ndarray) and X.dtype.kind not in "OU"
    is_table = hasattr(X, "columns") or isinstance(X, np.ndarray)
    if is_numeric or not is_table or X.ndim != 2 or X.shape[1] != 1:
        return as_samples(X, "NiftiSlabRotator")
    samples = as_samples(np.asarray(X)[:, 0], "NiftiSlabRotator")
    if len(samples) != len(X):
        raise ValueError(
            f"The {len(X)} rows of X name images of {len(samples)} volumes, but each row of a "
            "table must be one volume. Save the volumes as 3-D images, or pass NiftiSamples."
        )
    return samples


def _space_of(samples):
    """Return the space of the first image, with a warning if others name a different one."""
    spaces = list_spaces(samples)
    space, others = common_space(spaces)
    if others:
        images = list_images(samples)
        used = np.unique(samples.acquisition_order()[0])
        warnings.warn(
            f"The headers of {len(others)} of {len(spaces)} images name a different space than the "
            f"first: {images[used[others[0]]][0]} says {describe_space(spaces[others[0]])}, "
            f"{images[used[0]][0]} says {describe_space(space)}. Maps will say the latter. Check "
            "that all images are in one space, and correct the codes in their headers.",
            UserWarning,
            stacklevel=4,
        )
    return space


def _degrees_message(angle):
    return (
        f"angle={angle!r} is taken as radians and turns the volumes by {math.degrees(angle):.0f} "
        f'degrees. If {angle:g} degrees are meant, pass angle="{angle:g} deg" or '
        f"numpy.deg2rad({angle:g})."
    )


def _image_of(maps, affine, space, is_single):
    return image_in_space(maps[0] if is_single else np.moveaxis(maps, 0, -1), affine, space)
