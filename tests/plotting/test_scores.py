import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from sklearn.exceptions import NotFittedError
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier

from skfmri.plotting import (
    plot_confusion,
    plot_learning_curves,
    plot_probabilities,
    plot_search,
)


class TestLearningCurves:
    def test_one_fit_is_drawn_as_it_is(self):
        history = {"loss": [3.0, 2.0], "accuracy": [0.5, 0.7], "val_accuracy": [0.4, 0.6]}
        ax = plot_learning_curves(history)
        assert [list(line.get_ydata()) for line in ax.lines] == [[0.5, 0.7], [0.4, 0.6]]
        assert list(ax.lines[0].get_xdata()) == [1, 2]
        assert ax.get_ylim() == (0, 1)
        assert not ax.collections

    def test_the_line_is_the_mean_of_the_folds_that_still_run(self, curves):
        ax = plot_learning_curves(curves)
        for line, column in zip(ax.lines, ["accuracy", "val_accuracy"], strict=False):
            expected = curves.groupby("epoch")[column].mean()
            np.testing.assert_allclose(line.get_ydata(), expected)
        assert ax.lines[0].get_ydata()[3] == curves["accuracy"].iloc[[3, 10]].mean()
        assert list(ax.lines[2].get_xdata()) == [3, 3]

    def test_the_band_reaches_from_the_lowest_to_the_highest_fold(self, curves):
        band = plot_learning_curves(curves, metric="loss").collections[0].get_paths()[0].vertices
        for epoch, rows in curves.groupby("epoch"):
            at = band[band[:, 0] == epoch, 1]
            np.testing.assert_allclose(
                [at.min(), at.max()], [rows["loss"].min(), rows["loss"].max()]
            )

    def test_folds_of_one_length_need_no_mark(self, curves):
        ax = plot_learning_curves(curves[curves["fold"] != 1])
        assert len(ax.lines) == 2
        texts = [text.get_text() for text in ax.get_legend().get_texts()]
        assert texts == [
            "training, mean of 2 folds",
            "validation, mean of 2 folds",
            "lowest to highest fold",
        ]

    def test_without_validation_there_is_one_line(self, curves):
        curves["val_accuracy"] = np.nan
        assert len(plot_learning_curves(curves[curves["fold"] != 1]).lines) == 1

    @pytest.mark.parametrize(
        ("history", "metric", "error", "message"),
        [
            (
                {"loss": [1.0]},
                "accuracy",
                ValueError,
                "no metric 'accuracy' in history, only 'loss'",
            ),
            ({"loss": [1.0], "val_loss": [1.0]}, "val_loss", ValueError, "no metric 'val_loss'"),
            ({}, "accuracy", ValueError, "holds no epochs"),
            (
                pd.DataFrame({"loss": [1]}),
                "loss",
                ValueError,
                "no column 'fold', 'epoch', only 'loss'",
            ),
            (pd.DataFrame({"fold": [], "epoch": []}), "loss", ValueError, "but no rows"),
            ([1, 2], "loss", TypeError, "is a list.*learning_curves"),
            (
                pd.DataFrame({"fold": [0, 0], "epoch": [1, 1], "loss": [1, 2]}),
                "loss",
                ValueError,
                "epoch 1 of fold 0 twice",
            ),
        ],
    )
    def test_bad_input_is_refused(self, history, metric, error, message):
        with pytest.raises(error, match=message):
            plot_learning_curves(history, metric=metric)


