import os
import signal
from unittest import mock

import joblib
import nibabel
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline

from skfmri import NiftiSamples, NiftiSlabRotator, SlabCNNClassifier, VoxelZScorer
from skfmri.evaluation import evaluate_decoder

BACKENDS = ("loky", "threading", "dask")


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    rng = np.random.default_rng(0)
    y = np.tile(["cat", "dog"], 12)
    # As float64 they take more than is decoded at each read.
    volumes = rng.normal(10, 1, size=(24, 7, 8, 9))
    volumes[y == "dog", 2:5, 2:6, 2:6] += 0.6
    path = tmp_path_factory.mktemp("study") / "bold.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.moveaxis(volumes, 0, -1), np.eye(4)), path)
    return NiftiSamples(path, y=y, groups=np.repeat([1, 2, 3, 4], 6))


@pytest.fixture(scope="module")
def pipeline(tiny):
    rotator = NiftiSlabRotator(angle=0.1, slab=(2, 5))
    return make_pipeline(
        rotator, VoxelZScorer(), SlabCNNClassifier(**tiny, linear_path=1.0, random_state=0)
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A directory for decoded copies that workers started from here use too."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SKFMRI_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def cluster(cache):
    distributed = pytest.importorskip("distributed", reason="needs the extra skfmri[distributed]")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        # Dask sets OMP_NUM_THREADS for its workers in this process too, and leaves it there.
        mock.patch.dict(os.environ),
        distributed.LocalCluster(**options, host="127.0.0.1") as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def backend(request):
    if request.param == "dask":
        request.getfixturevalue("cluster")
    with joblib.parallel_config(backend=request.param, n_jobs=2):
        yield request.param


def cross_validate(pipeline, samples):
    options = {"groups": samples.groups, "cv": GroupKFold(4)}
    return cross_val_score(pipeline, samples, samples.y, **options).tolist()


def search(pipeline, samples):
    grid = {"slabcnnclassifier__filters": [1, 2]}
    found = GridSearchCV(pipeline, grid, cv=GroupKFold(2), refit=False)
    found.fit(samples, samples.y, groups=samples.groups)
    return found.cv_results_["mean_test_score"].tolist()


def evaluate(pipeline, samples, **options):
    result = evaluate_decoder(pipeline, samples, random_state=0, **options)
    return [result.folds["accuracy"].tolist(), result.sentences()]


@pytest.fixture(scope="module")
def serial(pipeline, samples, cache):
    """What each gives without any scheduler; of the module, so that none is set up yet."""
    return {work: work(pipeline, samples) for work in (cross_validate, search, evaluate)}


@pytest.mark.parametrize("work", [cross_validate, search, evaluate])
@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_all_schedulers_give_the_same_scores(pipeline, samples, backend, work, serial):
    assert work(pipeline, samples) == serial[work]
    assert 0.5 < np.mean(serial[cross_validate]) < 1


def test_workers_of_a_cluster_decode_the_file_once(samples, pipeline, cache, cluster):
    with joblib.parallel_config(backend="dask"):
        cross_validate(pipeline, samples)
    copies = [path for path in cache.rglob("*") if path.is_file() and path.stat().st_size > 20_000]
    assert len(copies) == 1
    assert len(set(cluster.run(os.getpid).values()) - {os.getpid()}) == 2


def test_tasks_carry_no_volumes(samples, pipeline, cluster):
    """What a scheduler gets to see of a task is what its pickle holds."""
    cloudpickle = pytest.importorskip("cloudpickle")
    n_bytes = len(cloudpickle.dumps((pipeline, samples, samples.y)))
    assert n_bytes < 10_000 < np.asarray(samples).nbytes / 4


def test_a_run_ends_right_when_a_worker_is_killed(samples, pipeline, cluster, serial, tmp_path):
    killed = []

    def kill_a_worker(row):
        if not killed:
            killed.append(next(iter(cluster.run(os.getpid).values())))
            os.kill(killed[0], signal.SIGKILL)

    with joblib.parallel_config(backend="dask"):
        ledger = tmp_path / "run.jsonl"
        found = evaluate(pipeline, samples, ledger=ledger, on_fold=kill_a_worker)
    assert killed
    assert killed[0] not in cluster.run(os.getpid).values()
    assert found == serial[evaluate]
