"""Times at which volumes were acquired."""

from numbers import Real

import numpy as np

from skfmri.samples.images import open_header
from skfmri.samples.timing import header_t_r

TOLERANCE_SECONDS = 1e-3


def volume_timing(path, metadata, t_r):
    """Return the time between volumes, and the time that the first one represents.

    Parameters
    ----------
    path : str
        Image.
    metadata : dict of str to (value, path)
        Fields of its sidecars, each with its value and file.
    t_r : float or None
        Time between volumes, overriding sidecar and header.

    Returns
    -------
    t_r, start : float
        In seconds; volume `k` represents the time ``start + k * t_r``.
    """
    if t_r is None:
        t_r = _repetition_time(path, metadata)
    if "StartTime" in metadata:
        start, source = metadata["StartTime"]
        return t_r, _number(start, "StartTime", source)
    slices, source = metadata.get("SliceTiming", (None, None))
    if not slices:
        return t_r, t_r / 2
    slices = [_number(time, "SliceTiming", source) for time in np.ravel(slices).tolist()]
    if max(slices) > t_r + TOLERANCE_SECONDS:
        raise ValueError(
            f"SliceTiming in {source} goes up to {max(slices):g} s, but a volume of {path} takes "
            f"{t_r:g} s. Give slice times in seconds from the beginning of their volume."
        )
    return t_r, (min(slices) + max(slices)) / 2


def _repetition_time(path, metadata):
    of_header, text = header_t_r(open_header(path).header)
    if "RepetitionTime" not in metadata:
        if "VolumeTiming" in metadata:
            raise ValueError(
                f"{metadata['VolumeTiming'][1]} lists the time of every volume of {path} "
                "(VolumeTiming), but labels and cleaning need a constant time between volumes. "
                "Pass t_r= if it is constant."
            )
        if of_header is None:
            raise ValueError(
                f"The time between the volumes of {path} is unknown: no sidecar has a "
                f"RepetitionTime, and the header {text}. Pass t_r= in seconds."
            )
        return of_header
    value, source = metadata["RepetitionTime"]
    t_r = _number(value, "RepetitionTime", source)
    if t_r <= 0:
        raise ValueError(f"RepetitionTime in {source} is {t_r:g} s, but must be above 0.")
    if of_header is not None and abs(of_header - t_r) > TOLERANCE_SECONDS:
        raise ValueError(
            f"RepetitionTime is {t_r:g} s in {source}, but the header of {path} {text}. Labels "
            "depend on it: correct the wrong one, or pass t_r= in seconds."
        )
    return t_r


def _number(value, field, source):
    if not isinstance(value, Real) or isinstance(value, bool) or not np.isfinite(value):
        raise ValueError(f"{field} in {source} is {value!r}, but must be a number of seconds.")
    return float(value)
