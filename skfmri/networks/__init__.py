"""Functions that return an uncompiled Keras model."""

import lazy_loader

# Keras takes seconds to load.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
