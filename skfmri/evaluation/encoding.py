"""Plain values as JSON beside arrays, both ways without loss."""

import io
import math
from functools import partial

import numpy as np

INLINE = (bool, int, str)
# Booleans, integers and real numbers; arrays may also hold text.
SCALARS, ARRAYS = "biuf", "biufUS"
MOST_SCALAR_BYTES = 8


def encode(value, arrays, other):
    """Return a value as JSON-serialisable values.

    Parameters
    ----------
    value : object
        None, a number, text, a list, tuple or dict of these, a NumPy number or an array.
    arrays : list of ndarray
        Collects the arrays; the JSON refers to them by their position in this list.
    other : callable
        Called with any other value; returns a dict of one entry whose key is not a tag of this
        function, or raises an error.

    Returns
    -------
    content : object
        A value that JSON does not have becomes a dict of one entry, whose key says what it is.
    """
    inner = partial(encode, arrays=arrays, other=other)
    # Exact types: an instance of a subclass would come back as something else.
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
        The arrays that `encode` collected.
    other : dict of str to callable
        For each tag that `encode` does not have itself, a function of the content under it.

    Returns
    -------
    value : object

    Raises
    ------
    ValueError
        If a tag is unknown.
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
        raise ValueError(
            f"A value is described by {list(content)[:3]}, but it must have exactly one of "
            f"{', '.join(known)}."
        )
    return known[tag](content[tag])


def array_to_bytes(array):
    """Return an array as the content of an ``.npy`` file."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=False)
    return stream.getvalue()


def array_from_bytes(data):
    """Return the array in the content of an ``.npy`` file, or raise ValueError.

    The size that its header states is compared with the real one before any memory is allocated.
    """
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"has the .npy version {version}, but only 1.0 and 2.0 can be read")
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
    # Copied into memory that NumPy allocates, which is aligned and writeable.
    return np.ndarray(shape, dtype, bytearray(body), order="F" if is_fortran else "C").copy("K")


def _encode_array(array, arrays, inner):
    if array.dtype.kind in ARRAYS and array.dtype.itemsize:
        arrays.append(np.asarray(array))
        return {"array": len(arrays) - 1}
    if array.dtype.hasobject and array.dtype.names is None:
        return {"objects": [list(array.shape), [inner(item) for item in array.ravel().tolist()]]}
    raise TypeError(
        f"An array of type {array.dtype} holds neither numbers nor text. Convert it, as in "
        "numpy.asarray(labels, dtype=str)."
    )


def _scalar(dtype, value):
    if dtype == "U":
        return np.str_(value)
    if np.dtype(dtype).kind not in SCALARS:
        raise ValueError(f"{dtype!r} is not a type of numbers.")
    return np.dtype(dtype).type(value)


def _object_array(shape, items):
    array = np.empty(len(items), dtype=object)
    for position, item in enumerate(items):
        array[position] = item
    return array.reshape(shape)
