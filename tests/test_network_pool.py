"""Compiled networks that several fits share."""

import json
import multiprocessing
import subprocess
import sys
from functools import partial

import joblib
import keras
import numpy as np
import pytest
from sklearn.base import clone

from skfmri import SlabCNNClassifier
from skfmri.networks.pool import POOL


def weights_of(decoder):
    return decoder.model_.get_weights()


def as_batch(X):
    return np.asarray(X, np.float32)


def assert_same_weights(one, other):
    for a, b in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_decoders_that_share_a_network_keep_their_own_weights(slabs, tiny):
    X, y = slabs
    POOL.clear()
    first = SlabCNNClassifier(random_state=0, **tiny).fit(X, y)
    before = first.predict_proba(X)
    second = SlabCNNClassifier(random_state=1, **tiny).fit(X, y)
    assert len(POOL) == 1
    assert np.abs(second.predict_proba(X) - before).max() > 1e-3
    np.testing.assert_array_equal(first.predict_proba(X), before)


def test_a_network_of_another_precision_is_not_taken(slabs, tiny):
    X, y = slabs
    POOL.clear()
    SlabCNNClassifier(random_state=0, **tiny).fit(X, y)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        mixed = SlabCNNClassifier(random_state=0, **tiny).fit(X, y)
        assert {layer.compute_dtype for layer in mixed.model_.layers} == {"float16"}
    finally:
        keras.config.set_dtype_policy("float32")
        POOL.clear()
    again = SlabCNNClassifier(random_state=0, **tiny).fit(X, y)
    assert {layer.compute_dtype for layer in again.model_.layers} == {"float32"}


