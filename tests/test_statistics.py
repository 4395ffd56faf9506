from itertools import count

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, permutation_test_score

from skfmri.statistics import (
    bootstrap_interval,
    corrected_resampled_t_test,
    exchangeable_units,
    label_stretches,
    permutation_scheme,
    permute_labels,
    prediction_permutation_test,
    sequential_permutation_test,
)


class TestBootstrapInterval:
    def test_equal_scores_leave_no_doubt(self):
        assert bootstrap_interval([0.7, 0.7, 0.7]) == (0.7, 0.7)

    def test_one_group_says_nothing(self):
        assert np.isnan(bootstrap_interval([0.7])).all()

    def test_two_groups_span_the_interval(self):
        # Both drawn means, 0.6 and 0.8, have a chance of a quarter each.
        assert bootstrap_interval([0.6, 0.8], random_state=0) == (0.6, 0.8)

    def test_many_groups_give_the_interval_of_the_mean(self):
        scores = np.random.default_rng(0).normal(0.7, 0.1, size=400)
        expected = stats.t.interval(0.9, 399, scores.mean(), stats.sem(scores))
        interval = bootstrap_interval(scores, n_bootstraps=40_000, confidence=0.9, random_state=0)
        np.testing.assert_allclose(interval, expected, atol=3e-4)

    def test_few_groups_reach_further_than_plain_percentiles(self):
        scores = np.array([0.6, 0.7, 0.8, 0.75, 0.9, 0.5])
        rng = np.random.default_rng(0)
        means = rng.choice(scores, size=(20_000, 6)).mean(axis=1)
        low, high = bootstrap_interval(scores, random_state=0)
        plain_low, plain_high = np.quantile(means, [0.025, 0.975])
        assert scores.min() <= low < plain_low < plain_high < high <= scores.max()
        # Hesterberg's table gives 0.24 % instead of 2.5 % on either side for six groups.
        np.testing.assert_allclose((low, high), np.quantile(means, [0.0024, 0.9976]), atol=0.01)

    def test_a_weight_counts_as_often_as_it_says(self):
        # A group of all the weight decides whenever it is drawn, that is in 3 of 4 cases.
        low, high = bootstrap_interval([0.5, 0.9], [1e6, 1], random_state=0)
        assert low == pytest.approx(0.5, abs=1e-4)
        assert high == 0.9
        equal = bootstrap_interval([0.5, 0.6, 0.9], [2, 2, 2], random_state=1)
        assert equal == bootstrap_interval([0.5, 0.6, 0.9], random_state=1)

    def test_skew_moves_both_ends_outwards_where_the_long_tail_is(self):
        # Most groups score near 1: the truth may lie far below, but not far above.
        scores = np.array([0.55, 0.9, 0.95, 0.95, 1.0, 1.0, 1.0, 1.0])
        low, high = bootstrap_interval(scores, random_state=0)
        means = np.random.default_rng(0).choice(scores, size=(20_000, 8)).mean(axis=1)
        reach = np.sqrt(8 / 7) * stats.t.ppf(0.975, 7)
        expanded = np.quantile(means, stats.norm.cdf([-reach, reach]))
        assert low < expanded[0] - 0.01
        assert high < expanded[1]

    def test_the_memory_of_many_groups_is_bounded_without_a_change(self, monkeypatch):
        scores = np.random.default_rng(0).normal(size=20)
        whole = bootstrap_interval(scores, random_state=0)
        monkeypatch.setattr("skfmri.statistics.intervals.N_DRAWN", 1000)
        assert bootstrap_interval(scores, random_state=0) == whole

    def test_95_percent_of_the_intervals_hold_the_truth(self):
        rng, truth, hits = np.random.default_rng(0), 0.7, 0
        for _ in range(500):
            accuracies = rng.binomial(16, rng.beta(14, 6, size=8)) / 16
            low, high = bootstrap_interval(accuracies, n_bootstraps=2000, random_state=rng)
            hits += low <= truth <= high
        assert 0.92 <= hits / 500 <= 0.98

    @pytest.mark.parametrize(
        ("scores", "options", "message"),
        [
            ([[0.5, 0.6]], {}, r"scores has shape \(1, 2\)"),
            ([], {}, r"scores has shape \(0,\)"),
            ([0.5, np.nan], {}, "Found 1 scores that are not finite among 2"),
            ([0.5, 0.6], {"weights": [1]}, r"weights has shape \(1,\) for 2 groups"),
            ([0.5, 0.6], {"weights": [1, 0]}, "one number above 0"),
            ([0.5, 0.6], {"confidence": 95}, "confidence must lie between 0 and 1, but is 95"),
            ([0.5, 0.6], {"n_bootstraps": 0}, "n_bootstraps must be an integer of at least 100"),
        ],
    )
    def test_bad_input_says_what_is_wrong(self, scores, options, message):
        with pytest.raises(ValueError, match=message):
            bootstrap_interval(scores, **options)


