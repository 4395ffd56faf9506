"""Saved models shared by the tests of this room."""

import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.model_selection import GroupShuffleSplit
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

import skfmri
from skfmri.evaluation import linear_baseline
from skfmri.networks import convolutional_network
from skfmri.persistence import load, save

AFFINE = np.array([[-3.0, 0, 0, 12], [0, 3, 0, -13], [0, 0, 3, -15], [0, 0, 0, 1]])


def narrow_network(input_shape, n_classes, *, units=(3,)):
    return convolutional_network(input_shape, n_classes, filters=2, n_blocks=1, dense_units=units)


class Narrow(skfmri.SlabCNNClassifier):
    """Has a parameter of its own, and does not hand on all of its parents'."""

    network_function = staticmethod(narrow_network)

    def __init__(self, units=(3,), epochs=2, random_state=None):
        super().__init__(epochs=epochs, batch_size=8, random_state=random_state)
        self.units = units


@pytest.fixture(scope="session")
def samples():
    rng = np.random.default_rng(0)
    y = np.array(["cat", "house"])[np.arange(24) % 2]
    volumes = rng.normal(100, 9, size=(24, 9, 10, 11)).astype(np.float32)
    volumes[y == "house", 3:6, 3:7, 2:9] += 20
    return skfmri.NiftiSamples.from_array(
        volumes, AFFINE, y=y, groups=np.repeat(["s1", "s2", "s3"], 8)
    )


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def saved(models, samples, tmp_path_factory):
    """The folder with all of these models as files."""
    folder = tmp_path_factory.mktemp("saved")
    for name, model in models.items():
        save(model, folder / f"{name}.skfmri", samples=samples)
    return folder


@pytest.fixture(scope="session")
def narrow():
    """The class of the user's network among these models."""
    return Narrow


@pytest.fixture(scope="session")
def outputs():
    """Function of a model and samples: what it says about them."""

    def function(model, samples):
        return getattr(model, "predict_proba", getattr(model, "decision_function", None))(samples)

    return function


@pytest.fixture(scope="session")
def load_or_refuse():
    """Function of a path: the model and None, or None and the message of the error."""

    def function(path):
        try:
            return load(path), None
        except ValueError as error:
            return None, str(error)

    return function
