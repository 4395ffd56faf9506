"""Classes of different size are balanced in training, and nowhere else."""

import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, GroupShuffleSplit, cross_val_predict
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skfmri import (
    DecodingPipeline,
    MultiscaleRidgeClassifier,
    NiftiSamples,
    NiftiSlabRotator,
    VoxelZScorer,
    evaluate_decoder,
    load,
    save,
)
from skfmri.cli.arguments import make_parser
from skfmri.cli.method import build_pipeline, check_decoder
from skfmri.cli.shared_options import given
from skfmri.estimators.defaults import SLAB_CNN
from skfmri.evaluation import linear_baseline, multiscale_baseline
from skfmri.evaluation.ridge_permutation import has_closed_form

N_GROUPS, SHARES = 4, {"face": 9, "house": 3, "rest": 5}


class Recorder(ClassifierMixin, BaseEstimator):
    """Keeps what it is fitted with."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y, sample_weight=None, groups=None, validation_data=None, epochs=None):
        self.X_, self.y_, self.weight_, self.groups_ = X, y, sample_weight, groups
        self.classes_, self.validation_ = np.unique(y), validation_data
        self.history_, self.n_epochs_ = {}, 3
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


@pytest.fixture
def data():
    """Rows whose first feature is their number, with 9, 3 and 5 samples per class and group."""
    y = np.tile(np.repeat(list(SHARES), list(SHARES.values())), N_GROUPS)
    groups = np.repeat(np.arange(N_GROUPS), sum(SHARES.values()))
    X = np.random.default_rng(0).normal(size=(len(y), 3))
    X[:, 0] = np.arange(len(y))
    return X, y, groups


def pipeline(last=None, **options):
    options = {"undersample": True, "random_state": 0} | options
    return DecodingPipeline([("same", "passthrough"), ("last", last or Recorder())], **options)


def counts(y):
    return dict(zip(*np.unique(y, return_counts=True), strict=True))


def test_all_steps_are_fitted_on_equally_many_samples_of_each_class(data):
    X, y, _ = data
    scaled = DecodingPipeline(
        [("scale", StandardScaler()), ("last", Recorder())], undersample=True, random_state=0
    ).fit(X, y)
    last = pipeline().fit(X, y)["last"]
    assert counts(last.y_) == dict.fromkeys(SHARES, 12)
    rows = last.X_[:, 0].astype(int)
    assert (np.diff(rows) > 0).all()
    assert last.y_.tolist() == y[rows].tolist()
    assert scaled["scale"].n_samples_seen_ == 36
    np.testing.assert_allclose(scaled["scale"].mean_, X[rows].mean(axis=0))


def test_weights_and_groups_stay_with_their_samples(data):
    X, y, groups = data
    last = pipeline().fit(X, y, groups=groups, last__sample_weight=X[:, 0])["last"]
    np.testing.assert_array_equal(last.weight_, last.X_[:, 0])
    np.testing.assert_array_equal(last.groups_, groups[last.X_[:, 0].astype(int)])


def test_training_and_validation_samples_are_balanced_each(data):
    X, y, groups = data
    splitter = GroupShuffleSplit(1, test_size=1, random_state=0)
    fitted = pipeline(validation=splitter).fit(X, y, groups=groups)
    last = fitted["last"]
    assert counts(last.y_) == dict.fromkeys(SHARES, 9)
    held_out, labels, _, of_groups = last.validation_
    assert counts(labels) == dict.fromkeys(SHARES, 3)
    assert set(of_groups) == set(fitted.validation_groups_)
    assert not set(of_groups) & set(last.groups_)
    np.testing.assert_array_equal(y[held_out[:, 0].astype(int)], labels)


def test_a_refit_is_balanced_too(data):
    X, y, groups = data
    splitter = GroupShuffleSplit(1, test_size=1, random_state=0)
    last = pipeline(validation=splitter, refit=True).fit(X, y, groups=groups)["last"]
    assert counts(last.y_) == dict.fromkeys(SHARES, 12)
    np.testing.assert_array_equal(last.groups_, groups[last.X_[:, 0].astype(int)])


def test_the_seed_decides_what_is_left_out(data):
    X, y, _ = data
    one, same, other = (
        pipeline(random_state=seed).fit(X, y)["last"].X_[:, 0].tolist() for seed in (0, 0, 1)
    )
    assert one == same != other


def test_no_sample_is_left_out_of_what_is_predicted_or_scored(data):
    X, y, groups = data
    decoder = pipeline(DummyClassifier(strategy="prior"))
    predicted = cross_val_predict(
        decoder, X, y, groups=groups, cv=GroupKFold(4), method="predict_proba"
    )
    np.testing.assert_allclose(predicted, 1 / 3)
    result = evaluate_decoder(decoder, X, y, groups=groups, baseline=None, random_state=0)
    tests = result.predictions.query("model == 'decoder'")
    assert sorted(tests["sample"]) == list(range(len(y)))
    plain = evaluate_decoder(
        clone(decoder).set_params(undersample=False),
        *(X, y),
        groups=groups,
        baseline=None,
        random_state=0,
    )
    assert plain.folds["n_test"].tolist() == result.folds["n_test"].tolist()


def test_without_it_a_pipeline_is_as_before(data):
    X, y, _ = data
    steps = [("scale", StandardScaler()), ("last", LogisticRegression())]
    ours, plain = DecodingPipeline(steps).fit(X, y), Pipeline(steps).fit(X, y)
    np.testing.assert_array_equal(ours.predict_proba(X), plain.predict_proba(X))


def test_a_search_balances_each_of_its_fits(data):
    X, y, groups = data
    search = GridSearchCV(
        pipeline(DummyClassifier(strategy="most_frequent")),
        {"last__strategy": ["prior", "most_frequent"]},
        cv=GroupKFold(4),
    )
    search.fit(X, y, groups=groups)
    assert search.best_estimator_["last"].class_prior_.tolist() == [1 / 3] * 3


def test_labels_are_needed(data):
    with pytest.raises(ValueError, match="There are no labels"):
        pipeline().fit(data[0])


@pytest.mark.parametrize("baseline", [linear_baseline, multiscale_baseline])
def test_baselines_are_fitted_on_the_same_samples(baseline):
    decoder = DecodingPipeline(
        [("zscore", VoxelZScorer()), ("last", Recorder())], undersample=True, random_state=3
    )
    found = baseline(decoder)
    assert found.undersample
    assert found.random_state == 3
    plain = baseline(decoder.set_params(undersample=False))
    assert not getattr(plain, "undersample", False)


def test_the_linear_baseline_weights_classes_as_the_decoder():
    for decoder in (
        LogisticRegression(class_weight="balanced"),
        Pipeline([("last", LogisticRegression(class_weight="balanced"))]),
    ):
        assert linear_baseline(decoder)[-1].class_weight == "balanced"
    assert linear_baseline(Recorder())[-1].class_weight is None


def test_permutations_of_a_ridge_are_refitted():
    ridge = DecodingPipeline([("zscore", VoxelZScorer()), ("ridge", MultiscaleRidgeClassifier())])
    assert has_closed_form(ridge)
    assert not has_closed_form(ridge.set_params(undersample=True))


@pytest.fixture
def samples(data):
    _, y, groups = data
    volumes = np.random.default_rng(0).normal(10, 1, (len(y), 5, 6, 7)).astype(np.float32)
    return NiftiSamples.from_array(volumes, np.eye(4), y=y, groups=groups)


def of_volumes(last, **options):
    steps = [("slab", NiftiSlabRotator(angle=0, slab=(1, 3))), ("zscore", VoxelZScorer())]
    return DecodingPipeline([*steps, ("last", last)], undersample=True, random_state=0, **options)


@pytest.mark.parametrize(
    "options", [{}, {"validation": GroupShuffleSplit(1, test_size=1, random_state=0)}]
)
def test_volumes_that_were_left_out_are_no_other_side_of_a_split(samples, options):
    decoder = of_volumes(Recorder(), **options).fit(samples, samples.y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoder.predict(samples)
    half = samples[::2]
    decoder = of_volumes(Recorder(), **options).fit(half, half.y)
    with pytest.warns(UserWarning, match="The split cuts through groups"):
        decoder.predict(samples)


def test_a_saved_pipeline_keeps_it(tmp_path, samples):
    fitted = of_volumes(MultiscaleRidgeClassifier()).fit(samples, samples.y)
    save(fitted, tmp_path / "a.skfmri")
    loaded = load(tmp_path / "a.skfmri")
    assert loaded.undersample
    np.testing.assert_array_equal(loaded.predict(samples), fitted.predict(samples))


class TestOnTheCommandLine:
    def arguments(self, *options):
        argv = ["decode", "a.nii", "--labels", "b", "--out", "c"]
        return make_parser().parse_args([*argv, *options])

    def test_a_linear_decoder_takes_both(self):
        options = ("--decoder", "linear", "--class-weight", "balanced", "--undersample")
        args = self.arguments(*options, "--seed", "5")
        check_decoder(args)
        decoder = build_pipeline(args)
        assert (decoder.undersample, decoder.random_state) == (True, 5)
        assert decoder[-1].class_weight == "balanced"

    def test_weights_are_a_parameter_of_the_network(self):
        args = self.arguments("--class-weight", "balanced")
        check_decoder(args)
        assert given(args, vars(SLAB_CNN)) == {"class_weight": "balanced"}

    def test_a_ridge_has_no_weights(self):
        args = self.arguments("--decoder", "multiscale", "--class-weight", "balanced")
        with pytest.raises(ValueError, match="not a network, so --class-weight means nothing"):
            check_decoder(args)
