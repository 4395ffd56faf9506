"""
Build, fit, evaluate
====================

The network of the workshop notebook, its learning curves, and a score that generalises to new
subjects.
"""

# %%
# The :doc:`notebook </notebook>`, a workshop chapter on eyes open and eyes closed from which skfmri
# grew, trains for 125 epochs. To keep this page quick, we train for 15 and set
# ``batch_norm_momentum=0.9``. With the default of 0.99, the running means of batch normalization
# would lag behind the data in such a short training. Everything else is as in the notebook.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GroupShuffleSplit

from skfmri import (
    DecodingPipeline,
    NiftiSamples,
    NiftiSlabRotator,
    RepeatedGroupKFold,
    SlabCNNClassifier,
    VoxelZScorer,
    evaluate_decoder,
)
from skfmri.datasets import make_eyes_open_closed
from skfmri.plotting import plot_learning_curves

data = make_eyes_open_closed(n_subjects=48, random_state=0)
samples = NiftiSamples(data.images, y=data.labels, groups=data.chunks)

# %%
# Build
# -----
# The classifier is the last step of a pipeline: rotate and cut, scale, decode. With `validation`,
# the pipeline first holds out some groups to monitor their loss during training. No step is fitted
# on them.

pipe = DecodingPipeline(
    [
        ("slab", NiftiSlabRotator(angle=0.35, slab=(12, 15))),
        ("zscore", VoxelZScorer()),
        ("cnn", SlabCNNClassifier(epochs=15, batch_norm_momentum=0.9, random_state=0)),
    ],
    validation=GroupShuffleSplit(1, test_size=1, random_state=0),
)

# %%
# The network is built in `fit`, when the shape of the slab is known. To look at it beforehand:

network = pipe["cnn"].build_network((40, 56, 3), n_classes=2)
network.summary(line_length=80)

assert network.count_params() == 2_345_602

# %%
# Fit
# ---
# One group is held out for testing; the pipeline holds out another for validation.

train, test = samples[samples.groups != 0], samples[samples.groups == 0]
pipe.fit(train, train.y)
print("held back for validation: group", pipe.validation_groups_)

figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
plot_learning_curves(pipe.validation_history_, metric="accuracy", ax=axes[0])
plot_learning_curves(pipe.validation_history_, metric="loss", ax=axes[1])

# %%
# The network learns to classify most of its training volumes correctly. Accuracy on them is
# measured with dropout switched on, so the validation curve may be above it. It may also be above
# or below the test accuracy: one group of eight subjects is a small sample.

print(f"accuracy on training volumes {pipe.validation_history_['accuracy'][-1]:.2f}")
print(f"accuracy on test volumes {pipe.score(test, test.y):.2f}")

assert pipe.validation_history_["accuracy"][-1] > 0.85
assert 0.7 < pipe.score(test, test.y) < 0.98

# %%
# Evaluate
# --------
# One test group is one draw. :func:`~skfmri.evaluate_decoder` holds out every group in turn, here
# in three folds. Each fold has a different seed. Two linear models are fitted on the same slabs for
# comparison: a logistic regression and the multiscale ridge.

cv = RepeatedGroupKFold(n_splits=3, n_repeats=1, random_state=0)
result = evaluate_decoder(pipe, samples, cv=cv, random_state=0)
print(result)

# %%
# Read the last lines first. The network is far better than chance and about as good as the linear
# models, one of which is recommended because it fits in seconds. A few hundred volumes are not many
# for two million weights.

scores = result.summary[result.summary["metric"] == "accuracy"].set_index("model")["score"]
scores.to_frame().round(3)

# %%

assert 0.75 < scores["decoder"] < 0.95
assert 0.75 < scores["linear"] < 0.95
assert abs(scores["decoder"] - scores["linear"]) < 0.1
assert abs(scores["decoder"] - scores["multiscale"]) < 0.1
assert "Recommended here" in str(result)
assert scores["dummy"] == 0.5

# %%
# Groups differ more than models do. That is why the interval comes from resampling groups.

table = result.groups.pivot(index="group", columns="model", values="accuracy")
figure, ax = plt.subplots(figsize=(5.6, 3.8), layout="constrained")
for name, marker in (("decoder", "o"), ("linear", "s")):
    ax.plot(table.index, table[name], marker, label=name, alpha=0.8)
ax.axhline(0.5, color="0.4", linestyle="--", label="chance")
ax.set(xlabel="group held out", ylabel="accuracy", ylim=(0.4, 1.02), xticks=np.arange(6))
ax.legend(loc="lower right")

assert table["decoder"].std() > abs(scores["decoder"] - scores["linear"])

# %%
# Learning curves of all folds: the line is their mean, and the band spans the lowest to the
# highest. Accuracy on training volumes is higher than the score on new subjects.

plot_learning_curves(result.learning_curves)
last = result.learning_curves.groupby("fold").last().mean()
print(f"training volumes {last['accuracy']:.2f}, new subjects {scores['decoder']:.2f}")

assert last["accuracy"] > scores["decoder"] + 0.02

# %%
# :doc:`/evaluation` explains what the intervals mean and how to stop early. :doc:`/few_samples`
# explains which network to use for so few volumes.

# sphinx_gallery_thumbnail_number = 3
