"""Runs of a BIDS dataset as samples with labels from their events."""

from numbers import Real
from pathlib import Path

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
from skfmri.datasets._events import join_events, label_times, read_events
from skfmri.datasets._parameter_docs import LOADERS
from skfmri.datasets._timing import volume_timing
from skfmri.datasets.defaults import BIDS
from skfmri.docstrings import fill_docstring
from skfmri.preprocessing import clean_runs
from skfmri.samples import NiftiSamples

GROUPS = {"run": None, "subject": ("sub",), "session": ("sub", "ses")}


@fill_docstring(LOADERS)
def load_bids_samples(
    root,
    *,
    task,
    space=BIDS.space,
    derivatives=BIDS.derivatives,
    label=BIDS.label,
    groups=BIDS.groups,
    classes=BIDS.classes,
    subjects=BIDS.subjects,
    entities=BIDS.entities,
    shift=BIDS.shift,
    keep_transitions=BIDS.keep_transitions,
    duration=BIDS.duration,
    max_gap=BIDS.max_gap,
    t_r=BIDS.t_r,
    confounds=BIDS.confounds,
    clean=BIDS.clean,
    detrend=BIDS.detrend,
    standardize=BIDS.standardize,
    high_pass=BIDS.high_pass,
):
    r"""Load the labelled volumes of a BIDS dataset, ready to be decoded.

    Finds the runs of a task, labels each volume with the event that it shows, cleans each run
    separately and then leaves out unlabelled volumes, in this order, because a filter needs the
    volumes in between. Only headers and tables are read now; volumes are read, and runs cleaned,
    when data are first needed.

    Parameters
    ----------
    {bids_runs}
    {clean}
    high_pass : float, default=None
        Lowest frequency to keep, in Hz. The filter uses the time between volumes found above.

    Returns
    -------
    samples : NiftiSamples
        Labelled volumes with their labels, groups and runs. Volumes that the confounds flag,
        because of motion or before the steady state, are left out.

    Raises
    ------
    {bids_errors}

    See Also
    --------
    load_bids_runs : All volumes before cleaning, to process them differently.
    nilearn.interfaces.fmriprep.load_confounds : Reads the confounds.

    Notes
    -----
    Volume `k` represents the time ``start + k * t_r``. `start` is ``StartTime`` of the sidecar
    (fMRIPrep writes it if it corrected slice times), else the midpoint between the first and the
    last of its ``SliceTiming``, else ``t_r / 2``. The volume gets the label of the event with
    ``onset <= time - shift < onset + duration``. It is in transition if an onset or end is closer
    than ``t_r / 2`` to ``time - shift``.

    `t_r` is ``RepetitionTime`` of the sidecar, which must agree with the header. Without a sidecar
    it is that of the header, if this has a unit of time. Sidecars and events may be higher up in
    the dataset and then apply to all files below, as BIDS defines.

    Event times may be off by 10 ms without causing a transition. Events of different labels must
    not overlap by more than that.

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
        space=space,
        derivatives=derivatives,
        label=label,
        groups=groups,
        classes=classes,
        subjects=subjects,
        entities=entities,
        shift=shift,
        keep_transitions=keep_transitions,
        duration=duration,
        max_gap=max_gap,
        t_r=t_r,
        confounds=confounds,
    )
    samples = study.samples
    if clean:
        samples = clean_runs(
            samples,
            detrend=detrend,
            standardize=standardize,
            high_pass=high_pass,
            t_r=study.t_r,
            confounds=study.confounds,
            sample_masks=study.sample_masks,
        )
    return samples[samples.y != ""]


@fill_docstring(LOADERS)
def load_bids_runs(
    root,
    *,
    task,
    space=BIDS.space,
    derivatives=BIDS.derivatives,
    label=BIDS.label,
    groups=BIDS.groups,
    classes=BIDS.classes,
    subjects=BIDS.subjects,
    entities=BIDS.entities,
    shift=BIDS.shift,
    keep_transitions=BIDS.keep_transitions,
    duration=BIDS.duration,
    max_gap=BIDS.max_gap,
    t_r=BIDS.t_r,
    confounds=BIDS.confounds,
):
    """Load whole runs of a BIDS dataset, with everything that cleaning and labelling need.

    Use it to look at the parts, or to clean differently. `load_bids_samples` does this with them::

        cleaned = clean_runs(
            study.samples,
            t_r=study.t_r,
            confounds=study.confounds,
            sample_masks=study.sample_masks,
        )
        samples = cleaned[cleaned.y != ""]

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
            Number of the event that each volume shows, counted over all runs; -1 for none. Pass
            it as `blocks` to :func:`~skfmri.evaluate_decoder`.
        t_r : ndarray of shape (n_runs,)
            Time between volumes of each run, in seconds.
        confounds : list of pandas.DataFrame, or None
            One table per run.
        sample_masks : list of ndarray or None, or None
            Positions of the volumes to keep, per run.
        table : pandas.DataFrame
            One row per run: its name, subject, session, files, times, numbers of volumes.

    Raises
    ------
    {bids_errors}
    """
    _check(groups, classes, shift=shift, duration=duration, max_gap=max_gap, t_r=t_r)
    root = Path(root)
    folder = derivatives_folder(root, derivatives)
    images = find_images(folder, task, space, entities or {}, subjects)
    files = [find_events(root, folder, image) for image in images]
    events = [read_events(path, label, duration) for path in files]
    if classes is not None:
        events = _keep_classes(events, classes, label, root)
    events = [join_events(*run, max_gap) for run in zip(events, files, strict=True)]
    timings = [
        volume_timing(image["file_path"], read_sidecars(root, folder, image), t_r)
        for image in images
    ]
    samples = NiftiSamples([image["file_path"] for image in images])
    table = _table(images, files, timings, samples)
    of_image = samples.acquisition_order()[0]
    blocks, samples.y = _blocks_and_labels(events, table, shift, keep_transitions)
    samples.runs = table["run"].to_numpy(dtype=str)[of_image]
    samples.groups = np.array([_group(image, groups) for image in images])[of_image]
    found = None
    if confounds is not None:
        counts = table["n_volumes"]
        found = [read_confounds(*run, confounds) for run in zip(images, counts, strict=True)]
    return Bunch(
        samples=samples,
        blocks=blocks,
        t_r=table["t_r"].to_numpy(),
        confounds=None if found is None else [of_run for of_run, _ in found],
        sample_masks=None if found is None else [mask for _, mask in found],
        table=table.assign(n_labelled=np.bincount(of_image, samples.y != "").astype(int)),
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


def _blocks_and_labels(events, table, shift, keep_transitions):
    """Return number and label of the event that each volume shows, or raise ValueError."""
    blocks, labels, n_blocks = [], [], 0
    for (onsets, ends, names), run in zip(events, table.itertuples(), strict=True):
        times = run.start + run.t_r * np.arange(run.n_volumes) - shift
        found = label_times(times, onsets, ends, 0 if keep_transitions else run.t_r / 2)
        labels.append(np.append(names, "")[found])
        blocks.append(np.where(found < 0, -1, found + n_blocks))
        n_blocks += len(names)
    blocks, labels = np.concatenate(blocks), np.concatenate(labels)
    if (labels == "").all():
        if not n_blocks:
            raise ValueError(f"No event has a label, in {table['events'][0]} or any other run.")
        length = np.median(np.concatenate([ends - onsets for onsets, ends, _ in events]))
        raise ValueError(
            f"No volume has a label. The median duration of the {n_blocks} events is {length:g} s, "
            f"a volume takes {table['t_r'].min():g} s, and volumes that overlap the border of an "
            "event are left out. Pass max_gap= to join the stimuli of a block, duration= to make "
            "all events longer, or keep_transitions=True."
        )
    return blocks, labels


def _check(groups, classes, **seconds):
    """Raise ValueError if a parameter is invalid."""
    if groups not in GROUPS:
        raise ValueError(f"groups must be one of {', '.join(GROUPS)}, but is {groups!r}.")
    if isinstance(classes, str):
        raise ValueError(f"classes must be a list of labels, but is {classes!r}.")
    for name, value in seconds.items():
        if value is None and name in ("duration", "t_r"):
            continue
        is_number = isinstance(value, Real) and np.isfinite(value)
        if not is_number or (name != "shift" and value < 0) or (name == "t_r" and value == 0):
            raise ValueError(f"{name} must be a number of seconds, but is {value!r}.")


def _keep_classes(events, classes, label, root):
    """Return the events of some labels, or raise ValueError if a label does not occur."""
    there = sorted(set().union(*(table["label"] for table in events)))
    unknown = [name for name in map(str, classes) if name not in there]
    if unknown:
        raise ValueError(
            f"classes contains {', '.join(map(repr, unknown))}, but the column {label!r} of the "
            f"events under {root} has {', '.join(map(repr, there))}."
        )
    return [table[table["label"].isin(list(map(str, classes)))] for table in events]


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
