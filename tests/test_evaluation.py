import os
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import config_context
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import confusion_matrix, f1_score, get_scorer, make_scorer
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    LeaveOneGroupOut,
    PredefinedSplit,
    StratifiedGroupKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    permutation_test_score,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import ExtraTreeClassifier

from skfmri import MultiscaleRidgeRegressor, SlabCNNClassifier
from skfmri.evaluation import chance_level, evaluate_decoder, linear_baseline
from skfmri.evaluation.result import describe_result
from skfmri.model_selection import RepeatedGroupKFold
from skfmri.pipeline import DecodingPipeline
from skfmri.preprocessing import NiftiSlabRotator, VoxelZScorer
from skfmri.samples import NiftiSamples
from skfmri.statistics import bootstrap_interval, permute_labels

TIMES = ["seconds_fit", "seconds_predict"]


@pytest.fixture(scope="module")
def problem():
    X, y = make_classification(90, 8, n_classes=3, n_informative=4, random_state=0)
    return X, np.array(["a", "b", "c"])[y], np.repeat([5, 3, 4, 7, 1], [10, 20, 30, 15, 15])


@pytest.fixture(scope="module")
def null_problem():
    rng = np.random.default_rng(1)
    return rng.normal(size=(60, 3)), np.tile(["a", "b"], 30), np.repeat(range(6), 10)


def of_decoder(table):
    return table[table["model"] == "decoder"].reset_index(drop=True)


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(),
        LinearSVC(),
        FixedThresholdClassifier(LogisticRegression(), threshold=0.2),
    ],
)
def test_scores_and_predictions_equal_those_of_scikit_learn(problem, estimator):
    X, y, groups = problem
    if isinstance(estimator, FixedThresholdClassifier):
        y = np.where(y == "c", "a", y)
    result = evaluate_decoder(estimator, X, y, groups=groups, cv=GroupKFold(4), baseline=None)
    scoring = ("accuracy", "balanced_accuracy")
    expected = cross_validate(estimator, X, y, groups=groups, cv=GroupKFold(4), scoring=scoring)
    folds = of_decoder(result.folds)
    for metric in scoring:
        np.testing.assert_allclose(folds[metric], expected[f"test_{metric}"])
    summary = of_decoder(result.summary).set_index("metric")
    assert summary.loc["accuracy", "score"] == pytest.approx(expected["test_accuracy"].mean())
    predictions = of_decoder(result.predictions).sort_values("sample")
    predicted = cross_val_predict(estimator, X, y, groups=groups, cv=GroupKFold(4))
    assert predictions["predicted"].tolist() == predicted.tolist()
    assert predictions["label"].tolist() == y.tolist()
    assert predictions["group"].tolist() == groups.tolist()


def test_probabilities_stand_beside_the_predictions(problem):
    X, y, groups = problem
    result = evaluate_decoder(LogisticRegression(), X, y, groups=groups, baseline=None)
    table = of_decoder(result.predictions).sort_values("sample")
    expected = cross_val_predict(
        LogisticRegression(), X, y, groups=groups, cv=LeaveOneGroupOut(), method="predict_proba"
    )
    np.testing.assert_allclose(table[["p_a", "p_b", "p_c"]], expected)


def test_one_group_at_a_time_is_held_out_by_default(problem):
    X, y, groups = problem
    folds = of_decoder(evaluate_decoder(LogisticRegression(), X, y, groups=groups).folds)
    assert folds["groups_held_out"].tolist() == ["1", "3", "4", "5", "7"]
    assert folds["n_test"].tolist() == [15, 20, 30, 10, 15]
    assert folds["n_train"].tolist() == [75, 70, 60, 80, 75]


@pytest.mark.parametrize(
    "scoring", ["roc_auc_ovr", ["neg_log_loss", "f1_macro"], {"x": "accuracy"}]
)
def test_any_metric_that_needs_outputs_only_equals_that_of_scikit_learn(problem, scoring):
    X, y, groups = problem
    result = evaluate_decoder(
        LogisticRegression(),
        *(X, y),
        groups=groups,
        scoring=scoring,
        baseline=None,
        permutation=None,
    )
    names = [scoring] if isinstance(scoring, str) else list(scoring)
    wanted = scoring if isinstance(scoring, dict) else names
    expected = cross_validate(
        LogisticRegression(), X, y, groups=groups, cv=LeaveOneGroupOut(), scoring=wanted
    )
    assert result.metrics == names
    for name in names:
        np.testing.assert_allclose(of_decoder(result.folds)[name], expected[f"test_{name}"])


def test_a_function_of_labels_can_be_the_metric(problem):
    X, y, groups = problem

    def errors(estimator, X, y):
        return -float(np.sum(estimator.predict(X) != y))

    result = evaluate_decoder(LogisticRegression(), X, y, groups=groups, scoring=errors)
    expected = cross_val_score(
        LogisticRegression(), X, y, groups=groups, cv=LeaveOneGroupOut(), scoring=errors
    )
    np.testing.assert_allclose(of_decoder(result.folds)["errors"], expected)


def test_groups_come_with_the_samples_and_workers_change_nothing(problem):
    _, y, groups = problem
    volumes = np.random.default_rng(0).normal(size=(90, 2, 3, 4))
    samples = NiftiSamples.from_array(volumes, np.eye(4), y=y, groups=groups)
    flat = make_pipeline(
        FunctionTransformer(lambda volumes: np.asarray(volumes).reshape(len(volumes), -1)),
        LogisticRegression(),
    )
    results = [evaluate_decoder(flat, samples, n_jobs=n, random_state=0) for n in (1, 2)]
    assert results[0].folds.drop(columns=TIMES).equals(results[1].folds.drop(columns=TIMES))
    assert results[0].predictions.equals(results[1].predictions)
    assert results[0].summary.equals(results[1].summary)


