import pickle
import random

import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skfmri import SlabCNNClassifier
from skfmri.inspection import layer_activations, saliency
from skfmri.networks import convolutional_network
from skfmri.networks.compiled import CompiledNetwork, check_probabilities
from skfmri.networks.pool import POOL

layers = keras.layers


def separable_network(input_shape, n_classes, *, width=3, dropout=0.5):
    """Holds every kind of random part: two kernels in a layer, a nested model, dropouts."""
    inputs = keras.Input(input_shape)
    x = layers.SeparableConv2D(width, 3, activation="relu", name="separable")(inputs)
    x = layers.DepthwiseConv2D(2, name="depthwise")(x)
    nested = keras.Sequential([layers.Dense(4, "relu", name="inner"), layers.Dropout(dropout)])
    x = nested(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(n_classes, "softmax", name="last")(x))


def attention_network(input_shape, n_classes):
    inputs = keras.Input(input_shape)
    x = layers.Reshape((-1, input_shape[-1]))(inputs)
    x = layers.Flatten()(layers.MultiHeadAttention(1, 2)(x, x))
    return keras.Model(inputs, layers.Dense(n_classes, "softmax")(x))


def network_of_one_output(input_shape, n_classes):
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, layers.Dense(1, "sigmoid")(layers.Flatten()(inputs)))


def mean_of_softmaxes(input_shape, n_classes):
    inputs = keras.Input(input_shape)
    x = layers.Flatten()(inputs)
    heads = [layers.Dense(n_classes, "softmax")(x) for _ in range(2)]
    return keras.Model(inputs, layers.Average()(heads))


def divided_by_its_sum(input_shape, n_classes):
    """Gives NaN if no unit is active, and if the sum of the exponentials is too large."""
    inputs = keras.Input(input_shape)
    x = layers.Dense(n_classes, "relu")(layers.Flatten()(inputs))
    return keras.Model(inputs, x / keras.ops.sum(x, axis=-1, keepdims=True))


def exponentials(input_shape, n_classes):
    inputs = keras.Input(input_shape)
    x = keras.ops.exp(layers.Dense(n_classes)(layers.Flatten()(inputs)))
    return keras.Model(inputs, x / keras.ops.sum(x, axis=-1, keepdims=True))


def ends_in(activation, **options):
    def network(input_shape, n_classes):
        inputs = keras.Input(input_shape)
        last = layers.Dense(n_classes, activation, **options)
        return keras.Model(inputs, last(layers.Flatten()(inputs)))

    return network


def logits(input_shape, n_classes):
    return ends_in(None)(input_shape, n_classes)


def scaled_down_to_sigmoids(input_shape, n_classes):
    inputs = keras.Input(input_shape)
    x = layers.Flatten()(layers.Rescaling(1e-4)(inputs))
    return keras.Model(inputs, layers.Dense(n_classes, "sigmoid")(x))


def with_sum_of_one(x):
    return x + (1 - keras.ops.sum(x, axis=-1, keepdims=True)) / x.shape[-1]


def softmax_over_samples(x):
    return keras.ops.softmax(x, axis=0)


NO_PROBABILITIES = {
    "logits": logits,
    "logits with a sum of one": ends_in(with_sum_of_one),
    "sigmoids": ends_in("sigmoid"),
    "sigmoids that start at a half": ends_in("sigmoid", kernel_initializer="zeros"),
    "sigmoids of tiny values": scaled_down_to_sigmoids,
    "rectified units": ends_in("relu"),
    "units that start at zero": ends_in("relu", kernel_initializer="zeros"),
    "softplus": ends_in("softplus"),
    "logarithms": ends_in("log_softmax"),
    "softmax over samples": ends_in(softmax_over_samples),
}


def checked(network, n_classes, **options):
    """Build and check a network as a fit does, for as small an input as a slab may be."""
    model = network((4, 5, 1), n_classes, **options)
    model.compile("adam", "sparse_categorical_crossentropy")
    check_probabilities(CompiledNetwork(model), network.__name__)
    return model


class SeparableClassifier(SlabCNNClassifier):
    network_function = staticmethod(separable_network)

    def __init__(self, width=3, dropout=0.0, epochs=3, n_members=1, random_state=None):
        super().__init__(
            dropout=dropout, epochs=epochs, n_members=n_members, random_state=random_state
        )
        self.width = width


class AttentionClassifier(SlabCNNClassifier):
    network_function = staticmethod(attention_network)


