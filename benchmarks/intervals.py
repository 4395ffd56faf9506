"""Simulate decoders with a known answer, to see if intervals cover it and if p is uniform.

accuracy    `bootstrap_interval` of the accuracies of groups that are drawn from a population with a
            known mean accuracy: 95 % of the intervals should cover that mean
decoders    the same through `evaluate_decoder`, one group left out at a time: the accuracy of a
            nearest-centroid decoder, and its difference from logistic regression by the bootstrap
            and by the corrected t-test; the true value is the mean over all simulations
numbers     `bootstrap_interval_of_sums` of R2, errors and correlations of predictions with a known
            relation to labels, which are constant within groups or not
p-values    `evaluate_decoder(n_permutations=)` with meaningless labels: p <= a should occur with
            probability a; if volumes of a block are alike, only if blocks are kept together

Run: python benchmarks/intervals.py
"""

import argparse
import warnings
from functools import partial

import numpy as np
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

from skfmri import evaluate_decoder
from skfmri.evaluation.sums import mean_score, sum_by
from skfmri.statistics import bootstrap_interval, bootstrap_interval_of_sums

LEVELS = (0.05, 0.1, 0.2, 0.5)


def covered(lows, highs, truth):
    """Return how many intervals contain the truth, in percent with its standard error, as text."""
    inside = np.mean((np.array(lows) <= truth) & (truth <= np.array(highs)))
    error = np.sqrt(inside * (1 - inside) / len(lows))
    return f"{100 * inside:5.1f} % +- {100 * error:.1f}"


def simulate_accuracies(rng, n_groups, accuracy, spread, sizes):
    """Return accuracies of groups around a population mean, and the sizes of the groups."""
    n_volumes = rng.integers(*sizes, size=n_groups, endpoint=True)
    of_group = np.full(n_groups, accuracy)
    if spread:
        # A beta distribution with this mean and standard deviation.
        total = accuracy * (1 - accuracy) / spread**2 - 1
        of_group = rng.beta(accuracy * total, (1 - accuracy) * total, size=n_groups)
    return rng.binomial(n_volumes, of_group) / n_volumes, n_volumes


def coverage_of_accuracies(n_simulations):
    print(f"\naccuracy: coverage of the 95 % interval in {n_simulations} simulations")
    print(f"{'groups':>7}{'accuracy':>10}{'spread':>8}{'volumes':>10}{'coverage':>18}")
    rng = np.random.default_rng(0)
    for n_groups in (6, 8, 12, 48):
        for accuracy in (0.5, 0.7, 0.9):
            for spread, sizes in ((0, (24, 24)), (0.1, (24, 24)), (0.1, (12, 36))):
                ends = []
                for _ in range(n_simulations):
                    scores, weights = simulate_accuracies(rng, n_groups, accuracy, spread, sizes)
                    ends.append(bootstrap_interval(scores, weights, random_state=rng))
                text = covered(*zip(*ends, strict=True), accuracy)
                shown = f"{sizes[0]}-{sizes[1]}"
                print(f"{n_groups:>7}{accuracy:>10}{spread:>8}{shown:>10}{text:>18}", flush=True)


