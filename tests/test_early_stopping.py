"""Validation data in the fit of a network, and the epoch at which it stops."""

import keras
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skfmri import SlabCNNClassifier


@pytest.fixture
def train_and_test(slabs):
    X, y = slabs
    return X[:14], y[:14], X[14:], y[14:]


def make(tiny, **options):
    return SlabCNNClassifier(**tiny | {"random_state": 0, "learning_rate": 0.01} | options)


def weights_of(decoder):
    return decoder.model_.get_weights()


@pytest.mark.parametrize("weighted", [False, True])
def test_loss_and_accuracy_are_those_of_keras(train_and_test, tiny, weighted):
    X, y, X_test, y_test = train_and_test
    weight = np.linspace(0.5, 2, 6) if weighted else np.ones(6)
    decoder = make(tiny).fit(X, y, validation_data=(X_test, y_test, weight))
    positions = np.searchsorted(decoder.classes_, y_test)
    # With reduction in its own hands: Keras divides by the number of samples, we by their weight.
    proba = decoder.model_.predict(X_test, verbose=0)
    losses = np.asarray(keras.losses.sparse_categorical_crossentropy(positions, proba))
    expected = np.average(losses, weights=weight)
    assert decoder.history_["val_loss"][-1] == pytest.approx(expected, rel=1e-5)
    plain = decoder.model_.evaluate(X_test, positions, verbose=0, return_dict=True)
    assert decoder.history_["val_accuracy"][-1] == pytest.approx(plain["accuracy"])
    if not weighted:
        assert decoder.history_["val_loss"][-1] == pytest.approx(plain["loss"], rel=1e-5)


def test_patience_equals_early_stopping_of_keras(train_and_test, tiny):
    X, y, X_test, y_test = train_and_test
    options = {"epochs": 60, "validation_data": (X_test, y_test)}
    ours = make(tiny, patience=3, epochs=60).fit(X, y, validation_data=(X_test, y_test))
    stop = keras.callbacks.EarlyStopping("val_loss", patience=3, restore_best_weights=True)
    theirs = make(tiny, callbacks=[stop]).fit(X, y, **options)
    assert ours.history_ == theirs.history_
    assert len(ours.history_["loss"]) == stop.stopped_epoch + 1 < 60
    assert ours.n_epochs_ == stop.best_epoch + 1
    for mine, other in zip(weights_of(ours), weights_of(theirs), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_validation_alone_changes_no_weight(train_and_test, tiny):
    X, y, X_test, y_test = train_and_test
    watched = make(tiny).fit(X, y, validation_data=(X_test, y_test))
    plain = make(tiny).fit(X, y)
    for mine, other in zip(weights_of(watched), weights_of(plain), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert "val_loss" not in plain.history_
    assert plain.n_epochs_ == watched.n_epochs_ == tiny["epochs"]


def test_epochs_given_to_fit_win_over_the_parameter_and_patience(train_and_test, tiny):
    X, y, _, _ = train_and_test
    decoder = make(tiny, patience=1, epochs=60).fit(X, y, epochs=5)
    assert decoder.n_epochs_ == len(decoder.history_["loss"]) == 5
    again = make(tiny, epochs=5).fit(X, y)
    for mine, other in zip(weights_of(decoder), weights_of(again), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_a_callback_may_end_training_before_patience(train_and_test, tiny):
    X, y, X_test, y_test = train_and_test

    class StopAtOnce(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            assert logs["val_loss"] > 0
            self.model.stop_training = True

    decoder = make(tiny, patience=3, callbacks=[StopAtOnce()])
    decoder.fit(X, y, validation_data=(X_test, y_test))
    assert decoder.n_epochs_ == len(decoder.history_["val_loss"]) == 1


def test_a_loss_that_is_not_a_number_ends_training_and_is_reported(train_and_test, tiny):
    X, y, X_test, y_test = train_and_test
    options = {"n_blocks": 0, "dense_units": (), "optimizer": "sgd", "learning_rate": 1e38}
    decoder = make(tiny, patience=2, epochs=30, **options)
    with pytest.warns(ConvergenceWarning, match="Choose a smaller learning_rate"):
        decoder.fit(1e6 * X, y, validation_data=(1e6 * X_test, y_test))
    assert len(decoder.history_["loss"]) < 30


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: X, "must be a tuple .* but is ndarray"),
        (lambda X, y: (X,), "but is a tuple of 1"),
        (lambda X, y: (X, y[:-1]), "inconsistent numbers of samples"),
        (lambda X, y: (X[:, :5], y), r"shape \(5, 7, 3\)"),
        (lambda X, y: (X, np.full(6, "car")), "hold the class 'car', which no training sample"),
        (lambda X, y: (np.full_like(X, np.nan), y), "first in sample 0"),
        (lambda X, y: (X, y, np.ones(5)), r"sample_weight of shape \(5,\)"),
        (lambda X, y: (X, y, None, np.repeat([3, 4], 3)), "Group 3 is in the training and in"),
    ],
)
def test_validation_data_that_do_not_fit_are_refused(train_and_test, tiny, change, message):
    X, y, X_test, y_test = train_and_test
    with pytest.raises(ValueError, match=message):
        make(tiny).fit(X, y, groups=np.repeat([1, 3], 7), validation_data=change(X_test, y_test))


def test_patience_needs_validation_data(slabs, tiny):
    with pytest.raises(ValueError, match=r"patience=2 needs samples that are not trained on"):
        make(tiny, patience=2).fit(*slabs)
    with pytest.raises(ValueError, match="patience must be an integer of at least 1"):
        make(tiny, patience=0).fit(*slabs)
