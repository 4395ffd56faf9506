import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    LeaveOneGroupOut,
    RepeatedKFold,
    ShuffleSplit,
    StratifiedKFold,
)
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skfmri.datasets import make_eyes_open_closed
from skfmri.evaluation.audit import CHEAP_CHECKS, audit_leakage
from skfmri.model_selection import RepeatedGroupKFold
from skfmri.pipeline import DecodingPipeline
from skfmri.preprocessing import (
    NiftiSlabRotator,
    VoxelZScorer,
    average_blocks,
    clean_runs,
    estimate_conditions,
    estimate_trials,
)
from skfmri.samples import NiftiSamples

pytestmark = pytest.mark.filterwarnings("ignore:The groups parameter is ignored")
N_RUNS, N_VOLUMES = 5, 16


@pytest.fixture
def volumes():
    """Five runs of 16 volumes with a common anatomy."""
    rng = np.random.default_rng(0)
    return (rng.normal(100, 30, size=(6, 7, 8)) + rng.normal(size=(80, 6, 7, 8))).astype("float32")


@pytest.fixture
def y():
    return np.tile(np.repeat(["face", "house"], 4), 10)


@pytest.fixture
def runs():
    return np.repeat(np.arange(N_RUNS), N_VOLUMES)


@pytest.fixture
def samples(volumes, y, runs):
    return NiftiSamples.from_array(volumes, np.diag([3.0, 3, 3, 1]), y=y, groups=runs)


PIPELINE = make_pipeline(
    NiftiSlabRotator(0.1, slab=None, crop=False),
    VoxelZScorer(),
    FunctionTransformer(lambda slabs: slabs.reshape(len(slabs), -1)),
    LogisticRegression(),
)


def found(report):
    return {item.check for item in report.findings}


def test_an_honest_evaluation_passes_every_check(samples):
    report = audit_leakage(PIPELINE, samples)
    assert report.ok
    assert report.skipped == {}
    assert set(report.passed) == {*CHEAP_CHECKS, "transformers"}
    assert "groups: passed" in str(report)
    assert repr(report) == f"<no leak; passed {', '.join(report.passed)}>"
    assert report.to_frame().empty


class TestGroups:
    def test_a_group_on_both_sides_is_named(self, volumes, y, runs):
        cv = [(np.arange(20, 80), np.arange(20))]
        report = audit_leakage(None, volumes, y, groups=runs, cv=cv, checks=["groups"])
        (finding,) = report.findings
        assert finding.message == "Split 0 has group 1 on both sides."
        assert finding.train.tolist() == list(range(20, 32))
        assert finding.test.tolist() == list(range(16, 20))
        assert not report.ok

    def test_whole_groups_pass(self, volumes, y, runs):
        cv = GroupKFold(3)
        assert audit_leakage(None, volumes, y, groups=runs, cv=cv, checks=["groups"]).ok


class TestDuplicates:
    def audit(self, volumes, y, runs):
        return audit_leakage(None, volumes, y, groups=runs, checks=["duplicates"])

    def test_different_volumes_pass(self, volumes, y, runs):
        assert self.audit(volumes, y, runs).ok

    def test_a_copy_in_another_run_is_found(self, volumes, y, runs):
        volumes[70] = volumes[3]
        report = self.audit(volumes, y, runs)
        assert [item.split for item in report.findings] == [0, 4]
        assert report.findings[0].train.tolist() == [70]
        assert report.findings[0].test.tolist() == [3]
        assert "identical volumes on both sides, such as samples 70 and 3" in str(report)

    @pytest.mark.parametrize(
        "change",
        [
            lambda volume: np.round(volume, 1),
            lambda volume: volume * 1.001 + 0.5,
            lambda volume: volume + np.random.default_rng(1).normal(0, 0.02, volume.shape),
        ],
    )
    def test_a_copy_that_was_changed_a_little_is_found(self, volumes, y, runs, change):
        volumes[70] = change(volumes[3])
        report = self.audit(volumes, y, runs)
        assert [item.split for item in report.findings] == [0, 4]
        assert "nearly identical" in report.findings[0].message

    def test_a_copy_in_the_same_run_passes(self, volumes, y, runs):
        volumes[5] = volumes[3]
        assert self.audit(volumes, y, runs).ok

    def test_tables_of_few_features_are_searched_for_equal_rows_only(self, y, runs):
        X = np.random.default_rng(0).normal(size=(80, 3))
        assert self.audit(X, y, runs).ok
        X[70] = X[3]
        assert not self.audit(X, y, runs).ok


