"""The simulated data are what they say they are, and only grouped scores of them are honest."""

import nibabel
import numpy as np
import pytest
from hypothesis import given, strategies as st
from nilearn.datasets import load_mni152_brain_mask
from nilearn.image import crop_img, resample_img, resample_to_img
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, StratifiedKFold
from threadpoolctl import threadpool_limits

from skfmri import NiftiSamples, NiftiSlabRotator
from skfmri.datasets import block_groups, block_labels, make_eyes_open_closed

AFFINE = np.array([[4, 0, 0, -78], [0, 4, 0, -112], [0, 0, 4, -70], [0, 0, 0, 1.0]])
EYES_MM = [(-30, 60, -45), (30, 60, -45)]


def distance_mm(point):
    """Distance of each voxel of the grid from one point, by nibabel's own arithmetic."""
    index = np.moveaxis(np.indices((40, 51, 41)), 0, -1)
    return np.linalg.norm(nibabel.affines.apply_affine(AFFINE, index) - point, axis=-1)


def values(data):
    return np.asarray(data.images.dataobj)


def in_mask(data):
    """Maps as rows of voxels, without the voxels that are 0 in every map."""
    maps = values(data)
    return np.ascontiguousarray(maps[maps.any(axis=-1)].T)


# A second BLAS thread makes this many times slower if another process occupies the core.
@threadpool_limits.wrap(limits=1)
def accuracy(data, splits):
    """Mean accuracy of logistic regression on voxels z-scored in each fold.

    The weights are in the span of the training maps, so the classifier gets coordinates in an
    orthonormal basis of that span: the same model at a hundredth of the features.
    """
    X, y, scores = in_mask(data), data.labels, []
    for train, test in splits:
        mean, std = X[train].mean(axis=0), X[train].std(axis=0)
        train_maps, test_maps = (X[train] - mean) / std, (X[test] - mean) / std
        squares, basis = np.linalg.eigh((train_maps @ train_maps.T).astype(float))
        keep = squares > 1e-6 * squares[-1]
        basis, lengths = basis[:, keep], np.sqrt(squares[keep])
        classifier = LogisticRegression(solver="newton-cholesky").fit(basis * lengths, y[train])
        coordinates = (test_maps @ train_maps.T) @ (basis / lengths)
        scores.append(classifier.score(coordinates, y[test]))
    return np.mean(scores)


def by_chunk(data):
    return LeaveOneGroupOut().split(data.labels, data.labels, data.chunks)


def at_random(data):
    return StratifiedKFold(6, shuffle=True, random_state=0).split(data.labels, data.labels)


@pytest.fixture(scope="module")
def eyes():
    return make_eyes_open_closed()


@pytest.fixture(scope="module")
def no_effect():
    return make_eyes_open_closed(effect_size=0)


@pytest.fixture(scope="module")
def small():
    return make_eyes_open_closed(n_subjects=4, n_maps=3, n_chunks=2, random_state=1)


def test_default_data_have_the_shape_of_the_original(eyes):
    assert eyes.images.shape == (40, 51, 41, 384)
    assert values(eyes).dtype == np.float32
    assert eyes.images.get_data_dtype() == np.float32
    assert len(eyes.labels) == len(eyes.chunks) == len(eyes.subjects) == 384
    assert np.bincount(eyes.chunks).tolist() == [64] * 6
    assert "48 subjects x 2 conditions x 4 maps = 384 volumes" in eyes.DESCR


def test_images_are_in_mni_space(eyes):
    for image in (eyes.images, eyes.effect):
        np.testing.assert_array_equal(image.affine, AFFINE)
        assert image.header["sform_code"] == image.header["qform_code"] == 4
        assert image.header.get_xyzt_units()[0] == "mm"


def test_maps_made_from_the_images_are_in_mni_space(small):
    rotator = NiftiSlabRotator(slab=(12, 15)).fit(NiftiSamples(small.images))
    ones = np.ones(rotator.slab_shape_)
    for image in (rotator.inverse_transform(ones), rotator.to_nifti(ones)):
        assert image.header["sform_code"] == 4
        assert image.header.get_xyzt_units()[0] == "mm"


def test_volumes_come_subject_by_subject_first_closed_then_open(small):
    assert small.labels.tolist() == (["closed"] * 3 + ["open"] * 3) * 4
    assert small.subjects.tolist() == [0] * 6 + [1] * 6 + [2] * 6 + [3] * 6
    assert small.chunks.tolist() == [0] * 12 + [1] * 12


