"""The classifiers as scikit-learn estimators."""

import copy
import os
import pickle
import subprocess
import sys
import tracemalloc

import keras
import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score

from skfmri import SlabCNNClassifier, VolumeCNNClassifier
from skfmri.networks import convolutional_network


def weights_of(decoder):
    return decoder.model_.get_weights()


def assert_same_weights(one, other):
    for a, b in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("labels", [["closed", "open"], [True, False], [3, 1], [0.0, 1.0]])
def test_labels_of_any_kind_come_back(slabs, tiny, labels):
    X, _ = slabs
    y = np.array(labels)[np.arange(len(X)) % 2]
    decoder = SlabCNNClassifier(**tiny).fit(X, y)
    np.testing.assert_array_equal(decoder.classes_, np.unique(labels))
    assert decoder.n_classes_ == 2
    assert decoder.predict(X).dtype == y.dtype
    assert set(decoder.predict(X)) <= set(labels)


def test_probabilities_are_float32_rows_that_sum_to_one(fitted_slab_decoder, slabs):
    X, y = slabs
    probabilities = fitted_slab_decoder.predict_proba(X)
    assert probabilities.shape == (20, 3)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    predicted = fitted_slab_decoder.classes_[probabilities.argmax(axis=1)]
    np.testing.assert_array_equal(fitted_slab_decoder.predict(X), predicted)
    assert fitted_slab_decoder.score(X, y) == np.mean(predicted == y)


def test_history_holds_loss_and_accuracy_of_each_epoch(fitted_slab_decoder):
    assert set(fitted_slab_decoder.history_) == {"loss", "accuracy"}
    for values in fitted_slab_decoder.history_.values():
        assert len(values) == 3
        assert all(type(value) is float for value in values)


def test_parameters_are_those_of_scikit_learn():
    decoder = SlabCNNClassifier(filters=8)
    assert "filters=8" in repr(decoder)
    assert "epochs" not in repr(decoder)
    assert clone(decoder.set_params(dropout=0.25)).get_params() == decoder.get_params()
    with pytest.raises(ValueError, match="Invalid parameter 'filter' for estimator"):
        decoder.set_params(filter=3)


def test_grid_search_over_filters_and_dropout(slabs, tiny):
    X, y = slabs
    grid = {"filters": [2, 3], "dropout": [0.25, 0.5]}
    search = GridSearchCV(SlabCNNClassifier(random_state=0, **tiny), grid, cv=2).fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_estimator_.filters == search.best_params_["filters"]
    first = search.best_estimator_.model_.layers[1]
    assert first.filters == search.best_params_["filters"]


def test_integer_cv_stratifies_and_roc_auc_works(slabs, tiny):
    X, _ = slabs
    y = np.repeat(["open", "closed"], 10)
    decoder = SlabCNNClassifier(random_state=0, **tiny)
    scores = cross_val_score(decoder, X, y, cv=2, scoring="roc_auc", error_score="raise")
    assert ((scores >= 0) & (scores <= 1)).all()


def test_displays_take_a_fitted_decoder(slabs, tiny):
    pytest.importorskip("matplotlib").use("agg")
    from sklearn.metrics import ConfusionMatrixDisplay, RocCurveDisplay

    X, _ = slabs
    y = np.repeat(["open", "closed"], 10)
    decoder = SlabCNNClassifier(**tiny).fit(X, y)
    assert RocCurveDisplay.from_estimator(decoder, X, y).roc_auc is not None
    assert ConfusionMatrixDisplay.from_estimator(decoder, X, y).confusion_matrix.sum() == 20


