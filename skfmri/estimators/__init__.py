"""Networks, beside the linear model that they have to beat, as scikit-learn estimators."""

import lazy_loader

# Keras takes seconds to load; defaults are read without it.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
