"""Whether weights from a file fit the network that they are to be restored to."""

import numpy as np

from skfmri.networks.architecture import convolutional_network


def check_weights(recipe, members, class_name):
    """Raise ValueError unless the weights of each member fit the network of a recipe."""
    is_ours = recipe.function is convolutional_network
    if is_ours:
        # First, since a network of a thousand million blocks would be built for ever.
        _check_depth(recipe, members, class_name)
    expected = [tuple(weight.shape) for weight in recipe.outline().weights]
    for weights in members:
        found = [weight.shape for weight in weights]
        if found != expected:
            raise ValueError(
                f"The weights do not fit the network of {class_name}: their shapes are {found}, "
                f"but it needs {expected}. The class may have changed since the model was saved: "
                "go back to the code of that time."
            )
        if is_ours and not all(np.isfinite(weight).all() for weight in weights):
            raise ValueError(
                f"The weights of {class_name} are not all finite, as those of a network that "
                "diverged. Fit it again with a lower learning_rate."
            )


def _check_depth(recipe, members, class_name):
    """Raise ValueError if members have fewer arrays of weights than the network has layers."""
    settings = dict(recipe.keywords)
    has_grid = len(recipe.input_shape) > 1
    n_layers = len(settings["dense_units"]) + has_grid * settings["n_blocks"]
    n_arrays = min(map(len, members), default=0)
    # Each convolution block and each dense layer has a kernel and a bias.
    if not n_arrays or 2 * n_layers > n_arrays:
        raise ValueError(
            f"The weights do not fit the network of {class_name}: there are {n_arrays} arrays of "
            f"them for {n_layers} convolution blocks and dense layers."
        )
