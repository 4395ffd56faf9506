"""Mutated ledgers of an evaluation."""

import json
import warnings
import zlib

import numpy as np
import pandas as pd
from sklearn.naive_bayes import GaussianNB

from skfmri import evaluate_decoder

from .mutations import Mutant, altered_bytes, altered_value

TABLES = ("folds", "predictions", "groups", "summary")
TIMES = ["seconds_fit", "seconds_predict"]
FORGED = "forged"


def prepare(folder):
    """Return the lines of two ledgers, and the tables that the first belongs to."""
    tables = _evaluate(folder / "first.jsonl")
    _evaluate(folder / "second.jsonl", smoothing=1e-3)
    return {
        "lines": (folder / "first.jsonl").read_bytes().split(b"\n"),
        "others": (folder / "second.jsonl").read_bytes().split(b"\n"),
        "tables": tables,
    }


def _evaluate(path, smoothing=1e-9):
    rng = np.random.default_rng(0)
    y = np.array(["cat", "dog"] * 9)
    X = rng.normal(size=(18, 3)) + (y == "cat")[:, np.newaxis]
    result = evaluate_decoder(
        GaussianNB(var_smoothing=smoothing),
        X,
        y,
        groups=np.repeat([0, 1, 2], 6),
        scoring="accuracy",
        baseline=None,
        n_permutations=1,
        n_bootstraps=100,
        random_state=0,
        ledger=path,
    )
    tables = {name: getattr(result, name) for name in TABLES}
    return {name: table.drop(columns=TIMES, errors="ignore") for name, table in tables.items()}


def mutate(rng, material, folder):
    """Write a ledger with damage, with lines of another, or with a value that was forged."""
    lines, expected = list(material["lines"]), None
    place = rng.randrange(len(lines))
    change = rng.choice(["bytes", "bytes", "forge", "forge", "forge", "lines"])
    if change == "bytes":
        data, what = altered_bytes(rng, b"\n".join(lines))
    elif change == "forge":
        content = json.loads(lines[place].rpartition(b"\t")[0])
        content, what = altered_value(rng, content, folder)
        text = json.dumps(content).encode()
        lines[place] = b"%s\t%08x" % (text, zlib.crc32(text))
        data, what, expected = b"\n".join(lines), f"line {place}: {what}", FORGED
    else:
        lines, what = _other_lines(rng, lines, material["others"], place)
        data = b"\n".join(lines)
    path = folder / "run.jsonl"
    path.write_bytes(data)
    return Mutant(path, what, (path.name,), expected)


def _other_lines(rng, lines, others, place):
    change = rng.choice(["drop", "double", "swap", "join", "stranger", "blank"])
    if change == "drop":
        del lines[place]
    elif change == "double":
        lines.insert(place, lines[place])
    elif change == "swap":
        other = rng.randrange(len(lines))
        lines[place], lines[other] = lines[other], lines[place]
    elif change == "join":
        lines = rng.choice([[*lines, *others], [*others, *lines]])
    elif change == "stranger":
        lines.insert(place, rng.choice(others))
    else:
        lines.insert(place, b"")
    return lines, f"lines: {change} at {place}"


def check(mutant, material):
    """Make the same evaluation again: the same tables, or an error that leaves the file alone."""
    before = mutant.path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tables = _evaluate(mutant.path)
        except (ValueError, OSError):
            assert mutant.path.read_bytes() == before, "the ledger was refused, but changed"
            raise
    for name, expected in material["tables"].items():
        if mutant.expected == FORGED:
            # Its checksum is right, so what it says counts, if it can be a result at all.
            assert tables[name].shape == expected.shape
            assert tables[name].dtypes.tolist() == expected.dtypes.tolist()
        else:
            pd.testing.assert_frame_equal(tables[name], expected, check_exact=True)
