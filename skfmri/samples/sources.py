"""Places from which volumes are read: NIfTI files or arrays in memory."""

import os
import zlib
from pathlib import Path

import joblib
import nibabel
import numpy as np
from nibabel.openers import ImageOpener

from skfmri._arrays import read_ahead
from skfmri._cache import stored_file
from skfmri._validation import check_affine
from skfmri.samples.images import (
    DAMAGED,
    open_data,
    open_header,
    read_volumes,
    split_shape,
    stretches_of,
)

# `NiftiSamples` read from sources. A source has a name, an affine, a grid_shape, n_volumes and, if
# its volumes are the result of `clean_runs`, the settings of that as `cleaning`. It can `read` the
# volumes at some positions, and `check_unchanged`. A new kind of image is a new source.
CHUNK_BYTES = 4 * 1024**2


class FileSource:
    """Volumes of one NIfTI file, read when asked for.

    Building it reads only the header. Data in an uncompressed file are read through a memory map
    of the file itself, data in a compressed file through a map of a decoded copy that all
    processes share.

    Parameters
    ----------
    path : str or path-like
        NIfTI-1 or NIfTI-2 file, single or pair, plain or compressed.
    affine : array of shape (4, 4), default=None
        Voxel-to-RAS matrix that replaces the header's.
    """

    cleaning = None

    def __init__(self, path, affine=None):
        self.path = os.path.abspath(os.path.expanduser(path))
        self.name = self.path
        image = open_header(self.path)
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
        # joblib hashes what pickle writes: the current stamp changes the hash of samples whose file
        # was rewritten after they were built.
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
        with open_data(self.data_path) as source, open(target, "wb") as decoded:
            for chunk in read_ahead(self._data_chunks(source)):
                decoded.write(chunk)

    def _data_chunks(self, source):
        missing = self._n_bytes()
        try:
            source.seek(self.offset)
            while missing and (chunk := source.read(min(CHUNK_BYTES, missing))):
                missing -= len(chunk)
                yield chunk
            # The checksum that reveals damage follows all of the data.
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

    cleaning = None

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

        As from a file, neighbouring volumes that are float32 already are read-only.
        """
        if self.array.dtype == np.float32 and len(stretches_of(volumes)) == 1:
            view = np.asarray(self.array[volumes[0] : volumes[-1] + 1])
            view.flags.writeable = False
            return view
        return self.array[volumes].astype(np.float32, copy=False)

    def check_unchanged(self):
        """Do nothing: an array in memory has no file that could change."""


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
