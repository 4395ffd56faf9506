"""The ``skfmri`` command, from arguments to calls of the library."""

import os
import platform
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from nibabel.affines import voxel_sizes
from rich.console import Console
from rich.table import Table
from sklearn.model_selection import GroupKFold, GroupShuffleSplit

from skfmri._files import write_json
from skfmri._validation import describe_grid
from skfmri.cli.arguments import DEMO_DIRECTORY, make_parser
from skfmri.cli.inputs import read_labels, read_study, settle_source
from skfmri.cli.predict import claim_file, claim_model, run_predict, save_model
from skfmri.cli.terminal import show_folds
from skfmri.datasets import make_eyes_open_closed
from skfmri.evaluation import audit_leakage, evaluate_decoder
from skfmri.evaluation.audit import CHEAP_CHECKS
from skfmri.evaluation.ledger import versions
from skfmri.evaluation.result import DECODER, DUMMY
from skfmri.model_selection import RepeatedGroupKFold
from skfmri.pipeline import DecodingPipeline
from skfmri.preprocessing import NiftiSlabRotator, VoxelZScorer, clean_runs
from skfmri.report.directory import (
    LEDGER,
    NAMES,
    REPORT,
    SETTINGS,
    ResultDirectory,
    names_of_run,
    save_fold_map,
    write_anatomy,
    write_mean_maps,
    write_tables,
)
from skfmri.samples import NiftiSamples

NETWORK_PARAMETERS = (
    "filters",
    "kernel_size",
    "n_blocks",
    "dense_units",
    "dropout",
    "batch_norm_momentum",
    "linear_path",
    "n_members",
    "learning_rate",
    "epochs",
    "batch_size",
)
SALIENCY = {"method": "integrated_gradients", "n_steps": 16}
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
        args = make_parser(run_decode, run_demo, run_report, run_predict).parse_args(argv)
        args.run(args)
    except (KeyboardInterrupt, ImportError, SystemError) as error:
        if not _is_interrupt(error):
            raise
        way_out = "; --resume goes on where it stopped" if hasattr(args, "resume") else ""
        print(f"skfmri: interrupted{way_out}.", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, TypeError, OSError) as error:
        if args is not None and args.traceback:
            raise
        print(f"skfmri: error: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_MISTAKE
    return 0


def _is_interrupt(error):
    """Tell whether an error is an interrupt, or what a compiled module made of one."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def run_decode(args):
    """Cross-validate a network on the user's images."""
    if args.repeats > 1 and args.folds is None:
        raise ValueError(
            "--repeats needs --folds: leaving one group out at a time has only one way to split."
        )
    settle_source(args)
    _check_anatomy(args.anatomy)
    with ResultDirectory(args.out) as directory:
        _claim(args, directory)
        claim_model(args)
        samples, raw, rows, blocks = _read_samples(args)
        result = _decode(args, samples, raw, rows, blocks, directory)
        if args.model is not None:
            save_model(args, build_pipeline(args), samples, result)
            Console(quiet=args.quiet, markup=False, highlight=False).print(f"Written: {args.model}")


def run_demo(args):
    """Cross-validate a network on simulated data with a known answer."""
    _check_anatomy(args.anatomy)
    with ResultDirectory(args.out) as directory:
        # A demo can be made again at any time, unlike the scores of somebody's data.
        _claim(args, directory, args.out == DEMO_DIRECTORY and directory.command == "demo")
        data = make_eyes_open_closed(random_state=args.seed)
        samples = NiftiSamples(data.images, y=data.labels, groups=data.chunks)
        _decode(args, samples, samples, np.arange(len(samples)), None, directory)


def run_report(args):
    """Write the report of results that are there."""
    if args.out is not None:
        claim_file(args.out, args.overwrite)
        path = _write_report(args.results, path=args.out, anatomy=args.anatomy)
    else:
        path = _write_report_inside(args)
    console = Console(quiet=args.quiet, markup=False, highlight=False)
    console.print(f"Written: {path}")


def _write_report_inside(args):
    if not Path(args.results).is_dir():
        return _write_report(args.results)  # which says so
    with ResultDirectory(args.results) as directory:
        claim_file(directory.path / REPORT, args.overwrite or REPORT in directory.listed)
        path = _write_report(args.results, anatomy=args.anatomy)
        directory.register([REPORT])
    return path


def _write_report(directory, **options):
    # Matplotlib is optional, and takes a while to load.
    try:
        from skfmri.report import write_report
    except ImportError as error:
        raise ValueError(str(error)) from error
    return write_report(directory, **options)


def _check_anatomy(path):
    """Raise ValueError before hours of work, not after them."""
    n_volumes = 1 if path is None else len(NiftiSamples(path))
    if n_volumes != 1:
        raise ValueError(f"--anatomy needs one volume, but {path} has {n_volumes}.")


def _claim(args, directory, replace=False):
    replace = replace or args.overwrite or args.resume
    directory.claim(names_of_run(has_maps=args.maps), replace=replace)


def build_pipeline(args):
    """Return the pipeline that the arguments describe."""
    # Keras takes seconds to load: not before the input has been checked.
    from skfmri.estimators.classifier import SlabCNNClassifier, VolumeCNNClassifier

    network = {name: getattr(args, name) for name in NETWORK_PARAMETERS}
    classifier = {"2d": SlabCNNClassifier, "3d": VolumeCNNClassifier}[args.network]
    validation = None
    if args.patience is not None:
        network["patience"] = args.patience
        validation = GroupShuffleSplit(1, test_size=0.2, random_state=args.seed)
    return DecodingPipeline(
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
        ],
        validation=validation,
    )


