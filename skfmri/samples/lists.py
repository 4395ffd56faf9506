"""Lists of the images that users name in one argument."""

import glob
import os
import re
from collections.abc import Iterable, Mapping, Set

import numpy as np
from nibabel.spatialimages import SpatialImage


def list_of_images(images):
    """Return images or paths in the order given, or raise an error.

    Parameters
    ----------
    images : image, path, pattern, or iterable of images and paths
        What `NiftiSamples` takes.

    Returns
    -------
    images : list
        Its entries are not checked.
    """
    if isinstance(images, (str, os.PathLike)):
        return _matching_paths(images)
    if isinstance(images, (Mapping, Set)):
        raise TypeError(
            f"The images are a {type(images).__name__}, which has no order that labels could "
            "follow. Pass a list."
        )
    is_numeric = isinstance(images, np.ndarray) and images.dtype.kind not in "OU"
    if is_numeric or isinstance(images, (SpatialImage, bytes)) or not isinstance(images, Iterable):
        return [images]
    if getattr(images, "ndim", 1) == 1:
        return list(images)
    if isinstance(images, np.ndarray) or hasattr(images, "columns"):
        raise TypeError(
            f"The images are a {type(images).__name__} of shape {images.shape}, but paths need one "
            'axis. Pass one column, such as table["path"].'
        )
    return [images]


def _matching_paths(path):
    """Return a path that exists or is not a pattern, else all that match, in natural order."""
    expanded = os.path.expanduser(path)
    if os.path.lexists(expanded) or not glob.has_magic(expanded):
        return [path]
    matches = glob.glob(expanded, recursive=True)
    if not matches:
        raise FileNotFoundError(
            f"There is no file {path}, and none matches it as a pattern. Check the folder and the "
            "spelling."
        )
    return sorted(matches, key=_natural_order)


def _natural_order(path):
    """Return a key that sorts run-2 before run-10."""
    parts = re.split(r"(\d+)", path)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], path
