import itertools

import numpy as np
import pytest
from nilearn.signal import clean
from scipy.interpolate import CubicSpline

from skfmri.temporal.cleaning import (
    apply_matrix,
    clean_columns,
    cleaning_matrix,
    removed_share,
)

T, T_R = 60, 2.0
WHOLE = np.arange(T)
# No volume is left out together with its mirror image in time: nilearn 0.14.1 errs there.
MASKS = {"whole": WHOLE, "gaps": np.delete(WHOLE, [7, 20, 21]), "start": np.arange(4, T)}
SETTINGS = list(
    itertools.product((False, True), (None, 1 / 50), (False, True), MASKS, (False, True))
)


@pytest.fixture(scope="module")
def series():
    rng = np.random.default_rng(0)
    drift = np.linspace(0, 30, T)[:, np.newaxis] * rng.normal(size=40)
    return 1000 + 50 * rng.normal(size=40) + drift + 20 * rng.normal(size=(T, 40))


@pytest.fixture(scope="module")
def confounds():
    rng = np.random.default_rng(1)
    return np.cumsum(rng.normal(size=(T, 6)), axis=0) * 10.0 ** np.arange(-3, 3)


def by_matrix(series, kept, confounds, *, detrend, high_pass, standardize):
    drift = {"detrend": detrend, "high_pass": high_pass, "t_r": T_R}
    matrix = cleaning_matrix(kept, confounds, **drift, center=standardize)
    removes_mean = detrend or high_pass is not None
    options = {"removes_mean": removes_mean, "standardize": standardize}
    return apply_matrix(matrix, series[kept], **options)[0]


class TestEqualityWithNilearn:
    @pytest.mark.parametrize(
        ("detrend", "high_pass", "has_confounds", "mask", "standardize"), SETTINGS
    )
    def test_one_product_equals_cleaning_each_series(
        self, series, confounds, detrend, high_pass, has_confounds, mask, standardize
    ):
        kept, confounds = MASKS[mask], confounds if has_confounds else None
        expected = clean(
            series,
            detrend=detrend,
            standardize="zscore_sample" if standardize else None,
            high_pass=high_pass,
            t_r=T_R,
            filter="butterworth" if high_pass else False,
            confounds=confounds,
            sample_mask=None if mask == "whole" else kept.copy(),
        )
        options = {"detrend": detrend, "high_pass": high_pass, "standardize": standardize}
        found = by_matrix(series, kept, confounds, **options)
        errors = np.abs(found - expected) / expected.std(axis=0, ddof=1)
        assert errors.max() < 1e-10

    @pytest.mark.parametrize("left_out", [[20, 39], [0, 7, 20, 21, 39, 59], [0, 1, 58, 59]])
    def test_any_mask_equals_filtering_the_bridged_series(self, series, left_out):
        kept = np.setdiff1d(WHOLE, left_out)
        stretch = np.arange(kept[0], kept[-1] + 1)
        options = {"detrend": True, "high_pass": 1 / 50}
        bridged = CubicSpline(kept, series[kept])(stretch)
        expected = clean(bridged, standardize=None, t_r=T_R, **options)[kept - kept[0]]
        found = by_matrix(series, kept, None, standardize=False, **options)
        np.testing.assert_allclose(found, expected, atol=1e-10 * expected.std())

    def test_there_are_at_least_48_combinations(self):
        assert len(set(SETTINGS)) == 48

    def test_blocks_of_impulses_make_the_same_matrix(self, confounds, monkeypatch):
        drift = {"detrend": True, "high_pass": 1 / 50, "t_r": T_R, "center": True}
        whole = cleaning_matrix(WHOLE, confounds, **drift)
        monkeypatch.setattr("skfmri.temporal.cleaning.BLOCK_COLUMNS", 7)
        # Other confounds, so that the matrix is not the one that is remembered.
        parts = cleaning_matrix(WHOLE, confounds * 2, **drift)
        assert parts is not whole
        np.testing.assert_allclose(parts, whole, atol=1e-12)


def test_a_matrix_is_made_once_for_runs_that_are_alike(confounds, monkeypatch):
    drift = {"detrend": True, "high_pass": 0.013, "t_r": T_R, "center": True}
    first = cleaning_matrix(WHOLE, confounds, **drift)
    monkeypatch.setattr("skfmri.temporal.cleaning.clean_columns", None)
    assert cleaning_matrix(WHOLE.copy(), confounds.copy(), **drift) is first
    assert not first.flags.writeable
    for other in (
        {"kept": WHOLE[1:]},
        {"confounds": None},
        {"confounds": confounds.reshape(T * 2, 3)[:T]},
        {"detrend": False},
        {"t_r": 3.0},
        {"center": False},
    ):
        arguments = {"kept": WHOLE, "confounds": confounds, **drift, **other}
        with pytest.raises(TypeError, match="'NoneType' object is not callable"):
            cleaning_matrix(**arguments)


