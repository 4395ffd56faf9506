"""What headers say of the space of images, from the first input to every image made from it."""

import os
import pickle

import nibabel
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

import skfmri
from skfmri import SlabCNNClassifier
from skfmri.inspection import saliency_image, sign_consistency_image
from skfmri.preprocessing import NiftiSlabRotator, clean_runs
from skfmri.report.directory import save_fold_map, write_anatomy, write_mean_maps
from skfmri.samples import NiftiSamples
from skfmri.spatial import rotation_matrix

SHAPE = (9, 10, 11)
AFFINE = np.array([[-3.0, 0, 0, 12], [0, 3, 0, -14], [0, 0, 4, -18], [0, 0, 0, 1]])
OBLIQUE = rotation_matrix(0.2, "y") @ rotation_matrix(-0.1, "z") @ AFFINE
SCANNER = rotation_matrix(0.3, "x") @ np.diag([3.0, 3, 4, 1])


def volumes_of(count=6, seed=0):
    return np.random.default_rng(seed).normal(5, 1, (count, *SHAPE)).astype(np.float32)


def image_with(sform_code, qform_code, unit="mm", affine=OBLIQUE, qform=None, count=6):
    """Return an image whose header names its space by these codes."""
    header = nibabel.Nifti1Header()
    header.set_data_shape(SHAPE)
    header.set_sform(affine, sform_code)
    header.set_qform(affine if qform is None else qform, qform_code)
    header.set_xyzt_units(unit, "sec")
    data = np.moveaxis(volumes_of(count), 0, -1)
    return nibabel.Nifti1Image(data, header.get_best_affine(), header)


def saved(image, folder):
    """Return what another program reads from the file of an image."""
    nibabel.save(image, folder / "saved.nii")
    return nibabel.load(folder / "saved.nii")


def codes(image):
    header = image.header
    return int(header["sform_code"]), int(header["qform_code"]), header.get_xyzt_units()[0]


def pickled(value):
    return pickle.loads(pickle.dumps(value))


def images_made(samples, rotator):
    """Return each kind of image that is made on the native grid, and the one of the slab."""
    maps = np.ones(rotator.slab_shape_)
    native = [
        samples[0],
        rotator.inverse_transform(maps),
        rotator.back_project(np.stack([maps] * 2)),
    ]
    return native, rotator.to_nifti(maps)


@pytest.mark.parametrize("as_file", [False, True], ids=["memory", "file"])
@pytest.mark.parametrize(
    ("sform_code", "qform_code", "unit"),
    [(4, 4, "mm"), (4, 0, "mm"), (1, 1, "micron"), (3, 1, "meter"), (0, 1, "mm"), (5, 2, "mm")],
)
def test_codes_and_unit_of_the_input_reach_all_images(
    tmp_path, sform_code, qform_code, unit, as_file
):
    image = image_with(sform_code, qform_code, unit)
    source = image
    if as_file:
        source = tmp_path / "bold.nii.gz"
        nibabel.save(image, source)
    samples = NiftiSamples(source)
    rotator = NiftiSlabRotator(slab=(2, 5)).fit(samples)
    native, slab = images_made(samples, rotator)
    for made, affine in [(made, image.affine) for made in native] + [(slab, rotator.slab_affine_)]:
        read = saved(made, tmp_path)
        assert codes(read) == codes(made) == (sform_code, qform_code, unit)
        np.testing.assert_allclose(read.affine, affine, atol=1e-4)
        np.testing.assert_allclose(read.header.get_zooms()[:3], (3, 3, 4), atol=1e-5)
        assert read.get_data_dtype() == np.float32


def test_a_qform_of_the_scanner_stays_with_the_grid_that_it_describes(tmp_path):
    samples = NiftiSamples(image_with(4, 1, qform=SCANNER))
    native, slab = images_made(samples, NiftiSlabRotator(slab=(2, 5)).fit(samples))
    for made in native:
        read = saved(made, tmp_path)
        assert codes(read) == (4, 1, "mm")
        np.testing.assert_allclose(read.affine, OBLIQUE, atol=1e-4)
        np.testing.assert_allclose(read.header.get_qform(), SCANNER, atol=1e-4)
    # The slab lies elsewhere on the scanner's bed, and a qform could not say where.
    assert codes(saved(slab, tmp_path)) == (4, 0, "mm")


def test_an_input_that_says_nothing_is_aligned_as_nibabel_has_it(tmp_path):
    array = NiftiSamples.from_array(volumes_of(), AFFINE)
    for samples, unit in ((array, "mm"), (NiftiSamples(image_with(0, 0, "unknown")), "unknown")):
        native, slab = images_made(samples, NiftiSlabRotator(slab=(2, 5)).fit(samples))
        for made in [*native, slab]:
            assert codes(saved(made, tmp_path)) == (2, 0, unit)


@pytest.mark.parametrize(("name", "value"), [("quatern_b", np.nan), ("sform_code", 99)])
def test_a_damaged_header_does_not_reach_other_images(tmp_path, name, value):
    image = image_with(4, 1)
    image.header[name] = value
    samples = NiftiSamples(image)
    native, slab = images_made(samples, NiftiSlabRotator(slab=(2, 5)).fit(samples))
    for made in [*native, slab]:
        read = saved(made, tmp_path)
        assert np.isfinite(read.header.get_qform()).all()
        assert max(codes(read)[:2]) > 0
        assert np.isfinite(read.affine).all()


