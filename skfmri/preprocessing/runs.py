"""Checks on runs of volumes, or on what is known of each."""

import warnings

import numpy as np

from skfmri.samples.nifti import list_images
from skfmri.temporal.cleaning import clean_columns, removed_share

# Removing a trend from two maps of each of two conditions in random order takes a third.
LARGEST_REMOVED_SHARE = 0.3


def check_one_group(samples, rows, action):
    """Raise ValueError if a run, of which some rows are given, lies in several groups."""
    groups = np.unique(samples.groups[rows])
    if len(groups) > 1:
        raise ValueError(
            f"Run {samples.runs[rows[0]]} lies in {len(groups)} groups "
            f"({', '.join(map(str, groups[:5]))}). {action} would mix training and test data. "
            "Make runs no larger than groups, or pass the runs of the scanner as runs=."
        )


def rows_in_time_order(samples, action, noun, of_maps):
    """Return the rows of each run in time order, and their times counted in volumes.

    Parameters
    ----------
    samples : NiftiSamples
        Volumes of runs.
    action, noun : str
        What is done to runs, for messages, such as "Cleaning it" and "cleaning".
    of_maps : str
        What to do with maps, which are not a time series.

    Returns
    -------
    rows_of_runs : list of ndarray of int
        Runs in the order in which they first appear.
    times_of_runs : list of ndarray of int
        0 for the first volume of each run.

    Raises
    ------
    ValueError
        If a run lies in several groups or images, or has fewer than 3 volumes.
    """
    rows_of_runs, times_of_runs = [], []
    counts = np.array([n_volumes for _, n_volumes in list_images(samples)])
    starts = np.cumsum(counts) - counts
    image_of, position_of = samples.acquisition_order()
    for run in dict.fromkeys(samples.runs.tolist()):
        rows = np.flatnonzero(samples.runs == run)
        check_one_group(samples, rows, action)
        if len(rows) < 3:
            raise ValueError(
                f"Run {run} has {len(rows)} volume{'s' if len(rows) > 1 else ''}; {noun} needs "
                "at least 3. For a time series, pass the scanner run of each volume as runs=. "
                f"{of_maps}"
            )
        # A 4-D image is one stretch of time; images of a single volume follow each other.
        images = np.unique(image_of[rows])
        if len(images) > 1 and counts[images].max() > 1:
            raise ValueError(
                f"Run {run} lies in {len(images)} images, but a run cannot extend over several "
                "images. Give the runs of each image different labels."
            )
        times = starts[image_of[rows]] + position_of[rows]
        order = np.argsort(times, kind="stable")
        rows_of_runs.append(rows[order])
        times_of_runs.append(times[order] - times[order[0]])
    return rows_of_runs, times_of_runs


def t_r_of_runs(t_r, high_pass, names):
    """Return the time between volumes of each run, or raise ValueError."""
    if high_pass is not None and t_r is None:
        raise ValueError(
            f"high_pass={high_pass} Hz needs the time between volumes. Pass t_r in seconds."
        )
    times = [t_r] * len(names) if np.ndim(t_r) == 0 else list(t_r)
    if len(times) != len(names):
        raise ValueError(
            f"Found {len(times)} values of t_r for {len(names)} runs. Pass one per run, or one "
            "number for all."
        )
    for time in set(times) - {None}:
        if not time > 0:
            raise ValueError(f"t_r must be a positive number of seconds, but is {time}.")
        if high_pass is not None and not 0 < high_pass < 0.5 / time:
            raise ValueError(
                f"high_pass must lie between 0 and half the sampling rate ({0.5 / time:.4g} Hz "
                f"for t_r={time} s), but is {high_pass}."
            )
    return [None if time is None else float(time) for time in times]


def kept_of_runs(masks, names, lengths):
    """Return for each run the positions of the volumes that are kept, or raise ValueError."""
    if masks is None:
        return [np.arange(length) for length in lengths]
    is_one_mask = all(mask is not None and np.ndim(mask) == 0 for mask in masks)
    masks = [masks] if is_one_mask and len(names) == 1 else list(masks)
    if len(masks) != len(names):
        raise ValueError(
            f"Found sample masks for {len(masks)} runs, but samples of {len(names)} runs. Pass "
            "one mask per run, None if all volumes are kept."
        )
    return [_positions(*run) for run in zip(masks, names, lengths, strict=True)]


def _positions(mask, name, length):
    """Return the positions in a run that a mask keeps, sorted, or raise ValueError."""
    mask = np.arange(length) if mask is None else np.asarray(mask)
    if mask.dtype == bool and len(mask) != length:
        raise ValueError(
            f"The sample mask of run {name} has {len(mask)} entries for {length} volumes. Pass "
            "one boolean per volume, or the positions of those to keep."
        )
    kept = np.flatnonzero(mask) if mask.dtype == bool else np.unique(mask)
    if len(kept) < 3:
        raise ValueError(
            f"The sample mask of run {name} keeps {len(kept)} of {length} volumes; cleaning "
            "needs at least 3. Leave the run out, or scrub less."
        )
    if kept.dtype.kind not in "iu" or kept[0] < 0 or kept[-1] >= length:
        raise ValueError(
            f"The sample mask of run {name} names the positions {kept[0]} to {kept[-1]}, but the "
            f"run has the volumes 0 to {length - 1}. Pass positions within each run."
        )
    return kept


