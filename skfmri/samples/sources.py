"""Places from which volumes are read: NIfTI files or arrays in memory."""

import hashlib
import math
import os
import zlib

import nibabel
import numpy as np
from nibabel.arrayproxy import ArrayProxy

from skfmri._arrays import read_ahead
from skfmri._cache import is_stored, stored_file
from skfmri._validation import check_affine
from skfmri.samples.compressed import (
    MOST_PER_BYTE,
    check_rest,
    count_decoded,
    is_compressed,
    open_data,
)
from skfmri.samples.images import (
    COPY_AGAIN,
    as_volumes,
    check_content,
    explained_failures,
    open_header,
    read_layout,
    read_volumes,
    scaled,
    split_shape,
    stretches_of,
)
from skfmri.samples.space import UNKNOWN_SPACE, space_of_header
from skfmri.samples.timing import header_t_r

# `NiftiSamples` read from sources. A source has a name, an affine, a space, a grid_shape, n_volumes
# and, if its volumes are the result of `clean_runs`, the settings of that as `cleaning`. It can
# `read` the volumes at some positions, `stream` them without leaving anything in the cache, and
# `check_unchanged`. One whose values need fewer bytes than float32 says so by `exact_type`. A new
# kind of image is a new source.
CHUNK_BYTES = 4 * 1024**2
# So much is decoded about as fast as a copy of it is found, and sooner than one is made.
UNKEPT_BYTES = 64 * 1024


