"""
Decode from a region
====================

Is the information in visual cortex, or elsewhere? A mask or an atlas restricts the slab to a
region. On simulated data the answer is known: opening the eyes changes the eyes and visual cortex,
and nothing else.
"""

# %%
# An atlas is an image of integers, one for each region. This one is made of coordinates that come
# with nilearn: 160 places of Dosenbach et al. (2010), grouped into six networks. A sphere around
# each place gets the number of its network. The voxels of the atlas are half as large as those of
# the volumes, which does not matter: regions are compared in mm.

import numpy as np
import pandas as pd
from nibabel import Nifti1Image
from nibabel.affines import apply_affine
from nilearn.datasets import fetch_coords_dosenbach_2010, load_mni152_brain_mask
from scipy.spatial import KDTree
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from skfmri import NiftiSamples, NiftiSlabRotator, VoxelZScorer
from skfmri.datasets import make_eyes_open_closed
from skfmri.plotting import plot_slab

places = fetch_coords_dosenbach_2010()
networks = sorted(set(places.networks))
number_of_place = np.array([networks.index(name) + 1 for name in places.networks])

brain = load_mni152_brain_mask(resolution=2)
voxels = np.argwhere(brain.get_fdata() > 0)
distance, nearest = KDTree(places.rois.to_numpy()).query(apply_affine(brain.affine, voxels))
labels = np.zeros(brain.shape, np.int16)
labels[tuple(voxels.T)] = np.where(distance <= 12, number_of_place[nearest], 0)
atlas = Nifti1Image(labels, brain.affine)
for number, name in enumerate(networks, start=1):
    print(f"{number} {name}: {(labels == number).sum()} voxels")

# %%
# One region
# ----------
# `label` chooses the region, and may be a list of several. ``slab=None`` keeps the whole region,
# whatever slices it is in. The slab is the box of the region, and voxels outside the region are 0.
# ``crop=False`` saves the search for empty planes, which do not matter if no slices are counted.

data = make_eyes_open_closed(n_subjects=24, random_state=0)
samples = NiftiSamples(data.images, y=data.labels, groups=data.chunks)
occipital = networks.index("occipital") + 1
rotator = NiftiSlabRotator(angle=0, slab=None, crop=False, mask=atlas, label=occipital)
rotator.fit(samples)
slabs = rotator.transform(samples)
print(f"{rotator.slab_mask_.sum()} voxels of the region in a box of {rotator.slab_shape_}")
plot_slab(rotator, samples, title="occipital regions")

assert not slabs[:, ~rotator.slab_mask_].any()

# %%
# All regions
# -----------
# The same pipeline decodes from each region, here with a linear model. `set_params` changes the
# label, and a `GridSearchCV` over ``slab__label`` or ``slab__mask`` works too.

pipe = Pipeline(
    [
        ("slab", rotator),
        ("zscore", VoxelZScorer()),
        ("rows", FunctionTransformer(lambda X: X.reshape(len(X), -1))),
        ("linear", RidgeClassifier(alpha=1000)),
    ]
)
rows = []
for number, name in enumerate(networks, start=1):
    pipe.set_params(slab__label=number)
    scores = cross_val_score(pipe, samples, samples.y, groups=samples.groups, cv=GroupKFold(3))
    n_voxels = int(pipe["slab"].fit(samples).slab_mask_.sum())
    rows.append({"region": name, "voxels": n_voxels, "accuracy": scores.mean()})
table = pd.DataFrame(rows).set_index("region").sort_values("accuracy", ascending=False)
table.round(2)

# %%
# The occipital regions contain visual cortex, and they are clearly ahead. Scores of the others
# scatter around one half.
#
# The best of six scores is too good as an estimate: it was chosen for being the highest. To report
# one region, choose it before looking, or choose it in the training sets alone, with a search
# inside :func:`~skfmri.evaluate_decoder`.

print(f"{table.index[0]}: {table['accuracy'].iloc[0]:.2f}")

assert table.index[0] == "occipital"
assert table["accuracy"].iloc[0] > 0.6
assert table["accuracy"].iloc[1] < 0.6

# %%
# Why not blank the images?
# -------------------------
# Setting the voxels outside the region to 0 before the rotation looks like the same thing. But it
# cuts an edge into the images, around which cubic splines ring: values spill over the edge, and the
# values inside are mixed with zeros. A mask is therefore applied after the rotation.

angle = 0.35
region = NiftiSlabRotator(angle, slab=None, mask=atlas, label=occipital).fit(samples[:2])
native = np.isfinite(region.inverse_transform(np.ones(region.slab_shape_)).get_fdata())
blanked = NiftiSamples.from_array(np.asarray(samples[:2]) * native, samples.affine)
whole = NiftiSlabRotator(angle, slab=None, crop=False).fit(blanked)
n_blanked = np.count_nonzero(np.abs(whole.transform(blanked)[0]) > 1e-3)
print(f"the region has {region.slab_mask_.sum()} voxels; blanked images have {n_blanked}")

assert n_blanked > 1.5 * region.slab_mask_.sum()
