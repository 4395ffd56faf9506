import nibabel
import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from skfmri import NiftiSamples, NiftiSlabRotator, SlabCNNClassifier
from skfmri._results import (
    LEDGER,
    MEAN,
    SALIENCY,
    SETTINGS,
    SIGN_CONSISTENCY,
    SLAB,
    fold_map,
    remove_run,
    save_fold_map,
    write_anatomy,
    write_mean_maps,
)
from skfmri.inspection import saliency_image

AFFINE = np.array([[-3.0, 0, 0, 9], [0, 0, 4, -8], [0, 2, 0, 5], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def samples():
    volumes = np.random.default_rng(0).normal(5, 1, (12, 7, 8, 9)).astype(np.float32)
    return NiftiSamples.from_array(volumes, AFFINE, y=np.arange(12) % 2)


@pytest.fixture(scope="module")
def pipeline(samples, tiny):
    steps = NiftiSlabRotator(0.2, slab=(2, 5)), SlabCNNClassifier(random_state=0, **tiny)
    return make_pipeline(*steps).fit(samples[:8], samples.y[:8])


def read(path):
    image = nibabel.load(path)
    assert image.get_data_dtype() == np.float32
    np.testing.assert_array_equal(image.affine, AFFINE)
    return image.get_fdata()


def test_the_mean_volume_and_the_slab_lie_on_the_native_grid(samples, pipeline, tmp_path):
    volumes = np.array(samples)
    volumes[3, 2, 2, 2] = np.nan
    damaged = NiftiSamples.from_array(volumes, AFFINE)
    write_anatomy(tmp_path, damaged, pipeline[0])
    mean = np.nan_to_num(volumes).mean(axis=0, dtype=float)
    np.testing.assert_allclose(read(tmp_path / MEAN), mean, rtol=1e-6)
    ones = pipeline[0].inverse_transform(np.ones(pipeline[0].slab_shape_)).get_fdata()
    found = read(tmp_path / SLAB)
    np.testing.assert_array_equal(found, np.isfinite(ones))
    assert 0.1 < found.mean() < 0.9


def test_the_map_of_a_fold_is_that_of_its_samples(samples, pipeline, tmp_path):
    options = {"method": "gradient_x_input", "n_steps": 1}
    save_fold_map(tmp_path, options, 4, pipeline, samples[8:], samples.y[8:])
    assert fold_map(tmp_path, 4).name == "fold005.nii.gz"
    expected = saliency_image(pipeline, samples[8:], samples.y[8:], method="gradient_x_input")
    np.testing.assert_array_equal(read(fold_map(tmp_path, 4)), expected.get_fdata())


def test_maps_are_averaged_over_the_folds_that_have_one(tmp_path):
    maps = np.array([[4.0, -2, 1, 0], [2.0, 2, 1, 0]], np.float32).reshape(2, 2, 2, 1)
    fold_map(tmp_path, 0).parent.mkdir()
    for fold, volume in zip((0, 2), maps, strict=True):
        nibabel.save(nibabel.Nifti1Image(volume, AFFINE), fold_map(tmp_path, fold))
    assert write_mean_maps(tmp_path, n_folds=3) == 2
    assert read(tmp_path / SALIENCY).ravel().tolist() == [3, 0, 1, 0]
    assert read(tmp_path / SIGN_CONSISTENCY).ravel().tolist() == [1, 0, 1, 0]


def test_without_maps_of_folds_there_is_no_mean(tmp_path):
    assert write_mean_maps(tmp_path, n_folds=3) == 0
    assert not list(tmp_path.iterdir())


def test_a_new_run_takes_nothing_over_from_an_earlier_one(tmp_path):
    fold_map(tmp_path, 0).parent.mkdir()
    kept, gone = [tmp_path / SETTINGS, tmp_path / "notes.txt"], [tmp_path / SALIENCY]
    gone += [tmp_path / LEDGER, fold_map(tmp_path, 0)]
    for path in kept + gone:
        path.write_text("")
    remove_run(tmp_path)
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in gone)
