"""
Real runs: faces and houses
===========================

Haxby et al. (2001) showed pictures of eight categories to six people, in twelve runs each. The runs
are the groups: each run is held out once.
"""

# %%
# This page is not run when the documentation is built, because nilearn downloads about 300 MB on
# the first call. Everything else works as on simulated maps.

import numpy as np
import pandas as pd
from nilearn.datasets import fetch_haxby
from nilearn.image import get_data

from skfmri import (
    DecodingPipeline,
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
# Clean first, select volumes afterwards
# --------------------------------------
# In a time series, scanner drift is larger than any effect. :func:`~skfmri.clean_runs` removes
# drift and scale from each run separately. It uses no labels and never looks across runs, so it may
# come before the cross-validation. It must come before volumes are dropped, because a filter needs
# the volumes in between.

samples = clean_runs(samples)
samples = samples[np.isin(samples.y, ["face", "house"])]
print(samples)

# %%
# Choose a slab
# -------------
# The dataset includes a mask of ventral temporal cortex. The slab contains all slices that the mask
# touches. There is no rotation and no crop here, so slices are numbered as in the image.

slices = np.flatnonzero(get_data(haxby.mask_vt[0]).any(axis=(0, 1)))
rotator = NiftiSlabRotator(angle=0, slab=(slices[0], slices[-1] + 1), crop=False)
plot_slab(rotator.fit(samples[:1]), haxby.anat[0])

# %%
# Leave one run out
# -----------------
# Without `cv`, :func:`~skfmri.evaluate_decoder` holds out one group at a time, here in twelve
# folds. With 18 volumes per run there are 198 to train on, so use the configuration for small
# samples. `ledger` names a file from which the same call continues if it is interrupted.

pipe = DecodingPipeline(
    [
        ("slab", rotator),
        # The means of cleaned voxels are 0, so do not apply a threshold to them.
        ("zscore", VoxelZScorer(mean_threshold=None)),
        ("cnn", SlabCNNClassifier.for_small_samples()),
    ]
)
result = evaluate_decoder(pipe, samples, ledger="haxby.jsonl", random_state=0)
print(result)

# %%
# The linear models use the same slab and the same folds. On runs of one subject they are hard to
# beat; the README has results for several tasks.

plot_confusion(result.predictions)

# %%
# Could it be chance? Labels are shuffled within runs and the whole cross-validation is repeated, up
# to 19 times. Volumes of one block of pictures are similar, so pass the blocks and whole blocks are
# exchanged. A block ends when the next volume has a different label.

new_block = (table["labels"] != table["labels"].shift()) | (table["chunks"].diff() != 0)
blocks = new_block.cumsum()[table["labels"].isin(["face", "house"])].to_numpy()
tested = evaluate_decoder(
    pipe, samples, baseline=None, blocks=blocks, n_permutations=19, random_state=0
)
print(tested.sentences()[-1])

# %%
# :func:`~skfmri.datasets.fetch_haxby_samples` reads, cleans and selects in one call. On the command
# line, `skfmri decode` does all of this from an image and a table of labels; see
# :doc:`/command_line`.

# sphinx_gallery_thumbnail_path = "pictures/leave_one_run_out.png"
