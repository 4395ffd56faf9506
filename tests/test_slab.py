import copy
import pickle
import tracemalloc
import warnings

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from nilearn.image import crop_img, resample_img
from nilearn.masking import extrapolate_out_mask
from scipy import ndimage
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

import skfmri
from skfmri.preprocessing import NiftiSlabRotator, VoxelZScorer
from skfmri.preprocessing.crop import crop_box, value_range
from skfmri.resampling import apply_operator
from skfmri.samples import NiftiSamples
from skfmri.spatial import angle_in_radians, rotated_grid, rotation_matrix

MNI = np.diag([4.0, 4, 4, 1])
MNI[:3, 3] = [-78, -112, -70]
ALIGNED = np.array([[-3.3, 0, 0, 30], [0, 3.1, 0, -12], [0, 0, 4.7, -20], [0, 0, 0, 1]])
INTERPOLATIONS = ("continuous", "linear", "nearest")


def head(shape=(17, 12, 9), count=3, seed=0, offset=1.0):
    """Return noisy volumes that are zero outside of an ellipsoid."""
    rng = np.random.default_rng(seed)
    grid = np.meshgrid(*[np.linspace(-1, 1, length) for length in shape], indexing="ij")
    inside = sum(axis**2 for axis in grid) < 0.6
    volumes = inside * (offset + 0.3 * rng.normal(size=(count, *shape)))
    return volumes.astype(np.float32)


def image_of(volumes, affine):
    return nibabel.Nifti1Image(np.moveaxis(volumes, 0, -1), affine)


def with_nilearn(volumes, affine, angle, axis, interpolation):
    """Return nilearn's rotated and cropped volumes, and the box it kept."""
    moved = image_of(volumes.astype(float), rotation_matrix(angle, axis) @ affine)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rotated = resample_img(moved, affine, interpolation=interpolation)
        cropped, box = crop_img(rotated, return_offset=True)
    return np.moveaxis(cropped.get_fdata(), -1, 0), tuple((s.start, s.stop) for s in box[:3])


def assert_equals_nilearn(volumes, affine, angle, axis, interpolation):
    expected, box = with_nilearn(volumes, affine, angle, axis, interpolation)
    samples = NiftiSamples(image_of(volumes, affine))
    rotator = NiftiSlabRotator(angle, axis, slab=None, interpolation=interpolation).fit(samples)
    assert rotator.crop_ == box
    tolerance = 1e-5 * np.ptp(volumes)
    np.testing.assert_allclose(rotator.transform(samples), expected, rtol=0, atol=tolerance)
    n_slices = expected.shape[-1]
    thin = clone(rotator).set_params(slab=(n_slices // 2, n_slices // 2 + 1))
    slab = thin.fit_transform(samples)
    np.testing.assert_allclose(
        slab, expected[..., n_slices // 2 : n_slices // 2 + 1], rtol=0, atol=tolerance
    )


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("angle", [0.35, -0.2, 0.0])
@pytest.mark.parametrize("offset", [1.0, 0.0], ids=["positive", "signed"])
def test_equals_nilearn_on_aligned_data(angle, axis, interpolation, offset):
    assert_equals_nilearn(head(offset=offset), ALIGNED, angle, axis, interpolation)


def test_equals_nilearn_where_axes_are_permuted():
    affine = np.array([[0, 0, 3.0, -12], [-2.5, 0, 0, 20], [0, 4, 0, -14], [0, 0, 0, 1]])
    for axis in "xyz":
        assert_equals_nilearn(head(), affine, 0.35, axis, "continuous")


@settings(max_examples=15, deadline=None)
@given(
    angle=st.floats(-0.5, 0.5),
    axis=st.sampled_from("xyz"),
    tilt=st.floats(-0.3, 0.3),
    seed=st.integers(0, 100),
)
def test_equals_nilearn_at_any_angle_and_tilt(angle, axis, tilt, seed):
    affine = rotation_matrix(tilt, "z") @ rotation_matrix(-tilt / 2, "y") @ ALIGNED
    assert_equals_nilearn(head((10, 9, 8), 2, seed), affine, angle, axis, "continuous")


@pytest.mark.real_data
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
def test_equals_nilearn_on_every_oblique_file(real_data, masked, interpolation):
    for path in sorted((real_data / "oblique_epi").glob("*.nii.gz")):
        image = nibabel.load(path)
        volumes = np.moveaxis(image.get_fdata()[..., :2], -1, 0)
        if masked:
            volumes[volumes < np.percentile(volumes, 60)] = 0
            volumes[:, :3] = volumes[:, -3:] = 0
        assert_equals_nilearn(volumes.astype(np.float32), image.affine, 0.35, "x", interpolation)


@pytest.mark.real_data
@pytest.mark.parametrize("axis", ["y", "z"])
def test_equals_nilearn_on_an_oblique_file_about_other_axes(real_data, axis):
    image = nibabel.load(real_data / "oblique_epi" / "sct_testing_data__fmri_r.nii.gz")
    volumes = np.moveaxis(image.get_fdata()[..., :3], -1, 0).astype(np.float32)
    assert_equals_nilearn(volumes, image.affine, -0.1, axis, "continuous")


def test_the_notebook_preprocessing_gives_the_same_array(tmp_path):
    # As the notebook writes it: rotate with nilearn, crop, keep slices 12 to 14, z-score each
    # voxel over the training volumes with its two thresholds, zero what is not finite.
    data = np.abs(head((40, 51, 41), 24, 0)) * 0.7
    nibabel.save(image_of(data, MNI), tmp_path / "dataset.nii.gz")
    func = nibabel.load(tmp_path / "dataset.nii.gz")
    c, s = np.cos(0.35), np.sin(0.35)
    rotation = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]])
    turned = nibabel.Nifti1Image(func.get_fdata(), rotation @ func.affine)
    resampled = resample_img(turned, target_affine=func.affine, interpolation="continuous")
    array = np.moveaxis(crop_img(resampled).get_fdata()[:, :, 12:15, :], -1, 0)
    train, test = array[:16], array[16:]
    mean, std = train.mean(axis=0), train.std(axis=0)
    std[std < 0.05] = 0
    mean[mean < 0.05] = 0
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = [(part - mean) / std for part in (train, test)]
    for part in expected:
        part[~np.isfinite(part)] = 0

    pipeline = make_pipeline(NiftiSlabRotator(angle=0.35, slab=(12, 15)), VoxelZScorer())
    samples = NiftiSamples(tmp_path / "dataset.nii.gz")
    pipeline.fit(samples)
    scaled = pipeline.fit(samples[:16]).transform(samples)
    rotator = pipeline[0]
    assert rotator.slab_shape_ == array.shape[1:]
    ours = [scaled[:16], scaled[16:]]
    # A voxel right at the threshold may fall on either side after rounding to single precision.
    clear = np.abs(train.std(axis=0) - 0.05) > 1e-6
    assert clear.mean() > 0.999
    for got, wanted in zip(ours, expected, strict=True):
        np.testing.assert_allclose(got[:, clear], wanted[:, clear], atol=2e-4)


