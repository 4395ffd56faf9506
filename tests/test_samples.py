import gzip
import math
import os
import pickle
import re
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import joblib
import nibabel
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import _num_samples, indexable

import skfmri.samples.compressed
import skfmri.samples.sources
from skfmri.samples import NiftiSamples, as_samples
from skfmri.samples.nifti import finite_shares, stream_batches, volume_name

SHAPE = (6, 7, 8)
AFFINE = np.array([[-3.0, 0, 0, 40], [0, 3.1, 0.2, -20], [0, -0.2, 3.5, 11], [0, 0, 0, 1]])


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFMRI_CACHE", str(tmp_path / "store"))


@pytest.fixture
def volumes():
    return np.random.default_rng(0).normal(100, 20, size=(9, *SHAPE)).astype(np.float32)


@pytest.fixture(params=[True, False], ids=["kept", "unkept"])
def is_kept(request, monkeypatch):
    """Whether decoded copies are kept of images that are as small as here."""
    if request.param:
        monkeypatch.setattr(skfmri.samples.sources, "UNKEPT_BYTES", 0)
    return request.param


def write(path, volumes, affine=AFFINE, dtype=np.float32, cls=nibabel.Nifti1Image):
    data = np.moveaxis(np.asarray(volumes, dtype=dtype), 0, -1)
    image = cls(data, affine)
    image.header.set_data_dtype(dtype)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.img", "a.nii.bz2"])
@pytest.mark.parametrize("cls", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.usefixtures("is_kept")
def test_values_equal_those_of_nibabel(tmp_path, volumes, name, cls):
    if name.endswith(".img"):
        cls = {nibabel.Nifti1Image: nibabel.Nifti1Pair, nibabel.Nifti2Image: nibabel.Nifti2Pair}[
            cls
        ]
    path = write(tmp_path / name, volumes, cls=cls)
    samples = NiftiSamples(path)
    expected = np.moveaxis(nibabel.load(path).get_fdata(dtype=np.float32), -1, 0)
    np.testing.assert_array_equal(np.asarray(samples), expected)
    assert samples.shape == (9, 6, 7, 8)
    assert (samples.ndim, samples.dtype, samples.grid_shape) == (4, np.float32, SHAPE)
    np.testing.assert_allclose(samples.affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float64])
@pytest.mark.usefixtures("is_kept")
def test_scaled_integers_and_doubles_equal_those_of_nibabel(tmp_path, volumes, dtype):
    image = nibabel.Nifti1Image(np.moveaxis(volumes, 0, -1).astype(dtype), AFFINE)
    image.header.set_slope_inter(0.25, -7)
    nibabel.save(image, tmp_path / "a.nii.gz")
    expected = np.moveaxis(nibabel.load(tmp_path / "a.nii.gz").get_fdata(), -1, 0)
    np.testing.assert_allclose(np.asarray(NiftiSamples(tmp_path / "a.nii.gz")), expected, rtol=1e-6)


def test_big_endian_files_are_read(tmp_path, volumes):
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">f4")
    image = nibabel.Nifti1Image(np.moveaxis(volumes, 0, -1), AFFINE, header)
    nibabel.save(image, tmp_path / "a.nii")
    assert nibabel.load(tmp_path / "a.nii").dataobj.dtype == np.dtype(">f4")
    np.testing.assert_array_equal(np.asarray(NiftiSamples(tmp_path / "a.nii")), volumes)


def test_building_reads_headers_only(tmp_path, volumes):
    path = write(tmp_path / "a.nii.gz", volumes)
    header_only = zlib.compressobj(wbits=31)
    # nibabel looks at the first kilobyte to recognise the format.
    start = header_only.compress(gzip.decompress(path.read_bytes())[:2048])
    path.write_bytes(start + header_only.flush(zlib.Z_SYNC_FLUSH))
    samples = NiftiSamples(path, y=range(9))
    assert samples[2:4].shape == (2, *SHAPE)
    assert repr(samples) == "NiftiSamples(9 volumes of 6 x 7 x 8, 1 group)"
    assert joblib.hash(samples) == joblib.hash(NiftiSamples(path, y=range(9)))
    with pytest.raises(ValueError, match="truncated"):
        samples[0]


def test_lists_concatenate_runs_in_order(tmp_path, volumes):
    paths = [write(tmp_path / "a.nii.gz", volumes[:4]), write(tmp_path / "b.nii", volumes[4:])]
    samples = NiftiSamples([paths[0], nibabel.load(paths[1])])
    np.testing.assert_array_equal(np.asarray(samples), volumes)
    np.testing.assert_array_equal(np.asarray(samples[[7, 0, 5, 1]]), volumes[[7, 0, 5, 1]])
    assert samples.runs.tolist() == samples.groups.tolist() == [0] * 4 + [1] * 5


def test_default_runs_never_make_groups_of_single_volumes(volumes):
    images = [nibabel.Nifti1Image(volume, AFFINE) for volume in volumes]
    assert NiftiSamples(images).groups.tolist() == [0] * 9
    groups = np.arange(9) // 3
    assert NiftiSamples(images, groups=groups).runs.tolist() == groups.tolist()
    assert NiftiSamples(images, runs=groups).groups.tolist() == groups.tolist()


def test_an_image_with_a_changed_affine_keeps_it(tmp_path, volumes):
    image = nibabel.load(write(tmp_path / "a.nii.gz", volumes))
    moved = np.diag([2, 2, 2, 1.0])
    samples = NiftiSamples(nibabel.Nifti1Image(image.dataobj, moved))
    np.testing.assert_array_equal(samples.affine, moved)
    np.testing.assert_array_equal(np.asarray(samples), volumes)