class TestCorrectedTTest:
    def test_by_hand(self):
        # mean 0.1, variance 0.01, (1/3 + 20/40) * 0.01 = 1/120, t = 0.1 * sqrt(120)
        result = corrected_resampled_t_test([0.0, 0.1, 0.2], n_train=40, n_test=20)
        assert result.mean == pytest.approx(0.1)
        assert result.statistic == pytest.approx(0.1 * np.sqrt(120))
        assert result.df == 2
        # With 2 degrees of freedom P(T > t) = (1 - t / sqrt(2 + t^2)) / 2.
        t = 0.1 * np.sqrt(120)
        assert result.pvalue == pytest.approx(1 - t / np.sqrt(2 + t**2))
        # The 97.5 % quantile of t with 2 degrees of freedom is 4.302653.
        assert result.high == pytest.approx(0.1 + 4.302653 / np.sqrt(120), rel=1e-6)
        assert result.low == pytest.approx(0.1 - 4.302653 / np.sqrt(120), rel=1e-6)

    def test_without_test_samples_it_is_the_plain_t_test(self):
        differences = np.random.default_rng(0).normal(0.1, 1, size=12)
        plain = stats.ttest_1samp(differences, 0)
        result = corrected_resampled_t_test(differences, n_train=10**12, n_test=1)
        assert result.statistic == pytest.approx(plain.statistic)
        assert result.pvalue == pytest.approx(plain.pvalue)
        np.testing.assert_allclose(result[4:], plain.confidence_interval(0.95))

    def test_sizes_of_folds_are_averaged(self):
        differences = [0.1, 0.3, 0.0]
        one = corrected_resampled_t_test(differences, [40, 20, 40], [20, 40, 20])
        other = corrected_resampled_t_test(differences, 1, 1)
        assert one == pytest.approx(other)

    def test_no_spread_is_no_doubt(self):
        result = corrected_resampled_t_test([0.1] * 5, 4, 1)
        assert (result.pvalue, result.statistic) == (0, np.inf)
        assert result.low == result.high == pytest.approx(0.1)
        assert corrected_resampled_t_test([0.0] * 5, 4, 1)[1:3] == (0, 1)

    def test_one_fold_says_nothing(self):
        result = corrected_resampled_t_test([0.2], 4, 1)
        assert result.mean == 0.2
        assert np.isnan([result.pvalue, result.low, result.high]).all()

    def test_other_fold_sizes_than_differences_are_refused(self):
        with pytest.raises(ValueError, match="Found 2 fold sizes for 3 differences"):
            corrected_resampled_t_test([0, 1, 2], [4, 4], [1, 1])


@st.composite
def studies(draw):
    n_samples = draw(st.integers(2, 30))
    groups = draw(st.lists(st.integers(0, 3), min_size=n_samples, max_size=n_samples))
    blocks = draw(st.lists(st.integers(0, 3), min_size=n_samples, max_size=n_samples))
    label = {key: draw(st.sampled_from("abc")) for key in set(zip(groups, blocks, strict=True))}
    y = [label[key] for key in zip(groups, blocks, strict=True)]
    return np.array(y), np.array(groups), np.array(blocks)


def can_move(y, groups):
    return any(len(set(y[groups == group])) > 1 for group in groups)


