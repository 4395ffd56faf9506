"""Show that simulated data score as intended, and how much a random split inflates scores.

Each row is one linear baseline on all voxels of brain and eyes, z-scored on the training volumes
of each fold. "By chunk" leaves out one chunk of subjects at a time; "at random" assigns volumes to
the same number of folds at random. The numbers are mean accuracies over folds.

With --ages, it is the simulated ages: R2 of a ridge on the default slab, the mean over five folds
of subjects, for age and for its squared distance from 50 years. No linear model should find in one
effect what only the other one shows.
"""

import argparse
import time

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import (
    GroupKFold,
    LeaveOneGroupOut,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC

from skfmri import DecodingPipeline, NiftiSamples, NiftiSlabRotator, VoxelZScorer
from skfmri.datasets import make_ages, make_eyes_open_closed

LOWEST, HIGHEST = 0.83, 0.88
LOGISTIC = "logistic regression"
CLASSIFIERS = {
    LOGISTIC: LogisticRegression(max_iter=1000),
    "linear SVC": LinearSVC(),
    "Gaussian naive Bayes": GaussianNB(),
}

RIDGE = DecodingPipeline(
    [
        ("slab", NiftiSlabRotator()),
        ("zscore", VoxelZScorer()),
        ("flatten", FunctionTransformer(lambda slabs: slabs.reshape(len(slabs), -1))),
        ("ridge", RidgeCV(alphas=np.logspace(1, 6, 11))),
    ]
)
AGE_EFFECTS = {"both effects": (1, 1), "linear only": (1, 0), "nonlinear only": (0, 1)}
TARGETS = {"age": lambda ages: ages, "(age - 50)^2": lambda ages: (ages - 50) ** 2}


def splits(data, by_chunk):
    if by_chunk:
        return LeaveOneGroupOut().split(data.labels, data.labels, data.chunks)
    folds = StratifiedKFold(len(np.unique(data.chunks)), shuffle=True, random_state=0)
    return folds.split(data.labels, data.labels)


def fold_scores(data, by_chunk, classifiers):
    """Return the accuracy of each classifier in each fold, which is z-scored once for all."""
    maps = np.asarray(data.images.dataobj)
    X = np.ascontiguousarray(maps[maps[..., 0] != 0].T)
    scores = {name: [] for name in classifiers}
    for train, test in splits(data, by_chunk):
        scaler = StandardScaler().fit(X[train])
        train_maps, test_maps = scaler.transform(X[train]), scaler.transform(X[test])
        for name, classifier in classifiers.items():
            model = clone(classifier).fit(train_maps, data.labels[train])
            scores[name].append(model.score(test_maps, data.labels[test]))
    return scores


def table(seeds, n_subjects, classifiers):
    """Return mean accuracies by effect size, classifier and kind of split, one per seed."""
    results = {}
    for effect_size in (1, 0):
        for seed in seeds:
            data = make_eyes_open_closed(n_subjects, effect_size=effect_size, random_state=seed)
            for by_chunk in (True, False):
                for name, scores in fold_scores(data, by_chunk, classifiers).items():
                    key = effect_size, name, by_chunk
                    results.setdefault(key, []).append(np.mean(scores))
    return results


def spread(values):
    text = f"{np.mean(values):.3f}"
    return f"{text} ({min(values):.3f}-{max(values):.3f})" if len(values) > 1 else text


def conclusion(results, n_subjects):
    by_chunk = np.mean(results[1, LOGISTIC, True])
    at_random = np.mean(results[1, LOGISTIC, False])
    text = (
        f"A random split of volumes inflates the accuracy of {LOGISTIC} by "
        f"{at_random - by_chunk:.3f}; without any effect, it scores "
        f"{np.mean(results[0, LOGISTIC, False]) - 0.5:.3f} above chance"
    )
    if n_subjects != 48:
        return f"{text}; the range {LOWEST} to {HIGHEST} only applies to 48 subjects."
    verdict = "inside" if LOWEST <= by_chunk <= HIGHEST else "OUTSIDE"
    return f"{text}; {by_chunk:.3f} by chunk is {verdict} the range {LOWEST} to {HIGHEST}."


def show_eyes(n_seeds, n_subjects, quick):
    """Print accuracies by effect size, classifier and kind of split."""
    classifiers = {LOGISTIC: CLASSIFIERS[LOGISTIC]} if quick else CLASSIFIERS

    start = time.perf_counter()
    data = make_eyes_open_closed(n_subjects, random_state=0)
    seconds = time.perf_counter() - start
    print(f"{' x '.join(map(str, data.images.shape))} values simulated in {seconds:.1f} s\n")
    results = table(range(n_seeds), n_subjects, classifiers)
    print(f"{'effect':<8}{'classifier':<22}{'by chunk':>22}{'at random':>22}")
    for effect_size in (1, 0):
        for name in classifiers:
            columns = (spread(results[effect_size, name, split]) for split in (True, False))
            print(f"{effect_size:<8}{name:<22}" + "".join(f"{text:>22}" for text in columns))
    print(f"\n{conclusion(results, n_subjects)}")


def show_ages(n_seeds, n_subjects):
    """Print R2 of the ridge by effect and target, with the standard error over seeds."""
    print(f"{n_subjects} subjects, one map each, {n_seeds} seeds: mean R2 (standard error)\n")
    print(f"{'':<16}" + "".join(f"{target:>18}" for target in TARGETS))
    for name, (linear, nonlinear) in AGE_EFFECTS.items():
        scores = np.empty((n_seeds, len(TARGETS)))
        for seed in range(n_seeds):
            data = make_ages(
                n_subjects, linear_size=linear, nonlinear_size=nonlinear, random_state=seed
            )
            samples = NiftiSamples(data.images, groups=data.subjects)
            scores[seed] = [
                cross_val_score(
                    RIDGE, samples, target(data.ages), groups=data.subjects, cv=GroupKFold(5)
                ).mean()
                for target in TARGETS.values()
            ]
        errors = scores.std(axis=0, ddof=1) / np.sqrt(n_seeds) if n_seeds > 1 else [np.nan] * 2
        cells = zip(scores.mean(axis=0), errors, strict=True)
        print(f"{name:<16}" + "".join(f"{f'{r2:.3f} ({se:.3f})':>18}" for r2, se in cells))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds 0 to N - 1")
    parser.add_argument(
        "--subjects", type=int, help="default: 48, or any multiple of 6; with --ages 100"
    )
    parser.add_argument("--quick", action="store_true", help="logistic regression only")
    parser.add_argument("--ages", action="store_true", help="the ages instead of the eyes")
    options = parser.parse_args()
    if options.ages:
        show_ages(options.seeds, options.subjects or 100)
    else:
        show_eyes(options.seeds, options.subjects or 48, options.quick)


if __name__ == "__main__":
    main()
