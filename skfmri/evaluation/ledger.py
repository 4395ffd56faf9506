"""Append-only file of finished units of work."""

import base64
import contextlib
import json
import os
import warnings
import zlib
from pathlib import Path

from filelock import Timeout

from skfmri._files import sole_lock, whole_file
from skfmri._validation import shortened
from skfmri.evaluation.encoding import array_from_bytes, array_to_bytes, decode, encode

FORMAT = "skfmri ledger"
VERSION = 2
START = f'{{"format": "{FORMAT} '.encode()
MAGIC = START + f'{VERSION}"'.encode()


class Ledger:
    """Keep finished work, so that a run killed at any moment continues where it stopped.

    The first line of the file says what is computed, each further line is one finished unit; every
    line ends with a checksum. A record is a single write and reaches the disk before `add` returns.
    A line torn by a kill is dropped, and its unit is computed again.

    Use it as a context manager, in one process at a time. Copies that joblib sends to the workers
    of that process may also read and add.

    Parameters
    ----------
    path : str or path-like
        The file. It is created with the first record.
    identity : dict of str to object
        What is computed, as JSON-serialisable values: data, parameters, splits, seed, versions.
        An existing file must agree in every entry.
    free : sequence of str, default=()
        Entries that are taken from an existing file.

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
        held = contextlib.ExitStack()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(sole_lock(f"{self.path}.lock"))
        except Timeout:
            raise ValueError(
                f"{self.path} is being written by another run. Wait until it ends, or choose "
                "another file."
            ) from None
        except OSError as error:
            raise OSError(
                error.errno, f"A ledger cannot be kept at {self.path}: {error.strerror}"
            ) from error
        with held:
            self._open()
            self._held = held.pop_all()
        return self

    def __exit__(self, *_):
        self._held.close()

    def get(self, key, check=None):
        """Return what was added under a key, or None.

        Parameters
        ----------
        key : str
            From `fingerprint`.
        check : callable, default=None
            Called with the content; raises an error if it is not what was asked for.

        Raises
        ------
        ValueError
            If the content cannot be read, or `check` raises an error.
        """
        if self._records is None:
            self._records = self._read()[1]
        if key not in self._records:
            return None
        try:
            content = _decode(self._records[key])
            if check is not None:
                check(content)
        except Exception as error:  # altered contents may fail anywhere
            raise ValueError(
                f"The record {key} of {self.path} was altered: {shortened(error)}. Delete its "
                "line, or choose another file to start again."
            ) from error
        return content

    def add(self, key, content):
        """Append one finished unit.

        Parameters
        ----------
        key : str
            From `fingerprint`.
        content : dict
            Strings, numbers, lists, dicts and arrays; `get` returns them bit for bit.

        Raises
        ------
        OSError
            If the disk is full or fails. What was there before is safe.
        """
        record = _encode(content)
        try:
            self._append({"key": key, **record})
        except OSError as error:
            raise OSError(
                error.errno,
                f"A finished unit could not be written to {self.path}: {os.strerror(error.errno)}. "
                "All earlier ones are safe. Fix the cause, such as a full disk, and repeat the "
                "same call: it continues from there",
            ) from error
        if self._records is not None:
            self._records[key] = record

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
            # Deleted, not emptied: the first line is only written when there is no file.
            self.path.unlink(missing_ok=True)

    def _read(self):
        """Return identity, records, number of damaged lines inside, and where sound data end."""
        data = self.path.read_bytes() if self.path.exists() else b""
        if data[: len(MAGIC)] != MAGIC[: len(data)]:
            raise self._not_readable(data)
        first, *lines = data.split(b"\n")
        header = _sound(first)
        if header is None:
            if lines:
                raise ValueError(f"The first line of {self.path} is damaged. Choose another file.")
            return None, {}, 0, 0
        identity = header.get("identity")
        if not isinstance(identity, dict):
            raise ValueError(f"The first line of {self.path} is damaged. Choose another file.")
        contents = [_sound(line) for line in lines]
        end = len(data)
        if contents and contents[-1] is None:
            # The last line may be torn by a kill. Damage anywhere else is unexpected.
            contents.pop()
            end -= len(lines[-1]) + 1
        # The same computation in two files that were joined is as good as in one.
        contents = [content for content in contents if content != header]
        if any(content and "identity" in content for content in contents):
            raise ValueError(
                f"{self.path} holds records of several computations, one after the other. Choose "
                "another file, or go back to those that it was joined from."
            )
        records = {content["key"]: content for content in contents if _is_record(content)}
        n_damaged = sum(not _is_record(content) for content in contents)
        return identity, records, n_damaged, end

    def _not_readable(self, data):
        if data.startswith(START):
            return ValueError(
                f"{self.path} is a ledger in the format of another version of skfmri. Finish the "
                "run with the version that began it, or choose another file to start again; this "
                "one is left unchanged."
            )
        return ValueError(
            f"{self.path} is not a ledger of skfmri. Choose another file; this one is left "
            "unchanged."
        )

    def _compare(self, identity):
        for name in self.free:
            self.identity[name] = identity.get(name)
        names = [*self.identity, *(name for name in identity if name not in self.identity)]
        pairs = {name: (self.identity.get(name), identity.get(name)) for name in names}
        differing = [
            f"{name} is {shortened(here, 80)} here and {shortened(there, 80)} there"
            for name, (here, there) in pairs.items()
            if here != there
        ]
        if differing:
            raise ValueError(
                f"{self.path} belongs to another computation: {'; '.join(differing)}. Choose "
                "another file, or go back to the settings it was begun with."
            )

    def _append(self, content):
        if not self.path.exists():
            self._make()
        with open(self.path, "ab", buffering=0) as file:
            # The newline comes first, so that a line torn by a killed writer spoils no other.
            data = b"\n" + _line(content)
            while data:
                data = data[file.write(data) :]
            os.fsync(file.fileno())

    def _make(self):
        """Create the file with its first line, unless another writer has just done so."""
        with whole_file(self.path, keep_existing=True) as part:
            part.write_bytes(_line({"format": f"{FORMAT} {VERSION}", "identity": self.identity}))


def _line(content):
    text = json.dumps(content).encode()
    return b"%s\t%08x" % (text, zlib.crc32(text))


def _sound(line):
    """Return the content of a line, or None if it is torn or altered."""
    text, _, checksum = line.rpartition(b"\t")
    if checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _is_record(content):
    return content is not None and isinstance(content.get("key"), str)


def _encode(value):
    arrays = []
    content = encode(value, arrays, _refuse)
    texts = [base64.b64encode(array_to_bytes(array)).decode() for array in arrays]
    return {"content": content, "arrays": texts}


def _decode(record):
    arrays = [array_from_bytes(base64.b64decode(text)) for text in record["arrays"]]
    return decode(record["content"], arrays, other={})


def _refuse(value):
    raise TypeError(
        f"A finished unit holds a {type(value).__name__}. Estimators must return numbers, text or "
        "arrays of these if their results are to be kept in a ledger."
    )