def crop_with_counter(volumes, affine):
    """Return the crop, and for each resampling the number of volumes and the shape of the box."""
    computed = []

    def resample(operator, batch):
        computed.append((len(batch), *operator.box_shape))
        return apply_operator(operator, batch)

    rotation = rotation_matrix(0.35, "x")
    transform, rotated_shape = rotated_grid(volumes.shape[1:], affine, rotation)
    summary = value_range([volumes])
    box = crop_box(lambda: [volumes], summary, transform, rotated_shape, 3, resample=resample)
    return box, computed


class TestCrop:
    def test_box_and_range_come_from_the_training_volumes_alone(self):
        volumes = head(count=4)
        volumes[3] = 50  # a test volume that fills its grid
        samples = NiftiSamples(image_of(volumes, ALIGNED))
        rotator = NiftiSlabRotator(slab=(1, 3)).fit(samples[:3])
        expected, box = with_nilearn(volumes[:3], ALIGNED, 0.35, "x", "continuous")
        assert rotator.crop_ == box
        assert rotator.value_range_ == (float(min(volumes[:3].min(), 0)), float(volumes[:3].max()))
        slabs = rotator.transform(samples)
        np.testing.assert_allclose(slabs[:3], expected[..., 1:3], atol=1e-5)
        assert slabs[3].max() == pytest.approx(50)

    def test_no_volume_depends_on_those_beside_it(self):
        volumes = head(count=6, offset=0.2)
        samples = NiftiSamples(image_of(volumes, ALIGNED))
        rotator = NiftiSlabRotator(slab=(1, 3)).fit(samples[:2])
        together = rotator.transform(samples)
        alone = np.concatenate([rotator.transform(samples[[i]]) for i in range(6)])
        np.testing.assert_allclose(together, alone, atol=1e-6)
        np.testing.assert_array_equal(rotator.transform(samples[::-1])[::-1], together)

    def test_slices_counted_from_the_grid_stay_in_place(self):
        small, large = head((20, 21, 22), 2), head((20, 21, 22), 2)
        small[..., :12] = 0
        boxes = {}
        for reference in ("crop", "grid"):
            rotator = NiftiSlabRotator(
                slab=(2, 4), slab_reference=reference, interpolation="linear"
            )
            boxes[reference] = [
                rotator.fit(NiftiSamples(image_of(part, MNI))).slab_box_[2]
                for part in (small, large)
            ]
        assert boxes["grid"] == [(2, 4), (2, 4)]
        assert boxes["crop"][0] != boxes["crop"][1]

    def test_few_planes_are_computed_for_all_volumes(self):
        volumes = head((40, 51, 41), 24)
        box, computed = crop_with_counter(volumes, MNI)
        rotator = NiftiSlabRotator(slab=None).fit(NiftiSamples(image_of(volumes, MNI)))
        assert box == rotator.crop_
        whole = 24 * int(np.prod(rotator.rotated_shape_))
        assert 0 < sum(map(np.prod, computed)) < 0.2 * whole

    @pytest.mark.parametrize("share", [0.2, 0.8])
    def test_a_threshold_between_the_bounds_is_settled_by_rotating(self, share):
        shape = (30, 31, 32)
        transform, rotated_shape = rotated_grid(shape, MNI, rotation_matrix(0.35, "x"))

        def rotate(volume):
            return ndimage.affine_transform(
                volume.astype(float), transform[:3, :3], transform[:3, 3], rotated_shape
            )

        # A spike between the voxels of the rotated grid loses height there, so the size of the
        # threshold is not known from it. The ringing of the weak volume ends in between.
        strong, weak = np.zeros(shape, dtype=np.float32), head(shape, 1)[0]
        weak[:, 16:] = 0
        strong[15, 8, 17] = 1
        shown = np.abs(rotate(strong)).max()
        assert shown < 0.95
        planes = rotate(weak).clip(weak.min(), None).max(axis=(0, 2))
        last = np.flatnonzero(planes > 3e-8)[-1]
        weak *= 1e-8 * (shown + share * (1 - shown)) / planes[last]
        volumes = np.stack([strong, weak])
        assert_equals_nilearn(volumes, MNI, 0.35, "x", "continuous")
        _, computed = crop_with_counter(volumes, MNI)
        assert any(min(box_shape) > 1 for _, *box_shape in computed)

    def test_volumes_without_data_keep_the_whole_grid(self):
        samples = NiftiSamples.from_array(np.zeros((2, 6, 7, 8)), np.eye(4))
        with pytest.warns(UserWarning, match="zero everywhere"):
            rotator = NiftiSlabRotator(slab=None).fit(samples)
        assert rotator.slab_shape_ == rotator.rotated_shape_

    def test_crop_can_be_left_out(self):
        rotator = NiftiSlabRotator(slab=(0, 2), crop=False)
        rotator.fit(NiftiSamples(image_of(head(), ALIGNED)))
        assert rotator.slab_shape_ == (*rotator.rotated_shape_[:2], 2)


