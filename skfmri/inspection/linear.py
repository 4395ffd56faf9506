"""How much each voxel counts for the class or number of a sample in a linear model."""

import numpy as np
from sklearn.base import is_regressor

from skfmri.inspection.network_input import output_columns

# What the methods for networks give for a linear model: its weights, or these times the voxels.
WEIGHTS = ("gradient", "smoothgrad")
CONTRIBUTIONS = ("gradient_x_input", "integrated_gradients")


def linear_maps(estimator, X, y, method):
    """Return the map of each sample for a class or a number.

    Parameters
    ----------
    estimator : classifier, regressor or pipeline
        Fitted; the last step has `coef_`, and `classes_` if it is a classifier. The step before may
        flatten samples.
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Samples, as the estimator takes them.
    y : class, array-like of shape (n_samples,), int or None
        As in `saliency`.
    method : str
        As in `saliency`.

    Returns
    -------
    maps : ndarray of shape (n_samples, ...), float32
        In the shape of the samples before they are flattened. Of two classes each gets half of the
        decision value.

    Raises
    ------
    ValueError
        If the method needs a network.
    """
    if method not in (*WEIGHTS, *CONTRIBUTIONS):
        raise ValueError(
            f"method={method!r} needs a network, but the model is linear. Choose "
            f"{', '.join(map(repr, CONTRIBUTIONS))} or 'gradient'."
        )
    *steps, (_, model) = getattr(estimator, "steps", [(None, estimator)])
    grid = None
    for _, step in steps:
        if step is not None and step != "passthrough":
            before, X = X, step.transform(X)
            # A step that flattens samples leaves their voxels in order.
            is_flat = np.ndim(X) == 2 and np.prod(np.shape(before)[1:]) == np.shape(X)[1]
            grid = np.shape(before)[1:] if is_flat and np.ndim(before) > 2 else None
    X = np.asarray(X, np.float32)
    columns = output_columns(model, X, y)
    weights = np.atleast_2d(np.asarray(model.coef_, np.float32))
    if len(weights) == 1 and not is_regressor(model):
        weights = np.concatenate([-weights, weights]) / 2
    maps = weights[columns].reshape(X.shape)
    if method in CONTRIBUTIONS:
        maps = X * maps
    return maps if grid is None else maps.reshape(len(maps), *grid)
