"""Labels of volumes from tables of events."""

import numpy as np
import pandas as pd

# Onsets are logged with some jitter, which counts neither as overlap nor as transition.
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
    needed = ["onset", column]
    if duration is None:
        needed.append("duration")
    for name in needed:
        if name not in table:
            hint = " Choose the one that holds the labels." if name == column else ""
            raise ValueError(
                f"{path} has no column {name!r}. Its columns are "
                f"{', '.join(map(repr, table.columns))}.{hint}"
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
        hint = ""
        if column == "duration":
            hint = " Pass duration= to give all events the same duration."
        raise ValueError(
            f"{path} has {len(bad)} labelled events without a valid {column}, first in row "
            f"{bad[0]} below the header ({table[column][bad[0]]!r}). Give seconds.{hint}"
        )
    return values


def join_events(events, path, max_gap):
    """Join consecutive events of the same label.

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
        Events in order of time, without overlap.
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
        rows = "; ".join(overlaps[:3])
        if len(overlaps) > 3:
            rows += " and more"
        raise ValueError(
            f"{path} has events of different labels at the same time, in rows {rows}, counted "
            "below the header. A volume has one label: list those to keep in classes=, or choose "
            "a different column."
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
        Times closer than this to the onset or end of any event, in seconds, have no event.

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
