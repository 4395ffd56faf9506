from .ages import make_ages as make_ages
from .bids import (
    load_bids_runs as load_bids_runs,
    load_bids_samples as load_bids_samples,
)
from .haxby import fetch_haxby_samples as fetch_haxby_samples
from .simulated import (
    block_groups as block_groups,
    block_labels as block_labels,
    make_eyes_open_closed as make_eyes_open_closed,
)
