"""The time between volumes, as the header of an image gives it."""

import numpy as np

SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}


def header_t_r(header):
    """Return the time between volumes that a header gives.

    Parameters
    ----------
    header : nibabel header
        Of any format.

    Returns
    -------
    t_r : float or None
        In seconds; None if the header has no time axis, no unit of time, or no positive number.
    found : str
        What the header says, for messages, such as "says 2 (sec)".
    """
    zooms = header.get_zooms()
    if len(zooms) < 4:
        return None, "has no time axis"
    try:
        unit = header.get_xyzt_units()[1]
    # Other formats have no such method, and damaged headers no such code.
    except (AttributeError, KeyError):
        unit = "unknown"
    # Without a unit the number is usually what a program wrote there by default.
    value = float(zooms[3]) * SECONDS.get(unit, 0)
    # A header holds float32: the digits beyond are noise.
    value = float(f"{value:.6g}")
    is_known = np.isfinite(value) and value > 0
    return (value if is_known else None), f"says {zooms[3]:g} ({unit})"