def test_every_fold_gets_a_seed_of_its_own_and_the_same_one_again(problem):
    X, y, groups = problem
    seeds = []

    class Spy(ExtraTreeClassifier):
        def fit(self, X, y):
            seeds.append(self.random_state)
            return super().fit(X, y)

    def run(seed):
        return evaluate_decoder(
            Spy(random_state=3), X, y, groups=groups, baseline=None, random_state=seed
        )

    first = run(0)
    assert len(set(seeds)) == 5
    assert run(0).predictions.equals(first.predictions)
    assert not run(1).predictions.equals(first.predictions)
    unseeded = run(None)
    assert run(unseeded.random_state).predictions.equals(unseeded.predictions)


@pytest.mark.filterwarnings("ignore:The groups parameter is ignored")
def test_a_split_through_a_group_is_refused_before_any_fit(problem):
    X, y, groups = problem
    with pytest.raises(ValueError, match=r"Split 0 of cv has group \d in its training and its"):
        evaluate_decoder(None, X, y, groups=groups, cv=KFold(3, shuffle=True), baseline=None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": None}, "There are no groups. Pass groups="),
        ({"y": None}, "There are no labels. Pass y"),
        ({"y": ["a"] * 89}, "Found 89 labels for 90 volumes"),
        ({"groups": [1] * 89}, "Found 89 group labels for 90 volumes"),
        ({"baseline": "svm"}, "Unknown baseline 'svm'"),
        ({"baseline": {"dummy": LinearSVC()}}, "cannot be called 'dummy'"),
        ({"baseline": {"svm": "linear"}}, "The baseline 'svm' is 'linear', not an estimator"),
        ({"baseline": LinearSVC}, "The baseline 'baseline' is <class .*, not an estimator"),
        ({"scoring": []}, r"scoring is \[\], but must be a metric or several .* 'accuracy'"),
        ({"scoring": 5}, "scoring is 5, but must be a metric"),
        ({"n_permutations": -1}, "n_permutations must be an integer of at least 0"),
        ({"n_bootstraps": 0}, "n_bootstraps must be an integer of at least 1"),
    ],
)
def test_bad_input_says_what_is_wrong(problem, changes, message):
    X, y, groups = problem
    arguments = {"y": y, "groups": groups} | changes
    with pytest.raises(ValueError, match=message):
        evaluate_decoder(LogisticRegression(), X, **arguments)


