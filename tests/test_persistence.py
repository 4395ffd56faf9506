import copy
import io
import json
import os
import stat
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import keras
import nibabel
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    LeaveOneGroupOut,
    LeavePGroupsOut,
    StratifiedGroupKFold,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC

import skfmri
from skfmri import _cache
from skfmri.evaluation import linear_baseline
from skfmri.networks import convolutional_network
from skfmri.persistence import (
    archive,
    find_training_volumes,
    load,
    model_card,
    objects,
    save,
    training_record,
)
from skfmri.persistence.encoding import array_from_bytes, array_to_bytes, decode, encode

DATA = Path(__file__).parent / "data"
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


def narrow_network(input_shape, n_classes, *, units=(3,)):
    return convolutional_network(input_shape, n_classes, filters=2, n_blocks=1, dense_units=units)


class Narrow(skfmri.SlabCNNClassifier):
    """Has a parameter of its own, and does not hand on all of its parents'."""

    network_function = staticmethod(narrow_network)

    def __init__(self, units=(3,), epochs=2, random_state=None):
        super().__init__(epochs=epochs, batch_size=8, random_state=random_state)
        self.units = units


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(0)
    y = np.array(["cat", "house"])[np.arange(24) % 2]
    volumes = rng.normal(100, 9, size=(24, 9, 10, 11)).astype(np.float32)
    volumes[y == "house", 3:6, 3:7, 2:9] += 20
    return skfmri.NiftiSamples.from_array(
        volumes, AFFINE, y=y, groups=np.repeat(["s1", "s2", "s3"], 8)
    )


@pytest.fixture(scope="module")
def models(samples, tiny):
    """Fitted pipelines of every kind of step; do not change them."""
    head = [
        ("slab", skfmri.NiftiSlabRotator(0.1, slab=(2, 5))),
        ("zscore", skfmri.VoxelZScorer(mean_threshold=None)),
    ]
    network = skfmri.SlabCNNClassifier(
        **tiny,
        linear_path=1.0,
        n_members=2,
        optimizer=keras.optimizers.SGD(0.03, momentum=0.9),
        class_weight={"cat": 1.0, "house": np.float64(1.5)},
        patience=2,
        random_state=0,
    )
    whole = skfmri.NiftiSlabRotator(0.2, axis="y", slab=None, crop=False, interpolation="linear")
    volume_network = skfmri.VolumeCNNClassifier(**tiny, kernel_size=(3, 2, 3), random_state=1)
    pipelines = {
        "network": skfmri.DecodingPipeline(
            [*head, ("cnn", network)], validation=GroupShuffleSplit(1, test_size=1, random_state=0)
        ),
        "volumes": Pipeline([("slab", whole), ("cnn", volume_network)]),
        "own": Pipeline([*clone(Pipeline(head)).steps, ("cnn", Narrow(random_state=0))]),
        "linear": linear_baseline(Pipeline([*head, ("cnn", network)])),
    }
    flatten = pipelines["linear"]["flatten"]
    steps = [clone(head[0][1]), clone(flatten), StandardScaler(), PCA(5, whiten=True), LinearSVC()]
    pipelines["machine"] = make_pipeline(*steps)
    return {name: clone(pipe).fit(samples, samples.y) for name, pipe in pipelines.items()}


@pytest.fixture(scope="module")
def saved(models, samples, tmp_path_factory):
    """The folder with all of these models as files."""
    folder = tmp_path_factory.mktemp("saved")
    for name, model in models.items():
        save(model, folder / f"{name}.skfmri", samples=samples)
    return folder


def trained_with(optimizer, decoder):
    """Return a decoder as if this optimizer had trained it, which saves seconds."""
    decoder = copy.copy(decoder)
    decoder.optimizer = optimizer
    recipe = decoder._recipe(decoder.X_shape_[1:], 3, decoder._check_parameters()[0])
    decoder._fitted_recipe = recipe
    return decoder


def outputs(model, samples):
    output = model.predict_proba if hasattr(model, "predict_proba") else model.decision_function
    return output(samples)


class TestExactness:
    def test_predictions_are_bit_equal_in_a_new_process(self, saved, models, samples):
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

    def test_the_axis_order_of_arrays_is_kept(self, saved, models):
        own = models["machine"]["pca"].components_
        found = load(saved / "machine.skfmri")["pca"].components_
        assert own.strides == found.strides != np.ascontiguousarray(own).strides

    def test_a_loaded_model_can_be_looked_into_and_fitted_anew(self, saved, models, samples):
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


