"""Arrays that may be larger than memory."""

import contextlib
import math
import mmap
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from skfmri._cache import check_space, explained_full_disk, store_directory

LARGE_BYTES = 64 * 1024**2


def gathered(pieces, shape, dtype):
    """Return consecutive pieces as one array, which is mapped from a file if it is large.

    So a process need not hold more than a few pieces, and the system drops pages of the file when
    it needs memory. The file disappears with the array.

    Parameters
    ----------
    pieces : iterable of ndarray
        Parts of the array along its first axis, in order.
    shape : tuple of int
        Shape of the array.
    dtype : dtype
        Type of the array.

    Returns
    -------
    array : ndarray
        Writeable.
    """
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    if n_bytes <= LARGE_BYTES:
        array = np.empty(shape, dtype)
        start = 0
        for piece in pieces:
            array[start : start + len(piece)] = piece
            start += len(piece)
        return array
    directory, description = store_directory(), f"an array of shape {tuple(shape)}"
    check_space(directory, n_bytes, description)
    with tempfile.TemporaryFile(dir=directory) as file:
        for piece in pieces:
            with explained_full_disk(directory, n_bytes, description):
                file.write(np.ascontiguousarray(piece, dtype))
                file.flush()
        # Unlike with numpy.memmap, joblib does not look for a file name.
        return np.frombuffer(mmap.mmap(file.fileno(), n_bytes), dtype).reshape(shape)


def read_rows(array, index):
    """Return rows of an array, as ``array[index]``; of a mapped file, only these are read.

    Without a hint the kernel reads ahead around each row, which may be megabytes. If memory is
    scarce, that evicts pages that other rows need.
    """
    mapped, first = mapping_of(array)
    row_bytes = array.strides[0]
    is_apart = array.flags.c_contiguous and row_bytes >= mmap.PAGESIZE
    if mapped is not None and is_apart and hasattr(mapped, "madvise"):
        # Not every system takes the hint; rows can be read without it.
        with contextlib.suppress(OSError):
            for start in first + row_bytes * np.asarray(index, dtype=int):
                before = int(start) % mmap.PAGESIZE
                mapped.madvise(mmap.MADV_WILLNEED, int(start) - before, row_bytes + before)
    return array[index]


def mapping_of(array):
    """Return the memory map that an array is a view of, or None, and its offset in the map."""
    base = array
    while isinstance(base, (np.ndarray, memoryview)):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    if not isinstance(base, mmap.mmap):
        return None, 0
    return base, array.ctypes.data - np.frombuffer(base, np.uint8).ctypes.data


def read_ahead(pieces):
    """Yield the pieces of a generator; while one is used, a thread makes the next."""
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(next, pieces, None)
        while (piece := following.result()) is not None:
            following = reader.submit(next, pieces, None)
            yield piece
