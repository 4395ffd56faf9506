"""The expected responses in each run, as its cleaning leaves them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from skfmri.preprocessing.event_tables import LABEL, tables_of_runs
from skfmri.preprocessing.runs import rows_in_time_order, t_r_of_runs
from skfmri.samples.nifti import list_images, list_t_r, origin_of
from skfmri.temporal.cleaning import cleaning_matrix
from skfmri.temporal.trials import HRF_MODELS, event_regressors, seen_shares

# Of a response of which half was not seen, the estimate has at least twice the variance.
SMALLEST_SEEN = 0.5
# Of a regressor with this share of its sum of squares to itself, the estimate has a hundred times
# the standard error of one that overlaps with none.
SMALLEST_LEFT = 1e-4
# Times between volumes in headers and in sidecars are rounded.
TOLERANCE_SECONDS = 1e-3


@dataclass(frozen=True)
class RunModel:
    """What estimates in one run are made of.

    Attributes
    ----------
    name : object
        Name of the run.
    rows : ndarray of shape (n_kept,), int
        Rows of the samples, in time order.
    events : pandas.DataFrame
        Onset, duration and trial_type of each event.
    is_whole : ndarray of shape (n_events,), bool
        Whether the run shows an event and at least half of the response to it.
    regressors : ndarray of shape (n_kept, n_events)
        Expected responses, cleaned as the volumes were.
    squares : ndarray of shape (n_events,)
        Sums of squares of their deviations from their means, before cleaning.
    constant : ndarray of shape (n_kept,)
        What cleaning leaves of a constant.
    """

    name: object
    rows: np.ndarray
    events: pd.DataFrame
    is_whole: np.ndarray
    regressors: np.ndarray
    squares: np.ndarray
    constant: np.ndarray

    def describe(self, is_named):
        """Return what messages call some of the events."""
        names = []
        for event in self.events[is_named].itertuples():
            label = f" ({event.trial_type})" if str(event.trial_type) else ""
            names.append(f"run {self.name}: {event.onset:g} s{label}")
        return names

    def find_mixed(self, left):
        """Return which regressors have too little left that no other explains."""
        return left <= SMALLEST_LEFT * self.squares


def models_of_runs(samples, events, function, *, hrf_model, t_r, start, by_label=False):
    """Return the model of each run, and the settings that they share.

    Parameters
    ----------
    samples, events, hrf_model, t_r, start
        As in `estimate_trials`.
    function : str
        Name of the public function, for messages.
    by_label : bool, default=False
        Whether events of one label share a regressor, and are one event in what is returned.

    Returns
    -------
    models : list of RunModel
    has_labels : bool
        Whether the tables of events name any label.
    settings : dict
        ``hrf_model``, and lists of the different values of ``t_r`` and ``start``.

    Raises
    ------
    ValueError
        As in `estimate_trials`.
    """
    if hrf_model not in HRF_MODELS:
        raise ValueError(
            f"hrf_model must be one of {', '.join(map(repr, HRF_MODELS))}, but is {hrf_model!r}."
        )
    of_maps = "Maps are not a time series: if they are estimates, they are samples as they are."
    about = "Estimates in it", "estimation", of_maps
    rows_of_runs, _ = rows_in_time_order(samples, *about)
    names = [samples.runs[rows[0]] for rows in rows_of_runs]
    tables, has_labels = tables_of_runs(events, names)
    steps = _cleaning_of_runs(samples, rows_of_runs, names, function)
    times_between = _t_r_of_runs(t_r, samples, rows_of_runs, names, steps)
    starts = _start_of_runs(start, len(names))
    models = []
    for i, step in enumerate(steps):
        rows, measured, matrix = rows_of_runs[i], (samples, rows_of_runs[i]), None
        if step is not None:
            places = origin_of(samples).where(samples.acquisition_order()[1][rows])[1]
            rows, measured = rows[np.argsort(places)], (origin_of(samples).measured, step.rows)
            matrix = cleaning_matrix(**step.cleaning, center=step.standardize)
        frames = _frames_of_run(*measured)
        frame_times = starts[i] + times_between[i] * np.arange(frames[-1] + 1)
        about = names[i], rows, tables[i], frame_times, frames, matrix
        models.append(_model(*about, hrf_model=hrf_model, by_label=by_label))
    settings = {"hrf_model": hrf_model, "t_r": sorted(set(times_between))}
    return models, has_labels, {**settings, "start": sorted(set(starts))}


def _model(name, rows, events, frame_times, kept, matrix, *, hrf_model, by_label):
    """Return the model of one run."""
    onsets, durations = events["onset"].to_numpy(), events["duration"].to_numpy()
    regressors = event_regressors(onsets, durations, frame_times, hrf_model)
    responses, constant = regressors[kept], np.ones(len(kept))
    if not by_label:
        shares = seen_shares(onsets, durations, frame_times, regressors, kept, hrf_model)
        is_whole = shares >= SMALLEST_SEEN
    else:
        numbers, labels = pd.factorize(events[LABEL])
        responses = responses @ (numbers[:, np.newaxis] == np.arange(len(labels)))
        events = events.groupby(numbers).first()
        is_whole = np.ones(len(labels), bool)
    squares = ((responses - responses.mean(axis=0)) ** 2).sum(axis=0)
    if matrix is not None:
        responses, constant = matrix @ responses, matrix @ constant
    return RunModel(name, rows, events, is_whole, responses, squares, constant)


def _frames_of_run(samples, rows):
    """Return the number of each volume of a run, from 0 for the first that was acquired."""
    image_of, position_of = samples.acquisition_order()
    image, is_of_run = image_of[rows[0]], samples.runs == samples.runs[rows[0]]
    if image != image_of[rows[-1]]:
        # Files of one volume each.
        return image_of[rows] - image_of[is_of_run].min()
    if is_of_run[image_of == image].all():
        # Volumes that were left out at the beginning of the image count.
        return position_of[rows]
    return position_of[rows] - position_of[is_of_run].min()


def _cleaning_of_runs(samples, rows_of_runs, names, function):
    """Return how each run was cleaned, None for volumes as they are in files."""
    source, positions = origin_of(samples), samples.acquisition_order()[1]
    if source.derivation is None:
        return [None] * len(rows_of_runs)
    if source.derivation[0] != "clean_runs":
        raise ValueError(
            f"{function} needs volumes as they follow each other in time, but the samples come "
            f"from {source.derivation[0]}. Pass the runs themselves, or what clean_runs returns."
        )
    steps = []
    for rows, name in zip(rows_of_runs, names, strict=True):
        runs, places = source.where(positions[rows])
        step = source.steps[runs[0]]
        if not np.array_equal(np.sort(places), np.arange(len(step.rows))) or np.ptp(runs):
            raise ValueError(
                f"Of the cleaned run {name}, {len(rows)} of {len(step.rows)} volumes are among the "
                f"samples, but {function} needs all of them. Select no volumes after clean_runs; "
                "pass those to leave out to it as sample_masks=."
            )
        steps.append(step)
    return steps


def _t_r_of_runs(t_r, samples, rows_of_runs, names, steps):
    """Return the time between volumes of each run, or raise ValueError."""
    given, found = t_r_of_runs(t_r, None, names), []
    for time, rows, name, step in zip(given, rows_of_runs, names, steps, strict=True):
        volumes, known = samples[rows], None
        if step is not None:
            volumes, known = origin_of(samples).measured[step.rows], step.cleaning["t_r"]
        if time is not None and known is not None and abs(time - known) > TOLERANCE_SECONDS:
            raise ValueError(
                f"t_r is {time:g} s, but run {name} was cleaned with t_r={known:g}. Leave t_r out, "
                "or clean with the right one."
            )
        time = known if time is None else time
        in_header = set(list_t_r(volumes)) if time is None else {time}
        if len(in_header) > 1 or in_header == {None}:
            image = list_images(volumes)[volumes.acquisition_order()[0][0]][0]
            raise ValueError(
                f"The time between the volumes of run {name} is unknown, since the header of "
                f"{image} does not give it with a unit. Pass t_r= in seconds."
            )
        found.append(in_header.pop())
    return found


def _start_of_runs(start, n_runs):
    """Return the time of the first volume of each run, or raise ValueError."""
    starts = [start] * n_runs if np.ndim(start) == 0 else list(start)
    if len(starts) != n_runs:
        raise ValueError(
            f"Found {len(starts)} values of start for {n_runs} runs. Pass one per run, or one "
            "number for all."
        )
    try:
        starts = [float(time) for time in starts]
    except (TypeError, ValueError):
        starts = [np.nan]
    if not np.isfinite(starts).all():
        raise ValueError(f"start must be a number of seconds, but is {start!r}.")
    return starts
