"""Places from which volumes are read: NIfTI files or arrays in memory."""

import os
import zlib
from pathlib import Path

import joblib
import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.openers import ImageOpener
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from skfmri._arrays import read_ahead
from skfmri._cache import stored_file
from skfmri._validation import check_affine

try:
    from isal import igzip, isal_zlib
except ImportError:
    igzip = None

CHUNK_BYTES = 4 * 1024**2
DAMAGED = (EOFError, OSError, zlib.error) + (() if igzip is None else (isal_zlib.error,))


class FileSource:
    """Volumes of one NIfTI file, read when asked for.

    Only the header is read here. Data in a plain file are read through a memory map of the file
    itself, data in a compressed file through a map of a decoded copy that all processes share.

    Parameters
    ----------
    path : str or path-like
        NIfTI-1 or NIfTI-2 file, single or pair, plain or compressed.
    affine : array of shape (4, 4), default=None
        Voxel-to-RAS matrix that stands in place of the header's.
    """

    def __init__(self, path, affine=None):
        self.path = os.path.abspath(os.path.expanduser(path))
        self.name = self.path
        image = _open_header(self.path)
        proxy = image.dataobj
        self.affine = check_affine(image.affine if affine is None else affine, self.name)
        self.grid_shape, self.n_volumes = split_shape(proxy.shape, self.name)
        self.data_path = os.path.abspath(image.file_map["image"].filename or self.path)
        self.dtype = proxy.dtype
        if self.dtype.kind not in "iuf":
            raise ValueError(
                f"{self.name} holds values of type {self.dtype}, which are not real numbers. "
                "Convert it to a real data type first."
            )
        self.offset = int(proxy.offset)
        self.slope, self.inter = float(proxy.slope), float(proxy.inter)
        self.header_crc = zlib.crc32(image.header.binaryblock)
        self.stamp = self._current_stamp()
        found = self.stamp[0] - self.offset
        if not self._is_compressed() and found < self._n_bytes():
            raise self._truncated(found)

    def read(self, volumes):
        """Return the volumes at some positions, as ``(k, x, y, z)`` of float32."""
        path, offset = self._raw_file()
        return read_volumes(
            path, offset, self.dtype, self.grid_shape, volumes, self.slope, self.inter
        )

    def __getstate__(self):
        # joblib hashes what pickle writes: the stamp of this moment makes the hash of samples
        # whose file was rewritten after they were built differ.
        state = self.__dict__.copy()
        try:
            state["stamp_when_pickled"] = self._current_stamp()
        except FileNotFoundError:
            state["stamp_when_pickled"] = None
        return state

    def check_unchanged(self):
        """Raise ValueError if the file was rewritten since its header was read."""
        stamp = self._current_stamp()
        if stamp != self.stamp:
            raise ValueError(
                f"{self.name} has changed since its header was read (size and modification time "
                f"{self.stamp} then, {stamp} now). Build NiftiSamples again."
            )

    def _raw_file(self):
        self.check_unchanged()
        if not self._is_compressed():
            return self.data_path, self.offset
        key = joblib.hash((self.data_path, self.stamp, self.header_crc, self.offset))
        description = f"the decoded copy of {self.name}"
        return stored_file(key, self._n_bytes(), self._decode, description), 0

    def _decode(self, target):
        with _open_data(self.data_path) as source, open(target, "wb") as decoded:
            for chunk in read_ahead(self._data_chunks(source)):
                decoded.write(chunk)

    def _data_chunks(self, source):
        missing = self._n_bytes()
        try:
            source.seek(self.offset)
            while missing and (chunk := source.read(min(CHUNK_BYTES, missing))):
                missing -= len(chunk)
                yield chunk
            # The checksum that tells damaged data stands behind all of them.
            while source.read(CHUNK_BYTES):
                pass
        except DAMAGED as error:
            raise self._truncated(self._n_bytes() - missing) from error
        if missing:
            raise self._truncated(self._n_bytes() - missing)

    def _truncated(self, found):
        return ValueError(
            f"{self.name} is truncated or damaged: its header promises {self.n_volumes} volumes "
            f"({self._n_bytes()} bytes of data), of which {max(found, 0)} were read before "
            "the end or a wrong checksum. Copy or download the file again."
        )

    def _is_compressed(self):
        return Path(self.data_path).suffix.lower() in ImageOpener.compress_ext_map

    def _n_bytes(self):
        return int(np.prod(self.grid_shape)) * self.n_volumes * self.dtype.itemsize

    def _current_stamp(self):
        status = os.stat(self.data_path)
        return status.st_size, status.st_mtime_ns


