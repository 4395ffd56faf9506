"""Evaluation of regressors: checked against scikit-learn, SciPy and loops."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    LeaveOneGroupOut,
    PredefinedSplit,
    cross_val_predict,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfmri import (
    RepeatedGroupKFold,
    RepeatedStratifiedGroupKFold,
    audit_leakage,
    center_groups,
    evaluate_decoder,
    evaluate_subjects,
)
from skfmri.evaluation import chance_level, fit_search, linear_baseline
from skfmri.evaluation.kinds import Numbers
from skfmri.evaluation.outcomes import check_outcome
from skfmri.evaluation.permutation import plan_chance_test
from skfmri.evaluation.sums import OF_SUMS, mean_score, score_rows, sum_by
from skfmri.evaluation.tables import learning_curve_table
from skfmri.samples import NiftiSamples
from skfmri.statistics import bootstrap_interval, bootstrap_interval_of_sums

METRICS = ["r2", "neg_mean_absolute_error", "neg_root_mean_squared_error", "pearson", "spearman"]
REFERENCES = {
    "r2": r2_score,
    "neg_mean_absolute_error": lambda y, predicted: -mean_absolute_error(y, predicted),
    "neg_mean_squared_error": lambda y, predicted: -np.mean((y - predicted) ** 2),
    "neg_root_mean_squared_error": lambda y, p: -root_mean_squared_error(y, p),
    "pearson": lambda y, predicted: stats.pearsonr(y, predicted).statistic,
    "spearman": lambda y, predicted: stats.spearmanr(y, predicted).statistic,
}
QUICK = {"baseline": None, "n_bootstraps": 100, "random_state": 0}
DECODER = make_pipeline(StandardScaler(), Ridge(10.0))


@pytest.fixture(scope="module")
def ratings():
    """Ratings that vary within and between runs of different length."""
    rng = np.random.default_rng(0)
    groups = np.repeat([5, 3, 4, 7, 1, 8], [9, 14, 12, 10, 11, 8])
    y = 50 + 10 * rng.normal(size=64) + 8 * rng.normal(size=9)[groups]
    X = rng.normal(size=(64, 5))
    X[:, 0] += (y - 50) / 10
    return X, y, groups


@pytest.fixture(scope="module")
def ages():
    """An age per subject."""
    rng, groups = np.random.default_rng(1), np.repeat(range(12), 3)
    y = rng.uniform(20, 80, 12)[groups]
    X = rng.normal(size=(36, 4))
    X[:, 0] += (y - 50) / 10
    return X, y, groups


@pytest.fixture(scope="module")
def line():
    """A slope of 3 with noise of standard deviation 1."""
    x, noise = np.random.default_rng(0).normal(size=(2, 200))
    return x[:, np.newaxis], 3 * x + noise, np.repeat(range(10), 20)


def of_decoder(table, model="decoder"):
    return table[table["model"] == model].reset_index(drop=True)


def summary_of(result, model="decoder"):
    return of_decoder(result.summary, model).set_index("metric")


class TestScores:
    def test_they_are_those_of_all_predictions_together(self, ratings):
        X, y, groups = ratings
        result = evaluate_decoder(DECODER, X, y, groups=groups, **QUICK)
        predicted = cross_val_predict(DECODER, X, y, groups=groups, cv=LeaveOneGroupOut())
        assert result.metrics == METRICS
        for metric in METRICS:
            found = summary_of(result).loc[metric, "score"]
            assert found == pytest.approx(REFERENCES[metric](y, predicted))
        table = of_decoder(result.predictions).sort_values("sample")
        np.testing.assert_allclose(table["predicted"], predicted)
        np.testing.assert_array_equal(table["label"], y)

    def test_they_are_averaged_over_repeats(self, ratings):
        X, y, groups = ratings
        cv = RepeatedGroupKFold(3, n_repeats=2, random_state=0)
        result = evaluate_decoder(DECODER, X, y, groups=groups, cv=cv, **QUICK)
        predictions = of_decoder(result.predictions)
        for metric in METRICS:
            expected = [
                REFERENCES[metric](rows["label"], rows["predicted"])
                for _, rows in predictions.groupby("repeat")
            ]
            assert len(expected) == 2
            assert summary_of(result).loc[metric, "score"] == pytest.approx(np.mean(expected))

    def test_folds_and_groups_have_scores_of_their_own(self, ratings):
        X, y, groups = ratings
        result = evaluate_decoder(DECODER, X, y, groups=groups, cv=GroupKFold(3), **QUICK)
        predictions = of_decoder(result.predictions)
        for name, table in (("fold", result.folds), ("group", result.groups)):
            table = of_decoder(table).set_index(name)
            for key, rows in predictions.groupby(name):
                for metric in METRICS:
                    expected = REFERENCES[metric](rows["label"], rows["predicted"])
                    assert table.loc[key, metric] == pytest.approx(expected)
        sizes = pd.Series(groups).value_counts().sort_index().to_numpy()
        np.testing.assert_allclose(of_decoder(result.groups)["weight"], sizes / 64)

    def test_a_linear_effect_is_found_and_shuffled_targets_have_none(self, line):
        X, y, groups = line
        result = evaluate_decoder(Ridge(1e-3), X, y, groups=groups, **QUICK)
        # A slope of 3 explains 9 / (9 + 1) of the variance.
        found = summary_of(result)["score"]
        assert found["r2"] == pytest.approx(0.9, abs=0.03)
        assert found["neg_root_mean_squared_error"] == pytest.approx(-1, abs=0.1)
        assert found["pearson"] == pytest.approx(np.sqrt(0.9), abs=0.02)
        assert result.permutation_test.pvalue < 0.01
        shuffled = np.random.default_rng(1).permutation(y)
        result = evaluate_decoder(Ridge(1e-3), X, shuffled, groups=groups, **QUICK)
        assert -0.1 < summary_of(result).loc["r2", "score"] < 0.01
        assert result.permutation_test.pvalue > 0.05

    def test_scores_that_one_label_does_not_define_are_missing_without_a_warning(self, ages):
        X, y, groups = ages
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = evaluate_decoder(DECODER, X, y, groups=groups, **QUICK)
        folds = of_decoder(result.folds)
        assert folds[["r2", "pearson", "spearman"]].isna().all(axis=None)
        assert folds["neg_mean_absolute_error"].notna().all()
        assert summary_of(result)["score"].notna().all()
        assert not result.summary["metric"].str.contains("within").any()

    def test_a_metric_that_all_predictions_leave_undefined_is_warned_of(self, ages):
        X, y, groups = ages
        one = PredefinedSplit(np.where(groups == 0, 0, -1))
        with pytest.warns(UserWarning, match="r2 is not defined in 1 of 1 repeats"):
            result = evaluate_decoder(DECODER, X, y, groups=groups, cv=one, scoring="r2", **QUICK)
        assert result.untested == "r2 is not defined in every repeat."

    def test_correlations_within_groups_are_means_over_groups_that_vary(self, ratings):
        X, y, groups = ratings
        y = np.where(groups == 3, 50.0, y)
        result = evaluate_decoder(DECODER, X, y, groups=groups, **QUICK)
        predictions = of_decoder(result.predictions)
        kept = predictions[predictions["group"] != 3].groupby("group")
        for metric in ("pearson", "spearman"):
            each = [REFERENCES[metric](rows["label"], rows["predicted"]) for _, rows in kept]
            row = summary_of(result).loc[f"{metric}_within_groups"]
            assert row["score"] == pytest.approx(np.average(each, weights=kept.size()))
            expected = bootstrap_interval(each, kept.size(), n_bootstraps=100, random_state=0)
            np.testing.assert_allclose(row[["low", "high"]].astype(float), expected)

    def test_differences_between_groups_alone_correlate_in_the_pool_only(self):
        rng, groups = np.random.default_rng(0), np.repeat(range(20), 10)
        of_group = rng.normal(size=20)[groups]
        X, y = of_group[:, None] + 0.1 * rng.normal(size=(200, 1)), of_group + rng.normal(size=200)
        found = summary_of(evaluate_decoder(Ridge(), X, y, groups=groups, **QUICK))["score"]
        assert found["pearson"] > 0.6
        assert abs(found["pearson_within_groups"]) < 0.15

    def test_a_constant_prediction_correlates_with_nothing(self, ratings):
        X, y, groups = ratings
        result = evaluate_decoder(
            DummyRegressor(strategy="constant", constant=50.0), X, y, groups=groups, **QUICK
        )
        found = summary_of(result)["score"]
        for metric in ("pearson", "spearman", "pearson_within_groups", "spearman_within_groups"):
            assert found[metric] == 0

    def test_any_scorer_is_computed_over_the_pool(self, ratings):
        X, y, groups = ratings

        def hits(estimator, X, y):
            return float(np.mean(np.abs(estimator.predict(X) - y) < 5))

        scoring = {"own": hits, "r2": "explained_variance", "mse": "neg_mean_squared_error"}
        result = evaluate_decoder(DECODER, X, y, groups=groups, scoring=scoring, **QUICK)
        rows, found = of_decoder(result.predictions), summary_of(result)
        gaps = rows["label"] - rows["predicted"]
        assert found.loc["own", "score"] == pytest.approx(np.mean(np.abs(gaps) < 5))
        assert found.loc["r2", "score"] == pytest.approx(1 - gaps.var() / rows["label"].var())
        # Its name is that of a metric with an interval, but it is another one.
        assert found.loc[["own", "r2"], "low"].isna().all()
        assert result.untested.startswith("own has no known chance level")

    def test_chance_is_the_best_constant(self):
        y = np.random.default_rng(0).exponential(size=50)
        best = dict.fromkeys(REFERENCES, y.mean()) | {"neg_mean_absolute_error": np.median(y)}
        for metric, reference in REFERENCES.items():
            chance = chance_level(y, metric)
            if metric in ("pearson", "spearman"):
                assert chance == 0
                continue
            assert chance == pytest.approx(reference(y, np.full(50, best[metric])))
            assert all(reference(y, np.full(50, value)) <= chance for value in (0.5, 1.1, 2))


class TestSums:
    @pytest.mark.parametrize("metric", OF_SUMS)
    def test_metrics_from_sums_equal_those_of_scikit_learn_and_scipy(self, metric):
        rng = np.random.default_rng(0)
        labels, predicted = 1e3 + np.round(rng.normal(size=(4, 30)), 1), rng.normal(size=30)
        expected = [REFERENCES[metric](row, predicted) for row in labels]
        np.testing.assert_allclose(score_rows(metric, labels, predicted), expected)

    @pytest.mark.parametrize("metric", ["r2", "pearson", "spearman"])
    def test_labels_that_do_not_vary_have_no_score(self, metric):
        predicted = np.random.default_rng(0).normal(size=7)
        assert np.isnan(score_rows(metric, np.full(7, 0.1 + 0.2), predicted))

    @pytest.mark.parametrize("metric", ["r2", "neg_mean_absolute_error", "pearson"])
    def test_the_interval_is_that_of_metrics_of_drawn_samples(self, ratings, metric):
        X, y, groups = ratings
        result = evaluate_decoder(DECODER, X, y, groups=groups, n_bootstraps=100, random_state=3)
        rows = of_decoder(result.predictions)
        members = [table for _, table in rows.groupby("group")]

        def of_drawn(drawn):
            table = pd.concat([members[group] for group in drawn])
            # A draw of each group once has the score itself, in whatever order it is added up.
            return np.round(REFERENCES[metric](table["label"], table["predicted"]), 10)

        n = len(members)
        reach = np.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1)
        expected = stats.bootstrap(
            (np.arange(n),),
            of_drawn,
            n_resamples=100,
            vectorized=False,
            confidence_level=2 * stats.norm.cdf(reach) - 1,
            rng=np.random.default_rng(3),
        ).confidence_interval
        row = summary_of(result).loc[metric]
        np.testing.assert_allclose(row[["low", "high"]].astype(float), expected, rtol=1e-6)

    def test_ranks_are_those_of_the_pool(self, ratings):
        X, y, groups = ratings
        result = evaluate_decoder(DECODER, X, y, groups=groups, **QUICK)
        rows = of_decoder(result.predictions)
        ranked = pd.DataFrame({"y": rows["label"].rank(), "p": rows["predicted"].rank()})
        codes = np.unique(rows["group"], return_inverse=True)[1]
        sums = sum_by("pearson", ranked["y"].to_numpy(), ranked["p"].to_numpy(), codes, 6)
        expected = bootstrap_interval_of_sums(
            sums[:, None],
            lambda drawn: mean_score("pearson", drawn),
            n_bootstraps=100,
            random_state=0,
        )
        row = summary_of(result).loc["spearman"]
        np.testing.assert_allclose(row[["low", "high"]].astype(float), expected)

    def test_draws_of_one_label_are_replaced(self):
        # One of nine draws of three groups holds one of them three times.
        groups, y = np.repeat(range(3), 4), np.repeat([1.0, 2.0, 4.0], 4)
        predicted = y + np.random.default_rng(0).normal(size=12)
        sums = sum_by("r2", y, predicted, groups, 3)[:, None]
        interval = bootstrap_interval_of_sums(
            sums, lambda drawn: mean_score("r2", drawn), random_state=0
        )
        assert interval.low < r2_score(y, predicted) < interval.high

    def test_equal_draws_make_a_point_and_one_group_nothing(self):
        def ratio(drawn):
            return drawn[:, 0] / drawn[:, 1]

        sums = np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])
        assert bootstrap_interval_of_sums(sums, ratio) == (0.5, 0.5)
        assert np.isnan(bootstrap_interval_of_sums(sums[:1], ratio)).all()


class TestComparisons:
    @pytest.mark.parametrize("repeats", [1, 3])
    def test_parts_of_folds_add_up_to_the_difference_of_pooled_scores(self, ratings, repeats):
        X, y, groups = ratings
        result = evaluate_decoder(
            DECODER,
            *(X, y),
            groups=groups,
            cv=RepeatedGroupKFold(3, n_repeats=repeats, random_state=0),
            **QUICK | {"baseline": Ridge(1e4)},
        )
        rows = result.comparisons.set_index(["baseline", "metric"]).loc["baseline"]
        gap = summary_of(result)["score"] - summary_of(result, "baseline")["score"]
        for metric in METRICS:
            assert rows.loc[metric, "difference"] == pytest.approx(gap[metric])
            assert rows.loc[metric, "group_low"] < gap[metric] < rows.loc[metric, "group_high"]
        tested = rows.loc[["r2", "neg_mean_absolute_error"]]
        np.testing.assert_allclose((tested["low"] + tested["high"]) / 2, tested["difference"])
        assert tested["p_value"].notna().all()
        assert rows.loc[["pearson", "spearman", "neg_root_mean_squared_error"], "t"].isna().all()

    def test_the_test_of_r2_is_that_of_its_parts(self, ratings):
        X, y, groups = ratings
        result = evaluate_decoder(DECODER, X, y, groups=groups, **QUICK | {"baseline": Ridge(1e4)})
        table = result.predictions
        errors = (table["label"] - table["predicted"]) ** 2
        errors = errors.groupby([table["model"], table["fold"]]).sum().unstack(0)
        total = np.sum((y - y.mean()) ** 2)
        parts = 6 * (errors["baseline"] - errors["decoder"]) / total
        ratio = np.mean([n / (64 - n) for n in np.unique(groups, return_counts=True)[1]])
        t = parts.mean() / np.sqrt((1 / 6 + ratio) * parts.var(ddof=1))
        row = result.comparisons.set_index(["baseline", "metric"]).loc["baseline", "r2"]
        assert row["t"] == pytest.approx(t)

    def test_a_model_does_not_differ_from_itself(self, ratings):
        X, y, groups = ratings
        result = evaluate_decoder(
            Ridge(10.0), X, y, groups=groups, **QUICK | {"baseline": Ridge(10.0 + 1e-13)}
        )
        rows = result.comparisons[result.comparisons["baseline"] == "baseline"]
        assert (rows[["difference", "group_low", "group_high"]] == 0).all(axis=None)

    def test_the_linear_baseline_is_a_ridge_and_the_dummy_a_mean(self, ratings):
        X, y, groups = ratings
        options = QUICK | {"baseline": "linear"}
        result = evaluate_decoder(DECODER, X, y, groups=groups, **options)
        for name, model in (("linear", linear_baseline(DECODER)), ("dummy", DummyRegressor())):
            expected = cross_val_predict(model, X, y, groups=groups, cv=LeaveOneGroupOut())
            rows = of_decoder(result.predictions, name).sort_values("sample")
            np.testing.assert_allclose(rows["predicted"], expected)
        assert list(linear_baseline(DECODER).named_steps) == ["standardscaler", "flatten", "linear"]

    def test_a_baseline_of_the_other_kind_is_refused(self, ratings):
        X, y, groups = ratings
        message = "The decoder is a regressor, but the baseline 'baseline' is a classifier"
        with pytest.raises(ValueError, match=message):
            evaluate_decoder(Ridge(), X, y, groups=groups, baseline=LogisticRegression())
        message = "The decoder is a classifier, but the baseline 'x' is a regressor"
        with pytest.raises(ValueError, match=message):
            evaluate_decoder(
                LogisticRegression(), X, y > 50, groups=groups, baseline={"x": Ridge()}
            )


class TestSentences:
    def sentences(self, problem, scoring, baseline, decoder=DECODER):
        X, y, groups = problem
        options = QUICK | {"baseline": baseline}
        result = evaluate_decoder(decoder, X, y, groups=groups, scoring=scoring, **options)
        return result.sentences(), summary_of(result).iloc[0]

    def test_errors_have_no_sign(self, ratings):
        dummy = {"fixed": DummyRegressor(strategy="constant", constant=90.0)}
        (score, _, gap, *_), row = self.sentences(ratings, "neg_mean_absolute_error", dummy)
        assert score == (
            f"mean absolute error {-row['score']:.4g}, 95% interval {-row['high']:.4g} to "
            f"{-row['low']:.4g} over 6 groups; chance {-row['chance']:.4g}."
        )
        assert gap.startswith("The decoder is better than fixed by ")
        assert "in mean absolute error, 95% interval of the difference -" in gap

    @pytest.mark.parametrize(
        ("scoring", "zero"), [("neg_mean_absolute_error", "+0"), ("r2", "+0.000")]
    )
    def test_equal_models_do_not_differ_by_minus_0(self, ratings, scoring, zero):
        (*_, gap), _ = self.sentences(ratings, scoring, clone(DECODER))
        assert f": {zero}, 95% interval {zero} to {zero}, p = 1." in gap

    def test_r2_has_its_name(self, ratings):
        (score, claim, *_), row = self.sentences(ratings, None, None)
        assert score.startswith(f"R2 {row['score']:.3f}, 95% interval ")
        assert claim.startswith("Better than chance: p = 0.0")
        assert claim.endswith("of the labels within groups, with the predictions kept.")

    def test_the_way_to_a_better_model_is_that_to_a_regressor(self, line):
        (*_, text), _ = self.sentences(line, None, "linear", Ridge(1e5))
        assert text == (
            "Recommended here: ridge regression, skfmri.evaluation.linear_baseline (on the command "
            "line --decoder linear). The decoder is clearly worse."
        )

    def test_a_metric_without_parts_says_that_it_is_not_tested(self, ratings):
        (*_, gap), _ = self.sentences(ratings, "pearson", Ridge(1e4))
        assert gap.startswith("The difference to baseline in Pearson correlation is ")
        assert gap.endswith("It is not tested, since this metric is not a mean over folds.")

    def test_a_claim_below_chance_is_explained(self, ratings):
        X, y, groups = ratings
        decoder = TransformedTargetRegressor(
            DECODER, func=np.asarray, inverse_func=raised, check_inverse=False
        )
        result = evaluate_decoder(decoder, X, y, groups=groups, **QUICK)
        assert summary_of(result).loc["r2", "score"] < 0
        assert result.permutation_test.pvalue < 0.05
        assert "a constant would be closer to them" in str(result)


class TestRefusals:
    @pytest.mark.parametrize(
        ("y", "message"),
        [
            (np.zeros((64, 2)), r"y has shape \(64, 2\), but one number per sample is needed"),
            (
                np.full(64, 3.5),
                "y is 3.5 in all 64 samples, so there is nothing to predict",
            ),
            (["old", "young"] * 32, "'old', which is not a number, but a regressor predicts"),
            ([np.inf] + [1.0] * 63, "y holds NaN or infinity for 1 of 64 samples"),
            ([np.nan] + [1.0] * 63, "Found 1 missing label"),
        ],
    )
    def test_targets_that_are_no_numbers_or_do_not_vary(self, ratings, y, message):
        X, _, groups = ratings
        with pytest.raises(ValueError, match=message):
            evaluate_decoder(Ridge(), X, y, groups=groups)

    def test_a_classifier_takes_no_numbers(self, ratings):
        X, y, groups = ratings
        with pytest.raises(ValueError, match=r"which are not classes\. Pass a regressor"):
            evaluate_decoder(LogisticRegression(), X, y, groups=groups)

    def test_learning_curves_of_networks_have_the_absolute_error(self):
        history = {"mean_absolute_error": [0.9, 0.8], "loss": [1.0, 0.7]}
        history |= {f"val_{name}": values for name, values in history.items()}
        curves = learning_curve_table([{"history": history}])
        columns = ["fold", "epoch", "loss", "mean_absolute_error"]
        assert curves.columns.tolist() == [*columns, "val_loss", "val_mean_absolute_error"]
        assert curves["mean_absolute_error"].tolist() == [0.9, 0.8]

    def test_there_is_no_confusion_of_numbers(self, ages):
        X, y, groups = ages
        result = evaluate_decoder(DECODER, X, y, groups=groups, **QUICK)
        assert result.classes is None
        with pytest.raises(ValueError, match="which have no confusion matrix"):
            result.confusion()

    def test_a_decoder_predicts_one_number_per_sample(self, ratings):
        X, y, groups = ratings
        with pytest.raises(ValueError, match=r"Column predicts an array of shape \(11, 1\) for 11"):
            evaluate_decoder(Column(), X, y, groups=groups, **QUICK)

    def test_stratified_splits_and_subjects_are_for_classes(self, ratings):
        X, y, groups = ratings
        cv = RepeatedStratifiedGroupKFold(2, n_repeats=1)
        with pytest.raises(ValueError, match="Stratified splits balance classes, but y holds"):
            evaluate_decoder(Ridge(), X, y, groups=groups, cv=cv)
        with pytest.raises(ValueError, match="One decoder per subject is for classes"):
            evaluate_subjects(Ridge(), X, y, subjects=groups, groups=groups)


def raised(predicted):
    return predicted + 40


class Column(Ridge):
    """Predicts a column."""

    def predict(self, X):
        return super().predict(X)[:, np.newaxis]


class TestPermutations:
    def test_ages_of_whole_subjects_are_shuffled_and_ratings_within_runs(self, ages, ratings):
        for (X, y, groups), scheme in ((ages, "groups"), (ratings, "within")):
            test = evaluate_decoder(DECODER, X, y, groups=groups, **QUICK).permutation_test
            assert test.scheme == scheme
            assert test.pvalue < 0.05

    @pytest.mark.parametrize("metric", METRICS)
    def test_kept_predictions_are_scored_as_by_a_loop(self, ratings, metric):
        X, y, groups = ratings
        result = evaluate_decoder(DECODER, X, y, groups=groups, scoring=metric, **QUICK)
        rows = of_decoder(result.predictions).sort_values("sample")
        spread = result.permutation_test.scores
        rng = np.random.default_rng(0)
        rows_of_labels = np.tile(y, (1000, 1))
        for group in np.unique(groups):
            inside = np.flatnonzero(groups == group)
            # Blocks, since neighbours may share a label, are single samples here.
            drawn = rng.permuted(np.tile(y[inside], (1000, 1)), axis=1)
            rows_of_labels[:, inside] = drawn
        reference = REFERENCES[metric]
        expected = np.array([reference(labels, rows["predicted"]) for labels in rows_of_labels[:9]])
        # Undo the spread, which keeps the mean.
        found = spread.mean() + (spread - spread.mean()) / np.sqrt(2)
        np.testing.assert_allclose(found[:9], expected)

    @pytest.mark.parametrize("problem", ["ages", "ratings"])
    def test_refits_score_the_pool_of_permuted_targets(self, request, problem):
        X, y, groups = request.getfixturevalue(problem)
        options = {"n_permutations": 6, "cv": GroupKFold(3), **QUICK}
        seen = []

        class Spy(Ridge):
            def fit(self, X, y):
                seen.append(y)
                return super().fit(X, y)

        result = evaluate_decoder(Spy(), X, y, groups=groups, **options)
        scores = result.permutation_test.scores
        assert result.permutation_test.refitted
        assert len(scores) == 6
        assert len(seen) == 3 * (1 + len(scores))
        assert all(np.isin(labels, y).all() for labels in seen)
        assert (scores < summary_of(result).loc["r2", "score"]).all()

    def test_a_rare_event_is_as_frequent_among_permuted_labels(self):
        # Stretches of the frequent value are long. Exchanged in place, they would become rare, and
        # noise that predicts small values would look good with the true labels only.
        n_claims = 0
        for seed in range(10):
            rng, groups = np.random.default_rng(seed), np.repeat(range(6), 20)
            y = np.where(rng.uniform(size=120) < 0.1, 10.0, 0.0)
            X = rng.normal(size=(120, 3))
            options = {"scoring": "neg_mean_absolute_error", **QUICK}
            result = evaluate_decoder(Ridge(), X, y, groups=groups, **options)
            n_claims += result.permutation_test.pvalue <= 0.05
        assert n_claims <= 2

    def test_labels_that_change_slowly_are_not_exchanged_one_by_one(self, ratings):
        X, y, groups = ratings
        order = np.lexsort([y, groups])
        X, y, groups = X[order], y[order], groups[order]
        result = evaluate_decoder(DECODER, X, y, groups=groups, **QUICK)
        assert result.permutation_test is None
        assert "labels change slowly within groups, since those of neighbours" in str(result)
        with pytest.raises(ValueError, match="Labels cannot be permuted: labels change slowly"):
            evaluate_decoder(DECODER, X, y, groups=groups, n_permutations=9, **QUICK)
        result = evaluate_decoder(DECODER, X, y, groups=groups, blocks=np.arange(64), **QUICK)
        assert result.permutation_test is not None

    def test_blocks_of_one_rating_are_no_slow_change(self):
        rng, groups = np.random.default_rng(0), np.repeat(range(6), 12)
        y = np.repeat(rng.normal(size=24), 3)
        test = plan_chance_test("auto", y, groups, None, n_permutations=9, kind=Numbers)
        assert np.unique(test.blocks).size == 24

    def test_few_groups_of_one_value_are_counted_without_renaming(self):
        groups, y = np.arange(4), np.arange(4.0)
        test = plan_chance_test("auto", y, groups, None, n_permutations=0, kind=Numbers)
        assert test._count_partitions() == 24


class TestLedgerAndSearch:
    @pytest.mark.parametrize("n_permutations", [0, 3])
    def test_a_resumed_evaluation_equals_an_uninterrupted_one(
        self, ratings, tmp_path, n_permutations
    ):
        X, y, groups = ratings
        options = {"groups": groups, "n_permutations": n_permutations, **QUICK}
        whole = evaluate_decoder(DECODER, X, y, **options)
        path = tmp_path / "run.jsonl"

        class Killed(Exception):
            pass

        def stop(row):
            if row["fold"] == 2:
                raise Killed

        with pytest.raises(Killed):
            evaluate_decoder(DECODER, X, y, ledger=path, on_fold=stop, **options)
        for _ in range(2):
            resumed = evaluate_decoder(DECODER, X, y, ledger=path, **options)
            assert resumed.summary.equals(whole.summary)
            assert resumed.predictions.equals(whole.predictions)
            np.testing.assert_array_equal(
                resumed.permutation_test.scores, whole.permutation_test.scores
            )

    def test_outcomes_are_numbers_of_the_right_length(self):
        sound = {"predict": np.array([1.5, np.nan]), "seconds_fit": 1.0, "seconds_predict": 0.1}
        check_outcome(sound, 2, is_classes=False)
        with pytest.raises(ValueError, match="it has no classes"):
            check_outcome(sound, 2)
        for predict, message in (
            (np.array(["a", "b"]), "predict holds <U1, not numbers"),
            (np.zeros((2, 1)), "predict is not an array of 2 samples"),
            (np.zeros(3), "predict is not an array of 2 samples"),
        ):
            with pytest.raises(ValueError, match=message):
                check_outcome(sound | {"predict": predict}, 2, is_classes=False)

    def test_permutations_serve_every_metric(self, ratings, tmp_path):
        X, y, groups = ratings
        path = tmp_path / "run.jsonl"
        options = {"groups": groups, "n_permutations": 3, **QUICK}
        evaluate_decoder(DECODER, X, y, ledger=path, scoring="r2", **options)
        before = path.read_bytes()
        resumed = evaluate_decoder(DECODER, X, y, ledger=path, scoring="pearson", **options)
        assert path.read_bytes() == before
        fresh = evaluate_decoder(DECODER, X, y, scoring="pearson", **options)
        np.testing.assert_array_equal(
            resumed.permutation_test.scores, fresh.permutation_test.scores
        )

    def test_a_search_is_nested_and_resumed(self, ratings, tmp_path):
        X, y, groups = ratings
        search = GridSearchCV(Ridge(), {"alpha": [1e-2, 1e6]}, cv=GroupKFold(3), scoring="r2")
        path = tmp_path / "run.jsonl"
        results = [
            evaluate_decoder(search, X, y, groups=groups, ledger=path, **QUICK) for _ in range(2)
        ]
        assert results[0].folds["best_params"].dropna().unique().tolist() == ["alpha=0.01"]
        assert results[0].summary.equals(results[1].summary)

    def test_fit_search_fits_regressors(self, ratings, tmp_path):
        X, y, groups = ratings
        for scoring in ("r2", "neg_mean_absolute_error", None):
            search = GridSearchCV(Ridge(), {"alpha": [1e-2, 10]}, cv=GroupKFold(3), scoring=scoring)
            plain = GridSearchCV(**search.get_params(deep=False)).fit(X, y, groups=groups)
            for _ in range(2):
                fit_search(search, X, y, groups=groups, ledger=tmp_path / f"{scoring}.jsonl")
                np.testing.assert_allclose(
                    search.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"]
                )
                np.testing.assert_allclose(search.predict(X), plain.predict(X))


class TestAudit:
    def test_numbers_have_no_classes_to_miss(self, ratings, ages):
        for X, y, groups in (ratings, ages):
            for estimator in (DECODER, None):
                report = audit_leakage(estimator, X, y, groups=groups)
                assert report.ok
                assert report.skipped["classes"] == "y holds numbers, not classes"
                assert report.notes == ()

    def test_integers_are_numbers_to_a_regressor(self, ages):
        X, y, groups = ages
        report = audit_leakage(DECODER, X, y.astype(int), groups=groups)
        assert "classes" in report.skipped
        report = audit_leakage(None, X, y.astype(int), groups=groups)
        assert not report.ok

    def test_an_inner_split_of_numbers_is_not_stratified(self, ratings):
        X, y, groups = ratings
        search = GridSearchCV(Ridge(), {"alpha": [1.0]}, cv=3)
        report = audit_leakage(search, X, y, groups=groups)
        assert {finding.check for finding in report.findings} == {"inner"}

    def test_centring_that_takes_the_target_away_is_noted(self, ages):
        _, y, groups = ages
        volumes = np.random.default_rng(0).normal(size=(36, 3, 4, 5))
        samples = NiftiSamples.from_array(volumes, np.eye(4), y=y, groups=groups)
        with pytest.warns(
            UserWarning, match="100% of the variance of the labels lies between the 12 groups"
        ):
            centred = center_groups(samples)
        (note,) = audit_leakage(DECODER, centred, checks=["centred"]).notes
        assert note.startswith("100% of the variance of y lies between groups that were centred")
