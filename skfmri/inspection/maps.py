"""Saliency maps as images in native space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np

from skfmri.inspection.attribution import saliency
from skfmri.preprocessing import NiftiSlabRotator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nibabel import Nifti1Image
    from numpy.typing import NDArray

    from skfmri._types import Estimator, ImageSamples

__all__ = ["mean_map", "mean_sign", "saliency_image", "sign_consistency_image"]


def saliency_image(
    estimators: Estimator | Sequence[Estimator], X: ImageSamples, y: object = None, **options: Any
) -> Nifti1Image:
    """Return the mean saliency map as an image on the native grid.

    The maps are averaged over samples in slab space, carried to the native grid by the transpose
    of the slab's resampling, and averaged over estimators. What the transpose of cubic splines
    leaves outside the slab, close to 0, is cut off.

    Parameters
    ----------
    estimators : pipeline or sequence of pipelines
        Fitted, with a :class:`~skfmri.NiftiSlabRotator` among the steps, such as ``"estimator"`` of
        ``cross_validate(return_estimator=True)``.
    X : NiftiSamples or list of images
        Samples to explain.
    y : class, array-like of shape (n_samples,) or int, default=None
        Class or target to explain, as in :func:`saliency`.
    **options : dict
        As in :func:`saliency`.

    Returns
    -------
    image : nibabel.Nifti1Image
        3-D, float32, on the grid of the images, and in the space that the header of the first
        training image names. NaN outside the slab, as in
        :meth:`skfmri.NiftiSlabRotator.inverse_transform`. If slabs differ between estimators, a
        voxel counts as 0 for those whose slab does not reach it.

    Raises
    ------
    TypeError
        If a pipeline has no rotator, or the method does not have one of the options.

    Notes
    -----
    With two classes, the gradients for one nearly cancel those for the other in the mean over
    samples of both. Explain one class for all samples, as in ``y="open"``, or choose a method whose
    map shows what supports a sample's class: any but "gradient" and "smoothgrad".
    """
    images = [_image(estimator, X, y, options) for estimator in _as_list(estimators)]
    mean = mean_map([image.get_fdata(dtype=np.float32) for image in images])
    return nibabel.Nifti1Image(mean, images[0].affine, images[0].header)


def sign_consistency_image(
    estimators: Sequence[Estimator], X: ImageSamples, y: object = None, **options: Any
) -> Nifti1Image:
    """Return how well fitted pipelines agree about the sign of the saliency of each voxel.

    Parameters
    ----------
    estimators : sequence of pipelines
        Two or more, as in :func:`saliency_image`.
    X : NiftiSamples or list of images
        Samples to explain.
    y : class, array-like of shape (n_samples,) or int, default=None
        Class or target to explain, as in :func:`saliency`.
    **options : dict
        As in :func:`saliency`.

    Returns
    -------
    image : nibabel.Nifti1Image
        3-D, float32: the mean sign, from -1 where all maps are negative to 1 where all are
        positive. Values below a thousandth of a map's largest count as 0. NaN outside the slab, as
        in :func:`saliency_image`.

    Raises
    ------
    TypeError
        If a pipeline has no rotator, or the method does not have one of the options.
    ValueError
        If there are fewer than two pipelines.
    """
    estimators = _as_list(estimators)
    if len(estimators) < 2:
        raise ValueError(
            f"Agreement needs two or more fitted pipelines, but found {len(estimators)}. Pass "
            "those of cross_validate(return_estimator=True)."
        )
    images = [_image(estimator, X, y, options) for estimator in estimators]
    agreement = mean_sign([image.get_fdata(dtype=np.float32) for image in images])
    return nibabel.Nifti1Image(agreement, images[0].affine, images[0].header)


def mean_map(maps: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    """Return the mean of maps of networks whose slabs may differ.

    Parameters
    ----------
    maps : sequence of ndarray
        Of one shape; NaN outside the slab of each. A map of nothing but NaN is that of a network
        that diverged, and makes the mean NaN.

    Returns
    -------
    mean : ndarray, float32
        NaN outside all slabs. A map counts as 0 outside its slab, since the voxels there make no
        difference to its network.
    """
    return _with_mean(maps, lambda values: values)


def mean_sign(maps: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    """Return the mean sign of maps, counting values close to 0 as 0.

    Parameters
    ----------
    maps : sequence of ndarray
        As in `mean_map`. Values below a thousandth of a map's largest have no sign.

    Returns
    -------
    agreement : ndarray, float32
        From -1 to 1; NaN outside all slabs.
    """
    return _with_mean(maps, lambda m: np.sign(m) * (np.abs(m) > 1e-3 * np.abs(m).max()))


def _with_mean(maps, function):
    """Return the mean of a function of maps that are 0 outside their slabs, NaN outside of all."""
    maps = [np.asarray(values) for values in maps]
    outside = [np.isnan(values) & np.isfinite(values).any() for values in maps]
    values = [
        function(np.where(beyond, 0, values)) for beyond, values in zip(outside, maps, strict=True)
    ]
    mean = np.mean(values, axis=0, dtype=np.float32)
    return np.where(np.all(outside, axis=0), np.float32(np.nan), mean)


def _as_list(estimators):
    return [estimators] if hasattr(estimators, "steps") else list(estimators)


def _image(estimator, X, y, options):
    """Return the mean map of one pipeline on the native grid, NaN outside the slab."""
    steps = [step for _, step in getattr(estimator, "steps", [])]
    rotators = [step for step in steps if isinstance(step, NiftiSlabRotator)]
    if not rotators:
        raise TypeError(
            f"There is no NiftiSlabRotator in {estimator!r}, so its maps have no known place in "
            "the head. Pass a fitted pipeline with one."
        )
    rotator = rotators[0]
    image = rotator.back_project(saliency(estimator, X, y, **options).mean(axis=0))
    slab = rotator.inverse_transform(np.ones(rotator.slab_shape_))
    inside = np.isfinite(slab.get_fdata(dtype=np.float32))
    values = np.where(inside, image.get_fdata(dtype=np.float32), np.float32(np.nan))
    return nibabel.Nifti1Image(values, image.affine, image.header)
