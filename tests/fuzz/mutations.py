"""Changes to bytes or nested values, drawn from a seeded generator."""

from dataclasses import dataclass
from pathlib import Path

# The library never makes a folder of this name; if there is one, a path from a file was followed.
CANARY = "canary-folder"
JUNK = b"\0\xff\x00PK\x03\x04 junk \r\n"


@dataclass(frozen=True)
class Mutant:
    """A file that was changed.

    Attributes
    ----------
    path : pathlib.Path
        The file, or the directory, to be used.
    what : str
        What was changed.
    names : tuple of str
        An error must name one of these.
    expected : object
        What `check` compares the answer with.
    """

    path: Path
    what: str
    names: tuple
    expected: object = None


def altered_bytes(rng, data):
    """Return data after one change, and what it was."""
    change = rng.choice([_flip, _truncate, _append, _insert, _delete, _replace, _repeat])
    return change(rng, data)


def _flip(rng, data):
    altered = bytearray(data)
    bits = [rng.randrange(8 * len(data)) for _ in range(rng.choice([1, 1, 2, 9]))]
    for bit in bits:
        altered[bit // 8] ^= 1 << bit % 8
    return bytes(altered), f"bits {bits} flipped"


def _truncate(rng, data):
    length = rng.choice([0, 1, len(data) - 1, rng.randrange(len(data))])
    return data[:length], f"cut to {length} of {len(data)} bytes"


def _append(rng, data):
    junk = rng.choice([JUNK, b"\0" * 512, data, b"\n"])
    return data + junk, f"{len(junk)} bytes appended, {junk[:8]!r}..."


def _insert(rng, data):
    place = rng.randrange(len(data) + 1)
    return data[:place] + JUNK + data[place:], f"junk inserted at {place}"


def _delete(rng, data):
    place, length = rng.randrange(len(data)), rng.choice([1, 4, 100])
    return data[:place] + data[place + length :], f"{length} bytes deleted at {place}"


def _replace(rng, data):
    place, length = rng.randrange(len(data)), rng.choice([1, 1, 16, 300])
    length = min(length, len(data) - place)
    value = rng.choice([0, 0xFF, 0x0A, 0x22, 0x2C, rng.randrange(256)])
    altered = data[:place] + bytes([value]) * length + data[place + length :]
    return altered, f"{length} bytes at {place} replaced by {value:#04x}"


def _repeat(rng, data):
    place, length = rng.randrange(len(data)), rng.choice([1, 16, 300])
    chunk = data[place : place + length]
    return data[:place] + chunk + data[place:], f"{len(chunk)} bytes at {place} repeated"


def awkward_value(rng, folder):
    """Return a value that a JSON file of ours seldom holds."""
    texts = ["", "x", "nan", "<script>alert(1)</script>", "\x1b[31mred", "\ud800", "../../x"]
    texts += ["k" * 5000, str(folder / CANARY), "os.system", "cat", "1"]
    numbers = [0, 1, -1, 3, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf")]
    deep = []
    for _ in range(200):
        deep = [deep]
    others = [None, True, False, [], {}, [1], ["x", None], {"x": 1}, {"tuple": []}, deep]
    return rng.choice(rng.choice([texts, numbers, others]))


def altered_value(rng, content, folder):
    """Return nested lists and dicts after one change, and what it was.

    Parameters
    ----------
    rng : random.Random
        Draws the place and the change.
    content : list or dict
        Changed in place.
    folder : pathlib.Path
        Where a path among the new values leads to.
    """
    place = rng.choice(list(_places(content)))
    parent = content
    for key in place[:-1]:
        parent = parent[key]
    key, where = place[-1], "/".join(map(str, place))
    change = rng.choice(["value", "value", "value", "drop", "double", "rename"])
    if change == "drop":
        del parent[key]
        return content, f"{where} dropped"
    if change == "rename" and isinstance(parent, dict):
        parent[f"{key}x"] = parent.pop(key)
        return content, f"{where} renamed"
    if change == "double" and isinstance(parent, list):
        parent.insert(key, parent[key])
        return content, f"{where} doubled"
    old, parent[key] = parent[key], awkward_value(rng, folder)
    return content, f"{where} set from {str(old)[:40]!r} to {str(parent[key])[:40]!r}"


def _places(content, above=()):
    """Yield the keys that lead to each value in nested lists and dicts."""
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        yield (*above, key)
        if isinstance(value, list | dict):
            yield from _places(value, (*above, key))
