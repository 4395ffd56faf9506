"""Options that describe a decoder with its cross-validation."""

import argparse

from skfmri.cli.shared_options import (
    StoreMask,
    add_unless_given,
)
from skfmri.cli.values import (
    parse_angle,
    parse_integers,
    parse_jobs,
    parse_linear_path,
    parse_mask,
    parse_names,
    parse_natural,
    parse_number,
    parse_path,
    parse_repeats,
    parse_slab,
    parse_spread,
    parse_threshold,
    typed,
)
from skfmri.estimators.defaults import SLAB_CNN, SMALL_SAMPLE, SMALL_SAMPLE_LIMIT, VOLUME_CNN
from skfmri.preprocessing.defaults import ROTATOR, ZSCORER

# What is decoded with; the linear models are named as in the tables of results.
NETWORK, LINEAR_MODELS = "network", ("linear", "multiscale")
AUTO, SMALL, NOTEBOOK = "auto", "small", "notebook"


def add_method_options(parser, epochs, epochs_small):
    """Add the options of slab, network and cross-validation."""
    _add_slab_options(parser.add_argument_group("slab"))
    network = parser.add_argument_group("network")
    _add_kind_options(network)
    _add_network_options(network, epochs, epochs_small)
    _add_run_options(parser.add_argument_group("cross-validation"))


def _add_slab_options(slab):
    def add(name, text, otherwise=None, **options):
        # The option of a step is called as its parameter.
        defaults = vars(ROTATOR) | vars(ZSCORER)
        shown = f"{text} (default: {typed(defaults[name], name)}"
        if otherwise is not None:
            shown += f"; {otherwise}"
        add_unless_given(slab, name, f"{shown})", **options)

    add("angle", "rotation in radians, or in degrees as 20deg", type=parse_angle)
    add("axis", "world axis of the rotation", choices=("x", "y", "z"))
    add("slab", "first slice and end, or 'all'", type=parse_slab, metavar="FIRST:END")
    add("slab_reference", "volume in which slices are counted", choices=("crop", "grid"))
    slab.add_argument(
        "--no-crop",
        dest="crop",
        action="store_false",
        default=argparse.SUPPRESS,
        help="keep planes without data",
    )
    add("interpolation", "how volumes are resampled", choices=("continuous", "linear", "nearest"))
    add(
        "mask",
        "decode only voxels of a mask, or of labels of an atlas, such as atlas.nii.gz:17,53",
        type=parse_mask,
        action=StoreMask,
        metavar="FILE[:LABEL]",
    )
    add(
        "std_threshold",
        "spread below which voxels become 0, 'auto' or 'none'",
        otherwise="auto if that would silence too many voxels",
        type=parse_spread,
    )
    add(
        "mean_threshold",
        "mean below which none is subtracted, or 'none'",
        otherwise="none if too many means are negative",
        type=parse_threshold,
    )


def _add_kind_options(network):
    """Add what is decoded with, and the size of a network."""
    network.add_argument(
        "--decoder",
        choices=(NETWORK, *LINEAR_MODELS),
        default=NETWORK,
        help="a network, logistic regression (linear) or ridge regression on several smoothness "
        f"scales (multiscale) (default: {NETWORK})",
    )
    network.add_argument(
        "--network",
        choices=("2d", "3d"),
        help="2d takes slices as channels, 3d convolves along all axes (default: 2d)",
    )
    network.add_argument(
        "--size",
        choices=(AUTO, SMALL, NOTEBOOK),
        default=AUTO,
        help="defaults of the network: small for few volumes, notebook for the 2.3 million weights "
        "of the workshop notebook; auto takes small if a fold trains on fewer than "
        f"{SMALL_SAMPLE_LIMIT} volumes (default: {AUTO})",
    )
    network.add_argument(
        "--small-sample", dest="size", action="store_const", const=SMALL, help="--size small"
    )


def _add_initial_options(network):
    add_unless_given(
        network,
        "initial_weights",
        "start from the weights of a saved model, with its architecture (default: random weights)",
        type=parse_path,
        metavar="MODEL",
    )
    add_unless_given(
        network,
        "frozen",
        "layers that keep the weights of --initial-weights, such as block1_convolution,block1_norm "
        "(default: none)",
        type=parse_names,
        metavar="LAYER,LAYER",
    )


def _add_network_options(network, epochs, epochs_small):
    small = SMALL_SAMPLE | {"epochs": epochs_small}

    def add(name, text, **options):
        slab, volume = vars(SLAB_CNN)[name], vars(VOLUME_CNN)[name]
        default = epochs if name == "epochs" else slab
        shown = f"{text} (default: {typed(default)}"
        if volume != slab:
            shown += f"; {typed(volume)} with --network 3d"
        if name in small:
            shown += f"; {typed(small[name])} with --size small"
        add_unless_given(network, name, f"{shown})", **options)

    add("filters", "number of filters in the first block", type=parse_number)
    add("n_blocks", "number of convolution blocks", type=parse_number)
    add("kernel_size", "voxels along each side of the convolution", type=parse_number)
    add("dense_units", "units of the dense layers", type=parse_integers, metavar="N,N")
    add("dropout", "dropout rate", type=float)
    add("batch_norm_momentum", "momentum of batch normalization", type=float)
    add(
        "linear_path",
        "C of a logistic regression of all voxels that the network starts from, 'multiscale' for a "
        "ridge, or 'none'",
        type=parse_linear_path,
        metavar="C",
    )
    add(
        "n_members",
        "networks whose probabilities are averaged",
        option="--members",
        type=parse_number,
    )
    _add_initial_options(network)
    _add_balance_options(network)
    add("learning_rate", "step size of Adam", type=float)
    add("epochs", "passes over the training volumes", type=parse_number)
    add("batch_size", "volumes per training step", type=parse_number)
    add_unless_given(
        network,
        "patience",
        "stop after N epochs without improvement on groups held out of training (default: train "
        "for all epochs)",
        type=parse_number,
    )


def _add_balance_options(network):
    """Add what is done about classes of different frequency."""
    add_unless_given(
        network,
        "class_weight",
        "weight classes by how rare they are in training (default: all alike)",
        choices=("balanced",),
    )
    network.add_argument(
        "--undersample",
        action="store_true",
        help="fit on equally many volumes of each class, leaving out others of the training "
        "volumes at random",
    )


def _add_run_options(run):
    run.add_argument(
        "--folds",
        type=parse_number,
        metavar="N",
        help="number of folds (default: one group at a time)",
    )
    run.add_argument(
        "--repeats",
        type=parse_repeats,
        default=1,
        metavar="N",
        help="repeat the cross-validation with a new partition each time (default: 1)",
    )
    run.add_argument(
        "--seed",
        type=parse_natural,
        default=0,
        metavar="N",
        help="seed of folds, initial weights and sample order (default: 0)",
    )
    run.add_argument(
        "--no-baseline",
        dest="has_baseline",
        action="store_false",
        help="do not compare with logistic regression and ridge on the same slab",
    )
    run.add_argument(
        "--permutations",
        type=parse_natural,
        default=0,
        metavar="N",
        help="train anew with shuffled labels at most N times to test against chance: within "
        "groups, or of whole groups if each has one label (default: 0, which keeps the predictions "
        "and shuffles their labels)",
    )
    run.add_argument("--resume", action="store_true", help="continue an interrupted run in --out")
    run.add_argument(
        "--ignore-leaks", action="store_true", help="continue although a leak was found"
    )
    run.add_argument(
        "--jobs", type=parse_jobs, default=1, metavar="N", help="folds at a time (default: 1)"
    )
