import io
import json
import os
import re
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import skfmri
from skfmri.evaluation.encoding import array_from_bytes, array_to_bytes
from skfmri.persistence import archive, load, save
from skfmri.persistence.estimators import ESTIMATORS

PAGE = Path(__file__).parents[2] / "docs" / "saving.rst"


class TestWhatCanBeSaved:
    @pytest.mark.parametrize("n_targets", [None, 1, 2])
    @pytest.mark.parametrize("model", [skfmri.MultiscaleRidgeRegressor(), Ridge(), RidgeCV()])
    def test_a_linear_regressor_without_steps_before_it(self, model, n_targets, tmp_path):
        rng = np.random.default_rng(0)
        shape = (5, 4, 3) if isinstance(model, skfmri.MultiscaleRidgeRegressor) else (5,)
        X = rng.normal(size=(12, *shape))
        y = rng.normal(size=12 if n_targets is None else (12, n_targets))
        groups = {"groups": np.arange(12)} if len(shape) > 1 else {}
        save(model.fit(X, y, **groups), tmp_path / "model.skfmri")
        loaded = load(tmp_path / "model.skfmri")
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))

    @pytest.mark.parametrize(
        ("model", "message"),
        [
            (make_pipeline(SelectKBest(), LogisticRegression()), r"SelectKBest cannot be saved"),
            (GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2), r"Of a search, save best_est"),
            (
                make_pipeline(FunctionTransformer(lambda X: X), LogisticRegression()),
                r"FunctionTransformer.func cannot be saved. .*function is not among the values",
            ),
        ],
    )
    def test_anything_else_is_refused_by_name(self, model, message, tmp_path):
        X, y = np.random.default_rng(0).normal(size=(8, 12)), [0, 1] * 4
        with pytest.raises(ValueError, match=message):
            save(model.fit(X, y), tmp_path / "model.skfmri")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("name", sorted(ESTIMATORS.keys() - {"FunctionTransformer"}))
    def test_the_documentation_names_it(self, name):
        texts = [save.__doc__]
        if PAGE.exists():
            texts.append(PAGE.read_text(encoding="utf-8"))
        for text in texts:
            assert re.search(rf"`(~skfmri\.)?{name}`", text)

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

    def test_what_no_prediction_needs_is_left_out_with_a_warning(
        self, saved, samples, tmp_path, outputs
    ):
        model = load(saved / "network.skfmri")
        model.set_params(
            validation=KFold(3),
            memory=str(tmp_path / "secret-folder"),
            cnn__callbacks=[keras.callbacks.TerminateOnNaN()],
            cnn__random_state=np.random.RandomState(0),
        )
        names = "Not saved.*Pipeline.memory.*SlabCNNClassifier.callbacks.*random_state.*validation"
        with pytest.warns(UserWarning, match=names):
            save(model, tmp_path / "model.skfmri", samples=samples)
        assert b"secret-folder" not in (tmp_path / "model.skfmri").read_bytes()
        found = load(tmp_path / "model.skfmri")
        assert found.validation is found.memory is found["cnn"].callbacks is None
        assert found["cnn"].random_state is None
        np.testing.assert_array_equal(outputs(found, samples), outputs(model, samples))


class TestOwnNetworks:
    def test_the_class_must_be_handed_over(self, saved, models, samples, outputs, narrow):
        with pytest.raises(ValueError, match=r"'Narrow' of the module .*classes=\[Narrow\]"):
            load(saved / "own.skfmri")
        loaded = load(saved / "own.skfmri", classes=[narrow])
        assert type(loaded["cnn"]) is narrow
        np.testing.assert_array_equal(outputs(loaded, samples), outputs(models["own"], samples))

    def test_classes_that_are_no_networks_or_share_a_name_are_refused(self, saved, narrow):
        with pytest.raises(TypeError, match="is not a subclass of SlabCNNClassifier"):
            load(saved / "own.skfmri", classes=[LogisticRegression])
        other = type("Narrow", (skfmri.VolumeCNNClassifier,), {})
        with pytest.raises(ValueError, match="two classes called Narrow"):
            load(saved / "own.skfmri", classes=[narrow, other])

    def test_code_that_has_changed_since_is_noticed(self, saved, narrow):
        def wider(input_shape, n_classes, *, units):
            return narrow.network_function(input_shape, n_classes, units=(9, *units))

        changed = type("Narrow", (narrow,), {"network_function": staticmethod(wider)})
        with pytest.raises(ValueError, match=r"weights do not fit the network of Narrow.*changed"):
            load(saved / "own.skfmri", classes=[changed])

    def test_attributes_of_its_own_are_kept_or_refused(self, slabs, tmp_path, narrow):
        class Noting(narrow):
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

    def test_a_class_that_does_not_come_back_is_refused(self, slabs, tmp_path, narrow):
        class Doubling(narrow):
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


