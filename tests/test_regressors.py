"""Networks and the multiscale ridge as regressors."""

import pickle
import subprocess
import sys
import zipfile
from decimal import Decimal

import joblib
import keras
import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    GroupShuffleSplit,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline

import skfmri
from skfmri import (
    DecodingPipeline,
    MultiscaleRidgeRegressor,
    NiftiSamples,
    NiftiSlabRotator,
    RepeatedGroupKFold,
    SlabCNNClassifier,
    SlabCNNRegressor,
    VolumeCNNRegressor,
    VoxelZScorer,
)
from skfmri.inspection import saliency

TINY = {"filters": 3, "n_blocks": 1, "dense_units": (6,), "dropout": 0, "random_state": 0}
QUICK = TINY | {"epochs": 2}
LEARNING = TINY | {"epochs": 30, "learning_rate": 0.01, "batch_norm_momentum": 0.8}
NETWORKS = [SlabCNNRegressor, VolumeCNNRegressor]
BOX = (slice(2, 5), slice(3, 6), slice(None))


@pytest.fixture(scope="module")
def slabs():
    """Slabs of 8 x 9 x 3 in which voxels of a box rise with age, two of each of 30 subjects."""
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.arange(30), 2)
    age = rng.uniform(20, 80, 30)[subjects]
    X = rng.normal(size=(60, 8, 9, 3)).astype(np.float32)
    X[:, *BOX] += 0.1 * (age[:, None, None, None] - 50)
    return X, age, subjects


@pytest.fixture(scope="module")
def fitted(slabs):
    return SlabCNNRegressor(**LEARNING).fit(*slabs[:2])


