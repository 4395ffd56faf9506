from .blocks import average_blocks as average_blocks
from .centering import center_groups as center_groups
from .cleaning import clean_runs as clean_runs
from .slab import NiftiSlabRotator as NiftiSlabRotator
from .trials import (
    estimate_conditions as estimate_conditions,
    estimate_trials as estimate_trials,
)
from .zscore import VoxelZScorer as VoxelZScorer
