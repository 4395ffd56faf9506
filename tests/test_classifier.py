import copy
import gc
import hashlib
import inspect
import os
import pickle
import random
import subprocess
import sys
from functools import partial

import joblib
import keras
import numpy as np
import pytest
from scikeras.wrappers import KerasClassifier
from sklearn import config_context
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score

from skfmri import SlabCNNClassifier, VolumeCNNClassifier
from skfmri.estimators.defaults import SMALL_SAMPLE
from skfmri.networks import convolutional_network
from skfmri.networks.pool import POOL
from skfmri.networks.training import mean_history, seed_sequence


def weights_of(decoder):
    return decoder.model_.get_weights()


def as_batch(X):
    return np.asarray(X, np.float32)


def assert_same_weights(one, other):
    for a, b in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_array_equal(a, b)


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


# Each contract takes a function that makes an unfitted decoder, and data. Ours keeps all of them,
# stock scikeras none.


def is_a_classifier(make, X, y):
    assert is_classifier(make())


def predicts_any_float_type(make, X, y):
    assert make().fit(X, y).predict(X.astype(np.float64)).shape == y.shape


def leaves_sample_weight_alone(make, X, y):
    for dtype in (np.float64, np.float32):
        weight = np.linspace(1, 2, len(y), dtype=dtype)
        before = weight.copy()
        make(class_weight="balanced").fit(X, y, sample_weight=weight)
        np.testing.assert_array_equal(weight, before)


def names_every_parameter(make, X, y):
    signature = inspect.signature(type(make()).__init__).parameters.values()
    assert all(p.kind is not p.VAR_KEYWORD for p in signature)
    assert set(make(filters=2).get_params()) == {p.name for p in signature} - {"self"}


def tells_random_states_apart(make, X, y):
    one, other = (make(random_state=np.random.RandomState(seed)).fit(X, y) for seed in (1, 2))
    assert one.history_["loss"] != other.history_["loss"]


def keeps_global_seeds_during_fit(make, X, y):
    def state():
        return digest(np.random.get_state()[1]), random.getstate()  # noqa: NPY002 (the global one)

    seen = []
    watch = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: seen.append(state()))
    before = state()
    make(random_state=0, callbacks=[watch]).fit(X, y)
    assert [*seen, state()] == [before, before]


def traces_one_network_for_two_fits(make, X, y):
    traces, train_step = [], keras.Model.train_step

    def counted(self, data):
        traces.append(1)
        return train_step(self, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "train_step", counted)
        make().fit(X, y)
        first = len(traces)
        make().fit(X, y)
    assert len(traces) == first


def memory_stays_flat(make, X, y):
    def resident():
        gc.collect()
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    make().fit(X, y).predict(X)
    before = resident()
    # Two fits can find room in what earlier tests of this process have freed.
    for _ in range(8):
        make().fit(X, y).predict(X)
    assert resident() - before < 20


CONTRACTS = [
    is_a_classifier,
    predicts_any_float_type,
    leaves_sample_weight_alone,
    names_every_parameter,
    tells_random_states_apart,
    keeps_global_seeds_during_fit,
    traces_one_network_for_two_fits,
    pytest.param(
        memory_stays_flat,
        marks=pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads /proc"),
    ),
]


def stock_network(meta, filters=2):
    return convolutional_network(
        meta["X_shape_"][1:], meta["n_classes_"], filters=filters, n_blocks=1, dense_units=(4,)
    )


@pytest.mark.parametrize("contract", CONTRACTS)
def test_contract_holds(contract, slabs, tiny):
    contract(lambda **options: SlabCNNClassifier(**{**tiny, "epochs": 1, **options}), *slabs)


@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.filterwarnings("ignore")
def test_stock_scikeras_breaks_the_contract(contract, slabs):
    def make(**options):
        loss = "sparse_categorical_crossentropy"
        return KerasClassifier(
            stock_network, loss=loss, optimizer="adam", verbose=0, batch_size=8, **options
        )

    error, message = AssertionError, None
    if contract is predicts_any_float_type:
        error, message = ValueError, "casting from float64 to float32 is not safe"
    with pytest.raises(error, match=message):
        contract(make, *slabs)


# Known answers


