"""A sealed file is read back and compared with what it claims."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trio_collector import __version__
from trio_collector.disk import LOCAL_DISK
from trio_collector.errors import SealError
from trio_collector.events import Batch, DataType, Stream
from trio_collector.format import sealed_file
from trio_collector.format.columns import record_batch
from trio_collector.format.header import new_header
from trio_collector.format.sealed_file import (
    Contents,
    Tally,
    check_sealed,
    parse_metadata,
    render_metadata,
)
from trio_collector.writer.seal import seal

MakeBatch = Callable[..., Batch]
WriteJournal = Callable[..., list[int]]

NOON_US = 1_700_049_600_000_000


@pytest.fixture
def journal(tmp_path: Path, make_batch: MakeBatch, write_journal: WriteJournal) -> Path:
    """A journal of seven rows in two appends, with text that is not ASCII."""
    path = tmp_path / "1700049600000.arrows"
    frames = ['{"s":"KRW-₿"}'.encode(), b"{}", b""]
    later = make_batch(frames=frames, start=4, received_us=NOON_US + 9)
    write_journal(path, [make_batch(4), later], "tokyo")
    return path


@pytest.fixture
def sealed(journal: Path) -> Path:
    return seal(journal, LOCAL_DISK).path


EXPECTED = Contents(
    rows=7,
    first_id="id0",
    last_id="id6",
    first_us=NOON_US,
    last_us=NOON_US + 9,
    sha256=hashlib.sha256(b'{"n":0}{"n":1}{"n":2}{"n":3}' + '{"s":"KRW-₿"}{}'.encode()).hexdigest(),
)


@pytest.mark.parametrize("check_rows", [1, 2, 3, 7, 2048])
def test_what_it_holds(sealed: Path, monkeypatch: pytest.MonkeyPatch, check_rows: int) -> None:
    """The rows add up to the same, however many are read at a time."""
    monkeypatch.setattr(sealed_file, "CHECK_ROWS", check_rows)
    assert check_sealed(sealed) == EXPECTED


def test_a_tally_of_slices(make_batch: MakeBatch) -> None:
    """Tables that are slices of others, or empty, add up to the whole."""
    table = pa.Table.from_batches([record_batch([make_batch(9)])])
    whole, parts = Tally(), Tally()
    whole.add(table)
    for start, rows in ((0, 0), (0, 4), (4, 1), (5, 0), (5, 4)):
        parts.add(table.slice(start, rows))
    assert parts.contents == whole.contents
    assert whole.contents.rows == 9
    assert Tally().contents == Contents(0, "", "", 0, 0, "")


def test_a_tally_of_bytes(make_batch: MakeBatch) -> None:
    """The digest of frames that are no text is that of their bytes; no bytes at all are fine."""
    stream = Stream("okx", "btcusdt", DataType.UNPARSED)
    for frames in ([b"\xff\x00", b"", b"a"], [b"", b""]):
        tally = Tally()
        tally.add(pa.Table.from_batches([record_batch([make_batch(stream=stream, frames=frames)])]))
        assert tally.contents.sha256 == hashlib.sha256(b"".join(frames)).hexdigest()


def test_metadata_round_trip() -> None:
    """What is rendered into the metadata of a file is parsed back."""
    stream = Stream("binance", "btcusdt", DataType.TRADE)
    for server in (None, "tokyo"):
        rendered = render_metadata(new_header(stream, server, 5), EXPECTED)
        assert rendered["server"] == (server or "")
        assert rendered["collector_version"] == __version__
        assert rendered["schema_version"] == "1"
        assert len(rendered) == 9
        found = {name.encode(): value.encode() for name, value in rendered.items()}
        assert parse_metadata(found) == EXPECTED


def test_damage_is_told(sealed: Path) -> None:
    """A flipped bit anywhere in a sealed file is noticed, or changes nothing that is read."""
    original = sealed.read_bytes()
    noticed = 0
    for position in range(len(original)):
        damaged = bytearray(original)
        damaged[position] ^= 1 << (position % 8)
        sealed.write_bytes(damaged)
        try:
            assert check_sealed(sealed) == EXPECTED
        except SealError:
            noticed += 1
    assert noticed > len(original) / 2


def test_the_first_bytes_count(sealed: Path) -> None:
    """A file that does not start as Parquet is none, though pyarrow can read it."""
    sealed.write_bytes(b"PAR2" + sealed.read_bytes()[4:])
    assert pq.read_table(sealed).num_rows == 7
    with pytest.raises(SealError, match="does not start as a Parquet file"):
        check_sealed(sealed)


def test_page_checksums_count(sealed: Path) -> None:
    """Pages are compared with their checksums, also where nothing else would tell."""
    table = pq.read_table(sealed)
    path = sealed.with_name("plain.parquet")
    pq.write_table(table, path, compression="none", write_page_checksum=True, use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[content.index(b"binance")] ^= 1  # a column that no metadata are about
    path.write_bytes(content)
    with pytest.raises(SealError, match="cannot be read"):
        check_sealed(path)


def rewritten(path: Path, changes: dict[bytes, bytes | None]) -> None:
    """Write the sealed file `path` anew, with other metadata."""
    table = pq.read_table(path)
    metadata: dict[bytes, Any] = {**pq.read_metadata(path).metadata, **changes}
    kept = {name: value for name, value in metadata.items() if value is not None}
    pq.write_table(table.replace_schema_metadata(kept), path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rows", "6"),
        ("first_sequence_id", "id1"),
        ("last_sequence_id", ""),
        ("first_timestamp_collector", "1700049600000001"),
        ("last_timestamp_collector", "0"),
        ("content_sha256", "00"),
    ],
)
def test_what_it_claims_must_be_so(sealed: Path, name: str, value: str) -> None:
    """Metadata that claim something else about the rows are an error, and so is their absence."""
    rewritten(sealed, {})
    assert check_sealed(sealed) == EXPECTED
    rewritten(sealed, {name.encode(): value.encode()})
    with pytest.raises(SealError, match="its metadata say"):
        check_sealed(sealed)
    rewritten(sealed, {name.encode(): None})
    with pytest.raises(SealError, match="cannot be read"):
        check_sealed(sealed)


@pytest.mark.parametrize(("name", "value"), [("rows", "many"), ("last_sequence_id", b"\xff")])
def test_metadata_that_are_none(sealed: Path, name: str, value: str | bytes) -> None:
    """Metadata that cannot be parsed are an error of the file."""
    rewritten(sealed, {name.encode(): value if isinstance(value, bytes) else value.encode()})
    with pytest.raises(SealError, match="cannot be read"):
        check_sealed(sealed)


def test_no_metadata_at_all(tmp_path: Path) -> None:
    """A Parquet file of somebody else is not a sealed file."""
    path = tmp_path / "1.parquet"
    pq.write_table(pa.table({"a": [1]}), path, store_schema=False)
    with pytest.raises(SealError, match="cannot be read"):
        check_sealed(path)


def test_a_cut_file(sealed: Path) -> None:
    """A file that was cut short is damaged."""
    content = sealed.read_bytes()
    for length in (0, 3, 4, 100, len(content) - 1):
        sealed.write_bytes(content[:length])
        with pytest.raises(SealError):
            check_sealed(sealed)


def test_an_error_of_the_disk_is_not_damage(tmp_path: Path) -> None:
    """What cannot be opened or read today is not judged."""
    with pytest.raises(FileNotFoundError):
        check_sealed(tmp_path / "absent.parquet")
    with pytest.raises(IsADirectoryError):
        check_sealed(tmp_path)
