"""Lazy volumes that scikit-learn can index."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np

from skfmri._validation import check_labels, check_per_volume, check_same_grid, describe_grid
from skfmri.samples.lists import list_of_images
from skfmri.samples.sources import ArraySource, source_of
from skfmri.samples.space import image_in_space

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nibabel import Nifti1Image
    from numpy.typing import DTypeLike, NDArray

    from skfmri._types import GridShape, Images, ImageSamples, KnownByUser, Values

BATCH_BYTES = 8 * 1024**2


class NiftiSamples:
    """fMRI volumes as a sequence of samples, read from disk when they are needed.

    scikit-learn splits data by indexing, which a 4-D image does not allow. `NiftiSamples` can
    be indexed like an array of shape ``(n_samples, x, y, z)``, so it passes unchanged through
    `cross_val_score`, `GridSearchCV`, `train_test_split` and the like, while only file headers
    are read. Every subset carries its labels, groups and runs along, so no step can mix them up.

    A compressed file is decoded once per machine: the first reader writes a decoded copy to the
    user's cache directory (``$SKFMRI_CACHE`` if set), which all processes share through a memory
    map. Up to 64 kB are decoded at each read instead, about as fast as a copy is found. The files
    themselves are never mapped, so a file that changes while it is in use leads to an error.
    Pickles hold the path, not the volumes, unless the data are in memory.

    Parameters
    ----------
    images : image, path, pattern, or sequence of images and paths
        3-D or 4-D NIfTI images or paths to them, all on one grid. A sequence is a list, a pandas
        Series or array of paths, taken by position, or a generator, whose order is kept. A string
        such as ``"sub-01/*_bold.nii.gz"`` that is not an existing path names all files that match,
        in natural order: run-2 before run-10. `pathlib.Path.glob` has no order to rely on, so pass
        ``sorted(folder.glob(...))``, and make sure that `y` has the same order.
    y : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
        One label per volume, by position: a class, or a number for a regressor, of which there may
        be several. The empty string stands for volumes without a label, such
        as rest, that are selected away later: ``samples[samples.y != ""]``.
    groups : array-like of shape (n_samples,), default=None
        What must never be split between training and test data, such as runs or blocks of
        subjects. None takes the `runs`.
    runs : array-like of shape (n_samples,), default=None
        The scanner run of each volume. None takes the position in `images` of the 4-D image that a
        volume comes from; for a single image or a list of 3-D images it takes the `groups`, or
        one single run if these are None too.
    subjects : array-like of shape (n_samples,), default=None
        The subject of each volume, as :func:`~skfmri.evaluate_subjects` needs it; None if that is
        not known.

    Attributes
    ----------
    shape : tuple of int
        ``(n_samples, x, y, z)``; `ndim` is 4 and `dtype` is float32.
    grid_shape : tuple of int
        ``(x, y, z)``, the number of voxels along each axis.
    affine : ndarray of shape (4, 4)
        Voxel-to-RAS matrix in mm.
    y : ndarray of shape (n_samples,) or (n_samples, n_targets), or None
        Labels.
    groups, runs : ndarray of shape (n_samples,)
        Groups and runs.
    subjects : ndarray of shape (n_samples,) or None
        Subjects.
    finite : ndarray of shape (n_samples,), bool
        Whether all values of each volume are finite as float32. All volumes are read each time this
        is asked for, a few at a time; ``samples[samples.finite]`` leaves the others out.

    Raises
    ------
    ValueError
        If images differ in grid or affine, are not NIfTI, are truncated, or have more than
        four axes, or if `y`, `groups`, `runs` or `subjects` do not have one entry per volume, have
        missing entries (NaN, None, pandas.NA, NaT) or mix numbers with strings, here or when they
        are assigned later. Damage in a compressed file is noticed when its data are first read.
    FileNotFoundError
        If a file does not exist, or no file matches a pattern.

    Notes
    -----
    An image that was loaded from a file is read from that file, even if it was saved elsewhere
    since; changes to the array that `get_fdata` returns do not count.

    Indexing with an integer gives a 3-D `nibabel.Nifti1Image`; a slice, list, array of
    indices, boolean mask or ``(indices, ...)`` gives `NiftiSamples`. ``np.asarray(samples)``
    gives all volumes as float32. `joblib.hash` depends on path, size, modification time and
    header of the files, on the chosen volumes, and on the data if they are in memory.

    Examples
    --------
    >>> import numpy as np
    >>> from skfmri import NiftiSamples
    >>> volumes = np.arange(4 * 2 * 3 * 5, dtype="float32").reshape(4, 2, 3, 5)
    >>> samples = NiftiSamples.from_array(volumes, np.eye(4), y=list("abab"), groups=[0, 0, 1, 1])
    >>> samples.shape
    (4, 2, 3, 5)
    >>> samples[[3, 0]].y.tolist(), samples[[3, 0]].groups.tolist()
    (['b', 'a'], [1, 0])
    >>> bool((np.asarray(samples[2:]) == volumes[2:]).all())
    True
    """

    ndim = 4
    dtype = np.dtype(np.float32)

    def __init__(
        self,
        images: Images,
        *,
        y: Values | None = None,
        groups: Values | None = None,
        runs: Values | None = None,
        subjects: Values | None = None,
    ) -> None:
        sources = [source_of(image, i) for i, image in enumerate(list_of_images(images))]
        if not sources:
            raise ValueError("Found an empty list of images. Pass at least one image or path.")
        for source in sources[1:]:
            check_same_grid(
                source.grid_shape,
                source.affine,
                source.name,
                sources[0].grid_shape,
                sources[0].affine,
                sources[0].name,
            )
        self._set_up(sources, y, groups, runs, subjects)

    @classmethod
    def from_array(
        cls,
        array: Values,
        affine: Values,
        *,
        y: Values | None = None,
        groups: Values | None = None,
        runs: Values | None = None,
        subjects: Values | None = None,
    ) -> Self:
        """Build samples from volumes in memory.

        Parameters
        ----------
        array : array-like of shape (n_samples, x, y, z)
            Real numbers; not copied.
        affine : array-like of shape (4, 4)
            Voxel-to-RAS matrix in mm.
        y, groups, runs, subjects : array-like of shape (n_samples,), default=None
            As in `NiftiSamples`.

        Returns
        -------
        samples : NiftiSamples
        """
        array = np.asanyarray(array)
        if array.ndim != 4 or 0 in array.shape:
            raise ValueError(
                f"The array has the shape {array.shape}, but volumes need (n_samples, x, y, z), "
                "with samples on the first axis."
            )
        samples = cls.__new__(cls)
        samples._set_up([ArraySource(array, affine, "the array")], y, groups, runs, subjects)
        return samples

    def _set_up(self, sources, y, groups, runs, subjects):
        counts = [source.n_volumes for source in sources]
        n_samples = sum(counts)
        self._sources = tuple(sources)
        self._source_index = np.repeat(np.arange(len(sources)), counts)
        self._volume_index = np.concatenate([np.arange(count) for count in counts])
        self._y = None if y is None else check_labels(y, n_samples)
        self.subjects = subjects
        self._has_groups = groups is not None or runs is not None
        if groups is not None:
            groups = check_per_volume(groups, n_samples, "group label")
        if runs is not None:
            runs = check_per_volume(runs, n_samples, "run label")
        elif len(sources) > 1 and max(counts) > 1:
            runs = self._source_index.copy()
        else:
            # Files of one volume each may be one run saved volume by volume, or one run each.
            # Guessing many runs would allow splits that leak, so they count as one.
            runs = np.zeros(n_samples, dtype=int) if groups is None else groups
        self._runs = runs
        self._groups = runs if groups is None else groups

    @property
    def y(self) -> NDArray[Any] | KnownByUser:
        """Labels, shape (n_samples,) or (n_samples, n_targets), or None."""
        return self._y

    @y.setter
    def y(self, values: Values | None) -> None:
        self._y = None if values is None else check_labels(values, len(self))

    @property
    def groups(self) -> NDArray[Any]:
        """Groups, shape (n_samples,)."""
        return self._groups

    @groups.setter
    def groups(self, values: Values) -> None:
        self._groups = self._checked_names(values, "group label")
        self._has_groups = True

    @property
    def runs(self) -> NDArray[Any]:
        """Runs, shape (n_samples,)."""
        return self._runs

    @runs.setter
    def runs(self, values: Values) -> None:
        self._runs = self._checked_names(values, "run label")

    @property
    def subjects(self) -> NDArray[Any] | KnownByUser:
        """Subjects, shape (n_samples,), or None."""
        return self._subjects

    @subjects.setter
    def subjects(self, values: Values | None) -> None:
        self._subjects = None if values is None else check_per_volume(values, len(self), "subject")

    def _checked_names(self, values, what):
        if values is None:
            raise ValueError(f"{what}s cannot be None. Assign one {what} per volume.")
        # Tables may name no group of a volume that has no label and is left out later. Arrays of
        # them hold "nan", which splitters and evaluation refuse if it is still there.
        return check_per_volume(values, len(self), what)

    @property
    def affine(self) -> NDArray[np.float64]:
        """Voxel-to-RAS matrix in mm, shape (4, 4)."""
        return self._sources[0].affine.copy()

    @property
    def grid_shape(self) -> GridShape:
        """Number of voxels along x, y and z."""
        return tuple(self._sources[0].grid_shape)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of ``np.asarray(samples)``: ``(n_samples, x, y, z)``."""
        return (len(self), *self.grid_shape)

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Whether all values of each volume are finite, shape (n_samples,); reads all volumes."""
        return finite_shares(self) == 1

    def __len__(self) -> int:
        return len(self._source_index)

    def __repr__(self) -> str:
        # The representation also serves to look at values that were changed in place.
        n_groups = len(set(map(repr, self.groups.tolist())))
        return (
            f"NiftiSamples({len(self)} volumes of {describe_grid(self.grid_shape)}, "
            f"{n_groups} group{'s' if n_groups != 1 else ''})"
        )

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> Nifti1Image: ...

    @overload
    def __getitem__(self, index: slice | Values) -> Self: ...

    def __getitem__(self, index: int | np.integer[Any] | slice | Values) -> Nifti1Image | Self:
        positions = np.arange(len(self))[_first_axis_index(index, len(self))]
        if positions.ndim == 0:
            volume = self._read(positions[np.newaxis])[0]
            space = self._sources[self._source_index[positions]].space
            return image_in_space(volume, self.affine, space)
        subset = self.__class__.__new__(self.__class__)
        subset.__dict__.update(self.__dict__)
        names = ("_source_index", "_volume_index", "_y", "_groups", "_runs", "_subjects")
        for name in names:
            values = getattr(self, name)
            setattr(subset, name, None if values is None else values[positions])
        return subset

    def __iter__(self) -> Iterator[Nifti1Image]:
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("Volumes are read into new memory, so copy=False is not possible.")
        volumes = np.empty(self.shape, dtype=np.float32)
        for start, batch in self._numbered_batches(_default_batch_size(self.grid_shape)):
            volumes[start : start + len(batch)] = batch
        return volumes if dtype is None else volumes.astype(dtype, copy=False)

    def iter_batches(self, batch_size: int | None = None) -> Iterator[NDArray[np.float32]]:
        """Yield all volumes in order, a few at a time.

        Parameters
        ----------
        batch_size : int, default=None
            Number of volumes per batch; None takes as many as fit into 8 MB.

        Yields
        ------
        batch : ndarray of shape (k, x, y, z), float32
            The next volumes, k <= `batch_size`; possibly a read-only map of the decoded copy. In
            memory x varies fastest, as in the file.
        """
        if batch_size is None:
            batch_size = _default_batch_size(self.grid_shape)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, but is {batch_size}.")
        for _, batch in self._numbered_batches(batch_size):
            yield batch

    def acquisition_order(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the image that each volume comes from, and its position there.

        Returns
        -------
        images : ndarray of shape (n_samples,), int
            Number of the image.
        positions : ndarray of shape (n_samples,), int
            Number of the volume in that image, even if others were left out.
        """
        return self._source_index.copy(), self._volume_index.copy()

    def _numbered_batches(self, batch_size):
        for start in range(0, len(self), batch_size):
            yield start, self._read(np.arange(start, min(start + batch_size, len(self))))

    def _read(self, positions):
        source_index = self._source_index[positions]
        volume_index = self._volume_index[positions]
        used = np.unique(source_index)
        if len(used) == 1:
            return self._sources[used[0]].read(volume_index)
        # Filled through a transposed view, so that x varies fastest, as in a single file.
        volumes = np.empty((len(positions), *self.grid_shape[::-1]), dtype=np.float32)
        volumes = volumes.transpose(0, 3, 2, 1)
        for i in used:
            here = source_index == i
            volumes[here] = self._sources[i].read(volume_index[here])
        return volumes

    def __getstate__(self):
        state = self.__dict__.copy()
        used, state["_source_index"] = np.unique(self._source_index, return_inverse=True)
        state["_sources"] = tuple(self._sources[i] for i in used) or self._sources[:1]
        volume_index = self._volume_index.copy()
        for i, source in enumerate(state["_sources"]):
            here = state["_source_index"] == i
            kept = np.unique(volume_index[here])
            # A subset of volumes in memory must not carry the others along.
            if isinstance(source, ArraySource) and len(kept) < source.n_volumes:
                about = source.affine, source.name, source.space, source.t_r
                part = ArraySource(source.array[kept], *about)
                state["_sources"] = (*state["_sources"][:i], part, *state["_sources"][i + 1 :])
                volume_index[here] = np.searchsorted(kept, volume_index[here])
        state["_volume_index"] = volume_index
        return state


