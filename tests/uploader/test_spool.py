"""The spool is a folder: what is in it, and in which order it leaves."""

import datetime
import errno
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from tests.support.delivery_disk import FaultyDisk
from trio_collector.store.local_file import file_stamp
from trio_collector.uploader import spool as spools
from trio_collector.uploader.spool import (
    SealedFile,
    Spool,
    check_unchanged,
    next_millisecond,
    remove_empty_days,
    scan_spool,
)

Seal = Callable[..., SealedFile]

FIRST_MS = 1_795_348_800_100


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
        "binance/btcusdt/trade/2026-11-22/1795348800100",
        "binance/~ff/trade/2026-11-22/1795348800100.parquet",
        "binance/\udcff/trade/2026-11-22/1795348800100.parquet",  # a byte that is no UTF-8
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


def test_figures(spool: Path, seal: Seal) -> None:
    """Size and age count all files, the number only those that are not known already."""
    first, second, third = [seal(FIRST_MS + n, bytes(10 + n)) for n in range(3)]
    for n, sealed in enumerate((second, first, third)):
        os.utime(sealed.path, (1000.0 + n, 2000.0 + n))
    found = scan_spool(spool, {second.key})
    assert found == Spool([first, third], files=2, size_bytes=10 + 11 + 12, oldest_s=2000.0)
    assert scan_spool(spool, {first.key, second.key, third.key}).files == 0


def test_nothing_has_no_age(spool: Path) -> None:
    """An empty spool has no oldest file."""
    assert scan_spool(spool) == Spool([], 0, 0, None)


def test_front(spool: Path, seal: Seal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many files the oldest are listed, and all are counted."""
    monkeypatch.setattr(spools, "FRONT", 2)
    sealed = [seal(FIRST_MS + n) for n in (2, 0, 1)]
    found = scan_spool(spool)
    assert (found.front, found.files, found.has_more) == ([sealed[1], sealed[2]], 3, True)
    assert not scan_spool(spool, {sealed[0].key, sealed[1].key}).has_more
    assert scan_spool(spool, {sealed[0].key}).has_more  # there may be no more, which is not known


def test_same_millisecond(spool: Path, seal: Seal) -> None:
    """Files of one millisecond come in the order of their keys."""
    folders = [f"okx/{symbol}/trade/2026-11-22" for symbol in ("c", "a", "b")]
    sealed = [seal(FIRST_MS, folder=folder) for folder in folders]
    assert scan_spool(spool).front == [sealed[1], sealed[2], sealed[0]]


@pytest.mark.parametrize("digits", [18, 19])
def test_length_of_a_millisecond(digits: int, spool: Path, seal: Seal) -> None:
    """A name of more than 18 digits is no time."""
    seal(int("1" * digits))
    assert len(scan_spool(spool).front) == (digits <= 18)


def test_only_files(spool: Path, seal: Seal) -> None:
    """A folder or a symbolic link that has the name of a sealed file is not delivered."""
    sealed = seal(FIRST_MS)
    sealed.path.with_name(f"{FIRST_MS + 1}.parquet").symlink_to(sealed.path)
    sealed.path.with_name(f"{FIRST_MS + 2}.parquet").mkdir()
    assert scan_spool(spool).front == [sealed]


@pytest.mark.parametrize("call", ["stat", "list_folder"])
def test_gone_while_it_looks(call: str, spool: Path, seal: Seal) -> None:
    """What goes while the spool is scanned is left out; other errors are raised."""
    for n in range(3):
        seal(FIRST_MS + n, folder=f"okx/s{n}/trade/2026-11-22")
    n = 3 if call == "stat" else 5  # the root, the exchange, then symbol, type and day of each
    disk = FaultyDisk(call, n, errno.ENOENT)
    found = scan_spool(spool, disk=disk)
    assert disk.injected == 1
    assert (len(found.front), found.files) == (2, 2)
    with pytest.raises(OSError, match="Input/output error"):
        scan_spool(spool, disk=FaultyDisk(call, n, errno.EIO))


def test_quarantine_is_not_even_listed(spool: Path, seal: Seal) -> None:
    """A quarantine that cannot be listed holds up nothing; elsewhere the name is a name."""
    seal(FIRST_MS, folder="quarantine/binance/btcusdt/trade/2026-11-22")
    seal(FIRST_MS, folder="okx/quarantine/trade/2026-11-22")
    disk = FaultyDisk()
    assert len(scan_spool(spool, disk=disk).front) == 1
    listed = {path for call, path in disk.calls if call == "list_folder"}
    assert spool / "quarantine" not in listed
    assert spool / "okx/quarantine" in listed


def test_changed_file(seal: Seal) -> None:
    """A file that is another one now, or is gone, is not what was delivered."""
    sealed = seal(FIRST_MS, b"rows")
    stamp = file_stamp(sealed.path)
    check_unchanged(sealed.path, stamp)
    os.utime(sealed.path, ns=(0, stamp.modified_ns + 1))
    with pytest.raises(OSError, match="changed while it was delivered"):
        check_unchanged(sealed.path, stamp)
    sealed.path.unlink()
    with pytest.raises(FileNotFoundError):
        check_unchanged(sealed.path, stamp)


def test_next_millisecond() -> None:
    """The next name is a millisecond later, in the same folder, whatever kind of path it is."""
    key = PurePosixPath("okx/btcusdt/trade/2026-11-22/9.parquet")
    assert next_millisecond(key) == key.with_name("10.parquet")


TODAY = datetime.date(2026, 11, 22)


def days_below(spool: Path) -> list[str]:
    return sorted(path.name for path in spool.glob("*/*/*/*"))


def test_empty_days(spool: Path) -> None:
    """Empty folders of days before yesterday are removed, also in the quarantine; others stay."""
    trades = spool / "okx/btcusdt/trade"
    days = [
        "2026-11-19",
        "2026-11-20",
        "2026-11-21",
        "2026-11-22",
        "2026-11-2x",
        "x2026-11-01",
        "0",
    ]
    for day in days:
        (trades / day).mkdir(parents=True)
    (trades / "2026-11-19/1.arrows").touch()
    (trades / "2026-11-18/folder").mkdir(parents=True)
    (spool / "quarantine/okx/btcusdt/trade/2026-11-01").mkdir(parents=True)
    disk = FaultyDisk()
    remove_empty_days(spool, TODAY, disk)
    assert [call for call, _ in disk.calls].count("remove_folder") == 2
    assert days_below(spool) == sorted(
        ["trade", "2026-11-18", *(day for day in days if day != "2026-11-20")]
    )
    assert list((spool / "quarantine").rglob("2026*")) == []
    assert (trades / "2026-11-18/folder").exists()


@pytest.mark.parametrize("call", ["list_folder", "remove_folder"])
def test_tidying_up_never_fails(call: str, spool: Path) -> None:
    """A folder that cannot be listed or removed stays, and the others go all the same."""
    for n in range(3):
        (spool / f"okx/s{n}/trade/2026-11-01").mkdir(parents=True)
    disk = FaultyDisk(call, 3)
    remove_empty_days(spool, TODAY, disk)
    assert disk.injected == 1
    assert len(list(spool.rglob("2026*"))) == 1
    remove_empty_days(spool, TODAY)
    assert list(spool.rglob("2026*")) == []
    remove_empty_days(spool / "nowhere", TODAY)