class TestSpace:
    @pytest.fixture
    def rotator(self):
        samples = NiftiSamples(image_of(head((20, 21, 22), 2), MNI))
        return NiftiSlabRotator(0.3, slab=(6, 11)).fit(samples)

    def test_slab_affine_points_at_the_voxels_that_were_sampled(self):
        # Each native volume holds one world coordinate, so a slab voxel holds where it lies.
        shape = (16, 18, 20)
        affine = rotation_matrix(0.1, "z") @ np.diag([3.0, 3, 3, 1])
        affine[:3, 3] = [-20, -25, -30]
        voxels = np.stack([*np.indices(shape), np.ones(shape)])
        world = np.tensordot(affine, voxels, 1)[:3]
        samples = NiftiSamples.from_array(world, affine)
        rotator = NiftiSlabRotator(0.2, "y", slab=(8, 11), crop=False, interpolation="linear")
        slabs = rotator.fit_transform(samples)
        places = np.stack([*np.indices(slabs.shape[1:]), np.ones(slabs.shape[1:])])
        expected = np.tensordot(rotator.slab_affine_, places, 1)[:3]
        native = np.tensordot(np.linalg.inv(affine), [*expected, np.ones(slabs.shape[1:])], 1)[:3]
        last = np.array(shape).reshape(3, 1, 1, 1) - 1
        inside = ((native > 0.01) & (native < last - 0.01)).all(axis=0)
        assert inside.sum() > 300
        np.testing.assert_allclose(slabs[:, inside], expected[:, inside], atol=1e-3)

    def test_a_map_becomes_an_image_where_the_slab_lies(self, rotator):
        maps = np.random.default_rng(0).normal(size=(2, *rotator.slab_shape_))
        image = rotator.to_nifti(maps[0])
        assert image.shape == rotator.slab_shape_
        np.testing.assert_allclose(image.affine, rotator.slab_affine_)
        np.testing.assert_allclose(image.get_fdata(), maps[0], rtol=1e-6)
        assert rotator.to_nifti(maps).shape == (*rotator.slab_shape_, 2)

    def test_inverse_lies_on_the_native_grid_and_is_nan_beyond_the_slab(self, rotator):
        ones = np.ones(rotator.slab_shape_, dtype=np.float32)
        image = rotator.inverse_transform(ones)
        values = image.get_fdata()
        assert image.shape == rotator.grid_shape_
        np.testing.assert_array_equal(image.affine, rotator.affine_)
        reached = np.isfinite(values)
        np.testing.assert_allclose(values[reached], 1, atol=1e-5)
        voxels = np.stack([*np.indices(rotator.grid_shape_), np.ones(rotator.grid_shape_)])
        to_slab = np.linalg.inv(rotator.slab_affine_) @ rotator.affine_
        places = np.tensordot(to_slab, voxels, 1)[:3]
        limits = np.array(rotator.slab_shape_).reshape(3, 1, 1, 1)
        within = ((places >= -0.5) & (places <= limits - 0.5)).all(axis=0)
        np.testing.assert_array_equal(reached, within)

    def test_inverse_of_an_unrotated_slab_is_the_volume(self):
        volumes = head()
        samples = NiftiSamples(image_of(volumes, ALIGNED))
        rotator = NiftiSlabRotator(angle=0, slab=(2, 5), crop=False)
        image = rotator.inverse_transform(rotator.fit_transform(samples))
        back = np.moveaxis(image.get_fdata(), -1, 0)
        np.testing.assert_allclose(back[..., 2:5], volumes[..., 2:5], atol=1e-5)
        assert np.isnan(back[..., [0, 1, 5, 6, 7, 8]]).all()

    def test_one_bad_value_of_a_map_stays_one_bad_value(self, rotator):
        maps = np.ones(rotator.slab_shape_, dtype=np.float32)
        reached = np.isfinite(rotator.inverse_transform(maps).get_fdata())
        maps[5, 6, 2] = np.nan
        values = rotator.inverse_transform(maps).get_fdata()
        assert 0 < np.isnan(values[reached]).sum() < 6
        assert (values[reached & np.isfinite(values)] > 0.4).all()

    def test_back_projection_is_the_gradient_with_respect_to_the_volume(self, rotator):
        rng = np.random.default_rng(0)
        weights = rng.normal(size=rotator.slab_shape_).astype(np.float32)
        gradient = rotator.back_project(weights)
        assert gradient.shape == rotator.grid_shape_
        volume = head((20, 21, 22), 1, 5)[0] + 5  # far from the range that is clipped
        rotator.value_range_ = (-100, 100)
        bumped = volume.copy()
        voxel = np.unravel_index(np.abs(gradient.get_fdata()).argmax(), volume.shape)
        bumped[voxel] += 0.5
        slabs = rotator.transform(NiftiSamples.from_array([volume, bumped], MNI)).astype(float)
        change = ((slabs[1] - slabs[0]) * weights).sum()
        assert change == pytest.approx(0.5 * gradient.get_fdata()[voxel], rel=1e-3)

    def test_maps_of_another_shape_are_refused(self, rotator):
        for method in (rotator.to_nifti, rotator.inverse_transform, rotator.back_project):
            with pytest.raises(
                ValueError, match=r"maps of shape \(2, 3, 4\) for a slab of shape \("
            ):
                method(np.zeros((2, 3, 4)))