class TestNeighbours:
    def audit(self, samples, cv):
        return audit_leakage(None, samples, cv=cv, checks=["neighbours"])

    def test_whole_runs_pass(self, samples):
        assert self.audit(samples, LeaveOneGroupOut()).ok

    def test_volumes_of_one_run_close_in_time_are_found(self, samples):
        cv = [(np.arange(8, 80), np.arange(8))]
        (finding,) = self.audit(samples, cv).findings
        assert finding.train.tolist() == [8, 9, 10, 11, 12]
        assert finding.test.tolist() == [3, 4, 5, 6, 7]

    def test_time_counts_the_volumes_that_were_left_out(self, samples):
        assert not self.audit(samples[np.r_[0:4, 8:80]], [(np.arange(4, 76), np.arange(4))]).ok
        assert self.audit(samples[np.r_[0:4, 9:80]], [(np.arange(4, 75), np.arange(4))]).ok

    def test_the_last_volume_of_a_run_is_no_neighbour_of_the_next_run(self, samples):
        assert self.audit(samples, [(np.arange(16, 80), np.arange(16))]).ok

    def test_estimates_of_one_run_are_found_however_far_apart(self, samples):
        table = {"onset": [1.0, 4.0, 12.0], "duration": 1.0, "trial_type": list("fhf")}
        for estimate, n in ((estimate_trials, 3), (estimate_conditions, 2)):
            trials = estimate(samples, [pd.DataFrame(table)] * N_RUNS, t_r=2.0)
            assert self.audit(trials, LeaveOneGroupOut()).ok
            cv = [(np.arange(n, len(trials)), np.arange(n)), (np.arange(1, len(trials)), [0])]
            (finding,) = self.audit(trials, cv).findings
            assert finding.split == 1
            assert finding.test.tolist() == [0]
            assert finding.train.tolist() == list(range(1, n))
            assert "tests 1 estimates from runs that it also trains on" in finding.message
            last = len(trials) - n
            assert not self.audit(trials[[0, n - 1, last]], [([0, 2], [1])]).ok
            assert self.audit(trials[[0, n - 1, last]], [([0, 1], [2])]).ok

    def test_means_of_volumes_close_in_time_are_found(self, samples):
        means = average_blocks(samples, np.arange(80) // 4)
        (finding,) = self.audit(means, [(np.arange(1, 20), [0])]).findings
        # The next block begins 1 volume after the last of the first, the one after that 5.
        assert finding.train.tolist() == [1, 2]
        assert self.audit(means, [(np.arange(3, 20), [0])]).ok
        assert self.audit(clean_runs(samples), [(np.arange(16, 80), np.arange(16))]).ok

    def test_arrays_know_no_time(self, volumes, y, runs):
        report = audit_leakage(None, volumes, y, groups=runs, checks=["neighbours"])
        assert report.ok
        assert "does not say from which run" in report.skipped["neighbours"]
        assert "neighbours: skipped, X is an array" in str(report)


class TestClasses:
    def test_a_class_that_training_lacks_is_named(self, volumes, y, runs):
        y = np.where(runs == 2, "cat", y)
        report = audit_leakage(None, volumes, y, groups=runs, checks=["classes"])
        (finding,) = report.findings
        assert finding.message == "Split 2 trains without class cat."
        assert finding.test.tolist() == list(range(32, 48))

    def test_all_classes_everywhere_pass(self, volumes, y, runs):
        assert audit_leakage(None, volumes, y, groups=runs, checks=["classes"]).ok


class TestNotes:
    def test_splits_that_test_one_class_are_named_without_being_a_leak(self, volumes, runs):
        y = np.array(["face", "house"])[runs % 2]
        report = audit_leakage(None, volumes, y, groups=runs, checks=["classes"])
        assert report.ok
        assert report.passed == ("classes",)
        (note,) = report.notes
        assert note.startswith("Splits 0, 1, 2, 3, 4 of 5 test one class only.")
        assert f"note: {note}" in str(report)

    def test_a_single_split_is_named(self, volumes, y, runs):
        y = np.where(runs == 3, "face", y)
        (note,) = audit_leakage(None, volumes, y, groups=runs, checks=["classes"]).notes
        assert note.startswith("Split 3 of 5 tests one class only.")

    def test_splits_that_test_all_classes_are_not_worth_a_note(self, volumes, y, runs):
        assert audit_leakage(None, volumes, y, groups=runs, checks=["classes"]).notes == ()
        one_class = np.full(len(y), "face")
        assert audit_leakage(None, volumes, one_class, groups=runs, checks=["classes"]).notes == ()


class TestStandardised:
    def audit(self, X, y, runs):
        return audit_leakage(None, X, y, groups=runs, checks=["standardised"])

    def test_z_scores_over_all_samples_are_found(self, volumes, y, runs):
        volumes += runs[:, None, None, None]  # runs differ, as they do
        report = self.audit(VoxelZScorer().fit_transform(volumes), y, runs)
        assert "z-scored over all samples before it was split" in report.findings[0].message

    def test_raw_volumes_pass(self, volumes, y, runs):
        assert self.audit(volumes, y, runs).ok

    def test_z_scores_of_training_samples_pass(self, volumes, y, runs):
        volumes += runs[:, None, None, None]
        scaled = VoxelZScorer().fit(volumes[runs > 0]).transform(volumes)
        assert self.audit(scaled, y, runs).ok

    def test_runs_standardised_by_themselves_pass(self, samples):
        assert self.audit(clean_runs(samples), samples.y, samples.groups).ok


class TestRepeats:
    def test_the_same_partition_twice_is_found(self, volumes, y, runs):
        once = list(LeaveOneGroupOut().split(volumes, y, runs))
        report = audit_leakage(None, volumes, y, groups=runs, cv=once * 2, checks=["repeats"])
        assert len(report.findings) == 5
        assert "Split 5 tests the same samples as split 0" in str(report)

    def test_distinct_partitions_pass(self, volumes, y, runs):
        cv = RepeatedGroupKFold(2, n_repeats=4, random_state=0)
        assert audit_leakage(None, volumes, y, groups=runs, cv=cv, checks=["repeats"]).ok


class WithValidationSplit(LogisticRegression):
    """Stands for a network that validates with the last samples, as Keras does."""

    def __init__(self, validation_split=0.0):
        super().__init__()
        self.validation_split = validation_split


INNER_LEAKS = {
    "a random validation set": (
        DecodingPipeline([("cnn", LogisticRegression())], validation=ShuffleSplit(1)),
        DecodingPipeline([("cnn", LogisticRegression())], validation=GroupShuffleSplit(1)),
        "the validation of DecodingPipeline puts group",
    ),
    "random early stopping": (
        make_pipeline(StandardScaler(), MLPClassifier(early_stopping=True)),
        make_pipeline(StandardScaler(), MLPClassifier(early_stopping=False)),
        "MLPClassifier stops early on a random subset",
    ),
    "random early stopping of a linear model": (
        SGDClassifier(early_stopping=True),
        SGDClassifier(),
        "SGDClassifier stops early",
    ),
    "the last samples": (
        WithValidationSplit(0.1),
        WithValidationSplit(0.25),  # the last of four runs
        "In split 0 the validation_split of WithValidationSplit puts group 4 on both",
    ),
    "a search by sample": (
        GridSearchCV(LogisticRegression(), {"C": [1]}, cv=StratifiedKFold(3)),
        GridSearchCV(LogisticRegression(), {"C": [1]}, cv=GroupKFold(2)),
        "the cv of GridSearchCV puts group",
    ),
    "a network inside a search": (
        GridSearchCV(SGDClassifier(early_stopping=True), {"alpha": [1]}, cv=GroupKFold(2)),
        GridSearchCV(SGDClassifier(), {"alpha": [1]}, cv=GroupKFold(2)),
        "SGDClassifier stops early",
    ),
}


@pytest.mark.parametrize("name", INNER_LEAKS)
def test_inner_validation_on_groups_that_are_fitted_is_found(samples, name):
    leaky, clean, message = INNER_LEAKS[name]
    report = audit_leakage(leaky, samples, checks=["inner"])
    assert message in str(report)
    assert audit_leakage(clean, samples, checks=["inner"]).ok


class ScaleBatch(TransformerMixin, BaseEstimator):
    """Z-scores whatever batch it is given."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return (X - X.mean(axis=0)) / X.std(axis=0)


class ScaleWholeImage(TransformerMixin, BaseEstimator):
    """Scales by all volumes of the image that its samples come from."""

    def fit(self, X, y=None):
        self.mean_ = X._sources[0].read(np.arange(N_RUNS * N_VOLUMES)).mean(axis=0)
        return self

    def transform(self, X):
        return np.asarray(X) - self.mean_


class ScaleByReference(TransformerMixin, BaseEstimator):
    """Scales by data that it was built with."""

    def __init__(self, reference):
        self.reference = reference

    def fit(self, X, y=None):
        self.mean_ = self.reference.mean(axis=0)
        return self

    def transform(self, X):
        return X - self.mean_


class ScaleTraining(ScaleByReference):
    """The same by training samples."""

    def fit(self, X, y=None):
        self.mean_ = X.mean(axis=0)
        return self


class TestTransformers:
    @pytest.fixture
    def X(self, volumes):
        return volumes.reshape(80, -1)

    def audit(self, transformer, X, y, runs, cv=None):
        pipeline = make_pipeline(transformer, LogisticRegression())
        return audit_leakage(pipeline, X, y, groups=runs, cv=cv, checks=["transformers"])

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda X: ScaleBatch(), "standardise each batch by itself"),
            (
                lambda X: FrozenEstimator(StandardScaler().fit(X)),
                "frozenestimator was fitted before",
            ),
            (
                lambda X: ScaleByReference(X),
                "scalebyreference__reference holds an array with a row",
            ),
        ],
    )
    def test_a_look_at_test_samples_is_found(self, X, y, runs, make, message):
        report = self.audit(make(X), X, y, runs)
        assert {item.check for item in report.findings} == {"transformers"}
        assert message in str(report)

    def test_a_look_at_the_image_behind_the_samples_is_found(self, samples):
        pipeline = make_pipeline(ScaleWholeImage(), LogisticRegression())
        report = audit_leakage(pipeline, samples, checks=["transformers"])
        assert "they read more than they are given" in str(report)
        pipeline = make_pipeline(VoxelZScorer(), LogisticRegression())
        assert audit_leakage(pipeline, samples, checks=["transformers"]).ok

    @pytest.mark.parametrize(
        "transformer", [StandardScaler(), FunctionTransformer(), ScaleTraining(None)]
    )
    def test_transformers_that_learn_from_training_samples_pass(self, X, y, runs, transformer):
        assert self.audit(transformer, X, y, runs).ok

    def test_steps_inside_a_search_are_audited(self, X, y, runs):
        search = GridSearchCV(make_pipeline(ScaleBatch(), LogisticRegression()), {})
        report = audit_leakage(search, X, y, groups=runs, checks=["transformers"])
        assert not report.ok

    def test_a_lone_classifier_has_none(self, X, y, runs):
        report = audit_leakage(LogisticRegression(), X, y, groups=runs, checks=["transformers"])
        assert report.skipped == {"transformers": "the estimator has no steps before the last"}

    def test_nothing_is_fitted_in_place(self, X, y, runs):
        scaler = StandardScaler()
        self.audit(scaler, X, y, runs)
        assert not hasattr(scaler, "mean_")


class TestInput:
    def test_a_list_of_images_is_taken_as_samples(self, samples):
        images = [samples[i] for i in range(80)]
        options = {"y": samples.y, "groups": samples.groups}
        assert audit_leakage(PIPELINE, images, **options).skipped == {}
        images[70] = images[3]
        assert found(audit_leakage(None, images, **options)) == {"duplicates"}

    def test_an_unknown_check_is_refused(self, samples):
        with pytest.raises(
            ValueError, match=r"There is no check 'magic'\. The checks are 'groups'"
        ):
            audit_leakage(None, samples, checks=["magic"])

    @pytest.mark.parametrize(("missing", "message"), [("y", "no labels"), ("groups", "no groups")])
    def test_labels_and_groups_are_needed(self, volumes, y, runs, missing, message):
        given = {"y": y, "groups": runs} | {missing: None}
        with pytest.raises(ValueError, match=message):
            audit_leakage(None, volumes, **given)


def test_the_report_lists_the_first_offenders_of_each_check(samples):
    cv = RepeatedKFold(n_splits=4, n_repeats=2, random_state=0)
    report = audit_leakage(PIPELINE, samples, cv=cv, checks=CHEAP_CHECKS)
    assert found(report) == {"groups", "neighbours"}
    text = str(report)
    assert "groups: 8 found" in text
    assert "  and 3 more" in text
    table = report.to_frame()
    assert len(table) == 16
    assert table["split"].tolist() == [*range(8), *range(8)]
    with pytest.raises(AssertionError, match="groups: 8 found, Split 0 has group"):
        assert report.ok


def test_simulated_data_pass_by_chunk_and_fail_at_random():
    data = make_eyes_open_closed(12, random_state=0)
    samples = NiftiSamples(data.images, y=data.labels, groups=data.chunks)
    assert audit_leakage(None, samples).ok
    report = audit_leakage(None, samples, cv=KFold(6, shuffle=True, random_state=0))
    assert found(report) == {"groups", "neighbours"}


@pytest.mark.real_data
@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("name", ["bold_slice", "bold_vt"])
def test_real_runs_pass_when_whole_runs_are_held_out(real_data, name, clean):
    folder = real_data / "haxby_subject1"
    table = pd.read_csv(folder / f"{name}_labels.csv")
    samples = NiftiSamples(folder / f"{name}.nii.gz", y=table["label"], groups=table["run"])
    samples = clean_runs(samples) if clean else samples
    pipeline = Pipeline(
        [("slab", NiftiSlabRotator(0, slab=None)), ("zscore", VoxelZScorer()), ("last", None)]
    )
    report = audit_leakage(pipeline, samples)
    assert report.ok, report
    at_random = KFold(12, shuffle=True, random_state=0)
    report = audit_leakage(None, samples, cv=at_random)
    assert {"groups", "neighbours"} <= found(report)
