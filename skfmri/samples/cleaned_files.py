"""Files that hold what is kept of the volumes computed from one run."""

import math
from dataclasses import dataclass

import numpy as np

from skfmri._arrays import read_ahead
from skfmri.samples.images import flat, read_volumes
from skfmri.samples.nifti import smallest_type, stream_batches

# A run is computed in its file: the measured volumes are first copied there, as they are read, and
# then replaced by the results, a chunk of voxels at a time, of which there may be fewer or more. So
# memory holds a few volumes or one chunk, however long the run is. Its summary is made from such a
# copy, too, without writing results. Files are written, not mapped: a full disk then raises an
# error instead of killing the process. What is kept are blocks of neighbouring voxels in the order
# of a NIfTI file.

# Each chunk is read and written in one piece per volume, and many small pieces take long.
CHUNK_BYTES = 32 * 1024**2
BLOCK_VOXELS = 16
FLOAT = np.dtype(np.float32)
NUMBER = np.dtype(np.int64)


@dataclass
class RunSummary:
    """What is known of all volumes computed from a run without reading them.

    Attributes
    ----------
    lows, highs : ndarray of shape (n_volumes,), float32
        Smallest and largest value of each volume.
    magnitudes : ndarray of shape (x, y, z), float32
        Largest absolute value of each voxel in any volume.
    strongest : ndarray of shape (x, y, z), float32
        The volume with the largest absolute value.
    """

    lows: np.ndarray
    highs: np.ndarray
    magnitudes: np.ndarray
    strongest: np.ndarray


def count_blocks(grid_shape):
    """Return the number of blocks of a volume."""
    return math.ceil(math.prod(grid_shape) / BLOCK_VOXELS)


