"""Tables of labels, one row per volume."""

import codecs
import csv
import io
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from skfmri.report.words import counted
from skfmri.samples.nifti import list_images

# What an empty field is written as. "none" and "null" may be labels.
MISSING = ("", "n/a", "N/A", "NA", "NaN", "nan")
# Roles whose option is called otherwise.
OPTIONS = {"centring": "--center-groups"}
SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons"}
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Numbers with fractions are classes only if there are few.
MOST_NUMBERS = 20
# The subject in the name of a file, as in BIDS, without zeros that pad its number.
SUBJECT = re.compile(r"(?<![A-Za-z0-9])sub-0*([A-Za-z0-9]+)")
# Spreadsheets are zip archives, or older ones compound files.
SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")


def read_labels(path, columns, n_volumes, option="--labels"):
    """Return some columns of a table with one row per volume, as text.

    Fields are separated by commas, tabs or semicolons, whichever the header has. Blanks around a
    field do not count, nor do lines above the header that begin with ``#``.

    Parameters
    ----------
    path : str or path-like
        Text file with a header line, in UTF-8 or in UTF-16 with its mark.
    columns : dict of str to str
        For each role, such as ``"label"``, the column that the user chose.
    n_volumes : int
        Number of rows expected.
    option : str, default="--labels"
        Option that names the file, for error messages.

    Returns
    -------
    table : pandas.DataFrame
        One column per role. A field that is empty, n/a, NA or nan is NaN.

    Raises
    ------
    ValueError
        If the file is missing or not a table, lacks a column or has it twice, or has another
        number of rows.
    """
    path = Path(path)
    lines = _read_text(path, option).splitlines(keepends=True)
    while lines and lines[0].startswith("#"):
        del lines[0]
    if not "".join(lines).strip():
        raise ValueError(f"{path} is empty. Write a header line and one row per volume.")
    separator = _separator(lines[0], columns.values())
    try:
        header, *rows = csv.reader(
            io.StringIO("".join(lines), newline=""), delimiter=separator, skipinitialspace=True
        )
    except csv.Error as error:
        raise ValueError(f"{path} cannot be read as a table: {error}.") from error
    header = [name.strip() for name in header]
    _check_header(path, header, columns, separator)
    if len(header) > 1:
        # A volume without a label still has its separators.
        rows = [row for row in rows if len(row) > 1 or any(map(str.strip, row))]
    while len(rows) > n_volumes and not any(field.strip() for field in rows[-1]):
        del rows[-1]  # a blank line at the end
    _check_rows(path, header, rows, n_volumes)
    return pd.DataFrame(
        {
            role: [_field(row, header.index(column)) for row in rows]
            for role, column in columns.items()
        },
        dtype=object,
    )


def check_order(path, table, columns, samples):
    """Raise ValueError if rows name other subjects than the images of their volumes.

    Only names as in BIDS are compared: a row of sub-02 does not belong to a volume of
    ``sub-01_map.nii.gz`` if another image is of sub-02.

    Parameters
    ----------
    path : str or path-like
        File of the table, for error messages.
    table : pandas.DataFrame
        From `read_labels`.
    columns : dict of str to str
        Columns that may name subjects, by their role in the table.
    samples : NiftiSamples
        Volumes, one per row.
    """
    names = [name for name, _ in list_images(samples)]
    subjects = [set(SUBJECT.findall(str(name))) for name in names]
    every, images = set().union(*subjects), samples.acquisition_order()[0]
    for role, column in columns.items():
        named = [SUBJECT.match(str(field)) for field in table[role]]
        wrong = [
            row
            for row, (found, image) in enumerate(zip(named, images, strict=True))
            if found and subjects[image] and found[1] in every and found[1] not in subjects[image]
        ]
        if wrong:
            row = wrong[0]
            raise ValueError(
                f"{path} names other subjects than the images in {counted(len(wrong), 'row')} of "
                f"{len(table)}: row {row + 1} below the header has {table[role][row]} in the "
                f"column {column!r}, but its volume is from {names[images[row]]}. Put the rows in "
                "the order of the images. Groups that are no subjects need other names."
            )