@pytest.mark.parametrize(("n_subjects", "n_chunks"), [(48, 6), (6, 3), (5, 5), (4, 1)])
def test_chunks_never_cut_a_subject(n_subjects, n_chunks):
    data = make_eyes_open_closed(n_subjects, n_maps=1, n_chunks=n_chunks)
    assert len(np.unique(data.chunks)) == n_chunks
    for subject in range(n_subjects):
        assert len(np.unique(data.chunks[data.subjects == subject])) == 1


def test_values_are_exactly_zero_outside_brain_and_eyes(eyes):
    brain = resample_to_img(load_mni152_brain_mask(resolution=1), eyes.effect, "nearest")
    brain = brain.get_fdata() > 0
    near_eye = np.min([distance_mm(eye) for eye in EYES_MM], axis=0) <= 13
    filled = (values(eyes) != 0).all(axis=-1)
    np.testing.assert_array_equal(filled, (values(eyes) != 0).any(axis=-1))
    assert filled[brain].all()
    assert filled[near_eye].all()
    # The mask of a functional image reaches a little beyond the brain: one voxel, no more.
    padded = np.pad(brain, 1)
    shifts = [(axis, step) for axis in range(3) for step in (-1, 1)]
    rim = np.any([np.roll(padded, step, axis) for axis, step in shifts], axis=0)[1:-1, 1:-1, 1:-1]
    assert not filled[~(brain | rim | near_eye)].any()


def test_values_look_like_standard_deviations(eyes):
    maps = in_mask(eyes)
    low, middle, high = np.percentile(maps, [1, 50, 99])
    assert 0.4 < low < middle < high < 1.1
    assert maps.min() >= 0.09
    assert maps.max() < 1.6


def test_no_effect_is_large_enough_for_a_negative_standard_deviation():
    maps = in_mask(make_eyes_open_closed(1, n_maps=1, n_chunks=1, effect_size=20))
    assert maps.min() == np.float32(0.1)


def test_same_seed_same_data_other_seed_other_data(small):
    again = make_eyes_open_closed(n_subjects=4, n_maps=3, n_chunks=2, random_state=1)
    other = make_eyes_open_closed(n_subjects=4, n_maps=3, n_chunks=2, random_state=2)
    np.testing.assert_array_equal(values(small), values(again))
    assert not np.array_equal(values(small), values(other))
    np.testing.assert_array_equal(values(small) == 0, values(other) == 0)


def test_a_random_state_object_is_a_seed_too():
    arguments = {"n_subjects": 2, "n_maps": 1, "n_chunks": 2}
    first = make_eyes_open_closed(random_state=np.random.RandomState(3), **arguments)
    second = make_eyes_open_closed(random_state=np.random.RandomState(3), **arguments)
    np.testing.assert_array_equal(values(first), values(second))


def test_the_effect_is_in_the_eyes_and_in_visual_cortex_only(eyes):
    effect = eyes.effect.get_fdata()
    near_eye = np.min([distance_mm(eye) for eye in EYES_MM], axis=0) <= 13
    visual = np.min([distance_mm((side, -85, 5)) for side in (-10, 10)], axis=0) <= 26
    assert effect[near_eye].min() > 0
    assert effect[visual].min() < -0.1
    assert effect[visual].max() <= 0
    assert not effect[~(near_eye | visual)].any()
    # The middle of the grid is between two voxels, hence left and right mirror each other.
    np.testing.assert_allclose(effect[:, 15:], effect[::-1, 15:], atol=1e-6)


def test_both_parts_of_the_effect_are_in_the_slab_of_the_notebook(eyes):
    cosine, sine = np.cos(0.35), np.sin(0.35)
    rotation = np.array([[1, 0, 0, 0], [0, cosine, -sine, 0], [0, sine, cosine, 0], [0, 0, 0, 1]])

    def rotated(volume):
        image = nibabel.Nifti1Image(volume.astype(np.float32), rotation @ AFFINE)
        return resample_img(image, target_affine=AFFINE, interpolation="continuous")

    _, box = crop_img(rotated(values(eyes)[..., 0]), return_offset=True)
    effect = eyes.effect.get_fdata()
    for part in (np.maximum(effect, 0), np.minimum(effect, 0)):
        cropped = rotated(part).get_fdata()[tuple(box)]
        assert cropped.shape[:2] == (40, 56)
        assert cropped[..., 12:15].sum() / cropped.sum() > 0.45


def test_the_effect_is_recovered_by_the_difference_of_the_class_means(eyes):
    maps, effect = values(eyes), eyes.effect.get_fdata()
    is_open = eyes.labels == "open"
    difference = maps[..., is_open].mean(axis=-1) - maps[..., ~is_open].mean(axis=-1)
    there = effect != 0
    assert np.corrcoef(difference[there], effect[there])[0, 1] > 0.95
    slope = np.polyfit(effect[there], difference[there], 1)[0]
    assert slope == pytest.approx(1, abs=0.1)
    assert abs(difference[(effect == 0) & maps.all(axis=-1)]).mean() < 0.01


