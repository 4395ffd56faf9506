"""
Real runs: faces and houses
===========================

Haxby et al. (2001) showed pictures of eight categories to six people, in twelve runs each. The run
is the group: each run is left out once.
"""

# %%
# This page is not run when the documentation is built, because nilearn downloads about 300 MB at
# the first call. Everything else is the same as on simulated maps.

import numpy as np
import pandas as pd
from nibabel import load
from nilearn.datasets import fetch_haxby
from sklearn.pipeline import Pipeline

from skfmri import (
    NiftiSamples,
    NiftiSlabRotator,
    SlabCNNClassifier,
    VoxelZScorer,
    clean_runs,
    evaluate_decoder,
)
from skfmri.plotting import plot_confusion, plot_slab

haxby = fetch_haxby(subjects=[1])
table = pd.read_csv(haxby.session_target[0], sep=" ")
samples = NiftiSamples(haxby.func[0], y=table["labels"], groups=table["chunks"])
print(samples)

# %%
# Clean first, choose volumes afterwards
# --------------------------------------
# In a time series the drift of the scanner is larger than any effect.
# :func:`~skfmri.clean_runs` takes drift and scale out of each run by itself. It looks at no label
# and never across runs, so it may stand before the cross-validation. It has to stand before volumes
# are dropped: a filter needs the volumes in between.

samples = clean_runs(samples)
samples = samples[np.isin(samples.y, ["face", "house"])]
print(samples)

# %%
# Choose a slab
# -------------
# The study comes with a mask of ventral temporal cortex. The slab takes all slices that the mask
# reaches. There is no rotation here and no crop, so slices are those of the image.

mask = load(haxby.mask_vt[0])
slices = np.flatnonzero(mask.get_fdata().any(axis=(0, 1)))
rotator = NiftiSlabRotator(angle=0, slab=(slices[0], slices[-1] + 1), crop=False)
plot_slab(rotator.fit(samples[:1]), haxby.anat[0])

# %%
# Leave one run out
# -----------------
# Without `cv`, :func:`~skfmri.evaluate_decoder` holds out one group at a time: twelve folds. With
# 18 volumes per run there are 198 to learn from, so take the configuration for small samples.
# `ledger` names a file from which the same call goes on, should it be interrupted.

pipe = Pipeline(
    [
        ("slab", rotator),
        # The means of cleaned voxels are 0: no threshold on them.
        ("zscore", VoxelZScorer(mean_threshold=None)),
        ("cnn", SlabCNNClassifier.for_small_samples()),
    ]
)
result = evaluate_decoder(pipe, samples, ledger="haxby.jsonl", random_state=0)
print(result)

# %%
# The linear model has seen the same slab and the same folds. On runs of one subject it is hard to
# beat; the README has figures for several tasks.

plot_confusion(result.predictions)

# %%
# Could it be chance? Labels are shuffled within runs, and the whole cross-validation is done again,
# so this takes as long as up to 19 of them. Volumes of one block of pictures are alike. Name the
# blocks, so that whole blocks are exchanged: one ends where the next volume has another label.

new_block = (table["labels"] != table["labels"].shift()) | (table["chunks"].diff() != 0)
blocks = new_block.cumsum()[table["labels"].isin(["face", "house"])].to_numpy()
tested = evaluate_decoder(
    pipe, samples, baseline=None, blocks=blocks, n_permutations=19, random_state=0
)
print(tested.sentences()[-1])

# %%
# :func:`~skfmri.datasets.fetch_haxby_samples` reads, cleans and chooses in one call. On the command
# line, `skfmri decode` does all of this from an image and a table of labels; see
# :doc:`/command_line`.

# sphinx_gallery_thumbnail_path = "pictures/leave_one_run_out.png"