def test_subsets_pickles_cleaned_runs_and_bundles_keep_the_space(tmp_path):
    samples = NiftiSamples(image_with(4, 4), groups=np.repeat([0, 1], 3))
    subset = pickled(samples[3:])
    cleaned = clean_runs(NiftiSamples(image_with(4, 4)), detrend=True)
    assert codes(subset[0]) == codes(cleaned[0]) == (4, 4, "mm")
    rotator = NiftiSlabRotator(slab=(2, 5)).fit(cleaned)
    skfmri.save(rotator, tmp_path / "rotator.skfmri")
    for kept in (skfmri.load(tmp_path / "rotator.skfmri"), pickled(rotator)):
        native, slab = images_made(subset, kept)
        assert {codes(made) for made in [*native, slab]} == {(4, 4, "mm")}
        assert kept.inverse_transform(np.ones(kept.slab_shape_)).shape == SHAPE


def test_a_rotator_of_version_0_1_writes_aligned_images():
    samples = NiftiSamples(image_with(4, 4))
    rotator = NiftiSlabRotator(slab=(2, 5)).fit(samples)
    state = rotator.__skfmri_getstate__()
    del state["_space"]
    old = clone(rotator)
    old.__skfmri_setstate__(state)
    assert codes(old.to_nifti(np.ones(old.slab_shape_))) == (2, 0, "mm")
    np.testing.assert_array_equal(old.transform(samples), rotator.transform(samples))


class TestLists:
    def test_volumes_keep_their_space_and_maps_have_that_of_the_first_image(self, tmp_path):
        first, other = image_with(4, 4, count=2), image_with(1, 1, count=3)
        nibabel.save(first, tmp_path / "first.nii")
        nibabel.save(other, tmp_path / "other.nii")
        samples = NiftiSamples([tmp_path / "first.nii", tmp_path / "other.nii"])
        assert [codes(samples[i])[0] for i in (0, 1, 2, 4)] == [4, 4, 1, 1]
        message = (
            r"headers of 1 of 2 images name a different space than the first: \S*other.nii says "
            r"scanner in mm, \S*first.nii says mni in mm"
        )
        with pytest.warns(UserWarning, match=message) as caught:
            rotator = NiftiSlabRotator(slab=(2, 5)).fit(samples)
        assert [os.path.basename(warning.filename) for warning in caught] == ["test_space.py"]
        assert codes(rotator.to_nifti(np.ones(rotator.slab_shape_)))[:2] == (4, 4)

    @pytest.mark.filterwarnings("error::UserWarning")
    def test_scanner_coordinates_of_one_subject_do_not_become_those_of_all(self):
        turned = rotation_matrix(-0.2, "z") @ SCANNER
        images = [image_with(4, 1, qform=qform) for qform in (SCANNER, turned)]
        samples = NiftiSamples(images)
        rotator = NiftiSlabRotator(slab=(2, 5)).fit(samples)
        assert codes(rotator.inverse_transform(np.ones(rotator.slab_shape_))) == (4, 0, "mm")
        np.testing.assert_allclose(samples[7].header.get_qform(), turned, atol=1e-4)
        alone = NiftiSlabRotator(slab=(2, 5)).fit(samples[6:])
        image = alone.inverse_transform(np.ones(alone.slab_shape_))
        np.testing.assert_allclose(image.header.get_qform(), turned, atol=1e-4)


def test_files_of_a_run_and_saliency_images_have_the_space_of_the_volumes(tmp_path, tiny):
    samples = NiftiSamples(image_with(4, 4, count=8), y=list("abababab"), groups=[0, 0, 1, 1] * 2)
    decoder = SlabCNNClassifier(random_state=0, **tiny)
    pipeline = make_pipeline(NiftiSlabRotator(0.1, slab=(2, 6)), decoder)
    for fold, group in enumerate((0, 1)):
        train = samples[samples.groups != group]
        test = samples[samples.groups == group]
        pipeline.fit(train, train.y)
        save_fold_map(tmp_path, {"method": "gradient"}, fold, pipeline, test, test.y)
    write_anatomy(tmp_path, samples, pipeline[0])
    write_mean_maps(tmp_path, 2)
    made = [nibabel.load(path) for path in sorted(tmp_path.rglob("*.nii.gz"))]
    assert len(made) == 6
    options = {"method": "gradient"}
    made.append(saliency_image(pipeline, samples, **options))
    made.append(sign_consistency_image([pipeline, pipeline], samples, **options))
    for image in made:
        assert codes(image) == (4, 4, "mm")
        assert image.get_data_dtype() == np.float32
        np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-4)
    inside = nibabel.load(tmp_path / "slab.nii.gz").get_fdata() == 1
    for name in ("saliency", "sign_consistency"):
        values = nibabel.load(tmp_path / f"{name}.nii.gz").get_fdata()
        assert np.isfinite(values[inside]).all()
        assert 0.3 < np.isnan(values).mean() < 0.9
