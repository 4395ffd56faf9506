"""Runs of a BIDS dataset as samples with labels from their events."""

from __future__ import annotations

from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from skfmri.datasets._bids_files import (
    derivatives_folder,
    find_events,
    find_images,
    read_sidecars,
    run_name,
)
from skfmri.datasets._confounds import read_confounds
from skfmri.datasets._events import check_overlaps, read_events
from skfmri.datasets._labels import label_volumes
from skfmri.datasets._parameter_docs import LOADERS
from skfmri.datasets._timing import volume_timing
from skfmri.datasets.defaults import BIDS
from skfmri.docstrings import fill_docstring
from skfmri.preprocessing import (
    average_blocks,
    clean_runs,
    estimate_conditions,
    estimate_trials,
)
from skfmri.samples import NiftiSamples

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from skfmri._types import FilePath, GroupsOf, SamplesOf

# What is made of volumes.
FUNCTIONS = {
    "blocks": average_blocks,
    "trials": estimate_trials,
    "conditions": estimate_conditions,
}
KINDS = ("volumes", *FUNCTIONS)
# These are estimated from whole runs, so that volumes need no labels.
FROM_EVENTS = ("trials", "conditions")
GROUPS = {"run": None, "subject": ("sub",), "session": ("sub", "ses")}


@fill_docstring(LOADERS)
def load_bids_samples(
    root: FilePath,
    *,
    task: str,
    samples: SamplesOf = BIDS.samples,
    space: str | None = BIDS.space,
    derivatives: FilePath | None = BIDS.derivatives,
    label: str = BIDS.label,
    groups: GroupsOf = BIDS.groups,
    classes: Sequence[str] | None = BIDS.classes,
    subjects: Sequence[str] | None = BIDS.subjects,
    exclude: Sequence[str] | None = BIDS.exclude,
    entities: Mapping[str, str] | None = BIDS.entities,
    shift: float = BIDS.shift,
    keep_transitions: bool = BIDS.keep_transitions,
    duration: float | None = BIDS.duration,
    max_gap: float = BIDS.max_gap,
    overlap_tolerance: float = BIDS.overlap_tolerance,
    rest: str | None = BIDS.rest,
    t_r: float | None = BIDS.t_r,
    confounds: str | Sequence[str] | Mapping[str, Any] | None = BIDS.confounds,
    clean: bool = BIDS.clean,
    detrend: bool = BIDS.detrend,
    standardize: bool = BIDS.standardize,
    high_pass: float | None = BIDS.high_pass,
) -> NiftiSamples:
    r"""Load the samples of a BIDS dataset with their labels, ready to be decoded.

    Finds the runs of a task, labels each volume with the event that it shows, cleans each run
    separately and then leaves out unlabelled volumes, in this order, because a filter needs the
    volumes in between. If events are too short for that, ``samples="trials"`` estimates the
    response to each from its whole run. Only headers and tables are read now; volumes are read, and
    runs cleaned, when data are first needed.

    Parameters
    ----------
    {bids_runs}
    {clean}
    high_pass : float, default=None
        Lowest frequency to keep, in Hz. The filter uses the time between volumes found above.

    Returns
    -------
    samples : NiftiSamples
        Labelled volumes, block means or estimates with their labels, groups, runs and subjects.
        Volumes that the confounds flag, because of motion or before the steady state, are left out
        or have no part in the estimates.

    Raises
    ------
    {bids_errors}

    See Also
    --------
    load_bids_runs : All volumes before cleaning, to process them differently.
    skfmri.estimate_trials : Estimates trials by another method or from other tables.
    nilearn.interfaces.fmriprep.load_confounds : Reads the confounds.

    Notes
    -----
    Volume `k` represents the time ``start + k * t_r``. `start` is ``StartTime`` of the sidecar
    (fMRIPrep writes it if it corrected slice times), else the midpoint between the first and the
    last of its ``SliceTiming``, else ``t_r / 2``. The volume gets the label of the event with
    ``onset <= time - shift < onset + duration``. It is in transition if an onset or end is closer
    than ``t_r / 2`` to ``time - shift``. If events of two labels cover that time, it has none.

    Estimates of trials and conditions come from models of cleaned runs, whose regressors are
    cleaned in the same way, so confounds and filter are part of them. All events of a run have a
    part in its model, also those that `classes` leaves out; the latter share one regressor in
    models of conditions. With `standardize` estimates are in units of the spread of their voxel
    over the run.

    `t_r` is ``RepetitionTime`` of the sidecar, which must agree with the header. Without a sidecar
    it is that of the header, if this has a unit of time. Sidecars and events may be higher up in
    the dataset and then apply to all files below, as BIDS defines. Numbers of runs may be written
    with other zeros: ``run-1`` of a pipeline is ``run-01`` of the raw dataset.

    Event times may be off by 10 ms without causing a transition.

    Examples
    --------
    A run of 10 volumes of 2 s, which represent 1, 3, 5 ... s and show what happened 4 s earlier:

    >>> import nibabel, pathlib
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skfmri.datasets import load_bids_samples
    >>> folder = pathlib.Path("study/sub-01/func")
    >>> folder.mkdir(parents=True)
    >>> image = nibabel.Nifti1Image(np.random.default_rng(0).normal(size=(2, 3, 4, 10)), np.eye(4))
    >>> image.header.set_xyzt_units("mm", "sec")
    >>> image.header.set_zooms((1, 1, 1, 2))
    >>> nibabel.save(image, folder / "sub-01_task-see_bold.nii.gz")
    >>> events = pd.DataFrame({"onset": [0, 8], "duration": 8, "trial_type": ["face", "house"]})
    >>> events.to_csv(folder / "sub-01_task-see_events.tsv", sep="\t", index=False)
    >>> samples = load_bids_samples("study", task="see", shift=4)
    >>> samples.y.tolist()
    ['face', 'face', 'face', 'face', 'house', 'house', 'house', 'house']
    """
    if not clean and (confounds is not None or high_pass is not None):
        name = "high_pass" if confounds is None else "confounds"
        raise ValueError(f"{name}= has no effect with clean=False. Omit one of them.")
    study = load_bids_runs(
        root,
        task=task,
        samples=samples,
        space=space,
        derivatives=derivatives,
        label=label,
        groups=groups,
        classes=classes,
        subjects=subjects,
        exclude=exclude,
        entities=entities,
        shift=shift,
        keep_transitions=keep_transitions,
        duration=duration,
        max_gap=max_gap,
        overlap_tolerance=overlap_tolerance,
        rest=rest,
        t_r=t_r,
        confounds=confounds,
    )
    volumes = study.samples
    if clean:
        volumes = clean_runs(
            volumes,
            detrend=detrend,
            standardize=standardize,
            high_pass=high_pass,
            t_r=study.t_r,
            confounds=study.confounds,
            sample_masks=study.sample_masks,
        )
    # Cleaning may leave volumes out, and then counts those that are left among all.
    rows = volumes.acquisition_order()[1] if clean else np.arange(len(volumes))
    found = derive_samples(volumes, study, samples, rows)
    return found[found.y != ""]


