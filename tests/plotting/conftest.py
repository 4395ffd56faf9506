"""Small data for all pictures."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier

from skfmri import NiftiSamples

from .images import LAS, SHAPE

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def samples():
    """Volumes of unequal axes on a grid that is stored from right to left."""
    volumes = np.random.default_rng(0).random((8, *SHAPE), dtype=np.float32) + 1
    return NiftiSamples.from_array(volumes, LAS, y=list("abababab"))


@pytest.fixture(scope="module")
def anatomy(samples):
    return samples[0]


@pytest.fixture
def predictions():
    """Two models; 30 predictions of three classes each, with probabilities of the decoder."""
    rng = np.random.default_rng(1)
    labels = np.repeat(["cat", "face", "house"], [14, 10, 6])
    proba = rng.dirichlet([1, 1, 1], 30)
    classes = np.array(["cat", "face", "house"])
    decoder = pd.DataFrame(proba, columns=[f"p_{name}" for name in classes])
    decoder = decoder.assign(model="decoder", label=labels, predicted=classes[proba.argmax(1)])
    dummy = pd.DataFrame({"model": "dummy", "label": labels, "predicted": "cat"})
    return pd.concat([decoder, dummy], ignore_index=True)


@pytest.fixture
def folds():
    """Two models in three folds, of which the last has one score only."""
    return pd.DataFrame(
        {
            "model": ["linear"] * 3 + ["decoder"] * 3,
            "fold": [0, 1, 2] * 2,
            "accuracy": [0.5, 0.7, 0.9, 0.6, 0.8, np.nan],
        }
    )


@pytest.fixture
def curves():
    """Three folds that stop after 4, 3 and 4 epochs."""
    rng = np.random.default_rng(2)
    fold = np.repeat([0, 1, 2], [4, 3, 4])
    epoch = np.concatenate([np.arange(1, 5), np.arange(1, 4), np.arange(1, 5)])
    names = ["loss", "accuracy", "val_loss", "val_accuracy"]
    return pd.DataFrame({"fold": fold, "epoch": epoch} | {name: rng.random(11) for name in names})


@pytest.fixture(scope="module")
def search():
    """A fitted grid search over three parameters; no two scores of one cell are the same."""
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(200, 3)), rng.integers(2, size=200)
    grid = {"max_depth": [10, 2, 4], "splitter": ["best", "random"], "min_samples_leaf": [1, 9]}
    return GridSearchCV(DecisionTreeClassifier(random_state=0), grid, cv=2).fit(X, y)


@pytest.fixture
def subjects():
    """Return scores of three subjects, two models and two metrics."""
    rows = [
        (subject, model, metric, score, score - 0.1, score + 0.1, chance)
        for subject, score, chance in (("01", 0.75, 0.5), ("02", 0.5, 0.6), ("$3", 0.85, 0.5))
        for model in ("decoder", "dummy")
        for metric in ("accuracy", "roc_auc")
    ]
    columns = ["subject", "model", "metric", "score", "low", "high", "chance"]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture
def numbers():
    """Two models; three samples of each of seven groups of one number, predicted twice."""
    rng = np.random.default_rng(4)
    label = np.repeat(rng.uniform(20, 80, 7), 3)
    rows = {"sample": np.arange(21), "group": np.repeat(list("abcdefg"), 3), "label": label}
    repeats = [
        pd.DataFrame({"model": "decoder", "repeat": repeat, **rows}).assign(
            predicted=label + rng.normal(scale=8, size=21)
        )
        for repeat in range(2)
    ]
    dummy = pd.DataFrame({"model": "dummy", "repeat": 0, **rows, "predicted": 51.5})
    return pd.concat([*repeats, dummy], ignore_index=True)