@pytest.mark.parametrize(
    ("decoder", "labels"),
    [(LinearSVC(), ["a", "b"]), (MultiscaleRidgeRegressor(), [20.0, 30.5])],
)
class TestWithoutAnythingToLearn:
    def test_training_samples_of_one_label_are_refused_before_any_fit(self, decoder, labels):
        y, groups = np.repeat(labels, [6, 2]), np.repeat([0, 1], [6, 2])
        with pytest.raises(ValueError, match=r"All 2 training samples of split 0 have the label"):
            evaluate_decoder(decoder, np.zeros((8, 1)), y, groups=groups)

    def test_permutations_that_leave_none_are_drawn_again(self, decoder, labels):
        X, groups = np.random.default_rng(0).normal(size=(12, 2)), np.repeat(range(6), 2)
        # Shuffled, both groups of the second label may come into one fold.
        y = np.array(labels)[np.isin(groups, [1, 2]).astype(int)]
        options = {"cv": PredefinedSplit(groups // 2), "baseline": None, "n_permutations": 20}
        result = evaluate_decoder(decoder, X, y, groups=groups, random_state=0, **options)
        assert result.permutation_test.n_permutations > 5


@pytest.mark.parametrize(("decoder", "y"), [(LinearSVC(), "ab"), (Ridge(), [20.0, 30.5])])
@pytest.mark.parametrize(
    ("scoring", "reason"),
    [
        ("neg_log_loss", "AttributeError: the decoder has none of .* predict_proba"),
        (lambda decoder, X, y: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda decoder, X, y: decoder.coef_, "AttributeError: the decoder has no attribute"),
    ],
)
def test_a_scorer_that_fails_leaves_the_other_scores(decoder, y, scoring, reason):
    X, groups = np.random.default_rng(0).normal(size=(24, 2)), np.repeat(range(3), 8)
    metrics = {"first": scoring, "right": lambda decoder, X, y: 1.0}
    y = np.tile(np.array(list(y)), 12)
    with pytest.warns(UserWarning, match=rf"first is not defined in . of .*: {reason}"):
        result = evaluate_decoder(decoder, X, y, groups=groups, scoring=metrics, baseline=None)
    assert of_decoder(result.summary).set_index("metric").loc["right", "score"] == 1
    assert result.untested.startswith("first is not defined in every")


class TestIntervals:
    def test_groups_are_what_is_drawn(self, problem):
        X, y, groups = problem
        result = evaluate_decoder(LogisticRegression(), X, y, groups=groups, random_state=4)
        predictions = of_decoder(result.predictions)
        right = (predictions["label"] == predictions["predicted"]).groupby(predictions["group"])
        table = of_decoder(result.groups)
        np.testing.assert_allclose(table["accuracy"], right.mean())
        expected = bootstrap_interval(right.mean().to_numpy(), np.full(5, 0.2), random_state=4)
        summary = of_decoder(result.summary)
        np.testing.assert_allclose(summary.loc[0, ["low", "high"]].astype(float), expected)

    def test_weighted_groups_give_the_mean_over_folds(self, problem):
        X, y, groups = problem
        cv = RepeatedGroupKFold(2, n_repeats=3, random_state=0)
        result = evaluate_decoder(LogisticRegression(), X, y, groups=groups, cv=cv)
        table = of_decoder(result.groups)
        assert table["weight"].sum() == pytest.approx(1)
        mean = (table["weight"] * table["accuracy"]).sum()
        assert mean == pytest.approx(of_decoder(result.summary).loc[0, "score"])

    def test_a_metric_that_a_group_alone_does_not_define_has_no_interval(self):
        X = np.random.default_rng(0).normal(size=(40, 2))
        y, groups = np.repeat(["a", "b"], 20), np.repeat(range(8), 5)
        cv = GroupKFold(2, shuffle=True, random_state=1)
        scoring = ["roc_auc", "accuracy"]
        result = evaluate_decoder(LogisticRegression(), X, y, groups=groups, cv=cv, scoring=scoring)
        summary = of_decoder(result.summary).set_index("metric")
        assert np.isnan(summary.loc["roc_auc", "low"])
        assert np.isfinite(summary.loc["roc_auc", "score"])
        assert summary.loc["accuracy", "low"] < summary.loc["accuracy", "high"]
        assert "interval" not in result.sentences()[0]

    def test_chance_comes_from_the_class_balance(self):
        assert chance_level(list("aabc")) == 0.5
        assert chance_level([0, 1, 2]) == pytest.approx(1 / 3)
        assert chance_level(list("aaab"), "balanced_accuracy") == 0.5
        assert chance_level(list("aaab"), "roc_auc_ovr") == 0.5
        assert np.isnan(chance_level(list("aaab"), "neg_log_loss"))


class TestComparisons:
    def test_the_test_is_that_of_nadeau_and_bengio(self, problem):
        X, y, groups = problem
        cv = RepeatedGroupKFold(2, n_repeats=5, random_state=0)
        result = evaluate_decoder(
            ExtraTreeClassifier(),
            X,
            y,
            groups=groups,
            cv=cv,
            baseline=LogisticRegression(),
            random_state=0,
        )
        scores = result.folds.pivot(index="fold", columns="model", values="accuracy")
        gaps = (scores["decoder"] - scores["baseline"]).to_numpy()
        ratio = np.mean([len(test) / len(train) for train, test in cv.split(X, y, groups)])
        t = gaps.mean() / np.sqrt((1 / 10 + ratio) * gaps.var(ddof=1))
        row = result.comparisons.set_index(["baseline", "metric"]).loc["baseline", "accuracy"]
        assert row["difference"] == pytest.approx(gaps.mean())
        assert row["t"] == pytest.approx(t)
        assert row["df"] == 9
        assert row["p_value"] == pytest.approx(2 * stats.t.sf(abs(t), 9))
        assert row["low"] < row["difference"] < row["high"]
        assert row["group_low"] < row["difference"] < row["group_high"]

    def test_the_dummy_is_always_there(self, problem):
        X, y, groups = problem
        result = evaluate_decoder(LogisticRegression(), X, y, groups=groups, baseline=None)
        assert result.comparisons["baseline"].unique().tolist() == ["dummy"]
        expected = cross_val_score(DummyClassifier(), X, y, groups=groups, cv=LeaveOneGroupOut())
        dummy = result.folds[result.folds["model"] == "dummy"]
        np.testing.assert_allclose(dummy["accuracy"], expected)

    def test_a_worse_decoder_is_told_so(self, problem):
        X, y, groups = problem
        result = evaluate_decoder(DummyClassifier(), X, y, groups=groups)
        assert any(
            sentence.startswith("The decoder is worse than linear by 0.")
            for sentence in result.sentences()
        )
        assert any(
            sentence.startswith("Recommended here: ")
            and "The decoder is clearly worse after correction for 2 comparisons." in sentence
            for sentence in result.sentences()
        )

    def test_a_better_decoder_is_told_so(self, problem):
        X, y, groups = problem
        baseline = {"constant": DummyClassifier(strategy="constant", constant="a")}
        result = evaluate_decoder(LogisticRegression(), X, y, groups=groups, baseline=baseline)
        assert "The decoder is better than constant by 0." in repr(result)

    @pytest.mark.parametrize("design", ["one label per group", "unbalanced within groups"])
    def test_noise_is_not_said_to_beat_chance_or_the_dummy(self, design):
        rng, groups = np.random.default_rng(0), np.repeat(range(8), 6)
        y = groups % 2 if design == "one label per group" else rng.permutation(np.arange(48) % 2)
        n_claims = 0
        for seed in range(20):
            result = evaluate_decoder(
                *(RidgeClassifier(), rng.normal(size=(48, 3)), y),
                groups=groups,
                scoring="accuracy",
                baseline=None,
                n_bootstraps=100,
                random_state=seed,
            )
            score, claim = result.sentences()
            assert score.startswith("accuracy 0.")
            assert score.endswith("; chance 0.500.")
            n_claims += claim.startswith("Better than chance")
            assert (result.comparisons["baseline"] == "dummy").all()
            assert "dummy" in result.summary["model"].to_numpy()
        # More would be found by chance in 1 % of such tests.
        assert n_claims <= 4

    def test_noise_that_predicts_the_frequent_class_does_not_beat_chance(self):
        # Its stretches are long; exchanged in place, they would make the class rare.
        n_claims, groups = 0, np.repeat(range(6), 15)
        for seed in range(10):
            rng = np.random.default_rng(seed)
            X, y = rng.normal(size=(90, 3)), rng.uniform(size=90) < 0.2
            result = evaluate_decoder(
                *(RidgeClassifier(), X, y),
                groups=groups,
                scoring="accuracy",
                baseline=None,
                n_bootstraps=100,
                random_state=seed,
            )
            n_claims += result.permutation_test.pvalue <= 0.05
        assert n_claims <= 2

    def test_a_metric_that_is_not_defined_is_not_compared(self):
        groups = np.repeat(range(6), 4)
        X, y = np.random.default_rng(0).normal(size=(24, 3)), groups % 2
        with pytest.warns(UndefinedMetricWarning):
            result = evaluate_decoder(LogisticRegression(), X, y, groups=groups, scoring="roc_auc")
        assert "No difference to linear: roc_auc is not defined in every fold." in str(result)


class TestWarnings:
    @pytest.fixture
    def one_label_per_group(self):
        groups = np.repeat(range(12), 4)
        return np.random.default_rng(0).normal(size=(48, 3)), groups % 2, groups

    def warnings_of(self, problem, **options):
        X, y, groups = problem
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            evaluate_decoder(
                LogisticRegression(), X, y, groups=groups, on_fold=lambda row: None, **options
            )
        return [str(item.message) for item in caught]

    def test_one_class_per_group_is_silent_for_metrics_that_have_a_value(self, one_label_per_group):
        metrics = ["accuracy", "balanced_accuracy", "f1_macro", "precision_macro"]
        assert self.warnings_of(one_label_per_group, scoring=metrics, n_permutations=2) == []

    def test_an_undefined_metric_is_warned_of_once(self, one_label_per_group):
        options = {"scoring": ["roc_auc", "accuracy"], "n_permutations": 3}
        (message,) = self.warnings_of(one_label_per_group, **options)
        assert message.startswith("roc_auc is not defined in 12 of 12 folds, so it cannot be")
        assert "lack a class" in message

    def test_the_reason_of_scikit_learn_is_kept(self, problem):
        (message,) = self.warnings_of(problem, scoring="roc_auc")
        assert message.startswith("roc_auc is not defined in 5 of 5 folds")
        assert "multi_class must be in ('ovo', 'ovr')" in message

    def test_an_undefined_metric_is_not_tested(self, one_label_per_group):
        X, y, groups = one_label_per_group
        with pytest.warns(UndefinedMetricWarning, match="so it cannot be tested"):
            result = evaluate_decoder(
                LogisticRegression(), X, y, groups=groups, scoring="roc_auc", n_permutations=9
            )
        assert result.permutation_test is None

    def test_the_linear_baseline_sees_the_same_slab(self):
        rotator, zscorer = NiftiSlabRotator(0.1, slab=(2, 5)), VoxelZScorer(std_threshold=0.2)
        pipeline = DecodingPipeline(
            [("slab", rotator), ("zscore", zscorer), ("cnn", SlabCNNClassifier(patience=2))],
            validation=GroupShuffleSplit(1),
        )
        for estimator in (pipeline, GridSearchCV(pipeline, {"cnn__filters": [2]})):
            baseline = linear_baseline(estimator)
            assert type(baseline) is Pipeline
            assert baseline["slab"].get_params() == rotator.get_params()
            assert baseline["zscore"].get_params() == zscorer.get_params()
            assert baseline["slab"] is not rotator
            assert isinstance(baseline[-1], LogisticRegression)

    def test_the_linear_baseline_of_a_lone_network_takes_slabs(self, slabs):
        X, y = slabs
        scaled = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        expected = scaled.fit(X.reshape(20, -1), y).predict_proba(X.reshape(20, -1))
        baseline = linear_baseline(SlabCNNClassifier())
        np.testing.assert_allclose(baseline.fit(X, y).predict_proba(X), expected, atol=1e-4)


class TestOnFitted:
    @pytest.mark.parametrize("n_jobs", [None, 2])
    def test_it_sees_each_fitted_decoder_once_with_its_held_out_samples(
        self, problem, tmp_path, n_jobs
    ):
        X, y, groups = problem

        # A list that it filled in a worker would be lost with the worker.
        def save_coefficients(fold, decoder, X_test, y_test):
            path = tmp_path / f"{fold}.npz"
            assert not path.exists()
            np.savez(path, coef=decoder.coef_, X=X_test, y=y_test)

        evaluate_decoder(
            LogisticRegression(),
            X,
            y,
            groups=groups,
            n_permutations=1,
            n_jobs=n_jobs,
            on_fitted=save_coefficients,
        )
        assert len(list(tmp_path.iterdir())) == 5
        for fold, (train, test) in enumerate(LeaveOneGroupOut().split(X, y, groups)):
            found = np.load(tmp_path / f"{fold}.npz")
            np.testing.assert_array_equal(found["X"], X[test])
            np.testing.assert_array_equal(found["y"], y[test])
            expected = LogisticRegression().fit(X[train], y[train]).coef_
            np.testing.assert_allclose(found["coef"], expected, rtol=1e-6)

    def test_a_fold_counts_as_finished_only_after_it(self, problem, tmp_path):
        X, y, groups = problem
        calls = []

        def fail_once(fold, *_):
            calls.append(fold)
            if calls == [0, 1]:
                raise OSError("disk full")

        options = {"groups": groups, "ledger": tmp_path / "run.jsonl", "on_fitted": fail_once}
        with pytest.raises(OSError, match="disk full"):
            evaluate_decoder(LogisticRegression(), X, y, **options)
        evaluate_decoder(LogisticRegression(), X, y, **options)
        assert calls == [0, 1, 1, 2, 3, 4]


class TestPermutations:
    def test_labels_that_cannot_be_exchanged_are_refused_before_any_fit(self, problem):
        X, y, groups = problem
        with pytest.raises(ValueError, match="All 90 samples share one label"):
            evaluate_decoder(
                LogisticRegression(),
                X,
                np.full(len(y), "a"),
                groups=groups,
                n_permutations=1,
                on_fold=pytest.fail,
            )

    def test_labels_of_whole_groups_are_shuffled_if_each_group_has_one(self):
        groups = np.repeat(range(8), 4)
        X, y = np.random.default_rng(0).normal(size=(32, 3)), groups % 2
        result = evaluate_decoder(
            LogisticRegression(),
            X + 3 * y[:, np.newaxis],
            y,
            groups=groups,
            baseline=None,
            n_permutations=4,
            random_state=7,
        )
        test = result.permutation_test
        for number, score in enumerate(test.scores):
            rng = np.random.default_rng([7, number])
            shuffled = permute_labels(y, groups, scheme="groups", random_state=rng)
            expected = cross_val_score(
                LogisticRegression(),
                X + 3 * y[:, np.newaxis],
                shuffled,
                groups=groups,
                cv=LeaveOneGroupOut(),
            )
            assert score == pytest.approx(expected.mean())
        assert test.scheme == "groups"
        claim = "p = 0.2 from 4 permutations of the labels of whole groups, with refits."
        assert f"Not clearly better than chance: {claim}" in str(result)
        assert describe_result(result)["permutation_test"] == {
            "p_value": test.pvalue,
            "n_permutations": test.n_permutations,
            "scheme": "groups",
            "refitted": True,
        }

    def test_splits_balanced_by_label_are_balanced_for_shuffled_labels_too(self):
        groups = np.repeat(range(8), 3)
        X, y = np.random.default_rng(0).normal(size=(24, 3)), groups % 2
        seen = []

        class Spy(LogisticRegression):
            def fit(self, X, y):
                seen.append(y)
                return super().fit(X, y)

        evaluate_decoder(
            Spy(),
            X,
            y,
            groups=groups,
            cv=StratifiedGroupKFold(4, shuffle=True, random_state=0),
            baseline=None,
            n_permutations=3,
        )
        assert len(seen) == 4 * 4
        assert all(labels.mean() == 0.5 for labels in seen)

    def test_permuted_labels_leave_every_fold_all_classes_if_the_true_ones_do(self):
        # A third of all permutations would leave a fold of two groups with one class.
        groups = np.repeat(range(4), 3)
        X, y = np.random.default_rng(0).normal(size=(12, 3)), groups % 2
        cv = iter([(np.arange(6), np.arange(6, 12)), (np.arange(6, 12), np.arange(6))])
        result = evaluate_decoder(
            LogisticRegression(), X, y, groups=groups, cv=cv, baseline=None, n_permutations=20
        )
        assert result.permutation_test.n_permutations >= 10

    def test_shuffled_groups_resume_from_the_ledger(self, tmp_path):
        groups = np.repeat(range(6), 4)
        X, y = np.random.default_rng(0).normal(size=(24, 3)), groups % 2
        fits = []

        class Counted(LogisticRegression):
            def fit(self, X, y):
                fits.append(1)
                return super().fit(X, y)

        options = {"groups": groups, "baseline": None, "random_state": 0}
        options |= {"n_permutations": 3, "ledger": tmp_path / "run.jsonl"}
        first = evaluate_decoder(Counted(), X, y, **options)
        n_fits = len(fits)
        assert n_fits >= 6 * 2
        again = evaluate_decoder(Counted(), X, y, **options)
        assert len(fits) == n_fits
        assert_same(again, first)

    def test_each_permuted_score_is_a_cross_validation_of_shuffled_labels(self, problem):
        X, y, groups = problem
        result = evaluate_decoder(
            LogisticRegression(),
            X,
            y,
            groups=groups,
            baseline=None,
            blocks=np.arange(len(y)),
            n_permutations=4,
            random_state=7,
        )
        for number, score in enumerate(result.permutation_test.scores):
            rng = np.random.default_rng([7, number])
            shuffled = permute_labels(y, groups, random_state=rng)
            expected = cross_val_score(
                LogisticRegression(), X, shuffled, groups=groups, cv=LeaveOneGroupOut()
            )
            assert score == pytest.approx(expected.mean())
        assert result.permutation_test.pvalue == 1 / 5

    def test_p_is_that_of_scikit_learn(self, null_problem):
        X, y, groups = null_problem
        X = X + 0.6 * (y == "a")[:, np.newaxis]
        options = {"groups": groups, "cv": GroupKFold(6), "n_permutations": 200}
        result = evaluate_decoder(
            *(LogisticRegression(), X, y),
            blocks=np.arange(len(y)),
            baseline=None,
            random_state=0,
            **options,
        )
        score, permuted, p = permutation_test_score(
            LogisticRegression(), X, y, random_state=0, **options
        )
        assert of_decoder(result.summary).loc[0, "score"] == pytest.approx(score)
        assert 0.001 < p < 0.05
        assert result.permutation_test.pvalue == pytest.approx(p, abs=0.02)
        own = result.permutation_test.scores
        assert own.mean() == pytest.approx(permuted.mean(), abs=0.02)
        assert own.std() == pytest.approx(permuted.std(), abs=0.02)

    def test_a_null_result_ends_early(self, null_problem):
        X, y, groups = null_problem
        result = evaluate_decoder(
            DummyClassifier(), X, y, groups=groups, n_permutations=500, random_state=0
        )
        test = result.permutation_test
        assert test.stopped_early
        assert test.n_permutations == 10
        assert test.pvalue == 1
        assert test.scheme == "within"
        text = "p = 1 from 10 permutations of the labels within groups, with refits; stopped early"
        assert f"Not clearly better than chance: {text} because" in str(result)

    @pytest.mark.parametrize("blocks", [np.arange(60) // 5, None])
    def test_blocks_or_stretches_of_a_label_stay_together(self, null_problem, blocks):
        X, y, groups = null_problem
        y = np.tile(np.repeat(["a", "b"], 5), 6)
        seen = []

        class Spy(LogisticRegression):
            def fit(self, X, y):
                seen.append(y)
                return super().fit(X, y)

        evaluate_decoder(Spy(), X, y, groups=groups, blocks=blocks, baseline=None, n_permutations=3)
        assert len(seen) == 4 * 6
        for labels in seen:
            assert (labels.reshape(-1, 5) == labels.reshape(-1, 5)[:, :1]).all()
        assert any((labels != seen[0]).any() for labels in seen[6::6])


class TestChance:
    """Tests of predictions that are kept, which need no refits."""

    @pytest.mark.parametrize(
        ("scoring", "n_permutations"),
        [
            ("accuracy", 1000),
            ("balanced_accuracy", 1000),
            ("roc_auc", 200),
            ({"accuracy": make_scorer(f1_score, average="macro")}, 200),
        ],
    )
    def test_p_compares_with_predictions_scored_on_shuffled_labels(self, scoring, n_permutations):
        rng, groups = np.random.default_rng(0), np.repeat(range(8), 10)
        y = np.concatenate([rng.permutation(np.arange(10) % 3 == 0) for _ in range(8)]).astype(int)
        X = rng.normal(size=(80, 4)) + 0.4 * y[:, np.newaxis]
        options = {"groups": groups, "cv": GroupKFold(4), "blocks": np.arange(80)}
        result = evaluate_decoder(
            LogisticRegression(class_weight="balanced"),
            *(X, y),
            scoring=scoring,
            baseline=None,
            random_state=3,
            **options,
        )
        test = result.permutation_test
        metric = scoring if isinstance(scoring, str) else "accuracy"
        score = get_scorer(scoring if isinstance(scoring, str) else scoring["accuracy"])
        fitted = [
            (test_rows, LogisticRegression(class_weight="balanced").fit(X[train], y[train]))
            for train, test_rows in GroupKFold(4).split(X, y, groups)
        ]
        expected = []
        for seed in range(400):
            shuffled = permute_labels(y, groups, random_state=seed)
            expected.append(
                np.mean([score(model, X[rows], shuffled[rows]) for rows, model in fitted])
            )
        expected = np.array(expected)
        assert not test.refitted
        assert test.n_permutations == n_permutations
        assert test.scheme == "within"
        # Spread out by the square root of 2, and compared with the score.
        error = expected.std() / np.sqrt(200)
        assert test.scores.mean() == pytest.approx(expected.mean(), abs=5 * error)
        assert test.scores.std() == pytest.approx(np.sqrt(2) * expected.std(), rel=0.25)
        reached = (test.scores >= of_decoder(result.summary).loc[0, "score"] - 1e-9).sum()
        assert test.pvalue == (reached + 1) / (n_permutations + 1)
        assert of_decoder(result.summary).loc[0, "metric"] == metric

    def test_a_clear_effect_is_claimed_with_its_source(self, problem):
        X, y, groups = problem
        result = evaluate_decoder(
            LogisticRegression(), X + 5 * (y == "a")[:, np.newaxis], y, groups=groups
        )
        assert result.permutation_test.pvalue == 1 / 1001
        claim = (
            "Better than chance: p = 0.000999 from 1000 permutations of the labels within groups"
        )
        assert f"{claim}, with the predictions kept." in result.sentences()
        assert result.untested is None

    def test_whole_groups_are_shuffled_if_each_has_one_label(self):
        groups = np.repeat(range(12), 3)
        y = groups % 2
        X = np.random.default_rng(0).normal(size=(36, 2)) + 4 * y[:, np.newaxis]
        result = evaluate_decoder(LogisticRegression(), X, y, groups=groups, baseline=None)
        assert result.permutation_test.scheme == "groups"
        assert "permutations of the labels of whole groups" in result.sentences()[-1]
        assert result.sentences()[-1].startswith("Better than chance")

    @pytest.mark.parametrize(
        ("n_groups", "labels", "options", "reason"),
        [
            (
                *(4, [0, 0, 1, 1]),
                {},
                "exchanging labels within groups gives only 8 different partitions of the samples, "
                "too few for p to reach 0.05. Use more groups or smaller blocks.",
            ),
            (8, [0, 1, 0, 1], {"scoring": "f1_macro"}, "f1_macro has no known chance level."),
            (8, [1, 1, 1, 1], {}, "all samples share one label."),
        ],
    )
    def test_a_design_that_allows_no_test_gets_no_claim_but_a_reason(
        self, n_groups, labels, options, reason
    ):
        groups, y = np.repeat(range(n_groups), 4), np.tile(labels, n_groups)
        X = np.random.default_rng(0).normal(size=(len(y), 2)) + 9 * y[:, np.newaxis]
        result = evaluate_decoder(
            DummyClassifier() if len(set(labels)) == 1 else LogisticRegression(),
            *(X, y),
            groups=groups,
            baseline=None,
            **options,
        )
        assert result.permutation_test is None
        assert result.untested.startswith(reason)
        assert f"No claim about chance: {result.untested}" in result.sentences()
        assert not any(text.startswith("Better") for text in result.sentences())

    def test_few_groups_of_one_label_each_get_no_claim(self):
        # Six groups can be parted in ten ways.
        groups = np.repeat(range(6), 4)
        y = groups % 2
        X = np.random.default_rng(0).normal(size=(24, 2)) + 9 * y[:, np.newaxis]
        result = evaluate_decoder(LogisticRegression(), X, y, groups=groups, baseline=None)
        assert result.untested.startswith(
            "exchanging labels among groups gives only 10 different partitions"
        )

    def test_a_test_can_be_declined_or_its_scheme_chosen(self, problem):
        X, y, groups = problem
        declined = evaluate_decoder(
            LogisticRegression(), X, y, groups=groups, baseline=None, permutation=None
        )
        assert declined.permutation_test is None
        assert len(declined.sentences()) == 1
        with pytest.raises(ValueError, match="so the labels of whole groups cannot be shuffled"):
            evaluate_decoder(LogisticRegression(), X, y, groups=groups, permutation="groups")
        with pytest.raises(ValueError, match="n_permutations is 9, but permutation is None"):
            evaluate_decoder(
                LogisticRegression(), X, y, groups=groups, permutation=None, n_permutations=9
            )


class TestSearches:
    def test_a_search_is_nested_in_every_fold(self, problem):
        X, y, groups = problem
        search = GridSearchCV(LogisticRegression(), {"C": [1e-4, 1.0]}, cv=GroupKFold(2))
        result = evaluate_decoder(search, X, y, groups=groups, random_state=0)
        by_hand = []
        for train, test in LeaveOneGroupOut().split(X, y, groups):
            search.fit(X[train], y[train], groups=groups[train])
            by_hand.append(search.score(X[test], y[test]))
        folds = of_decoder(result.folds)
        np.testing.assert_allclose(folds["accuracy"], by_hand)
        assert set(folds["best_params"]) <= {"C=0.0001", "C=1.0"}

    def test_a_search_over_a_pipeline_with_validation_takes_arrays(self, slabs, tiny):
        X, y = slabs[0], np.arange(20) % 2
        pipeline = DecodingPipeline(
            [("zscore", VoxelZScorer()), ("cnn", SlabCNNClassifier(**tiny | {"patience": 1}))],
            validation=GroupShuffleSplit(1, test_size=1, random_state=0),
        )
        search = GridSearchCV(
            pipeline, {"cnn__filters": [2, 3]}, cv=GroupKFold(2), error_score="raise"
        )
        groups = np.arange(20) // 2
        for mode in (False, True):
            with config_context(enable_metadata_routing=mode):
                result = evaluate_decoder(
                    search, X, y, groups=groups, cv=GroupKFold(2), baseline=None, random_state=0
                )
            assert of_decoder(result.folds)["best_params"].str.startswith("cnn__filters=").all()

    def test_a_search_whose_folds_cut_through_groups_is_refused(self, problem):
        X, y, groups = problem
        search = GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=3)
        with pytest.raises(ValueError, match="of the cv of the search has group"):
            evaluate_decoder(search, X, y, groups=groups)


@pytest.fixture(scope="module")
def stopped_early(slabs, tiny):
    """Result of a network whose training stops early, in four folds."""
    X, y = slabs
    network = SlabCNNClassifier(**tiny | {"epochs": 6, "patience": 2})
    pipeline = DecodingPipeline(
        [("zscore", VoxelZScorer()), ("cnn", network)],
        validation=GroupShuffleSplit(1, test_size=1, random_state=0),
    )
    return evaluate_decoder(pipeline, X, y, groups=np.arange(20) // 5, random_state=0)


class TestNetworks:
    def test_learning_curves_hold_every_epoch_of_every_fold(self, stopped_early):
        curves = stopped_early.learning_curves
        assert curves["fold"].unique().tolist() == [0, 1, 2, 3]
        assert curves.columns.tolist() == [
            "fold",
            "epoch",
            "loss",
            "accuracy",
            "val_loss",
            "val_accuracy",
        ]
        assert curves.groupby("fold")["epoch"].min().eq(1).all()
        assert np.isfinite(curves).all(axis=None)

    def test_the_epochs_kept_are_the_best_ones(self, stopped_early):
        best = stopped_early.learning_curves.loc[
            stopped_early.learning_curves.groupby("fold")["val_loss"].idxmin(), "epoch"
        ]
        assert of_decoder(stopped_early.folds)["n_epochs"].tolist() == best.tolist()

    def test_the_confusion_matrix_sums_the_folds(self, stopped_early):
        rows = of_decoder(stopped_early.predictions)
        expected = confusion_matrix(rows["label"], rows["predicted"])
        assert stopped_early.confusion().to_numpy().tolist() == expected.tolist()
        assert stopped_early.confusion().index.tolist() == ["cat", "face", "house"]
        normalized = stopped_early.confusion("linear", normalize="true")
        np.testing.assert_allclose(normalized.sum(axis=1), 1)
        with pytest.raises(
            ValueError, match="no model 'svm', only 'decoder', 'linear', 'multiscale', 'dummy'"
        ):
            stopped_early.confusion("svm")


class TestDivergence:
    def evaluate(self, slabs, tiny, tmp_path, learning_rate=0.001, **options):
        X, y = slabs
        network = SlabCNNClassifier(**tiny | {"learning_rate": learning_rate, "epochs": 3})
        pipeline = Pipeline([("zscore", VoxelZScorer()), ("cnn", network)])
        return evaluate_decoder(
            pipeline.set_params(**options),
            X,
            y,
            groups=np.arange(20) // 10,
            ledger=tmp_path / "run.jsonl",
            random_state=0,
        )

    @pytest.mark.filterwarnings("ignore:The loss was")
    @pytest.mark.parametrize("n_members", [1, 2])
    def test_a_diverged_network_is_the_first_thing_said(self, slabs, tiny, tmp_path, n_members):
        options = {"learning_rate": 1e30, "cnn__n_members": n_members}
        for _ in ("new", "from the ledger"):
            result = self.evaluate(slabs, tiny, tmp_path, **options)
            assert result.folds["diverged"].dtype == bool
            assert result.folds.groupby("model")["diverged"].sum().to_dict() == {
                "decoder": 2,
                "linear": 0,
                "multiscale": 0,
                "dummy": 0,
            }
            assert result.sentences()[0] == (
                "The network diverged in 2 of 2 folds: its loss was not finite, so these scores "
                "mean nothing. Lower learning_rate."
            )

    def test_a_sound_network_has_not_diverged(self, slabs, tiny, tmp_path):
        result = self.evaluate(slabs, tiny, tmp_path)
        assert not result.folds["diverged"].any()
        assert "diverged" not in str(result)

    def test_models_without_a_loss_per_epoch_have_no_such_column(self, problem):
        X, y, groups = problem
        assert "diverged" not in evaluate_decoder(LogisticRegression(), X, y, groups=groups).folds


class TestLedger:
    @pytest.fixture
    def counted(self):
        """A tree that notes each fit, and the notes."""
        fits = []

        class Counted(ExtraTreeClassifier):
            def fit(self, X, y):
                fits.append(self.random_state)
                if len(fits) == limit[0]:
                    raise KeyboardInterrupt
                return super().fit(X, y)

        limit = [None]
        return Counted(), fits, limit

    @pytest.mark.parametrize("stop_at", [1, 3, 9])
    def test_what_is_done_is_not_done_again(self, problem, counted, tmp_path, stop_at):
        X, y, groups = problem
        tree, fits, limit = counted
        options = {"groups": groups, "n_permutations": 3, "random_state": 5}
        whole = evaluate_decoder(tree, X, y, **options)
        n_fits = len(fits)
        del fits[:]
        limit[0] = stop_at
        with pytest.raises(KeyboardInterrupt):
            evaluate_decoder(tree, X, y, ledger=tmp_path / "run.jsonl", **options)
        limit[0] = None
        resumed = evaluate_decoder(tree, X, y, ledger=tmp_path / "run.jsonl", **options)
        assert len(fits) == n_fits + 1
        assert_same(resumed, whole)
        evaluate_decoder(tree, X, y, ledger=tmp_path / "run.jsonl", **options)
        assert len(fits) == n_fits + 1

    def test_a_run_without_a_seed_goes_on_with_the_one_it_drew(self, problem, tmp_path):
        X, y, groups = problem
        options = {"groups": groups, "ledger": tmp_path / "run.jsonl"}
        first = evaluate_decoder(ExtraTreeClassifier(), X, y, **options)
        again = evaluate_decoder(ExtraTreeClassifier(), X, y, **options)
        assert again.random_state == first.random_state
        assert_same(again, first)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"X": 1}, "samples"),
            ({"y": 1}, "labels"),
            ({"cv": GroupKFold(2)}, "splits"),
            ({"random_state": 6}, "random_state"),
            ({"estimator": ExtraTreeClassifier(max_depth=2)}, r"max_depth.*2"),
        ],
    )
    def test_a_ledger_of_other_work_is_refused(self, problem, tmp_path, change, message):
        X, y, groups = problem
        arguments = {"estimator": ExtraTreeClassifier(), "X": X, "y": y, "groups": groups}
        arguments |= {"random_state": 5, "ledger": tmp_path / "run.jsonl"}
        evaluate_decoder(**arguments)
        before = (tmp_path / "run.jsonl").read_bytes()
        if "X" in change:
            change = {"X": X + 1e-9}
        elif "y" in change:
            change = {"y": np.roll(y, 1)}
        with pytest.raises(ValueError, match=message):
            evaluate_decoder(**arguments | change)
        assert (tmp_path / "run.jsonl").read_bytes() == before

    def test_more_permutations_and_other_metrics_use_what_is_there(
        self, problem, counted, tmp_path
    ):
        X, y, groups = problem
        tree, fits, _ = counted
        options = {"groups": groups, "random_state": 5, "ledger": tmp_path / "run.jsonl"}
        evaluate_decoder(tree, X, y, n_permutations=2, **options)
        del fits[:]
        evaluate_decoder(tree, X, y, n_permutations=3, **options)
        assert len(fits) == 5
        evaluate_decoder(tree, X, y, scoring="f1_macro", **options)
        assert len(fits) == 5

    def test_a_search_keeps_its_candidates(self, problem, counted, tmp_path):
        X, y, groups = problem
        tree, fits, limit = counted
        search = GridSearchCV(tree, {"max_depth": [1, 2]}, cv=GroupKFold(2))
        options = {"groups": groups, "baseline": None, "random_state": 5}
        whole = evaluate_decoder(search, X, y, **options)
        assert len(fits) == 5 * (2 * 2 + 1)
        del fits[:]
        limit[0] = 9
        with pytest.raises(KeyboardInterrupt):
            evaluate_decoder(search, X, y, ledger=tmp_path / "run.jsonl", **options)
        limit[0] = None
        resumed = evaluate_decoder(search, X, y, ledger=tmp_path / "run.jsonl", **options)
        assert len(fits) == 26
        assert_same(resumed, whole)


