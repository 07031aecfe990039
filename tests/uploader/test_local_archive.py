"""A file is moved into the archive whole, or stays in the spool, also when the power fails."""

import errno
import itertools
import os
import stat
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from tests.support.delivery_disk import DyingDisk, FaultyDisk, Killed
from trio_collector.store.body import CHUNK_BYTES
from trio_collector.uploader.local_archive import NO_LINK, LocalArchive, copy_file
from trio_collector.uploader.spool import SealedFile

Seal = Callable[..., SealedFile]

FIRST_MS = 1_795_348_800_100


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture(params=["link", "copy"])
def way(request: pytest.FixtureRequest) -> str:
    """How a file gets from one folder to the other."""
    way: str = request.param
    return way


@pytest.fixture
def disk(way: str) -> FaultyDisk:
    return FaultyDisk(has_links=way == "link")


@pytest.fixture
def archive(root: Path, disk: FaultyDisk) -> LocalArchive:
    return LocalArchive(root, disk)


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_move(way: str, spool: Path, root: Path, archive: LocalArchive, seal: Seal) -> None:
    """The file keeps its key; it is gone from the spool, and nothing else is left anywhere."""
    sealed = seal(FIRST_MS, b"rows")
    before = sealed.path.stat()
    moved = archive.move(sealed)
    assert moved == root / sealed.key
    assert files_in(root) == {str(sealed.key): b"rows"}
    assert files_in(spool) == {}
    assert (moved.stat().st_ino == before.st_ino) == (way == "link")


STEPS = {
    "link": ["link", "sync_folder", "unlink"],
    "copy": [
        *["link", "open_file", "create", "read", "write", "read", "sync", "close", "close"],
        *["rename", "sync_folder", "unlink"],
    ],
}


def test_order_of_the_steps(
    way: str, root: Path, disk: FaultyDisk, archive: LocalArchive, seal: Seal
) -> None:
    """The bytes are synced before they have a name, and the name before the spool lets go."""
    sealed = seal(FIRST_MS, b"rows")
    (root / sealed.key).parent.mkdir(parents=True)
    archive.move(sealed)
    assert [call for call, _ in disk.calls] == STEPS[way]
    folder = next(path for call, path in disk.calls if call == "sync_folder")
    assert folder == (root / sealed.key).parent
    assert disk.calls[-1] == ("unlink", sealed.path)


def test_new_folders(root: Path, disk: FaultyDisk, archive: LocalArchive, seal: Seal) -> None:
    """New folders are ours alone to read, and the names of all of them are synced."""
    moved = archive.move(seal(FIRST_MS))
    new = [folder for folder in moved.parents if folder.is_relative_to(root)]
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in new} == {0o700}
    synced = [path for call, path in disk.calls if call == "sync_folder"]
    assert sorted(synced) == sorted([*new, root.parent])


def test_mode_of_a_copy(root: Path, seal: Seal) -> None:
    """A copy is ours alone to read, as the sealed file is."""
    moved = LocalArchive(root, FaultyDisk(has_links=False)).move(seal(FIRST_MS))
    assert stat.S_IMODE(moved.stat().st_mode) == 0o600


def test_moved_file_is_not_read_twice(
    way: str, disk: FaultyDisk, archive: LocalArchive, seal: Seal
) -> None:
    """Moving reads no file, and copying reads it once: there is nothing to compare."""
    body = bytes(CHUNK_BYTES) + b"rows"
    archive.move(seal(FIRST_MS, body))
    assert disk.read_bytes == (len(body) if way == "copy" else 0)


def watch_the_spool(disk: FaultyDisk, spool: Path, root: Path, body: bytes) -> None:
    """Let `disk` check that what leaves the spool is in the archive, whatever happens then."""

    def check(path: Path) -> None:
        if path.is_relative_to(spool):
            kept = [copy for copy in root.rglob("*.parquet") if copy.read_bytes() == body]
            assert any(disk.survives(copy) for copy in kept), "a power loss now would lose rows"

    disk.before["unlink"] = check


def test_power_loss(
    spool: Path, root: Path, disk: FaultyDisk, archive: LocalArchive, seal: Seal
) -> None:
    """When the spool lets go of a file, its bytes and all names above it have been synced."""
    watch_the_spool(disk, spool, root, b"rows")
    archive.move(seal(FIRST_MS, b"rows"))
    assert disk.calls[-1][0] == "unlink"


@pytest.mark.parametrize("has_links", [True, False])
def test_power_loss_after_a_failed_sync(
    has_links: bool, spool: Path, root: Path, seal: Seal
) -> None:
    """A folder that could not be synced is synced by the next attempt, which finds it made."""
    root.mkdir()
    for n in itertools.count(1):
        place = root / str(n)
        disk = FaultyDisk("sync_folder", n, has_links=has_links)
        watch_the_spool(disk, spool, place, b"rows")
        archive, sealed = LocalArchive(place, disk), seal(FIRST_MS, b"rows")
        try:
            archive.move(sealed)
        except OSError:
            assert sealed.path.exists()
            archive.move(sealed)
        assert not sealed.path.exists()
        if not disk.injected:
            break
        disk.calls.clear()
        archive.move(seal(FIRST_MS + 1))
        assert [call for call, _ in disk.calls].count("sync_folder") == 1  # nothing is left over
    assert n - 1 == len(["root", "place", "exchange", "symbol", "data type", "day"])


@pytest.mark.parametrize("code", sorted(NO_LINK), ids=errno.errorcode.get)
def test_copied_where_links_are_not(code: int, root: Path, seal: Seal) -> None:
    """Another filesystem, one without links, or a file with too many: it is copied."""
    disk = FaultyDisk("link", 0, code)
    sealed = seal(FIRST_MS)
    inode = sealed.path.stat().st_ino
    moved = LocalArchive(root, disk).move(sealed)
    assert disk.injected
    assert moved.read_bytes() == b"rows"
    assert moved.stat().st_ino != inode


