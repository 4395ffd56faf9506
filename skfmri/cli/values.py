"""Values as they are typed on the command line."""

import argparse
import csv

from skfmri.preprocessing.defaults import ROTATOR


def typed(value):
    """Return a value as it would be typed."""
    if value is None:
        return "none"
    if isinstance(value, tuple):
        separator = ":" if value == ROTATOR.slab else ","
        return separator.join(map(str, value))
    return str(value)


def parse_path(text):
    """Return a path, or refuse an empty one."""
    # pathlib takes "" for the current directory, which nobody who types it means.
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty; '.' is the current directory")
    return text


def parse_names(text):
    """Return names that are separated by commas."""
    # A name that holds a comma is quoted, as in a table.
    (names,) = csv.reader([text], skipinitialspace=True)
    return [name.strip() for name in names if name.strip()]


def parse_integers(text):
    """Return integers that are separated by commas."""
    try:
        return tuple(int(number) for number in parse_names(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list such as 1024,256,64") from None


def parse_confounds(text):
    """Return a preset, or a list of components."""
    names = parse_names(text)
    return names[0] if len(names) == 1 else names


def parse_entities(text):
    """Return entities of file names, such as res-2, as a dict."""
    pairs = [name.partition("-") for name in parse_names(text)]
    if not pairs or not all(key and dash for key, dash, _ in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list such as res-2,echo-1")
    return {key: value for key, _, value in pairs}


def parse_slab(text):
    """Return first slice and end, or None for all slices."""
    if text == "all":
        return None
    first, separator, end = text.partition(":")
    if not separator or not first.isdecimal() or not end.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not FIRST:END, such as 12:15, or 'all'")
    return int(first), int(end)


def parse_angle(text):
    """Return a number of radians, or text such as 20deg for the rotator to read."""
    try:
        return float(text)
    except ValueError:
        if text.strip().endswith("deg"):
            return text
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of radians, nor of degrees such as 20deg"
        ) from None


def parse_spread(text):
    """Return a number, None for 'none', or 'auto'."""
    return text if text == "auto" else parse_threshold(text)


def parse_threshold(text):
    """Return a number, or None for 'none'."""
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number or 'none'") from None
