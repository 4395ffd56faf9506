"""Compiled networks that are lent out for training, one fit at a time."""

import json
import threading
import weakref
from functools import cached_property
from itertools import zip_longest
from numbers import Real

import numpy as np

from skfmri._backend import keras
from skfmri._kernels import leaf_layers, use_fast_kernels
from skfmri._parameters import check_number

MOST_IDLE = 4
CALL_BYTES = 32 * 1024**2
BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")


class CompiledNetwork:
    """A compiled model with traced training steps and one traced prediction.

    Parameters
    ----------
    model : keras.Model
        Compiled model whose optimizer is not built yet.

    Attributes
    ----------
    model : keras.Model
        The model.
    """

    def __init__(self, model):
        self.model = model
        model.optimizer.build(model.trainable_variables)
        self._layers = list(leaf_layers(model))
        self._dropouts = use_fast_kernels(model)
        drawn = {id(v) for layer in self._layers for v, _ in _drawn_weights(layer)}
        variables = [*model.variables, *model.optimizer.variables]
        self._start = [(v, _start_value(v)) for v in variables if id(v) not in drawn]
        _check_start(model, self._start)

    @cached_property
    def train_steps(self):
        """Traced function of samples, labels, weights and batch size: a step for each batch."""
        import tensorflow as tf

        model = self.model

        def steps(X, y, sample_weight, batch_size):
            def step(start):
                batch = slice(start, start + batch_size)
                model.train_step((X[batch], y[batch], sample_weight[batch]))
                return (start + batch_size,)

            n_samples = tf.shape(X)[0]
            tf.while_loop(lambda start: start < n_samples, step, (0,), parallel_iterations=1)
            return model.get_metrics_result()

        shapes = [model.input_shape, (None,), (None,), ()]
        return _traced(steps, shapes, ["float32", "int32", "float32", "int32"])

    @cached_property
    def predict_step(self):
        """Traced function of a batch: the network's output."""
        model = self.model
        return _traced(lambda x: model(x, training=False), [model.input_shape], ["float32"])

    def reset(self, seeds, learning_rate=None, dropout=None):
        """Give the network the state of a newly built one, random parts drawn from `seeds`.

        Parameters
        ----------
        seeds : numpy.random.Generator
            Gives one seed per kernel and per dropout, in the order of the layers.
        learning_rate : float, optional
            Step size of the optimizer; None keeps the one it was built with.
        dropout : float, optional
            Rate of all dropout layers, not 0; None keeps those they were built with.
        """
        for variable, value in self._start:
            variable.assign(np.broadcast_to(value, variable.shape))
        for layer in self._layers:
            seed = int(seeds.integers(2**31 - 1))
            for number, (variable, initializer) in enumerate(_drawn_weights(layer)):
                config = {**initializer.get_config(), "seed": seed + number}
                seeded = type(initializer).from_config(config)
                variable.assign(seeded(variable.shape, dtype=variable.dtype))
            for generator in _seed_generators(layer):
                generator.state.assign([seed, 0])
        if learning_rate is not None:
            self.model.optimizer.learning_rate = learning_rate
        if dropout is not None:
            for layer in self._dropouts:
                layer.rate = dropout
                layer.current_rate.assign(dropout)


def _drawn_weights(layer):
    """Return the weights of a layer that are drawn at random, each with its initializer."""
    found = []
    for variable in layer.weights:
        # Keras calls the initializer of "depthwise_kernel" "depthwise_initializer", and in a layer
        # that is depthwise as a whole that of "kernel" too.
        names = (variable.name, variable.name.removesuffix("_kernel"))
        names += ("depthwise",) if variable.name == "kernel" else ()
        named = [getattr(layer, f"{name}_initializer", None) for name in names]
        initializer = next((item for item in named if item is not None), None)
        if hasattr(initializer, "get_config") and "seed" in initializer.get_config():
            found.append((variable, initializer))
    return found


def _seed_generators(layer):
    return [v for v in vars(layer).values() if isinstance(v, keras.random.SeedGenerator)]


def _check_start(model, start):
    """Refuse weights that differ at the start, but would be the same in every fit."""
    trained = {id(variable): variable for variable in model.trainable_variables}
    for variable, value in start:
        if id(variable) in trained and np.ndim(value):
            raise ValueError(
                f"The network draws its weight {variable.path!r} in a way that cannot be repeated "
                "from a seed, so all fits would start alike. Use layers that name an initializer "
                "for it, as Dense, the convolutions, Embedding and recurrent layers do."
            )