class TestNetworks:
    @pytest.mark.parametrize("cls", NETWORKS)
    def test_it_is_a_regressor_of_scikit_learn(self, cls):
        assert is_regressor(cls())
        assert not is_classifier(cls())
        assert is_regressor(make_pipeline(VoxelZScorer(), cls()))

    def test_it_learns_a_linear_effect_for_new_subjects(self, slabs):
        X, age, subjects = slabs
        train = subjects < 20
        network = SlabCNNRegressor(**LEARNING).fit(X[train], age[train])
        predicted = network.predict(X[~train])
        assert predicted.shape == (20,)
        assert np.corrcoef(predicted, age[~train])[0, 1] > 0.8
        assert network.score(X[~train], age[~train]) > 0.4

    def test_units_of_the_targets_change_nothing_else(self, slabs):
        X, age, _ = slabs
        years = SlabCNNRegressor(**QUICK).fit(X, age)
        days = SlabCNNRegressor(**QUICK).fit(X, 365.0 * age + 1e6)
        np.testing.assert_allclose(days.predict(X), 365 * years.predict(X) + 1e6, rtol=1e-6)
        assert years.history_["loss"] == pytest.approx(days.history_["loss"], rel=1e-3)
        assert years.target_mean_ == pytest.approx(age.mean())
        assert years.target_scale_ == pytest.approx(age.std())

    @pytest.mark.parametrize("cls", NETWORKS)
    def test_several_targets_are_columns(self, cls, slabs):
        X, age, _ = slabs
        targets = np.column_stack([age, -2 * age, age**2])
        network = cls(**QUICK).fit(X, targets)
        assert network.predict(X).shape == (60, 3)
        assert network.model_.output_shape == (None, 3)
        one = cls(**QUICK).fit(X, targets[:, :1])
        assert one.predict(X).shape == (60, 1)
        np.testing.assert_array_equal(one.predict(X)[:, 0], cls(**QUICK).fit(X, age).predict(X))

    def test_its_model_predicts_in_standard_deviations(self, slabs, fitted):
        X, age, _ = slabs
        z = np.asarray(fitted.model_(X, training=False))[:, 0]
        np.testing.assert_allclose(z * age.std() + age.mean(), fitted.predict(X), rtol=1e-4)
        assert fitted.model_.layers[-1].name == "predictions"

    def test_the_network_is_that_of_the_classifier_but_for_its_output(self):
        of_numbers = SlabCNNRegressor().build_network((40, 56, 3))
        of_classes = SlabCNNClassifier().build_network((40, 56, 3), n_classes=2)
        assert of_classes.count_params() - of_numbers.count_params() == 64 + 1
        assert of_numbers.layers[-1].activation is keras.activations.linear

    def test_losses_are_those_of_keras(self, slabs):
        X, age, _ = slabs
        y = ((age - age.mean()) / age.std()).astype(np.float32)[:, None]
        for loss in ("mean_squared_error", "huber", keras.losses.Huber(delta=0.3)):
            network = SlabCNNRegressor(**QUICK | {"loss": loss, "epochs": 1})
            network.fit(X, age, validation_data=(X, age))
            outputs = np.asarray(network.model_(X, training=False))
            expected = keras.losses.get(loss)(y, outputs)
            assert network.history_["val_loss"] == pytest.approx([np.mean(expected)], rel=1e-4)
            found = network.history_["val_mean_absolute_error"]
            assert found == pytest.approx([abs(outputs - y).mean()], rel=1e-4)

    @pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "bce", "poisson"])
    def test_a_loss_of_classes_is_refused(self, slabs, loss):
        with pytest.raises(ValueError, match=r"A regression needs a loss.*'mean_squared_error'"):
            SlabCNNRegressor(**QUICK, loss=loss).fit(*slabs[:2])

    def test_samples_of_weight_0_count_for_nothing(self, slabs):
        X, age, _ = slabs
        weight = np.repeat([1.0, 0.0], [40, 20])
        weighted = SlabCNNRegressor(**QUICK).fit(X, age, sample_weight=weight)
        alone = SlabCNNRegressor(**QUICK).fit(X[:40], age[:40])
        np.testing.assert_allclose(weighted.predict(X), alone.predict(X), rtol=1e-6)

    def test_weights_count_in_the_mean_and_the_scale(self, slabs):
        X, age, _ = slabs
        weight = np.linspace(0.5, 3, 60)
        network = SlabCNNRegressor(**QUICK).fit(X, age, sample_weight=weight)
        mean = np.average(age, weights=weight)
        assert network.target_mean_ == pytest.approx(mean)
        variance = np.average((age - mean) ** 2, weights=weight)
        assert network.target_scale_ == pytest.approx(np.sqrt(variance))

    def test_early_stopping_goes_back_to_the_best_epoch(self, slabs):
        X, age, subjects = slabs
        network = SlabCNNRegressor(**LEARNING, patience=3)
        pipeline = DecodingPipeline(
            [("scale", VoxelZScorer()), ("network", network)],
            validation=GroupShuffleSplit(1, test_size=0.3, random_state=0),
            refit=False,
        ).fit(X, age, groups=subjects)
        losses = pipeline.validation_history_["val_loss"]
        assert pipeline[-1].n_epochs_ == np.argmin(losses) + 1
        assert len(pipeline.validation_groups_) == 9

    def test_members_are_averaged(self, slabs):
        X, age, _ = slabs
        network = SlabCNNRegressor(**QUICK, n_members=2).fit(X, age)
        singles = [np.asarray(network.model_.get_layer(f"member{n}")(X)) for n in (1, 2)]
        assert not np.allclose(*singles)
        expected = np.mean(singles, axis=0)[:, 0] * age.std() + age.mean()
        np.testing.assert_allclose(network.predict(X), expected, rtol=1e-4)

    def test_members_are_trained_by_workers(self, slabs):
        X, age, _ = slabs
        network = SlabCNNRegressor(**QUICK, n_members=2)
        with joblib.parallel_config(n_jobs=2):
            found = clone(network).fit(X, age).predict(X)
        np.testing.assert_allclose(found, network.fit(X, age).predict(X), rtol=1e-3)

    def test_one_seed_gives_one_network_and_pickles_predict_the_same(self, slabs):
        X, age, _ = slabs
        network = SlabCNNRegressor(**QUICK).fit(X, age)
        np.testing.assert_array_equal(clone(network).fit(X, age).predict(X), network.predict(X))
        again = pickle.loads(pickle.dumps(network))
        np.testing.assert_array_equal(again.predict(X), network.predict(X))

    def test_callbacks_of_keras_see_each_epoch(self, slabs):
        seen = []
        watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs))
        SlabCNNRegressor(**QUICK, callbacks=watch).fit(*slabs[:2])
        assert [set(logs) for logs in seen] == [{"loss", "mean_absolute_error"}] * 2

    def test_a_linear_path_alone_is_a_ridge_regression(self, slabs):
        X, age, _ = slabs
        start = SlabCNNRegressor(**QUICK | {"epochs": 1, "learning_rate": 1e-30}, linear_path=0.01)
        rows = X.reshape(60, -1)
        expected = Ridge(alpha=100).fit(rows, (age - age.mean()) / age.std()).predict(rows)
        found = start.fit(X, age).predict(X)
        np.testing.assert_allclose(found, expected * age.std() + age.mean(), rtol=1e-4)

    def test_for_small_samples_starts_from_the_ridge_and_may_stay_there(self, slabs):
        X, age, subjects = slabs
        network = SlabCNNRegressor.for_small_samples(n_blocks=1, epochs=2, random_state=0)
        network.fit(X, age, groups=subjects)
        ridge = MultiscaleRidgeRegressor().fit(X, age, groups=subjects)
        assert network.network_weight_ in (0, 0.25, 0.5, 0.75, 1)
        if network.network_weight_ == 0:
            np.testing.assert_allclose(network.predict(X), ridge.predict(X), rtol=1e-4)

    def test_a_network_of_ones_own_ends_in_numbers(self, slabs):
        def dense(input_shape, n_targets, *, units=3):
            inputs = keras.Input(input_shape)
            x = keras.layers.Dense(units, "relu")(keras.layers.Flatten()(inputs))
            return keras.Model(inputs, keras.layers.Dense(n_targets)(x))

        class Own(SlabCNNRegressor):
            network_function = staticmethod(dense)

        X, age, _ = slabs
        assert Own(epochs=2).fit(X, np.column_stack([age, age])).predict(X).shape == (60, 2)
        Own.network_function = staticmethod(lambda shape, n: dense(shape, n + 1))
        with pytest.raises(ValueError, match="one number per target, but returned"):
            Own(epochs=2).fit(X, age)

    def test_a_regressor_starts_from_a_classifier(self, slabs):
        X, age, _ = slabs
        source = SlabCNNClassifier(**QUICK).fit(X, age > 50)
        frozen = ("block1_convolution", "block1_norm", "dense1", "dense1_norm")
        network = SlabCNNRegressor(**QUICK, initial_weights=source, frozen=frozen).fit(X, age)
        kernels = [each.model_.get_layer("dense1").kernel for each in (source, network)]
        np.testing.assert_array_equal(*map(np.asarray, kernels))
        tuned = SlabCNNRegressor(**QUICK, initial_weights=network, frozen=frozen).fit(X, age)
        assert tuned.predict(X).shape == (60,)