def test_network_without_hidden_layers_is_logistic_regression():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2, 3, 1))
    y = (X[:, 0, 0, 0] + 2 * rng.normal(size=60) > 0).astype(int)
    weight = rng.uniform(0.5, 2, size=60)
    decoder = SlabCNNClassifier(
        n_blocks=0,
        dense_units=(),
        dropout=0,
        learning_rate=0.1,
        epochs=300,
        batch_size=60,
        class_weight={0: 2.0, 1: 0.5},
    ).fit(X, y, sample_weight=weight)
    flat = X.reshape(60, -1)
    reference = LogisticRegression(C=np.inf, class_weight={0: 2.0, 1: 0.5}, tol=1e-8)
    reference.fit(flat, y, sample_weight=weight)
    np.testing.assert_allclose(
        decoder.predict_proba(X), reference.predict_proba(flat), rtol=0, atol=2e-3
    )


def test_training_equals_plain_keras_with_the_same_weights_and_batches(slabs):
    X, y = slabs
    start = []

    class Recorder(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            start.extend(self.model.get_weights())

    decoder = SlabCNNClassifier(
        filters=3,
        n_blocks=1,
        dense_units=(4,),
        dropout=0,
        epochs=2,
        batch_size=8,
        learning_rate=0.01,
        random_state=5,
        callbacks=Recorder(),
    ).fit(X, y)

    layers = keras.layers
    plain = keras.Sequential(
        [
            layers.Input((6, 7, 3)),
            layers.Conv2D(3, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(4, activation="relu"),
            layers.BatchNormalization(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    plain.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    plain.set_weights(start)
    order = np.random.default_rng(seed_sequence(5).spawn(2)[1])
    positions = np.unique(y, return_inverse=True)[1]
    for _ in range(2):
        shuffled = order.permutation(len(X))
        for begin in range(0, len(X), 8):
            batch = shuffled[begin : begin + 8]
            plain.train_on_batch(X[batch], positions[batch])
    # Where a gradient is nearly 0, Adam makes rounding errors into steps of up to 0.01.
    np.testing.assert_allclose(decoder.predict_proba(X), plain(X), rtol=0, atol=1e-4)
    for ours, theirs in zip(weights_of(decoder), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3)


@pytest.mark.parametrize("labels", [["closed", "open"], [True, False], [3, 1], [0.0, 1.0]])
def test_labels_of_any_kind_come_back(slabs, tiny, labels):
    X, _ = slabs
    y = np.array(labels)[np.arange(len(X)) % 2]
    decoder = SlabCNNClassifier(**tiny).fit(X, y)
    np.testing.assert_array_equal(decoder.classes_, np.unique(labels))
    assert decoder.n_classes_ == 2
    assert decoder.predict(X).dtype == y.dtype
    assert set(decoder.predict(X)) <= set(labels)


def test_probabilities_are_float32_rows_that_sum_to_one(fitted_slab_decoder, slabs):
    X, y = slabs
    probabilities = fitted_slab_decoder.predict_proba(X)
    assert probabilities.shape == (20, 3)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    predicted = fitted_slab_decoder.classes_[probabilities.argmax(axis=1)]
    np.testing.assert_array_equal(fitted_slab_decoder.predict(X), predicted)
    assert fitted_slab_decoder.score(X, y) == np.mean(predicted == y)


def test_history_holds_loss_and_accuracy_of_each_epoch(fitted_slab_decoder):
    assert set(fitted_slab_decoder.history_) == {"loss", "accuracy"}
    for values in fitted_slab_decoder.history_.values():
        assert len(values) == 3
        assert all(type(value) is float for value in values)


def test_training_learns_what_separates_the_classes(slabs):
    X, y = slabs
    decoder = SlabCNNClassifier(
        filters=4, n_blocks=1, dense_units=(8,), dropout=0, epochs=60, batch_size=8, random_state=0
    ).fit(X, y)
    assert decoder.score(X, y) > 0.9
    assert decoder.history_["loss"][-1] < decoder.history_["loss"][0] / 2


def test_float_types_integers_and_memory_maps_give_the_same_bits(tmp_path, slabs, tiny):
    X, y = slabs
    whole = np.round(10 * X)
    np.save(tmp_path / "X.npy", whole.astype(np.float32))
    variants = [whole.astype(t) for t in (np.float32, np.float64, np.int16)]
    variants.append(np.load(tmp_path / "X.npy", mmap_mode="r"))
    seen = {digest(SlabCNNClassifier(random_state=0, **tiny).fit(v, y).predict_proba(w))
            for v in variants for w in variants}  # fmt: skip
    assert len(seen) == 1


def test_samples_of_weight_zero_count_as_absent(slabs, tiny):
    X, y = slabs
    kept = np.arange(20) >= 5
    weighted, shorter = (SlabCNNClassifier(random_state=0, **tiny) for _ in range(2))
    weighted.fit(X, y, sample_weight=kept.astype(int))
    assert_same_weights(weighted, shorter.fit(X[kept], y[kept]))


def test_class_weight_is_the_sample_weight_of_its_class(slabs, tiny):
    X, y = slabs
    by_class = SlabCNNClassifier(
        random_state=0, class_weight={"cat": 3, "face": 1, "house": 1}, **tiny
    )
    by_sample = SlabCNNClassifier(random_state=0, **tiny)
    by_sample.fit(X, y, sample_weight=np.where(y == "cat", 3, 1))
    assert_same_weights(by_class.fit(X, y), by_sample)
    plain = SlabCNNClassifier(random_state=0, **tiny).fit(X, y)
    assert plain.history_["loss"] != by_sample.history_["loss"]


# Reproducibility


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
        _, network = POOL._idle[-1]
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


# Sharing of networks


def test_decoders_that_share_a_network_keep_their_own_weights(slabs, tiny):
    X, y = slabs
    POOL.clear()
    first = SlabCNNClassifier(random_state=0, **tiny).fit(X, y)
    before = first.predict_proba(X)
    second = SlabCNNClassifier(random_state=1, **tiny).fit(X, y)
    assert len(POOL) == 1
    assert np.abs(second.predict_proba(X) - before).max() > 1e-3
    np.testing.assert_array_equal(first.predict_proba(X), before)


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
    np.testing.assert_array_equal(model.predict_on_batch(as_batch(X)), decoder.predict_proba(X))
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
        return [network for _, network in POOL._idle]

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


# Several members


def test_members_are_single_networks_whose_probabilities_are_averaged(slabs, tiny):
    X, y = slabs
    decoder = SlabCNNClassifier(random_state=0, n_members=3, **tiny).fit(X, y)
    single = SlabCNNClassifier(random_state=0, **tiny).fit(X, y)
    members = [decoder.model_.get_layer(f"member{number}") for number in (1, 2, 3)]
    for a, b in zip(members[0].get_weights(), weights_of(single), strict=True):
        np.testing.assert_array_equal(a, b)
    outputs = np.array([member.predict_on_batch(as_batch(X)) for member in members])
    assert np.ptp(outputs, axis=0).max() > 1e-3
    np.testing.assert_allclose(decoder.predict_proba(X), outputs.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(
        decoder.model_.predict_on_batch(as_batch(X)), outputs.mean(axis=0), rtol=1e-5
    )
    np.testing.assert_array_equal(decoder.predict(X), decoder.classes_[outputs.mean(0).argmax(1)])
    assert decoder.model_.evaluate(X, np.searchsorted(decoder.classes_, y), verbose=0)


def test_members_are_reproducible_and_survive_pickling(slabs, tiny):
    X, y = slabs
    decoder = SlabCNNClassifier(random_state=0, n_members=2, **tiny).fit(X, y)
    expected = decoder.predict_proba(X)
    np.testing.assert_array_equal(clone(decoder).fit(X, y).predict_proba(X), expected)
    assert len(decoder.model_.layers) == 4
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(decoder)).predict_proba(X), expected)


def test_members_are_trained_in_the_workers_that_joblib_is_told_to_use(slabs, tiny):
    X, y = slabs
    decoder = SlabCNNClassifier(random_state=0, n_members=2, **tiny)
    expected = decoder.fit(X, y).predict_proba(X)
    POOL.clear()
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        decoder.fit(X, y)
    assert len(POOL) == 0
    # Workers have threads of their own number, which add in another order.
    np.testing.assert_allclose(decoder.predict_proba(X), expected, atol=1e-4)


def test_a_single_network_is_trained_here_whatever_joblib_is_told(slabs, tiny):
    POOL.clear()
    with joblib.parallel_config(n_jobs=2):
        SlabCNNClassifier(**tiny).fit(*slabs)
    assert len(POOL) == 1


@pytest.mark.parametrize("n_members", [0, -1, 1.5, True, "3"])
def test_a_wrong_number_of_members_is_refused(slabs, tiny, n_members):
    with pytest.raises((TypeError, ValueError), match="n_members must be an integer of at least 1"):
        SlabCNNClassifier(n_members=n_members, **tiny).fit(*slabs)


def test_members_stop_early_each_by_itself(slabs, tiny):
    X, y = slabs
    options = {**tiny, "epochs": 40, "patience": 1, "learning_rate": 0.05, "n_members": 3}
    decoder = SlabCNNClassifier(random_state=0, **options).fit(X, y, validation_data=(X, y))
    alone = [len(history) for history in stopped_histories(decoder, X, y)]
    assert len(decoder.history_["val_loss"]) == max(alone)
    assert min(alone) <= decoder.n_epochs_ + 1 <= max(alone)


def stopped_histories(decoder, X, y):
    """Return the loss of each member, recorded by a callback."""
    losses = []

    class Recorder(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            losses.append([])

        def on_epoch_end(self, epoch, logs=None):
            losses[-1].append(logs["loss"])

    clone(decoder).set_params(callbacks=Recorder()).fit(X, y, validation_data=(X, y))
    return losses


def test_the_history_of_members_is_their_mean(slabs, tiny):
    X, y = slabs
    single = SlabCNNClassifier(random_state=0, **tiny).fit(X, y)
    decoder = SlabCNNClassifier(random_state=0, n_members=2, **tiny).fit(X, y)
    assert decoder.n_epochs_ == single.n_epochs_ == len(decoder.history_["loss"])
    assert decoder.history_["loss"] != single.history_["loss"]
    histories = [{"loss": [3.0, 2.0, 1.0]}, {"loss": [5.0]}]
    assert mean_history(histories) == {"loss": [4.0, 2.0, 1.0]}


# The linear path


@pytest.mark.parametrize("classes", [["cat", "face"], ["cat", "face", "house"]])
@pytest.mark.parametrize("weighted", [False, True])
def test_training_starts_from_logistic_regression(slabs, tiny, classes, weighted):
    X, y = slabs
    X, y = X[np.isin(y, classes)], y[np.isin(y, classes)]
    weights = np.random.default_rng(0).uniform(0.5, 2, len(y)) if weighted else None
    still = {**tiny, "epochs": 1, "learning_rate": 1e-12, "linear_path": 0.3}
    decoder = SlabCNNClassifier(**still).fit(X, y, sample_weight=weights)
    linear = LogisticRegression(C=0.3, max_iter=1000)
    linear.fit(X.reshape(len(X), -1), y, sample_weight=weights)
    expected = linear.predict_proba(X.reshape(len(X), -1))
    np.testing.assert_allclose(decoder.predict_proba(X), expected, atol=1e-5)


def test_training_leaves_the_linear_model_alone_and_moves_the_network(slabs, tiny):
    X, y = slabs
    before, after = (
        SlabCNNClassifier(
            **{**tiny, "epochs": n, "learning_rate": 0.01}, linear_path=0.001, random_state=0
        ).fit(X, y)
        for n in (1, 30)
    )
    for one, other in zip(
        before.model_.get_layer("linear_path").get_weights(),
        after.model_.get_layer("linear_path").get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    assert np.abs(after.predict_proba(X) - before.predict_proba(X)).max() > 0.05
    assert after.history_["loss"][-1] < after.history_["loss"][0]


def test_the_network_learns_what_no_linear_model_can():
    rng = np.random.default_rng(0)
    signs, y = rng.choice([-1, 1], size=(2, 60)), np.empty(60, int)
    y[:] = signs[0] == signs[1]
    X = 0.3 * rng.normal(size=(60, 8, 8, 1))
    X[:, 2] += signs[0][:, None, None]
    X[:, 5] += signs[1][:, None, None]
    options = {"filters": 8, "n_blocks": 1, "dense_units": (16,), "dropout": 0, "epochs": 60}
    decoder = SlabCNNClassifier(
        linear_path=0.001, batch_norm_momentum=0.9, random_state=0, **options
    )
    flat = X.reshape(60, -1)
    assert LogisticRegression(C=0.001).fit(flat[:40], y[:40]).score(flat[40:], y[40:]) < 0.75
    assert decoder.fit(X[:40], y[:40]).score(X[40:], y[40:]) > 0.9


def test_a_used_network_forgets_its_linear_model(slabs, tiny):
    X, y = slabs
    options = {**tiny, "linear_path": 1.0, "random_state": 0}
    first = SlabCNNClassifier(**options).fit(X, y)
    SlabCNNClassifier(**{**options, "linear_path": 100.0}).fit(X[::-1], y)
    assert_same_weights(first, SlabCNNClassifier(**options).fit(X, y))


def test_a_class_of_no_weight_has_no_linear_model(slabs, tiny):
    X, y = slabs
    weights = (y != "house").astype(float)
    decoder = SlabCNNClassifier(**tiny, linear_path=1.0).fit(X, y, sample_weight=weights)
    kernel, bias = decoder.model_.get_layer("linear_path").get_weights()
    assert (np.abs(kernel).max(axis=0) > 0).tolist() == [True, True, False]
    assert bias[2] == 0
    only_cats = SlabCNNClassifier(**tiny, linear_path=1.0)
    only_cats.fit(X, y, sample_weight=(y == "cat").astype(float))
    assert not only_cats.model_.get_layer("linear_path").kernel.numpy().any()


def test_the_linear_path_takes_features_and_volumes(slabs, tiny):
    X, y = slabs
    flat = X.reshape(len(X), -1)
    for classifier, samples in ((SlabCNNClassifier, flat), (VolumeCNNClassifier, X)):
        decoder = classifier(**tiny, linear_path=1.0).fit(samples, y)
        assert decoder.predict_proba(samples).shape == (20, 3)


# Few samples


@pytest.mark.parametrize("classifier", [SlabCNNClassifier, VolumeCNNClassifier])
def test_the_configuration_for_small_samples_is_a_set_of_parameters(classifier):
    decoder = classifier.for_small_samples(random_state=3)
    assert type(decoder) is classifier
    changed = {
        name: value
        for name, value in decoder.get_params().items()
        if value != classifier().get_params()[name]
    }
    assert changed.pop("random_state") == 3
    assert changed.items() <= SMALL_SAMPLE.items()
    assert decoder.linear_path > 0
    assert clone(decoder).get_params() == decoder.get_params()


def test_what_is_passed_goes_before_the_configuration_for_small_samples():
    decoder = SlabCNNClassifier.for_small_samples(filters=4, epochs=2, dropout=0.1)
    assert (decoder.filters, decoder.epochs, decoder.dropout) == (4, 2, 0.1)
    assert decoder.n_blocks == SMALL_SAMPLE["n_blocks"]
    with pytest.raises(TypeError, match="filter_count"):
        SlabCNNClassifier.for_small_samples(filter_count=4)


def test_the_network_for_small_samples_has_few_weights_and_learns():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 12, 14, 3)), np.arange(40) % 2
    X[y == 1, 4:7, 5:9] += 1.5
    decoder = SlabCNNClassifier.for_small_samples(random_state=0).fit(X[:30], y[:30])
    linear = LogisticRegression(C=decoder.linear_path, max_iter=1000)
    linear.fit(X[:30].reshape(30, -1), y[:30])
    assert decoder.score(X[:30], y[:30]) == 1
    assert decoder.score(X[30:], y[30:]) >= linear.score(X[30:].reshape(10, -1), y[30:])
    sizes = [
        estimator.build_network((40, 56, 3), 2).count_params()
        for estimator in (decoder, SlabCNNClassifier())
    ]
    assert sizes == [215_780, 2_345_602]


# Parameters


def test_parameters_are_those_of_scikit_learn():
    decoder = SlabCNNClassifier(filters=8)
    assert "filters=8" in repr(decoder)
    assert "epochs" not in repr(decoder)
    assert clone(decoder.set_params(dropout=0.25)).get_params() == decoder.get_params()
    with pytest.raises(ValueError, match="Invalid parameter 'filter' for estimator"):
        decoder.set_params(filter=3)


def test_grid_search_over_filters_and_dropout(slabs, tiny):
    X, y = slabs
    grid = {"filters": [2, 3], "dropout": [0.25, 0.5]}
    search = GridSearchCV(SlabCNNClassifier(random_state=0, **tiny), grid, cv=2).fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_estimator_.filters == search.best_params_["filters"]
    first = search.best_estimator_.model_.layers[1]
    assert first.filters == search.best_params_["filters"]


def test_integer_cv_stratifies_and_roc_auc_works(slabs, tiny):
    X, _ = slabs
    y = np.repeat(["open", "closed"], 10)
    decoder = SlabCNNClassifier(random_state=0, **tiny)
    scores = cross_val_score(decoder, X, y, cv=2, scoring="roc_auc", error_score="raise")
    assert ((scores >= 0) & (scores <= 1)).all()


def test_displays_take_a_fitted_decoder(slabs, tiny):
    pytest.importorskip("matplotlib").use("agg")
    from sklearn.metrics import ConfusionMatrixDisplay, RocCurveDisplay

    X, _ = slabs
    y = np.repeat(["open", "closed"], 10)
    decoder = SlabCNNClassifier(**tiny).fit(X, y)
    assert RocCurveDisplay.from_estimator(decoder, X, y).roc_auc is not None
    assert ConfusionMatrixDisplay.from_estimator(decoder, X, y).confusion_matrix.sum() == 20


def test_sample_weight_is_routed_as_metadata(slabs, tiny):
    X, y = slabs
    weight = np.linspace(1, 2, 20)
    with config_context(enable_metadata_routing=True):
        # fit asks for weights by itself; whether scores are weighted is for the user to say.
        decoder = SlabCNNClassifier(random_state=0, **tiny).set_score_request(sample_weight=True)
        scores = cross_val_score(
            decoder, X, y, cv=2, params={"sample_weight": weight}, error_score="raise"
        )
    assert scores.shape == (2,)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dropout": 1.0}, ValueError, "dropout must be a number of at least 0 and below 1"),
        ({"epochs": 0}, ValueError, "epochs must be an integer of at least 1, but is 0"),
        ({"batch_size": 1.5}, TypeError, "batch_size must be an integer"),
        ({"filters": 0}, ValueError, "filters must be an integer of at least 1"),
        ({"learning_rate": 0}, ValueError, "learning_rate must be a number above 0"),
        ({"optimizer": "adams"}, ValueError, "optimizer='adams' is no Keras optimizer"),
        ({"optimizer": 3}, TypeError, "optimizer must be a name or a keras"),
        ({"loss": "entropy"}, ValueError, "loss='entropy' is no function of keras.losses"),
        ({"loss": "CategoricalCrossentropy"}, ValueError, "is no function of keras.losses"),
        ({"loss": "deserialize"}, ValueError, "is no function of keras.losses"),
        ({"loss": 3}, TypeError, "loss must be a name or a function, but is 3"),
        ({"loss": keras.losses.Huber()}, TypeError, "loss must be a name or .* use partial"),
        ({"loss": "dice"}, ValueError, r"The loss gave shape \(\) for 3 samples of 3 classes"),
        ({"linear_path": 0}, ValueError, "linear_path must be a number above 0"),
        (
            {"batch_norm_momentum": 1},
            ValueError,
            "batch_norm_momentum must be a number of at least 0",
        ),
        ({"callbacks": ["stop"]}, TypeError, "callbacks holds 'stop'"),
        ({"n_blocks": 3}, ValueError, "6 x 7 voxels, but n_blocks=3 .* 22 x 22. Choose n_blocks=1"),
    ],
)
def test_wrong_parameters_are_refused_in_fit(slabs, tiny, options, error, message):
    with pytest.raises(error, match=message):
        SlabCNNClassifier(**{**tiny, **options}).fit(*slabs)


@pytest.mark.parametrize("optimizer", ["sgd", keras.optimizers.SGD(0.01, momentum=0.9)])
def test_optimizers_by_name_and_as_instances(slabs, tiny, optimizer):
    X, y = slabs
    decoder = SlabCNNClassifier(optimizer=optimizer, random_state=0, **tiny)
    fitted = clone(decoder).fit(X, y)
    assert_same_weights(fitted, clone(decoder).fit(X, y))
    used = fitted.model_.optimizer
    assert type(used) is keras.optimizers.SGD
    assert used is not decoder.optimizer
    if optimizer != "sgd":
        decoder.fit(X, y)
        assert int(optimizer.iterations) == 0
        assert float(used.learning_rate) == pytest.approx(0.01)
        assert pickle.loads(pickle.dumps(decoder)).optimizer.momentum == 0.9


def squared_distance(targets, probabilities):
    return keras.ops.sum((targets - probabilities) ** 2, axis=-1)


CROSS_ENTROPIES = (
    "categorical_crossentropy",
    keras.losses.categorical_crossentropy,
    keras.losses.sparse_categorical_crossentropy,
    partial(keras.losses.sparse_categorical_crossentropy, from_logits=False),
)


@pytest.mark.parametrize("loss", CROSS_ENTROPIES)
def test_the_same_loss_by_another_name_gives_the_same(slabs, tiny, loss):
    X, y = slabs
    decoders = [
        SlabCNNClassifier(**{**tiny, "dropout": 0}, random_state=0, **options).fit(X, y)
        for options in ({}, {"loss": loss})
    ]
    first, second = (decoder.predict_proba(X) for decoder in decoders)
    np.testing.assert_allclose(first, second, atol=1e-4)
    np.testing.assert_allclose(*(decoder.history_["loss"] for decoder in decoders), rtol=1e-4)


@pytest.mark.parametrize(
    "loss",
    [
        "categorical_crossentropy",
        partial(keras.losses.categorical_crossentropy, label_smoothing=0.2),
        partial(keras.losses.categorical_focal_crossentropy, alpha=[0.2, 0.3, 0.5], gamma=1.5),
        squared_distance,
    ],
)
def test_training_on_a_loss_equals_plain_keras(slabs, tiny, loss):
    X, y = slabs
    weight = np.linspace(0.5, 2, len(X)).astype(np.float32)
    positions = np.unique(y, return_inverse=True)[1]
    start = []

    class Recorder(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            start.extend(self.model.get_weights())

    options = {**tiny, "dropout": 0, "epochs": 1, "batch_size": 20, "optimizer": "sgd"}
    decoder = SlabCNNClassifier(**options, loss=loss, callbacks=Recorder(), random_state=0)
    fitted = decoder.fit(X, y, weight, validation_data=(X, y, weight))
    plain = decoder.build_network(X.shape[1:], 3)
    plain.set_weights(start)
    plain.compile("sgd", loss)
    plain.optimizer.learning_rate = decoder.learning_rate
    expected = plain.train_on_batch(X, np.eye(3)[positions], weight, return_dict=True)
    for ours, theirs in zip(weights_of(fitted), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert fitted.history_["loss"][0] == pytest.approx(expected["loss"], rel=1e-4)
    values = np.asarray(keras.losses.get(loss)(np.eye(3, dtype=np.float32)[positions], plain(X)))
    assert fitted.history_["val_loss"][0] == pytest.approx(
        np.average(values, weights=weight), rel=1e-4
    )


def test_equal_losses_share_a_network_and_others_do_not(slabs, tiny):
    POOL.clear()
    for smoothing in (0.1, 0.2, 0.1):
        loss = partial(keras.losses.categorical_crossentropy, label_smoothing=smoothing)
        clone(SlabCNNClassifier(**tiny, loss=loss)).fit(*slabs)
    assert len(POOL) == 2


def test_early_stopping_follows_the_loss(slabs, tiny):
    X, y = slabs
    options = {**tiny, "epochs": 12, "patience": 2, "optimizer": "sgd", "learning_rate": 0.3}
    decoder = SlabCNNClassifier(**options, loss=squared_distance, random_state=0)
    decoder.fit(X, y, validation_data=(X, y))
    targets = y[:, np.newaxis] == decoder.classes_
    distances = ((targets - decoder.predict_proba(X)) ** 2).sum(axis=1)
    assert min(decoder.history_["val_loss"]) == pytest.approx(distances.mean(), rel=1e-4)


def test_learning_rate_and_its_schedules_take_effect(slabs, tiny):
    X, y = slabs
    losses = []
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    for options in (
        {"learning_rate": 0.1},
        {"learning_rate": 0.001},
        {"optimizer": keras.optimizers.Adam(schedule)},
    ):
        decoder = SlabCNNClassifier(random_state=0, **tiny, **options).fit(X, y)
        losses.append(decoder.history_["loss"][-1])
    assert len(set(losses)) == 3


# Callbacks


def test_callbacks_are_called_as_keras_does_and_let_go_of_the_model(slabs, tiny):
    calls = []

    class Recorder(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            calls.append("begin")

        def on_epoch_end(self, epoch, logs=None):
            calls.append((epoch, sorted(logs), self.params["epochs"]))

        def on_train_batch_end(self, batch, logs=None):
            calls.append((batch, sorted(logs)))

        def on_train_end(self, logs=None):
            assert self.model is not None
            calls.append("end")

    recorder = Recorder()
    decoder = SlabCNNClassifier(callbacks=recorder, **{**tiny, "epochs": 2}).fit(*slabs)
    names = ["accuracy", "loss"]
    epoch = [(batch, names) for batch in range(3)]
    assert calls == ["begin", *epoch, (0, names, 2), *epoch, (1, names, 2), "end"]
    assert recorder.model is None
    assert clone(decoder).callbacks is not recorder


def test_early_stopping_and_learning_rate_schedules_work(slabs, tiny):
    stop = keras.callbacks.EarlyStopping("loss", patience=1, min_delta=100)
    halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    options = {**tiny, "epochs": 50, "learning_rate": 0.5}
    decoder = SlabCNNClassifier(callbacks=[stop, halve], **options).fit(*slabs)
    assert len(decoder.history_["loss"]) == 2
    assert decoder.history_["learning_rate"] == [0.25, 0.125]
    keep = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate)
    again = SlabCNNClassifier(callbacks=keep, **{**options, "epochs": 1}).fit(*slabs)
    assert again.history_["learning_rate"] == [0.5]


def test_a_failing_callback_leaves_the_decoder_unfitted_and_the_next_fit_untouched(slabs, tiny):
    X, y = slabs
    expected = weights_of(SlabCNNClassifier(random_state=0, **tiny).fit(X, y))

    def fail(epoch, logs):
        raise RuntimeError("full disk")

    broken = SlabCNNClassifier(random_state=0, **tiny).fit(X, y)
    broken.set_params(callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=fail)])
    with pytest.raises(RuntimeError, match="full disk"):
        broken.fit(X, y)
    with pytest.raises(NotFittedError):
        broken.predict(X)
    again = weights_of(SlabCNNClassifier(random_state=0, **tiny).fit(X, y))
    for a, b in zip(expected, again, strict=True):
        np.testing.assert_array_equal(a, b)


# Copies


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
def test_copies_predict_the_same_and_live_on_their_own(slabs, tiny, copied):
    X, y = slabs
    decoder = SlabCNNClassifier(random_state=0, **tiny).fit(X, y)
    expected = decoder.predict_proba(X)
    twin = copied(decoder.set_params(filters=7))
    twice = copied(copied(twin))
    decoder.set_params(filters=2, random_state=9).fit(X, y)
    np.testing.assert_array_equal(twin.predict_proba(X), expected)
    np.testing.assert_array_equal(twice.predict_proba(X), expected)
    assert twin.history_ == twice.history_
    assert not hasattr(clone(twin), "classes_")


# Refusals


def test_predicting_on_another_grid_names_both_grids(fitted_slab_decoder, slabs):
    message = (
        r"X holds volumes of shape \(6, 7, 2\), but SlabCNNClassifier was fitted on volumes of "
        r"shape \(6, 7, 3\)\. Resample"
    )
    with pytest.raises(ValueError, match=message):
        fitted_slab_decoder.predict(slabs[0][..., :2])
    with pytest.raises(ValueError, match=r"of shape \(5, 7, 3\), but"):
        fitted_slab_decoder.predict(slabs[0][:, :5])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e39])
