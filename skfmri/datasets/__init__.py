"""Data to decode: BIDS datasets on disk, a public study, simulated volumes."""

import lazy_loader

# nilearn and scikit-learn take a second to load; defaults are read without them.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "bids": ["load_bids_runs", "load_bids_samples"],
        "haxby": ["fetch_haxby_samples"],
        "simulated": ["block_groups", "block_labels", "make_eyes_open_closed"],
    },
)
