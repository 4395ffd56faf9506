import copy
import json
import stat
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from skfmri.persistence import archive, load, model_card, training_record


def rewrite(source, target, edit, compression=zipfile.ZIP_STORED):
    """Write the entries of a zip file after a change to the list of (entry, data)."""
    with zipfile.ZipFile(source) as file:
        entries = [(info, file.read(info)) for info in file.infolist()]
    edit(entries)
    with zipfile.ZipFile(target, "w", compression) as file:
        for info, data in entries:
            file.writestr(info, data, compress_type=compression)
    return target


def rename(new):
    """Give the last part another name, in the manifest too."""

    def edit(entries):
        old = entries[-1][0].filename
        info = zipfile.ZipInfo(new)
        info.filename = new
        entries[-1] = (info, entries[-1][1])
        entries[0] = (
            entries[0][0],
            entries[0][1].replace(old.encode(), json.dumps(new)[1:-1].encode()),
        )

    return edit


def set_manifest(**values):
    def edit(entries):
        manifest = {**json.loads(entries[0][1]), **values}
        entries[0] = (entries[0][0], json.dumps(manifest).encode())

    return edit


def make_link(entries):
    entries[-1][0].external_attr = (stat.S_IFLNK | 0o777) << 16


def alter_last(entries):
    info, data = entries[-1]
    entries[-1] = (info, bytes([data[0] ^ 1]) + data[1:])


DAMAGED = {
    "a newer format": (
        set_manifest(format_version=2, skfmri="9.1"),
        "format version 2, written by skfmri 9.1, but this version of skfmri reads 1.*--upgrade",
    ),
    "a format that is none": (set_manifest(format="other"), "does not say that it is one"),
    "no list of parts": (set_manifest(members=None), "names no parts"),
    "a missing part": (lambda e: e.pop(), "lacks '.*', which its manifest names"),
    "a part too many": (
        lambda e: e.append((zipfile.ZipInfo("extra.txt"), b"?")),
        "holds 'extra.txt', which its manifest does not name",
    ),
    "a part twice": (lambda e: e.append(e[-1]), "holds '.*' more than once"),
    "an altered part": (alter_last, "was altered or damaged: .* SHA-256"),
    "no manifest": (lambda e: e.pop(0), "a zip file without manifest.json"),
    "an absolute path": (
        rename("/etc/passwd"),
        "'/etc/passwd', which is not a plain relative path",
    ),
    "a path upwards": (rename("arrays/../../x"), "not a plain relative path"),
    "a backslash": (rename("arrays\\x"), "not a plain relative path"),
    "a drive": (rename("C:x"), "not a plain relative path"),
    "a folder": (rename("arrays/"), "not a plain relative path"),
    "a hidden file": (rename(".ssh/x"), "not a plain relative path"),
    "a symbolic link": (make_link, "is a link or a device"),
}


class TestDamagedFiles:
    @pytest.mark.parametrize("damage", DAMAGED)
    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_it_is_refused(self, damage, saved, tmp_path):
        edit, message = DAMAGED[damage]
        path = rewrite(saved / "linear.skfmri", tmp_path / "damaged.skfmri", edit)
        for read in (load, model_card, training_record):
            with pytest.raises(ValueError, match=message) as caught:
                read(path)
            assert str(path) in str(caught.value)

    def test_what_is_no_such_file_is_named(self, saved, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"There is no file .*nowhere.skfmri"):
            load(tmp_path / "nowhere.skfmri")
        with pytest.raises(ValueError, match="is a directory, not a saved model"):
            load(tmp_path)
        for content in (b"", b"PK", b"\x80\x04\x95 a pickle", b"\x89HDF"):
            (tmp_path / "other").write_bytes(content)
            with pytest.raises(ValueError, match="does not begin as a zip file does"):
                load(tmp_path / "other")

    def test_a_truncated_file_is_refused_wherever_it_ends(self, saved, tmp_path):
        whole = (saved / "linear.skfmri").read_bytes()
        path = tmp_path / "cut.skfmri"
        for length in [*range(4, len(whole), 997), len(whole) - 1]:
            path.write_bytes(whole[:length])
            with pytest.raises(ValueError, match=r"truncated or damaged.*Copy the file again"):
                load(path)

    def test_a_bomb_is_refused_before_it_is_read(self, saved, tmp_path, monkeypatch):
        def edit(entries):
            entries.append((zipfile.ZipInfo("arrays/9999.npy"), bytes(10**8)))

        compressed = rewrite(
            saved / "linear.skfmri", tmp_path / "bomb.skfmri", edit, zipfile.ZIP_DEFLATED
        )
        assert compressed.stat().st_size < 10**6
        monkeypatch.setattr(zipfile.ZipFile, "open", None)
        with pytest.raises(ValueError, match="is compressed to"):
            load(compressed)

    def test_parts_that_share_their_bytes_are_refused(self, saved, tmp_path):
        copies = [f"arrays/9{number:03}.npy" for number in range(50)]

        def name_copies(entries):
            manifest = json.loads(entries[0][1])
            name = max(manifest["members"], key=lambda name: manifest["members"][name]["bytes"])
            manifest["members"].update(dict.fromkeys(copies, manifest["members"][name]))
            entries[0] = (entries[0][0], json.dumps(manifest).encode())

        path = rewrite(saved / "linear.skfmri", tmp_path / "overlapping.skfmri", name_copies)
        with zipfile.ZipFile(path, "a") as file:
            largest = max(file.infolist(), key=lambda info: info.file_size)
            for name in copies:
                entry = copy.copy(largest)
                entry.filename = entry.orig_filename = name
                file.filelist.append(entry)
            file._didModify = True
        with pytest.raises(ValueError, match=r"have .* bytes, but the file itself only"):
            load(path)

    def test_a_manifest_of_any_size_is_not_read(self, saved, monkeypatch):
        monkeypatch.setattr(archive, "MOST_JSON_BYTES", 100)
        with pytest.raises(ValueError, match=r"'manifest.json' of .* bytes, of at most 100"):
            load(saved / "linear.skfmri")

    @settings(max_examples=250)
    @given(data=st.data())
    def test_one_altered_byte_is_noticed_or_changes_no_prediction(
        self, data, saved, models, samples, tmp_path_factory, outputs, load_or_refuse
    ):
        whole = bytearray((saved / "network.skfmri").read_bytes())
        # Half of the bytes tried lie in the directory at the end, where no checksum is.
        start = data.draw(st.sampled_from([0, whole.rindex(b"PK\x05\x06") - 4000]))
        place = data.draw(st.integers(start, len(whole) - 1))
        whole[place] ^= data.draw(st.integers(1, 255))
        path = tmp_path_factory.mktemp("byte") / "model.skfmri"
        path.write_bytes(whole)
        found, message = load_or_refuse(path)
        if message is None:
            expected = outputs(models["network"], samples)
            np.testing.assert_array_equal(outputs(found, samples), expected)
        else:
            assert str(path) in message
