"""Labels of volumes from the events that they show."""

import warnings

import numpy as np

from skfmri.datasets._events import join_events, label_times, rest_stretches

# A few events are lost in any study, at the ends of runs or among volumes with much motion.
FEWEST_SHOWN = 0.9
# In random order, the next event has the same label about once for every label there is.
MOST_ALTERNATING = 0.75


def label_volumes(events, table, is_kept, *, shift, keep_transitions, max_gap, rest):
    """Return number and label of the event that each volume shows, or raise ValueError.

    Parameters
    ----------
    events : list of pandas.DataFrame
        All events of each run; those without a label have "".
    table : pandas.DataFrame
        One row per run, with its times and number of volumes.
    is_kept : ndarray of shape (n_volumes,), bool
        Volumes that the confounds do not flag.
    shift, keep_transitions, max_gap, rest
        As in `load_bids_runs`.

    Returns
    -------
    blocks : ndarray of shape (n_volumes,), int
        Counted over all runs, -1 for none.
    labels : ndarray of shape (n_volumes,), str
        "" for none.
    """
    blocks, labels, joined, n_blocks, are_events = [], [], [], 0, []
    for of_run, run in zip(events, table.itertuples(), strict=True):
        times = run.start + run.t_r * np.arange(run.n_volumes) - shift
        half_width = 0 if keep_transitions else run.t_r / 2
        joined.append(join_events(of_run[of_run["label"] != ""], max_gap))
        names = joined[-1][2]
        found = label_times(times, *joined[-1], half_width)
        are_events.append(found >= 0)
        shown = np.append(names, "")[found]
        if rest is not None:
            stretches = rest_stretches(times, of_run, half_width)
            is_rest = (found < 0) & (stretches >= 0)
            shown = np.where(is_rest, rest, shown)
            found = np.where(is_rest, len(names) + stretches, found)
        labels.append(shown)
        blocks.append(np.where(found < 0, -1, found + n_blocks))
        n_blocks = max(n_blocks + len(names), blocks[-1].max() + 1)
    blocks, labels = np.concatenate(blocks), np.concatenate(labels)
    is_shown = np.concatenate(are_events) & is_kept
    n_shown = len(np.unique(blocks[is_shown]))
    _check_shown(n_shown, joined, table, keep_transitions=keep_transitions)
    return blocks, labels


def _check_shown(n_shown, joined, table, *, keep_transitions):
    """Raise ValueError if no event has a volume, warn if many have none."""
    lasts = np.concatenate([ends - onsets for onsets, ends, _ in joined])
    if not len(lasts):
        raise ValueError(f"No event has a label, in {table['events'][0]} or any other run.")
    if n_shown >= FEWEST_SHOWN * len(lasts):
        return
    lost = [] if keep_transitions else ["that overlap the border of one"]
    if any((onsets[1:] < np.maximum.accumulate(ends)[:-1]).any() for onsets, ends, _ in joined):
        lost.append("under two labels")
    reason = f", and those {' or '.join(lost)} are left out" if lost else ""
    ways = [
        'samples="trials" to estimate one map per event from the whole run',
        "duration= to make all events longer",
    ]
    if (gap := _gap_in_blocks(joined)) is not None:
        ways.insert(0, f"max_gap={gap:g} to join events of one label into blocks")
    if not keep_transitions:
        ways.append("keep_transitions=True")
    message = (
        f"{n_shown or 'None'} of {len(lasts)} events {'have' if n_shown else 'has'} a volume: they "
        f"last {np.median(lasts):g} s (median), volumes {table['t_r'].median():g} s{reason}. Pass "
        f"{', or '.join(ways)}."
    )
    if not n_shown:
        raise ValueError(message)
    warnings.warn(message, UserWarning, stacklevel=4)


def _gap_in_blocks(joined):
    """Return the usual time between events of one label, None unless these come in blocks."""
    labels = [names for *_, names in joined]
    is_same = np.concatenate([names[1:] == names[:-1] for names in labels])
    if len(np.unique(np.concatenate(labels))) < 2 or not is_same.mean() > MOST_ALTERNATING:
        return None
    gaps = np.concatenate([onsets[1:] - ends[:-1] for onsets, ends, _ in joined])
    return round(float(np.median(gaps[is_same])), 3)
