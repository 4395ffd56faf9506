"""What a run did, in sentences that a paper can quote."""

import inspect
import math

from skfmri.evaluation import evaluate_decoder
from skfmri.evaluation.result import DECODER, DUMMY
from skfmri.report.methods_centring import centring_sentences
from skfmri.report.methods_decoder import (
    cleaning_sentences,
    data_sentences,
    slab_sentences,
    zscore_sentences,
)
from skfmri.report.methods_model import decoder_sentences, ridge_words
from skfmri.report.methods_numbers import RIDGE_CV, other_scores_sentence, statistics_sentences
from skfmri.report.methods_subjects import (
    subject_scheme,
    subject_statistics,
    subject_test_sentences,
)
from skfmri.report.methods_trials import derived_sentences, is_estimated, unit_of_samples
from skfmri.report.words import (
    counted,
    exact,
    joined,
    number,
    oriented,
    p_value,
    percent,
    ranged,
    score,
    score_range,
    upper,
    words_of,
)
from skfmri.statistics import sequential_permutation_test


def _default(function, name):
    return inspect.signature(function).parameters[name].default


# Defaults that the command does not change and so does not record.
CONFIDENCE = percent(_default(evaluate_decoder, "confidence"))
N_BOOTSTRAPS = _default(evaluate_decoder, "n_bootstraps")
N_EXCEEDANCES = _default(sequential_permutation_test, "n_exceedances")
# What was compared with, by its name in the tables.
MODEL_NAMES = {
    DECODER: "the decoder",
    "linear": "logistic regression",
    "multiscale": "the multiscale ridge",
    DUMMY: "the dummy",
}
SALIENCY = {
    "gradient": "the gradient (Simonyan et al. 2013)",
    "gradient_x_input": "the gradient times the input (Shrikumar et al. 2016)",
    "integrated_gradients": "integrated gradients (Sundararajan et al. 2017; {n_steps} from a "
    "baseline of 0)",
    "smoothgrad": "SmoothGrad (Smilkov et al. 2017; {n_copies})",
    "occlusion": "occlusion (Zeiler and Fergus 2014)",
    "grad_cam": "Grad-CAM (Selvaraju et al. 2017)",
}
PACKAGES = {
    "skfmri": ("skfmri", ""),
    "tensorflow": ("TensorFlow", " (Abadi et al. 2016)"),
    "keras": ("Keras", ""),
    "scikit-learn": ("scikit-learn", " (Pedregosa et al. 2011)"),
    "nilearn": ("nilearn", " (Abraham et al. 2014)"),
    "nibabel": ("nibabel", ""),
    "numpy": ("NumPy", ""),
    "scipy": ("SciPy", ""),
}


def methods_paragraphs(results):
    """Return what a run did and found, as titles with sentences.

    Every number is that of the run. Citations are those of `skfmri.report.references`.

    Parameters
    ----------
    results : Results
        From `read_results`.

    Returns
    -------
    paragraphs : list of (str, str)
        Title and text of each paragraph.
    """
    parts = {
        "Data": data_sentences(results),
        "Preprocessing": [
            *cleaning_sentences(results),
            *derived_sentences(results),
            *centring_sentences(results),
            *slab_sentences(results),
            *zscore_sentences(results),
        ],
        "Decoder": decoder_sentences(results),
        "Cross-validation": [*_folds(results), *_leaks(results), *_baselines(results)],
        "Statistics": [*_statistics(results), *_permutations(results)],
        "Maps": _maps(results),
        "Software": _software(results),
        "Results": _scores(results),
    }
    return [(title, " ".join(sentences)) for title, sentences in parts.items() if sentences]


def model_name(results, model):
    """Return what a model is called in a sentence."""
    if results.predicts_numbers and model == "linear":
        return "ridge regression"
    return MODEL_NAMES.get(model, model)


