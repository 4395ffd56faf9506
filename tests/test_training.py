"""Training beside plain Keras: optimizers, losses, callbacks."""

import pickle
from functools import partial

import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression

from skfmri import SlabCNNClassifier
from skfmri.networks.training import seed_sequence


def weights_of(decoder):
    return decoder.model_.get_weights()


def assert_same_weights(one, other):
    for a, b in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_network_without_hidden_layers_is_logistic_regression():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2, 3, 1))
    y = (X[:, 0, 0, 0] + 2 * rng.normal(size=60) > 0).astype(int)
    weight = rng.uniform(0.5, 2, size=60)
    decoder = SlabCNNClassifier(
        n_blocks=0,
        dense_units=(),
        dropout=0,
        learning_rate=0.1,
        epochs=300,
        batch_size=60,
        class_weight={0: 2.0, 1: 0.5},
    ).fit(X, y, sample_weight=weight)
    flat = X.reshape(60, -1)
    reference = LogisticRegression(C=np.inf, class_weight={0: 2.0, 1: 0.5}, tol=1e-8)
    reference.fit(flat, y, sample_weight=weight)
    np.testing.assert_allclose(
        decoder.predict_proba(X), reference.predict_proba(flat), rtol=0, atol=2e-3
    )


def test_training_equals_plain_keras_with_the_same_weights_and_batches(slabs):
    X, y = slabs
    start = []

    class Recorder(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            start.extend(self.model.get_weights())

    decoder = SlabCNNClassifier(
        filters=3,
        n_blocks=1,
        dense_units=(4,),
        dropout=0,
        epochs=2,
        batch_size=8,
        learning_rate=0.01,
        random_state=5,
        callbacks=Recorder(),
    ).fit(X, y)

    layers = keras.layers
    plain = keras.Sequential(
        [
            layers.Input((6, 7, 3)),
            layers.Conv2D(3, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(4, activation="relu"),
            layers.BatchNormalization(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    plain.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    plain.set_weights(start)
    order = np.random.default_rng(seed_sequence(5).spawn(2)[1])
    positions = np.unique(y, return_inverse=True)[1]
    for _ in range(2):
        shuffled = order.permutation(len(X))
        for begin in range(0, len(X), 8):
            batch = shuffled[begin : begin + 8]
            plain.train_on_batch(X[batch], positions[batch])
    # Where a gradient is nearly 0, Adam makes rounding errors into steps of up to 0.01.
    np.testing.assert_allclose(decoder.predict_proba(X), plain(X), rtol=0, atol=1e-4)
    for ours, theirs in zip(weights_of(decoder), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3)


def test_training_learns_what_separates_the_classes(slabs):
    X, y = slabs
    decoder = SlabCNNClassifier(
        filters=4, n_blocks=1, dense_units=(8,), dropout=0, epochs=60, batch_size=8, random_state=0
    ).fit(X, y)
    assert decoder.score(X, y) > 0.9
    assert decoder.history_["loss"][-1] < decoder.history_["loss"][0] / 2


@pytest.mark.parametrize("optimizer", ["sgd", keras.optimizers.SGD(0.01, momentum=0.9)])
def test_optimizers_by_name_and_as_instances(slabs, tiny, optimizer):
    X, y = slabs
    decoder = SlabCNNClassifier(optimizer=optimizer, random_state=0, **tiny)
    fitted = clone(decoder).fit(X, y)
    assert_same_weights(fitted, clone(decoder).fit(X, y))
    used = fitted.model_.optimizer
    assert type(used) is keras.optimizers.SGD
    assert used is not decoder.optimizer
    if optimizer != "sgd":
        decoder.fit(X, y)
        assert int(optimizer.iterations) == 0
        assert float(used.learning_rate) == pytest.approx(0.01)
        assert pickle.loads(pickle.dumps(decoder)).optimizer.momentum == 0.9


def squared_distance(targets, probabilities):
    return keras.ops.sum((targets - probabilities) ** 2, axis=-1)


CROSS_ENTROPIES = (
    "categorical_crossentropy",
    keras.losses.categorical_crossentropy,
    keras.losses.sparse_categorical_crossentropy,
    partial(keras.losses.sparse_categorical_crossentropy, from_logits=False),
    keras.losses.SparseCategoricalCrossentropy(),
    keras.losses.CategoricalCrossentropy(),
)


@pytest.mark.parametrize("loss", CROSS_ENTROPIES)
def test_the_same_loss_by_another_name_gives_the_same(slabs, tiny, loss):
    X, y = slabs
    decoders = [
        SlabCNNClassifier(**{**tiny, "dropout": 0}, random_state=0, **options).fit(X, y)
        for options in ({}, {"loss": loss})
    ]
    first, second = (decoder.predict_proba(X) for decoder in decoders)
    np.testing.assert_allclose(first, second, atol=1e-4)
    np.testing.assert_allclose(*(decoder.history_["loss"] for decoder in decoders), rtol=1e-4)


@pytest.mark.parametrize(
    "loss",
    [
        "categorical_crossentropy",
        partial(keras.losses.categorical_crossentropy, label_smoothing=0.2),
        keras.losses.CategoricalCrossentropy(label_smoothing=0.2),
        "bce",
        partial(keras.losses.categorical_focal_crossentropy, alpha=[0.2, 0.3, 0.5], gamma=1.5),
        squared_distance,
    ],
)
def test_training_on_a_loss_equals_plain_keras(slabs, tiny, loss):
    X, y = slabs
    reference = getattr(loss, "call", keras.losses.get(loss))
    if loss == "bce":

        def reference(y_true, y_pred):
            entropies = y_true * keras.ops.log(y_pred) + (1 - y_true) * keras.ops.log(1 - y_pred)
            return -keras.ops.mean(entropies, axis=-1)

    weight = np.linspace(0.5, 2, len(X)).astype(np.float32)
    positions = np.unique(y, return_inverse=True)[1]
    start = []

    class Recorder(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            start.extend(self.model.get_weights())

    options = {**tiny, "dropout": 0, "epochs": 1, "batch_size": 20, "optimizer": "sgd"}
    decoder = SlabCNNClassifier(**options, loss=loss, callbacks=Recorder(), random_state=0)
    fitted = decoder.fit(X, y, weight, validation_data=(X, y, weight))
    plain = decoder.build_network(X.shape[1:], 3)
    plain.set_weights(start)
    plain.compile("sgd", reference)
    plain.optimizer.learning_rate = decoder.learning_rate
    expected = plain.train_on_batch(X, np.eye(3)[positions], weight, return_dict=True)
    for ours, theirs in zip(weights_of(fitted), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert fitted.history_["loss"][0] == pytest.approx(expected["loss"], rel=1e-4)
    values = np.asarray(reference(np.eye(3, dtype=np.float32)[positions], plain(X)))
    assert fitted.history_["val_loss"][0] == pytest.approx(
        np.average(values, weights=weight), rel=1e-4
    )


def test_early_stopping_follows_the_loss(slabs, tiny):
    X, y = slabs
    options = {**tiny, "epochs": 12, "patience": 2, "optimizer": "sgd", "learning_rate": 0.3}
    decoder = SlabCNNClassifier(**options, loss=squared_distance, random_state=0)
    decoder.fit(X, y, validation_data=(X, y))
    targets = y[:, np.newaxis] == decoder.classes_
    distances = ((targets - decoder.predict_proba(X)) ** 2).sum(axis=1)
    assert min(decoder.history_["val_loss"]) == pytest.approx(distances.mean(), rel=1e-4)


def test_learning_rate_and_its_schedules_take_effect(slabs, tiny):
    X, y = slabs
    losses = []
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    for options in (
        {"learning_rate": 0.1},
        {"learning_rate": 0.001},
        {"optimizer": keras.optimizers.Adam(schedule)},
    ):
        decoder = SlabCNNClassifier(random_state=0, **tiny, **options).fit(X, y)
        losses.append(decoder.history_["loss"][-1])
    assert len(set(losses)) == 3


def test_callbacks_are_called_as_in_keras_and_drop_the_model(slabs, tiny):
    calls = []

    class Recorder(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            calls.append("begin")

        def on_epoch_end(self, epoch, logs=None):
            calls.append((epoch, sorted(logs), self.params["epochs"]))

        def on_train_batch_end(self, batch, logs=None):
            calls.append((batch, sorted(logs)))

        def on_train_end(self, logs=None):
            assert self.model is not None
            calls.append("end")

    recorder = Recorder()
    decoder = SlabCNNClassifier(callbacks=recorder, **{**tiny, "epochs": 2}).fit(*slabs)
    names = ["accuracy", "loss"]
    epoch = [(batch, names) for batch in range(3)]
    assert calls == ["begin", *epoch, (0, names, 2), *epoch, (1, names, 2), "end"]
    assert recorder.model is None
    assert clone(decoder).callbacks is not recorder


def test_early_stopping_and_learning_rate_schedules_work(slabs, tiny):
    stop = keras.callbacks.EarlyStopping("loss", patience=1, min_delta=100)
    halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    options = {**tiny, "epochs": 50, "learning_rate": 0.5}
    decoder = SlabCNNClassifier(callbacks=[stop, halve], **options).fit(*slabs)
    assert len(decoder.history_["loss"]) == 2
    assert decoder.history_["learning_rate"] == [0.25, 0.125]
    keep = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate)
    again = SlabCNNClassifier(callbacks=keep, **{**options, "epochs": 1}).fit(*slabs)
    assert again.history_["learning_rate"] == [0.5]


def test_a_failing_callback_leaves_the_decoder_unfitted_and_the_next_fit_untouched(slabs, tiny):
    X, y = slabs
    expected = weights_of(SlabCNNClassifier(random_state=0, **tiny).fit(X, y))

    def fail(epoch, logs):
        raise RuntimeError("full disk")

    broken = SlabCNNClassifier(random_state=0, **tiny).fit(X, y)
    broken.set_params(callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=fail)])
    with pytest.raises(RuntimeError, match="full disk"):
        broken.fit(X, y)
    with pytest.raises(NotFittedError):
        broken.predict(X)
    again = weights_of(SlabCNNClassifier(random_state=0, **tiny).fit(X, y))
    for a, b in zip(expected, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_loss_that_becomes_nan_is_reported(slabs, tiny):
    X, y = slabs
    options = {**tiny, "n_blocks": 0, "dense_units": (), "optimizer": "sgd", "learning_rate": 1e38}
    with pytest.warns(ConvergenceWarning, match="Choose a smaller learning_rate"):
        SlabCNNClassifier(**options).fit(1e6 * X, y)
