"""Draw the picture of the README: the slab in the head, and scores that a random split inflates.

Run: pip install ".[plot]" && python docs/pictures/overview.py
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skfmri import NiftiSamples, NiftiSlabRotator, VoxelZScorer
from skfmri.datasets import make_eyes_open_closed

SPLITS = {
    "volumes split\nat random": StratifiedKFold(6, shuffle=True, random_state=0),
    "subjects kept\ntogether": GroupKFold(6),
}


def flatten(slabs):
    return slabs.reshape(len(slabs), -1)


def scores_of(effect_size):
    """Return samples, a fitted rotator and the scores of all folds for each split."""
    data = make_eyes_open_closed(effect_size=effect_size)
    samples = NiftiSamples(data.images, y=data.labels, groups=data.chunks)
    pipe = make_pipeline(
        NiftiSlabRotator(angle=0.35, slab=(12, 15)),
        VoxelZScorer(),
        FunctionTransformer(flatten),
        LogisticRegression(max_iter=1000),
    )
    scores = {
        name: cross_val_score(pipe, samples, samples.y, groups=samples.groups, cv=cv)
        for name, cv in SPLITS.items()
    }
    return samples, pipe[0].fit(samples), scores


def draw_slab(samples, rotator, ax):
    """Draw the sagittal plane through the right eye, assuming a grid aligned with the world."""
    x, y, z = (samples.affine[axis, 3] for axis in range(3))
    size = samples.affine[0, 0]
    plane = round((30 - x) / size)
    mean = np.asarray(samples).mean(axis=0)[plane]
    reached = np.isfinite(rotator.inverse_transform(np.ones(rotator.slab_shape_)).get_fdata())
    ends = [y - size / 2, y + size * (mean.shape[0] - 0.5)]
    ends += [z - size / 2, z + size * (mean.shape[1] - 0.5)]
    ax.imshow(mean.T, cmap="gray", vmax=1.2, origin="lower", extent=ends)
    ax.contour(reached[plane].T, levels=[0.5], colors="tab:red", extent=ends)
    ax.set_xlabel("y in mm, back to front")
    ax.set_ylabel("z in mm")
    ax.set_title("the slab: eyes and visual cortex", fontsize=11)


def draw_scores(scores, ax, title):
    for i, (name, values) in enumerate(scores.items()):
        ax.bar(i, values.mean(), color=("0.75", "tab:blue")[i], width=0.6)
        jitter = np.linspace(-0.15, 0.15, len(values))
        ax.plot(i + jitter, values, "o", color="black", markersize=4)
        ax.text(i, 0.05, f"{values.mean():.2f}", ha="center", fontsize=12)
        print(title.replace("\n", " "), name.replace("\n", " "), values.mean().round(3))
    ax.axhline(0.5, color="black", linestyle="--", linewidth=1)
    ax.text(0.5, 0.52, "chance", ha="center", fontsize=9)
    ax.set_xticks(range(len(scores)), scores)
    ax.set_ylim(0, 1.05)
    ax.set_title(title, fontsize=11)
    ax.spines[["top", "right"]].set_visible(False)


def main():
    figure, axes = plt.subplots(
        1, 3, figsize=(11, 3.8), width_ratios=(1.3, 1, 1), layout="constrained"
    )
    for effect_size, title, ax in (
        (1.0, "eyes open or closed", axes[1]),
        (0.0, "the same data without any effect", axes[2]),
    ):
        samples, rotator, scores = scores_of(effect_size)
        draw_scores(scores, ax, title)
        if effect_size:
            draw_slab(samples, rotator, axes[0])
    axes[1].set_ylabel("accuracy, logistic regression")
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