def _folds(results):
    cv, folds = results.section("cross_validation"), results.of_model("folds", DECODER)
    n_groups, n_folds = len(results.volumes_per_group()), cv["n_folds"]
    if results.n_subjects:
        scheme = subject_scheme(results, n_groups)
    elif n_folds is None:
        scheme = (
            f"One group was left out at a time, so that each of the {n_groups} groups was tested "
            "once"
        )
    elif cv["n_repeats"] == 1:
        scheme = (
            f"{counted(n_groups, 'group')} were divided at random into {n_folds} folds of whole "
            "groups (GroupKFold), each tested once"
        )
    else:
        scheme = (
            f"{counted(n_groups, 'group')} were divided at random into {n_folds} folds of whole "
            f"groups, {cv['n_repeats']} times and never twice alike ({len(folds)} tests in all)"
        )
    steps = {"cleaning": "the cleaning of runs", "centring": "centring"}
    exceptions = [text for name, text in steps.items() if results.section(name) is not None]
    if is_estimated(results):
        exceptions.append("the models of runs")
    exception = f" but {joined(exceptions)}" if exceptions else ""
    others = "the other groups of this subject" if results.n_subjects else "the other groups"
    return [
        f"{scheme}, by a decoder trained on {others}: {ranged(folds['n_train'])} "
        f"{unit_of_samples(results)}s for training and {ranged(folds['n_test'])} for testing in "
        "each fold.",
        f"No group was on both sides of a split, and all steps{exception} were fitted on "
        "training volumes alone.",
        f"Each fold had its own random seed, derived from seed {cv['seed']}.",
    ]


def _leaks(results):
    leaks = results.record.get("leaks_ignored")
    if leaks:
        return [f"A check for leaks found the following and was overruled: {' '.join(leaks)}"]
    if leaks is None:
        return []
    return ["A check found no volumes on both sides of a split that are alike or close in time."]


def _baselines(results):
    models, sentences = results.models, []
    linear = RIDGE_CV if results.predicts_numbers else "logistic regression (L2 penalty, C = 1)"
    described = {"linear": linear, "multiscale": ridge_words(results)}
    others = [text for name, text in described.items() if name in models]
    if others:
        _, network = results.step(-1)
        held = ", those held out for early stopping included" if network.get("patience") else ""
        sentences.append(
            f"The decoder was compared with {joined(others)} on the same folds and voxels, "
            f"z-scored in the same way and trained on all training volumes{held}."
        )
    if DUMMY in models:
        sentences.append(
            "A dummy predicted the mean of the training volumes on the same folds."
            if results.predicts_numbers
            else "A dummy classifier predicted the most frequent class of the training volumes on "
            "the same folds."
        )
    return sentences


def _statistics(results):
    metrics, is_compared = joined(map(words_of, results.metrics)), _are_models(results).any()
    if results.n_subjects:
        sentences = subject_statistics(metrics, CONFIDENCE, N_BOOTSTRAPS, is_compared=is_compared)
        return sentences + _on_several_models(results)
    if results.predicts_numbers:
        sentences = statistics_sentences(results, CONFIDENCE, N_BOOTSTRAPS, is_compared=is_compared)
        return sentences + _on_several_models(results)
    sentences = [
        f"Scores ({metrics}) are means over folds. Their "
        f"{CONFIDENCE} intervals come from drawing whole groups with replacement, "
        f"{N_BOOTSTRAPS:,} times: bias-corrected and accelerated percentiles (Efron "
        "1987), expanded for few groups (Hesterberg 2015). Variation with other training volumes "
        "is not in them."
    ]
    if is_compared:
        sentences.append(
            "Differences between models were tested over folds by the corrected resampled t-test "
            "(Nadeau and Bengio 2003), two-sided, which allows for training volumes shared by "
            "folds. p values are not corrected for multiple comparisons."
        )
    return sentences + _on_several_models(results)


def _on_several_models(results):
    if results.comparisons.loc[_are_models(results), "baseline"].nunique() <= 1:
        return []
    return [
        "A decoder counts as better than the best of several models if it is clearly better than "
        "each (Berger 1982), as worse if that stays clear after correction for their number (Holm "
        "1979)."
    ]


def _permutations(results):
    test = results.record.get("permutation_test")
    if not test:
        return []
    source = results.source
    # Version 0.1.0 did not record this, nor keep such stretches together.
    is_new = "refitted" in test
    unit = "stretches of volumes with one label as a whole" if is_new else "volumes one by one"
    if source["kind"] == "bids":
        unit = "events as a whole"
    elif source["kind"] == "table" and source["columns"]["block"]:
        unit = f"blocks (column {source['columns']['block']!r}) as a whole"
    shuffled = f"labels shuffled within groups, {unit}"
    if test.get("scheme") == "groups":
        shuffled = "the labels of whole groups shuffled among groups"
    of_subjects = subject_test_sentences() if results.n_subjects else []
    if test.get("refitted", True):
        n_permutations = results.section("cross_validation")["n_permutations"]
        return [
            f"Chance was tested with {shuffled}, at most {n_permutations:,} times, ending when "
            f"{N_EXCEEDANCES} of them reached the score (Besag and Clifford 1991).",
            *of_subjects,
        ]
    return [
        f"Chance was tested with {shuffled}, {test['n_permutations']:,} times. Predictions were "
        "kept, and the permuted scores spread out from their mean by the square root of two to "
        "allow for models that were not fitted anew, so the test is conservative.",
        *of_subjects,
    ]