def test_singleton_fifth_axis_is_accepted_and_others_are_not(tmp_path, volumes):
    data = np.moveaxis(volumes, 0, -1)
    for shape in [(*SHAPE, 1, 9), (*SHAPE, 9, 1)]:
        nibabel.save(nibabel.Nifti1Image(data.reshape(shape), AFFINE), tmp_path / "a.nii.gz")
        np.testing.assert_array_equal(np.asarray(NiftiSamples(tmp_path / "a.nii.gz")), volumes)
        in_memory = nibabel.Nifti1Image(data.reshape(shape), AFFINE)
        np.testing.assert_array_equal(np.asarray(NiftiSamples(in_memory)), volumes)
    with pytest.raises(ValueError, match=r"in memory\) has the shape \(6, 7, 8, 3, 3\)"):
        NiftiSamples(nibabel.Nifti1Image(data.reshape(*SHAPE, 3, 3), AFFINE))


INDICES = st.one_of(
    st.slices(9),
    st.lists(st.integers(-9, 8), max_size=12),
    st.lists(st.booleans(), min_size=9, max_size=9),
).flatmap(
    lambda index: st.sampled_from(
        [index]
        if isinstance(index, slice)
        else [index, np.array(index, dtype=bool if index and isinstance(index[0], bool) else int)]
    )
)


@given(index=INDICES, as_tuple=st.booleans())
def test_every_index_chooses_what_numpy_would(index, as_tuple):
    volumes = np.random.default_rng(0).normal(size=(9, 2, 3, 4)).astype(np.float32)
    y = np.arange(9) * 10
    samples = NiftiSamples.from_array(volumes, AFFINE, y=y, groups=y + 1, runs=y + 2)
    chosen = np.arange(9)[index] if isinstance(index, slice) or len(index) else np.array([], int)
    subset = samples[(index, Ellipsis) if as_tuple else index]
    np.testing.assert_array_equal(np.asarray(subset), volumes[chosen])
    for name, offset in [("y", 0), ("groups", 1), ("runs", 2)]:
        np.testing.assert_array_equal(getattr(subset, name), y[chosen] + offset)


@given(first=st.lists(st.integers(0, 8), min_size=1), data=st.data())
def test_indexing_twice_is_indexing_once(first, data):
    second = data.draw(st.lists(st.integers(0, len(first) - 1), min_size=1))
    samples = NiftiSamples.from_array(np.arange(9.0).reshape(9, 1, 1, 1), np.eye(4), y=range(9))
    twice, once = samples[first][second], samples[np.array(first)[second]]
    np.testing.assert_array_equal(np.asarray(twice), np.asarray(once))
    assert twice.y.tolist() == once.y.tolist()


def test_an_integer_gives_a_volume_in_its_place(volumes):
    samples = NiftiSamples.from_array(volumes, AFFINE)
    for index in (-2, np.int64(7), (7, ...), (7, slice(None))):
        image = samples[index]
        assert isinstance(image, nibabel.Nifti1Image)
        np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), volumes[7])
        np.testing.assert_array_equal(image.affine, AFFINE)
    assert [image.shape for image in samples] == [SHAPE] * 9


@pytest.mark.parametrize(
    "index", [9, -10, [0, 9], [True] * 8, [0.5], "a", (0, 1), [[0], [1]], True]
)
def test_wrong_indices_are_refused(volumes, index):
    with pytest.raises(IndexError):
        NiftiSamples.from_array(volumes, AFFINE)[index]


def test_batches_stream_all_volumes_in_order(tmp_path, volumes):
    paths = [write(tmp_path / "a.nii", volumes[:4]), write(tmp_path / "b.nii.gz", volumes[4:])]
    batches = list(NiftiSamples(paths)[::-1].iter_batches(4))
    assert [len(batch) for batch in batches] == [4, 4, 1]
    assert all(batch.dtype == np.float32 for batch in batches)
    np.testing.assert_array_equal(np.concatenate(batches), volumes[::-1])
    with pytest.raises(ValueError, match="at least 1, but is 0"):
        next(NiftiSamples(paths).iter_batches(0))


def test_array_protocol_converts_and_refuses_a_view(volumes):
    samples = NiftiSamples.from_array(volumes, AFFINE)
    assert np.asarray(samples, dtype=np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="copy=False"):
        np.array(samples, copy=False)


def test_scikit_learn_takes_samples_as_they_are(volumes):
    samples = NiftiSamples.from_array(volumes, AFFINE, y=list("aabbaabba"), groups=range(9))
    assert _num_samples(samples) == 9
    assert indexable(samples, samples.y)[0] is samples
    train, test, y_train, _ = train_test_split(samples, samples.y, random_state=0)
    assert isinstance(train, NiftiSamples)
    assert (len(train), len(test)) == (6, 3)
    assert train.y.tolist() == y_train.tolist()


