import json
import os
import pickle
import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import assume, given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

import skfmri
from skfmri.datasets import make_eyes_open_closed
from skfmri.preprocessing import NiftiSlabRotator, zscore
from skfmri.preprocessing.zscore import VoxelZScorer, choose_thresholds, varying_voxels
from skfmri.samples import NiftiSamples

# Many arrays here have quiet voxels and negative means on purpose.
pytestmark = pytest.mark.filterwarnings(
    "ignore:std_threshold=.* sets:UserWarning", "ignore:mean_threshold=.* leaves:UserWarning"
)


def notebook_scores(train, test, std_threshold=0.05, mean_threshold=0.05):
    """Do what the notebook does with its training and test arrays."""
    mean = train.mean(axis=0)
    std = train.std(axis=0)
    std[std < std_threshold] = 0
    mean[mean < mean_threshold] = 0
    with np.errstate(all="ignore"):
        scores = (test - mean) / std
    scores[~np.isfinite(scores)] = 0
    return scores


@pytest.fixture(params=[np.float32, np.float64])
def maps(request):
    """Volumes like the notebook's, with an empty rim, quiet voxels and negative means."""
    rng = np.random.default_rng(0)
    volumes = rng.normal(0.7, 0.3, size=(30, 7, 8, 9))
    volumes[:, 2] = rng.normal(0.7, 0.01, size=(30, 8, 9))
    volumes[:, 3] -= 1.5
    volumes[:, 0] = volumes[:, :, 0] = 0
    volumes[:, 4, 5, 6] = 0.3
    return volumes.astype(request.param)


@pytest.fixture
def small_batches(monkeypatch):
    """Batches of 4 volumes of 7 x 8 x 9."""
    for name in ("BATCH_BYTES", "SCORING_BATCH_BYTES"):
        monkeypatch.setattr(zscore, name, 4 * 7 * 8 * 9 * 8 + 7)