def function_in_a_pipeline(name):
    """Return a pipeline of one function."""
    function = {"func": {"function": name}}
    step = {"class": "FunctionTransformer", "parameters": function, "fitted": {}}
    steps = [{"tuple": ["function", {"estimator": step}]}]
    return {"class": "Pipeline", "parameters": {"steps": steps}}


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


def set_weights(value):
    """Give every array of floating-point numbers of one row this value."""

    def change(members):
        for name in members:
            if name.startswith("arrays/"):
                array = array_from_bytes(members[name])
                if array.dtype == np.float32 and array.ndim == 1:
                    members[name] = array_to_bytes(np.full_like(array, value))

    return change


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
        change_json(lambda content: content.update(function_in_a_pipeline("os.system"))),
        "'os.system' is not known",
    ),
    "a function where none belongs": (
        set_in(0, "parameters", "axis", {"function": "_flatten"}),
        r"described by \['function'\], but it must have exactly one of",
    ),
    "a folder for memory": (
        change_json(lambda content: content["parameters"].update(memory="/tmp/planted")),
        r"memory='/tmp/planted' of DecodingPipeline.*no path in a file.*set_params\(memory=",
    ),
    "an unknown kind of value": (
        set_in(2, "parameters", "epochs", {"pickle": "gASV"}),
        r"described by \['pickle'\], but it must have exactly one of",
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
        "VoxelZScorer cannot have an attribute 'transform'",
    ),
    "an attribute of Python itself": (
        set_in(1, "fitted", "__class__", 1),
        "cannot have an attribute '__class__'",
    ),
    "no attributes at all": (
        change_json(lambda content: step(content, 1).update({"fitted": {}})),
        "not fitted",
    ),
    "a network of another size": (
        set_in(2, "parameters", "filters", 10**6),
        "weights do not fit the network of SlabCNNClassifier: their shapes are .*1000000",
    ),
    "a network of endless blocks": (
        set_in(2, "parameters", "n_blocks", 2**31),
        r"weights do not fit .* SlabCNNClassifier: there are \d+ arrays of them for 214748364\d",
    ),
    "a network of endless layers": (
        set_in(2, "parameters", "dense_units", {"tuple": [1] * 10**5}),
        r"\d+ arrays of them for 10000\d convolution blocks and dense layers",
    ),
    "no members": (set_in(2, "fitted", "_members", {"tuple": []}), "there are 0 arrays of them"),
    "weights of another shape": (cut_weights, "weights do not fit the network"),
    "weights that are not numbers": (
        set_weights(np.nan),
        "weights of SlabCNNClassifier are not all finite, .* lower learning_rate",
    ),
    "classes that occur twice": (
        set_in(2, "fitted", "classes_", {"array": 0}),
        r"The classes of a network of 2 outputs have the shape",
    ),
    "another number of features": (
        set_in(2, "fitted", "n_features_in_", 3),
        "SlabCNNClassifier in it cannot be used: ValueError: its n_features_in_ is 3, not 9",
    ),
    "a step that takes something else": (
        set_in(1, "fitted", "mean_", {"array": 0}),
        "VoxelZScorer in it cannot be used: ValueError.*the file was altered: copy it again",
    ),
    "a grid that no scan has": (
        set_in(0, "fitted", "grid_shape_", {"tuple": [2**31] * 3}),
        r"a grid of the shape \(2147483648, .*at most 134217728 voxels",
    ),
    "a slab that is not its box": (
        set_in(0, "fitted", "slab_shape_", {"tuple": [2, 3, 4]}),
        "Its slab has 2 x 3 x 4 voxels, but lies in a box of",
    ),
    "Python objects in an array": (
        object_array,
        "arrays/0000.npy is not an array: holds values of",
    ),
    "an array larger than the file": (huge_array, "has 0 bytes for an array of float64 and shape"),
    "no array": (lambda m: m.update({"arrays/0000.npy": b"?"}), "arrays/0000.npy is not an array"),
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
        self, data, saved, tmp_path_factory, load_or_refuse
    ):
        path = tmp_path_factory.mktemp("altered") / "model.skfmri"

        def edit(content):
            places = list(walk(content))
            holder, key = data.draw(st.sampled_from(places))
            holder[key] = data.draw(st.sampled_from([None, -1, 3, "x", [], {}, 0.5, holder]))

        try:
            altered(saved / "linear.skfmri", path, change_json(edit))
        except ValueError:
            return  # a holder inside itself cannot be written as JSON
        message = load_or_refuse(path)[1]
        assert message is None or str(path) in message


def walk(content):
    """Yield every place of a value in JSON."""
    keys = content if isinstance(content, dict) else range(len(content))
    for key in list(keys):
        yield content, key
        if isinstance(content[key], dict | list):
            yield from walk(content[key])
