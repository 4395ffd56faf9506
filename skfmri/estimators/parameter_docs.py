"""Descriptions that the docstrings of several estimators share."""

CLASSIFIERS = {
    "filters": """
        Filters of the first block, doubled in each further one; a sequence gives one per block.
        """,
    "dense_units": """
        Units of the dense layers; may be empty.
        """,
    "dropout": """
        dropout : float, default=0.5
            Fraction dropped before and after each dense layer, in [0, 1).
        """,
    "batch_norm_momentum": """
        batch_norm_momentum : float, default=0.99
            Momentum of batch normalization: the weight of the old value when a training step
            updates the running mean and variance. In a fit of a few hundred steps these lag far
            behind the data with the default; with 0.9 they keep up.
        """,
    "linear_path": """
        linear_path : float, "multiscale" or None, default=None
            If not None, a linear model of all voxels is fitted first. Its decision values are added
            to the output of the network, which starts at zero and learns what the linear model
            leaves unexplained. For samples too few for a network alone; they must fit into memory.
            A number is the C of a logistic regression: the larger, the weaker the penalty.
            "multiscale" is the ridge of :class:`~skfmri.MultiscaleRidgeClassifier`. The network is
            then also trained with a third of the groups left out, three times, and its output is
            multiplied by the share that lowers the loss of left-out samples most: 0, which leaves
            the ridge alone, unless the loss falls by more than its standard error over groups.
        """,
    "n_members": """
        n_members : int, default=1
            Number of networks to train, each from its own seed; their probabilities are averaged.
            ``joblib.parallel_config(n_jobs=2)`` trains two at a time.
        """,
    "initial_weights": """
        initial_weights : estimator or None, default=None
            Fitted decoder whose weights training starts from: a network of this kind, of classes or
            of numbers, or a pipeline that ends in one, such as :func:`skfmri.load` returns, never a
            path. Its network must have the same layers with weights of the same shapes. The output
            layer is taken over if the classes are the same and neither network has a linear path;
            otherwise it starts anew, as does the linear path. Of `n_members` each starts from its
            counterpart, or all from a single network. Clones share the decoder. Test volumes that
            it was trained on are refused by :func:`~skfmri.evaluate_decoder`; see the page
            "Fine-tuning" of the documentation.
        """,
    "frozen": """
        frozen : sequence of str, default=()
            Names of layers whose weights stay those of `initial_weights`, such as
            ``("block1_convolution", "block1_norm")``; ``build_network`` shows the names. A frozen
            batch normalization also uses the mean and variance of `initial_weights`.
        """,
    "optimizer": """
        optimizer : str or keras.optimizers.Optimizer, default="adam"
            Name of a Keras optimizer, or an instance, of which a copy made from its configuration
            is used, with the learning rate of the instance.
        """,
    "learning_rate": """
        learning_rate : float, default=0.001
            Step size of an optimizer given by name.
        """,
    "loss": """
        loss : str, callable or keras.losses.Loss, default="sparse_categorical_crossentropy"
            Loss minimised in training: the name of a function of `keras.losses`, such as "bce", a
            function of targets and probabilities that returns one number for each sample, or a loss
            object of Keras itself, such as ``keras.losses.CategoricalCrossentropy(
            label_smoothing=0.1)``. For sparse categorical cross-entropy targets are positions in
            `classes_`; otherwise one-hot rows with a column per class. Pass settings of a function
            with a partial.
        """,
    "epochs": """
        epochs : int, default=125
            Number of passes over the training samples.
        """,
    "patience": """
        patience : int or None, default=None
            Stop after this many epochs without improvement of the validation loss, and keep the
            weights of the epoch with the lowest. Needs :class:`~skfmri.DecodingPipeline` with
            `validation`, or ``fit(validation_data=...)``.
        """,
    "batch_size": """
        batch_size : int, default=32
            Samples per training step, and per step of prediction.
        """,
    "class_weight": """
        class_weight : dict, "balanced" or None, default=None
            Weight of each class in the loss, by the labels in y; "balanced" makes up for rare
            classes.
        """,
    "callbacks": """
        callbacks : keras.callbacks.Callback or list of these, default=None
            Called during fit as in Keras, and the same instances, not copies. They drop their
            reference to the model when fit ends, so that estimators can be cloned and pickled:
            store weights, not ``self.model``.
        """,
    "random_state": """
        random_state : int, RandomState instance or None, default=None
            Draws initial weights, dropout and sample order. An int gives bit-equal networks run
            after run, on the same machine with the same number of TensorFlow threads: with a
            different number, sums are rounded differently. None differs each time. No global seed
            is read or changed.
        """,
    "verbose": """
        verbose : int, default=0
            Keras' progress display: 0 none, 1 bar, 2 line per epoch.
        """,
    "fitted_attributes": """
        classes_ : ndarray of shape (n_classes,)
            Classes, sorted.
        n_classes_ : int
            Number of classes.
        history_ : dict of str to list of float
            "loss" and "accuracy" of each epoch, means over its training batches; "val_loss" and
            "val_accuracy" if there are validation data. With several members, each epoch's mean
            over the members that reached it.
        n_epochs_ : int
            Epochs that the weights have seen: the best one if `patience` is set. Each member stops
            by itself; this is their mean, rounded.
        network_weight_ : float
            Only with ``linear_path="multiscale"``: share of the output of the network, 0, 0.25,
            0.5, 0.75 or 1. With 0, the decoder is the ridge.
        network_gain_ : float
            Only with ``linear_path="multiscale"``: how much the network lowers the mean loss of
            left-out samples at the best share, whether or not that is enough to be kept.
        model_ : keras.Model
            A copy of the trained network for inspection; of several members their average.
        X_shape_ : tuple of int
            Shape of the training samples.
        n_features_in_ : int
            Length of axis 1 of X, as in scikit-learn.
        feature_names_in_ : ndarray of str
            Names of the columns, if X was a table that has some.
        """,
    "notes": """
        `callbacks` are those of Keras. ``set_callbacks`` takes those of scikit-learn, such as its
        ``ProgressBar``, which see epochs as tasks: see the page "Progress bars and callbacks" of
        the documentation.

        In a joblib worker TensorFlow takes as many threads as ``OMP_NUM_THREADS`` says, which
        joblib sets to the worker's share of the cores. The same holds in the main process if the
        variable is set there before the first fit.
        """,
    "X": """
        X : array-like of shape (n_samples, x, y, z) or (n_samples, n_features)
            Samples on the grid of the training samples, of any real dtype.
        """,
}

