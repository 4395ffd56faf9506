import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from sklearn import config_context
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    RandomizedSearchCV,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from skfmri.evaluation import fit_search
from skfmri.model_selection import RepeatedGroupKFold
from skfmri.samples import NiftiSamples

TIMES = ("mean_fit_time", "std_fit_time", "mean_score_time", "std_score_time")


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 3)), np.tile(["a", "b"], 30)
    X[y == "a"] += 0.5
    return X, y, np.arange(60) // 10


@pytest.fixture
def path(tmp_path):
    return tmp_path / "search.jsonl"


@pytest.fixture
def counted():
    """A tree that notes each fit and is killed in one of them, its notes, and which one."""
    fits, limit = [], [None]

    class Counted(DecisionTreeClassifier):
        def fit(self, X, y, sample_weight=None):
            fits.append(self.max_depth)
            if len(fits) == limit[0]:
                raise KeyboardInterrupt
            return super().fit(X, y, sample_weight)

    return Counted(random_state=0), fits, limit


def results(search):
    return {
        name: values.tolist()
        for name, values in search.cv_results_.items()
        if name not in TIMES and name != "params"
    }


SEARCHES = {
    "grid": GridSearchCV(LogisticRegression(), {"C": [0.01, 1, 100]}, cv=GroupKFold(3)),
    "several metrics": GridSearchCV(
        LogisticRegression(),
        {"C": [0.01, 1]},
        scoring=["accuracy", "roc_auc", "neg_log_loss"],
        refit="roc_auc",
        return_train_score=True,
        cv=GroupKFold(3),
    ),
    "decision function": GridSearchCV(
        LinearSVC(), {"C": [1, 2]}, scoring="roc_auc", cv=GroupKFold(2)
    ),
    "pipeline": GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression()),
        {"logisticregression__C": [1, 2], "standardscaler": [None, "passthrough"]},
        cv=GroupKFold(2),
    ),
    "random": RandomizedSearchCV(
        LogisticRegression(), {"C": [1, 2, 3, 4]}, n_iter=2, random_state=0, cv=GroupKFold(2)
    ),
    "halving": HalvingGridSearchCV(
        LogisticRegression(), {"C": [0.1, 1, 2, 3]}, random_state=0, cv=GroupKFold(2)
    ),
    "workers": GridSearchCV(LogisticRegression(), {"C": [1, 2]}, cv=GroupKFold(3), n_jobs=2),
    "no refit": GridSearchCV(LogisticRegression(), {"C": [1, 2]}, cv=GroupKFold(3), refit=False),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_finds_what_it_finds_without_a_ledger_and_again_from_it(problem, path, name):
    X, y, groups = problem
    search = SEARCHES[name]
    expected = search.fit(X, y, groups=groups)
    expected_results = results(expected)
    probe = getattr(search, "best_estimator_", None) and search.predict(X).tolist()
    estimator = search.estimator
    for _ in range(2):
        assert fit_search(search, X, y, groups=groups, ledger=path) is search
        assert results(search) == expected_results
        assert search.estimator is estimator
        if probe:
            assert type(search.best_estimator_) is type(estimator)
            assert search.predict(X).tolist() == probe
        assert b"_Recorded" not in pickle.dumps(search)


@pytest.mark.parametrize("stop_at", range(1, 8))
def test_what_is_done_is_not_done_again(problem, counted, path, stop_at):
    X, y, groups = problem
    tree, fits, limit = counted
    search = GridSearchCV(tree, {"max_depth": [1, 2]}, cv=GroupKFold(3))
    expected = results(search.fit(X, y, groups=groups))
    del fits[:]
    limit[0] = stop_at
    with pytest.raises(KeyboardInterrupt):
        fit_search(search, X, y, groups=groups, ledger=path)
    assert search.estimator is tree
    limit[0] = None
    fit_search(search, X, y, groups=groups, ledger=path)
    assert results(search) == expected
    assert len(fits) == 8


