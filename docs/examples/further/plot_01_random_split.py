"""
Why a random split misleads
===========================

The same decoders on the same data, once with volumes split at random and once with subjects kept
together. Then both splits again, on data without any effect.
"""

# %%
# Two decoders use the same slab: a logistic regression, and the network for small samples that
# starts from one.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline

from skfmri import (
    NiftiSamples,
    NiftiSlabRotator,
    RepeatedGroupKFold,
    SlabCNNClassifier,
    VoxelZScorer,
    audit_leakage,
)
from skfmri.datasets import make_eyes_open_closed
from skfmri.evaluation import linear_baseline

network = Pipeline(
    [
        ("slab", NiftiSlabRotator(angle=0.35, slab=(12, 15))),
        ("zscore", VoxelZScorer()),
        (
            "cnn",
            SlabCNNClassifier.for_small_samples(linear_path=100, epochs=10, random_state=0),
        ),
    ]
)
models = {"linear": linear_baseline(network), "network": network}
splits = {
    "volumes at random": StratifiedKFold(3, shuffle=True, random_state=0),
    "subjects together": RepeatedGroupKFold(n_splits=3, n_repeats=1, random_state=0),
}

# %%
# With ``effect_size=0``, eyes open and eyes closed do not differ at all. What remains is typical of
# every study: maps of one subject are similar, and maps of one block are even more similar. The
# groups are the subjects. They travel with the samples, so you need not pass them. The warning
# below is that of the random split: skfmri notices that it cuts through subjects.

rows = []
for effect_size in (1, 0):
    data = make_eyes_open_closed(n_subjects=24, effect_size=effect_size, random_state=0)
    samples = NiftiSamples(data.images, y=data.labels, groups=data.subjects)
    for split, cv in splits.items():
        for model, pipe in models.items():
            scores = cross_val_score(pipe, samples, samples.y, cv=cv)
            rows.append((effect_size, split, model, scores.mean()))
table = pd.DataFrame(rows, columns=["effect size", "split", "model", "accuracy"])
scores = table.pivot(index=["effect size", "model"], columns="split", values="accuracy")
scores.sort_index(ascending=[False, True]).round(2)

# %%
# If there is an effect, the random split reports a higher accuracy. If there is none, it finds one
# anyway.

figure, axes = plt.subplots(1, 2, figsize=(7.6, 4.2), sharey=True, layout="constrained")
titles = {1: "eyes open or closed", 0: "nothing to find"}
for ax, (effect_size, title) in zip(axes, titles.items(), strict=True):
    for i, (split, color) in enumerate(zip(splits, ("0.7", "#0072B2"), strict=True)):
        heights = [scores.loc[(effect_size, model), split] for model in models]
        places = np.arange(len(models)) + 0.4 * i - 0.2
        bars = ax.bar(places, heights, width=0.36, color=color, label=split)
        ax.bar_label(bars, fmt="%.2f", padding=2)
    ax.axhline(0.5, color="black", linestyle="--", linewidth=1, label="chance")
    ax.set(title=title, xticks=range(len(models)), xticklabels=models, ylim=(0, 1.1))
axes[0].set_ylabel("accuracy")
axes[1].legend(loc="upper right")

gain = scores["volumes at random"] - scores["subjects together"]
assert (gain.loc[1] > 0.03).all()
assert (scores["volumes at random"].loc[0] > 0.57).all()
assert scores["subjects together"].loc[0].between(0.38, 0.6).all()

# %%
# Neither decoder does anything wrong, and no curve would look suspicious. If three maps of a block
# are in the training data, the fourth is recognised by its similarity, and its label comes with it.
#
# Detect it automatically
# -----------------------
# :func:`~skfmri.audit_leakage` checks splits, samples and steps before you trust a score. In your
# tests, ``assert report.ok`` fails and names the first offending samples.

for split, cv in splits.items():
    folds = list(cv.split(samples, samples.y))
    report = audit_leakage(network, samples, cv=folds, checks=["groups"])
    print(f"{split}: {'no leak found' if report.ok else 'leak'}")
    for finding in report.findings[:2]:
        print("   ", finding.message)
    assert report.ok == (split == "subjects together")

# %%
# :doc:`/grouping` helps you choose the group. :doc:`/evaluation` has the same comparison on real
# runs, and shows how much other leaks inflate scores.
