"""Networks that start from logistic regression, and the settings for few samples that use them."""

import pickle

import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from skfmri import (
    MultiscaleRidgeClassifier,
    SlabCNNClassifier,
    VolumeCNNClassifier,
    load,
    save,
)
from skfmri.estimators.defaults import SMALL_SAMPLE


def weights_of(decoder):
    return decoder.model_.get_weights()


def assert_same_weights(one, other):
    for a, b in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("classes", [["cat", "face"], ["cat", "face", "house"]])
@pytest.mark.parametrize("weighted", [False, True])
def test_training_starts_from_logistic_regression(slabs, tiny, classes, weighted):
    X, y = slabs
    X, y = X[np.isin(y, classes)], y[np.isin(y, classes)]
    weights = np.random.default_rng(0).uniform(0.5, 2, len(y)) if weighted else None
    still = {**tiny, "epochs": 1, "learning_rate": 1e-12, "linear_path": 0.3}
    decoder = SlabCNNClassifier(**still).fit(X, y, sample_weight=weights)
    linear = LogisticRegression(C=0.3, max_iter=1000)
    linear.fit(X.reshape(len(X), -1), y, sample_weight=weights)
    expected = linear.predict_proba(X.reshape(len(X), -1))
    np.testing.assert_allclose(decoder.predict_proba(X), expected, atol=1e-5)


def test_training_leaves_the_linear_model_alone_and_moves_the_network(slabs, tiny):
    X, y = slabs
    before, after = (
        SlabCNNClassifier(
            **{**tiny, "epochs": n, "learning_rate": 0.01}, linear_path=0.001, random_state=0
        ).fit(X, y)
        for n in (1, 30)
    )
    for one, other in zip(
        before.model_.get_layer("linear_path").get_weights(),
        after.model_.get_layer("linear_path").get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    assert np.abs(after.predict_proba(X) - before.predict_proba(X)).max() > 0.05
    assert after.history_["loss"][-1] < after.history_["loss"][0]


def test_the_network_learns_what_no_linear_model_can():
    rng = np.random.default_rng(0)
    signs, y = rng.choice([-1, 1], size=(2, 60)), np.empty(60, int)
    y[:] = signs[0] == signs[1]
    X = 0.3 * rng.normal(size=(60, 8, 8, 1))
    X[:, 2] += signs[0][:, None, None]
    X[:, 5] += signs[1][:, None, None]
    options = {"filters": 8, "n_blocks": 1, "dense_units": (16,), "dropout": 0, "epochs": 60}
    decoder = SlabCNNClassifier(
        linear_path=0.001, batch_norm_momentum=0.9, random_state=0, **options
    )
    flat = X.reshape(60, -1)
    assert LogisticRegression(C=0.001).fit(flat[:40], y[:40]).score(flat[40:], y[40:]) < 0.75
    assert decoder.fit(X[:40], y[:40]).score(X[40:], y[40:]) > 0.9


def test_a_used_network_forgets_its_linear_model(slabs, tiny):
    X, y = slabs
    options = {**tiny, "linear_path": 1.0, "random_state": 0}
    first = SlabCNNClassifier(**options).fit(X, y)
    SlabCNNClassifier(**{**options, "linear_path": 100.0}).fit(X[::-1], y)
    assert_same_weights(first, SlabCNNClassifier(**options).fit(X, y))


def test_a_class_of_no_weight_has_no_linear_model(slabs, tiny):
    X, y = slabs
    weights = (y != "house").astype(float)
    decoder = SlabCNNClassifier(**tiny, linear_path=1.0).fit(X, y, sample_weight=weights)
    kernel, bias = decoder.model_.get_layer("linear_path").get_weights()
    assert (np.abs(kernel).max(axis=0) > 0).tolist() == [True, True, False]
    assert bias[2] == 0
    only_cats = SlabCNNClassifier(**tiny, linear_path=1.0)
    only_cats.fit(X, y, sample_weight=(y == "cat").astype(float))
    assert not only_cats.model_.get_layer("linear_path").kernel.numpy().any()


def test_the_linear_path_takes_features_and_volumes(slabs, tiny):
    X, y = slabs
    flat = X.reshape(len(X), -1)
    for classifier, samples in ((SlabCNNClassifier, flat), (VolumeCNNClassifier, X)):
        decoder = classifier(**tiny, linear_path=1.0).fit(samples, y)
        assert decoder.predict_proba(samples).shape == (20, 3)


@pytest.mark.parametrize("classifier", [SlabCNNClassifier, VolumeCNNClassifier])
def test_the_configuration_for_small_samples_is_a_set_of_parameters(classifier):
    decoder = classifier.for_small_samples(random_state=3)
    assert type(decoder) is classifier
    changed = {
        name: value
        for name, value in decoder.get_params().items()
        if value != classifier().get_params()[name]
    }
    assert changed.pop("random_state") == 3
    assert changed.items() <= SMALL_SAMPLE.items()
    assert clone(decoder).get_params() == decoder.get_params()


def test_what_is_passed_overrides_the_configuration_for_small_samples():
    decoder = SlabCNNClassifier.for_small_samples(filters=4, epochs=2, dropout=0.1)
    assert (decoder.filters, decoder.epochs, decoder.dropout) == (4, 2, 0.1)
    assert decoder.n_blocks == SMALL_SAMPLE["n_blocks"]
    with pytest.raises(TypeError, match="filter_count"):
        SlabCNNClassifier.for_small_samples(filter_count=4)


def test_the_network_for_small_samples_has_few_weights_and_learns():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 12, 14, 3)), np.arange(40) % 2
    X[y == 1, 4:7, 5:9] += 1.5
    decoder = SlabCNNClassifier.for_small_samples(epochs=5, random_state=0)
    decoder.fit(X[:30], y[:30], groups=np.arange(30))
    ridge = MultiscaleRidgeClassifier().fit(X[:30], y[:30], groups=np.arange(30))
    assert decoder.score(X[:30], y[:30]) == 1
    assert decoder.score(X[30:], y[30:]) >= ridge.score(X[30:], y[30:])
    sizes = [
        estimator.build_network((40, 56, 3), 2).count_params()
        for estimator in (decoder, SlabCNNClassifier())
    ]
    assert sizes == [215_780, 2_345_602]


