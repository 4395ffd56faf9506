"""Contracts that every estimator keeps, alone and together in scikit-learn's tools."""

import inspect
import pickle

import joblib
import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    LeaveOneGroupOut,
    cross_val_predict,
    cross_val_score,
    learning_curve,
    permutation_test_score,
)
from sklearn.pipeline import Pipeline

from skfmri.classifier import SlabCNNClassifier, VolumeCNNClassifier
from skfmri.model_selection import RepeatedGroupKFold, RepeatedStratifiedGroupKFold
from skfmri.preprocessing import NiftiSlabRotator, VoxelZScorer
from skfmri.samples import NiftiSamples

TINY = {"filters": 2, "n_blocks": 1, "dense_units": (4,), "epochs": 3, "random_state": 0}
ESTIMATORS = {
    "rotator": NiftiSlabRotator(0.1, slab=(2, 5)),
    "zscorer": VoxelZScorer(),
    "slab cnn": SlabCNNClassifier(**TINY),
    "volume cnn": VolumeCNNClassifier(**TINY),
}


@pytest.fixture(scope="module")
def samples():
    """Forty volumes of 9 x 10 x 11 in five groups; a blob tells the two labels apart."""
    rng = np.random.default_rng(0)
    y = np.array(["closed", "open"])[np.arange(40) % 2]
    volumes = rng.normal(5, 0.3, size=(40, 9, 10, 11)).astype(np.float32)
    volumes[y == "open", 3:6, 3:7, 2:9] += 2
    affine = np.diag([3.0, 3, 3, 1])
    affine[:3, 3] = [-12, -13, -15]
    return NiftiSamples.from_array(volumes, affine, y=y, groups=np.repeat(range(5), 8))


@pytest.fixture(scope="module")
def pipeline():
    network = SlabCNNClassifier(
        filters=4,
        n_blocks=1,
        dense_units=(8,),
        dropout=0,
        batch_size=8,
        learning_rate=0.01,
        epochs=25,
        random_state=0,
    )
    steps = [("slab", ESTIMATORS["rotator"]), ("zscore", VoxelZScorer()), ("cnn", network)]
    return Pipeline(steps)


def data_for(estimator, samples):
    """Return what the estimator takes: samples, or slabs."""
    return samples if isinstance(estimator, NiftiSlabRotator) else np.asarray(samples)


@pytest.fixture(params=ESTIMATORS)
def estimator(request):
    return clone(ESTIMATORS[request.param])


class TestEachEstimator:
    def test_constructor_only_assigns(self, estimator):
        signature = inspect.signature(type(estimator))
        assert set(estimator.get_params()) == set(signature.parameters)
        marks = {name: object() for name in signature.parameters}
        built = type(estimator)(**marks)
        assert {name: vars(built)[name] for name in marks} == marks

    def test_fit_returns_itself_and_changes_no_parameter(self, estimator, samples):
        before = {name: joblib.hash(value) for name, value in estimator.get_params().items()}
        assert estimator.fit(data_for(estimator, samples), samples.y) is estimator
        after = {name: joblib.hash(value) for name, value in estimator.get_params().items()}
        assert after == before

    def test_fit_does_not_change_its_data(self, estimator, samples):
        X = data_for(estimator, samples)
        before = joblib.hash(X)
        output = _output(estimator.fit(X, samples.y), X)
        assert joblib.hash(X) == before
        assert np.isfinite(output).all()

    def test_nothing_is_learned_before_fit(self, estimator, samples):
        with pytest.raises(NotFittedError):
            _output(estimator, data_for(estimator, samples))

    def test_a_second_fit_forgets_the_first(self, estimator, samples):
        X = data_for(estimator, samples)
        once = _output(clone(estimator).fit(X[:20], samples.y[:20]), X)
        estimator.fit(X[20:], samples.y[20:])
        np.testing.assert_array_equal(_output(estimator.fit(X[:20], samples.y[:20]), X), once)

    def test_a_pickled_copy_gives_the_same(self, estimator, samples):
        X = data_for(estimator, samples)
        estimator.fit(X, samples.y)
        expected = _output(estimator, X)
        np.testing.assert_array_equal(_output(pickle.loads(pickle.dumps(estimator)), X), expected)

    def test_a_sample_gives_the_same_alone_and_in_any_order(self, estimator, samples):
        X = data_for(estimator, samples)
        estimator.fit(X, samples.y)
        together = _output(estimator, X)
        order = np.random.default_rng(0).permutation(40)
        np.testing.assert_allclose(_output(estimator, X[order]), together[order], atol=1e-5)
        np.testing.assert_allclose(_output(estimator, X[[7]]), together[[7]], atol=1e-5)

    def test_text_and_html_name_it(self, estimator):
        assert type(estimator).__name__ in repr(estimator)
        assert type(estimator).__name__ in estimator._repr_html_()


