"""Rows C, D and H: epochs and fits of the default network."""

import gc
import os
import resource
import time

import numpy as np

N_TRAINED, N_VALIDATED = 245, 62


def _network():
    """Return the network of the original notebook, built and compiled as there."""
    from keras import layers

    model = _compiled(layers.Input((40, 56, 3)))
    assert model.count_params() == 2_345_602
    return model


def flat_network(filters=32, dropout=0.5):
    """Return the same network for flattened slabs, as StandardScaler returns them."""
    from keras import layers

    inputs = layers.Input((40 * 56 * 3,)), layers.Reshape((40, 56, 3))
    return _compiled(*inputs, filters=filters, dropout=dropout)


def _compiled(*inputs, filters=32, dropout=0.5):
    import keras
    from keras import layers

    model = keras.Sequential(list(inputs))
    for block in range(3):
        model.add(layers.Conv2D(filters << block, 3, activation="relu"))
        model.add(layers.BatchNormalization())
        model.add(layers.MaxPooling2D())
    model.add(layers.Flatten())
    model.add(layers.Dropout(dropout))
    for units in (1024, 256, 64):
        model.add(layers.Dense(units, activation="relu"))
        model.add(layers.BatchNormalization())
        model.add(layers.Dropout(dropout))
    model.add(layers.Dense(2, activation="softmax"))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def torch_network(filters=32, dropout=0.5, n_channels=3):
    """Return the same network for PyTorch."""
    from torch import channels_last, nn

    parts, width = [], n_channels
    for block in range(3):
        parts += [nn.Conv2d(width, filters << block, 3), nn.ReLU()]
        width = filters << block
        parts += [nn.BatchNorm2d(width), nn.MaxPool2d(2)]
    parts += [nn.Flatten(), nn.Dropout(dropout)]
    width *= 3 * 5
    for units in (1024, 256, 64):
        parts += [nn.Linear(width, units), nn.ReLU(), nn.BatchNorm1d(units), nn.Dropout(dropout)]
        width = units
    return nn.Sequential(*parts, nn.Linear(64, 2)).to(memory_format=channels_last)


def _samples(work):
    X, y = work.slabs(), work.labels.astype(np.int32)
    n_trained = 32 if work.quick else N_TRAINED
    end = n_trained + (16 if work.quick else N_VALIDATED)
    return (X[:n_trained], y[:n_trained]), (X[n_trained:end], y[n_trained:end])


def _stamps():
    """Return a callback of Keras and the list of times at which epochs end."""
    import keras

    times = []
    stamp = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: times.append(time.perf_counter())
    )
    return stamp, times


def _epoch(times):
    # In every framework the first epochs include some setup.
    return {"epoch": float(np.median(np.diff(times)[2:]))}


def epoch_keras(work):
    stamp, times = _stamps()
    trained, validated = _samples(work)
    options = {"epochs": work.epochs(16), "batch_size": 32, "verbose": 0, "callbacks": [stamp]}
    _network().fit(*trained, validation_data=validated, **options)
    return _epoch(times)


def epoch_torch(work):
    import torch
    from torch.nn.functional import cross_entropy

    (X, y), (X_validated, y_validated) = _samples(work)

    def tensor(X):
        return torch.tensor(X).permute(0, 3, 1, 2).to(memory_format=torch.channels_last)

    X, X_validated = tensor(X), tensor(X_validated)
    y, y_validated = torch.tensor(y).long(), torch.tensor(y_validated).long()
    model, times = torch_network(), []
    optimizer = torch.optim.Adam(model.parameters(), foreach=True)
    for _ in range(work.epochs(16)):
        model.train()
        shuffled = torch.randperm(len(X))
        for start in range(0, len(X), 32):
            index = shuffled[start : start + 32]
            optimizer.zero_grad()
            cross_entropy(model(X[index]), y[index]).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            cross_entropy(model(X_validated), y_validated).item()
        times.append(time.perf_counter())
    return _epoch(times)


