"""What the ``skfmri`` command can be told."""

import argparse
import importlib.metadata

from skfmri.estimators.defaults import SMALL_SAMPLE

DEMO_DIRECTORY = "skfmri-demo"


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are errors like any other."""

    def error(self, message):
        raise ValueError(f"{message} (see {self.prog} --help)")

    def parse_known_args(self, args=None, namespace=None):
        found = super().parse_known_args(args, namespace)
        if getattr(found[0], "small_sample", False):
            # Parsed again with other defaults, so what is given beside the option still counts.
            self.set_defaults(**SMALL_SAMPLE)
            found = super().parse_known_args(args, namespace)
        return found


def make_parser(run_decode, run_demo, run_report, run_predict):
    """Return the parser, given the functions that run the commands."""
    parser = _Parser(
        prog="skfmri", description="Decode fMRI volumes with grouped cross-validation."
    )
    version = importlib.metadata.version("skfmri")
    parser.add_argument("--version", action="version", version=f"skfmri {version}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    decode = commands.add_parser(
        "decode",
        help="cross-validate a network on your images",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    decode.set_defaults(run=run_decode, command="decode")
    _add_data_arguments(decode)
    _add_method_arguments(decode, epochs=125)
    demo = commands.add_parser(
        "demo",
        help="the same on simulated data with a known answer",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    demo.set_defaults(run=run_demo, command="demo")
    demo.add_argument(
        "--out", type=_path, metavar="DIR", default=DEMO_DIRECTORY, help="directory for results"
    )
    demo.add_argument("--overwrite", action="store_true", help="replace earlier results")
    _add_method_arguments(demo, epochs=20)
    report = commands.add_parser("report", help="write results as one page of HTML once more")
    report.set_defaults(run=run_report)
    report.add_argument(
        "results", type=_path, metavar="RESULT_DIR", help="directory left by decode or demo"
    )
    report.add_argument(
        "--out", type=_path, metavar="FILE", help="else report.html in that directory"
    )
    report.add_argument("--overwrite", action="store_true", help="replace a file of that name")
    _add_report_arguments(report)
    report.add_argument("--quiet", action="store_true", help="print nothing but errors")
    report.add_argument("--traceback", action="store_true", help="show where an error arose")
    predict = commands.add_parser("predict", help="say what a saved model takes volumes for")
    predict.set_defaults(run=run_predict)
    _add_predict_arguments(predict)
    return parser


def _add_data_arguments(parser):
    data = parser.add_argument_group("data")
    data.add_argument("images", metavar="IMAGE", nargs="*", help="3-D or 4-D NIfTI images")
    data.add_argument("--labels", metavar="CSV", help="their table, a row per volume")
    data.add_argument(
        "--out", required=True, type=_path, metavar="DIR", help="directory for results"
    )
    data.add_argument("--overwrite", action="store_true", help="replace earlier results")
    data.add_argument(
        "--model",
        type=_path,
        metavar="FILE",
        help="save one more fit, on all volumes, for skfmri predict",
    )
    data.add_argument(
        "--label-column", metavar="NAME", help="what to decode; else label, or trial_type of events"
    )
    data.add_argument("--group-column", metavar="NAME", help="never split; else group")
    data.add_argument(
        "--run-column", metavar="NAME", help="acquired in one go; else the groups of each image"
    )
    data.add_argument(
        "--block-column",
        metavar="NAME",
        help="volumes that --permutations keeps together, such as stimulation blocks",
    )
    data.add_argument("--classes", type=_names, metavar="A,B", help="keep only these labels")
    data.add_argument("--drop", type=_names, metavar="A,B", help="leave out these labels")
    data.add_argument(
        "--clean",
        action=argparse.BooleanOptionalAction,
        help="detrend and standardise each run of a time series, before volumes are dropped; "
        "done to a BIDS dataset unless --no-clean",
    )
    data.add_argument("--high-pass", type=float, metavar="HZ", help="with --clean; needs --t-r")
    data.add_argument(
        "--t-r", type=float, metavar="S", help="seconds between volumes; BIDS datasets tell them"
    )
    _add_bids_arguments(parser.add_argument_group("BIDS dataset, instead of IMAGE and --labels"))


def _add_bids_arguments(bids):
    bids.add_argument("--bids", metavar="ROOT", help="dataset with events.tsv files")
    bids.add_argument("--task", metavar="NAME", help="as in task-NAME")
    bids.add_argument("--space", metavar="NAME", help="as in space-NAME")
    bids.add_argument("--derivatives", metavar="DIR", help="preprocessed images; '.' for raw ones")
    bids.add_argument("--subjects", type=_names, metavar="A,B", help="else all")
    bids.add_argument(
        "--entities", type=_entities, metavar="K-V,K-V", help="others in names, such as res-2"
    )
    bids.add_argument(
        "--groups", choices=("run", "subject", "session"), help="never split; else run"
    )
    bids.add_argument("--shift", type=float, metavar="S", help="haemodynamic delay; else 4.5")
    bids.add_argument(
        "--keep-transitions",
        action="store_const",
        const=True,
        help="keep volumes that show the border of an event",
    )
    bids.add_argument("--event-duration", type=float, metavar="S", help="else that in the table")
    bids.add_argument(
        "--max-gap", type=float, metavar="S", help="join events of one label so close; else 0"
    )
    bids.add_argument(
        "--confounds",
        type=_confounds,
        metavar="NAME",
        help="to regress out: simple, scrubbing, compcor, ica_aroma, or components such as "
        "motion,high_pass",
    )


def _add_method_arguments(parser, epochs):
    slab = parser.add_argument_group("slab")
    slab.add_argument("--angle", type=float, default=0.35, help="rotation in radians")
    slab.add_argument("--axis", choices=("x", "y", "z"), default="x", help="world axis")
    slab.add_argument(
        "--slab", type=_slab, default=(12, 15), metavar="FIRST:END", help="slices, or 'all'"
    )
    slab.add_argument(
        "--slab-reference", choices=("crop", "grid"), default="crop", help="where counting starts"
    )
    slab.add_argument(
        "--no-crop", dest="crop", action="store_false", help="keep planes without data"
    )
    slab.add_argument(
        "--interpolation", choices=("continuous", "linear", "nearest"), default="continuous"
    )
    slab.add_argument("--std-threshold", type=_threshold, default=0.05, help="or 'none'")
    slab.add_argument("--mean-threshold", type=_threshold, default=0.05, help="or 'none'")
    network = parser.add_argument_group("network")
    network.add_argument("--network", choices=("2d", "3d"), default="2d", help="convolutions")
    network.add_argument(
        "--small-sample",
        action="store_true",
        help="other defaults for fewer than some hundred volumes: "
        + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in SMALL_SAMPLE.items()),
    )
    network.add_argument("--filters", type=int, default=32, help="of the first block")
    network.add_argument("--n-blocks", type=int, default=3, help="convolution blocks")
    network.add_argument("--kernel-size", type=int, default=3, help="voxels along each axis")
    network.add_argument(
        "--dense-units",
        type=_integers,
        default=(1024, 256, 64),
        metavar="N,N",
        help="of each layer",
    )
    network.add_argument("--dropout", type=float, default=0.5, help="share of units")
    network.add_argument(
        "--batch-norm-momentum", type=float, default=0.99, help="share that a step keeps"
    )
    network.add_argument(
        "--linear-path",
        type=_threshold,
        metavar="C",
        help="of a logistic regression of all voxels beside the network, or 'none'",
    )
    network.add_argument(
        "--members",
        dest="n_members",
        type=int,
        default=1,
        help="networks whose probabilities are averaged",
    )
    network.add_argument("--learning-rate", type=float, default=0.001, help="of Adam")
    network.add_argument("--epochs", type=int, default=epochs, help="passes over the data")
    network.add_argument("--batch-size", type=int, default=32, help="samples per step")
    run = parser.add_argument_group("cross-validation")
    run.add_argument("--folds", type=int, help="number of folds; else one group at a time")
    run.add_argument("--repeats", type=int, default=1, help="of all folds, never the same")
    run.add_argument("--seed", type=int, default=0, help="of weights, order and folds")
    run.add_argument(
        "--patience",
        type=int,
        metavar="N",
        help="stop after N epochs without a lower loss on groups that are held out of training",
    )
    run.add_argument(
        "--no-baseline",
        dest="baseline",
        action="store_const",
        const=None,
        default="linear",
        help="do not compare with logistic regression on the same slab",
    )
    run.add_argument(
        "--permutations",
        type=int,
        default=0,
        metavar="N",
        help="test against labels shuffled within groups, at most N times",
    )
    run.add_argument(
        "--resume", action="store_true", help="go on with a run in --out that was cut off"
    )
    run.add_argument(
        "--ignore-leaks", action="store_true", help="go on although the data look like a leak"
    )
    run.add_argument(
        "--no-maps",
        dest="maps",
        action="store_false",
        help="do not map which voxels decide for the samples held out",
    )
    _add_report_arguments(run)
    run.add_argument("--jobs", type=int, default=1, help="folds at a time")
    run.add_argument("--quiet", action="store_true", help="print nothing but errors")
    run.add_argument("--traceback", action="store_true", help="show where an error arose")


def _add_predict_arguments(parser):
    parser.add_argument("model", metavar="MODEL", help="file of skfmri.save or decode --model")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="on the grid of the training")
    parser.add_argument(
        "--out", type=_path, metavar="CSV", help="file for the table; else it is printed"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier table")
    cleaning = parser.add_mutually_exclusive_group()
    cleaning.add_argument(
        "--clean",
        action="store_true",
        help="clean each image as one run, with the settings that the model was trained with",
    )
    cleaning.add_argument(
        "--already-clean", action="store_true", help="the images hold runs so cleaned"
    )
    parser.add_argument(
        "--t-r", type=float, metavar="S", help="with --clean; else as in the training"
    )
    parser.add_argument("--traceback", action="store_true", help="show where an error arose")


def _add_report_arguments(parser):
    parser.add_argument(
        "--anatomy", metavar="IMAGE", help="what the report draws on; else the mean volume"
    )


def _path(text):
    # pathlib takes "" for the current directory, which nobody means who writes it.
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty; '.' is the current directory")
    return text


def _names(text):
    return [name.strip() for name in text.split(",") if name.strip()]


def _integers(text):
    try:
        return tuple(int(number) for number in _names(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list such as 1024,256,64") from None


def _confounds(text):
    names = _names(text)
    return names[0] if len(names) == 1 else names


def _entities(text):
    pairs = [name.partition("-") for name in _names(text)]
    if not pairs or not all(key and dash for key, dash, _ in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list such as res-2,echo-1")
    return {key: value for key, _, value in pairs}


def _slab(text):
    if text == "all":
        return None
    first, separator, end = text.partition(":")
    if not separator or not first.isdecimal() or not end.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not FIRST:END, such as 12:15, or 'all'")
    return int(first), int(end)


def _threshold(text):
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number or 'none'") from None
