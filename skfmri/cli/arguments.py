"""Command-line arguments."""

import argparse
import importlib.metadata

from skfmri.cli.data_options import add_bids_options, add_data_options
from skfmri.cli.method_options import add_method_options
from skfmri.cli.shared_options import add_anatomy_option, add_cache_option, add_output_options
from skfmri.cli.values import parse_path
from skfmri.estimators.defaults import SLAB_CNN

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
    add_data_options(decode.add_argument_group("data"))
    add_bids_options(decode.add_argument_group("BIDS dataset, instead of IMAGE and --labels"))
    add_method_options(decode, SLAB_CNN.epochs)
    demo = commands.add_parser("demo", help="run on simulated data whose true effect is known")
    _add_demo_options(demo)
    add_method_options(demo, DEMO_EPOCHS)
    report = commands.add_parser("report", help="rebuild the HTML report of an earlier run")
    _add_report_options(report)
    predict = commands.add_parser(
        "predict", help="predict the classes of new images with a saved model"
    )
    _add_predict_options(predict)
    return parser


def _add_demo_options(demo):
    demo.add_argument(
        "--out",
        type=parse_path,
        metavar="DIR",
        default=DEMO_DIRECTORY,
        help=f"directory for results (default: {DEMO_DIRECTORY})",
    )
    demo.add_argument("--overwrite", action="store_true", help="replace earlier results")


def _add_report_options(report):
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
    add_anatomy_option(report)
    add_output_options(report)


def _add_predict_options(predict):
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
    add_cache_option(predict)
    predict.add_argument("--traceback", action="store_true", help="show where an error arose")
