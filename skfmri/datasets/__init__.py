"""Samples to decode: studies on disk, a public study, simulated volumes with a known answer."""

from skfmri.datasets.bids import load_bids_runs, load_bids_samples
from skfmri.datasets.haxby import fetch_haxby_samples
from skfmri.datasets.simulated import block_groups, block_labels, make_eyes_open_closed

__all__ = [
    "block_groups",
    "block_labels",
    "fetch_haxby_samples",
    "load_bids_runs",
    "load_bids_samples",
    "make_eyes_open_closed",
]
