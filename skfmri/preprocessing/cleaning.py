"""Removal of drift from the time series of each run."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from skfmri.preprocessing.runs import (
    check_confounds,
    check_filter,
    confounds_of_runs,
    kept_of_runs,
    rows_in_time_order,
    split_pair,
    t_r_of_runs,
    warn_of_labels,
)
from skfmri.samples import as_samples
from skfmri.samples.cleaned import RunSource, RunStep
from skfmri.samples.nifti import samples_from_source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skfmri._types import ImageSamples, Values
    from skfmri.samples import NiftiSamples


def clean_runs(
    samples: ImageSamples,
    *,
    detrend: bool = True,
    standardize: bool = True,
    high_pass: float | None = None,
    t_r: float | Sequence[float] | None = None,
    confounds: Values | None = None,
    sample_masks: Values | None = None,
) -> NiftiSamples:
    """Remove drift and scale from the time series of every run.

    Scanner drift is often larger than any effect, so a time series must be cleaned before
    volumes are selected and classified. Each run is cleaned separately without its labels, so
    cleaning may come before cross-validation as long as that splits no run: a run with two groups
    is refused. Unlike with the `runs` argument of nilearn's function, the order of the samples is
    kept, whatever the order of the runs.

    Maps, such as contrasts or parameter estimates, are not a time series and need no cleaning: a
    trend through the few maps of a subject removes most of any effect if their order is fixed.

    Parameters
    ----------
    samples : NiftiSamples or images
        Whole runs in time order; `samples.runs` names the run of each volume.
    detrend : bool, default=True
        Whether to remove a linear trend from each voxel's time series. If the conditions of a run
        follow each other slowly or in few volumes, the trend takes part of their effect with it.
    standardize : bool, default=True
        Whether to scale each voxel's time series to zero mean and unit standard deviation
        (with ``n - 1`` degrees of freedom). A constant voxel becomes 0.
    high_pass : float, default=None
        Lowest frequency to keep, in Hz, by a Butterworth filter of order 5 that runs forwards and
        backwards; needs `t_r`. A condition that recurs more slowly is removed.
    t_r : float or sequence of float, default=None
        Time from one volume to the next, in seconds; a sequence has one time per run, in the
        order in which runs first appear.
    confounds : array-like of shape (n_samples, n_confounds) or list of them, default=None
        Signals to regress out: one row per sample, or a list with one table per run, in the
        order in which runs first appear. None in the list means a run without confounds. Rows of
        volumes that are left out may hold anything. The pair of confounds and sample masks that
        nilearn's `load_confounds` returns is taken as it is.
    sample_masks : array-like or list of array-like, default=None
        Volumes to keep of each run, as positions in the run or as booleans: a list with one mask
        per run, in the order in which runs first appear; None in it keeps a whole run. For a
        single run the mask itself will do. The other volumes, such as those with much motion, do
        not affect the fit, and are **not among the samples returned**.

    Returns
    -------
    cleaned : NiftiSamples
        The samples that are kept, in the same order, with their labels, groups and runs. A run is
        cleaned when its data are first read, in bounded memory, into files of its own in the
        cache directory (4 bytes per voxel and volume), which all processes share and later calls
        use again, whatever the other runs. For a slab only voxels that have a part in it are kept.
        Files that were not used for 30 days, or ``$SKFMRI_CACHE_DAYS``, are deleted. Values that
        are not finite count as 0.

    Raises
    ------
    ValueError
        If a run belongs to more than one group or 4-D image or keeps fewer than 3 volumes, if
        `high_pass` is given without `t_r` or the run is too short for it, or if confounds or masks
        do not match the runs, hold values that are not finite, or are so many that nothing of a
        run would be left.

    Warns
    -----
    UserWarning
        If volumes are missing inside a run: cleaning then treats unequal time steps as equal. If
        removing drift takes away more than 30 % of the variance of the labels within runs, because
        runs are short or their labels change slowly. When data are read, for each run with values
        that are not finite in voxels that have finite ones, too.

    See Also
    --------
    nilearn.signal.clean : Cleans one run at a time.
    nilearn.interfaces.fmriprep.load_confounds : Returns `confounds` and `sample_masks` for a list
        of images.

    Notes
    -----
    A run is multiplied by one matrix, whose columns are the answers of `nilearn.signal.clean` to
    unit impulses, in float64; results are stored as float32. They equal nilearn's, but for
    voxels that do not vary over the volumes that are kept, or only in the last digits once they
    are cleaned. If a trend, a filter or the scale is removed, these become 0; nilearn may scale
    their rounding errors to unit variance. For the same reason confounds of which
    cleaning leaves only rounding errors, such as constants, are ignored.

    Volumes that a mask leaves out are removed before trends and confounds are fitted. A
    high-pass filter needs equal steps in time, so for the filter they are bridged by a cubic
    spline through the others and removed afterwards; at the ends of a run they are cut
    off before filtering. Nilearn 0.14.1 intends the same, but keeps a volume if its mirror image in
    time is also left out, and shifts the volumes that it keeps if some are left out at both ends
    of a run.

    Examples
    --------
    >>> import numpy as np
    >>> from skfmri import NiftiSamples, clean_runs
    >>> drift = np.arange(10.0).reshape(10, 1, 1, 1) * np.ones((10, 2, 2, 2))
    >>> samples = NiftiSamples.from_array(drift, np.eye(4), runs=[0] * 5 + [1] * 5)
    >>> cleaned = clean_runs(samples, standardize=False)
    >>> float(abs(np.asarray(cleaned)).max()) < 1e-6
    True
    """
    samples = as_samples(samples, "clean_runs")
    of_maps = "Maps are not a time series and need no cleaning: leave it out."
    rows_of_runs, times_of_runs = rows_in_time_order(samples, "Cleaning it", "cleaning", of_maps)
    _warn_of_gaps(samples, rows_of_runs, times_of_runs)
    names = samples.runs[[rows[0] for rows in rows_of_runs]].tolist()
    lengths = [len(rows) for rows in rows_of_runs]
    t_r = t_r_of_runs(t_r, high_pass, names)
    confounds, sample_masks = split_pair(confounds, sample_masks, len(names))
    kept = kept_of_runs(sample_masks, names, lengths)
    confounds = confounds_of_runs(confounds, names, rows_of_runs)
    check_confounds(confounds, kept, names, 1 + bool(detrend))
    drift = {"detrend": bool(detrend), "high_pass": high_pass}
    check_filter(high_pass, t_r, kept, names)
    if samples.y is not None:
        warn_of_labels([samples.y[rows] for rows in rows_of_runs], kept, t_r, drift)
    parameters = {**drift, "standardize": bool(standardize)}
    volumes = samples[:]
    # Whatever the labels and groups, the same volumes share one cleaned copy.
    volumes.y, volumes.groups = None, volumes.runs
    steps = [
        _cleaning_step(*run, drift, standardize=bool(standardize))
        for run in zip(rows_of_runs, kept, confounds, t_r, strict=True)
    ]
    settings = {
        **parameters,
        "t_r": sorted(set(t_r) - {None}),
        # Confounds and masks themselves would say nothing to a reader.
        "confounds": any(table is not None for table in confounds),
        "sample_masks": sum(map(len, kept)) < len(samples),
    }
    source = RunSource(
        volumes,
        volumes,
        steps,
        len(samples),
        name="cleaned runs",
        derivation=("clean_runs", settings),
    )
    cleaned = samples_from_source(source, samples)
    if sample_masks is None:
        return cleaned
    return cleaned[np.sort(np.concatenate([r[k] for r, k in zip(rows_of_runs, kept, strict=True)]))]


def _cleaning_step(rows, kept, confounds, t_r, drift, *, standardize):
    """Return how one run is cleaned."""
    rows = rows[kept]
    return RunStep(
        rows=rows,
        outputs=rows,
        cleaning={**drift, "kept": kept, "confounds": confounds, "t_r": t_r},
        standardize=standardize,
        removes_mean=drift["detrend"] or drift["high_pass"] is not None,
    )


def _warn_of_gaps(samples, rows_of_runs, times_of_runs):
    with_gaps = [
        samples.runs[rows[0]]
        for rows, times in zip(rows_of_runs, times_of_runs, strict=True)
        if (np.diff(times) != 1).any()
    ]
    if with_gaps:
        warnings.warn(
            f"{len(with_gaps)} of {len(rows_of_runs)} runs, such as run {with_gaps[0]}, have gaps "
            "or repeated volumes, so cleaning would treat unequal time steps as equal. Clean whole "
            "runs first and select volumes afterwards.",
            UserWarning,
            stacklevel=3,
        )
