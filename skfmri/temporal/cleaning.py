"""Removal of drift, noise or scale from the time series of one run."""

import numpy as np
from scipy.interpolate import CubicSpline


def clean_run(signals, kept, confounds, parameters):
    """Return the cleaned signals of the volumes of one run that are kept."""
    # Imported here, so that the package loads faster for those who clean nothing.
    from nilearn.signal import clean

    if len(kept) == len(signals):
        return clean(signals, confounds=confounds, ensure_finite=True, **parameters)
    stretch = slice(kept[0], kept[-1] + 1)
    signals, mask = np.where(np.isfinite(signals[stretch]), signals[stretch], 0), kept - kept[0]
    confounds = None if confounds is None else confounds[stretch].copy()
    if parameters["filter"]:
        _bridge(signals, mask)
        if confounds is not None:
            _bridge(confounds, mask)
    return clean(signals, sample_mask=mask, confounds=confounds, **parameters)


def _bridge(signals, kept):
    """Replace volumes that are not kept, in place, by a cubic spline through those that are."""
    gaps = np.setdiff1d(np.arange(len(signals)), kept)
    signals[gaps] = CubicSpline(kept, signals[kept])(gaps)
