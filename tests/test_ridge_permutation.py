"""Permutations of a ridge's labels in closed form equal those that fit it anew."""

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, StratifiedGroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from skfmri import (
    MultiscaleRidgeClassifier,
    MultiscaleRidgeRegressor,
    RepeatedGroupKFold,
    evaluate_decoder,
)
from skfmri.evaluation import units
from skfmri.evaluation.ridge_permutation import has_closed_form
from skfmri.pipeline import DecodingPipeline
from skfmri.preprocessing import VoxelZScorer

OPTIONS = {"baseline": None, "random_state": 3, "n_bootstraps": 100, "n_permutations": 12}


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch):
    monkeypatch.setattr(units, "FIRST_BATCH", 7)
    monkeypatch.setattr(units, "NEXT_BATCH", 5)


class Refitted(MultiscaleRidgeClassifier):
    """The same model; of a subclass nothing is known, so each permutation fits it."""


class RefittedRegressor(MultiscaleRidgeRegressor):
    """The same for numbers."""


def make_problem(classes=("a", "b"), n_groups=6, one_label_per_group=False):
    rng = np.random.default_rng(0)
    n = len(classes)
    groups = np.repeat(np.arange(n_groups), 2 * n)
    labels = np.array(classes)
    y = labels[groups % n] if one_label_per_group else np.tile(labels, 2 * n_groups)
    X = rng.normal(size=(len(y), 4, 5, 2)).astype(np.float32)
    X[y == labels[0], :2] += 0.4
    return X, y, groups


def pipeline(ridge):
    return DecodingPipeline([("zscore", VoxelZScorer()), ("ridge", ridge)])


def permuted_scores(estimator, X, y, groups, **options):
    options = OPTIONS | options
    test = evaluate_decoder(estimator, X, y, groups=groups, **options).permutation_test
    return test.scores, test.pvalue


@pytest.mark.parametrize("scoring", ["accuracy", "balanced_accuracy", "neg_log_loss"])
@pytest.mark.parametrize("classes", [("a", "b"), ("a", "b", "c")])
def test_scores_within_groups_equal_those_of_refits(classes, scoring):
    X, y, groups = make_problem(classes)
    options = {"cv": GroupKFold(3), "scoring": scoring, "blocks": np.arange(len(y))}
    found, p = permuted_scores(pipeline(MultiscaleRidgeClassifier()), X, y, groups, **options)
    expected, expected_p = permuted_scores(pipeline(Refitted()), X, y, groups, **options)
    # Log losses depend on the temperature, which a minimiser finds to five digits.
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert p == expected_p
    assert len(set(found)) > 3


@pytest.mark.parametrize(("scoring", "is_of_groups"), [("r2", True), ("pearson", False)])
def test_scores_of_numbers_equal_those_of_refits(scoring, is_of_groups):
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(8), 3)
    y = rng.uniform(20, 80, 8)[groups] if is_of_groups else rng.uniform(20, 80, 24)
    X = rng.normal(size=(24, 4, 5, 2)).astype(np.float32)
    X[:, :2] += (y[:, None, None, None] - 50) / 60
    # Scores are of whole repeats, of which each fold predicts a part.
    options = {"cv": RepeatedGroupKFold(4, n_repeats=2, random_state=0), "scoring": scoring}
    options["n_permutations"] = 6
    if not is_of_groups:
        options["blocks"] = np.arange(len(y))
    found, p = permuted_scores(pipeline(MultiscaleRidgeRegressor()), X, y, groups, **options)
    expected, expected_p = permuted_scores(pipeline(RefittedRegressor()), X, y, groups, **options)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert p == expected_p
    assert len(set(found)) > 3


@pytest.mark.parametrize("cv", [LeaveOneGroupOut(), StratifiedGroupKFold(3)])
def test_scores_of_whole_groups_equal_those_of_refits(cv):
    X, y, groups = make_problem(n_groups=6, one_label_per_group=True)
    options = {"cv": cv, "n_permutations": 5}
    found, p = permuted_scores(pipeline(MultiscaleRidgeClassifier()), X, y, groups, **options)
    expected, expected_p = permuted_scores(pipeline(Refitted()), X, y, groups, **options)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert p == expected_p


@pytest.mark.filterwarnings("ignore:MultiscaleRidgeClassifier got no groups")
def test_a_ridge_alone_and_one_without_groups_equal_their_refits():
    X, y, groups = make_problem()
    blocks = np.arange(len(y))
    rows = X.reshape(len(X), -1)
    for ridge, refitted, samples in (
        (MultiscaleRidgeClassifier(), Refitted(), rows),
        (*(Pipeline([("r", r)]) for r in (MultiscaleRidgeClassifier(), Refitted())), X),
    ):
        options = {"cv": GroupKFold(2), "blocks": blocks, "n_permutations": 6}
        found, _ = permuted_scores(ridge, samples, y, groups, **options)
        expected, _ = permuted_scores(refitted, samples, y, groups, **options)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_training_sets_that_lack_a_class_are_fitted_one_by_one():
    X, y, groups = make_problem(("a", "b", "c"), n_groups=3)
    y[:] = np.tile(["a", "b"], 9)
    y[0] = "c"
    # Wherever the single "c" is tested, none is trained on.
    options = {"cv": GroupKFold(3), "blocks": np.arange(len(y))}
    options["scoring"] = "accuracy"
    found, _ = permuted_scores(pipeline(MultiscaleRidgeClassifier()), X, y, groups, **options)
    expected, _ = permuted_scores(pipeline(Refitted()), X, y, groups, **options)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_permutations_fit_no_model(monkeypatch):
    X, y, groups = make_problem()
    n_fits, fit = [], MultiscaleRidgeClassifier.fit
    monkeypatch.setattr(
        MultiscaleRidgeClassifier,
        "fit",
        lambda self, *args, **options: n_fits.append(1) or fit(self, *args, **options),
    )
    monkeypatch.setattr(units, "FIRST_BATCH", 100)
    X[y == "a"] += 2
    options = {"cv": GroupKFold(3), "n_permutations": 60, "blocks": np.arange(len(y))}
    scores, _ = permuted_scores(pipeline(MultiscaleRidgeClassifier()), X, y, groups, **options)
    assert len(scores) == 60
    # Those of the evaluation, and one per fold for all permutations.
    assert len(n_fits) == 3 + 3


def test_steps_that_may_look_at_labels_are_fitted_for_each_permutation():
    ridge = MultiscaleRidgeClassifier()
    assert has_closed_form(ridge)
    assert has_closed_form(pipeline(ridge))
    assert has_closed_form(pipeline(MultiscaleRidgeRegressor()))
    assert not has_closed_form(pipeline(Refitted()))
    assert not has_closed_form(Pipeline([("any", FunctionTransformer()), ("ridge", ridge)]))
    validated = pipeline(ridge).set_params(validation=GroupKFold(2))
    assert not has_closed_form(validated)