class TestFiniteVolumes:
    @pytest.fixture
    def samples(self, tmp_path, volumes):
        volumes[1, 2, 3, 4] = np.nan
        volumes[6, 0, 0, 0] = -np.inf
        volumes[8] = np.nan
        paths = [write(tmp_path / "a.nii", volumes[:4]), write(tmp_path / "b.nii.gz", volumes[4:])]
        return NiftiSamples(paths)

    def test_one_bad_value_is_enough(self, samples):
        expected = [True, False, True, True, True, True, False, True, False]
        assert samples.finite.tolist() == expected
        assert samples[::-2].finite.tolist() == expected[::-2]
        assert samples[[]].finite.tolist() == []
        assert samples[samples.finite].finite.all()

    def test_volumes_are_read_a_few_at_a_time(self, samples, monkeypatch):
        largest = []
        read = NiftiSamples._read

        def spy(self, positions):
            largest.append(len(positions))
            return read(self, positions)

        monkeypatch.setattr(NiftiSamples, "_read", spy)
        monkeypatch.setattr("skfmri.samples.nifti.BATCH_BYTES", 8 * math.prod(SHAPE))
        assert samples.finite.sum() == 6
        assert max(largest) == 2

    def test_asking_for_it_changes_no_hash(self, samples):
        before = joblib.hash(samples)
        assert not samples.finite.all()
        assert joblib.hash(samples) == before

    def test_a_volume_without_any_is_told_from_one_with_some(self, samples):
        shares = finite_shares(samples)
        assert np.flatnonzero(shares == 0).tolist() == [8]
        assert shares[1] == 1 - 1 / math.prod(SHAPE)

    def test_volumes_are_named_by_their_image_and_number(self, samples, tmp_path, volumes):
        assert volume_name(samples[[8, 2]], 0) == f"volume 4 of {tmp_path / 'b.nii.gz'}"
        in_memory = NiftiSamples.from_array(volumes, AFFINE)[3:]
        assert volume_name(in_memory, 0) == "volume 3 of the array"


def copies_in(store):
    return [path for path in store.iterdir() if path.suffix != ".lock"]