class TestPermuteLabels:
    @given(studies(), st.integers(0, 2**31))
    def test_each_group_keeps_its_labels(self, study, seed):
        y, groups, _ = study
        if can_move(y, groups):
            shuffled = permute_labels(y, groups, random_state=seed)
            for group in groups:
                assert sorted(shuffled[groups == group]) == sorted(y[groups == group])

    @given(studies(), st.integers(0, 2**31))
    def test_blocks_stay_whole_and_exchange_their_labels(self, study, seed):
        y, groups, blocks = study
        if can_move(y, groups):
            before = y.copy()
            shuffled = permute_labels(y, groups, blocks=blocks, random_state=seed)
            assert (y == before).all()
            for group in groups:
                inside = groups == group
                names = np.unique(blocks[inside])
                labels = [shuffled[inside & (blocks == name)] for name in names]
                assert all(len(set(of_block)) == 1 for of_block in labels)
                was = sorted(y[inside & (blocks == name)][0] for name in names)
                assert sorted(of_block[0] for of_block in labels) == was

    def test_all_orders_are_alike(self):
        rng, seen = np.random.default_rng(0), {}
        for _ in range(6000):
            key = "".join(permute_labels(list("aabb"), [7] * 4, random_state=rng))
            seen[key] = seen.get(key, 0) + 1
        assert len(seen) == 6
        assert stats.chisquare(list(seen.values())).pvalue > 0.001

    def test_reordered_stretches_keep_labels_as_frequent_as_they_are(self):
        y, groups = np.array(list("aaaabaaab" + "bba")), np.repeat([1, 2], [9, 3])
        blocks, seen = label_stretches(y, groups), set()
        for seed in range(50):
            shuffled = permute_labels(y, groups, blocks=blocks, reorder=True, random_state=seed)
            for group in (1, 2):
                assert sorted(shuffled[groups == group]) == sorted(y[groups == group])
            seen.add("".join(shuffled[groups == 1]))
        # The stretches are aaaa, b, aaa, b; two of a that meet make one.
        lengths = {4, 3, 7}
        assert all({len(part) for part in text.split("b") if part} <= lengths for text in seen)
        assert {"aaaabaaab", "baaaabaaa", "aaaaaaabb", "bbaaaaaaa"} <= seen

    def test_stretches_of_one_length_are_reordered_as_they_are_exchanged(self):
        y, groups = np.repeat(list("abcabc"), 2), np.repeat([1, 2], 6)
        options = {"blocks": label_stretches(y, groups), "random_state": 3}
        exchanged, reordered = (
            permute_labels(y, groups, reorder=reorder, **options) for reorder in (False, True)
        )
        assert (exchanged == reordered).all()
        assert (exchanged != y).any()

    def test_a_seed_repeats_it(self):
        y, groups = np.tile([1, 2, 3], 20), np.arange(60) // 15
        one, again, other = (permute_labels(y, groups, random_state=seed) for seed in (1, 1, 2))
        assert (one == again).all()
        assert (one != other).any()
        assert one.dtype == y.dtype

    def test_a_block_of_two_labels_is_named(self):
        message = "Block 5 of group r1 holds the labels a and b"
        with pytest.raises(ValueError, match=message):
            permute_labels(list("aab"), ["r1"] * 3, blocks=[4, 5, 5])

    def test_labels_of_whole_groups_move_if_each_group_has_one(self):
        groups, seen = np.array([3, 1, 3, 2, 2, 2]), set()
        y = np.array(list("babccc"))
        assert permutation_scheme(y, groups) == "groups"
        for seed in range(60):
            shuffled = permute_labels(y, groups, random_state=seed)
            of_group = [shuffled[groups == group] for group in (1, 2, 3)]
            assert all(len(set(labels)) == 1 for labels in of_group)
            seen.add("".join(labels[0] for labels in of_group))
            same = permute_labels(y, groups, scheme="groups", random_state=seed)
            assert (shuffled == same).all()
        assert seen == {"abc", "acb", "bac", "bca", "cab", "cba"}

    def test_all_orders_of_whole_groups_are_alike(self):
        rng, groups = np.random.default_rng(0), np.array([1, 2, 2, 2, 3, 4, 4])
        y, seen = np.array([0, 0, 0, 0, 1, 1, 1]), {}
        for _ in range(6000):
            shuffled = permute_labels(y, groups, random_state=rng)
            key = tuple(shuffled[[0, 1, 4, 5]].tolist())
            seen[key] = seen.get(key, 0) + 1
        assert len(seen) == 6
        assert stats.chisquare(list(seen.values())).pvalue > 0.001

    def test_one_group_of_two_labels_is_enough_to_stay_within_groups(self):
        y, groups = np.array(list("aabbab")), np.array([1, 1, 2, 2, 3, 3])
        assert permutation_scheme(y, groups) == "within"
        for seed in range(20):
            shuffled = permute_labels(y, groups, random_state=seed)
            assert shuffled[:4].tolist() == list("aabb")
            assert sorted(shuffled[4:]) == ["a", "b"]

    def test_a_scheme_that_does_not_suit_the_groups_is_refused_with_the_reason(self):
        with pytest.raises(ValueError, match="Every group holds one label only, so labels cannot"):
            permute_labels(list("aabb"), [1, 1, 2, 2], scheme="within")
        message = "Group r2 holds the labels b and a, so the labels of whole groups cannot"
        with pytest.raises(ValueError, match=message):
            permute_labels(list("aaba"), ["r1", "r1", "r2", "r2"], scheme="groups")
        with pytest.raises(ValueError, match="must be 'auto', 'within' or 'groups', but is 'all'"):
            permute_labels(list("abab"), [1, 1, 2, 2], scheme="all")

    @pytest.mark.parametrize("scheme", ["auto", "within", "groups"])
    def test_equal_labels_are_refused(self, scheme):
        with pytest.raises(ValueError, match="All 3 samples share one label, so there is nothing"):
            permute_labels([7, 7, 7], [1, 1, 2], scheme=scheme)

    def test_lengths_must_fit(self):
        with pytest.raises(ValueError, match="Found 3 group labels for 4 volumes"):
            permute_labels(list("abab"), [1, 1, 1])


