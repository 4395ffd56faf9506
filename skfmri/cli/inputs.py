"""Options that name data, turned into samples."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from skfmri.cli.disk import describe_disk
from skfmri.cli.nonfinite import find_dropped, list_volumes
from skfmri.cli.tables import read_labels
from skfmri.cli.terminal import make_console, watched
from skfmri.cli.wording import option_of
from skfmri.datasets import load_bids_runs, make_eyes_open_closed
from skfmri.datasets.defaults import BIDS
from skfmri.preprocessing import clean_runs
from skfmri.report.words import counted
from skfmri.samples import NiftiSamples

# Options that make sense for one way of naming data only.
OF_BIDS = (
    "task",
    "space",
    "derivatives",
    "subjects",
    "entities",
    "groups",
    "shift",
    "keep_transitions",
    "event_duration",
    "max_gap",
    "confounds",
)
OF_TABLE = ("labels", "group_column", "run_column", "block_column")
LABEL, GROUP = "label", "group"
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
        The same volumes before cleaning.
    rows : ndarray of shape (n_samples,), int
        Position of each among all volumes of the images.
    blocks : ndarray of shape (n_samples,) or None
        Units that permutations keep together.
    source : dict
        Where the volumes come from, as JSON-serialisable values. Its "kind" is "simulated",
        "table" or "bids".
    cleaning : dict or None
        How runs were cleaned, as JSON-serialisable values.
    n_unlabelled : int
        Number of volumes that are left out because they have no label.
    not_finite : NiftiSamples or None
        Volumes that are left out because they are not finite.
    """

    samples: NiftiSamples
    originals: NiftiSamples
    rows: np.ndarray
    blocks: np.ndarray | None
    source: dict
    cleaning: dict | None = None
    n_unlabelled: int = 0
    not_finite: NiftiSamples | None = None


def check_options(args):
    """Raise ValueError unless the options name data in one way."""
    is_bids = args.bids is not None
    for name in OF_TABLE if is_bids else OF_BIDS:
        if getattr(args, name) is not None:
            option = option_of(name)
            raise ValueError(
                f"{option} describes images with a table, not --bids. Leave one out."
                if is_bids
                else f"{option} does nothing without --bids ROOT. Add it, or leave {option} out."
            )
    if is_bids:
        if args.images:
            raise ValueError(
                f"Found --bids {args.bids} and {len(args.images)} images, such as "
                f"{args.images[0]}. Give either the dataset or images with --labels."
            )
        if args.task is None:
            raise ValueError(f"--bids {args.bids} needs the task: add --task NAME.")
    elif not args.images or args.labels is None:
        missing = "--labels CSV" if args.images else "IMAGE"
        raise ValueError(
            f"{missing} is missing. Give images with --labels CSV, or --bids ROOT with --task NAME."
        )
    of_cleaning = ["high_pass", "confounds"] if is_bids else ["high_pass", "t_r"]
    for name in of_cleaning:
        if getattr(args, name) is not None and not _is_cleaned(args):
            raise ValueError(
                f"{option_of(name)} does nothing without --clean. Add --clean, or leave it out."
            )


def read_inputs(args):
    """Return the volumes that the options name, or raise ValueError.

    Parameters
    ----------
    args : argparse.Namespace
        Arguments of ``skfmri decode`` that `check_options` has let pass.

    Returns
    -------
    inputs : Inputs
    """
    return _read_table_inputs(args) if args.bids is None else _read_bids_inputs(args)


def simulate_inputs(seed):
    """Return simulated volumes whose true effect is known."""
    data = make_eyes_open_closed(random_state=seed)
    samples = NiftiSamples(data.images, y=data.labels, groups=data.chunks)
    source = {"kind": "simulated", "seed": seed}
    return Inputs(samples, samples, np.arange(len(samples)), None, source)


