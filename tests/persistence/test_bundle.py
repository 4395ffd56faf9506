import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

import skfmri
from skfmri import _cache
from skfmri.persistence import (
    archive,
    find_training_volumes,
    load,
    model_card,
    save,
    training_record,
)

DATA = Path(__file__).parents[1] / "data"
AFFINE = np.array([[-3.0, 0, 0, 12], [0, 3, 0, -13], [0, 0, 3, -15], [0, 0, 0, 1]])
IN_A_NEW_PROCESS = """
import sys
from pathlib import Path
import numpy as np
import skfmri
from skfmri.networks import convolutional_network

def narrow_network(input_shape, n_classes, *, units=(3,)):
    return convolutional_network(input_shape, n_classes, filters=2, n_blocks=1, dense_units=units)

class Narrow(skfmri.SlabCNNClassifier):
    network_function = staticmethod(narrow_network)

    def __init__(self, units=(3,), epochs=2, random_state=None):
        super().__init__(epochs=epochs, batch_size=8, random_state=random_state)
        self.units = units

folder = Path(sys.argv[1])
data = np.load(folder / "data.npz")
samples = skfmri.NiftiSamples.from_array(data["volumes"], data["affine"])
found = {}
for path in folder.glob("*.skfmri"):
    model = skfmri.load(path, classes=[Narrow])
    output = model.predict_proba if hasattr(model, "predict_proba") else model.decision_function
    found[path.stem] = output(samples)
np.savez(folder / "found.npz", **found)
"""


