"""Headers or raw volumes of image files."""

import os
import zlib
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.openers import ImageOpener
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

try:
    from isal import igzip, isal_zlib
except ImportError:
    igzip = None

DAMAGED = (EOFError, OSError, zlib.error) + (() if igzip is None else (isal_zlib.error,))


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

    The result has the memory order of the file: x varies fastest. A single stretch of neighbouring
    volumes that are float32 already is returned as a read-only map of the file. Otherwise each
    stretch is mapped separately, so that memory holds only the result.
    """
    volumes = np.asarray(volumes, dtype=int)
    stored_shape = tuple(grid_shape)[::-1]
    volume_bytes = int(np.prod(grid_shape)) * dtype.itemsize
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


def open_data(path):
    """Open a file for its decoded bytes; isal, if installed, inflates about twice as fast."""
    is_gzip = Path(path).suffix.lower() == ".gz"
    return igzip.open(path) if is_gzip and igzip is not None else ImageOpener(path)


def open_header(path):
    """Return an image whose header is read, or raise an error that names the file."""
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
            "Pass a .nii or .nii.gz file; if it should be one, copy it again."
        ) from error
    if not isinstance(image, nibabel.Nifti1Pair):
        raise ValueError(
            f"{path} is a {type(image).__name__}, not a NIfTI image. "
            "Convert it first, for example with nibabel."
        )
    return image
