"""Show what each scheduler costs for the same grouped cross-validation, in whole processes.

Each row runs in a new process: imports, start of the workers, 6 folds of a small network that
starts from a logistic regression on one compressed file, end of the workers. "memory" is the peak
of the resident memory summed over all its processes, so shared pages count several times. "task" is
the size of what one task sends to a worker. "score" is the same if processes have the same number
of threads; loky and Dask give each worker one.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

SCHEDULERS = ("serial", "threading", "loky", "dask")


def run(path, scheduler, epochs):
    """Cross-validate in this process; print the score and the size of a task as JSON."""
    import cloudpickle
    import joblib
    from sklearn.model_selection import GroupKFold, cross_val_score
    from sklearn.pipeline import make_pipeline

    from skfmri import NiftiSamples, NiftiSlabRotator, SlabCNNClassifier, VoxelZScorer

    data = json.loads(Path(path).with_suffix(".json").read_text())
    samples = NiftiSamples(path, y=data["labels"], groups=data["chunks"])
    network = SlabCNNClassifier.for_small_samples(
        linear_path=100, learning_rate=0.001, epochs=epochs, random_state=0
    )
    pipeline = make_pipeline(NiftiSlabRotator(), VoxelZScorer(), network)
    backend = {} if scheduler == "serial" else {"backend": scheduler, "n_jobs": 2}
    if scheduler == "dask":
        from distributed import Client, LocalCluster

        cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
        client = Client(cluster)
    with joblib.parallel_config(**backend or {"n_jobs": 1}):
        scores = cross_val_score(
            pipeline, samples, samples.y, groups=samples.groups, cv=GroupKFold(6)
        )
    if scheduler == "dask":
        client.close()
        cluster.close()
    print(json.dumps([scores.mean(), len(cloudpickle.dumps((pipeline, samples, samples.y)))]))


def measure(path, scheduler, epochs):
    """Call `run` in a new process; return its seconds, its MiB and the numbers it printed."""
    command = [sys.executable, __file__, "--run", scheduler, str(path), "--epochs", str(epochs)]
    start, peak = time.perf_counter(), [0]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def watch():
        parent = psutil.Process(process.pid)
        while process.poll() is None:
            total = 0
            for one in (parent, *_children(parent)):
                try:
                    total += one.memory_info().rss
                except psutil.Error:
                    continue
            peak[0] = max(peak[0], total)
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    shown = process.communicate()[0]
    watcher.join()
    return time.perf_counter() - start, peak[0] / 2**20, *json.loads(shown.splitlines()[-1])


def _children(process):
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    parser.add_argument("--run", nargs=2, metavar=("SCHEDULER", "PATH"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        return run(args.run[1], args.run[0], args.epochs)
    if args.quick:
        args.subjects, args.epochs, args.repeats = 12, 2, 1
    import nibabel

    from skfmri.datasets import make_eyes_open_closed

    data = make_eyes_open_closed(args.subjects)
    rows = {name: [] for name in SCHEDULERS}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "maps.nii.gz"
        nibabel.save(data.images, path)
        labels = {"labels": data.labels.tolist(), "chunks": data.chunks.tolist()}
        path.with_suffix(".json").write_text(json.dumps(labels))
        for _ in range(args.repeats):
            for name in SCHEDULERS:
                rows[name].append(measure(path, name, args.epochs))
    print(f"{'scheduler':10} {'seconds':>8} {'memory MiB':>11} {'task bytes':>11} {'score':>7}")
    for name, found in rows.items():
        seconds, memory, score, task = (
            statistics.median(column) for column in zip(*found, strict=True)
        )
        print(f"{name:10} {seconds:8.1f} {memory:11.0f} {task:11.0f} {score:7.3f}")


if __name__ == "__main__":
    main()
