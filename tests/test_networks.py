import random

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from skfmri import VolumeCNNClassifier
from skfmri.networks import convolutional_network, per_block, smallest_input
from skfmri.networks.architecture import check_architecture


def test_default_network_for_three_slices_has_the_parameters_of_the_notebook():
    model = convolutional_network((40, 56, 3), n_classes=2)
    assert model.count_params() == 2_345_602
    assert model.input_shape == (None, 40, 56, 3)
    assert model.output_shape == (None, 2)


@pytest.mark.parametrize(
    ("sample_shape", "options", "n_parameters"),
    [
        (
            (30, 50, 18),
            {
                "filters": 32,
                "kernel_size": 2,
                "pool_size": [(2, 3, 2), (2, 3, 2), 2],
                "dense_units": (256, 512),
            },
            347_234,
        ),
        (
            (40, 66, 12),
            {
                "filters": (16, 32),
                "n_blocks": 2,
                "kernel_size": (3, 3, 2),
                "strides": [(3, 3, 2), 1],
                "pool_size": [2, (2, 2, 1)],
                "dense_units": (1024, 2048),
            },
            2_638_354,
        ),
    ],
)
def test_two_older_volume_networks_can_be_rebuilt(sample_shape, options, n_parameters):
    decoder = VolumeCNNClassifier(padding="valid", dense_batch_norm=False, **options)
    model = decoder.build_network(sample_shape, 2)
    assert model.count_params() == n_parameters
    assert model.input_shape == (None, *sample_shape, 1)


def test_layers_have_the_order_of_the_notebook():
    model = convolutional_network((10, 11, 1), 3, n_blocks=2, filters=4, dense_units=(5,))
    kinds = [type(layer).__name__ for layer in model.layers[1:]]
    block = ["Conv2D", "BatchNormalization", "MaxPooling2D"]
    assert kinds == [
        *block,
        *block,
        "Flatten",
        "Dropout",
        "Dense",
        "BatchNormalization",
        "Dropout",
        "Dense",
    ]
    assert [layer.filters for layer in model.layers if hasattr(layer, "filters")] == [4, 8]


def test_no_blocks_and_no_dense_units_leave_a_softmax_regression():
    model = convolutional_network((6, 7, 3), 2, n_blocks=0, dense_units=())
    assert model.count_params() == 6 * 7 * 3 * 2 + 2


def test_features_without_a_grid_get_only_the_dense_layers():
    model = convolutional_network((9,), 2, dense_units=(4,), dense_batch_norm=False)
    assert model.count_params() == 9 * 4 + 4 + 4 * 2 + 2


def test_building_a_network_changes_no_global_random_state():
    def states():
        return random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002 (the global one)

    before = states()
    convolutional_network((6, 7, 3), 2, n_blocks=1, filters=2, dense_units=(4,))
    assert states() == before


@pytest.mark.parametrize("n_blocks", [1, 2, 3])
def test_smallest_input_is_accepted_and_one_voxel_less_is_not(n_blocks):
    options = {"n_blocks": n_blocks, "kernel_size": (3, 2), "pool_size": (2, 3), "strides": (1, 2)}
    x, y = smallest_input(2, **options)
    options |= {"filters": 1, "dense_units": ()}
    assert convolutional_network((x, y, 1), 2, **options).output_shape == (None, 2)
    for shape in ((x - 1, y, 1), (x, y - 1, 1)):
        with pytest.raises(ValueError, match=f"need at least {x} x {y}"):
            convolutional_network(shape, 2, **options)


