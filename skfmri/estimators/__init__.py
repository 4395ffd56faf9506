"""Networks, beside the linear model that they have to beat, as scikit-learn estimators."""

import lazy_loader

# Keras takes seconds to load; defaults are read without it.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "classifier": ["SlabCNNClassifier", "VolumeCNNClassifier"],
        "ridge": ["MultiscaleRidgeClassifier"],
    },
)
