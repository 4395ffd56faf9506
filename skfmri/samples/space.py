"""What the header of an image says of its space, kept for images made from it."""

# A NIfTI header places voxels twice: by the sform, which nibabel prefers, or by the qform, whose
# matrix is a rotation. The code of each names the space, such as 1 for the scanner or 4 for MNI, or
# is 0 if it is not set. A space is a dict of plain values, so that a fitted estimator can be saved
# with it. Its "qform" is None if the qform says the same as the affine; a different one, such as
# the place in the scanner of an image in MNI space, holds for the grid of that image alone.

import nibabel
import numpy as np

ALIGNED, MILLIMETRES = 2, 2
UNITS = {0: "unknown", 1: "m", 2: "mm", 3: "micron"}
# Affines in this package are in mm by convention, if there is no header that could say so.
UNKNOWN_SPACE = {"sform_code": 0, "qform_code": 0, "unit": MILLIMETRES, "qform": None}
# The largest difference in mm between affines that is only rounding in a header.
ROUNDING = 1e-3


def space_of_header(header, affine):
    """Return what a header says of the space of an image.

    Parameters
    ----------
    header : nibabel header
        Of any format.
    affine : ndarray of shape (4, 4)
        Affine of the image.

    Returns
    -------
    space : dict
        ``sform_code``, ``qform_code`` and ``unit`` as in NIfTI, ints, and ``qform``, None or an
        ndarray of shape (4, 4).
    """
    if not isinstance(header, nibabel.Nifti1Header):
        return UNKNOWN_SPACE
    unit = int(header["xyzt_units"]) % 8
    space = {
        "sform_code": _known_code(header["sform_code"]),
        "qform_code": _known_code(header["qform_code"]),
        "unit": unit if unit in UNITS else 0,
        "qform": None,
    }
    if space["qform_code"]:
        try:
            qform = header.get_qform()
        # A damaged qform is not used if there is an sform.
        except (nibabel.spatialimages.HeaderDataError, ValueError):
            return {**space, "qform_code": 0}
        if not np.isfinite(qform).all():
            space["qform_code"] = 0
        elif affine is None or not np.allclose(qform, affine, rtol=0, atol=ROUNDING):
            space["qform"] = qform
    return space


def _known_code(code):
    return int(code) if int(code) in nibabel.nifti1.xform_codes.label else 0


def common_space(spaces):
    """Return the space of images on one grid, and which of them say something else.

    Parameters
    ----------
    spaces : sequence of dict
        One or more.

    Returns
    -------
    space : dict
        That of the first image. A qform that differs between images is left out.
    others : list of int
        Positions of images whose code or unit is different.
    """
    first = spaces[0]
    others = [i for i, space in enumerate(spaces) if describe_space(space) != describe_space(first)]
    if not all(_is_same_qform(space["qform"], first["qform"]) for space in spaces[1:]):
        first = elsewhere(first)
    return first, others


def _is_same_qform(one, other):
    if one is None or other is None:
        return one is other
    return np.allclose(one, other, rtol=0, atol=ROUNDING)


def elsewhere(space):
    """Return a space for another grid: without a qform that differs from the affine."""
    return space if space["qform"] is None else {**space, "qform_code": 0, "qform": None}


def describe_space(space):
    """Return the name of a space with its unit, for messages."""
    code = space["sform_code"] or space["qform_code"]
    return f"{nibabel.nifti1.xform_codes.label[code]} in {UNITS[space['unit']]}"


def image_in_space(data, affine, space):
    """Return an image whose header says of its space what another did.

    Parameters
    ----------
    data : ndarray of 3 or 4 axes
        Values.
    affine : ndarray of shape (4, 4)
        Voxel-to-RAS matrix in the world coordinates of the space.
    space : dict
        From `space_of_header`.

    Returns
    -------
    image : nibabel.Nifti1Image
        With the same codes. Without any, the sform gets the code that nibabel gives by default:
        2, aligned.
    """
    header = nibabel.Nifti1Header()
    header.set_data_dtype(data.dtype)
    header.set_xyzt_units(space["unit"])
    sform_code, qform_code = space["sform_code"], space["qform_code"]
    header.set_qform(affine if space["qform"] is None else space["qform"], qform_code and ALIGNED)
    header["qform_code"] = qform_code
    # nibabel writes an sform if the qform cannot hold the affine to the last digit.
    if qform_code and not sform_code and space["qform"] is None:
        if np.allclose(header.get_qform(), affine, rtol=0, atol=ROUNDING):
            return nibabel.Nifti1Image(data, header.get_qform(), header)
        sform_code = qform_code
    header.set_sform(affine, ALIGNED)
    header["sform_code"] = sform_code or ALIGNED
    return nibabel.Nifti1Image(data, affine, header)
