"""The network inside a fitted estimator, with samples in the form it takes."""

from numbers import Integral

import numpy as np
from sklearn.base import is_regressor

from skfmri._validation import check_fitted_shape
from skfmri.estimators.base import BaseCNN


def network_input(estimator, X):
    """Return the fitted network of an estimator, with samples as it takes them.

    Parameters
    ----------
    estimator : classifier or regressor with a network, or pipeline
        Fitted; the network of a pipeline is its last step.
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Samples, as the estimator takes them.

    Returns
    -------
    network : classifier or regressor
    X : ndarray of shape (n_samples, ...), float32
        A copy, transformed by all steps before the network.

    Raises
    ------
    TypeError
        If there is no network.
    ValueError
        If the samples do not have the shape of the training samples.
    """
    *steps, (_, network) = getattr(estimator, "steps", [(None, estimator)])
    if not isinstance(network, BaseCNN):
        raise TypeError(
            f"There is no network in {network!r}. Pass a fitted SlabCNNClassifier or "
            "VolumeCNNClassifier, or a regressor of these kinds, or a pipeline that ends in one."
        )
    network.model_  # noqa: B018 - raises NotFittedError
    for _, step in steps:
        if step is not None and step != "passthrough":
            X = step.transform(X)
    X = np.array(X, np.float32)
    check_fitted_shape(X.shape[1:], network.X_shape_[1:], type(network).__name__)
    return network, X


def member_models(network):
    """Return the models of a network: one, or as many as it has members."""
    model = network.model_
    if network.n_members == 1:
        return [model]
    return [model.get_layer(f"member{n}") for n in range(1, network.n_members + 1)]


def batches(network, X, columns=None):
    """Yield samples in the shape that the networks take, with their columns to explain.

    Parameters
    ----------
    network : classifier or regressor
        Fitted.
    X : ndarray of shape (n_samples, ...)
        Samples from `network_input`.
    columns : ndarray of shape (n_samples,), int, default=None
        Columns of the output; None yields zeros.

    Yields
    ------
    batch : ndarray
    columns : ndarray
        Those of the batch.
    """
    columns = np.zeros(len(X), int) if columns is None else columns
    shape = member_models(network)[0].input_shape[1:]
    for start in range(0, len(X), network.batch_size):
        batch = slice(start, start + network.batch_size)
        yield X[batch].reshape(-1, *shape), columns[batch]


def output_columns(estimator, X, y):
    """Return for each sample the column of the output to explain.

    Parameters
    ----------
    estimator : classifier or regressor
        Fitted.
    X : ndarray of shape (n_samples, ...)
        Samples as it takes them.
    y : class, array-like of shape (n_samples,), int or None
        One class for all samples or one for each; None means the predicted classes. Of a regressor
        the number of a target, which may be None if there is only one.

    Returns
    -------
    columns : ndarray of shape (n_samples,), int

    Raises
    ------
    ValueError
        If the number of classes does not fit, or the estimator does not know one of them, or if
        there is no such target.
    """
    if is_regressor(estimator):
        return np.full(len(X), _target(estimator.predict(X[:1]).size, y))
    if y is None:
        y = estimator.predict(X)
    y = np.broadcast_to(np.asarray(y), len(X)) if np.ndim(y) == 0 else np.asarray(y)
    if len(y) != len(X):
        raise ValueError(
            f"y has {len(y)} classes for {len(X)} samples. Pass one class for all samples, or one "
            "for each."
        )
    unknown = np.setdiff1d(y, estimator.classes_)
    if len(unknown):
        raise ValueError(
            f"y holds the class {unknown.tolist()[0]!r}, which the decoder does not know. Its "
            f"classes are {', '.join(map(repr, estimator.classes_.tolist()))}."
        )
    return np.searchsorted(estimator.classes_, y)


def _target(n_targets, y):
    """Return the number of the target to explain."""
    if y is None and n_targets == 1:
        return 0
    if not isinstance(y, Integral) or not 0 <= y < n_targets:
        raise ValueError(
            f"y is {y!r}, but must be the number of the target to explain, from 0 to "
            f"{n_targets - 1}, since the regressor predicts {n_targets}."
        )
    return int(y)
