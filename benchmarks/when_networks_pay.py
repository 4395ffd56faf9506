"""Simulate studies in which a network can, or cannot, gain on linear models.

fixed               a fine pattern of activation at the same voxels in every subject
displaced           the same pattern, displaced by one to three voxels in each subject
exclusive or        two regions, each up or down; the class is whether both do the same, so that
                    each voxel has the same mean in both classes
displaced, smooth   a smooth pattern, displaced in the same way

The noise is the same in all of them. Each seed simulates 100 subjects for the test and 400 more, of
which models are trained on the first 12, 25, 50, ... Maps are centred by subject. The strength of
each effect and the small network were chosen on other seeds and other numbers of subjects
(--choose); intervals are over seeds.

Run: python benchmarks/when_networks_pay.py --jobs 2     (--quick takes two minutes)
"""

import argparse
import json
import re
import time
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from keras import layers
from scipy import ndimage, stats
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skfmri import (
    DecodingPipeline,
    MultiscaleRidgeClassifier,
    SlabCNNClassifier,
    VolumeCNNClassifier,
    VoxelZScorer,
)
from skfmri.evaluation.ledger import Ledger

EPOCHS = 30
SIZES, SEEDS = (12, 25, 50, 100, 200, 400), 5
CHOICE_SIZES, CHOICE_SEEDS = (35, 140), (100, 101, 102)
N_TEST, N_MOST = 100, 400

SLAB_SHAPE = (24, 28, 4)
# Centres and widths (standard deviations of a Gaussian) of the two regions, in voxels.
REGIONS, REGION_WIDTH = ((8, 8, 1.5), (15, 19, 1.5)), 2.5
OFFSETS = [(x, y) for x in range(-3, 4) for y in range(-3, 4) if 1 <= np.hypot(x, y) <= 3]
# Standard deviation and smoothness in voxels, as in the maps of `make_eyes_open_closed`.
NOISE = ((0.5, 1.5), (0.85, 0.8))
STRENGTH_SHAPE = 4

ALIKE = ((1, 1), (1, 1), (-1, -1), (-1, -1))
EXCLUSIVE = ((1, 1), (-1, -1), (1, -1), (-1, 1))
LABELS = ("one", "one", "other", "other")


class Scenario(NamedTuple):
    """The effect: the sign of each region in the maps of a subject, and what a region looks like.

    `fineness` is the smoothness of the pattern within a region in voxels; None is uniform.
    """

    signs: tuple
    strength: float
    fineness: float | None
    is_displaced: bool


SCENARIOS = {
    "fixed": Scenario(ALIKE, 0.25, 0.8, is_displaced=False),
    "displaced": Scenario(ALIKE, 0.8, 0.8, is_displaced=True),
    "exclusive or": Scenario(EXCLUSIVE, 1.6, None, is_displaced=False),
    "displaced, smooth": Scenario(ALIKE, 0.5, 2.0, is_displaced=True),
}


def smooth_fields(n_fields, smoothness, rng):
    """Return Gaussian random fields of unit variance."""
    fields = rng.standard_normal((n_fields, *SLAB_SHAPE), dtype=np.float32)
    ndimage.gaussian_filter(fields, (0, *[smoothness] * 3), mode="wrap", output=fields)
    return fields / fields.std()


def region_patterns(fineness, rng):
    """Return the effect in each region, of shape (2, *SLAB_SHAPE)."""
    position = np.moveaxis(np.indices(SLAB_SHAPE), 0, -1)
    squares = [((position - centre) ** 2).sum(axis=-1) for centre in REGIONS]
    envelopes = np.exp(-0.5 * np.array(squares, np.float32) / REGION_WIDTH**2)
    return envelopes if fineness is None else envelopes * smooth_fields(1, fineness, rng)


@lru_cache(maxsize=1)
def simulate(name, seed):
    """Return maps of shape (n_subjects, 4, *SLAB_SHAPE), centred by subject."""
    scenario = SCENARIOS[name]
    noise_rng, rng = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(2))
    n_subjects = N_TEST + N_MOST
    maps = sum(std * smooth_fields(4 * n_subjects, width, noise_rng) for std, width in NOISE)
    maps = maps.reshape(n_subjects, 4, *SLAB_SHAPE)
    patterns = region_patterns(scenario.fineness, rng)
    signs = scenario.strength * np.array(scenario.signs, np.float32)
    strengths = rng.gamma(STRENGTH_SHAPE, 1 / STRENGTH_SHAPE, n_subjects).astype(np.float32)
    offsets = rng.choice(OFFSETS, n_subjects) * scenario.is_displaced
    for of_subject, strength, offset in zip(maps, strengths, offsets, strict=True):
        # Patterns end before the edge of the slab, so nothing is wrapped around it.
        moved = np.roll(patterns, offset, axis=(1, 2))
        of_subject += strength * np.tensordot(signs, moved, axes=1)
    return maps - maps.mean(axis=1, keepdims=True)


