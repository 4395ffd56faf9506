"""Slabs restricted to a region."""

import json
import os
import pickle
import re
import warnings

import joblib
import nibabel
import numpy as np
import pytest
from nilearn.image import crop_img, resample_img
from scipy import ndimage
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline

import skfmri
from skfmri import NiftiSamples, NiftiSlabRotator, VoxelZScorer, clean_runs
from skfmri.cli.commands import main
from skfmri.evaluation import linear_baseline
from skfmri.evaluation.fingerprints import parameters_of
from skfmri.persistence import model_card
from skfmri.preprocessing.slab import voxels_of_slab
from skfmri.preprocessing.zscore import choose_thresholds
from skfmri.resampling import needed_voxels
from skfmri.samples.cleaned_files import blocks_of
from skfmri.samples.nifti import origin_of
from skfmri.spatial import rotation_matrix

SHAPE = (17, 12, 19)
AFFINE = np.array([[-3.3, 0, 0, 30], [0, 3.1, 0, -12], [0, 0, 4.7, -20], [0, 0, 0, 1]])
# Moves the origin of an affine.
CORNER = np.array([[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]])
INTERPOLATIONS = ("continuous", "linear", "nearest")


def head(count=6, seed=0):
    """Return noisy volumes that are zero outside of an ellipsoid."""
    rng = np.random.default_rng(seed)
    grid = np.meshgrid(*[np.linspace(-1, 1, length) for length in SHAPE], indexing="ij")
    inside = sum(axis**2 for axis in grid) < 0.8
    return (inside * (1 + 0.3 * rng.normal(size=(count, *SHAPE)))).astype(np.float32)


