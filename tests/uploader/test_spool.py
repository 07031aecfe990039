"""The spool is a folder: what is in it, and in which order it leaves."""

from collections.abc import Callable
from pathlib import Path

import pytest

from trio_collector.uploader.spool import SealedFile, scan_spool

Seal = Callable[..., SealedFile]


def test_oldest_first(spool: Path, seal: Seal) -> None:
    """Files come in the order of their first rows, whatever their streams are."""
    third = seal(1_795_348_800_300)
    first = seal(1_795_348_800_100, folder="upbit/krwbtc/orderbook/2026-11-22")
    second = seal(1_795_348_800_200, folder="okx/btcusdt/status/quiet-red-heron/2026-11-22")
    tenth = seal(10_795_348_800_000)
    assert scan_spool(spool).front == [first, second, third, tenth]


def test_nothing_there(spool: Path, tmp_path: Path) -> None:
    """An empty folder is an empty spool, and so is none."""
    assert scan_spool(spool).front == []
    assert scan_spool(tmp_path / "nowhere").front == []


def test_journal_beside_it_means_not_yet(spool: Path, seal: Seal) -> None:
    """A sealed file whose journal is still there belongs to the writer."""
    sealed = seal(1_795_348_800_100)
    journal = sealed.path.with_suffix(".arrows")
    journal.touch()
    assert scan_spool(spool).front == []
    journal.unlink()
    assert scan_spool(spool).front == [sealed]


@pytest.mark.parametrize(
    "name",
    [
        "notes.parquet",
        "binance/btcusdt/trade/2026-11-22/rows.parquet",
        "binance/btcusdt/candles/2026-11-22/1795348800100.parquet",
        "binance/btcusdt/trade/2026-11-22/1795348800100.parquet.tmp",
        "binance/btcusdt/trade/2026-11-22/1795348800100.arrows",
        "binance/~ff/trade/2026-11-22/1795348800100.parquet",
    ],
)
def test_foreign_files_stay(name: str, spool: Path) -> None:
    """Only a sealed file by its name is delivered."""
    path = spool / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert scan_spool(spool).front == []


@pytest.mark.parametrize("symbol", ["btcusdt", "trade"])
def test_quarantine_stays(symbol: str, spool: Path, seal: Seal) -> None:
    """What was set aside is not delivered, also where a symbol is called as a data type is."""
    seal(1_795_348_800_100, folder=f"quarantine/binance/{symbol}/trade/2026-11-22")
    assert scan_spool(spool).front == []