def test_sample_weight_is_routed_as_metadata(slabs, tiny):
    X, y = slabs
    weight = np.linspace(1, 2, 20)
    with config_context(enable_metadata_routing=True):
        # fit asks for weights by itself; whether scores are weighted is for the user to say.
        decoder = SlabCNNClassifier(random_state=0, **tiny).set_score_request(sample_weight=True)
        scores = cross_val_score(
            decoder, X, y, cv=2, params={"sample_weight": weight}, error_score="raise"
        )
    assert scores.shape == (2,)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dropout": 1.0}, ValueError, "dropout must be a number of at least 0 and below 1"),
        ({"epochs": 0}, ValueError, "epochs must be an integer of at least 1, but is 0"),
        ({"batch_size": 1.5}, TypeError, "batch_size must be an integer"),
        ({"filters": 0}, ValueError, "filters must be an integer of at least 1"),
        ({"learning_rate": 0}, ValueError, "learning_rate must be a number above 0"),
        (
            {"learning_rate": np.inf},
            ValueError,
            "learning_rate must be .* below 3.4e.38, but is inf",
        ),
        (
            {"learning_rate": 1e39},
            ValueError,
            "learning_rate must be .* below 3.4e.38, but is 1e.39",
        ),
        ({"learning_rate": np.nan}, ValueError, "learning_rate must be .* but is nan"),
        ({"learning_rate": -0.1}, ValueError, "learning_rate must be .* but is -0.1"),
        (
            {"optimizer": keras.optimizers.SGD(np.inf)},
            ValueError,
            "learning_rate of the optimizer must be .* but is inf",
        ),
        ({"dropout": np.nan}, ValueError, "dropout must be .* but is nan"),
        ({"linear_path": np.inf}, ValueError, "linear_path must be .* below inf, but is inf"),
        ({"optimizer": "adams"}, ValueError, "Unknown Keras optimizer 'adams'"),
        ({"optimizer": 3}, TypeError, "optimizer must be a name or a keras"),
        ({"loss": "entropy"}, ValueError, "loss='entropy' is not a function of keras.losses"),
        ({"loss": "CategoricalCrossentropy"}, ValueError, "is not a function of keras.losses"),
        ({"loss": "deserialize"}, ValueError, "is not a function of keras.losses"),
        ({"loss": 3}, TypeError, "loss must be a name, .* but is 3"),
        (
            {"loss": keras.losses.Huber(reduction="sum")},
            TypeError,
            "loss must be a name, a function, or a loss object .* use partial",
        ),
        ({"loss": "dice"}, ValueError, r"The loss gave shape \(\) for 3 samples of 3 classes"),
        ({"linear_path": 0}, ValueError, "linear_path must be a number above 0"),
        (
            {"batch_norm_momentum": 1},
            ValueError,
            "batch_norm_momentum must be a number of at least 0",
        ),
        ({"callbacks": ["stop"]}, TypeError, "callbacks holds 'stop'"),
        ({"n_blocks": 3}, ValueError, "6 x 7 voxels, but n_blocks=3 .* 22 x 22. Choose n_blocks=1"),
    ],
)
def test_wrong_parameters_are_refused_in_fit(slabs, tiny, options, error, message):
    with pytest.raises(error, match=message):
        SlabCNNClassifier(**{**tiny, **options}).fit(*slabs)


@pytest.mark.parametrize(
    "options",
    [
        {"filters": 10**13},
        {"filters": [10**13]},
        {"dense_units": (4, 10**12)},
        {"kernel_size": 10**9, "padding": "same"},
        {"kernel_size": [(3, 10**9)], "padding": "same"},
        {"n_blocks": 40, "padding": "same"},
    ],
)
def test_a_network_that_no_memory_holds_is_refused_with_its_size(slabs, tiny, options):
    decoder = SlabCNNClassifier(**{**tiny, **options})
    message = r"The network would have .*e\+\d+ weights, which take .* GB of memory. Choose smaller"
    with pytest.raises(ValueError, match=message):
        decoder.build_network((6, 7, 3), n_classes=2)
    with pytest.raises(ValueError, match=message):
        decoder.fit(*slabs)


def test_more_members_than_memory_holds_are_refused_before_anything_is_made_for_each(slabs, tiny):
    decoder = SlabCNNClassifier(**tiny, n_members=2**31 - 1)
    message = r"n_members=2147483647 networks of \d+ weights take .* GB of memory. Choose fewer"
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            decoder.build_network((6, 7, 3), n_classes=2)
        with pytest.raises(ValueError, match=message):
            decoder.fit(*slabs)
        assert tracemalloc.get_traced_memory()[1] < 2**28
    finally:
        tracemalloc.stop()


