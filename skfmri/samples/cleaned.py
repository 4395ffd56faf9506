"""Volumes that are computed from whole runs when they are first read."""

import contextlib
import math
import warnings
from dataclasses import dataclass
from functools import partial

import joblib
import nilearn
import numpy as np
import scipy

from skfmri._cache import (
    LASTING,
    SUFFIX,
    is_stored,
    passing_file,
    store_directory,
    stored_file,
)
from skfmri.samples.cleaned_files import (
    BLOCK_VOXELS,
    blocks_of,
    copy_voxels,
    count_blocks,
    part_bytes,
    read_blocks,
    read_part,
    read_summary,
    summary_bytes,
    voxels_of,
    write_part,
    write_summary,
    write_summary_of_step,
)
from skfmri.samples.images import as_volumes
from skfmri.samples.nifti import (
    BATCH_BYTES,
    check_unchanged,
    list_images,
    list_spaces,
    origin_of,
    smallest_type,
    stream_batches,
    volumes_key,
)
from skfmri.samples.space import common_space
from skfmri.temporal.cleaning import apply_matrix, cleaning_matrix, row_of_operator

# Each run is kept in files of its own, whose names begin with a hash of all that decides on the
# run. A reader that needs only some blocks of voxels, such as those of a slab, makes only these: a
# part. A later one takes the parts that it finds, and makes one more of the missing blocks.

# To be increased if the same key would name different bytes than before.
FORMAT = 2
# Of as many parts, the places of the voxels are kept in memory.
REMEMBERED_PARTS = 8


@dataclass(frozen=True)
class RunStep:
    """How the volumes of one run are computed.

    Attributes
    ----------
    rows : ndarray of int
        Rows of the measured volumes that are needed, in time order.
    outputs : ndarray of int
        Positions of the computed volumes among those of the source.
    parents : sequence of ndarray of int, or None
        For each computed volume the positions of the samples that it shows; None if each shows the
        one at its position.
    cleaning : dict or None
        Arguments of `cleaning_matrix`, but for `center`; None if the volumes are not cleaned.
    standardize : bool
        Whether the cleaned time series are standardised.
    removes_mean : bool
        Whether a voxel that does not vary becomes 0.
    weights : ndarray of shape (n_outputs, n_rows) or None
        Sums of the cleaned volumes to compute; None gives these themselves.
    """

    rows: np.ndarray
    outputs: np.ndarray
    parents: list | None = None
    cleaning: dict | None = None
    standardize: bool = False
    removes_mean: bool = False
    weights: np.ndarray | None = None

    def content(self):
        """Return all but the volumes that the result depends on, as values that can be hashed."""
        cleaning = self.cleaning
        if cleaning is not None:
            kept, confounds = cleaning["kept"], cleaning["confounds"]
            cleaning = {
                **cleaning,
                "kept": kept - kept[0],
                "confounds": None if confounds is None else confounds[kept],
                "t_r": cleaning["t_r"] if cleaning["high_pass"] else None,
            }
        return cleaning, self.standardize, self.removes_mean, self.weights

    def apply(self, series):
        """Return results of shape (n_outputs, n) for measured series of (n_rows, n), and factors.

        The factors of the voxels are those that the product of `weights_of` a result with the
        series has to be multiplied by to give this result.
        """
        return apply_matrix(
            self._matrix(),
            series,
            removes_mean=self.removes_mean,
            standardize=self.standardize,
            weights=self.weights,
            dtype=np.float32,
        )

    def compute(self, series):
        """Return results of shape (n_outputs, n) for measured series of (n_rows, n)."""
        return self.apply(series)[0]

    def weights_of(self, place):
        """Return the weights of the measured volumes in one of the results, but for factors."""
        return row_of_operator(self._matrix(), self.weights, place)

    def _matrix(self):
        if self.cleaning is None:
            return None
        return cleaning_matrix(**self.cleaning, center=self.standardize)


