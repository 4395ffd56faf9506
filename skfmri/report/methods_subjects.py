"""One decoder per subject in sentences that a paper can quote."""

from skfmri.report.words import counted


def subject_scheme(results, n_groups):
    """Return how the groups of each subject were divided.

    Parameters
    ----------
    results : Results
        Of a run with one decoder per subject.
    n_groups : int
        Number of groups of all subjects.

    Returns
    -------
    words : str
        Beginning of a sentence.
    """
    cv, subjects = results.section("cross_validation"), counted(results.n_subjects, "subject")
    begin = f"Each of {subjects} had a decoder, trained and tested on its volumes alone."
    if cv["n_folds"] is None:
        return (
            f"{begin} Within a subject, one group was left out at a time, so that each of the "
            f"{n_groups} groups was tested once"
        )
    divided = (
        f"{begin} The groups of a subject were divided at random into {cv['n_folds']} folds of "
        "whole groups"
    )
    if cv["n_repeats"] == 1:
        return f"{divided} (GroupKFold), each tested once"
    return f"{divided}, {cv['n_repeats']} times and never twice alike"


def subject_statistics(metrics, confidence, n_bootstraps, *, is_compared):
    """Return how scores of subjects were averaged, and differences tested.

    Parameters
    ----------
    metrics : str
        Names of the metrics.
    confidence : str
        Confidence level, such as "95%".
    n_bootstraps : int
        How often subjects were drawn.
    is_compared : bool
        Whether there are differences between models.

    Returns
    -------
    sentences : list of str
    """
    sentences = [
        f"Scores ({metrics}) are means over subjects of the mean over folds. Their {confidence} "
        f"intervals come from drawing whole subjects with replacement, {n_bootstraps:,} times: "
        "bias-corrected and accelerated percentiles (Efron 1987), expanded for few subjects "
        "(Hesterberg 2015)."
    ]
    if is_compared:
        sentences.append(
            "Differences between models were tested over subjects by the paired t-test, two-sided. "
            "p values are not corrected for multiple comparisons."
        )
    return sentences


def subject_test_sentences():
    """Return what was compared in the permutation test, and what its p-value means."""
    return [
        "In each permutation the labels of all subjects were shuffled, independently and within "
        "each subject, and the mean score over subjects was compared (as in Stelzer et al. 2013).",
        "A small p says that some subjects can be decoded, not that most can (Allefeld et al. "
        "2016).",
    ]
