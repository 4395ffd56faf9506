"""Places that options name, tried before any work is done."""

import contextlib
import os
import tempfile
from pathlib import Path

from skfmri._cache import VARIABLE, store_directory
from skfmri._files import whole_file
from skfmri.cli.wording import describe_error
from skfmri.report.directory import ResultDirectory, claim_file, claim_model


class _TrialEnds(Exception):
    """Ends the trial of a file before it appears."""


@contextlib.contextmanager
def results_at(path):
    """Hold the directory that ``--out`` names.

    Parameters
    ----------
    path : str
        The directory.

    Yields
    ------
    directory : skfmri.report.directory.ResultDirectory
    """
    with contextlib.ExitStack() as held:
        with _naming("--out"):
            _check_name(path)
            directory = held.enter_context(ResultDirectory(path))
        yield directory


def check_file(path, *, overwrite=False):
    """Raise ValueError unless a file, if there is to be one, can be written to ``--out``."""
    with _naming("--out"):
        claim_file(path, overwrite)
        _try_file(path)


def check_model(path, directory, *, overwrite=False, resume=False):
    """Raise ValueError unless a model can be saved to where ``--model`` names it.

    Parameters
    ----------
    path : str or None
        The file for the model; None saves none.
    directory : str
        The directory of the results.
    overwrite : bool, default=False
        Whether a file that is there may be replaced.
    resume : bool, default=False
        Whether a model may be replaced that the run has saved before.
    """
    with _naming("--model"):
        claim_model(path, directory, overwrite=overwrite, resume=resume)
        _try_file(path)


@contextlib.contextmanager
def cache_at(path):
    """Make the library keep its copies in a directory, which is tried first.

    Parameters
    ----------
    path : str or None
        The directory that ``--cache`` names; None takes the usual one.
    """
    earlier = os.environ.get(VARIABLE)
    if path is not None:
        os.environ[VARIABLE] = path  # workers inherit it
    try:
        with _naming("--cache"), tempfile.TemporaryFile(dir=store_directory()):
            pass
        yield
    finally:
        if earlier is not None:
            os.environ[VARIABLE] = earlier
        elif path is not None:
            del os.environ[VARIABLE]


@contextlib.contextmanager
def _naming(option):
    """Put an option before the message of an error about what it names."""
    try:
        yield
    except (ValueError, OSError) as error:
        message = describe_error(error)
        raise ValueError(message if option in message else f"{option}: {message}") from error


def _try_file(path):
    """Raise OSError or ValueError unless a file can be written; nothing is left of the trial."""
    if path is None:
        return
    _check_name(path)
    # In the same way as the work will do it.
    with contextlib.suppress(_TrialEnds), whole_file(path) as part:
        Path(part).touch()
        raise _TrialEnds


def _check_name(path):
    """Raise ValueError if a name cannot be written down."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"The name {path!r} is not in UTF-8, which records of it need. Choose another name."
        ) from None
