"""
Look at the data
================

Before anything is trained: what is in the volumes, where do they hold nothing, and what are they
alike in? The last question decides how they must be split.
"""

# %%
# The data are simulated maps of 24 subjects, each with eyes closed and eyes open. Where the
# two conditions differ is known, and so is the trap.

import numpy as np
from nilearn.image import mean_img
from nilearn.plotting import plot_epi
from sklearn.metrics import euclidean_distances

from skfmri import NiftiSamples
from skfmri.datasets import make_eyes_open_closed
from skfmri.plotting import plot_embedding, plot_explained_variance, plot_voxel_statistics

data = make_eyes_open_closed(n_subjects=24, random_state=0)
print(data.DESCR)

# %%
# `data.images` is an ordinary NIfTI image with the volumes on its last axis, so everything in
# nilearn and nibabel works on it. Here is the mean volume, cut through an eye.

mean = mean_img(data.images, copy_header=True)
plot_epi(mean, cut_coords=(30, 60, -45), cmap="gray", colorbar=False, title="mean of all maps")

# %%
# :class:`~skfmri.NiftiSamples` shows the same volumes to scikit-learn: samples come first, labels
# and groups travel along.

samples = NiftiSamples(data.images, y=data.labels, groups=data.chunks)
print(samples)
print(data.images.shape, "as samples is", samples.shape)

# %%
# How large are the values?
# --------------------------
# Outside the head every voxel is 0 in every map. Two thresholds, on the mean and on the standard
# deviation of a voxel, tell such voxels from the others. :class:`~skfmri.VoxelZScorer` uses them;
# the lines are at its defaults.

plot_voxel_statistics(samples)

# %%
# What are the maps alike in?
# ---------------------------
# Each map is a point in a space with one axis per voxel. A principal component analysis finds the
# directions in which the points spread most. No handful of them holds it all.

X = np.asarray(samples).reshape(len(samples), -1)
plot_explained_variance(X)

# %%
# The first two components do not show the two conditions.

plot_embedding(X, samples.y, method="pca")

# %%
# t-SNE keeps neighbours together instead. It shows many small heaps, most of one colour: eight
# maps per subject, four of them with the eyes closed.

plot_embedding(X, samples.y, method="tsne", random_state=0)

# %%
# So whose map is the nearest one?

distances = euclidean_distances(X)
np.fill_diagonal(distances, np.inf)
nearest = distances.argmin(axis=1)
same_subject = np.mean(data.subjects[nearest] == data.subjects)
same_label = np.mean(samples.y[nearest] == samples.y)
print(f"The nearest map is of the same subject for {same_subject:.0%} of the maps,")
print(f"and has the same label for {same_label:.0%}.")

# %%
# Someone who knows nothing about eyes, but remembers the map most like this one, answers
# right every time. Without the maps of the same subject the rule is a little better than a coin.

distances[data.subjects[:, np.newaxis] == data.subjects] = np.inf
nearest = distances.argmin(axis=1)
across_subjects = np.mean(samples.y[nearest] == samples.y)
print(f"The nearest map of another subject has the same label for {across_subjects:.0%}.")

assert same_subject > 0.95
assert same_label > 0.95
assert 0.5 < across_subjects < 0.75

# %%
# So all maps of a subject must stay on one side of every split. The next page gives them the
# labels and groups that see to it.

# sphinx_gallery_thumbnail_number = 5
