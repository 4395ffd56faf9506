"""The ``skfmri`` command, from arguments to calls of the library."""

import argparse
import importlib.metadata
import os
import platform
import sys
import time

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline

from skfmri._records import claim_directory, read_labels, write_json, write_whole
from skfmri._validation import describe_grid
from skfmri.datasets import make_eyes_open_closed
from skfmri.evaluation import chance_level, evaluate_folds, fold_table, prediction_table
from skfmri.model_selection import RepeatedGroupKFold
from skfmri.preprocessing import NiftiSlabRotator, VoxelZScorer, clean_runs
from skfmri.samples import NiftiSamples

RESULT_FILES = ("folds.csv", "predictions.csv", "settings.json")
PACKAGES = ("scikit-learn", "tensorflow", "keras", "scikeras", "nilearn", "nibabel", "numpy")
DEMO_DIRECTORY = "skfmri-demo"
USER_MISTAKE, INTERRUPTED = 2, 130


def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : list of str, default=None
        Arguments; None takes those of the process.

    Returns
    -------
    status : int
        0 when all went well, 2 after a mistake in the input, 130 after an interrupt.
    """
    # Before TensorFlow loads, here and in workers: its start-up messages are no news to a user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    args = None
    try:
        args = _parser().parse_args(argv)
        args.run(args)
    except KeyboardInterrupt:
        print("skfmri: interrupted; no results were written.", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, TypeError, OSError) as error:
        if args is not None and args.traceback:
            raise
        print(f"skfmri: error: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_MISTAKE
    return 0


def run_decode(args):
    """Cross-validate a network on the user's images."""
    if args.repeats > 1 and args.folds is None:
        raise ValueError(
            "--repeats needs --folds: leaving one group out at a time has only one way to split."
        )
    for option in ("high_pass", "t_r", "run_column"):
        if getattr(args, option) is not None and not args.clean:
            name = option.replace("_", "-")
            raise ValueError(
                f"--{name} does nothing without --clean. Add --clean, or leave it out."
            )
    directory = claim_directory(args.out, RESULT_FILES, args.overwrite)
    samples, rows = _read_samples(args)
    _decode(args, samples, rows, directory)


def run_demo(args):
    """Cross-validate a network on simulated data with a known answer."""
    directory = claim_directory(args.out, RESULT_FILES, overwrite=args.out == DEMO_DIRECTORY)
    data = make_eyes_open_closed(random_state=args.seed)
    samples = NiftiSamples(data.images, y=data.labels, groups=data.chunks)
    _decode(args, samples, np.arange(len(samples)), directory)


def build_pipeline(args):
    """Return the pipeline that the arguments describe."""
    # Keras takes seconds to load: not before the input has been checked.
    from skfmri.classifier import SlabCNNClassifier, VolumeCNNClassifier

    names = ("filters", "kernel_size", "n_blocks", "dense_units", "dropout", "learning_rate")
    network = {name: getattr(args, name) for name in (*names, "epochs", "batch_size")}
    classifier = {"2d": SlabCNNClassifier, "3d": VolumeCNNClassifier}[args.network]
    return Pipeline(
        [
            (
                "slab",
                NiftiSlabRotator(
                    angle=args.angle,
                    axis=args.axis,
                    slab=args.slab,
                    slab_reference=args.slab_reference,
                    crop=args.crop,
                    interpolation=args.interpolation,
                ),
            ),
            ("zscore", VoxelZScorer(args.std_threshold, args.mean_threshold)),
            ("cnn", classifier(**network, random_state=args.seed)),
        ]
    )


