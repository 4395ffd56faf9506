"""Mutated directories of results."""

import csv
import io
import json
import shutil
from pathlib import Path
from unittest import mock

from jinja2 import Environment

from skfmri.report import page
from skfmri.report.version_0_1 import upgrade_record
from tests.undrawn import undrawn_pictures

from .commands import run_command
from .mutations import Mutant, altered_bytes, altered_value

RESULTS = Path(__file__).parents[1] / "data" / "results_v0.1.0"
NAMES = ("settings.json", "settings.json", "settings.json", "folds.csv", "predictions.csv")
NAMES += ("groups.csv", "learning_curves.csv", "summary.csv", "comparisons.csv", "mean.nii.gz")
NAMES += ("slab.nii.gz", "saliency.nii.gz", "sign_consistency.nii.gz")
WORDS = ("", "x", "nan", "inf", "-1", "1e400", "decoder", "<script>alert(1)</script>", "\x1b[31m")
WORDS += ("9" * 400, "0.5", "True", "1", "\u8c93", "k" * 3000, "2147483648")

_environments = {}


def prepare(folder):
    """Return the directory of an old version, and one with a record in the shape of today."""
    old, new = folder / "old", folder / "new"
    for directory in (old, new):
        shutil.copytree(RESULTS, directory, ignore=shutil.ignore_patterns("maps"))
    record = upgrade_record(json.loads((old / "settings.json").read_text()), old)
    record |= {
        "slab": {"shape": [9, 10, 3], "first_slice": 2, "affine": record["data"].get("affine")},
        "network": {"n_parameters": 1234},
        "saliency": {"method": "integrated_gradients", "n_steps": 16, "n_folds": 3},
    }
    (new / "settings.json").write_text(json.dumps(record))
    return [old, new]


def mutate(rng, directories, folder):
    """Copy a directory, then change one file in it."""
    path = folder / "results"
    shutil.copytree(rng.choice(directories), path)
    name = rng.choice(NAMES)
    data = (path / name).read_bytes()
    change = rng.random()
    if change < 0.25:
        data, what = altered_bytes(rng, data)
    elif name.endswith(".json"):
        content, what = altered_value(rng, json.loads(data), folder)
        data = json.dumps(content).encode()
    elif name.endswith(".csv"):
        data, what = _altered_table(rng, data.decode())
    elif change < 0.5:
        data, what = (path / rng.choice(NAMES)).read_bytes(), "another file in its place"
    else:
        data, what = altered_bytes(rng, data)
    (path / name).write_bytes(data)
    return Mutant(path, f"{name}: {what}", (name,))


def _altered_table(rng, text):
    header, *rows = csv.reader(io.StringIO(text))
    row, column = rng.randrange(len(rows)), rng.randrange(len(header))
    change = rng.choice(["field", "field", "field", "drop", "double", "column", "rename", "cut"])
    what = f"{change}, row {row}, column {header[column]}"
    if change == "field":
        rows[row][column] = rng.choice(WORDS)
        what += f" now {rows[row][column][:20]!r}"
    elif change == "drop":
        del rows[row]
    elif change == "double":
        rows.insert(row, rows[row])
    elif change == "column":
        for fields in (header, *rows):
            del fields[column]
    elif change == "rename":
        header[column] = rng.choice([*WORDS, header[0]])
    else:
        del rows[row][column:]
    stream = io.StringIO()
    csv.writer(stream).writerows([header, *rows])
    return stream.getvalue().encode(), what


def check(mutant, directories):
    """Write the report: a page without foreign markup, or an error."""
    run_command("report", mutant.path)
    text = (mutant.path / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text, "markup from a file reached the page"
    assert "</html>" in text


def check_text(mutant, directories):
    """Write the report without what takes nearly all of the time: its pictures are not drawn."""
    with undrawn_pictures(), mock.patch.object(page, "Environment", _once):
        check(mutant, directories)


def _once(**options):
    """Return the first environment that was made, which has compiled the templates already."""
    return _environments.setdefault("page", Environment(**options))
