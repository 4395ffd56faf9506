"""Options that name data, turned into samples."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from skfmri.cli.centering import center_inputs, names_in_bids
from skfmri.cli.disk import describe_disk
from skfmri.cli.nonfinite import find_dropped, list_volumes
from skfmri.cli.subjects import is_per_subject, separate_groups
from skfmri.cli.tables import check_order, numeric, read_labels, refuse_numbers, refuse_text
from skfmri.cli.terminal import make_console, watched
from skfmri.cli.usage import OF_BIDS, cleans_runs, predicts_numbers
from skfmri.datasets import load_bids_runs, make_eyes_open_closed
from skfmri.datasets.bids import FROM_EVENTS, FUNCTIONS, derive_samples
from skfmri.datasets.defaults import BIDS
from skfmri.preprocessing import clean_runs
from skfmri.report.methods_trials import UNITS
from skfmri.report.words import counted
from skfmri.samples import NiftiSamples

# Options of BIDS datasets whose value is recorded, also if it is the default.
RECORDED = ("samples", "space", "derivatives", "exclude", "groups", "label", "shift")
RECORDED += ("keep_transitions", "duration", "max_gap", "overlap_tolerance", "rest")
LABEL, GROUP = "label", "group"
# Columns of a table that may hold subjects.
NAMING_SUBJECTS = ("group", "run", "subject", "centring")
# Options that are called otherwise than the parameters of the loader.
PARAMETERS = {"event_duration": "duration", "label_column": "label"}


@dataclass(frozen=True)
class Inputs:
    """Volumes to decode, with what is known of them.

    Attributes
    ----------
    samples : NiftiSamples
        Volumes to decode, with labels, groups and runs.
    originals : NiftiSamples
        The same volumes before cleaning and centring, or the volumes that samples are made of.
    rows : ndarray of shape (n_samples,), int
        Position of each among all volumes of the images, or among all block means or estimates.
    blocks : ndarray of shape (n_samples,) or None
        Units that permutations keep together.
    source : dict
        Where the volumes come from, as JSON-serialisable values. Its "kind" is "simulated",
        "table" or "bids".
    cleaning : dict or None
        How runs were cleaned, as JSON-serialisable values.
    centring : dict or None
        How volumes were centred within groups, as JSON-serialisable values.
    unit : str
        What one sample is called, such as "volume" or "trial estimate".
    n_unlabelled : int
        Number of volumes, or of estimates, that are left out because they have no label.
    not_finite : NiftiSamples or None
        Volumes that are left out because they are not finite.
    """

    samples: NiftiSamples
    originals: NiftiSamples
    rows: np.ndarray
    blocks: np.ndarray | None
    source: dict
    cleaning: dict | None = None
    centring: dict | None = None
    unit: str = "volume"
    n_unlabelled: int = 0
    not_finite: NiftiSamples | None = None


def read_inputs(args):
    """Return the volumes that the options name, or raise ValueError.

    Parameters
    ----------
    args : argparse.Namespace
        Arguments of ``skfmri decode`` that `check_usage` has let pass.

    Returns
    -------
    inputs : Inputs
    """
    return _read_table_inputs(args) if args.bids is None else _read_bids_inputs(args)


def simulate_inputs(seed):
    """Return simulated volumes whose true effect is known."""
    data = make_eyes_open_closed(random_state=seed)
    originals = NiftiSamples(data.images, y=data.labels, groups=data.chunks)
    samples, centring = center_inputs("subject", originals, data.subjects)
    source = {"kind": "simulated", "seed": seed}
    rows = np.arange(len(samples))
    return Inputs(samples, originals, rows, None, source, centring=centring)


def _read_bids_inputs(args):
    options = {PARAMETERS.get(name, name): getattr(args, name) for name in OF_BIDS}
    options |= {"label": args.label_column, "t_r": args.t_r, "classes": args.classes}
    options = {name: value for name, value in options.items() if value is not None}
    used, study = vars(BIDS) | options, load_bids_runs(args.bids, **options)
    times = np.unique(study.t_r)
    _check_times(args, times)
    kind = used["samples"]
    unit = UNITS[FUNCTIONS[kind].__name__] if kind in FUNCTIONS else "volume"
    labels = study.events["trial_type"] if kind in FROM_EVENTS else pd.Series(study.samples.y)
    is_asked = _are_asked_for(labels.where(labels != ""), args, unit)
    is_scrubbed = _are_scrubbed(study)
    # A run is cleaned with all its volumes, and those without a label are part of it.
    is_used = ~is_scrubbed
    if kind not in FROM_EVENTS and not cleans_runs(args):
        is_used = is_asked.to_numpy()
    is_dropped = _find_dropped(args, study.samples, is_used, _n_made(kind, study))
    if kind in FROM_EVENTS and is_dropped.any() and not cleans_runs(args):
        raise ValueError(
            f"--samples {kind} needs whole runs, but --drop-nonfinite leaves out "
            f"{counted(is_dropped.sum(), 'volume')}. Leave out --no-clean."
        )
    is_usable = ~is_dropped & ~is_scrubbed
    times_and_tables = {"t_r": study.t_r, "confounds": study.confounds}
    samples, rows = _usable(study.samples, is_usable, args, **times_and_tables)
    if kind in FUNCTIONS:
        samples, originals = derive_samples(samples, study, kind, rows), study.samples[rows]
        rows, made = np.arange(len(samples)), pd.Series(samples.y)
        is_asked = _are_asked_for(made.where(made != ""), args, unit)
    samples, rows = _chosen(samples, rows, is_asked.to_numpy()[rows], args, unit)
    # Estimates and means of blocks are units of permutations themselves.
    blocks = np.arange(len(rows))
    if kind not in FUNCTIONS:
        originals, blocks = study.samples[rows], study.blocks[rows]
    names = None
    if args.center_groups:
        names = names_in_bids(study.table, args.center_groups, samples.runs)
    samples, centring = center_inputs(args.center_groups, samples, names)
    cleaning = None
    if cleans_runs(args):
        t_r = times[0].item() if len(times) == 1 else None
        cleaning = _describe_cleaning(args, t_r, args.confounds)
    source = {
        **{"kind": "bids", "root": args.bids, "task": args.task},
        "images": study.table["image"].tolist(),
        **{name: used[name] for name in RECORDED},
        **{"classes": args.classes, "drop": args.drop},
        "not_finite": list_volumes(study.samples[is_dropped]),
    }
    return Inputs(
        samples,
        originals,
        rows,
        blocks,
        source,
        cleaning,
        centring,
        unit=unit,
        n_unlabelled=_n_unlabelled(labels, kind, is_scrubbed),
        not_finite=study.samples[is_dropped] if is_dropped.any() else None,
    )


def _read_table_inputs(args):
    originals = NiftiSamples(args.images)
    columns = {"label": args.label_column or LABEL, "group": args.group_column or GROUP}
    columns |= {"run": args.run_column, "block": args.block_column}
    columns |= {"subject": args.subject_column, "centring": args.center_groups or None}
    table = _read_table(args, columns, originals)
    # No run goes beyond its image, nor, without a column for runs, beyond its group.
    names = (table["group"] if args.run_column is None else table["run"]).fillna("")
    runs = [f"{image} {name}" for image, name in zip(originals.runs, names, strict=True)]
    # Rows without a group are looked for below, where it is known whether they matter.
    originals.groups = table["group"].fillna("").to_numpy(dtype=str)
    originals.runs = np.array(runs)
    originals.y = table["label"].fillna("").to_numpy(dtype=str)
    if args.subject_column is not None:
        originals.subjects = table["subject"].fillna("").to_numpy(dtype=str)
    labels = table["label"]
    if cleans_runs(args):
        _check_whole_runs(table, args.labels)
    is_asked = _are_asked_for(labels, args)
    if args.subject_column is not None:
        is_missing = is_asked & table["subject"].isna()
        _check_groups(is_missing, args.labels, args.subject_column, "subject")
    _check_groups(is_asked & table["group"].isna(), args.labels, columns["group"])
    is_used, cleaning = is_asked.to_numpy(), None
    if cleans_runs(args):
        is_used = np.ones(len(originals), bool)
        cleaning = _describe_cleaning(args, args.t_r, None)
    is_dropped = _find_dropped(args, originals, is_used)
    samples, rows = _usable(originals, ~is_dropped, args, t_r=args.t_r)
    samples, rows = _chosen(samples, rows, is_asked.to_numpy()[rows], args)
    samples.groups = as_numbers(table["group"][rows].to_numpy(dtype=str))
    names = None
    if args.center_groups:
        _check_groups(is_asked & table["centring"].isna(), args.labels, args.center_groups)
        names = table["centring"][rows].to_numpy(dtype=str)
    samples, centring = center_inputs(args.center_groups, samples, names)
    blocks = None if args.block_column is None else table["block"][rows].to_numpy()
    source = {
        "kind": "table",
        "images": args.images,
        "labels": args.labels,
        "columns": columns,
        "classes": args.classes,
        "drop": args.drop,
        "not_finite": list_volumes(originals[is_dropped]),
    }
    return Inputs(
        samples,
        originals[rows],
        rows,
        blocks,
        source,
        cleaning,
        centring,
        n_unlabelled=int(labels.isna().sum()),
        not_finite=originals[is_dropped] if is_dropped.any() else None,
    )


def _read_table(args, columns, originals):
    """Return the table of labels, with a column for each role that the user has named."""
    used = {role: column for role, column in columns.items() if column is not None}
    table = read_labels(args.labels, used, len(originals))
    of_subjects = {role: used[role] for role in NAMING_SUBJECTS if role in used}
    check_order(args.labels, table, of_subjects, originals)
    if is_per_subject(args):
        table["group"] = separate_groups(table["group"], table["subject"])
    return table


def _n_made(kind, study):
    """Return how many samples are made of the volumes of a study, None if they are samples."""
    if kind == "volumes":
        return None
    if kind == "blocks":
        return len(np.unique(study.blocks))
    events = study.events
    return len(events if kind == "trials" else events[["run", "trial_type"]].drop_duplicates())


def _n_unlabelled(labels, kind, is_scrubbed):
    """Return how many volumes or trials have no label."""
    if kind == "volumes":
        return int(((labels == "") & ~is_scrubbed).sum())
    return int(labels.isna().sum()) if kind == "trials" else 0


def _check_times(args, times):
    """Raise ValueError if a filter is asked for, but the time between volumes differs."""
    if len(times) > 1 and args.high_pass is not None:
        raise ValueError(
            f"--high-pass is for runs that are alike, but a volume takes {times[0]:g} to "
            f"{times[-1]:g} s. Choose runs with --subjects or --entities, or call "
            "load_bids_samples, which filters each run with its own time."
        )


def _find_dropped(args, originals, is_used, n_made=None):
    """Return which volumes are left out because they are not finite, the first time all are read.

    Before, say how much disk the run will take, for the volumes or what is made of them.
    """
    console, is_cleaned = make_console(args.quiet), cleans_runs(args) or n_made is not None
    disk = None
    if not args.quiet:
        disk = describe_disk(args, originals, is_cleaned=is_cleaned, n_made=n_made)
    if disk is not None:
        console.print(disk)
    return find_dropped(
        originals,
        is_used,
        drop=args.drop_nonfinite,
        is_cleaned=is_cleaned,
        watch=partial(watched, console, "looking at the volumes"),
    )


def _usable(originals, is_usable, args, **options):
    """Return the volumes that may be used, cleaned if that is wanted, and their rows among all.

    Parameters
    ----------
    originals : NiftiSamples
        All volumes.
    is_usable : ndarray of shape (n_samples,), bool
        Which may be used.
    args : argparse.Namespace
        Arguments.
    **options : object
        For `clean_runs`.
    """
    samples, rows = originals[is_usable], np.flatnonzero(is_usable)
    if cleans_runs(args):
        runs = originals.runs
        masks = [is_usable[runs == run] for run in dict.fromkeys(runs.tolist())]
        options |= {"detrend": _is_detrended(args), "high_pass": args.high_pass}
        samples = clean_runs(originals, sample_masks=masks, **options)
    return samples, rows


def _chosen(samples, rows, is_asked, args, unit="volume"):
    """Return the samples to decode with their rows, or raise ValueError if too few are left."""
    samples, rows = samples[is_asked], rows[is_asked]
    if predicts_numbers(args):
        samples.y = samples.y.astype(float)
    n_labels = len(np.unique(samples.y))
    if n_labels < 2:
        raise ValueError(
            f"{_count_left(len(rows), unit, n_labels, args)} "
            "without volumes that are not finite or that the confounds flag; decoding needs "
            f"two {'different numbers' if predicts_numbers(args) else 'classes'} or more."
        )
    return samples, rows


def _count_left(n_samples, unit, n_labels, args):
    """Return how many samples and labels are left, as the beginning of a sentence."""
    labels = ("number", "numbers") if predicts_numbers(args) else ("class", "classes")
    are = "is" if n_samples == 1 else "are"
    return f"{counted(n_samples, unit)} of {counted(n_labels, *labels)} {are} left"


def _are_scrubbed(study):
    """Return which volumes of a BIDS dataset its confounds flag."""
    of_image, positions = study.samples.acquisition_order()
    is_scrubbed = np.zeros(len(positions), bool)
    for image, kept in enumerate(study.sample_masks or ()):
        if kept is not None:
            is_scrubbed |= (of_image == image) & ~np.isin(positions, kept)
    return is_scrubbed


def _is_detrended(args):
    return args.detrend is None


def _describe_cleaning(args, t_r, confounds):
    return {
        "detrend": _is_detrended(args),
        "high_pass": args.high_pass,
        "t_r": t_r,
        "confounds": confounds,
    }


def _check_whole_runs(table, path):
    """Raise ValueError if a volume has no group or run, for it could be inside of a run."""
    named = table.drop(columns=["label", "block", "centring"], errors="ignore")
    missing = np.flatnonzero(named.isna().any(axis=1))
    if len(missing):
        raise ValueError(
            f"--clean needs whole runs, but {path} names no group or run in {len(missing)} rows, "
            f"first in row {missing[0] + 1} below the header. Fill them, also for volumes without "
            "a label."
        )


def _check_groups(is_missing, path, column, what="group"):
    missing = np.flatnonzero(is_missing)
    if len(missing):
        raise ValueError(
            f"{path} names no {what} in {len(missing)} labelled rows, first in row "
            f"{missing[0] + 1} below the header. Fill the column {column!r}."
        )


def _are_asked_for(labels, args, unit="volume"):
    """Return which labels are to be decoded, or raise ValueError if too few are."""
    kept = labels.notna()
    check = refuse_text if predicts_numbers(args) else refuse_numbers
    check(labels[kept], args.label_column)
    for name, asked in (("--classes", args.classes), ("--drop", args.drop)):
        unknown = sorted(set(asked or ()) - set(labels[kept]))
        if unknown:
            raise ValueError(
                f"{name} names {', '.join(map(repr, unknown))}, but the labels are "
                f"{', '.join(map(repr, sorted(set(labels[kept]))))}."
            )
    if args.classes:
        kept &= labels.isin([*args.classes, args.rest])
    if args.drop:
        kept &= ~labels.isin(args.drop)
    found = numeric(labels[kept]) if predicts_numbers(args) else labels[kept]
    n_labels = found.nunique()
    if n_labels < 2:
        needed, options = "classes", "--label-column, --classes and --drop"
        if predicts_numbers(args):
            needed, options = "different numbers", "--label-column"
        raise ValueError(
            f"{_count_left(kept.sum(), unit, n_labels, args)}; decoding needs two {needed} or "
            f"more. Look at {options}."
        )
    return kept


def as_numbers(names):
    """Return names as integers if nothing is lost, so that run 10 comes after run 9."""
    are_numbers = all(
        name.isdecimal() and len(name) < 18 and str(int(name)) == name for name in names
    )
    return names.astype(int) if are_numbers else names