def as_samples(X: ImageSamples, estimator_name: str) -> NiftiSamples:
    """Return X as `NiftiSamples`; raise TypeError for an array, which has no affine."""
    if isinstance(X, NiftiSamples):
        return X
    if isinstance(X, np.ndarray) and X.dtype.kind not in "OU":
        raise TypeError(
            f"{estimator_name} needs images, which say where their voxels lie, but X is an array "
            f"of shape {X.shape}. Use NiftiSamples.from_array(array, affine)."
        )
    return NiftiSamples(X)


def samples_from_source(source, like):
    """Return all volumes of one source, with labels, groups, runs and subjects of others."""
    samples = NiftiSamples.__new__(NiftiSamples)
    samples._set_up([source], like.y, like.groups, like.runs, like.subjects)
    samples._has_groups = has_groups(like)
    return samples


def list_images(samples):
    """Return name and number of volumes of each image, in the order of `acquisition_order`."""
    return [(source.name, source.n_volumes) for source in samples._sources]


def copy_bytes(samples):
    """Return the bytes that decoded copies of the images take when all volumes have been read."""
    return sum(getattr(source, "copy_bytes", 0) for source in samples._sources)


def has_groups(samples):
    """Return whether anybody has named groups or runs, so that groups are more than a guess."""
    return samples._has_groups


