"""Keras networks as scikit-learn classifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from skfmri.docstrings import fill_docstring
from skfmri.estimators.base_classifier import BaseCNNClassifier
from skfmri.estimators.defaults import SLAB_CNN, VOLUME_CNN
from skfmri.estimators.parameter_docs import CLASSIFIERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import keras

    from skfmri._types import Estimator, LinearPath, Padding, PerBlock, RandomState

__all__ = ["SlabCNNClassifier", "VolumeCNNClassifier"]


@fill_docstring(CLASSIFIERS)
class SlabCNNClassifier(BaseCNNClassifier):
    """Classify slabs with a 2-D convolutional network whose channels are the slices.

    A few adjacent slices seen as the colours of one picture need far fewer weights than a 3-D
    network. The defaults are the network of the workshop notebook that skfmri grew from: three
    blocks of convolution, batch normalization and pooling, then dense layers of 1024, 256 and 64
    units, 2,345,602 parameters for slabs of 40 x 56 voxels in 3 slices and two classes. It is a
    scikeras ``KerasClassifier`` whose parameters are all named, so that ``GridSearchCV``, ``clone``
    and ``set_params`` need no prefixes.

    Parameters
    ----------
    filters : int or sequence of int, default=32
        {filters}
    kernel_size : int or tuple of int, default=3
        Side lengths of the convolution kernel in voxels; see
        :func:`skfmri.networks.convolutional_network` for one entry per block.
    n_blocks : int, default=3
        Number of convolution blocks. Three need at least 22 x 22 voxels, two 10 x 10, one 4 x 4;
        with 0 there are only dense layers.
    padding : {"valid", "same"}, default="valid"
        "same" pads with zeros, so that any number of blocks fits any slab.
    dense_units : sequence of int, default=(1024, 256, 64)
        {dense_units}
    {dropout}
    {batch_norm_momentum}
    {linear_path}
    {n_members}
    {initial_weights}
    {frozen}
    {optimizer}
    {learning_rate}
    {loss}
    {epochs}
    {patience}
    {batch_size}
    {class_weight}
    {callbacks}
    {random_state}
    {verbose}

    Attributes
    ----------
    {fitted_attributes}

    Notes
    -----
    {notes}

    Examples
    --------
    >>> import numpy as np
    >>> from skfmri import SlabCNNClassifier
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(24, 6, 7, 2)), np.repeat(["closed", "open"], 12)
    >>> X[y == "open", 2:4, 2:4] += 3
    >>> decoder = SlabCNNClassifier(
    ...     filters=4, n_blocks=1, dense_units=(8,), dropout=0, epochs=40, random_state=0
    ... )
    >>> decoder.fit(X, y).score(X, y)
    1.0
    """

    def __init__(
        self,
        filters: int | Sequence[int] = SLAB_CNN.filters,
        kernel_size: PerBlock = SLAB_CNN.kernel_size,
        n_blocks: int = SLAB_CNN.n_blocks,
        padding: Padding = SLAB_CNN.padding,
        dense_units: Sequence[int] = SLAB_CNN.dense_units,
        dropout: float = SLAB_CNN.dropout,
        batch_norm_momentum: float = SLAB_CNN.batch_norm_momentum,
        linear_path: LinearPath = SLAB_CNN.linear_path,
        n_members: int = SLAB_CNN.n_members,
        initial_weights: Estimator | None = SLAB_CNN.initial_weights,
        frozen: Sequence[str] = SLAB_CNN.frozen,
        optimizer: str | keras.optimizers.Optimizer = SLAB_CNN.optimizer,
        learning_rate: float = SLAB_CNN.learning_rate,
        loss: str | keras.losses.Loss | Callable[..., Any] = SLAB_CNN.loss,
        epochs: int = SLAB_CNN.epochs,
        patience: int | None = SLAB_CNN.patience,
        batch_size: int = SLAB_CNN.batch_size,
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = SLAB_CNN.class_weight,
        callbacks: keras.callbacks.Callback
        | Sequence[keras.callbacks.Callback]
        | None = SLAB_CNN.callbacks,
        random_state: RandomState = SLAB_CNN.random_state,
        verbose: int = SLAB_CNN.verbose,
    ) -> None:
        self.filters = filters
        self.kernel_size = kernel_size
        self.n_blocks = n_blocks
        self.padding = padding
        self.dense_units = dense_units
        self.dropout = dropout
        self.batch_norm_momentum = batch_norm_momentum
        self.linear_path = linear_path
        self.n_members = n_members
        self.initial_weights = initial_weights
        self.frozen = frozen
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.loss = loss
        self.epochs = epochs
        self.patience = patience
        self.batch_size = batch_size
        self.class_weight = class_weight
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose

    @staticmethod
    def _input_shape(sample_shape):
        return sample_shape


@fill_docstring(CLASSIFIERS)
class VolumeCNNClassifier(BaseCNNClassifier):
    """Classify volumes, or thick slabs, with a 3-D convolutional network.

    The kernels move along all three axes, so a pattern is recognised wherever it appears, at the
    cost of more computation than :class:`SlabCNNClassifier`. With the default ``padding="same"``
    each block halves every axis, but never below one voxel: the same parameters fit a slab of three
    slices as well as a whole volume of 40 x 51 x 41.

    Parameters
    ----------
    filters : int or sequence of int, default=16
        {filters}
    kernel_size, pool_size, strides : int, tuple of int, or sequence of these; default 3, 2, 1
        Convolution kernel, pooling window and convolution stride in voxels. An int holds for all
        axes and blocks, a flat tuple of three for all blocks, and a sequence with a tuple inside,
        such as ``[(2, 3, 2), (2, 3, 2), 2]``, has one entry per block.
    n_blocks : int, default=3
        Number of convolution blocks; with 0 there are only dense layers.
    padding : {"valid", "same"}, default="same"
        "valid" adds no zeros; the blocks may then need more voxels than a volume has.
    dense_units : sequence of int, default=(256, 64)
        {dense_units}
    dense_batch_norm : bool, default=True
        Whether a batch normalization follows each dense layer.
    {dropout}
    {batch_norm_momentum}
    {linear_path}
    {n_members}
    {initial_weights}
    {frozen}
    {optimizer}
    {learning_rate}
    {loss}
    {epochs}
    {patience}
    {batch_size}
    {class_weight}
    {callbacks}
    {random_state}
    {verbose}

    Attributes
    ----------
    {fitted_attributes}

    Notes
    -----
    {notes}

    Examples
    --------
    >>> import numpy as np
    >>> from skfmri import VolumeCNNClassifier
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(24, 6, 7, 8)), np.repeat(["face", "house"], 12)
    >>> X[y == "house", 2:4, 2:4, 2:4] += 3
    >>> decoder = VolumeCNNClassifier(
    ...     filters=4, n_blocks=1, dense_units=(8,), dropout=0, epochs=40, random_state=0
    ... )
    >>> decoder.fit(X, y).predict_proba(X[:5]).shape
    (5, 2)
    """

    def __init__(
        self,
        filters: int | Sequence[int] = VOLUME_CNN.filters,
        kernel_size: PerBlock = VOLUME_CNN.kernel_size,
        n_blocks: int = VOLUME_CNN.n_blocks,
        pool_size: PerBlock = VOLUME_CNN.pool_size,
        strides: PerBlock = VOLUME_CNN.strides,
        padding: Padding = VOLUME_CNN.padding,
        dense_units: Sequence[int] = VOLUME_CNN.dense_units,
        dense_batch_norm: bool = VOLUME_CNN.dense_batch_norm,
        dropout: float = VOLUME_CNN.dropout,
        batch_norm_momentum: float = VOLUME_CNN.batch_norm_momentum,
        linear_path: LinearPath = VOLUME_CNN.linear_path,
        n_members: int = VOLUME_CNN.n_members,
        initial_weights: Estimator | None = VOLUME_CNN.initial_weights,
        frozen: Sequence[str] = VOLUME_CNN.frozen,
        optimizer: str | keras.optimizers.Optimizer = VOLUME_CNN.optimizer,
        learning_rate: float = VOLUME_CNN.learning_rate,
        loss: str | keras.losses.Loss | Callable[..., Any] = VOLUME_CNN.loss,
        epochs: int = VOLUME_CNN.epochs,
        patience: int | None = VOLUME_CNN.patience,
        batch_size: int = VOLUME_CNN.batch_size,
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = VOLUME_CNN.class_weight,
        callbacks: keras.callbacks.Callback
        | Sequence[keras.callbacks.Callback]
        | None = VOLUME_CNN.callbacks,
        random_state: RandomState = VOLUME_CNN.random_state,
        verbose: int = VOLUME_CNN.verbose,
    ) -> None:
        self.filters = filters
        self.kernel_size = kernel_size
        self.n_blocks = n_blocks
        self.pool_size = pool_size
        self.strides = strides
        self.padding = padding
        self.dense_units = dense_units
        self.dense_batch_norm = dense_batch_norm
        self.dropout = dropout
        self.batch_norm_momentum = batch_norm_momentum
        self.linear_path = linear_path
        self.n_members = n_members
        self.initial_weights = initial_weights
        self.frozen = frozen
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.loss = loss
        self.epochs = epochs
        self.patience = patience
        self.batch_size = batch_size
        self.class_weight = class_weight
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose

    @staticmethod
    def _input_shape(sample_shape):
        return (*sample_shape, 1)
