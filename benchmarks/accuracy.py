"""Compare networks for small samples with linear models on real runs, all on the same folds.

Haxby et al. 2001, subject 1, one of twelve runs held out at a time. Each seed draws other weights;
the linear models know no chance. Accuracies are means over seeds, intervals come from drawing runs,
and the difference is that to the linear SVM.

Run: SKFMRI_DATA=FOLDER python benchmarks/accuracy.py     (hours; --ledger DIR makes it resumable)
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from haxby import ALL, IMAGES, decoder, read, svm_baseline

from skfmri import evaluate_decoder
from skfmri.evaluation import linear_baseline
from skfmri.statistics import bootstrap_interval

TASKS = {
    "slice, face or house": ("slice", ["face", "house"]),
    "slice, face or cat": ("slice", ["face", "cat"]),
    "slice, bottle or shoe": ("slice", ["bottle", "shoe"]),
    "slice, 8 categories": ("slice", ALL),
    "VT, bottle or shoe": ("VT", ["bottle", "shoe"]),
    "VT, 8 categories": ("VT", ALL),
}
SMALL = {"filters": 16, "dense_units": (64,)}
NETWORKS = {
    "notebook": {},
    "momentum 0.9": {"batch_norm_momentum": 0.9},
    "linear path": {"linear_path": 0.01},
    "momentum 0.9, linear path": {"batch_norm_momentum": 0.9, "linear_path": 0.01},
    "small": SMALL,
    "small, momentum 0.9": SMALL | {"batch_norm_momentum": 0.9},
    "small, momentum 0.9, linear path": SMALL | {"batch_norm_momentum": 0.9, "linear_path": 0.01},
}
SVM = "linear SVM"


def evaluate(task, seed, options):
    """Return the accuracy of each run under each model."""
    image, labels = TASKS[task]
    name, slab = IMAGES[image]
    samples = read(name)
    samples = samples[np.isin(samples.y, labels)]
    if options.quick:
        samples = samples[samples.groups <= np.unique(samples.groups)[2]]
    pipeline = decoder(slab, options.epochs)
    networks = {
        name: decoder(slab, options.epochs).set_params(
            **{f"cnn__{key}": value for key, value in settings.items()}
        )
        for name, settings in NETWORKS.items()
    }
    first, *others = networks
    linear = {"logistic regression": linear_baseline(pipeline), SVM: svm_baseline(pipeline)}
    file_name = f"accuracy-{task.replace(', ', '-').replace(' ', '-')}-{seed}.jsonl"
    result = evaluate_decoder(
        networks[first],
        samples,
        baseline={name: networks[name] for name in others} | linear,
        scoring="accuracy",
        ledger=options.ledger and options.ledger / file_name,
        random_state=seed,
    )
    table = result.groups.pivot(index="group", columns="model", values="accuracy")
    return table.rename(columns={"decoder": first})[[*networks, *linear]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=TASKS, action="append", help="default: all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--ledger", metavar="DIR", type=Path, help="directory of ledgers")
    parser.add_argument("--quick", action="store_true", help="one task and seed, 3 runs, 2 epochs")
    options = parser.parse_args()
    tasks = options.task or list(TASKS)
    if options.quick:
        tasks, options.seeds, options.epochs = tasks[:1], 1, 2
    for task in tasks:
        tables = [evaluate(task, seed, options) for seed in range(options.seeds)]
        means = pd.concat(tables).groupby(level=0).mean()
        print(f"\n{task}, {options.seeds} seeds")
        for name, scores in means.items():
            low, high = bootstrap_interval(scores, random_state=0)
            gap = scores - means[SVM]
            gap_low, gap_high = bootstrap_interval(gap, random_state=0)
            print(
                f"{name:<34}{scores.mean():>7.3f} ({low:.3f} to {high:.3f})"
                f"{gap.mean():>+9.3f} ({gap_low:+.3f} to {gap_high:+.3f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