@pytest.fixture
def warnings_raise():
    """Warnings are errors here, whatever the module ignores."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


class TestKnownAnswers:
    def test_scores_by_hand(self):
        X = np.array([[1.0, 10.0], [3.0, 20.0], [5.0, 60.0]])
        scorer = VoxelZScorer().fit(X)
        assert scorer.mean_.tolist() == [3, 30]
        np.testing.assert_allclose(scorer.scale_, [np.sqrt(8 / 3), np.sqrt(1400 / 3)], rtol=1e-15)
        np.testing.assert_allclose(
            scorer.transform([[3.0, 30.0 + np.sqrt(1400 / 3)]]), [[0, 1]], atol=1e-15
        )

    def test_low_deviation_zeroes_the_voxel_and_low_mean_is_not_subtracted(self):
        X = np.array([[1.0, -1.0, 5.00, 0.0], [3.0, -3.0, 5.01, 0.01]])
        scorer = VoxelZScorer().fit(X)
        assert scorer.transform(X).tolist() == [[-1, -1, 0, 0], [1, -3, 0, 0]]
        assert scorer.scale_.tolist() == [1, 1, 0, 0]
        assert scorer.mean_.tolist() == [2, 0, 5.005, 0]
        assert scorer.mask_.tolist() == [True, False, False, False]

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_statistics_equal_to_their_thresholds_are_not_below(self, dtype):
        X = np.array([[0.25, 0.5, 0.0], [0.75, 0.5, 2.0]], dtype=dtype)
        scorer = VoxelZScorer(std_threshold=0.25, mean_threshold=0.5).fit(X)
        assert scorer.mean_.tolist() == [0.5, 0.5, 1]
        assert scorer.mask_.tolist() == [True, False, True]
        above = VoxelZScorer(std_threshold=0.2501, mean_threshold=0.5001).fit(X)
        assert above.mean_.tolist() == above.scale_.tolist() == [0, 0, 1]

    @pytest.mark.parametrize("threshold", [0.7, np.float64(0.7)])
    def test_equality_is_judged_in_the_type_of_the_data(self, threshold):
        middle = np.float32(0.7)
        X = np.array([[middle - np.float32(0.25)], [middle + np.float32(0.25)]])
        assert float(X.mean()) < 0.7  # a float64 comparison would call this mean too low
        scorer = VoxelZScorer(mean_threshold=threshold).fit(X)
        assert scorer.mean_.tolist() == [middle]
        expected = notebook_scores(X, X, mean_threshold=0.7)
        assert scorer.transform(X).tolist() == expected.tolist() == [[-1], [1]]

    def test_none_turns_thresholds_off(self):
        X = np.array([[-2.0, 1e-9, 4.0], [-4.0, 3e-9, 4.0]])
        scorer = VoxelZScorer(std_threshold=None, mean_threshold=None).fit(X)
        np.testing.assert_allclose(scorer.transform(X), [[1, -1, 0], [-1, 1, 0]], rtol=1e-12)
        np.testing.assert_allclose(scorer.mean_, [-3, 2e-9, 4], rtol=1e-12)
        assert scorer.mask_.tolist() == [True, True, False]

    @pytest.mark.parametrize("value", [0.1, 1 / 3, 1e8 + 0.1, -7e-9])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_constant_voxels_deviate_by_exactly_zero(self, value, dtype, monkeypatch):
        monkeypatch.setattr(zscore, "BATCH_BYTES", 11 * 7 * 8 * 9 * 8)
        X = np.full((37, 7, 8, 9), value, dtype=dtype)
        scorer = VoxelZScorer(std_threshold=None, mean_threshold=None).fit(X)
        assert not scorer.scale_.any()
        assert not scorer.mask_.any()
        assert (scorer.mean_ == X[0]).all()
        assert not scorer.transform(X + 1).any()

    def test_one_sample_gives_zeros(self):
        X = np.ones((1, 3))
        assert VoxelZScorer().fit_transform(X).tolist() == [[0, 0, 0]]

    def test_a_large_offset_costs_no_digits(self):
        X = 1e7 + np.random.default_rng(0).normal(size=(500, 4)).round(6)
        expected = (X - 1e7).std(axis=0)
        np.testing.assert_allclose(VoxelZScorer().fit(X).scale_, expected, rtol=1e-8)


class TestNonFiniteValues:
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("row", [0, 7])
    def test_one_in_training_zeroes_its_voxel_for_every_sample(self, value, row, small_batches):
        rng = np.random.default_rng(0)
        X = rng.normal(3, 1, size=(12, 7, 8, 9))
        broken = X.copy()
        broken[row, 4, 5, 6] = value
        with pytest.warns(UserWarning, match=rf"1 of 12 .* 1 of 504 voxels .* are {row}\."):
            scorer = VoxelZScorer().fit(broken)
        expected = VoxelZScorer().fit_transform(X)
        expected[:, 4, 5, 6] = 0
        np.testing.assert_array_equal(scorer.transform(X), expected)
        assert scorer.mean_[4, 5, 6] == scorer.scale_[4, 5, 6] == 0
        assert not scorer.mask_[4, 5, 6]
        assert scorer.mask_.sum() == 7 * 8 * 9 - 1

    def test_one_in_transform_becomes_zero_and_touches_no_other(self):
        X = np.random.default_rng(0).normal(3, 1, size=(12, 4))
        scorer = VoxelZScorer().fit(X)
        broken = X[:3].copy()
        broken[[0, 1, 2], [1, 2, 3]] = [np.nan, np.inf, -np.inf]
        expected = scorer.transform(X[:3])
        expected[[0, 1, 2], [1, 2, 3]] = 0
        np.testing.assert_array_equal(scorer.transform(broken), expected)
        assert np.isnan(broken[0, 1])

    def test_overflowing_squares_zero_the_voxel(self):
        X = np.array([[1e300, 1.0], [-1e300, 3.0]])
        assert VoxelZScorer().fit_transform(X).tolist() == [[0, -1], [0, 1]]

    @pytest.mark.filterwarnings("error::RuntimeWarning")
    def test_division_by_zero_warns_nobody(self):
        X = np.array([[np.nan, 1.0, np.inf], [2.0, 1.0, 1.0]], dtype=np.float32)
        with pytest.warns(UserWarning, match="1 of 2 training samples hold NaN") as caught:
            VoxelZScorer(1e300, 1e300).fit_transform(X)
        assert len(caught) == 1

    @pytest.mark.parametrize("rotates", [False, True])
    def test_a_volume_of_nan_is_refused_and_named(self, rotates, small_batches):
        volumes = np.random.default_rng(0).normal(3, 1, size=(12, 7, 8, 9)).astype(np.float32)
        volumes[:, :2] = 0
        volumes[7] = np.nan
        X = volumes
        if rotates:
            samples = NiftiSamples.from_array(volumes, np.eye(4))
            X = NiftiSlabRotator(slab=(2, 5)).fit_transform(samples)
        message = r"No voxel is left that varies\. 1 of 12 training .* these samples are 7\. Leave"
        with pytest.raises(ValueError, match=message):
            VoxelZScorer().fit(X)
        VoxelZScorer().fit(X[:7])

    @pytest.mark.usefixtures("warnings_raise")
    def test_voxels_without_any_finite_value_are_no_loss(self):
        X = np.random.default_rng(0).normal(3, 1, size=(12, 4, 5))
        X[:, 1] = np.nan
        assert VoxelZScorer().fit(X).mask_.sum() == 15

    def test_beside_them_a_volume_of_nan_is_refused_all_the_same(self):
        X = np.random.default_rng(0).normal(3, 1, size=(12, 4, 5))
        X[:, 1] = X[4] = X[6] = np.nan
        X[9, 2, 2] = np.inf
        message = r"3 of 12 .* 15 of 15 voxels \(100\.0 %\).* 4, 6, 9\. Not finite at .*: 4, 6\."
        with pytest.raises(ValueError, match=message):
            VoxelZScorer().fit(X)

    def test_scattered_damage_of_every_voxel_only_warns(self):
        X = np.random.default_rng(0).normal(3, 1, size=(6, 4))
        X[range(4), range(4)] = np.nan
        with pytest.warns(UserWarning, match=r"4 of 6 .* 4 of 4 voxels .* are 0, 1, 2, 3\."):
            scores = VoxelZScorer().fit_transform(X)
        assert not scores.any()

    def test_no_finite_value_at_all_only_warns(self):
        with pytest.warns(UserWarning, match="No training sample holds a finite value"):
            assert not VoxelZScorer().fit_transform(np.full((3, 4), np.nan)).any()

    def test_a_long_list_of_damaged_samples_is_cut(self):
        X = np.random.default_rng(0).normal(3, 1, size=(40, 4))
        X[5:30, 2] = np.nan
        with pytest.warns(UserWarning, match=r"25 of 40 .* 5, 6, .*, 14 and 15 more\."):
            VoxelZScorer().fit(X)


def scaled_maps(factor=1.0, offset=1.0):
    """Twenty maps of 4 x 5 x 6, empty in their first plane, with a spread of 0.2 elsewhere."""
    maps = np.random.default_rng(0).normal(offset, 0.2, size=(20, 4, 5, 6))
    maps[:, 0] = 0
    return factor * maps


class TestSilencedVoxels:
    def test_a_threshold_that_leaves_no_voxel_is_refused_with_their_spread(self):
        message = (
            r"No voxel is left that varies\. std_threshold=0\.05 sets 90 of 90 voxels that vary "
            r"\(100\.0 %\) to 0\. The median standard deviation .* is 0\.000\d+\. "
            r'Set std_threshold="auto".* or None'
        )
        with pytest.raises(ValueError, match=message):
            VoxelZScorer().fit(scaled_maps(1e-3))

    @pytest.mark.parametrize("setting", ["auto", None])
    def test_what_it_proposes_scores_any_units_alike(self, setting):
        scorer = VoxelZScorer(setting, mean_threshold=None)
        expected = scorer.fit_transform(scaled_maps())
        assert np.count_nonzero(expected.any(axis=0)) == 90
        for factor in (1e-3, 1e3):
            scores = scorer.fit_transform(scaled_maps(factor))
            np.testing.assert_allclose(scores, expected, atol=1e-9)

    def test_auto_is_a_twentieth_of_the_median_spread_of_voxels_that_vary(self):
        spread = np.array([0, 0.04, 1, 2, 3.0])
        X = np.outer([-1, 1], spread)
        scorer = VoxelZScorer(std_threshold="auto").fit(X)
        assert scorer.std_threshold_ == pytest.approx(0.05 * 2)
        assert scorer.scale_.tolist() == [0, 0, 1, 2, 3]
        assert VoxelZScorer(std_threshold="auto").fit(np.ones((3, 2))).std_threshold_ == 0

    @pytest.mark.parametrize("setting", [0.07, None])
    def test_the_attribute_holds_the_threshold_that_was_set(self, setting):
        assert VoxelZScorer(std_threshold=setting).fit(scaled_maps()).std_threshold_ == setting

    @pytest.mark.parametrize("n_quiet", [10, 9])
    def test_more_than_a_tenth_of_them_is_worth_a_warning(self, n_quiet, recwarn):
        X = scaled_maps().reshape(20, -1)[:, 30:]
        X[:, :n_quiet] = 1 + 0.1 * (X[:, :n_quiet] - 1)
        VoxelZScorer().fit(X)
        if n_quiet == 9:
            assert not len(recwarn)
            return
        assert f"sets {n_quiet} of 90 voxels that vary (11.1 %) to 0" in str(recwarn.pop().message)

    def test_the_warning_points_at_the_caller_of_fit(self):
        X = scaled_maps()
        X[:, 1] = 1 + 0.1 * (X[:, 1] - 1)
        with pytest.warns(UserWarning, match="std_threshold=0.05 sets 30 of 90") as caught:
            VoxelZScorer().fit(X)
        assert [warning.filename for warning in caught] == [__file__]

    @pytest.mark.usefixtures("warnings_raise")
    def test_the_edge_of_a_head_warns_nobody_and_keeps_the_defaults(self):
        data = make_eyes_open_closed(n_subjects=4, n_chunks=2)
        slabs = NiftiSlabRotator().fit_transform(data.images)
        scorer = VoxelZScorer().fit(slabs)
        rings = (slabs.std(axis=0) > 0) & (scorer.scale_ == 0)
        assert rings.sum() > 1000  # splines ring, and all of this is silenced
        varying = varying_voxels(slabs.mean(axis=0), slabs.std(axis=0), np.float32)
        assert np.count_nonzero(rings & varying) < 300
        assert choose_thresholds(slabs) == {}

    @pytest.mark.usefixtures("warnings_raise")
    @pytest.mark.parametrize("X", [np.ones((1, 3)), np.full((9, 3), 0.1), np.zeros((2, 3))])
    def test_one_sample_and_constant_data_are_zeros_without_a_word(self, X):
        for setting in (0.05, "auto"):
            assert not VoxelZScorer(setting).fit_transform(X).any()

    def test_rounding_is_no_variation(self):
        X = np.full((9, 3), 0.3, np.float32)
        X[::2] = np.nextafter(np.float32(0.3), np.float32(1))
        assert X.std() > 0
        assert not VoxelZScorer().fit_transform(X).any()

    @pytest.mark.parametrize("n_empty", [0, 100_000])
    def test_empty_voxels_that_ring_do_not_lower_the_median(self, n_empty):
        rng = np.random.default_rng(0)
        X = np.hstack([rng.normal(1, 0.2, (20, 90)), rng.normal(0, 1e-9, (20, n_empty))])
        scorer = VoxelZScorer(std_threshold="auto").fit(X)
        assert scorer.std_threshold_ == pytest.approx(0.05 * np.median(X[:, :90].std(axis=0)))
        assert scorer.mask_.sum() == 90

    def test_a_saved_scorer_comes_back_with_auto(self, tmp_path):
        X = scaled_maps(1e-3)
        scorer = VoxelZScorer("auto", None).fit(X)
        skfmri.save(scorer, tmp_path / "scorer.skfmri")
        loaded = skfmri.load(tmp_path / "scorer.skfmri")
        assert loaded.get_params() == {"std_threshold": "auto", "mean_threshold": None}
        assert loaded.std_threshold_ == scorer.std_threshold_
        np.testing.assert_array_equal(loaded.transform(X), scorer.transform(X))


class TestUncentredVoxels:
    def test_maps_below_zero_are_named_with_the_way_out(self):
        X = scaled_maps(-1)
        message = (
            r"mean_threshold=0\.05 leaves 90 of 90 voxels \(100\.0 %\) uncentred, .* below -0\.05, "
            "for 0. Set mean_threshold=None"
        )
        with pytest.warns(UserWarning, match=message) as caught:
            scores = VoxelZScorer().fit_transform(X)
        assert len(caught) == 1
        assert scores[:, 1:].mean() < -3
        assert abs(VoxelZScorer(mean_threshold=None).fit_transform(X).mean()) < 1e-12

    @pytest.mark.usefixtures("warnings_raise")
    @pytest.mark.parametrize(
        "X", [scaled_maps(), scaled_maps(offset=0.0), scaled_maps(5, offset=0.0)]
    )
    def test_maps_around_or_above_zero_warn_nobody(self, X):
        VoxelZScorer().fit(X)

    @pytest.mark.usefixtures("warnings_raise")
    def test_maps_below_zero_warn_nobody_if_every_mean_is_subtracted(self):
        VoxelZScorer(mean_threshold=None).fit(scaled_maps(-1))

    def test_a_negative_threshold_counts_means_below_it(self):
        X = scaled_maps(-1)
        with pytest.warns(UserWarning, match=r"mean_threshold=-0\.5 leaves 90 .* below -0\.5"):
            VoxelZScorer(mean_threshold=-0.5).fit(X)

    @pytest.mark.usefixtures("warnings_raise")
    def test_means_between_a_negative_threshold_and_zero_are_centred(self):
        scorer = VoxelZScorer(mean_threshold=-0.5).fit(scaled_maps(-1, offset=0.3))
        assert (scorer.mean_[1:] < -0.1).all()


class TestThresholdsForUnits:
    SMALL = dict.fromkeys(["n_lost", "n_voxels"], 90) | {"default": 0.05}

    @pytest.mark.parametrize("factor", [1, 1e3])
    def test_the_defaults_stay_if_they_suit(self, factor):
        assert choose_thresholds(scaled_maps(factor)) == {}

    def test_small_units_need_others_for_spreads_and_for_positive_means(self):
        assert choose_thresholds(scaled_maps(1e-3)) == {
            "std_threshold": {**self.SMALL, "value": "auto"},
            "mean_threshold": {**self.SMALL, "value": None},
        }

    def test_maps_below_zero_need_all_means(self):
        assert choose_thresholds(scaled_maps(-1)) == {
            "mean_threshold": {**self.SMALL, "value": None}
        }

    def test_means_that_only_fluctuate_about_zero_need_nothing(self):
        assert list(choose_thresholds(scaled_maps(1e-3, offset=0))) == ["std_threshold"]
        assert choose_thresholds(scaled_maps(offset=0)) == {}

    @pytest.mark.usefixtures("warnings_raise")
    @pytest.mark.parametrize("factor", [1, 1e-3, -1, -1e-3])
    def test_what_is_chosen_scores_any_units_alike_without_a_warning(self, factor):
        X = scaled_maps(factor)
        chosen = {name: found["value"] for name, found in choose_thresholds(X).items()}
        expected = np.sign(factor) * VoxelZScorer(0.05, None).fit_transform(scaled_maps())
        np.testing.assert_allclose(VoxelZScorer(**chosen).fit_transform(X), expected, atol=1e-9)

    def test_what_was_set_stays(self):
        X = scaled_maps(-1e-3)
        assert list(choose_thresholds(X, std_threshold=None)) == ["mean_threshold"]
        assert list(choose_thresholds(X, mean_threshold=0.0)) == ["std_threshold"]
        assert choose_thresholds(X, std_threshold=0.05, mean_threshold=0.05) == {}

    def test_a_damaged_sample_does_not_hide_the_units_of_the_others(self):
        X = scaled_maps(1e-3)
        X[:, 0] = np.nan  # around the head
        X[7] = np.inf
        assert choose_thresholds(X)["std_threshold"] == {**self.SMALL, "value": "auto"}

    def test_a_tenth_is_tolerated_as_without_a_choice(self):
        X = scaled_maps().reshape(20, -1)[:, 30:]
        X[:, :9] = 1 + 0.1 * (X[:, :9] - 1)
        assert choose_thresholds(X) == {}
        X[:, 9] = X[:, 8]
        assert choose_thresholds(X)["std_threshold"]["n_lost"] == 10

    @pytest.mark.parametrize("X", [np.zeros((3, 4)), np.full((3, 4), np.nan), np.ones((1, 4))])
    def test_data_without_variation_need_nothing(self, X):
        assert choose_thresholds(X) == {}


class TestAgainstReferences:
    def test_the_notebook_gives_the_same_scores(self, maps):
        train, test = maps[:20], maps[20:]
        scores = VoxelZScorer().fit(train).transform(test)
        expected = notebook_scores(train, test)
        assert scores.dtype == expected.dtype == maps.dtype
        tolerance = 2e-4 if maps.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(scores, expected, rtol=tolerance, atol=tolerance)
        zeros = np.mean(expected == 0)
        assert 0.3 < zeros < 0.5  # the rim and the quiet voxels, and not all else
        assert (scores[:, 3, 1:].max() < 0) == (expected[:, 3, 1:].max() < 0)

    def test_without_thresholds_it_is_the_standard_scaler(self):
        X = np.random.default_rng(0).normal(size=(40, 6)) * [1, 10, 0.01, 5, 3, 1e-6]
        ours = VoxelZScorer(std_threshold=None, mean_threshold=None).fit_transform(X)
        np.testing.assert_allclose(ours, StandardScaler().fit_transform(X), rtol=1e-9, atol=1e-9)

    @settings(deadline=None, max_examples=60)
    @given(
        X=arrays(np.float64, (9, 3, 4), elements=st.integers(-8, 8).map(lambda n: n / 16)),
        std_threshold=st.sampled_from([0.0, 0.1, 0.3]),
        mean_threshold=st.sampled_from([-0.1, 0.0, 0.05]),
    )
    def test_the_notebook_agrees_under_any_thresholds(self, X, std_threshold, mean_threshold):
        # Sums of sixteenths are exact, and nine of them never average to a threshold but 0.
        spread = X.std(axis=0)
        assume(not spread.any() or (spread >= std_threshold).any())
        scores = VoxelZScorer(std_threshold, mean_threshold).fit_transform(X)
        expected = notebook_scores(X, X, std_threshold, mean_threshold)
        constant = np.ptp(X, axis=0) == 0
        np.testing.assert_allclose(scores[:, ~constant], expected[:, ~constant], atol=1e-12)
        assert not scores[:, constant].any()

    @pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float16, bool, ">f4", ">i2"])
    def test_other_types_score_as_their_values(self, dtype):
        X = (np.random.default_rng(0).normal(2, 3, size=(20, 3, 5)) > 2).astype(dtype)
        scores = VoxelZScorer().fit_transform(X)
        assert scores.dtype == (np.float32 if dtype == ">f4" else np.float64)
        np.testing.assert_allclose(
            scores, VoxelZScorer().fit_transform(X.astype(float)), rtol=1e-5, atol=1e-6
        )


class TestInverse:
    @settings(deadline=None, max_examples=60)
    @given(
        X=arrays(np.float64, (6, 2, 3), elements=st.floats(-1e3, 1e3)),
        thresholds=st.tuples(*[st.sampled_from([None, 0.05, 2.0])] * 2),
    )
    def test_it_undoes_transform_where_a_voxel_was_not_zeroed(self, X, thresholds):
        assume((X.std(axis=0) > 1.01 * (thresholds[0] or 0)).any() or not np.ptp(X, axis=0).any())
        scorer = VoxelZScorer(*thresholds).fit(X)
        back = scorer.inverse_transform(scorer.transform(X))
        kept = scorer.scale_ > 0
        np.testing.assert_allclose(back[:, kept], X[:, kept], rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(
            back[:, ~kept], np.broadcast_to(scorer.mean_[~kept], back[:, ~kept].shape)
        )

    def test_masked_voxels_return_their_subtracted_mean_or_zero(self):
        X = np.array([[5.0, 0.01, np.nan, 1.0], [5.0, 0.01, 1.0, 3.0]])
        with pytest.warns(UserWarning, match="1 of 2 training samples hold NaN"):
            scorer = VoxelZScorer().fit(X)
        assert scorer.inverse_transform(scorer.transform(X)).tolist() == [
            [5, 0, 0, 1],
            [5, 0, 0, 3],
        ]

    def test_type_is_kept(self, maps):
        scorer = VoxelZScorer().fit(maps)
        assert scorer.inverse_transform(scorer.transform(maps)).dtype == maps.dtype


class TestStreams:
    @pytest.mark.parametrize("n_volumes", [1, 2, 3, 7, 29, 30])
    def test_batches_change_nothing_beyond_rounding(self, maps, n_volumes, monkeypatch):
        whole = VoxelZScorer().fit(maps)
        expected = whole.transform(maps)
        for name in ("BATCH_BYTES", "SCORING_BATCH_BYTES"):
            monkeypatch.setattr(zscore, name, n_volumes * 7 * 8 * 9 * 8)
        batched = VoxelZScorer().fit(maps)
        tolerance = 1e-6 if maps.dtype == np.float32 else 1e-13
        np.testing.assert_allclose(batched.mean_, whole.mean_, rtol=tolerance)
        np.testing.assert_allclose(batched.scale_, whole.scale_, rtol=tolerance)
        np.testing.assert_allclose(
            batched.transform(maps), expected, rtol=1e2 * tolerance, atol=1e2 * tolerance
        )

    def test_samples_score_as_their_array(self, maps, small_batches):
        maps = maps.astype(np.float32)
        samples = NiftiSamples.from_array(maps, np.eye(4))
        subset = samples[[20, 3, 5, 7, 29]]
        scorer = VoxelZScorer().fit(samples)
        reference = VoxelZScorer().fit(maps)
        np.testing.assert_allclose(scorer.mean_, reference.mean_, rtol=1e-6)
        np.testing.assert_allclose(scorer.scale_, reference.scale_, rtol=1e-6)
        scores = scorer.transform(subset)
        assert scores.dtype == np.float32
        np.testing.assert_array_equal(scores, scorer.transform(maps[[20, 3, 5, 7, 29]]))

    def test_samples_are_never_read_as_a_whole(self, maps, small_batches, monkeypatch):
        def refuse(*args, **kwargs):
            raise AssertionError("the whole array was asked for")

        lengths = []
        iter_batches = NiftiSamples.iter_batches

        def spy(samples, batch_size):
            for batch in iter_batches(samples, batch_size):
                lengths.append(len(batch))
                yield batch

        monkeypatch.setattr(NiftiSamples, "__array__", refuse)
        monkeypatch.setattr(NiftiSamples, "iter_batches", spy)
        VoxelZScorer().fit_transform(NiftiSamples.from_array(maps, np.eye(4)))
        assert lengths == ([4] * 7 + [2]) * 2

    @pytest.mark.parametrize("dtype", [np.float32, np.int16])
    def test_mapped_arrays_are_scored_in_bounded_memory(self, dtype, tmp_path, monkeypatch):
        monkeypatch.setattr(zscore, "BATCH_BYTES", 2**20)
        monkeypatch.setattr(zscore, "SCORING_BATCH_BYTES", 2**20)
        X = np.memmap(tmp_path / "volumes", dtype=dtype, mode="w+", shape=(300, 20, 30, 40))
        for i in range(len(X)):
            X[i] = np.random.default_rng(i).integers(0, 1000, size=X.shape[1:])
        scorer = VoxelZScorer()
        fit_peak = traced_peak(lambda: scorer.fit(X))
        transform_peak = traced_peak(lambda: scorer.transform(X))
        assert X.nbytes >= 14e6
        assert fit_peak < 6 * 2**20
        result_bytes = X.size * (4 if dtype == np.float32 else 8)
        assert result_bytes <= transform_peak < result_bytes + 4 * 2**20

    def test_input_is_not_changed(self, maps):
        before = maps.copy()
        scorer = VoxelZScorer().fit(maps)
        scorer.inverse_transform(scorer.transform(maps))
        np.testing.assert_array_equal(maps, before)


def traced_peak(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.filterwarnings("ignore:.* training samples hold NaN:UserWarning")
@parametrize_with_checks(
    [
        VoxelZScorer(),
        VoxelZScorer(std_threshold="auto"),
        VoxelZScorer(std_threshold=None, mean_threshold=None),
    ]
)
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


def test_no_check_of_scikit_learn_is_skipped():
    code = (
        "import json\n"
        "from sklearn.utils.estimator_checks import check_estimator\n"
        "from skfmri.preprocessing.zscore import VoxelZScorer\n"
        "print(json.dumps([result['status'] for result in check_estimator(VoxelZScorer())]))\n"
    )
    # One check runs only where SciPy was imported with this variable set.
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    statuses = json.loads(run.stdout)
    assert len(statuses) >= 40
    assert set(statuses) == {"passed"}


class TestEstimator:
    def test_tags_say_what_it_takes_and_keeps(self):
        tags = get_tags(VoxelZScorer())
        assert tags.input_tags.allow_nan
        assert tags.transformer_tags.preserves_dtype == ["float64", "float32"]

    def test_it_counts_voxels(self, maps):
        assert VoxelZScorer().fit(maps).n_features_in_ == 7 * 8 * 9
        assert VoxelZScorer().fit(maps[:, 1, 2]).n_features_in_ == 9

    def test_copies_score_alike(self, maps):
        scorer = VoxelZScorer(0.1, None).fit(maps)
        assert clone(scorer).get_params() == {"std_threshold": 0.1, "mean_threshold": None}
        copy = pickle.loads(pickle.dumps(scorer))
        np.testing.assert_array_equal(copy.transform(maps), scorer.transform(maps))

    def test_tables_come_back_as_tables(self):
        table = pd.DataFrame({"left": [1.0, 3.0], "right": [2.0, 6.0]}, dtype=np.float32)
        scorer = VoxelZScorer().set_output(transform="pandas").fit(table)
        scores = scorer.transform(table)
        assert scores.columns.tolist() == ["left", "right"]
        assert scores.to_numpy().tolist() == [[-1, -1], [1, 1]]
        assert (scores.dtypes == np.float32).all()

    def test_volumes_stay_arrays_where_tables_are_wanted(self, maps):
        with sklearn.config_context(transform_output="pandas"):
            scores = make_pipeline(VoxelZScorer()).fit_transform(maps)
        pipe = make_pipeline(VoxelZScorer()).set_output(transform="pandas")
        assert isinstance(scores, np.ndarray)
        np.testing.assert_array_equal(pipe.fit_transform(maps), scores)

    def test_only_columns_have_names(self, maps):
        assert not hasattr(VoxelZScorer().fit(maps), "get_feature_names_out")
        scorer = VoxelZScorer().fit(maps[:, 1, 1])
        assert scorer.get_feature_names_out().tolist() == [f"x{i}" for i in range(9)]
        with pytest.raises(NotFittedError):
            VoxelZScorer().get_feature_names_out()

    def test_a_new_fit_forgets_old_names(self, maps):
        scorer = VoxelZScorer().fit(pd.DataFrame({"left": [1.0, 3.0], "right": [2.0, 6.0]}))
        assert scorer.feature_names_in_.tolist() == ["left", "right"]
        assert not hasattr(scorer.fit(maps), "feature_names_in_")


class TestErrors:
    def test_another_grid(self, maps):
        scorer = VoxelZScorer().fit(maps)
        message = (
            r"X holds volumes of shape \(7, 8, 4\), but VoxelZScorer was fitted on volumes of "
            r"shape \(7, 8, 9\)\. Resample X to the training grid first\."
        )
        samples = NiftiSamples.from_array(maps[..., :4], np.eye(4))
        for X in (maps[..., :4], samples):
            with pytest.raises(ValueError, match=message):
                scorer.transform(X)
            with pytest.raises(ValueError, match=message):
                scorer.inverse_transform(X)

    def test_another_number_of_axes(self, maps):
        flat = maps.reshape(len(maps), -1)
        with pytest.raises(ValueError, match=r"shape \(504,\), but .* of shape \(7, 8, 9\)"):
            VoxelZScorer().fit(maps).transform(flat)
        with pytest.raises(ValueError, match=r"shape \(7, 8, 9\), but .* of shape \(504,\)"):
            VoxelZScorer().fit(flat).transform(maps)

    def test_another_number_of_columns(self):
        with pytest.raises(ValueError, match="X has 3 features, but VoxelZScorer is expecting 4"):
            VoxelZScorer().fit(np.eye(4)).transform(np.eye(4)[:, :3])

    @pytest.mark.parametrize("value", [-0.1, np.nan, "0.05", True, [0.05], "Auto"])
    def test_bad_std_threshold(self, value):
        with pytest.raises(
            ValueError,
            match='std_threshold must be a number of at least 0, "auto", or None to',
        ):
            VoxelZScorer(std_threshold=value).fit(np.eye(3))

    @pytest.mark.parametrize("value", [np.nan, "0.05", False, "auto"])
    def test_bad_mean_threshold(self, value):
        with pytest.raises(ValueError, match=r"mean_threshold must be a number, or None to turn"):
            VoxelZScorer(mean_threshold=value).fit(np.eye(3))

    def test_no_volumes(self, maps):
        with pytest.raises(ValueError, match="Found 0 volumes, but at least 1 is needed"):
            VoxelZScorer().fit(NiftiSamples.from_array(maps, np.eye(4))[[]])
        with pytest.raises(ValueError, match=r"0 sample\(s\)"):
            VoxelZScorer().fit(maps[:0])

    def test_not_fitted(self, maps):
        for method in ("transform", "inverse_transform"):
            with pytest.raises(NotFittedError):
                getattr(VoxelZScorer(), method)(maps)