def test_values_that_are_not_finite_are_refused_with_their_sample(
    fitted_slab_decoder, slabs, tiny, bad
):
    X = slabs[0].astype(np.float64)
    X[13, 2, 3, 1] = bad
    with pytest.raises(ValueError, match="first in sample 13"):
        SlabCNNClassifier(**tiny).fit(X, slabs[1])
    with pytest.raises(ValueError, match="first in sample 13"):
        fitted_slab_decoder.predict(X)


def test_one_class_a_wrong_number_of_axes_and_bad_weights_are_refused(slabs, tiny):
    X, y = slabs
    decoder = SlabCNNClassifier(**tiny)
    with pytest.raises(ValueError, match="only one class, 'cat'"):
        decoder.fit(X, np.full(20, "cat"))
    with pytest.raises(ValueError, match=r"X has shape \(20, 6, 7\).* a single slice has z = 1"):
        decoder.fit(X[..., 0], y)
    with pytest.raises(ValueError, match=r"sample_weight of shape \(19,\) for 20 samples"):
        decoder.fit(X, y, sample_weight=np.ones(19))
    for weight in (np.zeros(20), -np.ones(20), np.full(20, np.nan)):
        with pytest.raises(ValueError, match="must be finite, not negative, and not all zero"):
            decoder.fit(X, y, sample_weight=weight)
    with pytest.raises(NotFittedError):
        decoder.predict(X)