def epoch_skfmri(work):
    from skfmri import SlabCNNClassifier

    stamp, times = _stamps()
    trained, validated = _samples(work)
    network = SlabCNNClassifier(epochs=work.epochs(16), callbacks=[stamp], random_state=0)
    network.fit(*trained, validation_data=validated)
    return _epoch(times)


def _later_fits(work, fit):
    """Return the time of later fits up to the end of their first epoch, minus one epoch."""
    found = []
    for number in range(2 if work.quick else 4):
        stamp, times = _stamps()
        start = time.perf_counter()
        fit(stamp)
        if number:
            found.append(times[0] - start - np.median(np.diff(times)))
    return {"before": float(np.median(found))}


def fits_keras(work):
    (X, y), _ = _samples(work)
    options = {"epochs": work.epochs(5), "batch_size": 32, "verbose": 0}
    return _later_fits(work, lambda stamp: _network().fit(X, y, callbacks=[stamp], **options))


def fits_scikeras(work):
    from scikeras.wrappers import KerasClassifier

    (X, y), _ = _samples(work)
    options = {"epochs": work.epochs(5), "batch_size": 32, "verbose": 0}
    return _later_fits(
        work, lambda stamp: KerasClassifier(_network, callbacks=[stamp], **options).fit(X, y)
    )


def fits_skfmri(work):
    from skfmri import SlabCNNClassifier

    (X, y), _ = _samples(work)
    options = {"epochs": work.epochs(5)}
    return _later_fits(
        work, lambda stamp: SlabCNNClassifier(callbacks=[stamp], **options).fit(X, y)
    )


def memory_skfmri(work):
    """Fit and predict a hundred times; return how much memory grows after the tenth, in MB."""
    from skfmri import SlabCNNClassifier

    (X, y), (X_tested, _) = _samples(work)

    def resident():
        gc.collect()
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    n_fits = 20 if work.quick else 100
    for number in range(n_fits):
        SlabCNNClassifier(epochs=1, random_state=number).fit(X, y).predict(X_tested)
        if number == 9:
            tenth = resident()
    return {"growth": resident() - tenth}


# Slabs larger than memory: all 41 slices as channels, so that an epoch reads a lot of data, but
# takes minutes rather than hours.
LARGE_SHAPE = (40, 56, 41)
LARGE_LIMIT = 1.5e9


def prepare_large(work):
    """Write slabs ten times as large as the memory allowed to `large_mapped`."""
    n_bytes = 4 * int(np.prod(LARGE_SHAPE))
    n_samples = 128 if work.quick else int(10 * LARGE_LIMIT / n_bytes)
    path = work.folder / "large.npy"
    slabs = np.lib.format.open_memmap(path, "w+", np.float32, (n_samples, *LARGE_SHAPE))
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(64, *LARGE_SHAPE)).astype(np.float32)
    for start in range(0, n_samples, 64):
        part = slabs[start : start + 64]
        part[...] = np.roll(noise, start // 64, axis=1)[: len(part)]
        part[1::2, 10:20, 10:20] += 0.05 * rng.normal(1, 1, size=(len(part[1::2]), 1, 1, 1))
    slabs.flush()


def _large(work, X):
    from skfmri import SlabCNNClassifier

    stamp, times = _stamps()
    y = np.arange(len(X)) % 2
    held_out = len(X) // 8
    network = SlabCNNClassifier(filters=8, epochs=2, callbacks=[stamp], random_state=0)
    network.fit(X[held_out:], y[held_out:])
    accuracy = network.score(X[:held_out], y[:held_out])
    return {"epoch": float(np.mean(np.diff(times))), "accuracy": accuracy}


def large_memory(work):
    return _large(work, np.load(work.folder / "large.npy"))


def large_mapped(work):
    """Fit through a memory map, with at most 1.5 GB of private memory."""
    resource.setrlimit(resource.RLIMIT_DATA, (int(LARGE_LIMIT),) * 2)
    return _large(work, np.load(work.folder / "large.npy", mmap_mode="r"))