@keras.saving.register_keras_serializable("tests")
class SecretlyRandom(layers.Layer):
    """Draws its weight by an initializer that it keeps to itself."""

    def build(self, input_shape):
        self.secret = self.add_weight(
            shape=input_shape[1:], initializer="random_normal", name="secret"
        )

    def call(self, inputs):
        return inputs * self.secret

    # Keras would otherwise trace a graph to find out.
    def compute_output_shape(self, input_shape):
        return input_shape


def secretly_random_network(input_shape, n_classes):
    inputs = keras.Input(input_shape)
    x = layers.Flatten()(SecretlyRandom()(inputs))
    return keras.Model(inputs, layers.Dense(n_classes, "softmax")(x))


class SecretlyRandomClassifier(SlabCNNClassifier):
    network_function = staticmethod(secretly_random_network)


class OneOutputClassifier(SlabCNNClassifier):
    network_function = staticmethod(network_of_one_output)


@pytest.fixture(scope="module")
def decoder(slabs):
    return SeparableClassifier(random_state=0).fit(*slabs)


def test_the_class_trains_its_own_network_with_its_own_parameters(decoder, slabs):
    assert decoder.model_.get_layer("separable").filters == 3
    assert decoder.get_params() == {
        "width": 3,
        "dropout": 0.0,
        "epochs": 3,
        "n_members": 1,
        "random_state": 0,
    }
    assert decoder.predict_proba(slabs[0]).shape == (20, 3)
    assert clone(decoder).set_params(width=2).build_network((6, 7, 3), 3).layers[1].filters == 2


def test_a_seed_decides_every_weight_and_no_other_state_does(decoder, slabs):
    # The pool lends the network that another fit has left behind.
    other = SeparableClassifier(random_state=1).fit(*slabs)
    again = SeparableClassifier(random_state=0).fit(*slabs)
    for weights, first in zip(
        again.model_.get_weights(), decoder.model_.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(weights, first)
    kernels = [
        [w for w in model.get_weights() if w.ndim > 1] for model in (decoder.model_, other.model_)
    ]
    assert len(kernels[0]) == 5
    for one, two in zip(*kernels, strict=True):
        assert np.abs(one - two).max() > 0.01


def test_kernels_of_one_layer_are_drawn_apart():
    inputs = keras.Input((4,))
    x = layers.SimpleRNN(4, recurrent_initializer="glorot_uniform")(layers.Reshape((1, 4))(inputs))
    model = keras.Model(inputs, layers.Dense(2, "softmax")(x))
    model.compile("sgd", "sparse_categorical_crossentropy")
    network = CompiledNetwork(model)
    network.reset(np.random.default_rng(0))
    kernel, recurrent = model.layers[2].get_weights()[:2]
    assert kernel.shape == recurrent.shape == (4, 4)
    assert np.abs(kernel - recurrent).max() > 0.1


def test_its_keywords_can_be_searched_and_members_averaged(slabs):
    search = GridSearchCV(SeparableClassifier(epochs=1, random_state=0), {"width": [1, 2]}, cv=2)
    assert search.fit(*slabs).best_params_["width"] in (1, 2)
    averaged = SeparableClassifier(n_members=2, epochs=1, random_state=0).fit(*slabs)
    assert averaged.model_.get_layer("member2").get_layer("separable").filters == 3


def test_it_can_be_pickled_and_inspected(decoder, slabs):
    X, _ = slabs
    copy = pickle.loads(pickle.dumps(decoder))
    np.testing.assert_array_equal(copy.predict_proba(X), decoder.predict_proba(X))
    assert layer_activations(decoder, X, "separable").shape == (20, 4, 5, 3)
    kernel = decoder.model_.get_layer("last").get_weights()[0]
    hidden = layer_activations(decoder, X, -2)
    at_zero = layer_activations(decoder, np.zeros_like(X), -2)
    maps = saliency(decoder, X, "face", n_steps=200).reshape(20, -1).sum(axis=1)
    expected = ((hidden - at_zero) @ kernel)[:, 1]
    np.testing.assert_allclose(maps, expected, atol=0.01 * np.abs(expected).max())


def test_weights_that_no_seed_can_draw_again_are_refused(slabs):
    with pytest.raises(ValueError, match=r"weight '.*secret' in a way that cannot be repeated"):
        SecretlyRandomClassifier(epochs=1).fit(*slabs)


def layers_in_a_layer(input_shape, n_classes):
    """Holds layers inside layers: attention with dropout, a wrapper, a recurrent layer."""
    inputs = keras.Input(input_shape)
    x = layers.Reshape((-1, input_shape[-1]))(inputs)
    x = layers.MultiHeadAttention(2, 3, dropout=0.2, name="attention")(x, x)
    x = layers.TimeDistributed(layers.Dense(2), name="wrapped")(x)
    x = layers.Bidirectional(layers.GRU(2, dropout=0.2), name="recurrent")(x)
    return keras.Model(inputs, layers.Dense(n_classes, "softmax")(x))


class LayeredClassifier(SlabCNNClassifier):
    network_function = staticmethod(layers_in_a_layer)


def kernels_of(decoder):
    variables = decoder.model_.variables
    return [np.asarray(each) for each in variables if each.path.endswith("kernel")]


def test_layers_inside_layers_are_drawn_anew_from_the_seed(slabs):
    first, again, other = (
        LayeredClassifier(epochs=1, random_state=seed).fit(*slabs) for seed in (0, 0, 1)
    )
    assert first.history_ == again.history_
    assert len(kernels_of(first)) == 4 + 1 + 4 + 1
    for kernels in zip(*map(kernels_of, (first, again, other)), strict=True):
        np.testing.assert_array_equal(kernels[0], kernels[1])
        assert np.abs(kernels[0] - kernels[2]).max() > 0.01


def test_a_network_without_an_output_for_each_class_is_refused(slabs):
    with pytest.raises(ValueError, match=r"network_of_one_output must .* \(None, 3\).*\(None, 1\)"):
        OneOutputClassifier(epochs=1).fit(*slabs)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("network", NO_PROBABILITIES.values(), ids=NO_PROBABILITIES)
def test_outputs_that_are_no_probabilities_are_refused(network, n_classes):
    for seed in range(5):
        keras.utils.set_random_seed(seed)
        with pytest.raises(ValueError, match="must return a network whose output is one prob"):
            checked(network, n_classes)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "network", [mean_of_softmaxes, divided_by_its_sum, exponentials, separable_network]
)
def test_probabilities_are_accepted_however_they_are_computed(network, n_classes):
    for seed in range(5):
        keras.utils.set_random_seed(seed)
        checked(network, n_classes)


