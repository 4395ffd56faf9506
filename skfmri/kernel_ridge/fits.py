"""Fits of a ridge to kernels of training samples."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar, nnls
from scipy.special import logsumexp

from skfmri.kernel_ridge.kernels import mean_sample, smoothed_kernel
from skfmri.kernel_ridge.maps import voxel_weights

# Numbers in the largest array that fits to many label vectors hold at once.
MOST_SCORES = 2**22
LEAST_TEMPERATURE, LARGEST_TEMPERATURE = 1e-4, 1e2


class Spectrum(NamedTuple):
    """A kernel of training samples, centred and divided by its mean diagonal.

    Attributes
    ----------
    values : ndarray of shape (n_samples,)
        Eigenvalues.
    vectors : ndarray of shape (n_samples, n_samples)
        Eigenvectors in columns.
    norm : float
        Mean diagonal of the centred kernel, or 1 if that is 0.
    """

    values: np.ndarray
    vectors: np.ndarray
    norm: float


class RidgeFit(NamedTuple):
    """A mixture of ridge models. With many label vectors all arrays have one more axis in front.

    For numbers there is a column for each target in place of a class. `alpha` and `mixture` then
    have one row per target, the mixture need not sum to 1, and `temperature` is 1.

    Attributes
    ----------
    duals : ndarray of shape (n_scales, n_samples, n_classes)
        Weights of the training samples, for kernels that are neither centred nor normalised: the
        scores of other samples are the sum of ``kernel @ dual`` over the scales, plus `offset`.
    offset : ndarray of shape (n_classes,)
        Scores of the mean training sample: logarithms of the shares of the classes, or the means
        of the targets.
    alpha : ndarray of shape (n_scales,)
        Strength of each scale, in units of the mean diagonal of its kernel.
    mixture : ndarray of shape (n_scales,)
        Weight of each scale; they sum to 1.
    temperature : float
        Divides the mixture of predictions, which gives scores whose softmax are probabilities.
    left_out : ndarray of shape (n_samples, n_classes)
        Scores of each training sample by the models fitted without its group.
    """

    duals: np.ndarray
    offset: np.ndarray
    alpha: np.ndarray
    mixture: np.ndarray
    temperature: np.ndarray
    left_out: np.ndarray


def decompose(kernel):
    """Return the eigenvalues and eigenvectors of a kernel of training samples.

    Parameters
    ----------
    kernel : ndarray of shape (n_samples, n_samples)
        Inner products of the training samples.

    Returns
    -------
    spectrum : Spectrum
    """
    centred = kernel - kernel.mean(axis=0)
    centred -= centred.mean(axis=1, keepdims=True)
    norm = float(np.trace(centred)) / len(kernel) or 1.0
    values, vectors = np.linalg.eigh(centred / norm)
    return Spectrum(np.maximum(values, 0), vectors, norm)


def left_out_predictions(spectrum, targets, groups, alphas):
    """Yield for each strength what ridge models predict for the groups they are not fitted to.

    Parameters
    ----------
    spectrum : Spectrum
        Of the kernel of all samples.
    targets : ndarray of shape (n_samples, n_targets)
        Targets of the regression.
    groups : ndarray of shape (n_samples,)
        Groups, of which there are at least two.
    alphas : iterable of float
        Strengths, above 0.

    Yields
    ------
    predictions : ndarray of shape (n_samples, n_targets)
    """
    values, vectors, _ = spectrum
    n = len(values)
    projected = vectors.T @ targets
    for alpha in alphas:
        shares = values / (values + alpha)
        residuals = targets - targets.mean(axis=0) - vectors @ (shares[:, None] * projected)
        predictions = np.empty_like(residuals)
        for members in _members_by_size(groups):
            rows = vectors[members]
            hat = (rows * shares) @ rows.mT + 1 / n
            errors = np.linalg.solve(np.eye(hat.shape[-1]) - hat, residuals[members])
            predictions[members] = targets[members] - errors
        yield predictions


def can_be_left_out(labels, groups):
    """Return which samples have others of their class in other groups.

    Without these, a model that is fitted without the group of a sample does not know its class.

    Parameters
    ----------
    labels : ndarray of shape (n_samples,), int
        Positions of the classes.
    groups : ndarray of shape (n_samples,)
        Groups.

    Returns
    -------
    is_known : ndarray of shape (n_samples,), bool
    """
    pairs = np.unique(np.column_stack([labels, np.unique(groups, return_inverse=True)[1]]), axis=0)
    return np.bincount(pairs[:, 0])[labels] > 1


def fit_ridge(spectra, labels, groups, alphas, n_classes):
    """Fit a ridge model to each of several kernels, then mix their predictions.

    Predictions for left-out groups decide: the strength of each scale is the one of least squared
    error after the best rescaling of its predictions; the mixture is the combination of least
    squared error without negative weights [1]_; the temperature gives the least log loss, with the
    targets of Platt [2]_, which keep it finite if classes are separated perfectly.

    Parameters
    ----------
    spectra : sequence of Spectrum
        One for each scale.
    labels : ndarray of shape (n_samples,) or (n_labelings, n_samples), int
        Positions of the classes; several label vectors are fitted independently of each other.
    groups : ndarray of shape (n_samples,)
        Groups.
    alphas : sequence of float
        Strengths to choose from, in units of the mean diagonal of the centred kernel.
    n_classes : int
        Number of classes.

    Returns
    -------
    fit : RidgeFit

    Raises
    ------
    ValueError
        If no class occurs in more than one group.

    References
    ----------
    .. [1] Breiman, L. (1996). Stacked regressions. Machine Learning, 24, 49-64.
       https://doi.org/10.1007/BF00117832
    .. [2] Platt, J. (1999). Probabilistic outputs for support vector machines and comparisons to
       regularized likelihood methods. In Advances in Large Margin Classifiers, 61-74. MIT Press.
    """
    labelings = np.atleast_2d(labels)
    known = np.array([can_be_left_out(each, groups) for each in labelings])
    if not known.any(axis=1).all():
        raise ValueError(
            "No class occurs in more than one group, so no left-out group can be predicted. Use "
            "smaller groups."
        )
    targets = (labelings.T[:, :, None] == np.arange(n_classes)).astype(float)
    chosen = [_choose_strength(each, targets, groups, alphas, known.T) for each in spectra]
    alpha, predictions = _stacked(chosen)
    mixture, temperature = np.empty_like(alpha), np.empty(len(labelings))
    means = targets.mean(axis=0)
    # Only what a sample says is rescaled. A strong penalty leaves little of that beside the shares
    # of the classes, which would decide alone if they were rescaled along with it.
    predictions -= means
    offset = np.log(means)
    for i, (each, is_known) in enumerate(zip(labelings, known, strict=True)):
        usable = predictions[:, is_known, i]
        mixture[i] = _normalized(*_mix(usable, targets[is_known, i] - means[i]))
        mixed = np.tensordot(mixture[i], usable, axes=1)
        temperature[i] = _choose_temperature(mixed, offset[i], each[is_known])
    weights = mixture / temperature[:, None]
    fit = RidgeFit(
        duals=_mixed_duals(spectra, targets, alpha, weights),
        offset=offset,
        alpha=alpha,
        mixture=mixture,
        temperature=temperature,
        left_out=np.einsum("ls,snlc->lnc", weights, predictions) + offset[:, None],
    )
    return fit if np.ndim(labels) > 1 else RidgeFit(*(array[0] for array in fit))


def fit_numbers(spectra, numbers, groups, alphas):
    """Fit ridge models of numbers to each of several kernels, then mix their predictions.

    Predictions for left-out groups decide, for each target by itself: on the strength of each scale
    as in `fit_ridge`, and on the mixture, the combination of least squared error without negative
    weights. The mixture is not normalised. If no scale predicts anything, all weights are 0, and
    the mean is predicted.

    Parameters
    ----------
    spectra : sequence of Spectrum
        One for each scale.
    numbers : ndarray of shape (n_samples, n_targets), float
        Targets.
    groups : ndarray of shape (n_samples,)
        Groups, of which there are at least two.
    alphas : sequence of float
        Strengths to choose from, in units of the mean diagonal of the centred kernel.

    Returns
    -------
    fit : RidgeFit
    """
    targets = numbers[:, :, None]
    is_known = np.ones(numbers.shape, bool)
    chosen = [_choose_strength(each, targets, groups, alphas, is_known) for each in spectra]
    alpha, predictions = _stacked(chosen)
    means = numbers.mean(axis=0)
    predictions = predictions[..., 0] - means
    mixture = np.array(
        [
            _mix(of_target[..., None], column[:, None])[0]
            for of_target, column in zip(
                predictions.transpose(2, 0, 1), (numbers - means).T, strict=True
            )
        ]
    )
    return RidgeFit(
        duals=_mixed_duals(spectra, targets, alpha, mixture)[..., 0].transpose(1, 2, 0),
        offset=means,
        alpha=alpha,
        mixture=mixture,
        temperature=np.ones(()),
        left_out=np.einsum("ks,snk->nk", mixture, predictions) + means,
    )


def fit_samples(X, y, groups, scales, alphas, n_classes=None):
    """Fit a ridge model to samples.

    Parameters
    ----------
    X : ndarray of shape (n_samples, ...), float32 or float64
        Samples.
    y : ndarray of shape (n_samples,), int, or (n_samples, n_targets), float
        Positions of the classes, or numbers.
    groups, alphas
        As in `fit_ridge`.
    scales : sequence of float
        Smoothing in voxels.
    n_classes : int, default=None
        Number of classes; None stands for numbers.

    Returns
    -------
    mean : ndarray of shape (...), float64
        Mean sample.
    fit : RidgeFit
    weights : ndarray of shape (n_classes, ...), float64
        Weights of the voxels.
    """
    mean = mean_sample(X)
    spectra = [decompose(smoothed_kernel(X, mean, sigma)) for sigma in scales]
    fit = _fit(spectra, y, groups, alphas, n_classes)
    return mean, fit, voxel_weights(X, mean, scales, fit.duals)


def _fit(spectra, y, groups, alphas, n_classes):
    if n_classes is None:
        return fit_numbers(spectra, y, groups, alphas)
    return fit_ridge(spectra, y, groups, alphas, n_classes)


def scores_of_labelings(X, X_test, labelings, groups, scales, alphas, n_classes=None):
    """Return scores of test samples after a fit to each of many label vectors.

    Samples are smoothed and kernels decomposed once for all of them, so a permutation of the
    labels costs a few products of matrices instead of a fit.

    Parameters
    ----------
    X : ndarray of shape (n_samples, ...), float32 or float64
        Training samples.
    X_test : ndarray of shape (n_test, ...)
        Test samples on the same grid.
    labelings : ndarray of shape (n_labelings, n_samples), int or float
        Positions of the classes, or numbers.
    groups : ndarray of shape (n_samples,)
        Groups of the training samples.
    scales : sequence of float
        Smoothing in voxels.
    alphas : sequence of float
        Strengths to choose from.
    n_classes : int, default=None
        Number of classes; None stands for numbers.

    Returns
    -------
    scores : ndarray of shape (n_labelings, n_test, n_classes) or (n_labelings, n_test)
        Logarithms of probabilities, up to a constant for each sample; or predicted numbers.
    """
    n = len(X)
    mean = mean_sample(X)
    together = np.concatenate([X, X_test])
    spectra, test_kernels = [], []
    for sigma in scales:
        kernel = smoothed_kernel(together, mean, sigma)
        spectra.append(decompose(kernel[:n, :n]))
        test_kernels.append(kernel[n:, :n])
    test_kernels = np.array(test_kernels)
    scores = []
    at_once = max(1, MOST_SCORES // (len(scales) * n * (n_classes or 1)))
    for start in range(0, len(labelings), at_once):
        part = labelings[start : start + at_once]
        if n_classes is None:
            # Targets are fitted independently of each other.
            fit = fit_numbers(spectra, part.T, groups, alphas)
            scores.append(((test_kernels @ fit.duals).sum(axis=0) + fit.offset).T)
        else:
            fit = fit_ridge(spectra, part, groups, alphas, n_classes)
            scores.append((test_kernels @ fit.duals).sum(axis=1) + fit.offset[:, None])
    return np.concatenate(scores)


def _members_by_size(groups):
    """Return positions of the members of each group: a matrix for all groups of one size."""
    _, numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(numbers, kind="stable")
    firsts = np.cumsum(sizes) - sizes
    return [order[firsts[sizes == size, None] + np.arange(size)] for size in np.unique(sizes)]


def _choose_strength(spectrum, targets, groups, alphas, is_known):
    """Return for each label vector the strength of least error and the left-out predictions.

    The error is that after the best rescaling of the predictions. Mixture and temperature rescale
    them anyway, and a strong penalty, which shrinks all predictions, may rank samples best.
    `targets` are of shape (n_samples, n_labelings, n_classes), `is_known` of the first two.
    """
    best = np.empty_like(targets)
    least, chosen = np.full((2, targets.shape[1]), np.inf)
    # Of equal strengths, the largest: the model that does least.
    alphas = sorted(alphas, reverse=True)
    columns = targets.reshape(len(targets), -1)
    used = is_known[:, :, None]
    mean = targets.mean(axis=0, where=used)
    of_strengths = left_out_predictions(spectrum, columns, groups, alphas)
    for alpha, predictions in zip(alphas, of_strengths, strict=True):
        predictions = predictions.reshape(targets.shape)
        shifted = predictions - mean
        product = (shifted * (targets - mean)).sum(axis=(0, 2), where=used)
        square = (shifted**2).sum(axis=(0, 2), where=used)
        # Up to the sum of squares of the targets, which is the same for all strengths.
        error = -(np.maximum(product, 0) ** 2) / np.maximum(square, np.finfo(float).tiny)
        is_better = error < least
        best[:, is_better] = predictions[:, is_better]
        least[is_better], chosen[is_better] = error[is_better], alpha
    return chosen, best


def _stacked(chosen):
    """Return strengths of shape (n_labelings, n_scales), then predictions, the scales first."""
    strengths, predictions = zip(*chosen, strict=True)
    return np.array(strengths).T, np.array(predictions)


def _mix(predictions, targets):
    """Return weights of several predictions, none negative, of least squared error.

    Then the position of the prediction that is best alone.
    """
    mean = targets.mean(axis=0)
    columns = (predictions - mean).reshape(len(predictions), -1).T
    weights, _ = nnls(columns, (targets - mean).ravel())
    return weights, ((predictions - targets) ** 2).sum(axis=(1, 2)).argmin()


def _normalized(weights, best):
    """Return weights whose sum is 1; if all are 0, only that of the least wrong prediction."""
    if not weights.any():
        # No prediction is better than the mean of the targets.
        weights[best] = 1
    return weights / weights.sum()


def _choose_temperature(predictions, offset, labels):
    """Return what predictions have to be divided by so that the softmax has the least log loss."""
    n_classes = predictions.shape[1]
    counts = np.bincount(labels, minlength=n_classes)
    others = 1 / (counts + n_classes)
    targets = np.repeat(others[labels, None], n_classes, axis=1)
    targets[np.arange(len(labels)), labels] += 1 - n_classes * others[labels]

    def log_loss(log_temperature):
        scores = predictions / np.exp(log_temperature) + offset
        return (logsumexp(scores, axis=1) - (targets * scores).sum(axis=1)).mean()

    bounds = np.log([LEAST_TEMPERATURE, LARGEST_TEMPERATURE])
    return np.exp(minimize_scalar(log_loss, bounds=bounds, method="bounded").x)


def _mixed_duals(spectra, targets, alpha, weights):
    """Return weights of the training samples in a mixture, labelings and scales first."""
    duals = [
        weights[:, i, None, None] * _dual_coefficients(spectrum, targets, alpha[:, i])
        for i, spectrum in enumerate(spectra)
    ]
    return np.stack(duals, axis=1)


def _dual_coefficients(spectrum, targets, alpha):
    """Return weights of the training samples, of shape (n_labelings, n_samples, n_classes)."""
    values, vectors, norm = spectrum
    columns = (targets - targets.mean(axis=0)).reshape(len(targets), -1)
    projected = (vectors.T @ columns).reshape(targets.shape)
    projected /= values[:, None, None] + alpha[:, None]
    duals = vectors @ projected.reshape(len(targets), -1)
    return duals.reshape(targets.shape).transpose(1, 0, 2) / norm