class TestExactness:
    def test_predictions_are_bit_equal_in_a_new_process(self, saved, models, samples, outputs):
        np.savez(saved / "data.npz", volumes=np.asarray(samples), affine=AFFINE)
        command = [sys.executable, "-c", IN_A_NEW_PROCESS, str(saved)]
        finished = subprocess.run(command, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stderr
        with np.load(saved / "found.npz") as found:
            assert set(found) == set(models)
            for name, model in models.items():
                np.testing.assert_array_equal(found[name], outputs(model, samples), name)

    def test_parameters_and_fitted_attributes_come_back_with_their_types(self, saved, models):
        model, loaded = models["network"], load(saved / "network.skfmri")
        assert type(loaded) is skfmri.DecodingPipeline
        assert repr(loaded.validation) == repr(model.validation)
        np.testing.assert_array_equal(loaded.validation_groups_, model.validation_groups_)
        for (name, step), (own_name, own) in zip(loaded.steps, model.steps, strict=True):
            assert name == own_name
            for key, value in own.get_params().items():
                found = getattr(step, key)
                assert type(found) is type(value)
                if key == "optimizer":
                    assert found.get_config() == value.get_config()
                else:
                    assert found == value
        weight = loaded["cnn"].class_weight["house"]
        assert isinstance(weight, np.float64)
        rotator, own = loaded["slab"], model["slab"]
        assert rotator.slab_box_ == own.slab_box_
        np.testing.assert_array_equal(rotator.slab_affine_, own.slab_affine_)
        np.testing.assert_array_equal(rotator.affine_, AFFINE)
        assert loaded["cnn"].history_ == model["cnn"].history_
        assert loaded["cnn"].classes_.tolist() == ["cat", "house"]

    @pytest.mark.parametrize("order", ["C", "F"])
    def test_the_axis_order_of_arrays_is_kept(self, tmp_path, order):
        model = PCA(2).fit(np.random.default_rng(0).normal(size=(6, 4)))
        model.components_ = np.array(model.components_, order=order)
        save(model, tmp_path / "model.skfmri")
        found = load(tmp_path / "model.skfmri").components_
        assert found.strides == model.components_.strides

    def test_a_loaded_model_can_be_looked_into_and_fitted_anew(
        self, saved, models, samples, outputs
    ):
        loaded = load(saved / "network.skfmri")
        assert loaded["cnn"].model_.get_layer("member2")
        assert loaded["slab"].inverse_transform(np.ones(loaded["slab"].slab_shape_)).shape == (
            *samples.grid_shape,
        )
        again = loaded.fit(samples, samples.y)
        expected = outputs(models["network"], samples)
        np.testing.assert_array_equal(outputs(again, samples), expected)

    def test_the_same_model_gives_the_same_bytes(self, saved, models, samples, tmp_path):
        first = (saved / "network.skfmri").read_bytes()
        save(models["network"], tmp_path / "again.skfmri", samples=samples)
        assert (tmp_path / "again.skfmri").read_bytes() == first
        save(load(saved / "network.skfmri"), tmp_path / "second.skfmri", samples=samples)
        assert (tmp_path / "second.skfmri").read_bytes() == first
        with zipfile.ZipFile(tmp_path / "second.skfmri") as file:
            assert {info.date_time for info in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}

    def test_a_single_estimator_and_names_of_columns_come_back(self, tmp_path):
        pandas = pytest.importorskip("pandas")
        table = pandas.DataFrame(np.arange(12.0).reshape(4, 3), columns=["a", "b", "c"])
        scorer = skfmri.VoxelZScorer().set_output(transform="pandas").fit(table)
        save(scorer, tmp_path / "scorer.skfmri")
        found = load(tmp_path / "scorer.skfmri").transform(table)
        pandas.testing.assert_frame_equal(found, scorer.transform(table))

    def test_labels_as_python_objects_come_back(self, tmp_path):
        y = np.array(["cat", "house", "cat", "house"], dtype=object)
        model = LogisticRegression().fit(np.arange(4.0).reshape(-1, 1), y)
        save(model, tmp_path / "model.skfmri")
        found = load(tmp_path / "model.skfmri").classes_
        assert found.dtype == object
        assert found.tolist() == ["cat", "house"]


def test_a_file_of_format_version_1_is_read_by_this_version():
    with np.load(DATA / "model_v1.npz") as frozen:
        volumes, affine, expected = (frozen[k] for k in ("volumes", "affine", "probabilities"))
    samples = skfmri.NiftiSamples.from_array(volumes, affine)
    path = DATA / "model_v1.skfmri"
    model = skfmri.load(path)
    # Another processor rounds in another order.
    np.testing.assert_allclose(model.predict_proba(samples), expected, atol=1e-5)
    assert model.predict(samples).tolist() == ["cat", "face", "house"] * 2
    assert model.get_params()["cnn__linear_path"] == 1.0
    assert find_training_volumes(path, samples).all()
    assert training_record(path)["result"]["n_folds"] == 4
    assert "24 volumes of 9 x 10 x 11 voxels" in model_card(path)
    with zipfile.ZipFile(path) as file:
        assert json.loads(file.read("manifest.json"))["format_version"] == archive.VERSION


def test_a_baseline_whose_function_is_stored_by_a_private_name_comes_back_by_it(tmp_path):
    with np.load(DATA / "baseline_v1.npz") as frozen:
        volumes, affine, expected = (frozen[k] for k in ("volumes", "affine", "probabilities"))
    samples = skfmri.NiftiSamples.from_array(volumes, affine)
    model = skfmri.load(DATA / "baseline_v1.skfmri")
    np.testing.assert_allclose(model.predict_proba(samples), expected, atol=1e-5)
    save(model, tmp_path / "again.skfmri")
    with (
        zipfile.ZipFile(DATA / "baseline_v1.skfmri") as old,
        zipfile.ZipFile(tmp_path / "again.skfmri") as new,
    ):
        before, after = (json.loads(file.read("model.json")) for file in (old, new))
    flatten = {"class": "FunctionTransformer", "parameters": {"func": {"function": "_flatten"}}}
    for content in (before, after):
        steps = [step["tuple"][1]["estimator"] for step in content["parameters"]["steps"]]
        # Since then a rotator remembers the space that headers name, and may have a region.
        steps[0]["fitted"].pop("_space", None)
        assert steps[0]["fitted"].pop("slab_mask_", None) is None
        for name in ("mask", "label"):
            assert steps[0]["parameters"].pop(name, None) is None
        assert steps[2] | flatten == steps[2]
    assert after == before


class TestWriting:
    def test_what_is_not_fitted_is_refused(self, models, tmp_path):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            save(clone(models["network"]), tmp_path / "model.skfmri")
        with pytest.raises(TypeError, match="estimator is a dict"):
            save({}, tmp_path / "model.skfmri")

    def test_nothing_is_lost_when_a_disk_fails(self, saved, models, tmp_path, monkeypatch):
        path = tmp_path / "model.skfmri"
        path.write_bytes(b"what was there before")
        written = []
        write = zipfile.ZipFile.writestr

        def fail(self, info, data):
            written.append(info)
            if len(written) > 5:
                raise OSError(28, "No space left on device")
            write(self, info, data)

        monkeypatch.setattr(zipfile.ZipFile, "writestr", fail)
        with pytest.raises(OSError, match="No space left"):
            save(models["linear"], path)
        assert [each.name for each in tmp_path.iterdir()] == ["model.skfmri"]
        assert path.read_bytes() == b"what was there before"

    def test_cleaning_up_decoded_copies_leaves_models_alone(self, saved, tmp_path, monkeypatch):
        monkeypatch.setenv("SKFMRI_CACHE", str(tmp_path))
        model, copied = tmp_path / "model.skfmri", tmp_path / f"0123abcd{_cache.SUFFIX}"
        for path in (model, copied):
            path.write_bytes((saved / "linear.skfmri").read_bytes())
            os.utime(path, (0, 0))
        _cache.stored_file("new", 1, lambda path: path.write_bytes(b"?"), "a copy")
        assert model.exists()
        assert not copied.exists()

    def test_a_place_that_cannot_be_written_is_named(self, models, tmp_path):
        with pytest.raises(ValueError, match=r"there is no directory .*nowhere"):
            save(models["linear"], tmp_path / "nowhere" / "model.skfmri")
        with pytest.raises(ValueError, match=r"is a directory. Name a file"):
            save(models["linear"], tmp_path)


def test_a_network_is_not_loaded_in_a_child_that_would_hang(saved, monkeypatch):
    # As in a child that was forked after TensorFlow had started.
    monkeypatch.setattr("skfmri.networks.backend._is_late_fork", True)
    with pytest.raises(RuntimeError, match=r"^This process was forked after TensorFlow"):
        load(saved / "network.skfmri")
    assert load(saved / "linear.skfmri").steps


def test_an_error_repeats_no_value_without_end(saved, tmp_path):
    _, members = archive.read_archive(saved / "machine.skfmri")
    members["model.json"] = json.dumps({"class": "x" * 5000}).encode()
    archive.write_archive(tmp_path / "altered.skfmri", members, {"skfmri": "0", "versions": {}})
    with pytest.raises(ValueError, match="cannot be loaded") as caught:
        load(tmp_path / "altered.skfmri")
    assert len(str(caught.value)) < 1200