def test_a_baseline_whose_function_is_stored_by_a_private_name_is_read_by_this_version():
    with np.load(DATA / "baseline_v1.npz") as frozen:
        volumes, affine, expected = (frozen[k] for k in ("volumes", "affine", "probabilities"))
    samples = skfmri.NiftiSamples.from_array(volumes, affine)
    model = skfmri.load(DATA / "baseline_v1.skfmri")
    np.testing.assert_allclose(model.predict_proba(samples), expected, atol=1e-5)
    with zipfile.ZipFile(DATA / "baseline_v1.skfmri") as file:
        assert b'"_flatten"' in file.read("model.json")


class TestWhatCanBeSaved:
    @pytest.mark.parametrize(
        ("model", "message"),
        [
            (make_pipeline(SelectKBest(), LogisticRegression()), r"SelectKBest cannot be saved"),
            (GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2), r"Of a search save best_est"),
            (
                make_pipeline(FunctionTransformer(lambda X: X), LogisticRegression()),
                r"FunctionTransformer.func cannot be saved. .*function is none of the values",
            ),
        ],
    )
    def test_anything_else_is_refused_by_name(self, model, message, tmp_path):
        X, y = np.random.default_rng(0).normal(size=(8, 12)), [0, 1] * 4
        with pytest.raises(ValueError, match=message):
            save(model.fit(X, y), tmp_path / "model.skfmri")
        assert not list(tmp_path.iterdir())

    def test_what_is_not_fitted_is_refused(self, models, tmp_path):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            save(clone(models["network"]), tmp_path / "model.skfmri")
        with pytest.raises(TypeError, match="estimator is a dict"):
            save({}, tmp_path / "model.skfmri")

    @pytest.mark.parametrize(
        "parameters", [{"cnn__dropout": 0.1}, {"slab__interpolation": "linear"}]
    )
    def test_parameters_that_were_changed_after_the_fit_are_refused(
        self, parameters, saved, tmp_path
    ):
        model = load(saved / "network.skfmri").set_params(**parameters)
        with pytest.raises(ValueError, match="were changed since it was fitted"):
            save(model, tmp_path / "model.skfmri")
        save(model.set_params(cnn__dropout=0.5, slab__interpolation="continuous", cnn__epochs=9),
             tmp_path / "model.skfmri")  # fmt: skip

    def test_what_no_prediction_needs_is_left_out_with_a_warning(self, saved, samples, tmp_path):
        model = load(saved / "network.skfmri")
        model.set_params(
            validation=KFold(3),
            memory=str(tmp_path / "secret-folder"),
            cnn__callbacks=[keras.callbacks.TerminateOnNaN()],
            cnn__random_state=np.random.RandomState(0),
        )
        names = r"Not saved.*SlabCNNClassifier.callbacks.*random_state.*Pipeline.validation"
        with pytest.warns(UserWarning, match=names):
            save(model, tmp_path / "model.skfmri", samples=samples)
        assert b"secret-folder" not in (tmp_path / "model.skfmri").read_bytes()
        found = load(tmp_path / "model.skfmri")
        assert found.validation is found.memory is found["cnn"].callbacks is None
        assert found["cnn"].random_state is None
        np.testing.assert_array_equal(outputs(found, samples), outputs(model, samples))

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

    @pytest.mark.parametrize(
        "loss",
        [
            "categorical_crossentropy",
            keras.losses.categorical_crossentropy,
            partial(keras.losses.categorical_focal_crossentropy, alpha=[0.2, 0.3, 0.5], gamma=1.5),
        ],
    )
    def test_keras_own_losses_are_kept(self, loss, slabs, tiny, tmp_path):
        fitted = skfmri.SlabCNNClassifier(**{**tiny, "epochs": 1}, loss=loss).fit(*slabs)
        save(fitted, tmp_path / "model.skfmri")
        found = load(tmp_path / "model.skfmri")
        assert found.loss == loss or found.loss.func is loss.func
        assert getattr(found.loss, "keywords", {}) == getattr(loss, "keywords", {})
        np.testing.assert_array_equal(found.predict_proba(slabs[0]), fitted.predict_proba(slabs[0]))

    @pytest.mark.parametrize("name", ["deserialize", "get", "Loss", "Huber", "__name__", "nothing"])
    def test_a_file_can_name_losses_only(self, name):
        with pytest.raises(ValueError, match=f"Keras has no loss {name!r}"):
            objects.build_loss({"function": name, "keywords": {}}, inner=lambda value: value)

    def test_functions_are_refused_as_losses(self, slabs, tiny, tmp_path):
        def distance(targets, probabilities):
            return keras.ops.sum((targets - probabilities) ** 2, axis=-1)

        fitted = skfmri.SlabCNNClassifier(**{**tiny, "epochs": 1}, loss=distance).fit(*slabs)
        with pytest.raises(ValueError, match=r"SlabCNNClassifier\.loss cannot"):
            save(fitted, tmp_path / "model.skfmri")

    def test_other_optimizers_are_refused(self, fitted_slab_decoder, tmp_path):
        class Mine(keras.optimizers.SGD):
            pass

        wrapped = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())
        for optimizer, name in ((Mine(), "Mine"), (wrapped, "LossScaleOptimizer")):
            decoder = trained_with(optimizer, fitted_slab_decoder)
            with pytest.raises(ValueError, match=f"SlabCNNClassifier.optimizer cannot.*{name}"):
                save(decoder, tmp_path / "model.skfmri")

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


