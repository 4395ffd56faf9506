"""Count how often noise is called better than chance, and how often an effect is.

Every data set has strong patterns of groups and blocks, which say nothing about the labels. It goes
through `evaluate_decoder` with its default test, one group left out at a time. The decoder is a
ridge classifier. At 5 %, 123 claims in 2,000 data sets are the most that chance explains (one-sided
1 % limit).

balanced    8 runs of 20 volumes, labels balanced in each
one label   16 subjects of 4 volumes with one label each, 8 of either class
unbalanced  8 runs of 20 volumes, 5 to 15 of them of the first class
sites       20 sites of 2 subjects of 4 volumes, one label per subject; groups are sites, blocks are
            subjects
in time     8 runs of 24 volumes of autocorrelated noise, labels in stretches of 6 volumes, no
            blocks passed

With --subjects, data sets hold several subjects, `evaluate_subjects` fits one decoder to each, and
its test of the mean is compared with flipping the signs of score minus chance, once with the best
guess as chance and once with .5.

balanced         8 subjects of 4 runs of 10 volumes, labels balanced in each
unbalanced       8 subjects of 4 runs of 12 volumes, 30 to 80 % of them of the first class
two runs         16 subjects of 2 runs of 4 blocks
two runs, few    3 subjects of 2 runs of 4 blocks
in time          6 subjects of 4 runs of 24 autocorrelated volumes, labels in stretches

With --regression, labels are numbers, the decoder is a ridge regression in 8 folds, and each of R2,
mean absolute error and Spearman correlation is the metric once.

ages              40 subjects of 4 volumes, an age per subject
few ages          8 subjects of 4 volumes, an age per subject
ratings           8 runs of 20 volumes, a rating per volume
runs and ratings  8 runs of 20 volumes, ratings that also differ between runs
rare              8 runs of 20 volumes, a rating that is 0 but for a few large ones
blocks            8 runs of 24 autocorrelated volumes, a rating per block of 6, no blocks passed

Run: python benchmarks/false_claims.py
     python benchmarks/false_claims.py --subjects --n-noise 1000
     python benchmarks/false_claims.py --regression --n-noise 1000
"""

import argparse
import warnings

import numpy as np
from joblib import Parallel, delayed
from scipy.signal import lfilter
from scipy.stats import binom, permutation_test
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.model_selection import GroupKFold

from skfmri import evaluate_decoder, evaluate_subjects

N_VOXELS = 40
LEVEL = 0.05


def balanced(rng):
    return np.tile(np.repeat([0, 1], 10), 8), np.repeat(np.arange(8), 20), np.arange(160)


def one_label(rng):
    labels = rng.permutation(np.repeat([0, 1], 8))
    return np.repeat(labels, 4), np.repeat(np.arange(16), 4), None


def unbalanced(rng):
    n_first = (14, 6, 15, 5, 13, 7, 12, 8)
    y = np.concatenate([np.repeat([0, 1], [n, 20 - n]) for n in n_first])
    return y, np.repeat(np.arange(8), 20), np.arange(160)


def sites(rng):
    labels = rng.integers(0, 2, 40)
    return np.repeat(labels, 4), np.repeat(np.arange(20), 8), np.repeat(np.arange(40), 4)


def in_time(rng):
    y = np.concatenate([np.repeat(rng.permutation([0, 0, 1, 1]), 6) for _ in range(8)])
    return y, np.repeat(np.arange(8), 24), None


DESIGNS = {
    "balanced": balanced,
    "one label": one_label,
    "unbalanced": unbalanced,
    "sites": sites,
    "in time": in_time,
}


def simulate(design, seed, effect):
    """Return samples, labels, groups and blocks."""
    rng = np.random.default_rng(seed)
    y, groups, blocks = DESIGNS[design](rng)
    X = rng.normal(size=(len(y), N_VOXELS))
    if design == "in time":
        # First-order autoregressive, as fMRI noise of a repetition time of about 2 s.
        X = lfilter([1], [1, -0.4], X, axis=0)
    X += 2 * rng.normal(size=(groups.max() + 1, N_VOXELS))[groups]
    if design == "sites":
        X += 1.5 * rng.normal(size=(blocks.max() + 1, N_VOXELS))[blocks]
    X[:, :4] += effect * (y[:, None] - 0.5)
    return X, y, groups, blocks


