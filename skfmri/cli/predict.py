"""Predictions of a saved model for new images."""

import sys
import warnings
from functools import partial

import numpy as np
import pandas as pd
from sklearn.base import is_regressor

from skfmri._files import write_text
from skfmri._validation import check_same_grid, printable
from skfmri.cli.centering import center_as_trained, image_groups
from skfmri.cli.commands import OK
from skfmri.cli.disk import describe_disk
from skfmri.cli.nonfinite import find_damaged, name_volumes, ranges
from skfmri.cli.places import cache_at, check_file
from skfmri.cli.preparation import prepare_samples
from skfmri.cli.terminal import make_console, show_phase, watched
from skfmri.persistence import find_training_volumes, load, training_record
from skfmri.report.directory import as_csv
from skfmri.report.words import counted
from skfmri.samples import NiftiSamples
from skfmri.samples.nifti import trace


def run_predict(args):
    """Predict the class or number of every volume of the user's images, or of every trial."""
    with cache_at(args.cache):
        return _predict(args)


def _predict(args):
    training = training_record(args.model)
    record = training["samples"]
    check_file(args.out, overwrite=args.overwrite)
    samples = NiftiSamples(args.images)
    if record is not None:
        check_same_grid(
            samples.grid_shape,
            samples.affine,
            args.images[0],
            record["grid_shape"],
            np.array(record["affine"]),
            f"the training data of {args.model}",
        )
    # The table may go to the standard output.
    console = make_console(args.quiet, is_stderr=True)
    originals, is_cleaned = samples, args.clean or args.events is not None
    if not is_cleaned:
        _say_disk(console, args, originals, is_cleaned=False)
    _warn_of_damaged(console, samples, is_cleaned=is_cleaned)
    names = image_groups(args, samples)
    samples, events = prepare_samples(args, samples, record)
    if events is not None:
        names = _groups_of_estimates(args, samples)
    samples = center_as_trained(args, samples, names, record)
    with show_phase(console, "loading the model"):
        decoder = load(args.model)
    if not hasattr(decoder, "predict"):
        raise ValueError(f"{args.model} holds a {type(decoder).__name__}, which does not predict.")
    if is_cleaned:
        n_made = None if events is None else len(samples)
        _say_disk(console, args, originals, is_cleaned=True, n_made=n_made, decoder=decoder)
    try:
        with show_phase(console, "predicting", samples):
            table = prediction_table(decoder, samples, args.images, events)
    except ValueError as error:
        raise ValueError(f"{args.model} cannot predict these volumes: {error}") from error
    what, found = "probabilities", table.filter(regex="^p_")
    if is_regressor(decoder):
        what, found = "numbers", table.filter(regex="^predicted")
    is_bad = ~np.isfinite(found).all(axis=1)
    if is_bad.any():
        raise ValueError(
            f"{args.model} gives {what} that are not finite for {is_bad.sum()} of "
            f"{counted(len(table), 'volume')}. Its weights or the volumes are damaged."
        )
    _warn_of_training_volumes(args, samples, table, training)
    text = as_csv(table)
    if args.out is None:
        if sys.stdout.isatty():  # a file or another program gets the table as it is
            text = "\n".join(map(printable, text.split("\n")))
        sys.stdout.write(text)
    else:
        write_text(args.out, text)
        make_console(args.quiet).print(f"Written: {args.out}", soft_wrap=True)
    return OK


def _say_disk(console, args, samples, **options):
    """Print how much disk the command will take, if that is much."""
    disk = None if args.quiet else describe_disk(args, samples, **options)
    if disk is not None:
        console.print(disk)


def prediction_table(decoder, samples, names, events=None):
    """Return predictions as a table.

    Parameters
    ----------
    decoder : classifier or regressor
        Fitted.
    samples : NiftiSamples
        Volumes of some images.
    names : sequence of str
        Names of the images.
    events : pandas.DataFrame, default=None
        What is known of each sample, if they are estimates from events.

    Returns
    -------
    table : pandas.DataFrame
        One row per sample: ``image``; ``volume``, its position there, or the columns of the events;
        ``predicted`` and, if the decoder gives probabilities, ``p_<class>`` for each class. If it
        predicts several numbers, ``predicted_0`` and so on.
    """
    originals, parents, _ = trace(samples)
    first = [rows[0] for rows in parents]
    images, volumes = (places[first] for places in originals.acquisition_order())
    # Names that are not in UTF-8 could not be written to a table.
    columns = {"image": np.array([printable(name) for name in names])[images]}
    columns |= {"volume": volumes} if events is None else dict(events)
    if not hasattr(decoder, "predict_proba"):
        predicted = decoder.predict(samples)
        if predicted.ndim == 1:
            return pd.DataFrame({**columns, "predicted": predicted})
        targets = {f"predicted_{n}": column for n, column in enumerate(predicted.T)}
        return pd.DataFrame({**columns, **targets})
    probabilities = decoder.predict_proba(samples)
    columns["predicted"] = decoder.classes_[probabilities.argmax(axis=1)]
    for name, values in zip(decoder.classes_, probabilities.T, strict=True):
        columns[f"p_{name}"] = values
    return pd.DataFrame(columns)


def _groups_of_estimates(args, samples):
    """Return the image that each estimate comes from."""
    if args.group_table is not None:
        raise ValueError(
            "--group-table names the group of each volume, but with --events samples are estimates "
            "of trials, which are centred within each image. Leave it out."
        )
    return samples.runs.astype(str)


def _warn_of_damaged(console, samples, *, is_cleaned):
    watch = partial(watched, console, "looking at the volumes")
    is_damaged, is_empty, _ = find_damaged(samples, is_kept=not is_cleaned, watch=watch)
    is_damaged |= is_empty
    if is_damaged.any():
        warnings.warn(
            f"{is_damaged.sum()} of {counted(len(samples), 'volume')} hold NaN or infinite values: "
            f"{name_volumes(samples[is_damaged])}. Predictions for them rest on what is finite.",
            stacklevel=2,
        )


def _warn_of_training_volumes(args, samples, table, training):
    fits = [training, *training["initial_weights"]]
    if all(fit["samples"] is None for fit in fits):
        warnings.warn(
            f"{args.model} does not say what it was trained on. Predictions for its training "
            "volumes look better than they are.",
            stacklevel=2,
        )
        return
    known = table[find_training_volumes(args.model, samples)]
    if not len(known):
        return
    unit = "volume" if "volume" in table else "trial"
    places = [
        f"{image}: {ranges(rows[unit].to_numpy())}" if unit in rows else image
        for image, rows in known.groupby("image", sort=False)
    ]
    warnings.warn(
        f"{args.model} was trained on {len(known)} of these {counted(len(table), unit)}: "
        f"{'; '.join(places)}. Predictions for them say nothing about how well it generalises.",
        stacklevel=2,
    )
