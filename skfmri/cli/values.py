"""Values as they are typed on the command line."""

import argparse
import contextlib
import csv
import math
import os

from skfmri.estimators.defaults import MULTISCALE


def typed(value, name=None):
    """Return a value as it would be typed for an option, which is called as a parameter."""
    if value is None:
        return "all" if name == "slab" else "none"
    if isinstance(value, dict):
        value = [f"{key}-{part}" for key, part in value.items()]
    if isinstance(value, (tuple, list)):
        return (":" if name == "slab" else ",").join(map(str, value))
    return str(value).replace(" ", "") if name == "angle" else str(value)


# Compiled code counts no further, and nobody waits for so many of anything.
MOST = 2**31 - 1
# The largest seed that NumPy takes.
MOST_SEED = 2**32 - 1
# Each takes rows in tables and names in the list of files.
MOST_REPEATS = 10_000
# So many processes would be started at once.
MOST_JOBS = 1024


def parse_path(text):
    """Return a path with the home of a user for ``~``, or refuse an empty one."""
    # pathlib takes "" for the current directory, which nobody who types it means.
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty; '.' is the current directory")
    # Shells leave ~ as it is in --out=~/results and inside quotes.
    path = os.path.expanduser(text)
    if path.startswith("~"):
        raise argparse.ArgumentTypeError(
            f"{text!r} begins with the home of an unknown user; './{text}' is in this directory"
        )
    return path


def parse_natural(text):
    """Return an integer of at least 0, such as a seed."""
    return _whole_number(text, 0, MOST_SEED)


def parse_repeats(text):
    """Return an integer of at least 1, of which each means a whole cross-validation."""
    return _whole_number(text, 1, MOST_REPEATS)


def parse_number(text):
    """Return an integer that compiled code can hold; the estimators check narrower limits."""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{_shortened(text)!r} is not a whole number") from None
    if abs(number) > MOST:
        raise _too_large(text)
    return number


def parse_jobs(text):
    """Return a number of processes; a negative one counts back from that of the processors."""
    number = parse_number(text)
    if number == 0 or number > MOST_JOBS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a whole number other than 0 up to {MOST_JOBS}"
        )
    return number


def _too_large(text):
    return argparse.ArgumentTypeError(
        f"{_shortened(text)} is too large; {MOST} is the largest possible"
    )


def _whole_number(text, least, most):
    # No number within the limits has so many digits, and Python refuses to read some that have.
    is_number = text.strip().isdecimal() and len(text) < 100
    if not is_number or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(
            f"{_shortened(text)!r} is not a whole number from {least} to {most}"
        )
    return int(text)


def parse_names(text):
    """Return names that are separated by commas."""
    # A name that holds a comma is quoted, as in a table.
    (names,) = csv.reader([text], skipinitialspace=True)
    return [name.strip() for name in names if name.strip()]


def parse_integers(text):
    """Return integers that are separated by commas."""
    try:
        numbers = tuple(int(number) for number in parse_names(text))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{_shortened(text)!r} is not a list such as 1024,256,64"
        ) from None
    if max(map(abs, numbers), default=0) > MOST:
        raise _too_large(text)
    return numbers


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


def parse_mask(text):
    """Return the path of a mask, and an int or several after a colon; a file of that name wins."""
    path = parse_path(text)
    stem, separator, tail = path.rpartition(":")
    if os.path.exists(path) or not stem or not separator:
        return path, None
    parts = [part.strip() for part in tail.split(",")]
    if not all(part.lstrip("-").isdecimal() and len(part) < 20 for part in parts):
        raise argparse.ArgumentTypeError(
            f"{_shortened(tail)!r} after the colon is not a label such as 17, or several such as "
            f"17,53, and there is no file {_shortened(text)}"
        )
    labels = tuple(map(int, parts))
    return stem, labels if len(labels) > 1 else labels[0]


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
    """Return a number of at least 0, None for 'none', or 'auto'."""
    if text == "auto":
        return text
    number = parse_threshold(text)
    if number is not None and number < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is below 0; 'none' turns it off")
    return number


def parse_linear_path(text):
    """Return a number, "multiscale", or None for 'none'."""
    return text if text == MULTISCALE else parse_threshold(text)


def parse_threshold(text):
    """Return a number, or None for 'none'."""
    if text == "none":
        return None
    with contextlib.suppress(ValueError):
        number = float(text)
        if not math.isnan(number):
            return number
    raise argparse.ArgumentTypeError(f"{text!r} is not a number or 'none'")


def _shortened(text):
    # Help is shown without NumPy, which this would import.
    from skfmri._validation import shortened

    return shortened(text)
