"""Options that describe a decoder, turned into a pipeline with its splits."""

from dataclasses import dataclass

from sklearn.model_selection import GroupKFold, GroupShuffleSplit

from skfmri.cli.arguments import DEMO_EPOCHS, given
from skfmri.estimators.defaults import SLAB_CNN
from skfmri.model_selection import RepeatedGroupKFold
from skfmri.pipeline import DecodingPipeline
from skfmri.preprocessing import NiftiSlabRotator, VoxelZScorer
from skfmri.preprocessing.defaults import ROTATOR, ZSCORER

# Share of the training groups that are held out to stop training.
VALIDATION_SHARE = 0.2


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


def build_pipeline(args):
    """Return the pipeline that the arguments describe; what is not given keeps its default."""
    # Keras takes seconds to load: not before the input has been checked.
    from skfmri.estimators.classifier import SlabCNNClassifier, VolumeCNNClassifier

    network = given(args, vars(SLAB_CNN))
    if args.command == "demo" and not args.small_sample:
        network = {"epochs": DEMO_EPOCHS, **network}
    cls = {"2d": SlabCNNClassifier, "3d": VolumeCNNClassifier}[args.network]
    make = cls.for_small_samples if args.small_sample else cls
    validation = None
    if "patience" in network:
        validation = GroupShuffleSplit(1, test_size=VALIDATION_SHARE, random_state=args.seed)
    return DecodingPipeline(
        [
            ("slab", NiftiSlabRotator(**given(args, vars(ROTATOR)))),
            ("zscore", VoxelZScorer(**given(args, vars(ZSCORER)))),
            ("cnn", make(**network, random_state=args.seed)),
        ],
        validation=validation,
    )


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