def is_claimed(design, seed, effect):
    X, y, groups, blocks = simulate(design, seed, effect)
    with warnings.catch_warnings():
        # Of folds of one class, in the designs that have them.
        warnings.simplefilter("ignore")
        result = evaluate_decoder(
            *(RidgeClassifier(), X, y),
            groups=groups,
            blocks=blocks,
            scoring="accuracy",
            baseline=None,
            n_bootstraps=100,
            random_state=seed,
        )
    claims = [text for text in result.sentences() if text.startswith("Better than chance")]
    return bool(claims), result.summary["score"].iloc[0]


def balanced_runs(rng):
    return np.tile(np.repeat([0, 1], 5), 4), np.repeat(np.arange(4), 10), np.arange(40)


def unbalanced_runs(rng):
    share = rng.choice([0.3, 0.5, 0.7, 0.8])
    n_first = np.clip(np.round(12 * share) + rng.integers(-2, 3, 4), 2, 10).astype(int)
    y = np.concatenate([np.repeat([0, 1], [n, 12 - n]) for n in n_first])
    return y, np.repeat(np.arange(4), 12), np.arange(48)


def two_runs(rng):
    y = np.concatenate([np.repeat(rng.permutation([0, 0, 1, 1]), 3) for _ in range(2)])
    return y, np.repeat(np.arange(2), 12), np.repeat(np.arange(8), 3)


def runs_in_time(rng):
    y = np.concatenate([np.repeat(rng.permutation([0, 0, 1, 1]), 6) for _ in range(4)])
    return y, np.repeat(np.arange(4), 24), np.repeat(np.arange(16), 6)


SUBJECT_DESIGNS = {
    "balanced": (balanced_runs, 8),
    "unbalanced": (unbalanced_runs, 8),
    "two runs": (two_runs, 16),
    "two runs, few": (two_runs, 3),
    "in time": (runs_in_time, 6),
}


def simulate_subjects(design, seed, effect):
    """Return samples, labels, groups, blocks and subjects."""
    rng, parts = np.random.default_rng(seed), []
    make, n_subjects = SUBJECT_DESIGNS[design]
    for subject in range(n_subjects):
        y, groups, blocks = make(rng)
        X = rng.normal(size=(len(y), N_VOXELS))
        if design == "in time":
            X = lfilter([1], [1, -0.4], X, axis=0)
        X += 2 * rng.normal(size=(groups.max() + 1, N_VOXELS))[groups]
        if len(np.unique(blocks)) < len(y):
            X += 1.5 * rng.normal(size=(blocks.max() + 1, N_VOXELS))[blocks]
        X[:, :4] += effect * (y[:, None] - 0.5)
        parts.append((X, y, groups, blocks, np.full(len(y), subject)))
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def are_claimed_of_subjects(design, seed, effect):
    """Return whether each of three tests claims an effect, and the mean score."""
    X, y, groups, blocks, subjects = simulate_subjects(design, seed, effect)
    result = evaluate_subjects(
        *(RidgeClassifier(), X, y),
        subjects=subjects,
        groups=groups,
        blocks=blocks,
        scoring="accuracy",
        baseline=None,
        n_bootstraps=100,
        random_state=seed,
    )
    own = result.subjects[result.subjects["model"] == "decoder"]
    test = result.permutation_test
    pvalues = [
        1 if test is None else test.pvalue,
        *(flipped_signs(own["score"] - chance) for chance in (own["chance"], 0.5)),
    ]
    return [p <= LEVEL for p in pvalues], own["score"].mean()


def flipped_signs(gaps):
    """Return the one-sided p-value of a mean when signs are flipped."""
    return permutation_test(
        (gaps.to_numpy(),), np.mean, permutation_type="samples", alternative="greater"
    ).pvalue


def compare_tests_of_subjects(args):
    """Print how often three tests of the mean over subjects claim an effect."""
    print(f"{'':<16}{'':<10}{'of sets':>8}{'shuffled':>10}{'signs':>8}{'signs, .5':>11}{'mean':>7}")
    for design in SUBJECT_DESIGNS:
        for name, n_sets, effect in (("noise", args.n_noise, 0.0), ("effect", args.n_effect, 1.0)):
            tasks = (delayed(are_claimed_of_subjects)(design, n, effect) for n in range(n_sets))
            claims, scores = zip(*Parallel(args.jobs)(tasks), strict=True)
            shuffled, signs, of_half = np.sum(claims, axis=0)
            print(
                f"{design:<16}{name:<10}{n_sets:>8}{shuffled:>10}{signs:>8}{of_half:>11}"
                f"{np.mean(scores):>7.3f}",
                flush=True,
            )


