"""What the command says of the disk that a run will take."""

import re

import nibabel
import numpy as np
import pytest

import skfmri.cli.disk
from skfmri.cli.arguments import make_parser
from skfmri.cli.disk import describe_disk
from skfmri.preprocessing import NiftiSlabRotator, clean_runs
from skfmri.samples import NiftiSamples

SHAPE, LENGTH = (20, 24, 28), 40
AFFINE = np.diag([3.0, 3, 3, 1])


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFMRI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(skfmri.cli.disk, "WORTH_SAYING", 1e5)
    return tmp_path / "cache"


def samples_in(folder, suffix, dtype=np.int16):
    """Samples of two runs whose volumes hold data in every voxel."""
    rng, paths = np.random.default_rng(0), []
    for name in ("one", "two"):
        volumes = rng.integers(90, 110, (*SHAPE, LENGTH)).astype(dtype)
        paths.append(folder / f"{name}{suffix}")
        nibabel.save(nibabel.Nifti1Image(volumes, AFFINE), paths[-1])
    return NiftiSamples(paths)


def arguments(*more):
    return make_parser().parse_args(["decode", "--out", "x", "--labels", "y", *more])


def gigabytes(text):
    return float(re.search(r"about ([\d.]+) GB", text)[1])


def taken(directory):
    return sum(path.stat().st_size for path in directory.iterdir()) / 1e9


@pytest.fixture
def exact(monkeypatch):
    """Make the text show as many digits as there are."""

    class Exact(float):
        def __format__(self, spec):
            return super().__format__(".9f")

        def __truediv__(self, other):
            return Exact(float(self) / other)

    for name in ("copy_bytes", "_kept_bytes"):
        function = getattr(skfmri.cli.disk, name)
        monkeypatch.setattr(
            skfmri.cli.disk, name, lambda *args, function=function: Exact(function(*args))
        )


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_decoded_copies_take_what_is_said(tmp_path, cache, dtype):
    samples = samples_in(tmp_path, ".nii.gz", dtype)
    text = describe_disk(arguments(), samples, is_cleaned=False)
    assert f" GB in {cache} (" in text
    assert "are free): decoded copies of the images, kept for a day after the last use" in text
    assert "--cache DIR names another place" in text
    for _ in samples.iter_batches():
        pass
    assert gigabytes(text) == pytest.approx(taken(cache), abs=1e-9)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("slab", [(10, 12), None], ids=["thin", "all"])
def test_cleaned_runs_take_about_what_is_said(tmp_path, cache, slab, monkeypatch):
    monkeypatch.setenv("SKFMRI_CACHE_DAYS", "7")
    samples = samples_in(tmp_path, ".nii.gz")
    typed = "all" if slab is None else "{}:{}".format(*slab)
    options = ["--slab", typed, "--angle", "0.2"]
    text = describe_disk(arguments(*options), samples, is_cleaned=True)
    assert (
        "are free): what the slab needs of the cleaned runs, kept for 7 days after the last" in text
    )
    # The first volume is looked at, without a copy of its file.
    assert taken(cache) == 0
    cleaned = clean_runs(samples)
    NiftiSlabRotator(0.2, slab=slab).fit(cleaned).transform(cleaned)
    assert gigabytes(text) == pytest.approx(taken(cache), rel=0.15)
    of_volumes = 4 * np.prod(samples.shape) / 1e9
    assert (taken(cache) < 0.8 * of_volumes) == (slab is not None)


@pytest.mark.usefixtures("exact")
def test_a_region_takes_less_and_about_what_is_said(tmp_path, cache):
    samples = samples_in(tmp_path, ".nii.gz")
    values = np.zeros(SHAPE, np.uint8)
    values[5:9, 6:10, 9:14] = 3
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), tmp_path / "atlas.nii")
    slab = ["--slab", "all", "--angle", "0.2"]
    without = gigabytes(describe_disk(arguments(*slab), samples, is_cleaned=True))
    options = [*slab, "--mask", f"{tmp_path / 'atlas.nii'}:3"]
    said = gigabytes(describe_disk(arguments(*options), samples, is_cleaned=True))
    cleaned = clean_runs(samples)
    rotator = NiftiSlabRotator(0.2, slab=None, mask=tmp_path / "atlas.nii", label=3)
    rotator.fit(cleaned).transform(cleaned)
    assert said == pytest.approx(taken(cache), rel=0.15)
    assert said < 0.7 * without


def test_nothing_is_said_if_nothing_is_stored_or_little(tmp_path, cache, monkeypatch):
    plain, packed = samples_in(tmp_path, ".nii"), samples_in(tmp_path, ".nii.gz")
    assert describe_disk(arguments(), plain, is_cleaned=False) is None
    assert describe_disk(arguments(), packed, is_cleaned=False) is not None
    assert describe_disk(arguments(), plain, is_cleaned=True) is not None
    monkeypatch.setattr(skfmri.cli.disk, "WORTH_SAYING", 1e9)
    assert describe_disk(arguments(), packed, is_cleaned=False) is None
    assert describe_disk(arguments(), packed, is_cleaned=True) is None


def test_images_that_are_decoded_at_each_read_take_nothing(tmp_path, cache, monkeypatch):
    samples = samples_in(tmp_path, ".nii.gz")
    monkeypatch.setattr("skfmri.samples.sources.UNKEPT_BYTES", 2 * np.prod(SHAPE) * LENGTH)
    assert describe_disk(arguments(), samples, is_cleaned=False) is None
    np.asarray(samples)
    assert not cache.exists()


def test_a_slab_that_does_not_fit_is_left_to_the_fit(tmp_path, cache):
    samples = samples_in(tmp_path, ".nii.gz")
    assert describe_disk(arguments("--slab", "90:99"), samples, is_cleaned=True) is not None
