"""Checks on user input, each with its error message."""

import math
import unicodedata
from numbers import Integral, Number, Real

import numpy as np

GRID_TOLERANCE_MM = 1e-3
# What NumPy makes of NaN, pandas.NA or NaT in a list with strings. "None" may be a label.
NAMES_OF_MISSING = ("nan", "<NA>", "NaT")
MARKS_OF_DIRECTION = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def describe_grid(grid_shape):
    """Return a grid shape as people write it, for example ``40 x 51 x 41``."""
    return " x ".join(str(length) for length in grid_shape)


def printable(text):
    r"""Return a text with escapes such as ``\x1b`` for what would not appear as a character.

    Control characters may move the cursor of a terminal or be forbidden in a page, marks of
    direction reorder what surrounds them, and bytes of a file name that are not UTF-8 cannot be
    written.

    Parameters
    ----------
    text : object
        Anything; taken as text.

    Returns
    -------
    text : str
    """
    text = str(text)
    return text if text.isascii() and text.isprintable() else "".join(map(_escaped, text))


def _escaped(character):
    category, code = unicodedata.category(character), ord(character)
    if category == "Cs" and 0xDC80 <= code <= 0xDCFF:
        # Python reads a byte that is not UTF-8 like this.
        return f"\\x{code - 0xDC00:02x}"
    is_hidden = category in ("Cc", "Cs", "Zl", "Zp") or character in MARKS_OF_DIRECTION
    return character.encode("unicode_escape").decode() if is_hidden else character


def digits_apart(numbers, least):
    """Return how many significant digits numbers far from zero need, to be told apart as others.

    Parameters
    ----------
    numbers : array-like of float
        Finite numbers.
    least : int
        Digits of numbers that are not far from zero, by their spread.

    Returns
    -------
    n_digits : int
        At most 15.
    """
    spread, largest = float(np.ptp(numbers)), float(np.abs(numbers).max())
    return min(15, least + int(math.log10(largest / spread))) if spread else least


def shortened(text, most=300):
    """Return a text, without its middle if it is longer than so many characters."""
    text, half = str(text), most // 2
    return text if len(text) <= most else f"{text[:half]} ... {text[-half:]}"


def check_same_grid(grid_shape, affine, name, reference_shape, reference_affine, reference_name):
    """Raise ValueError unless two grids have the same shape and affine.

    Affines are compared where it matters: no voxel centre may lie further than
    0.001 mm from its place in the reference, so rounding in a header is not a difference.
    """
    way_out = "Resample all images to one grid first, for example with nilearn's resample_to_img."
    if tuple(grid_shape) != tuple(reference_shape):
        raise ValueError(
            f"{name} has a grid of {describe_grid(grid_shape)} voxels, but {reference_name} has "
            f"{describe_grid(reference_shape)}. {way_out}"
        )
    if np.array_equal(affine, reference_affine):
        return
    corners = np.array(np.meshgrid(*[(0, length - 1) for length in grid_shape])).reshape(3, -1)
    shift = (affine - reference_affine) @ np.vstack([corners, np.ones(corners.shape[1])])
    if not np.abs(shift).max() <= GRID_TOLERANCE_MM:
        raise ValueError(
            f"{name} has the affine {np.round(affine, 4).tolist()}, but {reference_name} has "
            f"{np.round(reference_affine, 4).tolist()}. {way_out}"
        )


def check_number(value, name, kind=Integral, *, least=None, above=None, below=None):
    """Return a number, an integer as an int, or raise an error.

    Parameters
    ----------
    value : object
        The number.
    name : str
        Name of the parameter, for the error message.
    kind : {numbers.Integral, numbers.Real}, default=numbers.Integral
        Kind of number; a bool is neither.
    least, above, below : float, default=None
        Smallest value allowed, and bounds that are not allowed themselves.

    Returns
    -------
    value : int or object

    Raises
    ------
    TypeError
        If it is not a number of this kind.
    ValueError
        If it is out of range.
    """
    word = {Integral: "an integer", Real: "a number"}[kind]
    bounds = {"of at least": least, "above": above, "below": below}
    found = [f"{text} {bound}" for text, bound in bounds.items() if bound is not None]
    wanted = " ".join([word, " and ".join(found)]).rstrip()
    message = f"{name} must be {wanted}, but is {value!r}."
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(message)
    # Written so that NaN is out of every range.
    inside = (
        (least is None or value >= least)
        and (above is None or value > above)
        and (below is None or value < below)
    )
    if not inside:
        raise ValueError(message)
    return int(value) if kind is Integral else value


def check_affine(affine, name):
    """Return `affine` as a float64 array of shape (4, 4), or raise ValueError."""
    affine = np.asarray(affine, dtype=float)
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise ValueError(
            f"The affine of {name} must be a finite 4 x 4 array, but is {affine.tolist()}."
        )
    if abs(np.linalg.det(affine)) < 1e-12:
        raise ValueError(
            f"The affine of {name} cannot be inverted: {affine.tolist()}. "
            "Its columns must span space; look at the sform and qform in the header."
        )
    return affine