class TestOwnNetworks:
    def test_the_class_must_be_handed_over(self, saved, models, samples):
        with pytest.raises(ValueError, match=r"'Narrow' of the module .*classes=\[Narrow\]"):
            load(saved / "own.skfmri")
        loaded = load(saved / "own.skfmri", classes=[Narrow])
        assert type(loaded["cnn"]) is Narrow
        np.testing.assert_array_equal(outputs(loaded, samples), outputs(models["own"], samples))

    def test_classes_that_are_no_networks_or_share_a_name_are_refused(self, saved):
        with pytest.raises(TypeError, match="is no subclass of SlabCNNClassifier"):
            load(saved / "own.skfmri", classes=[LogisticRegression])
        other = type("Narrow", (skfmri.VolumeCNNClassifier,), {})
        with pytest.raises(ValueError, match="two classes called Narrow"):
            load(saved / "own.skfmri", classes=[Narrow, other])

    def test_code_that_has_changed_since_is_noticed(self, saved):
        def wider(input_shape, n_classes, *, units):
            return narrow_network(input_shape, n_classes, units=(9, *units))

        changed = type("Narrow", (Narrow,), {"network_function": staticmethod(wider)})
        with pytest.raises(ValueError, match=r"weights do not fit the network of Narrow.*changed"):
            load(saved / "own.skfmri", classes=[changed])

    def test_attributes_of_its_own_are_kept_or_refused(self, slabs, tmp_path):
        class Noting(Narrow):
            def fit(self, X, y):
                self.note_ = {"mean": X.mean(axis=0)}
                return super().fit(X, y)

        decoder = Noting(epochs=1).fit(*slabs)
        save(decoder, tmp_path / "model.skfmri")
        found = load(tmp_path / "model.skfmri", classes=[Noting])
        np.testing.assert_array_equal(found.note_["mean"], decoder.note_["mean"])
        decoder.note_ = object()
        with pytest.raises(ValueError, match=r"Noting.note_ cannot be saved"):
            save(decoder, tmp_path / "model.skfmri")

    def test_a_class_that_does_not_come_back_is_refused(self, slabs, tmp_path):
        class Doubling(Narrow):
            def __init__(self, epochs=1, random_state=None):
                super().__init__(epochs=2 * epochs, random_state=random_state)

        with pytest.raises(ValueError, match="Doubling cannot be saved: it does not come back"):
            save(Doubling().fit(*slabs), tmp_path / "model.skfmri")


def parts(path):
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist() if name != archive.MANIFEST}


def altered(source, target, change):
    """Write a file as it would be after a change, with all checksums right."""
    members = parts(source)
    change(members)
    archive.write_archive(target, members, {"skfmri": "0", "versions": {}})
    return target


def change_json(edit):
    def change(members):
        content = json.loads(members["model.json"])
        edit(content)
        members["model.json"] = json.dumps(content).encode()

    return change


def step(content, number):
    """Return the description of a step of a pipeline."""
    return content["parameters"]["steps"][number]["tuple"][1]["estimator"]


def set_in(number, kind, key, value):
    return change_json(lambda content: step(content, number)[kind].update({key: value}))


