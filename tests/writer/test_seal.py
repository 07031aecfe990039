"""Sealed files hold exactly what their journals held, for every reader."""

import errno
import gc
import hashlib
from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.disk import BrokenDisk, FaultyDisk, ShortDisk, no_descriptor_leaks
from trio_collector import __version__
from trio_collector.disk import LOCAL_DISK, LocalDisk
from trio_collector.errors import JournalError, SealError
from trio_collector.events import Batch, DataType, Stream
from trio_collector.format.columns import record_batch
from trio_collector.format.sealed_file import Contents
from trio_collector.writer import seal as seal_module
from trio_collector.writer.seal import seal

MakeBatch = Callable[..., Batch]
WriteJournal = Callable[..., list[int]]


@pytest.fixture
def journal(tmp_path: Path, make_batch: MakeBatch, write_journal: WriteJournal) -> Path:
    """A journal of twelve rows in three appends, with text that is not ASCII."""
    path = tmp_path / "1700049600000.arrows"
    frames = ['{"s":"KRW-₿"}'.encode(), b"{}", b""]
    write_journal(
        path, [make_batch(4), make_batch(frames=frames, start=4), make_batch(5, start=7)], "tokyo"
    )
    return path


def test_round_trip(journal: Path, tmp_path: Path) -> None:
    """Every row is there, nulls and all, and the journal and the temporary file are gone."""
    with pa.ipc.open_stream(journal.read_bytes()) as stream:
        expected = stream.read_all()
    sealed = seal(journal, LOCAL_DISK)
    table = pq.read_table(sealed.path)
    assert [path.name for path in tmp_path.iterdir()] == ["1700049600000.parquet"]
    assert table.select(expected.column_names).to_pylist() == expected.to_pylist()
    assert table["timestamp_exchange"].null_count == expected["timestamp_exchange"].null_count > 0
    assert set(table["exchange"].to_pylist()) == {"binance"}
    assert set(table["symbol"].to_pylist()) == {"btcusdt"}
    assert (sealed.rows, sealed.lost_rows, sealed.lost_bytes) == (12, 0, 0)
    assert sealed.size_bytes == sealed.path.stat().st_size
    assert sealed.path.stat().st_mode & 0o777 == 0o600


def test_metadata(journal: Path) -> None:
    """The file says who wrote it and what it holds, with a digest of its messages."""
    path = seal(journal, LOCAL_DISK).path
    found = {key.decode(): value.decode() for key, value in pq.read_metadata(path).metadata.items()}
    digest = hashlib.sha256("".join(pq.read_table(path)["data"].to_pylist()).encode()).hexdigest()
    assert (
        found.items()
        >= {
            "schema_version": "1",
            "collector_version": __version__,
            "server": "tokyo",
            "rows": "12",
            "first_sequence_id": "id0",
            "last_sequence_id": "id11",
            "first_timestamp_collector": "1700049600000000",
            "last_timestamp_collector": "1700049600000000",
            "content_sha256": digest,
        }.items()
    )


def test_layout(journal: Path) -> None:
    """Columns are compressed with zstd; only exchange and symbol have a dictionary."""
    group = pq.read_metadata(seal(journal, LOCAL_DISK).path).row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    assert {column.compression for column in columns} == {"ZSTD"}
    assert [column.has_dictionary_page for column in columns] == [True, True] + [False] * 4


def test_binary_frames(tmp_path: Path, make_batch: MakeBatch, write_journal: WriteJournal) -> None:
    """Frames that no adapter could read come back byte for byte."""
    stream = Stream("okx", "btcusdt", DataType.UNPARSED)
    frames = [b"\xff\xfe\x00", b"", bytes(range(256))]
    path = tmp_path / "1.arrows"
    write_journal(path, [make_batch(stream=stream, frames=frames)])
    assert pq.read_table(seal(path, LOCAL_DISK).path)["data"].to_pylist() == frames


def test_readers_see_plain_strings(journal: Path) -> None:
    """DuckDB, Polars, pandas and pyarrow read text columns as text, without categories."""
    path = seal(journal, LOCAL_DISK).path
    texts = ("exchange", "symbol", "exchange_sequence_id", "data")
    types = dict(row[:2] for row in duckdb.execute(f"describe select * from '{path}'").fetchall())
    assert {types[name] for name in texts} == {"VARCHAR"}
    assert duckdb.execute(f"select data from '{path}' limit 1 offset 4").fetchall() == [
        ('{"s":"KRW-₿"}',)
    ]
    polars = pl.read_parquet(path)
    assert {polars.schema[name] for name in texts} == {pl.String()}
    pandas = pd.read_parquet(path)
    assert all(pd.api.types.is_string_dtype(pandas[name].dtype) for name in texts)
    assert pandas["symbol"][0] == "btcusdt"
    arrow = pq.read_schema(path)
    assert {arrow.field(name).type for name in texts} == {pa.string()}


