"""Cross-validation of a decoder from the command line."""

import time
from functools import partial

import numpy as np

from skfmri.cli.arguments import DEMO_DIRECTORY
from skfmri.cli.commands import DIVERGED, OK
from skfmri.cli.inputs import check_options, read_inputs, simulate_inputs
from skfmri.cli.method import build_pipeline, check_members, choose_splits, suit_thresholds
from skfmri.cli.places import cache_at, check_model, results_at
from skfmri.cli.rebuild import build_report, check_anatomy
from skfmri.cli.terminal import (
    make_console,
    print_inputs,
    print_result,
    print_thresholds,
    show_folds,
    show_phase,
)
from skfmri.evaluation import audit_leakage, evaluate_decoder
from skfmri.evaluation.audit import CHEAP_CHECKS
from skfmri.evaluation.result import describe_result
from skfmri.persistence import save
from skfmri.report.directory import (
    LEDGER,
    NAMES,
    SETTINGS,
    names_of_run,
    save_fold_map,
    write_anatomy,
    write_json,
    write_mean_maps,
    write_tables,
)
from skfmri.report.record import (
    describe_data,
    describe_estimator,
    describe_slab,
    describe_software,
)

SALIENCY = {"method": "integrated_gradients", "n_steps": 16}


def run_decode(args):
    """Cross-validate a network on the user's images."""
    check_options(args)
    check_anatomy(args.anatomy)
    with cache_at(args.cache), results_at(args.out) as directory:
        _claim(args, directory)
        check_model(args.model, args.out, overwrite=args.overwrite, resume=args.resume)
        inputs = read_inputs(args)
        result, pipeline = _decode(args, inputs, directory)
        if args.model is not None:
            _save_model(args, pipeline, inputs.samples, result)
    return _status(result)


def run_demo(args):
    """Cross-validate a network on simulated data whose true effect is known."""
    check_anatomy(args.anatomy)
    with cache_at(args.cache), results_at(args.out) as directory:
        # A demo can be made again at any time, unlike the scores of somebody's data.
        _claim(args, directory, args.out == DEMO_DIRECTORY and directory.command == "demo")
        result, _ = _decode(args, simulate_inputs(args.seed), directory)
    return _status(result)


def _status(result):
    """Return the exit status: scores of a network that diverged mean nothing."""
    has_diverged = "diverged" in result.folds and result.folds["diverged"].eq(True).any()
    return DIVERGED if has_diverged else OK


def _claim(args, directory, replace=False):
    replace = replace or args.overwrite or args.resume
    directory.claim(names_of_run(has_maps=args.maps), replace=replace)


def _decode(args, inputs, directory):
    """Evaluate the decoder that the arguments describe; leave the results in a directory.

    Returns
    -------
    result : DecodingResult
    pipeline : DecodingPipeline
        What was evaluated.
    """
    console, samples = make_console(args.quiet), inputs.samples
    print_inputs(console, inputs)
    start = time.perf_counter()
    cv = choose_splits(args, len(np.unique(samples.groups)))
    pipeline = build_pipeline(args)
    with show_phase(console, "looking for leaks", samples):
        leaks, notes = _look_for_leaks(pipeline, samples, cv.splitter, args.ignore_leaks)
    for leak in leaks:
        console.print(f"leak ignored: {leak}")
    for note in notes:
        console.print(f"note: {note}")
    # Mistakes in settings show here, before earlier results are deleted.
    with show_phase(console, "cutting the slab", samples):
        rotator = pipeline["slab"].fit(samples)
        thresholds = suit_thresholds(args, pipeline, samples)
    print_thresholds(console, thresholds)
    network = pipeline["cnn"].build_network(rotator.slab_shape_, len(np.unique(samples.y)))
    check_members(network, pipeline["cnn"].n_members)
    names = names_of_run(cv.n_splits, has_maps=args.maps)
    directory.claim(names, replace=True)
    if not args.resume:
        directory.clear()
    directory.register(names, args.command)
    result = _evaluate(args, inputs, pipeline, cv, console, directory.path)
    print_result(console, result)
    write_tables(directory.path, result, inputs.rows)
    with show_phase(console, "averaging volumes and maps"):
        write_anatomy(directory.path, inputs.originals, rotator)
        error = _average_maps(directory.path, cv.n_splits) if args.maps else None
    found = describe_result(result)
    record = {
        **_describe_run(args, inputs, pipeline, cv),
        "network": {"n_parameters": network.count_params()},
        "thresholds_chosen": thresholds,
        "saliency": {**SALIENCY, "n_folds": cv.n_splits} if args.maps and not error else None,
        "scores": found["summary"],
        **{name: found[name] for name in ("permutation_test", "untested", "sentences")},
        "leaks_ignored": leaks,
        "seconds": time.perf_counter() - start,
        "versions": describe_software(),
    }
    _finish(directory.path, record, args.anatomy, console)
    if error is not None:
        raise error
    return result, pipeline


