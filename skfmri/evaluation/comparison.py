"""Differences of a decoder to other models in words."""

import numpy as np

from skfmri.statistics import holm_correction

# How to use the models that every evaluation fits beside the decoder.
WAYS = {
    "linear": "logistic regression, skfmri.evaluation.linear_baseline (on the command line "
    "--decoder linear)",
    "multiscale": "the multiscale ridge, skfmri.MultiscaleRidgeClassifier (on the command line "
    "--decoder multiscale)",
}


def comparison_sentences(rows, confidence, is_network):
    """Return how a decoder compares with each of several models, and what to conclude.

    Parameters
    ----------
    rows : list of dict
        Rows of `DecodingResult.comparisons` for one metric, without the dummy.
    confidence : float
        Confidence level of the intervals.
    is_network : bool
        Whether the decoder is a network, so that any of the others is simpler.

    Returns
    -------
    sentences : list of str
        One for each model, and the conclusion if there is one to draw.
    """
    sentences = [_compare(row, f"{confidence:.0%}") for row in rows]
    tested = [row for row in rows if np.isfinite(row["p_value"])]
    if tested:
        sentences.append(_conclude(tested, 1 - confidence, is_network))
    return [text for text in sentences if text]


def _compare(row, percent):
    gap = abs(row["difference"])
    numbers = f"{row['low']:+.3f} to {row['high']:+.3f}, p = {row['p_value']:.3g}"
    if not np.isfinite(row["difference"]):
        return f"No difference to {row['baseline']}: {row['metric']} is not defined in every fold."
    if not np.isfinite(row["p_value"]):
        return f"One fold says nothing about the difference to {row['baseline']}."
    if row["low"] <= 0 <= row["high"]:
        return (
            f"No clear difference to {row['baseline']}: {row['difference']:+.3f}, {percent} "
            f"interval {numbers}."
        )
    word = "better" if row["difference"] > 0 else "worse"
    return (
        f"The decoder is {word} than {row['baseline']} by {gap:.3f}, {percent} interval of the "
        f"difference {numbers}."
    )


def _conclude(rows, level, is_network):
    """Return which model to prefer, or an empty text."""
    corrected = holm_correction([row["p_value"] for row in rows])
    # The model with the highest score, since the decoder's is the same in all differences.
    best, p_value = min(zip(rows, corrected, strict=True), key=lambda pair: pair[0]["difference"])
    several = len(rows) > 1
    if all(row["low"] > 0 for row in rows):
        # To be better than the best it must be better than each, so no correction is due.
        largest = max(row["p_value"] for row in rows)
        return f"It is better than the best of these models: p = {largest:.3g}." if several else ""
    way = WAYS.get(best["baseline"], best["baseline"])
    is_worse = best["difference"] < 0 and p_value <= level
    after = f" after correction for {len(rows)} comparisons" if several else ""
    if is_worse:
        return f"Recommended here: {way}. The decoder is clearly worse{after}."
    note = ""
    if best["high"] < 0:
        note = f" The difference to {best['baseline']} is not clear{after} (p = {p_value:.3g})."
    if not is_network or best["baseline"] not in WAYS:
        return note.strip()
    if best["difference"] < 0:
        return f"Recommended here: {way}, which scored highest and fits in seconds.{note}"
    return f"Recommended here: {way}. The network is not clearly better, and this fits in seconds."