def samples_of(volumes, affine=AFFINE):
    labels = np.array(["closed", "open"])[np.arange(len(volumes)) % 2]
    return NiftiSamples.from_array(volumes, affine, y=labels, groups=np.arange(len(volumes)) // 2)


def mask_on(affine, shape, centre=(-2.0, 6.0, 20.0), radii=(9.0, 7.0, 14.0), value=1):
    """Return an ellipsoid, given in mm, on any grid."""
    voxels = np.moveaxis(np.indices(shape), 0, -1)
    places = nibabel.affines.apply_affine(affine, voxels)
    inside = (((places - centre) / radii) ** 2).sum(axis=-1) < 1
    return nibabel.Nifti1Image((value * inside).astype(np.int16), affine)


def finer_grid():
    affine = rotation_matrix(0.2, "z") @ rotation_matrix(-0.1, "y") @ np.diag([2.0, 1.7, 2.2, 1])
    affine[:3, 3] += [-40, -30, -10]
    return affine, (41, 44, 40)


@pytest.fixture
def samples():
    return samples_of(head())


@pytest.fixture
def mask():
    return mask_on(*finer_grid())


@pytest.fixture
def atlas():
    """Three regions: 3 and 17 in the head, 40 far away."""
    image = mask_on(AFFINE, SHAPE, value=17)
    values = np.asanyarray(image.dataobj).copy()
    values[4:7, 3:6, 4:8] = 3
    values[0, 0, 0] = 40
    return nibabel.Nifti1Image(values, AFFINE)


def with_nilearn(volumes, mask, angle, interpolation, slab):
    """Return what nilearn makes of it: both turned, cropped and cut alike, then zero outside."""
    rotation = rotation_matrix(angle, "x")
    turned = nibabel.Nifti1Image(np.moveaxis(volumes, 0, -1).astype(float), rotation @ AFFINE)
    options = {"copy_header": True, "force_resample": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rotated = resample_img(turned, AFFINE, interpolation=interpolation, **options)
        cropped, box = crop_img(rotated, return_offset=True)
        turned = nibabel.Nifti1Image(mask.get_fdata(), rotation @ mask.affine)
        region = resample_img(
            turned, AFFINE, rotated.shape[:3], interpolation="nearest", **options
        ).get_fdata()[tuple(box[:3])]
    slices = slice(None) if slab is None else slice(*slab)
    region, slabs = region[..., slices] > 0, np.moveaxis(cropped.get_fdata(), -1, 0)[..., slices]
    place = ndimage.find_objects(region.astype(int))[0]
    return (slabs * region)[:, *place], region[place]


class TestRegion:
    @pytest.mark.parametrize("interpolation", INTERPOLATIONS)
    @pytest.mark.parametrize("slab", [None, (5, 9)])
    @pytest.mark.parametrize("angle", [0.35, -0.2])
    def test_equals_nilearn_with_the_mask_applied_last(self, mask, angle, slab, interpolation):
        volumes = head()
        expected, region = with_nilearn(volumes, mask, angle, interpolation, slab)
        rotator = NiftiSlabRotator(angle, slab=slab, interpolation=interpolation, mask=mask)
        slabs = rotator.fit_transform(samples_of(volumes))
        np.testing.assert_array_equal(rotator.slab_mask_, region)
        np.testing.assert_allclose(slabs, expected, rtol=0, atol=1e-5 * np.ptp(volumes))

    def test_a_voxel_has_the_value_that_it_has_without_a_mask(self, samples, mask):
        whole = NiftiSlabRotator(slab=None).fit(samples)
        rotator = NiftiSlabRotator(slab=None, mask=mask).fit(samples)
        assert rotator.slab_mask_.dtype == bool
        assert rotator.slab_mask_.shape == rotator.slab_shape_
        assert whole.slab_mask_ is None
        place = tuple(
            slice(first - start, end - start)
            for (first, end), (start, _) in zip(rotator.slab_box_, whole.slab_box_, strict=True)
        )
        cut = whole.transform(samples)[:, *place]
        expected = np.where(rotator.slab_mask_, cut, 0)
        np.testing.assert_allclose(rotator.transform(samples), expected, atol=1e-6)
        # The box is as large as the region.
        for axis in range(3):
            others = tuple(other for other in range(3) if other != axis)
            assert rotator.slab_mask_.any(axis=others)[[0, -1]].all()

    def test_blanking_the_images_instead_lets_splines_ring(self, samples):
        rotator = NiftiSlabRotator(slab=None, mask=mask_on(AFFINE, SHAPE)).fit(samples)
        blanked = np.asarray(samples) * (rotator.mask.get_fdata() != 0)
        before = NiftiSlabRotator(slab=None, crop=False).fit(samples_of(blanked))
        rings = np.abs(before.transform(samples_of(blanked))[0]) > 1e-3
        n_region = np.count_nonzero(rotator.slab_mask_)
        assert rings.sum() > 2 * n_region
        assert np.count_nonzero(rotator.transform(samples)[0]) == n_region

    @pytest.mark.parametrize("reference", ["crop", "grid"])
    def test_slices_are_counted_as_without_it(self, samples, mask, reference):
        options = {"slab": (6, 9), "slab_reference": reference}
        without = NiftiSlabRotator(**options).fit(samples)
        rotator = NiftiSlabRotator(**options, mask=mask).fit(samples)
        assert rotator.crop_ == without.crop_
        assert rotator.slab_box_[2] == without.slab_box_[2]
        np.testing.assert_allclose(
            rotator.to_nifti(rotator.slab_mask_).affine[:3, :3], without.slab_affine_[:3, :3]
        )

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
    @pytest.mark.parametrize("flipped", [0, 1, 2])
    def test_the_order_of_voxels_in_the_mask_does_not_matter(self, samples, mask, order, flipped):
        expected = NiftiSlabRotator(slab=None, mask=mask).fit(samples).slab_mask_
        values = np.flip(mask.get_fdata(), flipped)
        turned = np.eye(4)
        turned[flipped, flipped], turned[flipped, 3] = -1, values.shape[flipped] - 1
        permuted = np.eye(4)
        permuted[:3, :3] = np.eye(3)[:, order]
        image = nibabel.Nifti1Image(
            np.transpose(values, order).astype(np.uint8), mask.affine @ turned @ permuted
        )
        found = NiftiSlabRotator(slab=None, mask=image).fit(samples)
        np.testing.assert_array_equal(found.slab_mask_, expected)

    def test_a_mask_on_the_grid_of_the_images_is_taken_voxel_by_voxel(self, samples):
        image = mask_on(AFFINE, SHAPE)
        rotator = NiftiSlabRotator(0, slab=None, crop=False, mask=image).fit(samples)
        inside = image.get_fdata() > 0
        place = tuple(slice(*span) for span in rotator.slab_box_)
        np.testing.assert_array_equal(inside[place], rotator.slab_mask_)
        assert rotator.slab_mask_.sum() == inside.sum()
        slabs = rotator.transform(samples)
        np.testing.assert_array_equal(slabs, (np.asarray(samples) * inside)[:, *place])

    def test_a_mask_that_fills_its_grid_reaches_to_the_faces_of_its_voxels(self):
        # One voxel of 12 mm holds the centres of 3 x 3 x 3 voxels of 4 mm, none of them at its own.
        affine, coarse = np.diag([4.0, 4, 4, 1]), np.diag([12.0, 12, 12, 1])
        coarse[:3, 3] = [16, 20, 24]
        rng = np.random.default_rng(0)
        samples = samples_of(rng.random((2, 9, 10, 11), np.float32), affine)
        image = nibabel.Nifti1Image(np.ones((1, 1, 1), np.uint8), coarse)
        rotator = NiftiSlabRotator(0, slab=None, mask=image).fit(samples)
        assert rotator.slab_box_ == ((3, 6), (4, 7), (5, 8))
        assert rotator.slab_mask_.all()

    def test_a_region_ends_where_the_images_end(self):
        samples = samples_of(np.ones((2, *SHAPE), np.float32))
        whole = mask_of(np.ones((30, 30, 30), np.uint8), np.diag([8.0, 8, 8, 1]) - 120 * CORNER)
        with pytest.warns(UserWarning, match="is outside the images"):
            rotator = NiftiSlabRotator(slab=None, interpolation="linear", mask=whole).fit(samples)
        assert not rotator.slab_mask_.all()
        np.testing.assert_array_equal(rotator.transform(samples)[0] > 0, rotator.slab_mask_)

    @pytest.mark.parametrize("angle", [0.1, 0.35])
    @pytest.mark.parametrize("size", [2.7, 3.3])
    def test_ties_between_voxels_do_not_depend_on_rounding(self, angle, size):
        # Every centre is between two voxels of the mask along each axis, but for rounding.
        affine = rotation_matrix(angle, "z") @ rotation_matrix(angle / 2, "x")
        affine @= np.diag([size, size, size, 1])
        affine[:3, 3] = [-31.7, -40.3, 12.9]
        half = np.diag([0.5, 0.5, 0.5, 1])
        half[:3, 3] = -0.25
        values = np.zeros((20, 22, 24), np.uint8)
        values[7:14, 7:14, 7:14] = 1
        samples = samples_of(np.random.default_rng(0).random((2, 9, 10, 11), np.float32), affine)
        mask = nibabel.Nifti1Image(values, affine @ half)
        rotator = NiftiSlabRotator(0, slab=None, mask=mask).fit(samples)
        # Voxel i lies between 2 i and 2 i + 1, and takes the lower one.
        assert rotator.slab_box_ == ((4, 7), (4, 7), (4, 7))
        assert rotator.slab_mask_.all()

    @pytest.mark.parametrize("label", [3, [3, 17], (17, 3), np.array([17])])
    def test_labels_choose_regions_of_an_atlas(self, samples, atlas, label):
        values = np.asanyarray(atlas.dataobj)
        chosen = nibabel.Nifti1Image(np.isin(values, label).astype(np.uint8), AFFINE)
        expected = NiftiSlabRotator(slab=None, mask=chosen).fit(samples)
        rotator = NiftiSlabRotator(slab=None, mask=atlas, label=label).fit(samples)
        assert rotator.slab_box_ == expected.slab_box_
        np.testing.assert_array_equal(rotator.slab_mask_, expected.slab_mask_)
        labels = np.unique(np.asanyarray(rotator.region_.dataobj))
        assert set(labels) - {0} == set(np.atleast_1d(label))

    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
    def test_the_type_and_the_value_of_a_mask_do_not_matter(self, samples, mask, dtype):
        expected = NiftiSlabRotator(slab=None, mask=mask).fit(samples).slab_mask_
        values = (7 * mask.get_fdata()).astype(dtype)
        if np.issubdtype(dtype, np.floating):
            values[values == 0] = np.nan
        image = nibabel.Nifti1Image(values[..., np.newaxis], mask.affine)
        found = NiftiSlabRotator(slab=None, mask=image).fit(samples).slab_mask_
        np.testing.assert_array_equal(found, expected)

    def test_voxels_that_are_not_finite_matter_in_the_region_alone(self, samples, mask):
        volumes = np.array(samples)
        rotator = NiftiSlabRotator(0, slab=None, crop=False, mask=mask).fit(samples)
        expected, start = rotator.transform(samples), [first for first, _ in rotator.slab_box_]
        inside, outside = (
            np.argwhere(found)[9] for found in (rotator.slab_mask_, ~rotator.slab_mask_)
        )
        volumes[1][tuple(start + inside)] = volumes[1][tuple(start + outside)] = np.nan
        volumes[2][tuple(start + outside)] = np.inf
        slabs = rotator.transform(samples_of(volumes))
        assert np.argwhere(np.isnan(slabs)).tolist() == [[1, *inside]]
        assert not slabs[:, ~rotator.slab_mask_].any()
        np.testing.assert_allclose(slabs[2], expected[2], atol=1e-5)


class TestBack:
    def test_voxels_outside_the_region_are_nan(self, samples, mask):
        rotator = NiftiSlabRotator(slab=None, mask=mask).fit(samples)
        whole = NiftiSlabRotator(slab=None).fit(samples)
        found = rotator.inverse_transform(np.where(rotator.slab_mask_, 3.0, 0)).get_fdata()
        inside = np.isfinite(found)
        in_slab = np.isfinite(whole.inverse_transform(np.ones(whole.slab_shape_)).get_fdata())
        assert inside.sum() == pytest.approx(rotator.slab_mask_.sum(), rel=0.1)
        assert not (inside & ~in_slab).any()
        # The zeros outside do not blur the edge.
        np.testing.assert_allclose(found[inside], 3, atol=1e-5)
        # Native centres well inside of the mask are there, those well outside are not.
        places = nibabel.affines.apply_affine(AFFINE, np.moveaxis(np.indices(SHAPE), 0, -1))
        depth = (((places - (-2.0, 6.0, 20.0)) / (9.0, 7.0, 14.0)) ** 2).sum(axis=-1)
        assert inside[depth < 0.3].all()
        assert not inside[depth > 3].any()

    def test_maps_that_are_not_finite_stay_so_in_the_region(self, samples, mask):
        rotator = NiftiSlabRotator(0, slab=None, mask=mask).fit(samples)
        values = np.where(rotator.slab_mask_, 2.0, np.nan)
        voxel = tuple(np.argwhere(rotator.slab_mask_)[3])
        values[voxel] = np.nan
        found = rotator.inverse_transform(values).get_fdata()
        assert np.isfinite(found).sum() == rotator.slab_mask_.sum() - 1

    @pytest.mark.parametrize("angle", [0, 0.3])
    def test_back_projection_is_the_transpose(self, samples, mask, angle):
        rotator = NiftiSlabRotator(angle, slab=None, mask=mask).fit(samples)
        # Within the range of the training values, so that nothing is clipped.
        volume = 0.1 * np.random.default_rng(1).random(SHAPE, np.float32)
        field = np.random.default_rng(2).normal(size=rotator.slab_shape_)
        forward = (rotator.transform(samples_of(volume[np.newaxis]))[0] * field).sum()
        backward = (volume * rotator.back_project(field).get_fdata()).sum()
        assert forward == pytest.approx(backward, rel=1e-4)


def mask_of(values, affine=AFFINE):
    return nibabel.Nifti1Image(np.asarray(values), affine)


def at(*place):
    """Return a mask of one large block at a place in mm."""
    affine = np.diag([6.0, 6, 6, 1])
    affine[:3, 3] = place
    return mask_of(np.ones((2, 2, 2), np.uint8), affine)


class TestErrors:
    @pytest.mark.parametrize(
        ("values", "label", "message"),
        [
            (np.zeros(SHAPE, np.uint8), None, "mask is empty: none of its 3876 voxels differs"),
            (np.full(SHAPE, np.nan), 3, "mask is empty"),
            (np.ones((*SHAPE, 2), np.uint8), None, r"holds 2 volumes, but a mask is one 3-D"),
            (np.ones(SHAPE[:2], np.uint8), None, "shape .* but volumes need a 3-D or 4-D"),
            (np.ones(SHAPE, np.complex64), None, "values of type complex64"),
            (np.eye(17, 12)[..., np.newaxis] * 0.3 + 0.1, None, "that are not whole numbers"),
            (np.eye(17, 12)[..., np.newaxis] * 0.3 + 0.7, 1, "that are not whole numbers"),
        ],
    )
    def test_what_is_not_one_mask_is_refused(self, samples, values, label, message):
        rotator = NiftiSlabRotator(mask=mask_of(values), label=label)
        with pytest.raises(ValueError, match=message):
            rotator.fit(samples)

    def test_an_atlas_without_a_label_is_refused_with_its_labels(self, samples, atlas):
        with pytest.raises(
            ValueError, match=r"several values .* an atlas: 3, 17, 40\. .* label=3, or a list"
        ):
            NiftiSlabRotator(mask=atlas).fit(samples)

    def test_labels_that_do_not_occur_are_named_with_those_that_do(self, samples, atlas):
        with pytest.raises(
            ValueError, match=r"no label 5, 18 in mask, whose labels are 3, 17, 40\."
        ):
            NiftiSlabRotator(mask=atlas, label=[18, 3, 5]).fit(samples)
        many = mask_of(np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.int32))
        with pytest.raises(ValueError, match=r"are 1, 2, .*, 20 and 3855 more\."):
            NiftiSlabRotator(mask=many, label=-1).fit(samples)

    @pytest.mark.parametrize("label", ["hippocampus", 1.5, True, [], [3, "4"]])
    def test_a_label_must_be_an_integer(self, samples, atlas, label):
        with pytest.raises(ValueError, match="label must be None, an int or a list of ints"):
            NiftiSlabRotator(mask=atlas, label=label).fit(samples)

    def test_the_background_is_no_region(self, samples, atlas):
        with pytest.raises(ValueError, match=r"label must not hold 0.*\[0, 3\]"):
            NiftiSlabRotator(mask=atlas, label=[0, 3]).fit(samples)

    def test_a_label_needs_an_atlas(self, samples):
        with pytest.raises(ValueError, match="label=3 chooses a region of an atlas, but mask is"):
            NiftiSlabRotator(label=3).fit(samples)

    def test_an_array_is_refused(self, samples):
        with pytest.raises(TypeError, match=r"image or a path, but is a ndarray.*Nifti1Image\("):
            NiftiSlabRotator(mask=np.ones(SHAPE)).fit(samples)

    def test_missing_and_damaged_files_are_named(self, samples, mask, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no file .*nothing\.nii"):
            NiftiSlabRotator(mask=tmp_path / "nothing.nii").fit(samples)
        path = tmp_path / "mask.nii.gz"
        nibabel.save(mask, path)
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(ValueError, match=r"mask\.nii\.gz cannot be read"):
            NiftiSlabRotator(mask=path).fit(samples)

    def test_a_mask_elsewhere_is_refused_with_both_places(self, samples):
        with pytest.raises(
            ValueError,
            match=r"outside the images: it covers x 200 to 206, y 0 to 6, z 0 to 6 mm, they "
            r"cover x -23 to 30, y -12 to 22, z -20 to 65 mm\. Check",
        ):
            NiftiSlabRotator(mask=at(200, 0, 0)).fit(samples)

    def test_a_mask_that_the_rotation_moves_off_the_grid_is_refused(self, samples):
        corner = np.zeros(SHAPE, np.uint8)
        corner[8, 0, -1] = 1
        with pytest.raises(ValueError, match="rotation moves the region in mask off the grid"):
            NiftiSlabRotator(0.35, slab=None, mask=mask_of(corner)).fit(samples)

    def test_a_region_between_voxel_centres_is_refused(self, samples):
        affine = np.eye(4)
        affine[:3, 3] = AFFINE[:3] @ [8.5, 6.5, 9.5, 1]
        with pytest.raises(
            ValueError, match=r"no voxel centre .* 1 voxels of 1 mm, those of the images have 4\.7"
        ):
            NiftiSlabRotator(0, mask=mask_of(np.ones((1, 1, 1), np.uint8), affine)).fit(samples)

    def test_a_region_without_data_is_refused(self, samples):
        volumes = np.array(samples)
        volumes[:, :8] = 0
        corner = np.zeros(SHAPE, np.uint8)
        corner[0:3] = 1
        rotator = NiftiSlabRotator(0, slab=None, mask=mask_of(corner))
        with pytest.raises(ValueError, match=r"planes that hold no data .* crop=False"):
            rotator.fit(samples_of(volumes))
        assert rotator.set_params(crop=False).fit(samples_of(volumes)).slab_mask_.any()

    @pytest.mark.parametrize("reference", ["crop", "grid"])
    def test_slices_without_the_region_are_refused_with_those_that_have_it(
        self, samples, mask, reference
    ):
        volumes = np.array(samples)
        volumes[..., :4] = 0
        samples = samples_of(volumes)
        rotator = NiftiSlabRotator(0, slab=(0, 2), slab_reference=reference, mask=mask)
        with pytest.raises(ValueError, match="reaches from slice") as caught:
            rotator.fit(samples)
        assert rotator.crop_[2][0] == 3
        first, last = map(int, re.search(r"slice (\d+) to slice (\d+)", str(caught.value)).groups())
        whole = clone(rotator).set_params(slab=None).fit(samples)
        exact = clone(rotator).set_params(slab=(first, last + 1)).fit(samples)
        assert exact.slab_box_ == whole.slab_box_

    def test_part_of_a_region_outside_the_images_is_said(self, samples):
        with pytest.warns(UserWarning, match=r"50% of the region in mask is outside") as caught:
            NiftiSlabRotator(0, slab=None, mask=at(-26, 0, 20)).fit(samples)
        assert caught[0].filename == __file__

    def test_part_of_a_region_outside_a_slab_that_nobody_chose_is_said(self, samples):
        image = mask_on(AFFINE, SHAPE, radii=(9, 7, 30))
        with pytest.warns(
            UserWarning, match=r"slab=\(12, 15\) is the default.*slab=None"
        ) as caught:
            NiftiSlabRotator(0, mask=image).fit(samples)
        assert caught[0].filename == __file__
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            NiftiSlabRotator(0, slab=(11, 15), mask=image).fit(samples)
            NiftiSlabRotator(0, slab=None, mask=image).fit(samples)

    def test_a_box_too_small_for_the_network_is_refused_in_words(self, samples):
        rotator = NiftiSlabRotator(0, slab=None, mask=mask_on(AFFINE, SHAPE))
        network = skfmri.SlabCNNClassifier(n_blocks=3, epochs=1)
        decoder = skfmri.DecodingPipeline([("slab", rotator), ("cnn", network)])
        with pytest.raises(
            ValueError, match=r"n_blocks=3 convolution blocks need .* a larger slab or region"
        ):
            decoder.fit(samples, samples.y)


class TestScikitLearn:
    def test_parameters_can_be_read_set_and_cloned(self, samples, atlas):
        rotator = NiftiSlabRotator(slab=None).set_params(mask=atlas, label=3)
        assert rotator.get_params()["mask"] is atlas
        copied = clone(rotator)
        assert copied.label == 3
        assert copied.fit(samples).slab_shape_ == rotator.fit(samples).slab_shape_
        assert rotator.mask is atlas

    def test_a_search_over_masks_and_labels_finds_the_region(self, atlas):
        volumes, labels = head(24), np.arange(24) % 2
        volumes[labels == 1] += 0.5 * (np.asanyarray(atlas.dataobj) == 3)
        samples = NiftiSamples.from_array(volumes, AFFINE, y=labels, groups=np.arange(24) // 4)
        pipeline = linear_baseline(
            Pipeline([("slab", NiftiSlabRotator(0, slab=None)), ("last", LogisticRegression())])
        )
        elsewhere = at(20, 15, 0)
        grid = [
            {"slab__mask": [elsewhere], "slab__label": [None]},
            {"slab__mask": [atlas], "slab__label": [3, 17]},
        ]
        search = GridSearchCV(pipeline, grid, cv=GroupKFold(3), error_score="raise")
        search.fit(samples, samples.y, groups=samples.groups)
        assert search.best_params_ == {"slab__mask": atlas, "slab__label": 3}
        assert search.best_score_ == 1

    @pytest.mark.parametrize("is_file", [False, True])
    def test_a_pickle_gives_the_same_slabs(self, samples, mask, tmp_path, is_file):
        if is_file:
            nibabel.save(mask, tmp_path / "mask.nii")
            mask = tmp_path / "mask.nii"
        rotator = NiftiSlabRotator(slab=None, mask=mask).fit(samples)
        again = pickle.loads(pickle.dumps(rotator))
        np.testing.assert_array_equal(again.transform(samples), rotator.transform(samples))
        assert joblib.hash(again) == joblib.hash(pickle.loads(pickle.dumps(again)))

    def test_a_hash_follows_the_content_of_a_mask(self, mask, tmp_path):
        path = tmp_path / "mask.nii.gz"
        nibabel.save(mask, path)
        for found in (joblib.hash, lambda rotator: parameters_of(rotator)["mask"]):
            by_path = NiftiSlabRotator(mask=str(path))
            before = found(by_path)
            assert found(clone(by_path)) == before
            os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))
            assert found(by_path) != before
            loaded = nibabel.load(path)
            before = found(NiftiSlabRotator(mask=loaded))
            loaded.get_fdata()
            assert found(NiftiSlabRotator(mask=loaded)) == before
            assert found(NiftiSlabRotator(mask=mask_on(*finer_grid(), radii=(5, 5, 5)))) != before

    def test_masks_in_the_grid_of_a_search_count_for_its_fingerprint(self, mask, tmp_path):
        path = tmp_path / "mask.nii"
        nibabel.save(mask, path)
        search = GridSearchCV(NiftiSlabRotator(), {"mask": [str(path)]})
        before = parameters_of(search)["param_grid"]
        os.utime(path, ns=(1, 1))
        assert parameters_of(search)["param_grid"] != before

    def test_a_cache_notices_that_the_file_was_rewritten(self, samples, mask, tmp_path):
        path = tmp_path / "mask.nii"
        nibabel.save(mask, path)
        pipeline = linear_baseline(
            Pipeline(
                [("slab", NiftiSlabRotator(slab=None, mask=str(path))), ("last", None)],
                memory=str(tmp_path / "cache"),
            )
        )
        before = pipeline.fit(samples, samples.y)["slab"].slab_shape_
        nibabel.save(mask_on(*finer_grid(), radii=(6, 6, 6)), path)
        os.utime(path, ns=(1, 1))
        assert pipeline.fit(samples, samples.y)["slab"].slab_shape_ != before


class TestSteps:
    def test_of_cleaned_runs_only_the_voxels_of_the_region_are_read(
        self, mask, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("SKFMRI_CACHE", str(tmp_path / "cache"))
        rng = np.random.default_rng(0)
        volumes = (100 + rng.normal(size=(20, *SHAPE))).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(np.moveaxis(volumes, 0, -1), AFFINE), tmp_path / "r.nii")
        cleaned = clean_runs(NiftiSamples(tmp_path / "r.nii"))
        data = NiftiSamples.from_array(np.asarray(cleaned), AFFINE)
        expected = NiftiSlabRotator(slab=None, mask=mask).fit(data).transform(data)
        asked, source = [], type(origin_of(cleaned))
        read = source.read

        def watched(self, volumes, blocks=None):
            asked.append(blocks)
            return read(self, volumes, blocks)

        monkeypatch.setattr(source, "read", watched)
        rotator = NiftiSlabRotator(slab=None, mask=mask).fit(cleaned)
        slabs = rotator.transform(cleaned)
        np.testing.assert_allclose(slabs, expected, atol=2e-5 * np.ptp(expected))
        needed = voxels_of_slab(rotator)
        assert needed.sum() < needed_voxels(rotator._operator).sum()
        assert asked
        assert all(np.array_equal(blocks, blocks_of(needed)) for blocks in asked)

    def test_voxels_outside_the_region_are_not_counted_as_silenced(self, samples, mask):
        slabs = NiftiSlabRotator(slab=None, mask=mask).fit_transform(samples)
        n_region = np.count_nonzero(slabs.any(axis=0))
        assert n_region < 0.8 * slabs[0].size
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            scorer = VoxelZScorer(std_threshold=0.05).fit(slabs)
        assert scorer.mask_.sum() <= n_region
        choices = choose_thresholds(slabs / 1000)
        assert choices["std_threshold"]["n_voxels"] <= n_region

    def test_the_linear_baseline_sees_the_same_region(self, samples, mask):
        rotator = NiftiSlabRotator(slab=None, mask=mask)
        pipeline = linear_baseline(Pipeline([("slab", rotator), ("last", None)]))
        weights = pipeline.fit(samples, samples.y)[-1].coef_.reshape(pipeline["slab"].slab_shape_)
        assert weights[pipeline["slab"].slab_mask_].any()
        assert not weights[~pipeline["slab"].slab_mask_].any()


class TestBundle:
    @pytest.fixture
    def saved(self, samples, atlas, tmp_path):
        path = tmp_path / "secret-folder" / "atlas.nii.gz"
        path.parent.mkdir()
        nibabel.save(atlas, path)
        rotator = NiftiSlabRotator(slab=None, mask=str(path), label=[3, 17])
        model = linear_baseline(Pipeline([("slab", rotator), ("last", None)]))
        model.fit(samples, samples.y)
        skfmri.save(model, tmp_path / "model.skfmri", samples=samples)
        path.unlink()
        return model, tmp_path / "model.skfmri"

    def test_holds_the_region_and_needs_no_file(self, saved, samples):
        model, path = saved
        loaded = skfmri.load(path)
        expected = model.predict_proba(samples)
        np.testing.assert_array_equal(loaded.predict_proba(samples), expected)
        fitted, again = model["slab"], loaded["slab"]
        np.testing.assert_array_equal(again.slab_mask_, fitted.slab_mask_)
        np.testing.assert_array_equal(again.region_.get_fdata(), fitted.region_.get_fdata())
        # Fitted again it has the same region.
        again.fit(samples)
        np.testing.assert_array_equal(again.slab_mask_, fitted.slab_mask_)
        assert again.slab_box_ == fitted.slab_box_
        skfmri.save(loaded, path.with_name("again.skfmri"))

    def test_names_no_folder(self, saved):
        _, path = saved
        assert b"secret-folder" not in path.read_bytes()
        members = skfmri.persistence.archive.read_archive(path)[1]
        assert not any(b"secret-folder" in content for content in members.values())

    def test_says_on_its_card_which_region_it_has(self, saved):
        model, path = saved
        card = model_card(path)
        assert f"- region: {model['slab'].slab_mask_.sum()} voxels in a box of" in card
        assert "label=[3, 17], mask='atlas.nii.gz'" in card

    def test_a_label_changed_since_the_fit_is_refused(self, saved, tmp_path):
        model, _ = saved
        model["slab"].label = 40
        with pytest.raises(ValueError, match=r"cannot be saved.*no label 40"):
            skfmri.save(model, tmp_path / "other.skfmri")


@pytest.fixture(scope="module")
def decoded(tmp_path_factory):
    """Results of ``skfmri decode --mask``, with the folder of its inputs."""
    folder = tmp_path_factory.mktemp("decoded")
    volumes = head(12)
    volumes[::2, 6:10, 4:8, 8:12] += 1
    nibabel.save(nibabel.Nifti1Image(np.moveaxis(volumes, 0, -1), AFFINE), folder / "v.nii")
    rows = [f"{'ab'[i % 2]},{i // 4}" for i in range(12)]
    (folder / "labels.csv").write_text("\n".join(["label,group", *rows]))
    nibabel.save(mask_on(*finer_grid(), value=17), folder / "atlas.nii.gz")
    options = [
        "--no-baseline",
        "--epochs",
        "1",
        "--n-blocks",
        "1",
        "--filters",
        "2",
        "--dense-units",
        "2",
    ]
    inputs = [str(folder / "v.nii"), "--labels", str(folder / "labels.csv"), "--quiet"]
    status = main(
        [
            *("decode", *inputs, *options, "--angle", "0.2", "--slab", "all"),
            *("--mask", f"{folder / 'atlas.nii.gz'}:17", "--out", str(folder / "results")),
        ]
    )
    assert status == 0
    return folder


class TestCommand:
    def test_the_record_names_the_region(self, decoded):
        record = json.loads((decoded / "results" / "settings.json").read_text())
        assert record["settings"]["mask"] == str(decoded / "atlas.nii.gz")
        assert record["settings"]["label"] == 17
        parameters = record["pipeline"]["steps"]["slab"]["parameters"]
        assert parameters["mask"] == str(decoded / "atlas.nii.gz")
        assert parameters["label"] == 17
        assert 0 < record["slab"]["n_in_region"] < np.prod(record["slab"]["shape"])

    def test_maps_are_nan_outside_the_region(self, decoded):
        saliency = nibabel.load(decoded / "results" / "saliency.nii.gz").get_fdata()
        region = nibabel.load(decoded / "results" / "slab.nii.gz").get_fdata() > 0
        np.testing.assert_array_equal(np.isfinite(saliency), region)
        record = json.loads((decoded / "results" / "settings.json").read_text())
        assert region.sum() == pytest.approx(record["slab"]["n_in_region"], rel=0.2)

    def test_the_report_says_so(self, decoded):
        page = (decoded / "results" / "report.html").read_text(encoding="utf-8")
        text = " ".join(re.sub(r"<[^>]+>", " ", page).split())
        record = json.loads((decoded / "results" / "settings.json").read_text())
        n_voxels = record["slab"]["n_in_region"]
        assert "Region label 17 of atlas.nii.gz" in text
        assert f", {n_voxels} of them in the region, and begins at slice" in text
        assert "The slab was cut to the box of a region (label 17 of atlas.nii.gz, " in text
        assert "Voxels outside the region were set to 0 after the resampling." in text
        assert "with the region in the slab marked" in page

    @pytest.mark.parametrize(
        ("mask", "message"),
        [
            ("atlas.nii.gz:3", "There is no label 3 in atlas.nii.gz, whose labels are 17."),
            ("nothing.nii:3", "There is no file nothing.nii."),
            ("atlas.nii.gz:left", "'left' after the colon is not a label such as 17"),
            ("atlas.nii.gz:0", "label must not hold 0"),
            ("two.nii", "Choose a region with --mask FILE:1, or a list of several."),
        ],
    )
    def test_mistakes_are_named_before_anything_is_read(
        self, decoded, monkeypatch, capsys, mask, message
    ):
        monkeypatch.chdir(decoded)
        values = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 3
        nibabel.save(mask_of(values.astype(np.uint8)), "two.nii")
        monkeypatch.setattr("skfmri.cli.decode.read_inputs", None)
        argv = ["decode", "v.nii", "--labels", "labels.csv", "--out", "x", "--mask", mask]
        assert main(argv) == 2
        assert message in " ".join(capsys.readouterr().err.split())