def check_per_volume(values, n_volumes, what, *, names_of_missing=NAMES_OF_MISSING):
    """Return `values` as an array of shape (n_volumes,), or raise ValueError.

    Parameters
    ----------
    values : array-like of shape (n_volumes,)
        One value per volume, taken by position. All are numbers, all are strings, or all are
        of another type; none is missing.
    n_volumes : int
        Number of volumes.
    what : str
        What a value is, for error messages.
    names_of_missing : sequence of str, default=("nan", "<NA>", "NaT")
        Strings that count as missing if the values are strings.

    Returns
    -------
    values : ndarray of shape (n_volumes,)
    """
    given = values
    try:
        values = np.asarray(given)
    except ValueError as error:
        raise ValueError(
            f"{what}s must be one-dimensional, but those given have no common shape. "
            f"Pass one {what} per volume."
        ) from error
    if values.ndim != 1:
        raise ValueError(
            f"{what}s must be one-dimensional, but have shape {values.shape}. "
            f"Pass one {what} per volume."
        )
    if len(values) != n_volumes:
        raise ValueError(
            f"Found {len(values)} {what}s for {n_volumes} volumes. Pass one {what} per volume."
        )
    if np.ma.isMaskedArray(given):
        _refuse_missing(np.ma.getmaskarray(given), ["masked"], what)
    if values.dtype.kind in "biu":
        return values
    if values.dtype.kind in "fcmM":
        _refuse_missing(values != values, ["NaT" if values.dtype.kind in "mM" else "NaN"], what)
        return values
    if isinstance(given, np.ndarray) and values.dtype.kind == "U":
        names = [name for name in names_of_missing if (values == name).any()]
        _refuse_missing(np.isin(values, names), list(map(repr, names)), what)
        return values
    # In a list of strings, NumPy has turned missing values and numbers into strings as well.
    entries = values if values.dtype == object else list(given)
    is_missing = np.fromiter((_is_missing(v, names_of_missing) for v in entries), bool, n_volumes)
    names = dict.fromkeys(_name_of_missing(entries[i]) for i in np.flatnonzero(is_missing))
    _refuse_missing(is_missing, list(names), what)
    _refuse_mixed_types(entries, what)
    return values


def check_labels(values, n_volumes):
    """Return classes or numbers as an array, or raise ValueError.

    Parameters
    ----------
    values : array-like of shape (n_volumes,) or (n_volumes, n_targets)
        One label per volume, as in `check_per_volume`, or several numbers.
    n_volumes : int
        Number of volumes.

    Returns
    -------
    labels : ndarray of the same shape
    """
    try:
        columns = np.asarray(values)
    except ValueError:
        columns = np.empty(0)  # of no common shape, of which more is said below
    if columns.ndim != 2 or columns.dtype.kind not in "biuf":
        return check_per_volume(values, n_volumes, "label")
    for column in columns.T:
        check_per_volume(column, n_volumes, "label")
    return columns


def _is_missing(value, names_of_missing):
    if isinstance(value, str):
        return value in names_of_missing
    try:
        return value is None or value is np.ma.masked or bool(value != value)
    except TypeError:
        # pandas.NA refuses to be true or false.
        return True
    except ValueError:
        # An array is not a single value, and so not a missing one.
        return False


def _name_of_missing(value):
    if isinstance(value, str):
        return repr(str(value))
    return "NaN" if isinstance(value, Real) else str(value)


def _refuse_missing(is_missing, names, what):
    """Raise ValueError with the positions of missing values, if there are any."""
    positions = np.flatnonzero(is_missing)
    if len(positions):
        several = len(positions) > 1
        shown = ", ".join(map(str, positions[:5])) + (" and so on" if len(positions) > 5 else "")
        raise ValueError(
            f"Found {len(positions)} missing {what}{'s' if several else ''} "
            f"({', '.join(names[:3])}) for {len(is_missing)} volumes, at position"
            f"{'s' if several else ''} {shown}. Leave these volumes out first, for example with "
            f"samples[keep], or give each of them a {what}."
        )


def _refuse_mixed_types(entries, what):
    """Raise ValueError if numbers, strings or other types occur together."""
    examples = {}
    for position, entry in enumerate(entries):
        # NumPy's bool is not a Number.
        is_number = isinstance(entry, (Number, np.bool_))
        kind = "string" if isinstance(entry, str) else type(entry).__name__
        kind = "number" if is_number else kind
        if kind not in examples:
            shown = repr(str(entry)) if kind == "string" else str(entry)
            examples[kind] = f"the {kind} {shown} at position {position}"
    if len(examples) > 1:
        raise ValueError(
            f"{what}s must be all numbers or all strings, but there are "
            f"{' and '.join(examples.values())}. Convert them first, for example all to strings."
        )


def check_fitted_shape(shape, fitted_shape, estimator_name):
    """Raise ValueError unless volumes have the shape an estimator was fitted on."""
    if tuple(shape) != tuple(fitted_shape):
        raise ValueError(
            f"X holds volumes of shape {tuple(shape)}, but {estimator_name} was fitted on volumes "
            f"of shape {tuple(fitted_shape)}. Resample X to the training grid first."
        )


def check_unchanged_since_fit(is_unchanged, estimator_name):
    """Raise ValueError if the parameters no longer give the predictions of the fit."""
    if not is_unchanged:
        raise ValueError(
            f"Parameters of {estimator_name} were changed since it was fitted, and would give "
            "different predictions. Fit it again, or set them back."
        )


def find_labels_and_groups(X, y, groups):
    """Return labels and groups as arrays, those of X if None is given, or raise ValueError."""
    n_samples = X.shape[0] if hasattr(X, "shape") else len(X)
    y = getattr(X, "y", None) if y is None else y
    groups = getattr(X, "groups", None) if groups is None else groups
    if y is None:
        raise ValueError("There are no labels. Pass y, one label per sample.")
    if groups is None:
        raise ValueError(
            "There are no groups. Pass groups=, one per sample: runs, or blocks of subjects, that "
            "must not be split between training and test data."
        )
    return (
        check_per_volume(y, n_samples, "label"),
        check_per_volume(groups, n_samples, "group label"),
    )
