"""Contracts that the classifiers keep; stock scikeras breaks each of them.

A contract takes a function that makes an unfitted classifier, and data.
"""

import gc
import hashlib
import inspect
import os
import random

import keras
import numpy as np
import pytest
from scikeras.wrappers import KerasClassifier
from sklearn.base import is_classifier

from skfmri import SlabCNNClassifier
from skfmri.networks import convolutional_network


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


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