def _traced(function, shapes, dtypes):
    import tensorflow as tf

    # Batches of any length share one trace, the shorter last one of an epoch included.
    signature = [tf.TensorSpec(*spec) for spec in zip(shapes, dtypes, strict=True)]
    graph = tf.function(function, input_signature=signature, autograph=False)
    # Traced here, not in a first call, which TensorFlow counts and warns about.
    graph.get_concrete_function()
    return graph


def _start_value(variable):
    # Optimizer moments are as large as the weights, yet start from one number.
    value = np.asarray(variable)
    return value.flat[0] if value.size and (value == value.flat[0]).all() else value.copy()


class Lease:
    """The right to use a network alone, for as long as this object lives."""

    def __init__(self, network):
        self.network = network


class NetworkPool:
    """Idle compiled networks, kept for the next fit of the same architecture.

    Building and tracing a network takes seconds, and TensorFlow never gives all of that memory
    back, so a cross-validation should do it once. A network belongs to one borrower at a time.

    Parameters
    ----------
    most_idle : int
        Number of idle networks kept; the longest idle one is dropped first.
    """

    def __init__(self, most_idle=MOST_IDLE):
        self.most_idle = most_idle
        self._idle = []
        # Returns happen in garbage collection, which may strike inside any of these methods.
        self._lock = threading.RLock()

    def borrow(self, key, build):
        """Lend an idle network of this key, or else what `build()` returns.

        Parameters
        ----------
        key : hashable
            Everything that shapes the compiled network.
        build : callable
            Returns a compiled `keras.Model`.

        Returns
        -------
        Lease
            Its ``network`` is in an unknown state: call ``reset``, or set all weights. It comes
            back to the pool by itself when nobody holds the lease any more.
        """
        lease = Lease(self._take(key) or CompiledNetwork(build()))
        weakref.finalize(lease, self._give_back, key, lease.network).atexit = False
        return lease

    def _take(self, key):
        with self._lock:
            for position, (idle_key, network) in enumerate(self._idle):
                if idle_key == key:
                    del self._idle[position]
                    return network
        return None

    def _give_back(self, key, network):
        with self._lock:
            self._idle.append((key, network))
            del self._idle[: -self.most_idle]

    def clear(self):
        """Forget all idle networks."""
        with self._lock:
            self._idle.clear()

    def __len__(self):
        return len(self._idle)


