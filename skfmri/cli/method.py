"""Options that describe a decoder, turned into a pipeline with its splits."""

import math
import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.base import clone, is_regressor
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, LeaveOneGroupOut

from skfmri.cli.arguments import DEMO_EPOCHS, DEMO_EPOCHS_SMALL
from skfmri.cli.initial_weights import network_kind, read_source
from skfmri.cli.method_options import AUTO, NETWORK, NOTEBOOK, SMALL
from skfmri.cli.shared_options import given
from skfmri.cli.usage import predicts_numbers
from skfmri.cli.wording import option_of
from skfmri.estimators.defaults import SLAB_CNN, SMALL_SAMPLE_LIMIT
from skfmri.estimators.origin import SOURCE
from skfmri.evaluation.baseline import BASELINES
from skfmri.model_selection import RepeatedGroupKFold
from skfmri.pipeline import DecodingPipeline
from skfmri.preprocessing import NiftiSlabRotator, VoxelZScorer
from skfmri.preprocessing.defaults import ROTATOR, ZSCORER
from skfmri.preprocessing.mask import read_region
from skfmri.preprocessing.zscore import choose_thresholds

# Share of the training groups that are held out to stop training.
VALIDATION_SHARE = 0.2
# Beginnings of the names of classes, by the value of --network.
SHAPES = {"2d": "SlabCNN", "3d": "VolumeCNN"}
# Options of the network that a linear model has, too.
WEIGHTS = {"linear": ("class_weight",), "multiscale": ()}


@dataclass(frozen=True)
class CrossValidation:
    """How groups are divided.

    Attributes
    ----------
    splitter : object
        Splitter of scikit-learn; None leaves one group out at a time.
    n_splits : int
        Number of splits.
    n_folds : int or None
        Number of folds; None leaves one group out at a time.
    n_repeats : int
        How often the groups are divided.
    seed : int
        Seed of the splits and, fold by fold, of the models.
    """

    splitter: object
    n_splits: int
    n_folds: int | None
    n_repeats: int
    seed: int


def check_decoder(args):
    """Raise ValueError if options describe a network, but the decoder is another."""
    if args.decoder == NETWORK:
        return
    names = [name for name in given(args, vars(SLAB_CNN)) if name not in WEIGHTS[args.decoder]]
    options = [option_of(name) for name in names]
    options += [f"--network {args.network}"] if args.network is not None else []
    options += [f"--size {args.size}"] if args.size != AUTO else []
    if options:
        raise ValueError(
            f"--decoder {args.decoder} is not a network, so {options[0]} means nothing. Leave it "
            "out, or --decoder."
        )


def smallest_training_set(cv, samples):
    """Return the smallest number of volumes that a fold trains on.

    Parameters
    ----------
    cv : CrossValidation
        How groups are divided.
    samples : NiftiSamples
        All volumes.

    Returns
    -------
    n_train : int
    """
    splitter = LeaveOneGroupOut() if cv.splitter is None else cv.splitter
    splits = splitter.split(np.empty(len(samples)), samples.y, samples.groups)
    return min(len(train) for train, _ in splits)


def choose_size(args, n_train):
    """Return the size of the network, and why it was chosen.

    Parameters
    ----------
    args : argparse.Namespace
        Arguments.
    n_train : int
        The smallest number of volumes that a fold trains on.

    Returns
    -------
    size : dict or None
        ``name``, "small" or "notebook", ``asked``, which may be "auto", ``n_train`` and ``limit``,
        JSON-serialisable. None if the decoder is not a network, or has the size of a saved one.
    """
    if args.decoder != NETWORK or hasattr(args, SOURCE):
        return None
    name = args.size
    if name == AUTO:
        name = SMALL if n_train < SMALL_SAMPLE_LIMIT else NOTEBOOK
    return {"name": name, "asked": args.size, "n_train": n_train, "limit": SMALL_SAMPLE_LIMIT}


