"""Operators in space: volumes of one grid sampled at the voxels of another."""

from skfmri.resampling.operator import (
    ResamplingOperator,
    apply_operator,
    apply_transpose,
    needed_voxels,
    reaches_data,
    resample_back,
    resampled_bound,
    resampling_operator,
    unchanged_axis,
)
from skfmri.resampling.splines import SPLINE_ORDERS

__all__ = [
    "SPLINE_ORDERS",
    "ResamplingOperator",
    "apply_operator",
    "apply_transpose",
    "needed_voxels",
    "reaches_data",
    "resample_back",
    "resampled_bound",
    "resampling_operator",
    "unchanged_axis",
]
