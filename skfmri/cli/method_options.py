"""Options that describe a decoder with its cross-validation."""

import argparse

from skfmri.cli.shared_options import (
    add_anatomy_option,
    add_cache_option,
    add_output_options,
    add_unless_given,
    option_text,
)
from skfmri.cli.values import (
    parse_angle,
    parse_integers,
    parse_jobs,
    parse_natural,
    parse_number,
    parse_repeats,
    parse_slab,
    parse_spread,
    parse_threshold,
    typed,
)
from skfmri.estimators.defaults import SLAB_CNN, SMALL_SAMPLE, VOLUME_CNN
from skfmri.preprocessing.defaults import ROTATOR, ZSCORER


def add_method_options(parser, epochs):
    """Add the options of slab, network and cross-validation."""
    _add_slab_options(parser.add_argument_group("slab"))
    _add_network_options(parser.add_argument_group("network"), epochs)
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


def _add_network_options(network, epochs):
    def add(name, text, **options):
        slab, volume = vars(SLAB_CNN)[name], vars(VOLUME_CNN)[name]
        default = epochs if name == "epochs" else slab
        shown = f"{text} (default: {typed(default)}"
        if volume != slab:
            shown += f"; {typed(volume)} with --network 3d"
        add_unless_given(network, name, f"{shown})", **options)

    network.add_argument(
        "--network",
        choices=("2d", "3d"),
        default="2d",
        help="2d takes slices as channels, 3d convolves along all axes (default: 2d)",
    )
    small = (f"{option_text(name)} {typed(value)}" for name, value in SMALL_SAMPLE.items())
    network.add_argument(
        "--small-sample",
        action="store_true",
        help=f"other defaults for fewer than a few hundred volumes: {', '.join(small)}",
    )
    add("filters", "number of filters in the first block", type=parse_number)
    add("n_blocks", "number of convolution blocks", type=parse_number)
    add("kernel_size", "voxels along each side of the convolution", type=parse_number)
    add("dense_units", "units of the dense layers", type=parse_integers, metavar="N,N")
    add("dropout", "dropout rate", type=float)
    add("batch_norm_momentum", "momentum of batch normalisation", type=float)
    add(
        "linear_path",
        "C of a logistic regression of all voxels that the network starts from, or 'none'",
        type=parse_threshold,
        metavar="C",
    )
    add(
        "n_members",
        "networks whose probabilities are averaged",
        option="--members",
        type=parse_number,
    )
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
        help="do not compare with logistic regression on the same slab",
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
        "--no-maps",
        dest="maps",
        action="store_false",
        help="do not map which voxels drive the predictions",
    )
    run.add_argument(
        "--jobs", type=parse_jobs, default=1, metavar="N", help="folds at a time (default: 1)"
    )
    add_anatomy_option(run)
    add_cache_option(run)
    add_output_options(run)
