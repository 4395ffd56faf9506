"""Reports of regressors."""

import json
import re
import shutil
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import RidgeCV

from skfmri import (
    DecodingPipeline,
    MultiscaleRidgeRegressor,
    NiftiSamples,
    NiftiSlabRotator,
    SlabCNNRegressor,
    VoxelZScorer,
)
from skfmri.inspection import saliency_image
from skfmri.model_selection import RepeatedGroupKFold
from skfmri.report import write_report
from skfmri.report.directory import fold_map, save_fold_map
from skfmri.report.methods_numbers import number_words
from skfmri.report.record import describe_data
from skfmri.report.results import NUMBER_COLUMNS
from skfmri.report.tables import group_table
from skfmri.report.words import MINUS
from tests.undrawn import undrawn_pictures

from .pages import AFFINE, SHAPE, Page, methods_of, page_of, plain, write_numbers

OF_CLASSES = (
    r"class|accurac|confusion|recall|precision|\bROC\b|probability|probabilities|softmax|logistic|"
    "entropy"
)


@pytest.fixture(scope="module")
def page(numbers):
    return Page((numbers / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def varying(tmp_path_factory):
    """Results of numbers that differ within groups, predicted twice."""
    cv = RepeatedGroupKFold(3, n_repeats=2, random_state=0)
    return write_numbers(tmp_path_factory.mktemp("varying"), varies=True, cv=cv)


@pytest.fixture(scope="module")
def varying_page(varying):
    with undrawn_pictures():
        return page_of(varying)


def test_numbers_far_from_zero_are_told_apart():
    labels = pd.DataFrame({"group": list("aabb"), "label": [10_000.25, 10_000.5, 10_001, 10_001.5]})
    of_groups = labels.groupby("group")["label"].agg(list(NUMBER_COLUMNS))
    results = SimpleNamespace(
        predicts_numbers=True,
        samples=lambda: labels,
        numbers_per_group=lambda: of_groups,
        data={},
    )
    assert number_words(results).startswith("10,000.25 to 10,001.5 (mean 10,000.81, standard")
    assert [row[3] for row in group_table(results).rows] == ["10,000.25", "10,001"]


def rows_of(page, caption):
    """Return the cells of a table, by its caption."""
    (box,) = page.all("div", **{"aria-label": caption})
    return plain(box["text"])


def row_of(directory, name, **values):
    table = pd.read_csv(directory / f"{name}.csv")
    return table[np.logical_and.reduce([table[k] == v for k, v in values.items()])].iloc[0]


class TestThePage:
    def test_has_predictions_in_place_of_classes(self, page):
        headings = [element["text"] for element in page.all("h2")]
        assert headings == [
            *("Data", "Slab", "Scores", "Folds", "Learning curves", "Predictions", "Residuals"),
            *("Maps", "Methods", "References", "Settings", "Software"),
        ]
        links = [a["text"] for a in page.all("a") if a["href"].startswith("#")]
        assert links == headings
        assert page.all("h1")[0]["text"] == "Predicting age"
        assert len(page.all("img")) == 8

    @pytest.mark.parametrize("name", ["page", "varying_page"])
    def test_says_nothing_of_classes(self, name, request):
        page = request.getfixturevalue(name)
        parts = [*page.all("header"), *page.all("section")]
        said = [part["text"] for part in parts if part.get("aria-labelledby") != "references"]
        said = " ".join([*said, *(image["alt"] for image in page.all("img"))])
        assert "mean absolute error" in said
        assert re.findall(OF_CLASSES, said, re.IGNORECASE) == []

    def test_gives_range_mean_and_spread_of_the_numbers(self, page, varying_page):
        facts = "Numbers 24 to 78 (mean 49.71, standard deviation 17.92), the same throughout each"
        assert facts in page.section("data")
        table = rows_of(page, "Numbers to predict in each group")
        assert "s2 3 1 35.25 35.25 35.25 0 s3" in table
        assert table.endswith("All 18 6 24 49.71 78 17.92")
        assert "varying within 6 of 6 groups" in varying_page.section("data")
        table = rows_of(varying_page, "Numbers to predict in each group")
        assert "s2 3 3 33.25 35.25 37.25 2 s3" in table

    def test_shows_errors_without_sign_and_their_differences_as_differences_of_errors(
        self, page, numbers
    ):
        metric = "neg_mean_absolute_error"
        row = row_of(numbers, "summary", model="decoder", metric=metric)
        assert row["score"] < row["low"] + 10 < 10
        expected = f"decoder mean absolute error {-row['score']:.4g} {-row['high']:.4g} to "
        assert expected + f"{-row['low']:.4g} {row['std']:.4g}" in page.section("scores")
        row = row_of(numbers, "comparisons", baseline="linear", metric=metric)
        assert row["difference"] > 0
        text = page.section("scores").replace(MINUS, "-")
        assert f"linear mean absolute error {-row['difference']:+.4g} {-row['high']:+.4g}" in text
        assert f" {-row['t']:.2f} {row['df']:.0f} " in text
        assert "R2" in text
        assert "neg mean" not in text

    def test_tells_pooled_correlations_from_those_within_groups(self, page, varying_page):
        assert "so there is none within groups" in page.section("scores")
        text = varying_page.section("scores")
        assert "means over 6 groups whose numbers vary" in text
        assert "decoder Pearson correlation within groups" in text

    def test_compares_folds_in_the_error_which_every_fold_has(self, page):
        text = page.section("folds")
        assert text.startswith("Folds Mean absolute error on the held-out groups of 6 folds")
        assert "R2" not in text
        assert "Mean none" not in text
        assert "chance" not in text
        assert any(i["alt"].startswith("Mean absolute error of each fold") for i in page.all("img"))

    def test_says_how_to_read_predictions_and_residuals(self, page, varying_page):
        assert "volumes. On the line, predictions are right" in page.section("predicted")
        assert "volumes, each the mean over repeats. On" in varying_page.section("predicted")
        assert "in the order of their true number" in page.section("residuals")
        assert "lies above or below 0 as a whole" in varying_page.section("residuals")
        alts = [image["alt"] for image in page.all("img")]
        assert any("of 18 volumes: true from 24 to 78" in alt for alt in alts)
        assert any(alt.startswith("Predicted minus true numbers in 6 groups") for alt in alts)

    def test_says_what_curves_and_maps_are_of(self, page):
        assert "Mean absolute error and loss of standardised numbers" in page.section("curves")
        assert "the predicted number rises with the z-scored voxel" in page.section("maps")
        alts = [image["alt"] for image in page.all("img")]
        assert any("mean absolute error, mean over 4 folds" in alt for alt in alts)


class TestDivergence:
    def page_after(self, directory, change):
        with warnings.catch_warnings(), undrawn_pictures():
            warnings.simplefilter("error")
            return page_of(write_numbers(directory, change=change))

    def test_predictions_that_are_not_finite_are_left_out(self, tmp_path):
        def diverge(result):
            result.predictions.loc[:2, "predicted"] = [np.nan, np.inf, -np.inf]

        page = self.page_after(tmp_path, diverge)
        assert any("numbers of 15 volumes" in image["alt"] for image in page.all("img"))

    def test_without_any_prediction_there_is_a_note(self, tmp_path):
        def diverge(result):
            result.predictions["predicted"] = np.nan

        page = self.page_after(tmp_path, diverge)
        for section in ("predicted", "residuals"):
            assert "no prediction is a finite number" in page.section(section)


class TestMethods:
    @pytest.fixture
    def say(self, numbers, tmp_path):
        """Return a function of a decoder that gives the paragraphs."""

        def paragraphs(last, **record):
            directory = write_numbers(tmp_path, last=last, record=record)
            return {title: plain(text) for title, text in methods_of(directory).items()}

        return paragraphs

    def test_a_network_is_described(self, say):
        said = say(SlabCNNRegressor(linear_path=100.0, n_members=3, patience=None))
        text = said["Decoder"]
        assert "a linear output; 1,234 parameters" in text
        assert "predictions of a ridge regression of all voxels (L2 penalty, strength 0.01)" in text
        assert "the mean squared error of standardised numbers was minimised by Adam" in text
        assert "standardised by the mean and standard deviation of those of the training" in text
        assert "and their predictions averaged" in text
        assert "The number to predict (age) ranges from 24 to 78 (mean 49.71" in said["Data"]
        assert said["Maps"].startswith("The predicted number was explained")

    def test_ridges_are_described(self, say):
        ridge = "a multiscale ridge: ridge regressions of voxels smoothed with Gaussians"
        said = say(MultiscaleRidgeRegressor())
        assert said["Decoder"].startswith(f"The decoder is {ridge}")
        assert "with strengths and mixture (stacking, Breiman 1996) chosen" in said["Decoder"]
        text = said["Cross-validation"]
        assert "compared with ridge regression of all voxels (Hoerl and Kennard 1970;" in text
        assert f"and {ridge}" in text
        assert "A dummy predicted the mean of the training volumes" in text
        said = say(RidgeCV())
        assert "strength chosen by leaving out one training volume" in said["Decoder"]

    def test_scores_are_those_of_all_predictions(self, numbers, varying):
        text = methods_of(numbers)["Statistics"]
        assert "are those of the out-of-fold predictions of all volumes together. R2 is" in text
        assert "Differences between models in R2 and mean absolute error were tested" in text
        assert (
            "root mean squared error, Pearson correlation and Spearman correlation, which" in text
        )
        assert "scoring the predictions of all drawn groups together" in text
        assert "labels of whole groups shuffled among groups" in text
        assert "within groups are means" not in text
        text = methods_of(varying)["Statistics"]
        assert "together, averaged over repeats." in text
        assert "Correlations within groups are means over 6 groups" in text

    def test_results_are_those_of_the_tables(self, numbers):
        r2, error = (
            row_of(numbers, "summary", model="decoder", metric=metric)
            for metric in ("r2", "neg_mean_absolute_error")
        )
        text = methods_of(numbers)["Results"]
        assert text.startswith(f"R2 was {r2['score']:.3f} (95% interval {r2['low']:.3f} to ")
        assert f"mean absolute error {-error['score']:.4g} ({-error['high']:.4g} to" in text
        assert "Ridge regression reached" in text

    def test_centring_counts_no_classes(self, say):
        centring = {"column": None, "scale": False, "maps_per_group": [3], "n_groups": 6}
        centring |= {"n_unbalanced": 0, "n_forced_choice": 0, "removed_share": 0.25}
        text = say(MultiscaleRidgeRegressor(), centring=centring)["Preprocessing"]
        assert "the mean over the 3 volumes of each group" in text
        assert "took 25.0% of the variance of the numbers away" in text


class TestFiles:
    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (
                lambda d: set_record(d, predicts="letters"),
                "it predicts 'letters', neither classes nor numbers",
            ),
            (
                lambda d: set_label(d, "old"),
                r"predictions.csv is damaged: .*old.*--resume",
            ),
            (
                lambda d: set_label(d, ""),
                "predictions.csv is damaged: its column label holds something else than finite",
            ),
        ],
    )
    def test_damage_is_named(self, numbers, tmp_path, damage, message):
        shutil.copytree(numbers, tmp_path / "results")
        damage(tmp_path / "results")
        with pytest.raises(ValueError, match=message):
            write_report(tmp_path / "results")

    def test_the_record_describes_numbers_that_json_can_hold(self):
        y = np.array([20, 20, 30, 31, 55.5])
        volumes = np.ones((5, *SHAPE), np.float32)
        samples = NiftiSamples.from_array(volumes, AFFINE, y=y, groups=[1, 1, 2, 2, 3])
        data = json.loads(json.dumps(describe_data(samples)))
        assert data["numbers"] == {
            "mean": pytest.approx(y.mean()),
            "std": pytest.approx(y.std(ddof=1)),
            "min": 20,
            "max": 55.5,
            "n_distinct_per_group": {"1": 1, "2": 2, "3": 1},
        }
        assert data["volumes_per_group"] == {"1": 2, "2": 2, "3": 1}
        assert "volumes_per_class" not in data

    def test_the_map_of_a_fold_is_that_of_the_predicted_number(self, tmp_path):
        rng = np.random.default_rng(0)
        volumes = rng.normal(10, 1, size=(12, *SHAPE)).astype(np.float32)
        y, groups = rng.normal(size=12), np.repeat(range(6), 2)
        samples = NiftiSamples.from_array(volumes, AFFINE, y=y, groups=groups)
        rotator = NiftiSlabRotator(angle=0, slab=(3, 6), crop=False)
        steps = [("slab", rotator), ("z", VoxelZScorer()), ("ridge", MultiscaleRidgeRegressor())]
        pipeline = DecodingPipeline(steps).fit(samples, y)
        save_fold_map(tmp_path, {"method": "gradient"}, 0, pipeline, samples, y)
        found = NiftiSamples(str(fold_map(tmp_path, 0)))
        expected = saliency_image(pipeline, samples, method="gradient").get_fdata()
        np.testing.assert_allclose(np.asarray(found)[0], expected, rtol=1e-5)


def set_record(directory, **values):
    path = directory / "settings.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def set_label(directory, value):
    path = directory / "predictions.csv"
    table = pd.read_csv(path, dtype=object)
    table.loc[0, "label"] = value
    table.to_csv(path, index=False)
