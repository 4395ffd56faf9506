"""Keras networks as scikit-learn classifiers."""

from skfmri.estimators.base import BaseCNNClassifier

__all__ = ["SlabCNNClassifier", "VolumeCNNClassifier"]


class SlabCNNClassifier(BaseCNNClassifier):
    """Classify slabs with a 2-D convolutional network whose channels are the slices.

    A few adjacent slices seen as the colours of one picture need far fewer weights than a 3-D
    network. The defaults are the network of the workshop notebook that skfmri grew from: three
    blocks of convolution, batch normalization and pooling, then dense layers of 1024, 256 and 64
    units, 2,345,602 parameters for slabs of 40 x 56 voxels in 3 slices and two classes. It is a
    scikeras ``KerasClassifier`` whose parameters all have a name, so that ``GridSearchCV``,
    ``clone`` and ``set_params`` need no prefixes.

    Parameters
    ----------
    filters : int or sequence of int, default=32
        Filters of the first block, doubled in each further one; a sequence gives one per block.
    kernel_size : int or tuple of int, default=3
        Voxels along each side of the convolution; see
        :func:`skfmri.networks.convolutional_network` for one entry per block.
    n_blocks : int, default=3
        Number of convolution blocks. Three need at least 22 x 22 voxels, two 10 x 10, one 4 x 4;
        0 leaves the dense layers alone.
    padding : {"valid", "same"}, default="valid"
        "same" pads with zeros, so that any number of blocks fits any slab.
    dense_units : sequence of int, default=(1024, 256, 64)
        Units of the dense layers; may be empty.
    dropout : float, default=0.5
        Fraction dropped before and after each dense layer, in [0, 1).
    batch_norm_momentum : float, default=0.99
        Share of the running mean and variance that a training step keeps. A fit of a few hundred
        steps leaves the default far behind the data; 0.9 follows them.
    linear_path : float or None, default=None
        Where not None, a logistic regression of all voxels is fitted first, and this is its C: the
        larger, the weaker the penalty. Its decision values are added to the output of the network,
        which starts at zero and learns what the linear model leaves. For samples too few for a
        network alone; they must fit into memory.
    n_members : int, default=1
        Networks that are trained, each from a seed of its own; their probabilities are averaged.
        ``joblib.parallel_config(n_jobs=2)`` trains two at a time.
    optimizer : str or keras.optimizers.Optimizer, default="adam"
        Name of a Keras optimizer, or an instance, of which a copy made from its configuration is
        trained with the instance's own learning rate.
    learning_rate : float, default=0.001
        Step size of an optimizer given by name.
    loss : str or callable, default="sparse_categorical_crossentropy"
        What training makes small: the name of a function of `keras.losses`, or a function of
        targets and probabilities that returns one number for each sample. Targets are positions in
        `classes_` for the default, else one column for each class, 1 for that of the sample.
        Settings go into a partial, as in
        ``functools.partial(keras.losses.categorical_crossentropy, label_smoothing=0.1)``.
    epochs : int, default=125
        Number of passes over the training samples.
    patience : int or None, default=None
        Stop after so many epochs without a lower loss on validation data, and keep the weights of
        the epoch with the lowest. Needs :class:`~skfmri.DecodingPipeline` with `validation`, or
        ``fit(validation_data=...)``.
    batch_size : int, default=32
        Samples per training step, and per step of prediction.
    class_weight : dict, "balanced" or None, default=None
        Weight of each class in the loss, by the labels in y; "balanced" makes up for rare classes.
    callbacks : keras.callbacks.Callback or list of these, default=None
        Called during fit as Keras does, these very instances. They let go of the model when fit
        ends, so that estimators can be cloned and pickled: keep weights, not ``self.model``.
    random_state : int, RandomState instance or None, default=None
        Draws initial weights, dropout and sample order. An int gives bit-equal networks run after
        run, for the same number of TensorFlow threads on the same machine: another number of
        threads adds in another order. None differs each time. No global seed is read or changed.
    verbose : int, default=0
        Keras' progress display: 0 none, 1 bar, 2 line per epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Classes, sorted.
    n_classes_ : int
        Number of classes.
    history_ : dict of str to list of float
        "loss" and "accuracy" of each epoch, means over its training batches; "val_loss" and
        "val_accuracy" where there are validation data.
        Of several members the mean of those that trained so long.
    n_epochs_ : int
        Epochs that the weights have seen: the best one where `patience` is set. Each member stops
        by itself; this is their mean, rounded.
    model_ : keras.Model
        A copy of the trained network for a look inside; of several members their average.
    X_shape_ : tuple of int
        Shape of the training samples.
    n_features_in_ : int
        Length of axis 1 of X, as in scikit-learn.
    feature_names_in_ : ndarray of str
        Names of the columns, where X was a table that has some.

    Notes
    -----
    `callbacks` are those of Keras. ``set_callbacks`` takes those of scikit-learn, such as its
    ``ProgressBar``, which see epochs as tasks; the page "Progress" of the documentation shows them.

    In a joblib worker TensorFlow takes as many threads as ``OMP_NUM_THREADS`` says, which joblib
    sets to the worker's share of the cores. The same holds in the main process if the variable is
    set there before the first fit.

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
        filters=32,
        kernel_size=3,
        n_blocks=3,
        padding="valid",
        dense_units=(1024, 256, 64),
        dropout=0.5,
        batch_norm_momentum=0.99,
        linear_path=None,
        n_members=1,
        optimizer="adam",
        learning_rate=0.001,
        loss="sparse_categorical_crossentropy",
        epochs=125,
        patience=None,
        batch_size=32,
        class_weight=None,
        callbacks=None,
        random_state=None,
        verbose=0,
    ):
        self.filters = filters
        self.kernel_size = kernel_size
        self.n_blocks = n_blocks
        self.padding = padding
        self.dense_units = dense_units
        self.dropout = dropout
        self.batch_norm_momentum = batch_norm_momentum
        self.linear_path = linear_path
        self.n_members = n_members
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


class VolumeCNNClassifier(BaseCNNClassifier):
    """Classify volumes, or thick slabs, with a 3-D convolutional network.

    The kernels move along all three axes, so a pattern counts wherever it lies, at the price of
    more computation than :class:`SlabCNNClassifier`. With the default ``padding="same"`` an axis
    is halved by each block but never gets shorter than one voxel: the same parameters take a slab
    of three slices as well as a whole volume of 40 x 51 x 41.

    Parameters
    ----------
    filters : int or sequence of int, default=16
        Filters of the first block, doubled in each further one; a sequence gives one per block.
    kernel_size, pool_size, strides : int, tuple of int, or sequence of these; default 3, 2, 1
        Convolution kernel, pooling window and convolution stride in voxels. An int holds for all
        axes and blocks, a flat tuple of three for all blocks, and a sequence with a tuple inside,
        such as ``[(2, 3, 2), (2, 3, 2), 2]``, has one entry per block.
    n_blocks : int, default=3
        Number of convolution blocks; 0 leaves the dense layers alone.
    padding : {"valid", "same"}, default="same"
        "valid" adds no zeros; the blocks may then need more voxels than there are.
    dense_units : sequence of int, default=(256, 64)
        Units of the dense layers; may be empty.
    dense_batch_norm : bool, default=True
        Whether a batch normalization follows each dense layer.
    dropout : float, default=0.5
        Fraction dropped before and after each dense layer, in [0, 1).
    batch_norm_momentum : float, default=0.99
        Share of the running mean and variance that a training step keeps. A fit of a few hundred
        steps leaves the default far behind the data; 0.9 follows them.
    linear_path : float or None, default=None
        Where not None, a logistic regression of all voxels is fitted first, and this is its C: the
        larger, the weaker the penalty. Its decision values are added to the output of the network,
        which starts at zero and learns what the linear model leaves. For samples too few for a
        network alone; they must fit into memory.
    n_members : int, default=1
        Networks that are trained, each from a seed of its own; their probabilities are averaged.
        ``joblib.parallel_config(n_jobs=2)`` trains two at a time.
    optimizer : str or keras.optimizers.Optimizer, default="adam"
        Name of a Keras optimizer, or an instance, of which a copy made from its configuration is
        trained with the instance's own learning rate.
    learning_rate : float, default=0.001
        Step size of an optimizer given by name.
    loss : str or callable, default="sparse_categorical_crossentropy"
        What training makes small: the name of a function of `keras.losses`, or a function of
        targets and probabilities that returns one number for each sample. Targets are positions in
        `classes_` for the default, else one column for each class, 1 for that of the sample.
        Settings go into a partial, as in
        ``functools.partial(keras.losses.categorical_crossentropy, label_smoothing=0.1)``.
    epochs : int, default=125
        Number of passes over the training samples.
    patience : int or None, default=None
        Stop after so many epochs without a lower loss on validation data, and keep the weights of
        the epoch with the lowest. Needs :class:`~skfmri.DecodingPipeline` with `validation`, or
        ``fit(validation_data=...)``.
    batch_size : int, default=32
        Samples per training step, and per step of prediction.
    class_weight : dict, "balanced" or None, default=None
        Weight of each class in the loss, by the labels in y; "balanced" makes up for rare classes.
    callbacks : keras.callbacks.Callback or list of these, default=None
        Called during fit as Keras does, these very instances. They let go of the model when fit
        ends, so that estimators can be cloned and pickled: keep weights, not ``self.model``.
    random_state : int, RandomState instance or None, default=None
        Draws initial weights, dropout and sample order. An int gives bit-equal networks run after
        run, for the same number of TensorFlow threads on the same machine: another number of
        threads adds in another order. None differs each time. No global seed is read or changed.
    verbose : int, default=0
        Keras' progress display: 0 none, 1 bar, 2 line per epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Classes, sorted.
    n_classes_ : int
        Number of classes.
    history_ : dict of str to list of float
        "loss" and "accuracy" of each epoch, means over its training batches; "val_loss" and
        "val_accuracy" where there are validation data.
        Of several members the mean of those that trained so long.
    n_epochs_ : int
        Epochs that the weights have seen: the best one where `patience` is set. Each member stops
        by itself; this is their mean, rounded.
    model_ : keras.Model
        A copy of the trained network for a look inside; of several members their average.
    X_shape_ : tuple of int
        Shape of the training samples.
    n_features_in_ : int
        Length of axis 1 of X, as in scikit-learn.
    feature_names_in_ : ndarray of str
        Names of the columns, where X was a table that has some.

    Notes
    -----
    `callbacks` are those of Keras. ``set_callbacks`` takes those of scikit-learn, such as its
    ``ProgressBar``, which see epochs as tasks; the page "Progress" of the documentation shows them.

    In a joblib worker TensorFlow takes as many threads as ``OMP_NUM_THREADS`` says, which joblib
    sets to the worker's share of the cores. The same holds in the main process if the variable is
    set there before the first fit.

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
        filters=16,
        kernel_size=3,
        n_blocks=3,
        pool_size=2,
        strides=1,
        padding="same",
        dense_units=(256, 64),
        dense_batch_norm=True,
        dropout=0.5,
        batch_norm_momentum=0.99,
        linear_path=None,
        n_members=1,
        optimizer="adam",
        learning_rate=0.001,
        loss="sparse_categorical_crossentropy",
        epochs=125,
        patience=None,
        batch_size=32,
        class_weight=None,
        callbacks=None,
        random_state=None,
        verbose=0,
    ):
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
