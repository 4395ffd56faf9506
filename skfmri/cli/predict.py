"""Predictions of a saved model for new images."""

import sys
import warnings

import numpy as np
import pandas as pd

from skfmri._files import write_text
from skfmri._validation import check_same_grid, printable
from skfmri.cli.commands import OK
from skfmri.cli.nonfinite import find_damaged, name_volumes, ranges
from skfmri.cli.places import cache_at, check_file
from skfmri.persistence import find_training_volumes, load, training_record
from skfmri.persistence.card import describe_cleaning
from skfmri.preprocessing import clean_runs
from skfmri.report.directory import as_csv
from skfmri.report.words import counted
from skfmri.samples import NiftiSamples


def run_predict(args):
    """Predict the class of every volume of the user's images."""
    with cache_at(args.cache):
        return _predict(args)


def _predict(args):
    record = training_record(args.model)["samples"]
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
    _warn_of_damaged(samples, is_cleaned=args.clean)
    samples = _clean(args, samples, record)
    decoder = load(args.model)
    if not hasattr(decoder, "predict"):
        raise ValueError(f"{args.model} holds a {type(decoder).__name__}, which does not predict.")
    try:
        table = prediction_table(decoder, samples, args.images)
    except ValueError as error:
        raise ValueError(f"{args.model} cannot predict these volumes: {error}") from error
    is_bad = ~np.isfinite(table.filter(regex="^p_")).all(axis=1)
    if is_bad.any():
        raise ValueError(
            f"{args.model} gives probabilities that are not finite for {is_bad.sum()} of "
            f"{counted(len(table), 'volume')}. Its weights or the volumes are damaged."
        )
    _warn_of_training_volumes(args, samples, table, record)
    text = as_csv(table)
    if args.out is None:
        if sys.stdout.isatty():  # a file or another program gets the table as it is
            text = "\n".join(map(printable, text.split("\n")))
        sys.stdout.write(text)
    else:
        write_text(args.out, text)
        print(f"Written: {args.out}")
    return OK


def prediction_table(decoder, samples, names):
    """Return predictions as a table.

    Parameters
    ----------
    decoder : classifier
        Fitted.
    samples : NiftiSamples
        Volumes of some images.
    names : sequence of str
        Names of the images.

    Returns
    -------
    table : pandas.DataFrame
        One row per volume: ``image``, ``volume``, its position there, ``predicted`` and, if
        the decoder gives probabilities, ``p_<class>`` for each class.
    """
    images, volumes = samples.acquisition_order()
    # Names that are not in UTF-8 could not be written to a table.
    columns = {"image": np.array([printable(name) for name in names])[images], "volume": volumes}
    if not hasattr(decoder, "predict_proba"):
        return pd.DataFrame({**columns, "predicted": decoder.predict(samples)})
    probabilities = decoder.predict_proba(samples)
    columns["predicted"] = decoder.classes_[probabilities.argmax(axis=1)]
    for name, values in zip(decoder.classes_, probabilities.T, strict=True):
        columns[f"p_{name}"] = values
    return pd.DataFrame(columns)


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
    return clean_runs(
        samples,
        detrend=cleaning["detrend"],
        standardize=cleaning["standardize"],
        high_pass=cleaning["high_pass"],
        t_r=times[0] if cleaning["high_pass"] is not None else None,
    )


def _warn_of_damaged(samples, *, is_cleaned):
    is_damaged, is_empty, _ = find_damaged(samples, is_kept=not is_cleaned)
    is_damaged |= is_empty
    if is_damaged.any():
        warnings.warn(
            f"{is_damaged.sum()} of {counted(len(samples), 'volume')} hold NaN or infinite values: "
            f"{name_volumes(samples[is_damaged])}. Predictions for them rest on what is finite.",
            stacklevel=2,
        )


def _warn_of_training_volumes(args, samples, table, record):
    if record is None:
        warnings.warn(
            f"{args.model} does not say what it was trained on. Predictions for its training "
            "volumes look better than they are.",
            stacklevel=2,
        )
        return
    known = table[find_training_volumes(args.model, samples)]
    if len(known):
        places = known.groupby("image", sort=False)["volume"]
        warnings.warn(
            f"{args.model} was trained on {len(known)} of these {len(table)} volumes: "
            + "; ".join(f"{image}: {ranges(numbers.to_numpy())}" for image, numbers in places)
            + ". Predictions for them say nothing about how well it generalises.",
            stacklevel=2,
        )
