"""Repeat the same work until a leak would show: python benchmarks/load.py [--quick].

Fits of a network, predictions of a fitted one, subsets of samples that are read from a compressed
file, and processes that read such a file at the same moment. Each row is measured in a process of
its own, started by this small one, since the peak of a process starts from that of its parent.
"Growth" is what its memory gained from the first tenth of the repetitions, or from the first ten,
to the last; of the readers it is the largest peak above that of a reader alone. "Equal" says
whether all results were the same to the last bit. "Copies" counts the decoded copies of the file at
the end.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# How often the work of each row is repeated, in full and for a smoke run.
ROWS = {
    "fits": ("fits of a network", 300, 30),
    "predictions": ("predictions of 40 volumes", 2000, 200),
    "subsets": ("subsets of samples, read", 1000, 200),
    "readers": ("processes reading one file", 40, 6),
}
ALLOWED_MB = 20
FILE = "bold.nii.gz"


def prepare(folder, quick):
    """Write a file of noise, compressed."""
    import nibabel
    import numpy as np

    n_volumes = 40 if quick else 200
    volumes = np.random.default_rng(0).normal(100, 9, (30, 36, 30, n_volumes)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(volumes, np.diag([3.0, 3, 3, 1])), folder / FILE)


def resident():
    """Return the memory of this process in MB."""
    import psutil

    gc.collect()
    return psutil.Process().memory_info().rss / 1e6


def repeat(work, number):
    """Return figures of work that is done again and again; `work` returns its result as bytes."""
    first, is_equal, tenth = work(), True, None
    start = time.perf_counter()
    for done in range(1, number):
        is_equal &= work() == first
        if done == max(number // 10, 10):
            tenth = resident()
    seconds = time.perf_counter() - start
    return {"growth": resident() - tenth, "equal": is_equal, "seconds": seconds}


def small_network(folder):
    """Return an unfitted network with slabs of noise and labels."""
    import numpy as np

    from skfmri import SlabCNNClassifier

    slabs = np.random.default_rng(0).normal(size=(40, 20, 24, 3)).astype(np.float32)
    network = SlabCNNClassifier(filters=4, n_blocks=2, dense_units=(16,), epochs=2, random_state=0)
    return network, slabs, np.arange(40) % 2


def fits(folder, number):
    network, slabs, labels = small_network(folder)
    return repeat(lambda: network.fit(slabs, labels).predict_proba(slabs).tobytes(), number)


def predictions(folder, number):
    network, slabs, labels = small_network(folder)
    network.fit(slabs, labels)
    return repeat(lambda: network.predict_proba(slabs).tobytes(), number)


def subsets(folder, number):
    import numpy as np

    from skfmri import NiftiSamples

    samples = NiftiSamples(folder / FILE, y=None)
    rng = np.random.default_rng(0)
    everything = np.array(samples)
    wrong = []

    def work():
        chosen = rng.choice(len(samples), size=len(samples) // 4, replace=False)
        if not np.array_equal(samples[np.sort(chosen)][::2], everything[np.sort(chosen)[::2]]):
            wrong.append(chosen)
        return b""

    return {**repeat(work, number), "equal": not wrong}


def read(folder):
    """Read the file; print the peak of this process in MB and a digest of the volumes."""
    import hashlib
    import resource

    from skfmri import NiftiSamples

    digest = hashlib.sha256()
    for batch in NiftiSamples(folder / FILE).iter_batches():
        digest.update(batch.tobytes())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(json.dumps({"peak": peak, "digest": digest.hexdigest()}))


def readers(folder, number):
    start = time.perf_counter()
    command = [sys.executable, __file__, "--read", str(folder)]
    found = []
    # The one reader alone finds no copy either.
    for n_readers, store in ((1, "alone"), (number, "together")):
        environment = {**os.environ, "SKFMRI_CACHE": str(folder / store)}
        processes = [
            subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
            for _ in range(n_readers)
        ]
        found.append([json.loads(process.communicate()[0]) for process in processes])
    (alone,), together = found
    copies = [path for path in (folder / "together").iterdir() if path.suffix != ".lock"]
    return {
        "growth": max(reader["peak"] for reader in together) - alone["peak"],
        "equal": {reader["digest"] for reader in together} == {alone["digest"]},
        "copies": len(copies),
        "seconds": time.perf_counter() - start,
    }


def measure(name, number, folder):
    """Return the figures of a row from a new process."""
    command = [sys.executable, __file__, "--row", name, str(number), str(folder)]
    environment = {**os.environ, "SKFMRI_CACHE": str(folder / "cache"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the repetitions")
    parser.add_argument("--row", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        return read(options.read)
    if options.prepare:
        return prepare(options.prepare, options.quick)
    if options.row:
        name, number, folder = options.row
        print(json.dumps(globals()[name](Path(folder), int(number))))
        return None
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--prepare", folder, *["--quick"] * options.quick]
        subprocess.run(command, check=True)
        print("| what | number | growth of memory | allowed | equal | copies | seconds |")
        print("|---|---|---|---|---|---|---|")
        is_good = True
        for name, (what, full, few) in ROWS.items():
            number = few if options.quick else full
            row = measure(name, number, Path(folder))
            is_good &= row["equal"] and row["growth"] < ALLOWED_MB and row.get("copies", 1) == 1
            print(
                f"| {what} | {number} | {row['growth']:.1f} MB | {ALLOWED_MB} MB | "
                f"{'yes' if row['equal'] else '**no**'} | {row.get('copies', '')} | "
                f"{row['seconds']:.0f} |",
                flush=True,
            )
    return int(not is_good)


if __name__ == "__main__":
    sys.exit(main())