class FileSource:
    """Volumes of one file, read when asked for.

    Data in an uncompressed file are read into memory. The file is never mapped, because a process
    dies when somebody shortens a file that it has mapped. Data in a compressed file are read
    through a map of a decoded copy that all processes share, unless they are so few that each
    reader decodes them.

    Parameters
    ----------
    name : str
        Name of the image for error messages.
    proxy : nibabel.arrayproxy.ArrayProxy
        Names the file with the data, which nibabel does not change when the image is saved
        elsewhere, and says how they lie in it.
    affine : array of shape (4, 4)
        Voxel-to-RAS matrix.
    header_crc : int
        Checksum of the header in the file.
    space : dict
        What the header says of the space.
    t_r : float or None
        Seconds between volumes, if the header says so.
    """

    derivation = None
    reads_blocks = False

    def __init__(self, name, proxy, affine, header_crc, space, t_r):
        self.name, self.header_crc, self.space, self.t_r = name, header_crc, space, t_r
        self.data_path = os.path.abspath(proxy.file_like)
        shape, self.dtype, self.offset, self.slope, self.inter = read_layout(proxy, name)
        self.affine = check_affine(affine, name)
        self.grid_shape, self.n_volumes = split_shape(shape, name)
        if self.dtype.kind not in "iuf":
            raise ValueError(
                f"{self.name} holds values of type {self.dtype}, which are not real numbers. "
                "Convert it to a real data type first."
            )
        if not os.path.lexists(self.data_path):
            raise ValueError(
                f"{self.name} is only the header of an image: its data should be in "
                f"{self.data_path}, which does not exist. Copy both files into one folder."
            )
        if self.data_path != name:
            check_content(self.data_path)
        self.stamp = self._current_stamp()
        self._check_size()

    @property
    def exact_type(self):
        """Integer type that holds all values in fewer bytes than float32, or None."""
        is_small = self.dtype.kind in "iu" and self.dtype.itemsize <= 2
        is_plain = is_small and (self.slope, self.inter) == (1.0, 0.0)
        return self.dtype.newbyteorder("=") if is_plain else None

    @property
    def copy_bytes(self):
        """Bytes of the decoded copy that `read` keeps, or 0 if it keeps none."""
        n_bytes = self._n_bytes()
        return n_bytes if is_compressed(self.data_path) and n_bytes > UNKEPT_BYTES else 0

    def read(self, volumes):
        """Return the volumes at some positions, as ``(k, x, y, z)`` of float32.

        Raises
        ------
        ValueError
            If the file was changed since its header was read, if only while it was read now.
        """
        self.check_unchanged()
        is_packed = is_compressed(self.data_path)
        if is_packed and not self.copy_bytes:
            return self._decoded(volumes)
        path, offset = (self._copy(), 0) if is_packed else (self.data_path, self.offset)
        layout = self.dtype, self.grid_shape, volumes, self.slope, self.inter
        try:
            result = read_volumes(path, offset, *layout, may_map=is_packed)
        except EOFError as error:
            self.check_unchanged()
            raise self._damaged(f"but {error}") from error
        except OSError as error:
            # Reading, unlike opening, does not say from which file.
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        if not is_packed:
            self.check_unchanged()
        return result

    def stream(self, volumes):
        """Yield the volumes at some positions, which ascend, each as ``(1, x, y, z)`` of float32.

        Unlike `read`, this leaves no decoded copy of a compressed file, but uses one that is there.
        """
        self.check_unchanged()
        is_packed = is_compressed(self.data_path)
        if is_packed and not self.copy_bytes:
            yield from self._decoded(volumes)[:, np.newaxis]
            return
        if not is_packed or is_stored(self._copy_key(), self._n_bytes()):
            yield from (self.read([volume]) for volume in volumes)
            return
        wanted, volume, stored = set(np.asarray(volumes).tolist()), 0, bytearray()
        n_bytes = self._n_bytes() // self.n_volumes
        with open_data(self.data_path) as file:
            for chunk in read_ahead(self._data_chunks(file)):
                stored += chunk
                while len(stored) >= n_bytes:
                    if volume in wanted:
                        yield self._as_volumes(np.frombuffer(bytes(stored[:n_bytes]), self.dtype))
                    del stored[:n_bytes]
                    volume += 1
        self.check_unchanged()

    def __getstate__(self):
        # joblib hashes what pickle writes: the current stamp changes the hash of samples whose file
        # was rewritten after they were built.
        state = self.__dict__.copy()
        try:
            state["stamp_when_pickled"] = self._current_stamp()
        except OSError:
            state["stamp_when_pickled"] = None
        return state

    def check_unchanged(self):
        """Raise ValueError if the file was rewritten since its header was read."""
        try:
            stamp = self._current_stamp()
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"There is no file {self.data_path} any more. Put it back, or build NiftiSamples "
                "from where it is now."
            ) from error
        if stamp != self.stamp:
            raise ValueError(
                f"{self.name} has changed since its header was read (size and modification time "
                f"{self.stamp} then, {stamp} now). Build NiftiSamples again."
            )

    def _check_size(self):
        """Raise ValueError if the file is too short, before anything is allocated for it."""
        size, expected = self.stamp[0], self.offset + self._n_bytes()
        if is_compressed(self.data_path):
            if expected <= MOST_PER_BYTE * size:
                return
            try:
                size = count_decoded(self.data_path, expected)
            except Exception as error:
                raise self._damaged(f"but they cannot be unpacked: {error}") from error
        if size < expected:
            raise self._damaged(f"of which {max(size - self.offset, 0)} are there")

    def _decoded(self, volumes):
        with open_data(self.data_path) as source:
            stored = b"".join(self._data_chunks(source))
        self.check_unchanged()
        values = np.frombuffer(stored, self.dtype).reshape(self.n_volumes, -1)
        return self._as_volumes(values[volumes])

    def _as_volumes(self, values):
        """Return values of shape ``(k, n_voxels)``, as they are stored, as volumes of float32."""
        volumes = as_volumes(values, self.grid_shape)
        return scaled(volumes, self.slope, self.inter).astype(np.float32, copy=False)

    def _copy(self):
        description = f"the decoded copy of {self.name}"
        return stored_file(self._copy_key(), self._n_bytes(), self._decode, description)

    def _copy_key(self):
        content = self.data_path, self.stamp, self.header_crc, self.offset, self._n_bytes()
        return hashlib.md5(repr(content).encode(), usedforsecurity=False).hexdigest()

    def _decode(self, target):
        # The file is there and empty. Truncating it again makes ext4 write to the disk at once.
        with open_data(self.data_path) as source, open(target, "r+b") as decoded:
            chunks = self._data_chunks(source)
            # A thread would take longer to start than a single chunk to decode.
            for chunk in read_ahead(chunks) if self._n_bytes() > CHUNK_BYTES else chunks:
                decoded.write(chunk)
        self.check_unchanged()

    def _data_chunks(self, source):
        before, missing = self.offset, self._n_bytes()
        try:
            while before and (chunk := source.read(min(CHUNK_BYTES, before))):
                before -= len(chunk)
            while missing and (chunk := source.read(min(CHUNK_BYTES, missing))):
                missing -= len(chunk)
                yield chunk
            if not missing:
                check_rest(source)
        # Each kind of compression has errors of its own.
        except Exception as error:
            raise self._damaged(f"but they cannot be unpacked: {error}") from error
        if missing:
            raise self._damaged(f"of which {self._n_bytes() - missing} are there")

    def _damaged(self, found):
        return ValueError(
            f"{self.name} is truncated or damaged: its header promises {self.n_volumes} volumes "
            f"({self._n_bytes()} bytes of data), {found}. {COPY_AGAIN}"
        )

    def _n_bytes(self):
        return math.prod(self.grid_shape) * self.n_volumes * self.dtype.itemsize

    def _current_stamp(self):
        status = os.stat(self.data_path)
        return status.st_size, status.st_mtime_ns