def build_pipeline(args, size=None):
    """Return the pipeline that the arguments describe; what is not given keeps its default.

    Parameters
    ----------
    args : argparse.Namespace
        Arguments.
    size : dict or None, default=None
        From `choose_size`. None takes the size that is asked for, and the notebook's for "auto".

    Returns
    -------
    pipeline : DecodingPipeline or sklearn.pipeline.Pipeline
        Its first steps are called "slab" and "zscore"; the last is the decoder.
    """
    head = [
        ("slab", NiftiSlabRotator(**given(args, vars(ROTATOR)))),
        ("zscore", VoxelZScorer(**given(args, vars(ZSCORER)))),
    ]
    balance = {"undersample": True, "random_state": args.seed} if args.undersample else {}
    is_of_numbers = predicts_numbers(args)
    if args.decoder != NETWORK:
        # Only whether it is a regressor matters of the last step.
        last = DummyRegressor() if is_of_numbers else None
        pipeline = BASELINES[args.decoder](DecodingPipeline([*head, (NETWORK, last)], **balance))
        pipeline[-1].set_params(**given(args, WEIGHTS[args.decoder]))
        return pipeline
    # Keras takes seconds to load: not before the input has been checked.
    from skfmri import estimators

    network = given(args, vars(SLAB_CNN))
    is_small = (args.size if size is None else size["name"]) == SMALL
    if args.command == "demo":
        network = {"epochs": DEMO_EPOCHS_SMALL if is_small else DEMO_EPOCHS, **network}
    kind = "Regressor" if is_of_numbers else "Classifier"
    cls = getattr(estimators, SHAPES[args.network or "2d"] + kind)
    make = cls.for_small_samples if is_small else cls
    if SOURCE in network:
        make, saved = read_source(args)
        if is_regressor(make()) != is_of_numbers:
            # Another kind of output on the same layers.
            make = getattr(estimators, SHAPES[network_kind(make)] + kind)
        network = {**saved, **network, SOURCE: saved[SOURCE]}
    validation = None
    if "patience" in network:
        validation = GroupShuffleSplit(1, test_size=VALIDATION_SHARE, random_state=args.seed)
    steps = [*head, ("cnn", make(**network, random_state=args.seed))]
    return DecodingPipeline(steps, validation=validation, **balance)


def count_parameters(pipeline, sample_shape, n_outputs):
    """Return how many parameters the network of a pipeline has; None if it has no network.

    Raises an error if the network cannot be built, or takes more memory than there is.

    Parameters
    ----------
    pipeline : pipeline
        From `build_pipeline`.
    sample_shape : tuple of int
        Shape of a slab.
    n_outputs : int
        Number of classes; 1 for numbers.

    Returns
    -------
    n_parameters : int or None
    """
    classifier = pipeline[-1]
    if not hasattr(classifier, "build_network"):
        return None
    return classifier.build_network(sample_shape, n_outputs).count_params()


def check_mask(args):
    """Raise an error unless there is a region in the mask, before any volume is read."""
    if hasattr(args, "mask"):
        read_region(args.mask, args.label)


def suit_thresholds(args, pipeline, samples):
    """Set the thresholds that the user left open if their defaults do not suit the data.

    The choice sees all volumes, those held out later included, but no label: it finds the unit of
    the data, which is the same in all folds, so that no score can profit from it.

    Parameters
    ----------
    args : argparse.Namespace
        Arguments.
    pipeline : DecodingPipeline
        Its rotator is fitted; its z-scorer is changed.
    samples : NiftiSamples
        All volumes.

    Returns
    -------
    choices : dict of str to dict
        What was chosen and why, from `choose_thresholds`.

    Raises
    ------
    ValueError
        If no voxel would be left.
    """
    slabs = pipeline["slab"].transform(samples)
    choices = choose_thresholds(slabs, **given(args, vars(ZSCORER)))
    scorer = pipeline["zscore"]
    scorer.set_params(**{name: found["value"] for name, found in choices.items()})
    # What the user has set may leave no voxel. Folds, which have other samples, do the warning.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clone(scorer).fit(slabs)
    return choices


def choose_splits(args, n_groups):
    """Return how the arguments divide groups.

    Parameters
    ----------
    args : argparse.Namespace
        Arguments.
    n_groups : int
        Number of groups.

    Returns
    -------
    cross_validation : CrossValidation
    """
    folds, repeats, seed = args.folds, args.repeats, args.seed
    if n_groups < 2:
        raise ValueError(
            "All volumes are in one group, but cross-validation needs two or more. Choose groups "
            "with --group-column, or with --groups for a BIDS dataset."
        )
    if folds is not None and not 2 <= folds <= n_groups:
        raise ValueError(
            f"--folds {folds} is not possible with {n_groups} groups. Choose 2 to {n_groups} folds."
        )
    n_left = n_groups - math.ceil(n_groups / (folds or n_groups))
    if hasattr(args, "patience") and n_left < 2:
        raise ValueError(
            f"--patience holds out one of the groups that a fold trains on, but of {n_groups} "
            f"groups it trains on {n_left}. Use more groups or folds, or leave --patience out."
        )
    if folds is None:
        if repeats > 1:
            raise ValueError(
                "--repeats needs --folds: leaving one group out at a time has only one way to "
                "split."
            )
        return CrossValidation(None, n_groups, None, 1, seed)
    if repeats == 1:
        splitter = GroupKFold(folds, shuffle=True, random_state=seed)
    else:
        splitter = RepeatedGroupKFold(folds, n_repeats=repeats, random_state=seed)
    return CrossValidation(splitter, splitter.get_n_splits(), folds, repeats, seed)
