import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import nibabel
import numpy as np
import pytest
from filelock import FileLock

from skfmri._cache import stored_file
from skfmri.preprocessing import NiftiSlabRotator, average_blocks, clean_runs
from skfmri.resampling import apply_operator, needed_voxels, resampling_operator
from skfmri.samples import NiftiSamples
from skfmri.samples.cleaned import batches_of_voxels, summary_of_runs
from skfmri.samples.nifti import smallest_type, stream_batches
from skfmri.spatial import rotated_grid, rotation_matrix

# The number of voxels is not a multiple of the length of a block.
GRID = (21, 22, 47)
RUNS = np.repeat([1, 0], [12, 15])
# In voxels that never vary there is nothing to crop to.
RIM = 4


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFMRI_CACHE", str(tmp_path / "store"))


@pytest.fixture
def samples():
    volumes = np.zeros((27, *GRID), np.float32)
    inner = (slice(None), *[slice(RIM, length - RIM) for length in GRID])
    shape = volumes[inner].shape
    volumes[inner] = np.random.default_rng(0).normal(100, 10, shape)
    return NiftiSamples.from_array(volumes, np.diag([2, 2, 2, 1]), runs=RUNS)


@pytest.fixture
def cleaned_voxels(monkeypatch):
    """How many voxels are cleaned by each call that keeps them."""
    counts = []

    def counted(path, volumes, blocks, clean):
        if "-part-" in path.name:
            counts.append(16 * len(blocks))
        return write_part(path, volumes, blocks, clean)

    from skfmri.samples.cleaned_files import write_part

    monkeypatch.setattr("skfmri.samples.cleaned.write_part", counted)
    return counts


def in_memory(samples):
    return NiftiSamples.from_array(np.asarray(samples), samples.affine, runs=samples.runs)


@pytest.mark.parametrize("axis", "xyz")
@pytest.mark.parametrize("interpolation", ["continuous", "linear", "nearest"])
def test_a_slab_of_cleaned_runs_equals_that_of_whole_volumes(
    samples, axis, interpolation, cleaned_voxels
):
    options = {"angle": 0.3, "axis": axis, "slab": (15, 18), "interpolation": interpolation}
    cleaned = clean_runs(samples)
    found = NiftiSlabRotator(**options)
    slabs = found.fit(cleaned).transform(cleaned)
    assert sum(cleaned_voxels) < (1.7 if axis == "y" else 1.4) * np.prod(GRID)
    expected = NiftiSlabRotator(**options)
    whole = expected.fit_transform(in_memory(cleaned))
    assert found.crop_ == expected.crop_
    assert found.value_range_ == expected.value_range_
    np.testing.assert_allclose(slabs, whole, atol=1e-5 * np.ptp(expected.value_range_))


def test_other_slices_and_other_folds_clean_only_what_is_missing(samples, cleaned_voxels):
    cleaned = clean_runs(samples)
    options = {"angle": 0.3, "interpolation": "linear"}
    first = NiftiSlabRotator(slab=(15, 18), **options).fit(cleaned[:12])
    first.transform(cleaned[:12])
    del cleaned_voxels[:]
    # The same slices of a run that others have cleaned, then those of one more run.
    first.transform(clean_runs(samples)[3:9])
    assert not cleaned_voxels
    first.transform(cleaned)
    assert len(cleaned_voxels) == 1
    del cleaned_voxels[:]
    NiftiSlabRotator(slab=(15, 19), **options).fit(cleaned).transform(cleaned)
    one_more_slice = GRID[0] * GRID[1] * 3
    assert len(cleaned_voxels) == 2
    assert max(cleaned_voxels) < 2 * one_more_slice


