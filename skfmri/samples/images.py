"""Headers or raw volumes of image files."""

import contextlib
import gzip
import math
import os
import stat

import nibabel
import numpy as np

from skfmri.samples.compressed import MOST_PER_BYTE

# Small enough for the processor's cache.
CHUNK_BYTES = 256 * 1024
# Larger than any path in git-annex.
PLACEHOLDER_BYTES = 4096
NIFTI_SUFFIXES = {".nii", ".hdr", ".img"}
# Where headers of these lengths say at which byte the data begin.
NIFTI_HEADERS = {348: (slice(108, 112), np.float32), 540: (slice(168, 176), np.int64)}
COMPRESSED_SUFFIXES = {".gz", ".bz2", ".zst"}
SURFACES = (nibabel.GiftiImage, nibabel.Cifti2Image)
CONVERT = "Convert it to NIfTI (.nii or .nii.gz) first, for example with nibabel."
COPY_AGAIN = "Copy or download the file again."
SAVE = "Save it as a .nii or .nii.gz file first."
GET_CONTENT = "Run `datalad get` or `git annex get` for it first."


def split_shape(shape, name):
    """Return the grid and the number of volumes of an image's shape, or raise ValueError."""
    shape = tuple(int(length) for length in shape)
    if len(shape) == 3:
        shape = (*shape, 1)
    if len(shape) > 3 and min(shape) < 1:
        raise ValueError(
            f"{name} is empty: its shape is {shape}, so it has no voxels or no volumes. "
            "Look at the step that wrote it, or leave it out."
        )
    if not (len(shape) == 4 or (len(shape) == 5 and 1 in shape[3:])):
        raise ValueError(
            f"{name} has the shape {shape}, but volumes need a 3-D or 4-D image; a fifth axis "
            "may only have length 1. Select the part you want and save it as a 4-D image."
        )
    return shape[:3], math.prod(shape[3:])


def read_volumes(path, offset, dtype, grid_shape, volumes, slope=1.0, inter=0.0, *, may_map=True):
    """Return volumes of a raw file in NIfTI order as float32 of shape ``(k, x, y, z)``.

    The result has the memory order of the file: x varies fastest. Memory holds little else.

    Parameters
    ----------
    path : str or path-like
        The file.
    offset : int
        First byte of the data.
    dtype : dtype
        Type of the values in the file.
    grid_shape : tuple of int
        Number of voxels along x, y and z.
    volumes : array-like of int
        Numbers of the volumes.
    slope, inter : float
        Scale of the values.
    may_map : bool, default=True
        Whether a single stretch of neighbouring volumes that are float32 already may be returned as
        a read-only map of the file. That is only safe if nobody ever shortens or overwrites it: a
        process that touches a page that is gone dies of SIGBUS.

    Raises
    ------
    EOFError
        If the file ends before the last of the volumes.
    """
    volumes = np.asarray(volumes, dtype=int)
    stored_shape = tuple(grid_shape)[::-1]
    volume_bytes = math.prod(grid_shape) * dtype.itemsize
    stretches = stretches_of(volumes)
    is_result = dtype == np.float32 and (slope, inter) == (1.0, 0.0)
    if may_map and is_result and len(stretches) == 1:
        first = offset + int(volumes[0]) * volume_bytes
        mapped = np.memmap(path, dtype, "r", first, shape=(len(volumes), *stored_shape))
        return np.asarray(mapped).transpose(0, 3, 2, 1)
    result = np.empty((len(volumes), *stored_shape), dtype=np.float32)
    with open(path, "rb", buffering=0) as file:
        for stretch in stretches:
            file.seek(offset + int(volumes[stretch[0]]) * volume_bytes)
            values = result[stretch[0] : stretch[-1] + 1].reshape(-1)
            if is_result:
                _read_into(file, values)
            else:
                _read_scaled_into(file, values, dtype, slope, inter)
    return result.transpose(0, 3, 2, 1)


def flat(volumes):
    """Return volumes as ``(k, n_voxels)`` in the order of a NIfTI file."""
    return volumes.transpose(0, 3, 2, 1).reshape(len(volumes), -1)


def as_volumes(values, grid_shape):
    """Return values of shape ``(k, n_voxels)`` in the order of a NIfTI file as volumes."""
    return values.reshape(-1, *grid_shape[::-1]).transpose(0, 3, 2, 1)


