"""Simulated maps of subjects whose ages are to be predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skfmri._validation import check_number
from skfmri.datasets._head import (
    GRID_SHAPE,
    check_factor,
    head,
    native_image,
    noisy_maps,
    region,
    smooth_fields,
    subject_gains,
    subject_pattern,
)

if TYPE_CHECKING:
    from skfmri._types import RandomState

YOUNGEST, OLDEST = 20, 80
HIPPOCAMPUS_MM = ((-26, -20, -14), (26, -20, -14))
OCCIPITAL_MM = ((-26, -76, 6), (26, -76, 6))

# Chosen so that a ridge on the default slab, split by subject, explains half of the variance of
# age, and as much of that of its squared distance from the middle:
# python benchmarks/calibration.py --ages --seeds 20
LINEAR_EFFECT, NONLINEAR_EFFECT = -0.16, 0.32
WIDTH_MM, REACH_MM = 9.0, 22.5
SITE_PATTERN, SITE_SMOOTHNESS = 0.040, 4.0

DESCRIPTION = """\
Simulated maps of temporal standard deviation, subjects of {youngest} to {oldest} years.

{n_subjects} subjects x {maps} = {n_volumes} volumes of 40 x 51 x 41 voxels of 4 mm in MNI
space, {n_sites} sites, effect sizes {linear_size:g} (linear) and {nonlinear_size:g} (nonlinear).
Nothing here was measured: the head is nilearn's MNI template, all else is drawn from a random
generator. Values near the hippocampus fall linearly with age. Occipital values are lowest in the
middle of life and as high in the young as in the old. All sites have the same mix of ages. The maps
of one subject resemble each other, so scores are honest only if no subject is on both sides of a
split.
"""


def make_ages(
    n_subjects: int = 100,
    *,
    n_maps: int = 1,
    n_sites: int = 4,
    linear_size: float = 1.0,
    nonlinear_size: float = 1.0,
    random_state: RandomState = 0,
) -> Bunch:
    """Simulate maps that depend on the age of the subject, with a known answer.

    One region changes linearly with age. Another one is U-shaped: the same at 20 and at 80 years,
    lowest at 50. No weight for its voxels says anything about age, so linear models learn from the
    first region only. Whether a nonlinear model gains from the second one can be compared with the
    true maps.

    With default settings, a ridge on slabs explains half of the variance of age in new subjects: R2
    has a mean of 0.49 over seeds and a standard deviation of 0.09. All maps of a subject share one
    pattern and one age. With several maps per subject, random splits therefore score higher than
    splits by subject; pass `subjects` as groups.

    Parameters
    ----------
    n_subjects : int, default=100
        Number of subjects.
    n_maps : int, default=1
        Number of maps per subject.
    n_sites : int, default=4
        Number of sites, among which the subjects are divided; at most `n_subjects`.
    linear_size : float, default=1.0
        Factor on the true linear effect; 0 removes it, a negative factor reverses it.
    nonlinear_size : float, default=1.0
        The same for the nonlinear effect.
    random_state : int, RandomState instance or None, default=0
        Seed of the simulation. The same int gives the same data; None differs each time.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with these attributes:

        images : Nifti1Image
            The maps, float32 of shape (40, 51, 41, n_samples) on a 4 mm grid in MNI space, with
            ``n_samples = n_subjects * n_maps``, subject by subject; exactly 0 outside brain and
            eyes.
        ages : ndarray of shape (n_samples,), dtype float64
            Age of the subject of each map in years: evenly spaced between 20 and 80, in random
            order. Every seed has the same ages.
        subjects : ndarray of shape (n_samples,), dtype int
            Subject of each map, from 0.
        sites : ndarray of shape (n_samples,), dtype int
            Site of each map, from 0. Neighbours in age are dealt out to different sites, so all
            sites have nearly the same ages. Their sizes differ by one subject at most.
        linear_effect : Nifti1Image
            The true linear effect, float32 of shape (40, 51, 41): value at 80 years minus value at
            50, thirty times the slope per year.
        nonlinear_effect : Nifti1Image
            The true nonlinear effect, float32 of shape (40, 51, 41): value at 20 or 80 years minus
            value at 50.
        DESCR : str
            A short description.

    Raises
    ------
    TypeError
        If `n_subjects`, `n_maps` or `n_sites` is not an integer.
    ValueError
        If one of them is not positive, there are more sites than subjects, or a factor is not a
        finite number.

    See Also
    --------
    make_eyes_open_closed : Maps of two conditions in the same head.

    Notes
    -----
    With ``u_i = (age_i - 50) / 30``, between -1 and 1, map `k` of subject `i` at site `j` is,
    inside the mask,

    ``max(g_i * (base + P_i + S_j + u_i * linear + u_i ** 2 * nonlinear) + e_ik, 0.1)``.

    `base`, the gain `g_i`, the pattern `P_i` of a subject and the noise `e_ik` of a map are those
    of :func:`make_eyes_open_closed`. `S_j` is a pattern of the site, a Gaussian field of standard
    deviation 0.04, smooth over 4 voxels. As ages are symmetric about 50, `u` and ``u ** 2`` are
    uncorrelated.

    Places, signs and shapes of the effects are choices, not findings. The linear one is negative
    and lies around the hippocampus, at MNI (+-26, -20, -14), the nonlinear one is positive, at
    (+-26, -76, 6). Both are Gaussian, with a standard deviation of 9 mm and cut off at 22.5 mm.
    About half of each is in the default slab of :class:`~skfmri.NiftiSlabRotator`.

    Examples
    --------
    >>> from skfmri.datasets import make_ages
    >>> data = make_ages(n_subjects=3, n_maps=2, n_sites=3)
    >>> data.images.shape
    (40, 51, 41, 6)
    >>> sorted(data.ages.tolist())
    [30.0, 30.0, 50.0, 50.0, 70.0, 70.0]
    >>> data.subjects.tolist()
    [0, 0, 1, 1, 2, 2]
    """
    n_subjects = check_number(n_subjects, "n_subjects", least=1)
    n_maps = check_number(n_maps, "n_maps", least=1)
    n_sites = check_number(n_sites, "n_sites", least=1)
    if n_sites > n_subjects:
        raise ValueError(
            f"{n_subjects} subjects cannot be divided among {n_sites} sites. "
            f"Choose n_sites of at most {n_subjects}, or more subjects."
        )
    check_factor(linear_size, "linear_size")
    check_factor(nonlinear_size, "nonlinear_size")
    rng = np.random.default_rng(check_random_state(random_state).randint(2**31))

    mask, base = head()
    linear, nonlinear = (
        (size * effect * region(mask, centres, WIDTH_MM, REACH_MM)).astype(np.float32)
        for size, effect, centres in (
            (linear_size, LINEAR_EFFECT, HIPPOCAMPUS_MM),
            (nonlinear_size, NONLINEAR_EFFECT, OCCIPITAL_MM),
        )
    )
    ages, sites = _ages_and_sites(n_subjects, n_sites, rng)
    middle, half_range = (YOUNGEST + OLDEST) / 2, (OLDEST - YOUNGEST) / 2
    u = ((ages - middle) / half_range).astype(np.float32)
    gains = subject_gains(n_subjects, rng)
    offsets = SITE_PATTERN * smooth_fields(n_sites, SITE_SMOOTHNESS, rng)

    volumes = np.empty((n_subjects, n_maps, *GRID_SHAPE), dtype=np.float32)
    for i in range(n_subjects):
        of_age = u[i] * linear + u[i] ** 2 * nonlinear
        expected = base + offsets[sites[i]] + of_age + subject_pattern(rng)
        volumes[i] = mask * noisy_maps(np.repeat(expected, n_maps, axis=0), gains[i], rng)
    volumes = volumes.reshape(-1, *GRID_SHAPE)
    return Bunch(
        images=native_image(np.moveaxis(volumes, 0, -1)),
        ages=np.repeat(ages, n_maps),
        subjects=np.repeat(np.arange(n_subjects), n_maps),
        sites=np.repeat(sites, n_maps),
        linear_effect=native_image(linear),
        nonlinear_effect=native_image(nonlinear),
        DESCR=DESCRIPTION.format(
            youngest=YOUNGEST,
            oldest=OLDEST,
            n_subjects=n_subjects,
            maps="1 map" if n_maps == 1 else f"{n_maps} maps",
            n_volumes=len(volumes),
            n_sites=n_sites,
            linear_size=linear_size,
            nonlinear_size=nonlinear_size,
        ),
    )


def _ages_and_sites(n_subjects, n_sites, rng):
    """Return the age and the site of each subject, which have nothing to do with each other."""
    ages = np.linspace(YOUNGEST, OLDEST, 2 * n_subjects + 1)[1::2]
    # Every n_sites neighbours in age are dealt out to all sites: chance alone would make one older.
    n_deals = -(-n_subjects // n_sites)
    deals = rng.permuted(np.tile(np.arange(n_sites), (n_deals, 1)), axis=1)
    order = rng.permutation(n_subjects)
    return ages[order], deals.ravel()[order]
