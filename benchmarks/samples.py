"""Compare volumes, means of blocks and trial estimates as samples: Haxby et al. 2001, subject 1.

One slice of twelve runs with their rest; one run is held out at a time. A block of 24 s of one
category is one trial; its time is the published one. Every number comes from `evaluate_decoder`,
with intervals from a bootstrap over runs. With --network the network is trained, too; with --ledger
DIR an interrupted run goes on where it stopped.

Run: SKFMRI_DATA=FOLDER python benchmarks/samples.py
"""

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd

from skfmri import (
    DecodingPipeline,
    MultiscaleRidgeClassifier,
    NiftiSamples,
    NiftiSlabRotator,
    SlabCNNClassifier,
    VoxelZScorer,
    average_blocks,
    center_groups,
    clean_runs,
    estimate_trials,
    evaluate_decoder,
)
from skfmri.evaluation import linear_baseline

T_R, HIGH_PASS = 2.5, 1 / 128
# 12 s of rest before and after each block of 24 s.
FIRST_ONSET, BLOCK_PERIOD, BLOCK_SECONDS = 12.0, 36.0, 24.0
TASKS = {
    "face or cat": ["face", "cat"],
    "bottle or shoe": ["bottle", "shoe"],
    "8 categories": None,
}


def read():
    """Return the cleaned runs, the block of each volume, and the events of all runs."""
    folder = Path(os.environ["SKFMRI_DATA"]) / "haxby_subject1"
    table = pd.read_csv(folder / "bold_slice_labels.csv")
    labels = table["label"].replace("rest", "")
    samples = NiftiSamples(folder / "bold_slice.nii.gz", y=labels, groups=table["run"])
    options = {"high_pass": HIGH_PASS, "t_r": T_R, "standardize": False}
    is_first = (labels != labels.shift()) | (table["run"] != table["run"].shift())
    blocks = is_first.cumsum().where(labels != "", -1).to_numpy()
    events = table.assign(block=blocks)[blocks >= 0].groupby("block").first()
    number = events.groupby("run").cumcount()
    events = events.rename(columns={"label": "trial_type"}).assign(
        onset=FIRST_ONSET + BLOCK_PERIOD * number, duration=BLOCK_SECONDS
    )
    return clean_runs(samples, **options), blocks, events


def kinds_of_samples(runs, blocks, events):
    """Return the samples of each kind."""
    trials = estimate_trials(runs, events)
    return {
        "volumes": runs[runs.y != ""],
        "block means": average_blocks(runs, blocks),
        "trials, LSS": trials,
        "trials, LSA": estimate_trials(runs, events, method="lsa"),
        "LSS, centred in runs": center_groups(trials),
    }


def models(epochs):
    """Return the models by name, on the same voxels."""
    network = DecodingPipeline(
        [
            ("slab", NiftiSlabRotator(angle=0, slab=None, crop=False)),
            # Estimates have units of their own, for which the thresholds of volumes do not hold.
            ("zscore", VoxelZScorer(std_threshold="auto", mean_threshold=None)),
            ("cnn", SlabCNNClassifier(n_blocks=2, epochs=epochs)),
        ]
    )
    ridge = DecodingPipeline([*network.steps[:-1], ("ridge", MultiscaleRidgeClassifier())])
    return {"logistic": linear_baseline(network), "ridge": ridge, "network": network}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=TASKS, action="append", help="task (default: all)")
    parser.add_argument("--samples", action="append", help="kind of samples (default: all)")
    parser.add_argument("--network", action="store_true", help="train the network, too")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ledger", metavar="DIR", type=Path, help="directory of ledgers")
    parser.add_argument("--quick", action="store_true", help="one task, three runs")
    options = parser.parse_args()
    kinds = kinds_of_samples(*read())
    rows = []
    for task in ["face or cat"] if options.quick else options.task or TASKS:
        for kind in options.samples or kinds:
            samples = kinds[kind]
            chosen = samples if TASKS[task] is None else samples[np.isin(samples.y, TASKS[task])]
            if options.quick:
                chosen = chosen[chosen.groups < 3]
            for name, model in models(options.epochs).items():
                if name == "network" and not options.network:
                    continue
                ledger = options.ledger and options.ledger / f"{task}-{kind}-{name}.jsonl"
                result = evaluate_decoder(
                    model, chosen, baseline=None, ledger=ledger, random_state=options.seed
                )
                best = result.summary.iloc[0]
                row = (task, kind, len(chosen), name, best["score"], best["low"], best["high"])
                rows.append(row)
                print("{}, {} ({}), {}: {:.3f} ({:.3f} to {:.3f})".format(*row), flush=True)
    columns = ["task", "samples", "n", "model", "accuracy", "low", "high"]
    table = pd.DataFrame(rows, columns=columns)
    print(table.pivot_table("accuracy", ["task", "samples"], "model", sort=False).round(3))


if __name__ == "__main__":
    main()
