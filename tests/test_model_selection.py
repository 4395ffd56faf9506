import pickle
import warnings

import numpy as np
import pytest
import sklearn
from hypothesis import assume, given, settings, strategies as st
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    StratifiedGroupKFold,
    cross_val_score,
    cross_validate,
)

from skfmri.model_selection import RepeatedGroupKFold, RepeatedStratifiedGroupKFold
from skfmri.samples import NiftiSamples

SPLITTERS = [RepeatedGroupKFold, RepeatedStratifiedGroupKFold]
REFERENCES = {
    RepeatedGroupKFold: GroupKFold,
    RepeatedStratifiedGroupKFold: StratifiedGroupKFold,
}
RUNS = np.repeat(np.arange(6), 4)
LABELS = np.tile(["closed", "open"], 12)


def partitions_of(splits, groups, n_splits):
    """Return the partition of each repeat, as a set of sets of groups."""
    tests = [frozenset(np.unique(groups[test]).tolist()) for _, test in splits]
    return [frozenset(tests[i : i + n_splits]) for i in range(0, len(tests), n_splits)]


def same_splits(left, right):
    return len(left) == len(right) and all(
        np.array_equal(a, b)
        for pair, other in zip(left, right, strict=True)
        for a, b in zip(pair, other, strict=True)
    )


@pytest.fixture
def samples():
    volumes = np.random.default_rng(0).normal(size=(24, 2, 3, 4)).astype(np.float32)
    return NiftiSamples.from_array(volumes, np.eye(4), y=LABELS, groups=RUNS)


@pytest.fixture(params=[False, True], ids=["routing off", "routing on"])
def routing(request):
    with sklearn.config_context(enable_metadata_routing=request.param):
        yield request.param


class TestKnownAnswers:
    @pytest.mark.parametrize("splitter", SPLITTERS)
    @pytest.mark.parametrize("names", [np.arange(6) * 7 - 3, np.array(list("fbdaec"))])
    @pytest.mark.parametrize("seed", range(5))
    def test_one_repeat_is_the_shuffled_splitter_of_scikit_learn(self, splitter, names, seed):
        groups = names[np.random.default_rng(1).permutation(RUNS)]
        ours = splitter(4, n_repeats=1, random_state=seed).split(RUNS, LABELS, groups)
        reference = REFERENCES[splitter](4, shuffle=True, random_state=seed)
        assert same_splits(list(ours), list(reference.split(RUNS, LABELS, groups)))

    @pytest.mark.parametrize(
        ("n_groups", "n_splits", "n_distinct"),
        [(2, 2, 1), (4, 2, 3), (5, 3, 15), (6, 3, 15), (6, 2, 10), (7, 3, 105), (8, 8, 1)],
    )
    def test_all_partitions_of_few_groups_are_found_and_not_one_more(
        self, n_groups, n_splits, n_distinct
    ):
        groups = np.arange(n_groups)
        cv = RepeatedGroupKFold(n_splits, n_repeats=n_distinct, random_state=0)
        found = partitions_of(cv.split(groups, groups=groups), groups, n_splits)
        assert len(found) == len(set(found)) == n_distinct
        cv.n_repeats = n_distinct + 1
        with pytest.raises(ValueError, match=rf"have {n_distinct}\. Set n_repeats to at most"):
            next(cv.split(groups, groups=groups))

    def test_stratified_folds_of_alike_groups_reach_every_even_partition(self):
        cv = RepeatedStratifiedGroupKFold(3, n_repeats=15, random_state=0)
        found = partitions_of(cv.split(RUNS, LABELS, RUNS), RUNS, 3)
        assert len(set(found)) == 15

    def test_stratified_folds_hold_each_class_where_groups_have_one_each(self):
        groups = np.arange(8)
        labels = np.repeat(["cat", "face"], 4)
        cv = RepeatedStratifiedGroupKFold(4, n_repeats=24, random_state=0)
        splits = list(cv.split(groups, labels, groups))
        assert len(set(partitions_of(splits, groups, 4))) == 24  # 4! ways to pair cats and faces
        assert all(sorted(labels[test]) == ["cat", "face"] for _, test in splits)

    def test_number_of_splits_is_folds_times_repeats(self):
        cv = RepeatedGroupKFold(3, n_repeats=4)
        assert cv.get_n_splits() == 12 == len(list(cv.split(RUNS, groups=RUNS)))