class TestTargets:
    @pytest.mark.parametrize("estimator", [SlabCNNRegressor(**QUICK), MultiscaleRidgeRegressor()])
    @pytest.mark.parametrize(
        ("y", "message"),
        [
            (np.array(["old", "young"] * 30), r"'old', which is not a number.*use a classifier"),
            (np.array(["40", "50"] * 30), r"'40', which is not a number"),
            (np.full(60, 41.5), r"y is 41.5 in all 60 samples, so there is nothing to predict"),
            (np.column_stack([np.arange(60), np.ones(60)]), r"Column 1 of y is 1 in all 60"),
            (np.where(np.arange(60) < 3, np.nan, 1.0), "NaN"),
            ([None, *range(59)], r"NaN or infinity for 1 of 60 samples"),
            (np.arange(60).astype("datetime64[D]"), r"datetime.date\(1970, 1, 1\), which is not a"),
            (np.where(np.arange(60) % 2, 0.1 + 0.2, 0.3), r"y is 0.3 in all 60 samples"),
            (np.arange(60) * 1e199, r"y runs from 0 to 5.9e\+200, which float64 cannot square"),
            (np.arange(60) * 1e-199, r"y runs from 0 to 5.9e-198, which float64 cannot square"),
        ],
        ids=[
            *("text", "digits", "constant", "one constant column", "nan", "none", "dates"),
            *("rounding", "huge", "tiny"),
        ],
    )
    @pytest.mark.filterwarnings("ignore:MultiscaleRidgeRegressor got no groups")
    def test_what_cannot_be_predicted_is_refused(self, slabs, estimator, y, message):
        with pytest.raises(ValueError, match=message):
            clone(estimator).fit(slabs[0], y)

    @pytest.mark.parametrize("estimator", [SlabCNNRegressor(**QUICK), MultiscaleRidgeRegressor()])
    def test_exact_numbers_of_python_are_taken(self, slabs, estimator):
        X, age, subjects = slabs
        rounded = age.round(2)
        exact = [Decimal(f"{number:.2f}") for number in rounded]
        of_exact = clone(estimator).fit(X, exact, groups=subjects).predict(X)
        expected = clone(estimator).fit(X, rounded, groups=subjects).predict(X)
        np.testing.assert_array_equal(of_exact, expected)

    def test_samples_of_weight_0_do_not_make_a_constant_vary(self, slabs):
        X, age, _ = slabs
        is_first = np.arange(60) < 30
        with pytest.raises(ValueError, match="y is 41 in all 30 samples"):
            SlabCNNRegressor(**QUICK).fit(X, np.where(is_first, 41, age), sample_weight=is_first)

    def test_validation_targets_of_another_shape_are_refused(self, slabs):
        X, age, _ = slabs
        two = np.column_stack([age, age])
        with pytest.raises(ValueError, match=r"validation samples has shape \(60, 2\)"):
            SlabCNNRegressor(**QUICK).fit(X, age, validation_data=(X, two))

    def test_samples_carry_numbers_and_classifiers_refuse_columns(self, slabs):
        X, age, subjects = slabs
        scores = np.column_stack([age, age**2])
        samples = NiftiSamples.from_array(X, np.eye(4), y=scores, groups=subjects)
        np.testing.assert_array_equal(samples[[3, 0]].y, scores[[3, 0]])
        with pytest.raises(ValueError, match=r"\(60, 2\)"):
            SlabCNNClassifier(**QUICK).fit(X, samples.y)
        scores[4, 1] = np.nan
        with pytest.raises(ValueError, match="Found 1 missing label"):
            NiftiSamples.from_array(X, np.eye(4), y=scores)
        with pytest.raises(ValueError, match="one-dimensional"):
            NiftiSamples.from_array(X, np.eye(4), y=np.full((60, 2), "a"))


