"""Recipes from which networks are built, trained or restored from weights."""

import functools
import inspect
import json
import math
import os
import re
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real

import numpy as np

from skfmri._validation import check_number
from skfmri.networks.architecture import convolutional_network
from skfmri.networks.backend import check_fork, keras
from skfmri.networks.compiled import CompiledNetwork, check_probabilities
from skfmri.networks.keras_private import parts_of_loss
from skfmri.networks.outputs import CLASSES, OutputKind
from skfmri.networks.pool import POOL
from skfmri.networks.training import train

# Layer whose output is added to that of the linear path.
NETWORK_PATH = "network_path"
# At the end of the names that Keras gives.
NUMBER = re.compile(r"_\d+$")
# Weights are float32, to which a larger learning rate is infinite.
TOO_LARGE = 3.4e38
BYTES_OF_WEIGHT = 4
# Filters, units or voxels of a kernel beyond which the size of a network is looked at.
LARGE = 2**13
# Members beyond which their size is looked at.
MOST_MEMBERS = 10
# No grid can be halved so often.
MOST_BLOCKS = 65
BINARY_LOSSES = (keras.losses.binary_crossentropy, keras.losses.binary_focal_crossentropy)
MEMORY = math.inf
if hasattr(os, "sysconf"):  # not on Windows
    MEMORY = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _settings_of_keras():
    """Return the settings of the whole process that a network depends on when it is built."""
    return keras.config.dtype_policy().name, keras.config.floatx(), keras.config.image_data_format()


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a compiled network.

    Parameters
    ----------
    function : callable
        Takes input shape, number of outputs and keywords; returns an uncompiled model.
    input_shape : tuple of int
        Shape of one sample as the network takes it.
    n_outputs : int
        Number of classes, or of numbers to predict.
    keywords : tuple of (str, object)
        Keyword arguments of the function, hashable.
    optimizer : type
        Class of the optimizer.
    optimizer_config : str
        Its configuration as JSON.
    loss : str, callable or tuple
        Name, function, or the parts of a `functools.partial`.
    frozen : tuple of str, default=()
        Names of layers that are not trained.
    kind : OutputKind, default=CLASSES
        What the outputs mean.
    """

    function: object
    input_shape: tuple
    n_outputs: int
    keywords: tuple
    optimizer: type
    optimizer_config: str
    loss: object
    frozen: tuple = ()
    kind: OutputKind = CLASSES

    def lease(self):
        """Borrow a compiled network; recipes that differ only in a dropout rate share it."""
        key, dropout = self, self.dropout
        if dropout is not None:
            keywords = {**dict(self.keywords), "dropout": "any"}
            key = replace(self, keywords=tuple(keywords.items()))
        return POOL.borrow((key, _settings_of_keras()), self._compiled_network)

    @property
    def dropout(self):
        """The rate that each fit sets; None without dropout or for a network of the user."""
        is_ours = self.function is convolutional_network
        return (dict(self.keywords).get("dropout") or None) if is_ours else None

    def model(self):
        """Return the network, neither compiled nor trained, or raise ValueError."""
        model = self.function(self.input_shape, self.n_outputs, **dict(self.keywords))
        if not isinstance(model, keras.Model) or model.output_shape != (None, self.n_outputs):
            found = getattr(model, "output_shape", type(model).__name__)
            raise ValueError(
                f"{self.function.__name__} must return a keras.Model whose output has the shape "
                f"(None, {self.n_outputs}), {self.kind.meaning}, but returned {found}. "
                f"End it in {self.kind.ending}."
            )
        freeze_layers(model, self.frozen)
        return model

    def outline(self):
        """Return the network for its names and shapes, if it is ours without memory for weights."""
        if self.function is not convolutional_network:
            # A network of the user's may compute with its weights while it is being built.
            return self.model()
        with keras.StatelessScope(initialize_variables=False):
            return self.model()

    def check_size(self, n_members=1):
        """Raise ValueError if the weights of networks cannot fit into memory.

        TensorFlow would fail in words of its own, or fill the memory for minutes before. A single
        network of the user's is not looked at, nor are a few of ordinary size.
        """
        settings, is_ours = dict(self.keywords), self.function is convolutional_network
        is_large = is_ours and _may_be_large(**settings)
        if not is_large and n_members <= MOST_MEMBERS:
            return
        if is_ours:
            check_number(settings["n_blocks"], "n_blocks", least=0, below=MOST_BLOCKS)
        n_weights = self.outline().count_params()
        n_bytes, there_are = BYTES_OF_WEIGHT * n_weights, f"{MEMORY / 2**30:.3g} GB of memory"
        if n_bytes > MEMORY:
            raise ValueError(
                f"The network would have {n_weights:.3g} weights, which take "
                f"{n_bytes / 2**30:.3g} GB of the {there_are}. Choose smaller filters, "
                "dense_units, kernel_size or n_blocks."
            )
        if n_bytes * n_members > MEMORY:
            raise ValueError(
                f"n_members={n_members} networks of {n_weights} weights take "
                f"{n_bytes * n_members / 2**30:.3g} GB of the {there_are}. Choose fewer."
            )

    def compiled_model(self):
        """Return the network, compiled."""
        self.check_size()
        return self._compiled(self.model())

    def _compiled_network(self):
        network = CompiledNetwork(self.compiled_model(), self.kind)
        # Ours ends in a softmax, so its many layers need not be called.
        if self.kind is CLASSES and self.function is not convolutional_network:
            check_probabilities(network, self.function.__name__)
        return network

    def fitted_model(self, members):
        """Return a model with these weights; several lists of weights give an averaging model."""
        check_fork()
        models = [self.compiled_model() for _ in members]
        for number, (model, weights) in enumerate(zip(models, members, strict=True), start=1):
            model.set_weights(weights)
            if len(members) > 1:
                model.name = f"member{number}"
        if len(models) == 1:
            return models[0]
        inputs = keras.Input(models[0].input_shape[1:], name="input")
        outputs = keras.layers.Average(name=self.kind.name)([model(inputs) for model in models])
        return self._compiled(keras.Model(inputs, outputs, name="average"))

    def _compiled(self, model):
        loss = self.loss
        if isinstance(loss, tuple):
            function, positional, keywords = loss
            loss = partial(function, *positional, **dict(keywords))
        is_binary = getattr(loss, "func", loss_function(loss) or loss) in BINARY_LOSSES
        if is_binary and self.kind is CLASSES:
            loss = partial(loss_of_probabilities, loss)
        model.compile(
            self.optimizer.from_config(json.loads(self.optimizer_config)),
            loss,
            metrics=[self.kind.metric],
            # On a CPU, compiling with XLA takes longer than it ever saves.
            jit_compile=False,
        )
        return model


def _may_be_large(filters, n_blocks, dense_units, kernel_size, **_):
    """Return whether settings are out of the ordinary, so that it is worth counting weights."""
    widest = np.max(filters, initial=1) * 2.0 ** min(n_blocks, MOST_BLOCKS)
    sides = [np.max(entry, initial=1) for entry in np.ravel(np.array(kernel_size, dtype=object))]
    return max(widest, np.max(dense_units, initial=1), max(sides) ** 2.0) > LARGE


def optimizer_settings(optimizer, learning_rate):
    """Return the class and configuration of an optimizer, and the learning rate to set."""
    if isinstance(optimizer, keras.optimizers.Optimizer):
        config, learning_rate = keras.saving.serialize_keras_object(optimizer)["config"], None
        # A schedule is described by a dict.
        if isinstance(config.get("learning_rate"), Real):
            name = "learning_rate of the optimizer"
            check_number(config["learning_rate"], name, Real, least=0, below=TOO_LARGE)
    elif isinstance(optimizer, str):
        check_number(learning_rate, "learning_rate", Real, above=0, below=TOO_LARGE)
        # The rate is a variable of the network, so one network serves all rates.
        return _named_optimizer(optimizer), float(learning_rate)
    else:
        raise TypeError(
            f"optimizer must be a name or a keras.optimizers.Optimizer, but is {optimizer!r}."
        )
    return (type(optimizer), _without_name(config)), learning_rate


# Once for each name: TensorFlow never gives back the 70 kB that an optimizer takes.
@functools.cache
def _named_optimizer(name):
    try:
        optimizer = keras.optimizers.get(name)
    except ValueError as error:
        raise ValueError(
            f"Unknown Keras optimizer {name!r}. Pass a name such as 'adam' or 'sgd', or "
            "an instance of keras.optimizers.Optimizer."
        ) from error
    return type(optimizer), _without_name(optimizer.get_config())


def _without_name(config):
    # Keras numbers names throughout a process; with a name, no two configurations would be equal.
    return json.dumps({key: config[key] for key in config if key != "name"}, sort_keys=True)


def loss_of_probabilities(loss, y_true, y_pred):
    """Return a binary loss of the probabilities of a softmax.

    From the output of a softmax, Keras goes back to its inputs and takes these for the logits of
    sigmoids.
    """
    return keras.losses.get(loss)(y_true, keras.ops.copy(y_pred))


def loss_function(name):
    """Return the loss function of Keras that has this name, such as "bce", or None."""
    # Of a dict Keras would build what it describes.
    if not isinstance(name, str):
        return None
    try:
        found = keras.losses.get(name)
    except ValueError:
        return None
    return found if inspect.isfunction(found) else None


def loss_with_options(loss):
    """Return a loss object of Keras as the function that it computes, with its options.

    Parameters
    ----------
    loss : keras.losses.Loss
        Loss object.

    Returns
    -------
    function : functools.partial or None
        None for a loss of the user, or if the losses of samples are not simply averaged.
    """
    function, options = parts_of_loss(loss)
    if function is None or loss_function(function.__name__) is not function:
        return None
    is_mean = loss.reduction == "sum_over_batch_size"
    return partial(function, **options) if is_mean and loss.dtype == "float32" else None


def loss_settings(loss):
    """Return a loss in a form that can be hashed and compared, as a `Recipe` needs it."""
    if isinstance(loss, keras.losses.Loss):
        # Keras loses some settings when it copies its loss objects, and cannot copy those of users.
        loss = loss_with_options(loss) or loss
    if isinstance(loss, str):
        if loss_function(loss) is None:
            raise ValueError(
                f"loss={loss!r} is not a function of keras.losses. Pass the name of one, such as "
                "'categorical_crossentropy', or a function of targets and probabilities."
            )
    elif isinstance(loss, partial):
        keywords = tuple(sorted((name, freeze(value)) for name, value in loss.keywords.items()))
        return loss.func, freeze(loss.args), keywords
    elif isinstance(loss, keras.losses.Loss) or not callable(loss):
        raise TypeError(
            "loss must be a name, a function, or a loss object of Keras itself that averages over "
            f"samples in float32, but is {loss!r}. To set options of a function, use partial, as "
            "in functools.partial(keras.losses.categorical_crossentropy, label_smoothing=0.1)."
        )
    return loss


def freeze(value):
    """Return lists and arrays, at any depth, as tuples, which can be hashed."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    return tuple(map(freeze, value)) if isinstance(value, list | tuple) else value