def object_array(members):
    stream = io.BytesIO()
    np.save(stream, np.array([print], dtype=object), allow_pickle=True)
    members["arrays/0000.npy"] = stream.getvalue()


def huge_array(members):
    stream = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
    np.lib.format.write_array_header_1_0(stream, header)
    members["arrays/0000.npy"] = stream.getvalue()


def cut_weights(members):
    """Make the largest array, the kernel of a dense layer, one row shorter."""
    name = max((n for n in members if n.startswith("arrays/")), key=lambda n: len(members[n]))
    members[name] = array_to_bytes(array_from_bytes(members[name])[:-1])


SCHEDULE = {"module": "os", "class_name": "system", "config": {"command": "true"}}
ALTERED = {
    "a class of another module": (
        change_json(lambda content: step(content, 2).update({"class": "os.system"})),
        "'os.system' is not known to this version",
    ),
    "a module that it names": (
        change_json(lambda content: step(content, 2).update({"module": "antigravity"})),
        "which is not part of skfmri. Loading runs no code",
    ),
    "a function that it names": (
        set_in(0, "parameters", "axis", {"function": "os.system"}),
        "'os.system' is not known",
    ),
    "an unknown kind of value": (
        set_in(2, "parameters", "epochs", {"pickle": "gASV"}),
        r"\['pickle'\] tell no kind of value",
    ),
    "an optimizer from elsewhere": (
        set_in(2, "parameters", "optimizer", {"optimizer": {"class": "system", "config": {}}}),
        "Keras has no class 'system'",
    ),
    "a function of Keras that imports": (
        set_in(
            2,
            "parameters",
            "optimizer",
            {"optimizer": {"class": "deserialize", "config": {"config": {"dict": []}}}},
        ),
        "Keras has no class 'deserialize'",
    ),
    "a description that Keras would import": (
        set_in(
            2,
            "parameters",
            "optimizer",
            {"optimizer": {"class": "SGD", "config": {"learning_rate": {"dict": [["a", 1]]}}}},
        ),
        "cannot be loaded",
    ),
    "a parameter of another version": (
        set_in(2, "parameters", "depth", 3),
        "SlabCNNClassifier has no parameter 'depth' in this version",
    ),
    "a parameter out of range": (set_in(2, "parameters", "dropout", 7), "dropout must be"),
    "an attribute in place of a method": (
        set_in(1, "fitted", "transform", 1),
        "VoxelZScorer can have no attribute 'transform'",
    ),
    "an attribute of Python itself": (
        set_in(1, "fitted", "__class__", 1),
        "can have no attribute '__class__'",
    ),
    "no attributes at all": (
        change_json(lambda content: step(content, 1).update({"fitted": {}})),
        "not fitted",
    ),
    "a network of another size": (
        set_in(2, "parameters", "filters", 10**6),
        "weights do not fit the network of SlabCNNClassifier: their shapes are .*1000000",
    ),
    "weights of another shape": (cut_weights, "weights do not fit the network"),
    "Python objects in an array": (object_array, "arrays/0000.npy is no array: holds values of"),
    "an array larger than the file": (huge_array, "has 0 bytes for an array of float64 and shape"),
    "no array": (lambda m: m.update({"arrays/0000.npy": b"?"}), "arrays/0000.npy is no array"),
    "too few arrays": (lambda m: m.pop("arrays/0000.npy"), "cannot be loaded"),
    "broken JSON": (lambda m: m.update({"model.json": b'{"class"'}), "cannot be read as JSON"),
    "endless JSON": (lambda m: m.update({"model.json": b"[" * 10**5}), "cannot be read as JSON"),
    "a list as model": (lambda m: m.update({"model.json": b"[]"}), "cannot be loaded"),
    "no model": (lambda m: m.pop("model.json"), "cannot be loaded"),
}


