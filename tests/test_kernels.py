import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from skfmri import SlabCNNClassifier
from skfmri.networks import convolutional_network
from skfmri.networks.compiled import CompiledNetwork
from skfmri.networks.kernels import leaf_layers, use_fast_kernels
from skfmri.networks.training import train


def seed_states(model):
    return [
        layer.seed_generator.state
        for layer in leaf_layers(model)
        if isinstance(layer, layers.Dropout) and layer.rate > 0
    ]


def trained_by_both(model, X, y, batch_size=32, sample_weight=None):
    """Train a compiled model by Keras' fit and a copy by skfmri, on the same batches."""
    copy = keras.models.clone_model(model)
    copy.compile(
        type(model.optimizer).from_config(model.optimizer.get_config()),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    copy.set_weights(model.get_weights())
    for theirs, ours in zip(seed_states(model), seed_states(copy), strict=True):
        ours.assign(theirs)
    network = CompiledNetwork(copy)
    weight = np.ones(len(X), np.float32) if sample_weight is None else sample_weight
    history = model.fit(
        X, y, sample_weight=weight, batch_size=batch_size, shuffle=False, verbose=0
    ).history
    logs = network.train_steps(X, y, weight, batch_size)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    copy.optimizer.finalize_variable_values(copy.trainable_variables)
    for name, values in history.items():
        np.testing.assert_allclose(float(logs[name]), values[0], rtol=1e-5)
    return model.get_weights(), copy.get_weights()


def largest_difference(theirs, ours):
    """Return the largest difference of a weight, relative to the largest of its variable."""
    return max(
        np.abs(one - other).max() / np.abs(one).max()
        for one, other in zip(theirs, ours, strict=True)
    )


@pytest.fixture(autouse=True)
def same_weights():
    """Draw the same weights each time: how far rounding errors grow depends on the weights."""
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20 * 32, 8, 9, 3)).astype(np.float32)
    y = (np.arange(len(X)) % 2).astype(np.int32)
    X[y == 1, 2:5, 2:5] += 1
    return X, y


@pytest.mark.parametrize("dropout", [0, 0.5])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_twenty_steps_equal_those_of_keras_fit(samples, optimizer, dropout):
    model = convolutional_network(
        (8, 9, 3), 2, filters=4, n_blocks=1, dense_units=(8,), dropout=dropout
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    assert largest_difference(*trained_by_both(model, *samples)) < 1e-4


@pytest.fixture
def double_precision():
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def test_twenty_steps_of_the_default_network_equal_those_of_keras_fit(double_precision):
    # In single precision no two ways of computing agree on this network (docs/speed.rst).
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20 * 32, 40, 56, 3)).astype(np.float32)
    y = (np.arange(len(X)) % 2).astype(np.int32)
    X[y == 1, 2:5, 2:5] += 1
    model = convolutional_network((40, 56, 3), 2)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    start = model.get_weights()
    theirs, ours = trained_by_both(model, X, y)
    assert largest_difference(theirs, ours) < 1e-4
    assert np.abs(start[0] - ours[0]).max() > 1e-2


def test_weighted_samples_and_a_shorter_last_batch_train_as_in_keras_fit(samples):
    X, y = samples[0][:50], samples[1][:50]
    model = convolutional_network((8, 9, 3), 2, filters=4, n_blocks=1, dense_units=(8,))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    weight = np.random.default_rng(1).uniform(0.1, 2, size=50).astype(np.float32)
    weights = trained_by_both(model, X, y, batch_size=8, sample_weight=weight)
    assert largest_difference(*weights) < 1e-4