def ages(rng, n_subjects=40):
    return np.repeat(rng.uniform(20, 80, n_subjects), 4), np.repeat(np.arange(n_subjects), 4)


def few_ages(rng):
    return ages(rng, 8)


def ratings(rng):
    return rng.normal(size=160), np.repeat(np.arange(8), 20)


def ratings_of_runs(rng):
    y, groups = ratings(rng)
    return y + 2 * rng.normal(size=8)[groups], groups


def rare(rng):
    y, groups = ratings(rng)
    return np.where(rng.uniform(size=160) < 0.1, 10 * np.abs(y), 0), groups


def rated_blocks(rng):
    return np.repeat(rng.normal(size=32), 6), np.repeat(np.arange(8), 24)


NUMBER_DESIGNS = {
    "ages": ages,
    "few ages": few_ages,
    "ratings": ratings,
    "runs and ratings": ratings_of_runs,
    "rare": rare,
    "blocks": rated_blocks,
}
NUMBER_METRICS = ("r2", "neg_mean_absolute_error", "spearman")


def are_claimed_of_numbers(design, seed, effect):
    """Return whether the test of each metric claims an effect, and R2."""
    rng = np.random.default_rng(seed)
    y, groups = NUMBER_DESIGNS[design](rng)
    X = rng.normal(size=(len(y), N_VOXELS))
    if design == "blocks":
        X = lfilter([1], [1, -0.4], X, axis=0)
    X += 2 * rng.normal(size=(groups.max() + 1, N_VOXELS))[groups]
    X[:, :4] += effect * ((y - y.mean()) / y.std())[:, None]
    claims, scores = [], []
    for metric in NUMBER_METRICS:
        result = evaluate_decoder(
            *(Ridge(), X, y),
            groups=groups,
            cv=GroupKFold(8),
            scoring=metric,
            baseline=None,
            n_bootstraps=100,
            random_state=seed,
        )
        test = result.permutation_test
        claims.append(test is not None and test.pvalue <= LEVEL)
        scores.append(result.summary["score"].iloc[0])
    return claims, scores[0]


def compare_metrics_of_numbers(args):
    """Print how often the test of each metric claims an effect."""
    titles = ("R2", "absolute", "Spearman")
    print(
        f"{'':<18}{'':<8}{'of sets':>8}{''.join(f'{title:>10}' for title in titles)}{'mean R2':>9}"
    )
    for design in NUMBER_DESIGNS:
        for name, n_sets, effect in (("noise", args.n_noise, 0.0), ("effect", args.n_effect, 1.0)):
            tasks = (delayed(are_claimed_of_numbers)(design, n, effect) for n in range(n_sets))
            claims, scores = zip(*Parallel(args.jobs)(tasks), strict=True)
            counts = "".join(f"{count:>10}" for count in np.sum(claims, axis=0))
            print(f"{design:<18}{name:<8}{n_sets:>8}{counts}{np.mean(scores):>9.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n-noise", type=int, default=2000, help="data sets without an effect")
    parser.add_argument("--n-effect", type=int, default=200, help="data sets with an effect")
    parser.add_argument("--jobs", type=int, default=None, help="number of processes")
    parser.add_argument("--subjects", action="store_true", help="one decoder per subject")
    parser.add_argument("--regression", action="store_true", help="labels that are numbers")
    args = parser.parse_args()
    most = int(binom.ppf(0.99, args.n_noise, LEVEL))
    print(f"claims at {LEVEL:.0%}; noise: at most {most} of {args.n_noise} are chance")
    if args.subjects:
        compare_tests_of_subjects(args)
        return
    if args.regression:
        compare_metrics_of_numbers(args)
        return
    print(f"{'design':<12}{'noise':>14}{'accuracy':>10}{'effect':>14}{'accuracy':>10}")
    for design in DESIGNS:
        row = f"{design:<12}"
        effect_size = 4.0 if design in ("one label", "sites") else 2.0
        for n_sets, effect in ((args.n_noise, 0.0), (args.n_effect, effect_size)):
            tasks = (delayed(is_claimed)(design, seed, effect) for seed in range(n_sets))
            claims, scores = zip(*Parallel(args.jobs)(tasks), strict=True)
            row += f"{sum(claims):>6} of {n_sets:<5}{np.mean(scores):>9.3f}"
        print(row, flush=True)


if __name__ == "__main__":
    main()
