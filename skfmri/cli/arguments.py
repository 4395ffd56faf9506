"""Command-line arguments."""

import argparse
import importlib.metadata

from skfmri.cli.values import (
    parse_angle,
    parse_confounds,
    parse_entities,
    parse_integers,
    parse_jobs,
    parse_names,
    parse_natural,
    parse_number,
    parse_path,
    parse_repeats,
    parse_slab,
    parse_spread,
    parse_threshold,
    typed,
)
from skfmri.datasets.defaults import BIDS
from skfmri.estimators.defaults import SLAB_CNN, SMALL_SAMPLE, VOLUME_CNN
from skfmri.preprocessing.defaults import ROTATOR, ZSCORER

DEMO_DIRECTORY, DEMO_EPOCHS = "skfmri-demo", 20


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are errors like any other."""

    def error(self, message):
        raise ValueError(f"{message} (see {self.prog} --help)")


def make_parser():
    """Return the parser of the command line.

    An option of the method that is not given is absent from what the parser returns, so that the
    defaults of the estimators hold.
    """
    parser = _Parser(
        prog="skfmri", description="Decode fMRI volumes with grouped cross-validation."
    )
    version = importlib.metadata.version("skfmri")
    parser.add_argument("--version", action="version", version=f"skfmri {version}")
    commands = parser.add_subparsers(
        title="commands", required=True, metavar="COMMAND", dest="command"
    )
    decode = commands.add_parser("decode", help="cross-validate a network on your images")
    _add_data_arguments(decode.add_argument_group("data"))
    _add_bids_arguments(decode.add_argument_group("BIDS dataset, instead of IMAGE and --labels"))
    _add_method_arguments(decode, SLAB_CNN.epochs)
    demo = commands.add_parser("demo", help="run on simulated data whose true effect is known")
    _add_demo_arguments(demo)
    _add_method_arguments(demo, DEMO_EPOCHS)
    report = commands.add_parser("report", help="rebuild the HTML report of an earlier run")
    _add_report_arguments(report)
    predict = commands.add_parser(
        "predict", help="predict the classes of new images with a saved model"
    )
    _add_predict_arguments(predict)
    return parser


def given(args, names):
    """Return those of some options that were given, by name."""
    return {name: getattr(args, name) for name in names if hasattr(args, name)}


def _add_data_arguments(data):
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
    _add_cleaning_arguments(data)


def _add_cleaning_arguments(data):
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


def _add_bids_arguments(bids):
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


def _add_demo_arguments(demo):
    demo.add_argument(
        "--out",
        type=parse_path,
        metavar="DIR",
        default=DEMO_DIRECTORY,
        help=f"directory for results (default: {DEMO_DIRECTORY})",
    )
    demo.add_argument("--overwrite", action="store_true", help="replace earlier results")


def _add_method_arguments(parser, epochs):
    _add_slab_arguments(parser.add_argument_group("slab"))
    _add_network_arguments(parser.add_argument_group("network"), epochs)
    _add_run_arguments(parser.add_argument_group("cross-validation"))


def _add_slab_arguments(slab):
    def add(name, text, otherwise=None, **options):
        # The option of a step is called as its parameter.
        defaults = vars(ROTATOR) | vars(ZSCORER)
        shown = f"{text} (default: {typed(defaults[name], name)}"
        if otherwise is not None:
            shown += f"; {otherwise}"
        _add_unless_given(slab, name, f"{shown})", **options)

    add("angle", "rotation in radians, or in degrees as 20deg", type=parse_angle)
    add("axis", "world axis of the rotation", choices=("x", "y", "z"))
    add("slab", "first slice and end, or 'all'", type=parse_slab, metavar="FIRST:END")
    add("slab_reference", "volume in which slices are counted", choices=("crop", "grid"))
    slab.add_argument(
        "--no-crop",
        dest="crop",
        action="store_false",
        default=argparse.SUPPRESS,
        help="keep planes without data",
    )
    add("interpolation", "how volumes are resampled", choices=("continuous", "linear", "nearest"))
    add(
        "std_threshold",
        "spread below which voxels become 0, 'auto' or 'none'",
        otherwise="auto if that would silence too many voxels",
        type=parse_spread,
    )
    add(
        "mean_threshold",
        "mean below which none is subtracted, or 'none'",
        otherwise="none if too many means are negative",
        type=parse_threshold,
    )


def _add_network_arguments(network, epochs):
    def add(name, text, **options):
        slab, volume = vars(SLAB_CNN)[name], vars(VOLUME_CNN)[name]
        default = epochs if name == "epochs" else slab
        shown = f"{text} (default: {typed(default)}"
        if volume != slab:
            shown += f"; {typed(volume)} with --network 3d"
        _add_unless_given(network, name, f"{shown})", **options)

    network.add_argument(
        "--network",
        choices=("2d", "3d"),
        default="2d",
        help="2d takes slices as channels, 3d convolves along all axes (default: 2d)",
    )
    small = (f"{_option(name)} {typed(value)}" for name, value in SMALL_SAMPLE.items())
    network.add_argument(
        "--small-sample",
        action="store_true",
        help=f"other defaults for fewer than a few hundred volumes: {', '.join(small)}",
    )
    add("filters", "number of filters in the first block", type=parse_number)
    add("n_blocks", "number of convolution blocks", type=parse_number)
    add("kernel_size", "voxels along each side of the convolution", type=parse_number)
    add("dense_units", "units of the dense layers", type=parse_integers, metavar="N,N")
    add("dropout", "dropout rate", type=float)
    add("batch_norm_momentum", "momentum of batch normalisation", type=float)
    add(
        "linear_path",
        "C of a logistic regression of all voxels that the network starts from, or 'none'",
        type=parse_threshold,
        metavar="C",
    )
    add(
        "n_members",
        "networks whose probabilities are averaged",
        option="--members",
        type=parse_number,
    )
    add("learning_rate", "step size of Adam", type=float)
    add("epochs", "passes over the training volumes", type=parse_number)
    add("batch_size", "volumes per training step", type=parse_number)
    _add_unless_given(
        network,
        "patience",
        "stop after N epochs without improvement on groups held out of training (default: train "
        "for all epochs)",
        type=parse_number,
    )


def _add_run_arguments(run):
    run.add_argument(
        "--folds",
        type=parse_number,
        metavar="N",
        help="number of folds (default: one group at a time)",
    )
    run.add_argument(
        "--repeats",
        type=parse_repeats,
        default=1,
        metavar="N",
        help="repeat the cross-validation with a new partition each time (default: 1)",
    )
    run.add_argument(
        "--seed",
        type=parse_natural,
        default=0,
        metavar="N",
        help="seed of folds, initial weights and sample order (default: 0)",
    )
    run.add_argument(
        "--no-baseline",
        dest="has_baseline",
        action="store_false",
        help="do not compare with logistic regression on the same slab",
    )
    run.add_argument(
        "--permutations",
        type=parse_natural,
        default=0,
        metavar="N",
        help="train anew with shuffled labels at most N times to test against chance: within "
        "groups, or of whole groups if each has one label (default: 0, which keeps the predictions "
        "and shuffles their labels)",
    )
    run.add_argument("--resume", action="store_true", help="continue an interrupted run in --out")
    run.add_argument(
        "--ignore-leaks", action="store_true", help="continue although a leak was found"
    )
    run.add_argument(
        "--no-maps",
        dest="maps",
        action="store_false",
        help="do not map which voxels drive the predictions",
    )
    run.add_argument(
        "--jobs", type=parse_jobs, default=1, metavar="N", help="folds at a time (default: 1)"
    )
    _add_anatomy_argument(run)
    _add_cache_argument(run)
    _add_output_arguments(run)


def _add_report_arguments(report):
    report.add_argument(
        "results", type=parse_path, metavar="RESULT_DIR", help="directory left by decode or demo"
    )
    report.add_argument(
        "--out",
        type=parse_path,
        metavar="FILE",
        help="file for the report (default: report.html in that directory)",
    )
    report.add_argument("--overwrite", action="store_true", help="replace a file of that name")
    _add_anatomy_argument(report)
    _add_output_arguments(report)


def _add_predict_arguments(predict):
    predict.add_argument(
        "model", type=parse_path, metavar="MODEL", help="file of skfmri.save or decode --model"
    )
    predict.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        type=parse_path,
        help="images on the grid of the training images",
    )
    predict.add_argument(
        "--out", type=parse_path, metavar="CSV", help="file for the table (default: it is printed)"
    )
    predict.add_argument("--overwrite", action="store_true", help="replace an earlier table")
    cleaning = predict.add_mutually_exclusive_group()
    cleaning.add_argument(
        "--clean",
        action="store_true",
        help="clean each image as one run, with the settings that the model was trained with",
    )
    cleaning.add_argument(
        "--already-clean",
        action="store_true",
        help="the images were already cleaned the same way",
    )
    predict.add_argument(
        "--t-r",
        type=float,
        metavar="S",
        help="seconds between volumes, with --clean (default: as in the training)",
    )
    _add_cache_argument(predict)
    predict.add_argument("--traceback", action="store_true", help="show where an error arose")


def _add_anatomy_argument(parser):
    parser.add_argument(
        "--anatomy",
        type=parse_path,
        metavar="IMAGE",
        help="image that the report draws on (default: the mean volume)",
    )


def _add_cache_argument(parser):
    parser.add_argument(
        "--cache",
        type=parse_path,
        metavar="DIR",
        help="directory for decoded copies of images and other large temporary files (default: "
        "$SKFMRI_CACHE, or the user's cache)",
    )


def _add_output_arguments(parser):
    parser.add_argument(
        "--quiet", action="store_true", help="print nothing but warnings and errors"
    )
    parser.add_argument("--traceback", action="store_true", help="show where an error arose")


def _add_unless_given(parser, name, text, option=None, **options):
    """Add an option that is absent unless it is given."""
    if "choices" not in options:
        options.setdefault("metavar", "N" if options["type"] is parse_number else "X")
    options |= {"dest": name, "default": argparse.SUPPRESS, "help": text}
    parser.add_argument(option or _option(name), **options)


def _option(name):
    return "--" + name.replace("_", "-")