class ArraySource:
    """Volumes that are in memory already, as an array ``(n_volumes, x, y, z)``."""

    derivation = None
    reads_blocks = False

    def __init__(self, array, affine, name, space=UNKNOWN_SPACE, t_r=None):
        if array.dtype.kind not in "biuf":
            raise ValueError(
                f"{name} holds values of type {array.dtype}, which are not real numbers. "
                "Convert them to a real data type first."
            )
        self.array = array
        self.affine = check_affine(affine, name)
        self.name, self.space, self.t_r = name, space, t_r
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

    def stream(self, volumes):
        """Yield the volumes at some positions, each as ``(1, x, y, z)`` of float32."""
        return (self.read(np.array([volume])) for volume in volumes)

    def check_unchanged(self):
        """Do nothing: an array in memory has no file that could change."""


def source_of(image, position):
    """Return the source of an image or path; `position` is its place in the user's list."""
    if isinstance(image, (str, os.PathLike)):
        path = os.path.abspath(os.path.expanduser(image))
        opened = open_header(path)
        space = space_of_header(opened.header, opened.affine)
        return FileSource(
            path,
            opened.dataobj,
            opened.affine,
            _header_crc(opened),
            space,
            header_t_r(opened.header)[0],
        )
    if not isinstance(image, nibabel.spatialimages.SpatialImage):
        raise TypeError(
            f"Image {position} is a {type(image).__name__}. Pass NIfTI images or paths; "
            "for an array use NiftiSamples.from_array(array, affine)."
        )
    if _reads_file(image.dataobj):
        return _source_of_proxy(image, position)
    name = f"image {position} (in memory)"
    with explained_failures(name):
        array = np.asanyarray(image.dataobj)
        if isinstance(array, np.memmap) and nibabel.is_proxy(image.dataobj):
            # Of a file that somebody may shorten.
            array = np.array(array)
    grid_shape, n_volumes = split_shape(array.shape, name)
    volumes_last = array.reshape(*grid_shape, n_volumes, order="F")
    space = space_of_header(image.header, image.affine)
    t_r = header_t_r(image.header)[0]
    return ArraySource(np.moveaxis(volumes_last, -1, 0), image.affine, name, space, t_r)


def _reads_file(data):
    """Return whether the data of an image are read as they lie in a file that has a name."""
    # Proxies of other formats are subclasses or other classes, with more rules than these.
    return (
        type(data) is ArrayProxy
        and data.order == "F"
        and isinstance(data.file_like, (str, os.PathLike))
    )


def _source_of_proxy(image, position):
    # Saving an image gives it another filename and maybe another header, but the same proxy.
    path = os.path.abspath(image.dataobj.file_like)
    if not os.path.lexists(path):
        raise FileNotFoundError(
            f"There is no file {path}, which image {position} reads its data from. Put it back, or "
            "load the image from where it is now."
        )
    check_content(path)
    try:
        header_crc = _header_crc(open_header(path))
    except (FileNotFoundError, ValueError):
        # The file may be of another format, or have no header.
        header_crc = None
    space = space_of_header(image.header, image.affine)
    t_r = header_t_r(image.header)[0]
    return FileSource(path, image.dataobj, image.affine, header_crc, space, t_r)


def _header_crc(image):
    return zlib.crc32(image.header.binaryblock)
