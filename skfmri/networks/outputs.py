"""What the outputs of a network mean."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from skfmri.networks.backend import keras


@dataclass(frozen=True)
class OutputKind:
    """Everything in which a network of classes and one of numbers differ.

    Attributes
    ----------
    name, activation : str
        Name of the outputs, which our networks give to their last layer, and its activation.
    metric : str
        Metric of Keras that is recorded beside the loss.
    dtype : str
        Type of the targets.
    n_axes : int
        Axes of the targets: 1 for positions of classes, 2 for numbers.
    meaning, ending : str
        What the outputs are, and how a network must end, in words.
    encode : callable
        Takes targets, the number of outputs and the loss; returns targets as the loss takes them.
    judge : callable
        Takes targets and outputs; returns the metric.
    """

    name: str
    activation: str
    metric: str
    dtype: str
    n_axes: int
    meaning: str
    ending: str
    encode: Callable
    judge: Callable

    def __reduce__(self):
        # By name, so that there is one of each in any process.
        return "CLASSES" if self.n_axes == 1 else "NUMBERS"


def _one_hot(positions, n_outputs, loss):
    import tensorflow as tf

    function = getattr(loss, "func", loss)
    if function is keras.losses.sparse_categorical_crossentropy:
        return positions
    return tf.one_hot(positions, n_outputs)


def _accuracy(positions, outputs):
    return np.mean(outputs.argmax(axis=1) == positions)


def _as_they_are(numbers, n_outputs, loss):
    return numbers


def _mean_absolute_error(numbers, outputs):
    return np.mean(abs(outputs - numbers))


# Targets are positions of classes.
CLASSES = OutputKind(
    name="probabilities",
    activation="softmax",
    metric="accuracy",
    dtype="int32",
    n_axes=1,
    meaning="one probability per class",
    ending="a Dense layer of n_classes units with softmax",
    encode=_one_hot,
    judge=_accuracy,
)
# Targets are standardised numbers, in a column for each target.
NUMBERS = OutputKind(
    name="predictions",
    activation="linear",
    metric="mean_absolute_error",
    dtype="float32",
    n_axes=2,
    meaning="one number per target",
    ending="a Dense layer of n_targets units without activation",
    encode=_as_they_are,
    judge=_mean_absolute_error,
)