@pytest.mark.parametrize("is_whole_kept", [False, True])
def test_only_the_blocks_asked_for_are_read_whatever_is_kept(samples, is_whole_kept):
    cleaned = clean_runs(samples)
    expected = np.asarray(clean_runs(samples)) if is_whole_kept else None
    is_needed = np.zeros(GRID, bool)
    is_needed[5, 6, 7] = is_needed[-1, -1, -1] = is_needed[10, 11, 12] = True
    found = np.concatenate(list(batches_of_voxels(cleaned, lambda: is_needed)))
    expected = np.asarray(cleaned) if expected is None else expected
    is_read = np.zeros(np.prod(GRID), bool)
    for voxel in np.flatnonzero(is_needed.ravel(order="F")):
        is_read[voxel // 16 * 16 : voxel // 16 * 16 + 16] = True
    is_read = is_read.reshape(GRID, order="F")
    np.testing.assert_allclose(found, expected * is_read, atol=1e-6)


def test_whole_volumes_are_complete_after_a_slab(samples, cleaned_voxels, tmp_path):
    expected = np.asarray(clean_runs(samples))
    for path in (tmp_path / "store").iterdir():
        path.unlink()
    cleaned = clean_runs(samples)
    NiftiSlabRotator(angle=0.3, slab=(15, 18)).fit(cleaned).transform(cleaned)
    del cleaned_voxels[:]
    np.testing.assert_allclose(np.asarray(cleaned), expected, atol=1e-6)
    assert sum(cleaned_voxels) < 1.9 * np.prod(GRID)


def test_runs_that_another_process_is_cleaning_come_last(samples, tmp_path, monkeypatch):
    monkeypatch.setattr("skfmri._cache.UNLOCKED_BYTES", 0)
    rotator = NiftiSlabRotator(angle=0.3, slab=(15, 18)).fit(clean_runs(samples))
    rotator.transform(clean_runs(samples))
    first, second = sorted(
        (tmp_path / "store").glob("*-part-*-copy"), key=lambda path: path.stat().st_size
    )
    first.unlink()
    second.unlink()
    cleaned = clean_runs(samples)
    with ThreadPoolExecutor(1) as other:
        with FileLock(f"{first}.lock"):
            slabs = other.submit(rotator.transform, cleaned)
            for _ in range(2000):
                if second.exists() or slabs.done():
                    break
                time.sleep(0.01)
            assert [second.exists(), first.exists()] == [True, False]
        # Now the other process has stopped without having made it.
        assert slabs.result().shape == (27, *rotator.slab_shape_)
    assert first.exists()


def test_a_part_that_was_deleted_is_made_again(samples, tmp_path, cleaned_voxels):
    cleaned = clean_runs(samples)
    rotator = NiftiSlabRotator(angle=0.3, slab=(15, 18)).fit(cleaned)
    expected = rotator.transform(cleaned)
    for path in (tmp_path / "store").glob("*-part-*"):
        path.unlink()
    np.testing.assert_array_equal(rotator.transform(cleaned), expected)
    assert cleaned_voxels[:2] == cleaned_voxels[2:]


def test_no_whole_volume_is_kept_for_a_slab(samples, tmp_path):
    cleaned = clean_runs(samples)
    NiftiSlabRotator(angle=0.3, slab=(15, 18), interpolation="linear").fit_transform(cleaned)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "store").iterdir()}
    whole = 4 * 27 * np.prod(GRID)
    assert sum(size for name, size in sizes.items() if "-part-" in name) < whole / 3
    assert sum(size for name, size in sizes.items() if "-summary" in name) < 4.1 * whole / 27


def test_the_summary_is_that_of_the_cleaned_volumes(samples):
    chosen = clean_runs(samples)[[3, 20, 5, 4]]
    (low, high, magnitudes, strongest), read_batches = summary_of_runs(chosen)
    whole, volumes = np.asarray(clean_runs(samples)), np.asarray(chosen)
    np.testing.assert_allclose((low, high), (volumes.min(), volumes.max()), atol=1e-6)
    np.testing.assert_allclose(magnitudes, np.abs(whole).max(axis=0), atol=1e-6)
    expected = whole[np.abs(whole).max((1, 2, 3)).argmax()]
    np.testing.assert_allclose(strongest, expected, atol=1e-6)
    for run, volume in zip((1, 0), read_batches(), strict=True):
        part = whole[run == RUNS]
        expected = part[[np.abs(part).max((1, 2, 3)).argmax()]]
        np.testing.assert_allclose(volume, expected, atol=1e-6)


def damaged(samples):
    volumes = np.array(samples)
    volumes[4, 5, 6, 7], volumes[:, 9] = np.nan, np.inf
    return NiftiSamples.from_array(volumes, samples.affine, runs=RUNS)


