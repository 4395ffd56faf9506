"""
Confusion matrix and predicted values
=====================================

Which classes are confused with each other, and how confident is the network?
"""

# %%
# The decoder uses the configuration for small samples, on maps of 24 subjects. Every volume is
# predicted once, by a network that was trained without its group.

import matplotlib.pyplot as plt
from sklearn.metrics import roc_auc_score

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
from skfmri.plotting import plot_confusion, plot_probabilities

data = make_eyes_open_closed(n_subjects=24, random_state=0)
samples = NiftiSamples(data.images, y=data.labels, groups=data.chunks)
pipe = DecodingPipeline(
    [
        ("slab", NiftiSlabRotator(angle=0.35, slab=(12, 15))),
        ("zscore", VoxelZScorer()),
        ("cnn", SlabCNNClassifier.for_small_samples(epochs=10)),
    ]
)
cv = RepeatedGroupKFold(n_splits=3, n_repeats=1, random_state=0)
result = evaluate_decoder(pipe, samples, cv=cv, random_state=0)

# %%
# The table of predictions has one row per model and volume. The columns ``p_closed`` and ``p_open``
# are probabilities.

result.predictions.head().round(3)

# %%
# Confusion matrix
# ----------------
# True classes are in rows and predicted classes in columns, summed over folds. Rows add up to 1, so
# the diagonal holds the recall of each class.

plot_confusion(result.predictions)

# %%
# The mean of the diagonal is the balanced accuracy over all volumes. Here the folds are of equal
# size, so the mean over folds is the same.

matrix = result.confusion(normalize="true")
recognised = [matrix.loc[name, name] for name in result.classes]
summary = result.summary.set_index(["model", "metric"])["score"]
print(f"recognised: {recognised[0]:.2f} of closed, {recognised[1]:.2f} of open")

assert abs(sum(recognised) / 2 - summary["decoder", "balanced_accuracy"]) < 1e-6
assert min(recognised) > 0.7

# %%
# Predicted values
# ----------------
# A volume is predicted as open if its probability of "open" is above one half. A good decoder
# separates the two histograms; an uninformative one leaves both around one half.

figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True, layout="constrained")
for ax, name in zip(axes, ("decoder", "linear"), strict=True):
    plot_probabilities(result.predictions, model=name, ax=ax)
    ax.set_title(name)

# %%
# The ranking of the volumes carries more information than the threshold. The area under the ROC
# curve is the probability that an open map gets a higher value than a closed one.

rows = result.predictions[result.predictions["model"] == "decoder"]
area = roc_auc_score(rows["label"] == "open", rows["p_open"])
print(f"area under the ROC curve: {area:.2f}")

assert 0.85 < area < 1

# %%
# A probability near 0 or 1 is not a guarantee. Like most networks trained on few volumes, this one
# is overconfident: it is right less often than its probabilities suggest.

sureness = rows[["p_closed", "p_open"]].max(axis=1).mean()
accuracy = summary["decoder", "accuracy"]
print(f"mean probability of the predicted class {sureness:.2f}, accuracy {accuracy:.2f}")

assert sureness > accuracy

# %%
# Where the errors are
# --------------------
# The four maps of one subject and condition are a block. An error is seldom alone in its block;
# most errors share it with another one. If maps were independent observations, errors would share a
# block only by coincidence.

wrong = rows.assign(block=rows["sample"] // 4, wrong=rows["label"] != rows["predicted"])
per_block = wrong.groupby("block")["wrong"].sum()
in_company = per_block[per_block > 1].sum() / per_block.sum()
if_independent = 1 - accuracy**3
print(f"{per_block.sum()} maps are wrong; {in_company:.0%} of them have a wrong map beside them")
print(f"if maps were independent: {if_independent:.0%}")

assert in_company > if_independent + 0.1

# %%
# So four maps of a block are hardly more than one observation. For this reason, the intervals of
# skfmri resample groups and its tests exchange blocks; see :doc:`/evaluation`.
