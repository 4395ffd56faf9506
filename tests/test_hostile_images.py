"""Files that change while they are read, promise more than they hold, or are none."""

import bz2
import gzip
import io
import os
import tracemalloc

import nibabel
import numpy as np
import pytest

from skfmri import NiftiSamples
from skfmri._arrays import mapping_of
from skfmri.samples import images

SHAPE = (6, 7, 8)
AFFINE = np.array([[-3.0, 0, 0, 40], [0, 3.1, 0.2, -20], [0, -0.2, 3.5, 11], [0, 0, 0, 1]])


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFMRI_CACHE", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def volumes():
    return np.random.default_rng(0).normal(100, 20, size=(9, *SHAPE)).astype(np.float32)


def write(path, volumes, dtype=np.float32, cls=nibabel.Nifti1Image):
    image = cls(np.moveaxis(volumes, 0, -1).astype(dtype), AFFINE)
    if dtype == np.int16:
        image.header.set_slope_inter(0.25, -7)
    nibabel.save(image, path)
    return path


def expected_values(path):
    return np.moveaxis(np.asanyarray(nibabel.load(path).dataobj), -1, 0).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
class TestPlainFilesThatChange:
    @pytest.fixture
    def path(self, tmp_path, volumes, dtype):
        return write(tmp_path / "a.nii", volumes, dtype)

    @pytest.fixture
    def during_reading(self, monkeypatch):
        """Call a function after the first piece of a file was read."""
        monkeypatch.setattr(images, "CHUNK_BYTES", 1000)

        def prepare(change):
            changes = iter([change])
            read_into = images._read_into

            def read_and_change(file, values):
                read_into(file, values)
                next(changes, lambda: None)()

            monkeypatch.setattr(images, "_read_into", read_and_change)

        return prepare

    def test_what_was_read_is_no_map_of_them(self, path):
        samples = NiftiSamples(path)
        expected = expected_values(path)
        (batch,) = samples.iter_batches()
        assert mapping_of(batch)[0] is None
        # Touching a page of a mapped file would now end the process with SIGBUS.
        os.truncate(path, 400)
        np.testing.assert_array_equal(batch, expected)
        assert batch.transpose(0, 3, 2, 1).flags.c_contiguous

    def test_shortened_before_reading(self, path):
        samples = NiftiSamples(path)
        os.truncate(path, 400)
        with pytest.raises(ValueError, match=r"a.nii has changed since its header was read"):
            np.asarray(samples)

    def test_shortened_while_reading(self, path, during_reading):
        samples = NiftiSamples(path)[[0, 1, 5, 8]]
        during_reading(lambda: os.truncate(path, 400))
        with pytest.raises(ValueError, match=r"a.nii has changed since its header was read"):
            np.asarray(samples)

    def test_overwritten_in_place_while_reading(self, path, during_reading):
        samples = NiftiSamples(path)[[0, 1, 5, 8]]

        def overwrite():
            with open(path, "r+b") as file:
                file.seek(352)
                file.write(b"\0" * 9000)
            os.utime(path, ns=(0, 10**18))

        during_reading(overwrite)
        with pytest.raises(ValueError, match=r"a.nii has changed since its header was read"):
            np.asarray(samples)

    def test_an_end_that_no_change_explains(self, path, volumes, monkeypatch):
        samples = NiftiSamples(path)
        stamp = samples._sources[0].stamp
        os.truncate(path, 4000)
        monkeypatch.setattr("skfmri.samples.sources.FileSource._current_stamp", lambda _: stamp)
        with pytest.raises(ValueError, match=r"a.nii is truncated .* bytes are missing at the end"):
            np.asarray(samples)

    def test_a_failure_of_the_disk_names_the_file(self, path, monkeypatch):
        def fail(*_):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(images, "_read_into", fail)
        with pytest.raises(OSError, match=r"\[Errno 5\] Input/output error: .*a.nii"):
            np.asarray(NiftiSamples(path))

    def test_deleted(self, path):
        samples = NiftiSamples(path)
        path.unlink()
        with pytest.raises(FileNotFoundError, match=r"no file .*a.nii any more. Put it back"):
            np.asarray(samples)