def origin_of(samples):
    """Return an object that samples share with their subsets, and with nothing else."""
    return samples._sources[0]


def list_spaces(samples):
    """Return the space of each image that a volume comes from, in the order of `list_images`."""
    used = np.unique(samples._source_index)
    return [samples._sources[i].space for i in (used if len(used) else [0])]


def list_t_r(samples):
    """Return for each sample the seconds between volumes that its image's header gives, or None."""
    times = [getattr(source, "t_r", None) for source in samples._sources]
    return [times[i] for i in samples._source_index]


def check_unchanged(samples):
    """Raise ValueError if a file was rewritten since its header was read."""
    for i in np.unique(samples._source_index):
        samples._sources[i].check_unchanged()


def stream_batches(samples):
    """Yield all volumes in order, a few at a time, for somebody who reads them only once.

    Unlike `iter_batches` this leaves nothing in the cache: no decoded copies of compressed files,
    no cleaned runs.
    """
    if not len(samples):
        return
    source, volume = samples._source_index, samples._volume_index
    is_new = (np.diff(source) != 0) | (np.diff(volume) <= 0)
    for here in np.split(np.arange(len(samples)), np.flatnonzero(is_new) + 1):
        yield from samples._sources[source[here[0]]].stream(volume[here])


def smallest_type(samples):
    """Return the smallest dtype, float32 at most, that holds all values of the images exactly."""
    types = [getattr(samples._sources[i], "exact_type", None) for i in set(samples._source_index)]
    return np.result_type(*types) if types and all(types) else np.dtype(np.float32)


