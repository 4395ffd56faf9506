"""Zip files whose parts are all checked before any is used."""

import hashlib
import json
import os
import re
import stat
import zipfile
from collections import Counter
from pathlib import Path

from skfmri._files import whole_file
from skfmri._validation import shortened

FORMAT = "skfmri model"
VERSION = 1
READABLE = (1,)
MANIFEST = "manifest.json"
MOST_JSON_BYTES = 16 * 1024**2
ZIP_START = b"PK\x03\x04"
# No part begins with a dot, so unpacking an archive cannot write outside the directory.
NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)*", re.ASCII)
COPY_AGAIN = "Copy the file again from where it was saved."


def write_archive(path, members, about):
    """Write a file that appears only when it is complete.

    Parameters
    ----------
    path : str or path-like
        The file. An existing one is replaced.
    members : dict of str to bytes
        Parts by name.
    about : dict of str to object
        Further entries of the manifest, as JSON-serialisable values.

    Raises
    ------
    ValueError
        If the directory does not exist.
    OSError
        If the disk is full or fails. An existing file is then left unchanged.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ValueError(f"{path} cannot be written: there is no directory {path.parent}.")
    if path.is_dir():
        raise ValueError(f"{path} is a directory. Name a file for the model.")
    entries = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in members.items()
    }
    manifest = {"format": FORMAT, "format_version": VERSION, **about, "members": entries}
    with (
        whole_file(path) as part,
        # Stored, not compressed: weights hardly shrink, and a reader can refuse any part that is
        # said to be larger than the file.
        zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive,
    ):
        for name, data in {MANIFEST: to_json(manifest), **members}.items():
            # With a fixed date the same model gives the same bytes.
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, data)


def read_archive(path):
    """Return the manifest and the parts of a file, or raise ValueError.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    manifest : dict
        The entries given to `write_archive` as `about`, with the format and the parts.
    members : dict of str to bytes
        Every part, with the size and the SHA-256 that the manifest states.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file was not written by skfmri, has an unknown format version, or is damaged or
        altered.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}. Check the path and its spelling.")
    if path.is_dir():
        raise ValueError(f"{path} is a directory, not a saved model. Name the file itself.")
    with open(path, "rb") as file:
        if file.read(len(ZIP_START)) != ZIP_START:
            raise ValueError(
                f"{path} is not a model of skfmri: it does not begin as a zip file does. Name a "
                "file that skfmri.save has written."
            )
        try:
            with zipfile.ZipFile(file) as archive:
                return _read(path, archive, os.fstat(file.fileno()).st_size)
        except _RefusedError:
            raise
        except Exception as error:  # zipfile reports damage by many kinds of exceptions
            raise ValueError(
                f"{path} is truncated or damaged: {type(error).__name__}: {shortened(error)}. "
                f"{COPY_AGAIN}"
            ) from error


def to_json(content):
    """Return JSON-serialisable values as bytes."""
    return (json.dumps(content, allow_nan=False) + "\n").encode()


def from_json(data, name):
    """Return the content of a JSON part, or raise ValueError naming the part."""
    if len(data) > MOST_JSON_BYTES:
        raise ValueError(f"{name} has {len(data)} bytes, but at most {MOST_JSON_BYTES} are read.")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} cannot be read as JSON: {error}") from error


class _RefusedError(ValueError):
    """An error whose message needs no addition."""


def _read(path, archive, size):
    infos = archive.infolist()
    if MANIFEST not in archive.namelist():
        raise _RefusedError(
            f"{path} is not a model of skfmri: it is a zip file without {MANIFEST}. Name a file "
            "that skfmri.save has written."
        )
    # The version comes first: a file of another version may break the rules checked below.
    first = archive.getinfo(MANIFEST)
    _check_entry(path, first, size)
    manifest = _check_manifest(path, from_json(archive.read(first), MANIFEST))
    for info in infos:
        _check_entry(path, info, size)
    expected = manifest["members"]
    _check_entries(path, infos, expected, size)
    members = {name: archive.read(name) for name in expected}
    for name, data in members.items():
        found = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        if found != expected[name]:
            raise _RefusedError(
                f"{path} was altered or damaged: {name} has {found['bytes']} bytes with the "
                f"SHA-256 {found['sha256'][:12]}..., but its manifest says "
                f"{shortened(expected[name])}. {COPY_AGAIN}"
            )
    return manifest, members


def _check_entries(path, infos, expected, size):
    """Raise unless the entries are exactly those that the manifest names, each once."""
    names = [info.filename for info in infos]
    if len(set(names)) < len(names):
        name = Counter(names).most_common(1)[0][0]
        raise _RefusedError(f"{path} holds {name!r} more than once. {COPY_AGAIN}")
    differing = expected.keys() ^ (set(names) - {MANIFEST})
    if differing:
        name = sorted(differing)[0]
        found = f"lacks {name!r}, which" if name in expected else f"holds {name!r}, which"
        word = "names" if name in expected else "does not name"
        raise _RefusedError(f"{path} {found} its manifest {word}. {COPY_AGAIN}")
    # Overlapping entries could be read as more bytes than the file has.
    total = sum(info.file_size for info in infos)
    if total > size:
        raise _RefusedError(
            f"The parts of {path} have {total} bytes, but the file itself only {size}. {COPY_AGAIN}"
        )


def _check_entry(path, info, size):
    """Raise unless an entry of a zip file is one that `write_archive` could have made."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    name = info.orig_filename
    if not NAME.fullmatch(name) or info.filename != name:
        found = f"the name {name!r}, which is not a plain relative path"
    elif kind not in (0, stat.S_IFREG):
        found = f"{name!r}, which is a link or a device"
    elif info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        found = f"{name!r}, which is compressed to {info.compress_size} of {info.file_size} bytes"
    elif info.file_size > size:
        found = f"{name!r} of {info.file_size} bytes in a file of {size}"
    elif name == MANIFEST and info.file_size > MOST_JSON_BYTES:
        found = f"{name!r} of {info.file_size} bytes, of at most {MOST_JSON_BYTES}"
    else:
        return
    raise _RefusedError(
        f"{path} holds {found}. skfmri.save does not write such files: it was altered, or made in "
        "another way. "
        f"{COPY_AGAIN}"
    )


def _check_manifest(path, manifest):
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise _RefusedError(
            f"{path} is not a model of skfmri: its {MANIFEST} does not say that it is one. Name a "
            "file that skfmri.save has written."
        )
    version = manifest.get("format_version")
    if version not in READABLE:
        known = ", ".join(map(str, READABLE))
        raise _RefusedError(
            f"{path} has the format version {shortened(repr(version))}, written by skfmri "
            f"{shortened(manifest.get('skfmri'))}, but this version of skfmri reads {known}. "
            "Install a newer skfmri: pip install --upgrade skfmri."
        )
    members = manifest.get("members")
    if not isinstance(members, dict):
        raise _RefusedError(f"The manifest of {path} names no parts. {COPY_AGAIN}")
    return manifest
