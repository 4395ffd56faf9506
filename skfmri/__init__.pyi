from . import (
    datasets as datasets,
    evaluation as evaluation,
    inspection as inspection,
    model_selection as model_selection,
    networks as networks,
    persistence as persistence,
    plotting as plotting,
    preprocessing as preprocessing,
    report as report,
    resampling as resampling,
    spatial as spatial,
    statistics as statistics,
)
from .estimators import (
    MultiscaleRidgeClassifier as MultiscaleRidgeClassifier,
    MultiscaleRidgeRegressor as MultiscaleRidgeRegressor,
    SlabCNNClassifier as SlabCNNClassifier,
    SlabCNNRegressor as SlabCNNRegressor,
    VolumeCNNClassifier as VolumeCNNClassifier,
    VolumeCNNRegressor as VolumeCNNRegressor,
)
from .evaluation import (
    DecodingResult as DecodingResult,
    SubjectsResult as SubjectsResult,
    audit_leakage as audit_leakage,
    evaluate_decoder as evaluate_decoder,
    evaluate_subjects as evaluate_subjects,
)
from .model_selection import (
    RepeatedGroupKFold as RepeatedGroupKFold,
    RepeatedStratifiedGroupKFold as RepeatedStratifiedGroupKFold,
)
from .persistence import load as load, save as save
from .pipeline import DecodingPipeline as DecodingPipeline
from .preprocessing import (
    NiftiSlabRotator as NiftiSlabRotator,
    VoxelZScorer as VoxelZScorer,
    average_blocks as average_blocks,
    center_groups as center_groups,
    clean_runs as clean_runs,
    estimate_conditions as estimate_conditions,
    estimate_trials as estimate_trials,
)
from .samples import NiftiSamples as NiftiSamples

__version__: str