def derive_samples(volumes, study, kind, rows):
    """Return the samples that are made of whole runs.

    Parameters
    ----------
    volumes : NiftiSamples
        Volumes of the runs, cleaned or not.
    study : sklearn.utils.Bunch
        What `load_bids_runs` returns.
    kind : {"volumes", "blocks", "trials", "conditions"}
        What one sample is.
    rows : ndarray of int
        Position of each volume among all of the study.

    Returns
    -------
    samples : NiftiSamples
        Those without a label have "".
    """
    if kind == "volumes":
        return volumes
    if kind == "blocks":
        made = average_blocks(volumes, study.blocks[rows])
    else:
        start = study.table["start"].to_numpy()
        made = FUNCTIONS[kind](volumes, study.events, t_r=study.t_r, start=start)
    made.y = made.y.astype(str)
    return made


@fill_docstring(LOADERS)
def load_bids_runs(
    root: FilePath,
    *,
    task: str,
    samples: SamplesOf = BIDS.samples,
    space: str | None = BIDS.space,
    derivatives: FilePath | None = BIDS.derivatives,
    label: str = BIDS.label,
    groups: GroupsOf = BIDS.groups,
    classes: Sequence[str] | None = BIDS.classes,
    subjects: Sequence[str] | None = BIDS.subjects,
    exclude: Sequence[str] | None = BIDS.exclude,
    entities: Mapping[str, str] | None = BIDS.entities,
    shift: float = BIDS.shift,
    keep_transitions: bool = BIDS.keep_transitions,
    duration: float | None = BIDS.duration,
    max_gap: float = BIDS.max_gap,
    overlap_tolerance: float = BIDS.overlap_tolerance,
    rest: str | None = BIDS.rest,
    t_r: float | None = BIDS.t_r,
    confounds: str | Sequence[str] | Mapping[str, Any] | None = BIDS.confounds,
) -> Bunch:
    """Load whole runs of a BIDS dataset, with everything that cleaning and labelling need.

    Use it to look at the parts, or to clean differently. `load_bids_samples` does this with them::

        cleaned = clean_runs(
            study.samples,
            t_r=study.t_r,
            confounds=study.confounds,
            sample_masks=study.sample_masks,
        )
        samples = cleaned[cleaned.y != ""]

    With ``samples="trials"`` or "conditions" volumes get no labels, so that events may overlap and
    be short, and the last line is::

        samples = estimate_trials(cleaned, study.events, start=study.table["start"])

    Parameters
    ----------
    {bids_runs}

    Returns
    -------
    study : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with these attributes:

        samples : NiftiSamples
            All volumes of all runs; `y` is "" for those without a label.
        blocks : ndarray of shape (n_samples,), dtype int
            Number of the event, or of the stretch of rest, that each volume shows, counted over all
            runs; -1 for none. Pass it as `blocks` to :func:`~skfmri.evaluate_decoder` or
            :func:`~skfmri.average_blocks`.
        events : pandas.DataFrame
            All events with the columns run, onset and duration (s) and trial_type, missing if it
            gives no label, for :func:`~skfmri.estimate_trials`.
        t_r : ndarray of shape (n_runs,)
            Time between volumes of each run, in seconds.
        confounds : list of pandas.DataFrame, or None
            One table per run.
        sample_masks : list of ndarray or None, or None
            Positions of the volumes to keep, per run.
        table : pandas.DataFrame
            One row per run: its name, subject, session, files, times, numbers of volumes. `start`
            is the time of its first volume on the clock of the events, in seconds.

    Raises
    ------
    {bids_errors}
    """
    timing = {"shift": shift, "max_gap": max_gap, "overlap_tolerance": overlap_tolerance}
    _check(samples, groups, classes, exclude, rest, duration=duration, t_r=t_r, **timing)
    if samples in FROM_EVENTS:
        _check_unused(samples, **timing, keep_transitions=keep_transitions, rest=rest)
    root = Path(root)
    folder = derivatives_folder(root, derivatives)
    images = find_images(folder, task, space, entities or {}, subjects, exclude)
    files = [find_events(root, folder, image) for image in images]
    events = [read_events(path, label, duration) for path in files]
    if samples in FROM_EVENTS:
        _check_all_have_events(events, images)
    if classes is not None:
        events = _keep_classes(events, classes, rest, label, root)
    timings = [
        volume_timing(image["file_path"], read_sidecars(root, folder, image), t_r)
        for image in images
    ]
    volumes = NiftiSamples([image["file_path"] for image in images])
    table = _table(images, files, timings, volumes)
    of_image = volumes.acquisition_order()[0]
    volumes.runs = table["run"].to_numpy(dtype=str)[of_image]
    volumes.groups = np.array([_group(image, groups) for image in images])[of_image]
    volumes.subjects = table["subject"].to_numpy(dtype=str)[of_image]
    tables, masks = None, None
    if confounds is not None:
        counts = table["n_volumes"]
        found = [read_confounds(*run, confounds) for run in zip(images, counts, strict=True)]
        tables, masks = (list(column) for column in zip(*found, strict=True))
    blocks, volumes.y = np.full(len(volumes), -1), np.full(len(volumes), "")
    if samples not in FROM_EVENTS:
        labelled = [of_run[of_run["label"] != ""] for of_run in events]
        check_overlaps(labelled, files, overlap_tolerance)
        options = {"shift": shift, "max_gap": max_gap, "keep_transitions": keep_transitions}
        is_kept = _are_kept(masks, table["n_volumes"])
        blocks, volumes.y = label_volumes(events, table, is_kept, rest=rest, **options)
    return Bunch(
        samples=volumes,
        blocks=blocks,
        events=_events_of_runs(events, table),
        t_r=table["t_r"].to_numpy(),
        confounds=tables,
        sample_masks=masks,
        table=table.assign(n_labelled=np.bincount(of_image, volumes.y != "").astype(int)),
    )


