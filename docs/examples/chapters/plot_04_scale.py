"""
Scale the voxels
================

Networks learn best when all inputs are on a similar scale. The scale is estimated from the training
volumes alone, and empty voxels stay at zero.
"""

# %%
# One group of subjects is held out, as in a fold of a cross-validation.

import matplotlib.pyplot as plt
import numpy as np

from skfmri import NiftiSamples, NiftiSlabRotator, VoxelZScorer
from skfmri.datasets import make_eyes_open_closed
from skfmri.plotting import plot_voxel_statistics

data = make_eyes_open_closed(n_subjects=24, random_state=0)
samples = NiftiSamples(data.images, y=data.labels, groups=data.chunks)
train, test = samples[samples.groups != 0], samples[samples.groups == 0]
rotator = NiftiSlabRotator(angle=0.35, slab=(12, 15)).fit(train)
slabs_train, slabs_test = rotator.transform(train), rotator.transform(test)

# %%
# :class:`~skfmri.VoxelZScorer` subtracts from each voxel its mean over the training volumes and
# divides by its standard deviation.

scorer = VoxelZScorer().fit(slabs_train)
scores_train, scores_test = scorer.transform(slabs_train), scorer.transform(slabs_test)

figure, axes = plt.subplots(1, 2, figsize=(7, 4), layout="constrained")
for ax, picture, title in (
    (axes[0], slabs_train[0], "as measured"),
    (axes[1], scores_train[0], "z-scores"),
):
    image = ax.imshow(picture[:, :, 1].T, origin="lower", cmap="gray")
    ax.set(title=title, xlabel="x", ylabel="y")
    figure.colorbar(image, ax=ax, shrink=0.8)

# %%
# Every voxel now has mean 0 and standard deviation 1 over the training volumes. Held-out volumes
# did not contribute to these statistics, so their means and standard deviations are close to 0 and
# 1, but not equal.

used = scorer.mask_
for name, scores in (("training", scores_train), ("held out", scores_test)):
    means, stds = scores.mean(axis=0)[used], scores.std(axis=0)[used]
    print(
        f"{name}: means of voxels from {means.min():+.2f} to {means.max():+.2f}, "
        f"standard deviations from {stds.min():.2f} to {stds.max():.2f}"
    )

assert np.abs(scores_train.mean(axis=0)[used]).max() < 1e-3
assert np.abs(scores_train.std(axis=0)[used] - 1).max() < 1e-3
assert np.abs(scores_test.mean(axis=0)[used]).max() > 0.3

# %%
# Why thresholds?
# ---------------
# About half of the slab is outside the head. Interpolation leaves tiny values there, and a tiny
# value divided by a tiny standard deviation is a large number. The thresholds keep such voxels at
# zero.

plot_voxel_statistics(slabs_train)

# %%
# The largest score with and without thresholds:

without = VoxelZScorer(std_threshold=None, mean_threshold=None).fit_transform(slabs_train)
print(f"with: {np.abs(scores_train).max():.1f}, without: {np.abs(without).max():.1f}")
print(f"{used.mean():.0%} of the voxels are above both thresholds")

assert np.abs(without).max() > 10 > 6 > np.abs(scores_train).max()
assert 0.45 < used.mean() < 0.65

# %%
# Thresholds are in the units of the data. These maps have values near 1. Time series have values of
# several hundred, with means that :func:`~skfmri.clean_runs` brings to 0. A mean below its
# threshold is not subtracted, and a mean near 0 need not be. Look at the histogram before you trust
# a threshold.
