"""The real disk does what the writer relies on."""

from pathlib import Path

import pytest

from trio_collector.disk import LOCAL_DISK


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
