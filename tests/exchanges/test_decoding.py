"""What the wire formats have in common."""

import msgspec
import pytest

from trio_collector.config.markets import plain_symbol
from trio_collector.exchanges.decoding import (
    Id,
    Milliseconds,
    SymbolNames,
    append_path,
    require_utf8,
)


def test_a_name_is_worked_out_once() -> None:
    """The rule is asked once for each spelling."""
    asked: list[str] = []

    def rule(symbol: str) -> str:
        asked.append(symbol)
        return plain_symbol(symbol)

    names = SymbolNames(rule)
    spellings = ["BTC-USD", "BTC-USD", "btc/usd", "BTC-USD"]
    assert [names[each] for each in spellings] == ["btcusd"] * 4
    assert asked == ["BTC-USD", "btc/usd"]


def test_a_symbol_without_letters_is_no_symbol() -> None:
    """A name that would be empty, and so no folder, is refused each time."""
    names = SymbolNames(plain_symbol)
    for _ in range(2):
        with pytest.raises(ValueError, match="without a letter"):
            names["-/_"]


@pytest.mark.parametrize("symbol", ["x" * 151, "币" * 17, "x" * 5_000, "\ud800"])
def test_a_symbol_that_is_no_folder_is_no_symbol(symbol: str) -> None:
    """A name that the disk would refuse makes a frame unreadable, before it is a row."""
    names = SymbolNames(plain_symbol)
    with pytest.raises(ValueError, match=r"a symbol of|surrogates"):
        names[symbol]
    assert not names
    assert names["x" * 100 + ".inverse"]
    assert names["x" * 150] == "x" * 150


def test_names_are_bounded() -> None:
    """Nonsense symbols do not fill the memory."""
    names = SymbolNames(plain_symbol)
    for number in range(50_000):
        names[f"X{number}"]
        assert len(names) <= 20_000
    assert names["X49999"] == "x49999"


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("wss://host", "wss://host/a/b"),
        ("wss://host/", "wss://host/a/b"),
        ("wss://host:1/prefix", "wss://host:1/prefix/a/b"),
        ("wss://host.xyz", "wss://host.xyz/a/b"),
        ("wss://host/a/b", "wss://host/a/b"),
        ("wss://host/a/b/", "wss://host/a/b"),
    ],
)
def test_a_path_is_appended_once(base_url: str, url: str) -> None:
    """A base URL may have the path already."""
    assert append_path(base_url, "/a/b") == url


def test_utf8_is_required() -> None:
    """What is not UTF-8 is a ValueError."""
    require_utf8(b"ascii")
    require_utf8("币安".encode())
    with pytest.raises(ValueError, match="utf-8"):
        require_utf8("币安".encode()[:-1])


def test_no_path_changes_nothing() -> None:
    """An exchange without a path is reached by its URL as it is."""
    assert append_path("wss://host/a/", "") == "wss://host/a/"


@pytest.mark.parametrize(
    ("kind", "lowest", "highest"),
    [(Id, -1, 2**63 - 1), (Milliseconds, 1, (2**63 - 1) // 1_000)],
    ids=["id", "milliseconds"],
)
def test_a_number_has_its_place_in_64_bits(kind: object, lowest: int, highest: int) -> None:
    """Ids as they are and times as microseconds; OKX's -1 is an id, and no time is before 1970."""
    for number in (lowest, highest):
        assert msgspec.convert(number, kind) == number
    for number in (lowest - 1, highest + 1):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(number, kind)