class TestVoxelsThatDoNotVary:
    VALUES = (0.0, 1.0, 1234.567, -0.1, 3e7)

    @pytest.mark.parametrize(
        ("detrend", "high_pass", "has_confounds", "mask", "standardize"), SETTINGS
    )
    def test_a_constant_becomes_0_or_stays(
        self, confounds, detrend, high_pass, has_confounds, mask, standardize
    ):
        constant = np.full((T, len(self.VALUES)), self.VALUES)
        # What lies outside the volumes that are kept must not make it vary.
        constant[np.setdiff1d(WHOLE, MASKS[mask])] += 5
        options = {"detrend": detrend, "high_pass": high_pass, "standardize": standardize}
        confounds = confounds if has_confounds else None
        found = by_matrix(constant, MASKS[mask], confounds, **options)
        removed = detrend or standardize or high_pass is not None
        expected = np.zeros(len(self.VALUES)) if removed else self.VALUES
        np.testing.assert_array_equal(found, np.broadcast_to(expected, found.shape))

    @pytest.mark.parametrize("standardize", [False, True])
    @pytest.mark.parametrize("mask", MASKS)
    def test_a_trend_alone_becomes_0(self, mask, standardize):
        # A mask cuts its volumes out before the trend is fitted, so a line has steps at the gaps.
        line = np.zeros((T, 1))
        line[MASKS[mask], 0] = 1000 + 3.3 * np.arange(len(MASKS[mask]))
        options = {"detrend": True, "high_pass": None, "standardize": standardize}
        assert not by_matrix(line, MASKS[mask], None, **options).any()

    def test_what_confounds_explain_becomes_0(self, confounds):
        explained = confounds @ np.arange(1.0, 7)[:, np.newaxis] + 500
        options = {"detrend": False, "high_pass": None, "standardize": True}
        assert not by_matrix(explained, WHOLE, confounds, **options).any()

    def test_small_variation_that_is_not_rounding_keeps_its_scale(self):
        rng = np.random.default_rng(2)
        small = 1000 + 0.01 * rng.normal(size=(T, 3))
        options = {"detrend": True, "high_pass": None, "standardize": True}
        found = by_matrix(small, WHOLE, None, **options)
        np.testing.assert_allclose(found.std(axis=0, ddof=1), 1)


class TestConfoundsWithoutVariation:
    # nilearn scales what is left of them, which is rounding, to unit variance.
    @pytest.mark.parametrize("detrend", [False, True])
    @pytest.mark.parametrize("high_pass", [None, 1 / 50])
    def test_a_constant_removes_nothing(self, series, confounds, detrend, high_pass):
        with_constant = np.column_stack([confounds, np.full(T, 1234.567)])
        options = {"detrend": detrend, "high_pass": high_pass, "standardize": True}
        found = by_matrix(series, WHOLE, with_constant, **options)
        np.testing.assert_array_equal(found, by_matrix(series, WHOLE, confounds, **options))

    def test_a_trend_that_is_removed_anyway_removes_nothing_else(self, series):
        line = 3e4 + 0.7 * WHOLE[:, np.newaxis]
        options = {"detrend": True, "high_pass": None, "standardize": False}
        found = by_matrix(series, WHOLE, line, **options)
        np.testing.assert_array_equal(found, by_matrix(series, WHOLE, None, **options))


class TestRemovedShare:
    def share(self, labels, kept=None, *, detrend=True, high_pass=None, t_r=None):
        labels = np.array(list(labels))
        kept = np.arange(len(labels)) if kept is None else kept
        return removed_share(labels, kept, detrend=detrend, high_pass=high_pass, t_r=t_r)

    def test_of_two_halves_it_is_the_squared_correlation_with_a_line(self):
        expected = np.corrcoef(np.arange(8), [0] * 4 + [1] * 4)[0, 1] ** 2
        assert self.share("aaaabbbb") == pytest.approx(expected) == pytest.approx(16 / 21)

    def test_labels_that_balance_any_trend_lose_nothing(self):
        assert self.share("abba") == pytest.approx(0, abs=1e-12)

    def test_labels_that_do_not_vary_have_none(self):
        assert np.isnan(self.share("aaaa"))

    def test_volumes_without_a_label_are_not_a_class(self):
        labels = ["a", "", "b", "b", "", "a"]
        expected = [
            np.corrcoef(np.arange(6), [label == name for label in labels])[0, 1] ** 2
            for name in "ab"
        ]
        assert self.share(labels) == pytest.approx(np.mean(expected))

    def test_volumes_that_are_left_out_do_not_count(self):
        kept = np.array([0, 1, 2, 4, 5])
        assert self.share("abaabb", kept) == pytest.approx(self.share("ababb"))

    def test_a_filter_removes_labels_that_change_more_slowly(self):
        options = {"detrend": False, "high_pass": 1 / 60, "t_r": 2.0}
        slow = np.repeat(["a", "b"] * 2, 30)
        fast = np.repeat(["a", "b"] * 12, 5)
        assert self.share(slow, **options) > 0.7
        assert self.share(fast, **options) < 0.1


def test_a_run_too_short_for_the_filter_is_refused():
    with pytest.raises(ValueError, match="padlen"):
        clean_columns(np.zeros((12, 1)), np.arange(12), None, detrend=True, high_pass=0.01, t_r=2.0)
