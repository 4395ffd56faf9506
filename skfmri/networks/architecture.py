"""The default network, built layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING

from skfmri._validation import check_number, describe_grid
from skfmri.networks.backend import keras

if TYPE_CHECKING:
    from skfmri._types import OutputActivation, Padding, PerBlock, Shape

__all__ = ["convolutional_network", "smallest_input"]

layers = keras.layers


def convolutional_network(
    input_shape: Shape,
    n_classes: int,
    *,
    filters: int | Sequence[int] = 32,
    kernel_size: PerBlock = 3,
    n_blocks: int = 3,
    pool_size: PerBlock = 2,
    strides: PerBlock = 1,
    padding: Padding = "valid",
    dense_units: Sequence[int] = (1024, 256, 64),
    dense_batch_norm: bool = True,
    dropout: float = 0.5,
    batch_norm_momentum: float = 0.99,
    linear_path: bool = False,
    output_activation: OutputActivation = "softmax",
) -> keras.Model:
    """Return convolution blocks followed by dense layers and a softmax, or numbers.

    One function serves slabs, whose slices are channels, whole volumes and plain feature vectors,
    so the three networks cannot drift apart. Each block is a convolution with ReLU, a batch
    normalization and a maximum pooling. They are followed by a flattening, a dropout, one dense
    layer with ReLU, batch normalization and dropout per entry of ``dense_units``, and the outputs.

    Every random part has a fixed seed (0), so building a network neither reads nor changes a
    global random state. Give kernels and dropouts new seeds before training.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of one sample without the batch axis: ``(x, y, channels)``, ``(x, y, z, channels)``,
        or ``(n_features,)``, which has no axis to convolve, so blocks are left out.
    n_classes : int
        Number of outputs: one for each class, or for each number that is to be predicted.
    filters : int or sequence of int, default=32
        An int is the number of filters in the first block, doubled in each further block. A
        sequence gives one number per block.
    kernel_size, pool_size, strides : int, tuple of int, or sequence of these; default 3, 2, 1
        An int applies to all axes and blocks. A flat tuple holds one number per spatial axis, for
        all blocks. A sequence with at least one tuple inside holds one entry per block.
    n_blocks : int, default=3
        Number of convolution blocks; 0 leaves only the dense layers.
    padding : {"valid", "same"}, default="valid"
        "valid" loses ``kernel_size - 1`` voxels per convolution, as well as voxels that do not fill
        a pooling window. "same" pads convolutions and poolings, so no axis ever gets too short.
    dense_units : sequence of int, default=(1024, 256, 64)
        Units of the dense layers; if empty, the outputs follow the flattening directly.
    dense_batch_norm : bool, default=True
        Whether a batch normalization follows each dense layer.
    dropout : float, default=0.5
        Fraction dropped after the flattening and after each dense layer.
    batch_norm_momentum : float, default=0.99
        Fraction of the running mean and variance that a training step keeps.
    linear_path : bool, default=False
        Whether a layer named "linear_path" connects all inputs to the outputs, in parallel to the
        network. It takes the weights of a fitted linear model and is not trained. The output of the
        network itself starts at zero, so it learns what the linear model leaves unexplained.
    output_activation : {"softmax", "linear"}, default="softmax"
        "softmax" gives probabilities of classes, "linear" numbers.

    Returns
    -------
    keras.Model
        Not compiled; input float32 ``(n, *input_shape)``, output ``(n, n_classes)``.

    Raises
    ------
    ValueError
        If the input is smaller than the blocks need, or the length of a sequence is not the number
        of blocks or axes.

    Examples
    --------
    >>> from skfmri.networks.architecture import convolutional_network
    >>> convolutional_network((40, 56, 3), n_classes=2).count_params()
    2345602
    """
    check_architecture(
        *(filters, kernel_size, n_blocks, pool_size, strides, padding, dense_units),
        dropout=dropout,
        output_activation=output_activation,
    )
    blocks = _block_settings(
        input_shape, filters, kernel_size, n_blocks, pool_size, strides, padding
    )
    inputs = x = keras.Input(tuple(input_shape), name="input")
    for number, block in enumerate(blocks, start=1):
        x = _convolution_block(
            x, **block, padding=padding, momentum=batch_norm_momentum, name=f"block{number}"
        )
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dropout(dropout, seed=0, name="flatten_dropout")(x)
    for number, units in enumerate(dense_units, start=1):
        x = _dense(units, "relu", f"dense{number}")(x)
        if dense_batch_norm:
            x = layers.BatchNormalization(momentum=batch_norm_momentum, name=f"dense{number}_norm")(
                x
            )
        x = layers.Dropout(dropout, seed=0, name=f"dense{number}_dropout")(x)
    if linear_path:
        voxels = layers.Flatten(name="voxels")(inputs)
        linear = layers.Dense(
            n_classes, kernel_initializer="zeros", trainable=False, name="linear_path"
        )(voxels)
        network = layers.Dense(n_classes, kernel_initializer="zeros", name="network_path")(x)
        if output_activation == "linear":
            outputs = layers.Add(name="predictions")([network, linear])
        else:
            logits = layers.Add(name="logits")([network, linear])
            outputs = layers.Softmax(name="probabilities")(logits)
    else:
        name = "predictions" if output_activation == "linear" else "probabilities"
        outputs = _dense(n_classes, output_activation, name)(x)
    return keras.Model(inputs, outputs, name="convolutional_network")


def smallest_input(
    rank: int,
    *,
    kernel_size: PerBlock = 3,
    n_blocks: int = 3,
    pool_size: PerBlock = 2,
    strides: PerBlock = 1,
    padding: Padding = "valid",
) -> Shape:
    """Return the smallest spatial shape that the convolution blocks accept.

    An input that is too small would otherwise fail deep inside TensorFlow, with a message about a
    negative dimension of some layer. The last block must leave one voxel; from there backwards, a
    pooling of ``p`` needs ``n * p`` voxels to leave ``n``, a convolution ``(n - 1) * stride +
    kernel``.

    Parameters
    ----------
    rank : int
        Number of spatial axes.
    kernel_size, n_blocks, pool_size, strides, padding
        As in :func:`convolutional_network`.

    Returns
    -------
    tuple of int
        One number of voxels per spatial axis; all 1 for ``padding="same"`` or without blocks.

    Examples
    --------
    >>> from skfmri.networks.architecture import smallest_input
    >>> [smallest_input(2, n_blocks=n) for n in range(4)]
    [(1, 1), (4, 4), (10, 10), (22, 22)]
    """
    settings = [
        per_block(value, n_blocks, rank, name)
        for value, name in (
            (kernel_size, "kernel_size"),
            (pool_size, "pool_size"),
            (strides, "strides"),
        )
    ]
    return _smallest_input(rank, *settings, padding)


def per_block(value: PerBlock, n_blocks: int, rank: int, name: str) -> list[tuple[int, ...]]:
    """Spread a setting over blocks and axes.

    Parameters
    ----------
    value : int, tuple of int, or sequence of these
        An int applies to all axes and blocks. A flat sequence gives one number per axis, for all
        blocks; a sequence with a sequence inside gives one entry per block.
    n_blocks, rank : int
        Number of blocks and of spatial axes.
    name : str
        Name of the setting, for the error message.

    Returns
    -------
    list of tuple of int
        ``n_blocks`` tuples of ``rank`` numbers.

    Examples
    --------
    >>> from skfmri.networks.architecture import per_block
    >>> per_block([(2, 3), 4], n_blocks=2, rank=2, name="pool_size")
    [(2, 3), (4, 4)]
    """
    nested = isinstance(value, Sequence) and any(isinstance(entry, Sequence) for entry in value)
    entries = list(value) if nested else [value] * n_blocks
    if len(entries) != n_blocks:
        raise ValueError(
            f"{name} has {len(entries)} entries for n_blocks={n_blocks}. Pass one entry per block."
        )
    spread = [(entry,) * rank if isinstance(entry, Integral) else tuple(entry) for entry in entries]
    for entry in spread:
        if len(entry) != rank:
            raise ValueError(
                f"{name} has the entry {entry} for {rank} spatial axes. "
                "Pass one number, or one per axis."
            )
    return spread


def check_architecture(
    filters=32,
    kernel_size=3,
    n_blocks=3,
    pool_size=2,
    strides=1,
    padding="valid",
    dense_units=(),
    dense_batch_norm=True,
    dropout=0.5,
    batch_norm_momentum=0.99,
    linear_path=False,
    output_activation="softmax",
):
    """Raise ValueError or TypeError unless :func:`convolutional_network` accepts the settings.

    Checks everything that does not depend on the input shape.

    Parameters
    ----------
    filters, kernel_size, n_blocks, pool_size, strides, padding : object
        As in :func:`convolutional_network`.
    dense_units, dense_batch_norm, dropout, output_activation : object
        As in :func:`convolutional_network`.
    """
    check_number(n_blocks, "n_blocks", Integral, least=0)
    check_number(dropout, "dropout", Real, least=0, below=1)
    check_number(batch_norm_momentum, "batch_norm_momentum", Real, least=0, below=1)
    named = {"filters": filters, "kernel_size": kernel_size, "pool_size": pool_size}
    for name, value in {**named, "strides": strides, "dense_units": dense_units}.items():
        for number in _flatten(value):
            check_number(number, name, Integral, least=1)
    if isinstance(dense_units, Integral):
        raise TypeError(f"dense_units must be a sequence, but is {dense_units}. Pass [units].")
    if output_activation not in ("softmax", "linear"):
        raise ValueError(
            f'output_activation must be "softmax" or "linear", but is {output_activation!r}.'
        )
    if padding not in ("valid", "same"):
        raise ValueError(f'padding must be "valid" or "same", but is {padding!r}.')


def _flatten(value):
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [number for entry in value for number in _flatten(entry)]
    return value.ravel().tolist() if hasattr(value, "ravel") and value.ndim else [value]


def _smallest_input(rank, kernels, pools, steps, padding):
    if padding == "same":
        return (1,) * rank
    size = [1] * rank
    for kernel, pool, step in zip(reversed(kernels), reversed(pools), reversed(steps), strict=True):
        size = [(n * p - 1) * s + k for n, k, p, s in zip(size, kernel, pool, step, strict=True)]
    return tuple(size)


def _block_settings(input_shape, filters, kernel_size, n_blocks, pool_size, strides, padding):
    *grid, _ = input_shape
    if not grid:
        return []
    counts = [filters * 2**i for i in range(n_blocks)] if isinstance(filters, Integral) else filters
    if len(counts) != n_blocks:
        raise ValueError(
            f"filters has {len(counts)} entries for n_blocks={n_blocks}. Pass one entry per block."
        )
    kernels = per_block(kernel_size, n_blocks, len(grid), "kernel_size")
    pools = per_block(pool_size, n_blocks, len(grid), "pool_size")
    steps = per_block(strides, n_blocks, len(grid), "strides")
    _check_size(grid, kernels, pools, steps, padding)
    names = ("filters", "kernel", "pool", "strides")
    rows = zip(counts, kernels, pools, steps, strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows]


def _check_size(grid, kernels, pools, steps, padding):
    def needed(n):
        return _smallest_input(len(grid), kernels[:n], pools[:n], steps[:n], padding)

    def fits(n):
        return all(found >= least for found, least in zip(grid, needed(n), strict=True))

    n_blocks = len(kernels)
    if not fits(n_blocks):
        most = max(n for n in range(n_blocks) if fits(n))
        choice = f"n_blocks={most} or fewer" if most else "n_blocks=0 (only dense layers)"
        raise ValueError(
            f"The input has {describe_grid(grid)} voxels, but n_blocks={n_blocks} convolution "
            f"blocks need at least {describe_grid(needed(n_blocks))}. "
            f'Choose {choice}, a larger slab or region, or padding="same".'
        )


def _convolution_block(x, *, filters, kernel, pool, strides, padding, momentum, name):
    rank = len(kernel)
    convolution = {2: layers.Conv2D, 3: layers.Conv3D}[rank]
    pooling = {2: layers.MaxPooling2D, 3: layers.MaxPooling3D}[rank]
    x = convolution(
        filters,
        kernel,
        strides=strides,
        padding=padding,
        data_format="channels_last",
        activation="relu",
        kernel_initializer=keras.initializers.GlorotUniform(seed=0),
        name=f"{name}_convolution",
    )(x)
    x = layers.BatchNormalization(momentum=momentum, name=f"{name}_norm")(x)
    return pooling(pool, padding=padding, data_format="channels_last", name=f"{name}_pooling")(x)


def _dense(units, activation, name):
    initializer = keras.initializers.GlorotUniform(seed=0)
    return layers.Dense(units, activation, kernel_initializer=initializer, name=name)