def split_pair(confounds, sample_masks, n_runs):
    """Return confounds and masks, also if they came as the pair that nilearn's loader returns.

    Parameters
    ----------
    confounds, sample_masks
        As in `clean_runs`.
    n_runs : int
        Number of runs.

    Returns
    -------
    confounds, sample_masks
    """
    if not isinstance(confounds, tuple) or len(confounds) != 2:
        return confounds, sample_masks
    tables, masks = confounds
    of_list = isinstance(tables, list) and len(tables) == n_runs
    of_one = n_runs == 1 and np.ndim(tables) == 2
    if not (of_list or of_one):
        return confounds, sample_masks
    if sample_masks is not None:
        raise ValueError(
            "confounds is a pair of confounds and sample masks, but sample_masks is given, too. "
            "Pass confounds[0] and the masks that are to be used."
        )
    return tables if of_list else [tables], masks


def confounds_of_runs(confounds, names, rows_of_runs):
    """Return one array of confounds, or None, per run."""
    if confounds is None:
        return [None] * len(names)
    if not isinstance(confounds, (list, tuple)):
        n_samples = sum(map(len, rows_of_runs))
        if len(confounds) != n_samples:
            raise ValueError(
                f"Found {len(confounds)} rows of confounds for {n_samples} volumes. "
                "Pass one row per volume."
            )
        confounds = np.asarray(confounds, dtype=float)
        confounds = [confounds[rows] for rows in rows_of_runs]
    if len(confounds) != len(names):
        raise ValueError(
            f"Found confounds for {len(confounds)} runs, but samples of {len(names)} runs. "
            "Pass one array per run."
        )
    arrays = []
    for table, name, rows in zip(confounds, names, rows_of_runs, strict=True):
        if table is not None and len(table) != len(rows):
            raise ValueError(
                f"The confounds of run {name} have {len(table)} rows, but the run has "
                f"{len(rows)} volumes. Pass one row per volume."
            )
        # nilearn gives a table without columns for strategies that clean beforehand.
        is_empty = table is None or np.size(table) == 0
        # In C order whatever the table's order, so that equal values give equal digests.
        values = None if is_empty else np.array(table, dtype=float, order="C")
        arrays.append(None if is_empty else values.reshape(len(rows), -1))
    return arrays


def check_confounds(confounds, kept, names, n_trends):
    """Raise ValueError if confounds are not finite, or leave nothing of a run."""
    for table, rows, name in zip(confounds, kept, names, strict=True):
        if table is None:
            continue
        bad = np.argwhere(~np.isfinite(table[rows]))
        if len(bad):
            raise ValueError(
                f"The confounds of run {name} hold {len(bad)} values that are not finite, first in "
                f"row {rows[bad[0][0]]}, column {bad[0][1]}. Replace them, for example by 0 or the "
                "mean."
            )
        columns = np.column_stack([np.vander(np.arange(len(rows)), n_trends), table[rows]])
        # Columns may differ in scale by many orders of magnitude without being dependent.
        lengths = np.linalg.norm(columns, axis=0)
        if np.linalg.matrix_rank(columns / np.where(lengths > 0, lengths, 1)) >= len(rows):
            raise ValueError(
                f"Run {name} keeps {len(rows)} volumes, of which {table.shape[1]} confounds with "
                "mean and trend leave nothing. Regress out fewer confounds, or leave the run out."
            )


def check_filter(high_pass, t_r, kept, names):
    """Raise ValueError if a run is too short for the filter."""
    if high_pass is None:
        return
    # Whether nilearn takes a run depends on its length alone.
    runs = {rows[-1] + 1 - rows[0]: run for *run, rows in zip(names, t_r, kept, strict=True)}
    for length, (name, time) in runs.items():
        try:
            zeros, whole = np.zeros((length, 1)), np.arange(length)
            clean_columns(zeros, whole, None, detrend=False, high_pass=high_pass, t_r=time)
        except ValueError as error:
            raise ValueError(
                f"Run {name} with {length} volumes cannot be cleaned: {error} A high-pass filter "
                "needs longer runs."
            ) from error


def warn_of_labels(labels, kept, t_r, drift):
    """Warn if removing drift would take away much of what distinguishes the labels in a run."""
    share = _mean_share(labels, kept, t_r, drift)
    if not share > LARGEST_REMOVED_SHARE:
        return
    lengths = sorted(map(len, kept))
    what, advice = [], []
    without_filter = _mean_share(labels, kept, t_r, {**drift, "high_pass": None})
    if drift["detrend"]:
        what.append("a linear trend")
    if drift["detrend"] and without_filter > LARGEST_REMOVED_SHARE:
        advice.append("detrend=False if the volumes are maps or so few that drift does not matter")
    if drift["high_pass"] is not None:
        what.append(f"frequencies below {drift['high_pass']:g} Hz")
        advice.append("a lower high_pass, or None, if conditions alternate slowly")
    warnings.warn(
        f"Removing {' and '.join(what)} from runs of {lengths[0]} to {lengths[-1]} volumes removes "
        f"{share:.0%} of the variance of the labels within runs, and as much of their effect. "
        f"Pass {'; or '.join(advice)}.",
        UserWarning,
        stacklevel=3,
    )


def _mean_share(labels, kept, t_r, drift):
    """Return the share of the labels' variance that is removed, averaged over runs."""
    if not drift["detrend"] and drift["high_pass"] is None:
        return 0.0
    runs = zip(labels, kept, t_r, strict=True)
    shares = [removed_share(names, rows, t_r=time, **drift) for names, rows, time in runs]
    shares = [share for share in shares if not np.isnan(share)]
    return float(np.mean(shares)) if shares else 0.0
