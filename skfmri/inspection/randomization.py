"""A check that saliency maps depend on what the network has learned."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from skfmri.inspection.attribution import choose_method, mean_maps, method_options
from skfmri.inspection.network_input import member_models, network_input, output_columns

if TYPE_CHECKING:
    from skfmri._types import Estimator, Volumes

__all__ = ["randomization_check"]


def randomization_check(
    estimator: Estimator,
    X: Volumes,
    y: object = None,
    *,
    method: str = "integrated_gradients",
    random_state: int | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Compare saliency maps with those of a network whose weights are shuffled.

    A map that does not change shows the image, not what the network has learned. The weights of
    each layer are shuffled in turn, from the output towards the input, and stay shuffled.

    Parameters
    ----------
    estimator : classifier or regressor with a network, or pipeline
        Fitted; never changed.
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Samples, as the estimator takes them.
    y : class or array-like of shape (n_samples,), default=None
        Class to explain, as in :func:`saliency`; None means the classes that the trained network
        predicts.
    method : str, default="integrated_gradients"
        As in :func:`saliency`.
    random_state : int, default=None
        Seed of the shuffling, and of the noise of "smoothgrad".
    **options : dict
        As in :func:`saliency`.

    Returns
    -------
    table : pandas.DataFrame
        One row per layer with weights, in the order in which they were shuffled: "layer" and
        "correlation", Spearman's of the absolute maps before and after, averaged over samples whose
        maps are not constant; NaN if all are. Voxels that are 0 in both maps do not count: most of
        them are 0 in the sample, whatever the network.

    Raises
    ------
    TypeError
        If the method does not have one of the options; the message names those it has.
    ValueError
        If there is no such method or class, or no convolution for "grad_cam".

    Notes
    -----
    This is the cascading randomization of Adebayo et al. 2018. Shuffling keeps the distribution of
    the weights of each kind in a layer.
    """
    if "random_state" in method_options(method):
        options["random_state"] = random_state
    explain = choose_method(method, **options)
    network, X = network_input(estimator, X)
    columns = output_columns(network, X, y)
    models = member_models(copy.deepcopy(network))
    rng = np.random.default_rng(random_state)
    before = np.abs(mean_maps(models, network, X, columns, explain)).reshape(len(X), -1)
    rows = []
    for name in [layer.name for layer in reversed(models[0].layers) if layer.weights]:
        for model in models:
            layer = model.get_layer(name)
            shuffled = [rng.permuted(w.ravel()).reshape(w.shape) for w in layer.get_weights()]
            layer.set_weights(shuffled)
        after = np.abs(mean_maps(models, network, X, columns, explain)).reshape(len(X), -1)
        rows.append({"layer": name, "correlation": _mean_spearman(before, after)})
    return pd.DataFrame(rows)


def _mean_spearman(before, after):
    found = []
    for one, other in zip(before, after, strict=True):
        kept = (one != 0) | (other != 0)
        one, other = one[kept], other[kept]
        constant = not kept.any() or np.ptp(one) == 0 or np.ptp(other) == 0
        found.append(np.nan if constant else stats.spearmanr(one, other).statistic)
    return float(np.nanmean(found)) if np.isfinite(found).any() else np.nan
