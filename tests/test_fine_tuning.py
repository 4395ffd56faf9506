"""Networks that start from the weights of a fitted decoder."""

import pickle
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline

from skfmri import (
    MultiscaleRidgeClassifier,
    SlabCNNClassifier,
    VolumeCNNClassifier,
    VoxelZScorer,
)
from skfmri.evaluation.folds import with_seed
from skfmri.networks.transfer import transferred_weights

BLOCK = ("block1_convolution", "block1_norm")
# A step so small that weights stay as they were at the start.
STILL = {"epochs": 1, "learning_rate": 1e-30}


@pytest.fixture(scope="module")
def source(fitted_slab_decoder):
    return fitted_slab_decoder


def by_layer(decoder):
    """Weights of each layer by its name."""
    layers = [layer for layer in decoder.model_.layers if layer.weights]
    return {layer.name: layer.get_weights() for layer in layers}


def kernels(decoder):
    return {name: weights[0] for name, weights in by_layer(decoder).items() if "norm" not in name}


def assert_equal(one, other, names=None):
    for name in one if names is None else names:
        for a, b in zip(one[name], other[name], strict=True):
            np.testing.assert_array_equal(a, b)


def tuned(source, tiny, **options):
    return SlabCNNClassifier(**{**tiny, "random_state": 1, **options}, initial_weights=source)