@pytest.mark.parametrize("splitter", SPLITTERS)
class TestRandomState:
    def test_int_gives_the_same_splits_on_every_call(self, splitter):
        cv = splitter(3, n_repeats=5, random_state=3)
        first = list(cv.split(RUNS, LABELS, RUNS))
        assert same_splits(first, list(cv.split(RUNS, LABELS, RUNS)))

    def test_seeds_differ(self, splitter):
        runs = np.arange(20)
        labels = runs % 2
        one, other = (
            list(splitter(3, n_repeats=2, random_state=seed).split(runs, labels, runs))
            for seed in (0, 1)
        )
        assert not same_splits(one, other)

    def test_instance_goes_on_from_call_to_call(self, splitter):
        runs = np.arange(20)
        labels = runs % 2
        cv = splitter(3, n_repeats=2, random_state=np.random.RandomState(0))
        first = list(cv.split(runs, labels, runs))
        assert not same_splits(first, list(cv.split(runs, labels, runs)))

    def test_fewer_repeats_are_the_first_of_more(self, splitter):
        few, many = (
            list(splitter(3, n_repeats=n, random_state=0).split(RUNS, LABELS, RUNS)) for n in (2, 6)
        )
        assert same_splits(few, many[: len(few)])


@st.composite
def grouped_labels(draw):
    n_groups = draw(st.integers(2, 9))
    extra = draw(st.lists(st.integers(0, n_groups - 1), max_size=30))
    groups = np.array(draw(st.permutations(list(range(n_groups)) + extra)))
    labels = np.array(draw(st.lists(st.sampled_from("abc"), min_size=len(groups), max_size=99)))
    return groups, labels[: len(groups)], draw(st.integers(2, n_groups))


@st.composite
def few_groups(draw):
    """Two classes in few groups of very different sizes, which is what leaves folds empty."""
    n_splits = draw(st.integers(3, 4))
    n_groups = draw(st.integers(n_splits, n_splits + 1))
    extra = draw(st.lists(st.integers(0, n_groups - 1), min_size=2, max_size=8))
    groups = np.array(draw(st.permutations(list(range(n_groups)) + extra)))
    labels = draw(st.lists(st.integers(0, 1), min_size=len(groups), max_size=len(groups)))
    return groups, np.array(labels), n_splits