def test_more_blocks_than_any_grid_can_be_halved_are_refused():
    with pytest.raises(ValueError, match=r"n_blocks must be .* below 65, but is 2147483648"):
        SlabCNNClassifier(n_blocks=2**31).build_network((40, 56, 3), n_classes=2)


def test_a_network_is_not_built_in_a_child_that_would_hang(monkeypatch):
    # As in a child that was forked after TensorFlow had started.
    monkeypatch.setattr("skfmri.networks.backend._is_late_fork", True)
    monkeypatch.setattr("skfmri.networks.recipe.Recipe.model", None)
    monkeypatch.setattr(keras.optimizers, "get", None)
    with pytest.raises(RuntimeError, match="forked after TensorFlow had been used"):
        SlabCNNClassifier().build_network((40, 56, 3), n_classes=2)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
def test_copies_predict_the_same_and_are_independent(slabs, tiny, copied):
    X, y = slabs
    decoder = SlabCNNClassifier(random_state=0, **tiny).fit(X, y)
    expected = decoder.predict_proba(X)
    twin = copied(decoder.set_params(filters=7))
    twice = copied(copied(twin))
    decoder.set_params(filters=2, random_state=9).fit(X, y)
    np.testing.assert_array_equal(twin.predict_proba(X), expected)
    np.testing.assert_array_equal(twice.predict_proba(X), expected)
    assert twin.history_ == twice.history_
    assert not hasattr(clone(twin), "classes_")


def test_predicting_on_another_grid_names_both_grids(fitted_slab_decoder, slabs):
    message = (
        r"X holds volumes of shape \(6, 7, 2\), but SlabCNNClassifier was fitted on volumes of "
        r"shape \(6, 7, 3\)\. Resample"
    )
    with pytest.raises(ValueError, match=message):
        fitted_slab_decoder.predict(slabs[0][..., :2])
    with pytest.raises(ValueError, match=r"of shape \(5, 7, 3\), but"):
        fitted_slab_decoder.predict(slabs[0][:, :5])


def test_another_keras_backend_is_refused_by_name():
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", "import skfmri.classifier"]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert found.returncode == 1
    assert "ImportError: Keras is set to the 'jax' backend" in found.stderr


def test_default_blocks_of_the_volume_network_fit_a_slab_of_three_slices():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 9, 8, 3)), np.arange(12) % 2
    decoder = VolumeCNNClassifier(filters=2, dense_units=(4,), epochs=1, random_state=0)
    probabilities = decoder.fit(X, y).predict_proba(X)
    assert probabilities.shape == (12, 2)
    convolution = decoder.model_.layers[1]
    assert type(convolution).__name__ == "Conv3D"
    assert convolution.kernel.shape == (3, 3, 3, 1, 2)
    assert_same_weights(decoder, clone(decoder).fit(X, y))


def test_a_single_slice_works_with_one_and_two_blocks():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 40, 20, 1)), np.arange(12) % 2
    for n_blocks in (1, 2):
        decoder = SlabCNNClassifier(filters=1, dense_units=(2,), epochs=1, n_blocks=n_blocks)
        assert decoder.fit(X, y).predict(X).shape == (12,)


class TinyClassifier(SlabCNNClassifier):
    """Fixes settings of the network that its constructor does not name."""

    def __init__(self, epochs=2, random_state=None):
        super().__init__(
            filters=2, n_blocks=1, dense_units=(4,), epochs=epochs, random_state=random_state
        )


def test_a_subclass_may_fix_settings_of_the_network(slabs):
    X, y = slabs
    decoder = clone(TinyClassifier(random_state=0)).fit(X, y)
    expected = convolutional_network(X.shape[1:], 3, filters=2, n_blocks=1, dense_units=(4,))
    assert decoder.model_.count_params() == expected.count_params()
    same = SlabCNNClassifier(filters=2, n_blocks=1, dense_units=(4,), epochs=2, random_state=0)
    np.testing.assert_array_equal(decoder.predict_proba(X), same.fit(X, y).predict_proba(X))
    assert decoder.get_params() == {"epochs": 2, "random_state": 0}