def pooled_network(input_shape, n_classes, *, filters, kernel_size, pooling, dense_units, dropout):
    """Return one convolution, whose maxima or mean over large windows go to dense layers."""
    inputs = keras.Input(input_shape)
    x = layers.Conv2D(filters, kernel_size, padding="same")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    if pooling == "maximum":
        x = layers.GlobalMaxPooling2D()(x)
    elif pooling == "mean":
        x = layers.GlobalAveragePooling2D()(x)
    else:
        x = layers.Flatten()(layers.MaxPooling2D(pooling, padding="same")(x))
    x = layers.Dropout(dropout)(x)
    for units in dense_units:
        x = layers.Dropout(dropout)(layers.Dense(units, "relu")(x))
    return keras.Model(inputs, layers.Dense(n_classes, "softmax")(x))


class PooledCNNClassifier(SlabCNNClassifier):
    """Classify slabs with one convolution and a pooling over windows of any size."""

    network_function = staticmethod(pooled_network)

    def __init__(
        self,
        pooling=4,
        filters=16,
        kernel_size=7,
        dense_units=(64,),
        learning_rate=0.003,
        epochs=EPOCHS,
        random_state=None,
    ):
        super().__init__(
            filters=filters,
            kernel_size=kernel_size,
            dense_units=dense_units,
            learning_rate=learning_rate,
            epochs=epochs,
            random_state=random_state,
        )
        self.pooling = pooling


class PairAveraging(ClassifierMixin, BaseEstimator):
    """Train a classifier on averages of two samples of a class, with new pairs in each epoch."""

    def __init__(self, classifier, random_state=None):
        self.classifier = classifier
        self.random_state = random_state

    def fit(self, X, y):
        """Train for one epoch on as many sets of pairs as there are epochs."""
        rng, epochs = np.random.default_rng(self.random_state), self.classifier.epochs
        of_class = {label: np.flatnonzero(y == label) for label in np.unique(y)}
        partners = np.array([rng.choice(of_class[label], epochs) for label in y]).T
        averages = np.concatenate([(X + X[chosen]) / 2 for chosen in partners])
        self.classifier_ = clone(self.classifier).set_params(
            epochs=1, random_state=self.random_state
        )
        self.classifier_.fit(averages, np.tile(y, epochs))
        self.classes_ = self.classifier_.classes_
        return self

    def predict(self, X):
        """Return what the trained classifier predicts."""
        return self.classifier_.predict(X)


def small(**parameters):
    """Return a network of the size for small samples without a linear path, or with changes."""
    alone = {"linear_path": None, "learning_rate": 0.001}
    return SlabCNNClassifier.for_small_samples(**{**alone, **parameters})


CANDIDATES = {
    "kernel 3": small(),
    "kernel 5": small(kernel_size=5),
    "kernel 7": small(kernel_size=7, padding="same"),
    "kernel 5, same padding": small(kernel_size=5, padding="same"),
    "kernel 5, one block": small(kernel_size=5, n_blocks=1),
    "kernel 7, one block": small(kernel_size=7, n_blocks=1),
    "kernel 7, one block, 32 filters": small(kernel_size=7, n_blocks=1, filters=32),
    "kernel 3, learning rate 0.003": small(learning_rate=0.003),
    "kernel 5, learning rate 0.003": small(kernel_size=5, learning_rate=0.003),
    "kernel 5, one block, learning rate 0.003": small(
        kernel_size=5, n_blocks=1, learning_rate=0.003
    ),
    "kernel 7, pooling 4": PooledCNNClassifier(),
    "kernel 7, pooling 6": PooledCNNClassifier(pooling=6),
    "kernel 7, global maximum": PooledCNNClassifier(pooling="maximum"),
    "kernel 7, global maximum, no dense layer": PooledCNNClassifier("maximum", dense_units=()),
    "kernel 7, global mean": PooledCNNClassifier(pooling="mean"),
    "kernel 5, pairs": PairAveraging(small(kernel_size=5)),
}
SMALL = CANDIDATES["kernel 3, learning rate 0.003"]


