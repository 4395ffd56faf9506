"""
Maps of several subjects
========================

Centring the maps of each subject raises scores by about ten points here. It needs no labels, but it
needs several maps of each subject.
"""

# %%
# Maps of one subject resemble each other more than they resemble maps of other subjects. A decoder
# for new subjects must find the effect behind these differences. Here logistic regression decodes
# open eyes from closed ones, with whole subjects held out.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from skfmri import (
    NiftiSamples,
    NiftiSlabRotator,
    VoxelZScorer,
    audit_leakage,
    center_groups,
    evaluate_decoder,
)
from skfmri.datasets import make_eyes_open_closed
from skfmri.evaluation import linear_baseline

data = make_eyes_open_closed(n_subjects=24, random_state=0)
samples = NiftiSamples(data.images, y=data.labels, groups=data.chunks)
steps = NiftiSlabRotator(), VoxelZScorer(std_threshold="auto")
decoder = linear_baseline(make_pipeline(*steps, "passthrough"))

# %%
# :func:`~skfmri.center_groups` subtracts from each map the mean of all maps of its subject. Groups
# of the cross-validation may be larger, as the chunks of four subjects are here.

centred = center_groups(samples, by=data.subjects)
results = {
    name: evaluate_decoder(decoder, X, baseline=None, random_state=0)
    for name, X in (("as they are", samples), ("centred", centred))
}
for name, result in results.items():
    print(f"{name}: {result.sentences()[0]}")

before, after = (result.summary["score"].iloc[0] for result in results.values())
assert after > before + 0.05

# %%
# What it removes
# ---------------
# In the plane of the first two components, uncentred maps cluster by subject. Centred maps do not,
# and the differences that remain have more to do with the eyes.

fig, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for ax, (name, X) in zip(axes, {"as they are": samples, "centred": centred}.items(), strict=True):
    slabs = NiftiSlabRotator().fit_transform(X)
    points = PCA(2).fit_transform(slabs.reshape(len(slabs), -1))
    for label, marker in (("closed", "o"), ("open", "x")):
        here = data.labels == label
        colours = data.subjects[here] % 10
        ax.scatter(*points[here].T, c=colours, cmap="tab10", marker=marker, label=label)
    ax.set(title=name, xlabel="first component", ylabel="second component")
axes[0].legend()

# %%
# When it is honest
# -----------------
# Centring looks at no label and at no other subject, so it may come before the cross-validation as
# long as no subject is split. If a split cuts through a subject, training maps hold the mean of
# test maps, and the audit finds it.

splits = [(np.arange(0, 100), np.arange(100, len(centred)))]
report = audit_leakage(decoder, centred, cv=splits, checks=["centred"])
print(report)

assert not report.ok

# %%
# With one map per class, a subject's maps are compared with each other: one of the two must be
# "open". This forced choice is easier than classifying a single map, and the audit says so.

pairs = samples[::4]
report = audit_leakage(decoder, center_groups(pairs, by=data.subjects[::4]), checks=["centred"])
print(report)

assert report.ok
assert "forced choice" in report.notes[0]

# %%
# A new subject must be centred in the same way before the decoder predicts its maps, so a single
# map of a new subject is not enough. :doc:`/few_samples` has the scores of more simulations.
