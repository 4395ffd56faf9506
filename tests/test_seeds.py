"""Bits that a seed determines, in one process or several."""

import os
import subprocess
import sys

import joblib
import numpy as np
import pytest

from skfmri import SlabCNNClassifier
from skfmri.networks.pool import POOL


def weights_of(decoder):
    return decoder.model_.get_weights()


def assert_same_weights(one, other):
    for a, b in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_int_seed_gives_equal_bits_for_a_new_and_a_used_network(slabs, tiny):
    X, y = slabs
    POOL.clear()
    fresh = SlabCNNClassifier(random_state=3, **tiny).fit(X, y)
    SlabCNNClassifier(random_state=4, learning_rate=0.1, **tiny).fit(X, y)
    used = SlabCNNClassifier(random_state=3, **tiny).fit(X, y)
    assert len(POOL) == 1
    assert_same_weights(fresh, used)


def test_seeds_differ_and_none_differs_each_time(slabs, tiny):
    losses = [
        SlabCNNClassifier(random_state=seed, **tiny).fit(*slabs).history_["loss"][-1]
        for seed in (0, 1, None, None)
    ]
    assert len(set(losses)) == 4


def test_dropout_follows_the_seed_and_changes_from_step_to_step(slabs):
    X, y = np.ones((8, 50)), np.arange(8) % 2
    options = {"dense_units": (), "epochs": 3, "batch_size": 8, "optimizer": "sgd"}
    one, other = (
        SlabCNNClassifier(random_state=0, learning_rate=1e-9, **options).fit(X, y) for _ in "ab"
    )
    assert one.history_ == other.history_
    assert len(set(one.history_["loss"])) == 3
    seeds = []
    for random_state in (0, 1):
        SlabCNNClassifier(random_state=random_state, **options).fit(X, y)
        network = POOL.idle_networks()[-1]
        seeds.append(network.model.layers[2].seed_generator.state.numpy()[0])
    assert seeds[0] != seeds[1]


SCRIPT = """
import sys
import joblib, numpy as np
import tensorflow as tf
from sklearn.model_selection import cross_val_score
from skfmri import SlabCNNClassifier

def threads():
    import os
    import skfmri.classifier
    import tensorflow as tf
    config = tf.config.threading
    share = int(os.environ["OMP_NUM_THREADS"])
    found = config.get_intra_op_parallelism_threads(), config.get_inter_op_parallelism_threads()
    return found == (share, share)

if __name__ == "__main__":
    X, y, fitted, tiny = joblib.load(sys.argv[1])
    out = {"predicted": fitted.predict_proba(X)}
    decoder = SlabCNNClassifier(random_state=0, **tiny).fit(X, y)
    out["weights"] = decoder.model_.get_weights()
    if len(sys.argv) == 3:
        joblib.dump(out, sys.argv[2])
        sys.exit()
    out["scores"] = [
        cross_val_score(SlabCNNClassifier(random_state=0, **tiny), X, y, cv=4, n_jobs=n,
                        scoring="neg_log_loss")
        for n in (1, 2)
    ]
    out["threads"] = joblib.Parallel(n_jobs=2)(joblib.delayed(threads)() for _ in range(4))
    joblib.dump(out, sys.argv[2])
"""


@pytest.fixture(scope="session")
def other_process(tmp_path_factory, slabs, tiny, fitted_slab_decoder):
    """What the script finds in a new process, and in one that, like its workers, has one thread."""
    folder = tmp_path_factory.mktemp("process")
    (folder / "script.py").write_text(SCRIPT)
    joblib.dump((*slabs, fitted_slab_decoder, tiny), folder / "in.joblib")
    found = {}
    for name, extra in {"one thread": {"OMP_NUM_THREADS": "1"}, "default": {}}.items():
        out = folder / f"{name}.joblib"
        paths = [p for p in (os.getcwd(), os.environ.get("PYTHONPATH")) if p]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **extra}
        command = [sys.executable, folder / "script.py", folder / "in.joblib", out]
        command += ["with workers"] if extra else []
        subprocess.run(command, check=True, env=environment, timeout=300)
        found[name] = joblib.load(out)
    return found


def test_one_and_two_jobs_of_one_thread_each_score_bit_equal(other_process):
    one_job, two_jobs = other_process["one thread"]["scores"]
    assert len(set(one_job)) == 4
    np.testing.assert_array_equal(one_job, two_jobs)


def test_a_new_process_trains_the_same_bits(other_process, fitted_slab_decoder):
    found = other_process["default"]["weights"]
    for a, b in zip(weights_of(fitted_slab_decoder), found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_pickled_decoder_predicts_the_same_in_a_new_process(
    other_process, fitted_slab_decoder, slabs
):
    expected = fitted_slab_decoder.predict_proba(slabs[0])
    np.testing.assert_array_equal(other_process["default"]["predicted"], expected)


def test_tensorflow_takes_the_share_of_cores_of_a_joblib_worker(other_process):
    assert all(other_process["one thread"]["threads"])
