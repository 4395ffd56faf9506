"""Stored files lie in a directory of the user alone, are complete, and go when unused."""

import errno
import os
import stat
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from skfmri import _cache
from skfmri._cache import store_directory, stored_file


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFMRI_CACHE", str(tmp_path / "store"))
    return tmp_path / "store"


needs_root = pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can make files of other users"
)


def make(key):
    return stored_file(key, 4, lambda path: path.write_bytes(b"data"), "a copy")


def age(path, hours):
    then = time.time() - 3600 * hours
    os.utime(path, (then, then))


class TestStoredFiles:
    @pytest.mark.parametrize("is_locked", [True, False])
    def test_threads_that_need_one_at_once_share_it(self, monkeypatch, is_locked):
        monkeypatch.setattr(_cache, "UNLOCKED_BYTES", 3 if is_locked else 4)
        made = []

        def write(path):
            made.append(path)
            time.sleep(0.1)
            path.write_bytes(b"data")

        with ThreadPoolExecutor(4) as pool:
            paths = list(pool.map(lambda _: stored_file("key", 4, write, "a copy"), range(8)))
        assert len(made) == 1 if is_locked else 1 <= len(made) <= 4
        assert {path.read_bytes() for path in paths} == {b"data"}

    def test_one_that_somebody_else_has_made_and_opened_is_taken(self, own_store, monkeypatch):
        replace = Path.replace

        def replace_as_on_windows(part, path):
            replace(part, path)
            raise PermissionError(13, "Access is denied", str(part))

        monkeypatch.setattr(Path, "replace", replace_as_on_windows)
        assert make("a").read_bytes() == b"data"

    def test_they_are_for_the_user_alone(self, own_store):
        own_store.mkdir(mode=0o755)
        assert stat.S_IMODE(make("a").stat().st_mode) == 0o600

    def test_nothing_waits_for_the_disk(self, monkeypatch):
        monkeypatch.setattr(os, "fsync", None)
        assert make("a").read_bytes() == b"data"

    @pytest.mark.parametrize("limit", [0, 10])
    def test_something_else_of_that_name_is_refused(self, own_store, monkeypatch, tmp_path, limit):
        monkeypatch.setattr(_cache, "UNLOCKED_BYTES", limit)
        (tmp_path / "planted").write_bytes(b"evil")
        own_store.mkdir()
        (own_store / f"a{_cache.SUFFIX}").symlink_to(tmp_path / "planted")
        with pytest.raises(PermissionError, match=r"a.skfmri-copy was not made by this user"):
            make("a")
        (own_store / f"b{_cache.SUFFIX}.lock").symlink_to(tmp_path / "planted")
        if limit:
            assert make("b").read_bytes() == b"data"
        else:
            with pytest.raises(PermissionError, match=r"b.skfmri-copy.lock was not made by this"):
                make("b")
        assert (tmp_path / "planted").read_bytes() == b"evil"

    @needs_root
    def test_one_of_another_user_is_refused(self, own_store):
        own_store.mkdir()
        own_store.chmod(0o1777)
        path = make("a")
        os.chown(path, 12345, 12345)
        with pytest.raises(PermissionError, match=r"a.skfmri-copy was not made by this user"):
            make("a")


class TestSpace:
    @pytest.mark.parametrize("number", _cache.NO_SPACE)
    def test_a_full_disk_is_told_with_the_way_out(self, own_store, monkeypatch, number):
        monkeypatch.setattr(_cache, "UNLOCKED_BYTES", 0)

        def fill(path):
            path.write_bytes(b"da")
            raise OSError(number, "No space left on device")

        message = r"for the copy of a.nii.gz.*Set SKFMRI_CACHE to a directory on a larger disk"
        with pytest.raises(OSError, match=message):
            stored_file("key", 4, fill, "the copy of a.nii.gz")
        assert [path.suffix for path in own_store.iterdir()] == [".lock"]

    @pytest.fixture
    def free_bytes(self, monkeypatch):
        def set_to(free, total=10**9):
            usage = SimpleNamespace(total=total, used=0, free=free)
            monkeypatch.setattr("shutil.disk_usage", lambda _: usage)

        return set_to

    def test_too_little_is_noticed_before_a_file_is_begun(self, own_store, free_bytes):
        free_bytes(2_500_000)
        message = (
            r"store for the copy of a.nii.gz: 5.0 MB are needed, and 2.5 MB are free.*"
            "Set SKFMRI_CACHE to a directory on a larger disk"
        )
        with pytest.raises(OSError, match=message) as caught:
            stored_file("key", 5_000_000, None, "the copy of a.nii.gz")
        assert caught.value.errno == errno.ENOSPC
        free_bytes(4)
        assert make("a").read_bytes() == b"data"

    def test_a_disk_that_does_not_know_its_size_is_tried(self, free_bytes):
        free_bytes(0, total=0)
        assert make("a").read_bytes() == b"data"


