from .classifier import (
    SlabCNNClassifier as SlabCNNClassifier,
    VolumeCNNClassifier as VolumeCNNClassifier,
)
from .regressor import (
    SlabCNNRegressor as SlabCNNRegressor,
    VolumeCNNRegressor as VolumeCNNRegressor,
)
from .ridge import MultiscaleRidgeClassifier as MultiscaleRidgeClassifier
from .ridge_regressor import MultiscaleRidgeRegressor as MultiscaleRidgeRegressor
