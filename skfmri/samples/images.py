"""Headers or raw volumes of image files."""

import contextlib
import math
import os

import nibabel
import numpy as np

NIFTI_SUFFIXES = {".nii", ".hdr", ".img"}
COMPRESSED_SUFFIXES = {".gz", ".bz2", ".zst"}
SURFACES = (nibabel.GiftiImage, nibabel.Cifti2Image)
CONVERT = "Convert it to NIfTI (.nii or .nii.gz) first, for example with nibabel."
COPY_AGAIN = "Copy or download the file again."
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


def read_volumes(path, offset, dtype, grid_shape, volumes, slope=1.0, inter=0.0):
    """Return volumes of a raw file in NIfTI order as float32 of shape ``(k, x, y, z)``.

    The result has the memory order of the file: x varies fastest. A single stretch of neighbouring
    volumes that are float32 already is returned as a read-only map of the file. Otherwise each
    stretch is mapped separately, so that memory holds only the result.
    """
    volumes = np.asarray(volumes, dtype=int)
    stored_shape = tuple(grid_shape)[::-1]
    volume_bytes = math.prod(grid_shape) * dtype.itemsize
    stretches = stretches_of(volumes)
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
        image = nibabel.load(path)
    if isinstance(image, SURFACES):
        raise ValueError(
            f"{path} is a {type(image).__name__}, not a NIfTI image of volumes: it holds values on "
            "a surface. Pass the volumes that they were made from."
        )
    if not isinstance(image, nibabel.Nifti1Pair):
        raise ValueError(f"{path} is a {type(image).__name__}, not a NIfTI image. {CONVERT}")
    return image


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
    if os.path.islink(path) and not os.path.exists(path):
        target = os.readlink(path)
        if "annex" in target:
            raise ValueError(
                f"{path} is a link of git-annex whose content is not on this machine. {GET_CONTENT}"
            )
        raise ValueError(
            f"{path} is a link to {target}, which does not exist. Correct the link, or copy the "
            "file that it should point to."
        )
    if not os.path.exists(path):
        raise FileNotFoundError(f"There is no file {path}. Check the path and its spelling.")
    if os.path.isdir(path):
        raise ValueError(f"{path} is a folder, not an image. Pass the images in it.")
    with explained_failures(path), open(path, "rb") as file:
        start = file.read(64)
    if not start:
        raise ValueError(f"{path} is empty: it has 0 bytes. {COPY_AGAIN}")
    if start.startswith(b"/annex/objects/"):
        raise ValueError(
            f"{path} is a placeholder of git-annex without the content of the image. {GET_CONTENT}"
        )


@contextlib.contextmanager
def explained_failures(name):
    """Turn whatever an image library raises into a ValueError with the file and the way out."""
    try:
        yield
    # Every format has errors of its own, and damage in a header can cause any error at all.
    except Exception as error:
        reason = str(error).strip().split("\n")[0].rstrip(".:") or type(error).__name__
        raise ValueError(
            f"{name} cannot be read as a NIfTI image: {reason}. {_way_out(str(name))}"
        ) from error


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
