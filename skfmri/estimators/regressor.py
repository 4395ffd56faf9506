"""Keras networks as scikit-learn regressors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from skfmri.docstrings import fill_docstring
from skfmri.estimators.base_regressor import BaseCNNRegressor
from skfmri.estimators.defaults import SLAB_CNN_REGRESSOR, VOLUME_CNN_REGRESSOR
from skfmri.estimators.parameter_docs import REGRESSORS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import keras

    from skfmri._types import Estimator, LinearPath, Padding, PerBlock, RandomState

__all__ = ["SlabCNNRegressor", "VolumeCNNRegressor"]


@fill_docstring(REGRESSORS)
class SlabCNNRegressor(BaseCNNRegressor):
    """Predict numbers from slabs with a 2-D convolutional network whose channels are the slices.

    The network is that of :class:`SlabCNNClassifier` with a linear output: three blocks of
    convolution, batch normalization and pooling, then dense layers of 1024, 256 and 64 units. It is
    a scikeras ``KerasRegressor`` whose parameters are all named, so that ``GridSearchCV``,
    ``clone`` and ``set_params`` need no prefixes.

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
    >>> from skfmri import SlabCNNRegressor
    >>> rng = np.random.default_rng(0)
    >>> X, age = rng.normal(size=(60, 6, 7, 2)), rng.uniform(20, 80, 60)
    >>> X[:, 2:4, 2:4] += (age[:, None, None, None] - 50) / 10
    >>> regressor = SlabCNNRegressor.for_small_samples(n_blocks=1, epochs=5, random_state=0)
    >>> regressor.fit(X[:50], age[:50], groups=np.arange(50)).score(X[50:], age[50:]) > 0.8
    True
    """

    def __init__(
        self,
        filters: int | Sequence[int] = SLAB_CNN_REGRESSOR.filters,
        kernel_size: PerBlock = SLAB_CNN_REGRESSOR.kernel_size,
        n_blocks: int = SLAB_CNN_REGRESSOR.n_blocks,
        padding: Padding = SLAB_CNN_REGRESSOR.padding,
        dense_units: Sequence[int] = SLAB_CNN_REGRESSOR.dense_units,
        dropout: float = SLAB_CNN_REGRESSOR.dropout,
        batch_norm_momentum: float = SLAB_CNN_REGRESSOR.batch_norm_momentum,
        linear_path: LinearPath = SLAB_CNN_REGRESSOR.linear_path,
        n_members: int = SLAB_CNN_REGRESSOR.n_members,
        initial_weights: Estimator | None = SLAB_CNN_REGRESSOR.initial_weights,
        frozen: Sequence[str] = SLAB_CNN_REGRESSOR.frozen,
        optimizer: str | keras.optimizers.Optimizer = SLAB_CNN_REGRESSOR.optimizer,
        learning_rate: float = SLAB_CNN_REGRESSOR.learning_rate,
        loss: str | keras.losses.Loss | Callable[..., Any] = SLAB_CNN_REGRESSOR.loss,
        epochs: int = SLAB_CNN_REGRESSOR.epochs,
        patience: int | None = SLAB_CNN_REGRESSOR.patience,
        batch_size: int = SLAB_CNN_REGRESSOR.batch_size,
        callbacks: keras.callbacks.Callback
        | Sequence[keras.callbacks.Callback]
        | None = SLAB_CNN_REGRESSOR.callbacks,
        random_state: RandomState = SLAB_CNN_REGRESSOR.random_state,
        verbose: int = SLAB_CNN_REGRESSOR.verbose,
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
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose

    @staticmethod
    def _input_shape(sample_shape):
        return sample_shape


@fill_docstring(REGRESSORS)
class VolumeCNNRegressor(BaseCNNRegressor):
    """Predict numbers from volumes, or thick slabs, with a 3-D convolutional network.

    The network is that of :class:`VolumeCNNClassifier` with a linear output. Its kernels move along
    all three axes, so a pattern is recognised wherever it appears, at the cost of more computation
    than :class:`SlabCNNRegressor`.

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
    >>> from skfmri import VolumeCNNRegressor
    >>> rng = np.random.default_rng(0)
    >>> X, scores = rng.normal(size=(24, 6, 7, 8)), rng.normal(size=(24, 2))
    >>> X[:, 2:4, 2:4, 2:4] += scores[:, :1, None, None]
    >>> regressor = VolumeCNNRegressor(
    ...     filters=4, n_blocks=1, dense_units=(8,), dropout=0, epochs=4, random_state=0
    ... )
    >>> regressor.fit(X, scores).predict(X[:5]).shape
    (5, 2)
    """

    def __init__(
        self,
        filters: int | Sequence[int] = VOLUME_CNN_REGRESSOR.filters,
        kernel_size: PerBlock = VOLUME_CNN_REGRESSOR.kernel_size,
        n_blocks: int = VOLUME_CNN_REGRESSOR.n_blocks,
        pool_size: PerBlock = VOLUME_CNN_REGRESSOR.pool_size,
        strides: PerBlock = VOLUME_CNN_REGRESSOR.strides,
        padding: Padding = VOLUME_CNN_REGRESSOR.padding,
        dense_units: Sequence[int] = VOLUME_CNN_REGRESSOR.dense_units,
        dense_batch_norm: bool = VOLUME_CNN_REGRESSOR.dense_batch_norm,
        dropout: float = VOLUME_CNN_REGRESSOR.dropout,
        batch_norm_momentum: float = VOLUME_CNN_REGRESSOR.batch_norm_momentum,
        linear_path: LinearPath = VOLUME_CNN_REGRESSOR.linear_path,
        n_members: int = VOLUME_CNN_REGRESSOR.n_members,
        initial_weights: Estimator | None = VOLUME_CNN_REGRESSOR.initial_weights,
        frozen: Sequence[str] = VOLUME_CNN_REGRESSOR.frozen,
        optimizer: str | keras.optimizers.Optimizer = VOLUME_CNN_REGRESSOR.optimizer,
        learning_rate: float = VOLUME_CNN_REGRESSOR.learning_rate,
        loss: str | keras.losses.Loss | Callable[..., Any] = VOLUME_CNN_REGRESSOR.loss,
        epochs: int = VOLUME_CNN_REGRESSOR.epochs,
        patience: int | None = VOLUME_CNN_REGRESSOR.patience,
        batch_size: int = VOLUME_CNN_REGRESSOR.batch_size,
        callbacks: keras.callbacks.Callback
        | Sequence[keras.callbacks.Callback]
        | None = VOLUME_CNN_REGRESSOR.callbacks,
        random_state: RandomState = VOLUME_CNN_REGRESSOR.random_state,
        verbose: int = VOLUME_CNN_REGRESSOR.verbose,
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
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose

    @staticmethod
    def _input_shape(sample_shape):
        return (*sample_shape, 1)
