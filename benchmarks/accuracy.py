"""Compare networks for small samples with linear models, all on the same folds.

Four folds of whole groups. Data: Haxby et al. 2001, subject 1, with runs as groups: one slice, and
ventral temporal cortex as a slab of four slices or as a volume; and simulated maps of eyes open
against eyes closed, with subjects as groups, as they are or centred by subject. Each seed draws
different weights; the linear models do not depend on it.

The configuration for small samples was chosen on the tasks marked "choice", where each of its
changes is also shown alone. The tasks marked "report" only show how it performs. The strengths of
the multiscale ridge were chosen with all tasks in view, by a rule that has nothing to tune.

Accuracies are means over seeds of the means over groups. Gaps to each linear model have a standard
error and an interval from resampling groups, at 95 % for all models of a task together
(Bonferroni). The mean gap over tasks has the standard error of independent tasks.

Run: SKFMRI_DATA=FOLDER python benchmarks/accuracy.py     (--ledger DIR makes it resumable)
"""

import argparse
import os
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd
from haxby import ALL, read, svm_baseline
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline

from skfmri import (
    DecodingPipeline,
    NiftiSamples,
    NiftiSlabRotator,
    SlabCNNClassifier,
    VolumeCNNClassifier,
    VoxelZScorer,
    center_groups,
    evaluate_decoder,
)
from skfmri.datasets import make_eyes_open_closed
from skfmri.evaluation import linear_baseline, multiscale_baseline
from skfmri.statistics import bootstrap_interval


class Augmented(ClassifierMixin, BaseEstimator):
    """Train a classifier on samples that get new shifts and new noise in each epoch."""

    def __init__(self, classifier, max_shift=0, noise=0.0, random_state=None):
        self.classifier = classifier
        self.max_shift = max_shift
        self.noise = noise
        self.random_state = random_state

    def fit(self, X, y):
        """Train for one epoch on as many copies of the samples as there are epochs."""
        rng, epochs = np.random.default_rng(self.random_state), self.classifier.epochs
        epochs_of_samples = [self._augment(X, rng) for _ in range(epochs)]
        self.classifier_ = clone(self.classifier).set_params(epochs=1)
        self.classifier_.fit(np.concatenate(epochs_of_samples), np.tile(y, epochs))
        self.classes_ = self.classifier_.classes_
        return self

    def predict(self, X):
        """Return what the trained classifier predicts."""
        return self.classifier_.predict(X)

    def _augment(self, X, rng):
        n, (width, height), most = len(X), X.shape[1:3], self.max_shift
        padded = np.pad(X, [(0, 0), (most, most), (most, most), (0, 0)])
        starts = rng.integers(2 * most, size=(n, 2), endpoint=True)
        shifted = [padded[i, a : a + width, b : b + height] for i, (a, b) in enumerate(starts)]
        return shifted + self.noise * rng.standard_normal(X.shape, np.float32)


class Task(NamedTuple):
    """Samples, the slab that is cut from them, and the kind of network."""

    role: str
    read: callable
    rotator: NiftiSlabRotator
    n_blocks: int
    classifier: type = SlabCNNClassifier


@cache
def haxby(name, labels):
    samples = read(name)
    return samples[np.isin(samples.y, labels)]


@cache
def eyes(n_subjects, random_state, is_centred):
    data = make_eyes_open_closed(n_subjects, random_state=random_state)
    samples = NiftiSamples(data.images, y=data.labels, groups=data.subjects)
    return center_groups(samples) if is_centred else samples


WHOLE = NiftiSlabRotator(angle=0, slab=None, crop=False)
VT = NiftiSlabRotator(angle=0, slab=(2, 6), crop=False)
NOTEBOOK_SLAB = NiftiSlabRotator()


def one_slice(role, *labels):
    return Task(role, partial(haxby, "bold_slice", labels), WHOLE, n_blocks=2)


