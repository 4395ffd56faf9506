"""Classifiers of several networks."""

import pickle

import joblib
import keras
import numpy as np
import pytest
from sklearn.base import clone

from skfmri import SlabCNNClassifier
from skfmri.networks.pool import POOL
from skfmri.networks.training import mean_history


def weights_of(decoder):
    return decoder.model_.get_weights()


def as_batch(X):
    return np.asarray(X, np.float32)


def test_members_are_single_networks_whose_probabilities_are_averaged(slabs, tiny):
    X, y = slabs
    decoder = SlabCNNClassifier(random_state=0, n_members=3, **tiny).fit(X, y)
    single = SlabCNNClassifier(random_state=0, **tiny).fit(X, y)
    members = [decoder.model_.get_layer(f"member{number}") for number in (1, 2, 3)]
    for a, b in zip(members[0].get_weights(), weights_of(single), strict=True):
        np.testing.assert_array_equal(a, b)
    outputs = np.array([member.predict_on_batch(as_batch(X)) for member in members])
    assert np.ptp(outputs, axis=0).max() > 1e-3
    np.testing.assert_allclose(decoder.predict_proba(X), outputs.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(
        decoder.model_.predict_on_batch(as_batch(X)), outputs.mean(axis=0), rtol=1e-5
    )
    np.testing.assert_array_equal(decoder.predict(X), decoder.classes_[outputs.mean(0).argmax(1)])
    assert decoder.model_.evaluate(X, np.searchsorted(decoder.classes_, y), verbose=0)


def test_members_are_reproducible_and_survive_pickling(slabs, tiny):
    X, y = slabs
    decoder = SlabCNNClassifier(random_state=0, n_members=2, **tiny).fit(X, y)
    expected = decoder.predict_proba(X)
    np.testing.assert_array_equal(clone(decoder).fit(X, y).predict_proba(X), expected)
    assert len(decoder.model_.layers) == 4
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(decoder)).predict_proba(X), expected)


def test_members_are_trained_in_the_workers_that_joblib_is_set_to_use(slabs, tiny):
    X, y = slabs
    decoder = SlabCNNClassifier(random_state=0, n_members=2, **tiny)
    expected = decoder.fit(X, y).predict_proba(X)
    POOL.clear()
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        decoder.fit(X, y)
    assert len(POOL) == 0
    # Workers have threads of their own number, which add in another order.
    np.testing.assert_allclose(decoder.predict_proba(X), expected, atol=1e-4)


def test_a_single_network_is_trained_in_this_process_whatever_joblib_is_set_to(slabs, tiny):
    POOL.clear()
    with joblib.parallel_config(n_jobs=2):
        SlabCNNClassifier(**tiny).fit(*slabs)
    assert len(POOL) == 1


@pytest.mark.parametrize("n_members", [0, -1, 1.5, True, "3"])
def test_a_wrong_number_of_members_is_refused(slabs, tiny, n_members):
    with pytest.raises((TypeError, ValueError), match="n_members must be an integer of at least 1"):
        SlabCNNClassifier(n_members=n_members, **tiny).fit(*slabs)


def test_members_stop_early_each_by_itself(slabs, tiny):
    X, y = slabs
    options = {**tiny, "epochs": 40, "patience": 1, "learning_rate": 0.05, "n_members": 3}
    decoder = SlabCNNClassifier(random_state=0, **options).fit(X, y, validation_data=(X, y))
    alone = [len(history) for history in stopped_histories(decoder, X, y)]
    assert len(decoder.history_["val_loss"]) == max(alone)
    assert min(alone) <= decoder.n_epochs_ + 1 <= max(alone)


def stopped_histories(decoder, X, y):
    """Return the loss of each member, recorded by a callback."""
    losses = []

    class Recorder(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            losses.append([])

        def on_epoch_end(self, epoch, logs=None):
            losses[-1].append(logs["loss"])

    clone(decoder).set_params(callbacks=Recorder()).fit(X, y, validation_data=(X, y))
    return losses


def test_the_history_of_members_is_their_mean(slabs, tiny):
    X, y = slabs
    single = SlabCNNClassifier(random_state=0, **tiny).fit(X, y)
    decoder = SlabCNNClassifier(random_state=0, n_members=2, **tiny).fit(X, y)
    assert decoder.n_epochs_ == single.n_epochs_ == len(decoder.history_["loss"])
    assert decoder.history_["loss"] != single.history_["loss"]
    histories = [{"loss": [3.0, 2.0, 1.0]}, {"loss": [5.0]}]
    assert mean_history(histories) == {"loss": [4.0, 2.0, 1.0]}
