"""Labels of volumes from tables of events."""

import numpy as np
import pandas as pd

# Onsets are logged with some jitter, which makes no overlap and no transition.
JITTER_SECONDS = 0.01
ROUNDING_SECONDS = 1e-6


def read_events(path, column, duration):
    """Return the events of a table that have a label.

    Parameters
    ----------
    path : path-like
        Tab-separated table with the columns ``onset`` and ``duration``, in seconds.
    column : str
        Column that holds the labels; an event without one (``n/a``) is left out.
    duration : float or None
        Seconds that every event is taken to last; None takes the column ``duration``.

    Returns
    -------
    events : pandas.DataFrame
        Columns onset, end and label, sorted by onset; the index counts rows below the header.
    """
    try:
        table = pd.read_csv(
            path, sep="\t", dtype=str, keep_default_na=False, na_values=["n/a", "N/A", ""]
        )
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read as a table of events: {error}") from error
    needed = ["onset", column] + ["duration"] * (duration is None)
    for name in needed:
        if name not in table:
            way_out = " Choose the one that holds the labels." * (name == column)
            raise ValueError(
                f"{path} has no column {name!r}. Its columns are "
                f"{', '.join(map(repr, table.columns))}.{way_out}"
            )
    table.index += 1
    table = table[table[column].notna()]
    onset, lasts = _seconds(table, "onset", -np.inf, path), duration
    if duration is None:
        lasts = _seconds(table, "duration", 0, path)
    events = pd.DataFrame({"onset": onset, "end": onset + lasts, "label": table[column]})
    return events.sort_values(["onset", "end"], kind="stable")


def _seconds(table, column, least, path):
    """Return a column as numbers, or raise ValueError."""
    values = pd.to_numeric(table[column], errors="coerce")
    bad = table.index[~(np.isfinite(values) & (values >= least))]
    if len(bad):
        way_out = " Pass duration= to let all events last equally long." * (column == "duration")
        raise ValueError(
            f"{path} has {len(bad)} labelled events without a valid {column}, first in row "
            f"{bad[0]} below the header ({table[column][bad[0]]!r}). Give seconds.{way_out}"
        )
    return values


def join_events(events, path, max_gap):
    """Return events with those of one label that follow each other joined.

    Parameters
    ----------
    events : pandas.DataFrame
        What `read_events` returns.
    path : path-like
        Where they come from, for messages.
    max_gap : float
        Longest time without stimulus, in seconds, inside a joined event.

    Returns
    -------
    onsets, ends, labels : ndarray
        Events in order of time, no two of which overlap.
    """
    joined, overlaps = [], []
    for row, onset, end, label in events.itertuples():
        if joined:
            last = joined[-1]
            if label == last["label"] and onset <= last["end"] + max_gap + JITTER_SECONDS:
                last["end"] = max(end, last["end"])
                continue
            if onset < last["end"] - JITTER_SECONDS:
                overlaps.append(f"{last['row']} ({last['label']}) and {row} ({label})")
        joined.append({"row": row, "onset": onset, "end": end, "label": label})
    if overlaps:
        raise ValueError(
            f"{path} has events of different labels at the same time, in rows "
            f"{'; '.join(overlaps[:3])}{' and more' * (len(overlaps) > 3)}, counted below the "
            "header. A volume has one label: name those to keep with classes=, or choose another "
            "column."
        )
    onsets, ends, labels = ([event[name] for event in joined] for name in ("onset", "end", "label"))
    return np.array(onsets, dtype=float), np.array(ends, dtype=float), np.array(labels, dtype=str)


def label_times(times, onsets, ends, half_width):
    """Return the event of each time, or -1.

    Parameters
    ----------
    times : ndarray of shape (n_volumes,)
        Times of volumes in seconds, less the haemodynamic delay.
    onsets, ends : ndarray of shape (n_events,)
        What `join_events` returns.
    half_width : float
        Times nearer than so many seconds to the onset or end of any event have none.

    Returns
    -------
    events : ndarray of shape (n_volumes,), int
        Number of the event that covers each time, counted from 0.
    """
    if not len(onsets):
        return np.full(len(times), -1)
    found = np.searchsorted(onsets, times + ROUNDING_SECONDS, side="right") - 1
    outside = (found < 0) | (times >= ends[found] - ROUNDING_SECONDS)
    borders = np.concatenate([onsets, ends])
    distance = np.abs(times[:, None] - borders).min(axis=1)
    return np.where(outside | (distance < half_width - JITTER_SECONDS), -1, found)
