"""Compare the default network with linear models on real runs: Haxby et al. 2001, subject 1.

One run of twelve is held out at a time, and all models see the same folds, cleaning and voxels.
Every number comes from `evaluate_decoder`: intervals from a bootstrap over runs, p-values from the
corrected resampled t-test. With --ledger DIR an interrupted run continues where it stopped.

Run: SKFMRI_DATA=FOLDER python benchmarks/haxby.py
"""

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

from skfmri import (
    NiftiSamples,
    NiftiSlabRotator,
    SlabCNNClassifier,
    VoxelZScorer,
    clean_runs,
    evaluate_decoder,
)
from skfmri.evaluation import linear_baseline

ALL = ["bottle", "cat", "chair", "face", "house", "scissors", "scrambledpix", "shoe"]
LABELS = {"face or house": ["face", "house"], "8 categories": ALL}
IMAGES = {"slice": ("bold_slice", None), "VT": ("bold_vt", (2, 6))}


def read(name):
    folder = Path(os.environ["SKFMRI_DATA"]) / "haxby_subject1"
    table = pd.read_csv(folder / f"{name}_labels.csv")
    samples = NiftiSamples(folder / f"{name}.nii.gz", y=table["label"], groups=table["run"])
    return clean_runs(samples)


def decoder(slab, epochs):
    return Pipeline(
        [
            ("slab", NiftiSlabRotator(angle=0, slab=slab, crop=False)),
            ("zscore", VoxelZScorer()),
            ("cnn", SlabCNNClassifier(n_blocks=2, epochs=epochs)),
        ]
    )


def svm_baseline(pipeline):
    """Return the linear SVM of the published analyses, on the input of the network."""
    return Pipeline([*linear_baseline(pipeline).steps[:-1], ("svm", SVC(kernel="linear"))])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", choices=IMAGES, action="append", help="image (default: both)")
    parser.add_argument("--task", choices=LABELS, action="append", help="task (default: both)")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ledger", metavar="DIR", type=Path, help="directory of ledgers")
    parser.add_argument("--quick", action="store_true", help="one task, three runs, two epochs")
    options = parser.parse_args()
    for image in options.image or IMAGES:
        name, slab = IMAGES[image]
        samples = read(name)
        for task in options.task or LABELS:
            chosen = samples[np.isin(samples.y, LABELS[task])]
            if options.quick:
                chosen = chosen[chosen.groups <= np.unique(chosen.groups)[2]]
            pipeline = decoder(slab, 2 if options.quick else options.epochs)
            ledger = options.ledger and options.ledger / f"{image}-{task.replace(' ', '-')}.jsonl"
            result = evaluate_decoder(
                pipeline,
                chosen,
                baseline={
                    "logistic regression": linear_baseline(pipeline),
                    "linear SVM": svm_baseline(pipeline),
                },
                ledger=ledger,
                random_state=options.seed,
            )
            print(f"\n{image}, {task}, {len(chosen)} volumes, seed {options.seed}")
            print(result, flush=True)
            if options.quick:
                return


if __name__ == "__main__":
    main()