def _table(images, files, timings, samples):
    """Return the table of the runs."""
    entities = [image["entities"] for image in images]
    return pd.DataFrame(
        {
            "run": [run_name(image) for image in images],
            "subject": [of_run["sub"] for of_run in entities],
            "session": [of_run.get("ses") for of_run in entities],
            "image": [image["file_path"] for image in images],
            "events": [str(path) for path in files],
            "t_r": [t_r for t_r, _ in timings],
            "start": [start for _, start in timings],
            "n_volumes": np.bincount(samples.acquisition_order()[0]),
        }
    )


def _events_of_runs(events, table):
    """Return the events of all runs in one table."""
    tables = [
        pd.DataFrame(
            {
                "run": run,
                "onset": of_run["onset"],
                "duration": of_run["end"] - of_run["onset"],
                "trial_type": of_run["label"].replace("", None),
            }
        )
        for run, of_run in zip(table["run"], events, strict=True)
    ]
    return pd.concat(tables, ignore_index=True)


def _are_kept(masks, counts):
    """Return which of all volumes the confounds do not flag."""
    masks = [None] * len(counts) if masks is None else masks
    kept = [
        np.ones(count, bool) if mask is None else np.isin(np.arange(count), mask)
        for mask, count in zip(masks, counts, strict=True)
    ]
    return np.concatenate(kept)


