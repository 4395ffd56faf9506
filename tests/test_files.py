import json
import os
import stat
from pathlib import Path

import pytest

from skfmri._files import NO_SPACE, whole_file, write_json, write_text


def test_a_file_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "map.nii.gz"
    with whole_file(path) as part:
        part.write_text("half")
        assert not path.exists()
        assert part.parent == tmp_path
        assert part.name.endswith(".map.nii.gz")
    assert path.read_text() == "half"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("earlier")

    def fail():
        with whole_file(path) as part:
            part.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", NO_SPACE)
def test_a_full_disk_names_the_file(tmp_path, number):
    path = tmp_path / "scores.csv"

    def fill():
        with whole_file(path) as part:
            part.write_text("half")
            raise OSError(number, "No space left on device")

    message = rf"\[Errno {number}\] .*scores.csv cannot be written: No space left.* Make room on"
    with pytest.raises(OSError, match=message) as caught:
        fill()
    assert caught.value.errno == number
    assert not list(tmp_path.iterdir())


def test_a_folder_that_vanishes_names_the_file_and_not_its_part(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()

    def lose():
        with whole_file(folder / "scores.csv") as part:
            folder.rmdir()
            part.write_text("half")

    for fail in (lose, lambda: write_text(folder / "scores.csv", "text")):
        with pytest.raises(FileNotFoundError, match=r"out/scores.csv cannot be .*folder exists"):
            fail()
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match=r"/taken cannot be written: Is a directory"):
        write_text(tmp_path / "taken", "text")


def test_what_failed_is_told_even_if_its_part_cannot_be_removed(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "unlink", refuse)

    def fail():
        with whole_file(tmp_path / "a") as part:
            part.touch()
            raise ValueError("of the work")

    with pytest.raises(ValueError, match="of the work"):
        fail()


def test_errors_about_other_files_are_left_as_they_are(tmp_path):
    def fail():
        with whole_file(tmp_path / "a") as part:
            part.touch()
            (tmp_path / "mask.nii").read_text()

    with pytest.raises(FileNotFoundError, match=r"\[Errno 2\] No such file .*mask.nii"):
        fail()


def test_two_writers_do_not_share_a_temporary_name(tmp_path):
    path = tmp_path / "scores.csv"
    with whole_file(path) as one, whole_file(path) as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"


@pytest.mark.parametrize("has_links", [True, False])
def test_what_somebody_else_has_finished_is_kept_if_asked_for(tmp_path, monkeypatch, has_links):
    if not has_links:

        def refuse(*args):
            raise OSError("no links on this file system")

        monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "ledger"
    with whole_file(path, keep_existing=True) as part:
        part.write_text("first")
    with whole_file(path, keep_existing=True) as part:
        part.write_text("second")
    assert path.read_text() == ("first" if has_links else "second")
    assert list(tmp_path.iterdir()) == [path]


def test_data_reach_the_disk_before_the_name_unless_told_otherwise(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(list(tmp_path.glob("a*"))))
    write_text(tmp_path / "a", "text")
    assert synced == [[]]
    with whole_file(tmp_path / "a", sync=False) as part:
        part.write_text("cache")
    assert len(synced) == 1


def test_files_follow_the_mask_of_the_user(tmp_path):
    mask = os.umask(0o027)
    try:
        write_text(tmp_path / "table.csv", "a,b\r\n")
    finally:
        os.umask(mask)
    assert (tmp_path / "table.csv").read_bytes() == b"a,b\r\n"
    if os.name == "posix":
        assert stat.S_IMODE((tmp_path / "table.csv").stat().st_mode) == 0o640


def test_json_holds_what_it_was_given(tmp_path):
    write_json(tmp_path / "a.json", {"path": tmp_path, "numbers": [1, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "path": str(tmp_path),
        "numbers": [1, None],
    }
