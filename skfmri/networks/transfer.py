"""Weights of a trained network as the start of another."""

from dataclasses import replace
from itertools import zip_longest

import numpy as np

from skfmri._validation import describe_grid

# Settings on which the shapes of weights depend.
SHAPING = ("filters", "kernel_size", "n_blocks", "dense_units", "dense_batch_norm")
SHAPING += ("pool_size", "strides", "padding")


def transferred_weights(recipe, source, members, *, n_members, keeps_output):
    """Return the weights that networks start from in place of drawn ones.

    Layers with weights correspond by their order. Output layers, whose weights depend on the number
    of outputs, start anew unless they are kept.

    Parameters
    ----------
    recipe, source : skfmri.networks.recipe.Recipe
        The networks to be trained, and those that were trained.
    members : sequence of list of ndarray
        Weights of each trained network.
    n_members : int
        Number of networks to be trained. If there is one trained network, all start from it.
    keeps_output : bool
        Whether output layers are taken over as well.

    Returns
    -------
    initial : list of list
        For each network to be trained an array, or None to draw it, for each of its weights.

    Raises
    ------
    ValueError
        If the networks differ in number, in their layers or in the shapes of their weights, if a
        weight is not finite, or if a layer that starts anew is frozen.
    """
    if len(members) not in (1, n_members):
        raise ValueError(
            f"initial_weights holds {len(members)} networks, but n_members={n_members}. Set "
            f"n_members={len(members)}, or start from a single network."
        )
    here, there = (_layers(each, marks_output=not keeps_output) for each in (recipe, source))
    n_weights = sum(len(layer["places"]) for layer in here)
    if not keeps_output:
        anew = [layer["name"] for layer in here if layer["is_output"]]
        lost = sorted(set(anew) & set(recipe.frozen))
        if lost:
            raise ValueError(
                f"frozen names {lost[0]!r}, which does not take over weights but starts anew. The "
                "output layer is taken over if the classes are those of initial_weights, or the "
                "targets as many, and neither network has a linear path. Leave it out of frozen."
            )
        here, there = ([x for x in side if not x["is_output"]] for side in (here, there))
    _check_layers(here, there, recipe, source)
    initial = [[None] * n_weights for _ in members]
    for start, weights in zip(initial, members, strict=True):
        for ours, theirs in zip(here, there, strict=True):
            for place, origin in zip(ours["places"], theirs["places"], strict=True):
                start[place] = weights[origin]
                if not np.isfinite(weights[origin]).all():
                    raise ValueError(
                        f"initial_weights holds values of layer {theirs['name']!r} that are not "
                        "finite, as of a network that diverged. Fit it again with a lower "
                        "learning_rate."
                    )
    return initial * n_members if len(members) == 1 else initial


def _layers(recipe, *, marks_output):
    """Return the layers of a network that have weights, in order.

    Each is a dict of its ``name``, the ``places`` of its weights in the network's list, their
    ``names`` and ``shapes``, and, if wanted, ``is_output``: whether they depend on the number of
    outputs.
    """
    layers = _described(recipe)
    if not marks_output:
        # A function of the user's may build networks for no other number of outputs.
        return layers
    with_more = _described(replace(recipe, n_outputs=recipe.n_outputs + 1))
    for layer, other in zip_longest(layers, with_more):
        if layer is not None:
            layer["is_output"] = other is None or layer["shapes"] != other["shapes"]
    return layers


def _described(recipe):
    model = recipe.outline()
    place_of = {id(weight): place for place, weight in enumerate(model.weights)}
    found = []
    for layer in [*model.layers, model]:
        # A model of the user's may have weights that belong to none of its layers.
        weights = [weight for weight in layer.weights if id(weight) in place_of]
        if weights:
            found.append(
                {
                    "name": layer.name,
                    "places": [place_of.pop(id(weight)) for weight in weights],
                    "names": [weight.name for weight in weights],
                    "shapes": [tuple(weight.shape) for weight in weights],
                }
            )
    return found


def _check_layers(here, there, recipe, source):
    """Raise ValueError unless the weights of corresponding layers have the same shapes."""
    for ours, theirs in zip(here, there, strict=False):
        if len(ours["shapes"]) != len(theirs["shapes"]):
            break
        pairs = zip(ours["names"], ours["shapes"], theirs["shapes"], strict=True)
        for name, expected, found in pairs:
            if found != expected:
                raise ValueError(
                    f"initial_weights has a {name} of shape {found} for the layer "
                    f"{theirs['name']!r}, but the layer {ours['name']!r} needs {expected}. "
                    f"{_way_out(recipe, source)}"
                )
    else:
        if len(here) == len(there):
            return
    names = [", ".join(layer["name"] for layer in side) or "none" for side in (there, here)]
    raise ValueError(
        f"initial_weights has weights for the layers {names[0]}, but this network has {names[1]}. "
        f"{_way_out(recipe, source)}"
    )


def _way_out(recipe, source):
    """Return what to change so that one network fits the other."""
    ours, theirs = dict(recipe.keywords), dict(source.keywords)
    differing = [
        f"{name}={ours[name]} here but {name}={theirs[name]} there"
        for name in SHAPING
        if name in ours and name in theirs and ours[name] != theirs[name]
    ]
    n_axes = len(recipe.input_shape), len(source.input_shape)
    if 1 not in n_axes and n_axes[0] != n_axes[1]:
        return (
            f"Networks are {n_axes[0] - 1}-D here and {n_axes[1] - 1}-D there. Start a network "
            "of slabs from one of slabs, and a network of volumes from one of volumes."
        )
    if differing:
        return f"Give both the same settings: {', '.join(differing)}."
    if recipe.input_shape != source.input_shape:
        shapes = [describe_grid(each.input_shape) for each in (recipe, source)]
        return (
            f"Samples have {shapes[0]} values here and {shapes[1]} there, on which these weights "
            "depend. Cut the same slab for both, with the same slices and crop=False, or use a "
            "network of your own that pools over the whole grid."
        )
    return "Both must be built by the same function."
