"""Decoded bytes of compressed image files."""

import os
import zlib

from nibabel.openers import ImageOpener

try:
    # isal inflates about twice as fast.
    from isal import isal_zlib
except ImportError:
    isal_zlib = None

PACKED_BYTES = 1024**2
GZIP_FORMAT = 31
# What one byte of gzip can become at most: 258 bytes take at least 2 bits.
MOST_PER_BYTE = 1032


class GzipReader:
    """Decoded bytes of a gzip file, which may consist of several members.

    A member is a whole gzip stream with its own checksum. Unlike `gzip.GzipFile`, this does not
    look at what follows the member that was read last, so something else behind it does no harm.

    Parameters
    ----------
    path : str or path-like
        The file.
    """

    def __init__(self, path):
        self._file = open(path, "rb")  # noqa: SIM115 (closed by __exit__)
        self._inflater = zlib if isal_zlib is None else isal_zlib
        self._member = self._inflater.decompressobj(wbits=GZIP_FORMAT)
        self._packed = b""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._file.close()

    def read(self, size):
        """Return at least one and at most `size` bytes, or none at the end of the last member."""
        while not self._member.eof or self._begin_member():
            decoded = self._inflate(size)
            if decoded:
                return decoded
        return b""

    def finish(self):
        """Read to the end of the current member, where a wrong checksum raises an error."""
        while not self._member.eof:
            self._inflate(PACKED_BYTES)

    def _inflate(self, size):
        packed = self._packed or self._file.read(PACKED_BYTES)
        decoded = self._member.decompress(packed, size)
        if not packed and not decoded and not self._member.eof:
            raise EOFError("the compressed data stop before their end")
        self._packed = self._member.unused_data or self._member.unconsumed_tail
        return decoded

    def _begin_member(self):
        # As in the gzip module, zeros between members are padding.
        while not (packed := self._packed.lstrip(b"\0")):
            self._packed = self._file.read(PACKED_BYTES)
            if not self._packed:
                return False
        self._packed = packed
        self._member = self._inflater.decompressobj(wbits=GZIP_FORMAT)
        return True


def is_compressed(path):
    """Return whether the data of an image file are compressed."""
    return os.path.splitext(path)[1].lower() in ImageOpener.compress_ext_map


def open_data(path):
    """Open a file for its decoded bytes."""
    return GzipReader(path) if os.path.splitext(path)[1].lower() == ".gz" else ImageOpener(path)


def count_decoded(path, limit):
    """Return how many bytes a file holds when decoded, or `limit` if there are at least as many."""
    count = 0
    with open_data(path) as source:
        while count < limit and (chunk := source.read(min(PACKED_BYTES, limit - count))):
            count += len(chunk)
    return count


def check_rest(source):
    """Read on after the data of an opened file, so that a wrong checksum raises an error."""
    if isinstance(source, GzipReader):
        source.finish()
        return
    while source.read(PACKED_BYTES):
        pass