class TestConfusion:
    def test_cells_are_those_of_scikit_learn(self, predictions):
        rows = predictions[predictions["model"] == "decoder"]
        for normalize in ("true", "pred", "all", None):
            expected = confusion_matrix(rows["label"], rows["predicted"], normalize=normalize)
            image = plot_confusion(predictions, normalize=normalize).images[0]
            np.testing.assert_allclose(image.get_array(), expected)
            assert image.get_clim()[0] == 0

    def test_rows_sum_to_one_on_a_scale_from_0_to_1(self, predictions):
        image = plot_confusion(predictions).images[0]
        np.testing.assert_allclose(image.get_array().sum(axis=1), 1)
        assert image.get_clim() == (0, 1)

    def test_true_classes_are_rows(self, predictions):
        ax = plot_confusion(predictions, model="dummy")
        assert ax.images[0].get_array()[:, 0].tolist() == [1, 1, 1]
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")
        assert [text.get_text() for text in ax.get_yticklabels()] == ["cat", "face", "house"]

    def test_short_names_are_not_turned(self, predictions):
        labels = plot_confusion(predictions).get_xticklabels()
        assert {label.get_rotation() for label in labels} == {0}

    def test_a_table_without_models_is_taken_whole(self, predictions):
        rows = predictions.query("model == 'decoder'").drop(columns="model")
        expected = plot_confusion(predictions).images[0].get_array()
        np.testing.assert_array_equal(plot_confusion(rows).images[0].get_array(), expected)

    @pytest.mark.parametrize("n_classes", [2, 12])
    def test_every_cell_can_be_read(self, n_classes):
        names = np.array([f"scrambled picture {i:02}" for i in range(n_classes)])
        rng = np.random.default_rng(0)
        labels, predicted = (names[rng.integers(n_classes, size=3000)] for _ in range(2))
        table = pd.DataFrame({"label": labels, "predicted": predicted})
        ax = plot_confusion(table)
        ax.figure.canvas.draw()
        boxes = [text.get_window_extent() for text in ax.texts]
        assert max(box.width for box in boxes) < ax.get_window_extent().width / n_classes
        assert {text.get_text() for text in ax.texts} >= {f"{ax.images[0].get_array()[0, 0]:.2f}"}
        # Cells of about 0.08 are light on a scale to 1, all of them.
        assert {text.get_color() for text in ax.texts} == {"black"} or n_classes == 2
        assert {label.get_rotation() for label in ax.get_xticklabels()} == {45}
        for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
            for label in labels:
                box = label.get_window_extent()
                assert ax.figure.bbox.x0 <= box.x0
                assert ax.figure.bbox.y0 <= box.y0

    @pytest.mark.parametrize(
        ("change", "options", "error", "message"),
        [
            (lambda t: t.drop(columns="predicted"), {}, ValueError, "no column 'predicted', only"),
            (lambda t: t[:0], {}, ValueError, "but no rows"),
            (lambda t: t, {"model": "svm"}, ValueError, "no model 'svm', only 'decoder', 'dummy'"),
            (lambda t: t, {"normalize": "row"}, ValueError, "normalize must be one of 'true'"),
            (lambda t: t.to_dict(), {}, TypeError, "must be a pandas.DataFrame, but is a dict"),
        ],
    )
    def test_bad_input_is_refused(self, predictions, change, options, error, message):
        with pytest.raises(error, match=message):
            plot_confusion(change(predictions), **options)


class TestProbabilities:
    BINS = np.linspace(0, 1, 21)

    def heights(self, ax):
        return {
            patch.get_label(): patch.get_data().values - np.ravel(patch.get_data().baseline)[0]
            for patch in ax.patches
        }

    def test_two_classes_show_the_probability_of_the_second(self):
        p = np.array([0.1, 0.3, 0.3, 0.6, 0.9, 1.0])
        table = pd.DataFrame({"label": list("aababb"), "p_a": 1 - p, "p_b": p})
        ax = plot_probabilities(table)
        found = self.heights(ax)
        for label in "ab":
            expected, _ = np.histogram(p[table["label"] == label], self.BINS)
            np.testing.assert_array_equal(found[label], expected)
        assert ax.get_xlabel() == "predicted probability of b"
        assert ax.get_xlim() == (0, 1)
        other = self.heights(plot_probabilities(table, of="a"))
        expected, _ = np.histogram((1 - p)[table["label"] == "b"], self.BINS)
        np.testing.assert_array_equal(other["b"], expected)

    def test_of_more_classes_the_true_one_is_shown(self, predictions):
        ax = plot_probabilities(predictions)
        rows = predictions[predictions["model"] == "decoder"]
        found = self.heights(ax)
        for label in ("cat", "face", "house"):
            of_class = rows[rows["label"] == label]
            expected, _ = np.histogram(of_class[f"p_{label}"], self.BINS)
            np.testing.assert_array_equal(found[label], expected)
        assert ax.get_xlabel() == "predicted probability of the true class"
        faces = [patch.get_facecolor() for patch in ax.patches]
        assert all(0 < alpha < 0.5 for *_, alpha in faces)

    def test_many_classes_have_separate_baselines(self):
        rng = np.random.default_rng(0)
        proba, labels = rng.dirichlet(np.ones(5), 100), rng.integers(5, size=100)
        table = pd.DataFrame(proba, columns=[f"p_{i}" for i in range(5)]).assign(label=labels)
        ax = plot_probabilities(table)
        assert [text.get_text() for text in ax.get_yticklabels()] == list("01234")
        assert (np.diff(ax.get_yticks()) < 0).all()
        for patch, line, label in zip(ax.patches, ax.get_yticks(), range(5), strict=True):
            expected, _ = np.histogram(proba[labels == label, label], self.BINS)
            np.testing.assert_allclose(patch.get_data().values - line, expected)
            assert expected.max() < abs(ax.get_yticks()[0] - ax.get_yticks()[1])

    @pytest.mark.parametrize(
        ("change", "options", "message"),
        [
            (lambda t: t, {"of": "dog"}, "no probability of 'dog', only of 'cat', 'face', 'house'"),
            (lambda t: t, {"model": "dummy"}, "no probabilities of 'dummy'.*predict_proba"),
            (lambda t: t[["model", "label"]], {}, "no probabilities of 'decoder'"),
            (lambda t: t.drop(columns="label"), {}, "no column 'label'"),
            (lambda t: t.replace({"label": {"cat": "dog"}}), {}, "no probability of 'dog'"),
        ],
    )
    def test_bad_input_is_refused(self, predictions, change, options, message):
        with pytest.raises(ValueError, match=message):
            plot_probabilities(change(predictions), **options)


