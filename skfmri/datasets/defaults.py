"""Default settings of the loaders of BIDS datasets."""

from types import SimpleNamespace

# Every parameter of load_bids_samples that has a default; load_bids_runs takes all before `clean`.
BIDS = SimpleNamespace(
    samples="volumes",
    space=None,
    derivatives=None,
    label="trial_type",
    groups="run",
    classes=None,
    subjects=None,
    exclude=None,
    entities=None,
    shift=4.5,
    keep_transitions=False,
    duration=None,
    max_gap=0.0,
    overlap_tolerance=0.01,
    rest=None,
    t_r=None,
    confounds=None,
    clean=True,
    detrend=True,
    standardize=True,
    high_pass=None,
)