def freeze_layers(model, names):
    """Keep layers from being trained, or raise ValueError unless others are left to train.

    Parameters
    ----------
    model : keras.Model
        Not compiled.
    names : sequence of str
        Names of its layers.
    """
    known = [layer.name for layer in model.layers if layer.weights]
    for name in names:
        if name not in known:
            hint = ""
            if NUMBER.sub("", name) in {NUMBER.sub("", other) for other in known}:
                hint = (
                    " Keras numbers layers without a name anew in each network. Name those to be "
                    "frozen in the function that builds it."
                )
            raise ValueError(
                f"frozen names {name!r}, but the layers of the network that have weights are "
                f"{', '.join(known)}.{hint}"
            )
        model.get_layer(name).trainable = False
    if names and not model.trainable_weights:
        raise ValueError(
            "frozen names all layers that have weights, so there is nothing to train. Leave out "
            "at least one of them."
        )


def scale_network(model, share):
    """Multiply the output of a network, beside its linear path, by a share."""
    layer = model.get_layer(NETWORK_PATH)
    # Weights of a network that diverged are not finite, and 0 times these is not 0.
    layer.set_weights([share * w if share else np.zeros_like(w) for w in layer.get_weights()])


def train_member(recipe, learning_rate, linear, start, data, options, share=1.0):
    """Train one network; return its weights, its history and the number of epochs these saw.

    Parameters
    ----------
    recipe : Recipe
        The network.
    learning_rate : float or None
        Step size of the optimizer.
    linear : list of ndarray or None
        Weights of the linear path.
    start : tuple
        Seeds of the random parts and of the order of samples, then the weights to start from: None
        draws all, a None in the list draws that one.
    data, options : tuple, dict
        As `train` takes them.
    share : float, default=1.0
        By which the output of the network beside a linear path is multiplied afterwards.

    Returns
    -------
    weights : list of ndarray
    history : dict of str to list of float
    n_epochs : int
    """
    lease = recipe.lease()
    drawn, order, given = start
    lease.network.reset(np.random.default_rng(drawn), learning_rate, recipe.dropout)
    if given is not None:
        for variable, value in zip(lease.network.model.weights, given, strict=True):
            if value is not None:
                variable.assign(value)
    if linear is not None:
        lease.network.model.get_layer("linear_path").set_weights(linear)
    order = np.random.default_rng(order)
    history, n_epochs = train(lease.network, *data, order=order, **options)
    if share != 1:
        scale_network(lease.network.model, share)
    return lease.network.model.get_weights(), history, n_epochs
