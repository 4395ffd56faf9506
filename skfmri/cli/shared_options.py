"""Options that several commands have."""

import argparse

from skfmri.cli.values import parse_number, parse_path


def add_anatomy_option(parser):
    """Add the image that the report draws on."""
    parser.add_argument(
        "--anatomy",
        type=parse_path,
        metavar="IMAGE",
        help="image that the report draws on (default: the mean volume)",
    )


def add_cache_option(parser):
    """Add the directory for temporary files."""
    parser.add_argument(
        "--cache",
        type=parse_path,
        metavar="DIR",
        help="directory for decoded copies of images and other large temporary files (default: "
        "$SKFMRI_CACHE, or the user's cache)",
    )


def add_output_options(parser):
    """Add what is printed."""
    parser.add_argument(
        "--quiet", action="store_true", help="print nothing but warnings and errors"
    )
    parser.add_argument("--traceback", action="store_true", help="show where an error arose")


class StoreMask(argparse.Action):
    """Takes a mask apart from the labels that are typed behind it."""

    def __call__(self, parser, namespace, values, option_string=None):
        """Set two arguments, as the rotator has two parameters."""
        namespace.mask, namespace.label = values


def add_unless_given(parser, name, text, option=None, **options):
    """Add an option that is absent unless it is given."""
    if "choices" not in options:
        options.setdefault("metavar", "N" if options["type"] is parse_number else "X")
    options |= {"dest": name, "default": argparse.SUPPRESS, "help": text}
    parser.add_argument(option or option_text(name), **options)


def option_text(name):
    """Return the option of a parameter that is called the same."""
    return "--" + name.replace("_", "-")


def given(args, names):
    """Return those of some options that were given, by name."""
    return {name: getattr(args, name) for name in names if hasattr(args, name)}
