"""Compare weights after 20 training steps with those of Keras' fit, and with rounding errors of it.

Both train the same weights on the same batches with the same dropout. "rounding" trains with Keras
twice, the second time on samples that differ by one part in ten million: what a network makes of
errors so small is what no two ways of computing can agree about. Run: python benchmarks/rounding.py
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from skfmri._training import CompiledNetwork
from skfmri.networks import convolutional_network

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


def compiled(shape, options, optimizer, weights=None):
    """Return a compiled network in a known state."""
    model = convolutional_network(shape, 2, **options)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    if weights is not None:
        model.set_weights(weights)
    return model


def by_keras(start, X, y, network, optimizer):
    """Return the weights after an epoch of Keras' fit from some weights."""
    model = compiled(*network, optimizer, start)
    model.fit(X, y, batch_size=32, shuffle=False, verbose=0)
    return model.get_weights()


def by_skfmri(start, X, y, network, optimizer):
    """Return the weights after an epoch of skfmri's loop from some weights."""
    model = compiled(*network, optimizer, start)
    CompiledNetwork(model).train_steps(X, y, np.ones(len(X), np.float32), 32)
    return model.get_weights()


def largest_difference(one, other):
    """Return the largest difference of any weight, relative to the largest weight."""
    one, other = (np.concatenate([part.ravel() for part in parts]) for parts in (one, other))
    return np.abs(one - other).max() / np.abs(one).max()


def main():
    rng = np.random.default_rng(0)
    print(f"{'network':34s} {'optimizer':10s} {'skfmri':>8s} {'rounding':>9s}")
    for name, network in NETWORKS.items():
        X = rng.normal(size=(640, *network[0])).astype(np.float32)
        y = (np.arange(640) % 2).astype(np.int32)
        X[y == 1, 2:5, 2:5] += 1
        near = X * rng.choice(np.float32([1 - 1e-7, 1 + 1e-7]), size=X.shape)
        for optimizer in ("adam", "sgd"):
            keras.utils.set_random_seed(0)
            start = compiled(*network, optimizer).get_weights()
            expected = by_keras(start, X, y, network, optimizer)
            differences = (
                largest_difference(expected, found)
                for found in (
                    by_skfmri(start, X, y, network, optimizer),
                    by_keras(start, near, y, network, optimizer),
                )
            )
            print(f"{name:34s} {optimizer:10s} {next(differences):8.1e} {next(differences):9.1e}")


if __name__ == "__main__":
    main()