def pvalue_of_study(design, effect, seed):
    """Return p of a nearest-mean classifier on ten groups, each held out once."""
    rng, groups = np.random.default_rng([seed, 0]), np.repeat(np.arange(10), 4)
    y = {
        "one label per group": groups % 2,
        "unbalanced": groups // 7,
        "within groups": np.arange(40) % 4 // 2,
    }[design]
    X = rng.normal(size=(40, 8)) + 2 * rng.normal(size=(10, 8))[groups] + effect * y[:, None]

    def score(labels):
        # Sums over all samples minus those of the held-out group, for all folds at once.
        held_out = groups == np.arange(10)[:, None]
        distances = []
        for label in (0, 1):
            weights = ~held_out & (labels == label)
            means = weights @ X / weights.sum(axis=1, keepdims=True)
            distances.append(((X - means[groups]) ** 2).sum(axis=1))
        return np.mean((distances[1] < distances[0]) == labels)

    permuted = (score(permute_labels(y, groups, random_state=[seed, n])) for n in count(1))
    return sequential_permutation_test(score(y), permuted, n_permutations=39).pvalue


class TestUnits:
    def test_a_stretch_ends_where_the_label_or_the_group_changes(self):
        y = list("aabbbabbaa")
        groups = [1, 1, 1, 1, 2, 2, 1, 1, 2, 2]
        # In group 1: a a b b b b; in group 2: b a a a.
        assert label_stretches(y, groups).tolist() == [0, 0, 1, 1, 2, 3, 1, 1, 3, 3]

    def test_units_are_the_blocks_of_each_group(self):
        sets = exchangeable_units(list("aabbba"), [1, 1, 1, 2, 2, 2], blocks=[7, 7, 8, 7, 7, 8])
        assert [(list(labels), list(rows), list(unit)) for labels, rows, unit in sets] == [
            (["a", "b"], [0, 1, 2], [0, 0, 1]),
            (["b", "a"], [3, 4, 5], [0, 0, 1]),
        ]


