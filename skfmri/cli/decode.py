"""Cross-validation of a decoder from the command line."""

import shlex
import time
from datetime import datetime
from functools import partial

import numpy as np

from skfmri.cli.arguments import DEMO_DIRECTORY
from skfmri.cli.centering import centering_sentences, gain_sentences
from skfmri.cli.commands import DIVERGED, OK
from skfmri.cli.inputs import read_inputs, simulate_inputs
from skfmri.cli.method import (
    build_pipeline,
    check_decoder,
    check_mask,
    choose_size,
    count_parameters,
    smallest_training_set,
    suit_thresholds,
)
from skfmri.cli.method_options import NETWORK
from skfmri.cli.places import cache_at, check_model, results_at
from skfmri.cli.rebuild import build_report, check_anatomy
from skfmri.cli.subjects import (
    check_per_subject,
    describe_subjects,
    is_per_subject,
    ledgers_of_run,
    options_of_subjects,
    plan_splits,
    print_plan,
    print_subjects,
)
from skfmri.cli.terminal import (
    make_console,
    print_inputs,
    print_region,
    print_result,
    print_size,
    print_thresholds,
    show_folds,
    show_phase,
    watched,
)
from skfmri.cli.usage import predicts_numbers
from skfmri.estimators.origin import SOURCE
from skfmri.evaluation import audit_leakage, evaluate_decoder, evaluate_subjects
from skfmri.evaluation.audit import CHEAP_CHECKS
from skfmri.evaluation.folds import learnable_splits
from skfmri.evaluation.result import describe_result
from skfmri.persistence import save
from skfmri.report.directory import (
    LEDGER,
    NAMES,
    SETTINGS,
    SUBJECTS,
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
# Equal to it for a linear model, which takes no steps.
LINEAR_SALIENCY = {"method": "gradient_x_input"}
# How much a predicted number rises with each voxel.
SALIENCY_OF_NUMBERS = {"method": "gradient"}


def run_decode(args):
    """Cross-validate a network on the user's images."""
    check_per_subject(args)
    check_anatomy(args.anatomy)
    check_mask(args)
    check_decoder(args)
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
    check_mask(args)
    check_decoder(args)
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
    names = names_of_run(has_maps=args.maps, ledgers=ledgers_of_run(args))
    directory.claim(names, replace=replace)


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
    cv = plan_splits(args, samples)
    print_plan(console, cv)
    # Raises the errors of the evaluation while earlier results are still there.
    learnable_splits(samples, samples.y, samples.groups, cv.splitter)
    size = choose_size(args, smallest_training_set(cv, samples))
    print_size(console, size, inputs.unit)
    pipeline = build_pipeline(args, size)
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
    print_region(console, rotator)
    print_thresholds(console, thresholds)
    n_outputs = 1 if predicts_numbers(args) else len(np.unique(samples.y))
    n_parameters = count_parameters(pipeline, rotator.slab_shape_, n_outputs)
    names = names_of_run(cv.n_splits, has_maps=args.maps, ledgers=ledgers_of_run(args, cv))
    directory.claim(names, replace=True)
    if not args.resume:
        directory.clear()
    directory.register(names, args.command)
    result = _evaluate(args, inputs, pipeline, cv, console, directory.path)
    print_scores = print_subjects if is_per_subject(args) else print_result
    print_scores(console, result)
    about_centring = _on_centring(args, inputs, pipeline, cv, result, console)
    write_tables(directory.path, result, inputs.rows)
    watch = partial(watched, console, "averaging the volumes")
    write_anatomy(directory.path, inputs.originals, rotator, watch=watch)
    with show_phase(console, "averaging the maps"):
        error = _average_maps(directory.path, cv.n_splits) if args.maps else None
    found = describe_result(result)
    record = {
        **_describe_run(args, inputs, pipeline, cv),
        "network": None if n_parameters is None else {"n_parameters": n_parameters},
        "size": size,
        "thresholds_chosen": thresholds,
        "saliency": _saliency(args) | {"n_folds": cv.n_splits} if args.maps and not error else None,
        "scores": found["summary"],
        **{name: found[name] for name in ("permutation_test", "untested")},
        "sentences": [*found["sentences"], *about_centring],
        "subjects": describe_subjects(result) if is_per_subject(args) else None,
        "leaks_ignored": leaks,
        "seconds": time.perf_counter() - start,
        "versions": describe_software(),
    }
    _finish(directory.path, record, args.anatomy, console)
    if error is not None:
        raise error
    return result, pipeline


def _on_centring(args, inputs, pipeline, cv, result, console):
    """Print and return what a reader of the scores has to know of centring."""
    sentences = centering_sentences(inputs.centring)
    if args.command == "demo":
        with show_phase(console, "scoring a linear model without centring"):
            sentences += gain_sentences(inputs.originals, pipeline, cv, result)
    for sentence in sentences:
        console.print(sentence)
    return sentences


def _describe_run(args, inputs, pipeline, cv):
    """Return what is evaluated how, as JSON-serialisable values; the rotator is fitted."""
    return {
        "command": args.command,
        "predicts": "numbers" if predicts_numbers(args) else "classes",
        "command_line": shlex.join(["skfmri", *args.argv]),
        "date": datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
        "settings": {
            name: value for name, value in vars(args).items() if name not in ("command", "argv")
        },
        "source": inputs.source,
        "cleaning": inputs.cleaning,
        "centring": inputs.centring,
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
    # No evaluation accepts these.
    seen = [finding.message for finding in report.findings if finding.check == SOURCE]
    if seen:
        raise ValueError(f"The scores could not be trusted. {' '.join(seen)}")
    if found and not are_accepted:
        raise ValueError(
            f"The scores could not be trusted. {' '.join(found)} Fix the data, groups or runs, or "
            "pass --ignore-leaks to continue anyway; the results then say what was found."
        )
    return found, list(report.notes)


def _evaluate(args, inputs, pipeline, cv, console, path):
    # The bar of a network in another process would not reach this terminal.
    has_bar = args.jobs == 1 and args.decoder == NETWORK
    network = pipeline[-1] if has_bar else None
    options = {
        "cv": cv.splitter,
        "blocks": inputs.blocks,
        "n_permutations": args.permutations,
        "ledger": path / LEDGER,
        "n_jobs": args.jobs,
        "random_state": cv.seed,
    }
    if not args.has_baseline:
        options["baseline"] = None
    if args.maps:
        options["on_fitted"] = partial(save_fold_map, path, _saliency(args))
    evaluate = evaluate_decoder
    if is_per_subject(args):
        evaluate = evaluate_subjects
        options = options_of_subjects(options, cv, inputs.samples, path)
    with show_folds(console, cv.n_splits, network, args.permutations) as on_fold:
        return evaluate(pipeline, inputs.samples, on_fold=on_fold, **options)


def _saliency(args):
    """Return the method of the maps with its options."""
    if predicts_numbers(args):
        return SALIENCY_OF_NUMBERS
    return SALIENCY if args.decoder == NETWORK else LINEAR_SALIENCY


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
    names = [*NAMES, SUBJECTS] if record["subjects"] else NAMES
    # A path stays in one piece, so that it can be copied.
    console.print(f"Written to {path}:", soft_wrap=True)
    console.print(", ".join(name for name in names if (path / name).exists()))


def _save_model(args, pipeline, samples, result):
    """Fit the pipeline on all samples; save it with the scores that it reached on parts."""
    if getattr(pipeline, "validation", None) is not None:
        pipeline.set_params(refit=True)
    console = make_console(args.quiet)
    with show_phase(console, "fitting the model on all volumes"):
        save(pipeline.fit(samples, samples.y), args.model, samples=samples, result=result)
    console.print(f"Written: {args.model}", soft_wrap=True)
