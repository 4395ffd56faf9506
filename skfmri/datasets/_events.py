"""Labels of volumes from tables of events."""

import math

import numpy as np
import pandas as pd

# Onsets are logged with some jitter, which does not count as transition.
JITTER_SECONDS = 0.01
ROUNDING_SECONDS = 1e-6
MOST_SHOWN = 3


def read_events(path, column, duration):
    """Return the events of a table.

    Parameters
    ----------
    path : path-like
        Tab-separated table with the columns ``onset`` and ``duration``, in seconds.
    column : str
        Column that holds the labels; blanks around them are ignored.
    duration : float or None
        Seconds that every event is taken to last; None takes the column ``duration``.

    Returns
    -------
    events : pandas.DataFrame
        Columns onset, end and label, sorted by onset; the index counts rows below the header. The
        label of an event without one (``n/a``) is "".
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
            hint = " Choose the one that holds the labels with label=." if name == column else ""
            raise ValueError(
                f"{path} has no column {name!r}. Its columns are "
                f"{', '.join(map(repr, table.columns))}.{hint}"
            )
    table.index += 1
    names = table[column].fillna("").str.strip().replace(["n/a", "N/A"], "")
    onset, lasts = _seconds(table, names, "onset", -np.inf, path), duration
    if duration is None:
        lasts = _seconds(table, names, "duration", 0, path)
    events = pd.DataFrame({"onset": onset, "end": onset + lasts, "label": names}).dropna()
    return events.sort_values(["onset", "end"], kind="stable")


def _seconds(table, names, column, least, path):
    """Return a column as numbers, NaN only for events without label, or raise ValueError."""
    values = pd.to_numeric(table[column], errors="coerce")
    values = values.where(np.isfinite(values) & (values >= least))
    bad = table.index[values.isna() & (names != "")]
    if len(bad):
        hint = ""
        if column == "duration":
            hint = " Pass duration= to give all events the same duration."
        raise ValueError(
            f"{path} has {len(bad)} labelled events without a valid {column}, first in row "
            f"{bad[0]} below the header ({table[column][bad[0]]!r}). Give seconds.{hint}"
        )
    return values


def check_overlaps(events, paths, tolerance):
    """Raise ValueError if events of different labels overlap.

    Parameters
    ----------
    events : list of pandas.DataFrame
        Labelled events of each run, sorted by onset.
    paths : list of path-like
        Where they come from.
    tolerance : float
        Seconds that they may overlap.
    """
    found = {
        path: overlaps
        for path, table in zip(paths, events, strict=True)
        if (overlaps := _overlaps(table, tolerance))
    }
    if not found:
        return
    path, overlaps = next(iter(found.items()))
    rows = "; ".join(pair for pair, _ in overlaps[:MOST_SHOWN])
    if len(overlaps) > MOST_SHOWN:
        rows += " and more"
    others = f", and so have {len(found) - 1} more files" if len(found) > 1 else ""
    longest = max(seconds for pairs in found.values() for _, seconds in pairs)
    enough = math.ceil(1000 * (longest - ROUNDING_SECONDS)) / 1000
    raise ValueError(
        f"{path} has events of different labels at the same time, in rows {rows}, counted below "
        f"the header{others}. A volume has one label: list those to keep in classes=, choose a "
        "different column with label=, or pass "
        f"overlap_tolerance={enough:g} to leave out volumes under two labels. With "
        'samples="trials", events may overlap.'
    )


def _overlaps(events, tolerance):
    """Return pairs of events that overlap, as text, each with the seconds."""
    last, found = {}, []
    for row, onset, end, label in events.itertuples():
        for other, (earlier, until) in last.items():
            seconds = min(end, until) - onset if end > onset else until - onset
            if other != label and seconds > tolerance + ROUNDING_SECONDS:
                found.append((f"{earlier} ({other}) and {row} ({label})", seconds))
        if label not in last or end > last[label][1]:
            last[label] = row, end
    return found


def join_events(events, max_gap):
    """Join consecutive events of the same label.

    Parameters
    ----------
    events : pandas.DataFrame
        Labelled events, sorted by onset.
    max_gap : float
        Longest time without stimulus, in seconds, inside a joined event.

    Returns
    -------
    onsets, ends, labels : ndarray
        Events in order of time. Those of different labels may overlap.
    """
    joined, last = [], {}
    for _, onset, end, label in events.itertuples():
        same = last.get(label)
        if same is not None:
            gap = onset - same["end"] - JITTER_SECONDS
            if gap <= 0 or (gap <= max_gap and same is joined[-1]):
                same["end"] = max(end, same["end"])
                continue
        last[label] = {"onset": onset, "end": end, "label": label}
        joined.append(last[label])
    onsets, ends, labels = ([event[name] for event in joined] for name in ("onset", "end", "label"))
    return np.array(onsets, dtype=float), np.array(ends, dtype=float), np.array(labels, dtype=str)


def label_times(times, onsets, ends, labels, half_width):
    """Return the event of each time, or -1.

    Parameters
    ----------
    times : ndarray of shape (n_volumes,)
        Times of volumes in seconds, less the haemodynamic delay.
    onsets, ends, labels : ndarray of shape (n_events,)
        What `join_events` returns.
    half_width : float
        Times closer than this to the onset or end of any event, in seconds, have no event.

    Returns
    -------
    events : ndarray of shape (n_volumes,), int
        Number of the event that covers each time, counted from 0. A time that events of two labels
        cover has none.
    """
    if not len(onsets):
        return np.full(len(times), -1)
    covers = _covers(times, onsets, ends)
    codes = np.unique(labels, return_inverse=True)[1]
    is_one = np.where(covers, codes, len(codes)).min(axis=1) == np.where(covers, codes, -1).max(1)
    last = len(onsets) - 1 - covers[:, ::-1].argmax(axis=1)
    is_border = _is_near(times, np.concatenate([onsets, ends]), half_width)
    return np.where(covers.any(axis=1) & is_one & ~is_border, last, -1)


def rest_stretches(times, events, half_width):
    """Return the number of the stretch of rest that each time is in, or -1.

    Parameters
    ----------
    times : ndarray of shape (n_volumes,)
        As in `label_times`. What came before the run is unknown.
    events : pandas.DataFrame
        All events of a run, also those that give no label.
    half_width : float
        As in `label_times`; only events that last count.

    Returns
    -------
    stretches : ndarray of shape (n_volumes,), int
        Counted from 0; each ends with the next event.
    """
    lasting = events[events["end"] > events["onset"]]
    onsets, ends = lasting["onset"].to_numpy(), lasting["end"].to_numpy()
    borders = np.concatenate([onsets, ends])
    is_rest = ~_covers(times, onsets, ends).any(axis=1) & (times >= -ROUNDING_SECONDS)
    is_rest &= ~_is_near(times, borders, half_width)
    # Times between the same events are one stretch.
    n_before = (onsets <= times[:, None]).sum(axis=1)
    stretches = np.full(len(times), -1)
    stretches[is_rest] = np.unique(n_before[is_rest], return_inverse=True)[1]
    return stretches


def _covers(times, onsets, ends):
    """Return which events cover which times, shape (n_volumes, n_events)."""
    is_begun = onsets <= times[:, None] + ROUNDING_SECONDS
    return is_begun & (times[:, None] < ends - ROUNDING_SECONDS)


def _is_near(times, borders, half_width):
    """Return which times are closer to a border than is allowed."""
    distance = np.abs(times[:, None] - borders).min(axis=1, initial=np.inf)
    return distance < half_width - JITTER_SECONDS
