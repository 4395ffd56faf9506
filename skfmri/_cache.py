"""Files in the user's cache that processes share."""

import contextlib
import errno
import getpass
import os
import tempfile
import time
from pathlib import Path

from filelock import FileLock

from skfmri._files import whole_file

UNUSED_SECONDS = 24 * 3600
# Differs from that of saved models, which may lie in the same directory and must never be deleted.
SUFFIX = ".skfmri-copy"
# A full disk, or an exhausted quota, for which Windows has no number.
NO_SPACE = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def store_directory():
    """Return the directory of these files, which belongs to this user alone.

    It is ``$SKFMRI_CACHE`` if that is set, else a folder in the system's directory for temporary
    files. Files that nobody has opened for a day are deleted when a new one is made.
    """
    directory = os.environ.get("SKFMRI_CACHE")
    # A container may run under a user id that has no name.
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
    path = Path(directory or Path(tempfile.gettempdir()) / f"skfmri-{user}")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    # In a shared place, another user could have made the folder to plant their data.
    if hasattr(os, "getuid") and path.stat().st_uid != os.getuid():
        raise PermissionError(
            f"{path} belongs to another user. Set SKFMRI_CACHE to a directory that you own."
        )
    return path


def stored_file(key, n_bytes, write, description):
    """Return the path of the stored file `key`, which ``write(path)`` makes if there is none.

    Parameters
    ----------
    key : str
        Name of the file; it must change whenever the content would.
    n_bytes : int
        Size of the finished file in bytes.
    write : callable
        Called with a temporary path to write to. Only one process at a time does this; the
        others wait and share the result.
    description : str
        What the file holds, for error messages.

    Returns
    -------
    path : pathlib.Path
    """
    directory = store_directory()
    path = directory / f"{key}{SUFFIX}"
    if _is_ready(path, n_bytes):
        return path
    with FileLock(f"{path}.lock"):
        if _is_ready(path, n_bytes):
            return path
        _delete_unused(directory)
        with whole_file(path, sync=False) as part, needs_space(directory, n_bytes, description):
            write(part)
    return path


@contextlib.contextmanager
def needs_space(directory, n_bytes, description):
    """Say what needed the space, and what to do, if the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise OSError(
            error.errno,
            f"No space left in {directory} for {description} ({n_bytes / 1e6:.0f} MB). "
            "Set SKFMRI_CACHE to a directory on a larger disk",
        ) from error


def _is_ready(path, n_bytes):
    try:
        if path.stat().st_size != n_bytes:
            return False
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _delete_unused(directory):
    oldest = time.time() - UNUSED_SECONDS
    # The directory may also hold other files of the user.
    for path in directory.glob(f"*{SUFFIX}*"):
        # Another process may delete the same file at the same moment, or still have it open.
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()
