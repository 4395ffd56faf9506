"""Samples that the command line finds in a BIDS dataset."""

from pathlib import Path

import numpy as np
import pandas as pd

from skfmri.datasets import load_bids_runs
from skfmri.preprocessing import clean_runs

# What each way of naming the data is alone in taking.
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


def settle_source(args):
    """Fill in what the arguments leave open of where the data come from, or raise ValueError."""
    is_bids = args.bids is not None
    for name in OF_TABLE if is_bids else OF_BIDS:
        if getattr(args, name) is not None:
            option = "--" + name.replace("_", "-")
            raise ValueError(
                f"{option} tells about images with a table, not about --bids. Leave one out."
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
    else:
        args.group_column = args.group_column or "group"
    args.label_column = args.label_column or ("trial_type" if is_bids else "label")
    args.clean = is_bids if args.clean is None else args.clean
    for name in ("high_pass", "confounds") + ("t_r",) * (not is_bids):
        if getattr(args, name) is not None and not args.clean:
            option = "--" + name.replace("_", "-")
            raise ValueError(
                f"{option} does nothing without --clean. Add --clean, or leave it out."
            )


def read_study(args):
    """Return samples to be decoded, all volumes before cleaning, rows of the former, blocks."""
    names = {name: name for name in OF_BIDS if name != "event_duration"}
    names |= {"duration": "event_duration", "label": "label_column"}
    names |= {"t_r": "t_r", "classes": "classes"}
    given = {name: getattr(args, source) for name, source in names.items()}
    given = {name: value for name, value in given.items() if value is not None}
    study = load_bids_runs(args.bids, **given)
    args.images = study.table["image"].tolist()
    times = np.unique(study.t_r)
    if len(times) > 1 and args.high_pass is not None:
        raise ValueError(
            f"--high-pass is for runs that are alike, but a volume takes {times[0]:g} to "
            f"{times[-1]:g} s. Choose runs with --subjects or --entities, or call "
            "load_bids_samples, which filters each run with its own time."
        )
    args.t_r = times[0].item() if len(times) == 1 else None
    samples, rows = study.samples, np.arange(len(study.samples))
    if args.clean:
        samples = clean_runs(
            samples,
            high_pass=args.high_pass,
            t_r=study.t_r,
            confounds=study.confounds,
            sample_masks=study.sample_masks,
        )
        # The cleaned runs are one image to their samples, with all volumes of the study in it.
        _, rows = samples.acquisition_order()
    return samples, study.samples, rows, study.blocks


def read_labels(path, columns, n_volumes):
    """Return some columns of a table with one row per volume, as text.

    Parameters
    ----------
    path : str or path-like
        Comma-separated file with a header line, or tab-separated if its name ends in ``.tsv``.
    columns : dict of str to str
        For each role, such as ``"label"``, the column that the user chose.
    n_volumes : int
        Number of rows expected.

    Returns
    -------
    table : pandas.DataFrame
        One column per role; an empty field is NaN.

    Raises
    ------
    ValueError
        If the file is missing or not a table, lacks a column, or has another number of rows.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"There is no file {path}. Check the path given to --labels.")
    try:
        table = pd.read_csv(
            path,
            sep="\t" if path.suffix == ".tsv" else ",",
            dtype=str,
            keep_default_na=False,
            na_values=[""],
            skip_blank_lines=False,
            skipinitialspace=True,
        )
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read as a table: {error}") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise ValueError(
            f"{path} has more fields in its rows than names in its header. Name every column."
        )
    while len(table) > n_volumes and table.iloc[-1].isna().all():
        table = table.iloc[:-1]  # a blank line at the end
    for role, column in columns.items():
        if column not in table:
            raise ValueError(
                f"{path} has no column {column!r}. Its columns are "
                f"{', '.join(map(repr, table.columns))}; choose one with --{role}-column."
            )
    if len(table) != n_volumes:
        raise ValueError(
            f"{path} has {len(table)} rows below its header, but the images hold {n_volumes} "
            "volumes. Give one row per volume, in the order of the images."
        )
    return pd.DataFrame({role: table[column] for role, column in columns.items()})
