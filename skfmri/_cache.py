"""Files in the user's cache that processes share."""

import contextlib
import errno
import math
import os
import secrets
import shutil
import stat
import time
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from skfmri._files import NO_SPACE, whole_file

VARIABLE = "SKFMRI_CACHE"
UNUSED_SECONDS = 24 * 3600
# Files whose names begin so take long to make again, so they are kept longer.
LASTING = "lasting-"
DAYS_VARIABLE = "SKFMRI_CACHE_DAYS"
LASTING_DAYS = 30
SECONDS_BETWEEN_CLEANUPS = 3600
# Nothing small takes so long to write.
ABANDONED_SECONDS = 3600
# Smaller files are made without a lock, which would take as long as making them.
UNLOCKED_BYTES = 4 * 1024**2
# Differs from that of saved models, which may lie in the same directory and must never be deleted.
SUFFIX = ".skfmri-copy"
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
LARGER = f"Set {VARIABLE} to a directory on a larger disk, or delete files in this one."
ELSEWHERE = f"Set {VARIABLE} to a directory of yours."

_cleaned_up = {}


def store_directory():
    """Return the directory of these files, which is made if there is none.

    It is ``$SKFMRI_CACHE`` if that is set, else the place where the system keeps the caches of a
    user. Files that nobody has opened for a day are deleted when a new one is made; lasting ones,
    such as cleaned runs, after 30 days or ``$SKFMRI_CACHE_DAYS``.

    Returns
    -------
    path : pathlib.Path

    Raises
    ------
    OSError
        If it cannot be made or written to, or if others could put files of theirs into it.
    """
    named = os.environ.get(VARIABLE)
    path, what = _expanded(named) if named else _default_place()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        problem = f"cannot be made: {error.strerror}"
        if os.path.lexists(path):
            problem = "is not a directory"
        raise type(error)(f"{what} {problem}. {ELSEWHERE}") from error
    if hasattr(os, "getuid"):
        _check_owner(path, what, is_default=not named)
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(f"{what} cannot be written to. {ELSEWHERE}")
    return path


def _expanded(named):
    what = f"The cache directory {named}, which {VARIABLE} names,"
    try:
        path = Path(named).expanduser().absolute()
    except RuntimeError as error:
        raise FileNotFoundError(f"{what} begins with an unknown home. {ELSEWHERE}") from error
    return path, what


def _default_place():
    path = user_cache_path("skfmri", appauthor=False)
    # A container may run under a user id that has neither a name nor a home.
    if not path.is_absolute():
        raise FileNotFoundError(f"This user has no home directory for the cache. {ELSEWHERE}")
    return path, f"The cache directory {path}"


def _check_owner(path, what, *, is_default):
    """Raise PermissionError if others could plant data in a directory, or have made it."""
    entry, target = path.lstat(), path.stat()
    is_link, trusted = stat.S_ISLNK(entry.st_mode), {os.getuid()}
    if not is_default:
        # A user may name a directory that the administrator has made for temporary files.
        trusted.add(0)
    if is_link and (is_default or entry.st_uid not in trusted):
        raise PermissionError(
            f"{what} is a link to {os.readlink(path)}, which somebody else may have made. Delete "
            f"the link, or set {VARIABLE} to the directory that it should lead to."
        )
    if target.st_uid not in trusted:
        raise PermissionError(f"{what} belongs to another user. {ELSEWHERE}")
    is_sticky = not is_default and target.st_mode & stat.S_ISVTX
    if target.st_mode & WRITABLE_BY_OTHERS and not is_sticky:
        raise PermissionError(
            f"{what} has the mode {stat.S_IMODE(target.st_mode):04o}, so other users could replace "
            f"data in it. Run `chmod go-w` on it, or set {VARIABLE} to a new folder in it."
        )


def stored_file(key, n_bytes, write, description, *, wait=True):
    """Return the path of the stored file `key`, which ``write(path)`` makes if there is none.

    Parameters
    ----------
    key : str
        Name of the file; it must change whenever the content would.
    n_bytes : int
        Size of the finished file in bytes.
    write : callable
        Called with the temporary path of an empty file to write to. Only one process at a time
        makes a file of more than 4 MB; the others wait and share the result.
    description : str
        What the file holds, for error messages.
    wait : bool, default=True
        Whether to wait for another process that is making the file.

    Returns
    -------
    path : pathlib.Path or None
        None if another process is making the file and `wait` is False.

    Raises
    ------
    OSError
        If the disk lacks space for the file, or the directory cannot be used.
    """
    directory = store_directory()
    path = directory / f"{key}{SUFFIX}"
    if _is_ready(path, n_bytes):
        return path
    _clean_up(directory)
    if n_bytes <= UNLOCKED_BYTES:
        try:
            return _make(path, n_bytes, write, description)
        except PermissionError:
            # Windows replaces no file that another process has just made and opened.
            if not _is_ready(path, n_bytes):
                raise
            return path
    lock = _lock_of(path)
    _owned(lock)
    try:
        held = FileLock(lock).acquire(timeout=-1 if wait else 0)
    except Timeout:
        return None
    with held:
        if _is_ready(path, n_bytes):
            return path
        return _make(path, n_bytes, write, description)