MULTISCALE = {"linear_path": "multiscale", "random_state": 0}


@pytest.fixture(scope="module")
def smooth():
    """Slabs of 8 x 9 x 2 in six groups, in which two classes differ by a smooth blob."""
    rng = np.random.default_rng(0)
    y, groups = np.tile(["closed", "open"], 24), np.repeat(np.arange(6), 8)
    X = rng.normal(size=(48, 8, 9, 2)).astype(np.float32)
    X[y == "open", :4, :4] += 0.5
    return X, y, groups


@pytest.fixture(scope="module")
def either_or():
    """Two regions, each up or down, in eight groups; the class says whether they agree."""
    rng = np.random.default_rng(0)
    signs, groups = rng.choice([-1, 1], size=(2, 96)), np.repeat(np.arange(8), 12)
    X = 0.3 * rng.normal(size=(96, 8, 8, 1)).astype(np.float32)
    X[:, 2] += signs[0][:, None, None]
    X[:, 5] += signs[1][:, None, None]
    return X, np.where(signs[0] == signs[1], "same", "other"), groups


CAPABLE = {"filters": 8, "n_blocks": 1, "dense_units": (16,), "dropout": 0, "epochs": 40}
CAPABLE |= {"batch_norm_momentum": 0.9, "learning_rate": 0.003, **MULTISCALE}


@pytest.fixture(scope="module")
def kept(either_or):
    X, y, groups = either_or
    return SlabCNNClassifier(**CAPABLE).fit(X[:72], y[:72], groups=groups[:72])


