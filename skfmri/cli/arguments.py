"""Command-line arguments."""

import argparse
import importlib.metadata

from skfmri.cli.data_options import add_bids_options, add_cleaning_options, add_data_options
from skfmri.cli.method_options import add_method_options
from skfmri.cli.shared_options import add_anatomy_option, add_cache_option, add_output_options
from skfmri.cli.values import parse_path
from skfmri.estimators.defaults import SLAB_CNN, SMALL_SAMPLE

DEMO_DIRECTORY = "skfmri-demo"
# The demo should take a minute or two. A small network is trained four times in each fold.
DEMO_EPOCHS, DEMO_EPOCHS_SMALL = 20, 8


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
    decode = commands.add_parser(
        "decode",
        help="cross-validate a network on your images",
        usage="%(prog)s IMAGE ... --labels CSV --out DIR [options]\n"
        "       %(prog)s --bids ROOT --task NAME --out DIR [options]",
    )
    add_data_options(decode.add_argument_group("data"))
    add_bids_options(decode.add_argument_group("BIDS dataset, instead of IMAGE and --labels"))
    add_cleaning_options(decode.add_argument_group("cleaning and centring"))
    add_method_options(decode, SLAB_CNN.epochs, SMALL_SAMPLE["epochs"])
    _add_decode_output(decode.add_argument_group("output"))
    demo = commands.add_parser(
        "demo",
        help="run on simulated data whose true effect is known",
        usage="%(prog)s [options]",
    )
    add_method_options(demo, DEMO_EPOCHS, DEMO_EPOCHS_SMALL)
    _add_demo_output(demo.add_argument_group("output"))
    report = commands.add_parser("report", help="rebuild the HTML report of an earlier run")
    _add_report_options(report)
    predict = commands.add_parser(
        "predict", help="predict the classes or numbers of new images with a saved model"
    )
    _add_predict_options(predict)
    return parser


def _add_decode_output(output):
    output.add_argument(
        "--out", required=True, type=parse_path, metavar="DIR", help="directory for results"
    )
    output.add_argument(
        "--model",
        type=parse_path,
        metavar="FILE",
        help="save a final model, refitted on all volumes, for skfmri predict",
    )
    _add_run_output(output)


def _add_demo_output(output):
    output.add_argument(
        "--out",
        type=parse_path,
        metavar="DIR",
        default=DEMO_DIRECTORY,
        help=f"directory for results (default: {DEMO_DIRECTORY})",
    )
    _add_run_output(output)


def _add_run_output(output):
    output.add_argument("--overwrite", action="store_true", help="replace earlier results")
    output.add_argument(
        "--no-maps",
        dest="maps",
        action="store_false",
        help="do not map which voxels drive the predictions",
    )
    add_anatomy_option(output)
    add_cache_option(output)
    add_output_options(output)


def _add_report_options(report):
    report.add_argument(
        "results", type=parse_path, metavar="RESULT_DIR", help="directory left by decode or demo"
    )
    output = report.add_argument_group("output")
    output.add_argument(
        "--out",
        type=parse_path,
        metavar="FILE",
        help="file for the report (default: report.html in that directory)",
    )
    output.add_argument("--overwrite", action="store_true", help="replace a file of that name")
    add_anatomy_option(output)
    add_output_options(output)


def _add_predict_options(predict):
    data = predict.add_argument_group("data")
    data.add_argument(
        "model", type=parse_path, metavar="MODEL", help="file of skfmri.save or decode --model"
    )
    data.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        type=parse_path,
        help="images on the grid of the training images",
    )
    cleaning = data.add_mutually_exclusive_group()
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
    data.add_argument(
        "--t-r",
        type=float,
        metavar="S",
        help="seconds between volumes, with --clean or --events (default: as in the training; with "
        "--events, from the headers if they give a unit)",
    )
    events = data.add_mutually_exclusive_group()
    events.add_argument(
        "--events",
        type=parse_path,
        nargs="+",
        metavar="TSV",
        help="tables of events of the images, one for each in the same order, for a model of "
        "trials: they are estimated, after the same cleaning, as in the training",
    )
    events.add_argument(
        "--maps",
        action="store_true",
        help="the images hold such estimates, or means of blocks, already",
    )
    data.add_argument(
        "--start",
        type=float,
        metavar="S",
        help="with --events, time of the first volume in seconds (default: as in the training)",
    )
    _add_centring_options(data)
    output = predict.add_argument_group("output")
    output.add_argument(
        "--out", type=parse_path, metavar="CSV", help="file for the table (default: it is printed)"
    )
    output.add_argument("--overwrite", action="store_true", help="replace an earlier table")
    add_cache_option(output)
    add_output_options(output)


def _add_centring_options(data):
    centring = data.add_mutually_exclusive_group()
    centring.add_argument(
        "--center-groups",
        action="store_true",
        help="subtract from each volume the mean of all volumes of its image, or of its group in "
        "--group-table, as it was done in the training",
    )
    centring.add_argument(
        "--already-centered",
        action="store_true",
        help="the volumes were already centred the same way",
    )
    data.add_argument(
        "--group-table",
        type=parse_path,
        metavar="CSV",
        help="with --center-groups, CSV or TSV with one row per volume that names its group, such "
        "as the subject",
    )
    data.add_argument(
        "--group-column", metavar="NAME", help="column of --group-table (default: group)"
    )