class TestSearch:
    def test_cells_hold_the_best_over_other_parameters(self, search):
        ax = plot_search(search, "max_depth", "splitter")
        results = pd.DataFrame(search.cv_results_)
        groups = results.groupby(["param_splitter", "param_max_depth"])["mean_test_score"]
        assert groups.nunique().min() == 2
        drawn = ax.images[0].get_array()
        # Rows are "best" and "random"; depths are sorted, whatever the order of the grid.
        np.testing.assert_allclose(drawn, groups.max().unstack())
        assert [text.get_text() for text in ax.get_yticklabels()] == ["best", "random"]
        assert [text.get_text() for text in ax.get_xticklabels()] == ["2", "4", "10"]
        assert [text.get_text() for text in ax.texts] == [f"{v:.3f}" for v in drawn.ravel()]
        places = [text.get_position() for text in ax.texts]
        assert places == [(j, i) for i in range(2) for j in range(3)]
        assert ax.figure.axes[-1].get_ylabel() == "best mean test score"

    def test_names_may_start_with_param(self, search):
        first = plot_search(search, "max_depth", "splitter").images[0].get_array()
        second = (
            plot_search(pd.DataFrame(search.cv_results_), "param_max_depth", "param_splitter")
            .images[0]
            .get_array()
        )
        third = plot_search(search.cv_results_, "max_depth", "splitter").images[0].get_array()
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(first, third)

    def test_another_metric_and_cells_that_were_not_tried(self):
        results = {
            "param_a": [(64,), None, (64, 32)],
            "param_b": ["x", "y", "y"],
            "mean_test_auc": [0.9, np.nan, 0.2],
        }
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ax = plot_search(results, "a", "b", metric="auc")
        drawn = np.ma.filled(ax.images[0].get_array().astype(float), np.nan)
        np.testing.assert_array_equal(drawn, [[0.9, np.nan, np.nan], [np.nan, np.nan, 0.2]])
        assert [text.get_text() for text in ax.get_xticklabels()] == ["(64,)", "None", "(64, 32)"]
        assert [text.get_text() for text in ax.texts] == ["0.900", "", "", "", "", "0.200"]
        assert ax.figure.axes[-1].get_ylabel() == "mean test auc"

    def test_text_is_dark_on_light_and_light_on_dark(self, search):
        ax = plot_search(search, "max_depth", "splitter")
        image = ax.images[0]
        for value, text in zip(image.get_array().ravel(), ax.texts, strict=True):
            lightness = np.mean(image.cmap(image.norm(value))[:3])
            assert abs(lightness - np.mean(to_rgba(text.get_color())[:3])) > 0.3

    @pytest.mark.parametrize(
        ("x", "y", "options", "message"),
        [
            ("depth", "splitter", {}, "no parameter 'depth', only 'max_depth', 'min_samples_leaf'"),
            ("splitter", "param_splitter", {}, "x and y are both 'splitter'"),
            ("max_depth", "splitter", {"metric": "auc"}, "no metric 'auc'.*, only 'score'"),
        ],
    )
    def test_bad_names_are_refused(self, search, x, y, options, message):
        with pytest.raises(ValueError, match=message):
            plot_search(search, x, y, **options)

    def test_what_is_not_a_search_is_refused(self):
        with pytest.raises(NotFittedError):
            plot_search(GridSearchCV(DecisionTreeClassifier(), {"max_depth": [1]}), "a", "b")
        with pytest.raises(
            TypeError, match="fitted GridSearchCV or its cv_results_, but is a list"
        ):
            plot_search([1], "a", "b")
        results = {"param_a": [1], "param_b": [2], "mean_test_score": [np.nan]}
        with pytest.raises(ValueError, match="None of the 1 values of mean_test_score is finite"):
            plot_search(results, "a", "b")
