"""The linear model that a network starts from."""

import numpy as np
from sklearn.linear_model import LogisticRegression


def linear_weights(X, y, sample_weight, n_classes, C):
    """Fit a logistic regression; return the kernel and bias of an equivalent softmax layer.

    Parameters
    ----------
    X : ndarray of shape (n_samples, ...)
        Samples; flattened before the fit.
    y : ndarray of shape (n_samples,), int
        Positions of the classes.
    sample_weight : ndarray of shape (n_samples,)
        Weight of each sample in the loss.
    n_classes : int
        Number of classes; those without samples get zeros.
    C : float
        Inverse strength of the L2 penalty.

    Returns
    -------
    kernel : ndarray of shape (n_features, n_classes), float32
    bias : ndarray of shape (n_classes,), float32
    """
    X = np.asarray(X, np.float32).reshape(len(X), -1)
    kernel = np.zeros((X.shape[1], n_classes), np.float32)
    bias = np.zeros(n_classes, np.float32)
    found = np.unique(y)
    if len(found) > 1:
        model = LogisticRegression(C=C, max_iter=1000).fit(X, y, sample_weight=sample_weight)
        # For two classes scikit-learn keeps one row, the difference of the two classes' weights.
        halves = np.array([[-0.5], [0.5]], np.float32)
        binary = len(model.coef_) == 1
        kernel[:, found] = (halves @ model.coef_ if binary else model.coef_).T
        bias[found] = halves @ model.intercept_ if binary else model.intercept_
    return kernel, bias
