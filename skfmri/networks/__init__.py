"""Functions that return an uncompiled Keras model."""

import lazy_loader

# Keras takes seconds to load.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={"architecture": ["convolutional_network", "per_block", "smallest_input"]},
)
