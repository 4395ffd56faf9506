"""Networks that start from logistic regression, and the settings for few samples that use them."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from skfmri import SlabCNNClassifier, VolumeCNNClassifier
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
    assert decoder.linear_path > 0
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
    decoder = SlabCNNClassifier.for_small_samples(random_state=0).fit(X[:30], y[:30])
    linear = LogisticRegression(C=decoder.linear_path, max_iter=1000)
    linear.fit(X[:30].reshape(30, -1), y[:30])
    assert decoder.score(X[:30], y[:30]) == 1
    assert decoder.score(X[30:], y[30:]) >= linear.score(X[30:].reshape(10, -1), y[30:])
    sizes = [
        estimator.build_network((40, 56, 3), 2).count_params()
        for estimator in (decoder, SlabCNNClassifier())
    ]
    assert sizes == [215_780, 2_345_602]
