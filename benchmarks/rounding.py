"""Compare weights after some training steps with those of Keras' fit, and with rounding errors.

Both train the same weights on the same batches with the same dropout. "rounding" trains with Keras
twice, the second time on samples that differ by one part in ten million, to show how far a network
amplifies errors that no two ways of computing can avoid. "double" compares skfmri with Keras again,
both in double precision. Run: python benchmarks/rounding.py
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from skfmri.networks import convolutional_network
from skfmri.networks.compiled import CompiledNetwork

NETWORKS = {
    "8 x 9 x 3, 4 filters, 1 block": (
        (8, 9, 3),
        {"filters": 4, "n_blocks": 1, "dense_units": (8,)},
    ),
    "20 x 28 x 3, 8 filters, 2 blocks": (
        (20, 28, 3),
        {"filters": 8, "n_blocks": 2, "dense_units": (32,)},
    ),
    "40 x 56 x 3, default": ((40, 56, 3), {}),
}
STEPS = (1, 5, 20)


def compiled(shape, options, optimizer, weights=None):
    """Return a compiled network, with the given weights if there are any."""
    model = convolutional_network(shape, 2, **options)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    if weights is not None:
        model.set_weights(weights)
    return model


def by_keras(start, X, y, network, optimizer):
    """Return the weights after an epoch of Keras' fit from the weights `start`."""
    model = compiled(*network, optimizer, start)
    model.fit(X, y, batch_size=32, shuffle=False, verbose=0)
    return model.get_weights()


def by_skfmri(start, X, y, network, optimizer):
    """Return the weights after an epoch of skfmri's loop from the weights `start`."""
    model = compiled(*network, optimizer, start)
    CompiledNetwork(model).train_steps(X, y, np.ones(len(X), np.float32), 32)
    return model.get_weights()


def largest_difference(one, other):
    """Return the largest difference of any weight, relative to the largest weight."""
    one, other = (np.concatenate([part.ravel() for part in parts]) for parts in (one, other))
    return np.abs(one - other).max() / np.abs(one).max()


def set_precision(name):
    """Set the precision of networks that are built from now on."""
    keras.config.set_floatx(name)
    keras.config.set_dtype_policy(name)


def main():
    rng = np.random.default_rng(0)
    columns = "".join(f"{f'{number} steps':>10s}" for number in STEPS)
    print(f"{'network':34s} {'optimizer':10s} {'trained by':10s}{columns}")
    for name, network in NETWORKS.items():
        X = rng.normal(size=(32 * STEPS[-1], *network[0])).astype(np.float32)
        y = (np.arange(len(X)) % 2).astype(np.int32)
        X[y == 1, 2:5, 2:5] += 1
        near = X * rng.choice(np.float32([1 - 1e-7, 1 + 1e-7]), size=X.shape)
        for optimizer in ("adam", "sgd"):
            start = compiled(*network, optimizer).get_weights()
            found = {"skfmri": [], "rounding": [], "double": []}
            for number in STEPS:
                end, rest = 32 * number, (network, optimizer)
                expected = by_keras(start, X[:end], y[:end], *rest)
                ours = by_skfmri(start, X[:end], y[:end], *rest)
                theirs = by_keras(start, near[:end], y[:end], *rest)
                found["skfmri"].append(largest_difference(expected, ours))
                found["rounding"].append(largest_difference(expected, theirs))
                set_precision("float64")
                expected = by_keras(start, X[:end], y[:end], *rest)
                ours = by_skfmri(start, X[:end], y[:end], *rest)
                set_precision("float32")
                found["double"].append(largest_difference(expected, ours))
            for who, values in found.items():
                shown = "".join(f"{value:10.0e}" for value in values)
                print(f"{name:34s} {optimizer:10s} {who:10s}{shown}")


if __name__ == "__main__":
    main()
