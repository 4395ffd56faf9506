"""
Predict a number
================

A regressor takes the place of the classifier; samples, steps and groups stay as they are. Here the
number is the age of a subject, and the simulation knows how it changes the maps.
"""

# %%
# There is one map of each of 100 subjects between 20 and 80 years. The ages are the `y` of the
# samples, the subjects their groups.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold

from skfmri import (
    DecodingPipeline,
    MultiscaleRidgeRegressor,
    NiftiSamples,
    NiftiSlabRotator,
    SlabCNNRegressor,
    VoxelZScorer,
    evaluate_decoder,
)
from skfmri.datasets import make_ages
from skfmri.plotting import plot_map, plot_predicted, plot_residuals

data = make_ages(n_subjects=100, random_state=0)
samples = NiftiSamples(data.images, y=data.ages, groups=data.subjects)

# %%
# What age does to the maps
# -------------------------
# Values around the hippocampus fall with age. Occipital values are U-shaped, lowest at 50 years.

cut = (26, -20, -14)
plot_map(data.linear_effect, samples, cut_coords=cut, title="linear effect: 80 minus 50 years")

# %%

maps = np.asarray(data.images.dataobj)
regions = {"linear region": data.linear_effect, "nonlinear region": data.nonlinear_effect}
figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.4), layout="constrained")
correlations = {}
for ax, (name, effect) in zip(axes, regions.items(), strict=True):
    weights = np.abs(effect.get_fdata())
    means = np.tensordot(weights, maps, axes=3) / weights.sum()
    correlations[name] = np.corrcoef(means, data.ages)[0, 1]
    ax.scatter(data.ages, means, s=12)
    ax.set(
        title=f"{name}, correlation {correlations[name]:.2f}",
        xlabel="age in years",
        ylabel="mean value",
    )

assert correlations["linear region"] < -0.5
assert abs(correlations["nonlinear region"]) < 0.2

# %%
# The second region depends on age too, but a straight line through a U is flat. What remains of a
# correlation is chance, so a linear model cannot use the region. A network could: a high value says
# that a subject is young or old, and the first region says which.
#
# Two decoders
# ------------
# The multiscale ridge is the linear model that a network has to beat. R2 is the share of the
# variance of age that is explained in held-out subjects: 0 is the mean age for everyone, and a
# negative value is worse than that. The absolute error is in years, with a minus sign, so that
# larger is better for both. Each score is that of the predictions of all folds together.

regressors = {
    "ridge": MultiscaleRidgeRegressor(),
    "network": SlabCNNRegressor.for_small_samples(epochs=10, random_state=0),
}
results = {}
for name, regressor in regressors.items():
    pipe = DecodingPipeline(
        [("slab", NiftiSlabRotator()), ("zscore", VoxelZScorer()), ("regressor", regressor)]
    )
    results[name] = evaluate_decoder(
        pipe,
        samples,
        cv=GroupKFold(5),
        scoring=["r2", "neg_mean_absolute_error"],
        baseline=None,
        random_state=0,
    )
summaries = {name: result.summary for name, result in results.items()}
table = pd.concat(summaries, names=["regressor"]).query("model == 'decoder'")
scores = table.pivot_table(values="score", index="regressor", columns="metric", sort=False)
scores.round(2)

# %%
# On 100 subjects, the network adds nothing: ``for_small_samples()`` starts from the ridge and keeps
# a network only as far as it lowers the loss of subjects that are left out in training.

assert 0.3 < scores.loc["ridge", "r2"] < 0.7
assert abs(scores.loc["network", "r2"] - scores.loc["ridge", "r2"]) < 0.05

# %%
# Predictions are pulled towards the mean
# ---------------------------------------
# A model that explains half of the variance does best by predicting too old for the young and too
# young for the old. In a study of "brain age", the difference between predicted and true age is
# then negatively correlated with age, although in this simulation no brain is older than its
# subject.

predictions = results["ridge"].predictions
figure, axes = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
plot_predicted(predictions, ax=axes[0])
plot_residuals(predictions, ax=axes[1])
predictions = predictions[predictions["model"] == "decoder"]
age, predicted = predictions["label"], predictions["predicted"]
slant = np.corrcoef(age, predicted - age)[0, 1]
print(f"correlation of age with predicted minus true age: {slant:.2f}")

assert slant < -0.3

# %%
# Compare groups at the same age, or use age as a covariate, before you interpret such a difference.
#
# New sites
# ---------
# Each of the four sites adds a pattern of its own to its maps. If a decoder will be used at other
# sites, leave out whole sites: they become the groups, and by default one of them is left out at a
# time. Here all sites have the same mix of ages, so R2 hardly changes. If one had older subjects
# than another, a decoder could recognise the site instead of the age, and only this split would
# show it.

pipe = DecodingPipeline(
    [
        ("slab", NiftiSlabRotator()),
        ("zscore", VoxelZScorer()),
        ("regressor", MultiscaleRidgeRegressor()),
    ]
)
new_sites = evaluate_decoder(
    pipe, samples, groups=data.sites, scoring="r2", baseline=None, random_state=0
)
of_sites = new_sites.folds.loc[new_sites.folds["model"] == "decoder", ["groups_held_out", "r2"]]
of_sites.round(2)

# %%

assert 0.3 < of_sites["r2"].mean() < 0.7

# sphinx_gallery_thumbnail_number = 2
