"""The common base of the classifiers over Keras networks.

It derives from scikeras' `KerasClassifier`, so code written for that class accepts it. Nothing else
of scikeras is used: it would build, compile and trace a network for every fit, set global seeds and
copy the samples. Hence these overrides:

- `_get_param_names`, `set_params`, `__repr__`: scikeras collects parameters from ``__dict__`` and
  accepts any name with a prefix such as ``optimizer__``; here they are those of the constructor.
- `__sklearn_tags__`: scikeras puts `BaseEstimator` before `ClassifierMixin`, whose tags get lost.
- `fit`, `predict_proba`, `predict`, `score`: networks of `skfmri.networks`, trained there.
- `partial_fit`, `initialize`: not offered.
"""

from __future__ import annotations

import inspect
import math
import warnings
from copy import copy
from functools import partial
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import ClassifierTags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from skfmri._types import with_callbacks
from skfmri._validation import (
    check_fitted_shape,
    check_number,
    check_per_volume,
    check_unchanged_since_fit,
)
from skfmri.docstrings import fill_docstring
from skfmri.estimators.callbacks import begin_fit, epoch_tasks
from skfmri.estimators.defaults import MULTISCALE, MULTISCALE_RIDGE, SMALL_SAMPLE
from skfmri.estimators.origin import SOURCE, fitted_network, last_network, trained_further
from skfmri.estimators.parameter_docs import CLASSIFIERS
from skfmri.estimators.ridge import groups_to_leave_out
from skfmri.estimators.scikit_learn import parameter_names
from skfmri.networks.architecture import check_architecture, convolutional_network
from skfmri.networks.backend import check_fork, keras, wrappers
from skfmri.networks.linear_path import linear_weights, network_share, ridge_weights
from skfmri.networks.recipe import Recipe, freeze, loss_settings, optimizer_settings, train_member
from skfmri.networks.training import callback_list, mean_history, predict, seed_sequence
from skfmri.networks.training_data import (
    check_finite,
    check_samples,
    check_validation,
    total_weight,
    warn_if_diverged,
)
from skfmri.networks.transfer import transferred_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from skfmri._types import Shape, Values, Volumes

_LEARNT = ("classes_", "n_classes_", "n_epochs_", "history_", "X_shape_")
_LEARNT += ("network_gain_", "network_weight_")