def scans(monkeypatch):
    """Return a list that grows with each look at the whole directory."""
    found, iterdir = [], Path.iterdir

    def spy(path):
        found.append(path)
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", spy)
    return found


class TestCleanup:
    def test_the_directory_is_looked_through_once_in_an_hour(self, monkeypatch):
        found = scans(monkeypatch)
        for i in range(20):
            make(f"{i}")
        assert len(found) == 1
        now = time.monotonic() + _cache.SECONDS_BETWEEN_CLEANUPS
        monkeypatch.setattr(time, "monotonic", lambda: now)
        make("20"), make("21")
        assert len(found) == 2

    def test_what_exists_needs_no_look(self, own_store, monkeypatch):
        make("a")
        monkeypatch.setattr(_cache, "_cleaned_up", {})
        found = scans(monkeypatch)
        make("a")
        assert not found

    @pytest.mark.parametrize(("hours", "is_kept"), [(23, True), (25, False)])
    def test_what_was_unused_for_a_day_goes_with_its_lock(self, monkeypatch, hours, is_kept):
        monkeypatch.setattr(_cache, "UNLOCKED_BYTES", 0)
        old = make("a")
        lock = Path(f"{old}.lock")
        for path in (old, lock):
            age(path, hours)
        monkeypatch.setattr(_cache, "_cleaned_up", {})
        make("b")
        assert (old.exists(), lock.exists()) == (is_kept, is_kept)

    def test_use_keeps_it(self, monkeypatch):
        old = make("a")
        age(old, 25)
        make("a")
        monkeypatch.setattr(_cache, "_cleaned_up", {})
        make("b")
        assert old.exists()

    def test_what_a_killed_writer_left_goes_at_once(self, own_store):
        own_store.mkdir()
        part = own_store / f".0123abcd.a{_cache.SUFFIX}"
        part.write_bytes(b"da")
        (own_store / f"a{_cache.SUFFIX}.lock").touch()
        make("b")
        assert not part.exists()

    def test_what_is_being_written_stays(self, own_store, monkeypatch):
        part = own_store / f".0123abcd.a{_cache.SUFFIX}"
        lock = own_store / f"a{_cache.SUFFIX}.lock"
        own_store.mkdir()
        part.write_bytes(b"da")
        with FileLock(lock):
            for path in (part, lock):
                age(path, 48)
            make("b")
            assert part.exists()
            assert lock.exists()

    @pytest.mark.parametrize(("hours", "is_kept"), [(0.9, True), (1.1, False)])
    def test_what_needs_no_lock_is_left_for_an_hour(self, own_store, hours, is_kept):
        own_store.mkdir()
        part = own_store / f".0123abcd.a{_cache.SUFFIX}"
        part.write_bytes(b"da")
        age(part, hours)
        make("b")
        assert part.exists() == is_kept

    def test_other_files_of_the_user_stay(self, own_store):
        own_store.mkdir()
        others = [own_store / name for name in ("thesis.tex", "model.skfmri", ".skfmri-copy-of-it")]
        for path in others:
            path.write_text("years of work")
            age(path, 1)
        age(others[0], 10_000), age(others[1], 10_000)
        make("a")
        assert all(path.exists() for path in others)


@pytest.fixture
def default_place(tmp_path, monkeypatch):
    monkeypatch.delenv("SKFMRI_CACHE")
    monkeypatch.setattr(_cache, "user_cache_path", lambda *_, **__: tmp_path / "home" / "skfmri")
    return tmp_path / "home" / "skfmri"