def test_a_loss_that_is_not_a_number_any_more_is_reported(slabs, tiny):
    X, y = slabs
    options = {**tiny, "n_blocks": 0, "dense_units": (), "optimizer": "sgd", "learning_rate": 1e38}
    with pytest.warns(ConvergenceWarning, match="Choose a smaller learning_rate"):
        SlabCNNClassifier(**options).fit(1e6 * X, y)


def test_another_keras_backend_is_refused_by_name():
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", "import skfmri.classifier"]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert found.returncode == 1
    assert "ImportError: Keras is set to the 'jax' backend" in found.stderr


# Volumes


def test_default_blocks_of_the_volume_network_fit_a_slab_of_three_slices():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 9, 8, 3)), np.arange(12) % 2
    decoder = VolumeCNNClassifier(filters=2, dense_units=(4,), epochs=1, random_state=0)
    probabilities = decoder.fit(X, y).predict_proba(X)
    assert probabilities.shape == (12, 2)
    convolution = decoder.model_.layers[1]
    assert type(convolution).__name__ == "Conv3D"
    assert convolution.kernel.shape == (3, 3, 3, 1, 2)
    assert_same_weights(decoder, clone(decoder).fit(X, y))


def test_a_single_slice_works_with_one_and_two_blocks():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 40, 20, 1)), np.arange(12) % 2
    for n_blocks in (1, 2):
        decoder = SlabCNNClassifier(filters=1, dense_units=(2,), epochs=1, n_blocks=n_blocks)
        assert decoder.fit(X, y).predict(X).shape == (12,)