SCRIPT = """
import sys
import numpy as np
from skfmri import SlabCNNClassifier
from skfmri.evaluation import evaluate_decoder
from skfmri.model_selection import RepeatedGroupKFold

rng = np.random.default_rng(0)
X, y = rng.normal(size=(36, 6, 7, 3)).astype("float32"), np.arange(36) % 2
network = SlabCNNClassifier(2, n_blocks=1, dense_units=(4,), batch_size=8, epochs=30)
result = evaluate_decoder(
    network,
    X,
    y,
    groups=np.arange(36) // 6,
    cv=RepeatedGroupKFold(3, n_repeats=2, random_state=0),
    ledger=sys.argv[1],
    random_state=0,
)
result.predictions.to_pickle(sys.argv[2])
"""


def test_a_run_killed_at_any_moment_ends_with_the_same_numbers(tmp_path):
    (tmp_path / "run.py").write_text(SCRIPT)

    def start(ledger, out):
        command = [sys.executable, str(tmp_path / "run.py"), str(ledger), str(out)]
        return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})

    assert start(tmp_path / "whole.jsonl", tmp_path / "whole.pkl").wait() == 0
    ledger, out = tmp_path / "killed.jsonl", tmp_path / "killed.pkl"
    for n_lines in (2, 5, 9):
        process = start(ledger, out)
        while process.poll() is None and count_lines(ledger) < n_lines:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    n_done = count_lines(ledger)
    assert 9 <= n_done < count_lines(tmp_path / "whole.jsonl")
    assert start(ledger, out).wait() == 0
    whole, resumed = (pd.read_pickle(path) for path in (tmp_path / "whole.pkl", out))
    pd.testing.assert_frame_equal(resumed, whole, check_exact=True)


