"""Show by how many points three common leaks inflate a score, on data with and without an effect.

split    volumes assigned to folds at random, instead of folds of whole groups
z-score  voxels z-scored over all volumes beforehand, instead of the training volumes of each fold
early    training stopped at the best epoch for the test fold, instead of held-out training groups

Each leak is one change to an otherwise honest cross-validation. The inflation is the score of each
group's volumes with the leak minus that without; its 95 % interval comes from resampling groups.
Simulated data: subjects are the groups, six folds. Haxby et al. 2001, subject 1, one slice: runs
are the groups, one held out at a time.

Run: SKFMRI_DATA=FOLDER python benchmarks/leakage.py     (without the folder: simulated data only)
"""

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skfmri import (
    DecodingPipeline,
    NiftiSamples,
    NiftiSlabRotator,
    SlabCNNClassifier,
    VoxelZScorer,
    clean_runs,
)
from skfmri.datasets import make_eyes_open_closed
from skfmri.statistics import bootstrap_interval


def simulated(effect_size, n_subjects, seed):
    data = make_eyes_open_closed(n_subjects, effect_size=effect_size, random_state=seed)
    samples = NiftiSamples(data.images, y=data.labels, groups=data.subjects)
    # All that the rotator learns from the volumes is where the head ends.
    return NiftiSlabRotator().fit_transform(samples), samples.y, samples.groups, 6


def haxby(labels):
    folder = Path(os.environ["SKFMRI_DATA"]) / "haxby_subject1"
    table = pd.read_csv(folder / "bold_slice_labels.csv")
    samples = NiftiSamples(folder / "bold_slice.nii.gz", y=table["label"], groups=table["run"])
    samples = clean_runs(samples)
    samples = samples[np.isin(samples.y, labels)]
    return np.asarray(samples), samples.y, samples.groups, 12


def shuffled(labels):
    """Return the same volumes with categories permuted at random within each run."""
    X, y, groups, n_folds = haxby(labels)
    rng, y = np.random.default_rng(0), y.copy()
    for group in np.unique(groups):
        names = np.unique(y[groups == group])
        renamed = dict(zip(names, rng.permutation(names), strict=True))
        y[groups == group] = [renamed[name] for name in y[groups == group]]
    return X, y, groups, n_folds


DATA = {
    "simulated, effect": lambda options: simulated(1, options.subjects, options.seed),
    "simulated, no effect": lambda options: simulated(0, options.subjects, options.seed),
    "Haxby, face or house": lambda options: haxby(["face", "house"]),
    "Haxby, bottle or shoe": lambda options: haxby(["bottle", "shoe"]),
    "Haxby, shuffled within runs": lambda options: shuffled(["bottle", "shoe"]),
}


def out_of_fold(model, X, y, splits):
    """Return for each sample whether its class was predicted while it was held out."""
    right = np.zeros(len(y))
    for train, test in splits:
        right[test] = clone(model).fit(X[train], y[train]).predict(X[test]) == y[test]
    return right


def linear():
    flatten = FunctionTransformer(lambda X: X.reshape(len(X), -1))
    return make_pipeline(flatten, LogisticRegression(max_iter=1000))


def network(options, **more):
    return SlabCNNClassifier(
        filters=8, n_blocks=2, dense_units=(64,), epochs=options.epochs, random_state=0, **more
    )


def split_leak(model, X, y, groups, n_folds):
    pipeline = make_pipeline(VoxelZScorer(), model)
    at_random = KFold(n_folds, shuffle=True, random_state=0).split(X)
    by_group = GroupKFold(n_folds).split(X, y, groups)
    return [out_of_fold(pipeline, X, y, splits) for splits in (by_group, at_random)]


def zscore_leak(model, X, y, groups, n_folds):
    splits = list(GroupKFold(n_folds).split(X, y, groups))
    honest = out_of_fold(make_pipeline(VoxelZScorer(), model), X, y, splits)
    return honest, out_of_fold(model, VoxelZScorer().fit_transform(X), y, splits)


def early_stopping_leak(model, X, y, groups, n_folds):
    honest, leaky = np.zeros(len(y)), np.zeros(len(y))
    for train, test in GroupKFold(n_folds).split(X, y, groups):
        validation = GroupShuffleSplit(1, test_size=0.2, random_state=0)
        pipeline = DecodingPipeline(
            [("zscore", VoxelZScorer()), ("cnn", clone(model))], validation=validation
        )
        pipeline.fit(X[train], y[train], groups=groups[train])
        honest[test] = pipeline.predict(X[test]) == y[test]
        # The same training samples and number of epochs, but the test fold chooses the best epoch.
        inner, _ = next(validation.split(X[train], y[train], groups[train]))
        inner = train[inner]
        scaler = VoxelZScorer().fit(X[inner])
        X_test = scaler.transform(X[test])
        stopped = clone(model).fit(
            scaler.transform(X[inner]), y[inner], validation_data=(X_test, y[test])
        )
        leaky[test] = stopped.predict(X_test) == y[test]
    return honest, leaky


def inflation(honest, leaky, groups):
    """Return mean accuracies in percent, then the inflation in points with its interval."""
    names = np.unique(groups)
    gaps = np.array([np.mean((leaky - honest)[groups == name]) for name in names])
    weights = np.array([np.mean(groups == name) for name in names])
    low, high = bootstrap_interval(gaps, weights, random_state=0)
    return 100 * np.array([honest.mean(), leaky.mean(), leaky.mean() - honest.mean(), low, high])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--subjects", type=int, default=48, help="simulated subjects, a multiple of 6"
    )
    parser.add_argument("--epochs", type=int, default=30, help="epochs of the network")
    parser.add_argument("--seed", type=int, default=0, help="seed of the simulated data")
    parser.add_argument("--quick", action="store_true", help="12 subjects, 3 epochs, no effect")
    options = parser.parse_args()
    data = DATA if "SKFMRI_DATA" in os.environ else dict(list(DATA.items())[:2])
    if options.quick:
        options.subjects, options.epochs = 12, 3
        data = {"simulated, no effect": DATA["simulated, no effect"]}
    cnn, patient = network(options), network(options, patience=options.epochs)
    rows = (
        ("split", "linear", split_leak, linear()),
        ("split", "CNN", split_leak, cnn),
        ("z-score", "linear", zscore_leak, linear()),
        ("z-score", "CNN", zscore_leak, cnn),
        ("early", "CNN", early_stopping_leak, patient),
    )
    head = f"{'data':<29}{'leak':<9}{'model':<8}{'honest':>8}{'leaky':>8}{'inflation':>11}"
    print(f"{head}{'95 % interval':>18}")
    for name, load in data.items():
        X, y, groups, n_folds = load(options)
        for leak, model_name, compare, model in rows:
            honest, leaky, gap, low, high = inflation(
                *compare(model, X, y, groups, n_folds), groups
            )
            print(
                f"{name:<29}{leak:<9}{model_name:<8}{honest:>8.1f}{leaky:>8.1f}{gap:>+11.1f}"
                f"{low:>+10.1f}{high:>+8.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