class TestAlteredContents:
    """Files whose checksums are right, as somebody with bad intentions would write them."""

    @pytest.mark.parametrize("change", ALTERED)
    def test_it_is_refused(self, change, saved, tmp_path):
        edit, message = ALTERED[change]
        path = altered(saved / "network.skfmri", tmp_path / "altered.skfmri", edit)
        with pytest.raises(ValueError, match=message) as caught:
            load(path)
        assert str(path) in str(caught.value)
        assert "antigravity" not in sys.modules

    def test_keras_imports_nothing_that_a_schedule_names(self, saved, tmp_path, monkeypatch):
        called = []
        monkeypatch.setattr(os, "system", called.append)
        config = {"learning_rate": {"dict": [[k, v] for k, v in SCHEDULE.items() if k != "config"]}}
        optimizer = {"optimizer": {"class": "SGD", "config": config}}
        edit = set_in(2, "parameters", "optimizer", optimizer)
        with pytest.raises(ValueError, match="cannot be loaded"):
            load(altered(saved / "network.skfmri", tmp_path / "altered.skfmri", edit))
        assert not called

    @settings(max_examples=150)
    @given(data=st.data())
    def test_whatever_it_says_it_is_loaded_or_refused_with_one_kind_of_error(
        self, data, saved, tmp_path_factory
    ):
        path = tmp_path_factory.mktemp("altered") / "model.skfmri"

        def edit(content):
            places = list(walk(content))
            holder, key = data.draw(st.sampled_from(places))
            holder[key] = data.draw(st.sampled_from([None, -1, 3, "x", [], {}, 0.5, holder]))

        try:
            altered(saved / "linear.skfmri", path, change_json(edit))
        except ValueError:
            return  # a holder inside itself is no JSON
        message = load_or_refuse(path)[1]
        assert message is None or str(path) in message


def load_or_refuse(path):
    """Return the model and None, or None and what the error says."""
    try:
        return load(path), None
    except ValueError as error:
        return None, str(error)


def walk(content):
    """Yield every place of a value in JSON."""
    keys = content if isinstance(content, dict) else range(len(content))
    for key in list(keys):
        yield content, key
        if isinstance(content[key], dict | list):
            yield from walk(content[key])


def rewrite(source, target, edit, compression=zipfile.ZIP_STORED):
    """Write the entries of a zip file after a change to the list of (entry, data)."""
    with zipfile.ZipFile(source) as file:
        entries = [(info, file.read(info)) for info in file.infolist()]
    edit(entries)
    with zipfile.ZipFile(target, "w", compression) as file:
        for info, data in entries:
            file.writestr(info, data, compress_type=compression)
    return target


def rename(new):
    """Give the last part another name, in the manifest too."""

    def edit(entries):
        old = entries[-1][0].filename
        info = zipfile.ZipInfo(new)
        info.filename = new
        entries[-1] = (info, entries[-1][1])
        entries[0] = (
            entries[0][0],
            entries[0][1].replace(old.encode(), json.dumps(new)[1:-1].encode()),
        )

    return edit


def set_manifest(**values):
    def edit(entries):
        manifest = {**json.loads(entries[0][1]), **values}
        entries[0] = (entries[0][0], json.dumps(manifest).encode())

    return edit


def make_link(entries):
    entries[-1][0].external_attr = (stat.S_IFLNK | 0o777) << 16


def alter_last(entries):
    info, data = entries[-1]
    entries[-1] = (info, bytes([data[0] ^ 1]) + data[1:])


DAMAGED = {
    "a newer format": (
        set_manifest(format_version=2, skfmri="9.1"),
        "format version 2, written by skfmri 9.1, but this version of skfmri reads 1.*--upgrade",
    ),
    "a format that is none": (set_manifest(format="other"), "does not say that it is one"),
    "no list of parts": (set_manifest(members=None), "names no parts"),
    "a missing part": (lambda e: e.pop(), "lacks '.*', which its manifest names"),
    "a part too many": (
        lambda e: e.append((zipfile.ZipInfo("extra.txt"), b"?")),
        "holds 'extra.txt', which its manifest does not name",
    ),
    "a part twice": (lambda e: e.append(e[-1]), "holds '.*' more than once"),
    "an altered part": (alter_last, "was altered or damaged: .* SHA-256"),
    "no manifest": (lambda e: e.pop(0), "a zip file without manifest.json"),
    "an absolute path": (rename("/etc/passwd"), "'/etc/passwd', which is no plain relative path"),
    "a path upwards": (rename("arrays/../../x"), "no plain relative path"),
    "a backslash": (rename("arrays\\x"), "no plain relative path"),
    "a drive": (rename("C:x"), "no plain relative path"),
    "a folder": (rename("arrays/"), "no plain relative path"),
    "a hidden file": (rename(".ssh/x"), "no plain relative path"),
    "a symbolic link": (make_link, "is a link or a device"),
}


