"""Mistakes in a command that show before anything takes time to load."""

import glob
import os

from skfmri.cli.arguments import DEMO_DIRECTORY
from skfmri.cli.method_options import AUTO
from skfmri.cli.wording import option_of
from skfmri.report.manifest import read_manifest, refuse_results

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
# Options about classes.
OF_CLASSES = ("classes", "drop", "rest", "class_weight", "undersample", "per_subject")
# What volumes of a BIDS dataset can be centred within.
CENTERED = ("run", "subject", "session")
SUFFIXES = (".nii", ".nii.gz", ".img", ".hdr")
# What each command reads: arguments, then options.
FILES = {
    "decode": (("images",), ("labels", "anatomy", "initial_weights", "mask")),
    "demo": ((), ("anatomy", "initial_weights", "mask")),
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
        _check_regression(args)
    if args.command in ("decode", "demo"):
        _check_initial_weights(args)
        _check_results(args)
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
        if _is_missing(path := getattr(args, name, None)):
            raise ValueError(f"There is no file {path}. Check the path given to {option_of(name)}.")


def _check_results(args):
    """Raise ValueError if results of an earlier run would be replaced without leave."""
    if args.overwrite or args.resume:
        return
    command, names = read_manifest(args.out)
    if args.command == command == "demo" and args.out == DEMO_DIRECTORY:
        return
    there = [name for name in names if os.path.lexists(os.path.join(args.out, str(name)))]
    if there:
        refuse_results(args.out, dict.fromkeys(str(name).split("/")[0] for name in there))


def _is_missing(path):
    # Of a link without a target, whatever reads it has more to say.
    return path is not None and not os.path.lexists(path)


def _check_initial_weights(args):
    """Raise ValueError unless options of a network fit one that starts from a saved model."""
    if not hasattr(args, "initial_weights"):
        if hasattr(args, "frozen"):
            raise ValueError(
                "--frozen does nothing without --initial-weights MODEL. Add it, or leave --frozen "
                "out."
            )
    elif args.size != AUTO:
        raise ValueError(
            f"The network has the size of --initial-weights, so --size {args.size} means nothing. "
            "Leave it out."
        )


def _check_regression(args):
    """Raise ValueError if options about classes are given, but numbers are to be predicted."""
    found = [name for name in OF_CLASSES if getattr(args, name, None)]
    if predicts_numbers(args) and found:
        option = option_of(found[0])
        raise ValueError(
            f"{option} is about classes, but --regress predicts numbers. Leave one of them out."
        )


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
        if not os.path.isdir(args.bids):
            raise ValueError(f"There is no folder {args.bids}. Pass the root of a BIDS dataset.")
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


def predicts_numbers(args):
    """Return whether labels are numbers to predict."""
    return hasattr(args, "regress")


def cleans_runs(args):
    """Return whether runs are cleaned."""
    return args.bids is not None if args.clean is None else args.clean