def ventral(role, *labels, classifier=SlabCNNClassifier):
    return Task(role, partial(haxby, "bold_vt", labels), VT, 2, classifier)


def simulated(role, n_subjects, random_state, is_centred=False):
    read = partial(eyes, n_subjects, random_state, is_centred)
    return Task(role, read, NOTEBOOK_SLAB, n_blocks=3)


TASKS = {
    "slice, face or house": one_slice("choice", "face", "house"),
    "slice, bottle or shoe": one_slice("choice", "bottle", "shoe"),
    "24 simulated subjects": simulated("choice", 24, 0),
    "slice, face or cat": one_slice("report", "face", "cat"),
    "slice, 8 categories": one_slice("report", *ALL),
    "VT, bottle or shoe": ventral("report", "bottle", "shoe"),
    "VT, 8 categories": ventral("report", *ALL),
    "VT, 8 categories, 3-D": ventral("report", *ALL, classifier=VolumeCNNClassifier),
    "12 simulated subjects": simulated("report", 12, 1),
    "48 simulated subjects": simulated("report", 48, 1),
    "12 simulated subjects, centred": simulated("report", 12, 1, is_centred=True),
    "24 simulated subjects, centred": simulated("report", 24, 0, is_centred=True),
    "48 simulated subjects, centred": simulated("report", 48, 1, is_centred=True),
}
SVM, LOGISTIC, RIDGE = "linear SVM", "logistic regression", "multiscale ridge"
NOTEBOOK, SMALL_SAMPLE = "notebook", "small-sample"
# The configuration of version 0.1, in both of its parts.
FROM_LOGISTIC = "small-sample from logistic"
OF_VERSION_0_1 = {"linear_path": 100.0, "learning_rate": 0.001}


def networks(task, epochs):
    """Return the classifiers of a task; those for the choice include single changes."""
    notebook = task.classifier(n_blocks=task.n_blocks, epochs=epochs)
    small = task.classifier.for_small_samples(epochs=epochs)
    from_logistic = clone(small).set_params(**OF_VERSION_0_1)
    found = {NOTEBOOK: notebook, SMALL_SAMPLE: small, FROM_LOGISTIC: from_logistic}
    if task.role == "choice":
        size = {name: getattr(small, name) for name in ("filters", "n_blocks", "dense_units")}
        fewer = clone(notebook).set_params(**size)
        momentum = {"batch_norm_momentum": small.batch_norm_momentum}
        linear_path = {"linear_path": from_logistic.linear_path}
        variants = {
            "notebook, momentum": (notebook, momentum),
            "notebook, linear path": (notebook, linear_path),
            "fewer weights": (fewer, {}),
            "fewer, momentum": (fewer, momentum),
            "fewer, linear path": (fewer, linear_path),
            "fewer, 3 members": (fewer, {"n_members": 3}),
            # The default of Keras, which multiplies it by the learning rate.
            "fewer, weight decay": (fewer, {"optimizer": keras.optimizers.AdamW(0.001, 0.004)}),
            "small-sample from logistic, 3 members": (from_logistic, {"n_members": 3}),
        }
        found |= {name: clone(base).set_params(**more) for name, (base, more) in variants.items()}
        found["small-sample, kernel 5"] = clone(small).set_params(kernel_size=5)
        found["fewer, shifts"] = Augmented(fewer, max_shift=1)
        found["fewer, noise"] = Augmented(fewer, noise=0.5)
    return found