class TestReading:
    @pytest.mark.parametrize("dtype", ["<f4", ">f4", "<i2", ">i2", "u1", "<f8"])
    @pytest.mark.parametrize("chosen", [slice(None), [3], [2, 3, 4, 8, 0, 1, 1], []])
    def test_pieces_of_any_size_give_all_values(
        self, tmp_path, volumes, monkeypatch, dtype, chosen
    ):
        header = nibabel.Nifti1Header(endianness="<" if dtype[0] == "u" else dtype[0])
        header.set_data_dtype(dtype)
        image = nibabel.Nifti1Image(np.moveaxis(volumes, 0, -1).astype(dtype), AFFINE, header)
        nibabel.save(image, tmp_path / "a.nii")
        for size in (1, 100, 10**6):
            monkeypatch.setattr(images, "CHUNK_BYTES", size)
            found = np.asarray(NiftiSamples(tmp_path / "a.nii")[chosen])
            np.testing.assert_array_equal(found, expected_values(tmp_path / "a.nii")[chosen])

    def test_a_system_that_reads_less_than_asked_for(self):
        class Slow(io.BytesIO):
            def readinto(self, target):
                return super().readinto(target[:7])

        values = np.zeros(50, ">i2")
        images._read_into(Slow(np.arange(50, dtype=">i2").tobytes()), values)
        np.testing.assert_array_equal(values, np.arange(50))
        with pytest.raises(EOFError, match="3 bytes are missing"):
            images._read_into(Slow(b"1" * 97), values)

    def test_scaling_needs_little_more_memory_than_the_result(self, tmp_path):
        write(tmp_path / "a.nii", np.ones((40, 32, 32, 32)), np.int16)
        samples = NiftiSamples(tmp_path / "a.nii")
        read = samples._sources[0].read
        tracemalloc.start()
        result = read(np.arange(40))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1.5 * result.nbytes

    def test_an_open_file_behind_an_image_is_not_mapped(self, tmp_path, volumes):
        with open(write(tmp_path / "a.nii", volumes), "rb") as file:
            holder = nibabel.FileHolder(fileobj=file)
            image = nibabel.Nifti1Image.from_file_map({"image": holder, "header": holder})
            assert isinstance(image.dataobj[:], np.memmap)
            (batch,) = NiftiSamples(image).iter_batches()
        assert mapping_of(batch)[0] is None
        np.testing.assert_array_equal(batch, volumes)


@pytest.mark.parametrize("suffix", [".gz", ".bz2"])
@pytest.mark.parametrize("is_kept", [True, False])
def test_a_packed_file_that_is_replaced_while_it_is_decoded(
    tmp_path, volumes, own_store, monkeypatch, suffix, is_kept
):
    if is_kept:
        monkeypatch.setattr("skfmri.samples.sources.UNKEPT_BYTES", 0)
    path = write(tmp_path / f"a.nii{suffix}", volumes)
    samples = NiftiSamples(path)
    before = expected_values(path)
    chunks = type(samples._sources[0])._data_chunks

    def decode_and_replace(self, source):
        yield from chunks(self, source)
        write(tmp_path / f"b.nii{suffix}", volumes + 1).replace(path)

    monkeypatch.setattr("skfmri.samples.sources.FileSource._data_chunks", decode_and_replace)
    with pytest.raises(ValueError, match="has changed since its header was read"):
        np.asarray(samples)
    assert not list(own_store.glob("*.skfmri-copy"))
    monkeypatch.undo()
    monkeypatch.setenv("SKFMRI_CACHE", str(own_store))
    np.testing.assert_array_equal(np.asarray(NiftiSamples(path)), before + 1)


HUGE = [2**31, 2**40, 2**62, 2**63 - 1]


