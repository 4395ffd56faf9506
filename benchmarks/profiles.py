"""Show where the time of rows A, C, E and J of the speed table goes, beside what limits it.

A limit is the time this machine needs at its best for the same work: decompression alone, one look
at each decoded voxel, matrix products at the rate of large ones. Run it on an otherwise idle
machine: python benchmarks/profiles.py [--quick].
"""

import argparse
import collections
import contextlib
import gzip
import os
import re
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

SPEED = Path(__file__).parent / "speed"
KINDS = {
    "convolutions": "Conv2D",
    "dense layers": "MatMul",
    "batch normalization": "BatchNorm",
    "pooling": "MaxPool",
    "Adam": "ResourceApplyAdam",
}


@contextlib.contextmanager
def timed(*parts):
    """Measure the seconds spent in functions, given as an object and the name of its attribute."""
    seconds, originals = collections.Counter(), []
    for owner, name in parts:
        original = getattr(owner, name)
        originals.append((owner, name, original))

        def timing(*arguments, _original=original, _name=name, **keywords):
            start = time.perf_counter()
            try:
                return _original(*arguments, **keywords)
            finally:
                seconds[_name] += time.perf_counter() - start

        setattr(owner, name, timing)
    yield seconds
    for owner, name, original in originals:
        setattr(owner, name, original)


def seconds_of(function, repeats=5):
    """Return the shortest time of several calls."""
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        found.append(time.perf_counter() - start)
    return min(found)


def show(title, whole, parts):
    """Print the parts of a time, then the rest, each with its limit if there is one."""
    print(f"\n{title}: {whole:.3f} s")
    rest = whole - sum(seconds for _, seconds, _ in parts)
    for name, seconds, limit in (*parts, ("everything else", rest, None)):
        beside = f"   limit {limit:.3f} s" if limit is not None else ""
        print(f"  {name:42s} {seconds:7.3f} s {100 * seconds / whole:5.1f} %{beside}")


def look_at(samples):
    """Read each voxel once."""
    for volumes in samples.iter_batches():
        volumes.max()


def inflate(path):
    """Decompress a file as skfmri does."""
    from skfmri.samples.compressed import open_data

    with open_data(path) as file:
        while file.read(4 * 2**20):
            pass


def profile_slabs(work):
    """Row A."""
    import skfmri.preprocessing.slab as module
    from skfmri import NiftiSamples, NiftiSlabRotator
    from skfmri.samples.sources import FileSource

    def by_gzip():
        with gzip.open(work.volumes) as file:
            while file.read(4 * 2**20):
                pass

    limit, gzip_limit = seconds_of(partial(inflate, work.volumes)), seconds_of(by_gzip)
    functions = (
        (FileSource, "_decode"),
        (module, "value_range"),
        (module, "crop_box"),
        (NiftiSlabRotator, "transform"),
    )
    # Only the second of two passes counts, in which nothing is loaded for the first time.
    for _ in range(2):
        with (
            tempfile.TemporaryDirectory(dir=work.folder) as store,
            timed(*functions) as seconds,
        ):
            os.environ["SKFMRI_CACHE"] = store
            rotator = NiftiSlabRotator()
            start = time.perf_counter()
            rotator.fit_transform(work.volumes)
            whole = time.perf_counter() - start
            reading = seconds_of(partial(look_at, NiftiSamples(work.volumes)))
    parts = [
        ("decode to the copy on disk", seconds["_decode"], limit),
        ("largest values of all voxels", seconds["value_range"] - seconds["_decode"], reading),
        ("find the crop", seconds["crop_box"], None),
        ("cut the slabs", seconds["transform"], reading),
    ]
    show("A. File name to slab array", whole, parts)
    print(f"  decompression with gzip of the standard library: {gzip_limit:.3f} s")


def tensorflow_rate():
    """Return the rate of a large matrix product in GFlop per second."""
    import tensorflow as tf

    a = tf.ones((3000, 3000))
    return 2e-9 * 3000**3 / seconds_of(lambda: tf.matmul(a, a).numpy())


def products_of(model):
    """Return the GFlop of all matrix products of a training step with one sample."""
    total, is_first = 0, True
    for layer in model.layers:
        if not hasattr(layer, "kernel"):
            continue
        n_places = int(np.prod(layer.output.shape[1:-1]))
        # Forward, the gradient of the kernel, and that of the input except for the first layer.
        total += (2 if is_first else 3) * 2e-9 * n_places * int(np.prod(layer.kernel.shape))
        is_first = False
    return total


