"""Tables of events, one for each run."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

COLUMNS = ("onset", "duration")
LABEL, RUN = "trial_type", "run"
MISSING = ("n/a", "N/A", "")


def tables_of_runs(events, names):
    """Return a checked table of events for each run.

    Parameters
    ----------
    events : DataFrame, path, or sequence of them
        What `estimate_trials` takes.
    names : list
        Names of the runs, in the order in which they first appear.

    Returns
    -------
    tables : list of pandas.DataFrame
        Columns onset and duration, as float, and trial_type, "" where it is missing; in order of
        the rows.
    has_labels : bool
        Whether the tables name any trial type.

    Raises
    ------
    ValueError
        If tables do not fit the runs, lack columns, or hold onsets or durations that are not finite
        numbers, or negative durations.
    """
    if isinstance(events, (pd.DataFrame, str, os.PathLike)):
        tables = _split(_read(events), names)
    elif isinstance(events, Iterable):
        tables = [_read(table) for table in events]
    else:
        raise TypeError(f"events must be a table or a list of tables, but is {events!r}.")
    if len(tables) != len(names):
        raise ValueError(
            f"Found {len(tables)} tables of events for {len(names)} runs. Pass one per run, in the "
            'order in which runs first appear, or one table with a column "run".'
        )
    checked = [_checked(table, name) for table, name in zip(tables, names, strict=True)]
    return checked, any(LABEL in table for table in tables)


def _read(table):
    """Return a table, which is read if it is a path."""
    if isinstance(table, pd.DataFrame):
        return table
    if not isinstance(table, (str, os.PathLike)):
        raise TypeError(
            f"A table of events is a {type(table).__name__}. Pass pandas DataFrames or paths."
        )
    separator = "," if Path(table).suffix == ".csv" else "\t"
    try:
        return pd.read_csv(table, sep=separator, keep_default_na=False, na_values=list(MISSING))
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{table} cannot be read as a table of events: {error}") from error


def _split(table, names):
    """Return the events of each run from one table of all."""
    if RUN not in table:
        return [table]
    runs = table[RUN].astype(str)
    return [table[runs == str(name)] for name in names]


def _checked(table, name):
    for column in COLUMNS:
        if column not in table:
            raise ValueError(
                f"The events of run {name} have no column {column!r}, but "
                f"{', '.join(map(repr, table.columns))}. Name the columns as BIDS does: onset, "
                "duration, trial_type."
            )
    if not len(table):
        raise ValueError(f"Run {name} has no events. Leave its volumes out, or pass its events.")
    columns = {column: _seconds(table, column, name) for column in COLUMNS}
    labels = table[LABEL] if LABEL in table else pd.Series("", table.index)
    if labels.isna().any():
        labels = labels.astype(object).where(labels.notna(), "").astype(str)
    return pd.DataFrame({**columns, LABEL: labels}).reset_index(drop=True)


def _seconds(table, column, name):
    """Return a column as numbers, or raise ValueError."""
    values = pd.to_numeric(table[column], errors="coerce")
    is_bad = ~np.isfinite(values)
    if column == "duration":
        is_bad |= values < 0
    if is_bad.any():
        row = int(np.flatnonzero(is_bad)[0])
        raise ValueError(
            f"The events of run {name} have {is_bad.sum()} without a valid {column}, first in row "
            f"{row} ({table[column].iloc[row]!r}), counted from 0. Give seconds."
        )
    return values.astype(float)
