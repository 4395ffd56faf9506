"""The linear model that a network starts from."""

import warnings

import numpy as np
from joblib import Parallel, delayed
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from skfmri.kernel_ridge import can_be_left_out, fit_samples
from skfmri.networks.backend import keras
from skfmri.networks.recipe import NETWORK_PATH, scale_network, train_member
from skfmri.networks.training import predict

# Shares of its output among which the loss of left-out samples decides.
SHARES = (0, 0.25, 0.5, 0.75, 1)
# Parts of the training samples, each of which is left out once.
N_PARTS = 3


def linear_weights(X, y, sample_weight, n_classes, C):
    """Fit a logistic or a ridge regression; return kernel and bias of an equivalent layer.

    Parameters
    ----------
    X : ndarray of shape (n_samples, ...)
        Samples; flattened before the fit.
    y : ndarray of shape (n_samples,), int, or (n_samples, n_targets)
        Positions of the classes, or numbers.
    sample_weight : ndarray of shape (n_samples,)
        Weight of each sample in the loss.
    n_classes : int or None
        Number of classes; those without samples get zeros. None stands for numbers.
    C : float
        Inverse strength of the L2 penalty.

    Returns
    -------
    kernel : ndarray of shape (n_features, n_outputs), float32
    bias : ndarray of shape (n_outputs,), float32
    """
    X = np.asarray(X, np.float32).reshape(len(X), -1)
    if n_classes is None:
        model = Ridge(alpha=1 / C).fit(X, y, sample_weight=sample_weight)
        return np.atleast_2d(model.coef_).T.astype(np.float32), np.float32(model.intercept_)
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


def ridge_weights(X, y, groups, n_classes, scales, alphas):
    """Fit a multiscale ridge; return the kernel and bias of an equivalent layer.

    Parameters
    ----------
    X : ndarray of shape (n_samples, ...)
        Samples. Those without a grid are not smoothed.
    y : ndarray of shape (n_samples,), int, or (n_samples, n_targets)
        Positions of the classes, or numbers.
    groups : ndarray of shape (n_samples,)
        Groups that are left out to choose strengths, mixture and temperature. If no class occurs in
        more than one, or there is only one, each sample is left out alone.
    n_classes : int or None
        Number of classes; None stands for numbers.
    scales, alphas : sequence of float
        As in `skfmri.MultiscaleRidgeClassifier`.

    Returns
    -------
    kernel : ndarray of shape (n_features, n_outputs), float32
        Zeros if each class has one sample only.
    bias : ndarray of shape (n_outputs,), float32
    """
    X = np.asarray(X, np.float32)
    # Numbers are like a single class: those of other groups tell something about them.
    labels = y if n_classes is not None else np.zeros(len(y), int)
    if not can_be_left_out(labels, groups).any():
        groups = np.arange(len(y))
    if n_classes is not None and not can_be_left_out(labels, groups).any():
        return np.zeros((X[0].size, n_classes), np.float32), np.zeros(n_classes, np.float32)
    scales = scales if X.ndim > 2 else [0.0]
    mean, fit, weights = fit_samples(X, y, groups, scales, alphas, n_classes)
    weights = weights.reshape(len(weights), -1)
    bias = fit.offset - weights @ mean.ravel()
    return weights.T.astype(np.float32), bias.astype(np.float32)


def network_share(recipe, learning_rate, starts, split_seed, data, groups, fit_path, options):
    """Return how much of a network's output lowers the loss of samples that are left out.

    Whole groups are left out of both the linear model and the network. The share is the one of
    least mean loss, or 0 if this lowers the loss by less than its standard error over groups.

    Parameters
    ----------
    recipe : Recipe
        The network, with a linear path.
    learning_rate : float or None
        Step size of the optimizer.
    starts : list of tuple
        Where each member starts, as `train_member` takes it.
    split_seed : int
        Divides the groups.
    data : tuple of ndarray
        Samples, targets and weights.
    groups : ndarray of shape (n_samples,)
        Groups.
    fit_path : callable
        Takes samples, targets and groups; returns the weights of the linear path.
    options : dict
        Of `train`, without callbacks.

    Returns
    -------
    share : float
        From 0 to 1.
    gain : float
        Mean decrease of the loss of left-out samples at the best share, whether or not it is clear.
    """
    _check_paths(recipe)
    X, y, sample_weight = data
    losses = np.empty((len(SHARES), len(y)))
    for train, test in _parts(y, groups, split_seed):
        linear = fit_path(X[train], y[train], groups[train])
        part = X[train], y[train], sample_weight[train]
        members = Parallel(1 if len(starts) == 1 else None)(
            delayed(train_member)(recipe, learning_rate, linear, start, part, options)
            for start in starts
        )
        weights = [member[0] for member in members]
        losses[:, test] = _losses(recipe, weights, X[test], y[test], options["batch_size"])
    means = np.average(losses, axis=1, weights=sample_weight)
    best = int(np.where(np.isfinite(means), means, np.inf).argmin())
    gain = means[0] - means[best]
    if best == 0 or not gain > _standard_error(losses[0] - losses[best], groups, sample_weight):
        return 0.0, float(gain)
    return float(SHARES[best]), float(gain)


def _check_paths(recipe):
    """Raise ValueError unless the output of a network can be scaled beside its linear path."""
    model = recipe.lease().network.model
    layer = next((each for each in model.layers if each.name == NETWORK_PATH), None)
    if (
        not isinstance(layer, keras.layers.Dense)
        or layer.activation is not keras.activations.linear
    ):
        raise ValueError(
            f"linear_path='multiscale' scales the output of the network by a layer named "
            f"{NETWORK_PATH!r}, a Dense layer without activation, but {recipe.function.__name__} "
            "has none. Add it as convolutional_network does, or set linear_path to a number."
        )


def _parts(y, groups, seed):
    """Yield the indices of training and left-out samples, in whole groups."""
    n_parts, splitter_of = min(N_PARTS, len(np.unique(groups))), GroupKFold
    if y.ndim == 1:
        n_parts, splitter_of = min(n_parts, int(np.bincount(y).max())), StratifiedGroupKFold
    splitter = splitter_of(n_parts, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A class may be smaller than the number of parts.
        warnings.simplefilter("ignore", UserWarning)
        yield from splitter.split(np.empty(len(y)), y, groups)


def _losses(recipe, members, X, y, batch_size):
    """Return the loss of each sample for each share, of shape (n_shares, n_samples)."""
    lease, losses = recipe.lease(), []
    for share in SHARES:
        outputs = []
        for weights in members:
            lease.network.model.set_weights(weights)
            scale_network(lease.network.model, share)
            outputs.append(predict(lease.network, X, batch_size))
        losses.append(lease.network.losses(y, np.mean(outputs, axis=0)))
    return np.array(losses)


def _standard_error(gains, groups, sample_weight):
    """Return the standard error of a weighted mean over samples, from that of its groups."""
    numbers = np.unique(groups, return_inverse=True)[1]
    totals = np.bincount(numbers, sample_weight)
    deviations = np.bincount(numbers, sample_weight * gains)
    deviations -= totals * np.average(gains, weights=sample_weight)
    n_groups = len(totals)
    return np.sqrt(n_groups / (n_groups - 1) * (deviations**2).sum()) / totals.sum()