def blocks_of(is_needed):
    """Return the blocks that hold any of the voxels that a boolean volume names."""
    return np.unique(np.flatnonzero(is_needed.ravel(order="F")) // BLOCK_VOXELS)


def voxels_of(blocks, grid_shape):
    """Return the voxels in some blocks, in the order of a NIfTI file."""
    voxels = (blocks[:, np.newaxis] * BLOCK_VOXELS + np.arange(BLOCK_VOXELS)).ravel()
    # The last block of a volume may be shorter.
    return voxels[voxels < math.prod(grid_shape)]


def part_bytes(n_volumes, n_voxels, n_blocks):
    """Return the size of the file of some blocks."""
    return FLOAT.itemsize * n_volumes * n_voxels + NUMBER.itemsize * (n_blocks + 2)


def write_part(path, volumes, blocks, compute):
    """Compute some blocks of a run into a file.

    Parameters
    ----------
    path : path-like
        The file.
    volumes : NiftiSamples
        The measured volumes.
    blocks : ndarray of int
        Numbers of the blocks, sorted.
    compute : callable
        Takes time series of shape (n_volumes, n), and returns results of (n_results, n) as
        float32.
    """
    voxels = voxels_of(blocks, volumes.grid_shape)
    copy_voxels(path, volumes, voxels)
    with open(path, "r+b") as file:
        n_not_finite = 0
        for first, series, n_bad in _chunks(file, len(volumes), len(voxels)):
            n_not_finite += n_bad
            results = compute(series)
            # Results beyond the last volume lie behind all that is still to be read.
            for volume, strip in enumerate(results):
                file.seek(FLOAT.itemsize * (volume * len(voxels) + first))
                file.write(strip)
        file.truncate(FLOAT.itemsize * len(results) * len(voxels))
        file.seek(0, 2)
        file.write(np.array([*blocks, len(blocks), n_not_finite], NUMBER).tobytes())


def copy_voxels(path, volumes, voxels=None, dtype=FLOAT):
    """Copy the measured values of some voxels to a file, or of all without a list of them."""

    def read():
        for batch in stream_batches(volumes):
            stored = flat(batch)
            yield np.ascontiguousarray(stored if is_whole else stored[:, voxels], dtype)

    is_whole = voxels is None or len(voxels) == math.prod(volumes.grid_shape)
    with open(path, "r+b") as file:
        for values in read_ahead(read()):
            file.write(values)


def read_blocks(path):
    """Return the numbers of the blocks in a file, and how many values were not finite."""
    with open(path, "rb") as file:
        file.seek(-2 * NUMBER.itemsize, 2)
        n_blocks, n_not_finite = np.frombuffer(file.read(), NUMBER)
        file.seek(-NUMBER.itemsize * (n_blocks + 2), 2)
        return np.frombuffer(file.read(NUMBER.itemsize * n_blocks), NUMBER), int(n_not_finite)


def read_part(path, n_voxels, volumes):
    """Return some volumes of a file as ``(k, n_voxels)``."""
    return read_volumes(path, 0, FLOAT, (n_voxels, 1, 1), volumes)[..., 0, 0]


def summary_bytes(n_volumes, grid_shape):
    """Return the size of the file of a summary."""
    return FLOAT.itemsize * 2 * (n_volumes + math.prod(grid_shape))


def write_summary(path, volumes):
    """Write the summary of a run, whose computed volumes are given one at a time."""
    lows, highs, magnitudes, strongest, largest = [], [], None, None, -1
    for volume in volumes:
        if magnitudes is None:
            # Filled again and again, because new memory costs more than what is computed.
            sizes, magnitudes = np.empty_like(volume), np.zeros_like(volume)
        lows.append(volume.min())
        highs.append(volume.max())
        np.maximum(magnitudes, np.abs(volume, out=sizes), out=magnitudes)
        if max(-lows[-1], highs[-1]) > largest:
            largest, strongest = max(-lows[-1], highs[-1]), volume
    _write_maps(path, lows, highs, *(each.ravel(order="F") for each in (magnitudes, strongest)))


def write_summary_of_step(path, copied, volumes, step):
    """Write the summary of a run whose volumes have not been computed yet.

    Parameters
    ----------
    path : path-like
        The file.
    copied : path-like
        File with all voxels of the measured volumes, of their `smallest_type`.
    volumes : NiftiSamples
        The measured volumes.
    step : RunStep
        Computes the others.

    Returns
    -------
    n_not_finite : int
        How many values were not finite, in voxels with finite ones.
    """
    n_voxels, n_not_finite, lows, highs = math.prod(volumes.grid_shape), 0, np.inf, -np.inf
    factors, magnitudes, strongest = np.empty(n_voxels), *np.empty((2, n_voxels), FLOAT)
    layout = len(volumes), n_voxels, smallest_type(volumes)
    with open(copied, "rb") as file:
        for first, series, n_bad in _chunks(file, *layout):
            here = slice(first, first + series.shape[1])
            n_not_finite += n_bad
            results, factors[here] = step.apply(series)
            lows = np.minimum(lows, results.min(axis=1))
            highs = np.maximum(highs, results.max(axis=1))
            magnitudes[here] = np.maximum(results.max(axis=0), -results.min(axis=0))
        # Which volume is the strongest is known now, so this one is computed again.
        weights = step.weights_of(int(np.maximum(highs, -lows).argmax()))
        for first, series, _ in _chunks(file, *layout):
            here = slice(first, first + series.shape[1])
            strongest[here] = factors[here] * (weights @ series)
    _write_maps(path, lows, highs, magnitudes, strongest)
    return n_not_finite


def read_summary(path, n_volumes, grid_shape):
    """Return the summary in a file."""
    values = np.fromfile(path, FLOAT)
    sizes = np.cumsum([n_volumes, n_volumes, math.prod(grid_shape)])
    lows, highs, *maps = np.split(values, sizes)
    return RunSummary(lows, highs, *(each.reshape(grid_shape, order="F") for each in maps))


def _write_maps(path, lows, highs, magnitudes, strongest):
    with open(path, "r+b") as file:
        file.write(np.concatenate([lows, highs, magnitudes, strongest]).astype(FLOAT).tobytes())


def _chunks(file, n_volumes, n_voxels, dtype=FLOAT):
    """Yield chunks of a file: first voxel, series of shape (n_volumes, n), how many are not finite.

    Values that are not finite become 0; those of voxels without any other are not counted.
    """
    step = max(1, CHUNK_BYTES // (8 * n_volumes))
    for first in range(0, n_voxels, step):
        series = np.empty((n_volumes, min(step, n_voxels - first)), dtype)
        for volume, strip in enumerate(series):
            file.seek(dtype.itemsize * (volume * n_voxels + first))
            file.readinto(strip)
        n_not_finite = _zero_not_finite(series) if dtype.kind == "f" else 0
        yield first, series.astype(FLOAT, copy=False), n_not_finite


def _zero_not_finite(series):
    """Set values that are not finite to 0; return how many lie in voxels with finite ones."""
    is_bad = ~np.isfinite(series)
    if not is_bad.any():
        return 0
    n_bad = is_bad.sum(axis=0)
    series[is_bad] = 0
    # Many programs write NaN outside the brain; those voxels are 0 before and after cleaning.
    return int(n_bad[n_bad < len(series)].sum())
