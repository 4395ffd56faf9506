"""Removal of what the maps of one subject or run have in common."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from skfmri._validation import check_per_volume
from skfmri.samples import as_samples
from skfmri.samples.centered import CenteredSource
from skfmri.samples.nifti import has_groups, list_images, samples_from_source

if TYPE_CHECKING:
    from skfmri._types import ImageSamples, Values
    from skfmri.samples import NiftiSamples

# Less than this share of the variance of the labels is lost when a map or two are missing.
LARGEST_REMOVED_SHARE = 0.01
MOST_NAMED = 5


def center_groups(
    samples: ImageSamples, *, by: Values | None = None, scale: bool = False
) -> NiftiSamples:
    """Subtract from each map the mean of all maps of its subject or run.

    Maps of one subject resemble each other more than they resemble those of other subjects, so a
    decoder that is tested on new subjects has to see a small effect behind large differences
    between subjects. Centring removes these differences. It looks at no label and at no other
    subject, so it may come before cross-validation as long as that splits no subject: a label in
    `by` with two groups is refused, and :func:`~skfmri.audit_leakage` finds splits that cut
    through centred groups.

    The mean is that of **all maps that are passed**, so select maps before centring if the others
    should not count. Subsets taken afterwards keep their values. New subjects must be centred in
    the same way, with about the same mixture of classes, before a decoder predicts them: a single
    map of a new subject cannot be.

    Parameters
    ----------
    samples : NiftiSamples or images
        Maps, such as contrasts, parameter estimates or trial estimates; also the result of
        :func:`~skfmri.clean_runs`.
    by : array-like of shape (n_samples,), default=None
        What is centred together, such as the subject of each map. Each of these labels lies in one
        group. None takes `samples.groups`.
    scale : bool, default=False
        Whether to divide by the standard deviation over these maps, too (with ``n - 1`` degrees of
        freedom). Of a few maps it is a poor estimate.

    Returns
    -------
    centered : NiftiSamples
        The same samples in the same order, with their labels, groups and runs. They are centred
        when they are read, in bounded memory. The mean of each group is kept in the cache
        directory; of cleaned runs, only for the voxels that a slab needs.

    Raises
    ------
    ValueError
        If a label in `by` occurs only once, since a map minus itself is 0; if it lies in more than
        one group; or if `by` does not have one label per volume.

    Warns
    -----
    UserWarning
        If classes are not equally frequent within what is centred together, and this takes away
        more than 1 % of the variance of the labels: the mean then leans towards the more frequent
        class. If `by` is None and nobody has named groups, so that all maps count as one group.

    See Also
    --------
    clean_runs : Removes drift and scale from time series.
    VoxelZScorer : Scales voxels with the statistics of the training samples.

    Notes
    -----
    In every voxel, the mean is taken in float64 over the maps that are finite there; values that
    are not finite remain so. Voxels that do not vary over these maps, or only in the last digits,
    become exactly 0.

    If each group holds one map per class, the maps of a group are compared with each other: of two
    maps, one is the mirror image of the other. This is a forced choice, which is easier than
    to classify a single map, and scores should be reported as such.

    Examples
    --------
    >>> import numpy as np
    >>> from skfmri import NiftiSamples, center_groups
    >>> maps = np.array([5.0, 7.0, 20.0, 26.0]).reshape(4, 1, 1, 1)
    >>> samples = NiftiSamples.from_array(maps, np.eye(4), y=list("abab"), groups=[1, 1, 2, 2])
    >>> np.asarray(center_groups(samples)).ravel().tolist()
    [-1.0, 1.0, -3.0, 3.0]
    """
    samples = as_samples(samples, "center_groups")
    is_by_groups = by is None
    labels = (
        samples.groups if is_by_groups else check_per_volume(by, len(samples), "centring label")
    )
    names, group_of = np.unique(labels, return_inverse=True)
    _check_counts(names, np.bincount(group_of))
    _check_inside(names, group_of, samples.groups)
    if is_by_groups and not has_groups(samples) and len(list_images(samples)) == 1:
        warnings.warn(
            f"The samples carry no groups, so all {len(samples)} volumes are centred as one. Pass "
            "by=, such as the subject of each volume.",
            UserWarning,
            stacklevel=2,
        )
    if samples.y is not None:
        _warn_of_balance(describe_balance(samples.y, group_of))
    volumes = samples[:]
    # Whatever the labels and groups, the same volumes share what is kept of them.
    volumes.y, volumes.groups = None, volumes.runs
    source = CenteredSource(
        volumes, group_of, names.tolist(), scale=bool(scale), is_by_groups=is_by_groups
    )
    return samples_from_source(source, samples)


def describe_balance(y, group_of):
    """Describe how classes are spread over what is centred together.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Labels; the empty string stands for volumes without one.
    group_of : ndarray of shape (n_samples,)
        What is centred together.

    Returns
    -------
    balance : dict
        ``n_groups``; ``n_unbalanced``, groups in which classes are not equally frequent;
        ``n_forced_choice``, groups that consist of one volume of each class; ``removed_share``, the
        share of the variance of the labels that centring takes away; as JSON-serialisable values.
        Of numbers, which are labels of a float type or with several columns, only this share is
        told.
    """
    if y.dtype.kind == "f" or y.ndim > 1:
        group_of = np.unique(group_of, return_inverse=True)[1]
        return {
            "n_groups": int(group_of.max()) + 1,
            "n_unbalanced": 0,
            "n_forced_choice": 0,
            "removed_share": _share_between(y, group_of),
        }
    is_labelled = y != "" if y.dtype.kind in "OU" else np.ones(len(y), bool)
    group_of = np.unique(group_of, return_inverse=True)[1]
    sizes = np.bincount(group_of)
    classes, class_of = np.unique(y[is_labelled], return_inverse=True)
    counts = np.zeros((len(sizes), len(classes)))
    np.add.at(counts, (group_of[is_labelled], class_of), 1)
    n_labelled, totals = counts.sum(axis=1, keepdims=True), counts.sum(axis=0)
    # Of the indicators of all classes together: the variance between groups, and all of it.
    expected = totals / max(1, totals.sum())
    between = (counts - n_labelled * expected) ** 2 / np.maximum(n_labelled, 1)
    total = (totals * (1 - expected)).sum()
    is_forced = (counts == 1).all(axis=1) & (sizes == len(classes)) & (len(classes) > 1)
    return {
        "n_groups": len(sizes),
        "n_unbalanced": int((counts != counts[:, :1]).any(axis=1).sum()),
        "n_forced_choice": int(is_forced.sum()),
        "removed_share": float(between.sum() / total) if total else 0.0,
    }


def _share_between(numbers, group_of):
    """Return the share of the variance of numbers that lies between groups."""
    columns = numbers.reshape(len(numbers), -1)
    means = pd.DataFrame(columns).groupby(group_of).transform("mean").to_numpy()
    total = columns.var(axis=0).sum()
    return float(means.var(axis=0).sum() / total) if total else 0.0


def _check_counts(names, counts):
    """Raise ValueError if something would be centred alone."""
    alone = names[counts == 1].tolist()
    if alone:
        raise ValueError(
            f"{len(alone)} of {len(names)} groups to be centred hold a single volume, which would "
            f"become 0: {_some(alone)}. Centring needs at least 2. Leave such volumes out, or "
            "pass what belongs together, such as the subject of each volume, as by=."
        )


def _check_inside(names, group_of, groups):
    """Raise ValueError if what is centred together lies in several groups."""
    for number, name in enumerate(names.tolist()):
        there = np.unique(groups[group_of == number]).tolist()
        if len(there) > 1:
            raise ValueError(
                f"{name!r} lies in {len(there)} groups ({_some(there)}), so centring it would mix "
                "training and test data. Make groups larger, or pass labels of no more than one "
                "group each as by=."
            )


def _warn_of_balance(balance):
    share = balance["removed_share"]
    if share > LARGEST_REMOVED_SHARE and not balance["n_unbalanced"]:
        warnings.warn(
            f"{share:.0%} of the variance of the labels lies between the {balance['n_groups']} "
            "groups that are centred, and centring takes as much of their effect away: only what "
            "varies within these groups can be predicted. If labels are constant within groups, as "
            "ages of subjects are, do without centring.",
            UserWarning,
            stacklevel=3,
        )
    elif share > LARGEST_REMOVED_SHARE:
        warnings.warn(
            f"Classes are not equally frequent in {balance['n_unbalanced']} of "
            f"{balance['n_groups']} groups that are centred, so their means lean towards the more "
            f"frequent class: centring takes away {share:.0%} of the variance of the labels, and "
            "as much of their effect. Leave volumes out until classes are balanced within groups, "
            "or do without centring.",
            UserWarning,
            stacklevel=3,
        )


def _some(names):
    text = ", ".join(map(str, names[:MOST_NAMED]))
    return f"{text} and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else text
