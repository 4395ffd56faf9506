"""Transformers from volumes to network input."""

import lazy_loader

# nilearn and scikit-learn take a second to load; defaults are read without them.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