class TestPredictionTest:
    def test_scores_are_spread_out_by_the_square_root_of_two(self):
        test = prediction_permutation_test(0.7, [0.4, 0.5, 0.6])
        np.testing.assert_allclose(
            test.scores, [0.5 - 0.1 * np.sqrt(2), 0.5, 0.5 + 0.1 * np.sqrt(2)]
        )
        assert (test.pvalue, test.n_permutations, test.refitted) == (1 / 4, 3, False)
        assert prediction_permutation_test(0.64, [0.4, 0.5, 0.6]).pvalue == 2 / 4

    def test_a_permutation_without_a_score_counts_as_reaching_it(self):
        assert prediction_permutation_test(0.9, [0.4, np.nan, 0.6]).pvalue == 2 / 4
        assert prediction_permutation_test(0.9, [np.nan, np.nan]).pvalue == 1

    def test_a_score_that_is_not_defined_is_refused(self):
        with pytest.raises(ValueError, match="score is NaN"):
            prediction_permutation_test(np.nan, [0.5])


class TestSequentialTest:
    def test_no_permutation_reaches_the_score(self):
        result = sequential_permutation_test(0.9, iter([0.5] * 99), n_permutations=99)
        assert result.pvalue == 0.01
        assert (result.n_permutations, result.stopped_early) == (99, False)

    def test_it_stops_where_enough_have_reached_it(self):
        numbers = count()
        scores = (0.1 * (next(numbers) % 4) for _ in count())
        result = sequential_permutation_test(0.3, scores, n_permutations=1000, n_exceedances=5)
        assert result.pvalue == 5 / 20
        assert (result.n_permutations, result.stopped_early) == (20, True)
        assert next(numbers) == 20
        assert result.scores.shape == (20,)

    def test_the_last_permutation_counts_like_all(self):
        result = sequential_permutation_test(0.5, [0.5, 0.5], n_permutations=2, n_exceedances=2)
        assert (result.pvalue, result.stopped_early) == (1, False)

    def test_equal_scores_summed_in_another_order_are_equal(self):
        score, permuted = 0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1
        assert permuted < score
        assert sequential_permutation_test(score, [permuted], n_permutations=1).pvalue == 1

    def test_p_is_that_of_scikit_learn_for_the_same_permutations(self):
        rng = np.random.default_rng(0)
        X, y, groups = rng.normal(size=(40, 2)), np.tile([0, 1], 20), np.arange(40) // 10
        X[y == 1] += 0.5
        score, permuted, p = permutation_test_score(
            LogisticRegression(),
            X,
            y,
            groups=groups,
            cv=GroupKFold(4),
            n_permutations=60,
            random_state=0,
        )
        result = sequential_permutation_test(score, permuted, n_permutations=60, n_exceedances=61)
        assert result.pvalue == pytest.approx(p)

    def test_p_is_uniform_where_labels_mean_nothing(self):
        rng = np.random.default_rng(0)
        pvalues = np.array(
            [
                sequential_permutation_test(
                    rng.normal(), (rng.normal() for _ in count()), n_permutations=199
                ).pvalue
                for _ in range(2000)
            ]
        )
        for level in (0.01, 0.05, 0.1, 0.25, 0.5):
            share = (pvalues <= level).mean()
            assert abs(share - level) < 3.5 * np.sqrt(level * (1 - level) / 2000) + 0.005

    @pytest.mark.parametrize("design", ["one label per group", "unbalanced", "within groups"])
    def test_claims_on_noise_with_strong_group_patterns_stay_at_5_percent(self, design):
        claims = sum(pvalue_of_study(design, 0, seed) <= 0.05 for seed in range(200))
        # At 5 % more than 18 of 200 have a probability of 0.4 %.
        assert claims <= 18

    @pytest.mark.parametrize("design", ["one label per group", "unbalanced", "within groups"])
    def test_a_clear_effect_is_claimed(self, design):
        claims = sum(pvalue_of_study(design, 4, seed) <= 0.05 for seed in range(20))
        assert claims >= 18

    def test_permutations_without_a_score_never_lower_p(self):
        result = sequential_permutation_test(0.9, [np.nan, 0.5, np.nan], n_permutations=3)
        assert result.pvalue == 3 / 4

    def test_a_score_that_is_nan_is_refused(self):
        with pytest.raises(ValueError, match="score is NaN"):
            sequential_permutation_test(np.nan, [0.5], n_permutations=1)

    def test_a_null_result_costs_little(self):
        rng = np.random.default_rng(0)
        used = [
            sequential_permutation_test(
                rng.normal(), (rng.normal() for _ in count()), n_permutations=10_000
            ).n_permutations
            for _ in range(200)
        ]
        assert np.median(used) < 30