def _read_samples(args):
    """Return the samples to decode, and the row of each in the table of labels."""
    samples = NiftiSamples(args.images)
    columns = {"label": args.label_column, "group": args.group_column}
    if args.run_column is not None:
        columns["run"] = args.run_column
    table = read_labels(args.labels, columns, len(samples))
    if args.clean:
        missing = np.flatnonzero(table.drop(columns="label").isna().any(axis=1))
        if len(missing):
            raise ValueError(
                f"--clean needs whole runs, but {args.labels} names no group or run in "
                f"{len(missing)} rows, first in row {missing[0] + 1} below the header. Fill them, "
                "also for volumes without a label."
            )
        # No run goes beyond its image, nor, without a column for runs, beyond its group.
        names = table.get("run", table["group"])
        runs = [f"{image} {name}" for image, name in zip(samples.runs, names, strict=True)]
        samples.groups, samples.runs = table["group"].to_numpy(dtype=str), np.array(runs)
        samples = clean_runs(samples, high_pass=args.high_pass, t_r=args.t_r)
    labels = table["label"]
    keep = labels.notna()
    for name, asked in (("--classes", args.classes), ("--drop", args.drop)):
        unknown = sorted(set(asked or ()) - set(labels[keep]))
        if unknown:
            raise ValueError(
                f"{name} names {', '.join(map(repr, unknown))}, but the labels are "
                f"{', '.join(map(repr, sorted(set(labels[keep]))))}."
            )
    if args.classes:
        keep &= labels.isin(args.classes)
    if args.drop:
        keep &= ~labels.isin(args.drop)
    without_group = np.flatnonzero(keep & table["group"].isna())
    if len(without_group):
        raise ValueError(
            f"{args.labels} names no group in {len(without_group)} labelled rows, first in row "
            f"{without_group[0] + 1} below the header. Fill the column {args.group_column!r}."
        )
    rows = np.flatnonzero(keep)
    if labels[rows].nunique() < 2:
        raise ValueError(
            f"{len(rows)} volumes of {labels[rows].nunique()} classes are left; decoding needs "
            "two classes or more. Look at --label-column, --classes and --drop."
        )
    samples = samples[rows]
    samples.y = labels[rows].to_numpy(dtype=str)
    samples.groups = _as_numbers(table["group"][rows].to_numpy(dtype=str))
    return samples, rows


def _as_numbers(names):
    """Return names as integers where nothing is lost, so that run 10 comes after run 9."""
    is_number = all(
        name.isdecimal() and len(name) < 18 and str(int(name)) == name for name in names
    )
    return names.astype(int) if is_number else names


def _decode(args, samples, rows, directory):
    # Labels and groups are shown as they are, brackets included.
    console = Console(quiet=args.quiet, markup=False, highlight=False)
    classes, counts = np.unique(samples.y, return_counts=True)
    groups = np.unique(samples.groups)
    console.print(
        f"{len(samples)} volumes of {describe_grid(samples.grid_shape)}: "
        + ", ".join(f"{n} {name}" for name, n in zip(classes, counts, strict=True))
        + f"; {len(groups)} groups"
    )
    start = time.perf_counter()
    results = _run_folds(args, samples, console)
    folds = fold_table(results)
    summary = _summary(folds, samples.y)
    _print_table(console, folds, summary)
    predictions = prediction_table(results, samples.y, samples.groups)
    predictions["sample"] = rows[predictions["sample"]]
    write_whole(directory / "folds.csv", folds.to_csv(index=False))
    write_whole(directory / "predictions.csv", predictions.to_csv(index=False))
    settings = {name: value for name, value in vars(args).items() if name != "run"}
    data = {
        "n_volumes": len(samples),
        "grid_shape": samples.grid_shape,
        "affine": samples.affine.tolist(),
        "volumes_per_class": dict(zip(classes.tolist(), counts.tolist(), strict=True)),
        "groups": groups.tolist(),
    }
    record = {
        "settings": settings,
        "data": data,
        "scores": summary,
        "seconds": time.perf_counter() - start,
        "versions": _versions(),
    }
    write_json(directory / "settings.json", record)
    console.print(f"Written to {directory}: {', '.join(RESULT_FILES)}")


def _run_folds(args, samples, console):
    """Return the results of all folds, with a line on the terminal for each."""
    if args.folds is None:
        cv, n_folds = None, len(np.unique(samples.groups))
    elif args.repeats == 1:
        cv, n_folds = GroupKFold(args.folds, shuffle=True, random_state=args.seed), args.folds
    else:
        cv = RepeatedGroupKFold(args.folds, n_repeats=args.repeats, random_state=args.seed)
        n_folds = cv.get_n_splits()
    pipeline = build_pipeline(args)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    results = []
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("folds", total=n_folds)
        for result in evaluate_folds(
            pipeline, samples, samples.y, cv=cv, n_jobs=args.jobs, random_state=args.seed
        ):
            results.append(result)
            progress.advance(task)
            progress.console.print(
                f"fold {result.fold + 1} of {n_folds}: accuracy {result.accuracy:.3f}, "
                f"{result.seconds:.1f} s"
            )
    return results


