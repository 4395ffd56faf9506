"""The base of classifiers over Keras networks."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.metrics import accuracy_score
from sklearn.utils import ClassifierTags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from skfmri._types import with_callbacks
from skfmri._validation import check_number
from skfmri.docstrings import fill_docstring
from skfmri.estimators.base import BaseCNN
from skfmri.estimators.parameter_docs import CLASSIFIERS
from skfmri.networks.backend import wrappers
from skfmri.networks.outputs import CLASSES

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

    from skfmri._types import Shape, Values, Volumes


class BaseCNNClassifier(BaseCNN, wrappers.KerasClassifier):
    """A classifier whose network is built by a function; subclasses name its parameters."""

    classes_: NDArray[Any]
    n_classes_: int

    output_kind = CLASSES
    learnt_of_targets = ("classes_", "n_classes_")
    _takes_columns = False
    _weights_in_words = "class_weight and sample_weight"

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
        return self._build(sample_shape, n_classes)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.estimator_type = "classifier"
        tags.classifier_tags = ClassifierTags()
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
        return self._fit(X, y, sample_weight, groups, validation_data, epochs)

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
        return self._outputs(X)

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

    def _learn_targets(self, y, sample_weight):
        check_classification_targets(y)
        classes = np.unique(y)
        if len(classes) < 2:
            raise ValueError(
                f"y holds only one class, {classes.tolist()[0]!r}. A classifier needs two or more."
            )
        return {"classes_": classes, "n_classes_": len(classes)}

    def _encode(self, y, learnt, whose="training"):
        y, classes = column_or_1d(y), learnt["classes_"]
        unknown = np.setdiff1d(y, classes)
        if len(unknown):
            raise ValueError(
                f"The {whose} samples hold the class {unknown.tolist()[0]!r}, which no training "
                f"sample has. The training classes are {', '.join(map(repr, classes.tolist()))}."
            )
        return np.searchsorted(classes, y).astype(np.int32)

    def _count_outputs(self, learnt):
        return learnt["n_classes_"]

    def _has_same_outputs(self, source, learnt):
        return np.array_equal(source.classes_, learnt["classes_"])

    def _check_restored(self):
        """Raise ValueError unless classes are one of a kind and as many as outputs."""
        shape = np.shape(self.classes_)
        if shape != (self.n_classes_,) or len(set(self.classes_.tolist())) < self.n_classes_:
            raise ValueError(
                f"The classes of a network of {self.n_classes_!r} outputs have the shape {shape}, "
                "or occur twice."
            )
