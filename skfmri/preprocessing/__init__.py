"""Transformers from volumes to network input."""

import lazy_loader

# nilearn and scikit-learn take a second to load; defaults are read without them.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cleaning": ["clean_runs"],
        "slab": ["NiftiSlabRotator"],
        "zscore": ["VoxelZScorer"],
    },
)
