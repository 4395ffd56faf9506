"""Plain values as JSON beside arrays, both ways without loss."""

import io
import math
from functools import partial

import numpy as np

INLINE = (bool, int, str)
# Booleans, whole numbers, real numbers; arrays may hold text too.
SCALARS, ARRAYS = "biuf", "biufUS"
MOST_SCALAR_BYTES = 8


def encode(value, arrays, other):
    """Return a value as JSON knows it.

    Parameters
    ----------
    value : object
        None, a number, text, a list, tuple or dict of these, a NumPy number or an array.
    arrays : list of ndarray
        Takes up the arrays, which JSON names by their position here.
    other : callable
        Called with any other value; returns a dict of one entry whose key is no tag of this
        function, or raises.

    Returns
    -------
    content : object
        Whatever is no JSON value by itself is a dict of one entry, whose key tells what it is.
    """
    inner = partial(encode, arrays=arrays, other=other)
    # Exact types: a subclass would come back as something else.
    if value is None or type(value) in INLINE:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if type(value) is list:
        return [inner(item) for item in value]
    if type(value) is tuple:
        return {"tuple": [inner(item) for item in value]}
    if type(value) is dict:
        return {"dict": [[inner(key), inner(item)] for key, item in value.items()]}
    if isinstance(value, np.ndarray):
        return _encode_array(value, arrays, inner)
    if isinstance(value, np.str_):
        return {"scalar": ["U", str(value)]}
    is_number = isinstance(value, np.generic) and value.dtype.kind in SCALARS
    if is_number and value.dtype.itemsize <= MOST_SCALAR_BYTES:
        return {"scalar": [value.dtype.str, inner(value.item())]}
    return other(value)


def decode(content, arrays, other):
    """Return the value that `encode` was given.

    Parameters
    ----------
    content : object
        What `encode` returned.
    arrays : list of ndarray
        As `encode` has filled it.
    other : dict of str to callable
        For each tag that is none of `encode` a function of the content under it.

    Returns
    -------
    value : object

    Raises
    ------
    ValueError
        If a tag is not known.
    """
    inner = partial(decode, arrays=arrays, other=other)
    if isinstance(content, list):
        return [inner(item) for item in content]
    if not isinstance(content, dict):
        return content
    known = {
        "float": float,
        "tuple": lambda items: tuple(map(inner, items)),
        "dict": lambda pairs: {inner(key): inner(item) for key, item in pairs},
        "scalar": lambda pair: _scalar(pair[0], inner(pair[1])),
        "array": lambda position: arrays[position],
        "objects": lambda pair: _object_array(pair[0], inner(pair[1])),
        **other,
    }
    tag = next(iter(content), None)
    if len(content) != 1 or tag not in known:
        raise ValueError(f"{list(content)[:3]} tell no kind of value, only {', '.join(known)} do.")
    return known[tag](content[tag])


def array_to_bytes(array):
    """Return an array as the content of an ``.npy`` file."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=False)
    return stream.getvalue()


def array_from_bytes(data):
    """Return the array in the content of an ``.npy`` file, or raise ValueError.

    Its size is compared with what its header says before any memory is asked for.
    """
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"has the .npy version {version}, of which 1.0 and 2.0 are read")
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, is_fortran, dtype = read_header(stream)
    if dtype.hasobject or dtype.kind not in ARRAYS:
        raise ValueError(f"holds values of type {dtype}, not numbers or text")
    body = data[stream.tell() :]
    if math.prod(shape) * dtype.itemsize != len(body):
        raise ValueError(f"has {len(body)} bytes for an array of {dtype} and shape {shape}")
    # Copied into memory of NumPy's own, which is aligned and can be written to.
    return np.ndarray(shape, dtype, bytearray(body), order="F" if is_fortran else "C").copy("K")


def _encode_array(array, arrays, inner):
    if array.dtype.kind in ARRAYS and array.dtype.itemsize:
        arrays.append(np.asarray(array))
        return {"array": len(arrays) - 1}
    if array.dtype.hasobject and array.dtype.names is None:
        return {"objects": [list(array.shape), [inner(item) for item in array.ravel().tolist()]]}
    raise TypeError(
        f"An array of type {array.dtype} is none of numbers or text. Convert it, as in "
        "numpy.asarray(labels, dtype=str)."
    )


def _scalar(dtype, value):
    if dtype == "U":
        return np.str_(value)
    if np.dtype(dtype).kind not in SCALARS:
        raise ValueError(f"A number of type {dtype!r} is none.")
    return np.dtype(dtype).type(value)


def _object_array(shape, items):
    array = np.empty(len(items), dtype=object)
    for position, item in enumerate(items):
        array[position] = item
    return array.reshape(shape)
