"""
Look at the data
================

Before training anything: what is in the volumes, where are they empty, and which of them are
similar? The last question decides how they must be split.
"""

# %%
# The data are simulated maps of 24 subjects, each with eyes closed and eyes open. The
# :doc:`workshop notebook </notebook>` from which skfmri grew classifies such maps. Here we know
# where the two conditions differ, and we know the trap.

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
# nilearn and nibabel works on it. Here is a cut through one eye in the mean volume.

mean = mean_img(data.images, copy_header=True)
plot_epi(mean, cut_coords=(30, 60, -45), cmap="gray", colorbar=False, title="mean of all maps")

# %%
# :class:`~skfmri.NiftiSamples` presents the same volumes to scikit-learn: samples come first, and
# labels and groups travel with them.

samples = NiftiSamples(data.images, y=data.labels, groups=data.chunks)
print(samples)
print(data.images.shape, "as samples is", samples.shape)

# %%
# How large are the values?
# --------------------------
# Outside the head every voxel is 0 in every map. Two thresholds, on the mean and on the standard
# deviation of a voxel, separate such voxels from the rest. :class:`~skfmri.VoxelZScorer` uses them;
# the lines mark its defaults.

plot_voxel_statistics(samples)

# %%
# Which maps are similar?
# -----------------------
# Each map is a point in a space with one axis per voxel. A principal component analysis finds the
# directions in which the points vary most. No small number of components explains most of the
# variance.

X = np.asarray(samples).reshape(len(samples), -1)
plot_explained_variance(X)

# %%
# The first two components do not separate the two conditions.

plot_embedding(X, samples.y, method="pca")

# %%
# t-SNE instead keeps neighbours together. It shows many small clusters, most of one colour. There
# are eight maps per subject, four of them with eyes closed.

plot_embedding(X, samples.y, method="tsne", random_state=0)

# %%
# So whose map is the nearest neighbour of each map?

distances = euclidean_distances(X)
np.fill_diagonal(distances, np.inf)
nearest = distances.argmin(axis=1)
same_subject = np.mean(data.subjects[nearest] == data.subjects)
same_label = np.mean(samples.y[nearest] == samples.y)
print(f"The nearest map is of the same subject for {same_subject:.0%} of the maps,")
print(f"and has the same label for {same_label:.0%}.")

# %%
# A rule that knows nothing about eyes, but remembers the most similar map, gives the right answer
# every time. Without the maps of the same subject, it is only slightly better than a coin flip.

distances[data.subjects[:, np.newaxis] == data.subjects] = np.inf
nearest = distances.argmin(axis=1)
across_subjects = np.mean(samples.y[nearest] == samples.y)
print(f"The nearest map of another subject has the same label for {across_subjects:.0%}.")

assert same_subject > 0.95
assert same_label > 0.95
assert 0.5 < across_subjects < 0.75

# %%
# So all maps of a subject must stay on one side of every split. The next page gives them the labels
# and groups that ensure this.