def count_lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def assert_same(result, other):
    for name in ("predictions", "groups", "summary", "comparisons"):
        pd.testing.assert_frame_equal(getattr(result, name), getattr(other, name), check_exact=True)
    pd.testing.assert_frame_equal(
        result.folds.drop(columns=TIMES), other.folds.drop(columns=TIMES), check_exact=True
    )
    if result.permutation_test is not None:
        assert result.permutation_test.scores.tolist() == other.permutation_test.scores.tolist()


def test_one_split_trains_on_a_set_of_groups_and_tests_on_another(problem):
    X, y, groups = problem
    is_test = np.isin(groups, [7, 1])
    split = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    options = {"groups": groups, "baseline": "linear", "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = [
            evaluate_decoder(LogisticRegression(), X, y, cv=cv, **options)
            for cv in ([split], PredefinedSplit(np.where(is_test, 0, -1)))
        ]
    assert results[0].sentences() == results[1].sentences()
    for result in results:
        expected = (
            LogisticRegression().fit(X[split[0]], y[split[0]]).score(X[split[1]], y[split[1]])
        )
        assert of_decoder(result.folds)["accuracy"].tolist() == [expected]
        assert set(of_decoder(result.predictions)["group"]) == {7, 1}
        assert result.permutation_test is not None
