"""The output of any layer of a trained network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skfmri.inspection.network_input import batches, member_models, network_input
from skfmri.networks.backend import keras

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from skfmri._types import Estimator, Volumes

__all__ = ["layer_activations"]


def layer_activations(estimator: Estimator, X: Volumes, layer: str | int) -> NDArray[np.float32]:
    """Return the output of one layer of a trained network for each sample.

    Parameters
    ----------
    estimator : classifier or regressor with a network, or pipeline
        Fitted; the network of a pipeline is its last step.
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Samples, as the estimator takes them.
    layer : str or int
        Name or number of a layer; negative numbers count from the end. If the network has
        several members, this is a layer of the first; ``"member2/dense1"`` is one of the second.

    Returns
    -------
    activations : ndarray of shape (n_samples, ...), float32
        The last axis of convolutions and poolings holds the filters.

    Raises
    ------
    ValueError
        If there is no such layer; the message lists the layers.

    Examples
    --------
    >>> import numpy as np
    >>> from skfmri import SlabCNNClassifier
    >>> from skfmri.inspection import layer_activations
    >>> X, y = np.random.default_rng(0).normal(size=(12, 8, 9, 3)), np.arange(12) % 2
    >>> decoder = SlabCNNClassifier(filters=4, n_blocks=1, dense_units=(8,), epochs=1).fit(X, y)
    >>> layer_activations(decoder, X, "block1_convolution").shape
    (12, 6, 7, 4)
    """
    network, X = network_input(estimator, X)
    model, output = _find_layer(member_models(network), layer)
    part = keras.Model(model.input, output)
    return np.concatenate(
        [np.asarray(part(batch, training=False)) for batch, _ in batches(network, X)]
    )


def _find_layer(models, layer):
    """Return the model that holds a layer, with the output of that layer."""
    member, _, name = layer.rpartition("/") if isinstance(layer, str) else ("", "", layer)
    names = [found.name for found in models[0].layers]
    numbers = {f"member{number}": number - 1 for number in range(1, len(models) + 1)}
    known = name in names if isinstance(name, str) else -len(names) <= name < len(names)
    if not known or (member and member not in numbers):
        message = (
            f"There is no layer {layer!r}. The layers are {', '.join(names)}, or their numbers "
            f"from 0 to {len(names) - 1}."
        )
        if len(models) > 1:
            message += f" To choose a member, put member1/ to member{len(models)}/ before the name."
        raise ValueError(message)
    model = models[numbers.get(member, 0)]
    found = model.get_layer(name) if isinstance(name, str) else model.layers[name]
    return model, found.output
