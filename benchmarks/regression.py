"""Show how well regressors predict a simulated age, what their maps find, and what an epoch costs.

Maps of 100 subjects from `make_ages`, one per subject, five folds of whole subjects. "auc" is the
area under the ROC curve with which the absolute mean map, of held-out samples in native space,
separates voxels of the true linear effect (above a quarter of its maximum) from all others in the
slab. The ridge of scikit-learn is the peer.

The last line compares an epoch of the notebook's network as a regressor with one as a classifier:
medians over interleaved fits on the same samples, from the time per epoch of 40 epochs.

Run: python benchmarks/regression.py     (--quick: one seed, one fold, one pair of fits)
"""

import argparse
import time

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from skfmri import (
    DecodingPipeline,
    MultiscaleRidgeRegressor,
    NiftiSamples,
    NiftiSlabRotator,
    SlabCNNClassifier,
    SlabCNNRegressor,
    VoxelZScorer,
    evaluate_decoder,
)
from skfmri.datasets import make_ages
from skfmri.evaluation import linear_baseline
from skfmri.inspection import mean_map, saliency_image

EPOCHS = 40
HEAD = [("slab", NiftiSlabRotator()), ("zscore", VoxelZScorer())]


def regressors():
    """Return the pipelines to compare, by name."""
    multiscale = DecodingPipeline([*HEAD, ("last", MultiscaleRidgeRegressor())])
    network = SlabCNNRegressor.for_small_samples(random_state=0)
    return {
        "RidgeCV": linear_baseline(multiscale),
        "multiscale ridge": multiscale,
        "for_small_samples": DecodingPipeline([*HEAD, ("last", network)]),
    }


def auc(volumes, effect, rotator):
    """Return the ROC AUC of the mean map among the voxels of the slab."""
    inside = np.isfinite(rotator.inverse_transform(np.ones(rotator.slab_shape_)).get_fdata())
    strength = np.abs(effect)[inside]
    return roc_auc_score(strength > 0.25 * strength.max(), np.abs(mean_map(volumes))[inside])


def row_of(name, pipeline, samples, effect, n_folds):
    """Return R2, mean absolute error and the area under the ROC curve of the maps."""
    maps, fitted_rotators = [], []

    def keep(fold, fitted, X, y):
        if fold < n_folds:
            maps.append(saliency_image(fitted, X).get_fdata(dtype=np.float32))
            fitted_rotators.append(fitted["slab"])

    result = evaluate_decoder(
        pipeline, samples, cv=GroupKFold(5), baseline=None, on_fitted=keep, random_state=0
    )
    summary = result.summary.query("model == 'decoder'").set_index("metric")["score"]
    return {
        "regressor": name,
        "r2": summary["r2"],
        "mean absolute error": -summary["neg_mean_absolute_error"],
        "auc": auc(maps, effect, fitted_rotators[0]),
    }


def seconds_of_epoch(network, X, y):
    """Return the time per epoch of a fit of a network that is compiled already."""
    clone(network).set_params(epochs=1).fit(X, y)
    start = time.perf_counter()
    clone(network).fit(X, y)
    return (time.perf_counter() - start) / network.epochs


def compare_epochs(samples, n_pairs):
    """Return medians of the seconds per epoch of a classifier and a regressor."""
    X = HEAD[0][1].fit_transform(samples)
    X = np.tile(X, (3, 1, 1, 1))
    ages = np.tile(samples.y, 3)
    networks = {
        "classifier": (SlabCNNClassifier(epochs=EPOCHS, random_state=0), ages > np.median(ages)),
        "regressor": (SlabCNNRegressor(epochs=EPOCHS, random_state=0), ages),
    }
    seconds = {name: [] for name in networks}
    for _ in range(n_pairs):
        for name, (network, y) in networks.items():
            seconds[name].append(seconds_of_epoch(network, X, y))
    return {name: float(np.median(found)) for name, found in seconds.items()}


def main():
    """Print the table, then the epochs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="simulations (default: 3)")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of fits (default: 5)")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    seeds, pairs, n_folds = (1, 1, 1) if options.quick else (options.seeds, options.pairs, 5)
    rows = []
    for seed in range(seeds):
        data = make_ages(random_state=seed)
        samples = NiftiSamples(data.images, y=data.ages, groups=data.subjects)
        effect = data.linear_effect.get_fdata()
        for name, pipeline in regressors().items():
            rows.append(row_of(name, pipeline, samples, effect, n_folds))
            print(f"seed {seed}, {name}: done", flush=True)
    table = pd.DataFrame(rows).groupby("regressor", sort=False).agg(["mean", "std"])
    print(f"\n{seeds} simulations, mean and standard deviation")
    print(table.to_string(float_format="{:.3f}".format, na_rep="-"))
    epochs = compare_epochs(samples, pairs)
    print(
        f"\nepoch of {3 * len(samples)} slabs: regressor {epochs['regressor']:.3f} s, classifier "
        f"{epochs['classifier']:.3f} s, ratio {epochs['regressor'] / epochs['classifier']:.3f}"
    )


if __name__ == "__main__":
    main()
