"""Mistakes in a command that show before anything takes time to load."""

import glob
import os

from skfmri.cli.wording import option_of

# Options that make sense for one way of naming data only.
OF_BIDS = (
    "task",
    "samples",
    "space",
    "derivatives",
    "subjects",
    "exclude",
    "entities",
    "groups",
    "shift",
    "keep_transitions",
    "event_duration",
    "max_gap",
    "overlap_tolerance",
    "rest",
    "confounds",
)
OF_TABLE = ("labels", "group_column", "run_column", "subject_column", "block_column")
# What volumes of a BIDS dataset can be centred within.
CENTERED = ("run", "subject", "session")
SUFFIXES = (".nii", ".nii.gz", ".img", ".hdr")
# What each command reads: arguments, then options.
FILES = {
    "decode": (("images",), ("labels", "anatomy")),
    "demo": ((), ("anatomy",)),
    "report": ((), ("anatomy",)),
    "predict": (("model", "images"), ()),
}


def check_usage(args):
    """Raise an error if options exclude each other, or if what they name to be read is missing.

    Whatever reads a file has more to say of it; this finds spelling mistakes at once.

    Parameters
    ----------
    args : argparse.Namespace
        Arguments of any command.
    """
    if args.command == "decode":
        _check_centering(args)
        _check_sources(args)
    if args.command == "report" and not os.path.isdir(args.results):
        raise ValueError(
            f"There is no directory {args.results}. Pass the one that skfmri decode or demo wrote, "
            "which --out named."
        )
    arguments, options = FILES[args.command]
    for name in arguments:
        paths = getattr(args, name)
        for path in [paths] if isinstance(paths, str) else paths:
            # Images may be given by a pattern.
            if _is_missing(path) and not glob.has_magic(path):
                raise ValueError(f"There is no file {path}. Check the path and its spelling.")
    for name in options:
        if _is_missing(path := getattr(args, name)):
            raise ValueError(f"There is no file {path}. Check the path given to {option_of(name)}.")


def _is_missing(path):
    # Of a link without a target, whatever reads it has more to say.
    return path is not None and not os.path.lexists(path)


def _check_centering(args):
    """Raise ValueError unless the option names something to centre within, if it is given."""
    column = args.center_groups
    if not column:
        return
    if column.endswith(SUFFIXES):
        raise ValueError(
            f"--center-groups takes what follows it for a column, here the image {column}. Put it "
            "behind the images, or name the column: --center-groups=COLUMN."
        )
    if args.bids is not None and column not in CENTERED:
        raise ValueError(
            f"--center-groups {column} is not possible with --bids. Choose "
            f"{', '.join(CENTERED[:-1])} or {CENTERED[-1]}, or give no value for what --groups "
            "names."
        )


def _check_sources(args):
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
    of_cleaning = ["detrend", "high_pass", "confounds" if is_bids else "t_r"]
    for name in of_cleaning:
        if getattr(args, name) is not None and not cleans_runs(args):
            option = "--no-detrend" if name == "detrend" else option_of(name)
            raise ValueError(
                f"{option} does nothing without --clean. Add --clean, or leave it out."
            )


def cleans_runs(args):
    """Return whether runs are cleaned."""
    return args.bids is not None if args.clean is None else args.clean
