"""What a file from a stranger can make happen, by any parameter that it may set."""

import copy
import inspect
import sys
import warnings

import nibabel
import numpy as np
import pytest
from sklearn.base import clone, is_regressor
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from skfmri.estimators import (
    MultiscaleRidgeClassifier,
    MultiscaleRidgeRegressor,
    SlabCNNRegressor,
    VolumeCNNRegressor,
)
from skfmri.persistence import estimators
from skfmri.persistence.estimators import ESTIMATORS, from_plain, to_plain
from skfmri.persistence.objects import SPLITTERS, find_class
from skfmri.persistence.parameters import SCIKIT_LEARN
from skfmri.preprocessing import NiftiSlabRotator

# Parameters of skfmri's own classes that were looked through: none names a file or code, but for
# `memory`, which is refused, and `mask`, of which only an image is taken.
OURS = {
    *("alphas", "angle", "axis", "batch_norm_momentum", "batch_size", "callbacks"),
    *("class_weight", "crop", "dense_batch_norm", "dense_units", "dropout", "epochs", "filters"),
    *("frozen", "initial_weights"),
    *("interpolation", "kernel_size", "label", "learning_rate", "linear_path", "loss", "mask"),
    "mean_threshold",
    *("memory", "n_blocks", "n_jobs", "n_members", "n_repeats", "n_splits", "optimizer"),
    *("padding", "patience", "pool_size", "random_state", "refit", "scales", "slab"),
    *("slab_reference", "std_threshold", "steps", "strides", "transform_input", "undersample"),
    *("validation", "verbose"),
}
MARKER = "planted_by_a_stranger"
heard = []


def listen(event, args):
    if any(MARKER in arg for arg in args if isinstance(arg, str)):
        heard.append((event, args))


# It cannot be taken away again, and hears nothing that does not name the marker.
sys.addaudithook(listen)


def parameters_of(table):
    return [
        (name, parameter)
        for name in table
        for parameter in inspect.signature(find_class(table, name)).parameters
    ]


@pytest.mark.parametrize("table", [ESTIMATORS, SPLITTERS])
def test_every_parameter_that_a_file_may_set_was_looked_through(table):
    for name, parameter in parameters_of(table):
        is_ours = table[name].startswith("skfmri.")
        assert parameter in (OURS if is_ours else SCIKIT_LEARN), f"look through {name}.{parameter}"


@pytest.fixture(scope="module")
def fitted(models, samples):
    """A fitted estimator of each class, with samples to fit it on again."""
    slabs = models["network"][:-1].transform(samples)
    rows = slabs.reshape(len(slabs), -1)
    network, machine = models["network"], models["machine"]
    tiny = {"filters": 2, "n_blocks": 1, "dense_units": (4,), "epochs": 1, "random_state": 0}
    volumes, numbers = np.asarray(samples), np.arange(len(rows), dtype=float)
    return {
        "DecodingPipeline": (network, samples),
        "MultiscaleRidgeClassifier": (MultiscaleRidgeClassifier().fit(slabs, samples.y), slabs),
        "NiftiSlabRotator": (network["slab"], samples),
        "VoxelZScorer": (network["zscore"], slabs),
        "SlabCNNClassifier": (network["cnn"], slabs),
        "VolumeCNNClassifier": (models["volumes"]["cnn"], volumes),
        "MultiscaleRidgeRegressor": (MultiscaleRidgeRegressor().fit(slabs, numbers), slabs),
        "SlabCNNRegressor": (SlabCNNRegressor(**tiny).fit(slabs, numbers), slabs),
        "VolumeCNNRegressor": (VolumeCNNRegressor(**tiny).fit(volumes, numbers), volumes),
        "Ridge": (Ridge().fit(rows, numbers), rows),
        "RidgeCV": (RidgeCV().fit(rows, numbers), rows),
        "Pipeline": (clone(Pipeline(machine.steps[2:])).fit(rows, samples.y), rows),
        "FunctionTransformer": (FunctionTransformer().fit(rows), rows),
        "LogisticRegression": (models["linear"][-1], rows),
        "StandardScaler": (machine["standardscaler"], rows),
        "PCA": (machine["pca"], rows),
        "LinearSVC": (machine["linearsvc"], rows[:, :5]),
    }