def _read_samples(args):
    """Return the samples to decode, the same before cleaning, their rows among all, blocks."""
    if args.bids is not None:
        samples, raw, rows, blocks = read_study(args)
        labels = pd.Series(samples.y)
        kept = np.flatnonzero(_is_asked_for(labels.where(labels != ""), args))
        return samples[kept], raw[rows[kept]], rows[kept], blocks[rows[kept]]
    samples = NiftiSamples(args.images)
    columns = {"label": args.label_column, "group": args.group_column}
    for role, column in (("run", args.run_column), ("block", args.block_column)):
        if column is not None:
            columns[role] = column
    table = read_labels(args.labels, columns, len(samples))
    if args.clean:
        missing = np.flatnonzero(
            table.drop(columns=["label", "block"], errors="ignore").isna().any(axis=1)
        )
        if len(missing):
            raise ValueError(
                f"--clean needs whole runs, but {args.labels} names no group or run in "
                f"{len(missing)} rows, first in row {missing[0] + 1} below the header. Fill them, "
                "also for volumes without a label."
            )
    # No run goes beyond its image, nor, without a column for runs, beyond its group.
    names = table["group"] if args.run_column is None else table["run"]
    runs = [f"{image} {name}" for image, name in zip(samples.runs, names, strict=True)]
    samples.groups, samples.runs = table["group"].to_numpy(dtype=str), np.array(runs)
    raw = samples
    if args.clean:
        samples = clean_runs(samples, high_pass=args.high_pass, t_r=args.t_r)
    labels = table["label"]
    keep = _is_asked_for(labels, args)
    without_group = np.flatnonzero(keep & table["group"].isna())
    if len(without_group):
        raise ValueError(
            f"{args.labels} names no group in {len(without_group)} labelled rows, first in row "
            f"{without_group[0] + 1} below the header. Fill the column {args.group_column!r}."
        )
    rows = np.flatnonzero(keep)
    samples = samples[rows]
    samples.y = labels[rows].to_numpy(dtype=str)
    samples.groups = _as_numbers(table["group"][rows].to_numpy(dtype=str))
    blocks = None if args.block_column is None else table["block"][rows].to_numpy()
    return samples, raw[rows], rows, blocks


def _is_asked_for(labels, args):
    """Return which labels are to be decoded, or raise ValueError where too few are."""
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
    if labels[keep].nunique() < 2:
        raise ValueError(
            f"{keep.sum()} volumes of {labels[keep].nunique()} classes are left; decoding needs "
            "two classes or more. Look at --label-column, --classes and --drop."
        )
    return keep


def _as_numbers(names):
    """Return names as integers where nothing is lost, so that run 10 comes after run 9."""
    is_number = all(
        name.isdecimal() and len(name) < 18 and str(int(name)) == name for name in names
    )
    return names.astype(int) if is_number else names