class ArraySource:
    """Volumes that are in memory already, as an array ``(n_volumes, x, y, z)``."""

    def __init__(self, array, affine, name):
        if array.dtype.kind not in "biuf":
            raise ValueError(
                f"{name} holds values of type {array.dtype}, which are not real numbers. "
                "Convert them to a real data type first."
            )
        self.array = array
        self.affine = check_affine(affine, name)
        self.name = name
        self.grid_shape, self.n_volumes = array.shape[1:], array.shape[0]

    def read(self, volumes):
        """Return the volumes at some positions, as ``(k, x, y, z)`` of float32.

        As from a file, neighbours that are float32 already cannot be written to.
        """
        if self.array.dtype == np.float32 and len(_stretches(volumes)) == 1:
            view = np.asarray(self.array[volumes[0] : volumes[-1] + 1])
            view.flags.writeable = False
            return view
        return self.array[volumes].astype(np.float32, copy=False)

    def check_unchanged(self):
        """Do nothing: memory is what it is."""


def source_of(image, position):
    """Return the source of an image or path; `position` is its place in the user's list."""
    if isinstance(image, (str, os.PathLike)):
        return FileSource(image)
    if not isinstance(image, nibabel.spatialimages.SpatialImage):
        raise TypeError(
            f"Image {position} is a {type(image).__name__}. Pass NIfTI images or paths; "
            "for an array use NiftiSamples.from_array(array, affine)."
        )
    filename = image.file_map["image"].filename if nibabel.is_proxy(image.dataobj) else None
    if filename is not None and isinstance(image, nibabel.Nifti1Pair):
        return FileSource(image.get_filename(), affine=image.affine)
    name = f"image {position} (in memory)"
    array = np.asanyarray(image.dataobj)
    grid_shape, n_volumes = split_shape(array.shape, name)
    volumes_last = array.reshape(*grid_shape, n_volumes, order="F")
    return ArraySource(np.moveaxis(volumes_last, -1, 0), image.affine, name)


def split_shape(shape, name):
    """Return the grid and the number of volumes of an image's shape, or raise ValueError."""
    shape = tuple(int(length) for length in shape)
    if len(shape) == 3:
        shape = (*shape, 1)
    is_volumes = len(shape) == 4 or (len(shape) == 5 and 1 in shape[3:])
    if not is_volumes or min(shape) < 1:
        raise ValueError(
            f"{name} has the shape {shape}, but volumes need a 3-D or 4-D image; a fifth axis "
            "may only have length 1. Select the part you want and save it as a 4-D image."
        )
    return shape[:3], int(np.prod(shape[3:]))


def read_volumes(path, offset, dtype, grid_shape, volumes, slope=1.0, inter=0.0):
    """Return volumes of a raw file in NIfTI order as float32 of shape ``(k, x, y, z)``.

    The result lies in memory as in the file: x runs fastest. One stretch of neighbouring volumes
    that are float32 already is returned as a map of the file, which cannot be written to. Else each
    stretch is mapped for itself, so that memory holds the result only.
    """
    volumes = np.asarray(volumes, dtype=int)
    stored_shape = tuple(grid_shape)[::-1]
    volume_bytes = int(np.prod(grid_shape)) * dtype.itemsize
    stretches = _stretches(volumes)
    is_scaled = (slope, inter) != (1.0, 0.0)

    def window(stretch):
        first = offset + volumes[stretch[0]] * volume_bytes
        shape = (len(stretch), *stored_shape)
        return np.memmap(path, dtype, mode="r", offset=first, shape=shape)

    if len(stretches) == 1 and dtype == np.float32 and not is_scaled:
        return np.asarray(window(stretches[0])).transpose(0, 3, 2, 1)
    result = np.empty((len(volumes), *stored_shape), dtype=np.float32)
    for stretch in stretches:
        values = window(stretch)
        place = slice(stretch[0], stretch[-1] + 1)
        result[place] = values * np.float64(slope) + inter if is_scaled else values
    return result.transpose(0, 3, 2, 1)


def _stretches(volumes):
    """Return for each run of neighbouring volumes the places that they take in the result."""
    places, is_break = np.arange(len(volumes)), volumes[1:] - volumes[:-1] != 1
    if not is_break.any():
        return [places] if len(places) else []
    return np.split(places, np.flatnonzero(is_break) + 1)


def _open_data(path):
    """Open a file for its decoded bytes; isal, where installed, inflates about twice as fast."""
    is_gzip = Path(path).suffix.lower() == ".gz"
    return igzip.open(path) if is_gzip and igzip is not None else ImageOpener(path)


def _open_header(path):
    if not os.path.exists(path):
        raise FileNotFoundError(f"There is no file {path}. Check the path and its spelling.")
    try:
        image = nibabel.load(path)
    except (
        ImageFileError,
        HeaderDataError,
        WrapStructError,
        OSError,
        EOFError,
        zlib.error,
        ValueError,
    ) as error:
        raise ValueError(
            f"{path} cannot be read as a NIfTI image: {error}. "
            "Pass a .nii or .nii.gz file; copy it again if it should be one."
        ) from error
    if not isinstance(image, nibabel.Nifti1Pair):
        raise ValueError(
            f"{path} is a {type(image).__name__}, not a NIfTI image. "
            "Convert it first, for example with nibabel."
        )
    return image