class TestDamagedFiles:
    @pytest.mark.parametrize("damage", DAMAGED)
    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_it_is_refused(self, damage, saved, tmp_path):
        edit, message = DAMAGED[damage]
        path = rewrite(saved / "linear.skfmri", tmp_path / "damaged.skfmri", edit)
        for read in (load, model_card, training_record):
            with pytest.raises(ValueError, match=message) as caught:
                read(path)
            assert str(path) in str(caught.value)

    def test_what_is_no_such_file_is_named(self, saved, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"There is no file .*nowhere.skfmri"):
            load(tmp_path / "nowhere.skfmri")
        with pytest.raises(ValueError, match="is a directory, not a saved model"):
            load(tmp_path)
        for content in (b"", b"PK", b"\x80\x04\x95 a pickle", b"\x89HDF"):
            (tmp_path / "other").write_bytes(content)
            with pytest.raises(ValueError, match="does not begin as a zip file does"):
                load(tmp_path / "other")

    def test_a_truncated_file_is_refused_wherever_it_ends(self, saved, tmp_path):
        whole = (saved / "linear.skfmri").read_bytes()
        path = tmp_path / "cut.skfmri"
        for length in [*range(4, len(whole), 997), len(whole) - 1]:
            path.write_bytes(whole[:length])
            with pytest.raises(ValueError, match=r"truncated or damaged.*Copy the file again"):
                load(path)

    def test_a_bomb_is_refused_before_it_is_read(self, saved, tmp_path, monkeypatch):
        def edit(entries):
            entries.append((zipfile.ZipInfo("arrays/9999.npy"), bytes(10**8)))

        compressed = rewrite(
            saved / "linear.skfmri", tmp_path / "bomb.skfmri", edit, zipfile.ZIP_DEFLATED
        )
        assert compressed.stat().st_size < 10**6
        monkeypatch.setattr(zipfile.ZipFile, "open", None)
        with pytest.raises(ValueError, match="is compressed to"):
            load(compressed)

    def test_parts_that_share_their_bytes_are_refused(self, saved, tmp_path):
        copies = [f"arrays/9{number:03}.npy" for number in range(50)]

        def name_copies(entries):
            manifest = json.loads(entries[0][1])
            name = max(manifest["members"], key=lambda name: manifest["members"][name]["bytes"])
            manifest["members"].update(dict.fromkeys(copies, manifest["members"][name]))
            entries[0] = (entries[0][0], json.dumps(manifest).encode())

        path = rewrite(saved / "linear.skfmri", tmp_path / "overlapping.skfmri", name_copies)
        with zipfile.ZipFile(path, "a") as file:
            largest = max(file.infolist(), key=lambda info: info.file_size)
            for name in copies:
                entry = copy.copy(largest)
                entry.filename = entry.orig_filename = name
                file.filelist.append(entry)
            file._didModify = True
        with pytest.raises(ValueError, match=r"have .* bytes, but the file itself only"):
            load(path)

    def test_a_manifest_of_any_size_is_not_read(self, saved, monkeypatch):
        monkeypatch.setattr(archive, "MOST_JSON_BYTES", 100)
        with pytest.raises(ValueError, match=r"'manifest.json' of .* bytes, of at most 100"):
            load(saved / "linear.skfmri")

    @settings(max_examples=250)
    @given(data=st.data())
    def test_one_altered_byte_is_noticed_or_changes_no_prediction(
        self, data, saved, models, samples, tmp_path_factory
    ):
        whole = bytearray((saved / "network.skfmri").read_bytes())
        # Half of the bytes tried lie in the directory at the end, where no checksum is.
        start = data.draw(st.sampled_from([0, whole.rindex(b"PK\x05\x06") - 4000]))
        place = data.draw(st.integers(start, len(whole) - 1))
        whole[place] ^= data.draw(st.integers(1, 255))
        path = tmp_path_factory.mktemp("byte") / "model.skfmri"
        path.write_bytes(whole)
        found, message = load_or_refuse(path)
        if message is None:
            expected = outputs(models["network"], samples)
            np.testing.assert_array_equal(outputs(found, samples), expected)
        else:
            assert str(path) in message


NUMPY_SCALARS = [np.float32(0.1), np.int8(-3), np.bool_(True), np.str_("a"), np.float64("nan")]
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(
        [np.float32(0.1), np.int8(-3), np.bool_(True), np.str_("a"), np.float64("nan")]
    ),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def refuse(value):
    raise TypeError


