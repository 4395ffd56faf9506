import os
import pickle
import tracemalloc
import warnings

import joblib
import nibabel
import numpy as np
import pandas as pd
import pytest
from nilearn.maskers import NiftiMasker
from nilearn.signal import clean
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score

from skfmri.datasets import make_eyes_open_closed
from skfmri.preprocessing import NiftiSlabRotator, clean_runs
from skfmri.samples import NiftiSamples
from skfmri.temporal.cleaning import apply_matrix, cleaning_matrix

SHAPE = (3, 4, 5)


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFMRI_CACHE", str(tmp_path / "store"))


@pytest.fixture
def series():
    rng = np.random.default_rng(0)
    drift = np.linspace(0, 30, 75)[:, None, None, None] * rng.normal(size=SHAPE)
    return (100 + drift + rng.normal(size=(75, *SHAPE))).astype(np.float32)


RUNS = np.repeat([2, 0, 1], [22, 28, 25])


def by_hand(series, runs, **options):
    cleaned = np.empty_like(series)
    for run in np.unique(runs):
        here = runs == run
        signals = clean(series[here].reshape(here.sum(), -1), filter=False, **options)
        cleaned[here] = signals.reshape(-1, *SHAPE)
    return cleaned


def test_each_run_is_centred_scaled_and_without_trend(series):
    cleaned = np.asarray(clean_runs(NiftiSamples.from_array(series, np.eye(4), runs=RUNS)))
    for run in range(3):
        part = cleaned[run == RUNS].reshape((run == RUNS).sum(), -1)
        np.testing.assert_allclose(part.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(part.std(axis=0, ddof=1), 1, rtol=1e-5)
        slope = np.polyfit(np.arange(len(part)), part, 1)[0]
        np.testing.assert_allclose(slope, 0, atol=1e-6)


def test_runs_that_are_neither_sorted_nor_contiguous_keep_their_order(series):
    order = np.random.default_rng(1).permutation(75)
    samples = NiftiSamples.from_array(series, np.eye(4), y=np.arange(75), runs=RUNS)
    cleaned = clean_runs(samples[order])
    expected = by_hand(series, RUNS)[order]
    np.testing.assert_allclose(np.asarray(cleaned), expected, atol=1e-5)
    assert cleaned.y.tolist() == order.tolist()
    assert cleaned.runs.tolist() == RUNS[order].tolist()


def test_every_run_equals_what_a_masker_gives_for_it_alone(series):
    mask = nibabel.Nifti1Image(np.ones(SHAPE, dtype=np.int8), np.eye(4))
    options = {"detrend": True, "high_pass": 0.02, "t_r": 2.0}
    confounds = np.random.default_rng(2).normal(size=(75, 2))
    samples = NiftiSamples.from_array(series, np.eye(4), runs=RUNS)
    cleaned = np.asarray(clean_runs(samples, confounds=confounds, **options))
    for run in range(3):
        here = run == RUNS
        image = nibabel.Nifti1Image(np.moveaxis(series[here], 0, -1), np.eye(4))
        masker = NiftiMasker(mask, standardize="zscore_sample", **options)
        expected = masker.fit_transform(image, confounds=confounds[here])
        np.testing.assert_allclose(cleaned[here].reshape(here.sum(), -1), expected, atol=1e-4)


# No volume is left out together with its mirror image in time: nilearn 0.14.1 errs there.
MASKS = [np.delete(np.arange(22), [0, 1, 9, 17]), None, np.delete(np.arange(25), [4, 5, 6])]


@pytest.fixture
def tables():
    """What nilearn's load_confounds returns for the runs 2, 0, 1: tables, and masks or None."""
    rng = np.random.default_rng(3)
    tables = [pd.DataFrame(rng.normal(size=(n, 2)), columns=["x", "y"]) for n in (22, 28, 25)]
    tables[0].iloc[9] = np.nan  # left out, so it may be anything
    return tables, MASKS


@pytest.mark.parametrize(
    "options",
    [{}, {"high_pass": 0.02, "t_r": 2.0}, {"detrend": False}, {"standardize": False}],
    ids=str,
)
def test_masked_runs_equal_what_a_masker_gives_for_each_alone(series, tables, options):
    # Shuffled, but the runs still appear in the order 2, 0, 1.
    rest = np.setdiff1d(np.arange(75), [0, 22])
    order = np.concatenate([[0, 22], np.random.default_rng(1).permutation(rest)])
    samples = NiftiSamples.from_array(series, np.eye(4), y=np.arange(75), runs=RUNS)[order]
    confounds, masks = tables
    cleaned = clean_runs(samples, confounds=confounds, sample_masks=masks, **options)
    left_out = [0, 1, 9, 17, 54, 55, 56]
    assert cleaned.y.tolist() == [i for i in order if i not in left_out]
    assert cleaned.runs.tolist() == RUNS[cleaned.y].tolist()

    mask_image = nibabel.Nifti1Image(np.ones(SHAPE, dtype=np.int8), np.eye(4))
    defaults = {"detrend": True, "standardize": "zscore_sample"}
    options = {**defaults, **options}
    options["standardize"] = options["standardize"] or None
    for run, table, mask in zip((2, 0, 1), confounds, masks, strict=True):
        image = nibabel.Nifti1Image(np.moveaxis(series[run == RUNS], 0, -1), np.eye(4))
        masker = NiftiMasker(mask_image, **options)
        expected = masker.fit_transform(image, confounds=table, sample_mask=mask)
        here = np.argsort(cleaned.y[cleaned.runs == run])
        found = np.asarray(cleaned[cleaned.runs == run])[here].reshape(len(expected), -1)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("high_pass", [None, 0.02])
@pytest.mark.parametrize("left_out", [[9], [9, 15], [0, 1, 23, 24], [0, 12, 13, 24], [0, 1, 24]])
def test_what_a_mask_leaves_out_reaches_nothing(series, left_out, high_pass, tmp_path, monkeypatch):
    poisoned = series[50:].copy()
    poisoned[left_out] += 1e4
    mask = np.delete(np.arange(25), left_out)
    confounds = np.random.default_rng(2).normal(size=(25, 1))
    options = {"sample_masks": [mask], "high_pass": high_pass, "t_r": 2.0}
    results = []
    for volumes, poison in ((series[50:], 0), (poisoned, 1e4)):
        # The key does not depend on what is left out, so each result needs its own cache.
        monkeypatch.setenv("SKFMRI_CACHE", str(tmp_path / str(poison)))
        table = confounds + poison * np.isin(np.arange(25), left_out)[:, None]
        samples = NiftiSamples.from_array(volumes, np.eye(4))
        results.append(np.asarray(clean_runs(samples, confounds=[table], **options)))
    assert len(results[0]) == len(mask)
    np.testing.assert_array_equal(*results)


def test_volumes_left_out_at_both_ends_are_cut_off_before_the_filter(series):
    options = {"high_pass": 0.02, "t_r": 2.0}
    samples = NiftiSamples.from_array(series[50:], np.eye(4))
    inner = clean_runs(samples[2:23], **options)
    masked = clean_runs(samples, sample_masks=[np.arange(2, 23)], **options)
    np.testing.assert_array_equal(np.asarray(masked), np.asarray(inner))


def test_a_mask_may_be_of_booleans_and_alone_for_a_single_run(series):
    samples = NiftiSamples.from_array(series[50:], np.eye(4), y=np.arange(25))
    expected = clean_runs(samples, sample_masks=[MASKS[2]])
    for mask in (MASKS[2], np.isin(np.arange(25), MASKS[2]), MASKS[2].tolist()):
        cleaned = clean_runs(samples, sample_masks=mask)
        assert cleaned.y.tolist() == expected.y.tolist() == MASKS[2].tolist()
        np.testing.assert_array_equal(np.asarray(cleaned), np.asarray(expected))
    assert len(clean_runs(samples, sample_masks=[None])) == 25


def test_gaps_are_bridged_for_the_filter_only_where_a_mask_makes_them(series):
    volumes, mask = series[50:], np.delete(np.arange(25), [9, 10])
    for options, is_equal in (({}, True), ({"high_pass": 0.02, "t_r": 2.0}, False)):
        masked = clean_runs(
            NiftiSamples.from_array(volumes, np.eye(4)), sample_masks=mask, **options
        )
        whole = clean_runs(NiftiSamples.from_array(volumes[mask], np.eye(4)), **options)
        assert np.allclose(np.asarray(masked), np.asarray(whole), atol=1e-6) is is_equal


def test_each_run_may_have_its_own_time_between_volumes(series):
    samples = NiftiSamples.from_array(series, np.eye(4), runs=RUNS)
    cleaned = np.asarray(clean_runs(samples, high_pass=0.02, t_r=[1.0, 2.0, 3.0]))
    for run, t_r in ((2, 1.0), (0, 2.0), (1, 3.0)):
        here = run == RUNS
        alone = np.asarray(clean_runs(samples[here], high_pass=0.02, t_r=t_r))
        np.testing.assert_array_equal(cleaned[here], alone)
    assert not np.allclose(cleaned, np.asarray(clean_runs(samples, high_pass=0.02, t_r=2.0)))


def test_the_fingerprint_follows_confounds_and_masks(series, tables):
    samples = NiftiSamples.from_array(series, np.eye(4), runs=RUNS)
    confounds, masks = tables
    other = [confounds[0] + 1, *confounds[1:]]
    recipes = [(None, None), (None, masks), (other, masks)]
    recipes += [(confounds, masks), (confounds, [masks[0], np.arange(27), masks[2]])]
    hashes = [joblib.hash(clean_runs(samples, confounds=c, sample_masks=m)) for c, m in recipes]
    assert len(set(hashes)) == len(recipes)
    again = clean_runs(samples, confounds=[t.copy() for t in confounds], sample_masks=masks)
    assert joblib.hash(again) == hashes[3]


def test_confounds_without_columns_change_nothing(series):
    samples = NiftiSamples.from_array(series, np.eye(4), runs=RUNS)
    empty = [pd.DataFrame(index=range(n)) for n in (22, 28, 25)]
    expected = np.asarray(clean_runs(samples))
    np.testing.assert_array_equal(np.asarray(clean_runs(samples, confounds=empty)), expected)


@pytest.mark.parametrize("options", [{"detrend": False}, {"standardize": False}])
def test_each_step_can_be_turned_off(series, options):
    cleaned = clean_runs(NiftiSamples.from_array(series, np.eye(4), runs=RUNS), **options)
    nilearn_options = {"detrend": options.get("detrend", True)}
    nilearn_options["standardize"] = "zscore_sample" if "standardize" not in options else None
    expected = by_hand(series, RUNS, **nilearn_options)
    np.testing.assert_allclose(np.asarray(cleaned), expected, atol=1e-4)


def test_confounds_by_run_equal_confounds_by_row(series):
    confounds = np.random.default_rng(2).normal(size=(75, 2))
    samples = NiftiSamples.from_array(series, np.eye(4), runs=RUNS)
    rows = np.asarray(clean_runs(samples, confounds=confounds))
    by_run = [confounds[run == RUNS] for run in (2, 0, 1)]
    np.testing.assert_array_equal(np.asarray(clean_runs(samples, confounds=by_run)), rows)
    assert not np.allclose(rows, np.asarray(clean_runs(samples)))


def test_cleaning_other_runs_differently_changes_nothing_in_a_run(series):
    samples = NiftiSamples.from_array(series, np.eye(4), runs=RUNS)
    poisoned = series.copy()
    poisoned[RUNS != 0] *= 1e6
    other = NiftiSamples.from_array(poisoned, np.eye(4), runs=RUNS)
    here = RUNS == 0
    np.testing.assert_array_equal(
        np.asarray(clean_runs(samples))[here], np.asarray(clean_runs(other))[here]
    )


@pytest.fixture
def cleaned_lengths(monkeypatch):
    """The number of volumes of each run that is cleaned, in order."""
    lengths = []

    def counted(kept, *args, **options):
        lengths.append(len(kept))
        return cleaning_matrix(kept, *args, **options)

    monkeypatch.setattr("skfmri.samples.cleaned.cleaning_matrix", counted)
    return lengths


def test_the_work_is_done_once_and_only_when_data_are_read(series, cleaned_lengths):
    cleaned = clean_runs(NiftiSamples.from_array(series, np.eye(4), runs=RUNS))
    before = joblib.hash(cleaned)
    assert not cleaned_lengths
    np.asarray(cleaned[5:9])
    assert cleaned_lengths == [22]
    np.asarray(cleaned)
    assert cleaned_lengths == [22, 28, 25]
    assert joblib.hash(cleaned) == before


@pytest.fixture
def run_files(series, tmp_path):
    """Three files of one run each."""
    paths = [tmp_path / f"run-{run}_bold.nii.gz" for run in range(3)]
    for path, run in zip(paths, (2, 0, 1), strict=True):
        image = nibabel.Nifti1Image(np.moveaxis(series[run == RUNS], 0, -1), np.eye(4))
        nibabel.save(image, path)
    return paths


class TestEachRunHasItsFile:
    def test_one_more_run_is_cleaned_alone(self, run_files, cleaned_lengths):
        np.asarray(clean_runs(NiftiSamples(run_files[1:])))
        assert cleaned_lengths == [28, 25]
        np.asarray(clean_runs(NiftiSamples(run_files)))
        assert cleaned_lengths == [28, 25, 22]

    def test_other_settings_of_a_run_clean_only_that_run(self, run_files, cleaned_lengths, tables):
        samples, (confounds, masks) = NiftiSamples(run_files), tables
        options = {"high_pass": 0.02, "t_r": 2.0}
        np.asarray(clean_runs(samples, confounds=confounds, sample_masks=masks, **options))
        del cleaned_lengths[:]
        others = {
            "confounds": [confounds[0], confounds[1] + 1e-3 * np.arange(56).reshape(28, 2), None],
            "sample_masks": [masks[0], None, np.arange(1, 25)],
            "t_r": [2.0, 2.1, 2.0],
        }
        for name, value in others.items():
            changed = {"confounds": confounds, "sample_masks": masks, **options, name: value}
            np.asarray(clean_runs(samples, **changed))
        assert cleaned_lengths == [28, 22, 24, 28]
        for name, value in {"detrend": False, "standardize": False, "high_pass": 0.03}.items():
            del cleaned_lengths[:]
            changed = {"confounds": confounds, "sample_masks": masks, **options, name: value}
            np.asarray(clean_runs(samples, **changed))
            assert cleaned_lengths == [18, 28, 22]

    def test_a_stop_loses_the_run_that_was_being_cleaned(
        self, run_files, cleaned_lengths, tmp_path, monkeypatch
    ):
        expected = np.asarray(clean_runs(NiftiSamples(run_files)))
        for path in (tmp_path / "store").iterdir():
            path.unlink()
        del cleaned_lengths[:]

        def stopped(matrix, series, **options):
            if len(series) == 25:
                raise KeyboardInterrupt
            return apply_matrix(matrix, series, **options)

        monkeypatch.setattr("skfmri.samples.cleaned.apply_matrix", stopped)
        with pytest.raises(KeyboardInterrupt):
            np.asarray(clean_runs(NiftiSamples(run_files)))
        assert cleaned_lengths == [22, 28, 25]
        monkeypatch.setattr("skfmri.samples.cleaned.apply_matrix", apply_matrix)
        np.testing.assert_array_equal(np.asarray(clean_runs(NiftiSamples(run_files))), expected)
        assert cleaned_lengths == [22, 28, 25, 25]

    def test_volumes_of_several_runs_are_read_in_any_order(self, run_files):
        cleaned = clean_runs(NiftiSamples(run_files))
        rows = np.random.default_rng(0).permutation(75)[:40]
        np.testing.assert_array_equal(np.asarray(cleaned[rows]), np.asarray(cleaned)[rows])

    def test_chunks_of_voxels_give_the_same(self, run_files, monkeypatch, tmp_path):
        whole = np.asarray(clean_runs(NiftiSamples(run_files)))
        for path in (tmp_path / "store").iterdir():
            path.unlink()
        monkeypatch.setattr("skfmri.samples.cleaned_files.CHUNK_BYTES", 8 * 28 * 7)
        parts = np.asarray(clean_runs(NiftiSamples(run_files)))
        np.testing.assert_allclose(parts, whole, atol=1e-6)

    def test_memory_does_not_grow_with_the_run(self, tmp_path, monkeypatch):
        monkeypatch.setattr("skfmri.samples.cleaned_files.CHUNK_BYTES", 2**20)
        monkeypatch.setattr("skfmri.samples.nifti.BATCH_BYTES", 2**20)
        peaks = []
        # The first call imports what it needs.
        for n_volumes in (3, 100, 300):
            path = tmp_path / f"{n_volumes}.nii"
            image = nibabel.Nifti1Image(np.zeros((20, 21, 32, n_volumes), np.int16), np.eye(4))
            nibabel.save(image, path)
            samples = NiftiSamples(path)
            tracemalloc.start()
            clean_runs(samples)[0]
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        # The larger matrix has 0.7 MB, its cleaned run 16 MB.
        assert max(peaks[1:]) < 8e6


def test_constant_voxels_become_0(series):
    series[:, 0, 0, 0] = 1234.567
    cleaned = np.asarray(clean_runs(NiftiSamples.from_array(series, np.eye(4), runs=RUNS)))
    assert not cleaned[:, 0, 0, 0].any()
    unscaled = {"detrend": False, "standardize": False}
    samples = NiftiSamples.from_array(series, np.eye(4), runs=RUNS)
    cleaned = np.asarray(clean_runs(samples, **unscaled))
    np.testing.assert_array_equal(cleaned, series)


class TestValuesThatAreNotFinite:
    def test_count_as_0_with_a_warning_of_their_share_run_and_file(self, series, tmp_path):
        path = tmp_path / "sub-07_bold.nii"
        broken = series.copy()
        broken[3, 1, 1, 1:3], broken[6, 2, 2, 2] = np.nan, np.inf
        nibabel.save(nibabel.Nifti1Image(np.moveaxis(broken, 0, -1), np.eye(4)), path)
        samples = NiftiSamples(path, runs=RUNS)
        # 22 volumes of 60 voxels
        message = (
            r"3 values \(0.0023 of those read\) of run 2 \(.*sub-07_bold.nii\) are not finite.*"
            "counts them as 0.*sample_masks="
        )
        samples = clean_runs(samples)
        with pytest.warns(UserWarning, match=message) as found:
            cleaned = np.asarray(samples)
        assert len(found) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.asarray(samples[:3])
        broken[~np.isfinite(broken)] = 0
        expected = clean_runs(NiftiSamples.from_array(broken, np.eye(4), runs=RUNS))
        np.testing.assert_allclose(cleaned, np.asarray(expected), atol=1e-6)
        # Neither the next process nor a copy for a worker is left without the warning.
        again = clean_runs(NiftiSamples(path, runs=RUNS))
        for samples in (again[:3], pickle.loads(pickle.dumps(again))[:3]):
            with pytest.warns(UserWarning, match=message):
                np.asarray(samples)

    def test_left_out_they_do_no_harm(self, series):
        broken = series[50:].copy()
        broken[[3, 8]] = np.nan
        mask = np.delete(np.arange(25), [3, 8])
        found, expected = (
            clean_runs(NiftiSamples.from_array(volumes, np.eye(4)), sample_masks=mask)
            for volumes in (broken, series[50:])
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))

    def test_voxels_without_any_value_are_0_without_a_warning(self, series):
        series[:, 0] = np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            cleaned = np.asarray(clean_runs(NiftiSamples.from_array(series, np.eye(4), runs=RUNS)))
        assert not cleaned[:, 0].any()
        assert np.isfinite(cleaned).all()


