"""Options that name the data of a run."""

import argparse

from skfmri.cli.values import parse_confounds, parse_entities, parse_names, parse_path
from skfmri.datasets.defaults import BIDS


def add_data_options(data):
    """Add the options of images with a table, and of what is done before volumes are chosen."""
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
        "--out", required=True, type=parse_path, metavar="DIR", help="directory for results"
    )
    data.add_argument("--overwrite", action="store_true", help="replace earlier results")
    data.add_argument(
        "--model",
        type=parse_path,
        metavar="FILE",
        help="save a final model, refitted on all volumes, for skfmri predict",
    )
    data.add_argument(
        "--label-column",
        metavar="NAME",
        help=f"column to decode (default: label, or {BIDS.label} of BIDS events)",
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
    _add_cleaning_options(data)


def _add_cleaning_options(data):
    data.add_argument(
        "--clean",
        action=argparse.BooleanOptionalAction,
        help="detrend and standardise each run of a time series before volumes are dropped "
        "(default: for BIDS datasets only)",
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


def add_bids_options(bids):
    """Add the options of a BIDS dataset."""
    bids.add_argument(
        "--bids", type=parse_path, metavar="ROOT", help="dataset with events.tsv files"
    )
    bids.add_argument("--task", metavar="NAME", help="as in task-NAME")
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
        "--confounds",
        type=parse_confounds,
        metavar="NAME",
        help="confounds to regress out: simple, scrubbing, compcor, ica_aroma, or components such "
        "as motion,high_pass (default: none)",
    )