@pytest.fixture(scope="module")
def samples(slabs):
    X, age, subjects = slabs
    return NiftiSamples.from_array(X, np.eye(4), y=age, groups=subjects)


@pytest.fixture
def pipeline():
    steps = [("slab", NiftiSlabRotator(angle=0, slab=None, crop=False)), ("zscore", VoxelZScorer())]
    return DecodingPipeline([*steps, ("network", SlabCNNRegressor(**QUICK))])


class TestWithScikitLearn:
    def test_scores_searches_and_repeated_splits(self, pipeline, samples):
        cv = RepeatedGroupKFold(2, n_repeats=2, random_state=0)
        scores = cross_val_score(pipeline, samples, samples.y, groups=samples.groups, cv=cv)
        assert scores.shape == (4,)
        search = GridSearchCV(
            pipeline, {"network__filters": [2, 3]}, cv=GroupKFold(2), error_score="raise"
        )
        search.fit(samples, samples.y, groups=samples.groups)
        assert search.predict(samples[:5]).shape == (5,)
        assert search.scorer_(search, samples, samples.y) == search.score(samples, samples.y)

    def test_a_column_for_each_target_passes_through(self, pipeline, samples):
        y = np.column_stack([samples.y, -samples.y])
        found = cross_val_predict(pipeline, samples, y, groups=samples.groups, cv=GroupKFold(2))
        assert found.shape == (60, 2)

    def test_undersampling_is_refused(self, pipeline, samples):
        with pytest.raises(ValueError, match=r"SlabCNNRegressor predicts numbers"):
            pipeline.set_params(undersample=True).fit(samples, samples.y)

    def test_a_bundle_predicts_the_same(self, pipeline, samples, tmp_path):
        pipeline.fit(samples, samples.y)
        skfmri.save(pipeline, tmp_path / "age.skfmri", samples=samples)
        again = skfmri.load(tmp_path / "age.skfmri")
        np.testing.assert_array_equal(again.predict(samples), pipeline.predict(samples))
        with zipfile.ZipFile(tmp_path / "age.skfmri") as bundle:
            texts = [bundle.read(name).decode(errors="ignore") for name in bundle.namelist()]
        assert any("A decoder of numbers from fMRI volumes" in text for text in texts)
        assert not any(f"{samples.y[0]:.6g}" in text for text in texts)

    @pytest.mark.parametrize(
        "last", [MultiscaleRidgeRegressor(), RidgeCV(alphas=[1, 10])], ids=["multiscale", "ridge"]
    )
    def test_bundles_of_linear_models(self, last, slabs, tmp_path):
        X, age, subjects = slabs
        X = X if isinstance(last, MultiscaleRidgeRegressor) else X.reshape(60, -1)
        pipeline = DecodingPipeline([("scale", VoxelZScorer()), ("last", clone(last))])
        pipeline.fit(X, age, groups=subjects)
        skfmri.save(pipeline, tmp_path / "age.skfmri")
        again = skfmri.load(tmp_path / "age.skfmri")
        np.testing.assert_array_equal(again.predict(X), pipeline.predict(X))


