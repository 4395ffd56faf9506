"""
Which voxels drive the decision?
================================

Six methods estimate how much each voxel contributes to a decision. On simulated data the true
effect is known, so we can compare them.
"""

# %%
# Three networks come from a grouped cross-validation. Each has seen different subjects, so whatever
# they agree on is less likely to be an accident.

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from nibabel import Nifti1Image
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.model_selection import cross_validate
from sklearn.pipeline import Pipeline

from skfmri import (
    NiftiSamples,
    NiftiSlabRotator,
    RepeatedGroupKFold,
    SlabCNNClassifier,
    VoxelZScorer,
)
from skfmri.datasets import make_eyes_open_closed
from skfmri.inspection import randomization_check, saliency_image, sign_consistency_image
from skfmri.plotting import plot_map

data = make_eyes_open_closed(n_subjects=24, random_state=0)
samples = NiftiSamples(data.images, y=data.labels, groups=data.chunks)
pipe = Pipeline(
    [
        ("slab", NiftiSlabRotator(angle=0.35, slab=(12, 15))),
        ("zscore", VoxelZScorer()),
        # The network as a whole is kept, beside a logistic regression.
        (
            "cnn",
            SlabCNNClassifier.for_small_samples(
                linear_path=100, learning_rate=0.001, random_state=0
            ),
        ),
    ]
)
found = cross_validate(
    pipe,
    samples,
    samples.y,
    cv=RepeatedGroupKFold(n_splits=3, n_repeats=1, random_state=0),
    return_estimator=True,
)
pipelines = found["estimator"]
print("accuracy in each fold:", found["test_score"].round(2))

assert 0.75 < found["test_score"].mean() < 0.97

# %%
# The true effect
# ---------------
# Opening the eyes raises the values in the eyes and lowers them in visual cortex. Only the part
# inside the slab can be found. A voxel counts as true if its effect is at least a quarter of the
# largest one.

rotator = pipelines[0]["slab"]
inside = np.isfinite(rotator.inverse_transform(np.ones(rotator.slab_shape_)).get_fdata())
effect = data.effect.get_fdata() * inside
is_true = np.abs(effect[inside]) > 0.25 * np.abs(effect).max()
cut = (30, 56, -39)
plot_map(
    Nifti1Image(effect.astype("float32"), data.effect.affine),
    samples,
    cut_coords=cut,
    title="true effect inside the slab",
)
print(f"{is_true.sum()} of {inside.sum()} voxels in the slab are true")

# %%
# Six methods
# -----------
# It matters which class is explained. A gradient, plain or smoothed, shows in which direction a
# voxel pushes, in a similar way for every volume. So explain one class for all of them. The other
# methods show what supported the class of each single volume, so explain the class of that volume.
# :func:`~skfmri.inspection.saliency_image` averages over volumes and networks and maps the result
# back to native space.

few = samples[::6]  # maps of all subjects, enough for a mean
options: dict[str, dict[str, Any]] = {
    "gradient": {"y": "open"},
    "smoothgrad": {"y": "open", "n_steps": 8, "random_state": 0},
    "gradient_x_input": {"y": few.y},
    "integrated_gradients": {"y": few.y, "n_steps": 8},
    "occlusion": {"y": few.y, "patch_size": 4},
    "grad_cam": {"y": few.y},
}
images, areas = {}, {}
for method, settings in options.items():
    images[method] = saliency_image(pipelines, few, method=method, **settings)
    areas[method] = roc_auc_score(is_true, np.abs(images[method].get_fdata()[inside]))

# %%
# The area under the ROC curve is the probability that a true voxel gets a larger absolute value
# than one of the others; one half is guessing.

table = pd.DataFrame({"area under the ROC curve": areas}).sort_values(
    "area under the ROC curve", ascending=False
)
table.round(2)

# %%

figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
for method in table.index:
    ax.plot(*roc_curve(is_true, np.abs(images[method].get_fdata()[inside]))[:2], label=method)
ax.plot([0, 1], [0, 1], color="0.4", linestyle="--", label="guessing")
ax.set(xlabel="share of other voxels marked", ylabel="share of true voxels marked")
ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1))

# %%
# Five methods find the eyes and visual cortex. Grad-CAM does not. Its maps are as coarse as the
# last convolution, and it cannot see the linear model from which this network starts.

assert max(areas.values()) >= 0.85
assert min(areas[method] for method in options if method != "grad_cam") > 0.8
assert table.index[-1] == "grad_cam"

# %%
# The map
# -------
# The gradient of "open" has the sign of the effect: positive in the eyes, negative in visual
# cortex.

plot_map(images["gradient"], samples, cut_coords=cut, title="gradient of 'open'")

strong = inside & (np.abs(effect) > 0.5 * np.abs(effect).max())
same_sign = np.sign(images["gradient"].get_fdata()) == np.sign(effect)
print(f"right sign in {same_sign[strong].mean():.0%} of the voxels with a strong effect")

assert same_sign[strong].mean() > 0.9

# %%
# Integrated gradients show what supported the true class.

plot_map(images["integrated_gradients"], samples, cut_coords=cut, title="integrated gradients")

# %%
# Do the networks agree?
# ----------------------
# :func:`~skfmri.inspection.sign_consistency_image` returns the mean sign over networks: 1 or -1
# where all of them agree.

consistency = sign_consistency_image(pipelines, few, "open", method="gradient").get_fdata()
agreed = np.abs(consistency) > 0.99
empty = inside & (np.abs(effect) < 0.01 * np.abs(effect).max())
print(f"all agree in {agreed[strong].mean():.0%} of the voxels with a strong effect,")
print(f"and in {agreed[empty].mean():.0%} of those without; three coins would agree in 25%")

assert agreed[strong].mean() > 0.9
assert agreed[empty].mean() < 0.7

# %%
# Networks with overlapping training sets agree more often than coins would, so agreement alone
# proves little. A lack of agreement is more informative.
#
# Does the map depend on the network at all?
# ------------------------------------------
# A method that draws the outlines of the brain, whatever the weights are, looks convincing but
# means nothing. :func:`~skfmri.inspection.randomization_check` shuffles the weights of one layer
# after another and compares the new maps with the original ones. The correlation must fall. The
# gradient is the stricter test. Maps of most other methods are products with the voxel values,
# which do not change, so part of their ranking remains whatever the weights are.

check = randomization_check(pipelines[0], few, "open", method="gradient", random_state=0)
check.round(2)

# %%

assert check["correlation"].iloc[-1] < 0.6

# sphinx_gallery_thumbnail_number = 3