def is_stored(key, n_bytes):
    """Return whether the file `key` is there; if so, it counts as used now."""
    return _is_ready(store_directory() / f"{key}{SUFFIX}", n_bytes)


@contextlib.contextmanager
def passing_file(n_bytes, description):
    """Give the path of an empty file that is deleted afterwards.

    Parameters
    ----------
    n_bytes : int
        How large it will become.
    description : str
        What the file holds, for error messages.

    Yields
    ------
    path : pathlib.Path
    """
    directory = store_directory()
    _clean_up(directory)
    check_space(directory, n_bytes, description)
    # If this process is killed, the name makes the next ones delete the file.
    path = directory / f".{secrets.token_hex(4)}.{secrets.token_hex(8)}{SUFFIX}"
    try:
        path.touch(mode=0o600, exist_ok=False)
        with explained_full_disk(directory, n_bytes, description):
            yield path
    finally:
        path.unlink(missing_ok=True)


def _make(path, n_bytes, write, description):
    check_space(path.parent, n_bytes, description)
    with (
        explained_full_disk(path.parent, n_bytes, description),
        whole_file(path, sync=False) as part,
    ):
        # The data may be confidential, and the directory open to readers.
        part.touch(mode=0o600, exist_ok=False)
        write(part)
    return path


def check_space(directory, n_bytes, description):
    """Raise OSError if a disk has less space than a file needs."""
    usage = shutil.disk_usage(directory)
    # Some network file systems do not know their size.
    if usage.total and usage.free < n_bytes:
        raise OSError(errno.ENOSPC, _no_space(directory, n_bytes, description))


@contextlib.contextmanager
def explained_full_disk(directory, n_bytes, description):
    """Say what needed the space, and what to do, if the disk becomes full."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise OSError(error.errno, _no_space(directory, n_bytes, description)) from error


def _no_space(directory, n_bytes, description):
    free = shutil.disk_usage(directory).free
    return (
        f"No space left in {directory} for {description}: {n_bytes / 1e6:.1f} MB are needed, and "
        f"{free / 1e6:.1f} MB are free, unless a quota allows less. {LARGER}"
    )


def _is_ready(path, n_bytes):
    status = _owned(path)
    if status is None or status.st_size != n_bytes:
        return False
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _owned(path):
    """Return the status of a stored file, or None if there is none, or raise PermissionError."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode) or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
        raise PermissionError(
            f"{path} was not made by this user, so its data cannot be trusted. Delete it, or set "
            f"{VARIABLE} to a directory that is yours alone."
        )
    return status


def _clean_up(directory):
    """Delete unused files, at most once in an hour, because looking at many takes long."""
    now = time.monotonic()
    if now - _cleaned_up.get(directory, -math.inf) < SECONDS_BETWEEN_CLEANUPS:
        return
    _cleaned_up[directory] = now
    # The directory may also hold other files of the user.
    for path in directory.iterdir():
        if path.name.endswith((SUFFIX, f"{SUFFIX}.lock")):
            # Another process may delete the same file at the same moment, or still have it open.
            with contextlib.suppress(OSError, Timeout):
                _delete_unused(path)


def _lasting_seconds():
    named = os.environ.get(DAYS_VARIABLE) or LASTING_DAYS
    try:
        days = float(named)
    except ValueError:
        days = math.nan
    if not days >= 0:
        raise ValueError(f"{DAYS_VARIABLE} must be a number of days, but is {named!r}.")
    return days * 24 * 3600


def _delete_unused(path):
    age, name = time.time() - path.lstat().st_mtime, path.name
    longest = _lasting_seconds() if name.startswith(LASTING) else UNUSED_SECONDS
    if name.startswith("."):
        # Left by a writer that was killed, if nobody holds the lock of the file.
        lock = _lock_of(path.with_name(name.split(".", 2)[-1]))
        if lock.exists():
            with FileLock(lock, timeout=0):
                path.unlink()
        elif age > ABANDONED_SECONDS:
            path.unlink()
    elif age > longest and path.suffix == ".lock":
        with FileLock(path, timeout=0):
            path.unlink()
    elif age > longest:
        path.unlink()


def _lock_of(path):
    return path.with_name(f"{path.name}.lock")
