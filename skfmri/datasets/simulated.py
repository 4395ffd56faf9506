"""Simulated volumes with a known answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats
from sklearn.utils import Bunch, check_random_state

from skfmri._validation import check_number
from skfmri.datasets._head import (
    EYE_RADIUS_MM,
    EYES_MM,
    GRID_SHAPE,
    check_factor,
    head,
    native_image,
    noisy_maps,
    region,
    smooth_fields,
    spread,
    subject_gains,
    subject_pattern,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from skfmri._types import RandomState

CONDITIONS = ("closed", "open")
VISUAL_CORTEX_MM = ((-10, -85, 8), (10, -85, 8))

# Chosen so that whole-brain logistic regression, split by subject, scores as on the real maps.
EYE_EFFECT, EYE_WIDTH_MM = 0.20, 9.0
VISUAL_EFFECT, VISUAL_WIDTH_MM = -0.14, 9.0
STRENGTH_SHAPE = 4.0
BLOCK_PATTERN, BLOCK_SMOOTHNESS = 0.030, 1.5

DESCRIPTION = """\
Simulated maps of temporal standard deviation, eyes closed against eyes open.

{n_subjects} subjects x 2 conditions x {maps} = {n_volumes} volumes of 40 x 51 x 41 voxels of
4 mm in MNI space, {n_chunks} chunks of {chunk_size} subjects, effect size {effect_size:g}. Nothing
here was measured: the head is nilearn's MNI template, all else is drawn from a random generator.
Opening the eyes raises the values in the eyes (eye movements, blinks) and lowers them in visual
cortex (less idling activity). The maps of one subject resemble each other, most of all those of
one condition, so scores are honest only if no subject is on both sides of a split.
"""


def make_eyes_open_closed(
    n_subjects: int = 48,
    *,
    n_maps: int = 4,
    n_chunks: int = 6,
    effect_size: float = 1.0,
    random_state: RandomState = 0,
) -> Bunch:
    """Simulate maps of subjects with their eyes closed or open, with a known answer.

    With real data nobody can see how much of a score is due to the split. Here the effect is known,
    and so is the trap: a pattern of each subject in each condition repeats in all maps of that
    block, so a classifier that has seen one map of a block recognises the others without knowing
    anything about eyes. Splitting volumes at random therefore scores far higher than leaving chunks
    of subjects out, even if there is no effect at all (``effect_size=0``).

    Parameters
    ----------
    n_subjects : int, default=48
        Number of subjects.
    n_maps : int, default=4
        Number of maps per subject for each of the two conditions.
    n_chunks : int, default=6
        Number of chunks, the groups for cross-validation; must divide `n_subjects`.
    effect_size : float, default=1.0
        Factor on the true effect; 0 removes it, a negative factor reverses it.
    random_state : int, RandomState instance or None, default=0
        Seed of the simulation. The same int gives the same data; None differs each time.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with these attributes:

        images : Nifti1Image
            The maps, float32 of shape (40, 51, 41, n_samples) on a 4 mm grid in MNI space, with
            ``n_samples = n_subjects * 2 * n_maps``; exactly 0 outside brain and eyes.
        labels : ndarray of shape (n_samples,), dtype str
            "closed" or "open": for each subject `n_maps` of the first, then of the second.
        chunks : ndarray of shape (n_samples,), dtype int
            Chunk of each map, from 0; a chunk is a contiguous block of whole subjects.
        subjects : ndarray of shape (n_samples,), dtype int
            Subject of each map, from 0.
        effect : Nifti1Image
            The true effect, float32 of shape (40, 51, 41): open minus closed for a subject of
            average strength.
        DESCR : str
            A short description.

    Raises
    ------
    ValueError
        If a number is not positive or `n_chunks` does not divide `n_subjects`.

    See Also
    --------
    make_ages : Maps that depend on a number, for regression.

    Notes
    -----
    Map `k` of subject `i` in condition `c` (-1/2 closed, +1/2 open) is, inside the mask,

    ``max(g_i * (base + P_i + B_ic + c * s_i * effect) + e_ick, 0.1)``.

    `base` is low in white and high in grey matter and fluid (1 - 0.45 times the T1 template, 0.85
    in the eyes). `P_i` (pattern of a subject), `B_ic` (pattern of a block of maps, the one that
    leaks) and `e_ick` (noise of a map) are smooth Gaussian fields with standard deviations 0.06,
    0.03 and 0.055. The gain `g_i` and the strength `s_i` of a subject are evenly spaced quantiles
    of a log-normal and of a gamma distribution, both of mean 1, in random order: every seed has
    its weak subjects.

    The sign of the effect is a choice, not a finding: opening the eyes raises the values in the
    eyes (spheres of 13 mm radius at MNI (+-30, 60, -45)), because eye movements and blinks change
    the signal there, and lowers them in visual cortex (near (+-10, -85, 8)), where activity idles
    more with closed eyes. About half of each part is in the slab of the original workshop
    notebook (rotated by 0.35 rad about x, cropped, slices 12 to 14).

    Examples
    --------
    >>> from skfmri.datasets import make_eyes_open_closed
    >>> data = make_eyes_open_closed(n_subjects=2, n_maps=2, n_chunks=2, random_state=0)
    >>> data.images.shape
    (40, 51, 41, 8)
    >>> data.labels.tolist()
    ['closed', 'closed', 'open', 'open', 'closed', 'closed', 'open', 'open']
    >>> data.chunks.tolist()
    [0, 0, 0, 0, 1, 1, 1, 1]
    """
    n_subjects = check_number(n_subjects, "n_subjects", least=1)
    n_maps = check_number(n_maps, "n_maps", least=1)
    chunk_of_subject = _equal_blocks(n_subjects, n_chunks, "subjects", "n_chunks")
    check_factor(effect_size, "effect_size")
    # NumPy's newer generator draws float32, at a fraction of the time of a RandomState.
    rng = np.random.default_rng(check_random_state(random_state).randint(2**31))

    labels = block_labels(CONDITIONS, n_maps, n_subjects)
    mask, base = head()
    effect = EYE_EFFECT * region(mask, EYES_MM, EYE_WIDTH_MM, EYE_RADIUS_MM)
    effect += VISUAL_EFFECT * region(
        mask, VISUAL_CORTEX_MM, VISUAL_WIDTH_MM, reach_mm=2.5 * VISUAL_WIDTH_MM
    )
    effect = (effect * effect_size).astype(np.float32)
    gains = subject_gains(n_subjects, rng)
    strengths = spread(stats.gamma(STRENGTH_SHAPE), n_subjects, rng)

    volumes = np.empty((n_subjects, 2 * n_maps, *GRID_SHAPE), dtype=np.float32)
    for i in range(n_subjects):
        volumes[i] = mask * _subject_maps(base, strengths[i] * effect, gains[i], n_maps, rng)
    volumes = volumes.reshape(len(labels), *GRID_SHAPE)
    return Bunch(
        images=native_image(np.moveaxis(volumes, 0, -1)),
        labels=labels,
        chunks=np.repeat(chunk_of_subject, 2 * n_maps),
        subjects=block_groups(len(labels), n_subjects),
        effect=native_image(effect),
        DESCR=DESCRIPTION.format(
            n_subjects=n_subjects,
            maps="1 map" if n_maps == 1 else f"{n_maps} maps",
            n_volumes=len(labels),
            n_chunks=n_chunks,
            chunk_size=n_subjects // n_chunks,
            effect_size=effect_size,
        ),
    )


def block_labels(
    labels: Sequence[str] | Sequence[int], block_length: int, n_repeats: int
) -> NDArray[Any]:
    """Return labels of a block design: each label `block_length` times, all of it repeated.

    Parameters
    ----------
    labels : sequence of str or int
        Labels in the order of their blocks.
    block_length : int
        Number of volumes in a block.
    n_repeats : int
        How often the whole series of blocks is repeated, for example once per subject.

    Returns
    -------
    y : ndarray of shape (len(labels) * block_length * n_repeats,)
        One label per volume.

    Raises
    ------
    ValueError
        If there are no labels or a number is not positive.

    Examples
    --------
    >>> from skfmri.datasets import block_labels
    >>> block_labels(["closed", "open"], block_length=2, n_repeats=2).tolist()
    ['closed', 'closed', 'open', 'open', 'closed', 'closed', 'open', 'open']
    """
    if isinstance(labels, str) or np.ndim(labels) != 1 or len(labels) == 0:
        raise ValueError(
            f"labels must be a sequence with one label per block, but is {labels!r}. "
            'Pass for example ["closed", "open"].'
        )
    block_length = check_number(block_length, "block_length", least=1)
    return np.tile(np.repeat(labels, block_length), check_number(n_repeats, "n_repeats", least=1))


def block_groups(n_samples: int, n_groups: int) -> NDArray[np.intp]:
    """Return groups that cut samples into contiguous blocks of one length.

    Unequal blocks are refused, because they usually mean that a number is wrong and that a group
    ends in the middle of a subject.

    Parameters
    ----------
    n_samples : int
        Number of volumes.
    n_groups : int
        Number of groups; must divide `n_samples`.

    Returns
    -------
    groups : ndarray of shape (n_samples,), dtype int
        Group of each volume, from 0.

    Raises
    ------
    ValueError
        If a number is not positive or `n_groups` does not divide `n_samples`.

    Examples
    --------
    >>> from skfmri.datasets import block_groups
    >>> block_groups(n_samples=6, n_groups=3).tolist()
    [0, 0, 1, 1, 2, 2]
    """
    n_samples = check_number(n_samples, "n_samples", least=1)
    return _equal_blocks(n_samples, n_groups, "samples", "n_groups")


def _equal_blocks(n_items, n_blocks, items, name):
    """Return the number of the block that each item belongs to, or raise ValueError."""
    n_blocks = check_number(n_blocks, name, least=1)
    if n_items % n_blocks:
        divisors = [n for n in range(1, n_items + 1) if n_items % n == 0]
        larger = [n for n in divisors if n > n_blocks]
        near = " or ".join(map(str, [max(set(divisors) - set(larger)), *larger[:1]]))
        raise ValueError(
            f"{n_items} {items} cannot be cut into {n_blocks} equal blocks: {n_items % n_blocks} "
            f"would be left over. Choose {name} so that it divides {n_items}, such as {near}."
        )
    return np.repeat(np.arange(n_blocks), n_items // n_blocks)


def _subject_maps(base, effect, gain, n_maps, rng):
    """Return the maps of one subject, first those of one condition, then of the other."""
    subject = base + subject_pattern(rng)
    blocks = subject + BLOCK_PATTERN * smooth_fields(2, BLOCK_SMOOTHNESS, rng)
    blocks += np.multiply.outer(np.float32([-0.5, 0.5]), effect)
    return noisy_maps(np.repeat(blocks, n_maps, axis=0), gain, rng)
