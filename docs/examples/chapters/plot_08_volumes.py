"""
Networks in three dimensions
============================

Slices as channels, or kernels that move along all three axes? We compare both with a linear model
on the same folds.
"""

# %%
# The two-dimensional network was designed for a slab of three slices. A three-dimensional network
# can use a thick slab, or the whole rotated volume with ``slab=None``.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.pipeline import Pipeline

from skfmri import (
    NiftiSamples,
    NiftiSlabRotator,
    RepeatedGroupKFold,
    SlabCNNClassifier,
    VolumeCNNClassifier,
    VoxelZScorer,
    evaluate_decoder,
)
from skfmri.datasets import make_eyes_open_closed
from skfmri.evaluation import linear_baseline
from skfmri.networks import convolutional_network
from skfmri.plotting import plot_slab

data = make_eyes_open_closed(n_subjects=24, random_state=0)
samples = NiftiSamples(data.images, y=data.labels, groups=data.chunks)


def pipeline(slab, classifier):
    rotator = NiftiSlabRotator(angle=0.35, slab=slab)
    return Pipeline([("slab", rotator), ("zscore", VoxelZScorer()), ("cnn", classifier)])


thick = NiftiSlabRotator(angle=0.35, slab=(8, 18)).fit(samples)
print("a slab of", " x ".join(map(str, thick.slab_shape_)), "voxels")
plot_slab(thick, samples, cut_coords=(30, 50, -35), title="ten slices")

# %%
# One table
# ---------
# :func:`~skfmri.evaluate_decoder` accepts any number of named models for comparison and evaluates
# all of them on the same folds. The networks are small, and both start from a logistic regression
# on their voxels, which takes one fit; :doc:`/few_samples` recommends a ridge, which takes four.

small = {"filters": 8, "epochs": 10, "linear_path": 100, "learning_rate": 0.001}
flat = pipeline((12, 15), SlabCNNClassifier.for_small_samples(**small))
deep = pipeline((8, 18), VolumeCNNClassifier.for_small_samples(**small))
result = evaluate_decoder(
    flat,
    samples,
    cv=RepeatedGroupKFold(n_splits=3, n_repeats=1, random_state=0),
    baseline={
        "3-D network, ten slices": deep,
        "linear, three slices": linear_baseline(flat),
        "linear, ten slices": linear_baseline(deep),
    },
    random_state=0,
)
summary = result.summary[result.summary["metric"] == "accuracy"].set_index("model")
summary = summary.rename({"decoder": "2-D network, three slices"})
times = result.folds.groupby("model")["seconds_fit"].mean()
times = times.rename({"decoder": "2-D network, three slices"})
table = summary[["score", "low", "high", "chance"]].round(3)
table.assign(seconds_per_fit=times.round(1))

# %%
# All four do far better than chance, and their scores are close together. More slices did not help:
# most of the effect is in a few of them, and the others only add input to overfit.

scores = summary["score"].drop("dummy")
assert scores.between(0.72, 0.97).all()
assert np.ptp(scores) < 0.12
assert scores["3-D network, ten slices"] < scores["2-D network, three slices"] + 0.05

# %%
# The four are close together in each fold, too.

folds = result.folds.pivot(index="fold", columns="model", values="accuracy")
folds = folds.rename(columns={"decoder": "2-D network, three slices"}).drop(columns="dummy")
figure, ax = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
for name, marker in zip(scores.index, "osD^", strict=True):
    ax.plot(folds.index, folds[name], marker, label=name, markersize=8, alpha=0.7)
ax.axhline(0.5, color="0.4", linestyle="--", label="chance")
ax.set(xlabel="fold", ylabel="accuracy", ylim=(0.4, 1.02), xticks=folds.index)
ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1))

assert np.ptp(folds, axis=1).max() < 0.2

# %%
# Networks of another shape
# -------------------------
# Kernel size, pooling size and stride can be set per axis and per block. So two networks for
# volumes that predate the :doc:`workshop notebook </notebook>` can be reproduced without writing a
# new class.

older = VolumeCNNClassifier(
    filters=32,
    kernel_size=2,
    pool_size=[(2, 3, 2), (2, 3, 2), 2],
    padding="valid",
    dense_units=(256, 512),
    dense_batch_norm=False,
)
oldest = VolumeCNNClassifier(
    filters=(16, 32),
    n_blocks=2,
    kernel_size=(3, 3, 2),
    strides=[(3, 3, 2), 1],
    pool_size=[2, (2, 2, 1)],
    padding="valid",
    dense_units=(1024, 2048),
    dense_batch_norm=False,
)
n_older = older.build_network((30, 50, 18), n_classes=2).count_params()
n_oldest = oldest.build_network((40, 66, 12), n_classes=2).count_params()
n_default = convolutional_network((40, 56, 3), n_classes=2).count_params()
print(f"{n_older:,} and {n_oldest:,} parameters; the notebook's network in 2-D: {n_default:,}")

assert (n_older, n_oldest, n_default) == (347_234, 2_638_354, 2_345_602)