def finite_shares(samples):
    """Return the share of the values of each volume that are finite, shape (n_samples,).

    It is 0 for a volume without any, and 1 only if all are finite.
    """
    n_finite = [
        np.isfinite(batch).sum(axis=(1, 2, 3), dtype=np.int64) for batch in samples.iter_batches()
    ]
    n_voxels = math.prod(samples.grid_shape)
    return np.concatenate(n_finite) / n_voxels if n_finite else np.zeros(0)


def volume_name(samples, position):
    """Return what messages call a volume, by its image and its number there, from 0."""
    source = samples._sources[samples._source_index[position]]
    return f"volume {samples._volume_index[position]} of {source.name}"


def volumes_key(samples):
    """Return values that joblib can hash and that differ whenever the volumes do.

    Labels, groups and runs have no part in them, nor have other volumes, nor the names of images.
    """
    state = samples.__getstate__()
    sources = [{**source.__getstate__(), "name": None} for source in state["_sources"]]
    return sources, state["_source_index"], state["_volume_index"]


def ancestry(samples):
    """Yield what samples were derived from, step by step, the last step first.

    Parameters
    ----------
    samples : NiftiSamples
        Samples.

    Yields
    ------
    source : object or None
        What derives the samples that follow; None for the volumes of files, or of an array, which
        come last.
    below : NiftiSamples
        Samples of that source.
    rows : list of list of int
        For each of the given samples the positions of those that it shows.
    """
    rows = [[row] for row in range(len(samples))]
    while (source := samples._sources[0]).derivation is not None:
        yield source, samples, rows
        shown = source.parents(samples._volume_index)
        rows = [[row for parent in parents for row in shown[parent]] for parents in rows]
        samples = source.samples
    yield None, samples, rows


