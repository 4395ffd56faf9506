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

Run: python benchmarks/false_claims.py
"""

import argparse
import warnings

import numpy as np
from joblib import Parallel, delayed
from scipy.signal import lfilter
from scipy.stats import binom
from sklearn.linear_model import RidgeClassifier

from skfmri import evaluate_decoder

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


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n-noise", type=int, default=2000, help="data sets without an effect")
    parser.add_argument("--n-effect", type=int, default=200, help="data sets with an effect")
    parser.add_argument("--jobs", type=int, default=None, help="number of processes")
    args = parser.parse_args()
    most = int(binom.ppf(0.99, args.n_noise, LEVEL))
    print(f"claims at {LEVEL:.0%}; noise: at most {most} of {args.n_noise} are chance")
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
