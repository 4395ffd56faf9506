"""Data and fitted estimators shared by several test modules."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.undrawn import undrawn_pictures

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Processes that tests start import the package that is installed, as the tests do, not the checkout
# they are started from, where nothing was compiled.
os.environ["PYTHONSAFEPATH"] = "1"

TINY = {"filters": 2, "n_blocks": 1, "dense_units": (4,), "batch_size": 8, "epochs": 3}


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_session(tmp_path_factory):
    """Keep what tests store out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SKFMRI_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny():
    """Parameters of a network that is quick to build; sharing them shares the compiled network."""
    return dict(TINY)


@pytest.fixture(scope="session")
def slabs():
    """Slabs (20, 6, 7, 3), float32, and labels of three classes of 7, 7 and 6 samples."""
    rng = np.random.default_rng(0)
    y = np.array(["cat", "face", "house"])[np.arange(20) % 3]
    X = rng.normal(size=(20, 6, 7, 3)).astype(np.float32)
    X[y == "face", 1:4, 2:4] += 1
    X[y == "house", 3:6, 4:6] += 1
    X.setflags(write=False)
    return X, y


@pytest.fixture(scope="session")
def fitted_slab_decoder(slabs, tiny):
    """A trained SlabCNNClassifier with random_state=0; do not change it."""
    from skfmri import SlabCNNClassifier

    return SlabCNNClassifier(random_state=0, **tiny).fit(*slabs)


@pytest.fixture
def undrawn():
    """Leave the pictures of reports out, for tests of what else a run does."""
    with undrawn_pictures():
        yield


@pytest.fixture(scope="session")
def real_data():
    """The folder of real data; tests that need it are skipped where there is none."""
    if "SKFMRI_DATA" not in os.environ:
        pytest.skip("SKFMRI_DATA names no folder of real data")
    return Path(os.environ["SKFMRI_DATA"])
