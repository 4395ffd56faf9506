"""What all classifiers over Keras networks have in common."""

import inspect
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from joblib import Parallel, delayed
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.metrics import accuracy_score
from sklearn.utils import ClassifierTags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from skfmri._validation import check_fitted_shape, check_number
from skfmri.estimators.defaults import SMALL_SAMPLE
from skfmri.networks.architecture import check_architecture, convolutional_network
from skfmri.networks.backend import wrappers
from skfmri.networks.epoch_tasks import EpochTasks
from skfmri.networks.linear_path import linear_weights
from skfmri.networks.recipe import Recipe, freeze, loss_settings, optimizer_settings, train_member
from skfmri.networks.training import callback_list, mean_history, predict, seed_sequence
from skfmri.networks.training_data import (
    check_finite,
    check_samples,
    check_validation,
    total_weight,
    warn_if_diverged,
)

_LEARNT = ("classes_", "n_classes_", "n_epochs_", "history_", "X_shape_")


class BaseCNNClassifier(CallbackSupportMixin, wrappers.KerasClassifier):
    """A classifier whose network is a function; subclasses name its parameters."""

    # Read by scikit-learn where metadata routing is on. Scores stay unweighted, as without it.
    __metadata_request__fit: ClassVar = {"groups": True, "sample_weight": True}

    # What builds the network: input shape and number of classes to an uncompiled keras.Model. Its
    # keywords that are parameters of the class are passed on.
    network_function = staticmethod(convolutional_network)

    # What skfmri decides for its networks; BaseWrapper reads these as attributes.
    model = None
    build_fn = None
    warm_start = False
    metrics = ("accuracy",)
    validation_split = 0.0
    validation_batch_size = None
    shuffle = True
    run_eagerly = False

    @classmethod
    def for_small_samples(cls, **parameters):
        """Return a classifier set up for fewer than some hundred training samples.

        The defaults of the class have far more weights than such samples can determine. This has
        few, in two blocks, a linear model of all voxels to start from, and batch normalization that
        follows the data within a fit. The page "Few samples" of the documentation shows what each
        of these gains.

        Parameters
        ----------
        **parameters : dict
            Parameters of the constructor, which go before those set here.

        Returns
        -------
        classifier : SlabCNNClassifier or VolumeCNNClassifier
            Unfitted; all parameters can be read, searched and set as usual.
        """
        return cls(**{**SMALL_SAMPLE, **parameters})

    def build_network(self, sample_shape, n_classes):
        """Return the network as it is before training, for a look at its layers.

        Parameters
        ----------
        sample_shape : tuple of int
            Shape of one sample: ``(x, y, z)``, or ``(n_features,)``.
        n_classes : int
            Number of classes.

        Returns
        -------
        network : keras.Model
            Neither compiled nor trained; its weights are not those that `fit` starts from.

        Raises
        ------
        ValueError
            If a parameter is out of range, or the network has more blocks than the grid allows.

        Examples
        --------
        >>> from skfmri import SlabCNNClassifier
        >>> SlabCNNClassifier().build_network((40, 56, 3), n_classes=2).count_params()
        2345602
        """
        check_number(n_classes, "n_classes", Integral, least=2)
        return self._recipe(tuple(sample_shape), n_classes, self._check_parameters()[0]).model()

    # BaseWrapper replaces these by versions that collect parameters from __dict__.
    @classmethod
    def _get_param_names(cls):
        return super(wrappers.BaseWrapper, cls)._get_param_names()

    def set_params(self, **params):
        """Set parameters by name, as every scikit-learn estimator does.

        Parameters
        ----------
        **params : dict
            Parameters of the constructor; an unknown name is a ``ValueError``.

        Returns
        -------
        self
        """
        return super(wrappers.BaseWrapper, self).set_params(**params)

    def __repr__(self, N_CHAR_MAX=700):
        return super(wrappers.BaseWrapper, self).__repr__(N_CHAR_MAX)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.estimator_type = "classifier"
        tags.classifier_tags = ClassifierTags()
        tags.target_tags.required = True
        return tags

    @property
    def partial_fit(self):
        """Not offered: every fit starts from newly drawn weights."""
        raise AttributeError(f"{type(self).__name__} has no partial_fit; call fit.")

    @property
    def initialize(self):
        """Not offered: a network is built by `fit`."""
        raise AttributeError(f"{type(self).__name__} has no initialize; call fit.")

    @with_callbacks
    def fit(self, X, y, sample_weight=None, *, groups=None, validation_data=None, epochs=None):
        """Train a network on samples and their classes.

        Every fit starts from newly drawn weights. A compiled network of the same architecture that
        lies idle is used again, which saves seconds and changes no result.

        Parameters
        ----------
        X : array-like of shape (n_samples, x, y, z) or (n_samples, n_features)
            Samples of any real dtype, computed with as float32. Read batch by batch, so a memory
            map is never loaded whole. Features without a grid train the dense layers alone.
        y : array-like of shape (n_samples,)
            Classes: numbers, strings or booleans, two or more different ones.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each sample in the loss; never changed. Samples of weight 0 are left out.
        groups : array-like of shape (n_samples,), default=None
            Groups, which training does not use: they serve to refuse validation data with a group
            that is trained on.
        validation_data : tuple, default=None
            ``(X, y)``, ``(X, y, sample_weight)`` or ``(X, y, sample_weight, groups)`` of samples
            that are not trained on. Their loss and accuracy are kept for each epoch, and the loss
            stops training where `patience` is set. :class:`~skfmri.DecodingPipeline` passes
            samples that no step before has seen.
        epochs : int, default=None
            Train for exactly so many epochs, without `patience`; None takes the parameter.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of range, X holds values that are not finite, y holds one class
            only, the network has more blocks than the grid allows, `patience` is set without
            validation data, or these do not fit X, y and groups.
        TypeError
            If a parameter has a wrong type.
        """
        settings, learning_rate = self._check_parameters()
        patience = self.patience if epochs is None else None
        epochs = self.epochs if epochs is None else epochs
        check_number(epochs, "epochs", Integral, least=1)
        if patience is not None and validation_data is None:
            raise ValueError(
                f"patience={patience} needs samples that are not trained on. Put the steps into "
                "DecodingPipeline(steps, validation=GroupShuffleSplit(1)), or pass "
                "fit(validation_data=(X, y))."
            )
        callbacks = callback_list(self.callbacks)
        weights = None if sample_weight is None else {"sample_weight": sample_weight}
        given = {"X": X, "y": y, "metadata": weights}
        alone = self.n_members == 1
        task = self._init_callback_context(
            max_subtasks=epochs if alone else self.n_members, sequential_subtasks=alone
        ).call_on_fit_task_begin(estimator=self, **given)
        X, y = validate_data(self, X, y, allow_nd=True, ensure_all_finite=False)
        check_classification_targets(y)
        classes, positions = np.unique(y, return_inverse=True)
        check_samples(X, classes)
        weight = total_weight(len(X), y, self.class_weight, sample_weight)
        validation = None
        if validation_data is not None:
            name = type(self).__name__
            validation = check_validation(validation_data, X.shape[1:], classes, groups, name)
        for name in ("_model", "_members", *_LEARNT):
            vars(self).pop(name, None)
        recipe = self._recipe(X.shape[1:], len(classes), settings)
        kept = weight > 0
        data = (X if kept.all() else X[kept], positions[kept].astype(np.int32), weight[kept])
        options = {
            "epochs": epochs,
            "batch_size": self.batch_size,
            "validation": validation,
            "patience": patience,
            "verbose": self.verbose,
        }
        learnt = {
            "_fitted_recipe": recipe,
            "classes_": classes,
            "n_classes_": len(classes),
            "X_shape_": X.shape,
        }
        watchers = self._epoch_tasks(task, epochs, given, learnt)
        members = self._train(recipe, learning_rate, data, options, callbacks, watchers)
        self._members, histories, n_epochs = zip(*members, strict=True)
        history = mean_history(histories)
        warn_if_diverged(history["loss"])
        vars(self).update(learnt, history_=history, n_epochs_=round(np.mean(n_epochs)))
        task.call_on_fit_task_end(estimator=self, **given, reconstruction_attributes={})
        return self

    def predict_proba(self, X):
        """Return the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, x, y, z) or (n_samples, n_features)
            Samples on the grid of the training samples, of any real dtype.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float32
            Rows sum to 1; columns in the order of ``classes_``.
        """
        check_is_fitted(self, "classes_")
        # scikit-learn compares axis 1 alone, and would blame its length when the grid is wrong.
        if len(getattr(X, "shape", ())) > 2:
            check_fitted_shape(X.shape[1:], self.X_shape_[1:], type(self).__name__)
        X = validate_data(self, X, allow_nd=True, ensure_all_finite=False, reset=False)
        check_fitted_shape(X.shape[1:], self.X_shape_[1:], type(self).__name__)
        check_finite(X)
        lease = self._fitted_recipe.lease()
        outputs = []
        for weights in self._members:
            lease.network.model.set_weights(weights)
            outputs.append(predict(lease.network, X, self.batch_size))
        return np.mean(outputs, axis=0)

    def predict(self, X):
        """Return the most probable class.

        Parameters
        ----------
        X : array-like of shape (n_samples, x, y, z) or (n_samples, n_features)
            Samples on the grid of the training samples, of any real dtype.

        Returns
        -------
        ndarray of shape (n_samples,)
            Entries of ``classes_``.
        """
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def score(self, X, y, sample_weight=None):
        """Return the fraction of samples whose class is predicted.

        Parameters
        ----------
        X : array-like of shape (n_samples, x, y, z) or (n_samples, n_features)
            Samples on the grid of the training samples.
        y : array-like of shape (n_samples,)
            True classes.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each sample in the mean.

        Returns
        -------
        float
        """
        return accuracy_score(y, self.predict(X), sample_weight=sample_weight)

    @property
    def model_(self):
        """The trained network as a compiled ``keras.Model``, for a look inside.

        A copy: whatever is done to it, the decoder predicts as before. Of several members it is a
        model that averages theirs, which are its layers ``member1``, ``member2`` and so on.
        """
        check_is_fitted(self, "classes_")
        if "_model" not in vars(self):
            self._model = self._fitted_recipe.fitted_model(self._members)
        return self._model

    def __getstate__(self):
        # A model and its graphs cannot be pickled; the weights can, and rebuild it on demand.
        state = dict(super().__getstate__())
        state.pop("_model", None)
        return state

    def _train(self, recipe, learning_rate, data, options, callbacks, watchers):
        """Return the weights of each member, its history and its number of epochs."""
        linear = None
        if self.linear_path is not None:
            linear = linear_weights(*data, recipe.n_classes, C=self.linear_path)
        seeds = seed_sequence(self.random_state).spawn(2 * self.n_members)
        pairs = zip(seeds[::2], seeds[1::2], strict=True)
        # A single network never pays for a worker process.
        return Parallel(1 if self.n_members == 1 else None)(
            delayed(train_member)(
                recipe, learning_rate, linear, pair, data, {**options, "callbacks": callbacks + own}
            )
            for pair, own in zip(pairs, watchers, strict=True)
        )

    def _epoch_tasks(self, task, epochs, given, learnt):
        """Return for each member what shows its epochs to the callbacks of scikit-learn, if any."""
        # scikit-learn keeps the callbacks of an estimator under this name, in clones too.
        if not vars(self).get("_skl_callbacks"):
            return [[]] * self.n_members
        if self.n_members == 1:
            return [[EpochTasks(task, self, given, learnt, is_member=False)]]
        # Made before training begins: a worker gets a copy of the tree of tasks.
        tasks = [
            task.subcontext(task_name="member", task_id=number, max_subtasks=epochs)
            for number in range(self.n_members)
        ]
        return [[EpochTasks(of_member, self, given, learnt, is_member=True)] for of_member in tasks]

    def _recipe(self, sample_shape, n_classes, settings):
        input_shape = sample_shape if len(sample_shape) == 1 else self._input_shape(sample_shape)
        keywords = tuple((name, freeze(value)) for name, value in self._keywords().items())
        function = self.network_function
        return Recipe(function, tuple(input_shape), n_classes, keywords, *settings)

    def _keywords(self):
        """Return the parameters that the network function takes."""
        names, own = (
            inspect.signature(self.network_function).parameters,
            self.get_params(deep=False),
        )
        keywords = {name: own[name] for name in names if name in own}
        if "linear_path" in names:
            keywords["linear_path"] = self.linear_path is not None
        elif self.linear_path is not None:
            raise ValueError(
                f"linear_path={self.linear_path} needs a network with a layer for it, but "
                f"{self.network_function.__name__} has no keyword linear_path. Give it one, as "
                "convolutional_network has, or set linear_path=None."
            )
        return keywords

    def _check_parameters(self):
        keywords = self._keywords()
        if self.network_function is convolutional_network:
            check_architecture(**keywords)
        check_number(self.batch_size, "batch_size", Integral, least=1)
        check_number(self.epochs, "epochs", Integral, least=1)
        check_number(self.n_members, "n_members", Integral, least=1)
        if self.linear_path is not None:
            check_number(self.linear_path, "linear_path", Real, above=0)
        if self.patience is not None:
            check_number(self.patience, "patience", Integral, least=1)
        check_number(self.verbose, "verbose", Integral, least=0)
        optimizer, learning_rate = optimizer_settings(self.optimizer, self.learning_rate)
        return (*optimizer, loss_settings(self.loss)), learning_rate