@settings(deadline=None, max_examples=200)
@given(
    n_blocks=st.integers(0, 4),
    kernel=st.integers(1, 5),
    pool=st.integers(1, 4),
    stride=st.integers(1, 3),
    extra=st.integers(0, 5),
)
def test_an_axis_of_the_smallest_size_or_more_never_runs_out(n_blocks, kernel, pool, stride, extra):
    def left_over(length):
        for _ in range(n_blocks):
            length = ((length - kernel) // stride + 1) // pool if length >= kernel else 0
        return length

    options = {"kernel_size": kernel, "pool_size": pool, "strides": stride, "n_blocks": n_blocks}
    (needed,) = smallest_input(1, **options)
    assert left_over(needed + extra) >= 1
    assert needed == 1 or left_over(needed - 1) == 0


def test_for_too_small_an_input_the_message_names_the_blocks_that_fit():
    with pytest.raises(
        ValueError, match=r"40 x 20 voxels, but n_blocks=3 .* 22 x 22\. .*n_blocks=2"
    ):
        convolutional_network((40, 20, 1), 2)
    assert convolutional_network((40, 20, 1), 2, n_blocks=2).output_shape == (None, 2)
    with pytest.raises(ValueError, match=r"Choose n_blocks=0 \(only dense layers\), a larger"):
        convolutional_network((3, 50, 1), 2)


@pytest.mark.parametrize("grid", [(40, 51, 41), (9, 10, 3), (1, 1, 1)])
def test_same_padding_takes_a_grid_of_any_size(grid):
    model = convolutional_network((*grid, 1), 2, padding="same", filters=2, dense_units=())
    assert model.output_shape == (None, 2)


def test_a_flat_tuple_is_per_axis_and_a_nested_one_per_block():
    assert per_block(3, 2, 3, "kernel_size") == [(3, 3, 3)] * 2
    assert per_block((1, 2, 3), 2, 3, "kernel_size") == [(1, 2, 3)] * 2
    assert per_block([(1, 2, 3), 4], 2, 3, "kernel_size") == [(1, 2, 3), (4, 4, 4)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"filters": (8, 16)}, "filters has 2 entries for n_blocks=3"),
        ({"pool_size": [(2, 2), 2]}, "pool_size has 2 entries for n_blocks=3"),
        ({"kernel_size": (3, 3, 3)}, r"\(3, 3, 3\) for 2 spatial axes"),
        ({"dropout": 1}, "dropout must be a number of at least 0 and below 1, but is 1"),
        ({"dropout": float("nan")}, "dropout must be a number"),
        ({"filters": 0}, "filters must be an integer of at least 1, but is 0"),
        ({"n_blocks": -1}, "n_blocks must be an integer of at least 0, but is -1"),
        ({"dense_units": (8, 0)}, "dense_units must be an integer of at least 1"),
        ({"padding": "full"}, "padding must be"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        convolutional_network((40, 56, 3), 2, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_blocks": 2.0}, "n_blocks must be an integer"),
        ({"filters": True}, "filters must be an integer"),
        ({"dropout": "half"}, "dropout must be a number"),
        ({"dense_units": 64}, "dense_units must be a sequence"),
    ],
)
def test_settings_of_a_wrong_type_are_refused(options, message):
    with pytest.raises(TypeError, match=message):
        check_architecture(**options)


class TestLinearPath:
    def network(self, linear_path=True):
        return convolutional_network(
            (6, 7, 3), 3, filters=2, n_blocks=1, dense_units=(4,), linear_path=linear_path
        )

    def test_it_adds_weights_per_voxel_and_class_that_are_not_trained(self):
        network = convolutional_network((40, 56, 3), 2, linear_path=True)
        plain = convolutional_network((40, 56, 3), 2)
        assert network.count_params() == plain.count_params() + (40 * 56 * 3 + 1) * 2
        assert len(network.trainable_variables) == len(plain.trainable_variables)

    def test_at_first_all_classes_are_equally_probable(self):
        x = np.random.default_rng(0).normal(size=(5, 6, 7, 3)).astype("float32")
        np.testing.assert_allclose(self.network()(x), np.full((5, 3), 1 / 3), rtol=1e-6)

    def test_it_adds_a_linear_model_of_the_voxels_to_the_logits(self):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(5, 6, 7, 3)).astype("float32")
        network = self.network()
        weights = [rng.normal(size=(4, 3)).astype("float32"), rng.normal(size=3).astype("float32")]
        network.get_layer("network_path").set_weights(weights)
        before = np.log(network(x))
        linear = rng.normal(size=(6 * 7 * 3, 3)).astype("float32"), rng.normal(size=3)
        network.get_layer("linear_path").set_weights(linear)
        logits = before + x.reshape(5, -1) @ linear[0] + linear[1]
        expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(network(x), expected, rtol=1e-4, atol=1e-7)


def test_every_batch_normalization_gets_the_momentum():
    network = convolutional_network((10, 10, 3), 2, n_blocks=1, batch_norm_momentum=0.9)
    momenta = [layer.momentum for layer in network.layers if hasattr(layer, "momentum")]
    assert momenta == [0.9] * 4