def _output(estimator, X):
    method = getattr(estimator, "predict_proba", None) or estimator.transform
    return method(X)


class TestScikitLearnTools:
    """Samples in a plain Pipeline, with nothing of ours around them."""

    def test_cross_val_score(self, pipeline, samples):
        scores = cross_val_score(
            pipeline, samples, samples.y, groups=samples.groups, cv=LeaveOneGroupOut()
        )
        assert scores.shape == (5,)
        assert scores.mean() > 0.8

    @pytest.mark.parametrize("splitter", [RepeatedGroupKFold, RepeatedStratifiedGroupKFold])
    def test_repeated_splitters_find_the_groups_with_routing_on_and_off(
        self, pipeline, samples, splitter
    ):
        cv = splitter(2, n_repeats=2, random_state=0)
        scores = [cross_val_score(pipeline, samples, samples.y, cv=cv)]
        scores += [cross_val_score(pipeline, samples, samples.y, groups=samples.groups, cv=cv)]
        with config_context(enable_metadata_routing=True):
            scores += [
                cross_val_score(
                    pipeline, samples, samples.y, cv=cv, params={"groups": samples.groups}
                )
            ]
        for other in scores[1:]:
            np.testing.assert_array_equal(other, scores[0])

    def test_grid_search_over_filters_and_dropout(self, pipeline, samples):
        grid = {"cnn__filters": [3, 4], "cnn__dropout": [0.0, 0.1]}
        search = GridSearchCV(pipeline, grid, cv=GroupKFold(2), error_score="raise")
        search.fit(samples, samples.y, groups=samples.groups)
        assert len(search.cv_results_["params"]) == 4
        assert search.best_estimator_["cnn"].filters == search.best_params_["cnn__filters"]
        assert search.predict(samples[:3]).tolist() == samples.y[:3].tolist()

    def test_permutation_test_score(self, pipeline, samples):
        score, permuted, p_value = permutation_test_score(
            pipeline,
            samples,
            samples.y,
            groups=samples.groups,
            cv=GroupKFold(2),
            n_permutations=3,
            random_state=0,
        )
        assert score > permuted.mean()
        assert p_value == 0.25

    def test_learning_curve(self, pipeline, samples):
        sizes, train_scores, test_scores = learning_curve(
            pipeline,
            samples,
            samples.y,
            groups=samples.groups,
            cv=GroupKFold(2),
            train_sizes=[10, 16],
        )
        assert sizes.tolist() == [10, 16]
        assert train_scores.shape == test_scores.shape == (2, 2)

    def test_out_of_fold_predictions_and_workers(self, pipeline, samples):
        options = {"groups": samples.groups, "cv": GroupKFold(2), "method": "predict_proba"}
        probabilities = cross_val_predict(pipeline, samples, samples.y, **options)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
        in_workers = cross_val_predict(pipeline, samples, samples.y, n_jobs=2, **options)
        np.testing.assert_allclose(in_workers, probabilities, atol=1e-3)

    def test_a_memory_of_the_transformers(self, pipeline, samples, tmp_path):
        cached = clone(pipeline).set_params(memory=str(tmp_path))
        first = cached.fit(samples, samples.y).predict_proba(samples)
        again = clone(cached).fit(samples, samples.y).predict_proba(samples)
        np.testing.assert_array_equal(again, first)

    def test_integer_cv_keeps_the_class_balance(self, pipeline, samples):
        order = np.argsort(samples.y, kind="stable")
        shuffled = samples[order]
        scores = cross_val_score(pipeline, shuffled, shuffled.y, cv=2, error_score="raise")
        assert scores.mean() > 0.6