def refuse_text(labels, column):
    """Raise ValueError unless labels are finite numbers.

    Parameters
    ----------
    labels : pandas.Series of str
        Labels of those volumes that have one.
    column : str or None
        Column that the user has chosen.
    """
    is_bad = ~np.isfinite(numeric(labels))
    if not is_bad.any():
        return
    way_out = (
        "Name the column of the numbers with --label-column, leave fields empty where there is "
        "none, or leave --regress out."
    )
    if np.isfinite(numeric(labels, has_commas=True)).all():
        way_out = "Write decimals with a point in place of the comma."
    are = "is not a number" if is_bad.sum() == 1 else "are not numbers"
    raise ValueError(
        f"{_named(column)} holds {labels[is_bad].iloc[0]!r}, and "
        f"{counted(is_bad.sum(), 'label')} of {len(labels)} {are}, which --regress predicts. "
        f"{way_out}"
    )


def refuse_numbers(labels, column):
    """Raise ValueError if labels are measured numbers, each of which would be a class.

    Parameters
    ----------
    labels, column
        As for `refuse_text`.
    """
    numbers = numeric(labels, has_commas=True)
    n_numbers = numbers.nunique()
    if n_numbers > MOST_NUMBERS and np.isfinite(numbers).all() and (numbers % 1 != 0).any():
        raise ValueError(
            f"{_named(column)} holds {n_numbers} different numbers, such as {labels.iloc[0]}, each "
            "of which would be a class. Add --regress to predict them as numbers, or name another "
            "column with --label-column."
        )


def numeric(labels, *, has_commas=False):
    """Return labels as numbers, NaN where they are none.

    Parameters
    ----------
    labels : pandas.Series of str
        Labels.
    has_commas : bool, default=False
        Whether decimals may have a comma in place of the point.

    Returns
    -------
    numbers : pandas.Series of float
    """
    text = labels.astype(str)
    text = text.str.replace(",", ".") if has_commas else text
    return pd.to_numeric(text, errors="coerce").astype(float)


def _named(column):
    return "The column of labels" if column is None else f"The column {column!r}"


def _read_text(path, option):
    """Return the content of a text file, or raise ValueError that says what else it is."""
    if not path.is_file():
        raise ValueError(f"There is no file {path}. Check the path given to {option}.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from error
    if data.startswith(SPREADSHEETS):
        raise ValueError(f"{path} is a spreadsheet. Save it as CSV first.")
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path} is not in UTF-8: line {line} holds the byte 0x{data[error.start]:02x}. Save "
            "the table in UTF-8."
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise ValueError(
            f"{path} is not a text table: line {line} holds a NUL. Save the table in UTF-8."
        )
    return text


def _separator(header, wanted):
    """Return what separates the fields of a header: what gives most of the wanted columns."""

    def score(separator):
        found = {name.strip().strip('"') for name in header.split(separator)}
        return len(found & set(wanted)), len(found)

    return max(SEPARATORS, key=score)


def _check_header(path, header, columns, separator):
    counts = Counter(header)
    for role, column in columns.items():
        if not counts[column]:
            raise ValueError(
                f"{path} has no column {column!r}. Its columns, separated by "
                f"{SEPARATORS[separator]}, are {', '.join(map(repr, header))}; choose one with "
                f"{OPTIONS.get(role, f'--{role}-column')}."
            )
        if counts[column] > 1:
            raise ValueError(
                f"{path} has {counts[column]} columns called {column!r}. Give each its own name."
            )


def _check_rows(path, header, rows, n_volumes):
    longest = max(rows, key=len, default=[])
    if len(longest) > len(header):
        raise ValueError(
            f"{path} has more fields in its rows than names in its header: row "
            f"{rows.index(longest) + 1} below the header has {len(longest)}, the header "
            f"{len(header)}. Name every column, and quote a field that holds the separator."
        )
    shortest = min(rows, key=len, default=header)
    if len(header) > 1 and len(shortest) < len(header):
        raise ValueError(
            f"{path} has fewer fields in its rows than names in its header: row "
            f"{rows.index(shortest) + 1} below the header has {len(shortest)}, the header "
            f"{len(header)}. Write every separator, also around an empty field."
        )
    if len(rows) != n_volumes:
        raise ValueError(
            f"{path} has {counted(len(rows), 'row')} below its header, but the images hold "
            f"{counted(n_volumes, 'volume')}. Give one row per volume, in the order of the images."
        )


def _field(row, position):
    """Return a field as text, or NaN."""
    text = row[position].strip() if position < len(row) else ""
    return float("nan") if text in MISSING else text
