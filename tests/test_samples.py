import gzip
import os
import pickle
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import joblib
import nibabel
import numpy as np
import pytest
from hypothesis import given, strategies as st
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import _num_samples, indexable

import skfmri.samples.images
import skfmri.samples.sources
from skfmri.samples import NiftiSamples

SHAPE = (6, 7, 8)
AFFINE = np.array([[-3.0, 0, 0, 40], [0, 3.1, 0.2, -20], [0, -0.2, 3.5, 11], [0, 0, 0, 1]])


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFMRI_CACHE", str(tmp_path / "store"))


@pytest.fixture
def volumes():
    return np.random.default_rng(0).normal(100, 20, size=(9, *SHAPE)).astype(np.float32)


def write(path, volumes, affine=AFFINE, dtype=np.float32, cls=nibabel.Nifti1Image):
    data = np.moveaxis(np.asarray(volumes, dtype=dtype), 0, -1)
    image = cls(data, affine)
    image.header.set_data_dtype(dtype)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.img", "a.nii.bz2"])
@pytest.mark.parametrize("cls", [nibabel.Nifti1Image, nibabel.Nifti2Image])
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


def copies_in(store):
    return [path for path in store.iterdir() if path.suffix != ".lock"]


class TestSharing:
    def test_threads_share_one_decoded_copy(self, tmp_path, volumes):
        path = write(tmp_path / "a.nii.gz", volumes)
        with ThreadPoolExecutor(4) as pool:
            read = list(pool.map(lambda _: np.asarray(NiftiSamples(path)), range(8)))
        assert len(copies_in(tmp_path / "store")) == 1
        for array in read:
            np.testing.assert_array_equal(array, volumes)

    def test_a_compressed_file_is_decoded_once_for_all_processes(self, tmp_path, volumes):
        path = write(tmp_path / "a.nii.gz", volumes)
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
        np.testing.assert_array_equal(np.asarray(NiftiSamples(path)), volumes)
        assert copies[0].stat().st_ino == inode
        assert copies[0].stat().st_ctime_ns >= changed

    def test_a_plain_file_needs_no_copy(self, tmp_path, volumes):
        np.asarray(NiftiSamples(write(tmp_path / "a.nii", volumes)))
        assert not (tmp_path / "store").exists()

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

    def test_unused_copies_are_deleted_when_another_is_made(self, tmp_path, volumes):
        np.asarray(NiftiSamples(write(tmp_path / "a.nii.gz", volumes)))
        old = copies_in(tmp_path / "store")
        os.utime(old[0], (0, 0))
        np.asarray(NiftiSamples(write(tmp_path / "b.nii.gz", volumes)))
        assert not old[0].exists()

    def test_files_of_others_in_the_directory_are_left_alone(self, tmp_path, volumes):
        (tmp_path / "store").mkdir()
        thesis = tmp_path / "store" / "thesis.tex"
        thesis.write_text("years of work")
        os.utime(thesis, (0, 0))
        np.asarray(NiftiSamples(write(tmp_path / "a.nii.gz", volumes)))
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
    def inflater(self, request, monkeypatch):
        """Read with isal and, as where it is not installed, without."""
        if request.param == "zlib":
            monkeypatch.setattr(skfmri.samples.images, "igzip", None)
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
        with pytest.raises(ValueError, match=r"c.nii.gz is truncated .* of which 12092 were read"):
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

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"y": range(8)}, "Found 8 labels for 9 volumes"),
            ({"groups": range(10)}, "Found 10 group labels for 9 volumes"),
            ({"runs": [1]}, "Found 1 run labels for 9 volumes"),
            ({"y": np.zeros((9, 2))}, r"must be one-dimensional, but have shape \(9, 2\)"),
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