def _read_scaled_into(file, result, dtype, slope, inter):
    buffer = np.empty(min(len(result), max(1, CHUNK_BYTES // dtype.itemsize)), dtype)
    for start in range(0, len(result), len(buffer)):
        place = result[start : start + len(buffer)]
        values = buffer[: len(place)]
        _read_into(file, values)
        place[:] = scaled(values, slope, inter)


def scaled(values, slope, inter):
    """Return values of a file with the scale that its header gives."""
    return values if (slope, inter) == (1.0, 0.0) else values * np.float64(slope) + inter


def _read_into(file, values):
    # One call may read less than it is asked for, 2 GB at most on Linux.
    missing = memoryview(values.view(np.uint8))
    while missing:
        n_read = file.readinto(missing)
        if not n_read:
            raise EOFError(f"{len(missing)} bytes are missing at the end")
        missing = missing[n_read:]


def stretches_of(volumes):
    """Return for each stretch of neighbouring volumes the places that they take in the result."""
    places, is_break = np.arange(len(volumes)), volumes[1:] - volumes[:-1] != 1
    if not is_break.any():
        return [places] if len(places) else []
    return np.split(places, np.flatnonzero(is_break) + 1)


def open_header(path):
    """Return a NIfTI image whose header is read, or raise an error that names the file."""
    check_content(path)
    with explained_failures(path):
        _check_extensions(path)
        image = nibabel.load(path)
    if isinstance(image, SURFACES):
        raise ValueError(
            f"{path} is a {type(image).__name__}, not a NIfTI image of volumes: it holds values on "
            "a surface. Pass the volumes that they were made from."
        )
    if not isinstance(image, nibabel.Nifti1Pair):
        raise ValueError(f"{path} is a {type(image).__name__}, not a NIfTI image. {CONVERT}")
    return image


def _check_extensions(path):
    """Raise ValueError if an extension of a header is longer than the file can be.

    nibabel allocates what the length of an extension asks for before it reads any of it.
    """
    stem, suffix = os.path.splitext(path)
    suffix, opener, most_per_byte = suffix.lower(), open, 1
    is_single = suffix in (".nii", ".gz")
    if suffix == ".gz":
        opener, most_per_byte = gzip.open, MOST_PER_BYTE
    header_path = path if is_single else f"{stem}.hdr"
    if suffix not in {*NIFTI_SUFFIXES, ".gz"} or not os.path.exists(header_path):
        return
    size = most_per_byte * os.path.getsize(header_path)
    with opener(header_path, "rb") as file:
        header = file.read(max(NIFTI_HEADERS) + 1)
        order = "little" if int.from_bytes(header[:4], "little") in NIFTI_HEADERS else "big"
        first = int.from_bytes(header[:4], order)
        if first not in NIFTI_HEADERS or not any(header[first : first + 1]):
            return
        data_field, dtype = NIFTI_HEADERS[first]
        end, place = size, first + 4
        if is_single:
            end = np.frombuffer(header[data_field], np.dtype(dtype).newbyteorder(order))[0]
        while end - place >= (16 if is_single else 8):
            file.seek(place)
            length = int.from_bytes(file.read(4), order, signed=True)
            if not 8 <= length <= size - place:
                raise ValueError(f"an extension of its header claims to take {length} bytes")
            place += length


def read_layout(proxy, name):
    """Return where and how the data of an image lie in its file, or raise ValueError.

    Parameters
    ----------
    proxy : nibabel.arrayproxy.ArrayProxy
        Data of the image.
    name : str
        Name of the image for error messages.

    Returns
    -------
    shape : tuple of int
    dtype : dtype
    offset : int
        First byte of the data after decompression.
    slope, inter : float
        Scale of the values.
    """
    with explained_failures(name):
        shape, dtype = tuple(map(int, proxy.shape)), np.dtype(proxy.dtype)
        offset, slope, inter = int(proxy.offset), float(proxy.slope), float(proxy.inter)
    if offset < 0:
        raise ValueError(
            f"{name} is damaged: its header says that the data begin at byte {offset}. {COPY_AGAIN}"
        )
    return shape, dtype, offset, slope, inter


def check_content(path):
    """Raise an error that names the file, unless it exists and holds something."""
    try:
        status = os.stat(path)
    # A path with a NUL in it is a ValueError.
    except (OSError, ValueError) as error:
        raise _without_content(path, error) from error
    if stat.S_ISDIR(status.st_mode):
        raise ValueError(f"{path} is a folder, not an image. Pass the images in it.")
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(
            f"{path} is not a regular file, so it cannot be read more than once. {SAVE}"
        )
    if not status.st_size:
        raise ValueError(
            f"{path} is empty: it has 0 bytes. {COPY_AGAIN} If it belongs to a DataLad dataset, "
            "`datalad get` fetches it."
        )
    if status.st_size > PLACEHOLDER_BYTES:
        return
    with explained_failures(path), open(path, "rb") as file:
        start = file.read(64)
    if start.startswith(b"/annex/objects/"):
        raise ValueError(f"{path} is a placeholder of git-annex without content. {GET_CONTENT}")


def _without_content(path, error):
    """Return the error for a path that has no file behind it or cannot be reached."""
    if os.path.islink(path):
        target = os.readlink(path)
        if "annex" in target:
            return ValueError(
                f"{path} is a link of git-annex whose content is not on this machine. {GET_CONTENT}"
            )
        return ValueError(
            f"{path} is a link to {target}, which does not exist. Correct the link, or copy the "
            "file that it should point to."
        )
    if isinstance(error, (FileNotFoundError, NotADirectoryError, ValueError)):
        return FileNotFoundError(f"There is no file {path}. Check the path and its spelling.")
    return type(error)(f"{path} cannot be reached: {error.strerror}. Check its folder and rights.")


@contextlib.contextmanager
def explained_failures(name):
    """Turn whatever an image library raises into a ValueError with the file and the way out."""
    try:
        yield
    # Every format has errors of its own, and damage in a header can cause any error at all.
    except Exception as error:
        reason = str(error).strip().split("\n")[0].rstrip(".:") or type(error).__name__
        way_out = _way_out(str(name))
        if isinstance(error, PermissionError):
            way_out = "Get the right to read it, or copy it to a folder of yours."
        raise ValueError(f"{name} cannot be read as a NIfTI image: {reason}. {way_out}") from error


def _way_out(name):
    stem, suffix = os.path.splitext(name.lower())
    if suffix == ".zst":
        return "Unpack it first with unzstd, or install the missing package."
    if suffix in COMPRESSED_SUFFIXES:
        suffix = os.path.splitext(stem)[1]
    if suffix in (".hdr", ".img"):
        return "It needs .hdr and .img in one folder. If both are there, copy them again."
    if suffix in NIFTI_SUFFIXES or not suffix:
        return "Pass a .nii or .nii.gz file; if it should be one, copy it again."
    return CONVERT
