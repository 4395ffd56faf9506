"""Options that name the data of a run."""

import argparse

from skfmri.cli.values import parse_confounds, parse_entities, parse_names, parse_path
from skfmri.datasets.defaults import BIDS


def add_data_options(data):
    """Add the options of images with a table, and of which volumes are decoded."""
    data.add_argument(
        "images", metavar="IMAGE", nargs="*", type=parse_path, help="3-D or 4-D NIfTI images"
    )
    data.add_argument(
        "--labels",
        type=parse_path,
        metavar="CSV",
        help="CSV with one row per volume (columns: label, group), or TSV",
    )
    data.add_argument(
        "--per-subject",
        action="store_true",
        default=argparse.SUPPRESS,
        help="train and test one decoder per subject, on its runs alone, and test their mean",
    )
    data.add_argument(
        "--label-column",
        metavar="NAME",
        help=f"column to decode (default: label, or {BIDS.label} of BIDS events)",
    )
    data.add_argument(
        "--regress",
        action="store_true",
        default=argparse.SUPPRESS,
        help="predict the numbers in that column, such as ages, instead of classes",
    )
    data.add_argument(
        "--group-column",
        metavar="NAME",
        help="column with groups kept together in cross-validation (default: group)",
    )
    data.add_argument(
        "--run-column",
        metavar="NAME",
        help="column naming the scanner run of each volume (default: each group within an image)",
    )
    data.add_argument(
        "--subject-column",
        metavar="NAME",
        help="column naming the subject of each volume, for --per-subject and the leak audit",
    )
    data.add_argument(
        "--block-column",
        metavar="NAME",
        help="column naming units that --permutations keeps together, such as stimulation blocks",
    )
    data.add_argument(
        "--classes",
        type=parse_names,
        metavar="A,B",
        help="keep only these labels; quote one that holds a comma",
    )
    data.add_argument("--drop", type=parse_names, metavar="A,B", help="leave out these labels")
    data.add_argument(
        "--drop-nonfinite",
        action="store_true",
        help="leave out volumes with NaN or infinite values where other volumes hold data",
    )


def add_cleaning_options(data):
    """Add what is done to whole runs, before volumes are chosen, or to groups."""
    data.add_argument(
        "--clean",
        action=argparse.BooleanOptionalAction,
        help="detrend and standardise each run of a time series before volumes are dropped "
        "(default: for BIDS datasets only)",
    )
    data.add_argument(
        "--no-detrend",
        dest="detrend",
        action="store_const",
        const=False,
        help="with --clean, keep linear trends, as maps or very short runs in a fixed order of "
        "conditions need it",
    )
    data.add_argument(
        "--high-pass",
        type=float,
        metavar="HZ",
        help="lowest frequency to keep; needs --clean, and --t-r unless the data are BIDS",
    )
    data.add_argument(
        "--t-r",
        type=float,
        metavar="S",
        help="seconds between volumes (default for BIDS datasets: from their sidecars)",
    )
    data.add_argument(
        "--center-groups",
        nargs="?",
        const="",
        metavar="COLUMN",
        help="subtract from each map the mean of all chosen maps of its group, or of what has the "
        "same entry in COLUMN, such as the subject (BIDS datasets: run, subject or session)",
    )


def add_bids_options(bids):
    """Add the options of a BIDS dataset."""
    bids.add_argument(
        "--bids", type=parse_path, metavar="ROOT", help="dataset with events.tsv files"
    )
    bids.add_argument("--task", metavar="NAME", help="as in task-NAME")
    bids.add_argument(
        "--samples",
        choices=("volumes", "blocks", "trials", "conditions"),
        help="decode volumes, the mean of each block, an estimate of each trial, which suits short "
        "events that follow each other quickly, or one estimate per label and run (default: "
        f"{BIDS.samples})",
    )
    bids.add_argument("--space", metavar="NAME", help="as in space-NAME")
    bids.add_argument(
        "--derivatives",
        type=parse_path,
        metavar="DIR",
        help="folder of preprocessed images, '.' for raw ones",
    )
    bids.add_argument(
        "--subjects", type=parse_names, metavar="A,B", help="subjects to read (default: all)"
    )
    bids.add_argument(
        "--exclude",
        type=parse_names,
        metavar="A,B",
        help="runs to leave out, such as sub-43_run-1, or subjects, such as sub-44",
    )
    bids.add_argument(
        "--entities",
        type=parse_entities,
        metavar="K-V,K-V",
        help="further entities of file names, such as res-2",
    )
    bids.add_argument(
        "--groups",
        choices=("run", "subject", "session"),
        help=f"what is kept together in cross-validation (default: {BIDS.groups})",
    )
    _add_event_options(bids)


def _add_event_options(bids):
    """Add the options of what volumes show and of what is removed from them."""
    bids.add_argument(
        "--shift",
        type=float,
        metavar="S",
        help=f"haemodynamic delay in seconds (default: {BIDS.shift:g})",
    )
    bids.add_argument(
        "--keep-transitions",
        action="store_const",
        const=True,
        help="keep volumes that show the border of an event",
    )
    bids.add_argument(
        "--event-duration",
        type=float,
        metavar="S",
        help="seconds that every event lasts (default: as in the events)",
    )
    bids.add_argument(
        "--max-gap",
        type=float,
        metavar="S",
        help=f"merge events of the same label at most S seconds apart (default: {BIDS.max_gap:g})",
    )
    bids.add_argument(
        "--overlap-tolerance",
        type=float,
        metavar="S",
        help="accept events of different labels that overlap by at most S seconds, and leave out "
        f"volumes under two labels (default: {BIDS.overlap_tolerance:g})",
    )
    bids.add_argument(
        "--rest", metavar="LABEL", help="label for volumes of no event (default: leave them out)"
    )
    bids.add_argument(
        "--confounds",
        type=parse_confounds,
        metavar="NAME",
        help="confounds to regress out: simple, scrubbing, compcor, ica_aroma, or components such "
        "as motion,high_pass (default: none)",
    )
