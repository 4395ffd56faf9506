"""Removal of each run's drift from time series."""

import warnings

import joblib
import nilearn
import numpy as np
from nilearn.signal import clean

from skfmri._sources import read_volumes
from skfmri._store import stored_file
from skfmri.samples import NiftiSamples, as_samples


def clean_runs(
    samples, *, detrend=True, standardize=True, high_pass=None, t_r=None, confounds=None
):
    """Remove drift and scale from the time series of every run.

    Scanner drift is often larger than any effect, so a time series must be cleaned before
    volumes are selected and classified. Each run is cleaned by itself and no label is looked
    at, hence cleaning may stand before cross-validation as long as no run is split by it: a run
    that lies in two groups is refused. Unlike the `runs` argument of nilearn's own function, the
    order of the samples is kept, whatever the order of the runs.

    Parameters
    ----------
    samples : NiftiSamples or images
        Whole runs in time order; `samples.runs` says which volumes form one run.
    detrend : bool, default=True
        Whether to remove a linear trend from each voxel's time series.
    standardize : bool, default=True
        Whether to bring each voxel's time series to zero mean and unit standard deviation
        (with ``n - 1`` degrees of freedom). A constant voxel becomes 0.
    high_pass : float, default=None
        Lowest frequency to keep, in Hz; needs `t_r`.
    t_r : float, default=None
        Time from one volume to the next, in seconds.
    confounds : array-like of shape (n_samples, n_confounds) or list of them, default=None
        Signals to regress out: one row per sample, or a list with one array for each run in
        the order in which runs first appear.

    Returns
    -------
    cleaned : NiftiSamples
        The same samples in the same order, with the same labels, groups and runs. The work is
        done when data are first read, once per machine, run by run in bounded memory. Values that
        are not finite count as 0.

    Raises
    ------
    ValueError
        If a run lies in more than one group or 4-D image or has fewer than 3 volumes, if
        `high_pass` comes without `t_r`, or if `confounds` are not finite or do not fit.

    Warns
    -----
    UserWarning
        If volumes are missing inside a run: cleaning then takes unequal time steps for equal.

    See Also
    --------
    nilearn.signal.clean : Does the work, for one run at a time.

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
    _check_filter(high_pass, t_r)
    rows_of_runs = _rows_in_time_order(samples)
    source = _CleanedSource(
        samples,
        rows_of_runs,
        _confounds_of_runs(confounds, rows_of_runs, len(samples)),
        {
            "detrend": detrend,
            "standardize": "zscore_sample" if standardize else None,
            "high_pass": high_pass,
            "t_r": t_r,
            "filter": "butterworth" if high_pass else False,
        },
    )
    return NiftiSamples._from_source(source, samples.y, samples.groups, samples.runs)


class _CleanedSource:
    """Volumes of some samples after cleaning, computed when they are first read."""

    def __init__(self, samples, rows_of_runs, confounds, parameters):
        self.samples = samples
        self.rows_of_runs = rows_of_runs
        self.confounds = confounds
        self.parameters = parameters
        self.affine = samples.affine
        self.grid_shape, self.n_volumes = samples.grid_shape, len(samples)
        self.name = "cleaned runs"
        self._known_key = None

    def __getstate__(self):
        # The hash of samples must not depend on whether they have been read.
        return {**self.__dict__, "_known_key": None}

    def check_unchanged(self):
        """Raise ValueError if a file was rewritten since its header was read."""
        for source in self.samples._sources:
            source.check_unchanged()

    def _key(self):
        """Return a hash of all that decides on the cleaned data; labels and groups do not."""
        self.check_unchanged()
        if self._known_key is None:
            samples = self.samples
            data = samples._sources, samples._source_index, samples._volume_index
            recipe = self.rows_of_runs, self.confounds, self.parameters, nilearn.__version__
            self._known_key = joblib.hash((data, recipe))
        return self._known_key

    def read(self, volumes):
        """Return the volumes at some positions, as ``(k, x, y, z)`` of float32."""
        n_bytes = 4 * self.n_volumes * int(np.prod(self.grid_shape))
        path = stored_file(self._key(), n_bytes, self._write, "the cleaned runs")
        return read_volumes(path, 0, np.dtype(np.float32), self.grid_shape, volumes)

    def _write(self, path):
        # Written, not mapped: a full disk is then an error and not the end of the process.
        with open(path, "wb") as file:
            for rows, cleaned in self._cleaned_runs():
                for row, volume in zip(rows, cleaned, strict=True):
                    file.seek(int(row) * volume.nbytes)
                    file.write(volume.tobytes())

    def _cleaned_runs(self):
        for rows, confounds in zip(self.rows_of_runs, self.confounds, strict=True):
            volumes = np.asarray(self.samples[rows]).transpose(0, 3, 2, 1)
            try:
                signals = clean(
                    volumes.reshape(len(rows), -1),
                    confounds=confounds,
                    ensure_finite=True,
                    **self.parameters,
                )
            except ValueError as error:
                run = self.samples.runs[rows[0]]
                hint = " A high-pass filter needs longer runs." * bool(self.parameters["high_pass"])
                raise ValueError(
                    f"Run {run} with {len(rows)} volumes cannot be cleaned: {error}{hint}"
                ) from error
            yield rows, signals.reshape(volumes.shape).astype(np.float32)


def _check_filter(high_pass, t_r):
    if t_r is not None and not t_r > 0:
        raise ValueError(f"t_r must be a positive number of seconds, but is {t_r}.")
    if high_pass is None:
        return
    if t_r is None:
        raise ValueError(
            f"high_pass={high_pass} Hz needs the time between volumes. Pass t_r in seconds."
        )
    if not 0 < high_pass < 0.5 / t_r:
        raise ValueError(
            f"high_pass must lie between 0 and half the sampling rate ({0.5 / t_r:.4g} Hz for "
            f"t_r={t_r} s), but is {high_pass}."
        )


def _rows_in_time_order(samples):
    """Return for each run the rows of its samples in time order, or raise ValueError."""
    rows_of_runs, with_gaps = [], []
    counts = np.array([source.n_volumes for source in samples._sources])
    starts = np.cumsum(counts) - counts
    for run in dict.fromkeys(samples.runs.tolist()):
        rows = np.flatnonzero(samples.runs == run)
        groups = np.unique(samples.groups[rows])
        if len(groups) > 1:
            raise ValueError(
                f"Run {run} lies in {len(groups)} groups ({', '.join(map(str, groups[:5]))}). "
                "Cleaning it would let training and test data meet. Make runs no larger than "
                "groups, or give the runs of the scanner through runs=."
            )
        if len(rows) < 3:
            raise ValueError(
                f"Run {run} has {len(rows)} volume{'s' if len(rows) > 1 else ''}; cleaning needs "
                "at least 3. Say through runs= which volumes were acquired in one go."
            )
        # One image is one stretch of time; images of a single volume follow each other.
        images = np.unique(samples._source_index[rows])
        if len(images) > 1 and counts[images].max() > 1:
            raise ValueError(
                f"Run {run} lies in {len(images)} images, which were not acquired in one go. Give "
                "the runs of each image labels of their own."
            )
        times = starts[samples._source_index[rows]] + samples._volume_index[rows]
        order = np.argsort(times, kind="stable")
        if (np.diff(times[order]) != 1).any():
            with_gaps.append(run)
        rows_of_runs.append(rows[order])
    if with_gaps:
        warnings.warn(
            f"{len(with_gaps)} of {len(rows_of_runs)} runs, such as run {with_gaps[0]}, have gaps "
            "or repeated volumes, so cleaning would take unequal time steps for equal ones. Clean "
            "whole runs first and select volumes afterwards.",
            UserWarning,
            stacklevel=3,
        )
    return rows_of_runs


def _confounds_of_runs(confounds, rows_of_runs, n_samples):
    """Return one array of confounds, or None, per run."""
    if confounds is None:
        return [None] * len(rows_of_runs)
    if not isinstance(confounds, (list, tuple)):
        confounds = np.asarray(confounds, dtype=float)
        confounds = confounds.reshape(len(confounds), -1)
        if len(confounds) != n_samples:
            raise ValueError(
                f"Found {len(confounds)} rows of confounds for {n_samples} volumes. "
                "Pass one row per volume."
            )
        return _finite([confounds[rows] for rows in rows_of_runs])
    if len(confounds) != len(rows_of_runs):
        raise ValueError(
            f"Found confounds for {len(confounds)} runs, but samples of {len(rows_of_runs)} runs. "
            "Pass one array per run."
        )
    arrays = [np.asarray(table, dtype=float) for table in confounds]
    for i, (table, rows) in enumerate(zip(arrays, rows_of_runs, strict=True)):
        if len(table) != len(rows):
            raise ValueError(
                f"The confounds of run {i} have {len(table)} rows, but the run has {len(rows)} "
                "volumes. Pass one row per volume."
            )
    return _finite([table.reshape(len(table), -1) for table in arrays])


def _finite(tables):
    """Return confounds, or raise ValueError where one is NaN or infinite."""
    for i, table in enumerate(tables):
        bad = np.argwhere(~np.isfinite(table))
        if len(bad):
            raise ValueError(
                f"The confounds of run {i} hold {len(bad)} values that are not finite, first in "
                f"row {bad[0][0]}, column {bad[0][1]}. Replace them, for example by 0 or the mean."
            )
    return tables
