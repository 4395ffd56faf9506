"""Differences of a decoder to other models in words."""

import numpy as np

from skfmri.evaluation.words import (
    is_error,
    metric_in_words,
    range_in_words,
    score_in_words,
)
from skfmri.statistics import holm_correction

# How to use the models that every evaluation fits beside the decoder.
WAYS = {
    "linear": "logistic regression, skfmri.evaluation.linear_baseline (on the command line "
    "--decoder linear)",
    "multiscale": "the multiscale ridge, skfmri.MultiscaleRidgeClassifier (on the command line "
    "--decoder multiscale)",
}
WAYS_TO_NUMBERS = {
    "linear": "ridge regression, skfmri.evaluation.linear_baseline (on the command line --decoder "
    "linear)",
    "multiscale": "the multiscale ridge, skfmri.MultiscaleRidgeRegressor (on the command line "
    "--decoder multiscale)",
}


def comparison_sentences(rows, confidence, is_network, ways=WAYS):
    """Return how a decoder compares with each of several models, and what to conclude.

    Parameters
    ----------
    rows : list of dict
        Rows of `DecodingResult.comparisons` for one metric, without the dummy.
    confidence : float
        Confidence level of the intervals.
    is_network : bool
        Whether the decoder is a network, so that any of the others is simpler.
    ways : dict of str to str, default=WAYS
        How to use models, by their names.

    Returns
    -------
    sentences : list of str
        One for each model, and the conclusion if there is one to draw.
    """
    sentences = [_compare(row, f"{confidence:.0%}") for row in rows]
    tested = [row for row in rows if np.isfinite(row["p_value"])]
    if tested:
        sentences.append(_conclude(tested, 1 - confidence, is_network, ways))
    return [text for text in sentences if text]


def _compare(row, percent):
    baseline, metric, difference = row["baseline"], row["metric"], row["difference"]
    if not np.isfinite(difference):
        return f"No difference to {baseline}: {metric} is not defined in every fold."
    if not np.isfinite(row["p_value"]):
        return _compare_untested(row, percent)
    unit = f" in {metric_in_words(metric)}" if is_error(metric) else ""
    numbers = range_in_words(metric, row["low"], row["high"], signed=True)
    numbers = f"{numbers}, p = {row['p_value']:.3g}"
    if row["low"] <= 0 <= row["high"]:
        gap = score_in_words(metric, difference, signed=True)
        return f"No clear difference to {baseline}{unit}: {gap}, {percent} interval {numbers}."
    word = "better" if difference > 0 else "worse"
    gap = score_in_words(metric, difference).removeprefix("-")
    return (
        f"The decoder is {word} than {baseline} by {gap}{unit}, {percent} interval of the "
        f"difference {numbers}."
    )


def _compare_untested(row, percent):
    """Return a difference in words that is not tested over folds."""
    baseline, metric = row["baseline"], row["metric"]
    if not row["df"]:
        return f"One fold says nothing about the difference to {baseline}."
    text = f"The difference to {baseline} in {metric_in_words(metric)} is "
    text += score_in_words(metric, row["difference"], signed=True)
    if np.isfinite(row["group_low"]):
        ends = range_in_words(metric, row["group_low"], row["group_high"], signed=True)
        text += f", {percent} interval over groups {ends}"
    return f"{text}. It is not tested, since this metric is not a mean over folds."


def _conclude(rows, level, is_network, ways):
    """Return which model to prefer, or an empty text."""
    corrected = holm_correction([row["p_value"] for row in rows])
    # The model with the highest score, since the decoder's is the same in all differences.
    best, p_value = min(zip(rows, corrected, strict=True), key=lambda pair: pair[0]["difference"])
    several = len(rows) > 1
    if all(row["low"] > 0 for row in rows):
        # To be better than the best it must be better than each, so no correction is due.
        largest = max(row["p_value"] for row in rows)
        return f"It is better than the best of these models: p = {largest:.3g}." if several else ""
    way = ways.get(best["baseline"], best["baseline"])
    is_worse = best["difference"] < 0 and p_value <= level
    after = f" after correction for {len(rows)} comparisons" if several else ""
    if is_worse:
        return f"Recommended here: {way}. The decoder is clearly worse{after}."
    note = ""
    if best["high"] < 0:
        note = f" The difference to {best['baseline']} is not clear{after} (p = {p_value:.3g})."
    if not is_network or best["baseline"] not in ways:
        return note.strip()
    if best["difference"] < 0:
        return f"Recommended here: {way}, which scored highest and fits in seconds.{note}"
    return f"Recommended here: {way}. The network is not clearly better, and this fits in seconds."