class TestLabelsThatFollowTheDrift:
    def maps(self, labels, n_subjects=6):
        volumes = np.random.default_rng(0).normal(size=(len(labels) * n_subjects, *SHAPE))
        subjects = np.repeat(np.arange(n_subjects), len(labels))
        y = list(labels) * n_subjects
        return NiftiSamples.from_array(volumes, np.eye(4), y=y, groups=subjects)

    @pytest.mark.parametrize(("labels", "share"), [("aaaabbbb", "76%"), ("aabb", "80%")])
    def test_a_fixed_order_of_few_maps_is_warned_of(self, labels, share):
        message = (
            f"a linear trend from runs of {len(labels)} to {len(labels)} volumes removes {share} "
            "of the variance of the labels.*Pass detrend=False"
        )
        with pytest.warns(UserWarning, match=message):
            clean_runs(self.maps(labels))

    def test_detrending_maps_of_subjects_costs_much_of_the_score_that_it_warns_about(self):
        data = make_eyes_open_closed(24)
        rotator = NiftiSlabRotator(slab=(13, 14), interpolation="linear")
        slabs = rotator.fit_transform(NiftiSamples(data.images))
        about = {"y": data.labels, "groups": data.subjects}
        samples = NiftiSamples.from_array(slabs, np.eye(4), **about)
        with pytest.warns(UserWarning, match="runs of 8 to 8 volumes removes 76% of the variance"):
            detrended = clean_runs(samples)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            kept = clean_runs(samples, detrend=False)

        def score(samples):
            X = np.asarray(samples).reshape(len(samples), -1)
            cv = {"groups": data.subjects, "cv": GroupKFold(4)}
            return cross_val_score(LogisticRegression(), X, data.labels, **cv).mean()

        assert score(kept) > 0.9
        assert score(detrended) < 0.7

    def test_without_detrending_nothing_is_lost(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            clean_runs(self.maps("aaaabbbb"), detrend=False)

    def test_a_filter_too_high_for_the_blocks_is_warned_of(self):
        maps = self.maps(["a"] * 30 + ["b"] * 30, n_subjects=2)
        message = "frequencies below 0.02 Hz .* runs of 60 to 60 .*Pass a lower high_pass, or None"
        with pytest.warns(UserWarning, match=message):
            clean_runs(maps, detrend=False, high_pass=0.02, t_r=2.0)
        with pytest.warns(
            UserWarning, match=r"trend and frequencies .*detrend=False.*; or a lower"
        ):
            clean_runs(maps, high_pass=0.02, t_r=2.0)

    @pytest.mark.parametrize("labels", ["ab" * 30, "a" * 8, ("a" * 6 + " " * 6 + "b" * 6) * 6])
    def test_labels_that_drift_does_not_explain_are_not(self, labels):
        labels = [label.strip() for label in labels]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            clean_runs(self.maps(labels, n_subjects=2))

    def test_two_maps_of_a_subject_need_no_cleaning(self):
        with pytest.raises(ValueError, match="Maps are not a time series and need no cleaning"):
            clean_runs(self.maps("ab"))


def test_a_run_in_two_groups_is_refused(series):
    samples = NiftiSamples.from_array(series, np.eye(4), runs=RUNS, groups=np.arange(75) // 40)
    with pytest.raises(ValueError, match=r"Run 0 lies in 2 groups \(0, 1\)"):
        clean_runs(samples)


def test_selecting_before_cleaning_warns(series):
    samples = NiftiSamples.from_array(series, np.eye(4), runs=RUNS)
    with pytest.warns(
        UserWarning, match="3 of 3 runs, such as run 2, have gaps .* select volumes afterwards"
    ):
        clean_runs(samples[::2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"high_pass": 0.01}, "Pass t_r in seconds"),
        ({"high_pass": 0.5, "t_r": 2.0}, r"half the sampling rate \(0.25 Hz"),
        ({"t_r": 0.0}, "t_r must be a positive number"),
        ({"high_pass": 0.01, "t_r": [2.0]}, "1 values of t_r for 3 runs"),
        ({"confounds": np.full((75, 1), np.nan)}, "confounds of run 2 hold 22 values"),
        ({"confounds": np.zeros((74, 1))}, "74 rows of confounds for 75 volumes"),
        ({"confounds": [np.zeros((75, 1))]}, "confounds for 1 runs, but samples of 3 runs"),
        ({"confounds": [np.zeros((5, 1))] * 3}, "confounds of run 2 have 5 rows"),
        (
            {"confounds": np.random.default_rng(0).normal(size=(75, 20))},
            "Run 2 keeps 22 volumes, of which 20 confounds with mean and trend leave nothing",
        ),
        ({"sample_masks": [None]}, "sample masks for 1 runs, but samples of 3 runs"),
        ({"sample_masks": np.arange(22)}, "sample masks for 22 runs"),
        ({"sample_masks": [None, np.arange(2), None]}, "of run 0 keeps 2 of 28 volumes"),
        ({"sample_masks": [None, None, []]}, "of run 1 keeps 0 of 25 volumes"),
        ({"sample_masks": [None, None, np.arange(26)]}, "0 to 25, but the run has .* 0 to 24"),
        ({"sample_masks": [np.ones(75, dtype=bool), None, None]}, "has 75 entries for 22 volumes"),
    ],
)
def test_options_that_do_not_fit_are_refused(series, options, message):
    with pytest.raises(ValueError, match=message):
        clean_runs(NiftiSamples.from_array(series, np.eye(4), runs=RUNS), **options)


