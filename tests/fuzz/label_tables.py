"""Mutated tables of labels."""

import csv
import io
from typing import NamedTuple

from skfmri.cli.tables import read_labels

from .mutations import Mutant, altered_bytes

COLUMNS = {"label": "condition", "group": "chunk", "run": "run no"}
LABELS = [
    "face",
    "house",
    "rest",
    "",
    "n/a",
    "\u00e9t\u00e9",
    'say "hi"',
    "a, b",
    "x;y",
    "  cat ",
    "1",
    "\u8c93",
]
N_ROWS = 2 * len(LABELS)
MISSING = ("", "n/a")
REFUSED = "refused"


class Nearly(NamedTuple):
    """Expected columns, of which damage may have altered some rows."""

    columns: list
    most_rows: int


def prepare(folder):
    """Return header and rows as lists of fields."""
    header = ["onset", *COLUMNS.values(), "comment"]
    rows = [
        [str(2.5 * number), label, f"s{number // 8}", str(number // 6), "a 'long' story"]
        for number, label in enumerate(LABELS * 2)
    ]
    return header, rows


def mutate(rng, material, folder):
    """Write the table in one of many dialects that mean the same, most often with damage."""
    header, rows = list(material[0]), [list(row) for row in material[1]]
    expected, what, damage = Nearly(_columns(rows), 0), "nothing", rng.random()
    if damage < 0.35:
        columns, what = rng.choice(STRUCTURAL)(rng, header, rows)
        expected = columns if columns == REFUSED else Nearly(columns, 0)
    text, dialect = _written(rng, header, rows)
    encoding = rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16"])
    data = text.encode(encoding)
    if 0.35 <= damage < 0.9:
        data, what = rng.choice([altered_bytes, altered_bytes, _other_encoding])(rng, data)
        # Each flipped bit may alter a row; damage in one place may alter one.
        expected = Nearly(expected.columns, what.count(",") + 1 if what.startswith("bits") else 1)
    path = folder / f"labels{rng.choice(['.csv', '.tsv', '.txt'])}"
    path.write_bytes(data)
    return Mutant(path, f"{encoding}, {dialect}: {what}", (path.name,), expected)


def check(mutant, material):
    """Read the wanted columns: as they were written, or an error."""
    table = read_labels(mutant.path, COLUMNS, N_ROWS)
    found = [[None if value != value else value for value in table[role]] for role in COLUMNS]
    assert mutant.expected != REFUSED, "the table cannot be understood, but was"
    expected, most_rows = mutant.expected
    differing = {
        row
        for column, sound in zip(found, expected, strict=True)
        for row, (one, other) in enumerate(zip(column, sound, strict=True))
        if one != other
    }
    # Damage may alter the fields of a row, but must not shift the rows.
    assert len(differing) <= most_rows, f"rows {sorted(differing)} differ"


def _columns(rows):
    """Return the expected columns, with None for a missing value."""
    wanted = [[row[1], row[2], row[3]] for row in rows]
    columns = zip(*wanted, strict=True)
    return [[None if v.strip() in MISSING else v.strip() for v in column] for column in columns]


def _written(rng, header, rows):
    """Return a table as text, and how it was written."""
    separator = rng.choice([",", "\t", ";"])
    quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
    end = rng.choice(["\n", "\r\n"])
    stream = io.StringIO()
    for _ in range(rng.choice([0, 0, 2])):
        stream.write(f"# a remark, with; separators{end}")
    csv.writer(stream, delimiter=separator, quoting=quoting, lineterminator=end).writerows(
        [header, *rows]
    )
    text = stream.getvalue()
    if rng.random() < 0.3:
        text = text.removesuffix(end) + rng.choice(["", end * 3])
    return text, f"{separator!r}, quoting {quoting}, {end!r}"


def _drop_row(rng, header, rows):
    del rows[rng.randrange(len(rows))]
    return REFUSED, "a row dropped"


def _double_row(rng, header, rows):
    rows.insert(rng.randrange(len(rows)), list(rows[0]))
    return REFUSED, "a row doubled"


def _drop_column(rng, header, rows):
    name = rng.choice(list(COLUMNS.values()))
    place = header.index(name)
    for row in (header, *rows):
        del row[place]
    return REFUSED, f"column {name} dropped"


def _double_column(rng, header, rows):
    place = header.index(rng.choice(list(COLUMNS.values())))
    for row in (header, *rows):
        row.append(row[place])
    return REFUSED, f"column {header[place]} doubled"


def _shuffle_columns(rng, header, rows):
    expected, order = _columns(rows), list(range(len(header)))
    rng.shuffle(order)
    for row in (header, *rows):
        row[:] = [row[place] for place in order]
    return expected, f"columns in the order {order}"


def _change_field(rng, header, rows):
    row = rng.choice(rows)
    row[rng.choice([1, 2, 3])] = rng.choice(["", "n/a", "new", "'", "-", "=cmd", "9" * 300])
    return _columns(rows), f"a row is now {str(row)[:60]}"


def _lengthen_row(rng, header, rows):
    rng.choice(rows).extend(["more"] * rng.choice([1, 5]))
    return REFUSED, "a row with too many fields"


def _put_nul(rng, header, rows):
    rng.choice(rows)[rng.choice([0, 1, 4])] += "\0"
    return REFUSED, "a NUL"


def _fill_field(rng, header, rows):
    rng.choice(rows)[4] = "x" * 200_000
    return _columns(rows), "a very long field"


STRUCTURAL = [_drop_row, _double_row, _drop_column, _double_column, _shuffle_columns]
STRUCTURAL += [_change_field, _change_field, _lengthen_row, _put_nul, _fill_field]


def _other_encoding(rng, data):
    """Return data that are no table in a Unicode encoding, or look like another format."""
    name = rng.choice(["latin-1", "utf-16-le", "utf-32", "zip", "xls", "gzip"])
    starts = {"zip": b"PK\x03\x04", "xls": b"\xd0\xcf\x11\xe0", "gzip": b"\x1f\x8b\x08"}
    if name in starts:
        return starts[name] + data, f"begins like {name}"
    text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    return text.replace("\u8c93", "cat").encode(name), f"in {name}"
