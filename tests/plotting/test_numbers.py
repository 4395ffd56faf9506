"""Predictions of regressors."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error, r2_score

from skfmri.plotting import (
    plot_confusion,
    plot_folds,
    plot_learning_curves,
    plot_predicted,
    plot_probabilities,
    plot_residuals,
)


def points_of(ax):
    """Return positions of the points, which are drawn first."""
    return np.column_stack(ax.lines[0].get_data())


class TestPlotPredicted:
    def test_a_point_is_the_mean_over_repeats(self, numbers):
        own = numbers[numbers["model"] == "decoder"]
        means = own.groupby("sample")[["label", "predicted"]].mean()
        np.testing.assert_allclose(points_of(plot_predicted(numbers)), means)

    def test_the_title_has_the_scores_of_single_repeats(self, numbers):
        own = numbers[numbers["model"] == "decoder"]
        scores = [
            [score(rows["label"], rows["predicted"]) for score in (r2_score, mean_absolute_error)]
            for _, rows in own.groupby("repeat")
        ]
        r2, error = np.mean(scores, axis=0)
        title = plot_predicted(numbers).get_title()
        assert title == f"R2 {r2:.3f}, mean absolute error {error:.4g}"

    def test_the_line_of_right_predictions_is_the_diagonal_of_equal_axes(self, numbers):
        ax = plot_predicted(numbers, model="dummy")
        line = ax.lines[1]
        np.testing.assert_array_equal(line.get_xdata(), line.get_ydata())
        assert ax.get_xlim() == ax.get_ylim() == tuple(line.get_xdata())
        assert ax.get_aspect() == 1
        low, high = ax.get_xlim()
        points = points_of(ax)
        assert low < points.min()
        assert points.max() < high

    def test_numbers_that_do_not_vary_have_no_r2(self):
        table = pd.DataFrame({"label": [50.0, 50.0], "predicted": [49.0, 50.0]})
        assert plot_predicted(table).get_title() == "R2 not defined, mean absolute error 0.5"

    def test_predictions_that_are_not_finite_are_counted(self, numbers):
        numbers.loc[[0, 3], "predicted"] = [np.nan, np.inf]
        with pytest.warns(UserWarning, match=r"2 of 42 predictions of 'decoder' are not finite"):
            ax = plot_predicted(numbers)
        assert np.isfinite(points_of(ax)).all()
        with pytest.raises(ValueError, match="so there is nothing to draw"):
            plot_predicted(numbers.assign(predicted=np.nan))


class TestPlotResiduals:
    def test_groups_of_one_number_are_sorted_by_it(self, numbers):
        own = numbers[numbers["model"] == "decoder"].groupby("sample")
        label, predicted = own["label"].first(), own["predicted"].mean()
        ax = plot_residuals(numbers)
        order = np.argsort(label.to_numpy()[::3])
        expected = (predicted - label).to_numpy().reshape(7, 3)[order]
        places, residuals = points_of(ax).T
        assert places.tolist() == np.repeat(range(7), 3).tolist()
        np.testing.assert_allclose(residuals, expected.ravel())
        bars = [segment[0, 1] for segment in ax.collections[0].get_segments()]
        np.testing.assert_allclose(bars, expected.mean(axis=1))
        texts = [text.get_text() for text in ax.get_xticklabels()]
        assert texts == [f"{value:.4g}" for value in np.sort(label.unique())]

    def test_numbers_of_groups_far_from_zero_are_told_apart(self):
        labels = [10_000.25, 10_000.5, 10_001.75]
        table = pd.DataFrame({"group": list("abc"), "label": labels, "predicted": labels})
        texts = [text.get_text() for text in plot_residuals(table).get_xticklabels()]
        assert [float(text) for text in texts] == labels

    def test_other_groups_stand_in_the_order_of_their_names(self, numbers):
        numbers["label"] += numbers["sample"]
        ax = plot_residuals(numbers)
        assert [text.get_text() for text in ax.get_xticklabels()] == list("abcdefg")
        categories = pd.Categorical(numbers["group"], list("gfedcba"))
        ax = plot_residuals(numbers.assign(group=categories))
        assert [text.get_text() for text in ax.get_xticklabels()] == list("gfedcba")

    def test_large_groups_are_boxes_of_all_residuals(self):
        rng = np.random.default_rng(0)
        residuals = rng.normal(size=(4, 25))
        table = pd.DataFrame({"label": rng.normal(size=100), "group": np.repeat(range(4), 25)})
        ax = plot_residuals(table.assign(predicted=table["label"] + residuals.ravel()))
        *boxes, _ = ax.lines
        medians = [line.get_ydata()[0] for line in boxes if line.get_linewidth() == 2]
        np.testing.assert_allclose(medians, np.median(residuals, axis=1))
        solid = [line.get_ydata() for line in boxes if line.get_linestyle() == "-"]
        drawn = np.concatenate(solid)
        np.testing.assert_allclose([drawn.min(), drawn.max()], [residuals.min(), residuals.max()])

    def test_a_hundred_groups_can_be_told_apart(self):
        table = pd.DataFrame({"group": range(100), "label": np.arange(100.0)})
        ax = plot_residuals(table.assign(predicted=50.0))
        ax.figure.canvas.draw()
        boxes = [text.get_window_extent() for text in ax.get_xticklabels()]
        assert len(boxes) == 12
        assert all(one.x1 < other.x0 for one, other in pairwise(boxes))
        assert [text.get_text() for text in ax.get_xticklabels()][::11] == ["0", "99"]


@pytest.mark.parametrize("plot", [plot_predicted, plot_residuals])
def test_what_is_not_a_number_is_refused(plot, predictions, numbers):
    table = predictions.assign(group=1)
    with pytest.raises(ValueError, match="'label' of predictions holds 'cat', which is not a numb"):
        plot(table)
    with pytest.raises(ValueError, match="no model 'svm', only 'decoder', 'dummy'"):
        plot(numbers, model="svm")
    with pytest.raises(ValueError, match="no column 'predicted'"):
        plot(numbers.drop(columns="predicted"))
    with pytest.raises(TypeError, match=r"must be a pandas\.DataFrame"):
        plot([1])


@pytest.mark.parametrize("plot", [plot_confusion, plot_probabilities])
def test_pictures_of_classes_refuse_numbers_and_name_those_for_them(plot, numbers):
    with pytest.raises(ValueError, match=r"are of classes, but .* For a regressor use plot_pred"):
        plot(numbers)


@pytest.mark.parametrize("plot", [plot_predicted, plot_residuals])
def test_numbers_of_any_type_are_drawn(plot, numbers):
    expected = points_of(plot(numbers))
    drawn = plot(numbers.astype({"label": object, "predicted": object}))
    np.testing.assert_array_equal(points_of(drawn), expected)


def test_errors_of_folds_have_no_sign(folds):
    folds = folds.assign(neg_mean_absolute_error=-10 * folds["accuracy"])
    ax = plot_folds(folds, metric="neg_mean_absolute_error", chance=-12.0)
    lines = [line.get_ydata() for line in ax.get_lines()]
    np.testing.assert_allclose(lines[0], [5, 6])
    assert list(lines[-1]) == [12, 12]
    assert ax.get_ylabel() == "mean absolute error"


def test_scores_of_folds_may_be_negative():
    folds = pd.DataFrame({"model": "decoder", "fold": [0, 1], "r2": [-3.0, 0.5]})
    low, high = plot_folds(folds, metric="r2", chance=0.0).get_ylim()
    assert low < -3
    assert high > 0.5


def test_errors_above_one_fit_among_the_learning_curves():
    history = {"loss": [9.0, 4.0], "mean_absolute_error": [2.5, 1.5]}
    ax = plot_learning_curves(history, metric="mean_absolute_error")
    assert ax.get_ylabel() == "mean absolute error"
    assert ax.get_ylim()[1] > 2.5
    with pytest.raises(ValueError, match="only 'loss', 'mean_absolute_error'"):
        plot_learning_curves(history)