def _read_bids_inputs(args):
    options = {PARAMETERS.get(name, name): getattr(args, name) for name in OF_BIDS}
    options |= {"label": args.label_column, "t_r": args.t_r, "classes": args.classes}
    options = {name: value for name, value in options.items() if value is not None}
    study = load_bids_runs(args.bids, **options)
    times = np.unique(study.t_r)
    if len(times) > 1 and args.high_pass is not None:
        raise ValueError(
            f"--high-pass is for runs that are alike, but a volume takes {times[0]:g} to "
            f"{times[-1]:g} s. Choose runs with --subjects or --entities, or call "
            "load_bids_samples, which filters each run with its own time."
        )
    labels = pd.Series(study.samples.y)
    is_asked = _are_asked_for(labels.where(labels != ""), args)
    is_scrubbed = _are_scrubbed(study)
    # A run is cleaned with all its volumes, and those without a label are part of it.
    is_used = ~is_scrubbed if _is_cleaned(args) else is_asked.to_numpy()
    is_dropped = _find_dropped(args, study.samples, is_used)
    samples, rows = _chosen(
        study.samples,
        ~is_dropped & ~is_scrubbed,
        is_asked,
        args,
        t_r=study.t_r,
        confounds=study.confounds,
    )
    cleaning = None
    if _is_cleaned(args):
        t_r = times[0].item() if len(times) == 1 else None
        cleaning = _describe_cleaning(args, t_r, args.confounds)
    used = {name: options.get(name, getattr(BIDS, name)) for name in vars(BIDS)}
    source = {
        "kind": "bids",
        "root": args.bids,
        "task": args.task,
        "images": study.table["image"].tolist(),
        **{name: used[name] for name in ("space", "derivatives", "groups", "label", "shift")},
        **{name: used[name] for name in ("keep_transitions", "duration", "max_gap")},
        "classes": args.classes,
        "drop": args.drop,
        "not_finite": list_volumes(study.samples[is_dropped]),
    }
    return Inputs(
        samples,
        study.samples[rows],
        rows,
        study.blocks[rows],
        source,
        cleaning,
        n_unlabelled=int(((labels == "") & ~is_scrubbed).sum()),
        not_finite=study.samples[is_dropped] if is_dropped.any() else None,
    )


def _read_table_inputs(args):
    originals = NiftiSamples(args.images)
    columns = {"label": args.label_column or LABEL, "group": args.group_column or GROUP}
    columns |= {"run": args.run_column, "block": args.block_column}
    used = {role: column for role, column in columns.items() if column is not None}
    table = read_labels(args.labels, used, len(originals))
    # No run goes beyond its image, nor, without a column for runs, beyond its group.
    names = (table["group"] if args.run_column is None else table["run"]).fillna("")
    runs = [f"{image} {name}" for image, name in zip(originals.runs, names, strict=True)]
    # Rows without a group are looked for below, where it is known whether they matter.
    originals.groups = table["group"].fillna("").to_numpy(dtype=str)
    originals.runs = np.array(runs)
    originals.y = table["label"].fillna("").to_numpy(dtype=str)
    labels = table["label"]
    if _is_cleaned(args):
        _check_whole_runs(table, args.labels)
    is_asked = _are_asked_for(labels, args)
    _check_groups(is_asked & table["group"].isna(), args.labels, columns["group"])
    is_used, cleaning = is_asked.to_numpy(), None
    if _is_cleaned(args):
        is_used = np.ones(len(originals), bool)
        cleaning = _describe_cleaning(args, args.t_r, None)
    is_dropped = _find_dropped(args, originals, is_used)
    samples, rows = _chosen(originals, ~is_dropped, is_asked, args, t_r=args.t_r)
    samples.y = labels[rows].to_numpy(dtype=str)
    samples.groups = as_numbers(table["group"][rows].to_numpy(dtype=str))
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
        n_unlabelled=int(labels.isna().sum()),
        not_finite=originals[is_dropped] if is_dropped.any() else None,
    )


def _find_dropped(args, originals, is_used):
    """Return which volumes are left out because they are not finite, the first time all are read.

    Before, say how much disk the run will take.
    """
    console, is_cleaned = make_console(args.quiet), _is_cleaned(args)
    disk = None if args.quiet else describe_disk(args, originals, is_cleaned=is_cleaned)
    if disk is not None:
        console.print(disk)
    return find_dropped(
        originals,
        is_used,
        drop=args.drop_nonfinite,
        is_cleaned=is_cleaned,
        watch=partial(watched, console, "looking at the volumes"),
    )