def _check(samples, groups, classes, exclude, rest, **seconds):
    """Raise ValueError if a parameter is invalid."""
    for name, value, choices in (("samples", samples, KINDS), ("groups", groups, GROUPS)):
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, but is {value!r}.")
    for name, value, what in (("classes", classes, "labels"), ("exclude", exclude, "runs")):
        if isinstance(value, str):
            raise ValueError(f"{name} must be a list of {what}, but is {value!r}.")
    if rest is not None and not (isinstance(rest, str) and rest.strip()):
        raise ValueError(f"rest must be a label or None, but is {rest!r}.")
    for name, value in seconds.items():
        if value is None and name in ("duration", "t_r"):
            continue
        is_number = isinstance(value, Real) and np.isfinite(value)
        if not is_number or (name != "shift" and value < 0) or (name == "t_r" and value == 0):
            raise ValueError(f"{name} must be a number of seconds, but is {value!r}.")


def _check_unused(samples, **options):
    """Raise ValueError if a parameter is given that only labels of volumes depend on."""
    for name, value in options.items():
        if value != getattr(BIDS, name):
            raise ValueError(
                f"{name}= has no effect with samples={samples!r}, for which no volume needs a "
                "label. Omit one of them."
            )


def _check_all_have_events(events, images):
    """Raise ValueError if there is a run without events, of which nothing can be estimated."""
    pairs = zip(events, images, strict=True)
    names = [f'"{run_name(image)}"' for table, image in pairs if not len(table)]
    if names:
        raise ValueError(
            f"{len(names)} of {len(images)} runs have no events. Leave them out: "
            f"exclude=[{', '.join(names)}]."
        )


def _keep_classes(events, classes, rest, label, root):
    """Return events of which only some have labels, or raise ValueError if a label is missing."""
    classes = [str(name).strip() for name in classes]
    there = sorted(set().union(*(table["label"] for table in events)) - {""})
    unknown = [name for name in classes if name not in (*there, rest)]
    if unknown:
        raise ValueError(
            f"classes contains {', '.join(map(repr, unknown))}, but the column {label!r} of the "
            f"events under {root} has {', '.join(map(repr, there))}."
        )
    return [
        table.assign(label=table["label"].where(table["label"].isin(classes), ""))
        for table in events
    ]


def _group(image, groups):
    """Return the group that a run belongs to, or raise ValueError."""
    if GROUPS[groups] is None:
        return run_name(image)
    entities = image["entities"]
    if groups == "session" and not entities.get("ses"):
        raise ValueError(
            f"The name of {image['file_path']} has no session, so groups cannot be sessions. "
            'Choose groups="run" or groups="subject".'
        )
    return "_".join(f"{key}-{entities[key]}" for key in GROUPS[groups])
