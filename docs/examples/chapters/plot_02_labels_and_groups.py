"""
Labels and groups
=================

Labels define what is decoded. Groups define what must stay together when volumes are split into
training and test data.
"""

# %%
# The volumes are ordered by subject: four maps with eyes closed, then four with eyes open.
# :func:`~skfmri.datasets.block_labels` generates the labels of such a design. For your own design,
# read a table with one row per volume instead.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from sklearn.model_selection import KFold

from skfmri import NiftiSamples, RepeatedGroupKFold
from skfmri.datasets import block_groups, block_labels, make_eyes_open_closed

data = make_eyes_open_closed(n_subjects=24, random_state=0)
labels = block_labels(["closed", "open"], block_length=4, n_repeats=24)
print(labels[:10])

# %%
# A group holds whole subjects. Six groups of four subjects are enough here; the field calls them
# chunks. :func:`~skfmri.datasets.block_groups` requires equal groups and rejects a number that does
# not divide the volumes evenly.

groups = block_groups(n_samples=len(labels), n_groups=6)
subjects = block_groups(n_samples=len(labels), n_groups=24)
print(np.unique(groups, return_counts=True)[1], "volumes per group")

assert (labels == data.labels).all()
assert (groups == data.chunks).all()

# %%
# They travel with the volumes
# ----------------------------
# :class:`~skfmri.NiftiSamples` holds volumes, labels and groups together. An index selects samples,
# as in an array, along with their labels and groups. If the data come from a file, only its header
# has been read so far.

samples = NiftiSamples(data.images, y=labels, groups=groups)
print(samples)
print(samples[samples.y == "open"])
print(samples[[0, 5, 100]].y, samples[[0, 5, 100]].groups)

# %%
# A single integer returns one volume as a NIfTI image.

print(type(samples[7]).__name__, samples[7].shape)

# %%
# So scikit-learn can split samples like arrays, and the splitters of skfmri find the groups in
# them. Here each volume gets the number of the fold in which it is tested, once with groups kept
# together and once at random.


def fold_of_volume(cv):
    folds = np.empty(len(samples), dtype=int)
    for number, (_, test) in enumerate(cv.split(samples)):
        folds[test] = number
    return folds


by_group = fold_of_volume(RepeatedGroupKFold(n_splits=3, n_repeats=1, random_state=0))
at_random = fold_of_volume(KFold(n_splits=3, shuffle=True, random_state=0))

# %%
# Each column of the figure is a volume; neighbouring subjects and groups alternate in colour. A
# grouped fold takes whole groups. A random fold takes volumes from almost every subject.

strips = {
    "label": labels == "open",
    "subject": subjects % 2,
    "group": groups % 2,
    "fold, by group": by_group,
    "fold, at random": at_random,
}
colors = ListedColormap(["#0072B2", "#E69F00", "#009E73"])
figure, axes = plt.subplots(len(strips), sharex=True, figsize=(8, 4.4), layout="constrained")
for ax, (name, values) in zip(axes, strips.items(), strict=True):
    ax.imshow(values[np.newaxis], aspect="auto", cmap=colors, vmin=0, vmax=2, interpolation="none")
    ax.set_yticks([0], [name])
axes[-1].set_xlabel("volume")

# %%
# How many subjects are on both sides of at least one split?


def torn(folds):
    return sum(len(np.unique(folds[subjects == subject])) > 1 for subject in range(24))


print(f"by group: {torn(by_group)} of 24 subjects, at random: {torn(at_random)} of 24")

assert torn(by_group) == 0
assert torn(at_random) > 20

# %%
# :doc:`/grouping` explains which group to choose for which question, and how to repeat grouped
# splits.