def _maps(results):
    saliency = results.record.get("saliency")
    if not saliency or "saliency" not in results.images:
        return []
    explained = "The output for the true class, before the softmax,"
    if results.predicts_numbers:
        explained = "The predicted number"
    sentences = [
        f"{explained} was explained for each volume held out by {saliency_words(saliency)}; the "
        "maps were averaged over the volumes of a fold, carried back to native space by the "
        f"transpose of the resampling, and averaged over {counted(n_maps(results), 'fold')}."
    ]
    if "sign_consistency" in results.images:
        sentences.append("Sign consistency is the mean sign of the maps of the folds.")
    sentences.append(
        "Such maps show what the decoder uses, not where information is (Haufe et al. 2014)."
    )
    return sentences


def saliency_words(saliency):
    """Return the method of a saliency map with its citation.

    Parameters
    ----------
    saliency : dict
        "method", "n_steps".

    Returns
    -------
    words : str
    """
    method, n_steps = saliency["method"], saliency.get("n_steps") or 0
    return SALIENCY.get(method, words_of(method)).format(
        n_steps=counted(n_steps, "step"), n_copies=counted(n_steps, "noisy copy", "noisy copies")
    )


def n_maps(results):
    """Return the number of folds whose maps went into the mean."""
    saliency = results.record.get("saliency") or {}
    return saliency.get("n_folds") or len(results.of_model("folds", DECODER))


def _software(results):
    versions = results.record.get("versions") or {}
    used = [
        f"{name} {versions[key]}{citation}"
        for key, (name, citation) in PACKAGES.items()
        if key in versions
    ]
    python = f", on Python {versions['python']}" if "python" in versions else ""
    return [f"The analysis was run with {joined(used)}{python}."] if used else []


def _scores(results):
    metric = results.metrics[0]
    own, name = results.score(DECODER), upper(words_of(metric))
    if results.n_subjects:
        name = f"The mean {words_of(metric)} of {results.n_subjects} subjects"
    text = f"{name} was {score(metric, own['score'])}{_interval(own)}"
    if math.isfinite(own["chance"]):
        text += f", at a chance level of {score(metric, own['chance'])}"
    if not math.isfinite(own["score"]):
        unit = "repeat" if results.predicts_numbers else "fold"
        text = f"{name} has no mean, since it is not defined in every {unit}"
    sentences = [f"{text}."]
    if results.predicts_numbers:
        sentences += other_scores_sentence(results, CONFIDENCE)
    is_shown = (results.comparisons["metric"] == metric) & _are_models(results)
    comparisons = results.comparisons[is_shown]
    for row in comparisons.to_dict("records"):
        other = results.score(row["baseline"])
        if not math.isfinite(row["difference"]):
            continue
        text = f"{model_name(results, row['baseline'])} reached {score(metric, other.get('score'))}"
        text += f"{_interval(other)}; the difference of the decoder to it is "
        text += score(metric, row["difference"], signed=True)
        if math.isfinite(row["p_value"]):
            text += (
                f" ({_ends(row, signed=True)}; t({exact(row['df'])}) = "
                f"{number(oriented(metric, row['t']), 2)}, "
                f"{p_value(row['p_value'])})"
            )
        sentences.append(upper(text) + ".")
    test = results.record.get("permutation_test")
    if test:
        sentences.append(
            f"With shuffled labels, {p_value(test['p_value'])} after "
            f"{counted(test['n_permutations'], 'permutation')}."
        )
    return sentences


def _are_models(results):
    """Return which comparisons say something; a dummy can be worse than chance."""
    return results.comparisons["baseline"] != DUMMY


def _interval(row):
    low = row.get("low")
    return f" ({_ends(row)})" if low is not None and math.isfinite(low) else ""


def _ends(row, signed=False):
    ends = score_range(row["metric"], row["low"], row["high"], signed=signed)
    return f"{CONFIDENCE} interval {ends}"