REGRESSORS = CLASSIFIERS | {
    "linear_path": """
        linear_path : float, "multiscale" or None, default=None
            If not None, a linear model of all voxels is fitted first. Its predictions are added to
            the output of the network, which starts at zero and learns what the linear model leaves
            unexplained. For samples too few for a network alone; they must fit into memory. A
            number is the inverse strength of a ridge regression on standardised targets: the
            larger, the weaker the penalty. "multiscale" is
            :class:`~skfmri.MultiscaleRidgeRegressor`. The network is then also trained with a third
            of the groups left out, three times, and its output is multiplied by the share that
            lowers the loss of left-out samples most: 0, which leaves the ridge alone, unless the
            loss falls by more than its standard error over groups.
        """,
    "n_members": """
        n_members : int, default=1
            Number of networks to train, each from its own seed; their predictions are averaged.
            ``joblib.parallel_config(n_jobs=2)`` trains two at a time.
        """,
    "initial_weights": """
        initial_weights : estimator or None, default=None
            Fitted estimator whose weights training starts from: a network of this kind, of classes
            or of numbers, or a pipeline that ends in one, such as :func:`skfmri.load` returns,
            never a path. Its network must have the same layers with weights of the same shapes. The
            output layer is taken over if it predicts as many numbers and neither network has a
            linear path; otherwise it starts anew, as does the linear path. Of `n_members` each
            starts from its counterpart, or all from a single network. Clones share the estimator.
            Test volumes that it was trained on are refused by :func:`~skfmri.evaluate_decoder`; see
            the page "Fine-tuning" of the documentation.
        """,
    "loss": """
        loss : str, callable or keras.losses.Loss, default="mean_squared_error"
            Loss minimised in training, of standardised targets: the name of a function of
            `keras.losses`, such as "huber", a function of targets and predictions of shape
            (n, n_targets) that returns one number for each sample, or a loss object of Keras
            itself, such as ``keras.losses.Huber(delta=0.5)``. Pass settings of a function with a
            partial.
        """,
    "fitted_attributes": """
        target_mean_, target_scale_ : ndarray of shape (n_targets,), float64
            Weighted mean and standard deviation of each target in the training samples.
        target_shape_ : tuple of int
            Shape of the targets of one sample: () for a single number.
        history_ : dict of str to list of float
            "loss" and "mean_absolute_error" of each epoch in standard deviations of the targets,
            means over its training batches; "val_loss" and "val_mean_absolute_error" if there are
            validation data. With several members, each epoch's mean over the members that reached
            it.
        n_epochs_ : int
            Epochs that the weights have seen: the best one if `patience` is set. Each member stops
            by itself; this is their mean, rounded.
        network_weight_ : float
            Only with ``linear_path="multiscale"``: share of the output of the network, 0, 0.25,
            0.5, 0.75 or 1. With 0, the regressor is the ridge.
        network_gain_ : float
            Only with ``linear_path="multiscale"``: how much the network lowers the mean loss of
            left-out samples at the best share, whether or not that is enough to be kept.
        model_ : keras.Model
            A copy of the trained network for inspection; of several members their average. Its
            output is in standard deviations from the mean.
        X_shape_ : tuple of int
            Shape of the training samples.
        n_features_in_ : int
            Length of axis 1 of X, as in scikit-learn.
        feature_names_in_ : ndarray of str
            Names of the columns, if X was a table that has some.
        """,
}
