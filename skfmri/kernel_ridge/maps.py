"""Maps of voxels that belong to a fitted ridge."""

import numpy as np

from skfmri.kernel_ridge.kernels import centred_batches, smooth


def voxel_weights(X, mean, scales, duals):
    """Return the weights of voxels that give the same scores as weights of training samples.

    Parameters
    ----------
    X : ndarray of shape (n_samples, ...)
        Training samples.
    mean : ndarray of shape X.shape[1:]
        Mean of the training samples.
    scales : sequence of float
        Smoothing in voxels.
    duals : ndarray of shape (n_scales, n_samples, n_classes)
        As in `RidgeFit`.

    Returns
    -------
    weights : ndarray of shape (n_classes, *X.shape[1:])
        Weights of voxels that are not smoothed: the smoothing is in the weights.
    """
    maps = np.zeros((*duals.shape[::2], mean.size))
    for part, batch in centred_batches(X, mean):
        maps += duals[:, part].mT @ batch.reshape(len(batch), -1)
    maps = maps.reshape(*maps.shape[:2], *mean.shape)
    # Once for the training samples, and once for those that the weights are applied to.
    return sum(
        smooth(smooth(of_scale, sigma), sigma) for sigma, of_scale in zip(scales, maps, strict=True)
    )


def activation_patterns(X, mean, weights):
    """Return the patterns of Haufe et al. that correspond to the weights of a linear model.

    Parameters
    ----------
    X : ndarray of shape (n_samples, ...)
        Training samples.
    mean : ndarray of shape X.shape[1:]
        Mean of the training samples.
    weights : ndarray of shape (n_scores, *X.shape[1:])
        Weights of voxels in each score.

    Returns
    -------
    patterns : ndarray of shape (n_scores, *X.shape[1:])
        Change of each voxel per unit of each score: the covariance of scores and voxels, divided
        by that of the scores.
    """
    flat = weights.reshape(len(weights), -1)
    of_scores, with_voxels = np.zeros((len(flat), len(flat))), np.zeros(flat.shape)
    for _, batch in centred_batches(X, mean):
        rows = batch.reshape(len(batch), -1)
        scores = rows @ flat.T
        of_scores += scores.T @ scores
        with_voxels += scores.T @ rows
    # Scores of more than two classes sum to a constant, so their covariance has no inverse.
    inverse = np.linalg.pinv(of_scores, rcond=1e-10, hermitian=True)
    return (inverse @ with_voxels).reshape(weights.shape)
