"""What a trained network computes, layer by layer or voxel by voxel."""

from skfmri.inspection.activations import layer_activations
from skfmri.inspection.attribution import saliency
from skfmri.inspection.maps import (
    mean_map,
    mean_sign,
    saliency_image,
    sign_consistency_image,
)
from skfmri.inspection.randomization import randomization_check

__all__ = [
    "layer_activations",
    "mean_map",
    "mean_sign",
    "randomization_check",
    "saliency",
    "saliency_image",
    "sign_consistency_image",
]