def test_same_file_already_there(
    spool: Path, root: Path, archive: LocalArchive, seal: Seal
) -> None:
    """A process that died after placing the file is finished, not repeated."""
    archive.move(seal(FIRST_MS, b"rows"))
    again = seal(FIRST_MS, b"rows")
    assert archive.move(again) == root / again.key
    assert files_in(root) == {str(again.key): b"rows"}
    assert files_in(spool) == {}


@pytest.mark.parametrize("other", [b"ROWS", b"more rows"], ids=["same size", "other size"])
def test_taken_name_moves_on(
    other: bytes, spool: Path, root: Path, disk: FaultyDisk, archive: LocalArchive, seal: Seal
) -> None:
    """A name that another file has moves on to the next free millisecond; nothing is overwritten."""
    archive.move(seal(FIRST_MS, other))
    archive.move(seal(FIRST_MS + 1, b"neighbour"))
    sealed = seal(FIRST_MS, b"rows")
    disk.read_bytes = 0
    moved = archive.move(sealed)
    assert moved.name == f"{FIRST_MS + 2}.parquet"
    assert sorted(files_in(root).values()) == sorted([other, b"neighbour", b"rows"])
    assert files_in(spool) == {}
    if other == b"more rows":  # files of different sizes are not even read
        assert disk.read_bytes <= len(b"rows")


def test_half_a_copy_is_replaced(root: Path, seal: Seal) -> None:
    """What a process that died left under the temporary name does no harm."""
    sealed = seal(FIRST_MS, b"rows")
    half = (root / sealed.key).with_suffix(".parquet.tmp")
    half.parent.mkdir(parents=True)
    half.write_bytes(b"ro" * 100)
    LocalArchive(root, FaultyDisk(has_links=False)).move(sealed)
    assert files_in(root) == {str(sealed.key): b"rows"}


@pytest.mark.parametrize("call", ["create", "read", "write", "sync", "close", "rename"])
def test_failed_copy_leaves_the_file(call: str, spool: Path, root: Path, seal: Seal) -> None:
    """A disk that is full while copying: no half file has a name, the whole one is in the spool."""
    sealed = seal(FIRST_MS, b"rows")
    disk = FaultyDisk(call, 1, errno.ENOSPC, has_links=False)
    archive = LocalArchive(root, disk)
    with pytest.raises(OSError, match="No space left"):
        archive.move(sealed)
    assert disk.injected == 1
    assert files_in(spool) == {str(sealed.key): b"rows"}
    assert not (root / sealed.key).exists()
    archive.move(sealed)
    assert files_in(root) == {str(sealed.key): b"rows"}
    assert files_in(spool) == {}


class ShortDisk(FaultyDisk):
    """A disk that takes a third of what it is given, and at least a byte, without an error."""

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        return os.write(descriptor, content[: max(1, len(content) // 3)])


def test_short_writes(tmp_path: Path) -> None:
    """A write that takes less than it was given is continued where it stopped."""
    source, target = tmp_path / "source", tmp_path / "target"
    body = os.urandom(2 * CHUNK_BYTES + 17)
    source.write_bytes(body)
    copy_file(source, target, ShortDisk())
    assert target.read_bytes() == body


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - their number alone


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="/proc is of Linux")
@pytest.mark.parametrize("call", ["none", "create", "read", "write", "sync"])
def test_copy_closes_its_files(call: str, tmp_path: Path) -> None:
    """Both files are closed, whatever fails."""
    source = tmp_path / "source"
    source.write_bytes(b"rows")
    disk = FaultyDisk(call, 1)
    before = open_descriptors()
    try:
        copy_file(source, tmp_path / "target", disk)
    except OSError:
        assert disk.injected
    else:
        assert call == "none"
    assert open_descriptors() == before


def test_a_kill_between_any_two_calls(way: str, tmp_path: Path) -> None:
    """A process may be killed at any call: the next one finishes, with one file under one name."""
    for n in itertools.count(1):
        folder = tmp_path / str(n)
        key = "okx/btcusdt/trade/2026-11-22/1.parquet"
        path = folder / "spool" / key
        path.parent.mkdir(parents=True)
        path.write_bytes(b"rows")
        sealed = SealedFile(path, PurePosixPath(key))
        disk = DyingDisk(n, has_links=way == "link")
        try:
            LocalArchive(folder / "archive", disk).move(sealed)
        except Killed:
            assert b"rows" in [*files_in(folder).values()]
        if path.exists():
            LocalArchive(folder / "archive", FaultyDisk(has_links=way == "link")).move(sealed)
        assert files_in(folder) == {f"archive/{key}": b"rows"}, n
        if not disk.has_died:
            break
    assert n > len(STEPS[way])


def test_other_errors_are_told(spool: Path, root: Path, seal: Seal) -> None:
    """An error of the disk is raised, not copied around."""
    disk = FaultyDisk("link", 1, errno.EIO)
    sealed = seal(FIRST_MS, b"rows")
    with pytest.raises(OSError, match="Input/output error"):
        LocalArchive(root, disk).move(sealed)
    assert disk.injected
    assert files_in(spool) == {str(sealed.key): b"rows"}
    assert files_in(root) == {}


def test_archive_that_cannot_be(spool: Path, root: Path, seal: Seal) -> None:
    """Where the archive cannot be created the file stays."""
    root.touch()
    sealed = seal(FIRST_MS, b"rows")
    with pytest.raises(OSError, match=r"exists|Not a directory"):
        LocalArchive(root).move(sealed)
    assert files_in(spool) == {str(sealed.key): b"rows"}
