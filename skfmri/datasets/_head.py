"""What simulated data sets share: one head on one grid, its noise, its images."""

from numbers import Real

import nibabel
import numpy as np
from nilearn.datasets import load_mni152_brain_mask, load_mni152_template
from scipy import ndimage, stats

GRID_SHAPE = (40, 51, 41)
VOXEL_SIZE_MM = 4
ORIGIN_MM = (-78, -112, -70)
EYES_MM = ((-30, 60, -45), (30, 60, -45))
EYE_RADIUS_MM = 13

GAIN_SPREAD = 0.045
SUBJECT_PATTERN, SUBJECT_SMOOTHNESS = 0.060, 2.0
MAP_NOISE, MAP_SMOOTHNESS = 0.055, 0.8
SMALLEST_STD = 0.1


def head():
    """Return the mask of a head and its mean map.

    Returns
    -------
    mask : ndarray of shape (40, 51, 41), dtype bool
        Brain and eyes.
    base : ndarray of shape (40, 51, 41), dtype float32
        Low in white matter, high in grey matter, fluid and eyes.
    """
    brain = on_grid(load_mni152_brain_mask(resolution=1)) > 0
    t1 = on_grid(load_mni152_template(resolution=1))
    eyes = distance_mm(EYES_MM) <= EYE_RADIUS_MM
    # Masks of functional images reach a little beyond the brain, where fluid is dark on T1.
    t1 = ndimage.gaussian_filter(np.where(brain, t1, 0.35), 0.5)
    brain = ndimage.binary_dilation(brain)
    return brain | eyes, np.where(eyes, 0.85, 1 - 0.45 * t1).astype(np.float32)


def on_grid(image):
    """Return every fourth voxel of a 1 mm image, starting where the grid does."""
    start = np.subtract(ORIGIN_MM, image.affine[:3, 3]).astype(int)
    window = tuple(
        slice(first, first + VOXEL_SIZE_MM * length, VOXEL_SIZE_MM)
        for first, length in zip(start, GRID_SHAPE, strict=True)
    )
    return np.asarray(image.dataobj)[window]


def distance_mm(centres):
    """Return the distance of each voxel from the nearest of some points."""
    index = np.moveaxis(np.indices(GRID_SHAPE), 0, -1)
    position = VOXEL_SIZE_MM * index + ORIGIN_MM
    return np.min([np.linalg.norm(position - centre, axis=-1) for centre in centres], axis=0)


def region(mask, centres, width_mm, reach_mm):
    """Return Gaussian bumps of height 1 around some points, 0 beyond a mask and a distance.

    Parameters
    ----------
    mask : ndarray of shape (40, 51, 41), dtype bool
        Voxels that the region may have.
    centres : sequence of (x, y, z)
        Points in millimetres; each voxel belongs to the nearest.
    width_mm : float
        Standard deviation of a bump.
    reach_mm : float
        Largest distance from a centre.

    Returns
    -------
    region : ndarray of shape (40, 51, 41), dtype float64
    """
    distance = distance_mm(centres)
    return (mask & (distance <= reach_mm)) * np.exp(-0.5 * (distance / width_mm) ** 2)


def spread(distribution, n_values, rng):
    """Return evenly spaced quantiles of a distribution in random order, scaled to mean 1."""
    values = distribution.ppf((np.arange(n_values) + 0.5) / n_values)
    return rng.permutation(values / values.mean()).astype(np.float32)


def subject_gains(n_subjects, rng):
    """Return the factor on all values of each subject: log-normal, of mean 1."""
    return spread(stats.lognorm(GAIN_SPREAD), n_subjects, rng)


def smooth_fields(n_fields, smoothness, rng):
    """Return Gaussian random fields of unit variance, `smoothness` in voxels."""
    fields = rng.standard_normal((n_fields, *GRID_SHAPE), dtype=np.float32)
    ndimage.gaussian_filter(fields, (0, *[smoothness] * 3), mode="wrap", output=fields)
    impulse = np.zeros(min(GRID_SHAPE))
    impulse[0] = 1
    kernel = ndimage.gaussian_filter1d(impulse, smoothness, mode="wrap")
    fields /= np.linalg.norm(kernel) ** 3
    return fields


def subject_pattern(rng):
    """Return what a subject adds to the mean map, the same in all maps of this subject."""
    return SUBJECT_PATTERN * smooth_fields(1, SUBJECT_SMOOTHNESS, rng)


def noisy_maps(expected, gain, rng):
    """Return maps of temporal standard deviation: expected ones, times a gain, plus noise."""
    noise = MAP_NOISE * smooth_fields(len(expected), MAP_SMOOTHNESS, rng)
    return np.maximum(gain * expected + noise, SMALLEST_STD)


def native_image(data):
    """Return a NIfTI image of data on the grid, in MNI space."""
    affine = np.diag([VOXEL_SIZE_MM] * 3 + [1.0])
    affine[:3, 3] = ORIGIN_MM
    image = nibabel.Nifti1Image(data, affine)
    image.set_sform(affine, code="mni")
    image.set_qform(affine, code="mni")
    image.header.set_xyzt_units("mm")
    return image


def check_factor(factor, name):
    """Raise ValueError unless a factor on an effect is a finite number."""
    if not isinstance(factor, Real) or not np.isfinite(factor):
        raise ValueError(f"{name} must be a finite number, but is {factor!r}.")
