from . import (
    datasets as datasets,
    evaluation as evaluation,
    model_selection as model_selection,
    networks as networks,
    preprocessing as preprocessing,
    resampling as resampling,
    spatial as spatial,
)
from .classifier import (
    SlabCNNClassifier as SlabCNNClassifier,
    VolumeCNNClassifier as VolumeCNNClassifier,
)
from .model_selection import (
    RepeatedGroupKFold as RepeatedGroupKFold,
    RepeatedStratifiedGroupKFold as RepeatedStratifiedGroupKFold,
)
from .preprocessing import (
    NiftiSlabRotator as NiftiSlabRotator,
    VoxelZScorer as VoxelZScorer,
    clean_runs as clean_runs,
)
from .samples import NiftiSamples as NiftiSamples

__version__: str
