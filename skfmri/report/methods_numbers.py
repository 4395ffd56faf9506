"""Predicted numbers in sentences that a paper or a caption can quote."""

import numpy as np

from skfmri._validation import digits_apart
from skfmri.evaluation.result import DECODER, DUMMY
from skfmri.evaluation.words import WITHIN
from skfmri.report.words import counted, joined, score, score_range, significant, words_of

# Digits of the numbers to predict.
DIGITS = 4
# Methods whose maps are slopes, not contributions to the predicted number.
SLOPES = ("gradient", "smoothgrad")
LOSSES = {"mean_squared_error": "mean squared error", "mean_absolute_error": "mean absolute error"}
RIDGE_CV = (
    "ridge regression of all voxels (Hoerl and Kennard 1970; strength chosen by leaving out one "
    "training volume at a time, in closed form)"
)
STANDARDIZED = (
    "Numbers were standardised by the mean and standard deviation of those of the training "
    "volumes, and predictions carried back to their units."
)


def number_words(results):
    """Return range, mean and spread of the numbers to predict."""
    numbers = results.samples()["label"]
    n_digits = digits_apart(numbers, DIGITS)
    low, high, mean = (
        significant(value, n_digits) for value in numbers.agg(["min", "max", "mean"])
    )
    spread = significant(numbers.std(), DIGITS)
    return f"{low} to {high} (mean {mean}, standard deviation {spread})"


def variation_words(results):
    """Return whether the numbers to predict differ within groups."""
    table = results.numbers_per_group()
    n_varying = int((table["nunique"] > 1).sum())
    if n_varying:
        return f"varying within {n_varying} of {counted(len(table), 'group')}"
    return "the same throughout each group"


def number_sentence(results):
    """Return what is to be predicted."""
    name = f" ({results.number_name})" if results.number_name else ""
    return (
        f"The number to predict{name} ranges from {number_words(results)}, "
        f"{variation_words(results)}."
    )


def loss_words(network):
    """Return what the training of a network minimises."""
    loss = network["loss"]
    return f"the {LOSSES.get(loss, words_of(loss))} of standardised numbers"


def statistics_sentences(results, confidence, n_bootstraps, *, is_compared):
    """Return how predictions were scored, and differences tested.

    Parameters
    ----------
    results : Results
        Of a regressor.
    confidence : str
        Confidence level, such as "95%".
    n_bootstraps : int
        How often groups were drawn.
    is_compared : bool
        Whether there are differences between models.

    Returns
    -------
    sentences : list of str
    """
    within = _within(results)
    pooled = [name for name in results.metrics if not name.endswith(WITHIN)]
    averaged = ", averaged over repeats" if is_repeated(results) else ""
    sentences = [
        f"Scores ({joined(map(words_of, pooled))}) are those of the out-of-fold predictions of all "
        f"volumes together{averaged}."
    ]
    if "r2" in pooled:
        sentences.append(
            "R2 is one minus the sum of squared errors by that of squared distances of the true "
            "numbers from their mean, which unlike a squared correlation counts errors of mean and "
            "scale (Poldrack et al. 2020)."
        )
    if within:
        sentences.append(f"{_within_words(results)}.")
    sentences.append(
        f"{confidence} intervals come from drawing whole groups with replacement, "
        f"{n_bootstraps:,} times, and scoring the predictions of all drawn groups together: "
        "bias-corrected and accelerated percentiles (Efron 1987), expanded for few groups "
        "(Hesterberg 2015). Variation with other training volumes is not in them."
    )
    return sentences + (_comparison_sentences(results) if is_compared else [])


