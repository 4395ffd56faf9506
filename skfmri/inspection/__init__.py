"""What a trained network computes, layer by layer or voxel by voxel."""

from skfmri.inspection.attribution import (
    layer_activations,
    mean_sign,
    randomization_check,
    saliency,
    saliency_image,
    sign_consistency_image,
)

__all__ = [
    "layer_activations",
    "mean_sign",
    "randomization_check",
    "saliency",
    "saliency_image",
    "sign_consistency_image",
]