def test_non_finite_voxels_become_nan_nearby_and_only_there():
    volumes = head(count=3, offset=2)
    clean = NiftiSamples(image_of(volumes, ALIGNED))
    rotator = NiftiSlabRotator(slab=(2, 5)).fit(clean)
    damaged = volumes.copy()
    damaged[1, 8, 6, 4] = np.nan
    damaged[2, 8, 6, 4] = np.inf
    slabs = rotator.transform(NiftiSamples(image_of(damaged, ALIGNED)))
    expected = rotator.transform(clean)
    np.testing.assert_allclose(slabs[0], expected[0], atol=1e-6)
    for slab in slabs[1:]:
        assert 0 < np.isnan(slab).sum() < 5
    far = np.abs(np.arange(slabs.shape[1]) - 8 + rotator.crop_[0][0]) > 3
    np.testing.assert_allclose(slabs[:, far], expected[:, far], atol=0.05)
    moved = image_of(damaged.astype(float), rotation_matrix(0.35, "x") @ ALIGNED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = resample_img(moved, ALIGNED).get_fdata()
    box = tuple(slice(*span) for span in rotator.slab_box_)
    for i in (1, 2):
        alone = resample_img(
            image_of(damaged[[i]].astype(float), rotation_matrix(0.35, "x") @ ALIGNED),
            ALIGNED,
            clip=False,
        ).get_fdata()[box][..., 0]
        np.testing.assert_array_equal(np.isnan(slabs[i]), np.isnan(alone))
        ok = ~np.isnan(alone)
        np.testing.assert_allclose(slabs[i][ok], alone.clip(*rotator.value_range_)[ok], atol=1e-4)
    assert np.isnan(reference).any()


@pytest.mark.parametrize("interpolation", ["continuous", "linear", "nearest"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("axis", ["x", "y"])
def test_non_finite_voxels_are_filled_whatever_the_splines(interpolation, value, axis):
    volumes = head(count=2, offset=2)
    rotator = NiftiSlabRotator(slab=(2, 5), axis=axis, interpolation=interpolation)
    rotator.fit(NiftiSamples(image_of(volumes, ALIGNED)))
    damaged, filled = volumes.copy(), volumes.copy()
    damaged[1, 8, 6, 4] = value
    finite = np.isfinite(damaged[1])
    filled[1] = extrapolate_out_mask(np.where(finite, damaged[1], 0), finite, iterations=2)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        slabs = rotator.transform(NiftiSamples(image_of(damaged, ALIGNED)))
    expected = rotator.transform(NiftiSamples(image_of(filled, ALIGNED)))
    lost = np.isnan(slabs)
    assert 0 < lost[1].sum() < 5
    assert not lost[0].any()
    np.testing.assert_allclose(slabs[~lost], expected[~lost], atol=2e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("scale", [30, -30])
def test_a_voxel_lost_beyond_reach_of_the_slab_changes_nothing(value, scale):
    volumes = head(count=3, offset=2)
    rotator = NiftiSlabRotator(slab=(2, 5), axis="z")
    rotator.fit(NiftiSamples(image_of(volumes, ALIGNED)))
    tested = volumes[:1] * np.float32(scale)
    expected = rotator.transform(NiftiSamples(image_of(tested, ALIGNED)))
    assert np.abs(expected).max() > 2 * np.abs(rotator.value_range_).max()
    tested[0, 8, 6, 0] = value
    found = rotator.transform(NiftiSamples(image_of(tested, ALIGNED)))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("scale", [1, 30, -30])
def test_ringing_is_kept_in_the_wider_of_two_ranges(scale):
    volumes = head(count=3, offset=2)
    rotator = NiftiSlabRotator(slab=(2, 5)).fit(NiftiSamples(image_of(volumes, ALIGNED)))
    tested = volumes[:1] * np.float32(scale)
    free = rotator_without_clipping(rotator).transform(NiftiSamples(image_of(tested, ALIGNED)))
    low = min(rotator.value_range_[0], tested.min())
    high = max(rotator.value_range_[1], tested.max())
    assert (free < low).any() or (free > high).any()
    slab = rotator.transform(NiftiSamples(image_of(tested, ALIGNED)))
    np.testing.assert_array_equal(slab, free.clip(low, high))


OBLIQUE = rotation_matrix(0.2, "y") @ rotation_matrix(-0.1, "z") @ ALIGNED
TILTED = rotation_matrix(0.4, "x") @ OBLIQUE


def sparse_head():
    """Return volumes with exact zeros all over, up to the faces of the grid, signed."""
    volumes = head((11, 12, 13), 4, offset=0)
    volumes[:, ::3] = 0
    volumes[:, 0, 0, 0] = volumes[:, -1, -1, -1] = 7
    return volumes


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
class TestCopies:
    @pytest.mark.parametrize("affine", [ALIGNED, OBLIQUE, TILTED], ids=["al", "ob", "ti"])
    @pytest.mark.parametrize("angle", [0, 0.0, 2 * np.pi, -2 * np.pi, "360 deg", "-720 deg"])
    @pytest.mark.parametrize("axis", ["x", "z"])
    @pytest.mark.filterwarnings("ignore:angle=")
    def test_without_a_rotation_the_slab_is_the_data_bit_by_bit(
        self, affine, angle, axis, interpolation
    ):
        volumes = sparse_head()
        samples = NiftiSamples.from_array(volumes, affine)
        rotator = NiftiSlabRotator(angle, axis, slab=(3, 9), interpolation=interpolation)
        slabs = rotator.fit_transform(samples)
        box = (slice(None), *(slice(*span) for span in rotator.slab_box_))
        assert slabs.shape[1:] == volumes[box].shape[1:]
        np.testing.assert_array_equal(slabs, volumes[box])
        np.testing.assert_array_equal(slabs == 0, volumes[box] == 0)
        assert (slabs == 0).mean() > 0.3
        native = np.moveaxis(rotator.inverse_transform(slabs).get_fdata(dtype=np.float32), -1, 0)
        np.testing.assert_array_equal(native[box], volumes[box])
        outside = np.ones_like(native, dtype=bool)
        outside[box] = False
        assert np.isnan(native[outside]).all()

    @pytest.mark.parametrize("axis", ["x", "y", "z"])
    def test_quarter_turns_copy_what_nilearn_interpolates(self, axis, interpolation):
        cube = np.diag([3.0, 3, 3, 1])
        cube[:3, 3] = -18
        volumes = sparse_head()[..., :11]
        samples = NiftiSamples.from_array(volumes, cube)
        rotator = NiftiSlabRotator(np.pi / 2, axis, slab=None, interpolation=interpolation)
        slabs = rotator.fit_transform(samples)
        assert np.isin(slabs, volumes).all()
        assert (slabs == 0).mean() > 0.3
        assert_equals_nilearn(volumes, cube, np.pi / 2, axis, interpolation)

    def test_constant_voxels_are_not_blown_up_behind_it(self, interpolation):
        samples = NiftiSamples.from_array(sparse_head(), TILTED)
        rotator = NiftiSlabRotator(0, slab=(3, 9), crop=False, interpolation=interpolation)
        columns = rotator.fit_transform(samples).reshape(len(samples), -1)
        constant = (columns == columns[0]).all(axis=0)
        scaled = StandardScaler().fit_transform(columns)
        assert constant.sum() > 100
        assert (scaled[:, constant] == 0).all()

    def test_nilearn_agrees_on_oblique_data(self, interpolation):
        for affine in (OBLIQUE, TILTED):
            assert_equals_nilearn(head(), affine, 0.0, "x", interpolation)


class TestDamage:
    @pytest.mark.parametrize(
        ("entry", "value"),
        [((0, 1), 1e7), ((1, 1), 1e6), ((2, 2), 1e-6), ((1, 3), -1e9), ((1, 3), 1e200)],
    )
    def test_an_absurd_affine_is_refused_before_any_memory_is_taken(self, tmp_path, entry, value):
        affine = ALIGNED.copy()
        affine[entry] = value
        samples = NiftiSamples.from_array(head(), affine)
        tracemalloc.start()
        message = (
            r"(moves volume 0 of the array off the grid.* affine"
            r"|Rotated, volume 0 of the array would need a grid of \S+ voxels instead of 1836, .*"
            r"affine is probably wrong: .*Correct the sform or qform)"
        )
        with pytest.raises(ValueError, match=message):
            NiftiSlabRotator(slab=None).fit(samples)
        assert tracemalloc.get_traced_memory()[1] < 2**20
        tracemalloc.stop()

    def test_errors_of_fit_name_the_file(self, tmp_path):
        affine = ALIGNED.copy()
        affine[1, 1] = 1e6
        nibabel.save(image_of(head(), affine), tmp_path / "damaged.nii")
        with pytest.raises(ValueError, match=r"volume 0 of \S*damaged\.nii would need"):
            NiftiSlabRotator().fit(tmp_path / "damaged.nii")

    @pytest.mark.parametrize("interpolation", INTERPOLATIONS)
    @pytest.mark.parametrize("value", [1e38, -3.4e38])
    def test_values_too_large_for_splines_name_their_volume(self, interpolation, value):
        volumes = head(count=5)
        volumes[3, 8, 6, 4] = value
        volumes[4, 8, 6, 4] = np.nan
        samples = NiftiSamples([image_of(volumes[:2], ALIGNED), image_of(volumes[2:], ALIGNED)])
        rotator = NiftiSlabRotator(slab=(2, 7), interpolation=interpolation)
        message = rf"absolute value of {abs(value):.3g} in volume 1 of image 1.*Write NaN".replace(
            "+", r"\+"
        )
        with pytest.raises(ValueError, match=message):
            rotator.fit(samples)
        rotator.fit(samples[:2])
        if interpolation == "continuous":
            with pytest.raises(ValueError, match=message):
                rotator.transform(samples[2:])
            with pytest.raises(ValueError, match=message):
                rotator.set_params(n_jobs=2).transform(samples)
        else:
            assert np.isfinite(rotator.transform(samples[:4])).all()

    def test_the_largest_values_allowed_stay_finite(self):
        volumes = head(count=2) * np.float32(4e34)
        samples = NiftiSamples(image_of(volumes, ALIGNED))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            slabs = NiftiSlabRotator(slab=(1, 4)).fit_transform(samples)
        expected = NiftiSlabRotator(slab=(1, 4)).fit_transform(image_of(head(count=2), ALIGNED))
        np.testing.assert_allclose(slabs / np.float32(4e34), expected, atol=1e-5)


class TestDegrees:
    @pytest.mark.parametrize("text", ["20 deg", "20deg", " 2e1  deg "])
    def test_text_is_the_same_as_radians(self, text):
        samples = NiftiSamples(image_of(head(), ALIGNED))
        expected = NiftiSlabRotator(np.deg2rad(20), slab=(1, 4)).fit_transform(samples)
        rotator = NiftiSlabRotator(text, slab=(1, 4))
        np.testing.assert_array_equal(rotator.fit_transform(samples), expected)
        assert rotator.angle == clone(rotator).get_params()["angle"] == text

    def test_a_sign_turns_the_other_way(self):
        assert angle_in_radians("-12.5deg") == -np.deg2rad(12.5)

    def test_a_number_beyond_pi_warns_and_names_degrees(self):
        samples = NiftiSamples(image_of(head(), ALIGNED))
        rotator = NiftiSlabRotator(20, slab=None)
        message = r'angle=20 is taken as radians .* 1146 deg.*"20 deg" or numpy\.deg2rad\(20\)'
        with pytest.warns(UserWarning, match=message) as caught:
            rotator.fit(samples)
        assert [warning.filename for warning in caught] == [__file__]
        expected = NiftiSlabRotator(20 - 6 * np.pi, slab=None).fit(samples)
        np.testing.assert_allclose(rotator.affine_, expected.affine_)
        np.testing.assert_allclose(rotator.slab_affine_, expected.slab_affine_)
        with pytest.warns(UserWarning, match=r'"-45 deg"'):
            NiftiSlabRotator(-45.0, slab=None).fit(samples)

    @pytest.mark.filterwarnings("error::UserWarning")
    @pytest.mark.parametrize("angle", [np.pi, -np.pi, "360 deg"])
    def test_half_a_turn_and_text_warn_nobody(self, angle):
        NiftiSlabRotator(angle, slab=None).fit(NiftiSamples(image_of(head(), ALIGNED)))

    def test_a_saved_rotator_keeps_the_text(self, tmp_path):
        samples = NiftiSamples(image_of(head(), ALIGNED))
        rotator = NiftiSlabRotator("20 deg", slab=(1, 4)).fit(samples)
        skfmri.save(rotator, tmp_path / "rotator.skfmri")
        loaded = skfmri.load(tmp_path / "rotator.skfmri")
        assert loaded.angle == "20 deg"
        np.testing.assert_array_equal(loaded.transform(samples), rotator.transform(samples))


def rotator_without_clipping(rotator):
    free = copy.copy(rotator)
    free.value_range_ = (-np.inf, np.inf)
    return free


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")
class TestContract:
    def test_images_paths_and_samples_give_the_same(self, tmp_path):
        volumes = head(count=4)
        image = image_of(volumes, ALIGNED)
        nibabel.save(image, tmp_path / "all.nii.gz")
        halves = [image_of(volumes[:2], ALIGNED), image_of(volumes[2:], ALIGNED)]
        singles = [nibabel.Nifti1Image(volume, ALIGNED) for volume in volumes]
        inputs = [image, tmp_path / "all.nii.gz", str(tmp_path / "all.nii.gz"), halves, singles]
        results = [NiftiSlabRotator(slab=(1, 4)).fit_transform(X) for X in inputs]
        for result in results:
            np.testing.assert_allclose(result, results[0], atol=1e-6)
            assert result.dtype == np.float32
            assert result.flags.c_contiguous

    @pytest.mark.parametrize("interpolation", INTERPOLATIONS)
    def test_a_slab_beside_the_volume_is_refused(self, interpolation):
        tall = np.diag([3.0, 3, 3, 1])
        tall[:3, 3] = [-25, 10, 10]
        outside = NiftiSlabRotator(
            0.35,
            slab=(0, 1),
            slab_reference="grid",
            crop=False,
            interpolation=interpolation,
        )
        with pytest.raises(ValueError, match=r"holds no voxel of volume 0 of image 0 .*angle=0"):
            outside.fit(NiftiSamples(image_of(head(), tall)))

    def test_threads_change_nothing(self, monkeypatch):
        monkeypatch.setattr("skfmri.samples.nifti.BATCH_BYTES", 10_000)
        samples = NiftiSamples(image_of(head(count=9), ALIGNED))
        one = NiftiSlabRotator(slab=(1, 4)).fit_transform(samples)
        two = NiftiSlabRotator(slab=(1, 4), n_jobs=2).fit_transform(samples)
        np.testing.assert_array_equal(one, two)

    def test_a_fitted_rotator_survives_pickling_and_a_clone_is_not_fitted(self):
        samples = NiftiSamples(image_of(head(), ALIGNED))
        rotator = NiftiSlabRotator(slab=(1, 4)).fit(samples)
        again = pickle.loads(pickle.dumps(rotator))
        np.testing.assert_array_equal(again.transform(samples), rotator.transform(samples))
        with pytest.raises(NotFittedError):
            clone(rotator).transform(samples)

    def test_tags_say_that_images_are_its_input(self):
        tags = get_tags(NiftiSlabRotator())
        assert tags.input_tags.niimg_like
        assert not tags.input_tags.two_d_array
        assert not hasattr(NiftiSlabRotator(), "get_feature_names_out")

    def test_another_grid_is_refused_with_both_shapes(self):
        rotator = NiftiSlabRotator(slab=(1, 4)).fit(NiftiSamples(image_of(head(), ALIGNED)))
        other = NiftiSamples(image_of(head((16, 12, 9)), ALIGNED))
        with pytest.raises(ValueError, match=r"grid of 16 x 12 x 9 .* NiftiSlabRotator has 17 x"):
            rotator.transform(other)
        shifted = NiftiSamples(image_of(head(), MNI))
        with pytest.raises(ValueError, match="X has the affine"):
            rotator.transform(shifted)

    def test_arrays_are_refused_with_the_way_out(self):
        with pytest.raises(TypeError, match=r"from_array\(array, affine\)"):
            NiftiSlabRotator().fit(np.zeros((3, 6, 7, 8)))

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"axis": "w"}, "axis must be one of 'x', 'y', 'z', but is 'w'"),
            ({"interpolation": "cubic"}, "interpolation must be one of 'continuous'"),
            ({"slab_reference": "top"}, "slab_reference must be one of"),
            ({"angle": np.nan}, "angle must be a finite number"),
            ({"angle": None}, "angle must be a finite number .* but is None"),
            ({"angle": "0.3"}, "angle must be a finite number"),
            ({"angle": "twenty deg"}, r'degrees such as "20 deg", but is \'twenty deg\'\.'),
            ({"angle": "deg"}, "but is 'deg'"),
            ({"angle": "20 rad"}, "but is '20 rad'"),
            ({"angle": "20 deg 5"}, "but is '20 deg 5'"),
            ({"angle": "nan deg"}, "but is 'nan deg'"),
            ({"angle": "inf deg"}, "but is 'inf deg'"),
            ({"slab": (3, 3)}, r"slab=\(3, 3\) holds no slice"),
            ({"slab": 3}, "slab must be None or a pair"),
            (
                {"slab": (12, 15)},
                r"slab=\(12, 15\) ends after slice 14, but the cropped volume has",
            ),
            ({"slab": (0, 99), "slab_reference": "grid"}, "the rotated grid has"),
        ],
    )
    def test_wrong_parameters_are_refused_in_fit(self, parameters, message):
        samples = NiftiSamples(image_of(head(), ALIGNED))
        with pytest.raises(ValueError, match=message):
            NiftiSlabRotator(**{"slab": (1, 2), **parameters}).fit(samples)

    def test_memory_grows_with_the_slabs_not_with_the_file(self, tmp_path, monkeypatch):
        monkeypatch.setenv("SKFMRI_CACHE", str(tmp_path / "store"))
        monkeypatch.setattr("skfmri.samples.nifti.BATCH_BYTES", 500_000)
        peaks = {}
        for count in (50, 250):
            nibabel.save(image_of(head((24, 25, 26), count), MNI), tmp_path / f"{count}.nii.gz")
            samples = NiftiSamples(tmp_path / f"{count}.nii.gz")
            samples[0]  # decodes the file, in chunks of its own
            tracemalloc.start()
            slabs = NiftiSlabRotator(slab=(4, 7)).fit_transform(samples)
            peaks[count] = tracemalloc.get_traced_memory()[1], slabs.nbytes
            tracemalloc.stop()
        growth = np.subtract(peaks[250], peaks[50])
        file_growth = 4 * 200 * 24 * 25 * 26
        assert growth[0] < growth[1] + 0.1 * file_growth

    def test_slabs_as_a_table_are_refused_with_the_way_out(self):
        pipe = make_pipeline(NiftiSlabRotator(slab=(1, 2)), StandardScaler())
        with pytest.raises(ValueError, match=r"which a table cannot hold.*pipe\[-1\]\.set_output"):
            pipe.set_output(transform="pandas")
        assert isinstance(pipe.set_output(transform="default")[0], NiftiSlabRotator)