def _describe_run(args, inputs, pipeline, cv):
    """Return what is evaluated how, as JSON-serialisable values; the rotator is fitted."""
    return {
        "command": args.command,
        "settings": {name: value for name, value in vars(args).items() if name != "command"},
        "source": inputs.source,
        "cleaning": inputs.cleaning,
        "data": describe_data(inputs.samples),
        "slab": describe_slab(pipeline["slab"]),
        "pipeline": describe_estimator(pipeline),
        "cross_validation": {
            "n_folds": cv.n_folds,
            "n_repeats": cv.n_repeats,
            "seed": cv.seed,
            "n_permutations": args.permutations,
        },
    }


def _look_for_leaks(pipeline, samples, splitter, are_accepted):
    """Return leaks and notes as text; raise ValueError for a leak that the user does not accept."""
    report = audit_leakage(pipeline, samples, cv=splitter, checks=CHEAP_CHECKS)
    found = [finding.message for finding in report.findings]
    if found and not are_accepted:
        raise ValueError(
            f"The scores could not be trusted. {' '.join(found)} Fix the data, groups or runs, or "
            "pass --ignore-leaks to continue anyway; the results then say what was found."
        )
    return found, list(report.notes)


def _evaluate(args, inputs, pipeline, cv, console, path):
    # The bar of a network in another process would not reach this terminal.
    network = pipeline["cnn"] if args.jobs == 1 else None
    options = {} if args.has_baseline else {"baseline": None}
    if args.maps:
        options["on_fitted"] = partial(save_fold_map, path, SALIENCY)
    with show_folds(console, cv.n_splits, network, args.permutations) as on_fold:
        return evaluate_decoder(
            pipeline,
            inputs.samples,
            cv=cv.splitter,
            blocks=inputs.blocks,
            n_permutations=args.permutations,
            ledger=path / LEDGER,
            n_jobs=args.jobs,
            random_state=cv.seed,
            on_fold=on_fold,
            **options,
        )


def _average_maps(path, n_folds):
    """Write the mean maps; return the error if maps are missing, for the scores go first."""
    try:
        write_mean_maps(path, n_folds)
    except ValueError as error:
        return error
    return None


def _finish(path, record, anatomy, console):
    """Write the record and the report, and name the files."""
    write_json(path / SETTINGS, record)
    try:
        with show_phase(console, "writing the report"):
            build_report(path, anatomy=anatomy)
    except ValueError as error:
        # The scores have cost hours: a report that cannot be made does not make them a failure.
        console.print(f"There is no report: {error}")
    console.print(f"Written to {path}: {', '.join(n for n in NAMES if (path / n).exists())}")


def _save_model(args, pipeline, samples, result):
    """Fit the pipeline on all samples; save it with the scores that it reached on parts."""
    if pipeline.validation is not None:
        pipeline.set_params(refit=True)
    console = make_console(args.quiet)
    with show_phase(console, "fitting the model on all volumes"):
        save(pipeline.fit(samples, samples.y), args.model, samples=samples, result=result)
    console.print(f"Written: {args.model}")
