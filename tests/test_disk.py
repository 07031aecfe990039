"""The real disk does what the writer relies on."""

import errno
import os
import sys
from pathlib import Path

import pytest

from tests.support.disk import no_descriptor_leaks
from trio_collector.disk import LOCAL_DISK, LocalDisk, make_folders


def test_a_file_is_never_opened_twice(tmp_path: Path) -> None:
    """Creating what exists fails: nothing is written into a file of an earlier life."""
    LOCAL_DISK.close(LOCAL_DISK.create(tmp_path / "a"))
    with pytest.raises(FileExistsError):
        LOCAL_DISK.create(tmp_path / "a")


def test_write_and_sync(tmp_path: Path) -> None:
    """Bytes that were written and synced, one way or the other, are there."""
    descriptor, folder = LOCAL_DISK.create(tmp_path / "a"), LOCAL_DISK.open_folder(tmp_path)
    assert LOCAL_DISK.write(descriptor, memoryview(b"rows")) == 4
    LOCAL_DISK.sync(descriptor)
    if LOCAL_DISK.has_group_sync:
        LOCAL_DISK.sync_all(folder)
    LOCAL_DISK.sync_folder(tmp_path)
    LOCAL_DISK.close(descriptor)
    LOCAL_DISK.close(folder)
    LOCAL_DISK.rename(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"rows"
    LOCAL_DISK.unlink(tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not LOCAL_DISK.has_group_sync, reason="syncfs is of Linux")
def test_a_group_sync_that_fails_says_so() -> None:
    """An error of syncfs, which is called past Python, is an OSError."""
    with pytest.raises(OSError, match="Bad file descriptor"):
        LOCAL_DISK.sync_all(-1)


@pytest.mark.skipif(sys.platform == "darwin", reason="it syncs with fcntl there")
def test_a_sync_that_fails_says_so() -> None:
    """A file is really synced: the kernel is asked, and its error is raised."""
    with pytest.raises(OSError, match="Bad file descriptor"):
        LOCAL_DISK.sync(1 << 20)  # no descriptor of this process


def test_a_folder_sync_that_fails_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is really synced: the kernel is asked, and its error is raised; nothing stays open."""

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, "injected")

    with no_descriptor_leaks():
        LOCAL_DISK.sync_folder(tmp_path)
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="injected"):
            LOCAL_DISK.sync_folder(tmp_path)


def test_modes(tmp_path: Path) -> None:
    """Files and folders are private."""
    LOCAL_DISK.close(LOCAL_DISK.create(tmp_path / "a"))
    LOCAL_DISK.make_folder(tmp_path / "b")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o700


def test_a_machine_without_syncfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no syncfs, the disk says so before it is called."""
    disk = LocalDisk()
    monkeypatch.setattr(disk, "_syncfs", None)
    assert not disk.has_group_sync
    with pytest.raises(NotImplementedError):
        disk.sync_all(-1)


def test_folders_that_another_process_makes(tmp_path: Path) -> None:
    """A folder that appears meanwhile is no error, and none of the names to be synced."""

    class Raced(LocalDisk):
        def make_folder(self, path: Path) -> None:
            super().make_folder(path)
            if path.name == "a":
                super().make_folder(path)  # as if another process had been faster

    changed: set[Path] = set()
    make_folders(Raced(), tmp_path / "a" / "b", changed)
    assert (tmp_path / "a" / "b").is_dir()
    assert changed == {tmp_path / "a"}


def test_free_space(tmp_path: Path) -> None:
    """There is room for the tests."""
    assert LOCAL_DISK.free_bytes(tmp_path) > 0


def test_links(tmp_path: Path) -> None:
    """A second name is given only if it is free."""
    (tmp_path / "a").write_bytes(b"rows")
    LOCAL_DISK.link(tmp_path / "a", tmp_path / "b")
    assert LOCAL_DISK.stat(tmp_path / "a") == LOCAL_DISK.stat(str(tmp_path / "b"))
    with pytest.raises(FileExistsError):
        LOCAL_DISK.link(tmp_path / "a", tmp_path / "b")


def test_folders(tmp_path: Path) -> None:
    """A listing tells folders from all else; a folder is removed only if it is empty."""
    LOCAL_DISK.make_folder(tmp_path / "folder")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("folder")
    folders, files = LOCAL_DISK.list_folder(tmp_path)
    assert (folders, sorted(files)) == (["folder"], ["file", "link"])
    assert LOCAL_DISK.stat(tmp_path / "link") == LOCAL_DISK.stat(tmp_path / "folder")
    assert LOCAL_DISK.stat(tmp_path / "link", follows_links=False).st_size == len("folder")
    with pytest.raises(OSError, match="not empty"):
        LOCAL_DISK.remove_folder(tmp_path)
    LOCAL_DISK.remove_folder(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_reading(tmp_path: Path) -> None:
    """A file is read from any place, and nothing comes from behind its end."""
    (tmp_path / "a").write_bytes(b"rows")
    descriptor = LOCAL_DISK.open_file(tmp_path / "a")
    assert [LOCAL_DISK.read(descriptor, 3, at) for at in (0, 2, 4)] == [b"row", b"ws", b""]
    LOCAL_DISK.close(descriptor)