def _summary(folds, y):
    return {
        "accuracy_mean": float(folds["accuracy"].mean()),
        "accuracy_std": float(folds["accuracy"].std(ddof=1)),
        "balanced_accuracy_mean": float(folds["balanced_accuracy"].mean()),
        "balanced_accuracy_std": float(folds["balanced_accuracy"].std(ddof=1)),
        "chance_accuracy": chance_level(y),
        "chance_balanced_accuracy": 1 / len(np.unique(y)),
    }


def _print_table(console, folds, summary):
    table = Table(show_footer=False)
    table.add_column("fold", justify="right")
    table.add_column("groups held out")
    for name in ("volumes", "accuracy", "balanced accuracy"):
        table.add_column(name, justify="right")
    for row in folds.itertuples():
        table.add_row(
            str(row.fold + 1),
            row.groups_held_out,
            str(row.n_test),
            f"{row.accuracy:.3f}",
            f"{row.balanced_accuracy:.3f}",
        )
    table.add_section()
    for name, key in (("mean", "_mean"), ("standard deviation", "_std")):
        scores = [summary[f"{score}{key}"] for score in ("accuracy", "balanced_accuracy")]
        table.add_row("", name, "", *[f"{score:.3f}" for score in scores])
    chance = summary["chance_accuracy"], summary["chance_balanced_accuracy"]
    table.add_row("", "chance level", "", *[f"{level:.3f}" for level in chance])
    console.print(table)


def _versions():
    versions = {name: importlib.metadata.version(name) for name in ("skfmri", *PACKAGES)}
    return {**versions, "python": platform.python_version(), "platform": platform.platform()}


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are errors like any other."""

    def error(self, message):
        raise ValueError(f"{message} (see {self.prog} --help)")


def _parser():
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
    decode.set_defaults(run=run_decode)
    _add_data_arguments(decode)
    _add_method_arguments(decode, epochs=125)
    demo = commands.add_parser(
        "demo",
        help="the same on simulated data with a known answer",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    demo.set_defaults(run=run_demo)
    demo.add_argument("--out", metavar="DIR", default=DEMO_DIRECTORY, help="directory for results")
    _add_method_arguments(demo, epochs=20)
    return parser


def _add_data_arguments(parser):
    data = parser.add_argument_group("data")
    data.add_argument("images", metavar="IMAGE", nargs="+", help="3-D or 4-D NIfTI images")
    data.add_argument("--labels", required=True, metavar="CSV", help="table, a row per volume")
    data.add_argument("--out", required=True, metavar="DIR", help="directory for results")
    data.add_argument("--overwrite", action="store_true", help="replace earlier results")
    data.add_argument("--label-column", default="label", metavar="NAME", help="what to decode")
    data.add_argument("--group-column", default="group", metavar="NAME", help="never split")
    data.add_argument(
        "--run-column", metavar="NAME", help="acquired in one go; else the image or the group"
    )
    data.add_argument("--classes", type=_names, metavar="A,B", help="keep only these labels")
    data.add_argument("--drop", type=_names, metavar="A,B", help="leave out these labels")
    data.add_argument(
        "--clean",
        action="store_true",
        help="detrend and standardise each run of a time series, before volumes are dropped",
    )
    data.add_argument("--high-pass", type=float, metavar="HZ", help="with --clean; needs --t-r")
    data.add_argument("--t-r", type=float, metavar="S", help="seconds between volumes")


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
    network.add_argument("--learning-rate", type=float, default=0.001, help="of Adam")
    network.add_argument("--epochs", type=int, default=epochs, help="passes over the data")
    network.add_argument("--batch-size", type=int, default=32, help="samples per step")
    run = parser.add_argument_group("cross-validation")
    run.add_argument("--folds", type=int, help="number of folds; else one group at a time")
    run.add_argument("--repeats", type=int, default=1, help="of all folds, never the same")
    run.add_argument("--seed", type=int, default=0, help="of weights, order and folds")
    run.add_argument("--jobs", type=int, default=1, help="folds at a time")
    run.add_argument("--quiet", action="store_true", help="print nothing but errors")
    run.add_argument("--traceback", action="store_true", help="show where an error arose")


def _names(text):
    return [name.strip() for name in text.split(",") if name.strip()]


def _integers(text):
    try:
        return tuple(int(number) for number in _names(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list such as 1024,256,64") from None


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
