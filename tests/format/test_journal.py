"""What is written for an append, and in how many calls."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from tests.support.disk import BrokenDisk, no_descriptor_leaks
from tests.support.disk_crash import POWER_LOSSES, CrashDisk
from trio_collector import __version__
from trio_collector.disk import LocalDisk
from trio_collector.errors import JournalError
from trio_collector.events import Batch, DataType, Stream
from trio_collector.format.columns import record_batch
from trio_collector.format.header import Header, header_checksum, new_header, parse_header
from trio_collector.format.journal import Journal, body_bytes, checksum

STREAM = Stream("binance", "btcusdt", DataType.TRADE)

MakeBatch = Callable[..., Batch]


class CountingDisk(LocalDisk):
    """Counts writes, and takes no more than `room` bytes."""

    def __init__(self, room: int = 1 << 40) -> None:
        super().__init__()
        self.room = room
        self.writes = 0

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        self.writes += 1
        taken = super().write(descriptor, memoryview(content)[: self.room])
        self.room -= taken
        return taken


def open_journal_on(disk: LocalDisk, path: Path) -> Journal:
    return Journal(path, disk.create(path), new_header(STREAM, "tokyo", 5), disk)


def test_each_append_is_one_write(tmp_path: Path, make_batch: MakeBatch) -> None:
    """The header goes with the first append, and each append is one call."""
    disk = CountingDisk()
    journal = open_journal_on(disk, tmp_path / "j")
    for _ in range(3):
        journal.append(record_batch([make_batch(10)]))
    journal.close()
    assert disk.writes == 3
    assert journal.rows == 30
    assert journal.size_bytes == (tmp_path / "j").stat().st_size


def test_an_append_that_is_cut_short_is_an_error(tmp_path: Path, make_batch: MakeBatch) -> None:
    """A write that takes less than it was given, without an error, does not pass."""
    journal = open_journal_on(CountingDisk(room=1200), tmp_path / "j")
    with pytest.raises(JournalError, match=r"the disk took 1200 of \d+ bytes"):
        journal.append(record_batch([make_batch(100)]))
    assert (journal.rows, journal.size_bytes) == (0, 0)
    journal.close()


def test_what_was_written_is_dirty_until_it_is_synced(
    tmp_path: Path, make_batch: MakeBatch
) -> None:
    """A journal knows whether it has bytes that a power loss would take."""
    disk = CrashDisk(tmp_path)
    journal = open_journal_on(disk, tmp_path / "j")
    seen = [journal.is_dirty]
    for _ in range(2):
        journal.append(record_batch([make_batch(1)]))
        seen.append(journal.is_dirty)
        journal.sync()
        seen.append(journal.is_dirty)
    assert seen == [False, True, False, True, False]
    disk.sync_folder(tmp_path)
    content = (tmp_path / "j").read_bytes()
    assert {disk.left_by(loss)[Path("j")] for loss in POWER_LOSSES} == {content}
    journal.close()


def test_a_sync_that_fails_leaves_it_dirty(tmp_path: Path, make_batch: MakeBatch) -> None:
    """An error of the sync is raised, and the bytes are not taken for safe."""
    journal = open_journal_on(BrokenDisk("sync", OSError(5, "injected")), tmp_path / "j")
    with no_descriptor_leaks():
        journal.append(record_batch([make_batch(1)]))
        with pytest.raises(OSError, match="injected"):
            journal.sync()
        assert journal.is_dirty
    journal.close()


def test_closing_gives_the_descriptor_back(tmp_path: Path) -> None:
    """A journal that is closed holds no descriptor."""
    with no_descriptor_leaks():
        open_journal_on(LocalDisk(), tmp_path / "j").close()


def test_files_are_private(tmp_path: Path) -> None:
    """Nobody else on the machine may read or write a journal."""
    journal = open_journal_on(LocalDisk(), tmp_path / "j")
    journal.close()
    assert (tmp_path / "j").stat().st_mode & 0o777 == 0o600


def test_header_round_trip() -> None:
    """A header comes back from its schema as it was."""
    for server in (None, "tokyo"):
        header = new_header(STREAM, server, 5)
        assert parse_header(header.schema()) == header
        assert header.collector_version == __version__
        assert len(header.salt) == 16  # 64 bits that nobody can guess
    assert new_header(STREAM, None, 5).salt != new_header(STREAM, None, 5).salt


def test_no_header_at_all() -> None:
    """A schema without metadata is no journal's."""
    schema = new_header(STREAM, None, 5).schema().remove_metadata()
    with pytest.raises(ValueError, match="no 'exchange' in the header"):
        parse_header(schema)
    assert header_checksum(schema) == 0


@pytest.mark.parametrize("key", [b"exchange", b"first_us", b"salt", b"data_type"])
def test_header_without_a_part(key: bytes) -> None:
    """A header that lacks something is refused."""
    schema = new_header(STREAM, None, 5).schema()
    rest = {name: value for name, value in schema.metadata.items() if name != key}
    with pytest.raises(ValueError, match="header"):
        parse_header(schema.with_metadata(rest))


def test_header_with_other_columns() -> None:
    """A header over other columns is refused."""
    schema = new_header(STREAM, None, 5).schema()
    with pytest.raises(ValueError, match="not the columns"):
        parse_header(schema.append(pa.field("more", pa.int8())))


def test_every_part_of_a_row_is_in_the_checksum(make_batch: MakeBatch) -> None:
    """The checksum changes with each column, the place in the journal, and the header."""
    batch = make_batch(3)
    rows = record_batch([batch])
    seed = header_checksum(Header(STREAM, None, 5, "salt").schema())
    seen = {checksum(rows, 0, seed), checksum(rows, 1, seed)}
    other = STREAM._replace(symbol="ethusdt")
    seen.add(checksum(rows, 0, header_checksum(Header(other, None, 5, "salt").schema())))
    for column, value in (("sequence_ids", "idx"), ("exchange_us", None), ("frames", b"{}")):
        changed = make_batch(3)
        getattr(changed, column)[0] = value
        seen.add(checksum(record_batch([changed]), 0, seed))
    seen.add(checksum(record_batch([make_batch(3, received_us=6)]), 0, seed))
    assert len(seen) == 7


def test_checksums_stay_what_they_are() -> None:
    """Journals of an earlier version are still read: the checksum of a known batch never changes."""
    batch = Batch(STREAM, 1_700_049_600_000_000)
    batch.append("id0", 5, b"{}")
    batch.append("id1", None, "₿".encode())
    seed = header_checksum(Header(STREAM, "tokyo", 5, "salt", "0.1.0", "1").schema())
    assert seed == 3833997572
    assert checksum(record_batch([batch]), 7, seed) == 3725044923


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 64, 65, 1000])
def test_body_length_is_what_arrow_writes(rows: int, make_batch: MakeBatch) -> None:
    """The length of a message's body follows from its columns."""
    columns = record_batch([make_batch(rows)])
    with pa.BufferReader(columns.serialize()) as source:
        body = pa.ipc.read_message(source).body
    assert body.size == body_bytes(columns)