class TestSharing:
    @pytest.fixture
    def many(self, volumes):
        """Enough volumes for a copy to be kept."""
        return np.tile(volumes, (6, 1, 1, 1))

    def test_threads_share_one_decoded_copy(self, tmp_path, many):
        path = write(tmp_path / "a.nii.gz", many)
        with ThreadPoolExecutor(4) as pool:
            read = list(pool.map(lambda _: np.asarray(NiftiSamples(path)), range(8)))
        assert len(copies_in(tmp_path / "store")) == 1
        for array in read:
            np.testing.assert_array_equal(array, many)

    def test_a_compressed_file_is_decoded_once_for_all_processes(self, tmp_path, many):
        path = write(tmp_path / "a.nii.gz", many)
        code = (
            "import sys, numpy as np; from skfmri.samples import NiftiSamples;"
            "print(float(np.asarray(NiftiSamples(sys.argv[1])).sum()))"
        )
        children = [
            subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        sums = {child.communicate()[0] for child in children}
        assert len(sums) == 1
        copies = copies_in(tmp_path / "store")
        inode, changed = copies[0].stat().st_ino, copies[0].stat().st_ctime_ns
        assert len(copies) == 1
        np.testing.assert_array_equal(np.asarray(NiftiSamples(path)), many)
        assert copies[0].stat().st_ino == inode
        assert copies[0].stat().st_ctime_ns >= changed

    def test_a_plain_file_needs_no_copy(self, tmp_path, volumes):
        np.asarray(NiftiSamples(write(tmp_path / "a.nii", volumes)))
        assert not (tmp_path / "store").exists()

    def test_a_small_compressed_file_needs_no_copy(self, tmp_path, many):
        fits = skfmri.samples.sources.UNKEPT_BYTES // many[0].nbytes
        samples = NiftiSamples(write(tmp_path / "a.nii.gz", many[:fits]))
        for _ in range(2):
            np.testing.assert_array_equal(np.asarray(samples), many[:fits])
        np.testing.assert_array_equal(np.concatenate(list(stream_batches(samples))), many[:fits])
        assert not (tmp_path / "store").exists()
        np.asarray(NiftiSamples(write(tmp_path / "b.nii.gz", many[: fits + 1])))
        assert len(copies_in(tmp_path / "store")) == 1

    def test_pickles_hold_no_volumes_of_files(self, tmp_path):
        path = write(tmp_path / "a.nii.gz", np.zeros((20, 30, 30, 30)))
        samples = NiftiSamples(path, y=np.arange(20))
        np.asarray(samples)
        pickled = pickle.dumps(samples)
        assert len(pickled) < 4000 < np.asarray(samples).nbytes
        np.testing.assert_array_equal(np.asarray(pickle.loads(pickled)), np.asarray(samples))

    def test_pickled_subsets_of_memory_leave_the_rest_behind(self, volumes):
        samples = NiftiSamples.from_array(volumes, AFFINE, y=range(9))
        subset = pickle.loads(pickle.dumps(samples[[5, 2, 5]]))
        np.testing.assert_array_equal(np.asarray(subset), volumes[[5, 2, 5]])
        assert len(pickle.dumps(samples[[5, 2, 5]])) < len(pickle.dumps(samples)) / 2
        lists = NiftiSamples([nibabel.Nifti1Image(volume, AFFINE) for volume in volumes])
        again = pickle.loads(pickle.dumps(lists[[8, 3]]))
        np.testing.assert_array_equal(np.asarray(again), volumes[[8, 3]])

    def test_unused_copies_are_deleted_when_another_is_made(self, tmp_path, many, monkeypatch):
        np.asarray(NiftiSamples(write(tmp_path / "a.nii.gz", many)))
        old = copies_in(tmp_path / "store")
        os.utime(old[0], (0, 0))
        monkeypatch.setattr("skfmri._cache._cleaned_up", {})
        np.asarray(NiftiSamples(write(tmp_path / "b.nii.gz", many)))
        assert not old[0].exists()

    def test_files_of_others_in_the_directory_are_left_alone(self, tmp_path, many):
        (tmp_path / "store").mkdir()
        thesis = tmp_path / "store" / "thesis.tex"
        thesis.write_text("years of work")
        os.utime(thesis, (0, 0))
        np.asarray(NiftiSamples(write(tmp_path / "a.nii.gz", many)))
        assert thesis.exists()


class TestHash:
    def test_reading_and_pickling_leave_it_alone(self, tmp_path, volumes):
        samples = NiftiSamples(write(tmp_path / "a.nii.gz", volumes), y=range(9))
        before = joblib.hash(samples)
        np.asarray(samples), samples[0]
        assert joblib.hash(samples) == before
        assert joblib.hash(pickle.loads(pickle.dumps(samples))) == before
        assert joblib.hash(NiftiSamples(tmp_path / "a.nii.gz", y=range(9))) == before

    def test_it_depends_on_what_is_chosen_and_on_labels(self, volumes):
        samples = NiftiSamples.from_array(volumes, AFFINE, y=range(9))
        hashes = {
            joblib.hash(NiftiSamples.from_array(array, affine, y=y)[index])
            for array, affine, y, index in [
                (volumes, AFFINE, range(9), slice(None)),
                (volumes, AFFINE, range(9), slice(8)),
                (volumes, AFFINE, range(9), [1, 0, *range(2, 9)]),
                (volumes, AFFINE, range(1, 10), slice(None)),
                (volumes, np.eye(4), range(9), slice(None)),
                (volumes + 1, AFFINE, range(9), slice(None)),
            ]
        }
        assert len(hashes) == 6
        assert joblib.hash(samples) in hashes

    @pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
    def test_a_rewritten_file_is_never_mistaken_for_the_old_one(self, tmp_path, volumes, name):
        path = write(tmp_path / name, volumes)
        samples = NiftiSamples(path)
        np.asarray(samples)
        before = joblib.hash(samples)
        write(path, volumes + 1)
        os.utime(path, ns=(0, 10**18))
        assert joblib.hash(samples) != before
        with pytest.raises(ValueError, match=f"{name} has changed since its header was read"):
            np.asarray(samples)
        np.testing.assert_array_equal(np.asarray(NiftiSamples(path)), volumes + 1)

    def test_a_cached_function_sees_the_rewritten_file(self, tmp_path, volumes):
        path = write(tmp_path / "a.nii.gz", volumes)
        mean = joblib.Memory(tmp_path / "memory", verbose=0).cache(_mean)
        first = mean(NiftiSamples(path))
        write(path, volumes + 1)
        os.utime(path, ns=(0, 10**18))
        assert mean(NiftiSamples(path)) == pytest.approx(first + 1, rel=1e-5)


def _mean(samples):
    return float(np.asarray(samples, dtype=float).mean())


def read(images):
    return np.asarray(NiftiSamples(images))


class TestImagesThatWereLoaded:
    """An image is read as ``np.asanyarray(image.dataobj)`` reads it, wherever it was saved."""

    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nii.bz2", ".img"])
    def test_saving_them_to_one_scratch_file_changes_nothing(self, tmp_path, volumes, suffix):
        cls = nibabel.Nifti1Pair if suffix == ".img" else nibabel.Nifti1Image
        paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
        images = [nibabel.load(write(path, volumes + i, cls=cls)) for i, path in enumerate(paths)]
        for image in images:
            nibabel.save(image, tmp_path / f"scratch{suffix}")
        np.testing.assert_array_equal(read(images), np.concatenate([volumes, volumes + 1]))
        assert joblib.hash(NiftiSamples(images)) == joblib.hash(NiftiSamples(paths))

    def test_a_deleted_preview_is_not_needed(self, tmp_path, volumes):
        image = nibabel.load(write(tmp_path / "a.nii.gz", volumes))
        nibabel.save(image, tmp_path / "preview.nii")
        (tmp_path / "preview.nii").unlink()
        np.testing.assert_array_equal(read(image), volumes)

    def test_the_type_and_scale_are_those_of_the_file_loaded(self, tmp_path, volumes):
        data = np.moveaxis(volumes, 0, -1).astype(np.int16)
        image = nibabel.Nifti1Image(data, AFFINE)
        image.header.set_slope_inter(0.25, -7)
        nibabel.save(image, tmp_path / "a.nii.gz")
        image = nibabel.load(tmp_path / "a.nii.gz")
        image.set_data_dtype(np.float64)
        nibabel.save(image, tmp_path / "b.nii")
        expected = np.moveaxis(np.asanyarray(image.dataobj), -1, 0)
        np.testing.assert_allclose(read(image), expected, rtol=1e-6)

    def test_changes_to_the_cache_do_not_count_and_a_changed_array_does(self, tmp_path, volumes):
        image = nibabel.load(write(tmp_path / "a.nii.gz", volumes))
        image.get_fdata()[:] = 0
        np.testing.assert_array_equal(read(image), volumes)
        changed = nibabel.Nifti1Image(np.asanyarray(image.dataobj) + 1, AFFINE, image.header)
        nibabel.save(changed, tmp_path / "b.nii.gz")
        np.asanyarray(changed.dataobj)[:] += 1
        np.testing.assert_array_equal(read(changed), volumes + 2)

    def test_a_part_of_a_raw_file_is_read_where_it_lies(self, tmp_path, volumes):
        (tmp_path / "raw.bin").write_bytes(b"before" + volumes[:, ::-1].T.tobytes("F"))
        spec = (*SHAPE, 9), np.dtype(np.float32), 6
        proxy = nibabel.arrayproxy.ArrayProxy(str(tmp_path / "raw.bin"), spec)
        image = nibabel.Nifti1Image(proxy, AFFINE)
        expected = np.moveaxis(np.asanyarray(image.dataobj), -1, 0)
        np.testing.assert_array_equal(read(image), expected)

    def test_one_whose_file_is_gone_is_named(self, tmp_path, volumes):
        image = nibabel.load(write(tmp_path / "a.nii.gz", volumes))
        nibabel.save(image, tmp_path / "b.nii.gz")
        (tmp_path / "a.nii.gz").unlink()
        with pytest.raises(FileNotFoundError, match=r"no file .*a.nii.gz, which image 0 reads"):
            NiftiSamples(image)

    def test_two_views_of_one_file_have_a_copy_each(self, tmp_path, volumes):
        image = nibabel.load(write(tmp_path / "a.nii.gz", volumes))
        proxy = image.dataobj
        spec = (*SHAPE, 2), proxy.dtype, proxy.offset
        start = nibabel.Nifti1Image(nibabel.arrayproxy.ArrayProxy(proxy.file_like, spec), AFFINE)
        np.testing.assert_array_equal(read([image, start]), [*volumes, *volumes[:2]])


def table_of(values):
    return pd.Series(values, index=np.arange(len(values))[::-1] + 7)


NAN = float("nan")
MISSING = {
    "strings with NaN": (["a", NAN, "b"], r"1 missing label \(NaN\) for 3 .* position 1\."),
    "strings with None": (["a", "b", None], r"\(None\) for 3 volumes, at position 2\."),
    "numbers with None": ([None, 1, None], r"2 missing labels \(None\) .* positions 0, 2\."),
    "numbers with NaN": ([1, 2, NAN], r"\(NaN\) for 3 volumes, at position 2"),
    "pandas.NA": (["a", pd.NA, "b"], r"\(<NA>\) for 3 volumes, at position 1"),
    "NaT": ([pd.Timestamp("2020-01-01"), pd.NaT, pd.NaT], r"\(NaT\) .* positions 1, 2"),
    "times": (np.array(["2020", "NaT", "2021"], "M8[D]"), r"\(NaT\) .* position 1"),
    "what NumPy made of NaN": (np.array(["a", NAN, "b"]), r"\('nan'\) .* position 1"),
    "series": (table_of(["a", "b", None]), r"for 3 volumes, at position 2"),
    "categories": (table_of(["a", None, "b"]).astype("category"), r"at position 1"),
    "nullable integers": (table_of([1, None, 2]).astype("Int64"), r"at position 1"),
    "masked": (np.ma.masked_array([1, 2, 3], [0, 0, 1]), r"\(masked\) .* position 2"),
}


class TestLabels:
    @pytest.fixture
    def samples(self):
        return NiftiSamples.from_array(np.ones((3, 1, 1, 1)), np.eye(4), y=[0, 1, 0])

    @pytest.mark.parametrize("case", MISSING)
    @pytest.mark.parametrize(
        ("name", "what"), [("y", "label"), ("groups", "group label"), ("runs", "run label")]
    )
    def test_missing_ones_are_refused_with_their_positions(self, case, name, what):
        values, message = MISSING[case]
        with pytest.raises(ValueError, match=message.replace("missing label", f"missing {what}")):
            NiftiSamples.from_array(np.ones((3, 1, 1, 1)), np.eye(4), **{name: values})

    @pytest.mark.parametrize("name", ["y", "groups", "runs"])
    def test_they_are_checked_when_they_are_assigned_later(self, samples, name):
        before = getattr(samples, name).tolist()
        for values, message in [
            (["a", NAN, "b"], r"\(NaN\) for 3 volumes, at position 1"),
            ([1, 2], "Found 2 .*labels for 3 volumes"),
            (np.full((3, 1), "a"), r"one-dimensional, but have shape \(3, 1\)"),
            ([1, "a", 2], r"the number 1 at position 0 and the string 'a' at position 1"),
            ([[1], [2, 3], [4]], "one-dimensional, but those given have no common shape"),
        ]:
            with pytest.raises(ValueError, match=message):
                setattr(samples, name, values)
        assert getattr(samples, name).tolist() == before

    def test_many_positions_are_cut_short(self):
        with pytest.raises(ValueError, match=r"9 missing .* positions 0, 1, 2, 3, 4 and so on\."):
            NiftiSamples.from_array(np.ones((9, 1, 1, 1)), np.eye(4), y=[None] * 9)

    @pytest.mark.parametrize("name", ["y", "groups", "runs"])
    def test_a_series_is_taken_by_position(self, samples, name):
        setattr(samples, name, table_of(["a", "b", "c"]))
        assert getattr(samples[[2, 0]], name).tolist() == ["c", "a"]

    @pytest.mark.parametrize("values", [["", "a", "None"], ["none", "n/a", "NA"], [True, 2, 0.5]])
    def test_words_that_may_be_labels_are_taken(self, samples, values):
        samples.y = values
        assert samples.y.tolist() == values

    def test_y_can_be_removed_and_groups_cannot(self, samples):
        samples.y = None
        assert samples[:2].y is None
        for name, what in [("groups", "group labels"), ("runs", "run labels")]:
            with pytest.raises(ValueError, match=f"{what} cannot be None"):
                setattr(samples, name, None)

    def test_the_representation_never_fails(self, samples):
        samples.groups = np.array(["a", "b", "c"], dtype=object)
        samples.groups[1:] = [None, 2]
        assert repr(samples) == "NiftiSamples(3 volumes of 1 x 1 x 1, 3 groups)"

    def test_choosing_volumes_checks_nothing_again(self, samples, monkeypatch):
        def refuse(*_, **__):
            raise AssertionError

        monkeypatch.setattr("skfmri.samples.nifti.check_per_volume", refuse)
        assert pickle.loads(pickle.dumps(samples[1:])).y.tolist() == [1, 0]


class TestWhatNamesImages:
    @pytest.fixture
    def folder(self, tmp_path, volumes):
        for i, run in enumerate([10, 2, 1]):
            write(tmp_path / f"run-{run}.nii", volumes[i : i + 1])
        return tmp_path

    @pytest.fixture
    def paths(self, folder):
        return [folder / f"run-{run}.nii" for run in (10, 2, 1)]

    @pytest.mark.parametrize(
        "given",
        [
            tuple,
            table_of,
            pd.Index,
            lambda paths: table_of(list(map(str, paths))),
            lambda paths: np.array(list(map(str, paths))),
            lambda paths: np.array(paths, dtype=object),
            iter,
            lambda paths: (path for path in paths),
            lambda paths: map(nibabel.load, paths),
        ],
    )
    def test_every_sequence_keeps_its_order(self, paths, volumes, given):
        np.testing.assert_array_equal(read(given(paths)), volumes[:3])

    def test_path_glob_keeps_its_order(self, folder):
        images = [nibabel.load(path) for path in folder.glob("*.nii")]
        order = [np.asanyarray(image.dataobj)[..., 0] for image in images]
        np.testing.assert_array_equal(read(folder.glob("*.nii")), order)

    def test_patterns_sort_run_2_before_run_10(self, folder, volumes):
        np.testing.assert_array_equal(read(f"{folder}/run-*.nii"), volumes[[2, 1, 0]])
        np.testing.assert_array_equal(read(folder / "run-?.nii"), volumes[[2, 1]])

    def test_patterns_reach_into_folders_in_natural_order(self, folder, volumes):
        for i, subject in enumerate([12, 3]):
            (folder / f"sub-{subject}").mkdir()
            write(folder / f"sub-{subject}" / "a.nii", volumes[i : i + 1])
        np.testing.assert_array_equal(read(f"{folder}/**/a.nii"), volumes[[1, 0]])

    def test_a_path_that_exists_is_no_pattern(self, folder, volumes):
        write(folder / "run-[2].nii", volumes[7:9])
        np.testing.assert_array_equal(read(f"{folder}/run-[2].nii"), volumes[7:9])

    def test_a_pattern_without_a_match_is_refused(self, folder):
        with pytest.raises(FileNotFoundError, match=r"no file .*sub-\*.nii, and none matches it"):
            NiftiSamples(f"{folder}/sub-*.nii")

    def test_things_without_an_order_are_refused(self, paths):
        for images in [set(paths), {"a": paths[0]}]:
            with pytest.raises(TypeError, match="has no order that labels could follow"):
                NiftiSamples(images)
        table = pd.DataFrame({"path": paths})
        with pytest.raises(TypeError, match=r"DataFrame of shape \(3, 1\).*Pass one column"):
            NiftiSamples(table)
        with pytest.raises(TypeError, match="Image 1 is a float"):
            NiftiSamples(pd.Series([str(paths[0]), NAN]))
        with pytest.raises(TypeError, match="Image 0 is a NiftiSamples"):
            NiftiSamples(NiftiSamples(paths))
        with pytest.raises(ValueError, match="empty list"):
            NiftiSamples(iter([]))

    def test_a_column_of_a_table_can_be_one_of_several_inputs(self, paths, volumes):
        def flatten(samples):
            return np.asarray(as_samples(samples, "flatten")).reshape(len(samples), -1)

        table = pd.DataFrame({"path": paths, "age": [30, 41, 52]}, index=list("cab"))
        columns = ColumnTransformer(
            [("image", FunctionTransformer(flatten), "path"), ("age", "passthrough", ["age"])]
        )
        found = columns.fit_transform(table)
        np.testing.assert_array_equal(found[:, :-1], volumes[:3].reshape(3, -1))
        assert found[:, -1].tolist() == [30, 41, 52]

    def test_estimators_take_an_array_of_paths(self, paths, volumes):
        samples = as_samples(np.array(paths, dtype=object), "VoxelZScorer")
        np.testing.assert_array_equal(np.asarray(samples), volumes[:3])


class TestRefusals:
    def test_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"There is no file .*nowhere\.nii\.gz"):
            NiftiSamples(tmp_path / "nowhere.nii.gz")

    def test_other_grid_names_both_files_and_shapes(self, tmp_path, volumes):
        first = write(tmp_path / "first.nii.gz", volumes)
        second = write(tmp_path / "second.nii.gz", volumes[:, :5])
        message = r"second.nii.gz has a grid of 5 x 7 x 8 voxels, but .*first.nii.gz has 6 x 7 x 8"
        with pytest.raises(ValueError, match=message):
            NiftiSamples([first, second])

    def test_other_affine_names_both(self, tmp_path, volumes):
        first = write(tmp_path / "first.nii.gz", volumes)
        moved = AFFINE.copy()
        moved[0, 3] += 0.01
        second = write(tmp_path / "second.nii.gz", volumes, affine=moved)
        with pytest.raises(ValueError, match=r"second.nii.gz has the affine .*40.01.*first.nii.gz"):
            NiftiSamples([first, second])

    def test_rounding_in_an_affine_is_no_difference(self, tmp_path, volumes):
        first = write(tmp_path / "first.nii.gz", volumes)
        in_memory = nibabel.Nifti1Image(np.moveaxis(volumes, 0, -1), AFFINE + 1e-7)
        assert len(NiftiSamples([first, in_memory])) == 18

    @pytest.fixture(params=["isal", "zlib"])
    def inflater(self, request, monkeypatch, is_kept):
        """Read with isal and, as where it is not installed, without."""
        if request.param == "zlib":
            monkeypatch.setattr(skfmri.samples.compressed, "isal_zlib", None)
        else:
            pytest.importorskip("isal", reason="needs the extra skfmri[fast]")

    def test_truncated_files_name_what_was_found(self, tmp_path, volumes, inflater):
        plain = write(tmp_path / "a.nii", volumes)
        plain.write_bytes(plain.read_bytes()[:-100])
        with pytest.raises(
            ValueError, match=r"a.nii is truncated .* 9 volumes \(12096 bytes .* 11996"
        ):
            NiftiSamples(plain)
        packed = write(tmp_path / "b.nii.gz", volumes)
        packed.write_bytes(packed.read_bytes()[:-500])
        samples = NiftiSamples(packed)
        with pytest.raises(ValueError, match=r"b.nii.gz is truncated or damaged"):
            np.asarray(samples)
        short = tmp_path / "c.nii.gz"
        short.write_bytes(gzip.compress(gzip.decompress(write(short, volumes).read_bytes())[:-4]))
        with pytest.raises(ValueError, match=r"c.nii.gz is truncated .* of which 12092 are there"):
            np.asarray(NiftiSamples(short))
        assert not list((tmp_path / "store").glob("*.part"))

    @pytest.mark.parametrize("level", [0, 6])
    def test_a_flipped_bit_is_never_read_as_data(self, tmp_path, volumes, level, inflater):
        path = write(tmp_path / "a.nii", volumes)
        packed = bytearray(gzip.compress(path.read_bytes(), compresslevel=level))
        packed[len(packed) // 2] ^= 4
        damaged = tmp_path / "a.nii.gz"
        damaged.write_bytes(packed)
        with pytest.raises(ValueError, match=r"a.nii.gz is truncated or damaged"):
            np.asarray(NiftiSamples(damaged))

    def test_an_unknown_data_type_is_named_with_its_file(self, tmp_path, volumes):
        path = write(tmp_path / "a.nii", volumes)
        content = bytearray(path.read_bytes())
        content[70:72] = (12345).to_bytes(2, "little")
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a.nii cannot be read as a NIfTI image"):
            NiftiSamples(path)

    def test_files_that_are_no_nifti(self, tmp_path, volumes):
        text = tmp_path / "notes.nii"
        text.write_text("no image at all")
        with pytest.raises(ValueError, match=r"notes.nii cannot be read as a NIfTI image"):
            NiftiSamples(text)
        nibabel.save(nibabel.MGHImage(volumes[0], AFFINE), tmp_path / "a.mgz")
        with pytest.raises(ValueError, match=r"a.mgz is a MGHImage, not a NIfTI image"):
            NiftiSamples(tmp_path / "a.mgz")

    def test_junk_behind_a_whole_gzip_stream_is_not_read(self, tmp_path, volumes, inflater):
        path = write(tmp_path / "a.nii.gz", volumes)
        whole = path.read_bytes()
        for junk in [b"junk", b"\0" * 700, gzip.compress(b"more")[:-3], b"\x1f\x8b" * 9]:
            path.write_bytes(whole + junk)
            expected = np.moveaxis(np.asanyarray(nibabel.load(path).dataobj), -1, 0)
            np.testing.assert_array_equal(read(path), expected)
            np.testing.assert_array_equal(expected, volumes)

    def test_gzip_streams_in_a_row_are_one(self, tmp_path, volumes, inflater):
        content = write(tmp_path / "a.nii", volumes).read_bytes()
        parts = [gzip.compress(content[i : i + 999]) for i in range(0, len(content), 999)]
        (tmp_path / "a.nii.gz").write_bytes(b"\0\0".join(parts))
        np.testing.assert_array_equal(read(tmp_path / "a.nii.gz"), volumes)
        parts[5] = b"junk"
        (tmp_path / "b.nii.gz").write_bytes(b"".join(parts))
        with pytest.raises(ValueError, match=r"b.nii.gz is truncated or damaged"):
            read(tmp_path / "b.nii.gz")

    def test_damage_in_gzip_is_not_called_an_early_end(self, tmp_path, volumes, inflater):
        path = write(tmp_path / "a.nii.gz", volumes)
        whole = path.read_bytes()
        for content in [whole[:-6] + b"\0" + whole[-5:], whole[:-500], whole[:-3]]:
            path.write_bytes(content)
            with pytest.raises(ValueError, match=r"12096 bytes of data\), but they cannot be unp"):
                read(path)

    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
    @pytest.mark.parametrize("offset", [np.inf, -np.inf, np.nan, -1, 1e30])
    def test_data_that_begin_nowhere(self, tmp_path, volumes, suffix, offset):
        path = write(tmp_path / "a.nii", volumes)
        content = bytearray(path.read_bytes())
        content[108:112] = np.float32(offset).tobytes()
        path = tmp_path / f"b{suffix}"
        path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
        with pytest.raises(ValueError, match=rf"b{suffix} (is|cannot be read|.*damaged)"):
            read(path)

    def test_a_negative_offset_of_a_pair(self, tmp_path, volumes):
        write(tmp_path / "a.img", volumes, cls=nibabel.Nifti1Pair)
        content = bytearray((tmp_path / "a.hdr").read_bytes())
        content[108:112] = np.float32(-16).tobytes()
        (tmp_path / "a.hdr").write_bytes(content)
        with pytest.raises(ValueError, match=r"a.img is damaged: .* begin at byte -16"):
            NiftiSamples(tmp_path / "a.img")

    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".PAR", ".mgz", ".gii", ".HEAD", ".hdr"])
    def test_empty_files(self, tmp_path, suffix):
        path = tmp_path / f"a{suffix}"
        path.touch()
        with pytest.raises(ValueError, match=rf"a{suffix} is empty: it has 0 bytes.*download"):
            NiftiSamples(path)

    def test_empty_images(self, tmp_path, volumes):
        data = np.zeros((64, 64, 0, 1), dtype=np.float32)
        image = nibabel.Nifti1Image(data, AFFINE)
        message = r"is empty: its shape is \(64, 64, 0, 1\), so it has no voxels or no volumes"
        with pytest.raises(ValueError, match=rf"in memory\) {message}"):
            NiftiSamples(image)
        nibabel.save(image, tmp_path / "a.nii")
        with pytest.raises(ValueError, match=f"a.nii {message}"):
            NiftiSamples(tmp_path / "a.nii")

    @pytest.mark.parametrize("given", [".hdr", ".img"])
    def test_half_a_pair(self, tmp_path, volumes, given):
        write(tmp_path / "a.img", volumes, cls=nibabel.Nifti1Pair)
        (tmp_path / {".hdr": "a.img", ".img": "a.hdr"}[given]).unlink()
        with pytest.raises(ValueError, match=rf"a{given} .*(both files|\.hdr and \.img)"):
            NiftiSamples(tmp_path / f"a{given}")

    @pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.PAR"])
    def test_content_that_git_annex_has_not_fetched(self, tmp_path, name):
        (tmp_path / name).symlink_to("../.git/annex/objects/xy/MD5E-s12--0.nii.gz")
        with pytest.raises(ValueError, match=rf"{name} is a link of git-annex .*`datalad get`"):
            NiftiSamples(tmp_path / name)
        (tmp_path / name).unlink()
        (tmp_path / name).write_text("/annex/objects/MD5E-s12--0.nii.gz\n")
        with pytest.raises(ValueError, match=rf"{name} is a placeholder .*`datalad get`"):
            NiftiSamples(tmp_path / name)

    def test_links_and_folders(self, tmp_path):
        (tmp_path / "a.nii").symlink_to("nowhere.nii")
        with pytest.raises(ValueError, match=r"a.nii is a link to nowhere.nii, which does not"):
            NiftiSamples(tmp_path / "a.nii")
        with pytest.raises(ValueError, match="is a folder, not an image"):
            NiftiSamples(tmp_path)

    @pytest.mark.filterwarnings("ignore:PAR/REC version:UserWarning")
    def test_formats_that_are_no_nifti_say_what_to_do(self, tmp_path):
        for name in ["a.PAR", "a.REC", "a.HEAD", "a+orig.BRIK", "a.mgz", "a.gii", "a.mnc", "a.xyz"]:
            (tmp_path / name).write_text("neither image nor header\n" * 9)
            with pytest.raises(ValueError, match=rf"{re.escape(name)} cannot .*Convert it to NIf"):
                NiftiSamples(tmp_path / name)
        nibabel.save(nibabel.GiftiImage(), tmp_path / "b.gii")
        with pytest.raises(ValueError, match=r"b.gii is a GiftiImage, .* on a surface"):
            NiftiSamples(tmp_path / "b.gii")
        nibabel.save(nibabel.AnalyzeImage(np.ones(SHAPE, "i2"), AFFINE), tmp_path / "b.img")
        with pytest.raises(ValueError, match=r"b.img is a \w+Image, .*Convert it to NIfTI"):
            NiftiSamples(tmp_path / "b.img")

    def test_zstd_without_its_module(self, tmp_path):
        pytest.importorskip("nibabel._compression")
        if nibabel._compression.HAVE_ZSTD:
            pytest.skip("the module is installed")
        (tmp_path / "a.nii.zst").write_bytes(b"\x28\xb5\x2f\xfd" + b"\0" * 99)
        with pytest.raises(ValueError, match=r"a.nii.zst cannot be read .*Unpack it first with"):
            NiftiSamples(tmp_path / "a.nii.zst")

    @pytest.mark.parametrize("error", [KeyError("x"), AttributeError(), OverflowError("big")])
    def test_whatever_an_image_library_raises_names_the_file(
        self, tmp_path, volumes, monkeypatch, error
    ):
        path = write(tmp_path / "a.nii", volumes)

        def fail(*_):
            raise error

        monkeypatch.setattr(nibabel, "load", fail)
        reason = str(error) or type(error).__name__
        with pytest.raises(ValueError, match=rf"a.nii cannot be read as a NIfTI image: {reason}"):
            NiftiSamples(path)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"y": range(8)}, "Found 8 labels for 9 volumes"),
            ({"groups": range(10)}, "Found 10 group labels for 9 volumes"),
            ({"runs": [1]}, "Found 1 run labels for 9 volumes"),
            ({"y": np.full((9, 2), "a")}, r"must be one-dimensional, but have shape \(9, 2\)"),
        ],
    )
    def test_labels_that_do_not_fit(self, volumes, values, message):
        with pytest.raises(ValueError, match=message):
            NiftiSamples.from_array(volumes, AFFINE, **values)

    def test_things_that_are_no_images(self, volumes):
        with pytest.raises(ValueError, match="empty list"):
            NiftiSamples([])
        with pytest.raises(TypeError, match=r"Image 0 is a ndarray.*from_array"):
            NiftiSamples(volumes)
        with pytest.raises(
            ValueError, match=r"\(6, 7, 8\), but volumes need \(n_samples, x, y, z\)"
        ):
            NiftiSamples.from_array(volumes[0], AFFINE)
        with pytest.raises(ValueError, match="cannot be inverted"):
            NiftiSamples.from_array(volumes, np.diag([1, 1, 0, 1]))
        with pytest.raises(ValueError, match="complex64, which are not real"):
            NiftiSamples.from_array(volumes.astype(np.complex64), AFFINE)
