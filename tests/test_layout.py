"""Names and paths can be read back, and stay below the root."""

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_collector import layout
from trio_collector.events import DataType, Stream
from trio_collector.layout import (
    JOURNAL,
    SEALED,
    TEMPORARY,
    SegmentPath,
    decode_name,
    encode_name,
    hour_of,
    parse_segment_path,
    segment_path,
)

TRADES = Stream("binance", "btcusdt", DataType.TRADE)
NOON_MS = 1_795_348_800_000  # 2026-11-22T12:00:00Z

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def test_path_is_that_of_the_rust_archive() -> None:
    """A path is exchange, symbol, data type, server, UTC day, and the first row's millisecond."""
    path = segment_path(TRADES, "quiet-red-heron", NOON_MS)
    assert str(path) == f"binance/btcusdt/trade/quiet-red-heron/2026-11-22/{NOON_MS}"


@pytest.mark.parametrize("server", [None, ""])
def test_no_server_no_folder(server: str | None) -> None:
    """Where no server is named, the path has no folder for it."""
    assert (
        str(segment_path(TRADES, server, NOON_MS)) == f"binance/btcusdt/trade/2026-11-22/{NOON_MS}"
    )


@pytest.mark.parametrize(
    ("ms", "day"), [(NOON_MS + 43_199_999, "2026-11-22"), (NOON_MS + 43_200_000, "2026-11-23")]
)
def test_days_change_at_midnight_utc(ms: int, day: str) -> None:
    """The day is that of UTC, wherever the machine is."""
    assert segment_path(TRADES, None, ms).parts[3] == day


def test_hours_change_on_the_microsecond() -> None:
    """The last microsecond of an hour is in that hour, the next is not."""
    noon_us = NOON_MS * 1_000
    assert hour_of(noon_us - 1) + 1 == hour_of(noon_us) == hour_of(noon_us + 3_600_000_000 - 1)


@given(names)
def test_encoded_names_are_one_safe_component(name: str) -> None:
    """Any name becomes one component of safe characters, and can be read back."""
    encoded = encode_name(name)
    assert PurePosixPath(encoded).parts == (encoded,)
    assert encoded not in (".", "..")
    assert encoded.isascii()
    assert not set(encoded) & set("/\\ %=+:*?\0")
    assert decode_name(encoded) == name


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        ("btcusdt", "btcusdt"),
        ("BTC-USD_x.1", "BTC-USD_x.1"),
        ("../etc/passwd", "~2e.~2fetc~2fpasswd"),
        ("/", "~2f"),
        ("~", "~7e"),
        ("币", "~e5~b8~81"),
    ],
)
def test_encoded_names(name: str, encoded: str) -> None:
    """What is safe stays as it is; each other byte is a tilde and two digits."""
    assert encode_name(name) == encoded


def test_an_empty_name_is_refused() -> None:
    """An empty name has no component."""
    with pytest.raises(ValueError, match="an empty name"):
        encode_name("")


@given(
    symbol=names,
    data_type=st.sampled_from(DataType),
    server=st.none() | names,
    first_ms=st.integers(min_value=0, max_value=4_102_444_800_000),
    suffix=st.sampled_from(["", JOURNAL, SEALED, TEMPORARY]),
)
def test_paths_are_read_back(
    symbol: str, data_type: DataType, server: str | None, first_ms: int, suffix: str
) -> None:
    """A path says which stream, server and time it was made from, whatever its suffix."""
    stream = Stream("okx", symbol, data_type)
    path = segment_path(stream, server, first_ms)
    named = path.with_name(path.name + suffix)
    assert parse_segment_path(named) == SegmentPath(stream, server, first_ms)


@pytest.mark.parametrize(
    "path",
    [
        ".lock",
        "quarantine/1.arrows",
        "binance/btcusdt/trade/1.parquet",
        "binance/btcusdt/ticker/2026-11-22/1.parquet",
        "binance/btcusdt/trade/2026-11-22/notes.txt",
        "binance/btcusdt/trade/server/deeper/2026-11-22/1.parquet",
    ],
)
def test_foreign_paths_are_not_ours(path: str) -> None:
    """A path that no segment has is None, so that foreign files are left alone."""
    assert parse_segment_path(PurePosixPath(path)) is None


def test_names_that_other_programs_rely_on() -> None:
    """Readers, backups and earlier versions know the files by these endings and names."""
    assert (layout.JOURNAL, layout.SEALED, layout.TEMPORARY) == (
        ".arrows",
        ".parquet",
        ".parquet.tmp",
    )
    assert (layout.QUARANTINE, layout.LOCK) == ("quarantine", ".lock")
