"""A map to look around in, as a page inside the page."""

import re
import warnings

import numpy as np
from nilearn.plotting import view_img

from skfmri.plotting.brain import MAP_COLORS

# What nilearn's page would fetch from elsewhere, or has at random.
FAVICON = re.compile(r"<link\s+rel=\"icon\".*?>", re.DOTALL)
RANDOM_NAME = re.compile(r"\b[0-9a-f]{32}\b")


def interactive_map(image, anatomy, threshold):
    """Return a map on an anatomy as HTML that needs nothing else.

    Parameters
    ----------
    image : nibabel.Nifti1Image
        Map, 0 where there is nothing.
    anatomy : nibabel.Nifti1Image
        What it is drawn on.
    threshold : float
        Voxels with smaller absolute values are transparent.

    Returns
    -------
    page : str or None
        None for a map that is 0 everywhere. The same map gives the same text.
    """
    if not np.abs(image.get_fdata()).max() > threshold:
        return None
    with warnings.catch_warnings():
        # nilearn recommends its own colours for what it takes for statistics.
        warnings.simplefilter("ignore")
        view = view_img(
            image,
            bg_img=anatomy,
            threshold=threshold,
            cmap=MAP_COLORS,
            symmetric_cmap=True,
            black_bg=True,
            resampling_interpolation="nearest",
        )
    page = FAVICON.sub("", view.get_standalone())
    return RANDOM_NAME.sub("map", page)