class RunSource:
    """Volumes that are computed run by run when they are first read.

    Parameters
    ----------
    samples : NiftiSamples
        What the volumes are made from.
    measured : NiftiSamples
        The volumes that are read: `samples`, or what these are computed from themselves.
    steps : list of RunStep
        One for each run.
    n_volumes : int
        Number of positions. Those that no run computes cannot be read.
    name : str
        What the volumes are called in messages, such as "cleaned runs".
    derivation : tuple of (str, dict)
        The public function that made the source, and its settings as JSON-serialisable values.
    """

    # Whether `read` can leave out blocks of voxels; then there are `prepare`, `summaries` and
    # `watched`, too.
    reads_blocks = True

    def __init__(self, samples, measured, steps, n_volumes, *, name, derivation):
        self.samples, self.measured, self.steps = samples, measured, steps
        self.name, self.derivation = name, derivation
        self.affine, self.space = samples.affine, common_space(list_spaces(samples))[0]
        self.grid_shape, self.n_volumes = samples.grid_shape, n_volumes
        self._forget()

    def __getstate__(self):
        # The hash of samples must not depend on whether they have been read.
        known = {"_places": None, "_keys": None, "_plans": None, "_voxels": None}
        return {**self.__dict__, **known, "_reported": None, "_on_run": None}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._forget()

    def _forget(self):
        self._places, self._keys, self._plans, self._voxels = None, {}, {}, {}
        self._reported, self._on_run = set(), None

    @contextlib.contextmanager
    def watched(self, on_run):
        """Call ``on_run(number, n_runs)`` each time before a run is computed."""
        self._on_run = on_run
        try:
            yield
        finally:
            self._on_run = None

    def parents(self, volumes):
        """Return for each volume the positions of the samples that it shows."""
        if self.steps[0].parents is None:
            return [[volume] for volume in volumes]
        runs, places = self.where(volumes)
        return [self.steps[run].parents[place] for run, place in zip(runs, places, strict=True)]

    def check_unchanged(self):
        """Raise ValueError if a file was rewritten since its header was read."""
        check_unchanged(self.measured)

    def read(self, volumes, blocks=None):
        """Return the volumes at some positions, as ``(k, x, y, z)`` of float32.

        Parameters
        ----------
        volumes : array-like of int
            Positions.
        blocks : ndarray of int, default=None
            Numbers of the blocks of voxels that are needed, sorted; other voxels are 0. None needs
            all.
        """
        run_of, place_of = self.where(volumes)
        used = np.unique(run_of)
        if len(used) == 1:
            return self._read_run(used[0], place_of, blocks)
        # Filled through a transposed view, so that x varies fastest, as in a single file.
        result = np.empty((len(run_of), *self.grid_shape[::-1]), dtype=np.float32)
        result = result.transpose(0, 3, 2, 1)
        for run in used:
            here = run_of == run
            result[here] = self._read_run(run, place_of[here], blocks)
        return result

    def stream(self, volumes):
        """Yield the volumes at some positions, each as ``(1, x, y, z)``, without keeping them.

        They are computed run by run, unless whole runs are kept already. Only if volumes of runs
        follow each other in turn, runs are kept.
        """
        run_of, place_of = self.where(volumes)
        stretches = np.split(np.arange(len(run_of)), np.flatnonzero(np.diff(run_of)) + 1)
        if len(stretches) > len(np.unique(run_of)):
            yield from (self.read([volume]) for volume in volumes)
            return
        for here in stretches:
            run = run_of[here[0]]
            with self._whole_run(run) as read:
                # Costs little now, and much once the run is gone.
                self._summary_file(run, read)
                yield from map(read, place_of[here])

    def prepare(self, volumes, blocks):
        """Compute what reading some volumes will need, first what no other process is computing."""
        runs = np.unique(self.where(volumes)[0])
        _make_all([partial(self._make_parts, run, blocks) for run in runs])

    def summaries(self, volumes):
        """Yield the summary of each run that some volumes come from, and their places in it."""
        run_of, place_of = self.where(volumes)
        runs = np.unique(run_of)
        _make_all([partial(self._summary_file, run) for run in runs])
        for run in runs:
            path = self._summary_file(run)
            yield read_summary(path, self._count(run), self.grid_shape), place_of[run_of == run]

    def where(self, volumes):
        """Return the run of each volume and its place among the volumes computed of that run."""
        if self._places is None:
            self._places = np.full((2, self.n_volumes), -1)
            for run, step in enumerate(self.steps):
                n_outputs = len(step.outputs)
                self._places[:, step.outputs] = np.full(n_outputs, run), np.arange(n_outputs)
        return self._places[:, np.asarray(volumes, dtype=int)]

    def _read_run(self, run, places, blocks):
        check_unchanged(self._volumes(run))
        n_voxels, parts = math.prod(self.grid_shape), self._plan(run, blocks)
        if len(parts) == 1 and len(parts[0][2]) == count_blocks(self.grid_shape):
            # Whole volumes are not copied, but maybe mapped.
            result = self._read_part(run, *parts[0], places)[1]
        else:
            result = np.zeros((len(places), n_voxels), np.float32)
            for part in parts:
                voxels, values = self._read_part(run, *part, places)
                result[:, voxels] = values
        return as_volumes(result, self.grid_shape)

    def _read_part(self, run, key, blocks, taken, places):
        """Return voxels of a part in the order of a NIfTI file, with their values."""
        path, voxels = self._part_file(run, key, blocks), self._voxels_of(key, blocks)
        if key not in self._reported:
            self._report(run, key, read_blocks(path)[1], len(voxels))
        values = read_part(path, len(voxels), places)
        if len(taken) < len(blocks):
            columns = np.isin(voxels // BLOCK_VOXELS, taken)
            voxels, values = voxels[columns], values[:, columns]
        return voxels, values

    def _make_parts(self, run, blocks, *, wait=True):
        """Make the parts that hold blocks of a run; return whether all are made."""
        parts = self._plan(run, blocks)
        return all(self._part_file(run, key, there, wait=wait) for key, there, _ in parts)

    def _part_file(self, run, key, blocks, *, wait=True):
        write = partial(self._write, run=run, blocks=blocks)
        n_bytes = part_bytes(self._count(run), len(self._voxels_of(key, blocks)), len(blocks))
        return stored_file(key, n_bytes, write, self._described(run), wait=wait)

    def _write(self, path, run, blocks):
        self._announce(run)
        write_part(path, self._volumes(run), blocks, self.steps[run].compute)

    def _announce(self, run):
        if self._on_run is not None:
            self._on_run(run, len(self.steps))

    @contextlib.contextmanager
    def _whole_run(self, run):
        """Give a function that reads a volume computed of a run, whether or not these are kept."""
        check_unchanged(self._volumes(run))
        key, n_bytes = self._whole_name(run)
        if is_stored(key, n_bytes):
            yield lambda place: self._read_run(run, [place], None)
            return
        n_voxels = math.prod(self.grid_shape)
        with passing_file(n_bytes, self._described(run)) as path:
            self._write(path, run, np.arange(count_blocks(self.grid_shape)))
            self._report(run, key, read_blocks(path)[1], n_voxels)

            def read(place):
                # Copied, because the file will be deleted.
                return as_volumes(np.array(read_part(path, n_voxels, [place])), self.grid_shape)

            yield read

    def _whole_name(self, run):
        """Return name and size of the file of all volumes computed of a run."""
        blocks, n_voxels = np.arange(count_blocks(self.grid_shape)), math.prod(self.grid_shape)
        n_bytes = part_bytes(self._count(run), n_voxels, len(blocks))
        return f"{self._prefix(run)}{joblib.hash(blocks)}", n_bytes

    def _summary_file(self, run, read=None, *, wait=True):
        """Return the file of a run's summary, which is made from volumes that are read if given."""

        def write(path):
            if read is None and not is_stored(*self._whole_name(run)):
                self._summarise(path, run)
                return
            with contextlib.ExitStack() as stack:
                reader = read or stack.enter_context(self._whole_run(run))
                write_summary(path, (reader(place)[0] for place in range(self._count(run))))

        name = f"a summary of {self._described(run)}"
        return stored_file(*self._summary_name(run), write, name, wait=wait)

    def _summarise(self, path, run):
        """Write the summary of a run without keeping the volumes computed of it."""
        volumes, n_voxels = self._volumes(run), math.prod(self.grid_shape)
        check_unchanged(volumes)
        self._announce(run)
        dtype = smallest_type(volumes)
        n_bytes = dtype.itemsize * len(volumes) * n_voxels
        with passing_file(n_bytes, self._described(run)) as copied:
            copy_voxels(copied, volumes, dtype=dtype)
            n_not_finite = write_summary_of_step(path, copied, volumes, self.steps[run])
        self._report(run, self._whole_name(run)[0], n_not_finite, n_voxels)

    def _summary_name(self, run):
        """Return name and size of the file of a run's summary."""
        n_bytes = summary_bytes(self._count(run), self.grid_shape)
        return f"{LASTING}{self._key(run)}-summary", n_bytes

    def _plan(self, run, blocks):
        """Return parts that together hold blocks of a run: names, their blocks, those to take."""
        if run in self._plans and self._plans[run][0] is blocks:
            return self._plans[run][1]
        missing = np.arange(count_blocks(self.grid_shape)) if blocks is None else blocks
        if blocks is not None and is_stored(*self._summary_name(run)):
            # Around the head nothing may vary, so there nothing is left after cleaning.
            summary = read_summary(self._summary_file(run), self._count(run), self.grid_shape)
            missing = np.intersect1d(missing, blocks_of(summary.magnitudes > 0))
        prefix, plan, found = self._prefix(run), [], []
        for path in store_directory().glob(f"{prefix}*{SUFFIX}"):
            # Somebody else may have deleted it just now.
            with contextlib.suppress(FileNotFoundError):
                found.append((path.name.removesuffix(SUFFIX), read_blocks(path)[0]))
        # As few files as possible, and the same ones each time.
        for key, there in sorted(found, key=lambda part: (-len(part[1]), part[0])):
            taken = np.intersect1d(there, missing, assume_unique=True)
            if len(taken):
                plan.append((key, there, taken))
                missing = np.setdiff1d(missing, taken, assume_unique=True)
        if len(missing):
            plan.append((f"{prefix}{joblib.hash(missing)}", missing, missing))
        self._plans[run] = blocks, plan
        return plan

    def _prefix(self, run):
        return f"{LASTING}{self._key(run)}-part-"

    def _voxels_of(self, key, blocks):
        # The same slab of other runs has the same blocks, and the same hash at the end of its name.
        digest = key.rpartition("-")[2]
        if digest not in self._voxels:
            if len(self._voxels) == REMEMBERED_PARTS:
                self._voxels.clear()
            self._voxels[digest] = voxels_of(blocks, self.grid_shape)
        return self._voxels[digest]

    def _volumes(self, run):
        """Return the measured volumes of a run that are needed, in time order."""
        return self.measured[self.steps[run].rows]

    def _count(self, run):
        return len(self.steps[run].outputs)

    def _described(self, run):
        return f"{self.name}, run {self._run_name(run)}"

    def _run_name(self, run):
        return self.measured.runs[self.steps[run].rows[0]]

    def _key(self, run):
        """Return a hash of everything that the volumes computed of a run depend on."""
        if run not in self._keys:
            versions = FORMAT, nilearn.__version__, scipy.__version__
            content = volumes_key(self._volumes(run)), self.steps[run].content(), versions
            self._keys[run] = joblib.hash(content)
        return self._keys[run]

    def _report(self, run, key, count, n_voxels):
        """Warn, once, of values of a run that were not finite, in any process that reads it."""
        if key in self._reported:
            return
        self._reported.add(key)
        if not count:
            return
        volumes = self._volumes(run)
        images = list_images(volumes)
        names = list(dict.fromkeys(images[i][0] for i in volumes.acquisition_order()[0]))
        source = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        share = count / (len(volumes) * n_voxels)
        advice = "out before, with samples[samples.finite]"
        if self.steps[run].cleaning is not None:
            advice = "out with sample_masks="
        warnings.warn(
            f"{count} values ({share:.2g} of those read) of run {self._run_name(run)} ({source}) "
            "are not finite, although other values of the same voxels are. "
            f"{self.derivation[0]} counts them as 0, which distorts these voxels. Leave the "
            f"volumes that hold them {advice}, or repair the image.",
            UserWarning,
            stacklevel=2,
        )


def _make_all(tasks):
    """Do tasks, last those that another process was doing, so that processes share the work."""
    left = [task for task in tasks if not task(wait=False)]
    for task in left:
        task()


def batches_of_voxels(samples, find_voxels):
    """Yield all volumes in order, a few at a time; of cleaned runs, only the voxels needed.

    Parameters
    ----------
    samples : NiftiSamples
        Samples.
    find_voxels : callable
        Returns a boolean volume of the voxels that are needed. Only called for cleaned runs.

    Yields
    ------
    batch : ndarray of shape (k, x, y, z), float32
        Of cleaned runs, most other voxels are 0.
    """
    source = origin_of(samples)
    if not source.reads_blocks:
        yield from samples.iter_batches()
        return
    blocks, (_, volumes) = blocks_of(find_voxels()), samples.acquisition_order()
    source.prepare(volumes, blocks)
    step = max(1, BATCH_BYTES // (4 * math.prod(samples.grid_shape)))
    for first in range(0, len(volumes), step):
        yield source.read(volumes[first : first + step], blocks)


def batches_read_once(samples):
    """Yield all volumes in order, a few at a time, without keeping cleaned runs for it.

    For somebody who reads whole volumes once, such as an audit.
    """
    if not origin_of(samples).reads_blocks:
        return samples.iter_batches()
    return stream_batches(samples)


def summary_of_runs(samples):
    """Summarise cleaned runs without cleaning them again for each subset of their volumes.

    Parameters
    ----------
    samples : NiftiSamples
        Samples.

    Returns
    -------
    summary : tuple
        Smallest and largest value of the samples, 0 included; then, of the whole runs that the
        samples come from, two arrays of shape (x, y, z): the largest absolute value of each voxel
        as float64, and the volume with the largest value of all.
    read_batches : callable
        Returns an iterator over the volumes of each run with the largest absolute value, each as
        ``(1, x, y, z)``. None takes the place of both if the samples are not cleaned runs.
    """
    source = origin_of(samples)
    if not source.reads_blocks:
        return None
    volumes = samples.acquisition_order()[1]
    low, high, magnitudes, largest, strongest = 0.0, 0.0, 0, -1, None
    for summary, places in source.summaries(volumes):
        low = min(low, float(summary.lows[places].min()))
        high = max(high, float(summary.highs[places].max()))
        magnitudes = np.maximum(magnitudes, summary.magnitudes)
        if summary.magnitudes.max() > largest:
            largest, strongest = summary.magnitudes.max(), summary.strongest

    def read_batches():
        return (summary.strongest[np.newaxis] for summary, _ in source.summaries(volumes))

    return (low, high, magnitudes.astype(np.float64), strongest), read_batches


def watched_runs(samples, on_run):
    """Give a context in which a function is called each time before a run is cleaned.

    Parameters
    ----------
    samples : NiftiSamples
        Samples. If they are not cleaned runs, nothing is called.
    on_run : callable
        Called with the number of the run, from 0, and the number of all runs. It is not pickled, so
        other processes do not call it.

    Returns
    -------
    context : context manager
    """
    source = origin_of(samples)
    return source.watched(on_run) if source.reads_blocks else contextlib.nullcontext()
