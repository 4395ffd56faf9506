"""Volumes of runs that are cleaned when they are first read."""

import joblib
import nilearn
import numpy as np

from skfmri._cache import stored_file
from skfmri.samples.images import read_volumes
from skfmri.temporal.cleaning import clean_run


class CleanedSource:
    """Volumes of some samples after cleaning, computed when they are first read."""

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
            runs = self.rows_of_runs, self.kept, self.confounds, self.t_r
            self._known_key = joblib.hash((data, runs, self.parameters, nilearn.__version__))
        return self._known_key

    def read(self, volumes):
        """Return the volumes at some positions, as ``(k, x, y, z)`` of float32."""
        n_bytes = 4 * self.n_volumes * int(np.prod(self.grid_shape))
        path = stored_file(self._key(), n_bytes, self._write, "the cleaned runs")
        return read_volumes(path, 0, np.dtype(np.float32), self.grid_shape, volumes)

    def _write(self, path):
        # Written, not mapped: a full disk is then an error and not the end of the process.
        with open(path, "wb") as file:
            file.truncate(4 * self.n_volumes * int(np.prod(self.grid_shape)))
            for rows, cleaned in self._cleaned_runs():
                for row, volume in zip(rows, cleaned, strict=True):
                    file.seek(int(row) * volume.nbytes)
                    file.write(volume.tobytes())

    def _cleaned_runs(self):
        """Yield for each run the rows that are kept, in time order, with their volumes."""
        runs = zip(self.rows_of_runs, self.kept, self.confounds, self.t_r, strict=True)
        for rows, kept, confounds, t_r in runs:
            volumes = np.asarray(self.samples[rows]).transpose(0, 3, 2, 1)
            signals = volumes.reshape(len(rows), -1)
            try:
                signals = clean_run(signals, kept, confounds, {**self.parameters, "t_r": t_r})
            except ValueError as error:
                run = self.samples.runs[rows[0]]
                hint = " A high-pass filter needs longer runs." * bool(self.parameters["high_pass"])
                raise ValueError(
                    f"Run {run} with {len(kept)} volumes cannot be cleaned: {error}{hint}"
                ) from error
            yield rows[kept], signals.reshape(-1, *volumes.shape[1:]).astype(np.float32)
