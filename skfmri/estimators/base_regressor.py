"""The base of regressors over Keras networks."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.metrics import r2_score
from sklearn.utils import RegressorTags

from skfmri._types import with_callbacks
from skfmri._validation import check_number
from skfmri.docstrings import fill_docstring
from skfmri.estimators.base import BaseCNN
from skfmri.estimators.parameter_docs import REGRESSORS
from skfmri.estimators.targets import as_columns, check_spread, numbers
from skfmri.networks.backend import wrappers
from skfmri.networks.outputs import NUMBERS

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

    from skfmri._types import Shape, Values, Volumes


class BaseCNNRegressor(BaseCNN, wrappers.KerasRegressor):
    """A regressor whose network is built by a function; subclasses name its parameters."""

    target_mean_: NDArray[np.float64]
    target_scale_: NDArray[np.float64]
    target_shape_: Shape

    output_kind = NUMBERS
    learnt_of_targets = ("target_mean_", "target_scale_", "target_shape_")
    _takes_columns = True
    _weights_in_words = "Sample weights"

    def build_network(self, sample_shape: Shape, n_targets: int = 1) -> keras.Model:
        """Return the untrained network, to look at its layers.

        Parameters
        ----------
        sample_shape : tuple of int
            Shape of one sample: ``(x, y, z)``, or ``(n_features,)``.
        n_targets : int, default=1
            Number of targets.

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
        >>> from skfmri import SlabCNNRegressor
        >>> SlabCNNRegressor().build_network((40, 56, 3)).count_params()
        2345537
        """
        check_number(n_targets, "n_targets", Integral, least=1)
        return self._build(sample_shape, n_targets)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.estimator_type = "regressor"
        tags.regressor_tags = RegressorTags()
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        return tags

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
        """Train a network on samples and their numbers.

        Every fit starts from newly drawn weights, or from `initial_weights`. If an idle compiled
        network has the same architecture, it is reused, which saves seconds and changes no result.
        Targets are standardised for the training, by their weighted mean and standard deviation.

        Parameters
        ----------
        X : array-like of shape (n_samples, x, y, z) or (n_samples, n_features)
            Samples of any real dtype, converted to float32. Read batch by batch, so a memory map is
            never loaded as a whole. For features without a grid there are only dense layers.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Numbers, in any unit.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each sample in the loss. Samples of weight 0 are left out.
        groups : array-like of shape (n_samples,), default=None
            Groups of the samples, which ``linear_path="multiscale"`` leaves out; None takes
            ``X.groups`` if there are any, else each sample is left out alone. Otherwise they only
            serve to refuse validation data that share a group with the training data.
        validation_data : tuple, default=None
            ``(X, y)``, ``(X, y, sample_weight)`` or ``(X, y, sample_weight, groups)`` of samples
            that are not trained on. Their loss and mean absolute error are recorded after each
            epoch, and the loss stops training if `patience` is set.
            :class:`~skfmri.DecodingPipeline` passes samples that no earlier step has seen.
        epochs : int, default=None
            Train for exactly this many epochs, without `patience`; None takes the parameter.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of range, X or y holds values that are not finite, a target is
            the same for all samples, the network has more blocks than the grid allows,
            `initial_weights` do not fit it or are not fitted, `frozen` names no layer of it,
            `patience` is set without validation data, or these do not fit X, y and groups.
        TypeError
            If a parameter has a wrong type.

        Warns
        -----
        UserWarning
            With ``linear_path="multiscale"``, as :class:`~skfmri.MultiscaleRidgeRegressor` does,
            and if samples differ in weight, which the ridge ignores.
        """
        return self._fit(X, y, sample_weight, groups, validation_data, epochs)

    @fill_docstring(REGRESSORS)
    def predict(self, X: Volumes) -> NDArray[np.float64]:
        """Return the predicted numbers.

        Parameters
        ----------
        {X}

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets), float64
            In the units of y.
        """
        predicted = self._outputs(X) * self.target_scale_ + self.target_mean_
        return predicted.reshape(len(predicted), *self.target_shape_)

    @fill_docstring(REGRESSORS)
    def score(self, X: Volumes, y: Values, sample_weight: Values | None = None) -> float:
        """Return the coefficient of determination R2 of the predictions.

        Parameters
        ----------
        {X}
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            True numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each sample.

        Returns
        -------
        float
            1 for perfect predictions, 0 for the mean of y; the mean over targets.
        """
        return r2_score(y, self.predict(X), sample_weight=sample_weight)

    def _learn_targets(self, y, sample_weight):
        columns = as_columns(numbers(y, "y", type(self).__name__))
        weight = np.asarray(1.0 if sample_weight is None else sample_weight, float)
        # What is wrong with weights is said where the total weight is computed.
        is_usable = weight.shape == (len(columns),) and np.isfinite(weight).all()
        if not is_usable or weight.min() < 0 or not weight.any():
            weight = np.ones(len(columns))
        columns, weight = columns[weight > 0], weight[weight > 0]
        check_spread(columns)
        mean = np.average(columns, axis=0, weights=weight)
        scale = np.sqrt(np.average((columns - mean) ** 2, axis=0, weights=weight))
        return {"target_mean_": mean, "target_scale_": scale, "target_shape_": np.shape(y)[1:]}

    def _encode(self, y, learnt, whose="training"):
        columns = as_columns(numbers(y, f"y of the {whose} samples", type(self).__name__))
        if np.shape(y)[1:] != learnt["target_shape_"]:
            raise ValueError(
                f"y of the {whose} samples has shape {np.shape(y)}, but the training samples have "
                f"targets of shape {learnt['target_shape_']}."
            )
        standardized = (columns - learnt["target_mean_"]) / learnt["target_scale_"]
        return standardized.astype(np.float32)

    def _count_outputs(self, learnt):
        return int(np.prod(learnt["target_shape_"], dtype=int))

    def _has_same_outputs(self, source, learnt):
        return True

    def _check_restored(self):
        """Raise ValueError unless each target has a finite mean and a positive scale."""
        mean, scale, shape = self.target_mean_, self.target_scale_, self.target_shape_
        n_targets = self._count_outputs(vars(self))
        is_fit = np.shape(mean) == np.shape(scale) == (n_targets,) and len(shape) <= 1
        if not is_fit or not np.isfinite([mean, scale]).all() or not np.all(scale > 0):
            raise ValueError(
                f"The targets of a network of {n_targets} outputs have the means {mean!r} and the "
                f"standard deviations {scale!r}."
            )
