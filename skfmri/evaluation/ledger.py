"""Append-only file of finished units of work."""

import hashlib
import importlib.metadata
import inspect
import json
import os
import warnings
import zlib
from pathlib import Path

import joblib
import numpy as np
from filelock import FileLock, Timeout

from skfmri._files import whole_file

FORMAT = "skfmri ledger 1"
MAGIC = f'{{"format": "{FORMAT}"'.encode()
PACKAGES = ("skfmri", "scikit-learn", "tensorflow", "keras", "scikeras")
PACKAGES += ("nilearn", "nibabel", "numpy", "scipy")
# Parameters that change how a result is computed or shown, but not the result.
WITHOUT_EFFECT = ("memory", "n_jobs", "pre_dispatch", "verbose")


class Ledger:
    """Keep what is done, so that a run killed at any moment goes on where it stopped.

    The first line of the file says what is computed, each further line is one finished unit; all
    end with a checksum. A record is one write and reaches the disk before `add` returns. A line
    torn by a kill is dropped, and its unit computed again.

    Used as a context manager, by one process at a time. Copies that joblib sends to the workers
    of that process may read and add too.

    Parameters
    ----------
    path : str or path-like
        The file. It is made with the first record.
    identity : dict of str to object
        What is computed, in values that JSON knows: data, parameters, splits, seed, versions. An
        existing file must agree in every entry.
    free : sequence of str, default=()
        Entries in which an existing file decides.

    Attributes
    ----------
    identity : dict
        As in the file.
    n_found : int
        Number of units that the file held when it was opened.
    """

    def __init__(self, path, identity, *, free=()):
        self.path = Path(path)
        self.identity = json.loads(json.dumps(identity))
        self.free = tuple(free)
        self.n_found = 0
        self._records = None

    def __enter__(self):
        if self.path.is_dir():
            raise ValueError(f"{self.path} is a directory. Name a file for the ledger.")
        self._lock = FileLock(f"{self.path}.lock", timeout=0)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise ValueError(
                f"{self.path} is being written by another run. Wait until it ends, or choose "
                "another file."
            ) from None
        except OSError as error:
            raise OSError(
                error.errno, f"No ledger can be kept at {self.path}: {error.strerror}"
            ) from error
        try:
            self._open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # Nobody waits for the lock, so nobody can hold on to a file that is gone.
        Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()

    def get(self, key):
        """Return what was added under a key, or None."""
        if self._records is None:
            self._records = self._read()[1]
        return _decode(self._records[key]) if key in self._records else None

    def add(self, key, content):
        """Append one finished unit.

        Parameters
        ----------
        key : str
            From `fingerprint`.
        content : dict
            Strings, numbers, lists, dicts and arrays; `get` gives them back bit by bit.

        Raises
        ------
        OSError
            If the disk is full or fails. What was there before is safe.
        """
        content = _encode(content)
        try:
            self._append({"key": key, "content": content})
        except OSError as error:
            raise OSError(
                error.errno,
                f"A finished unit could not be written to {self.path}: {error.strerror}. All "
                "before it are safe there. Mend the cause, such as a full disk, and make the same "
                "call again: it goes on from there",
            ) from error
        if self._records is not None:
            self._records[key] = content

    def __getstate__(self):
        return {"path": self.path, "identity": self.identity, "free": self.free}

    def __setstate__(self, state):
        self.__dict__.update(state, n_found=0, _records=None)

    def _open(self):
        identity, self._records, n_damaged, end = self._read()
        self.n_found = len(self._records)
        if identity is not None:
            self._compare(identity)
        if n_damaged:
            warnings.warn(
                f"{n_damaged} records of {self.path} are damaged; their units are computed again.",
                stacklevel=4,
            )
        if end:
            os.truncate(self.path, end)
        else:
            # Not emptied: the first line is written where there is no file.
            self.path.unlink(missing_ok=True)

    def _read(self):
        """Return identity, records, number of damaged lines inside, and where sound data end."""
        data = self.path.read_bytes() if self.path.exists() else b""
        if data[: len(MAGIC)] != MAGIC[: len(data)]:
            raise ValueError(
                f"{self.path} is no ledger of this version of skfmri. Choose another file; this "
                "one is left as it is."
            )
        first, *lines = data.split(b"\n")
        header = _sound(first)
        if header is None:
            if lines:
                raise ValueError(f"The first line of {self.path} is damaged. Choose another file.")
            return None, {}, 0, 0
        contents = [_sound(line) for line in lines]
        end = len(data)
        if contents and contents[-1] is None:
            # Torn by a kill, as happens; anything else is not.
            contents.pop()
            end -= len(lines[-1]) + 1
        sound = [content for content in contents if content is not None]
        records = {content["key"]: content["content"] for content in sound}
        return header["identity"], records, len(contents) - len(sound), end

    def _compare(self, identity):
        for name in self.free:
            self.identity[name] = identity.get(name)
        names = [*self.identity, *(name for name in identity if name not in self.identity)]
        differing = [
            f"{name} is {_short(self.identity.get(name))} here and {_short(identity.get(name))} "
            "there"
            for name in names
            if self.identity.get(name) != identity.get(name)
        ]
        if differing:
            raise ValueError(
                f"{self.path} belongs to another computation: {'; '.join(differing)}. Choose "
                "another file, or go back to what it was begun with."
            )

    def _append(self, content):
        if not self.path.exists():
            self._make()
        with open(self.path, "ab", buffering=0) as file:
            # The newline comes first: a line torn by a writer that was killed spoils no other.
            data = b"\n" + _line(content)
            while data:
                data = data[file.write(data) :]
            os.fsync(file.fileno())

    def _make(self):
        """Make the file with its first line, whole and once, whoever else does so now."""
        # Another writer may have made it, and added to it, at the same moment.
        with whole_file(self.path, keep_existing=True) as part:
            part.write_bytes(_line({"format": FORMAT, "identity": self.identity}))


