"""Test volumes that initial weights were trained on, in audits and evaluations."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, GroupKFold, PredefinedSplit

from skfmri import (
    DecodingPipeline,
    NiftiSamples,
    NiftiSlabRotator,
    SlabCNNClassifier,
    audit_leakage,
    center_groups,
    evaluate_decoder,
    evaluate_subjects,
    load,
    save,
)
from skfmri.evaluation.fingerprints import parameters_of
from skfmri.evaluation.seen import find_seen

ONLY = {"checks": ["initial_weights"]}
FEW = {"baseline": None, "permutation": None, "n_bootstraps": 100, "random_state": 0}


def make_samples(seed, n_known=0, known=None):
    volumes = np.random.default_rng(seed).normal(100, 9, size=(12, 5, 6, 3)).astype(np.float32)
    if n_known:
        volumes[:n_known] = np.asarray(known)[:n_known]
    return NiftiSamples.from_array(
        volumes, np.diag([3.0, 3, 3, 1]), y=list("ab" * 6), groups=np.repeat([1, 2, 3], 4)
    )


def pipeline(tiny, **options):
    decoder = SlabCNNClassifier(**{**tiny, "epochs": 1}, random_state=0, **options)
    return DecodingPipeline(
        [("slab", NiftiSlabRotator(0, slab=None, crop=False)), ("cnn", decoder)]
    )


@pytest.fixture(scope="module")
def old():
    return make_samples(0)


@pytest.fixture(scope="module")
def path(old, tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "old.skfmri"
    save(pipeline(tiny).fit(old, old.y), path, samples=old)
    return path


@pytest.fixture(scope="module")
def source(path):
    return load(path)


MESSAGE = (
    r"In split 0 initial_weights were trained on 3 of the 4 test volumes \(75%\), such as sample "
    r"0\. Leave them out of the samples, samples\[~find_training_volumes\(path, samples\)\], or "
)


class TestAudit:
    def test_seen_test_volumes_are_found_with_their_share_and_the_way_out(self, old, tiny, source):
        report = audit_leakage(
            pipeline(tiny, initial_weights=source), make_samples(1, 3, old), **ONLY
        )
        (finding,) = report.findings
        assert (finding.split, finding.test.tolist()) == (0, [0, 1, 2])
        with pytest.raises(ValueError, match=MESSAGE):
            raise ValueError(finding.message)

    def test_volumes_that_are_only_trained_on_again_are_no_leak(self, old, tiny, source):
        cv = PredefinedSplit([-1] * 4 + [0] * 4 + [1] * 4)
        decoder = pipeline(tiny, initial_weights=source)
        assert audit_leakage(decoder, make_samples(1, 3, old), cv=cv, **ONLY).ok

    def test_those_of_the_source_of_a_source_are_found(self, old, tiny, source):
        other = make_samples(2)
        between = pipeline(tiny, initial_weights=source).fit(other, other.y)
        decoder = pipeline(tiny, initial_weights=between)
        assert len(audit_leakage(decoder, old, **ONLY).findings) == 3
        # In this process it is also known what the pipeline in between was fitted to.
        assert len(audit_leakage(decoder, other, **ONLY).findings) == 3

    def test_volumes_of_a_fit_in_this_process_are_known_among_the_same_samples(self, old, tiny):
        decoder = pipeline(tiny, initial_weights=pipeline(tiny).fit(old[:4], old.y[:4]))
        report = audit_leakage(decoder, old[4:], **ONLY)
        assert report.passed == ("initial_weights",)
        (finding,) = audit_leakage(decoder, old, **ONLY).findings
        assert finding.test.tolist() == [0, 1, 2, 3]

    def test_volumes_are_recognised_in_samples_computed_from_them(self, old, tiny, source):
        decoder = pipeline(tiny, initial_weights=source)
        centred = center_groups(make_samples(1, 3, old))
        (first, *_) = audit_leakage(decoder, centred, **ONLY).findings
        assert first.test.tolist() == [0, 1, 2]

    def test_a_source_that_is_fitted_again_forgets_what_its_file_said(self, old, tiny, path):
        source, other = load(path), make_samples(2)
        source.fit(other, other.y)
        report = audit_leakage(pipeline(tiny, initial_weights=source), old, **ONLY)
        assert report.findings == ()
        assert "do not say which volumes" in report.skipped["initial_weights"]

    def test_candidates_of_a_search_count(self, old, tiny, source):
        grid = {"cnn__initial_weights": [None, FrozenEstimator(source)], "cnn__epochs": [1]}
        search = GridSearchCV(pipeline(tiny), grid, cv=GroupKFold(2))
        assert len(audit_leakage(search, old, **ONLY).findings) == 3

    def test_sources_count_wherever_a_decoder_holds_them(self, old, tiny, source):
        candidates = np.empty(1, object)
        candidates[0] = FrozenEstimator(source)
        network = SlabCNNClassifier(**tiny, initial_weights=source)
        for grid in ({"cnn__initial_weights": candidates}, [{"cnn": [network]}]):
            search = GridSearchCV(pipeline(tiny), grid, cv=GroupKFold(2))
            assert len(audit_leakage(search, old, **ONLY).findings) == 3

        class Pretrained(SlabCNNClassifier):
            def __init__(self, random_state=None):
                super().__init__(**tiny, random_state=random_state, initial_weights=source)

        assert len(audit_leakage(Pretrained(), old, **ONLY).findings) == 3

    def test_fits_before_the_last_one_in_this_process_are_remembered(self, old, tiny):
        first = pipeline(tiny).fit(old[:4], old.y[:4])
        second = pipeline(tiny, initial_weights=first).fit(old[4:8], old.y[4:8])
        # What the first one is fitted to later does not matter.
        first.fit(old[8:], old.y[8:])
        is_seen, _ = find_seen(pipeline(tiny, initial_weights=second), old)
        assert is_seen.tolist() == [True] * 8 + [False] * 4
        copied = pickle.loads(pickle.dumps(second))
        is_seen, unknown = find_seen(pipeline(tiny, initial_weights=copied), old)
        assert not is_seen.any()
        assert "do not say which volumes" in unknown

    def test_known_volumes_in_training_folds_do_not_hide_what_is_unknown(self, old, tiny, source):
        unknown = SlabCNNClassifier(**tiny).fit(np.asarray(old), old.y)
        grid = {"cnn__initial_weights": [FrozenEstimator(each) for each in (source, unknown)]}
        search = GridSearchCV(pipeline(tiny), grid, cv=GroupKFold(2))
        cv = PredefinedSplit([-1] * 4 + [0] * 4 + [1] * 4)
        report = audit_leakage(search, make_samples(1, 3, old), cv=cv, **ONLY)
        assert (report.findings, report.passed) == ((), ())
        assert "do not say which volumes" in report.skipped["initial_weights"]

    def test_it_says_if_nothing_can_be_checked(self, old, tiny):
        decoder = SlabCNNClassifier(**tiny).fit(np.asarray(old), old.y)
        report = audit_leakage(pipeline(tiny, initial_weights=decoder), make_samples(1), **ONLY)
        assert "do not say which volumes" in report.skipped["initial_weights"]
        assert report.passed == ()

    def test_arrays_are_compared_but_prove_nothing(self, old, tiny, source):
        decoder, groups = SlabCNNClassifier(**tiny, initial_weights=source), old.groups
        report = audit_leakage(decoder, np.asarray(old), old.y, groups=groups, **ONLY)
        assert len(report.findings) == 3
        report = audit_leakage(decoder, np.asarray(old) + 1, old.y, groups=groups, **ONLY)
        assert "X is an array" in report.skipped["initial_weights"]

    def test_nothing_is_read_without_initial_weights(self, tiny):
        class Unread:
            def __len__(self):
                return 3

        is_seen, unknown = find_seen(pipeline(tiny), Unread())
        assert (is_seen.tolist(), unknown) == ([False] * 3, None)

    def test_the_splits_of_a_source_are_not_those_of_the_decoder(self, tiny, source):
        stops_early = DecodingPipeline(source.steps, validation=PredefinedSplit([0] * 12))
        decoder = pipeline(tiny, initial_weights=stops_early)
        assert audit_leakage(decoder, make_samples(1), checks=["inner"]).ok


class TestEvaluation:
    def test_seen_test_volumes_are_refused_before_any_fit(self, old, tiny, source):
        decoder = pipeline(tiny, initial_weights=source)
        with pytest.raises(ValueError, match=rf"of 1 of 3 splits could not be trusted\. {MESSAGE}"):
            evaluate_decoder(decoder, make_samples(1, 3, old), **FEW)
        subjects = np.repeat(["x", "y"], 6)
        with pytest.raises(ValueError, match="Subject x: The scores of 2 of 2 splits could not"):
            evaluate_subjects(decoder, old, subjects=subjects, **FEW)

    def test_those_of_a_baseline_are_refused_too(self, old, tiny, source):
        tuned = pipeline(tiny, initial_weights=source)
        with pytest.raises(ValueError, match=r"of 3 of 3 splits could not be trusted"):
            evaluate_decoder(pipeline(tiny), old, **FEW | {"baseline": tuned})

    def test_it_warns_at_the_caller_if_nothing_can_be_checked(self, old, tiny):
        decoder = SlabCNNClassifier(**tiny).fit(np.asarray(old), old.y)
        with pytest.warns(UserWarning, match="may be among these") as caught:
            evaluate_decoder(pipeline(tiny, initial_weights=decoder), make_samples(1), **FEW)
        assert [one.filename for one in caught if "among these" in str(one.message)] == [__file__]

    def test_a_source_of_other_volumes_is_welcome_and_recorded(self, tiny, path, tmp_path):
        samples, book = make_samples(1), tmp_path / "ledger.jsonl"
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            decoder = pipeline(tiny, initial_weights=load(path), frozen=("block1_norm",))
            expected = evaluate_decoder(decoder, samples, ledger=book, **FEW)
        # The same weights, read anew, are the same computation.
        n_bytes = book.stat().st_size
        decoder = pipeline(tiny, initial_weights=load(path)[-1], frozen=("block1_norm",))
        again = evaluate_decoder(decoder, samples, ledger=book, **FEW)
        assert book.stat().st_size == n_bytes
        assert again.folds["accuracy"].equals(expected.folds["accuracy"])


def test_two_sources_of_one_class_are_two_parameters(old, tiny, source):
    other = pipeline(tiny).fit(make_samples(3), old.y)
    found = [
        parameters_of(pipeline(tiny, initial_weights=each))["cnn__initial_weights"]
        for each in (source, source["cnn"], FrozenEstimator(source), other)
    ]
    assert found[0] == found[1] == found[2] != found[3]
    grids = [
        parameters_of(GridSearchCV(pipeline(tiny), {"cnn__initial_weights": [each]}))["param_grid"]
        for each in (source, FrozenEstimator(source), other)
    ]
    assert grids[0] == grids[1] != grids[2]
