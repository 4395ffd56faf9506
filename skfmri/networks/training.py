"""Training of a compiled network, epoch by epoch."""

from itertools import zip_longest

import numpy as np
from sklearn.utils import check_random_state

from skfmri._arrays import read_ahead, read_rows
from skfmri.networks.backend import keras
from skfmri.networks.early_stopping import EarlyStopping

CALL_BYTES = 32 * 1024**2
BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")


def train(
    network,
    X,
    y,
    sample_weight,
    *,
    epochs,
    batch_size,
    order,
    validation=None,
    patience=None,
    callbacks=(),
    verbose=0,
    call_bytes=CALL_BYTES,
):
    """Train a network as ``keras.Model.fit`` does, without its set-up costs or global seeds.

    Parameters
    ----------
    network : CompiledNetwork
        Freshly reset.
    X : ndarray of shape (n_samples, ...)
        Any real dtype; read batch by batch, so a memory map stays on disk.
    y : ndarray of shape (n_samples,), int, or (n_samples, n_targets), float32
        Positions of the classes, or standardised numbers.
    sample_weight : ndarray of shape (n_samples,), float32
        Weight of each sample in the loss.
    epochs, batch_size : int
        As in Keras.
    order : numpy.random.Generator
        Shuffles the samples at the start of each epoch.
    validation : tuple of ndarray, optional
        Samples, their targets and weights; evaluated after each epoch.
    patience : int, optional
        Stop after this many epochs without a lower validation loss, and go back to the weights of
        the epoch with the lowest.
    callbacks : sequence of keras.callbacks.Callback
        Called as Keras does; they hold no reference to the model afterwards.
    verbose : int
        As in Keras.
    call_bytes : int, default=33554432
        Bytes of samples that are copied for one call of TensorFlow, rounded to whole batches, of
        which there is at least one.

    Returns
    -------
    history : dict of str to list of float
        Mean loss and metric of each epoch, and those of the validation samples.
    n_epochs : int
        Epochs that the weights have seen.
    """
    model, history = network.model, keras.callbacks.History()
    calls = keras.callbacks.CallbackList(
        [*callbacks, history],
        add_progbar=verbose != 0,
        model=model,
        verbose=verbose,
        epochs=epochs,
        steps=-(-len(X) // batch_size),
    )
    model.stop_training = False
    stopping = EarlyStopping(model, patience)
    samples = X, y, sample_weight
    try:
        calls.on_train_begin()
        for epoch in range(epochs):
            calls.on_epoch_begin(epoch)
            logs = train_epoch(network, *samples, order, batch_size, calls, call_bytes)
            if validation is not None:
                logs |= evaluate(network, *validation, batch_size)
            calls.on_epoch_end(epoch, logs)
            if stopping.should_stop(epoch, logs) or model.stop_training:
                break
        n_epochs = stopping.keep_best(epoch)
        model.optimizer.finalize_variable_values(model.trainable_variables)
        calls.on_train_end(logs)
    finally:
        for callback in calls.callbacks:
            keras.callbacks.Callback.set_model(callback, None)
    return history.history, n_epochs


def mean_history(histories):
    """Return the mean of histories; for late epochs, of those histories that reached them."""
    if len(histories) == 1:
        return histories[0]
    return {
        name: [
            float(np.mean([value for value in values if value is not None]))
            for values in zip_longest(*(history[name] for history in histories))
        ]
        for name in histories[0]
    }


def train_epoch(network, X, y, sample_weight, order, batch_size, calls, call_bytes):
    """Show every sample to the network once; return the means of loss and metrics.

    One call trains many batches, unless a callback follows every batch. While it runs, the samples
    of the next call are copied, from disk if X is a memory map.
    """
    model = network.model
    model.reset_metrics()
    shuffled = order.permutation(len(X))
    sees_batches = any(map(_sees_batches, calls.callbacks))
    n_batches = 1 if sees_batches else _batches_per_call(model, batch_size, call_bytes)
    call_size = batch_size * n_batches

    def read_pieces():
        for start in range(0, len(X), call_size):
            index = shuffled[start : start + call_size]
            yield index, as_input(read_rows(X, index), network)

    # A single piece needs no thread, which might keep a heap of memory.
    pieces = read_ahead(read_pieces()) if len(X) > call_size else read_pieces()
    for step, (index, samples) in enumerate(pieces):
        if sees_batches:
            calls.on_train_batch_begin(step)
        logs = network.train_steps(samples, y[index], sample_weight[index], batch_size)
        if sees_batches:
            calls.on_train_batch_end(step, logs)
        if model.stop_training:
            break
    return {name: float(value) for name, value in logs.items()}


def _sees_batches(callback):
    """Return whether a callback overrides a method that is called for each batch."""
    defaults = [getattr(keras.callbacks.Callback, name) for name in BATCH_HOOKS]
    found = [getattr(callback, name) for name in BATCH_HOOKS]
    return any(
        getattr(method, "__func__", method) is not default
        for method, default in zip(found, defaults, strict=True)
    )


def _batches_per_call(model, batch_size, call_bytes):
    """Return how many batches are copied for one call: a memory map is read piece by piece."""
    sample_bytes = 4 * int(np.prod(model.input_shape[1:]))
    return max(1, call_bytes // (sample_bytes * batch_size))


def evaluate(network, X, y, sample_weight, batch_size):
    """Return the weighted mean loss and the metric on samples that are not trained on."""
    outputs = predict(network, X, batch_size)
    return {
        "val_loss": float(np.average(network.losses(y, outputs), weights=sample_weight)),
        f"val_{network.kind.metric}": float(network.kind.judge(y, outputs)),
    }


def predict(network, X, batch_size):
    """Return the network's output for each sample, float32 ``(n_samples, n_outputs)``."""
    outputs = np.empty((len(X), *network.model.output_shape[1:]), np.float32)
    for start in range(0, len(X), batch_size):
        stop = start + batch_size
        outputs[start:stop] = network.predict_step(as_input(X[start:stop], network))
    return outputs


def as_input(batch, network):
    """Return samples as the float32 array the network takes, with a channel axis if missing."""
    return np.asarray(batch, np.float32).reshape(-1, *network.model.input_shape[1:])


def seed_sequence(random_state):
    """Return a sequence to spawn seeds from, leaving NumPy's global state unchanged."""
    if random_state is None:
        # scikit-learn would draw from NumPy's global state, and so change it.
        return np.random.SeedSequence()
    drawn = check_random_state(random_state).randint(2**31 - 1, size=4)
    return np.random.SeedSequence(drawn.tolist())


def callback_list(callbacks):
    """Return callbacks of Keras as a list, or raise TypeError."""
    if callbacks is None:
        return []
    callbacks = [callbacks] if isinstance(callbacks, keras.callbacks.Callback) else list(callbacks)
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.Callback):
            raise TypeError(
                f"callbacks holds {callback!r}, which is not a keras.callbacks.Callback. "
                "Pass instances, such as [keras.callbacks.EarlyStopping('loss')]."
            )
    return callbacks