class BaseCNNClassifier(CallbackSupportMixin, wrappers.KerasClassifier):
    """A classifier whose network is built by a function; subclasses name its parameters."""

    classes_: NDArray[Any]
    n_classes_: int
    history_: dict[str, list[float]]
    n_epochs_: int
    X_shape_: Shape
    network_gain_: float
    network_weight_: float

    # Read by scikit-learn if metadata routing is enabled. Scores stay unweighted, as without it.
    __metadata_request__fit: ClassVar = {"groups": True, "sample_weight": True}

    # Builds the network: takes input shape and number of classes, returns an uncompiled
    # keras.Model. Those of its keywords that are parameters of the class are passed on.
    network_function: ClassVar[Callable[..., keras.Model]] = staticmethod(convolutional_network)

    _get_param_names = parameter_names
    __repr__ = BaseEstimator.__repr__

    @classmethod
    def for_small_samples(cls, **parameters: Any) -> Self:
        """Return a classifier set up for fewer than a few hundred training samples.

        The defaults of the class have far more weights than so few samples can determine. These
        settings have few, in two blocks, a linear model of all voxels to start from, and batch
        normalisation that follows the data within a fit. The page "Few samples" of the
        documentation shows what each of them gains.

        Parameters
        ----------
        **parameters : dict
            Parameters of the constructor, which override those chosen here.

        Returns
        -------
        classifier : SlabCNNClassifier or VolumeCNNClassifier
            Unfitted; all parameters can be read, searched and set as usual.
        """
        return cls(**{**SMALL_SAMPLE, **parameters})

    def build_network(self, sample_shape: Shape, n_classes: int) -> keras.Model:
        """Return the untrained network, to look at its layers.

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
            If a parameter is out of range, the network has more blocks than the grid allows, its
            weights would not fit into memory, or `initial_weights` do not fit.

        Examples
        --------
        >>> from skfmri import SlabCNNClassifier
        >>> SlabCNNClassifier().build_network((40, 56, 3), n_classes=2).count_params()
        2345602
        """
        check_number(n_classes, "n_classes", Integral, least=2)
        recipe = self._recipe(tuple(sample_shape), n_classes, self._check_parameters()[0])
        recipe.check_size()
        self._initial_weights(recipe)
        return recipe.model()

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name.

        Parameters
        ----------
        deep : bool, default=True
            Whether parameters of estimators inside are returned, too. Those of `initial_weights`
            never are: it is a value, which no seed and no search may change.

        Returns
        -------
        parameters : dict
        """
        parameters = super().get_params(deep)
        inside = f"{SOURCE}__"
        return {name: value for name, value in parameters.items() if not name.startswith(inside)}

    def set_params(self, **parameters: Any) -> Self:
        """Set parameters by name.

        Parameters
        ----------
        **parameters : dict
            Parameters of the constructor, and of estimators inside except `initial_weights`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter does not exist or belongs to `initial_weights`.
        """
        inside = [name for name in parameters if name.startswith(f"{SOURCE}__")]
        if inside:
            raise ValueError(
                f"{inside[0]} would change nothing, for {SOURCE} is fitted already. Fit another "
                f"decoder with it, and pass that as {SOURCE}."
            )
        return BaseEstimator.set_params(self, **parameters)

    def __sklearn_clone__(self):
        # A clone starts from the same fitted source, which would lose its weights as a clone.
        without = copy(self)
        without.initial_weights = None
        cloned = super(BaseCNNClassifier, without).__sklearn_clone__()
        cloned.initial_weights = self.initial_weights
        return cloned

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.estimator_type = "classifier"
        tags.classifier_tags = ClassifierTags()
        tags.target_tags.required = True
        return tags

    @property
    def partial_fit(self) -> NoReturn:
        """Not offered: pass a fitted decoder as `initial_weights` to train it further."""
        raise AttributeError(
            f"{type(self).__name__} has no partial_fit; call fit. To train further, pass a fitted "
            "decoder as initial_weights."
        )

    @property
    def initialize(self) -> NoReturn:
        """Not offered: a network is built by `fit`."""
        raise AttributeError(f"{type(self).__name__} has no initialize; call fit.")

    @with_callbacks
    def fit(
        self,
        X: Volumes,
        y: Values,
        sample_weight: Values | None = None,
        *,
        groups: Values | None = None,
        validation_data: tuple[Any, ...] | None = None,
        epochs: int | None = None,
    ) -> Self:
        """Train a network on samples and their classes.

        Every fit starts from newly drawn weights, or from `initial_weights`. If an idle compiled
        network has the same architecture, it is reused, which saves seconds and changes no result.

        Parameters
        ----------
        X : array-like of shape (n_samples, x, y, z) or (n_samples, n_features)
            Samples of any real dtype, converted to float32. Read batch by batch, so a memory map is
            never loaded as a whole. For features without a grid there are only dense layers.
        y : array-like of shape (n_samples,)
            Classes: numbers, strings or booleans, at least two of them.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each sample in the loss. Samples of weight 0 are left out.
        groups : array-like of shape (n_samples,), default=None
            Groups of the samples, which ``linear_path="multiscale"`` leaves out; None takes
            ``X.groups`` if there are any, else each sample is left out alone. Otherwise they only
            serve to refuse validation data that share a group with the training data.
        validation_data : tuple, default=None
            ``(X, y)``, ``(X, y, sample_weight)`` or ``(X, y, sample_weight, groups)`` of samples
            that are not trained on. Their loss and accuracy are recorded after each epoch, and the
            loss stops training if `patience` is set. :class:`~skfmri.DecodingPipeline` passes
            samples that no earlier step has seen.
        epochs : int, default=None
            Train for exactly this many epochs, without `patience`; None takes the parameter.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of range, X holds values that are not finite, y holds fewer than
            two classes, the network has more blocks than the grid allows, `initial_weights` do not
            fit it or are not fitted, `frozen` names no layer of it, `patience` is set without
            validation data, or these do not fit X, y and groups.
        TypeError
            If a parameter has a wrong type.

        Warns
        -----
        UserWarning
            With ``linear_path="multiscale"``, as :class:`~skfmri.MultiscaleRidgeClassifier` does,
            and if samples differ in weight, which the ridge ignores.
        """
        settings, learning_rate = self._check_parameters()
        epochs, patience = self._check_duration(epochs, validation_data)
        callbacks = callback_list(self.callbacks)
        weights = None if sample_weight is None else {"sample_weight": sample_weight}
        given = {"X": X, "y": y, "metadata": weights}
        task = begin_fit(self, epochs, given)
        left_out = getattr(X, "groups", None) if groups is None else groups
        X, y = validate_data(self, X, y, allow_nd=True, ensure_all_finite=False)
        classes, data, kept = self._training_data(X, y, sample_weight)
        if self.linear_path == MULTISCALE:
            left_out = self._groups_to_leave_out(data, left_out, kept)
        if validation_data is not None:
            name = type(self).__name__
            validation_data = check_validation(validation_data, X.shape[1:], classes, groups, name)
        for name in ("_model", "_members", "_trained_on", *_LEARNT):
            vars(self).pop(name, None)
        recipe = self._recipe(X.shape[1:], len(classes), settings)
        initial = self._initial_weights(recipe, classes)
        learnt = {
            "_fitted_recipe": recipe,
            "classes_": classes,
            "n_classes_": len(classes),
            "X_shape_": X.shape,
        }
        if self.initial_weights is not None:
            learnt["_trained_on"] = trained_further(self)
        options = {
            "epochs": epochs,
            "batch_size": self.batch_size,
            "validation": validation_data,
            "patience": patience,
            "verbose": self.verbose,
        }
        of_members = [callbacks + tasks for tasks in epoch_tasks(self, task, epochs, given, learnt)]
        members, shared = self._train(
            recipe, learning_rate, initial, data, left_out, options, of_members
        )
        self._members, histories, n_epochs = zip(*members, strict=True)
        history = mean_history(histories)
        warn_if_diverged(history["loss"])
        learnt |= {"history_": history, "n_epochs_": round(np.mean(n_epochs)), **shared}
        vars(self).update(learnt)
        task.call_on_fit_task_end(estimator=self, **given, reconstruction_attributes={})
        return self

    @fill_docstring(CLASSIFIERS)
    def predict_proba(self, X: Volumes) -> NDArray[np.float32]:
        """Return the probability of each class.

        Parameters
        ----------
        {X}

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float32
            Rows sum to 1; columns in the order of ``classes_``.
        """
        check_is_fitted(self, "classes_")
        # scikit-learn compares only axis 1, and would report its length if the grid is wrong.
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

    @fill_docstring(CLASSIFIERS)
    def predict(self, X: Volumes) -> NDArray[Any]:
        """Return the most probable class.

        Parameters
        ----------
        {X}

        Returns
        -------
        ndarray of shape (n_samples,)
            Entries of ``classes_``.
        """
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    @fill_docstring(CLASSIFIERS)
    def score(self, X: Volumes, y: Values, sample_weight: Values | None = None) -> float:
        """Return the fraction of samples whose class is predicted.

        Parameters
        ----------
        {X}
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
    def model_(self) -> keras.Model:
        """The trained network as a compiled ``keras.Model``, for inspection.

        A copy: changing it changes no prediction. With several members it averages their models,
        which are its layers ``member1``, ``member2`` and so on.
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

    def __skfmri_getstate__(self):
        # Every attribute, also those that a user's class adds: any may be needed to predict.
        is_unchanged = self._current_recipe() == self._fitted_recipe
        check_unchanged_since_fit(is_unchanged, type(self).__name__)
        without = {*self.get_params(deep=False), "_fitted_recipe", "_model", "_trained_on"}
        return {name: value for name, value in vars(self).items() if name not in without}

    def __skfmri_setstate__(self, state):
        vars(self).update(state)
        # Made anew when it is asked for, or by what reads the file.
        for name in ("_model", "_trained_on"):
            vars(self).pop(name, None)
        _check_classes(self.classes_, self.n_classes_)
        self._fitted_recipe = self._current_recipe()
        _check_weights(self._fitted_recipe, self._members, type(self).__name__)

    def _current_recipe(self):
        """Return the recipe that the parameters give for the shape of the training samples."""
        settings, _ = self._check_parameters()
        return self._recipe(self.X_shape_[1:], self.n_classes_, settings)

    def _check_duration(self, epochs, validation_data):
        """Return the number of epochs and the patience of a fit, or raise ValueError."""
        patience = self.patience if epochs is None else None
        epochs = self.epochs if epochs is None else epochs
        check_number(epochs, "epochs", Integral, least=1)
        if patience is not None and validation_data is None:
            raise ValueError(
                f"patience={patience} needs samples that are not trained on. Put the steps into "
                "DecodingPipeline(steps, validation=GroupShuffleSplit(1)), or pass "
                "fit(validation_data=(X, y))."
            )
        return epochs, patience

    def _training_data(self, X, y, sample_weight):
        """Return the classes, the data to train on, and which of the samples these are.

        The data are samples, class positions and weights.
        """
        check_classification_targets(y)
        classes, positions = np.unique(y, return_inverse=True)
        check_samples(X, classes)
        weight = total_weight(len(X), y, self.class_weight, sample_weight)
        kept = weight > 0
        # Samples in a memory map are not copied unless some are left out.
        samples = X if kept.all() else X[kept]
        return classes, (samples, positions[kept].astype(np.int32), weight[kept]), kept

    def _initial_weights(self, recipe, classes=None):
        """Return what each member starts from in place of drawn weights, or None for each.

        Without classes, those of the source are taken if their number fits.
        """
        if self.initial_weights is None:
            return [None] * self.n_members
        source = fitted_network(self.initial_weights)
        is_linear = self.linear_path is not None or source.linear_path is not None
        if classes is None:
            is_same = source.n_classes_ == recipe.n_classes
        else:
            is_same = np.array_equal(source.classes_, classes)
        return transferred_weights(
            recipe,
            source._fitted_recipe,
            source._members,
            n_members=self.n_members,
            keeps_output=is_same and not is_linear,
        )

    def _groups_to_leave_out(self, data, groups, kept):
        """Return the groups of the samples that are trained on, after warnings of the ridge."""
        _, labels, weight = data
        if groups is not None:
            groups = check_per_volume(groups, len(kept), "group label")[kept]
        groups, messages = groups_to_leave_out(labels, groups, type(self).__name__)
        if np.ptp(weight):
            messages.append(
                "class_weight and sample_weight act on the network alone: the ridge of "
                "linear_path='multiscale' gives all samples the same weight. Set linear_path to a "
                "number for a linear path that takes them."
            )
        for message in messages:
            # Skips fit and its wrapper, to point to the line that called fit.
            warnings.warn(message, UserWarning, stacklevel=4)
        return groups

    def _train(self, recipe, learning_rate, initial, data, groups, options, callbacks):
        """Return the weights, history and epochs of each member, and what a ridge has decided."""
        sequence = seed_sequence(self.random_state)
        seeds = sequence.spawn(2 * self.n_members)
        starts = list(zip(seeds[::2], seeds[1::2], initial, strict=True))
        linear, share, shared = None, 1.0, {}
        if self.linear_path == MULTISCALE:
            fit_path = partial(ridge_weights, n_classes=recipe.n_classes, **vars(MULTISCALE_RIDGE))
            split_seed = int(sequence.spawn(1)[0].generate_state(1)[0])
            share, gain = network_share(
                *(recipe, learning_rate, starts, split_seed, data, groups, fit_path),
                options | {"verbose": 0},
            )
            shared = {"network_weight_": share, "network_gain_": gain}
            linear = fit_path(*data[:2], groups)
        elif self.linear_path is not None:
            linear = linear_weights(*data, recipe.n_classes, C=self.linear_path)
        # A single network never pays for a worker process.
        members = Parallel(1 if self.n_members == 1 else None)(
            delayed(train_member)(
                *(recipe, learning_rate, linear, start, data),
                options | {"callbacks": of_member},
                share,
            )
            for start, of_member in zip(starts, callbacks, strict=True)
        )
        return members, shared

    def _recipe(self, sample_shape, n_classes, settings):
        input_shape = sample_shape if len(sample_shape) == 1 else self._input_shape(sample_shape)
        keywords = tuple((name, freeze(value)) for name, value in self._keywords().items())
        function = self.network_function
        frozen = tuple(sorted(set(self.frozen)))
        return Recipe(function, tuple(input_shape), n_classes, keywords, *settings, frozen)

    def _keywords(self):
        """Return the settings that the network function takes."""
        names = inspect.signature(self.network_function).parameters
        # Attributes, for a subclass may pass settings on that its own constructor does not name.
        settings = vars(self)
        keywords = {name: settings[name] for name in names if name in settings}
        if "linear_path" in names:
            keywords["linear_path"] = self.linear_path is not None
        elif self.linear_path is not None:
            raise ValueError(
                f"linear_path={self.linear_path!r} needs a network with a layer for it, but "
                f"{self.network_function.__name__} has no keyword linear_path. Give it one, as "
                "convolutional_network has, or set linear_path=None."
            )
        return keywords

    def _check_parameters(self):
        # First: an optimizer alone may hang where TensorFlow's threads did not survive a fork.
        check_fork()
        keywords = self._keywords()
        if self.network_function is convolutional_network:
            check_architecture(**keywords)
        check_number(self.batch_size, "batch_size", Integral, least=1)
        check_number(self.epochs, "epochs", Integral, least=1)
        check_number(self.n_members, "n_members", Integral, least=1)
        if isinstance(self.linear_path, str):
            if self.linear_path != MULTISCALE:
                raise ValueError(
                    f"linear_path must be a number, {MULTISCALE!r} or None, but is "
                    f"{self.linear_path!r}."
                )
        elif self.linear_path is not None:
            check_number(self.linear_path, "linear_path", Real, above=0, below=math.inf)
        if self.patience is not None:
            check_number(self.patience, "patience", Integral, least=1)
        self._check_start()
        check_number(self.verbose, "verbose", Integral, least=0)
        optimizer, learning_rate = optimizer_settings(self.optimizer, self.learning_rate)
        return (*optimizer, loss_settings(self.loss)), learning_rate

    def _check_start(self):
        if last_network(self.initial_weights) is self:
            raise ValueError(
                f"{SOURCE} is this decoder itself, whose weights are forgotten at the start of a "
                "fit. Pass a copy, copy.deepcopy(decoder)."
            )
        names = self.frozen
        is_sequence = isinstance(names, list | tuple)
        if not is_sequence or not all(isinstance(name, str) for name in names):
            raise TypeError(
                "frozen must be a sequence of names of layers, such as ('block1_convolution', "
                f"'block1_norm'), but is {names!r}."
            )
        if names and self.initial_weights is None:
            raise ValueError(
                f"frozen={names!r} would keep weights as they were drawn at random. Pass "
                "initial_weights, a fitted decoder whose weights are worth keeping, or leave "
                "frozen out."
            )


def _check_classes(classes, n_classes):
    """Raise ValueError unless classes are one of a kind and as many as a network has outputs."""
    shape = np.shape(classes)
    if shape != (n_classes,) or len(set(classes.tolist())) < n_classes:
        raise ValueError(
            f"The classes of a network of {n_classes!r} outputs have the shape {shape}, or occur "
            "twice."
        )


def _check_weights(recipe, members, class_name):
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
