"""Numbers, names or counts as a sentence has them."""

import math
import re

from skfmri.evaluation.words import is_error, metric_in_words, score_in_words

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
    return _with_minus(f"{value:{'+' if signed else ''}.{digits}f}")


def score(metric, value, *, signed=False):
    """Return a score, an error without the sign that makes it one, or a dash for none."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return _with_minus(score_in_words(metric, value, signed=signed))


def oriented(metric, value):
    """Return a value with the sign of what is shown: of an error, not of the score that it makes.

    Parameters
    ----------
    metric : str
        Name of the metric.
    value : float
        A t statistic, or anything else with the sign of a score.

    Returns
    -------
    value : float
    """
    return -value if is_error(metric) else value


def score_range(metric, low, high, *, signed=False):
    """Return "0.7 to 0.8", of an error the smaller one first, or a dash without an interval."""
    ends = (high, low) if is_error(metric) else (low, high)
    texts = [score(metric, end, signed=signed) for end in ends]
    return NOTHING if NOTHING in texts else " to ".join(texts)


def _with_minus(text):
    # What rounds to zero has no sign.
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def significant(value, digits=2):
    """Return a number with a few significant digits, or a dash for none."""
    return exact(float(f"{value:.{digits}g}"))


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


def counted_range(counts, noun):
    """Return "1 volume", or "3 to 5 volumes" if counts differ."""
    text = ranged(counts)
    return f"{text} {noun}" if text == "1" else f"{text} {noun}s"


def by(lengths):
    """Return lengths as "40 × 51 × 41"."""
    return f"{NO_BREAK}{TIMES}{NO_BREAK}".join(exact(round(length, 3)) for length in lengths)


def upper(text):
    """Return a text with its first letter as a capital."""
    return text[:1].upper() + text[1:]


def words_of(name):
    """Return the name of a metric or method in words."""
    return metric_in_words(str(name)).replace("_", " ")
