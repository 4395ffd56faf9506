"""Files that appear only when they are complete."""

import contextlib
import errno
import json
import os
import secrets
from pathlib import Path

from filelock import FileLock

# A full disk, or an exhausted quota, for which Windows has no number.
NO_SPACE = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


@contextlib.contextmanager
def whole_file(path, *, sync=True, keep_existing=False):
    """Give a path to write to; the file takes its name only when it is complete.

    An error on the way leaves no trace, and what had the name before stays as it was.

    Parameters
    ----------
    path : str or path-like
        The file. Its directory must exist.
    sync : bool, default=True
        Whether the data must be on the disk before the file takes its name, so that not even a
        power cut leaves part of it. Not worth its time for files that can be made again.
    keep_existing : bool, default=False
        Whether a file that somebody else has finished in the meantime is kept.

    Yields
    ------
    part : pathlib.Path
        A new name in the same directory with the same suffix, by which libraries choose a format.

    Raises
    ------
    OSError
        If the disk becomes full, or the directory has no place for the file.
    """
    path = Path(path)
    part = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        yield part
        if sync:
            _sync(part)
        if not (keep_existing and _link(part, path)):
            part.replace(path)
    except OSError as error:
        if error.errno in NO_SPACE:
            way_out = "Make room on its disk, or choose another place."
        elif error.filename == str(part):
            way_out = "Check that its folder exists, and that you may write to it."
        else:
            raise
        message = f"{path} cannot be written: {error.strerror}. {way_out}"
        raise OSError(error.errno, message) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def sole_lock(path):
    """Hold a lock that nobody waits for; its file is gone afterwards.

    Parameters
    ----------
    path : str or path-like
        The file of the lock.

    Raises
    ------
    filelock.Timeout
        If somebody else holds it.
    OSError
        If the file cannot be made.
    """
    lock = FileLock(path, timeout=0)
    lock.acquire()
    try:
        yield
    finally:
        # Nobody waits for the lock, so nobody can hold a lock on the deleted file.
        with contextlib.suppress(OSError):
            Path(path).unlink(missing_ok=True)
        lock.release()


def write_text(path, text):
    """Write a text file that appears only when it is complete."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8", newline="")


def write_json(path, content):
    """Write a JSON file that appears only when it is complete."""
    write_text(path, json.dumps(content, indent=2, default=str) + "\n")


def _sync(path):
    # Windows wants a file that may be written to.
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _link(part, path):
    """Give a file a second name, unless that is taken; return False if there are no links here."""
    try:
        os.link(part, path)
    except FileExistsError:
        pass
    except OSError:
        return False
    return True