def evaluate(name, seed, options):
    """Return the accuracy of each group under each model."""
    task = TASKS[name]
    samples = task.read()
    if options.quick:
        samples = samples[np.isin(samples.groups, np.unique(samples.groups)[:3])]
    # Hands the groups on to networks that leave some out.
    pipelines = {
        model: DecodingPipeline(
            [("slab", task.rotator), ("zscore", VoxelZScorer()), ("cnn", network)]
        )
        for model, network in networks(task, options.epochs).items()
        if options.model is None or model in options.model
    }
    any_pipeline = Pipeline([("slab", task.rotator), ("zscore", VoxelZScorer()), ("none", None)])
    ledger = options.ledger and options.ledger / f"{name.replace(', ', '-')}-{seed}.jsonl"
    # The ledger identifies a run by its decoder, so networks can be added to a finished run.
    result = evaluate_decoder(
        svm_baseline(any_pipeline),
        samples,
        cv=GroupKFold(3 if options.quick else 4),
        baseline={
            LOGISTIC: linear_baseline(any_pipeline),
            RIDGE: multiscale_baseline(any_pipeline),
            **pipelines,
        },
        scoring="accuracy",
        ledger=ledger,
        n_jobs=options.jobs,
        random_state=seed,
    )
    table = result.groups.pivot(index="group", columns="model", values="accuracy")
    table = table.rename(columns={"decoder": SVM})
    return table[[SVM, LOGISTIC, RIDGE, *pipelines]]


def standard_error(gaps):
    return gaps.std(ddof=1) / np.sqrt(len(gaps))


def show_gaps(means, reference):
    """Print the gap of each model to one of them, in each task and on average."""
    print(f"\nGap to the {reference}")
    for name, table in means.items():
        gaps = table.drop(columns=reference).sub(table[reference], axis=0)
        confidence = 1 - 0.05 / gaps.shape[1]
        print(f"{name} ({TASKS[name].role})")
        for model, gap in gaps.items():
            low, high = bootstrap_interval(gap, confidence=confidence, random_state=0)
            error = standard_error(gap)
            numbers = f"{gap.mean():+.3f} (SE {error:.3f}; {low:+.3f} to {high:+.3f})"
            print(f"    {model:<28}{numbers}")
    for role in ("choice", "report"):
        gaps = [
            table.drop(columns=reference).sub(table[reference], axis=0)
            for name, table in means.items()
            if TASKS[name].role == role
        ]
        if gaps:
            mean = pd.DataFrame([each.mean() for each in gaps]).dropna(axis=1).mean()
            squares = [standard_error(each) ** 2 for each in gaps]
            error = np.sqrt(pd.DataFrame(squares).sum()) / len(gaps)
            print(f"\nMean gap to the {reference} over the {len(gaps)} {role} tasks")
            for model, gap in mean.items():
                print(f"    {model:<28}{gap:+.3f} (SE {error[model]:.3f})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=TASKS, action="append", help="task (default: all)")
    parser.add_argument(
        "--model", action="append", metavar="NAME", help="network to evaluate (default: all)"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument(
        "--jobs", type=int, default=1, help="number of workers, each with one thread"
    )
    parser.add_argument("--ledger", metavar="DIR", type=Path, help="directory of ledgers")
    parser.add_argument("--quick", action="store_true", help="one task, 3 groups, 2 epochs")
    options = parser.parse_args()
    chosen = options.task or list(TASKS)
    if options.quick:
        chosen, options.seeds, options.epochs = chosen[:1], 1, 2
    if "SKFMRI_DATA" not in os.environ:
        chosen = [name for name in chosen if "simulated" in name]
        print("SKFMRI_DATA is unset: simulated tasks only.")
    tables = {name: [] for name in chosen}
    for seed in range(options.seeds):
        for name in chosen:
            tables[name].append(evaluate(name, seed, options))
            print(f"{name}, seed {seed}: done", flush=True)
    means = {name: pd.concat(found).groupby(level=0).mean() for name, found in tables.items()}

    print(f"\nAccuracy, {options.seeds} seeds, {options.epochs} epochs")
    accuracy = pd.DataFrame({name: table.mean() for name, table in means.items()})
    print(accuracy.T.to_string(float_format="{:.3f}".format, na_rep="-"))
    for reference in (SVM, LOGISTIC, RIDGE):
        show_gaps(means, reference)


if __name__ == "__main__":
    main()