class TestSizes:
    @pytest.mark.parametrize("axis", [1, 4])
    @pytest.mark.parametrize("length", HUGE)
    @pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
    def test_a_huge_one_is_refused_before_anything_is_allocated(
        self, tmp_path, volumes, axis, length, pack
    ):
        path = write(tmp_path / "a.nii", volumes, cls=nibabel.Nifti2Image)
        content = bytearray(path.read_bytes())
        content[16 + 8 * axis : 24 + 8 * axis] = length.to_bytes(8, "little")
        suffix = {bytes: "", gzip.compress: ".gz", bz2.compress: ".bz2"}[pack]
        path = tmp_path / f"b.nii{suffix}"
        path.write_bytes(pack(bytes(content)))
        tracemalloc.start()
        with pytest.raises(ValueError, match=rf"b.nii{suffix} is truncated .* promises .* there"):
            NiftiSamples(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10e6

    @pytest.mark.parametrize("length", [2**31 - 16, 2**30, 7, 0, -1, -(2**31)])
    @pytest.mark.parametrize("endianness", ["<", ">"])
    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".img", ".hdr"])
    @pytest.mark.parametrize("version", [1, 2])
    def test_an_extension_of_a_header_cannot_claim_more_than_there_is(
        self, tmp_path, length, endianness, suffix, version
    ):
        kind = "Image" if suffix.startswith(".nii") else "Pair"
        cls = getattr(nibabel, f"Nifti{version}{kind}")
        header = cls.header_class(endianness=endianness)
        comments = [nibabel.nifti1.Nifti1Extension("comment", b"x" * 40) for _ in range(3)]
        header.extensions.extend(comments)
        image = cls(np.ones(SHAPE, np.float32), AFFINE, header)
        path = tmp_path / f"a{suffix}"
        nibabel.save(image, path)
        assert len(nibabel.load(path).header.extensions) == 3
        assert (np.asarray(NiftiSamples(path)) == 1).all()
        holder = path.with_suffix(".hdr") if kind == "Pair" else path
        content = holder.read_bytes()
        content = bytearray(gzip.decompress(content) if suffix == ".nii.gz" else content)
        place = {1: 348, 2: 540}[version] + 4 + 48
        order = {"<": "little", ">": "big"}[endianness]
        assert int.from_bytes(content[place : place + 4], order) == 48
        content[place : place + 4] = length.to_bytes(4, order, signed=True)
        holder.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
        tracemalloc.start()
        with pytest.raises(ValueError, match=rf"a{suffix} .* extension of its header claims .* by"):
            NiftiSamples(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1e6

    def test_an_image_that_packs_well_is_no_bomb(self, tmp_path):
        # bzip2 leaves a thousandth of a thousandth of such images, gzip a thousandth.
        zeros = np.zeros((200, 20, 20, 20), np.uint8)
        for suffix in (".nii.gz", ".nii.bz2"):
            path = write(tmp_path / f"a{suffix}", zeros, np.uint8)
            assert not np.asarray(NiftiSamples(path)).any()
        assert zeros.nbytes > 1032 * path.stat().st_size

    def test_damage_in_such_an_image_is_noticed_at_once(self, tmp_path):
        path = write(tmp_path / "a.nii.bz2", np.zeros((200, 20, 20, 20)), np.uint8)
        path.write_bytes(path.read_bytes()[:-9] + b"\0" * 9)
        with pytest.raises(ValueError, match=r"a.nii.bz2 is truncated or damaged"):
            NiftiSamples(path)


class TestPathsWithoutAnImage:
    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
    def test_a_pipe_is_refused_and_does_not_hang(self, tmp_path):
        os.mkfifo(tmp_path / "a.nii")
        with pytest.raises(ValueError, match=r"a.nii is not a regular file"):
            NiftiSamples(tmp_path / "a.nii")

    @pytest.mark.parametrize(
        ("name", "error"), [("a\0.nii", FileNotFoundError), ("a" * 999, OSError)]
    )
    def test_impossible_names(self, tmp_path, name, error):
        with pytest.raises(error, match=r"There is no file|cannot be reached: File name too long"):
            NiftiSamples(str(tmp_path / name))

    def test_a_path_through_a_file(self, tmp_path, volumes):
        path = write(tmp_path / "a.nii", volumes)
        with pytest.raises(FileNotFoundError, match=r"no file .*a.nii/b.nii"):
            NiftiSamples(path / "b.nii")

    def test_one_that_may_not_be_read(self, tmp_path, volumes, monkeypatch):
        path = write(tmp_path / "a.nii", volumes)

        def refuse(*_, **__):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(nibabel, "load", refuse)
        with pytest.raises(ValueError, match=r"a.nii cannot be read .*Get the right to read it"):
            NiftiSamples(path)