def test_runs_too_short_for_a_filter_are_named(series):
    samples = NiftiSamples.from_array(series[:12], np.eye(4))
    with pytest.raises(ValueError, match="Run 0 with 12 volumes cannot be cleaned"):
        np.asarray(clean_runs(samples, high_pass=0.01, t_r=2))


def test_runs_too_short_to_clean_are_refused(series):
    samples = NiftiSamples.from_array(series[:5], np.eye(4), runs=[0, 0, 0, 1, 1])
    with pytest.raises(ValueError, match="Run 1 has 2 volumes; cleaning needs at least 3"):
        clean_runs(samples)


def test_a_rewritten_file_is_cleaned_again(series, tmp_path):
    path = tmp_path / "run.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.moveaxis(series, 0, -1), np.eye(4)), path)
    first = np.asarray(clean_runs(NiftiSamples(path)))
    stale = clean_runs(NiftiSamples(path))
    nibabel.save(nibabel.Nifti1Image(np.moveaxis(series[::-1], 0, -1), np.eye(4)), path)
    os.utime(path, ns=(0, 10**18))
    again = np.asarray(clean_runs(NiftiSamples(path)))
    assert not np.allclose(again, first)
    with pytest.raises(ValueError, match="has changed since its header was read"):
        np.asarray(stale)


