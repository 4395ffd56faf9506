"""Decode fMRI volumes with neural networks inside scikit-learn pipelines."""

import lazy_loader

__version__ = "0.2.0.dev0"

# The root hands names on without importing them: Keras takes seconds to load.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