class TestMultiscaleRidge:
    def test_predictions_are_weighted_voxels(self, slabs):
        X, age, subjects = slabs
        ridge = MultiscaleRidgeRegressor().fit(X, age, groups=subjects)
        expected = X.reshape(60, -1).astype(float) @ ridge.coef_ + ridge.intercept_
        np.testing.assert_allclose(ridge.predict(X), expected)

    def test_one_scale_of_one_strength_is_ridge_regression_times_its_mixture(self, slabs):
        X, age, subjects = slabs
        ridge = MultiscaleRidgeRegressor(scales=[0], alphas=[0.3]).fit(X, age, groups=subjects)
        rows = X.reshape(60, -1).astype(float)
        norm = ((rows - rows.mean(axis=0)) ** 2).sum() / 60
        plain = Ridge(alpha=0.3 * norm).fit(rows, age)
        np.testing.assert_allclose(
            ridge.coef_, ridge.mixture_[0] * plain.coef_, rtol=1e-3, atol=1e-6
        )
        # Least squares of what is left out, by refits.
        cv = GroupKFold(30)
        left_out = cross_val_predict(Ridge(alpha=0.3 * norm), rows, age, groups=subjects, cv=cv)
        # Kernels of training samples differ from those of refits in their mean.
        residual = left_out - age.mean()
        weight = (residual @ (age - age.mean())) / (residual @ residual)
        assert ridge.mixture_[0] == pytest.approx(weight, rel=1e-3)

    def test_targets_are_fitted_independently(self, slabs):
        X, age, subjects = slabs
        noise = np.random.default_rng(1).normal(size=60)
        both = MultiscaleRidgeRegressor().fit(X, np.column_stack([age, noise]), groups=subjects)
        alone = MultiscaleRidgeRegressor().fit(X, age, groups=subjects)
        np.testing.assert_allclose(both.predict(X)[:, 0], alone.predict(X))
        assert both.mixture_.shape == both.alpha_.shape == (2, 3)
        assert both.coef_.shape == both.patterns_.shape == (2, 216)

    def test_without_any_effect_the_mean_is_predicted(self, slabs):
        X, age, subjects = slabs
        rng = np.random.default_rng(3)
        errors = []
        for _ in range(20):
            shuffled = rng.permutation(age[::2])[subjects]
            train = subjects < 20
            ridge = MultiscaleRidgeRegressor()
            ridge.fit(X[train], shuffled[train], groups=subjects[train])
            errors.append(ridge.score(X[~train], shuffled[~train]))
        assert np.mean(errors) < 0
        assert np.mean(errors) > -0.3

    @pytest.mark.parametrize(
        ("groups", "message"), [(None, "got no groups"), (np.zeros(60), "are of one group")]
    )
    def test_samples_are_left_out_alone_with_a_warning(self, slabs, groups, message):
        X, age, _ = slabs
        with pytest.warns(UserWarning, match=message):
            alone = MultiscaleRidgeRegressor().fit(X, age, groups=groups)
        expected = MultiscaleRidgeRegressor().fit(X, age, groups=np.arange(60))
        np.testing.assert_array_equal(alone.coef_, expected.coef_)