def test_workers_get_the_recipe_not_the_volumes(series, tmp_path):
    path = tmp_path / "run.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.moveaxis(series, 0, -1), np.eye(4)), path)
    masks = [None, np.arange(1, 28), None]
    cleaned = clean_runs(NiftiSamples(path, groups=RUNS), sample_masks=masks)
    pickled = pickle.dumps(cleaned)
    assert len(pickled) < 8000 < series.nbytes
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickled)), np.asarray(cleaned))


def test_a_run_in_two_images_is_refused(series):
    halves = [nibabel.Nifti1Image(np.moveaxis(part, 0, -1), np.eye(4)) for part in (series, series)]
    samples = NiftiSamples(halves, groups=np.zeros(150), runs=np.tile(RUNS, 2))
    with pytest.raises(ValueError, match="Run 2 lies in 2 images"):
        clean_runs(samples)


def test_gaps_between_images_of_one_volume_are_seen(series):
    singles = NiftiSamples([nibabel.Nifti1Image(volume, np.eye(4)) for volume in series])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = np.asarray(clean_runs(singles))
    np.testing.assert_allclose(whole, by_hand(series, np.zeros(75)), atol=1e-5)
    with pytest.warns(UserWarning, match="have gaps"):
        clean_runs(singles[[0, 1, 2, 10, 11, 19]])