def simulate_volumes(rng, n_groups, effect, n_blocks=4, block_spread=0.0, n_features=8):
    """Return features, labels, groups and blocks; the strength of the effect varies by group."""
    n_samples, per_block = n_groups * n_blocks * 4, 4
    groups = np.repeat(np.arange(n_groups), n_samples // n_groups)
    blocks = np.repeat(np.arange(n_samples // per_block), per_block)
    of_block = np.concatenate([rng.permutation(n_blocks) % 2 for _ in range(n_groups)])
    y = of_block[blocks]
    strength = effect * rng.uniform(0.2, 1.8, size=n_groups)[groups]
    X = rng.normal(size=(n_samples, n_features))
    X += block_spread * rng.normal(size=(len(of_block), n_features))[blocks]
    X[:, 0] += strength * (2 * y - 1)
    return X, y, groups, blocks


def coverage_of_decoders(n_simulations):
    print(f"\ndecoders: coverage of 95 % intervals in {n_simulations} simulated data sets")
    print(f"{'groups':>7}{'accuracy':>10}{'interval':>18}{'difference':>12}", end="")
    print(f"{'bootstrap':>18}{'t-test':>18}")
    rng = np.random.default_rng(1)
    for n_groups in (6, 12):
        for effect in (0.3, 0.8):
            rows = []
            for _ in range(n_simulations):
                X, y, groups, _ = simulate_volumes(rng, n_groups, effect)
                result = evaluate_decoder(
                    NearestCentroid(),
                    X,
                    y,
                    groups=groups,
                    scoring="accuracy",
                    baseline=LogisticRegression(C=100),
                    n_bootstraps=2000,
                    random_state=0,
                )
                rows.append((result.summary.iloc[0], result.comparisons.iloc[0]))
            summary, difference = map(list, zip(*rows, strict=True))
            accuracy = np.mean([row["score"] for row in summary])
            gap = np.mean([row["difference"] for row in difference])
            texts = [
                covered([row[low] for row in table], [row[high] for row in table], truth)
                for table, truth, low, high in (
                    (summary, accuracy, "low", "high"),
                    (difference, gap, "group_low", "group_high"),
                    (difference, gap, "low", "high"),
                )
            ]
            print(
                f"{n_groups:>7}{accuracy:>10.3f}{texts[0]:>18}{gap:>+12.4f}"
                f"{texts[1]:>18}{texts[2]:>18}",
                flush=True,
            )


def simulate_predictions(rng, n_groups, is_constant, per_group=4):
    """Return labels and predictions that share patterns of groups, and the groups."""
    groups = np.repeat(np.arange(n_groups), per_group)
    labels, gaps = rng.normal(size=(2, n_groups))[:, groups]
    if not is_constant:
        labels = labels + rng.normal(size=len(groups))
    return labels, 0.5 * (labels + gaps + rng.normal(size=len(groups))), groups


def coverage_of_numbers(n_simulations):
    print(f"\nnumbers: coverage of the 95 % interval in {n_simulations} simulations")
    metrics = ("r2", "neg_mean_absolute_error", "pearson", "spearman")
    print(f"{'label':>12}{'groups':>7}{'metric':>25}{'truth':>8}{'coverage':>18}")
    for is_constant in (True, False):
        label = "per group" if is_constant else "per sample"
        population = simulate_predictions(np.random.default_rng(1), 100_000, is_constant)
        for n_groups in (8, 12, 40):
            for metric in metrics:
                whole = sum_by(metric, *population[:2], np.zeros(len(population[2]), int), 1)
                truth, ends, rng = mean_score(metric, whole), [], np.random.default_rng(0)
                for _ in range(n_simulations):
                    drawn = simulate_predictions(rng, n_groups, is_constant)
                    sums = sum_by(metric, *drawn, n_groups)[:, np.newaxis]
                    score = partial(mean_score, metric)
                    ends.append(bootstrap_interval_of_sums(sums, score, random_state=rng))
                text = covered(*zip(*ends, strict=True), truth)
                print(f"{label:>12}{n_groups:>7}{metric:>25}{truth:>8.2f}{text:>18}", flush=True)


def p_values(n_simulations, n_permutations):
    print(
        f"\np-values: fraction of p <= a in {n_simulations} simulated data sets without an effect"
    )
    print(f"{'volumes':<32}{'permuted':<10}", end="")
    print("".join(f"{f'a = {level}':>10}" for level in LEVELS), end="")
    print(f"{'permutations':>14}{'uniform, p':>12}")
    for alike, together in ((0.0, False), (1.0, True), (1.0, False)):
        rng = np.random.default_rng(2)
        found, used = [], []
        for number in range(n_simulations):
            X, y, groups, blocks = simulate_volumes(rng, 6, effect=0, block_spread=alike)
            test = evaluate_decoder(
                NearestCentroid(),
                X,
                y,
                groups=groups,
                # Unlike accuracies, rarely equal for two permutations.
                scoring="roc_auc",
                baseline=None,
                blocks=blocks if together else np.arange(len(y)),
                n_permutations=n_permutations,
                n_bootstraps=100,
                random_state=number,
            ).permutation_test
            found.append(test.pvalue)
            used.append(test.n_permutations)
        name = "alike within a block" if alike else "independent"
        shares = [np.mean(np.array(found) <= level) for level in LEVELS]
        # Every level is a possible p, so the shares between levels are known if p is uniform.
        edges = np.array([0, *LEVELS, 1])
        observed = np.histogram(found, edges + 1e-9 * (edges > 0))[0]
        uniform = stats.chisquare(observed, len(found) * np.diff(edges)).pvalue
        print(
            f"{name:<32}{'blocks' if together else 'volumes':<10}"
            + "".join(f"{share:>10.3f}" for share in shares)
            + f"{np.mean(used):>14.0f}{uniform:>12.3f}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=500)
    parser.add_argument(
        "--permutations", type=int, default=199, help="largest number for each p-value"
    )
    parser.add_argument("--only", choices=("accuracy", "decoders", "numbers", "p-values"))
    parser.add_argument("--quick", action="store_true", help="10 simulations, 9 permutations")
    options = parser.parse_args()
    if options.quick:
        options.simulations, options.permutations = 10, 9
    # All groups, and so all folds, have the same size here; no other warning is hidden.
    warnings.filterwarnings("ignore", message=".*groups parameter is ignored")
    if options.only in (None, "accuracy"):
        coverage_of_accuracies(options.simulations)
    if options.only in (None, "decoders"):
        coverage_of_decoders(options.simulations)
    if options.only in (None, "numbers"):
        coverage_of_numbers(options.simulations)
    if options.only in (None, "p-values"):
        p_values(options.simulations, options.permutations)


if __name__ == "__main__":
    main()
