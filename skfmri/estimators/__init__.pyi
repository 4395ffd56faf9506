from .classifier import (
    SlabCNNClassifier as SlabCNNClassifier,
    VolumeCNNClassifier as VolumeCNNClassifier,
)
from .ridge import MultiscaleRidgeClassifier as MultiscaleRidgeClassifier