def profile_epoch(work):
    """Row C without validation."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    from skfmri import SlabCNNClassifier
    from skfmri.networks.pool import POOL

    X, y = work.slabs()[:245], work.labels[:245].astype(np.int32)
    network = SlabCNNClassifier(epochs=1).fit(X, y)
    compiled = POOL.idle_networks()[-1]
    compiled.reset(np.random.default_rng(0), network.learning_rate, network.dropout)
    given = X, y, np.ones(len(y), np.float32), 32
    whole = np.median([seconds_of(lambda: compiled.train_steps(*given), 1) for _ in range(9)])
    folder = str(work.folder / "profile")
    with tf.profiler.experimental.Profile(folder):
        compiled.train_steps(*given)
    space = xplane_pb2.XSpace()
    space.ParseFromString(next(Path(folder).rglob("*.xplane.pb")).read_bytes())
    seconds = collections.Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                # "name:operation"; a call only waits for the operations of a function.
                operation = re.fullmatch(r"[^:\s]+:(\w+)", name)
                if not operation or operation[1].endswith("PartitionedCall"):
                    continue
                kind = next(
                    (kind for kind, mark in KINDS.items() if mark in operation[1]),
                    "all other operations",
                )
                seconds[kind] += event.duration_ps * 1e-12
    # Operations run in parallel on shared cores, so their times add up to more than the epoch.
    share = whole / seconds.total()
    products = products_of(compiled.model) * len(X)
    parts = [(kind, share * value, None) for kind, value in seconds.most_common()]
    show("C. Training epoch of 245 volumes, by share of operation time", whole, parts)
    rate = tensorflow_rate()
    print(f"  all matrix products: {products:.1f} GFlop, limit {products / rate:.3f} s")
    print(f"  rate of large products: {rate:.0f} GFlop/s")


def profile_scores(work):
    """Row E in this process, beside the imports of a new one."""
    import scores

    from skfmri import NiftiSlabRotator, SlabCNNClassifier
    from skfmri.networks import training
    from skfmri.networks.pool import POOL

    command = [sys.executable, "-c", "from skfmri import SlabCNNClassifier"]
    imports = seconds_of(
        lambda: subprocess.run(command, check=True, capture_output=True), 1 if work.quick else 3
    )
    functions = (
        (training, "train_epoch"),
        (SlabCNNClassifier, "fit"),
        (SlabCNNClassifier, "predict"),
        (NiftiSlabRotator, "fit_transform"),
    )
    POOL.clear()
    start = time.perf_counter()
    with (
        tempfile.TemporaryDirectory(dir=work.folder) as store,
        timed(*functions) as seconds,
    ):
        os.environ["SKFMRI_CACHE"] = store
        scores.scores_skfmri(work)
    whole = time.perf_counter() - start
    parts = [
        ("training", seconds["train_epoch"], None),
        ("fits, except training", seconds["fit"] - seconds["train_epoch"], None),
        ("slabs of the training volumes", seconds["fit_transform"], None),
        ("prediction", seconds["predict"], None),
    ]
    show("E. 6 folds, 30 epochs, file to scores", whole, parts)
    print(f"  besides, start of Python, imports and exit: {imports:.3f} s")


def profile_run(work):
    """Row J."""
    import runs

    from skfmri.preprocessing import slab
    from skfmri.samples import cleaned, cleaned_files

    runs.prepare_runs(work)
    limit = seconds_of(partial(inflate, runs.run_path(work)), 3)
    functions = (
        (cleaned, "copy_voxels"),
        (cleaned_files, "copy_voxels"),
        (cleaned, "apply_matrix"),
        (slab, "crop_box"),
        (slab, "apply_operator"),
    )
    with (
        tempfile.TemporaryDirectory(dir=work.folder) as store,
        timed(*functions) as seconds,
    ):
        os.environ["SKFMRI_CACHE"] = store
        whole = runs.run_skfmri(work)["seconds"]
    parts = [
        ("decode, twice, and copy", seconds["copy_voxels"], 2 * limit),
        ("multiply by the matrix, all voxels", seconds["apply_matrix"], None),
        ("look for the crop", seconds["crop_box"], None),
        ("resample", seconds["apply_operator"], None),
    ]
    show("J. Run of real size, cleaned, file to slabs", whole, parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run on little data")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.path.insert(0, str(SPEED))
    from work import Work, prepare, touch_memory

    with tempfile.TemporaryDirectory() as folder:
        work = Work(Path(folder), arguments.quick)
        os.environ["SKFMRI_CACHE"] = folder
        prepare(work, many=False)
        touch_memory(work, 4 * 2**30)
        profile_slabs(work)
        profile_epoch(work)
        profile_scores(work)
        profile_run(work)


if __name__ == "__main__":
    main()