def hostile_values(folder):
    """Return paths and names of code, as a file may describe them."""
    described = {"module": MARKER, "class_name": "Run", "registered_name": f"{MARKER}>Run"}
    return [
        str(folder),
        f"{MARKER}:run",
        f"{MARKER}.run",
        {"dict": [*map(list, {**described, "config": {"dict": []}}.items())]},
    ]


def use(content, arrays, X, y=None):
    """Do with a model all that its user may; whatever is refused is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = from_plain(content, arrays)
            if y is not None:
                model.fit(X, y)
            model.transform(X) if hasattr(model, "transform") else model.predict(X)
        except Exception:  # any refusal will do
            pass


def set_and_use(name, parameter, fitted, folder, y):
    model, X = fitted[name]
    y = np.arange(len(y), dtype=float) if is_regressor(model) else y
    content, arrays, _ = to_plain(model)
    for value in hostile_values(folder):
        altered = copy.deepcopy(content)
        altered["parameters"][parameter] = value
        use(altered, arrays, X, y)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = tmp_path / MARKER
    folder.mkdir()
    # A pipeline's `memory` is a folder that joblib makes, and some values are relative paths.
    monkeypatch.chdir(tmp_path)
    heard.clear()
    return folder


@pytest.mark.parametrize("name", ESTIMATORS)
def test_no_parameter_reaches_a_file_or_a_module_that_the_model_names(
    name, fitted, samples, folder, monkeypatch
):
    # The epochs themselves, which take long, are left out.
    monkeypatch.setattr("skfmri.networks.recipe.train", None)
    for parameter in inspect.signature(find_class(ESTIMATORS, name)).parameters:
        set_and_use(name, parameter, fitted, folder, samples.y)
        assert not heard, f"{name}.{parameter} was followed: {heard}"
    assert MARKER not in sys.modules


@pytest.mark.parametrize("name", ESTIMATORS)
def test_no_fitted_attribute_does_either(name, fitted, folder):
    model, X = fitted[name]
    content, arrays, _ = to_plain(model)
    # The last is not saved unless a user has asked for other outputs.
    for attribute in (*content["fitted"], "_sklearn_output_config"):
        for value in hostile_values(folder):
            altered = copy.deepcopy(content)
            altered["fitted"][attribute] = value
            use(altered, arrays, X)
            altered["fitted"][attribute] = {"dict": [["transform", value]]}
            use(altered, arrays, X)
        assert not heard, f"{name}.{attribute} was followed: {heard}"
    assert MARKER not in sys.modules


def test_such_a_parameter_would_be_noticed(fitted, samples, folder, monkeypatch):
    monkeypatch.setattr(estimators, "check_parameter", lambda *_: None)
    set_and_use("Pipeline", "memory", fitted, folder, samples.y)
    assert heard
    assert list(folder.iterdir())


@pytest.mark.parametrize("name", SPLITTERS)
def test_no_parameter_of_a_splitter_does_either(name, fitted, samples, folder):
    content, arrays, _ = to_plain(fitted["DecodingPipeline"][0])
    for parameter in inspect.signature(find_class(SPLITTERS, name)).parameters:
        for value in hostile_values(folder):
            described = {"class": name, "parameters": {parameter: value}}
            content["parameters"]["validation"] = {"splitter": described}
            try:
                splitter = from_plain(content, arrays).validation
                next(splitter.split(samples, samples.y, samples.groups))
            except Exception:  # any refusal will do
                pass
    assert not heard


@pytest.mark.parametrize("name", ["DecodingPipeline", "Pipeline"])
def test_a_folder_for_memory_is_refused_with_the_way_out(name, fitted, folder):
    content, arrays, _ = to_plain(fitted[name][0])
    for value in (str(folder), "", 3, {"scalar": ["U", str(folder)]}, {"dict": []}):
        content["parameters"]["memory"] = value
        with pytest.raises(ValueError, match=rf"memory=.* of {name}.*set_params\(memory=...\)"):
            from_plain(content, arrays)
    assert not heard


@pytest.fixture
def restricted(samples):
    """A rotator whose slab is a region."""
    mask = np.zeros(samples.grid_shape, np.uint8)
    mask[2:5, 3:6, 2:7] = 1
    image = nibabel.Nifti1Image(mask, samples.affine)
    return NiftiSlabRotator(0.1, slab=None, mask=image).fit(samples)


def test_a_path_for_a_mask_is_refused_with_the_way_out(restricted, folder):
    content, arrays, _ = to_plain(restricted)
    nibabel.save(restricted.mask, folder / "mask.nii")
    heard.clear()
    for value in (str(folder / "mask.nii"), {"scalar": ["U", str(folder / "mask.nii")]}, 3):
        content["parameters"]["mask"] = value
        with pytest.raises(ValueError, match=r"mask=.* of NiftiSlabRotator.*writes the region"):
            from_plain(content, arrays)
    assert not heard


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("data", np.ones(3)),
        ("data", np.full((2, 2, 2), "text")),
        ("affine", np.full((4, 4), np.nan)),
        ("affine", np.zeros((4, 4))),
        ("data", np.zeros((2, 2, 2))),
    ],
)
def test_an_altered_image_of_a_mask_is_refused(restricted, name, array):
    content, arrays, _ = to_plain(restricted)
    position = content["parameters"]["mask"]["image"][name]["array"]
    arrays[position] = array
    with pytest.raises(ValueError, match=r"3-D array of numbers|affine of an image in it|is empty"):
        from_plain(content, arrays)


@pytest.mark.parametrize("region", [np.ones((1, 1, 1), bool), None, "all", "none"])
def test_an_altered_region_is_refused(restricted, region):
    content, arrays, _ = to_plain(restricted)
    if isinstance(region, str):
        region = np.full(restricted.slab_shape_, 2 if region == "all" else False)
    content["fitted"]["slab_mask_"] = None if region is None else {"array": len(arrays)}
    with pytest.raises(ValueError, match=r"slab_mask_"):
        from_plain(content, [*arrays, region])


def test_a_parameter_that_a_later_scikit_learn_adds_is_refused(fitted, monkeypatch):
    class PCA(find_class(ESTIMATORS, "PCA")):
        def __init__(self, n_components=None, *, whiten=False, cache=None):
            super().__init__(n_components, whiten=whiten)
            self.cache = cache

    PCA.__module__ = "sklearn.decomposition"
    content, arrays, _ = to_plain(fitted["PCA"][0])
    monkeypatch.setattr("sklearn.decomposition.PCA", PCA)
    from_plain(content, arrays)
    content["parameters"]["cache"] = "/tmp/there"
    with pytest.raises(ValueError, match=r"PCA has a parameter 'cache' that .* does not know"):
        from_plain(content, arrays)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("loss", {"optimizer": {"class": "SGD", "config": {}}}),
        ("callbacks", [{"function": "_flatten"}]),
        ("class_weight", {"estimator": {"class": "PCA", "parameters": {}, "fitted": {}}}),
        ("optimizer", {"loss": {"function": "dice", "keywords": {}}}),
    ],
)
def test_an_object_is_built_only_where_its_kind_belongs(place, value, fitted):
    content, arrays, _ = to_plain(fitted["SlabCNNClassifier"][0])
    content["parameters"][place] = value
    with pytest.raises(
        ValueError, match=r"A value is described by .* but it must have exactly one"
    ):
        from_plain(content, arrays)


def test_a_fitted_attribute_cannot_stand_for_a_parameter(fitted):
    content, arrays, _ = to_plain(fitted["SlabCNNClassifier"][0])
    content["fitted"]["callbacks"] = []
    with pytest.raises(ValueError, match="SlabCNNClassifier cannot have an attribute 'callbacks'"):
        from_plain(content, arrays)


def test_a_file_cannot_ask_for_thousands_of_threads(fitted):
    content, arrays, _ = to_plain(fitted["NiftiSlabRotator"][0])
    content["parameters"]["n_jobs"] = 10**6
    with pytest.raises(ValueError, match="n_jobs=1000000, but a file may ask for at most 1024"):
        from_plain(content, arrays)
