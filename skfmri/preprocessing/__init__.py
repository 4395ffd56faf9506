"""Transformers from volumes to network input."""

from skfmri.preprocessing.cleaning import clean_runs
from skfmri.preprocessing.slab import NiftiSlabRotator
from skfmri.preprocessing.zscore import VoxelZScorer

__all__ = ["NiftiSlabRotator", "VoxelZScorer", "clean_runs"]
