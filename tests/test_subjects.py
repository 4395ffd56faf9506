"""One decoder per subject."""

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GroupKFold
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skfmri import (
    NiftiSamples,
    SubjectsResult,
    audit_leakage,
    clean_runs,
    evaluate_decoder,
    evaluate_subjects,
)
from skfmri.evaluation.kinds import Classes, ModelScores
from skfmri.evaluation.ledger import Ledger
from skfmri.evaluation.permutation import ShuffledScores, mean_of_shuffled, plan_chance_test
from skfmri.evaluation.subjects import WithinSubjects, find_subjects, ledger_name
from skfmri.statistics import bootstrap_interval

FAST = {"scoring": "accuracy", "baseline": None, "n_bootstraps": 100, "random_state": 0}


def make_study(n_subjects=3, n_runs=3, effect=0.0, seed=0, n_voxels=6, per_run=8):
    """Return samples, labels, runs that every subject calls the same, and subjects."""
    rng = np.random.default_rng(seed)
    n_samples = n_subjects * n_runs * per_run
    y = np.tile(np.repeat(["face", "house"], per_run // 2), n_subjects * n_runs)
    runs = np.tile(np.repeat(np.arange(n_runs), per_run), n_subjects)
    subjects = np.repeat(
        [f"{number:02}" for number in range(1, n_subjects + 1)], n_samples // n_subjects
    )
    X = rng.normal(size=(n_samples, n_voxels))
    X[:, 0] += effect * (y == "house")
    return X, y, runs, subjects


def evaluate(effect=0.0, model=None, seed=0, n_subjects=3, **options):
    X, y, runs, subjects = make_study(n_subjects, effect=effect, seed=seed)
    options = {"groups": runs, "subjects": subjects, "blocks": np.arange(len(y)), **FAST, **options}
    return evaluate_subjects(NearestCentroid() if model is None else model, X, y, **options)


def flat(X):
    return np.asarray(X).reshape(len(X), -1)


def shuffled_scores_of_noise(rng, share, n_runs=4, per_run=8, n_voxels=6):
    """Return the scores of a nearest centroid on noise with strong patterns of runs."""
    runs = np.repeat(np.arange(n_runs), per_run)
    y = np.tile(np.arange(per_run) < share * per_run, n_runs).astype(int)
    X = rng.normal(size=(len(y), n_voxels)) + 2 * rng.normal(size=(n_runs, n_voxels))[runs]
    splits = [(np.flatnonzero(runs != run), np.flatnonzero(runs == run)) for run in range(n_runs)]
    outcomes = []
    for train, test in splits:
        centroids = np.stack([X[train][y[train] == label].mean(axis=0) for label in (0, 1)])
        distances = np.linalg.norm(X[test][:, np.newaxis] - centroids, axis=2)
        outcomes.append({"predict": distances.argmin(axis=1), "classes": np.array([0, 1])})
    scores = [
        np.mean(outcome["predict"] == y[test])
        for outcome, (_, test) in zip(outcomes, splits, strict=True)
    ]
    folds = pd.DataFrame({"accuracy": scores})
    of_model = ModelScores(Classes.pools(outcomes, splits), folds, folds, None)
    chance = plan_chance_test("auto", y, runs, np.arange(len(y)), n_permutations=0)
    return chance.of_predictions(of_model, "accuracy", None, int(rng.integers(2**31)))[0]


class TestSamples:
    def make(self, **options):
        volumes = np.random.default_rng(0).normal(size=(6, 2, 3, 4)).astype(np.float32)
        options = {"y": list("ababab"), "runs": [0, 0, 1, 1, 2, 2], **options}
        return NiftiSamples.from_array(volumes, np.eye(4), **options)

    def test_subjects_are_unknown_by_default(self):
        assert self.make().subjects is None
        assert self.make()[2:].subjects is None

    def test_subjects_travel_with_subsets_pickles_and_cleaned_runs(self):
        samples = self.make(subjects=list("xxyyzz"))
        assert samples[[5, 0]].subjects.tolist() == ["z", "x"]
        assert pickle.loads(pickle.dumps(samples[3:])).subjects.tolist() == ["y", "z", "z"]
        samples.runs = samples.groups = [0] * 3 + [1] * 3
        assert clean_runs(samples).subjects.tolist() == list("xxyyzz")

    def test_the_hash_depends_on_subjects(self):
        one, same, other = (
            self.make(subjects=list(names))
            for names in ("xxy", "xxy", "xyy")
            for names in [names * 2]
        )
        assert joblib.hash(one) == joblib.hash(same) != joblib.hash(other)

    def test_assigned_subjects_are_checked(self):
        samples = self.make()
        with pytest.raises(ValueError, match="Found 2 subjects for 6 volumes"):
            samples.subjects = ["x", "y"]
        with pytest.raises(ValueError, match="missing subject"):
            samples.subjects = ["x", None, "y", "y", "y", "y"]
        samples.subjects = None
        assert samples.subjects is None


class TestEachSubject:
    def test_is_evaluated_as_if_it_were_alone(self):
        X, y, runs, subjects = make_study(effect=1.0)
        result = evaluate(1.0)
        assert isinstance(result, SubjectsResult)
        for name, found in result.results.items():
            here = subjects == name
            alone = evaluate_decoder(
                *(NearestCentroid(), X[here], y[here]),
                groups=runs[here],
                blocks=np.arange(here.sum()),
                **{**FAST, "random_state": found.random_state},
            )
            pd.testing.assert_frame_equal(found.predictions, alone.predictions)
            pd.testing.assert_frame_equal(found.summary, alone.summary)
            assert found.permutation_test.pvalue == alone.permutation_test.pvalue

    def test_has_a_seed_that_other_subjects_do_not_change(self):
        three, two = evaluate(), evaluate(n_subjects=2)
        seeds = {name: found.random_state for name, found in three.results.items()}
        assert len(set(seeds.values())) == 3
        assert {name: found.random_state for name, found in two.results.items()} == {
            name: seeds[name] for name in ("01", "02")
        }

    def test_takes_subjects_groups_and_labels_from_the_samples(self):
        X, y, runs, subjects = make_study()
        samples = NiftiSamples.from_array(
            X.reshape(-1, 1, 2, 3), np.eye(4), y=y, groups=runs, subjects=subjects
        )
        model = make_pipeline(FunctionTransformer(flat), NearestCentroid())
        found = evaluate_subjects(model, samples, blocks=np.arange(len(y)), **FAST)
        np.testing.assert_array_equal(found.subjects["score"], evaluate().subjects["score"])

    def test_may_be_split_by_any_splitter(self):
        result = evaluate(cv=GroupKFold(2))
        assert {len(found.folds) // 2 for found in result.results.values()} == {2}


class TestTables:
    def test_number_folds_and_samples_through_all_subjects(self):
        _, y, _, subjects = make_study()
        result = evaluate()
        own = result.folds[result.folds["model"] == "decoder"]
        assert own["fold"].tolist() == list(range(9))
        assert own["subject"].tolist() == np.repeat(["01", "02", "03"], 3).tolist()
        rows = result.predictions[result.predictions["model"] == "decoder"]
        assert sorted(rows["sample"]) == list(range(len(y)))
        assert (rows["label"].to_numpy() == y[rows["sample"]]).all()
        assert (rows["subject"].to_numpy() == subjects[rows["sample"]]).all()

    def test_summarise_subjects_not_folds(self):
        result = evaluate(1.0)
        of_subjects = [
            found.folds.loc[found.folds["model"] == "decoder", "accuracy"].mean()
            for found in result.results.values()
        ]
        row = result.summary.iloc[0]
        assert row["score"] == pytest.approx(np.mean(of_subjects))
        assert row["std"] == pytest.approx(np.std(of_subjects, ddof=1))
        interval = bootstrap_interval(of_subjects, n_bootstraps=100, random_state=0)
        assert (row["low"], row["high"]) == pytest.approx(tuple(interval))
        weights = result.groups.loc[result.groups["model"] == "decoder", "weight"]
        assert weights.sum() == pytest.approx(1)

    def test_compare_with_baselines_by_the_paired_t_test(self):
        result = evaluate(0.8, baseline={"ridge": RidgeClassifier()}, n_subjects=5)
        table = result.subjects[result.subjects["metric"] == "accuracy"].set_index("model")
        own, other = table.loc["decoder", "score"], table.loc["ridge", "score"]
        expected = stats.ttest_rel(own, other)
        row = result.comparisons[
            (result.comparisons["baseline"] == "ridge")
            & (result.comparisons["metric"] == "accuracy")
        ].iloc[0]
        assert row["t"] == pytest.approx(expected.statistic)
        assert row["p_value"] == pytest.approx(expected.pvalue)
        assert row["df"] == 4
        assert (row["low"], row["high"]) == pytest.approx(tuple(expected.confidence_interval()))

    def test_chance_is_the_mean_over_subjects(self):
        X, y, runs, subjects = make_study()
        y = y.copy()
        y[(subjects == "02") & (np.arange(len(y)) % 8 == 4)] = "face"
        result = evaluate_subjects(
            *(NearestCentroid(), X, y), groups=runs, subjects=subjects, **FAST
        )
        assert result.summary.iloc[0]["chance"] == pytest.approx((0.5 + 0.625 + 0.5) / 3)


class TestMeanTest:
    def test_averages_permutations_of_all_subjects(self):
        parts = [
            ShuffledScores(0.9, np.array([0.4, 0.5, 0.6]), False, "within", 4),
            ShuffledScores(0.7, np.array([0.6, 0.5, 0.4, 0.3]), False, "within", 5),
        ]
        mean = mean_of_shuffled(parts)
        assert mean.score == pytest.approx(0.8)
        np.testing.assert_allclose(mean.permuted, [0.5, 0.5, 0.5])
        assert mean.n_partitions == 20
        test, untested = mean.test(0, 0.05)
        assert (test.pvalue, untested, test.scheme) == (0.25, None, "within")

    def test_needs_no_subject_that_can_be_tested_alone(self):
        parts = [ShuffledScores(0.9, np.full(99, 0.5), False, "within", 3)] * 4
        assert "only 3 different partitions" in parts[0].test(0, 0.05)[1]
        assert mean_of_shuffled(parts).test(0, 0.05)[0].pvalue == 0.01

    def test_finds_an_effect(self):
        result = evaluate(1.5, seed=1)
        assert result.permutation_test.pvalue <= 0.01
        assert "Better than chance: p = " in result.sentences()[1]
        assert "of 3 subjects (p at most 0.05" in result.sentences()[-1]

    @pytest.mark.parametrize("shares", [(0.5, 0.5, 0.5, 0.5), (0.25, 0.5, 0.625, 0.75)])
    def test_claims_noise_no_more_often_than_its_level(self, shares):
        n_sets, pvalues = 60, []
        for seed in range(n_sets):
            rng = np.random.default_rng(seed)
            parts = [shuffled_scores_of_noise(rng, share) for share in shares]
            pvalues.append(mean_of_shuffled(parts).test(0, 0.05)[0].pvalue)
        # The most that chance explains, at a one-sided limit of 1 %.
        for level in (0.05, 0.2):
            assert np.sum(np.array(pvalues) <= level) <= stats.binom.ppf(0.99, n_sets, level)

    def test_is_not_made_if_not_wanted(self):
        result = evaluate(permutation=None)
        assert result.permutation_test is None
        assert result.untested is None
        assert result.subjects["p_value"].isna().all()

    def test_names_subjects_that_prevent_it(self):
        with pytest.warns(match="is not defined"):
            result = evaluate(scoring="roc_auc", model=LogisticRegression(), cv=OneClassFolds())
        assert result.permutation_test is None
        assert "3 of 3 subjects cannot be tested, such as subject 01: roc_auc" in result.untested

    def test_refits_are_joint_permutations(self, tmp_path):
        result = evaluate(0.5, n_subjects=2, n_permutations=6, ledger=tmp_path)
        test = result.permutation_test
        assert test.refitted
        own = [found.permutation_test for found in result.results.values()]
        n_shared = min(len(part.scores) for part in (*own, test))
        means = np.mean([part.scores[:n_shared] for part in own], axis=0)
        np.testing.assert_allclose(test.scores[:n_shared], means)
        assert len({tuple(part.scores[:n_shared]) for part in own}) == 2


class OneClassFolds:
    """A splitter whose first test samples have one class."""

    def split(self, X, y, groups):
        yield np.flatnonzero(groups != 0), np.flatnonzero((groups == 0) & (y == "face"))
        yield np.flatnonzero(groups != 1), np.flatnonzero(groups == 1)

    def get_n_splits(self, X=None, y=None, groups=None):
        return 2


class Killed(Exception):
    pass


class TestLedger:
    @pytest.mark.parametrize("n_permutations", [0, 2])
    def test_a_killed_call_goes_on_with_the_same_numbers(self, tmp_path, n_permutations):
        options = {"n_permutations": n_permutations}
        whole = evaluate(0.5, **options)
        seen = []

        def kill(row):
            seen.append((row["subject"], row["fold"]))
            if len(seen) == 8:
                raise Killed

        with pytest.raises(Killed):
            evaluate(0.5, ledger=tmp_path, on_fold=kill, **options)
        fitted = []
        again = evaluate(
            0.5,
            ledger=tmp_path,
            on_fitted=lambda subject, fold, *_: fitted.append((subject, fold)),
            **options,
        )
        # The ledger held the 8 models and folds before the kill.
        assert ("01", 0) not in fitted
        assert ("03", 2) in fitted
        pd.testing.assert_frame_equal(again.predictions, whole.predictions)
        assert again.permutation_test.pvalue == whole.permutation_test.pvalue
        np.testing.assert_array_equal(again.permutation_test.scores, whole.permutation_test.scores)

    def test_a_drawn_seed_is_kept(self, tmp_path):
        first = evaluate(ledger=tmp_path, random_state=None)
        again = evaluate(ledger=tmp_path, random_state=None)
        assert again.random_state == first.random_state
        again = evaluate(random_state=first.random_state)
        pd.testing.assert_frame_equal(again.summary, first.summary)

    def test_another_seed_is_refused(self, tmp_path):
        evaluate(ledger=tmp_path)
        with pytest.raises(ValueError, match="random_state is 1 here and 0 there"):
            evaluate(ledger=tmp_path, random_state=1)

    def test_subjects_can_be_added(self, tmp_path):
        evaluate(ledger=tmp_path, n_subjects=2)
        fitted = []
        X, y, runs, subjects = make_study(2)
        more = (np.vstack([X, X[:24]]), np.append(y, y[:24]))
        evaluate_subjects(
            *(NearestCentroid(), *more),
            groups=np.append(runs, runs[:24]),
            subjects=np.append(subjects, np.repeat("00", 24)),
            blocks=np.arange(72),
            ledger=tmp_path,
            on_fitted=lambda subject, *_: fitted.append(subject),
            **FAST,
        )
        assert set(fitted) == {"00"}

    def test_names_are_safe_and_different(self):
        names = ["01", "../up", "a b", "a_b", "a/b", "é", ".", "x" * 300, 7]
        files = [ledger_name(name) for name in names]
        assert len(set(files)) == len(names)
        assert all(file.isascii() and "/" not in file and len(file) < 90 for file in files)
        assert files[0] == "subject-01.jsonl"

    def test_one_call_at_a_time_may_write(self, tmp_path):
        with (
            Ledger(tmp_path / "seed.jsonl", {"random_state": 0}),
            pytest.raises(ValueError, match="being written by another run"),
        ):
            evaluate(ledger=tmp_path)


class TestProgress:
    def test_each_fold_is_reported_as_a_row_of_the_table(self):
        rows = []
        result = evaluate(on_fold=rows.append)
        assert len(rows) == len(result.folds)
        pairs = {(row["subject"], row["fold"]) for row in rows}
        assert pairs == set(zip(result.folds["subject"], result.folds["fold"], strict=True))

    def test_a_fitted_decoder_comes_with_its_subject(self):
        seen = []
        evaluate(on_fitted=lambda subject, fold, model, X, y: seen.append((subject, fold, len(y))))
        assert sorted(seen) == [(f"0{s}", fold, 8) for s in (1, 2, 3) for fold in range(3)]


class TestRefusals:
    def test_no_subjects(self):
        X, y, runs, _ = make_study()
        with pytest.raises(ValueError, match=r"There are no subjects\. Pass subjects="):
            evaluate_subjects(NearestCentroid(), X, y, groups=runs)

    def test_one_subject(self):
        X, y, runs, _ = make_study()
        with pytest.raises(ValueError, match=r"All samples are of subject 7.*evaluate_decoder"):
            evaluate_subjects(NearestCentroid(), X, y, groups=runs, subjects=[7] * len(y))

    def test_subjects_with_one_group_or_without_a_class_are_named(self):
        X, y, runs, subjects = make_study(4)
        y, runs = y.copy(), runs.copy()
        y[subjects == "02"] = "face"
        runs[subjects == "04"] = 0
        expected = (
            "2 of 4 subjects cannot be decoded alone: 02 has no sample of house; 04 has one group "
            "only. Leave them out"
        )
        with pytest.raises(ValueError, match=expected):
            evaluate_subjects(NearestCentroid(), X, y, groups=runs, subjects=subjects)

    def test_groups_that_are_the_subjects(self):
        X, y, _, subjects = make_study()
        with pytest.raises(ValueError, match=r"one group only.*Pass their runs as groups="):
            evaluate_subjects(NearestCentroid(), X, y, groups=subjects, subjects=subjects)

    def test_a_list_of_splits(self):
        with pytest.raises(TypeError, match="cv must be a splitter, an integer or None"):
            evaluate(cv=[(np.arange(10), np.arange(10, 20))])

    def test_an_error_names_its_subject(self):
        X, y, runs, subjects = make_study()
        keep = ~((subjects == "02") & (runs == 2))
        with pytest.raises(ValueError, match="Subject 02: "):
            evaluate_subjects(
                *(NearestCentroid(), X[keep], y[keep]),
                groups=runs[keep],
                subjects=subjects[keep],
                cv=GroupKFold(3),
            )


def test_splits_stay_within_subjects():
    X, y, runs, subjects = make_study()
    splitter = WithinSubjects(find_subjects(X, y, runs, subjects))
    splits = list(splitter.split(X, y, runs))
    assert len(splits) == splitter.get_n_splits(X, y, runs) == 9
    for train, test in splits:
        assert len(set(subjects[train]) | set(subjects[test])) == 1
        assert not set(runs[train]) & set(runs[test])
    assert sorted(np.concatenate([test for _, test in splits])) == list(range(len(y)))


class TestAudit:
    def notes(self, subjects, cv=None):
        X, y, runs, names = make_study(n_voxels=60)
        groups = np.char.add(names, runs.astype(str))
        samples = NiftiSamples.from_array(
            X.reshape(-1, 3, 4, 5),
            np.eye(4),
            y=y,
            groups=groups,
            subjects=names if subjects else None,
        )
        report = audit_leakage(None, samples, cv=cv, checks=["groups"])
        assert report.ok
        return report.notes

    def test_tells_of_subjects_on_both_sides(self):
        (note,) = self.notes(True)
        assert note.startswith("Splits 0, 1, 2, 3, 4 and 4 more of 9 test on subjects whose other")
        assert "not for new subjects" in note

    def test_is_silent_where_there_is_nothing_to_tell(self):
        X, y, runs, subjects = make_study()
        rows_of_subjects = find_subjects(X, y, runs, subjects)
        assert self.notes(False) == ()
        assert self.notes(True, WithinSubjects(rows_of_subjects)) == ()
        whole = [
            (np.flatnonzero(subjects != s), np.flatnonzero(subjects == s)) for s in ("01", "02")
        ]
        assert self.notes(True, whole) == ()
