"""A compiled network that is traced once for many fits."""

# Keras builds and traces a network anew in every fit, which takes seconds. A `CompiledNetwork`
# does so once. It remembers the value with which each variable started and which weights an
# initializer drew; `reset` restores the ones and draws the others again from given seeds, so a fit
# cannot see whether the network was used before. Both traced functions take batches of any length,
# and `train_steps` loops over many batches inside TensorFlow, so Python runs once for all of them.

import warnings
from functools import cached_property

import numpy as np

from skfmri.networks.backend import keras
from skfmri.networks.kernels import leaf_layers, own_state, use_fast_kernels
from skfmri.networks.outputs import CLASSES


class CompiledNetwork:
    """A compiled model with traced training steps and one traced prediction.

    Parameters
    ----------
    model : keras.Model
        Compiled model whose optimizer is not built yet.
    kind : OutputKind, default=CLASSES
        What its outputs mean.

    Attributes
    ----------
    model, kind : keras.Model, OutputKind
        As passed.
    """

    def __init__(self, model, kind=CLASSES):
        self.model, self.kind = model, kind
        self._loss = keras.losses.get(model.loss)
        (_check_loss if kind is CLASSES else _check_loss_of_numbers)(self)
        model.optimizer.build(model.trainable_variables)
        self._layers = list(leaf_layers(model))
        self._dropouts = use_fast_kernels(model)
        drawn = {id(v) for layer in self._layers for v, _ in _drawn_weights(layer)}
        variables = [*model.variables, *model.optimizer.variables]
        self._start = [(v, _start_value(v)) for v in variables if id(v) not in drawn]
        _check_start(model, self._start)

    @cached_property
    def train_steps(self):
        """Traced function of samples, labels, weights and batch size: one step per batch."""
        import tensorflow as tf

        model = self.model

        # A separate function, not inlined into the loop, whose graph has no fixed order of nodes:
        # there TensorFlow sometimes chooses another kernel for the gradient of a pooling. That one
        # passes the gradient of equal maxima to a different voxel, so that two networks built alike
        # would be trained to different weights.
        @tf.function(autograph=False, experimental_attributes={"_noinline": True})
        def train(X, y, sample_weight):
            model.train_step((X, self._targets(y), sample_weight))

        def steps(X, y, sample_weight, batch_size):
            def step(start):
                batch = slice(start, start + batch_size)
                train(X[batch], y[batch], sample_weight[batch])
                return (start + batch_size,)

            n_samples = tf.shape(X)[0]
            tf.while_loop(lambda start: start < n_samples, step, (0,), parallel_iterations=1)
            return model.get_metrics_result()

        of_targets = (None,) if self.kind.n_axes == 1 else (None, model.output_shape[-1])
        shapes = [model.input_shape, of_targets, (None,), ()]
        return _traced(steps, shapes, ["float32", self.kind.dtype, "float32", "int32"])

    @cached_property
    def predict_step(self):
        """Traced function of a batch: the network's output."""
        model = self.model
        return _traced(lambda x: model(x, training=False), [model.input_shape], ["float32"])

    def losses(self, y, outputs):
        """Return the loss of each sample.

        Parameters
        ----------
        y : ndarray of shape (n_samples,), int, or (n_samples, n_outputs), float32
            Positions of the classes, or numbers.
        outputs : ndarray of shape (n_samples, n_outputs), float32
            Output of the network.

        Returns
        -------
        losses : ndarray of shape (n_samples,), float64
        """
        return np.asarray(self._loss(self._targets(y), outputs), np.float64)

    def _targets(self, y):
        """Return targets as the loss takes them."""
        return self.kind.encode(y, self.model.output_shape[-1], self._loss)

    def reset(self, seeds, learning_rate=None, dropout=None):
        """Return the network to the state of a newly built one, drawing random parts from `seeds`.

        Parameters
        ----------
        seeds : numpy.random.Generator
            Gives one seed per kernel and per dropout, in the order of the layers.
        learning_rate : float, optional
            Step size of the optimizer; None keeps the present one.
        dropout : float, optional
            Rate of all dropout layers, not 0; None keeps the present rates.
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


def check_probabilities(network, name):
    """Raise ValueError unless the output of a network is one probability per class.

    Goes by values, because a network need not end in a softmax to give probabilities: a mean of
    softmaxes does so too. The network is left in an unknown state.

    Parameters
    ----------
    network : CompiledNetwork
        Newly built.
    name : str
        Name of the function that built the model, for the error message.
    """
    model, rng = network.model, np.random.default_rng(0)
    trained = {id(variable) for variable in model.trainable_variables}
    # Two sigmoids sum to 1 while their weights are 0, or their input is.
    for variable, value in network._start:
        if id(variable) in trained:
            variable.assign(value + 0.1 * rng.standard_normal(variable.shape))
    scales = np.reshape([1, 1, 10, 1000], (-1, *[1] * (len(model.input_shape) - 1)))
    X = scales * rng.standard_normal((len(scales), *model.input_shape[1:]))
    outputs = np.asarray(model(X.astype(np.float32), training=False))
    # Half precision has three digits.
    tolerance = 1e-3 if outputs.dtype.itemsize > 2 else 1e-2
    # An overflow for unusually large values proves nothing.
    rows = outputs[np.isfinite(outputs).all(axis=1)].astype(np.float64)
    sums = rows.sum(axis=1)
    if (rows < -tolerance).any() or (abs(sums - 1) > tolerance).any():
        raise ValueError(
            f"{name} must return a network whose output is one probability per class, but for "
            f"random samples the smallest output is {rows.min():.3g} and the outputs of a sample "
            f"sum to between {sums.min():.3g} and {sums.max():.3g}. End it in a softmax: "
            "keras.layers.Dense(n_classes, 'softmax')."
        )


def _drawn_weights(layer):
    """Return the weights of a layer that are drawn at random, each with its initializer."""
    found = []
    for variable in own_state(layer):
        # Keras names the initializer of "depthwise_kernel" "depthwise_initializer", as it does that
        # of "kernel" in a purely depthwise layer.
        names = (variable.name, variable.name.removesuffix("_kernel"))
        names += ("depthwise",) if variable.name == "kernel" else ()
        named = [getattr(layer, f"{name}_initializer", None) for name in names]
        initializer = next((item for item in named if item is not None), None)
        if hasattr(initializer, "get_config") and "seed" in initializer.get_config():
            found.append((variable, initializer))
    return found


def _seed_generators(layer):
    return [v for v in vars(layer).values() if isinstance(v, keras.random.SeedGenerator)]


def _check_loss(network):
    """Refuse a loss to which the weights of samples cannot be applied."""
    n_classes = network.model.output_shape[-1]
    found = network.losses(np.zeros(3, np.int32), np.full((3, n_classes), 1 / n_classes, "float32"))
    if found.shape != (3,):
        raise ValueError(
            f"The loss gave shape {found.shape} for 3 samples of {n_classes} classes. It must "
            "give one number per sample, as keras.ops.mean(..., axis=-1) does."
        )


def _check_loss_of_numbers(network):
    """Refuse a loss that is not lowest where the output is the target."""
    import tensorflow as tf

    n_targets = network.model.output_shape[-1]
    y = np.repeat(np.float32([[-1], [0], [2]]), n_targets, axis=1)
    with warnings.catch_warnings():
        # Losses of classes have something to say about these values.
        warnings.simplefilter("ignore")
        try:
            found, wrong = (network.losses(y, y + error) for error in (0, np.float32(0.5)))
        except tf.errors.InvalidArgumentError:
            found = wrong = np.full(3, np.nan)
    if found.shape != (3,):
        raise ValueError(
            f"The loss gave shape {found.shape} for 3 samples of {n_targets} targets. It must "
            "give one number per sample, as keras.ops.mean(..., axis=-1) does."
        )
    if not (found < wrong).all():
        raise ValueError(
            f"The loss is {found.tolist()} where the output is the target and {wrong.tolist()} "
            "where it is larger by 0.5. A regression needs a loss that is lowest there, such as "
            "'mean_squared_error', 'mean_absolute_error' or 'huber'."
        )


def _check_start(model, start):
    """Refuse weights that look drawn at random, but would be the same in every fit."""
    trained = {id(variable): variable for variable in model.trainable_variables}
    for variable, value in start:
        if id(variable) in trained and np.ndim(value):
            raise ValueError(
                f"The network draws its weight {variable.path!r} in a way that cannot be repeated "
                "from a seed, so all fits would start with the same values. Use layers that name "
                "an initializer for it, as Dense, convolution, Embedding and recurrent layers do."
            )


def _traced(function, shapes, dtypes):
    import tensorflow as tf

    # Batches of any length share one trace, including the shorter last one of an epoch.
    signature = [tf.TensorSpec(*spec) for spec in zip(shapes, dtypes, strict=True)]
    graph = tf.function(function, input_signature=signature, autograph=False)
    # Traced here rather than in the first call, which TensorFlow would count and warn about.
    graph.get_concrete_function()
    return graph


def _start_value(variable):
    # Moments of an optimizer are as large as the weights, but all start from one number.
    value = np.asarray(variable)
    return value.flat[0] if value.size and (value == value.flat[0]).all() else value.copy()