def test_routing_on_gives_what_routing_off_gives(problem, tmp_path):
    X, y, groups = problem
    search = GridSearchCV(LogisticRegression(), {"C": [0.01, 1]}, cv=GroupKFold(3))
    off = results(fit_search(search, X, y, groups=groups, ledger=tmp_path / "off"))
    with config_context(enable_metadata_routing=True):
        on = results(fit_search(search, X, y, groups=groups, ledger=tmp_path / "on"))
    assert on == off


def test_weights_are_part_of_what_was_done(problem, path):
    X, y, groups = problem
    search = GridSearchCV(LogisticRegression(), {"C": [1]}, cv=GroupKFold(3))
    weights = np.linspace(0.1, 1, 60)
    fit_search(search, X, y, groups=groups, ledger=path, sample_weight=weights)
    with pytest.raises(ValueError, match="fit parameters is"):
        fit_search(search, X, y, groups=groups, ledger=path)


def test_samples_find_their_groups_by_themselves(problem, path):
    _, y, groups = problem
    volumes = np.random.default_rng(0).normal(size=(60, 3, 2, 2))
    samples = NiftiSamples.from_array(volumes, np.eye(4), y=y, groups=groups)
    pipeline = Pipeline([("tree", FirstVoxel())])
    cv = RepeatedGroupKFold(3, n_repeats=2, random_state=0)
    search = GridSearchCV(pipeline, {"tree__sign": [1, -1]}, cv=cv)
    expected = results(search.fit(samples, samples.y))
    for _ in range(2):
        assert results(fit_search(search, samples, samples.y, ledger=path)) == expected


class FirstVoxel(LogisticRegression):
    """Decide by the sign of one voxel."""

    def __init__(self, sign=1):
        super().__init__()
        self.sign = sign

    def fit(self, X, y):
        return super().fit(self.sign * np.asarray(X)[:, 0, 0], y)

    def predict(self, X):
        return super().predict(self.sign * np.asarray(X)[:, 0, 0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": {"C": [1, 3]}}, r"param_grid is \{'C': \[1, 3\]\} here and .*\[1, 2\]"),
        ({"shift": 1}, "samples is"),
        ({"estimator": LogisticRegression(max_iter=7)}, "max_iter is 7 here and 100 there"),
    ],
)
def test_a_ledger_of_another_search_is_refused(problem, path, change, message):
    X, y, groups = problem

    def fit(estimator=None, grid=None, shift=0):
        search = GridSearchCV(
            estimator or LogisticRegression(), grid or {"C": [1, 2]}, cv=GroupKFold(2)
        )
        return fit_search(search, X + shift, y, groups=groups, ledger=path)

    fit()
    with pytest.raises(ValueError, match=message):
        fit(**change)


SCRIPT = """
import sys
import numpy as np
from sklearn.model_selection import GridSearchCV, GroupKFold
from skfmri import SlabCNNClassifier
from skfmri.evaluation import fit_search

rng = np.random.default_rng(0)
X, y = rng.normal(size=(36, 6, 7, 3)).astype("float32"), np.arange(36) % 2
network = SlabCNNClassifier(
    2, n_blocks=1, dense_units=(4,), batch_size=8, epochs=40, random_state=0
)
search = GridSearchCV(network, {"dropout": [0.0, 0.5]}, cv=GroupKFold(3), scoring="neg_log_loss")
fit_search(search, X, y, groups=np.arange(36) // 6, ledger=sys.argv[1])
np.save(sys.argv[2], [search.cv_results_[f"split{i}_test_score"] for i in range(3)])
"""


def test_a_search_killed_twice_ends_with_the_same_scores(tmp_path):
    (tmp_path / "run.py").write_text(SCRIPT)

    def start(name):
        command = [sys.executable, str(tmp_path / "run.py"), str(tmp_path / name)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen([*command, str(tmp_path / f"{name}.npy")], env=environment)

    assert start("whole").wait() == 0
    for n_lines in (3, 7):
        process = start("killed")
        while process.poll() is None and count_lines(tmp_path / "killed") < n_lines:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert start("killed").wait() == 0
    scores = [np.load(tmp_path / f"{name}.npy") for name in ("whole", "killed")]
    assert scores[0].tolist() == scores[1].tolist()


def count_lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0
