"""Kill an evaluation at random moments, resume it, and compare it with an undisturbed one.

The evaluation has 6 folds in 2 repeats, a network, a linear model and a dummy, on simulated data.
Its process is killed with SIGKILL after a random time and started again until it finishes; if it
finishes before all kills are used, a new evaluation begins. Every table of every finished
evaluation must be bit-equal to that of the undisturbed one, except for times.
"""

import argparse
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

TABLES = ("folds", "predictions", "groups", "learning_curves", "summary", "comparisons")
TIMES = ["seconds_fit", "seconds_predict"]


def evaluate(ledger, out):
    from sklearn.pipeline import Pipeline

    from skfmri import (
        NiftiSamples,
        NiftiSlabRotator,
        RepeatedGroupKFold,
        SlabCNNClassifier,
        VoxelZScorer,
        evaluate_decoder,
    )
    from skfmri.datasets import make_eyes_open_closed

    data = make_eyes_open_closed(12, random_state=0)
    samples = NiftiSamples(data.images, y=data.labels, groups=data.subjects)
    network = SlabCNNClassifier(filters=8, n_blocks=2, dense_units=(64,), epochs=30)
    pipeline = Pipeline(
        [("slab", NiftiSlabRotator()), ("zscore", VoxelZScorer()), ("cnn", network)]
    )
    cv = RepeatedGroupKFold(6, n_repeats=2, random_state=0)
    result = evaluate_decoder(pipeline, samples, cv=cv, ledger=ledger, random_state=0)
    out.write_bytes(pickle.dumps({name: getattr(result, name) for name in TABLES}))


def start(ledger, out):
    command = [sys.executable, __file__, "--run", str(ledger), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(command, env=environment)


def finished_units(ledger):
    # The first line describes the evaluation.
    return ledger.read_bytes().count(b"\n") if ledger.exists() else 0


def same(tables, expected):
    for name in TABLES:
        pd.testing.assert_frame_equal(
            tables[name].drop(columns=TIMES, errors="ignore"),
            expected[name].drop(columns=TIMES, errors="ignore"),
            check_exact=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    parser.add_argument("--quick", action="store_true", help="two kills")
    parser.add_argument("--run", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        return evaluate(*options.run)
    rng = np.random.default_rng(options.seed)
    kills_left = 2 if options.quick else options.kills
    with tempfile.TemporaryDirectory() as folder:
        whole, out = Path(folder) / "whole.jsonl", Path(folder) / "out.pkl"
        begin = time.monotonic()
        if start(whole, out).wait():
            sys.exit("The undisturbed run failed.")
        seconds = time.monotonic() - begin
        expected, n_runs = pickle.loads(out.read_bytes()), 0
        print(f"undisturbed: {finished_units(whole)} units in {seconds:.0f} s")
        while kills_left:
            ledger = Path(folder) / f"run{n_runs}.jsonl"
            out.unlink()
            while not out.exists():
                process = start(ledger, out)
                if kills_left:
                    moment = rng.uniform(0, seconds)
                    time.sleep(moment)
                if kills_left and process.poll() is None:
                    process.send_signal(signal.SIGKILL)
                    kills_left -= 1
                    n_units = finished_units(ledger)
                    print(f"killed after {moment:5.1f} s, {n_units} units done", flush=True)
                if process.wait() not in (0, -signal.SIGKILL):
                    sys.exit(f"A resumed run failed with status {process.returncode}.")
            same(pickle.loads(out.read_bytes()), expected)
            n_runs += 1
            print(f"run {n_runs} finished: bit-equal to the undisturbed one", flush=True)


if __name__ == "__main__":
    main()