class TestLaws:
    @settings(deadline=None, max_examples=60)
    @given(
        data=grouped_labels(),
        n_repeats=st.integers(1, 4),
        seed=st.integers(0, 2**32 - 1),
        splitter=st.sampled_from(SPLITTERS),
    )
    def test_groups_stay_whole_and_samples_are_tested_once_and_partitions_differ(
        self, data, n_repeats, seed, splitter
    ):
        groups, labels, n_splits = data
        cv = splitter(n_splits, n_repeats=n_repeats, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            try:
                splits = list(cv.split(groups, labels, groups))
            except ValueError as error:
                assume("distinct" not in str(error) and "each class" not in str(error))
                raise
        assert len(splits) == cv.get_n_splits()
        for train, test in splits:
            assert not set(groups[train]) & set(groups[test])
            assert np.array_equal(np.sort(np.r_[train, test]), np.arange(len(groups)))
            assert len(test)
        for start in range(0, len(splits), n_splits):
            tested = np.concatenate([test for _, test in splits[start : start + n_splits]])
            assert np.array_equal(np.sort(tested), np.arange(len(groups)))
        assert len(set(partitions_of(splits, groups, n_splits))) == n_repeats


@pytest.mark.parametrize("splitter", SPLITTERS)
class TestInScikitLearn:
    def test_cross_validation_takes_groups(self, splitter, routing):
        cv = splitter(3, n_repeats=2, random_state=0)
        groups = {"params": {"groups": RUNS}} if routing else {"groups": RUNS}
        X = np.zeros((24, 1))
        scores = cross_val_score(DummyClassifier(), X, LABELS, cv=cv, **groups)
        assert scores.tolist() == [0.5] * 6
        result = cross_validate(DummyClassifier(), X, LABELS, cv=cv, return_indices=True, **groups)[
            "indices"
        ]
        pairs = list(zip(result["train"], result["test"], strict=True))
        assert same_splits(pairs, list(cv.split(X, LABELS, RUNS)))

    def test_search_takes_groups(self, splitter, routing):
        cv = splitter(3, n_repeats=2, random_state=0)
        grid = {"strategy": ["most_frequent", "prior"]}
        search = GridSearchCV(DummyClassifier(), grid, cv=cv)
        search.fit(np.zeros((24, 1)), LABELS, groups=RUNS)
        assert search.n_splits_ == 6
        assert "split5_test_score" in search.cv_results_

    def test_samples_bring_their_groups(self, splitter, routing, samples):
        cv = splitter(3, n_repeats=2, random_state=0)
        result = cross_validate(DummyClassifier(), samples, samples.y, cv=cv, return_indices=True)[
            "indices"
        ]
        pairs = list(zip(result["train"], result["test"], strict=True))
        assert same_splits(pairs, list(cv.split(np.zeros(24), LABELS, RUNS)))

    def test_groups_passed_win_over_those_of_the_samples(self, splitter, samples):
        cv = splitter(3, n_repeats=1, random_state=0)
        groups = np.tile(np.arange(12), 2)
        assert same_splits(
            list(cv.split(samples, LABELS, groups)), list(cv.split(LABELS, LABELS, groups))
        )

    def test_groups_are_requested_unasked(self, splitter):
        assert splitter().get_metadata_routing().split.requests == {"groups": True}

    def test_a_search_with_it_is_cloned_and_pickled(self, splitter):
        search = GridSearchCV(DummyClassifier(), {}, cv=splitter(3, n_repeats=2, random_state=5))
        before = list(search.cv.split(RUNS, LABELS, RUNS))
        for copy in (clone(search).cv, pickle.loads(pickle.dumps(search)).cv):
            assert copy is not search.cv
            assert same_splits(before, list(copy.split(RUNS, LABELS, RUNS)))

    def test_repr_shows_its_parameters(self, splitter):
        expected = f"{splitter.__name__}(n_repeats=2, n_splits=3, random_state=0)"
        assert repr(splitter(3, n_repeats=2, random_state=0)) == expected


# scikit-learn's splitter leaves a fold of each without a group (seed 0).
EMPTY_FOLDS = [
    (4, [0, 1, 2, 3, 1, 3, 2, 3, 3], [0, 0, 1, 0, 0, 1, 1, 0, 0]),
    (4, [0, 1, 2, 3, 3, 2, 0, 3, 2], [0, 1, 1, 0, 1, 1, 0, 1, 1]),
]


class TestEmptyFolds:
    @pytest.mark.filterwarnings("ignore:The least populated class")
    @pytest.mark.parametrize(("n_splits", "groups", "labels"), EMPTY_FOLDS)
    def test_a_fold_that_scikit_learn_leaves_empty_is_drawn_again(self, n_splits, groups, labels):
        groups, labels = np.array(groups), np.array(labels)
        plain = StratifiedGroupKFold(n_splits, shuffle=True, random_state=0)
        assert not all(len(test) for _, test in plain.split(groups, labels, groups))
        cv = RepeatedStratifiedGroupKFold(n_splits, n_repeats=1, random_state=0)
        splits = list(cv.split(groups, labels, groups))
        assert len(splits) == n_splits
        assert all(len(train) and len(test) for train, test in splits)
        assert same_splits(splits, list(cv.split(groups, labels, groups)))

    def test_if_every_draw_leaves_a_fold_empty_there_is_a_way_out(self, monkeypatch):
        def split(self, X, y, groups):
            yield np.array([], int), np.arange(24)
            yield np.arange(24), np.array([], int)

        monkeypatch.setattr(StratifiedGroupKFold, "split", split)
        cv = RepeatedStratifiedGroupKFold(2, n_repeats=1, random_state=0)
        message = "6 groups cannot be stratified into 2 folds: 51 draws .* use RepeatedGroupKFold"
        with pytest.raises(ValueError, match=message):
            list(cv.split(RUNS, LABELS, RUNS))

    @settings(deadline=None, max_examples=200)
    @given(data=few_groups(), seed=st.integers(0, 2**32 - 1))
    def test_no_fold_of_small_designs_is_ever_empty(self, data, seed):
        groups, labels, n_splits = data
        cv = RepeatedStratifiedGroupKFold(n_splits, n_repeats=1, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            try:
                splits = list(cv.split(groups, labels, groups))
            except ValueError as error:
                # A class with too few samples, or a design for which no draw fills all folds.
                assume("each class" not in str(error) and "cannot be stratified" not in str(error))
                raise
        assert [len(test) > 0 for _, test in splits] == [True] * n_splits


def test_labels_in_a_column_are_labels():
    cv = RepeatedStratifiedGroupKFold(3, n_repeats=2, random_state=0)
    expected = list(cv.split(RUNS, LABELS, RUNS))
    assert same_splits(list(cv.split(RUNS, LABELS[:, np.newaxis], RUNS)), expected)
    with pytest.raises(ValueError, match=r"labels must be one-dimensional, but have shape \(24, 2"):
        next(cv.split(RUNS, np.stack([LABELS, LABELS], axis=1), RUNS))


def test_stratified_splits_find_labels_in_the_samples(samples):
    cv = RepeatedStratifiedGroupKFold(3, n_repeats=2, random_state=0)
    assert same_splits(list(cv.split(samples)), list(cv.split(RUNS, LABELS, RUNS)))


def test_rare_classes_are_warned_of_once():
    labels = np.array(["rare"] + ["a", "b"] * 4)
    groups = np.arange(9)
    cv = RepeatedStratifiedGroupKFold(3, n_repeats=4, random_state=0)
    with pytest.warns(UserWarning, match="least populated class") as record:
        list(cv.split(groups, labels, groups))
    assert len(record) == 1


@pytest.mark.parametrize("splitter", SPLITTERS)
class TestErrors:
    def test_more_folds_than_groups(self, splitter):
        with pytest.raises(
            ValueError, match=r"7 folds need at least 7 groups, but found 6 groups in 24 samples"
        ):
            next(splitter(7).split(RUNS, LABELS, RUNS))

    def test_one_group(self, splitter):
        with pytest.raises(ValueError, match=r"found 1 group in 24 samples\."):
            next(splitter(2).split(RUNS, LABELS, np.zeros(24)))

    @pytest.mark.parametrize("n_splits", [1, 0, -2, 2.0, "3", None, True])
    def test_bad_number_of_folds(self, splitter, n_splits):
        cv = splitter(n_splits)
        with pytest.raises((TypeError, ValueError), match=r"n_splits must be an integer of at"):
            next(cv.split(RUNS, LABELS, RUNS))
        with pytest.raises((TypeError, ValueError), match=r"n_splits must be an integer of at"):
            cv.get_n_splits()

    @pytest.mark.parametrize("n_repeats", [0, -1, 1.5, None, True])
    def test_bad_number_of_repeats(self, splitter, n_repeats):
        with pytest.raises((TypeError, ValueError), match=r"n_repeats must be an integer of"):
            next(splitter(3, n_repeats=n_repeats).split(RUNS, LABELS, RUNS))

    def test_numpy_integers_are_integers(self, splitter):
        cv = splitter(np.int64(3), n_repeats=np.int32(2))
        assert len(list(cv.split(RUNS, LABELS, RUNS))) == 6

    def test_no_groups(self, splitter):
        with pytest.raises(ValueError, match=r"Found no groups.*Pass groups, or samples"):
            next(splitter(3).split(RUNS, LABELS))

    def test_groups_of_another_length(self, splitter):
        with pytest.raises(ValueError, match=r"Found 23 group labels for 24 volumes"):
            next(splitter(3).split(RUNS, LABELS, RUNS[1:]))

    def test_missing_group(self, splitter):
        groups = RUNS.astype(float)
        groups[[2, 5]] = np.nan
        with pytest.raises(ValueError, match=r"Found 2 missing group labels \(NaN\) for 24"):
            next(splitter(3).split(RUNS, LABELS, groups))

    def test_groups_of_mixed_types(self, splitter):
        groups = RUNS.astype(object)
        groups[2] = "x"
        message = "the number 0 at position 0 and the string 'x' at position 2"
        with pytest.raises(ValueError, match=message):
            next(splitter(3).split(RUNS, LABELS, groups))
        groups[2] = None
        with pytest.raises(ValueError, match=r"Found 1 missing group label \(None\) for 24"):
            next(splitter(3).split(RUNS, LABELS, groups))

    def test_groups_that_cannot_be_sorted(self, splitter):
        groups = np.array([{"run": int(run)} for run in RUNS])
        with pytest.raises(ValueError, match=r"one sortable type, but have the types dict\."):
            next(splitter(3).split(RUNS, LABELS, groups))

    def test_too_few_partitions_show_before_the_first_split(self, splitter):
        splits = splitter(6, n_repeats=2, random_state=0).split(RUNS, LABELS, RUNS)
        with pytest.raises(ValueError, match=r"n_repeats=2 needs as many distinct partitions"):
            next(splits)


def test_eight_groups_in_eight_folds_have_one_partition():
    groups = np.arange(8)
    with pytest.raises(
        ValueError,
        match=r"n_repeats=20 .* but 8 groups in 8 folds have 1\. Set n_repeats to at most 1 or",
    ):
        next(RepeatedGroupKFold(8, n_repeats=20).split(groups, groups=groups))


def test_stratified_splits_give_up_and_say_how_many_partitions_they_found():
    groups = np.arange(8)
    labels = np.repeat(["cat", "face"], 4)
    cv = RepeatedStratifiedGroupKFold(4, n_repeats=25, random_state=0)
    with pytest.raises(
        ValueError, match=r"the 24 found for 8 groups in 4 stratified folds. Set .* at most 24 or"
    ):
        next(cv.split(groups, labels, groups))


def test_stratified_splits_need_labels():
    cv = RepeatedStratifiedGroupKFold(3)
    with pytest.raises(ValueError, match=r"Found no labels.*use RepeatedGroupKFold"):
        next(cv.split(RUNS, groups=RUNS))
    with pytest.raises(ValueError, match=r"Found 23 labels for 24 volumes"):
        next(cv.split(RUNS, LABELS[1:], RUNS))
