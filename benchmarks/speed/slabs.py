"""Rows A, B and G: from a file or memory to slabs."""

import gzip
import sys
import time

import numpy as np
from work import ANGLE, SLAB, median_seconds, rotation, touch_memory


def _timed(work, function, name=None):
    touch_memory(work, 4 * 2**30)
    start = time.perf_counter()
    result = function()
    seconds = time.perf_counter() - start
    if name:
        np.save(work.folder / f"{name}.npy", result)
    return {"seconds": seconds, "result": getattr(result, "nbytes", 0) / 2**20}


def slabs_notebook(work):
    """Compute what the original notebook does, with nilearn."""
    import nibabel
    from nilearn.image import crop_img, resample_img

    def slabs():
        func = nibabel.load(work.volumes)
        turned = nibabel.Nifti1Image(func.get_fdata(), rotation() @ func.affine)
        rotated = resample_img(turned, target_affine=func.affine, interpolation="continuous")
        return np.moveaxis(crop_img(rotated).get_fdata()[:, :, slice(*SLAB), :], -1, 0)

    return _timed(work, slabs, "slabs_notebook")


def slabs_decompression(work):
    """Only decompress the file."""

    def decompress():
        with gzip.open(work.volumes) as file:
            return file.read()

    return _timed(work, decompress)


def slabs_skfmri(work):
    from skfmri import NiftiSlabRotator

    rotator = NiftiSlabRotator(angle=ANGLE, slab=SLAB)
    return _timed(work, lambda: rotator.fit_transform(work.volumes), "slabs_skfmri")


def slabs_skfmri_zlib(work):
    """Do the same as slabs_skfmri without isal."""
    sys.modules["isal"] = None
    return slabs_skfmri(work)


def slabs_skfmri_many(work):
    from skfmri import NiftiSlabRotator

    rotator = NiftiSlabRotator(angle=ANGLE, slab=SLAB)
    return _timed(work, lambda: rotator.fit_transform(work.many_volumes))


def largest_difference(work):
    """Return the largest difference between the last slabs of notebook and skfmri."""
    found, expected = (
        np.load(work.folder / f"{name}.npy") for name in ("slabs_skfmri", "slabs_notebook")
    )
    return float(np.abs(found - expected).max())


def _first_volume(work):
    import nibabel

    image = nibabel.load(work.volumes)
    volume = np.asarray(image.dataobj[..., 0], dtype=np.float32)
    return nibabel.Nifti1Image(volume, image.affine)


def volume_nilearn(work):
    """Resample directly to the grid of the slab."""
    import nibabel
    from nilearn.image import resample_img

    from skfmri import NiftiSlabRotator

    rotator = NiftiSlabRotator(angle=ANGLE, slab=SLAB).fit(work.volumes)
    volume = _first_volume(work)
    turned = nibabel.Nifti1Image(volume.get_fdata(dtype=np.float32), rotation() @ volume.affine)
    target = rotation() @ rotator.slab_affine_

    def slab():
        return resample_img(turned, target_affine=target, target_shape=rotator.slab_shape_)

    difference = np.abs(slab().get_fdata() - rotator.transform(volume)[0]).max()
    return {"seconds": median_seconds(slab, 200), "difference": float(difference)}


def volume_skfmri(work):
    from skfmri import NiftiSamples, NiftiSlabRotator

    rotator = NiftiSlabRotator(angle=ANGLE, slab=SLAB).fit(work.volumes)
    samples = NiftiSamples(_first_volume(work))
    return {"seconds": median_seconds(lambda: rotator.transform(samples), 200)}


def volume_skfmri_matrices(work):
    """Do the same as volume_skfmri with skfmri installed without a C compiler."""
    sys.modules["skfmri.resampling._splines"] = None
    return volume_skfmri(work)
