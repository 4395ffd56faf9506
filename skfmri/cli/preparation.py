"""New images turned into samples like those that a model was trained on."""

import numpy as np
import pandas as pd

from skfmri.cli.wording import option_of
from skfmri.persistence.card import describe_cleaning, describe_derived
from skfmri.preprocessing import clean_runs, estimate_conditions, estimate_trials
from skfmri.preprocessing.event_tables import LABEL, tables_of_runs
from skfmri.report.words import counted
from skfmri.samples.nifti import list_t_r

# Functions that make one sample of several volumes.
ESTIMATES = ("estimate_trials", "estimate_conditions")
FUNCTIONS = (*ESTIMATES, "average_blocks")
OF_EVENTS = ("events", "start", "maps")


def prepare_samples(args, samples, record):
    """Return samples made as the training samples were, or raise ValueError.

    Parameters
    ----------
    args : argparse.Namespace
        Arguments of ``skfmri predict``.
    samples : NiftiSamples
        Volumes of the images.
    record : dict or None
        What the model says of its training samples.

    Returns
    -------
    samples : NiftiSamples
    events : pandas.DataFrame or None
        What is known of the event of each sample, if they are estimates from events: trial, its row
        in the table of its image, onset, duration and trial_type.
    """
    derivations = {} if record is None else record["derivations"]
    function = next((name for name in FUNCTIONS if name in derivations), None)
    if function is None:
        _refuse(args, OF_EVENTS, record, "single volumes")
        return _clean(args, samples, record), None
    how = describe_derived(derivations)
    if args.maps:
        _refuse(args, ("events", "start", "clean", "already_clean", "t_r"), record, how)
        return samples, None
    if function not in ESTIMATES:
        raise ValueError(
            f"{args.model} was trained on {how}. Average the volumes of each block in the same way "
            "and add --maps, or use skfmri.average_blocks and skfmri.load in Python."
        )
    if args.events is None:
        raise ValueError(
            f"{args.model} was trained on {how}. Add --events FILE, one per image, which estimates "
            "them in the same way, or --maps if the images are such estimates."
        )
    return _estimate(args, samples, record, function, derivations[function])


def _refuse(args, names, record, how):
    """Raise ValueError if options are given that do nothing for a model."""
    found = [option_of(name) for name in names if getattr(args, name) not in (None, False)]
    if found:
        with_maps = " with --maps" if args.maps and "maps" not in names else ""
        known = "does not say what its training samples were made of"
        if record is not None:
            known = f"was trained on {how}"
        raise ValueError(f"{args.model} {known}. Leave out {' and '.join(found)}{with_maps}.")


def _estimate(args, samples, record, function, settings):
    """Return estimates from the events that the user gives, with the events."""
    n_images, cleaning = len(args.images), record["cleaning"]
    if len(args.events) != n_images:
        raise ValueError(
            f"Found {counted(len(args.events), 'table')} after --events for "
            f"{counted(n_images, 'image')}. Give one for each, in the same order."
        )
    if args.already_clean:
        raise ValueError(
            "--already-clean does not go with --events: expected responses have to be cleaned as "
            "the volumes are. Give the images as they were before, or estimates with --maps."
        )
    if cleaning is not None and (cleaning["confounds"] or cleaning["sample_masks"]):
        raise ValueError(
            f"{args.model} was trained on estimates from cleaned volumes: "
            f"{describe_cleaning(cleaning)}. The command line has none for these images. Use "
            "skfmri.clean_runs with them, skfmri.estimate_trials and skfmri.load in Python, or "
            "give ready-made estimates with --maps."
        )
    samples.groups = samples.runs = samples.acquisition_order()[0]
    t_r = _time_between_volumes(args, samples, settings["t_r"])
    start = settings["start"] if args.start is None else [args.start]
    if len(start) != 1:
        raise ValueError(
            f"{args.model} was trained on runs whose first volumes have several times: "
            f"{', '.join(f'{time:g}' for time in start)} s. Give that of the images with --start."
        )
    if not np.isfinite(start[0]):
        raise ValueError(f"--start must be a number of seconds, but is {start[0]}.")
    if cleaning is not None:
        samples = _cleaned(samples, cleaning, t_r)
    tables, has_labels = tables_of_runs(args.events, args.images)
    options = {"hrf_model": settings["hrf_model"], "t_r": t_r, "start": start[0]}
    if function == "estimate_conditions":
        conditions = estimate_conditions(samples, tables, **options)
        return conditions, pd.DataFrame({LABEL: conditions.y})
    tables = [table.assign(trial=np.arange(len(table))) for table in tables]
    events = pd.concat(tables, ignore_index=True)
    # Labels have no part in estimates: in their place, numbers say which events these show.
    numbers = np.split(np.arange(len(events)), np.cumsum(list(map(len, tables)))[:-1])
    numbered = [table.assign(trial_type=n) for table, n in zip(tables, numbers, strict=True)]
    trials = estimate_trials(samples, numbered, method=settings["method"], **options)
    columns = ["trial", "onset", "duration", *([LABEL] if has_labels else [])]
    return trials, events.loc[trials.y, columns].reset_index(drop=True)


def _time_between_volumes(args, samples, trained):
    """Return the time between volumes: as it is given, in the headers, or as in the training."""
    found = [args.t_r] if args.t_r is not None else sorted(set(list_t_r(samples)) - {None})
    found = found or trained
    if len(found) != 1:
        raise ValueError(
            "There are several times between volumes: "
            f"{', '.join(f'{time:g}' for time in found)} s. Give images of one time, which --t-r "
            "may name."
        )
    return found[0]


def _clean(args, samples, record):
    """Return samples cleaned as the training samples were, or raise ValueError."""
    cleaning = None if record is None else record["cleaning"]
    if cleaning is None:
        if args.clean or args.already_clean or args.t_r is not None:
            known = "does not say how its training volumes were cleaned"
            if record is not None:
                known = f"was trained on {describe_cleaning(None)}"
            raise ValueError(f"{args.model} {known}. Leave out --clean, --already-clean and --t-r.")
        return samples
    if args.already_clean:
        return samples
    how = describe_cleaning(cleaning)
    if not args.clean:
        raise ValueError(
            f"{args.model} was trained on cleaned volumes: {how}. Add --clean, which cleans each "
            "image as one run in the same way, or --already-clean if that was done."
        )
    if cleaning["confounds"] or cleaning["sample_masks"]:
        raise ValueError(
            f"{args.model} was trained on cleaned volumes: {how}. The command line has none for "
            "these images. Use skfmri.clean_runs with them and skfmri.load in Python, or clean the "
            "images before and pass --already-clean."
        )
    times = cleaning["t_r"] if args.t_r is None else [args.t_r]
    if cleaning["high_pass"] is not None and len(times) != 1:
        raise ValueError(
            f"{args.model} was trained on runs with several times between volumes: "
            f"{', '.join(f'{time:g}' for time in times)} s. Pass that of the images with --t-r."
        )
    return _cleaned(samples, cleaning, times[0] if times else None)


def _cleaned(samples, cleaning, t_r):
    return clean_runs(
        samples,
        detrend=cleaning["detrend"],
        standardize=cleaning["standardize"],
        high_pass=cleaning["high_pass"],
        t_r=t_r if cleaning["high_pass"] is not None else None,
    )