class TestDefaultPlace:
    @pytest.mark.skipif(sys.platform != "linux", reason="other systems keep caches elsewhere")
    @pytest.mark.parametrize("named", ["", None])
    def test_it_is_the_one_for_caches_of_the_user(self, tmp_path, monkeypatch, named):
        monkeypatch.delenv("SKFMRI_CACHE")
        if named is not None:
            monkeypatch.setenv("SKFMRI_CACHE", named)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
        assert store_directory() == tmp_path / "caches" / "skfmri"
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert store_directory() == tmp_path / ".cache" / "skfmri"

    def test_it_is_made_for_the_user_alone(self, default_place):
        assert store_directory() == default_place
        assert stat.S_IMODE(default_place.stat().st_mode) == 0o700

    def test_a_planted_link_is_refused(self, default_place, tmp_path):
        (tmp_path / "planted").mkdir()
        default_place.parent.mkdir()
        default_place.symlink_to(tmp_path / "planted")
        message = r"home/skfmri is a link to .*planted, .* set SKFMRI_CACHE to the directory"
        with pytest.raises(PermissionError, match=message):
            make("a")
        assert not list((tmp_path / "planted").iterdir())

    @pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o1777])
    def test_one_that_others_may_write_to_is_refused(self, default_place, mode):
        store_directory().chmod(mode)
        message = rf"home/skfmri has the mode {mode:04o}, .*`chmod go-w`.*set SKFMRI_CACHE"
        with pytest.raises(PermissionError, match=message):
            make("a")
        default_place.chmod(0o755)
        assert make("a").parent == default_place

    def test_one_of_another_user_is_refused(self, default_place, monkeypatch):
        user = store_directory().stat().st_uid + 1
        monkeypatch.setattr(os, "getuid", lambda: user)
        with pytest.raises(PermissionError, match=r"skfmri belongs to another user.*SKFMRI_CACHE"):
            make("a")

    def test_without_a_home_it_has_to_be_named(self, monkeypatch, default_place):
        monkeypatch.setattr(_cache, "user_cache_path", lambda *_, **__: Path("~/.cache/skfmri"))
        with pytest.raises(FileNotFoundError, match=r"no home directory.*Set SKFMRI_CACHE"):
            make("a")


class TestNamedDirectory:
    def test_a_tilde_is_the_home(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        monkeypatch.setenv("SKFMRI_CACHE", "~/fast/cache")
        assert make("a").parent == tmp_path / "fast" / "cache"
        monkeypatch.setenv("SKFMRI_CACHE", "~nobody-of-that-name/cache")
        with pytest.raises(FileNotFoundError, match="which SKFMRI_CACHE names, begins with an"):
            make("a")

    def test_a_link_of_the_user_is_followed(self, own_store, tmp_path):
        (tmp_path / "scratch").mkdir()
        own_store.symlink_to(tmp_path / "scratch")
        assert make("a").read_bytes() == b"data"
        assert list((tmp_path / "scratch").iterdir())

    @pytest.mark.parametrize("mode", [0o777, 0o775, 0o2770])
    def test_one_that_others_may_write_to_is_refused(self, own_store, mode):
        own_store.mkdir()
        own_store.chmod(mode)
        message = rf"store, which SKFMRI_CACHE names, has the mode {mode:04o}, .*to a new folder in"
        with pytest.raises(PermissionError, match=message):
            make("a")

    def test_one_from_which_others_cannot_delete_is_taken(self, own_store):
        own_store.mkdir()
        own_store.chmod(0o1777)
        assert make("a").read_bytes() == b"data"

    @needs_root
    def test_those_of_another_user_are_refused(self, own_store, tmp_path):
        (tmp_path / "planted").mkdir()
        own_store.symlink_to(tmp_path / "planted")
        os.chown(own_store, 12345, 12345, follow_symlinks=False)
        with pytest.raises(PermissionError, match=r"SKFMRI_CACHE names, is a link to .*planted"):
            make("a")
        own_store.unlink()
        own_store.mkdir()
        os.chown(own_store, 12345, 12345)
        with pytest.raises(PermissionError, match="SKFMRI_CACHE names, belongs to another user"):
            make("a")

    def test_a_file_is_refused(self, own_store, monkeypatch):
        own_store.write_text("thesis")
        with pytest.raises(FileExistsError, match="store, which SKFMRI_CACHE names, is not a dir"):
            make("a")
        monkeypatch.setenv("SKFMRI_CACHE", str(own_store / "below"))
        with pytest.raises(NotADirectoryError, match="below, which SKFMRI_CACHE names, cannot be"):
            make("a")
        assert own_store.read_text() == "thesis"

    def test_a_link_to_nowhere_is_refused(self, own_store, tmp_path):
        own_store.symlink_to(tmp_path / "nowhere")
        with pytest.raises(FileExistsError, match="which SKFMRI_CACHE names, is not a directory"):
            make("a")

    def test_one_that_cannot_be_written_to_is_refused(self, own_store, monkeypatch):
        # Root may write to all directories but those of read-only disks.
        monkeypatch.setattr(os, "access", lambda *_: False)
        message = "store, which SKFMRI_CACHE names, cannot be written to. Set SKFMRI_CACHE to"
        with pytest.raises(PermissionError, match=message):
            make("a")