def trace(samples):
    """Return the volumes of files, or of an array, that samples were computed from, and how.

    Parameters
    ----------
    samples : NiftiSamples
        Samples.

    Returns
    -------
    originals : NiftiSamples
        Volumes as they are in files, each once, in the order in which samples first show them.
    parents : list of ndarray of int
        For each sample the positions of the originals that it shows.
    derivations : list of (str, dict)
        Functions that were applied, the first one first, each with its settings as
        JSON-serialisable values: for `clean_runs`, ``t_r`` lists the different ones, ``confounds``
        and ``sample_masks`` only say whether there were any.
    """
    *steps, (_, originals, parents) = ancestry(samples)
    derivations = [source.derivation for source, _, _ in reversed(steps)]
    used = list(dict.fromkeys(row for rows in parents for row in rows))
    number_of = {row: number for number, row in enumerate(used)}
    parents = [np.array([number_of[row] for row in rows]) for rows in parents]
    return originals[used], parents, derivations


def _default_batch_size(grid_shape):
    return max(1, BATCH_BYTES // (4 * math.prod(grid_shape)))


def _first_axis_index(index, n_samples):
    """Return a valid NumPy index of the sample axis, or raise IndexError."""
    if isinstance(index, tuple):
        if not index or not all(_is_everything(rest) for rest in index[1:]):
            raise IndexError(
                f"NiftiSamples has an index for samples only, but got {index!r}. "
                "Use np.asarray(samples) to index voxels."
            )
        index = index[0]
    if index is Ellipsis or isinstance(index, slice):
        return slice(None) if index is Ellipsis else index
    index = np.asarray(index)
    if index.size == 0 and index.dtype != bool:
        return index.astype(int)
    if index.ndim > 1 or index.dtype.kind not in "biu" or (index.dtype == bool and not index.ndim):
        raise IndexError(
            f"An index of shape {index.shape} and type {index.dtype} cannot choose samples. Use an "
            "integer, a slice, a list of integers or a boolean mask."
        )
    if index.dtype == bool and len(index) != n_samples:
        raise IndexError(f"Found a mask of {len(index)} entries for {n_samples} volumes.")
    return index


def _is_everything(index):
    return index is Ellipsis or (isinstance(index, slice) and index == slice(None))
