import copy
from functools import partial

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    LeaveOneGroupOut,
    LeavePGroupsOut,
    StratifiedGroupKFold,
)

import skfmri
from skfmri.persistence import load, objects, save


def trained_with(optimizer, decoder):
    """Return a decoder as if this optimizer had trained it, which saves seconds."""
    decoder = copy.copy(decoder)
    decoder.optimizer = optimizer
    recipe = decoder._recipe(decoder.X_shape_[1:], 3, decoder._check_parameters()[0])
    decoder._fitted_recipe = recipe
    return decoder


class TestSplitters:
    @pytest.mark.parametrize(
        "splitter",
        [
            3,
            GroupKFold(3, shuffle=True, random_state=1),
            GroupShuffleSplit(2, test_size=0.3),
            LeaveOneGroupOut(),
            LeavePGroupsOut(2),
            StratifiedGroupKFold(4),
            skfmri.RepeatedGroupKFold(3, n_repeats=2, random_state=0),
            skfmri.RepeatedStratifiedGroupKFold(2),
        ],
    )
    def test_splitters_for_groups_are_kept(self, splitter, tmp_path, recwarn):
        steps = [("linear", LogisticRegression().fit([[0.0], [1.0]], [0, 1]))]
        save(skfmri.DecodingPipeline(steps, validation=splitter), tmp_path / "model.skfmri")
        found = load(tmp_path / "model.skfmri").validation
        assert type(found) is type(splitter)
        assert repr(found) == repr(splitter)
        assert vars(found) == vars(splitter) if not isinstance(splitter, int) else found == 3
        assert not recwarn.list


class TestOptimizers:
    @pytest.mark.parametrize(
        "optimizer",
        [
            "adam",
            keras.optimizers.AdamW(0.01, clipnorm=1.0),
            keras.optimizers.RMSprop(keras.optimizers.schedules.CosineDecay(0.1, 20)),
            keras.optimizers.SGD(
                keras.optimizers.schedules.PiecewiseConstantDecay([3, 5], [0.1, 0.05, 0.01])
            ),
        ],
    )
    def test_keras_own_optimizers_are_kept(self, optimizer, fitted_slab_decoder, tmp_path):
        save(trained_with(optimizer, fitted_slab_decoder), tmp_path / "model.skfmri")
        found = load(tmp_path / "model.skfmri").optimizer
        assert type(found) is type(optimizer)
        same = found == optimizer
        assert same or found.get_config() == optimizer.get_config()

    def test_other_optimizers_are_refused(self, fitted_slab_decoder, tmp_path):
        class Mine(keras.optimizers.SGD):
            pass

        wrapped = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())
        for optimizer, name in ((Mine(), "Mine"), (wrapped, "LossScaleOptimizer")):
            decoder = trained_with(optimizer, fitted_slab_decoder)
            with pytest.raises(ValueError, match=f"SlabCNNClassifier.optimizer cannot.*{name}"):
                save(decoder, tmp_path / "model.skfmri")


class TestLosses:
    @pytest.mark.parametrize(
        "loss",
        [
            "categorical_crossentropy",
            keras.losses.categorical_crossentropy,
            partial(keras.losses.categorical_focal_crossentropy, alpha=[0.2, 0.3, 0.5], gamma=1.5),
            "bce",
        ],
    )
    def test_keras_own_losses_are_kept(self, loss, slabs, tiny, tmp_path):
        fitted = skfmri.SlabCNNClassifier(**{**tiny, "epochs": 1}, loss=loss).fit(*slabs)
        save(fitted, tmp_path / "model.skfmri")
        found = load(tmp_path / "model.skfmri")
        assert found.loss == loss or found.loss.func is loss.func
        assert getattr(found.loss, "keywords", {}) == getattr(loss, "keywords", {})
        np.testing.assert_array_equal(found.predict_proba(slabs[0]), fitted.predict_proba(slabs[0]))

    def test_loss_objects_of_keras_are_kept_as_functions(self, slabs, tiny, tmp_path):
        loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.2)
        fitted = skfmri.SlabCNNClassifier(**{**tiny, "epochs": 1}, loss=loss).fit(*slabs)
        save(fitted, tmp_path / "model.skfmri")
        found = load(tmp_path / "model.skfmri").loss
        assert found.func is keras.losses.categorical_crossentropy
        assert found.keywords == {"from_logits": False, "label_smoothing": 0.2, "axis": -1}

    @pytest.mark.parametrize(
        "name", ["deserialize", "get", "Loss", "Huber", "__name__", "nothing", None, {"class": 1}]
    )
    def test_a_file_can_name_losses_only(self, name):
        with pytest.raises(ValueError, match=f"Keras has no loss {name!r}"):
            objects.build_loss({"function": name, "keywords": {}}, inner=lambda value: value)

    def test_functions_are_refused_as_losses(self, slabs, tiny, tmp_path):
        def distance(targets, probabilities):
            return keras.ops.sum((targets - probabilities) ** 2, axis=-1)

        fitted = skfmri.SlabCNNClassifier(**{**tiny, "epochs": 1}, loss=distance).fit(*slabs)
        with pytest.raises(ValueError, match=r"SlabCNNClassifier\.loss cannot"):
            save(fitted, tmp_path / "model.skfmri")