POOL = NetworkPool()


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
):
    """Train a network as ``keras.Model.fit`` does, without its set-up costs or global seeds.

    Parameters
    ----------
    network : CompiledNetwork
        Freshly reset.
    X : ndarray of shape (n_samples, ...)
        Any real dtype; read batch by batch, so a memory map stays on disk.
    y : ndarray of shape (n_samples,), int
        Positions of the classes.
    sample_weight : ndarray of shape (n_samples,), float32
        Weight of each sample in the loss.
    epochs, batch_size : int
        As in Keras.
    order : numpy.random.Generator
        Shuffles the samples at the start of each epoch.
    validation : tuple of ndarray, optional
        Samples, positions of their classes and weights; evaluated after each epoch.
    patience : int, optional
        Stop after so many epochs without a lower validation loss, and go back to the weights of
        the epoch with the lowest.
    callbacks : sequence of keras.callbacks.Callback
        Called as Keras does; they hold no reference to the model afterwards.
    verbose : int
        As in Keras.

    Returns
    -------
    history : dict of str to list of float
        Mean loss and accuracy of each epoch, and those of the validation samples.
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
    lowest, best_epoch, best_weights = np.inf, 0, None
    try:
        calls.on_train_begin()
        for epoch in range(epochs):
            calls.on_epoch_begin(epoch)
            logs = train_epoch(network, X, y, sample_weight, order, batch_size, calls)
            if validation is not None:
                logs |= evaluate(network, *validation, batch_size)
            calls.on_epoch_end(epoch, logs)
            if patience is not None and logs["val_loss"] < lowest:
                lowest, best_epoch, best_weights = logs["val_loss"], epoch, model.get_weights()
            waited = patience is not None and epoch - best_epoch >= patience
            if model.stop_training or waited:
                break
        if best_weights is not None:
            model.set_weights(best_weights)
            epoch = best_epoch
        model.optimizer.finalize_variable_values(model.trainable_variables)
        calls.on_train_end(logs)
    finally:
        for callback in calls.callbacks:
            keras.callbacks.Callback.set_model(callback, None)
    return history.history, epoch + 1


def mean_history(histories):
    """Return the mean over histories, of each epoch over those that reached it."""
    if len(histories) == 1:
        return histories[0]
    return {
        name: [
            float(np.mean([value for value in values if value is not None]))
            for values in zip_longest(*(history[name] for history in histories))
        ]
        for name in histories[0]
    }


def train_epoch(network, X, y, sample_weight, order, batch_size, calls):
    """Show every sample to the network once; return the means of loss and metrics.

    Batches are trained many to a call, except where a callback wants to know of each.
    """
    model = network.model
    model.reset_metrics()
    shuffled = order.permutation(len(X))
    sees_batches = any(map(_sees_batches, calls.callbacks))
    n_batches = 1 if sees_batches else _batches_per_call(model, batch_size)
    for step, start in enumerate(range(0, len(X), n_batches * batch_size)):
        index = shuffled[start : start + n_batches * batch_size]
        if sees_batches:
            calls.on_train_batch_begin(step)
        samples = as_input(X[index], network)
        logs = network.train_steps(samples, y[index], sample_weight[index], batch_size)
        if sees_batches:
            calls.on_train_batch_end(step, logs)
        if model.stop_training:
            break
    return {name: float(value) for name, value in logs.items()}


def _sees_batches(callback):
    """Tell whether a callback overrides a method that is called for each batch."""
    defaults = [getattr(keras.callbacks.Callback, name) for name in BATCH_HOOKS]
    found = [getattr(callback, name) for name in BATCH_HOOKS]
    return any(
        getattr(method, "__func__", method) is not default
        for method, default in zip(found, defaults, strict=True)
    )


def _batches_per_call(model, batch_size):
    """Return how many batches are copied for one call: a memory map is read piece by piece."""
    sample_bytes = 4 * int(np.prod(model.input_shape[1:]))
    return max(1, CALL_BYTES // (sample_bytes * batch_size))


def evaluate(network, X, y, sample_weight, batch_size):
    """Return the mean loss, weighted, and the accuracy on samples that are not trained on."""
    outputs = predict(network, X, batch_size).astype(np.float64)
    # Keras keeps the logarithm finite in the same way.
    of_class = np.clip(outputs[np.arange(len(y)), y], keras.config.epsilon(), 1)
    return {
        "val_loss": float(np.average(-np.log(of_class), weights=sample_weight)),
        "val_accuracy": float(np.mean(outputs.argmax(axis=1) == y)),
    }


def predict(network, X, batch_size):
    """Return the network's output for each sample, float32 ``(n_samples, n_classes)``."""
    outputs = np.empty((len(X), *network.model.output_shape[1:]), np.float32)
    for start in range(0, len(X), batch_size):
        stop = start + batch_size
        outputs[start:stop] = network.predict_step(as_input(X[start:stop], network))
    return outputs


def as_input(batch, network):
    """Return samples as the float32 array the network takes, with a channel axis where missing."""
    return np.asarray(batch, np.float32).reshape(-1, *network.model.input_shape[1:])


def optimizer_settings(optimizer, learning_rate):
    """Return the class and configuration of an optimizer, and the learning rate to set."""
    if isinstance(optimizer, keras.optimizers.Optimizer):
        config, learning_rate = keras.saving.serialize_keras_object(optimizer)["config"], None
    elif isinstance(optimizer, str):
        check_number(learning_rate, "learning_rate", Real, above=0)
        try:
            optimizer = keras.optimizers.get(optimizer)
        except ValueError as error:
            raise ValueError(
                f"optimizer={optimizer!r} is no Keras optimizer. Pass a name such as 'adam' or "
                "'sgd', or an instance of keras.optimizers.Optimizer."
            ) from error
        # The rate is a variable of the network, so networks of all rates are one and the same.
        config, learning_rate = optimizer.get_config(), float(learning_rate)
    else:
        raise TypeError(
            f"optimizer must be a name or a keras.optimizers.Optimizer, but is {optimizer!r}."
        )
    # Keras numbers names through the process; with one inside, no two configurations were equal.
    config = {key: value for key, value in config.items() if key != "name"}
    return (type(optimizer), json.dumps(config, sort_keys=True)), learning_rate


def callback_list(callbacks):
    if callbacks is None:
        return []
    callbacks = [callbacks] if isinstance(callbacks, keras.callbacks.Callback) else list(callbacks)
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.Callback):
            raise TypeError(
                f"callbacks holds {callback!r}, which is no keras.callbacks.Callback. "
                "Pass instances, such as [keras.callbacks.EarlyStopping('loss')]."
            )
    return callbacks