DERIVED = {
    "without scaling": partial(clean_runs, standardize=False),
    "constants kept": partial(clean_runs, standardize=False, detrend=False),
    "block means": partial(average_blocks, blocks=np.arange(27) // 4),
    "means of cleaned blocks": lambda samples: average_blocks(
        clean_runs(samples), np.arange(27) // 4
    ),
    "damaged": lambda samples: clean_runs(damaged(samples)),
}


@pytest.mark.filterwarnings("ignore:.*are not finite")
@pytest.mark.parametrize("name", DERIVED)
@pytest.mark.parametrize("chunk", [2**20, 8 * 27 * 50])
def test_a_summary_needs_no_volumes(samples, name, chunk, monkeypatch, cleaned_voxels):
    monkeypatch.setattr("skfmri.samples.cleaned_files.CHUNK_BYTES", chunk)
    derived = DERIVED[name](samples)
    (low, high, magnitudes, strongest), _ = summary_of_runs(derived)
    assert cleaned_voxels == []
    volumes = np.asarray(derived)
    np.testing.assert_allclose((low, high), (min(volumes.min(), 0), volumes.max()), rtol=1e-6)
    sizes = np.abs(volumes)
    np.testing.assert_allclose(magnitudes, sizes.max(axis=0), rtol=1e-6, atol=1e-6)
    expected = volumes[sizes.max((1, 2, 3)).argmax()]
    np.testing.assert_allclose(strongest, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("dtypes", "is_scaled", "expected"),
    [
        (["i2", "i2"], False, "i2"),
        ([">i2", "u1"], False, "i2"),
        (["i2", "u2"], False, "i4"),
        (["i2", "i2"], True, "f4"),
        (["i2", "f4"], False, "f4"),
        (["i4", "i2"], False, "f4"),
    ],
)
def test_copies_are_no_larger_than_the_values_need(tmp_path, dtypes, is_scaled, expected):
    data, paths = np.random.default_rng(0).integers(0, 256, (6, 7, 8, 10)), []
    for dtype in dtypes:
        paths.append(tmp_path / f"{len(paths)}.nii.gz")
        # nibabel scales values of another type than that of the file.
        values = data / 2 if is_scaled else data.astype(dtype)
        image = nibabel.Nifti1Image(values, np.eye(4))
        image.set_data_dtype(dtype)
        nibabel.save(image, paths[-1])
    samples = NiftiSamples(paths, runs=np.repeat([0, 1], 10))
    assert smallest_type(samples) == np.dtype(expected)
    cleaned = clean_runs(samples, standardize=False)
    (low, high, _, _), _ = summary_of_runs(cleaned)
    volumes = np.asarray(cleaned)
    np.testing.assert_allclose((low, high), (volumes.min(), volumes.max()), rtol=1e-6)


class TestStreaming:
    """Whole volumes for somebody who reads them once, such as an audit."""

    def kept(self, tmp_path):
        store = tmp_path / "store"
        return sorted(path.name for path in store.iterdir() if path.suffix != ".lock")

    def test_keeps_nothing_of_cleaned_runs_but_their_summaries(self, samples, tmp_path):
        cleaned = clean_runs(samples)
        found = np.concatenate(list(stream_batches(cleaned[3:20])))
        assert len(self.kept(tmp_path)) == 2
        assert all(name.endswith("-summary.skfmri-copy") for name in self.kept(tmp_path))
        np.testing.assert_array_equal(found, np.asarray(cleaned[3:20]))
        # Now runs are kept, and read from there.
        before = self.kept(tmp_path)
        found = np.concatenate(list(stream_batches(cleaned)))
        np.testing.assert_array_equal(found, np.asarray(cleaned))
        assert self.kept(tmp_path) == before

    def test_runs_in_turn_are_kept_instead_of_cleaned_again_and_again(self, samples, tmp_path):
        order = np.argsort(np.r_[0:12, 0:15], kind="stable")
        mixed = clean_runs(samples[order])
        found = np.concatenate(list(stream_batches(mixed)))
        assert ["-part-" in name for name in self.kept(tmp_path)] == [True, True]
        np.testing.assert_allclose(found, np.asarray(clean_runs(samples))[order], atol=1e-6)

    def test_a_stop_leaves_nothing(self, samples, tmp_path):
        stream = stream_batches(clean_runs(samples))
        next(stream)
        stream.close()
        assert [name for name in self.kept(tmp_path) if "-summary" not in name] == []

    def test_no_samples_have_no_batches(self, samples):
        assert list(stream_batches(samples[:0])) == []

    def test_the_summary_of_a_stream_is_that_of_a_fit(self, samples, tmp_path):
        cleaned = clean_runs(samples)
        list(stream_batches(cleaned))
        streamed, _ = summary_of_runs(cleaned)
        for path in (tmp_path / "store").iterdir():
            path.unlink()
        for found, expected in zip(streamed, summary_of_runs(cleaned)[0], strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_samples_that_are_not_cleaned_have_no_summary(samples):
    assert summary_of_runs(samples) is None


@pytest.mark.parametrize("axis", "xyz")
@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("compiled", [None, False])
def test_voxels_that_are_not_needed_do_not_matter(axis, order, compiled):
    grid = (30, 31, 60)
    transform, shape = rotated_grid(grid, np.eye(4), rotation_matrix(0.3, axis), "a volume")
    box = (*[(0, length) for length in shape[:2]], (shape[2] // 2, shape[2] // 2 + 2))
    operator = resampling_operator(transform, grid, box, order, compiled=compiled)
    is_needed = needed_voxels(operator)
    volumes = np.random.default_rng(1).uniform(size=(3, *grid)).astype(np.float32)
    expected = apply_operator(operator, volumes)
    found = apply_operator(operator, volumes * is_needed)
    assert np.abs(found - expected).max() < 1e-5
    assert is_needed.mean() < 0.6
    if order < 3:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("scale", [None, (2.0, 3.0)])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_cleaning_leaves_no_decoded_copy(samples, tmp_path, scale, suffix):
    image = nibabel.Nifti1Image(np.moveaxis(np.asarray(samples), 0, -1), samples.affine)
    if scale is not None:
        image.set_data_dtype(np.int16)
        image.header.set_slope_inter(*scale)
    nibabel.save(image, tmp_path / f"run{suffix}")
    raw = NiftiSamples(tmp_path / f"run{suffix}", runs=RUNS)
    mask = [None, np.delete(np.arange(15), [4, 9])]
    cleaned = np.asarray(clean_runs(raw, sample_masks=mask, standardize=False))
    names = [path.name for path in (tmp_path / "store").iterdir() if path.suffix != ".lock"]
    assert len(names) == 2
    assert all("-part-" in name for name in names)
    expected = clean_runs(in_memory(raw), sample_masks=mask, standardize=False)
    np.testing.assert_allclose(cleaned, np.asarray(expected), atol=1e-5)


def test_streaming_gives_the_volumes_in_any_order_of_samples(samples, tmp_path):
    volumes = np.moveaxis(np.asarray(samples), 0, -1)
    for i in range(2):
        nibabel.save(nibabel.Nifti1Image(volumes + i, samples.affine), tmp_path / f"{i}.nii.gz")
    raw = NiftiSamples([tmp_path / "0.nii.gz", tmp_path / "1.nii.gz"])
    chosen = raw[[3, 4, 9, 40, 41, 5, 2, 53, 0]]
    found = np.concatenate(list(stream_batches(chosen)))
    assert not (tmp_path / "store").exists() or not list((tmp_path / "store").iterdir())
    np.testing.assert_array_equal(found, np.asarray(chosen))
    np.testing.assert_array_equal(found, np.concatenate(list(stream_batches(chosen))))


def test_damage_is_noticed_while_streaming(samples, tmp_path):
    path = tmp_path / "run.nii.gz"
    volumes = np.moveaxis(np.asarray(samples), 0, -1)
    nibabel.save(nibabel.Nifti1Image(volumes, samples.affine), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"run.nii.gz is truncated or damaged"):
        np.asarray(clean_runs(NiftiSamples(path)))
    assert not list((tmp_path / "store").glob("*-part-*"))


class TestHowLongFilesAreKept:
    @pytest.fixture
    def files(self, samples, tmp_path, monkeypatch):
        """Return a function that says what is left of a read run and a cleaned one after days."""
        image = nibabel.Nifti1Image(np.moveaxis(np.asarray(samples), 0, -1), samples.affine)
        nibabel.save(image, tmp_path / "run.nii.gz")
        raw = NiftiSamples(tmp_path / "run.nii.gz", runs=RUNS)
        np.asarray(clean_runs(raw)), np.asarray(raw)

        def left_after(days):
            for path in (tmp_path / "store").iterdir():
                os.utime(path, (time.time() - days * 24 * 3600,) * 2)
            monkeypatch.setattr("skfmri._cache._cleaned_up", {})
            stored_file(f"new {days}", 0, lambda path: None, "a file")
            names = [path.name for path in (tmp_path / "store").iterdir()]
            return sorted(name.partition("-")[0] for name in names if not name.startswith("new"))

        return left_after

    def test_cleaned_runs_outlive_decoded_copies(self, files):
        assert files(29) == ["lasting"] * 2
        assert files(31) == []

    def test_the_days_can_be_set(self, files, monkeypatch):
        monkeypatch.setenv("SKFMRI_CACHE_DAYS", "0.5")
        assert len(files(0.4)) == 3
        assert len(files(0.6)) == 1

    @pytest.mark.parametrize("days", ["a week", "-1", "nan"])
    def test_days_that_are_no_number_are_refused(self, files, monkeypatch, days):
        monkeypatch.setenv("SKFMRI_CACHE_DAYS", days)
        with pytest.raises(ValueError, match=f"SKFMRI_CACHE_DAYS must be .*{days}"):
            files(1)