def test_effect_size_is_a_factor_on_the_effect_and_on_nothing_else():
    arguments = {"n_subjects": 2, "n_maps": 2, "n_chunks": 2}
    none, one, twice = (
        make_eyes_open_closed(effect_size=size, **arguments) for size in (0, 1, 2.0)
    )
    effect = one.effect.get_fdata()
    assert not none.effect.get_fdata().any()
    np.testing.assert_allclose(twice.effect.get_fdata(), 2 * effect, rtol=1e-6)
    np.testing.assert_array_equal(values(none)[effect == 0], values(one)[effect == 0])
    assert (values(none)[effect != 0] != values(one)[effect != 0]).mean() > 0.99


def test_the_maps_of_a_block_resemble_each_other_most(no_effect):
    maps = in_mask(no_effect)
    maps -= maps.mean(axis=0)
    likeness = np.corrcoef(maps)
    same_subject = no_effect.subjects[:, None] == no_effect.subjects
    same_block = same_subject & (no_effect.labels[:, None] == no_effect.labels)
    np.fill_diagonal(likeness, np.nan)
    block, subject, others = (
        np.nanmean(likeness[pairs])
        for pairs in (same_block, same_subject & ~same_block, ~same_subject)
    )
    assert block > subject + 0.05 > others + 0.3
    assert abs(others) < 0.05


def test_grouped_score_is_calibrated_and_a_random_split_flatters_it(eyes):
    grouped = accuracy(eyes, by_chunk(eyes))
    assert 0.83 <= grouped <= 0.88
    assert accuracy(eyes, at_random(eyes)) >= 0.95


def test_without_effect_only_a_random_split_scores_above_chance(no_effect):
    assert accuracy(no_effect, by_chunk(no_effect)) == pytest.approx(0.5, abs=0.06)
    assert accuracy(no_effect, at_random(no_effect)) > 0.75


@given(st.integers(1, 30), st.integers(1, 30))
def test_block_groups_are_contiguous_and_equal(n_groups, size):
    groups = block_groups(n_groups * size, n_groups)
    assert np.bincount(groups).tolist() == [size] * n_groups
    assert (np.diff(groups) >= 0).all()


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6))
def test_block_labels_repeat_the_series_of_blocks(n_labels, length, n_repeats):
    labels = list(range(n_labels))
    expected = [label for _ in range(n_repeats) for label in labels for _ in range(length)]
    assert block_labels(labels, length, n_repeats).tolist() == expected


def test_block_labels_keep_the_type_of_the_labels():
    assert block_labels(("closed", "open"), 4, 48).dtype.kind == "U"
    assert block_labels([0, 1], 4, 48).dtype.kind == "i"


@pytest.mark.parametrize(
    ("n_samples", "n_groups", "message"),
    [
        (384, 7, r"384 samples .* 7 equal blocks: 6 would be left over.* such as 6 or 8\."),
        (5, 6, r"5 samples cannot be cut into 6 equal blocks.* divides 5, such as 5\."),
        (10, 0, r"n_groups must be an integer of at least 1, but is 0\."),
    ],
)
def test_groups_that_do_not_come_out_even_are_refused(n_samples, n_groups, message):
    with pytest.raises(ValueError, match=message):
        block_groups(n_samples, n_groups)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("open", 4, 2), r"labels must be a sequence .* but is 'open'\."),
        (([], 4, 2), r"labels must be a sequence .* but is \[\]\."),
        ((["a", "b"], 0, 2), r"block_length must be an integer of at least 1, but is 0\."),
    ],
)
def test_labels_that_make_no_design_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        block_labels(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_subjects": 20}, r"20 subjects .* 6 equal blocks: 2 .* n_chunks .* such as 5 or 10\."),
        ({"n_subjects": 0}, r"n_subjects must be an integer of at least 1, but is 0\."),
        ({"effect_size": "big"}, r"effect_size must be a finite number, but is 'big'\."),
        ({"effect_size": np.nan}, r"effect_size must be a finite number, but is nan\."),
    ],
)
def test_designs_that_cannot_be_simulated_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_eyes_open_closed(**arguments)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (block_groups, (10.0, 2), r"n_samples must be an integer of at least 1, but is 10\.0\."),
        (
            block_labels,
            (["a"], 4, True),
            r"n_repeats must be an integer of at least 1, but is True",
        ),
        (make_eyes_open_closed, (48.0,), r"n_subjects must be an integer .* but is 48\.0\."),
    ],
)
def test_numbers_of_another_kind_are_a_type_error(function, arguments, message):
    with pytest.raises(TypeError, match=message):
        function(*arguments)