def test_other_labels_need_no_other_copy(series, tmp_path):
    for y in (range(75), range(1, 76)):
        np.asarray(clean_runs(NiftiSamples.from_array(series, np.eye(4), y=y, runs=RUNS)))
    copies = [p for p in (tmp_path / "store").iterdir() if p.suffix != ".lock"]
    assert len(copies) == 3


class TestPairs:
    """What nilearn's load_confounds returns is passed on whole."""

    def runs(self, n_runs):
        rng = np.random.default_rng(0)
        data = rng.normal(100, 5, size=(20 * n_runs, 2, 3, 4))
        samples = NiftiSamples.from_array(data, np.eye(4), runs=np.repeat(range(n_runs), 20))
        return samples, [pd.DataFrame(rng.normal(size=(20, 2))) for _ in range(n_runs)]

    def test_confounds_and_masks_of_several_runs(self):
        samples, tables = self.runs(2)
        masks = [np.arange(3, 20), None]
        pair = clean_runs(samples, confounds=(tables, masks))
        apart = clean_runs(samples, confounds=tables, sample_masks=masks)
        assert len(pair) == 37
        np.testing.assert_array_equal(np.asarray(pair), np.asarray(apart))

    def test_the_table_and_the_mask_of_one_run(self):
        samples, (table,) = self.runs(1)
        pair = clean_runs(samples, confounds=(table, np.arange(2, 20)))
        apart = clean_runs(samples, confounds=[table], sample_masks=np.arange(2, 20))
        np.testing.assert_array_equal(np.asarray(pair), np.asarray(apart))
        assert len(clean_runs(samples, confounds=(table, None))) == 20

    def test_a_tuple_of_one_table_per_run_is_not_a_pair(self):
        samples, tables = self.runs(2)
        of_tuple = clean_runs(samples, confounds=tuple(tables))
        of_list = clean_runs(samples, confounds=tables)
        np.testing.assert_array_equal(np.asarray(of_tuple), np.asarray(of_list))

    def test_masks_beside_a_pair_are_refused(self):
        samples, tables = self.runs(2)
        with pytest.raises(ValueError, match="confounds is a pair of confounds and sample masks"):
            clean_runs(samples, confounds=(tables, [None, None]), sample_masks=[None, None])