def flatten(slabs):
    return slabs.reshape(len(slabs), -1)


LINEAR = {
    "logistic regression": make_pipeline(
        FunctionTransformer(flatten), LogisticRegression(max_iter=1000)
    ),
    "multiscale ridge": MultiscaleRidgeClassifier(),
}
NETWORKS = {
    "small network": SMALL,
    "small network from ridge": clone(SMALL).set_params(linear_path="multiscale"),
    "for_small_samples of 0.1": SlabCNNClassifier.for_small_samples(
        linear_path=100.0, learning_rate=0.001
    ),
    "notebook": SlabCNNClassifier(epochs=EPOCHS),
    "3-D": VolumeCNNClassifier(epochs=EPOCHS),
}
MODELS = LINEAR | NETWORKS
LARGEST = {"3-D": 100}


class Cell(NamedTuple):
    """One fit."""

    scenario: str
    n_subjects: int
    seed: int
    model: str


def fit_and_score(cell, maps):
    """Return a cell with the accuracy on the test subjects and what its fit took."""
    start = time.process_time()
    test, train = maps[:N_TEST], maps[N_TEST : N_TEST + cell.n_subjects]
    model = clone((MODELS | CANDIDATES)[cell.model])
    if "random_state" in model.get_params():
        model.set_params(random_state=cell.seed)
    decoder = DecodingPipeline([("zscore", VoxelZScorer()), ("model", model)])
    subjects = np.repeat(np.arange(len(train)), len(LABELS))
    decoder.fit(train.reshape(-1, *SLAB_SHAPE), np.tile(LABELS, len(train)), groups=subjects)
    accuracy = decoder.score(test.reshape(-1, *SLAB_SHAPE), np.tile(LABELS, len(test)))
    return cell, {
        "accuracy": float(accuracy),
        "seconds": time.process_time() - start,
        "share": getattr(model, "network_weight_", None),
    }


def settings():
    """Return what all cells of a ledger have in common."""
    return {
        "slab": [SLAB_SHAPE, REGIONS, REGION_WIDTH, OFFSETS],
        "noise": [NOISE, STRENGTH_SHAPE],
        "subjects": [N_TEST, N_MOST],
    }


def key_of(cell):
    """Return what identifies a cell: its names, and what they stand for."""
    # Without the addresses of functions, which differ from run to run.
    model = re.sub(r" at 0x\w+", "", repr((MODELS | CANDIDATES)[cell.model]))
    return json.dumps([*cell, SCENARIOS[cell.scenario], model])


def results_of(cells, options):
    """Return a table with one row per cell; if only reporting, of those that the ledger holds."""
    with Ledger(options.ledger, settings()) as ledger:
        missing = [cell for cell in cells if ledger.get(key_of(cell)) is None]
        if not options.report:
            # Simulated here, when it is needed: workers share the maps.
            tasks = (
                delayed(fit_and_score)(cell, simulate(cell.scenario, cell.seed)) for cell in missing
            )
            done = Parallel(options.jobs, return_as="generator_unordered")(tasks)
            for number, (cell, result) in enumerate(done, start=1):
                ledger.add(key_of(cell), result)
                text = " ".join(map(str, cell))
                print(f"{number}/{len(missing)} {text}: {result['accuracy']:.3f}", flush=True)
        found = {cell: ledger.get(key_of(cell)) for cell in cells}
    rows = [cell._asdict() | result for cell, result in found.items() if result is not None]
    if len(rows) < len(cells):
        print(f"{len(cells) - len(rows)} of {len(cells)} fits are missing.")
    return pd.DataFrame(rows)


def mean_and_error(values):
    error = f" ({values.sem():.3f})" if len(values) > 1 else ""
    return f"{values.mean():.3f}{error}"


def is_clear(gaps):
    """Return whether the 95 % interval of the mean gap over seeds is above 0."""
    return len(gaps) > 1 and gaps.mean() > stats.t.ppf(0.975, len(gaps) - 1) * gaps.sem()


def size_that_pays(table, model):
    """Return from how many subjects on a model is clearly above each linear model, or None."""
    first = None
    for n_subjects, of_size in table.groupby("n_subjects"):
        accuracy = of_size.pivot(index="seed", columns="model", values="accuracy")
        if not {model, *LINEAR} <= set(accuracy):
            continue
        gaps = accuracy[[*LINEAR]].rsub(accuracy[model], axis=0).dropna()
        if not all(is_clear(gaps[name]) for name in gaps):
            first = None
        elif first is None:
            first = n_subjects
    return first