class TestEncoding:
    @given(plain)
    def test_plain_values_come_back_as_they_are(self, value):
        arrays = []
        content = json.loads(archive.to_json(encode(value, arrays, refuse)))
        found = decode(content, arrays, {})
        assert repr(found) == repr(value)

    @pytest.mark.parametrize(
        "array",
        [
            np.arange(6, dtype=">i2").reshape(2, 3),
            np.asfortranarray(np.random.default_rng(0).normal(size=(3, 4))),
            np.zeros((0, 3), np.float32),
            np.array(3.5),
            np.array(["ä", "face"]),
            np.array([np.nan, -0.0, np.inf], np.float16),
        ],
    )
    def test_arrays_come_back_bit_by_bit(self, array):
        found = array_from_bytes(array_to_bytes(array))
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert found.tobytes() == array.tobytes()
        assert found.flags.f_contiguous == array.flags.f_contiguous
        assert found.flags.writeable

    def test_other_arrays_are_refused(self):
        for array in (np.zeros(2, "M8[s]"), np.zeros(2, [("a", int)]), np.array([1j])):
            with pytest.raises(TypeError, match="is none of numbers or text"):
                encode(array, [], refuse)
        with pytest.raises(TypeError):
            encode(np.array([object()], dtype=object), [], refuse)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with an image of two runs, saved as whole numbers."""
    folder = tmp_path_factory.mktemp("study-of-somebody")
    volumes = np.random.default_rng(1).integers(0, 900, (9, 10, 11, 20)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volumes, AFFINE), folder / "bold.nii.gz")
    return folder


class TestTrainingRecord:
    def test_it_tells_what_the_samples_were_but_no_folder(self, study, tmp_path):
        samples = skfmri.NiftiSamples(
            study / "bold.nii.gz", y=list("ab" * 10), groups=np.repeat([1, 2], 10)
        )
        model = make_pipeline(skfmri.NiftiSlabRotator(0, slab=(2, 4)), skfmri.VoxelZScorer())
        path = tmp_path / "model.skfmri"
        save(model.fit(samples), path, samples=samples[:12])
        record = training_record(path)["samples"]
        assert (record["n_volumes"], record["n_groups"], record["n_runs"]) == (12, 2, 2)
        assert record["volumes_per_group"] == {"1": {"a": 5, "b": 5}, "2": {"a": 1, "b": 1}}
        assert record["files"] == [{"name": "bold.nii.gz", "n_volumes": 12}]
        assert record["grid_shape"] == [9, 10, 11]
        np.testing.assert_array_equal(record["affine"], AFFINE)
        assert record["cleaning"] is None
        assert b"study-of-somebody" not in path.read_bytes()
        assert find_training_volumes(path, samples).tolist() == [True] * 12 + [False] * 8

    def test_training_volumes_are_known_in_another_file_of_another_type(
        self, study, models, tmp_path
    ):
        samples = skfmri.NiftiSamples(study / "bold.nii.gz")
        path = tmp_path / "model.skfmri"
        scorer = skfmri.VoxelZScorer().fit(samples)
        save(scorer, path, samples=samples[[3, 7]])
        data = nibabel.load(study / "bold.nii.gz").get_fdata()[..., ::-1]
        data[0, 0, 0, 16] += 1  # volume 3 of the original
        copied = nibabel.Nifti1Image(data.astype(np.float64), AFFINE)
        nibabel.save(copied, tmp_path / "renamed.nii")
        found = find_training_volumes(path, tmp_path / "renamed.nii")
        assert np.flatnonzero(found).tolist() == [12]

    def test_the_sign_of_zero_and_the_order_in_memory_hide_no_volume(self, tmp_path):
        volumes = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32)
        volumes[:, 1] = 0
        path = tmp_path / "model.skfmri"
        samples = skfmri.NiftiSamples.from_array(volumes, AFFINE)
        save(skfmri.VoxelZScorer().fit(samples), path, samples=samples)
        copied = np.asfortranarray(np.where(volumes == 0, np.float32(-0.0), volumes))
        assert find_training_volumes(path, skfmri.NiftiSamples.from_array(copied, AFFINE)).all()

    def test_volumes_of_cleaned_runs_are_known_before_and_after_cleaning(self, study, tmp_path):
        raw = skfmri.NiftiSamples(study / "bold.nii.gz")
        cleaned = skfmri.clean_runs(raw, high_pass=0.02, t_r=2.5)[2:9]
        path = tmp_path / "model.skfmri"
        save(skfmri.VoxelZScorer().fit(cleaned), path, samples=cleaned)
        assert training_record(path)["samples"]["cleaning"] == {
            "detrend": True,
            "standardize": True,
            "high_pass": 0.02,
            "t_r": [2.5],
            "confounds": False,
            "sample_masks": False,
        }
        how = "each run by clean_runs with detrend, standardize, high_pass=0.02 Hz with t_r=2.5 s"
        assert f"cleaning: {how}" in model_card(path)
        expected = np.isin(range(20), range(2, 9))
        np.testing.assert_array_equal(find_training_volumes(path, raw), expected)
        as_files = skfmri.NiftiSamples.from_array(np.asarray(cleaned), AFFINE)
        assert find_training_volumes(path, as_files).all()
        untouched = skfmri.clean_runs(raw, detrend=False, standardize=False)
        np.testing.assert_array_equal(find_training_volumes(path, untouched), expected)

    def test_a_model_without_samples_does_not_know_them(self, models, study, tmp_path):
        save(models["linear"], tmp_path / "model.skfmri")
        assert training_record(tmp_path / "model.skfmri") == {"samples": None, "result": None}
        with pytest.raises(ValueError, match=r"Save the model again with save\(..., samples=\)"):
            find_training_volumes(tmp_path / "model.skfmri", study / "bold.nii.gz")
        assert "Not told: the model was saved without `samples`" in model_card(
            tmp_path / "model.skfmri"
        )

    def test_samples_of_another_study_are_refused(self, models, samples, tmp_path):
        volumes = np.asarray(samples)
        other = skfmri.NiftiSamples.from_array(volumes, 2 * AFFINE, y=samples.y)
        with pytest.raises(ValueError, match=r"samples has the affine .* but the model has"):
            save(models["linear"], tmp_path / "model.skfmri", samples=other)
        other = skfmri.NiftiSamples.from_array(volumes, AFFINE, y=["cat", "dog"] * 12)
        with pytest.raises(ValueError, match="class 'dog' is only in the samples or only in"):
            save(models["linear"], tmp_path / "model.skfmri", samples=other)


@pytest.fixture(scope="module")
def card(models, samples, tmp_path_factory):
    path = tmp_path_factory.mktemp("card") / "model.skfmri"
    result = skfmri.evaluate_decoder(models["linear"], samples, baseline=None, random_state=0)
    save(models["linear"], path, samples=samples, result=result)
    return path, result


class TestModelCard:
    def test_it_tells_scores_data_settings_and_versions(self, card):
        path, result = card
        text = model_card(path)
        row = result.summary.iloc[0]
        numbers = f"{row['score']:.3f} | {row['low']:.3f} to {row['high']:.3f} | 0.500"
        assert f"| decoder | accuracy | {numbers} |" in text
        assert "in 3 folds that hold out whole groups, of which there are 3" in text
        assert "24 volumes of 9 x 10 x 11 voxels of 3 x 3 x 3 mm, in 3 groups" in text
        assert "volumes per class: cat 12, house 12" in text
        assert "groups: s1, s2, s3" in text
        assert "slab: NiftiSlabRotator(angle=0.1, " in text
        assert "linear: LogisticRegression(C=1.0, " in text
        assert f"skfmri {skfmri.__version__}, scikit-learn " in text
        assert 'skfmri.load("FILE")' in text
        record = training_record(path)["result"]
        assert record["summary"][0]["score"] == row["score"]
        assert record["sentences"] == result.sentences()

    def test_it_lies_in_the_file_as_its_readme(self, card):
        assert parts(card[0])["README.md"].decode() == model_card(card[0])

    def test_groups_that_stopped_the_training_are_named(self, saved, models):
        name = models["network"].validation_groups_[0]
        expected = f"of these held out, to find the epoch to stop at: groups {name}"
        assert expected in model_card(saved / "network.skfmri")

    def test_names_cannot_break_its_tables(self, tmp_path):
        X, y = np.zeros((4, 3, 4, 5)), np.array(["a|b", "`c` *d*"] * 2)
        samples = skfmri.NiftiSamples.from_array(X, AFFINE, y=y, groups=["<b>", "[x](y)"] * 2)
        save(skfmri.VoxelZScorer().fit(samples), tmp_path / "model.skfmri", samples=samples)
        text = model_card(tmp_path / "model.skfmri")
        assert r"\`c\` \*d\* 2, a\|b 2" in text
        assert r"groups: \<b\>, \[x\](y)" in text
