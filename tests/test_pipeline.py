"""Validation samples that no step sees before the classifier measures its loss on them."""

import pickle

import joblib
import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    LeaveOneGroupOut,
    LeavePGroupsOut,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skfmri import SlabCNNClassifier, VolumeCNNClassifier
from skfmri.model_selection import RepeatedGroupKFold
from skfmri.pipeline import DecodingPipeline
from skfmri.preprocessing import NiftiSlabRotator, VoxelZScorer
from skfmri.samples import NiftiSamples

N_GROUPS, N_PER_GROUP = 6, 8
HELD_OUT = GroupShuffleSplit(1, test_size=1, random_state=0)


@pytest.fixture(scope="module")
def samples():
    """Six groups of eight volumes of 9 x 10 x 11; a blob tells two labels apart, not too well."""
    rng = np.random.default_rng(0)
    y = np.tile(["closed", "open"], N_GROUPS * N_PER_GROUP // 2)
    volumes = rng.normal(5, 1, size=(len(y), 9, 10, 11)).astype(np.float32)
    volumes[y == "open", 3:6, 3:7, 2:9] += 0.7
    volumes[:, 0], volumes[:, :, -1] = 0, 0  # planes to crop
    affine = np.diag([3.0, 3, 3, 1])
    affine[:3, 3] = [-12, -13, -15]
    groups = np.repeat(np.arange(10, 10 + N_GROUPS), N_PER_GROUP)
    return NiftiSamples.from_array(volumes, affine, y=y, groups=groups)


def make_steps(**options):
    network = {"filters": 3, "n_blocks": 1, "dense_units": (8,), "dropout": 0.1, "batch_size": 8}
    network |= {"learning_rate": 0.01, "epochs": 20, "patience": 4, "random_state": 0} | options
    return [
        ("slab", NiftiSlabRotator(0.1, slab=(2, 5))),
        ("zscore", VoxelZScorer()),
        ("cnn", SlabCNNClassifier(**network)),
    ]


def make_pipeline(validation=HELD_OUT, refit=False, **options):
    return DecodingPipeline(make_steps(**options), validation=validation, refit=refit)


@pytest.fixture(params=[False, True], ids=["routing off", "routing on"])
def routing(request):
    with config_context(enable_metadata_routing=request.param):
        yield request.param


def split_of(samples, validation=HELD_OUT):
    return next(validation.split(samples, samples.y, samples.groups))


def statistics_of(pipeline):
    """Everything that the transformers learnt, as bytes."""
    return {
        f"{name}.{attribute}": joblib.hash(value)
        for name, step in pipeline.steps[:-1]
        for attribute, value in vars(step).items()
        if attribute.endswith("_")
    }


def with_poison(samples, where):
    """The same samples with huge values in some of them."""
    volumes = np.asarray(samples).copy()
    volumes[where] = 1e6 * (1 + volumes[where])
    return NiftiSamples.from_array(volumes, samples.affine, y=samples.y, groups=samples.groups)


def predictions(pipeline, samples):
    return pipeline.predict_proba(samples)


class TestValidation:
    def test_huge_values_in_the_validation_samples_change_no_fitted_statistic(self, samples):
        _, held_out = split_of(samples)
        poisoned = with_poison(samples, held_out)
        clean = make_pipeline().fit(samples, samples.y)
        honest = make_pipeline().fit(poisoned, samples.y)
        assert len(statistics_of(clean)) > 8
        assert statistics_of(honest) == statistics_of(clean)
        # The poison is strong enough to be seen: steps that are fitted on all samples change.
        plain = Pipeline(make_steps(patience=None, epochs=1))
        leaky = clone(plain).fit(poisoned, samples.y)
        assert statistics_of(leaky) != statistics_of(plain.fit(samples, samples.y))

    def test_huge_values_in_a_training_sample_do_change_them(self, samples):
        train, _ = split_of(samples)
        poisoned = make_pipeline().fit(with_poison(samples, train[:1]), samples.y)
        assert statistics_of(poisoned) != statistics_of(make_pipeline().fit(samples, samples.y))

    def test_it_equals_the_same_done_by_hand(self, samples):
        pipeline = make_pipeline().fit(samples, samples.y)
        train, held_out = split_of(samples)
        (_, slab), (_, zscore), (_, network) = make_steps()
        X = zscore.fit_transform(slab.fit_transform(samples[train]))
        X_held_out = zscore.transform(slab.transform(samples[held_out]))
        network.fit(X, samples.y[train], validation_data=(X_held_out, samples.y[held_out]))
        assert pipeline["cnn"].n_epochs_ == network.n_epochs_
        assert pipeline.validation_history_ == network.history_
        np.testing.assert_array_equal(
            predictions(pipeline, samples),
            network.predict_proba(zscore.transform(slab.transform(samples))),
        )

    def test_training_stops_and_keeps_the_weights_of_the_lowest_loss(self, samples):
        pipeline = make_pipeline(patience=2, epochs=60).fit(samples, samples.y)
        losses = pipeline.validation_history_["val_loss"]
        best = pipeline["cnn"].n_epochs_
        assert best == int(np.argmin(losses)) + 1
        assert len(losses) == best + 2 < 60
        _, held_out = split_of(samples)
        proba = predictions(pipeline, samples[held_out])
        of_class = np.where(samples.y[held_out] == "open", proba[:, 1], proba[:, 0])
        assert -np.log(of_class).mean() == pytest.approx(min(losses), rel=1e-4)

    def test_the_held_out_groups_are_kept(self, samples):
        pipeline = make_pipeline().fit(samples, samples.y)
        _, held_out = split_of(samples)
        assert pipeline.validation_groups_.tolist() == np.unique(samples.groups[held_out]).tolist()

    def test_refit_trains_on_all_samples_for_the_epochs_found(self, samples):
        once = make_pipeline().fit(samples, samples.y)
        again = make_pipeline(refit=True).fit(samples, samples.y)
        n_epochs = once["cnn"].n_epochs_
        assert again.validation_history_ == once.validation_history_
        assert again["cnn"].n_epochs_ == len(again["cnn"].history_["loss"]) == n_epochs
        plain = Pipeline(make_steps(patience=None, epochs=n_epochs)).fit(samples, samples.y)
        assert statistics_of(again) == statistics_of(plain)
        np.testing.assert_array_equal(predictions(again, samples), predictions(plain, samples))

    def test_without_validation_it_is_a_plain_pipeline(self, samples):
        ours = make_pipeline(validation=None, patience=None, epochs=3).fit(samples, samples.y)
        plain = Pipeline(make_steps(patience=None, epochs=3)).fit(samples, samples.y)
        np.testing.assert_array_equal(predictions(ours, samples), predictions(plain, samples))
        assert not hasattr(ours, "validation_groups_")

    def test_a_later_fit_without_validation_forgets_the_earlier(self, samples):
        pipeline = make_pipeline(epochs=2).fit(samples, samples.y)
        pipeline.set_params(validation=None, cnn__patience=None).fit(samples, samples.y)
        assert not hasattr(pipeline, "validation_groups_")
        assert not hasattr(pipeline, "validation_history_")

    def test_a_list_of_splits_and_several_groups(self, samples):
        by_hand = [(np.flatnonzero(samples.groups < 13), np.flatnonzero(samples.groups >= 13))]
        pipeline = make_pipeline(validation=by_hand, epochs=2).fit(samples, samples.y)
        assert pipeline.validation_groups_.tolist() == [13, 14, 15]
        pipeline.set_params(validation=LeavePGroupsOut(2)).fit(samples, samples.y)
        assert pipeline.validation_groups_.tolist() == [10, 11]

    def test_arrays_and_a_volume_network(self, samples):
        X, y, groups = np.asarray(samples)[:, :, :, 3:6], samples.y, samples.groups
        network = VolumeCNNClassifier(2, n_blocks=1, dense_units=(4,), epochs=3, patience=1)
        pipeline = DecodingPipeline(
            [("zscore", VoxelZScorer()), ("cnn", network)], validation=GroupKFold(3)
        )
        assert len(pipeline.fit(X, y, groups=groups).validation_groups_) == 2

    def test_transformers_that_show_no_sign_of_a_fit(self, samples):
        class Flatten(TransformerMixin, BaseEstimator):
            def fit(self, X, y=None):
                return self

            def transform(self, X):
                return np.asarray(X).reshape(len(X), -1)

        network = make_steps(n_blocks=0, epochs=2)[-1]
        pipeline = DecodingPipeline([("flat", Flatten()), network], validation=HELD_OUT)
        assert pipeline.fit(samples, samples.y).predict(samples[:2]).shape == (2,)


class TestGroups:
    """Groups arrive by three ways, with metadata routing on and off."""

    @pytest.fixture
    def expected(self, samples):
        return predictions(make_pipeline().fit(samples, samples.y), samples)

    @pytest.fixture
    def nameless(self, samples):
        """The same samples without groups of their own."""
        return NiftiSamples.from_array(np.asarray(samples), samples.affine)

    def test_from_the_samples(self, samples, routing, expected):
        fitted = make_pipeline().fit(samples, samples.y)
        np.testing.assert_array_equal(predictions(fitted, samples), expected)

    def test_from_fit(self, samples, nameless, routing, expected):
        fitted = make_pipeline().fit(nameless, samples.y, groups=samples.groups)
        np.testing.assert_array_equal(predictions(fitted, samples), expected)

    def test_those_given_win_over_those_of_the_samples(self, samples, routing):
        names = np.char.add("run ", samples.groups.astype(str))
        fitted = make_pipeline(epochs=1).fit(samples, samples.y, groups=names)
        assert fitted.validation_groups_[0].startswith("run ")

    def test_from_a_parameter_of_the_last_step(self, samples, nameless, expected):
        fitted = make_pipeline().fit(nameless, samples.y, cnn__groups=samples.groups)
        np.testing.assert_array_equal(predictions(fitted, samples), expected)

    def test_cross_val_score(self, samples, routing):
        pipeline, groups, cv = make_pipeline(epochs=6), samples.groups, LeaveOneGroupOut()
        options = {"cv": cv, "error_score": "raise"}
        options |= {"params": {"groups": groups}} if routing else {"groups": groups}
        scores = cross_val_score(pipeline, samples, samples.y, **options)
        by_hand = [
            clone(pipeline)
            .fit(samples[train], samples.y[train])
            .score(samples[test], samples.y[test])
            for train, test in cv.split(samples, samples.y, groups)
        ]
        np.testing.assert_array_equal(scores, by_hand)

    def test_cross_val_score_of_arrays(self, samples, routing):
        X, y, groups, cv = np.asarray(samples), samples.y, samples.groups, GroupKFold(2)
        pipeline = DecodingPipeline(make_steps(epochs=3)[1:], validation=HELD_OUT)
        options = {"cv": cv, "error_score": "raise"}
        if routing:
            options |= {"params": {"groups": groups}}
        else:
            options |= {"groups": groups, "params": {"cnn__groups": groups}}
        scores = cross_val_score(pipeline, X, y, **options)
        by_hand = [
            clone(pipeline).fit(X[train], y[train], groups=groups[train]).score(X[test], y[test])
            for train, test in cv.split(X, y, groups)
        ]
        np.testing.assert_array_equal(scores, by_hand)

    def test_our_splitters_need_no_groups_at_all(self, samples, routing):
        cv = RepeatedGroupKFold(3, n_repeats=1, random_state=0)
        pipeline = make_pipeline(epochs=4)
        scores = cross_val_score(pipeline, samples, samples.y, cv=cv, error_score="raise")
        assert len(scores) == 3

    def test_out_of_fold_probabilities_in_two_workers(self, samples):
        options = {"groups": samples.groups, "cv": GroupKFold(2), "method": "predict_proba"}
        pipeline = make_pipeline(epochs=4)
        one = cross_val_predict(pipeline, samples, samples.y, **options)
        two = cross_val_predict(pipeline, samples, samples.y, n_jobs=2, **options)
        np.testing.assert_allclose(one, two, atol=1e-3)


GRID = {"cnn__filters": [2, 3], "cnn__dropout": [0.0, 0.2]}


class TestSearches:
    def test_grid_search_over_filters_and_dropout(self, samples, routing):
        cv = RepeatedGroupKFold(2, n_repeats=1, random_state=0)
        search = GridSearchCV(make_pipeline(epochs=5), GRID, cv=cv, error_score="raise")
        search.fit(samples, samples.y, groups=samples.groups)
        assert len(search.best_estimator_.validation_groups_) == 1
        by_hand = [
            clone(search.estimator)
            .set_params(**params)
            .fit(samples[train], samples.y[train])
            .score(samples[test], samples.y[test])
            for params in search.cv_results_["params"]
            for train, test in cv.split(samples, samples.y, samples.groups)
        ]
        expected = np.reshape(by_hand, (4, 2)).mean(axis=1)
        np.testing.assert_allclose(search.cv_results_["mean_test_score"], expected, atol=1e-12)

    def test_nested_cross_validation_of_samples(self, samples, routing):
        # The recipe of docs/evaluation.rst.
        search = GridSearchCV(
            make_pipeline(epochs=2),
            {"cnn__filters": [2, 3]},
            cv=RepeatedGroupKFold(2, n_repeats=1, random_state=0),
            error_score="raise",
        )
        cv = RepeatedGroupKFold(3, n_repeats=1, random_state=0)
        found = cross_validate(
            search, samples, samples.y, cv=cv, return_estimator=True, error_score="raise"
        )
        assert len(found["test_score"]) == 3
        splits = cv.split(samples, samples.y, samples.groups)
        for fitted, (train, _) in zip(found["estimator"], splits, strict=True):
            held_out = fitted.best_estimator_.validation_groups_
            assert set(held_out) < set(samples.groups[train])

    def test_nested_cross_validation_of_arrays(self, samples, routing):
        # The recipe of docs/evaluation.rst.
        X, y, groups = np.asarray(samples), samples.y, samples.groups
        pipeline = DecodingPipeline(make_steps(epochs=2)[1:], validation=HELD_OUT)
        search = GridSearchCV(pipeline, {"cnn__filters": [2, 3]}, cv=GroupKFold(2))
        options = {"cv": GroupKFold(3), "error_score": "raise", "return_estimator": True}
        if routing:
            options |= {"params": {"groups": groups}}
        else:
            options |= {"groups": groups, "params": {"groups": groups, "cnn__groups": groups}}
        found = cross_validate(search, X, y, **options)["estimator"]
        for fitted, (train, _) in zip(found, GroupKFold(3).split(X, y, groups), strict=True):
            assert set(fitted.best_estimator_.validation_groups_) < set(groups[train])


class TestSampleWeight:
    def weights(self, samples):
        return np.random.default_rng(1).uniform(0.2, 3, size=len(samples.y))

    def test_it_is_split_along_and_reaches_the_network(self, samples, routing):
        weight = self.weights(samples)
        before = weight.copy()
        pipeline = make_pipeline().fit(samples, samples.y, sample_weight=weight)
        np.testing.assert_array_equal(weight, before)
        train, held_out = split_of(samples)
        (_, slab), (_, zscore), (_, network) = make_steps()
        X = zscore.fit_transform(slab.fit_transform(samples[train]))
        X_held_out = zscore.transform(slab.transform(samples[held_out]))
        network.fit(
            X,
            samples.y[train],
            sample_weight=weight[train],
            validation_data=(X_held_out, samples.y[held_out], weight[held_out]),
        )
        assert pipeline.validation_history_ == network.history_
        unweighted = make_pipeline().fit(samples, samples.y)
        assert pipeline.validation_history_ != unweighted.validation_history_

    def test_without_validation_it_reaches_the_network_too(self, samples, routing):
        weight = self.weights(samples)
        pipeline = make_pipeline(validation=None, patience=None, epochs=2)
        pipeline.fit(samples, samples.y, sample_weight=weight)
        unweighted = clone(pipeline).fit(samples, samples.y)
        assert pipeline["cnn"].history_ != unweighted["cnn"].history_

    def test_it_comes_through_cross_validation(self, samples, routing):
        weight = self.weights(samples)
        pipeline = make_pipeline(epochs=3)
        params = {"sample_weight": weight}
        if routing:
            # Whether weights count in the score is for the user to say, as everywhere.
            pipeline["cnn"].set_score_request(sample_weight=True)
            params["groups"] = samples.groups
        options = {"return_estimator": True, "params": params}
        options |= {"cv": RepeatedGroupKFold(2, n_repeats=1, random_state=0)}
        found = cross_validate(pipeline, samples, samples.y, error_score="raise", **options)
        unweighted = cross_validate(
            pipeline, samples, samples.y, cv=options["cv"], return_estimator=True
        )
        for fitted, other in zip(found["estimator"], unweighted["estimator"], strict=True):
            assert fitted.validation_history_ != other.validation_history_


class TestAsAPipeline:
    def test_it_is_one_with_the_same_parameters(self):
        pipeline = make_pipeline()
        assert isinstance(pipeline, Pipeline)
        plain = set(Pipeline(make_steps()).get_params())
        assert set(pipeline.get_params()) == plain | {
            "validation",
            "refit",
            "undersample",
            "random_state",
        }

    def test_set_params_clone_and_slices(self, samples):
        pipeline = make_pipeline().set_params(cnn__filters=5, refit=True, zscore="passthrough")
        copy = clone(pipeline)
        assert copy["cnn"].filters == 5
        assert copy.refit is True
        assert copy.get_params()["zscore"] == "passthrough"
        fitted = make_pipeline(epochs=2).fit(samples, samples.y)
        X = fitted[:-1].transform(samples)
        np.testing.assert_array_equal(fitted["cnn"].predict(X), fitted.predict(samples))

    def test_a_pickle_predicts_the_same(self, samples):
        fitted = make_pipeline(epochs=2).fit(samples, samples.y)
        copy = pickle.loads(pickle.dumps(fitted))
        np.testing.assert_array_equal(predictions(copy, samples), predictions(fitted, samples))
        assert copy.validation_groups_.tolist() == fitted.validation_groups_.tolist()

    def test_the_html_view_shows_validation_and_steps(self):
        page = make_pipeline()._repr_html_()
        for name in ("DecodingPipeline", "validation", "NiftiSlabRotator", "SlabCNNClassifier"):
            assert name in page

    def test_a_memory_fits_the_transformers_once(self, samples, tmp_path, monkeypatch):
        plain = make_pipeline(epochs=3).fit(samples, samples.y)
        cached = clone(plain).set_params(memory=str(tmp_path))
        first = predictions(cached.fit(samples, samples.y), samples)
        np.testing.assert_array_equal(first, predictions(plain, samples))
        fits = []
        fit = VoxelZScorer.fit
        monkeypatch.setattr(VoxelZScorer, "fit", lambda *args: fits.append(1) or fit(*args))
        again = clone(cached).fit(samples, samples.y)
        assert fits == []
        np.testing.assert_array_equal(predictions(again, samples), first)

    def test_fit_changes_no_parameter_of_the_steps(self, samples):
        pipeline = make_pipeline(epochs=2, refit=True)
        before = {k: joblib.hash(v) for k, v in pipeline.get_params(deep=False).items()}
        before.pop("steps")
        pipeline.fit(samples, samples.y)
        after = {k: joblib.hash(v) for k, v in pipeline.get_params(deep=False).items()}
        assert {name: after[name] for name in before} == before


class TestMistakes:
    @pytest.mark.parametrize(
        ("validation", "message"),
        [
            (KFold(2, shuffle=True, random_state=0), "puts group 1. into the training and"),
            (
                GroupShuffleSplit(1, test_size=0.99, train_size=0.01),
                "With n_samples=6",
            ),
            ([(np.arange(48), np.array([], int))], "leaves no validation samples"),
        ],
    )
    def test_splits_that_cannot_validate_are_refused(self, samples, validation, message):
        with pytest.raises(ValueError, match=message):
            make_pipeline(validation=validation).fit(samples, samples.y)

    def test_a_class_without_training_samples_is_named(self, samples):
        y = np.where(samples.groups == 10, "asleep", samples.y)
        with pytest.raises(ValueError, match="leaves class 'asleep' without training samples"):
            make_pipeline(validation=LeaveOneGroupOut()).fit(samples, y)

    def test_groups_are_asked_for(self, samples, routing):
        X = np.asarray(samples)
        pipeline = DecodingPipeline(make_steps()[1:], validation=HELD_OUT)
        with pytest.raises(ValueError, match=r"there are none\. Pass samples that carry them"):
            pipeline.fit(X, samples.y)

    def test_the_way_out_is_right_wherever_groups_are_missing(self, samples, routing):
        X, y, groups = np.asarray(samples), samples.y, samples.groups
        pipeline = DecodingPipeline(make_steps(epochs=1)[1:], validation=HELD_OUT)
        to_splitter = {} if routing else {"groups": groups}
        options = {"cv": GroupKFold(2), "error_score": "raise"}
        with pytest.raises(ValueError, match="there are none") as caught:
            pipeline.fit(X, y)
        advice = str(caught.value)
        assert "to fit as groups=groups, " in advice
        pipeline.fit(X, y, groups=groups)
        assert 'to cross_val_score as params={"groups": groups}, ' in advice
        to_fit = {"params": {"groups": groups}}
        scores = cross_val_score(pipeline, X, y, **to_fit, **to_splitter, **options)
        assert len(scores) == 2
        of_search = "groups" if routing else "cnn__groups"
        assert f"to the fit of a search as {of_search}=groups." in advice
        search = GridSearchCV(pipeline, {"cnn__epochs": [1]}, **options)
        search.fit(X, y, **to_splitter, **{of_search: groups})
        assert search.best_params_ == {"cnn__epochs": 1}

    @pytest.mark.filterwarnings("error::UserWarning")
    def test_groups_passed_to_fit_count_for_samples_without_any(self, samples):
        plain = NiftiSamples.from_array(np.asarray(samples), samples.affine)
        pipeline = make_pipeline(epochs=1).fit(plain, samples.y, groups=samples.groups)
        assert len(pipeline.validation_groups_) == 1

    def test_classes_are_asked_for(self, samples):
        with pytest.raises(ValueError, match="There are no labels"):
            make_pipeline().fit(samples)

    def test_too_few_groups_are_counted(self, samples):
        with pytest.raises(ValueError, match="48"):
            make_pipeline().fit(samples, samples.y, groups=samples.groups[:-1])

    def test_a_classifier_that_takes_no_validation_data_is_named(self, samples):
        pipeline = DecodingPipeline(
            [("scale", StandardScaler()), ("linear", LogisticRegression())], validation=HELD_OUT
        )
        X = np.asarray(samples).reshape(48, -1)
        with pytest.raises(TypeError, match="'linear' is LogisticRegression"):
            pipeline.fit(X, samples.y, groups=samples.groups)

    def test_patience_without_validation_says_what_to_do(self, samples):
        with pytest.raises(ValueError, match=r"patience=4 needs .* DecodingPipeline"):
            make_pipeline(validation=None).fit(samples, samples.y)