def _comparison_sentences(results):
    """Return which differences between models were tested how."""
    tested, untested = _tested_metrics(results)
    sentences = []
    if tested:
        sentences.append(
            f"Differences between models in {joined(map(words_of, tested))} were tested over folds "
            "by the corrected resampled t-test (Nadeau and Bengio 2003), two-sided, which allows "
            "for training volumes shared by folds. It compares what the errors of each fold take "
            "from the score of all. p values are not corrected for multiple comparisons."
        )
    if untested:
        sentences.append(
            f"Differences in {joined(map(words_of, untested))}, which are not means over folds, "
            "have an interval over groups, but no test."
        )
    return sentences


def _tested_metrics(results):
    """Return the metrics whose differences were tested, and those that were only compared."""
    rows = results.comparisons
    tested = set(rows.loc[rows["p_value"].notna(), "metric"])
    metrics = [name for name in results.metrics if (rows["metric"] == name).any()]
    return [m for m in metrics if m in tested], [m for m in metrics if m not in tested]


def explained_sentences(results):
    """Return how scores, intervals and tests came about, for readers of the tables."""
    averaged = ", averaged over repeats" if is_repeated(results) else ""
    sentences = [
        f"Scores are those of the predictions of all folds together{averaged}. Errors are in the "
        "unit of the numbers, and lower is better. The intervals come from drawing whole groups, "
        "because volumes of one group are alike; they do not cover the variation from other "
        "training volumes."
    ]
    tested, _ = _tested_metrics(results)
    if tested:
        sentences.append(
            f"The t-test of the differences in {joined(map(words_of, tested))} compares what each "
            "fold contributes, and allows for the training volumes that folds share."
        )
    sentences.append(
        "Chance is the score of the best constant: the median for the mean absolute error, "
        "otherwise the mean."
    )
    correlations = [name for name in results.metrics if name in ("pearson", "spearman")]
    if correlations:
        sentences += _correlation_sentences(results)
    return sentences


def _correlation_sentences(results):
    """Return what a correlation of all predictions says, and what it does not."""
    text = "Correlations of all predictions also count what distinguishes groups, such as sites"
    if _within(results):
        sentences = [f"{text}. {_within_words(results)}; their SD is over these groups."]
    else:
        sentences = [f"{text}; numbers do not vary within groups, so there is none within groups."]
    if DUMMY in results.models:
        sentences.append(
            "The correlation of all predictions of the dummy is negative without any information: "
            "the higher the numbers that are held out, the lower is the mean of the others."
        )
    return sentences


def _within_words(results):
    n_varying = int((results.numbers_per_group()["nunique"] > 1).sum())
    return (
        f"Correlations within groups are means over {counted(n_varying, 'group')} whose numbers "
        "vary, weighted by volumes"
    )


def _within(results):
    """Return the metrics that are means over groups."""
    return [name for name in results.metrics if name.endswith(WITHIN)]


def is_repeated(results):
    """Return whether each volume was predicted several times."""
    return bool(results.of_model("folds", DECODER)["repeat"].max() > 0)


def other_scores_sentence(results, confidence):
    """Return the scores of the decoder but for the first metric, in a list of up to one."""
    rows = results.of_model("summary", DECODER)
    rows = rows[(rows["metric"] != results.metrics[0]) & np.isfinite(rows["score"])]
    texts = []
    for row in rows.to_dict("records"):
        text = f"{words_of(row['metric'])} {score(row['metric'], row['score'])}"
        if np.isfinite(row["low"]):
            text += f" ({score_range(row['metric'], row['low'], row['high'])})"
        texts.append(text)
    if not texts:
        return []
    return [f"Further scores, with {confidence} intervals: {joined(texts)}."]


def map_words(saliency):
    """Return what positive and negative values of a map say of the predicted number.

    Parameters
    ----------
    saliency : dict or None
        Its "method" is named as in `skfmri.inspection.saliency`.

    Returns
    -------
    words : str
        A sentence.
    """
    if (saliency or {}).get("method") in SLOPES:
        return (
            "Where values are positive, the predicted number rises with the z-scored voxel; where "
            "they are negative, it falls."
        )
    return "Positive values raised the predicted number, negative values lowered it."