def show_curves(results):
    """Print accuracies, gaps and what the fits took."""
    for scenario, table in results.groupby("scenario", sort=False):
        print(f"\n{scenario}: accuracy on {N_TEST} new subjects, mean (SE over seeds)")
        curves = table.groupby(["model", "n_subjects"], sort=False)["accuracy"].agg(mean_and_error)
        print(curves.unstack().to_string(na_rep="-"))
        print("clearly above each linear model from:")
        for model in NETWORKS:
            n_subjects = size_that_pays(table, model)
            print(f"    {model:<28}{f'{n_subjects} subjects' if n_subjects else 'no number tried'}")
    share = results.dropna(subset="share").groupby(["model", "scenario", "n_subjects"], sort=False)
    print("\nshare of the network's output that is kept, mean over seeds")
    print(share["share"].mean().unstack().to_string(float_format="{:.2f}".format))


def show_choice(results):
    """Print the accuracy of each candidate in each setting."""
    columns = ["scenario", "n_subjects"]
    table = results.groupby(["model", *columns], sort=False)["accuracy"].mean().unstack(columns)
    table.columns = [f"{scenario}, {n_subjects}" for scenario, n_subjects in table]
    table["mean"] = table.mean(axis=1)
    print(table.sort_values("mean").to_string(float_format="{:.3f}".format))


def draw_curves(results, path):
    """Draw one panel per scenario."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(7.5, 7), sharey=True, layout="constrained")
    lines = {}
    for ax, scenario in zip(axes.flat, SCENARIOS, strict=True):
        table = results[results["scenario"] == scenario]
        for number, model in enumerate(MODELS):
            by_size = table[table["model"] == model].groupby("n_subjects")["accuracy"]
            means, style = by_size.mean(), "--s" if model in LINEAR else "-o"
            if len(means):
                lines[model] = ax.errorbar(
                    means.index, means, by_size.sem(), fmt=style, color=f"C{number}", markersize=4
                )
        ax.axhline(0.5, color="black", linestyle=":", linewidth=1)
        ax.set_xscale("log")
        ax.set_xticks(SIZES, SIZES)
        ax.set_xlim(0.9 * SIZES[0], 1.1 * SIZES[-1])
        ax.minorticks_off()
        ax.set_title(scenario, fontsize=11)
        ax.set_xlabel("subjects in training")
        ax.spines[["top", "right"]].set_visible(False)
    for ax in axes[:, 0]:
        ax.set_ylabel("accuracy on new subjects")
    figure.legend(lines.values(), lines, loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--choose", action="store_true", help="compare small networks instead")
    parser.add_argument(
        "--scenario", choices=SCENARIOS, action="append", help="scenario (default: all)"
    )
    parser.add_argument("--model", metavar="NAME", action="append", help="model (default: all)")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--jobs", type=int, default=1, help="number of processes")
    parser.add_argument(
        "--ledger",
        metavar="FILE",
        type=Path,
        default="when_networks_pay.jsonl",
        help="finished fits; a run that was stopped goes on from there (default: %(default)s)",
    )
    parser.add_argument("--report", action="store_true", help="show what the ledger holds")
    parser.add_argument("--figure", metavar="FILE", type=Path, help="draw the learning curves")
    parser.add_argument("--quick", action="store_true", help="one seed, 12 and 25 subjects")
    options = parser.parse_args()
    sizes, seeds, models = SIZES, range(options.seeds), MODELS
    scenarios = options.scenario or list(SCENARIOS)
    if options.choose:
        sizes, seeds, models = CHOICE_SIZES, CHOICE_SEEDS, LINEAR | CANDIDATES
        scenarios = options.scenario or ["displaced", "exclusive or"]
    if options.quick:
        sizes, seeds = sizes[:2], seeds[:1]
    # Small studies come first in each simulation, which is kept for the cells that follow.
    cells = [
        Cell(scenario, n_subjects, seed, model)
        for seed in seeds
        for scenario in scenarios
        for n_subjects in sizes
        for model in models
        if n_subjects <= LARGEST.get(model, N_MOST)
        and (options.model is None or model in options.model)
    ]
    results = results_of(cells, options)
    if results.empty:
        parser.error(f"{options.ledger} holds none of these fits. Run without --report.")
    (show_choice if options.choose else show_curves)(results)
    minutes = results["seconds"].sum() / 60
    print(f"\n{len(results)} fits took {minutes:.0f} minutes of processor time.")
    if options.figure:
        draw_curves(results, options.figure)


if __name__ == "__main__":
    main()
