import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    cross_val_predict,
    cross_validate,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC
from sklearn.tree import ExtraTreeClassifier

from skfmri.evaluation import chance_level, evaluate_folds, fold_table, prediction_table
from skfmri.samples import NiftiSamples


@pytest.fixture(scope="module")
def problem():
    X, y = make_classification(90, 8, n_classes=3, n_informative=4, random_state=0)
    return X, np.array(["a", "b", "c"])[y], np.repeat([5, 3, 4, 7, 1], [10, 20, 30, 15, 15])


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
    results = list(evaluate_folds(estimator, X, y, groups=groups, cv=GroupKFold(4)))
    scoring = ("accuracy", "balanced_accuracy")
    expected = cross_validate(estimator, X, y, groups=groups, cv=GroupKFold(4), scoring=scoring)
    table = fold_table(results)
    np.testing.assert_allclose(table["accuracy"], expected["test_accuracy"])
    np.testing.assert_allclose(table["balanced_accuracy"], expected["test_balanced_accuracy"])
    predictions = prediction_table(results, y, groups).sort_values("sample")
    predicted = cross_val_predict(estimator, X, y, groups=groups, cv=GroupKFold(4))
    assert predictions["predicted"].tolist() == predicted.tolist()
    assert predictions["label"].tolist() == y.tolist()
    assert predictions["group"].tolist() == groups.tolist()


def test_probabilities_stand_beside_the_predictions(problem):
    X, y, groups = problem
    results = list(evaluate_folds(LogisticRegression(), X, y, groups=groups))
    table = prediction_table(results, y, groups).sort_values("sample")
    expected = cross_val_predict(
        LogisticRegression(), X, y, groups=groups, cv=LeaveOneGroupOut(), method="predict_proba"
    )
    np.testing.assert_allclose(table[["p_a", "p_b", "p_c"]], expected)


def test_one_group_at_a_time_is_held_out_by_default(problem):
    X, y, groups = problem
    table = fold_table(evaluate_folds(LogisticRegression(), X, y, groups=groups))
    assert table["groups_held_out"].tolist() == ["1", "3", "4", "5", "7"]
    assert table["n_test"].tolist() == [15, 20, 30, 10, 15]


def test_groups_come_with_the_samples_and_workers_change_nothing(problem):
    _, y, groups = problem
    volumes = np.random.default_rng(0).normal(size=(90, 2, 3, 4))
    samples = NiftiSamples.from_array(volumes, np.eye(4), y=y, groups=groups)
    flat = make_pipeline(
        FunctionTransformer(lambda volumes: np.asarray(volumes).reshape(len(volumes), -1)),
        LogisticRegression(),
    )
    tables = [
        fold_table(evaluate_folds(flat, samples, samples.y, n_jobs=n_jobs)).drop(columns="seconds")
        for n_jobs in (1, 2)
    ]
    assert tables[0].equals(tables[1])
    assert len(tables[0]) == 5


def test_every_fold_gets_a_seed_of_its_own_and_the_same_one_again(problem):
    X, y, groups = problem
    tree = Pipeline([("tree", ExtraTreeClassifier(max_depth=1))])
    runs = [
        fold_table(evaluate_folds(tree, X, y, groups=groups, random_state=seed))
        for seed in (0, 0, 1)
    ]
    assert runs[0]["accuracy"].equals(runs[1]["accuracy"])
    assert not runs[0]["accuracy"].equals(runs[2]["accuracy"])
    seeds = []

    class Spy(ExtraTreeClassifier):
        def fit(self, X, y):
            seeds.append(self.random_state)
            return super().fit(X, y)

    list(evaluate_folds(Spy(random_state=3), X, y, groups=groups, random_state=0))
    assert len(set(seeds)) == 5
    list(evaluate_folds(Spy(random_state=3), X, y, groups=groups))
    assert seeds[5:] == [3] * 5


@pytest.mark.filterwarnings("ignore:The groups parameter is ignored")
def test_a_split_through_a_group_is_refused_before_any_fit(problem):
    X, y, groups = problem
    folds = evaluate_folds(LogisticRegression(), X, y, groups=groups, cv=KFold(3, shuffle=True))
    with pytest.raises(ValueError, match=r"Split 0 has group \d in its training and its test data"):
        next(folds)


def test_missing_groups_are_refused(problem):
    with pytest.raises(ValueError, match="There are no groups"):
        next(evaluate_folds(LogisticRegression(), *problem[:2]))


def test_chance_is_the_share_of_the_most_frequent_class():
    assert chance_level(list("aabc")) == 0.5
    assert chance_level([0, 1, 2]) == pytest.approx(1 / 3)