def test_threads_that_predict_at_once_do_not_disturb_each_other(slabs, tiny):
    X, y = slabs
    decoders = [SlabCNNClassifier(random_state=seed, **tiny).fit(X, y) for seed in range(3)]
    expected = [decoder.predict_proba(X) for decoder in decoders]
    tasks = [joblib.delayed(decoder.predict_proba)(X) for decoder in decoders * 10]
    found = joblib.Parallel(n_jobs=3, backend="threading")(tasks)
    for one, other in zip(found, expected * 10, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_model_is_a_copy_that_stays_as_it_is_and_changes_no_prediction(slabs, tiny):
    X, y = slabs
    decoder = SlabCNNClassifier(random_state=0, **tiny).fit(X, y)
    model = decoder.model_
    assert decoder.model_ is model
    # Keras traces a graph of its own, in which some processors round differently.
    probabilities = decoder.predict_proba(X)
    np.testing.assert_allclose(model.predict_on_batch(as_batch(X)), probabilities, rtol=1e-6)
    before = model.get_weights()
    SlabCNNClassifier(random_state=1, **tiny).fit(X, y)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    expected = decoder.predict_proba(X)
    model.set_weights([0 * weight for weight in before])
    np.testing.assert_array_equal(decoder.predict_proba(X), expected)
    assert decoder.fit(X, y).model_ is not model


def test_idle_networks_are_few_and_the_longest_idle_goes_first(slabs, tiny):
    X, y = slabs
    POOL.clear()
    options = {**tiny, "n_blocks": 0, "dense_units": (), "epochs": 1}

    def idle_after(units):
        SlabCNNClassifier(**{**options, "dense_units": (units,)}).fit(X, y)
        return POOL.idle_networks()

    for units in (1, 2, 3, 4, 5):
        idle = idle_after(units)
    assert len(idle) == 4
    assert idle_after(2) == [*idle[1:], idle[0]]
    assert idle_after(1)[-1] not in idle


def test_one_compiled_network_serves_all_rates_of_dropout_but_none_at_all(slabs, tiny):
    X, y = slabs
    options = {**tiny, "random_state": 0, "dense_units": (16,)}

    def fitted(dropout):
        return SlabCNNClassifier(**{**options, "dropout": dropout}).fit(X, y)

    POOL.clear()
    used = [fitted(dropout) for dropout in (0.9, 0.2, 0.5)]
    assert len(POOL) == 1
    fitted(0)
    assert len(POOL) == 2
    for decoder in used:
        POOL.clear()
        fresh = fitted(decoder.dropout)
        assert_same_weights(fresh, decoder)
        assert fresh.history_ == decoder.history_
        assert fresh.model_.get_layer("flatten_dropout").rate == decoder.dropout
    assert len({decoder.history_["loss"][-1] for decoder in used}) == 3


def test_equal_losses_share_a_network_and_others_do_not(slabs, tiny):
    POOL.clear()
    for smoothing in (0.1, 0.2, 0.1):
        loss = partial(keras.losses.categorical_crossentropy, label_smoothing=smoothing)
        clone(SlabCNNClassifier(**tiny, loss=loss)).fit(*slabs)
    assert len(POOL) == 2


# Takes sequences of steps, such as "fit" or "fork fit". Each is done in a process that has imported
# TensorFlow but not used it. A child that hangs is killed.
FORKS = """
import json
import multiprocessing
import os
import sys

import keras
import numpy as np
import tensorflow

from skfmri import SlabCNNClassifier

X = np.random.default_rng(0).normal(size=(20, 6, 7, 3)).astype("float32")
y = np.arange(20) % 2
decoder = SlabCNNClassifier(filters=2, n_blocks=1, dense_units=(4,), epochs=1)
fork = multiprocessing.get_context("fork")


def do(step):
    if step.startswith("fork "):
        return do_in_child(step.removeprefix("fork "))
    try:
        if step == "fit":
            decoder.fit(X, y)
        elif step == "predict":
            decoder.predict(X)
        elif step == "look at the model":
            decoder.model_
        elif step == "use Keras":
            keras.optimizers.Adam()
        elif step == "search for GPUs":
            tensorflow.config.list_physical_devices()
        elif step == "fit, then fork fit":
            decoder.fit(X, y)
            return do("fork fit")
        return "done"
    except RuntimeError as error:
        return str(error)


def do_in_child(step):
    answers = fork.SimpleQueue()
    child = fork.Process(target=lambda: answers.put(do(step)))
    child.start()
    # A grandchild that hangs is killed by its parent, before that is taken to hang too.
    child.join(20 if multiprocessing.parent_process() else 40)
    if child.exitcode is None:
        child.kill()
        return "hangs"
    return answers.get() if child.exitcode == 0 else f"exit code {child.exitcode}"


for steps in json.loads(sys.argv[1]):
    process = os.fork()
    if process == 0:
        print(json.dumps([do(step) for step in steps]), flush=True)
        os._exit(0)
    assert os.waitpid(process, 0)[1] == 0
"""
SEQUENCES = {
    "after a fit": ["fit", "fork fit", "fork predict", "fork look at the model", "fit"],
    "after Keras was used": ["use Keras", "fork fit"],
    "before a fit": ["fork fit", "search for GPUs", "fork fit", "fork fit, then fork fit"],
}


@pytest.fixture(scope="module")
def outcomes():
    """What each step of each sequence gave."""
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system cannot fork")
    command = [sys.executable, "-W", "ignore", "-c", FORKS, json.dumps([*SEQUENCES.values()])]
    run = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    return dict(zip(SEQUENCES, map(json.loads, run.stdout.splitlines()), strict=True))


def test_a_child_forked_after_a_fit_raises_instead_of_hanging(outcomes):
    found = outcomes["after a fit"]
    assert [found[0], found[-1]] == ["done", "done"]
    for message in found[1:-1]:
        assert message.startswith("This process was forked after TensorFlow had been used")
        assert 'multiprocessing.get_context("spawn") or "forkserver"' in message
        assert message.endswith('joblib with its default backend, "loky".')


def test_a_child_forked_after_keras_was_used_raises_instead_of_hanging(outcomes):
    done, message = outcomes["after Keras was used"]
    assert done == "done"
    assert message.startswith("This process was forked after")


def test_children_forked_before_tensorflow_was_used_train_but_theirs_do_not(outcomes):
    *done, message = outcomes["before a fit"]
    assert done == ["done"] * 3
    assert message.startswith("This process was forked after")
