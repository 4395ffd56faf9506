"""Scores of folds."""

import numpy as np
import pytest

from skfmri.plotting import plot_folds


def test_each_fold_is_a_line_and_each_mean_a_bar(folds):
    ax = plot_folds(folds)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["linear", "decoder"]
    lines = [line.get_ydata().tolist() for line in ax.get_lines()]
    np.testing.assert_equal(lines, [[0.5, 0.6], [0.7, 0.8], [0.9, np.nan]])
    (bars,) = ax.collections
    np.testing.assert_allclose([bar[0, 1] for bar in bars.get_segments()], [0.7, 0.7])
    assert ax.get_ylabel() == "accuracy"


def test_chance_is_a_named_line(folds):
    ax = plot_folds(folds, chance=0.25)
    assert ax.get_lines()[-1].get_ydata() == [0.25, 0.25]
    assert [text.get_text() for text in ax.texts] == ["chance"]


def test_a_model_without_a_score_is_left_out(folds):
    folds.loc[folds["model"] == "decoder", "accuracy"] = np.nan
    assert len(plot_folds(folds).get_xticks()) == 1


def test_tables_that_cannot_be_drawn_are_refused(folds):
    with pytest.raises(ValueError, match="No fold has a score in 'accuracy'"):
        plot_folds(folds.assign(accuracy=np.nan))
    with pytest.raises(ValueError, match="folds has no column 'loss'"):
        plot_folds(folds, metric="loss")
    with pytest.raises(TypeError, match=r"folds must be a pandas\.DataFrame"):
        plot_folds([1])
