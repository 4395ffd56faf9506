"""Centring of volumes as the options of the command ask for it."""

import numpy as np

from skfmri.cli.tables import check_order, read_labels
from skfmri.cli.wording import option_of
from skfmri.evaluation import evaluate_decoder, linear_baseline
from skfmri.evaluation.result import DECODER
from skfmri.persistence.card import describe_centring
from skfmri.preprocessing import center_groups
from skfmri.preprocessing.centering import describe_balance
from skfmri.report.words import counted
from skfmri.samples.nifti import origin_of

# The option without a column.
OWN_GROUPS = ""
LINEAR = "linear"


def names_in_bids(table, column, runs):
    """Return the run, subject or session of volumes of a BIDS dataset.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per run, from `load_bids_runs`.
    column : {"run", "subject", "session"}
        What to return.
    runs : ndarray of shape (n_samples,)
        Run of each volume.

    Returns
    -------
    names : ndarray of shape (n_samples,)
    """
    table = table.set_index("run", drop=False).loc[runs]
    names = table[column].to_numpy(dtype=str)
    if column != "session":
        return names
    if table["session"].isna().any():
        raise ValueError(
            "--center-groups session is not possible, since some images name no session. Choose "
            "run or subject."
        )
    # Sessions of different subjects have the same names.
    return np.char.add(np.char.add(table["subject"].to_numpy(dtype=str), " "), names)


def center_inputs(column, samples, names):
    """Centre volumes within the groups that the option names.

    Parameters
    ----------
    column : str or None
        Value of the option; None does nothing.
    samples : NiftiSamples
        Volumes to decode.
    names : array-like of shape (n_samples,) or None
        What the column holds for each of them; None takes their groups.

    Returns
    -------
    samples : NiftiSamples
    centring : dict or None
        How they were centred, as JSON-serialisable values.
    """
    if column is None:
        return samples, None
    names = None if column == OWN_GROUPS else np.asarray(names, dtype=str)
    balance = describe_balance(samples.y, samples.groups if names is None else names)
    samples = center_groups(samples, by=names)
    settings = origin_of(samples).derivation[1]
    return samples, {
        "column": column or None,
        "scale": settings["scale"],
        "maps_per_group": settings["maps_per_group"],
        **balance,
    }


def centering_sentences(centring):
    """Return what a reader of the scores has to know of centring."""
    if centring is None or not centring["n_forced_choice"]:
        return []
    n_forced = counted(centring["n_forced_choice"], "centred group")
    return [
        f"Forced choice: {n_forced} of {centring['n_groups']} had one volume per class, which were "
        "compared with each other. That is easier than classifying a single volume."
    ]


def gain_sentences(samples, pipeline, cv, result):
    """Return in words what centring was worth to a linear model.

    Parameters
    ----------
    samples : NiftiSamples
        Volumes before centring.
    pipeline : DecodingPipeline
        The decoder, unfitted.
    cv : CrossValidation
        The splits.
    result : DecodingResult
        Scores after centring.

    Returns
    -------
    sentences : list of str
        Empty if the result has no linear model.
    """
    metric = result.metrics[0]

    def score(summary, model):
        rows = summary[(summary["model"] == model) & (summary["metric"] == metric)]
        return None if rows.empty else rows["score"].item()

    # A decoder that is the linear model itself is not compared with it.
    model = DECODER if "linear" in dict(pipeline.steps) else LINEAR
    centred = score(result.summary, model)
    if centred is None:
        return []
    plain = evaluate_decoder(
        linear_baseline(pipeline),
        samples,
        cv=cv.splitter,
        scoring=metric,
        baseline=None,
        permutation=None,
        random_state=cv.seed,
    )
    return [
        "The maps of each subject were centred: their mean was subtracted. Without that, logistic "
        f"regression reaches {score(plain.summary, DECODER):.3f} on the same folds instead of "
        f"{centred:.3f}."
    ]


def image_groups(args, samples):
    """Return what volumes to predict belong to: a group of a table, or their image.

    Parameters
    ----------
    args : argparse.Namespace
        Arguments of ``skfmri predict``.
    samples : NiftiSamples
        Volumes of the images.

    Returns
    -------
    names : ndarray of shape (n_samples,)
    """
    if args.group_table is None or not args.center_groups:
        return samples.acquisition_order()[0]
    column = args.group_column or "group"
    table = read_labels(args.group_table, {"group": column}, len(samples), "--group-table")
    check_order(args.group_table, table, {"group": column}, samples)
    names = table["group"]
    missing = np.flatnonzero(names.isna())
    if len(missing):
        raise ValueError(
            f"{args.group_table} names no group in {counted(len(missing), 'row')}, first in row "
            f"{missing[0] + 1} below the header. Fill the column {column!r}."
        )
    return names.to_numpy(dtype=str)


def center_as_trained(args, samples, names, record):
    """Centre volumes as the training samples of a model were, or raise ValueError.

    Parameters
    ----------
    args : argparse.Namespace
        Arguments of ``skfmri predict``.
    samples : NiftiSamples
        Volumes to predict.
    names : ndarray of shape (n_samples,)
        From `image_groups`.
    record : dict or None
        What the model says of its training samples.

    Returns
    -------
    samples : NiftiSamples
    """
    options = ("center_groups", "already_centered", "group_table", "group_column")
    given = [name for name in options if getattr(args, name)]
    centring = None if record is None else record["derivations"].get("center_groups")
    if centring is None:
        if given:
            known = "does not say how its training volumes were centred"
            if record is not None:
                known = "was trained on volumes that were not centred"
            found = ", ".join(map(option_of, given))
            raise ValueError(f"{args.model} {known}. Leave out {found}.")
        return samples
    if not args.center_groups and not args.already_centered:
        raise ValueError(
            f"{args.model} was trained on centred volumes: {describe_centring(centring)}. Add "
            "--center-groups, which centres the volumes of each image, or of each group that "
            "--group-table names; or --already-centered if that was done."
        )
    unused = [name for name in given if name.startswith("group_")]
    needed = "--center-groups" if args.already_centered else "--group-table"
    if unused and (args.already_centered or args.group_table is None):
        raise ValueError(
            f"{option_of(unused[0])} does nothing without {needed}. Add it, or leave "
            f"{option_of(unused[0])} out."
        )
    if args.already_centered:
        return samples
    n_alone = np.count_nonzero(np.unique(names, return_counts=True)[1] == 1)
    if n_alone:
        what = "images" if args.group_table is None else "groups"
        raise ValueError(
            f"{n_alone} of {len(np.unique(names))} {what} hold a single volume, which centring "
            "would make 0. Name what belongs together, such as all maps of a subject, with "
            "--group-table CSV."
        )
    samples = samples[:]
    samples.groups = names
    return center_groups(samples, scale=centring["scale"])
