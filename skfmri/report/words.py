"""Numbers, names or counts as a sentence has them."""

import math
import re

MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
NO_BREAK = "\N{NO-BREAK SPACE}"
NOTHING = "\N{EN DASH}"
# A number ends before the full stop of its sentence.
P_VALUE = re.compile(r"\bp = (\d[\d.]*(?:e-\d+)?\b)")
NEGATIVE = re.compile(r"(?<![\w.-])-(?=\d)")


def number(value, digits=3, *, signed=False):
    """Return a number with a fixed number of digits, or a dash for none."""
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    # What rounds to zero has no sign.
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def exact(value):
    """Return a number with the digits that it was given with, or a dash for none."""
    if not math.isfinite(value):
        return NOTHING
    return f"{value:,.12g}".replace("-", MINUS)


def p_value(value):
    """Return "p = 0.012", or a bound if p is too small to write out."""
    if value is None or not math.isfinite(value):
        return "p is not defined"
    return "p < 0.0001" if value < 0.0001 else f"p = {value:.2g}"


def typeset(sentence):
    """Return a sentence of an evaluation with numbers as the rest of a report has them."""
    sentence = P_VALUE.sub(lambda found: p_value(float(found[1])), sentence)
    return NEGATIVE.sub(MINUS, sentence)


def percent(share):
    """Return a share as a whole number of percent."""
    return f"{share:.0%}"


def counted(count, noun, plural=None):
    """Return a count with its noun, such as "1 group" or "2 groups"."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def joined(names, last="and"):
    """Return names as a list in words, such as "a, b and c"."""
    names = [str(name) for name in names]
    return f" {last} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def ranged(values):
    """Return "3", or "3 to 5" if values differ."""
    low, high = min(values), max(values)
    return exact(low) if low == high else f"{exact(low)} to {exact(high)}"


def by(lengths):
    """Return lengths as "40 × 51 × 41"."""
    return f"{NO_BREAK}{TIMES}{NO_BREAK}".join(exact(round(length, 3)) for length in lengths)


def upper(text):
    """Return a text with its first letter as a capital."""
    return text[:1].upper() + text[1:]


def words_of(name):
    """Return the name of a metric or method in words."""
    return str(name).replace("_", " ")
