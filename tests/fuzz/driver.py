"""One mutant after another, each within limits of time or memory."""

import contextlib
import importlib
import random
import shutil
import signal
import traceback
import tracemalloc
from pathlib import Path
from typing import NamedTuple

from .mutations import CANARY

RIGHT, CLEAR, FAILURE = "right answer", "clear error", "failure"
SECONDS, MEGABYTES, LONGEST_MESSAGE = 10, 100, 1500


class Kind(NamedTuple):
    """A kind of file, by its functions."""

    prepare: object
    mutate: object
    check: object


class Outcome(NamedTuple):
    """What came of a mutant."""

    seed: int
    verdict: str
    what: str
    message: str


# Module with the functions of each kind, imported only when it is needed.
KINDS = {
    "headers": ("images", "mutate_header", "check"),
    "bodies": ("images", "mutate_body", "check"),
    "tables": ("label_tables", "mutate", "check"),
    "ledgers": ("ledgers", "mutate", "check"),
    "bundles": ("bundles", "mutate", "check"),
    "results": ("results", "mutate", "check_text"),
    "pages": ("results", "mutate", "check"),
}


# Not an Exception: the library must not be able to explain it away.
class LimitError(BaseException):
    """A mutant took too long, or too much memory."""


def load_kind(name):
    """Return a kind of file by its name in `KINDS`."""
    module, mutate, check = KINDS[name]
    module = importlib.import_module(f".{module}", __package__)
    return Kind(module.prepare, getattr(module, mutate), getattr(module, check))


def outcomes(kind, seeds, folder, *, counts_memory=False):
    """Yield the outcome of one mutant of a kind for each seed.

    Parameters
    ----------
    kind : Kind
        From `load_kind`.
    seeds : iterable of int
        Seeds of the mutants.
    folder : path-like
        Empty directory for files.
    counts_memory : bool, default=False
        Whether to count every allocation, which takes half of the time again. The system sets a
        limit in any case.
    """
    folder = Path(folder)
    (folder / "sound").mkdir()
    material = kind.prepare(folder / "sound")
    with _limited_memory(), _counted_memory() if counts_memory else contextlib.nullcontext():
        for seed in seeds:
            place = folder / "mutant"
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            mutant = kind.mutate(random.Random(seed), material, place)
            yield Outcome(seed, *_verdict(kind, mutant, material, place))


def _verdict(kind, mutant, material, folder):
    """Return the verdict on a mutant, what was changed, and the error if there was any."""
    try:
        with _guard():
            kind.check(mutant, material)
        assert not (folder / CANARY).exists(), "a path in the file was followed"
    except (ValueError, OSError) as error:
        fault = _fault(error, mutant.names)
        if fault is None:
            return CLEAR, mutant.what, str(error)
        return FAILURE, mutant.what, f"{fault}\n{traceback.format_exc()}"
    except (Exception, LimitError):
        return FAILURE, mutant.what, traceback.format_exc()
    return RIGHT, mutant.what, ""


def _fault(error, names):
    """Return what is wrong with an error of the library, or None."""
    text = str(error)
    if not any(name in text for name in names):
        return f"The error names none of {', '.join(names)}."
    if len(text) > LONGEST_MESSAGE:
        return f"The error has {len(text)} characters."
    while error is not None:
        if isinstance(error, MemoryError):
            return "The error explains one of memory, which was asked for in vain."
        error = error.__cause__ or error.__context__
    return None


@contextlib.contextmanager
def _guard():
    """Raise LimitError after some seconds, or at the end if much memory was used."""

    def too_slow(*_):
        raise LimitError(f"not done after {SECONDS} s")

    before = tracemalloc.get_traced_memory()[0]
    if before:
        tracemalloc.reset_peak()
    can_alarm = hasattr(signal, "setitimer")
    if can_alarm:
        earlier = signal.signal(signal.SIGALRM, too_slow)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        if can_alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, earlier)
        used = (tracemalloc.get_traced_memory()[1] - before) / 1e6
        # After an error, too: one that comes only after gigabytes were filled comes too late.
        if used > MEGABYTES:
            raise LimitError(f"took {used:.0f} MB")


@contextlib.contextmanager
def _limited_memory():
    """Let the system refuse more than 2 GB of memory, if it can."""
    limit = None
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = resource.getrlimit(resource.RLIMIT_AS)
        allowed = pages * resource.getpagesize() + 2 * 2**30
        resource.setrlimit(resource.RLIMIT_AS, (allowed, limit[1]))
    try:
        yield
    finally:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_AS, limit)


@contextlib.contextmanager
def _counted_memory():
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()
