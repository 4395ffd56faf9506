"""Mutated NIfTI files, in their headers or anywhere."""

import gzip
import io
import warnings
from dataclasses import dataclass, replace

import nibabel
import numpy as np

from skfmri import NiftiSamples, NiftiSlabRotator

from .mutations import Mutant, altered_bytes

SHAPE = (4, 5, 3, 6)
AFFINE = np.array([[-3.0, 0, 0, 6], [0, 3, 0, -7], [0, 0, 4, -5], [0, 0, 0, 1]])
INTEGERS = (0, 1, -1, 2, 3, 5, 7, 16, 100, 348, 1000)
REALS = (0.0, -0.0, 1.0, -1.0, 0.5, np.nan, np.inf, -np.inf, 1e30, -1e30, 1e38, 1e-45, 352.5, 1e6)
TEXTS = (b"", b"n+1", b"ni1", b"n+2", b"ni2", b"\0" * 8, b"\xff" * 8, b"n+1\0\r\n\x1a\n")


@dataclass(frozen=True)
class Original:
    """A sound image as bytes.

    Attributes
    ----------
    kind : type
        Class of nibabel.
    dtype : numpy.dtype
        Of the header, with its byte order.
    files : dict of str to bytes
        Uncompressed content by the suffix of the file; the header begins the first.
    """

    kind: type
    dtype: np.dtype
    files: dict


def prepare(folder):
    """Return images of each format and several data types."""
    values = np.random.default_rng(0).normal(100, 30, SHAPE)
    real = [(".nii",), (".nii.gz",), (".hdr", ".img"), (".hdr.gz", ".img.gz")]
    kinds = [(nibabel.Nifti1Pair, nibabel.Nifti1Image), (nibabel.Nifti2Pair, nibabel.Nifti2Image)]
    originals = []
    for number, dtype in enumerate(["i2", "f4", "u1", "f8", ">i4", ">f4", "f4", "i2", "c8"]):
        suffixes = real[number % 4]
        pair, single = kinds[number // 4 % 2]
        kind = single if len(suffixes) == 1 else pair
        header = kind.header_class(endianness=">" if dtype.startswith(">") else "<")
        header.set_data_dtype(dtype[-2:])
        image = kind(values.astype(dtype[-2:]), AFFINE, header)
        if dtype == "i2":
            image.header.set_slope_inter(0.37, -5)
        originals.append(_original(image, suffixes))
    return originals


def _original(image, suffixes):
    streams = {key: io.BytesIO() for key in image.file_map}
    for key, stream in streams.items():
        image.file_map[key].fileobj = stream
    image.to_file_map()
    names = dict(
        zip(suffixes, ("image",) if len(suffixes) == 1 else ("header", "image"), strict=True)
    )
    files = {suffix: streams[name].getvalue() for suffix, name in names.items()}
    return Original(type(image), image.header.structarr.dtype, files)


def mutate_header(rng, originals, folder):
    """Write an image with new values in up to three fields of its header."""
    original = rng.choice(originals)
    first = next(iter(original.files))
    data = original.files[first]
    header = np.frombuffer(data[: original.dtype.itemsize], original.dtype)[0].copy()
    changes = []
    for _ in range(rng.choice([1, 1, 2, 3])):
        name = rng.choice(original.dtype.names)
        field = header[name]
        place = tuple(rng.randrange(length) for length in np.shape(field))
        dtype = original.dtype[name].base
        value = _field_value(rng, dtype)
        if place:
            field[place] = value
        else:
            header[name] = value
        changes.append(f"{name}{list(place) if place else ''} = {value!r}")
    files = {**original.files, first: header.tobytes() + data[original.dtype.itemsize :]}
    return _write(files, folder, f"{original.kind.__name__} {first}: {', '.join(changes)}")


def _field_value(rng, dtype):
    if dtype.kind == "S":
        return rng.choice(TEXTS)
    if dtype.kind == "f":
        value = rng.choice([*REALS, rng.gauss(0, 100)])
    else:
        limits = np.iinfo(dtype)
        value = rng.choice([*INTEGERS, limits.max, limits.min, rng.randrange(limits.max)])
        value = min(max(value, limits.min), limits.max)
    with np.errstate(over="ignore"):
        return dtype.type(value)


def mutate_body(rng, originals, folder):
    """Write an image with bytes changed anywhere, after compression if there is any."""
    original = rng.choice(originals)
    suffix = rng.choice(list(original.files))
    files = dict(original.files)
    if suffix.endswith(".gz") and rng.random() < 0.2:
        content = files[suffix]
        part = rng.randrange(len(content))
        members = gzip.compress(content[:part]) + b"\0" * rng.choice([0, 7, 1000])
        packed, what = members + gzip.compress(content[part:]), f"two members, split at {part}"
    else:
        packed, what = altered_bytes(rng, _packed(suffix, files[suffix]))
    mutant = _write(files, folder, f"{suffix}: {what}", {suffix: packed})
    if not suffix.endswith(".gz"):
        return mutant
    # It has a checksum, so whatever is read must be what was written.
    (folder / "sound").mkdir()
    return replace(mutant, expected=_write(files, folder / "sound", "nothing").path)


def _packed(suffix, content):
    return gzip.compress(content, mtime=0) if suffix.endswith(".gz") else content


def _write(files, folder, what, packed=()):
    paths = []
    for suffix, content in files.items():
        paths.append(folder / f"image{suffix}")
        data = packed[suffix] if suffix in packed else _packed(suffix, content)
        paths[-1].write_bytes(data)
    return Mutant(paths[-1], what, tuple(path.name for path in paths))


def check(mutant, originals):
    """Read an image, then cut slabs of it: as nibabel reads it or its sound copy, or an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = NiftiSamples(mutant.path)
        found = np.asarray(samples)
        image = nibabel.load(mutant.expected or mutant.path)
        with np.errstate(all="ignore"):
            expected = np.asarray(image.dataobj).astype(np.float32)
        expected = expected.reshape(*samples.grid_shape, len(samples), order="F")
        np.testing.assert_array_equal(found, np.moveaxis(expected, -1, 0))
        np.testing.assert_array_equal(samples.affine, image.affine)
        slabs = NiftiSlabRotator(0.2, slab=None).fit_transform(samples)
        if np.isfinite(found).all():
            assert np.isfinite(slabs).all(), "the slabs hold values that are not finite"
