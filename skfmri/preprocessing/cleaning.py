"""Removal of drift from the time series of each run."""

import warnings

import numpy as np

from skfmri.preprocessing.runs import (
    check_confounds,
    confounds_of_runs,
    kept_of_runs,
    t_r_of_runs,
)
from skfmri.samples import as_samples
from skfmri.samples.cleaned import CleanedSource
from skfmri.samples.nifti import list_images, samples_from_source


def clean_runs(
    samples,
    *,
    detrend=True,
    standardize=True,
    high_pass=None,
    t_r=None,
    confounds=None,
    sample_masks=None,
):
    """Remove drift and scale from the time series of every run.

    Scanner drift is often larger than any effect, so a time series must be cleaned before
    volumes are selected and classified. Each run is cleaned separately without its labels, so
    cleaning may come before cross-validation as long as that splits no run: a run with two groups
    is refused. Unlike with the `runs` argument of nilearn's function, the order of the samples is
    kept, whatever the order of the runs.

    Parameters
    ----------
    samples : NiftiSamples or images
        Whole runs in time order; `samples.runs` names the run of each volume.
    detrend : bool, default=True
        Whether to remove a linear trend from each voxel's time series.
    standardize : bool, default=True
        Whether to scale each voxel's time series to zero mean and unit standard deviation
        (with ``n - 1`` degrees of freedom). A constant voxel becomes 0.
    high_pass : float, default=None
        Lowest frequency to keep, in Hz; needs `t_r`.
    t_r : float or sequence of float, default=None
        Time from one volume to the next, in seconds; a sequence has one time per run, in the
        order in which runs first appear.
    confounds : array-like of shape (n_samples, n_confounds) or list of them, default=None
        Signals to regress out: one row per sample, or a list with one table per run, in the
        order in which runs first appear. None in the list means a run without confounds. Rows of
        volumes that are left out may hold anything.
    sample_masks : array-like or list of array-like, default=None
        Volumes to keep of each run, as positions in the run or as booleans: a list with one mask
        per run, in the order in which runs first appear; None in it keeps a whole run. For a
        single run the mask itself will do. The other volumes, such as those with much motion, do
        not affect the fit, and are **not among the samples returned**.

    Returns
    -------
    cleaned : NiftiSamples
        The samples that are kept, in the same order, with their labels, groups and runs. They are
        cleaned when data are first read, once per machine, run by run in bounded memory. Values
        that are not finite count as 0.

    Raises
    ------
    ValueError
        If a run belongs to more than one group or 4-D image or keeps fewer than 3 volumes, if
        `high_pass` is given without `t_r`, or if confounds or masks do not match the runs, hold
        values that are not finite, or are so many that nothing of a run would be left.

    Warns
    -----
    UserWarning
        If volumes are missing inside a run: cleaning then treats unequal time steps as equal.

    See Also
    --------
    nilearn.signal.clean : Cleans one run at a time.
    nilearn.interfaces.fmriprep.load_confounds : Returns `confounds` and `sample_masks` for a list
        of images.

    Notes
    -----
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
    rows_of_runs = _rows_in_time_order(samples)
    names = samples.runs[[rows[0] for rows in rows_of_runs]].tolist()
    lengths = [len(rows) for rows in rows_of_runs]
    t_r = t_r_of_runs(t_r, high_pass, names)
    kept = kept_of_runs(sample_masks, names, lengths)
    confounds = confounds_of_runs(confounds, names, rows_of_runs)
    check_confounds(confounds, kept, names, 1 + bool(detrend))
    parameters = {
        "detrend": detrend,
        "standardize": "zscore_sample" if standardize else None,
        "high_pass": high_pass,
        "filter": "butterworth" if high_pass else False,
    }
    volumes = samples[:]
    # Whatever the labels and groups, the same volumes share one cleaned copy.
    volumes.y, volumes.groups = None, volumes.runs
    source = CleanedSource(volumes, rows_of_runs, kept, confounds, t_r, parameters)
    cleaned = samples_from_source(source, y=samples.y, groups=samples.groups, runs=samples.runs)
    if sample_masks is None:
        return cleaned
    return cleaned[np.sort(np.concatenate([r[k] for r, k in zip(rows_of_runs, kept, strict=True)]))]


def _rows_in_time_order(samples):
    """Return for each run the rows of its samples in time order, or raise ValueError."""
    rows_of_runs, with_gaps = [], []
    counts = np.array([n_volumes for _, n_volumes in list_images(samples)])
    starts = np.cumsum(counts) - counts
    image_of, position_of = samples.acquisition_order()
    for run in dict.fromkeys(samples.runs.tolist()):
        rows = np.flatnonzero(samples.runs == run)
        groups = np.unique(samples.groups[rows])
        if len(groups) > 1:
            raise ValueError(
                f"Run {run} lies in {len(groups)} groups ({', '.join(map(str, groups[:5]))}). "
                "Cleaning it would mix training and test data. Make runs no larger than groups, or "
                "pass the runs of the scanner as runs=."
            )
        if len(rows) < 3:
            raise ValueError(
                f"Run {run} has {len(rows)} volume{'s' if len(rows) > 1 else ''}; cleaning needs "
                "at least 3. Pass the scanner run of each volume as runs=."
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
        if (np.diff(times[order]) != 1).any():
            with_gaps.append(run)
        rows_of_runs.append(rows[order])
    if with_gaps:
        warnings.warn(
            f"{len(with_gaps)} of {len(rows_of_runs)} runs, such as run {with_gaps[0]}, have gaps "
            "or repeated volumes, so cleaning would treat unequal time steps as equal. Clean whole "
            "runs first and select volumes afterwards.",
            UserWarning,
            stacklevel=3,
        )
    return rows_of_runs
