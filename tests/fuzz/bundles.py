"""Mutated files of fitted decoders."""

import hashlib
import io
import json
import stat
import warnings
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd

from skfmri.persistence import find_training_volumes, model_card, training_record

from .commands import run_command
from .mutations import Mutant, altered_bytes, altered_value

DATA = Path(__file__).parents[1] / "data"
# The network takes longer.
MODELS = ("baseline_v1", "baseline_v1", "baseline_v1", "model_v1")
MANIFEST = "manifest.json"
FORGED = "forged"


def prepare(folder):
    """Return the parts of two files, the path of an image, and the predictions for it."""
    material = {}
    for name in sorted(set(MODELS)):
        path = DATA / f"{name}.skfmri"
        with zipfile.ZipFile(path) as archive:
            parts = {part: archive.read(part) for part in archive.namelist()}
        with np.load(DATA / f"{name}.npz") as frozen:
            volumes, affine = frozen["volumes"], frozen["affine"]
        image = folder / f"{name}.nii"
        nibabel.save(nibabel.Nifti1Image(np.moveaxis(volumes, 0, -1), affine), image)
        material[name] = {"bytes": path.read_bytes(), "parts": parts, "image": image}
        material[name]["answer"] = run_command("predict", path, image)
    return material


def mutate(rng, material, folder):
    """Write a file with damage, with other parts, or with parts forged as its manifest says."""
    name = rng.choice(MODELS)
    change = rng.choice(["bytes", "parts", "manifest", "json", "json", "json", "array"])
    path = folder / "decoder.skfmri"
    if change == "bytes":
        data, what = altered_bytes(rng, material[name]["bytes"])
        path.write_bytes(data)
        return Mutant(path, f"{name}: {what}", (path.name,), name)
    parts = dict(material[name]["parts"])
    if change == "parts":
        entries, what = _other_entries(rng, list(parts.items()))
        _write(path, entries)
        return Mutant(path, f"{name}: {what}", (path.name,), name)
    if change == "manifest":
        manifest, what = altered_value(rng, json.loads(parts[MANIFEST]), folder)
        what, parts[MANIFEST] = f"manifest: {what}", json.dumps(manifest).encode()
    elif change == "json":
        part = rng.choice(["model.json", "model.json", "training.json"])
        content, what = altered_value(rng, json.loads(parts[part]), folder)
        what, parts[part] = f"{part}: {what}", json.dumps(content).encode()
    else:
        part = rng.choice([part for part in parts if part.endswith(".npy")])
        parts[part], what = _altered_array(rng, parts[part])
        what = f"{part}: {what}"
    if change != "manifest":
        _sign(parts)
    _write(path, list(parts.items()))
    return Mutant(path, f"{name}: {what}", (path.name,), (FORGED, name))


def _sign(parts):
    """Make the manifest agree with the parts, as anyone can."""
    manifest = json.loads(parts[MANIFEST])
    for name in manifest["members"]:
        data = parts[name]
        manifest["members"][name] = {
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
        }
    parts[MANIFEST] = json.dumps(manifest).encode()


def _other_entries(rng, entries):
    """Return entries of a zip file as (name or ZipInfo, data) after one change."""
    place = rng.randrange(len(entries))
    name, data = entries[place]
    change = rng.choice(["drop", "double", "rename", "pack", "link", "add", "empty"])
    if change == "drop":
        del entries[place]
    elif change == "double":
        entries.append((name, data))
    elif change == "add":
        entries.append(("notes.txt", b"?"))
    else:
        info = zipfile.ZipInfo(name)
        if change == "rename":
            info.filename = rng.choice(["/etc/passwd", "../x", "C:x", ".hidden", "", f"{name}x"])
        elif change == "pack":
            info.compress_type = rng.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
        elif change == "link":
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
        entries[place] = info, b"" if change == "empty" else data
    return entries, f"entries: {change} {name}"


def _altered_array(rng, data):
    change = rng.choice(["bytes", "bytes", "values", "shape", "dtype", "dtype"])
    if change == "bytes":
        return altered_bytes(rng, data)
    array = np.load(io.BytesIO(data))
    if change == "values":
        value = rng.choice([0, 1, -1, 200])
        if array.dtype.kind == "f":
            value = rng.choice([np.nan, np.inf, 1e38, value])
        if array.dtype.kind != "U":
            array[...] = value
    elif change == "shape":
        array = rng.choice([array[:-1], array[np.newaxis], array.ravel()[:1], array[:0], array.T])
    else:
        others = ["U1", "U9", "S9"] if array.dtype.kind == "U" else ["f8", "i8", "U5", "?", ">f4"]
        array = array.astype(rng.choice(others))
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=False)
    return stream.getvalue(), f"{change} now {array.dtype} {array.shape}"


def _write(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate name")
        for name, data in entries:
            compression = getattr(name, "compress_type", zipfile.ZIP_STORED)
            archive.writestr(name, data, compress_type=compression)


def check(mutant, material):
    """Predict with a file, then ask it all that it knows."""
    forged = isinstance(mutant.expected, tuple)
    sound = material[mutant.expected[1] if forged else mutant.expected]
    answer = run_command("predict", mutant.path, sound["image"])
    if forged:
        assert len(answer.splitlines()) == len(sound["answer"].splitlines())
        table = pd.read_csv(io.StringIO(answer))
        probabilities = table[[name for name in table if name.startswith("p_")]].to_numpy(float)
        assert np.isfinite(probabilities).all(), "probabilities that are not finite"
    else:
        assert answer == sound["answer"]
    model_card(mutant.path)
    training_record(mutant.path)
    find_training_volumes(mutant.path, str(sound["image"]))
