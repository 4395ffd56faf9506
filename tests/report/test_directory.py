import json

import nibabel
import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from skfmri import NiftiSamples, NiftiSlabRotator, SlabCNNClassifier
from skfmri.inspection import saliency_image
from skfmri.report.directory import (
    MEAN,
    SALIENCY,
    SIGN_CONSISTENCY,
    SLAB,
    ResultDirectory,
    fold_map,
    names_of_run,
    save_fold_map,
    write_anatomy,
    write_mean_maps,
)

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
    options = {"method": "gradient_x_input"}
    save_fold_map(tmp_path, options, 4, pipeline, samples[8:], samples.y[8:])
    assert fold_map(tmp_path, 4).name == "fold005.nii.gz"
    expected = saliency_image(pipeline, samples[8:], samples.y[8:], method="gradient_x_input")
    np.testing.assert_array_equal(read(fold_map(tmp_path, 4)), expected.get_fdata())


def test_maps_are_averaged_over_the_folds(tmp_path):
    maps = np.array([[4.0, -2, 1, 0], [2.0, 2, 1, 0]], np.float32).reshape(2, 2, 2, 1)
    fold_map(tmp_path, 0).parent.mkdir()
    for fold, volume in enumerate(maps):
        nibabel.save(nibabel.Nifti1Image(volume, AFFINE), fold_map(tmp_path, fold))
    write_mean_maps(tmp_path, n_folds=2)
    assert read(tmp_path / SALIENCY).ravel().tolist() == [3, 0, 1, 0]
    assert read(tmp_path / SIGN_CONSISTENCY).ravel().tolist() == [1, 0, 1, 0]


def test_a_mean_over_fewer_maps_than_folds_is_an_error(tmp_path):
    fold_map(tmp_path, 0).parent.mkdir()
    for fold in (0, 2):
        image = nibabel.Nifti1Image(np.ones((2, 2, 1), np.float32), AFFINE)
        nibabel.save(image, fold_map(tmp_path, fold))
    with pytest.raises(ValueError, match=r"1 of 3 maps are missing from .*, such as fold002.nii"):
        write_mean_maps(tmp_path, n_folds=3)
    assert [path.name for path in tmp_path.iterdir()] == ["maps"]


class TestResultDirectory:
    def fill(self, folder, *names):
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(f"this is {name}")

    def begin(self, folder, **options):
        """Do what a run does before its first fold."""
        with ResultDirectory(folder) as directory:
            directory.claim(names_of_run(), **options)
            directory.clear()
            directory.register(names_of_run(2), "decode")

    def test_it_is_made_and_its_lock_is_gone_afterwards(self, tmp_path):
        self.begin(tmp_path / "new" / "results")
        assert [path.name for path in (tmp_path / "new" / "results").iterdir()] == ["manifest.json"]

    def test_only_what_an_earlier_run_listed_is_deleted(self, tmp_path):
        self.begin(tmp_path)
        own = ["folds.csv", "ledger.jsonl", "maps/fold001.nii.gz"]
        others = ["notes.txt", "maps/mine.nii.gz", "maps/fold001.nii", "sub/folds.csv"]
        self.fill(tmp_path, *own, *others)
        with pytest.raises(ValueError, match=r"already holds ledger.jsonl, folds.csv, maps\."):
            self.begin(tmp_path)
        assert all((tmp_path / name).exists() for name in own + others)
        self.begin(tmp_path, replace=True)
        assert not any((tmp_path / name).exists() for name in own)
        for name in others:
            assert (tmp_path / name).read_text() == f"this is {name}"

    @pytest.mark.parametrize("name", ["folds.csv", "maps/scan.nii.gz", "maps", "ledger.jsonl"])
    @pytest.mark.parametrize("replace", [False, True])
    def test_files_of_somebody_else_are_refused_by_name(self, tmp_path, name, replace):
        self.fill(tmp_path, name)
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(ValueError, match=rf"holds {name.split('/')[0]}, which no run"):
            self.begin(tmp_path, replace=replace)
        assert sorted(tmp_path.rglob("*")) == before

    def test_a_dangling_link_of_such_a_name_counts_as_a_file(self, tmp_path):
        (tmp_path / "folds.csv").symlink_to(tmp_path / "nowhere")
        with pytest.raises(ValueError, match=r"holds folds.csv, which no run"):
            self.begin(tmp_path, replace=True)

    def test_a_map_that_is_not_of_the_run_is_refused_even_in_its_own_folder(self, tmp_path):
        self.begin(tmp_path)
        self.fill(tmp_path, "maps/fold001.nii.gz", "maps/fold003.nii.gz")
        with ResultDirectory(tmp_path) as directory:
            directory.claim(names_of_run(), replace=True)
            with pytest.raises(ValueError, match=r"holds maps/fold003.nii.gz, which no run"):
                directory.claim(names_of_run(3), replace=True)

    def test_an_altered_manifest_leads_to_no_other_file(self, tmp_path):
        out = tmp_path / "out"
        self.begin(out)
        outside = tmp_path / "precious.txt"
        outside.write_text("")
        manifest = json.loads((out / "manifest.json").read_text())
        manifest["files"] += ["../precious.txt", str(outside), "maps/../../precious.txt", 3]
        (out / "manifest.json").write_text(json.dumps(manifest))
        self.begin(out, replace=True)
        assert outside.exists()

    @pytest.mark.parametrize(
        "text", ["", "[]", '{"format": "npm"}', '{"format": "skfmri results"}']
    )
    def test_a_manifest_of_something_else_is_refused(self, tmp_path, text):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(ValueError, match=r"manifest.json is not the manifest of results"):
            self.begin(tmp_path, replace=True)
        assert (tmp_path / "manifest.json").read_text() == text

    def test_parts_of_files_that_a_killed_run_left_are_deleted_and_no_others(self, tmp_path):
        self.begin(tmp_path)
        parts = [".0a1b2c3d.folds.csv", "maps/.00000000.fold001.nii.gz", ".ffffffff.manifest.json"]
        others = [
            ".0a1b2c3d.notes.txt",
            ".0A1B2C3D.folds.csv",
            ".folds.csv",
            "maps/.fold001.nii.gz",
        ]
        others += [".0a1b2c3d.folds.csv.bak", ".0a1b2c3d.model.skfmri"]
        self.fill(tmp_path, *parts, *others)
        with ResultDirectory(tmp_path):
            assert not any((tmp_path / name).exists() for name in parts)
            assert all((tmp_path / name).exists() for name in others)

    def test_a_second_run_is_refused_until_the_first_ends(self, tmp_path):
        with ResultDirectory(tmp_path):
            with pytest.raises(ValueError, match=r"in use by another run of skfmri"):
                self.begin(tmp_path, replace=True)
            assert not (tmp_path / "manifest.json").exists()
        self.begin(tmp_path)
