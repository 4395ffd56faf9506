"""
Hidden layers
=============

How does the network transform a volume on its way from voxels to a class?
"""

# %%
# We train a network like that of the :doc:`workshop notebook </notebook>` from which skfmri grew,
# but with half the filters and one dense layer, on four of six groups. The rest of this page looks
# at the other two.

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.metrics import silhouette_score
from sklearn.pipeline import Pipeline

from skfmri import NiftiSamples, NiftiSlabRotator, SlabCNNClassifier, VoxelZScorer
from skfmri.datasets import make_eyes_open_closed
from skfmri.inspection import layer_activations
from skfmri.plotting import plot_activations, plot_embedding

data = make_eyes_open_closed(n_subjects=24, random_state=0)
samples = NiftiSamples(data.images, y=data.labels, groups=data.chunks)
pipe = Pipeline(
    [
        ("slab", NiftiSlabRotator(angle=0.35, slab=(12, 15))),
        ("zscore", VoxelZScorer()),
        (
            "cnn",
            SlabCNNClassifier(
                filters=16,
                dense_units=(64,),
                batch_norm_momentum=0.9,
                epochs=20,
                random_state=0,
            ),
        ),
    ]
)
held_out = samples.groups >= 4
pipe.fit(samples[~held_out], samples.y[~held_out])
test, subjects = samples[held_out], data.subjects[held_out]
accuracy = pipe.score(test, test.y)
print(f"accuracy on held-out subjects: {accuracy:.2f}")

assert 0.75 < accuracy < 0.99

# %%
# :func:`~skfmri.inspection.layer_activations` returns the output of a layer for each sample. It
# takes the pipeline and the samples.

for layer in pipe["cnn"].model_.layers[1:]:
    print(layer.name, layer_activations(pipe, test, layer.name).shape)

# %%
# The filters of a convolution
# ----------------------------
# The first convolution has 16 filters of 3 x 3 voxels in 3 slices. Each panel shows where one
# filter responds in one map. Brain and eyes are recognisable; the front of the head is at the top.

plot_activations(
    layer_activations(pipe, test[:1], "block1_convolution")[0],
    title="first convolution, one map",
)

# %%
# Deeper in the network, spatial detail is lost, and each value covers a larger part of the brain.

plot_activations(
    layer_activations(pipe, test[:1], "block2_convolution")[0],
    title="second convolution, the same map",
)

# %%
# From subjects to classes
# ------------------------
# The silhouette score measures whether samples are closer to their own kind than to others: 1 for
# well-separated clusters, 0 for none. In voxel space, maps cluster by subject. In the dense layer
# they cluster by label, although all these subjects are new to the network.

rows = []
for layer in ("input", "block1_convolution", "block3_convolution", "dense1", "probabilities"):
    found = layer_activations(pipe, test, layer).reshape(len(test), -1)
    row = {"layer": layer, "by subject": silhouette_score(found, subjects)}
    rows.append(row | {"by label": silhouette_score(found, test.y)})
table = pd.DataFrame(rows).set_index("layer")
table.astype(float).round(2)

# %%

assert table.loc["input", "by subject"] > table.loc["input", "by label"] + 0.1
assert table.loc["dense1", "by label"] > table.loc["dense1", "by subject"] + 0.1

# %%
# The same as a figure: voxels on the left, the dense layer on the right.

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for ax, layer in zip(axes, ("input", "dense1"), strict=True):
    plot_embedding(layer_activations(pipe, test, layer), test.y, ax=ax)
    ax.set_title(layer)
axes[0].get_legend().remove()

# sphinx_gallery_thumbnail_number = 2
