"""Volumes of runs that are cleaned when they are first read."""

import joblib
import nilearn
import numpy as np

from skfmri._cache import stored_file
from skfmri.samples.images import read_volumes
from skfmri.samples.nifti import check_unchanged, volumes_key
from skfmri.temporal.cleaning import clean_run


class CleanedSource:
    """Volumes of some samples after cleaning, computed when they are first read.

    Parameters
    ----------
    samples : NiftiSamples
        Volumes before cleaning.
    rows_of_runs : list of ndarray of int
        Rows of the samples of each run, in time order.
    kept : list of ndarray of int
        Positions in each run of the volumes that are kept.
    confounds : list of ndarray or None
        Table of each run.
    t_r : list of float or None
        Seconds from one volume of each run to the next.
    parameters : dict
        For `nilearn.signal.clean`.
    """

    def __init__(self, samples, rows_of_runs, kept, confounds, t_r, parameters):
        self.samples = samples
        self.rows_of_runs = rows_of_runs
        self.kept = kept
        self.confounds = confounds
        self.t_r = t_r
        self.parameters = parameters
        self.affine = samples.affine
        self.grid_shape, self.n_volumes = samples.grid_shape, len(samples)
        self.name = "cleaned runs"
        self._known_key = None

    def __getstate__(self):
        # The hash of samples must not depend on whether they have been read.
        return {**self.__dict__, "_known_key": None}

    @property
    def cleaning(self):
        """Settings as JSON-serialisable values, without the confounds and masks themselves."""
        return {
            "detrend": self.parameters["detrend"],
            "standardize": self.parameters["standardize"] is not None,
            "high_pass": self.parameters["high_pass"],
            "t_r": sorted(set(self.t_r) - {None}),
            "confounds": any(table is not None for table in self.confounds),
            "sample_masks": sum(map(len, self.kept)) < self.n_volumes,
        }

    def check_unchanged(self):
        """Raise ValueError if a file was rewritten since its header was read."""
        check_unchanged(self.samples)

    def _key(self):
        """Return a hash of everything that the cleaned data depend on."""
        self.check_unchanged()
        if self._known_key is None:
            runs = self.rows_of_runs, self.kept, self.confounds, self.t_r
            self._known_key = joblib.hash(
                (volumes_key(self.samples), runs, self.parameters, nilearn.__version__)
            )
        return self._known_key

    def read(self, volumes):
        """Return the volumes at some positions, as ``(k, x, y, z)`` of float32."""
        n_bytes = 4 * self.n_volumes * int(np.prod(self.grid_shape))
        path = stored_file(self._key(), n_bytes, self._write, "the cleaned runs")
        return read_volumes(path, 0, np.dtype(np.float32), self.grid_shape, volumes)

    def _write(self, path):
        # Written, not mapped: a full disk then raises an error instead of killing the process.
        with open(path, "wb") as file:
            file.truncate(4 * self.n_volumes * int(np.prod(self.grid_shape)))
            for rows, cleaned in self._cleaned_runs():
                for row, volume in zip(rows, cleaned, strict=True):
                    file.seek(int(row) * volume.nbytes)
                    file.write(volume.tobytes())

    def _cleaned_runs(self):
        """Yield for each run the rows that are kept, in time order, with their cleaned volumes."""
        runs = zip(self.rows_of_runs, self.kept, self.confounds, self.t_r, strict=True)
        for rows, kept, confounds, t_r in runs:
            volumes = np.asarray(self.samples[rows]).transpose(0, 3, 2, 1)
            signals = volumes.reshape(len(rows), -1)
            try:
                signals = clean_run(signals, kept, confounds, {**self.parameters, "t_r": t_r})
            except ValueError as error:
                run = self.samples.runs[rows[0]]
                message = f"Run {run} with {len(kept)} volumes cannot be cleaned: {error}"
                if self.parameters["high_pass"]:
                    message += " A high-pass filter needs longer runs."
                raise ValueError(message) from error
            yield rows[kept], signals.reshape(-1, *volumes.shape[1:]).astype(np.float32)
