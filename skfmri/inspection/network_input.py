"""The network inside a fitted estimator, with samples in the form it takes."""

import numpy as np

from skfmri._validation import check_fitted_shape
from skfmri.estimators.classifier import SlabCNNClassifier, VolumeCNNClassifier


def network_input(estimator, X):
    """Return the fitted classifier of an estimator, with samples as it takes them.

    Parameters
    ----------
    estimator : SlabCNNClassifier, VolumeCNNClassifier or pipeline
        Fitted; the classifier of a pipeline is its last step.
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Samples, as the estimator takes them.

    Returns
    -------
    classifier : SlabCNNClassifier or VolumeCNNClassifier
    X : ndarray of shape (n_samples, ...), float32
        A copy, transformed by all steps before the classifier.

    Raises
    ------
    TypeError
        If there is no classifier with a network.
    ValueError
        If the samples do not have the shape of the training samples.
    """
    *steps, (_, classifier) = getattr(estimator, "steps", [(None, estimator)])
    if not isinstance(classifier, SlabCNNClassifier | VolumeCNNClassifier):
        raise TypeError(
            f"There is no network in {classifier!r}. Pass a fitted SlabCNNClassifier or "
            "VolumeCNNClassifier, or a pipeline that ends in one."
        )
    classifier.model_  # noqa: B018 - raises NotFittedError
    for _, step in steps:
        if step is not None and step != "passthrough":
            X = step.transform(X)
    X = np.array(X, np.float32)
    check_fitted_shape(X.shape[1:], classifier.X_shape_[1:], type(classifier).__name__)
    return classifier, X


def member_models(classifier):
    """Return the networks of a classifier: one, or as many as it has members."""
    model = classifier.model_
    if classifier.n_members == 1:
        return [model]
    return [model.get_layer(f"member{n}") for n in range(1, classifier.n_members + 1)]


def batches(classifier, X, columns=None):
    """Yield samples in the shape that the networks take, with their columns to explain.

    Parameters
    ----------
    classifier : SlabCNNClassifier or VolumeCNNClassifier
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
    shape = member_models(classifier)[0].input_shape[1:]
    for start in range(0, len(X), classifier.batch_size):
        batch = slice(start, start + classifier.batch_size)
        yield X[batch].reshape(-1, *shape), columns[batch]


def class_columns(classifier, X, y):
    """Return for each sample the column of the output that belongs to the class to explain.

    Parameters
    ----------
    classifier : SlabCNNClassifier or VolumeCNNClassifier
        Fitted.
    X : ndarray of shape (n_samples, ...)
        Samples from `network_input`.
    y : class, array-like of shape (n_samples,) or None
        One class for all samples or one for each; None means the predicted classes.

    Returns
    -------
    columns : ndarray of shape (n_samples,), int

    Raises
    ------
    ValueError
        If the number of classes does not fit, or the network does not know one of them.
    """
    if y is None:
        return classifier.predict_proba(X).argmax(axis=1)
    y = np.broadcast_to(np.asarray(y), len(X)) if np.ndim(y) == 0 else np.asarray(y)
    if len(y) != len(X):
        raise ValueError(
            f"y has {len(y)} classes for {len(X)} samples. Pass one class for all samples, or one "
            "for each."
        )
    unknown = np.setdiff1d(y, classifier.classes_)
    if len(unknown):
        raise ValueError(
            f"y holds the class {unknown.tolist()[0]!r}, which the network does not know. Its "
            f"classes are {', '.join(map(repr, classifier.classes_.tolist()))}."
        )
    return np.searchsorted(classifier.classes_, y)
