"""One decoder per subject from the command line."""

from dataclasses import replace
from functools import partial

import numpy as np
from rich.table import Table

from skfmri.cli.method import choose_splits
from skfmri.evaluation.result import DECODER, DUMMY
from skfmri.evaluation.subjects import SEED_LEDGER, WithinSubjects, find_subjects, ledger_name
from skfmri.report.directory import LEDGERS
from skfmri.report.words import counted


def is_per_subject(args):
    """Return whether each subject gets a decoder."""
    return hasattr(args, "per_subject")


def check_per_subject(args):
    """Raise ValueError if other options contradict one decoder per subject."""
    if not is_per_subject(args):
        return
    if args.model is not None:
        raise ValueError(
            "--model saves one decoder, but --per-subject trains one for each subject. Leave one "
            "of them out, or save the model of a subject from a run on its volumes alone."
        )
    if args.bids is None and args.subject_column is None:
        raise ValueError(
            "--per-subject needs to know the subjects: add --subject-column NAME, the column of "
            "--labels that names them."
        )


def plan_splits(args, samples):
    """Return how the arguments divide groups, or the groups of each subject.

    Parameters
    ----------
    args : argparse.Namespace
        Arguments.
    samples : NiftiSamples
        All volumes to decode.

    Returns
    -------
    cross_validation : CrossValidation
        With ``--per-subject`` its splitter is a `WithinSubjects`.
    """
    if not is_per_subject(args):
        return choose_splits(args, len(np.unique(samples.groups)))
    rows_of_subjects = find_subjects(samples, samples.y, samples.groups)
    n_groups = [len(np.unique(samples.groups[rows])) for rows in rows_of_subjects.values()]
    cv = choose_splits(args, min(n_groups))
    splitter = WithinSubjects(rows_of_subjects, cv.splitter)
    n_splits = splitter.get_n_splits(samples, samples.y, samples.groups)
    return replace(cv, splitter=splitter, n_splits=n_splits)


def ledgers_of_run(args, cv=None):
    """Return the names of the ledgers of all subjects, none if they are not known yet.

    Parameters
    ----------
    args : argparse.Namespace
        Arguments.
    cv : CrossValidation, default=None
        From `plan_splits`.

    Returns
    -------
    names : list of str or None
        None for one decoder.
    """
    if not is_per_subject(args):
        return None
    if cv is None:
        return []
    return [SEED_LEDGER, *map(ledger_name, cv.splitter.rows_of_subjects)]


def options_of_subjects(options, cv, samples, path):
    """Return options of `evaluate_decoder` as those of `evaluate_subjects`.

    Parameters
    ----------
    options : dict
        Keyword arguments.
    cv : CrossValidation
        From `plan_splits`.
    samples : NiftiSamples
        All volumes to decode.
    path : pathlib.Path
        Directory of the results.

    Returns
    -------
    options : dict
    """
    options = {**options, "cv": cv.splitter.cv, "ledger": path / LEDGERS}
    if "on_fitted" in options:
        first_folds, n_folds = {}, 0
        for subject, rows in cv.splitter.rows_of_subjects.items():
            first_folds[subject] = n_folds
            alone = WithinSubjects({subject: rows}, cv.splitter.cv)
            n_folds += alone.get_n_splits(samples, samples.y, samples.groups)
        options["on_fitted"] = partial(_number_through, options["on_fitted"], first_folds)
    return options


def _number_through(on_fitted, first_folds, subject, fold, *fitted):
    """Call a function with the number of the fold among those of all subjects."""
    on_fitted(first_folds[subject] + fold, *fitted)


def describe_subjects(result):
    """Return the subjects of a result with their seeds, as JSON-serialisable values."""
    return {
        "n_subjects": len(result.results),
        "random_states": {str(name): part.random_state for name, part in result.results.items()},
    }


def print_subjects(console, result):
    """Print a row per subject, the means, and the answers in words."""
    rows = result.subjects.set_index(["metric", "model", "subject"])
    baselines = [name for name in result.subjects["model"].unique() if name not in (DECODER, DUMMY)]
    shown = [(metric, DECODER) for metric in result.metrics]
    shown += [(result.metrics[0], name) for name in baselines]
    table = Table(show_footer=False)
    table.add_column("subject")
    for metric, model in shown:
        title = metric.replace("_", " ")
        table.add_column(title if model == DECODER else f"{model} {title}", justify="right")
    table.add_column("p", justify="right")
    for subject in result.results:
        own = [rows.loc[(*column, subject)] for column in shown]
        p_value = own[0]["p_value"]
        p_text = "" if np.isnan(p_value) else f"{p_value:.3g}"
        table.add_row(str(subject), *(f"{row['score']:.3f}" for row in own), p_text)
    table.add_section()
    summary = result.summary.set_index(["metric", "model"])
    for name, key in (("mean", "score"), ("standard deviation", "std"), ("chance level", "chance")):
        table.add_row(name, *(f"{summary.loc[column, key]:.3f}" for column in shown), "")
    console.print(table)
    for sentence in result.sentences():
        console.print(sentence)


def separate_groups(groups, subjects):
    """Return groups that no two subjects share, since each subject may count from 1.

    Parameters
    ----------
    groups, subjects : pandas.Series of str, of shape (n_samples,)
        Groups and subjects; NaN where the table names none.

    Returns
    -------
    groups : pandas.Series of str, of shape (n_samples,)
        Unchanged if they are different already.
    """
    n_subjects_of_group = subjects.groupby(groups).nunique()
    if (n_subjects_of_group < 2).all():
        return groups
    return subjects.str.cat(groups, sep=" ")


def print_plan(console, cv):
    """Print that each subject gets a decoder, if so."""
    if isinstance(cv.splitter, WithinSubjects):
        n_subjects = len(cv.splitter.rows_of_subjects)
        console.print(
            f"one decoder per subject: {counted(n_subjects, 'subject')}, "
            f"{counted(cv.n_splits, 'fold')} in all"
        )