def _chosen(originals, is_usable, is_asked, args, **options):
    """Return the volumes to decode, cleaned if that is wanted, and their rows among all.

    Parameters
    ----------
    originals : NiftiSamples
        All volumes.
    is_usable, is_asked : array-like of shape (n_samples,), bool
        Which may be used at all, and which have a label that is to be decoded.
    args : argparse.Namespace
        Arguments.
    **options : object
        For `clean_runs`.
    """
    samples, rows = originals[is_usable], np.flatnonzero(is_usable)
    if _is_cleaned(args):
        runs = originals.runs
        masks = [is_usable[runs == run] for run in dict.fromkeys(runs.tolist())]
        samples = clean_runs(originals, high_pass=args.high_pass, sample_masks=masks, **options)
    chosen = np.flatnonzero(np.asarray(is_asked)[rows])
    samples, rows = samples[chosen], rows[chosen]
    n_classes = len(np.unique(samples.y))
    if n_classes < 2:
        raise ValueError(
            f"{counted(len(rows), 'volume')} of {counted(n_classes, 'class', 'classes')} are left "
            "without those that are not finite or that the confounds flag; decoding needs two "
            "classes or more."
        )
    return samples, rows


def _are_scrubbed(study):
    """Return which volumes of a BIDS dataset its confounds flag."""
    of_image, positions = study.samples.acquisition_order()
    is_scrubbed = np.zeros(len(positions), bool)
    for image, kept in enumerate(study.sample_masks or ()):
        if kept is not None:
            is_scrubbed |= (of_image == image) & ~np.isin(positions, kept)
    return is_scrubbed


def _is_cleaned(args):
    return args.bids is not None if args.clean is None else args.clean


def _describe_cleaning(args, t_r, confounds):
    return {"high_pass": args.high_pass, "t_r": t_r, "confounds": confounds}


def _check_whole_runs(table, path):
    """Raise ValueError if a volume has no group or run, for it could be inside of a run."""
    named = table.drop(columns=["label", "block"], errors="ignore")
    missing = np.flatnonzero(named.isna().any(axis=1))
    if len(missing):
        raise ValueError(
            f"--clean needs whole runs, but {path} names no group or run in {len(missing)} rows, "
            f"first in row {missing[0] + 1} below the header. Fill them, also for volumes without "
            "a label."
        )


def _check_groups(is_missing, path, column):
    missing = np.flatnonzero(is_missing)
    if len(missing):
        raise ValueError(
            f"{path} names no group in {len(missing)} labelled rows, first in row "
            f"{missing[0] + 1} below the header. Fill the column {column!r}."
        )


def _are_asked_for(labels, args):
    """Return which labels are to be decoded, or raise ValueError if too few are."""
    kept = labels.notna()
    for name, asked in (("--classes", args.classes), ("--drop", args.drop)):
        unknown = sorted(set(asked or ()) - set(labels[kept]))
        if unknown:
            raise ValueError(
                f"{name} names {', '.join(map(repr, unknown))}, but the labels are "
                f"{', '.join(map(repr, sorted(set(labels[kept]))))}."
            )
    if args.classes:
        kept &= labels.isin(args.classes)
    if args.drop:
        kept &= ~labels.isin(args.drop)
    n_classes = labels[kept].nunique()
    if n_classes < 2:
        raise ValueError(
            f"{counted(kept.sum(), 'volume')} of {counted(n_classes, 'class', 'classes')} are "
            "left; decoding needs two classes or more. Look at --label-column, --classes and "
            "--drop."
        )
    return kept


def as_numbers(names):
    """Return names as integers if nothing is lost, so that run 10 comes after run 9."""
    are_numbers = all(
        name.isdecimal() and len(name) < 18 and str(int(name)) == name for name in names
    )
    return names.astype(int) if are_numbers else names
