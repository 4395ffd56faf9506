"""What is concluded from differences to several models, in words."""

import numpy as np
import pytest

from skfmri.evaluation.comparison import WAYS, WAYS_TO_NUMBERS, comparison_sentences


def make_row(baseline, difference, p_value, half_width=None):
    """Return a row of the table of comparisons, whose interval and p-value agree at 5 %."""
    if half_width is None:
        half_width = abs(difference) * (0.5 if p_value <= 0.05 else 2)
    return {
        "baseline": baseline,
        "metric": "accuracy",
        "difference": difference,
        "low": difference - half_width,
        "high": difference + half_width,
        "p_value": p_value,
        "df": 5 if np.isfinite(p_value) else 0,
    }


def conclude(*rows, is_network=True):
    """Return the sentences after those for each row."""
    sentences = comparison_sentences([make_row(*row) for row in rows], 0.95, is_network)
    return sentences[len(rows) :]


def test_each_difference_has_a_sentence():
    rows = [make_row("linear", 0.02, 0.3), make_row("multiscale", -0.04, 0.001)]
    first, second, _ = comparison_sentences(rows, 0.95, True)
    assert first == "No clear difference to linear: +0.020, 95% interval -0.020 to +0.060, p = 0.3."
    assert second == (
        "The decoder is worse than multiscale by 0.040, 95% interval of the difference -0.060 to "
        "-0.020, p = 0.001."
    )


def test_better_than_the_best_means_better_than_each_and_has_the_larger_p():
    text = "It is better than the best of these models: p = 0.04."
    assert conclude(("linear", 0.05, 0.001), ("multiscale", 0.03, 0.04)) == [text]
    assert conclude(("linear", 0.05, 0.001), ("multiscale", 0.03, 0.4)) != [text]


def test_better_than_the_only_model_needs_no_second_sentence():
    assert conclude(("linear", 0.05, 0.001)) == []


@pytest.mark.parametrize("is_network", [True, False])
def test_a_decoder_that_is_worse_than_the_best_gets_the_way_to_it(is_network):
    (text,) = conclude(("linear", -0.01, 0.4), ("multiscale", -0.05, 0.01), is_network=is_network)
    assert text == (
        "Recommended here: the multiscale ridge, skfmri.MultiscaleRidgeClassifier (on the command "
        "line --decoder multiscale). The decoder is clearly worse after correction for 2 "
        "comparisons."
    )
    (text,) = conclude(("linear", -0.05, 0.04), is_network=is_network)
    assert "skfmri.evaluation.linear_baseline (on the command line --decoder linear)" in text
    assert text.endswith("The decoder is clearly worse.")


@pytest.mark.parametrize("ways", [WAYS, WAYS_TO_NUMBERS], ids=["classes", "numbers"])
def test_every_way_names_its_option(ways):
    for name, way in ways.items():
        assert way.endswith(f"(on the command line --decoder {name})")


def test_worse_by_one_of_two_tests_is_not_clear_until_corrected():
    rows = ("linear", 0.01, 0.4), ("multiscale", -0.05, 0.03)
    note = (
        "The difference to multiscale is not clear after correction for 2 comparisons (p = 0.06)."
    )
    assert conclude(*rows, is_network=False) == [note]
    (text,) = conclude(*rows)
    assert text.endswith(f"which scored highest and fits in seconds. {note}")


def test_a_network_that_is_not_clearly_better_is_not_recommended():
    (text,) = conclude(("linear", 0.03, 0.2), ("multiscale", 0.01, 0.5))
    assert text.startswith("Recommended here: the multiscale ridge,")
    assert text.endswith("The network is not clearly better, and this fits in seconds.")
    (text,) = conclude(("linear", -0.01, 0.2), ("multiscale", 0.01, 0.5))
    assert text.startswith("Recommended here: logistic regression,")
    assert text.endswith("which scored highest and fits in seconds.")


def test_other_decoders_and_models_without_a_name_of_ours_get_no_such_advice():
    assert conclude(("linear", 0.01, 0.5), is_network=False) == []
    assert conclude(("my model", 0.01, 0.5)) == []
    assert conclude(("my model", -0.05, 0.01)) == [
        "Recommended here: my model. The decoder is clearly worse."
    ]


def test_nothing_is_concluded_without_a_test():
    assert conclude(("linear", 0.1, np.nan, 0.1)) == []
    nothing = make_row("linear", np.nan, np.nan)
    assert comparison_sentences([nothing], 0.95, True) == [
        "No difference to linear: accuracy is not defined in every fold."
    ]