def _decode(args, samples, raw, rows, blocks, directory):
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
    cv, n_folds = _splitter(args, groups)
    pipeline = build_pipeline(args)
    leaks = _look_for_leaks(args, pipeline, samples, cv, console)
    # Mistakes in settings show here, before earlier results are deleted.
    rotator = pipeline["slab"].fit(samples)
    description = _describe(samples, pipeline, rotator)
    names = names_of_run(n_folds, has_maps=args.maps)
    directory.claim(names, replace=True)
    if not args.resume:
        directory.clear()
    directory.register(names, args.command)
    path = directory.path
    # The bar of a network in another process would not reach this terminal.
    network = pipeline["cnn"] if args.jobs == 1 else None
    with show_folds(console, n_folds, network) as on_fold:
        result = evaluate_decoder(
            pipeline,
            samples,
            cv=cv,
            baseline=args.baseline,
            blocks=blocks,
            n_permutations=args.permutations,
            ledger=path / LEDGER,
            n_jobs=args.jobs,
            random_state=args.seed,
            on_fold=on_fold,
            on_fitted=partial(save_fold_map, path, SALIENCY) if args.maps else None,
        )
    _print_result(console, result)
    write_tables(path, result, rows)
    write_anatomy(path, raw, rotator)
    without_maps = None
    if args.maps:
        try:
            write_mean_maps(path, n_folds)
        except ValueError as error:
            # The scores have cost hours: they are written first.
            without_maps = error
    record = {
        "settings": {name: value for name, value in vars(args).items() if name != "run"},
        **description,
        "saliency": {**SALIENCY, "n_folds": n_folds} if args.maps and not without_maps else None,
        **_describe_result(result),
        "leaks_ignored": leaks,
        "seconds": time.perf_counter() - start,
        "versions": {
            **versions(),
            "python": platform.python_version(),
            "platform": platform.platform(),
        },
    }
    write_json(path / SETTINGS, record)
    try:
        _write_report(path, anatomy=args.anatomy)
    except ValueError as error:
        # The scores have cost hours: a report that cannot be made does not make them a failure.
        console.print(f"There is no report: {error}")
    console.print(f"Written to {path}: {', '.join(n for n in NAMES if (path / n).exists())}")
    if without_maps:
        raise without_maps
    return result


def _describe(samples, pipeline, rotator):
    """Return data, slab and network in what JSON knows."""
    counts = pd.crosstab(samples.groups, samples.y)
    network = pipeline["cnn"].build_network(rotator.slab_shape_, counts.shape[1])
    return {
        "data": {
            "n_volumes": len(samples),
            "n_runs": len(np.unique(samples.runs)),
            "grid_shape": samples.grid_shape,
            "voxel_sizes_mm": voxel_sizes(samples.affine).tolist(),
            "affine": samples.affine.tolist(),
            "volumes_per_class": counts.sum().to_dict(),
            "volumes_per_group": counts.to_dict("index"),
            "groups": counts.index.tolist(),
        },
        "slab": {
            "shape": rotator.slab_shape_,
            "first_slice": rotator.slab_box_[2][0],
            "affine": rotator.slab_affine_.tolist(),
        },
        "network": {"n_parameters": network.count_params()},
    }


def _describe_result(result):
    """Return scores and tests in what JSON knows."""
    test = result.permutation_test
    return {
        # JSON has no NaN.
        "scores": result.summary.astype(object).replace(np.nan, None).to_dict("records"),
        "permutation_test": None
        if test is None
        else {"p_value": test.pvalue, "n_permutations": test.n_permutations},
        "sentences": result.sentences(),
    }


def _splitter(args, groups):
    """Return the splitter and its number of folds."""
    if args.folds is None:
        return None, len(groups)
    if args.repeats == 1:
        return GroupKFold(args.folds, shuffle=True, random_state=args.seed), args.folds
    cv = RepeatedGroupKFold(args.folds, n_repeats=args.repeats, random_state=args.seed)
    return cv, cv.get_n_splits()


def _look_for_leaks(args, pipeline, samples, cv, console):
    """Return what looks like a leak, as text; raise ValueError unless the user accepts it."""
    report = audit_leakage(pipeline, samples, cv=cv, checks=CHEAP_CHECKS)
    if report.ok:
        return []
    found = [finding.message for finding in report.findings]
    if not args.ignore_leaks:
        raise ValueError(
            f"The scores could not be trusted. {' '.join(found)} Mend the data, the groups or the "
            "runs; --ignore-leaks goes on nevertheless and says so in the results."
        )
    for message in found:
        console.print(f"leak ignored: {message}")
    return found


def _print_result(console, result):
    folds = result.folds.pivot(index="fold", columns="model", values=list(result.metrics))
    baselines = [name for name in result.folds["model"].unique() if name != DECODER]
    about = result.folds[result.folds["model"] == DECODER].set_index("fold")
    shown = [(metric, DECODER) for metric in result.metrics]
    shown += [(result.metrics[0], name) for name in baselines if name != DUMMY]
    table = Table(show_footer=False)
    table.add_column("fold", justify="right")
    table.add_column("groups held out")
    for metric, model in shown:
        title = metric.replace("_", " ")
        table.add_column(title if model == DECODER else f"{model} {title}", justify="right")
    for fold, row in about.iterrows():
        scores = [f"{folds.loc[fold, column]:.3f}" for column in shown]
        table.add_row(str(fold + 1), row["groups_held_out"], *scores)
    table.add_section()
    summary = result.summary.set_index(["metric", "model"])
    for name, key in (("mean", "score"), ("standard deviation", "std"), ("chance level", "chance")):
        values = [f"{summary.loc[column, key]:.3f}" for column in shown]
        table.add_row("", name, *values)
    console.print(table)
    for sentence in result.sentences():
        console.print(sentence)