def test_row_groups_are_bounded(
    tmp_path: Path,
    make_batch: MakeBatch,
    write_journal: WriteJournal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Appends are gathered into row groups, which have a limit in rows and in bytes."""
    monkeypatch.setattr(seal_module, "GROUP_ROWS", 10)
    path = tmp_path / "1.arrows"
    write_journal(path, [make_batch(4, start=4 * number) for number in range(6)])
    metadata = pq.read_metadata(seal(path, LOCAL_DISK).path)
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [8, 8, 8]
    monkeypatch.setattr(seal_module, "GROUP_BYTES", 1)
    write_journal(path, [make_batch(4, start=4 * number) for number in range(3)])
    path.with_suffix(".parquet").unlink()
    assert pq.read_metadata(seal(path, LOCAL_DISK).path).num_row_groups == 3


def test_the_bytes_of_a_row_group_add_up(
    tmp_path: Path,
    make_batch: MakeBatch,
    write_journal: WriteJournal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As many appends are gathered as have the bytes of a row group, and no more."""
    batches = [make_batch(frames=[b"x" * 1000], start=number) for number in range(5)]
    size_bytes = record_batch(batches[:1]).nbytes
    path = tmp_path / "1.arrows"
    for limit_bytes, groups in ((2 * size_bytes, [2, 2, 1]), (2 * size_bytes - 1, [1] * 5)):
        monkeypatch.setattr(seal_module, "GROUP_BYTES", limit_bytes)
        write_journal(path, batches)
        sealed = seal(path, LOCAL_DISK).path
        metadata = pq.read_metadata(sealed)
        assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == groups
        sealed.unlink()


def test_a_temporary_file_in_the_way_is_removed(journal: Path, tmp_path: Path) -> None:
    """What an attempt left that could not even remove its own file is replaced."""
    journal.with_suffix(".parquet.tmp").write_bytes(b"half")
    assert seal(journal, LOCAL_DISK).rows == 12
    assert [path.suffix for path in tmp_path.iterdir()] == [".parquet"]


@pytest.mark.parametrize("call", ["create", "write", "sync", "close", "rename"])
def test_a_disk_that_fails(journal: Path, tmp_path: Path, call: str) -> None:
    """Whatever fails before the rename is done, the journal stays and the temporary file goes."""
    with no_descriptor_leaks(), pytest.raises(OSError, match="injected"):
        seal(journal, BrokenDisk(call, OSError(errno.EIO, "injected")))
    assert list(tmp_path.iterdir()) == [journal]


def test_another_file_is_not_taken_for_it(
    journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is sound but holds something else than the journal is not sealed."""
    monkeypatch.setattr(seal_module, "check_sealed", lambda _path: Contents(rows=12))
    with pytest.raises(SealError, match="its journal"):
        seal(journal, LOCAL_DISK)
    assert list(tmp_path.iterdir()) == [journal]


def test_a_disk_that_takes_less(journal: Path, tmp_path: Path) -> None:
    """A write that takes less than it was given, without an error, does not pass."""
    with pytest.raises(SealError, match=r"the disk took \d+ of \d+ bytes"):
        seal(journal, ShortDisk(1))
    assert list(tmp_path.iterdir()) == [journal]


def test_a_temporary_file_that_cannot_be_removed(journal: Path) -> None:
    """The error that is raised is the first one, not that of clearing up."""
    journal.with_suffix(".parquet").touch()
    with pytest.raises(SealError, match="does not belong"):
        seal(journal, BrokenDisk("unlink", OSError(errno.EIO, "injected")))


class ForgetfulDisk(LocalDisk):
    """Writes zeros at the n-th write, and says that all is well."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.writes_left = n

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        self.writes_left -= 1
        return super().write(descriptor, content if self.writes_left else bytes(len(content)))


def test_a_disk_that_lies_is_found_out(journal: Path, tmp_path: Path) -> None:
    """What cannot be read back is not sealed; the journal stays and the temporary file goes."""
    disk, n = ForgetfulDisk(0), 0
    while journal.exists():
        n += 1
        disk = ForgetfulDisk(n)
        try:
            seal(journal, disk)
        except SealError:
            assert list(tmp_path.iterdir()) == [journal]
    assert disk.writes_left > 0  # sealed once the seal ended before the n-th write
    assert n > 15


class FullDisk(LocalDisk):
    """Has no room."""

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        raise OSError(errno.ENOSPC, "no space")


def test_a_full_disk(journal: Path, tmp_path: Path) -> None:
    """A seal that finds no room leaves the journal and nothing else."""
    with pytest.raises(OSError, match="no space"):
        seal(journal, FullDisk())
    assert list(tmp_path.iterdir()) == [journal]


def test_nothing_is_written_after_a_failed_seal(journal: Path, tmp_path: Path) -> None:
    """Arrow writes a footer when the error is released: another file may have the descriptor."""
    disk = FaultyDisk(2, ["write"], OSError(errno.ENOSPC, "no space"))
    with pytest.raises(OSError, match="no space") as raised:
        seal(journal, disk)
    assert disk.has_happened
    before = disk.count
    taken = [LOCAL_DISK.create(tmp_path / name) for name in ("one", "two")]
    try:
        disk.failure = None
        del raised
        gc.collect()
    finally:
        for descriptor in taken:
            LOCAL_DISK.close(descriptor)
    assert disk.count == before
    assert [(tmp_path / name).read_bytes() for name in ("one", "two")] == [b"", b""]


def test_a_foreign_file_is_not_overwritten(journal: Path) -> None:
    """A sealed file that is there already is never replaced."""
    foreign = journal.with_suffix(".parquet")
    foreign.write_bytes(b"mine")
    with pytest.raises(SealError, match="does not belong"):
        seal(journal, LOCAL_DISK)
    assert foreign.read_bytes() == b"mine"
    assert journal.exists()


def test_nothing_whole_is_no_file(journal: Path, tmp_path: Path) -> None:
    """A journal without a whole batch is not sealed."""
    with pa.ipc.open_stream(journal.read_bytes()) as stream:
        journal.write_bytes(stream.schema.serialize().to_pybytes() + b"torn")
    with pytest.raises(JournalError, match="no whole batch"):
        seal(journal, LOCAL_DISK)
    assert list(tmp_path.iterdir()) == [journal]
