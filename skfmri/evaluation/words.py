"""Scores as sentences have them."""

ERROR = "neg_"
WITHIN = "_within_groups"
WORDS = {"r2": "R2", "pearson": "Pearson correlation", "spearman": "Spearman correlation"}
WORDS |= {f"{name}{WITHIN}": f"{WORDS[name]} within groups" for name in ("pearson", "spearman")}


def metric_in_words(metric):
    """Return the name of a metric in words; of an error without the sign that makes it a score."""
    return WORDS.get(
        metric, metric.removeprefix(ERROR).replace("_", " ") if is_error(metric) else metric
    )


def is_error(metric):
    """Return whether a metric is the negative of an error, so that larger is better."""
    return metric.startswith(ERROR)


def score_in_words(metric, score, *, signed=False):
    """Return a score with three decimals, or an error in its unit with four digits.

    Parameters
    ----------
    metric : str
        Name of the metric.
    score : float
        The score, or a difference of two; larger is better.
    signed : bool, default=False
        Whether positive numbers have a sign.

    Returns
    -------
    text : str
    """
    sign = "+" if signed else ""
    # Sums, since the negative of zero, or of a difference of equal scores, is -0.
    return f"{0 - score:{sign}.4g}" if is_error(metric) else f"{0 + score:{sign}.3f}"


def range_in_words(metric, low, high, *, signed=False):
    """Return an interval of scores; that of an error begins with the smaller error."""
    ends = (high, low) if is_error(metric) else (low, high)
    return " to ".join(score_in_words(metric, end, signed=signed) for end in ends)