def fingerprint(value):
    """Return a digest of nested dicts and lists of strings, numbers and arrays."""
    text = json.dumps(_digestible(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def parameters_of(estimator):
    """Return all parameters of an estimator as text that is the same in every process.

    Parameters
    ----------
    estimator : estimator
        Of scikit-learn's kind.

    Returns
    -------
    parameters : dict of str to str
        With those of nested estimators; ``estimator`` is the class itself. Parameters that
        change no result, such as `n_jobs`, are left out.
    """
    parameters = estimator.get_params(deep=True)
    texts = {
        name: _text(parameters[name])
        for name in sorted(parameters)
        if name.split("__")[-1] not in WITHOUT_EFFECT
    }
    return {"estimator": _text(estimator), **texts}


def versions():
    """Return the versions of the packages that scores depend on."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def _text(value):
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, np.generic):
        return repr(value.item())
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_text(k)}: {_text(v)}' for k, v in value.items())}}}"
    if hasattr(value, "get_params") and not inspect.isclass(value):
        return _path(type(value))
    if inspect.isclass(value) or inspect.isroutine(value):
        return _path(value)
    if hasattr(value, "get_config"):
        # Keras writes the time into its pickles.
        config = {key: item for key, item in value.get_config().items() if key != "name"}
        return f"{_path(type(value))} {_text(config)}"
    text = repr(value)
    # An address differs in every process, and an abridged array says too little.
    if len(text) < 500 and " at 0x" not in text and not hasattr(value, "__array__"):
        return text
    try:
        return f"{_path(type(value))} {joblib.hash(value)}"
    except Exception:  # whatever pickling raises
        return _path(type(value))


def _path(value):
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value)}"


def _digestible(value):
    if isinstance(value, dict):
        return {str(key): _digestible(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_digestible(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return joblib.hash(value)


def _line(content):
    text = json.dumps(content).encode()
    return b"%s\t%08x" % (text, zlib.crc32(text))


def _sound(line):
    """Return the content of a line, or None if it is torn or altered."""
    text, _, checksum = line.rpartition(b"\t")
    return json.loads(text) if checksum == b"%08x" % zlib.crc32(text) else None


def _encode(value):
    if isinstance(value, np.ndarray):
        kind = "object" if value.dtype.hasobject else value.dtype.str
        return {"array": value.ravel().tolist(), "dtype": kind, "shape": value.shape}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    return value


def _decode(value):
    if isinstance(value, dict):
        if value.keys() == {"array", "dtype", "shape"}:
            return np.array(value["array"], dtype=value["dtype"]).reshape(value["shape"])
        return {key: _decode(item) for key, item in value.items()}
    return [_decode(item) for item in value] if isinstance(value, list) else value


def _short(value):
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