class TestMultiscale:
    """A network that starts from the ridge and is kept only if that pays."""

    def test_a_network_that_does_not_pay_leaves_the_ridge(self, smooth, tiny):
        X, y, groups = smooth
        decoder = SlabCNNClassifier(**{**tiny, "epochs": 3}, **MULTISCALE)
        decoder.fit(X, y, groups=groups)
        ridge = MultiscaleRidgeClassifier().fit(X, y, groups=groups)
        assert decoder.network_weight_ == 0
        np.testing.assert_allclose(decoder.predict_proba(X), ridge.predict_proba(X), atol=1e-5)
        assert not decoder.model_.get_layer("network_path").kernel.numpy().any()

    def test_a_network_that_pays_is_kept(self, kept, either_or):
        X, y, groups = either_or
        ridge = MultiscaleRidgeClassifier().fit(X[:72], y[:72], groups=groups[:72])
        assert kept.network_weight_ > 0
        assert kept.network_gain_ > 0.1
        assert ridge.score(X[72:], y[72:]) < 0.7
        assert kept.score(X[72:], y[72:]) > ridge.score(X[72:], y[72:]) + 0.2

    def test_the_decision_is_saved_pickled_and_forgotten_by_a_clone(
        self, kept, either_or, tmp_path
    ):
        X = either_or[0]
        save(kept, tmp_path / "model.skfmri")
        for copy in (load(tmp_path / "model.skfmri"), pickle.loads(pickle.dumps(kept))):
            assert copy.network_weight_ == kept.network_weight_
            assert copy.network_gain_ == kept.network_gain_
            np.testing.assert_array_equal(copy.predict_proba(X), kept.predict_proba(X))
        assert clone(kept).linear_path == "multiscale"
        assert not hasattr(clone(kept), "network_weight_")

    def test_another_linear_path_leaves_no_decision_behind(self, smooth, tiny):
        X, y, groups = smooth
        decoder = SlabCNNClassifier(**{**tiny, "epochs": 1}, **MULTISCALE)
        decoder.fit(X, y, groups=groups).set_params(linear_path=1.0).fit(X, y)
        assert not hasattr(decoder, "network_weight_")
        assert not hasattr(decoder, "network_gain_")

    def test_members_and_early_stopping_take_part(self, either_or, kept):
        X, y, groups = either_or
        decoder = SlabCNNClassifier(**{**CAPABLE, "n_members": 2, "patience": 5})
        held_out = X[72:], y[72:], None, groups[72:]
        decoder.fit(X[:72], y[:72], groups=groups[:72], validation_data=held_out)
        assert decoder.network_weight_ > 0
        assert decoder.n_epochs_ <= 40
        again = SlabCNNClassifier(**CAPABLE).fit(X[:72], y[:72], groups=groups[:72])
        assert_same_weights(again, kept)

    def test_features_without_a_grid_have_one_scale(self, smooth, tiny):
        X, y, groups = smooth
        rows = X.reshape(len(X), -1)
        decoder = SlabCNNClassifier(**{**tiny, "epochs": 1, "learning_rate": 1e-9}, **MULTISCALE)
        decoder.fit(rows, y, groups=groups)
        ridge = MultiscaleRidgeClassifier().fit(rows, y, groups=groups)
        np.testing.assert_allclose(
            decoder.predict_proba(rows), ridge.predict_proba(rows), atol=1e-5
        )

    def test_without_groups_it_warns_as_the_ridge_does(self, smooth, tiny):
        X, y, _ = smooth
        decoder = SlabCNNClassifier(**{**tiny, "epochs": 1}, **MULTISCALE)
        with pytest.warns(UserWarning, match="SlabCNNClassifier got no groups") as caught:
            decoder.fit(X, y)
        assert caught[0].filename == __file__
        assert hasattr(decoder, "network_weight_")

    def test_weights_that_the_ridge_ignores_are_warned_of(self, smooth, tiny):
        X, y, groups = smooth
        decoder = SlabCNNClassifier(**{**tiny, "epochs": 1, "learning_rate": 1e-9}, **MULTISCALE)
        weights = np.where(y == "open", 2, 1)
        weights[:8] = 0
        with pytest.warns(UserWarning, match="act on the network alone"):
            decoder.fit(X, y, sample_weight=weights, groups=groups)
        ridge = MultiscaleRidgeClassifier().fit(X[8:], y[8:], groups=groups[8:])
        np.testing.assert_allclose(decoder.predict_proba(X), ridge.predict_proba(X), atol=1e-5)

    def test_other_texts_and_networks_without_its_layers_are_refused(self, smooth, tiny):
        X, y, groups = smooth
        with pytest.raises(ValueError, match="linear_path must be a number, 'multiscale' or None"):
            SlabCNNClassifier(**tiny, linear_path="ridge").fit(X, y)

        def only_a_path(input_shape, n_classes, *, linear_path=False):
            inputs = keras.Input(input_shape)
            x = keras.layers.Flatten()(inputs)
            outputs = keras.layers.Dense(n_classes, "softmax", name="linear_path")(x)
            return keras.Model(inputs, outputs)

        class Lacking(SlabCNNClassifier):
            network_function = staticmethod(only_a_path)

        with pytest.raises(ValueError, match=r"named 'network_path', .* only_a_path has none"):
            Lacking(epochs=1, **MULTISCALE).fit(X, y, groups=groups)
