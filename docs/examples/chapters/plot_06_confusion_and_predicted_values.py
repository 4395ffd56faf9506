"""
Confusion matrix and predicted values
=====================================

Which class is taken for which, and how sure is the network of it?
"""

# %%
# The decoder is the configuration for small samples, on maps of 24 subjects. Every volume is
# predicted once, by a network that was trained without its group.

import matplotlib.pyplot as plt
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline

from skfmri import (
    NiftiSamples,
    NiftiSlabRotator,
    RepeatedGroupKFold,
    SlabCNNClassifier,
    VoxelZScorer,
    evaluate_decoder,
)
from skfmri.datasets import make_eyes_open_closed
from skfmri.plotting import plot_confusion, plot_probabilities

data = make_eyes_open_closed(n_subjects=24, random_state=0)
samples = NiftiSamples(data.images, y=data.labels, groups=data.chunks)
pipe = Pipeline(
    [
        ("slab", NiftiSlabRotator(angle=0.35, slab=(12, 15))),
        ("zscore", VoxelZScorer()),
        ("cnn", SlabCNNClassifier.for_small_samples()),
    ]
)
cv = RepeatedGroupKFold(n_splits=3, n_repeats=1, random_state=0)
result = evaluate_decoder(pipe, samples, cv=cv, random_state=0)

# %%
# The table of predictions has a row for each model and volume. The columns ``p_closed`` and
# ``p_open`` are probabilities.

result.predictions.head().round(3)

# %%
# Confusion matrix
# ----------------
# True classes in rows, predicted ones in columns, summed over folds. Rows add up to 1, so the
# diagonal holds the share of each class that was recognised.

plot_confusion(result.predictions)

# %%
# The mean of the diagonal is the balanced accuracy of all volumes together. The folds are of one
# size here, so the mean over folds is the same.

matrix = result.confusion(normalize="true")
recognised = [matrix.loc[name, name] for name in result.classes]
summary = result.summary.set_index(["model", "metric"])["score"]
print(f"recognised: {recognised[0]:.2f} of closed, {recognised[1]:.2f} of open")

assert abs(sum(recognised) / 2 - summary["decoder", "balanced_accuracy"]) < 1e-6
assert min(recognised) > 0.7

# %%
# Predicted values
# ----------------
# A volume counts as open where its probability of "open" is above one half. A good decoder
# pushes the two histograms apart; a decoder that knows nothing leaves both around one half.

figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True, layout="constrained")
for ax, name in zip(axes, ("decoder", "linear"), strict=True):
    plot_probabilities(result.predictions, model=name, ax=ax)
    ax.set_title(name)

# %%
# The order of the volumes says more than the threshold: the area under the ROC curve is the
# chance that an open map gets a higher value than a closed one.

rows = result.predictions[result.predictions["model"] == "decoder"]
area = roc_auc_score(rows["label"] == "open", rows["p_open"])
print(f"area under the ROC curve: {area:.2f}")

assert 0.85 < area < 1

# %%
# A probability near 0 or 1 is not a promise. Like most networks on few volumes, this one is too
# sure: it is right less often than it says.

sureness = rows[["p_closed", "p_open"]].max(axis=1).mean()
accuracy = summary["decoder", "accuracy"]
print(f"mean probability of the predicted class {sureness:.2f}, accuracy {accuracy:.2f}")

assert sureness > accuracy

# %%
# Where it is wrong
# -----------------
# The four maps of one subject and condition are a block. A wrong map is seldom alone in its block:
# most share it with another wrong one. If maps were independent observations, only those would
# whose block happened to hold a second error.

wrong = rows.assign(block=rows["sample"] // 4, wrong=rows["label"] != rows["predicted"])
per_block = wrong.groupby("block")["wrong"].sum()
in_company = per_block[per_block > 1].sum() / per_block.sum()
if_independent = 1 - accuracy**3
print(f"{per_block.sum()} maps are wrong; {in_company:.0%} of them have a wrong map beside them")
print(f"if maps were independent: {if_independent:.0%}")

assert in_company > if_independent + 0.1

# %%
# So four maps of a block are hardly more than one observation. Intervals and tests of skfmri draw
# groups or exchange blocks for this reason; see :doc:`/evaluation`.
