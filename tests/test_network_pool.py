"""Compiled networks that several fits share."""

from functools import partial

import joblib
import keras
import numpy as np
from sklearn.base import clone

from skfmri import SlabCNNClassifier
from skfmri.networks.pool import POOL


def weights_of(decoder):
    return decoder.model_.get_weights()


def as_batch(X):
    return np.asarray(X, np.float32)


def assert_same_weights(one, other):
    for a, b in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_decoders_that_share_a_network_keep_their_own_weights(slabs, tiny):
    X, y = slabs
    POOL.clear()
    first = SlabCNNClassifier(random_state=0, **tiny).fit(X, y)
    before = first.predict_proba(X)
    second = SlabCNNClassifier(random_state=1, **tiny).fit(X, y)
    assert len(POOL) == 1
    assert np.abs(second.predict_proba(X) - before).max() > 1e-3
    np.testing.assert_array_equal(first.predict_proba(X), before)


def test_threads_that_predict_at_once_do_not_disturb_each_other(slabs, tiny):
    X, y = slabs
    decoders = [SlabCNNClassifier(random_state=seed, **tiny).fit(X, y) for seed in range(3)]
    expected = [decoder.predict_proba(X) for decoder in decoders]
    tasks = [joblib.delayed(decoder.predict_proba)(X) for decoder in decoders * 10]
    found = joblib.Parallel(n_jobs=3, backend="threading")(tasks)
    for one, other in zip(found, expected * 10, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_model_is_a_copy_that_stays_as_it_is_and_changes_no_prediction(slabs, tiny):
    X, y = slabs
    decoder = SlabCNNClassifier(random_state=0, **tiny).fit(X, y)
    model = decoder.model_
    assert decoder.model_ is model
    np.testing.assert_array_equal(model.predict_on_batch(as_batch(X)), decoder.predict_proba(X))
    before = model.get_weights()
    SlabCNNClassifier(random_state=1, **tiny).fit(X, y)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    expected = decoder.predict_proba(X)
    model.set_weights([0 * weight for weight in before])
    np.testing.assert_array_equal(decoder.predict_proba(X), expected)
    assert decoder.fit(X, y).model_ is not model


def test_idle_networks_are_few_and_the_longest_idle_goes_first(slabs, tiny):
    X, y = slabs
    POOL.clear()
    options = {**tiny, "n_blocks": 0, "dense_units": (), "epochs": 1}

    def idle_after(units):
        SlabCNNClassifier(**{**options, "dense_units": (units,)}).fit(X, y)
        return POOL.idle_networks()

    for units in (1, 2, 3, 4, 5):
        idle = idle_after(units)
    assert len(idle) == 4
    assert idle_after(2) == [*idle[1:], idle[0]]
    assert idle_after(1)[-1] not in idle


def test_one_compiled_network_serves_all_rates_of_dropout_but_none_at_all(slabs, tiny):
    X, y = slabs
    options = {**tiny, "random_state": 0, "dense_units": (16,)}

    def fitted(dropout):
        return SlabCNNClassifier(**{**options, "dropout": dropout}).fit(X, y)

    POOL.clear()
    used = [fitted(dropout) for dropout in (0.9, 0.2, 0.5)]
    assert len(POOL) == 1
    fitted(0)
    assert len(POOL) == 2
    for decoder in used:
        POOL.clear()
        fresh = fitted(decoder.dropout)
        assert_same_weights(fresh, decoder)
        assert fresh.history_ == decoder.history_
        assert fresh.model_.get_layer("flatten_dropout").rate == decoder.dropout
    assert len({decoder.history_["loss"][-1] for decoder in used}) == 3


def test_equal_losses_share_a_network_and_others_do_not(slabs, tiny):
    POOL.clear()
    for smoothing in (0.1, 0.2, 0.1):
        loss = partial(keras.losses.categorical_crossentropy, label_smoothing=smoothing)
        clone(SlabCNNClassifier(**tiny, loss=loss)).fit(*slabs)
    assert len(POOL) == 2