@pytest.mark.parametrize("linear_path", [False, True])
def test_the_default_network_gives_probabilities(linear_path):
    checked(convolutional_network, 3, n_blocks=0, linear_path=linear_path)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16", "float64"])
def test_probabilities_are_accepted_in_any_precision(precision):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        model = checked(mean_of_softmaxes, 3)
    finally:
        keras.config.set_dtype_policy(before)
    assert model.output.dtype == precision.removeprefix("mixed_")


def test_a_fit_without_softmax_names_the_network_and_the_way_out(slabs):
    class LogitsClassifier(SlabCNNClassifier):
        network_function = staticmethod(logits)

    found = r"logits must .* smallest output is -\d.* sum to between -?\d.* and \d"
    way_out = r".* softmax: keras.layers.Dense\(n_classes, 'softmax'\)\.$"
    decoder = LogitsClassifier(epochs=1)
    with pytest.raises(ValueError, match=found + way_out):
        decoder.fit(*slabs)
    assert not hasattr(decoder, "classes_")


def test_the_check_of_the_output_changes_no_bit_and_no_random_state(slabs, monkeypatch):
    # Building the network draws from these states, so the check is called by itself.
    model = separable_network((6, 7, 3), 3)
    model.compile("adam", "sparse_categorical_crossentropy")
    network = CompiledNetwork(model)

    def draw(check):
        keras.utils.set_random_seed(0)
        check(network, "separable_network")
        of_numpy = np.random.random()  # noqa: NPY002 (the global one)
        return random.random(), of_numpy, float(keras.random.uniform(()))

    assert draw(check_probabilities) == draw(lambda *_: None)

    def fitted():
        POOL.clear()
        return SeparableClassifier(dropout=0.5, random_state=0).fit(*slabs)

    expected = fitted()
    POOL.clear()
    probabilities = expected.predict_proba(slabs[0])
    monkeypatch.setattr("skfmri.networks.recipe.check_probabilities", lambda *_: None)
    unchecked = fitted()
    assert unchecked.history_ == expected.history_
    np.testing.assert_array_equal(unchecked.predict_proba(slabs[0]), probabilities)


def test_the_linear_path_needs_a_network_that_has_one(slabs):
    with pytest.raises(ValueError, match="attention_network has no keyword linear_path"):
        AttentionClassifier(linear_path=1.0).fit(*slabs)


def test_the_default_function_is_public():
    assert SlabCNNClassifier.network_function is convolutional_network
