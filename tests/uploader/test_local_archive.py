"""A file is moved into the archive whole, or stays in the spool."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from trio_collector.uploader.local_archive import NO_LINK, move_to_archive
from trio_collector.uploader.spool import SealedFile

Seal = Callable[..., SealedFile]

FIRST_MS = 1_795_348_800_100


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def refuse_links(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Let os.link fail as the kernel would."""

    def link(_source: Path, _target: Path) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", link)


@pytest.fixture(params=["link", "copy"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How a file gets from one folder to the other."""
    way: str = request.param
    if way == "copy":
        refuse_links(monkeypatch, errno.EXDEV)
    return way


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_move(way: str, spool: Path, archive: Path, seal: Seal) -> None:
    """The file keeps its key; it is gone from the spool, and nothing else is left anywhere."""
    sealed = seal(FIRST_MS, b"rows")
    before = sealed.path.stat()
    moved = move_to_archive(sealed, archive)
    assert moved == archive / sealed.key
    assert files_in(archive) == {str(sealed.key): b"rows"}
    assert files_in(spool) == {}
    assert (moved.stat().st_ino == before.st_ino) == (way == "link")


@pytest.mark.parametrize("code", sorted(NO_LINK), ids=errno.errorcode.get)
def test_copied_where_links_are_not(
    code: int, archive: Path, seal: Seal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another filesystem, one without links, or a file with too many: it is copied."""
    refuse_links(monkeypatch, code)
    assert move_to_archive(seal(FIRST_MS), archive).read_bytes() == b"rows"


@pytest.mark.usefixtures("way")
def test_same_file_already_there(spool: Path, archive: Path, seal: Seal) -> None:
    """A process that died after placing the file is finished, not repeated."""
    move_to_archive(seal(FIRST_MS, b"rows"), archive)
    again = seal(FIRST_MS, b"rows")
    assert move_to_archive(again, archive) == archive / again.key
    assert files_in(archive) == {str(again.key): b"rows"}
    assert files_in(spool) == {}


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("other", [b"ROWS", b"more rows"], ids=["same size", "other size"])
def test_taken_name_moves_on(other: bytes, spool: Path, archive: Path, seal: Seal) -> None:
    """A name that another file has moves on to the next free millisecond; nothing is overwritten."""
    move_to_archive(seal(FIRST_MS, other), archive)
    move_to_archive(seal(FIRST_MS + 1, b"neighbour"), archive)
    sealed = seal(FIRST_MS, b"rows")
    moved = move_to_archive(sealed, archive)
    assert moved.name == f"{FIRST_MS + 2}.parquet"
    assert sorted(files_in(archive).values()) == sorted([other, b"neighbour", b"rows"])
    assert files_in(spool) == {}


def test_leftover_of_a_copy_is_no_harm(
    archive: Path, seal: Seal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a copy that was cut short left behind is replaced."""
    refuse_links(monkeypatch, errno.EXDEV)
    sealed = seal(FIRST_MS, b"rows")
    partial = (archive / sealed.key).with_suffix(".parquet.tmp")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"ro")
    move_to_archive(sealed, archive)
    assert files_in(archive) == {str(sealed.key): b"rows"}


def test_failed_copy_leaves_the_file(
    spool: Path, archive: Path, seal: Seal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full while copying: no half file has a name, the whole one is in the spool."""
    refuse_links(monkeypatch, errno.EXDEV)

    def fsync(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    sealed = seal(FIRST_MS, b"rows")
    archive.joinpath(sealed.key).parent.mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match="No space left"):
            move_to_archive(sealed, archive)
    assert files_in(spool) == {str(sealed.key): b"rows"}
    assert not (archive / sealed.key).exists()
    move_to_archive(sealed, archive)
    assert files_in(archive) == {str(sealed.key): b"rows"}


def test_other_errors_are_told(
    spool: Path, archive: Path, seal: Seal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the disk is raised, not copied around."""
    refuse_links(monkeypatch, errno.EIO)
    sealed = seal(FIRST_MS, b"rows")
    with pytest.raises(OSError, match="Input/output error"):
        move_to_archive(sealed, archive)
    assert files_in(spool) == {str(sealed.key): b"rows"}
    assert files_in(archive) == {}


def test_archive_that_cannot_be(spool: Path, archive: Path, seal: Seal) -> None:
    """Where the archive cannot be created the file stays."""
    archive.touch()
    sealed = seal(FIRST_MS, b"rows")
    with pytest.raises(OSError, match=r"exists|Not a directory"):
        move_to_archive(sealed, archive)
    assert files_in(spool) == {str(sealed.key): b"rows"}