class TestStart:
    def test_training_starts_from_the_weights_of_every_layer(self, slabs, tiny, source):
        found = kernels(tuned(source, tiny, **STILL).fit(*slabs))
        assert_equal(found, kernels(source))
        drawn = kernels(SlabCNNClassifier(**{**tiny, **STILL}, random_state=1).fit(*slabs))
        assert all(np.abs(found[name] - drawn[name]).max() > 0.01 for name in found)

    @pytest.mark.parametrize("wrap", [make_pipeline, FrozenEstimator, lambda x: x])
    def test_the_source_may_be_a_pipeline_or_frozen(self, slabs, tiny, source, wrap):
        found = tuned(wrap(source), tiny, **STILL).fit(*slabs)
        assert_equal(kernels(found), kernels(source))

    def test_the_output_layer_of_other_classes_is_drawn_from_random_state(
        self, slabs, tiny, source
    ):
        X, y = slabs
        y = np.where(y == "cat", "dog", y)
        found, again = (
            kernels(tuned(source, tiny, **STILL, random_state=seed).fit(X, y)) for seed in (3, 4)
        )
        drawn = SlabCNNClassifier(**{**tiny, **STILL}, random_state=3).fit(X, y)
        assert_equal(found, kernels(source), ["block1_convolution", "dense1"])
        assert_equal(found, kernels(drawn), ["probabilities"])
        assert np.abs(found["probabilities"] - again["probabilities"]).max() > 0.01

    def test_the_number_of_classes_may_differ(self, slabs, tiny, source):
        X, y = slabs[0][slabs[1] != "cat"], slabs[1][slabs[1] != "cat"]
        found = tuned(source, tiny, **STILL).fit(X, y)
        assert_equal(kernels(found), kernels(source), ["block1_convolution", "dense1"])
        assert found.predict_proba(X).shape == (len(X), 2)

    def test_members_start_from_their_counterparts_or_all_from_one(self, slabs, tiny, source):
        several = SlabCNNClassifier(**tiny, n_members=2, random_state=0).fit(*slabs)
        for start, expected in ((several, several._members), (source, source._members * 2)):
            found = tuned(start, tiny, **STILL, n_members=2).fit(*slabs)
            for member, weights in zip(found._members, expected, strict=True):
                np.testing.assert_array_equal(member[0], weights[0])
        with pytest.raises(
            ValueError, match=r"holds 2 networks, but n_members=1\. Set n_members=2"
        ):
            tuned(several, tiny).fit(*slabs)

    def test_a_network_of_the_user_is_matched_by_the_order_of_its_layers(self, slabs):
        X, y = slabs
        start = Pooled(epochs=2, random_state=0).fit(X, y)
        found = Pooled(**STILL, random_state=1, initial_weights=start).fit(X, y)
        for a, b in zip(found.model_.get_weights(), start.model_.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_a_network_for_one_number_of_classes_only_is_taken_over(self, slabs):
        start = PooledForThree(epochs=1, random_state=0).fit(*slabs)
        found = PooledForThree(**STILL, random_state=1, initial_weights=start).fit(*slabs)
        np.testing.assert_array_equal(found._members[0][0], start._members[0][0])

    def test_a_network_that_pools_takes_another_grid(self, slabs):
        X, y = slabs
        start = Pooled(epochs=1, random_state=0).fit(X, y)
        wider = np.pad(X, [(0, 0), (0, 3), (0, 1), (0, 0)])
        found = Pooled(**STILL, random_state=1, initial_weights=start).fit(wider, y)
        np.testing.assert_array_equal(found._members[0][0], start._members[0][0])


class TestLinearPath:
    def test_the_linear_path_is_fitted_to_the_new_samples(self, slabs, tiny, source):
        X, y = slabs
        found = tuned(source, tiny, **STILL, linear_path=0.3).fit(X, y)
        flat = X.reshape(len(X), -1)
        expected = LogisticRegression(C=0.3, max_iter=1000).fit(flat, y).predict_proba(flat)
        np.testing.assert_allclose(found.predict_proba(X), expected, atol=1e-5)
        assert_equal(kernels(found), kernels(source), ["block1_convolution", "dense1"])

    def test_a_source_with_a_linear_path_gives_its_inner_layers(self, slabs, tiny):
        start = SlabCNNClassifier(**tiny, linear_path=1.0, random_state=0).fit(*slabs)
        for path in (None, 1.0):
            found = tuned(start, tiny, **STILL, linear_path=path).fit(*slabs)
            assert_equal(kernels(found), kernels(start), ["block1_convolution", "dense1"])

    def test_the_parts_that_weigh_the_network_start_from_it_too(self, slabs, tiny, source):
        X, y = slabs
        options = {**STILL, "linear_path": "multiscale", "frozen": (*BLOCK, "dense1")}
        found = tuned(source, tiny, **options).fit(X, y, groups=np.arange(len(y)) // 4)
        assert_equal(by_layer(found), by_layer(source), options["frozen"])


class TestFrozen:
    def test_frozen_layers_keep_their_weights_and_others_do_not(self, slabs, tiny, source):
        found = tuned(source, tiny, frozen=BLOCK).fit(*slabs)
        assert_equal(by_layer(found), by_layer(source), BLOCK)
        for name in ("dense1", "dense1_norm", "probabilities"):
            assert np.abs(by_layer(found)[name][0] - by_layer(source)[name][0]).max() > 1e-4
        assert not found.model_.get_layer("block1_norm").trainable

    def test_steps_are_those_of_keras_with_a_batch_normalisation_in_inference_mode(
        self, slabs, tiny
    ):
        X, y = slabs
        options = {**tiny, "dropout": 0, "batch_size": len(X), "epochs": 2}
        start = SlabCNNClassifier(**options, random_state=0).fit(X, y)
        found = SlabCNNClassifier(**options, initial_weights=start, frozen=BLOCK).fit(X, y)
        model = SlabCNNClassifier(**options).build_network(X.shape[1:], 3)
        model.set_weights(start.model_.get_weights())
        for name in BLOCK:
            model.get_layer(name).trainable = False
        model.compile(keras.optimizers.Adam(0.001), "sparse_categorical_crossentropy")
        model.fit(X, np.searchsorted(start.classes_, y), batch_size=len(X), epochs=2, verbose=0)
        for a, b in zip(found.model_.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)

    def test_a_compiled_network_is_not_shared_with_one_of_other_frozen_layers(
        self, slabs, tiny, source
    ):
        expected = tuned(source, tiny).fit(*slabs)
        tuned(source, tiny, frozen=BLOCK).fit(*slabs)
        assert_equal(by_layer(tuned(source, tiny).fit(*slabs)), by_layer(expected))

    def test_they_stay_with_early_stopping_and_weights(self, slabs, tiny, source):
        X, y = slabs
        found = tuned(source, tiny, frozen=BLOCK, patience=1, class_weight="balanced")
        weights = np.linspace(0, 1, 15)
        found.fit(X[:15], y[:15], sample_weight=weights, validation_data=(X[15:], y[15:]))
        assert found.n_epochs_ >= 1
        assert_equal(by_layer(found), by_layer(source), BLOCK)


class TestScikitLearn:
    def test_a_clone_starts_from_the_same_source(self, slabs, tiny, source):
        decoder = tuned(source, tiny, frozen=BLOCK)
        for copied in (clone(decoder), clone(make_pipeline(VoxelZScorer(), decoder))[-1]):
            assert copied.initial_weights is source
        assert decoder.initial_weights is source
        expected = decoder.fit(*slabs).predict_proba(slabs[0])
        np.testing.assert_array_equal(clone(decoder).fit(*slabs).predict_proba(slabs[0]), expected)

    def test_a_pickle_holds_the_source(self, slabs, tiny, source):
        decoder = tuned(source, tiny).fit(*slabs)
        copied = pickle.loads(pickle.dumps(decoder))
        expected = decoder.predict_proba(slabs[0])
        np.testing.assert_array_equal(copied.predict_proba(slabs[0]), expected)
        np.testing.assert_array_equal(copied.fit(*slabs).predict_proba(slabs[0]), expected)

    def test_neither_a_search_nor_a_seed_reaches_into_the_source(self, tiny, source):
        decoder = make_pipeline(tuned(make_pipeline(source), tiny))
        assert not [name for name in decoder.get_params() if "initial_weights__" in name]
        assert with_seed(decoder, 7)[-1].random_state == 7
        assert source.random_state == 0

    def test_parameters_of_the_source_cannot_be_set(self, tiny, source):
        decoder = make_pipeline(tuned(source, tiny))
        with pytest.raises(ValueError, match=r"initial_weights__epochs would change nothing"):
            decoder.set_params(slabcnnclassifier__initial_weights__epochs=9)
        assert source.epochs == tiny["epochs"]

    def test_frozen_layers_can_be_searched_and_scores_are_of_all_folds(self, slabs, tiny, source):
        search = GridSearchCV(tuned(source, tiny), {"frozen": [(), BLOCK]}, cv=KFold(2))
        assert search.fit(*slabs).cv_results_["param_frozen"].tolist() == [(), BLOCK]
        scores = cross_val_score(tuned(source, tiny, frozen=BLOCK), *slabs, cv=KFold(2))
        assert search.cv_results_["mean_test_score"][1] == scores.mean()

    def test_sources_can_be_searched_if_they_are_frozen(self, slabs, tiny, source):
        options = {"cv": KFold(2), "error_score": "raise"}
        decoder, choices = SlabCNNClassifier(**tiny, random_state=0), [None, source]
        with pytest.raises(ValueError, match=r"not fitted.*sklearn.frozen.FrozenEstimator"):
            GridSearchCV(decoder, {"initial_weights": choices}, **options).fit(*slabs)
        choices[1] = FrozenEstimator(source)
        search = GridSearchCV(decoder, {"initial_weights": choices}, **options).fit(*slabs)
        assert len(search.cv_results_["params"]) == 2


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"filters": 4}, r"shape \(3, 3, 3, 2\) .*needs \(3, 3, 3, 4\).*filters=4 here"),
            ({"dense_units": (5,)}, r"'dense1' needs \(8, 5\).*dense_units=\(5,\) here but dense"),
            ({"dense_units": ()}, r"'probabilities' needs \(8, 3\).*dense_units=\(\) here"),
            ({"frozen": ["block1"]}, "frozen names 'block1', but the layers .* block1_convolution"),
            ({"frozen": (*BLOCK, "dense1", "dense1_norm", "probabilities")}, "nothing to train"),
            ({"frozen": ["network_path"], "linear_path": 1.0}, "starts anew.*Leave it out"),
        ],
    )
    def test_a_network_that_does_not_fit_is_refused_with_what_differs(
        self, slabs, tiny, source, options, message
    ):
        decoder = tuned(source, tiny, **options)
        with pytest.raises(ValueError, match=message):
            decoder.fit(*slabs)
        with pytest.raises(ValueError, match=message):
            decoder.build_network(slabs[0].shape[1:], 3)

    def test_networks_of_different_layers_are_refused_with_the_names_of_both(self, tiny):
        recipes = []
        for normalises in (True, False):
            decoder = VolumeCNNClassifier(**tiny, dense_batch_norm=normalises)
            recipes.append(decoder._recipe((6, 7, 3), 3, decoder._check_parameters()[0]))
        weights = [recipes[1].model().get_weights()]
        with pytest.raises(ValueError, match=r"dense1, prob.*, but this network has .*dense1_norm"):
            transferred_weights(*recipes, weights, n_members=1, keeps_output=True)

    def test_another_slab_is_refused_with_the_way_out(self, slabs, tiny, source):
        X, y = slabs
        for other in (np.pad(X, [(0, 0), (0, 5), (0, 0), (0, 0)]), X[..., :2]):
            with pytest.raises(ValueError, match=r"values here and 6 x 7 x 3 there.*crop=False"):
                tuned(source, tiny).fit(other, y)

    def test_a_frozen_output_layer_needs_the_same_classes(self, slabs, tiny, source):
        X, y = slabs
        decoder = tuned(source, tiny, frozen=["probabilities"])
        assert_equal(by_layer(decoder.fit(X, y)), by_layer(source), ["probabilities"])
        with pytest.raises(ValueError, match="frozen names 'probabilities', which does not take"):
            decoder.fit(X, np.where(y == "cat", "dog", y))

    @pytest.mark.parametrize(
        ("value", "error", "message"),
        [
            ("model.skfmri", TypeError, "is 'model.skfmri'. Load a file first: .*skfmri.load"),
            (Path("model.skfmri"), TypeError, "Load a file first"),
            (MultiscaleRidgeClassifier(), TypeError, "is a MultiscaleRidgeClassifier"),
            (SlabCNNClassifier(), ValueError, "SlabCNNClassifier that is not fitted. Fit it first"),
        ],
    )
    def test_what_is_not_a_fitted_network_is_refused(self, slabs, tiny, value, error, message):
        with pytest.raises(error, match=message):
            tuned(value, tiny).fit(*slabs)

    def test_of_a_search_the_best_estimator_is_asked_for(self, slabs, tiny, source):
        search = GridSearchCV(source, {"epochs": [1]}, cv=KFold(2)).fit(*slabs)
        with pytest.raises(TypeError, match="Of a search, pass best_estimator_"):
            tuned(search, tiny).fit(*slabs)

    def test_a_decoder_is_not_its_own_source_and_keeps_its_weights(self, slabs, tiny):
        decoder = SlabCNNClassifier(**tiny, random_state=0).fit(*slabs)
        expected = decoder.predict_proba(slabs[0])
        for wrap in (make_pipeline, lambda x: x):
            decoder.initial_weights = wrap(decoder)
            with pytest.raises(ValueError, match=r"this decoder itself.*copy\.deepcopy"):
                decoder.fit(*slabs)
        np.testing.assert_array_equal(decoder.predict_proba(slabs[0]), expected)

    def test_a_network_of_the_other_kind_is_refused_with_the_class(self, slabs, tiny, source):
        decoder = VolumeCNNClassifier(**tiny, initial_weights=source)
        with pytest.raises(
            ValueError, match=r"3-D here and 2-D there\. Start a network of"
        ) as caught:
            decoder.fit(*slabs)
        assert "None" not in str(caught.value)

    def test_a_numbered_layer_is_refused_with_the_way_out(self, slabs):
        start = Pooled(epochs=1, random_state=0).fit(*slabs)
        name = start.model_.layers[1].name
        with pytest.raises(ValueError, match=r"numbers layers.*Name those to be frozen"):
            Pooled(initial_weights=start, frozen=(name,)).fit(*slabs)

    def test_weights_that_are_not_finite_are_refused(self, slabs, tiny, source):
        broken = pickle.loads(pickle.dumps(source))
        broken._members[0][0][0] = np.nan
        with pytest.raises(ValueError, match="'block1_convolution' that are not finite"):
            tuned(broken, tiny).fit(*slabs)

    def test_frozen_layers_need_initial_weights_and_are_a_sequence(self, slabs, tiny, source):
        with pytest.raises(ValueError, match=r"drawn at random\. Pass initial_weights"):
            SlabCNNClassifier(**tiny, frozen=BLOCK).fit(*slabs)
        with pytest.raises(TypeError, match="must be a sequence of names"):
            tuned(source, tiny, frozen="block1_norm").fit(*slabs)


def pooled_network(input_shape, n_classes):
    layers = keras.layers
    inputs = keras.Input(input_shape)
    x = layers.Conv2D(3, 2, kernel_initializer=keras.initializers.GlorotUniform(0))(inputs)
    x = layers.GlobalAveragePooling2D()(x)
    initializer = keras.initializers.GlorotUniform(0)
    outputs = layers.Dense(n_classes, "softmax", kernel_initializer=initializer)(x)
    return keras.Model(inputs, outputs)


class Pooled(SlabCNNClassifier):
    """A network whose weights do not depend on the grid, with layers that nobody has named."""

    network_function = staticmethod(pooled_network)

    def __init__(
        self, epochs=2, learning_rate=0.001, random_state=None, initial_weights=None, frozen=()
    ):
        super().__init__(
            epochs=epochs,
            learning_rate=learning_rate,
            random_state=random_state,
            initial_weights=initial_weights,
            frozen=frozen,
        )


def pooled_network_for_three(input_shape, n_classes):
    if n_classes != 3:
        raise ValueError("This network is for three classes.")
    return pooled_network(input_shape, n_classes)


class PooledForThree(Pooled):
    """A network that cannot be built for another number of classes."""

    network_function = staticmethod(pooled_network_for_three)
