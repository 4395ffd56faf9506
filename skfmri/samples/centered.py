"""Volumes that are centred within groups when they are read."""

import contextlib
import math

import joblib
import numpy as np

from skfmri._cache import LASTING, passing_file, stored_file
from skfmri.samples.cleaned_files import (
    FLOAT,
    read_part,
    read_summary,
    summary_bytes,
    voxels_of,
    write_summary,
)
from skfmri.samples.images import as_volumes, flat
from skfmri.samples.nifti import (
    BATCH_BYTES,
    ancestry,
    check_unchanged,
    list_spaces,
    origin_of,
    stream_batches,
    volumes_key,
)
from skfmri.samples.space import common_space
from skfmri.temporal.cleaning import SMALLEST_SPREAD

# What is subtracted is kept in a file per group, so a map can be read without the others of its
# group. If the maps are themselves derived and can be read in blocks of voxels, so can this: the
# mean of a group is then made, and kept, of the blocks that are asked for.

# A mean in float32 would not lie in the middle of two volumes.
MOMENT = np.dtype(np.float64)
# To be increased if the same key would name different bytes than before.
FORMAT = 1


class CenteredSource:
    """Volumes of samples minus the mean of their group.

    Parameters
    ----------
    samples : NiftiSamples
        Volumes before centring.
    group_of : ndarray of shape (n_samples,), int
        Number of the group of each volume.
    names : list
        Name of each group.
    scale : bool
        Whether to divide by the standard deviation over the group, too.
    is_by_groups : bool
        Whether these groups are those of the samples.
    """

    def __init__(self, samples, group_of, names, *, scale, is_by_groups):
        self.samples, self.group_of, self.names = samples, group_of, names
        self.scale, self.is_by_groups = scale, is_by_groups
        self.affine, self.space = samples.affine, common_space(list_spaces(samples))[0]
        self.grid_shape, self.n_volumes = samples.grid_shape, len(samples)
        self.name = "centred volumes"
        self._keys = {}

    def __getstate__(self):
        # The hash of samples must not depend on whether they have been read.
        return {**self.__dict__, "_keys": None}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._keys = {}

    @property
    def reads_blocks(self):
        """Whether `read` can leave out blocks of voxels, as the volumes before centring can."""
        return origin_of(self.samples).reads_blocks

    @property
    def derivation(self):
        """The function that made the samples, and its settings as JSON-serialisable values."""
        counts = np.bincount(self.group_of)
        return "center_groups", {
            "by": not self.is_by_groups,
            "scale": self.scale,
            "maps_per_group": [int(counts.min()), int(counts.max())],
        }

    def parents(self, volumes):
        """Return for each volume the positions of the samples that it shows."""
        return [[volume] for volume in volumes]

    def check_unchanged(self):
        """Raise ValueError if a file was rewritten since its header was read."""
        check_unchanged(self.samples)

    def read(self, volumes, blocks=None):
        """Return the volumes at some positions, as ``(k, x, y, z)`` of float32.

        Parameters
        ----------
        volumes : array-like of int
            Positions.
        blocks : ndarray of int, default=None
            Numbers of the blocks of voxels that are needed, sorted; other voxels are 0. None needs
            all. Only if `reads_blocks`.
        """
        volumes = np.asarray(volumes, dtype=int)
        voxels, values = self._voxels(blocks), self._read_before(volumes, blocks)
        result = np.zeros(values.shape, np.float32)
        group_of = self.group_of[volumes]
        for group in np.unique(group_of):
            moments = self._moments(group, blocks)
            for row in np.flatnonzero(group_of == group):
                result[row, voxels] = centred(values[row, voxels], *moments)
        return as_volumes(result, self.grid_shape)

    def stream(self, volumes):
        """Yield the volumes at some positions, each as ``(1, x, y, z)``.

        If `reads_blocks`, a group is centred in a file that is deleted afterwards. Only if volumes
        of groups follow each other in turn, what they are made from is kept.
        """
        group_of = self.group_of[volumes]
        stretches = np.split(np.arange(len(group_of)), np.flatnonzero(np.diff(group_of)) + 1)
        if not self.reads_blocks or len(stretches) > len(np.unique(group_of)):
            yield from (self.read([volume]) for volume in volumes)
            return
        for here in stretches:
            group = group_of[here[0]]
            with self._whole_group(group) as read:
                # Costs little now, and much once the group is gone.
                self._summary_file(group, read)
                yield from map(read, np.searchsorted(self._rows(group), volumes[here]))

    def prepare(self, volumes, blocks):
        """Make what reading blocks of some volumes will need."""
        groups = np.unique(self.group_of[volumes])
        rows = np.concatenate([self._rows(group) for group in groups])
        origin_of(self.samples).prepare(self.samples[rows].acquisition_order()[1], blocks)
        for group in groups:
            self._moments_file(group, blocks)

    def summaries(self, volumes):
        """Yield the summary of each group that some volumes come from, and their places in it."""
        group_of = self.group_of[volumes]
        for group in np.unique(group_of):
            rows, path = self._rows(group), self._summary_file(group)
            places = np.searchsorted(rows, volumes[group_of == group])
            yield read_summary(path, len(rows), self.grid_shape), places

    def watched(self, on_run):
        """Give a context in which a function is called each time before a run is cleaned."""
        return origin_of(self.samples).watched(on_run)

    def _rows(self, group):
        return np.flatnonzero(self.group_of == group)

    def _voxels(self, blocks):
        return slice(None) if blocks is None else voxels_of(blocks, self.grid_shape)

    def _read_before(self, volumes, blocks):
        """Return volumes before centring, as ``(k, n_voxels)`` in the order of a NIfTI file."""
        samples = self.samples[volumes]
        if blocks is None:
            return flat(next(samples.iter_batches(len(samples))))
        return flat(origin_of(samples).read(samples.acquisition_order()[1], blocks))

    def _moments(self, group, blocks):
        """Return what `centred` needs of a group, for the voxels in some blocks."""
        path = self._moments_file(group, blocks)
        return np.fromfile(path, MOMENT).reshape(1 + self.scale, -1)

    def _moments_file(self, group, blocks):
        rows, voxels = self._rows(group), self._voxels(blocks)
        n_voxels = math.prod(self.grid_shape) if blocks is None else len(voxels)
        step = max(1, BATCH_BYTES // (FLOAT.itemsize * math.prod(self.grid_shape)))

        def write(path):
            parts = (rows[first : first + step] for first in range(0, len(rows), step))
            batches = (self._read_before(part, blocks)[:, voxels] for part in parts)
            with open(path, "r+b") as file:
                file.write(np.stack(group_moments(batches, scale=self.scale)).tobytes())

        key = f"{self._key(group)}-{joblib.hash(blocks)}-{'spread' if self.scale else 'mean'}"
        n_bytes = MOMENT.itemsize * (1 + self.scale) * n_voxels
        return stored_file(key, n_bytes, write, f"the mean of {len(rows)} volumes")

    @contextlib.contextmanager
    def _whole_group(self, group):
        """Give a function that reads a centred volume of a group by its place in the group."""
        samples, n_voxels = self.samples[self._rows(group)], math.prod(self.grid_shape)
        n_bytes = FLOAT.itemsize * len(samples) * n_voxels
        with passing_file(n_bytes, f"a copy of {len(samples)} volumes") as path:
            with open(path, "r+b") as file:
                moments = group_moments(_copied(samples, file), scale=self.scale)

            def read(place):
                values = read_part(path, n_voxels, [place])
                return as_volumes(centred(values, *moments), self.grid_shape)

            yield read

    def _summary_file(self, group, read=None):
        """Return the file of a group's summary, which is made from volumes that are read if given.

        See Also
        --------
        skfmri.samples.cleaned_files.RunSummary
        """
        n_volumes = len(self._rows(group))

        def write(path):
            with contextlib.ExitStack() as stack:
                reader = read or stack.enter_context(self._whole_group(group))
                write_summary(path, (reader(place)[0] for place in range(n_volumes)))

        n_bytes = summary_bytes(n_volumes, self.grid_shape)
        key = f"{self._key(group)}-{self.scale}-summary"
        return stored_file(key, n_bytes, write, f"a summary of {n_volumes} centred volumes")

    def _key(self, group):
        """Return the beginning of the names of a group's files."""
        if group not in self._keys:
            digest = joblib.hash((volumes_key(self.samples[self._rows(group)]), FORMAT))
            # What is made from cleaned runs takes long to make again.
            self._keys[group] = f"{LASTING if self.reads_blocks else ''}{digest}-centred"
        return self._keys[group]


def group_moments(batches, *, scale):
    """Return what centring subtracts from the volumes of a group, and what it divides them by.

    Parameters
    ----------
    batches : iterable of ndarray of shape (k, n_voxels)
        Volumes of the group.
    scale : bool
        Whether to return the spread, too.

    Returns
    -------
    mean : ndarray of shape (n_voxels,), float64
        Over the volumes that are finite in a voxel. NaN if they do not vary there, or only by
        rounding errors.
    spread : ndarray of shape (n_voxels,), float64
        Standard deviation over these volumes, with ``n - 1`` degrees of freedom.
    """
    origin = None
    for volume in (volume.astype(MOMENT) for batch in batches for volume in batch):
        is_finite = np.isfinite(volume)
        if origin is None:
            # Subtracted beforehand, so that large values do not swamp a small spread.
            origin = np.where(is_finite, volume, 0)
            counts, totals, squares = np.zeros((3, len(origin)))
        deviation = np.where(is_finite, volume - origin, 0)
        counts += is_finite
        totals += deviation
        squares += deviation**2
    n_finite = np.maximum(counts, 1)
    variance = np.maximum(squares - totals**2 / n_finite, 0) / np.maximum(counts - 1, 1)
    mean, spread = origin + totals / n_finite, np.sqrt(variance)
    size = np.sqrt(mean**2 + variance * (n_finite - 1) / n_finite)
    mean[spread <= SMALLEST_SPREAD * size] = np.nan
    return (mean, spread) if scale else (mean,)


def centred(values, mean, spread=None):
    """Centre values of some voxels.

    Parameters
    ----------
    values : ndarray of shape (..., n_voxels), float32
        Values.
    mean, spread : ndarray of shape (n_voxels,)
        From `group_moments`. Without a spread, nothing is divided.

    Returns
    -------
    values : ndarray of shape (..., n_voxels), float32
        0 in voxels that do not vary. Values that are not finite remain so.
    """
    is_still = np.isnan(mean)
    result = values - mean
    if spread is not None:
        result /= np.where(is_still, 1, spread)
    np.copyto(result, 0, where=is_still & np.isfinite(values))
    return result.astype(FLOAT)


def centered_groups(samples):
    """Return the groups that samples, or what they were made from, were centred in.

    Parameters
    ----------
    samples : NiftiSamples
        Samples.

    Returns
    -------
    centrings : list of (CenteredSource, list of set of int)
        One for each time that they were centred, the last one first: the numbers of the groups
        whose volumes each sample shows.
    """
    centrings = []
    for source, below, rows in ancestry(samples):
        if isinstance(source, CenteredSource):
            groups = source.group_of[below.acquisition_order()[1]].tolist()
            centrings.append((source, [{groups[row] for row in shown} for shown in rows]))
    return centrings


def _copied(samples, file):
    """Yield volumes as ``(k, n_voxels)`` while they are written to a file."""
    for batch in stream_batches(samples):
        values = np.ascontiguousarray(flat(batch), FLOAT)
        file.write(values)
        yield values
