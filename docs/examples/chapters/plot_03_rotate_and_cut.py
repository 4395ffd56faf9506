"""
Rotate and cut
==============

A two-dimensional network sees a few adjacent slices as channels, like the colours of a picture.
After a rotation, three slices pass through both the eyes and visual cortex.
"""

# %%
# :class:`~skfmri.NiftiSlabRotator` rotates volumes about an axis, crops the empty border and keeps
# a slab of slices. `fit` determines from the volumes where the head ends.

import matplotlib.pyplot as plt
import numpy as np
from nibabel import Nifti1Image
from nilearn.image import crop_img, resample_img

from skfmri import NiftiSamples, NiftiSlabRotator
from skfmri.datasets import make_eyes_open_closed
from skfmri.plotting import plot_slab

data = make_eyes_open_closed(n_subjects=6, random_state=0)
samples = NiftiSamples(data.images, y=data.labels, groups=data.chunks)
rotator = NiftiSlabRotator(angle=0.35, axis="x", slab=(12, 15)).fit(samples)
slabs = rotator.transform(samples)
print(samples.shape, "becomes", slabs.shape)

# %%
# Check the position of the slab before you train anything. It is drawn on the mean of the maps, in
# native space.

plot_slab(rotator, samples, cut_coords=(30, 50, -35))

# %%
# Without the rotation, the slices that contain the eyes pass below visual cortex.

level = NiftiSlabRotator(angle=0, slab=(6, 9)).fit(samples)
plot_slab(level, samples, cut_coords=(30, 50, -42))

# %%
# How much of the true effect does each slab contain? On simulated data we know.

effect = np.abs(data.effect.get_fdata())
is_visual = np.arange(effect.shape[1]) < 20  # the back of the head


def share_inside(rotator):
    """Return how much of the effect in the eyes and in visual cortex lies in the slab."""
    inside = np.isfinite(rotator.inverse_transform(np.ones(rotator.slab_shape_)).get_fdata())
    parts = effect[:, ~is_visual], effect[:, is_visual]
    kept = (effect * inside)[:, ~is_visual], (effect * inside)[:, is_visual]
    return [part.sum() / whole.sum() for part, whole in zip(kept, parts, strict=True)]


for name, found in (("rotated", rotator), ("level", level)):
    eyes, visual = share_inside(found)
    print(f"{name}: {eyes:.0%} of the effect in the eyes, {visual:.0%} of that in visual cortex")

assert min(share_inside(rotator)) > 0.3
assert share_inside(level)[1] < 0.05

# %%
# This is the input of the network: three slices of the first map, with the front of the head at the
# top.

figure, axes = plt.subplots(1, 3, figsize=(8, 3.8), layout="constrained")
for i, ax in enumerate(axes):
    ax.imshow(slabs[0, :, :, i].T, origin="lower", cmap="gray")
    ax.set(title=f"slice {12 + i}", xlabel="x", ylabel="y" if i == 0 else "")

# %%
# The same as with nilearn
# ------------------------
# The :doc:`workshop notebook </notebook>` from which skfmri grew rotated the affine and let nilearn
# resample and crop whole volumes. The rotator gives the same numbers, but computes only the slab.
# It determines the crop on training volumes alone.

cos, sin = np.cos(0.35), np.sin(0.35)
rotation = np.array([[1, 0, 0, 0], [0, cos, -sin, 0], [0, sin, cos, 0], [0, 0, 0, 1]])
turned = Nifti1Image(data.images.get_fdata(dtype=np.float32), rotation @ data.images.affine)
resampled = resample_img(turned, data.images.affine, interpolation="continuous")
cropped = crop_img(resampled)
expected = np.moveaxis(cropped.get_fdata(dtype=np.float32)[:, :, 12:15], -1, 0)
difference = np.abs(slabs - expected).max()
print(f"largest difference: {difference:.1e} at values up to {expected.max():.2f}")

assert slabs.shape == expected.shape
assert difference < 1e-5 * np.ptp(expected)

# %%
# Where slice numbers start
# -------------------------
# The crop depends on the training volumes. Suppose that in some scans the field of view ends early
# and the lowest 12 slices are empty. A fold with only such scans would crop more, and slice 12
# would be at a different place in the head. With ``slab_reference="grid"``, slices are counted from
# the whole rotated grid and do not move. (Cubic splines ring slightly into empty space, which keeps
# the crop from moving here, so we show it with linear interpolation.)

volumes = np.asarray(samples)
volumes[..., :12] = 0
short = NiftiSamples.from_array(volumes, samples.affine)
shifts = {}
for reference in ("crop", "grid"):
    counted = NiftiSlabRotator(slab_reference=reference, interpolation="linear")
    first, other = (counted.fit(scans).slab_box_[2][0] for scans in (samples, short))
    shifts[reference] = 4 * (other - first)
    print(f"counted from the {reference}: the slab moves by {shifts[reference]} mm")

assert shifts["crop"] > 0
assert shifts["grid"] == 0
