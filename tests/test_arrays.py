"""Large arrays lie in files, and nobody notices but their memory."""

import io
import mmap
import os
import pickle
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from joblib import Parallel, delayed
from sklearn.pipeline import make_pipeline

from skfmri import NiftiSamples, NiftiSlabRotator, VoxelZScorer
from skfmri._arrays import gathered, mapping_of, read_rows
from skfmri._files import NO_SPACE


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFMRI_CACHE", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def small_limit(monkeypatch):
    monkeypatch.setattr("skfmri._arrays.LARGE_BYTES", 1000)


def pieces(n_pieces=7, shape=(50, 6, 5)):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(np.float32) for _ in range(n_pieces)]


def large_array():
    parts = pieces()
    return gathered(iter(parts), (350, 6, 5), np.float32), np.concatenate(parts)


def mapped_files(store):
    """Return what the store's files, which have no name, take of the address space."""
    with open("/proc/self/maps") as file:
        return [line for line in file if str(store) in line]


@pytest.mark.usefixtures("small_limit")
class TestLargeArrays:
    def test_they_hold_the_pieces_in_order(self):
        array, expected = large_array()
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == np.float32

    def test_they_can_be_written_to(self):
        array, expected = large_array()
        array *= 2
        np.testing.assert_array_equal(array, 2 * expected)

    def test_pieces_of_another_type_or_order_are_converted(self):
        parts = [np.asfortranarray(part, dtype=np.float64) for part in pieces()]
        array = gathered(parts, (350, 6, 5), np.float32)
        np.testing.assert_array_equal(array, np.concatenate(parts).astype(np.float32))

    def test_copies_and_pickles_stand_on_their_own(self):
        array, expected = large_array()
        content = pickle.dumps(array)
        del array
        np.testing.assert_array_equal(pickle.loads(content), expected)

    def test_other_processes_can_be_given_them(self):
        array, expected = large_array()
        # Above a size of its own joblib hands arrays on as maps, which need a file with a name.
        with Parallel(n_jobs=2, max_nbytes=100) as processes:
            means = processes(delayed(np.mean)(array) for _ in range(2))
        np.testing.assert_allclose(means, expected.mean(), rtol=1e-5)

    def test_no_file_is_left_in_the_directory(self, own_store):
        array, _ = large_array()
        assert list(own_store.iterdir()) == []
        assert array.flags.writeable

    @pytest.mark.skipif(
        not os.path.exists("/proc/self/maps"),
        reason="reads /proc/self/maps, where Linux alone tells which files are mapped",
    )
    def test_the_file_goes_with_the_last_view(self, own_store):
        array, _ = large_array()
        view = array[3:5]
        del array
        assert mapped_files(own_store)
        del view
        assert not mapped_files(own_store)

    def test_memory_holds_one_piece_at_a_time(self):
        tracemalloc.start()
        stream = (np.full((50, 100, 100), i, np.float32) for i in range(30))
        array = gathered(stream, (1500, 100, 100), np.float32)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 3 * array.nbytes / 30

    @pytest.mark.parametrize("number", NO_SPACE)
    def test_a_full_disk_is_told_with_the_way_out(self, monkeypatch, number):
        class Full(io.BytesIO):
            def write(self, data):
                raise OSError(number, "No space left on device")

        monkeypatch.setattr("tempfile.TemporaryFile", lambda dir: Full())
        with pytest.raises(OSError, match=r"array of shape \(350, 6, 5\).*Set SKFMRI_CACHE"):
            large_array()

    def test_too_little_space_is_noticed_before_the_file_is_begun(self, monkeypatch):
        usage = SimpleNamespace(total=10**9, used=0, free=2_500)
        monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
        with pytest.raises(OSError, match=r"\(350, 6, 5\): 0.0 MB are needed.*Set SKFMRI_CACHE"):
            gathered(iter([]), (350, 6, 5), np.float32)

    def test_a_full_disk_elsewhere_is_told_as_it_was(self):
        def stream():
            yield from pieces(2)
            raise OSError(28, "No space left for the decoded copy")

        with pytest.raises(OSError, match="No space left for the decoded copy"):
            gathered(stream(), (350, 6, 5), np.float32)


class TestRows:
    index = np.array([7, 0, 3, 3, 8])

    def arrays(self, folder):
        array = np.random.default_rng(0).normal(size=(9, 40, 50)).astype(np.float32)
        assert array[0].nbytes > mmap.PAGESIZE
        np.save(folder / "array.npy", array)
        np.save(folder / "columns.npy", np.asfortranarray(array))
        yield array, None
        for mode in ("r", "r+", "c"):
            mapped = np.load(folder / "array.npy", mmap_mode=mode)
            yield mapped, array
            yield np.asarray(mapped), array
        yield np.load(folder / "columns.npy", mmap_mode="r"), None
        yield gathered([array], array.shape, np.float32), array

    @pytest.mark.usefixtures("small_limit")
    def test_they_are_those_of_the_index(self, tmp_path):
        for array, _ in self.arrays(tmp_path):
            for part in (array, array[1:]):
                rows = self.index[:4] if len(part) == 8 else self.index
                np.testing.assert_array_equal(read_rows(part, rows), part[rows])

    @pytest.mark.usefixtures("small_limit")
    def test_they_are_found_in_the_map(self, tmp_path):
        for array, content in self.arrays(tmp_path):
            if content is None:
                continue
            for first in (0, 3):
                mapped, start = mapping_of(array[first:])
                assert mapped[start : start + content[0].nbytes] == content[first].tobytes()

    def test_arrays_in_memory_have_no_map(self):
        assert mapping_of(np.zeros((3, 2))[1:]) == (None, 0)


def test_small_arrays_touch_no_disk(own_store):
    parts = pieces()
    np.testing.assert_array_equal(
        gathered(iter(parts), (350, 6, 5), np.float32), np.concatenate(parts)
    )
    assert not own_store.exists()


def test_steps_give_the_same_where_their_results_are_large(monkeypatch):
    volumes = np.random.default_rng(0).random((30, 9, 10, 11)).astype(np.float32)
    samples = NiftiSamples.from_array(volumes, np.eye(4))
    steps = make_pipeline(NiftiSlabRotator(angle=0.2, slab=(2, 5)), VoxelZScorer())
    expected = steps.fit_transform(samples)
    back = steps[1].inverse_transform(expected)
    monkeypatch.setattr("skfmri._arrays.LARGE_BYTES", 1000)
    monkeypatch.setattr("skfmri.samples.nifti.BATCH_BYTES", 8 * volumes[0].nbytes)
    monkeypatch.setattr("skfmri.preprocessing.zscore.SCORING_BATCH_BYTES", 20_000)
    found = steps.fit_transform(samples)
    assert mapping_of(found)[0] is not None
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(steps[1].inverse_transform(found), back, atol=1e-5)
    np.testing.assert_allclose(steps.transform(samples), expected, atol=1e-5)
