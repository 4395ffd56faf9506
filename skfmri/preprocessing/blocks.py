"""Means of the volumes of each block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from skfmri.preprocessing.runs import check_one_group
from skfmri.samples import as_samples
from skfmri.samples.combined import combine_runs

if TYPE_CHECKING:
    from skfmri._types import ImageSamples, Values
    from skfmri.samples import NiftiSamples


def average_blocks(samples: ImageSamples, blocks: Values) -> NiftiSamples:
    """Average the volumes of each block.

    Volumes of one block show the same condition and resemble each other, so one mean per block
    holds most of what they say with less noise. Every run is averaged by itself, so this may come
    before cross-validation.

    Parameters
    ----------
    samples : NiftiSamples or images
        Volumes, such as those that :func:`~skfmri.clean_runs` returns; not all of a run are needed.
    blocks : array-like of shape (n_samples,)
        The block of each volume. Volumes of one run whose entries are equal are averaged, whether
        or not they follow each other: labels give one mean per label and run. A negative number,
        the empty string or a missing value stands for no block.

    Returns
    -------
    means : NiftiSamples
        One sample per block, run by run, in the order in which runs and blocks first appear, with
        the label that all volumes of the block share, and with their group, run and subject. The
        means are computed when they are first read, in bounded memory, from the volumes in their
        files, and kept in the cache directory (4 bytes per voxel and block). For a slab only voxels
        that have a part in it are kept. Values that are not finite count as 0.

    Raises
    ------
    ValueError
        If volumes of one block differ in their labels, if a run belongs to several groups, if there
        is not one entry per volume, or if no volume is in a block.

    Warns
    -----
    UserWarning
        When data are read, for each run with values that are not finite in voxels that have finite
        ones, too.

    See Also
    --------
    estimate_trials : Samples from events that follow each other too fast for means.

    Examples
    --------
    >>> import numpy as np
    >>> from skfmri import NiftiSamples, average_blocks
    >>> volumes = np.arange(6.0).reshape(6, 1, 1, 1) * np.ones((6, 2, 3, 4))
    >>> samples = NiftiSamples.from_array(volumes, np.eye(4), y=["a", "a", "", "b", "b", "b"])
    >>> means = average_blocks(samples, [0, 0, -1, 1, 1, 1])
    >>> means.y.tolist(), np.asarray(means)[:, 0, 0, 0].tolist()
    (['a', 'b'], [0.5, 4.0])
    """
    samples = as_samples(samples, "average_blocks")
    names, is_used = _names_of_blocks(blocks, len(samples))
    rows_of_runs, weights_of_runs, labels = [], [], []
    for run in dict.fromkeys(samples.runs.tolist()):
        rows = np.flatnonzero((samples.runs == run) & is_used)
        if not len(rows):
            continue
        check_one_group(samples, rows, "Averaging it")
        members = names[rows] == pd.unique(names[rows])[:, np.newaxis]
        rows_of_runs.append(rows)
        weights_of_runs.append(members / members.sum(axis=1, keepdims=True))
        if samples.y is not None:
            labels += [_label_of_block(samples.y[rows[block]], run, rows) for block in members]
    means = combine_runs(
        samples,
        rows_of_runs,
        weights_of_runs,
        name="block means",
        derivation=("average_blocks", {}),
        removes_mean=False,
    )
    means.y = None if samples.y is None else labels
    return means


def _names_of_blocks(blocks, n_samples):
    """Return numbers that are equal for equal entries, and which volumes are in a block."""
    blocks = pd.Series(blocks).reset_index(drop=True)
    if len(blocks) != n_samples:
        raise ValueError(
            f"Found {len(blocks)} blocks for {n_samples} volumes. Pass one per volume."
        )
    is_used = blocks.notna() & (blocks.astype(str) != "")
    if pd.api.types.is_numeric_dtype(blocks) and not pd.api.types.is_bool_dtype(blocks):
        is_used &= blocks.fillna(-1) >= 0
    if not is_used.any():
        raise ValueError(
            f"None of the {n_samples} volumes is in a block: all entries of blocks are negative, "
            "empty or missing. Pass the block of each volume."
        )
    return blocks.factorize()[0], is_used.to_numpy()


def _label_of_block(labels, run, rows):
    """Return the label that the volumes of a block share, or raise ValueError."""
    found = pd.unique(labels)
    if len(found) > 1:
        raise ValueError(
            f"A block of run {run} holds volumes with {len(found)} labels: "
            f"{', '.join(map(str, found[:5]))}. Give a new block where the label changes."
        )
    return found[0]
