"""Default settings of the preprocessing steps."""

from types import SimpleNamespace

# Every parameter of NiftiSlabRotator.
ROTATOR = SimpleNamespace(
    angle=0.35,
    axis="x",
    slab=(12, 15),
    slab_reference="crop",
    crop=True,
    interpolation="continuous",
    n_jobs=None,
    mask=None,
    label=None,
)

# Every parameter of VoxelZScorer.
ZSCORER = SimpleNamespace(std_threshold=0.05, mean_threshold=0.05)
