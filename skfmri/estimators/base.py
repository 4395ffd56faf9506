"""The common base of the estimators over Keras networks.

They derive from scikeras' `KerasClassifier` or `KerasRegressor`, so code written for these accepts
them. Nothing else of scikeras is used: it would build, compile and trace a network for every fit,
set global seeds and copy the samples. Hence these overrides:

- `_get_param_names`, `set_params`, `__repr__`: scikeras collects parameters from ``__dict__`` and
  accepts any name with a prefix such as ``optimizer__``; here they are those of the constructor.
- `__sklearn_tags__`: scikeras puts `BaseEstimator` before the mixins, whose tags get lost.
- `fit`, `predict_proba`, `predict`, `score`: networks of `skfmri.networks`, trained there.
- `partial_fit`, `initialize`: not offered.

What depends on whether a network tells classes apart or predicts numbers is in the subclasses
`BaseCNNClassifier` and `BaseCNNRegressor`, or in the `OutputKind` of the network.
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
from sklearn.utils.validation import check_is_fitted, validate_data

from skfmri._validation import (
    check_fitted_shape,
    check_number,
    check_per_volume,
    check_unchanged_since_fit,
)
from skfmri.estimators.callbacks import begin_fit, epoch_tasks
from skfmri.estimators.defaults import MULTISCALE, MULTISCALE_RIDGE, SMALL_SAMPLE
from skfmri.estimators.origin import SOURCE, fitted_network, last_network, trained_further
from skfmri.estimators.restored import check_weights
from skfmri.estimators.ridge_base import groups_to_leave_out
from skfmri.estimators.scikit_learn import parameter_names
from skfmri.networks.architecture import check_architecture, convolutional_network
from skfmri.networks.backend import check_fork, keras
from skfmri.networks.linear_path import linear_weights, network_share, ridge_weights
from skfmri.networks.outputs import CLASSES, OutputKind
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

    from skfmri._types import Shape

_LEARNT = ("n_epochs_", "history_", "X_shape_", "network_gain_", "network_weight_")


class BaseCNN(CallbackSupportMixin):
    """An estimator whose network is built by a function; subclasses name its parameters.

    Stands before a wrapper of scikeras among the bases of a class.
    """

    history_: dict[str, list[float]]
    n_epochs_: int
    X_shape_: Shape
    network_gain_: float
    network_weight_: float

    # Read by scikit-learn if metadata routing is enabled. Scores stay unweighted, as without it.
    __metadata_request__fit: ClassVar = {"groups": True, "sample_weight": True}

    # Builds the network: takes input shape and number of outputs, returns an uncompiled
    # keras.Model. Those of its keywords that are parameters of the class are passed on.
    network_function: ClassVar[Callable[..., keras.Model]] = staticmethod(convolutional_network)

    # What the outputs of the network mean, and the attributes that only such networks learn.
    output_kind: ClassVar[OutputKind]
    learnt_of_targets: ClassVar[tuple[str, ...]]

    _get_param_names = parameter_names
    __repr__ = BaseEstimator.__repr__

    @classmethod
    def for_small_samples(cls, **parameters: Any) -> Self:
        """Return an estimator set up for fewer than a few hundred training samples.

        The defaults of the class have far more weights than so few samples can determine. These
        settings have few, in two blocks, and batch normalization that follows the data within a
        fit. The network starts from the multiscale ridge and is kept only as far as it lowers the
        loss of groups that are left out, so `fit` needs groups, as a
        :class:`~skfmri.DecodingPipeline` passes them. The page "Few samples" of the documentation
        shows what this gains.

        Parameters
        ----------
        **parameters : dict
            Parameters of the constructor, which override those chosen here.

        Returns
        -------
        estimator : SlabCNNClassifier, VolumeCNNClassifier or a regressor of these kinds
            Unfitted; all parameters can be read, searched and set as usual.
        """
        return cls(**{**SMALL_SAMPLE, **parameters})

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
        cloned = super(BaseCNN, without).__sklearn_clone__()
        cloned.initial_weights = self.initial_weights
        return cloned

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
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

    def _fit(self, X, y, sample_weight, groups, validation_data, epochs):
        """Do what `fit` of a subclass says."""
        settings, learning_rate = self._check_parameters()
        epochs, patience = self._check_duration(epochs, validation_data)
        callbacks = callback_list(self.callbacks)
        weights = None if sample_weight is None else {"sample_weight": sample_weight}
        given = {"X": X, "y": y, "metadata": weights}
        task = begin_fit(self, epochs, given)
        left_out = getattr(X, "groups", None) if groups is None else groups
        X, y = validate_data(
            self, X, y, allow_nd=True, ensure_all_finite=False, multi_output=self._takes_columns
        )
        learnt, data, kept = self._training_data(X, y, sample_weight)
        if self.linear_path == MULTISCALE:
            left_out = self._groups_to_leave_out(data, left_out, kept)
        if validation_data is not None:
            encode = partial(self._encode, learnt=learnt, whose="validation")
            name = type(self).__name__
            validation_data = check_validation(validation_data, X.shape[1:], encode, groups, name)
        for name in ("_model", "_members", "_trained_on", *_LEARNT, *self.learnt_of_targets):
            vars(self).pop(name, None)
        recipe = self._recipe(X.shape[1:], self._count_outputs(learnt), settings)
        initial = self._initial_weights(recipe, learnt)
        learnt = {"_fitted_recipe": recipe, **learnt, "X_shape_": X.shape}
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

    def _outputs(self, X):
        """Return the output of the network, averaged over members, float32."""
        check_is_fitted(self, "X_shape_")
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

    @property
    def model_(self) -> keras.Model:
        """The trained network as a compiled ``keras.Model``, for inspection.

        A copy: changing it changes no prediction. With several members it averages their models,
        which are its layers ``member1``, ``member2`` and so on.
        """
        check_is_fitted(self, "X_shape_")
        if "_model" not in vars(self):
            self._model = self._fitted_recipe.fitted_model(self._members)
        return self._model

    def _build(self, sample_shape, n_outputs):
        """Return the untrained network."""
        recipe = self._recipe(tuple(sample_shape), n_outputs, self._check_parameters()[0])
        self._initial_weights(recipe)
        return recipe.model()

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
        self._check_restored()
        self._fitted_recipe = self._current_recipe()
        check_weights(self._fitted_recipe, self._members, type(self).__name__)

    def _current_recipe(self):
        """Return the recipe that the parameters give for the shape of the training samples."""
        settings, _ = self._check_parameters()
        return self._recipe(self.X_shape_[1:], self._count_outputs(vars(self)), settings)

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
        """Return what is learnt of the targets, the data, and which samples these are.

        The data are samples, targets as the network takes them, and weights.
        """
        learnt = self._learn_targets(y, sample_weight)
        check_samples(X)
        weight = total_weight(len(X), y, getattr(self, "class_weight", None), sample_weight)
        kept = weight > 0
        targets = self._encode(y, learnt)
        # Samples in a memory map are not copied unless some are left out.
        samples = X if kept.all() else X[kept]
        return learnt, (samples, targets[kept], weight[kept]), kept

    def _initial_weights(self, recipe, learnt=None):
        """Return what each member starts from in place of drawn weights, or None for each.

        Without `learnt`, the outputs of the source are taken if their number fits. Raises
        ValueError if the members cannot fit into memory.
        """
        recipe.check_size(self.n_members)
        if self.initial_weights is None:
            return [None] * self.n_members
        source = fitted_network(self.initial_weights)
        is_linear = self.linear_path is not None or source.linear_path is not None
        is_same = (
            source.output_kind is self.output_kind
            and source._fitted_recipe.n_outputs == recipe.n_outputs
            and (learnt is None or self._has_same_outputs(source, learnt))
        )
        return transferred_weights(
            recipe,
            source._fitted_recipe,
            source._members,
            n_members=self.n_members,
            keeps_output=is_same and not is_linear,
        )

    def _groups_to_leave_out(self, data, groups, kept):
        """Return the groups of the samples that are trained on, after warnings of the ridge."""
        _, targets, weight = data
        if groups is not None:
            groups = check_per_volume(groups, len(kept), "group label")[kept]
        labels = targets if self.output_kind is CLASSES else np.zeros(len(targets), int)
        groups, messages = groups_to_leave_out(labels, groups, type(self).__name__)
        if np.ptp(weight):
            messages.append(
                f"{self._weights_in_words} act on the network alone: the ridge of "
                "linear_path='multiscale' gives all samples the same weight. Set linear_path to a "
                "number for a linear path that takes them."
            )
        for message in messages:
            # Skips fit and its wrapper, to point to the line that called fit.
            warnings.warn(message, UserWarning, stacklevel=5)
        return groups

    def _train(self, recipe, learning_rate, initial, data, groups, options, callbacks):
        """Return the weights, history and epochs of each member, and what a ridge has decided."""
        sequence = seed_sequence(self.random_state)
        seeds = sequence.spawn(2 * self.n_members)
        starts = list(zip(seeds[::2], seeds[1::2], initial, strict=True))
        linear, share, shared = None, 1.0, {}
        n_classes = recipe.n_outputs if recipe.kind is CLASSES else None
        if self.linear_path == MULTISCALE:
            fit_path = partial(ridge_weights, n_classes=n_classes, **vars(MULTISCALE_RIDGE))
            split_seed = int(sequence.spawn(1)[0].generate_state(1)[0])
            share, gain = network_share(
                *(recipe, learning_rate, starts, split_seed, data, groups, fit_path),
                options | {"verbose": 0},
            )
            shared = {"network_weight_": share, "network_gain_": gain}
            linear = fit_path(*data[:2], groups)
        elif self.linear_path is not None:
            linear = linear_weights(*data, n_classes, C=self.linear_path)
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

    def _recipe(self, sample_shape, n_outputs, settings):
        input_shape = sample_shape if len(sample_shape) == 1 else self._input_shape(sample_shape)
        keywords = tuple((name, freeze(value)) for name, value in self._keywords().items())
        function = self.network_function
        frozen = tuple(sorted(set(self.frozen)))
        of_network = function, tuple(input_shape), n_outputs, keywords
        return Recipe(*of_network, *settings, frozen, self.output_kind)

    def _keywords(self):
        """Return the settings that the network function takes."""
        names = inspect.signature(self.network_function).parameters
        # Attributes, for a subclass may pass settings on that its own constructor does not name.
        settings = vars(self)
        keywords = {name: settings[name] for name in names if name in settings}
        if "output_activation" in names:
            keywords["output_activation"] = self.output_kind.activation
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