ADAMS = {
    "epsilon and betas": {"beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3},
    "clipped": {"clipnorm": 0.1},
    "weight decay": {"weight_decay": 0.1},
    "moving average of weights": {"use_ema": True, "ema_momentum": 0.5},
    "amsgrad": {"amsgrad": True},
    "accumulated": {"gradient_accumulation_steps": 2},
    "schedule": {"learning_rate": keras.optimizers.schedules.ExponentialDecay(0.01, 2, 0.5)},
}


@pytest.mark.parametrize("options", ADAMS.values(), ids=ADAMS)
def test_adam_keeps_all_of_its_options(samples, options):
    model = keras.Sequential(
        [layers.Input((8, 9, 3)), layers.Flatten(), layers.Dense(2, activation="softmax")]
    )
    optimizer = keras.optimizers.Adam(**options)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    start = model.get_weights()
    theirs, ours = trained_by_both(model, *samples)
    assert largest_difference(theirs, ours) < 1e-4
    # The biases start at zero, beside which any change is large.
    assert largest_difference(start[:1], ours[:1]) > 1e-3


def test_adam_updates_rows_of_an_embedding_as_keras_does():
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 9, size=(96, 4)).astype(np.float32), np.arange(96) % 2
    model = keras.Sequential(
        [
            layers.Input((4,)),
            layers.Embedding(9, 3),
            layers.Flatten(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    assert largest_difference(*trained_by_both(model, X, y.astype(np.int32))) < 1e-4


def called(layer, X, gradient, dtype="float32"):
    """Return output and gradients of a layer, and its moving statistics, in training."""
    inputs = tf.constant(X.astype(dtype))

    @tf.function(autograph=False)
    def call(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            output = layer(inputs, training=True)
        variables = [inputs, *(variable.value for variable in layer.trainable_variables)]
        return output, *tape.gradient(output, variables, tf.constant(gradient.astype(dtype)))

    results = [value.numpy() for value in call(inputs)]
    return [*results, *(variable.numpy() for variable in layer.non_trainable_variables)]


def assert_equal_in_double_precision(layer, double, X, least_weight=-1):
    """Compare a layer that computes by fast kernels with one of Keras in double precision."""
    rng = np.random.default_rng(1)
    model = keras.Sequential([layers.Input(X.shape[1:]), layer])
    model.compile("sgd")
    double.build(X.shape)
    weights = [rng.uniform(least_weight, 2, size=weight.shape) for weight in double.weights]
    for each in (layer, double):
        each.set_weights(weights)
    use_fast_kernels(model)
    assert "call" in vars(layer)
    gradient = rng.normal(size=double.compute_output_shape(X.shape))
    found = called(layer, X, gradient)
    expected = called(double, X, gradient, "float64")
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


NORMALIZATIONS = {
    "all": {},
    "momentum and epsilon": {"momentum": 0.5, "epsilon": 0.1},
    "axis 1": {"axis": 1},
    "no scale": {"scale": False},
    "no offset": {"center": False},
    "frozen": {"trainable": False},
}


@pytest.mark.parametrize("options", NORMALIZATIONS.values(), ids=NORMALIZATIONS)
@pytest.mark.parametrize("shape", [(32, 5), (6, 7, 8, 4), (3, 4, 5, 6, 2)])
def test_batch_normalization_equals_that_of_keras_in_double_precision(shape, options):
    X = np.maximum(np.random.default_rng(0).normal(0.5, 1, size=shape), 0)
    double = layers.BatchNormalization(**options, dtype="float64")
    # A weight of it is a variance.
    assert_equal_in_double_precision(layers.BatchNormalization(**options), double, X, 0.5)


def test_batch_normalization_of_one_value_a_channel_is_that_of_keras():
    X, results = np.array([[3.0, -1.0]]), []
    for use in (use_fast_kernels, lambda model: None):
        model = keras.Sequential([layers.Input((2,)), layers.BatchNormalization()])
        model.compile("sgd")
        use(model)
        results.append(called(model.layers[0], X, np.ones_like(X)))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


CONVOLUTIONS = {
    "1-D": (layers.Conv1D, (6, 9, 3), {}),
    "2-D": (layers.Conv2D, (6, 7, 8, 3), {"activation": "relu"}),
    "3-D": (layers.Conv3D, (4, 5, 6, 7, 3), {"activation": "relu"}),
    "strides": (layers.Conv2D, (6, 7, 8, 3), {"strides": 2, "padding": "same"}),
    "dilation": (layers.Conv2D, (6, 7, 8, 3), {"dilation_rate": 2}),
    "frozen": (layers.Conv2D, (6, 7, 8, 3), {"trainable": False}),
    "one sample": (layers.Conv2D, (1, 7, 8, 3), {"activation": "relu"}),
}


@pytest.mark.parametrize(("kind", "shape", "options"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolutions_equal_those_of_keras_in_double_precision(kind, shape, options):
    options = {"filters": 5, "kernel_size": 3, **options}
    X = np.random.default_rng(0).normal(size=shape)
    assert_equal_in_double_precision(kind(**options), kind(**options, dtype="float64"), X)


def test_a_convolution_without_bias_is_left_alone():
    model = keras.Sequential([layers.Input((7, 8, 3)), layers.Conv2D(5, 3, use_bias=False)])
    model.compile("sgd")
    use_fast_kernels(model)
    assert "call" not in vars(model.layers[0])


DENSE = {
    "activation": {"activation": "relu"},
    "no bias": {"use_bias": False},
    "frozen": {"trainable": False},
    "low rank": {"lora_rank": 2},
}


@pytest.mark.parametrize("options", DENSE.values(), ids=DENSE)
@pytest.mark.parametrize("shape", [(32, 7), (1, 7), (4, 5, 7)])
def test_dense_layers_equal_those_of_keras_in_double_precision(shape, options):
    X = np.random.default_rng(0).normal(size=shape)
    double = layers.Dense(512, **options, dtype="float64")
    assert_equal_in_double_precision(layers.Dense(512, **options), double, X)


def test_dropout_draws_as_keras_does_at_every_rate():
    X = np.ones((50, 40), np.float32)
    model = keras.Sequential([layers.Input((40,)), layers.Dropout(0.5, seed=3)])
    model.compile("sgd")
    (layer,) = use_fast_kernels(model)
    for rate in (0.5, 0.1, 0.9):
        stock = layers.Dropout(rate, seed=3)
        layer.seed_generator.state.assign(stock.seed_generator.state)
        layer.current_rate.assign(rate)
        np.testing.assert_allclose(layer(X, training=True), stock(X, training=True), rtol=1e-6)
    np.testing.assert_array_equal(layer(X, training=False), X)


def test_a_trained_network_is_made_of_parts_of_keras_alone(samples, tmp_path):
    saved = tmp_path / "network.keras"

    class Saver(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            self.model.save(saved)

    options = {"filters": 2, "n_blocks": 1, "dense_units": (4,), "epochs": 1}
    decoder = SlabCNNClassifier(callbacks=[Saver()], **options).fit(*samples)
    loaded = keras.saving.load_model(saved)
    parts = [*loaded.layers, loaded.optimizer, *decoder.model_.layers]
    assert {type(part).__module__.split(".")[0] for part in parts} == {"keras"}
    expected = decoder.predict_proba(samples[0][:8])
    np.testing.assert_allclose(loaded.predict(samples[0][:8], verbose=0), expected, atol=1e-6)


def test_a_step_of_training_is_not_inlined_into_the_loop_over_batches():
    """Inside the loop TensorFlow chose at random between two kernels for a pooling's gradient.

    Two in a hundred networks got different weights from it, too few to test the weights.
    """
    model = convolutional_network((6, 7, 3), n_classes=2, n_blocks=1)
    model.compile("adam", "sparse_categorical_crossentropy")
    traced = CompiledNetwork(model).train_steps.get_concrete_function().graph.as_graph_def()
    functions = traced.library.function
    pooled = [f for f in functions if any(node.op == "MaxPoolGrad" for node in f.node_def)]
    assert [f.attr["_noinline"].b for f in pooled] == [True]
    loops = [node for node in traced.node if node.op in ("While", "StatelessWhile")]
    assert [node.attr["body"].func.name == pooled[0].signature.name for node in loops] == [False]


class Batches(keras.callbacks.Callback):
    """Counts batches through the method that is named when it is made."""

    def __init__(self, name):
        super().__init__()
        self.seen = []
        setattr(self, name, lambda batch, logs=None: self.seen.append(batch))


@pytest.mark.parametrize(
    "name", ["on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end"]
)
def test_callbacks_see_every_batch_and_change_no_bit(slabs, tiny, name):
    batches = Batches(name)
    watched = SlabCNNClassifier(random_state=0, callbacks=batches, **tiny).fit(*slabs)
    assert batches.seen == [0, 1, 2] * tiny["epochs"]
    alone = SlabCNNClassifier(random_state=0, **tiny).fit(*slabs)
    weights = watched.model_.get_weights(), alone.model_.get_weights()
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert watched.history_ == alone.history_


class RecordingNetwork:
    """A compiled network that records how many samples each call gets."""

    def __init__(self, network):
        self.model, self._network = network.model, network
        self.n_samples = []

    def train_steps(self, X, *rest):
        self.n_samples.append(len(X))
        return self._network.train_steps(X, *rest)


def test_samples_are_copied_a_few_batches_at_a_time(slabs):
    X, y = slabs[0], np.searchsorted(np.unique(slabs[1]), slabs[1]).astype(np.int32)
    model = convolutional_network((6, 7, 3), 3, filters=2, n_blocks=1, dense_units=(4,))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    network = CompiledNetwork(model)

    def trained(**options):
        network.reset(np.random.default_rng(0))
        recorder = RecordingNetwork(network)
        order, weight = np.random.default_rng(1), np.ones(len(X), np.float32)
        train(recorder, X, y, weight, epochs=3, batch_size=8, order=order, **options)
        return recorder.n_samples, model.get_weights()

    one_call, whole = trained()
    assert one_call == [20] * 3
    several_calls, parts = trained(call_bytes=2 * 8 * X[0].nbytes)
    assert several_calls == [16, 4] * 3
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)