class TestSaliency:
    def auc(self, values):
        """Return how often a voxel of the box has a larger value than one beyond it."""
        inside = np.zeros(values.shape, bool)
        inside[BOX] = True
        return (values[inside][:, None] > values[~inside]).mean()

    def test_the_map_of_a_network_with_its_linear_path_finds_the_voxels(self, slabs):
        X, age, _ = slabs
        maps = saliency(SlabCNNRegressor(**LEARNING, linear_path=0.01).fit(X, age), X)
        assert self.auc(maps.mean(axis=0)) > 0.85

    def test_the_gradient_is_in_units_of_the_target(self, slabs, fitted):
        X = slabs[0]
        step = np.zeros_like(X[:1])
        step[0, 3, 4, 1] = 1e-2
        found = saliency(fitted, X[:4])[:, 3, 4, 1]
        expected = (fitted.predict(X[:4] + step) - fitted.predict(X[:4] - step)) / 2e-2
        np.testing.assert_allclose(found, expected, rtol=0.1, atol=1e-2)

    def test_integrated_gradients_sum_to_the_difference_from_the_prediction_at_0(
        self, slabs, fitted
    ):
        X = slabs[0][:5]
        maps = saliency(fitted, X, method="integrated_gradients", n_steps=50)
        expected = fitted.predict(X) - fitted.predict(np.zeros_like(X))
        np.testing.assert_allclose(maps.sum(axis=(1, 2, 3)), expected, rtol=0.05, atol=1.5)

    def test_of_a_linear_model_it_is_the_weights(self, slabs):
        X, age, subjects = slabs
        ridge = MultiscaleRidgeRegressor().fit(X, age, groups=subjects)
        np.testing.assert_allclose(
            saliency(ridge, X[:2]), np.repeat(ridge.coef_.reshape(1, 8, 9, 3), 2, axis=0), rtol=1e-5
        )
        assert self.auc(ridge.coef_.reshape(8, 9, 3)) > 0.85

    def test_of_several_targets_one_must_be_named(self, slabs):
        X, age, subjects = slabs
        ridge = MultiscaleRidgeRegressor().fit(X, np.column_stack([age, -age]), groups=subjects)
        np.testing.assert_allclose(saliency(ridge, X[:1], 0), -saliency(ridge, X[:1], 1), rtol=1e-4)
        with pytest.raises(ValueError, match="from 0 to 1, since the regressor predicts 2"):
            saliency(ridge, X[:1])


# As in test_common.py, which has the reasons of what networks do not meet.
SUITE = """
import warnings
from sklearn.utils.estimator_checks import check_estimator
from skfmri.networks.pool import POOL
from skfmri import MultiscaleRidgeRegressor, SlabCNNRegressor

warnings.simplefilter("ignore")
POOL.most_idle = 40
options = {"dense_units": (8,), "dropout": 0, "batch_size": 16, "epochs": 15}
options |= {"learning_rate": 0.03, "random_state": 0}
for estimator in (SlabCNNRegressor(**options), MultiscaleRidgeRegressor()):
    for result in check_estimator(estimator, on_fail=None, on_skip=None):
        name = type(estimator).__name__
        print(name, result["check_name"], result["status"], repr(result["exception"])[:300])
"""


def test_scikit_learn_s_suite_fails_only_as_for_classifiers():
    run = subprocess.run([sys.executable, "-c", SUITE], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    failed = {tuple(line.split()[:2]) for line in lines if line.split()[2] == "failed"}
    # Not on every processor.
    failed.discard(("SlabCNNRegressor", "check_methods_sample_order_invariance"))
    assert failed == {
        ("SlabCNNRegressor", "check_estimator_tags_renamed"),
        ("SlabCNNRegressor", "check_mixin_order"),
        ("SlabCNNRegressor", "check_sample_weight_equivalence_on_dense_data"),
    }, "\n".join(lines)
    assert len(lines) > 90
