"""Shards divide the markets among them, and keep theirs when their number changes."""

from collections import Counter
from pathlib import Path

import pytest

from trio_collector.config.loading import parse_config
from trio_collector.config.sharding import (
    MAX_SHARDS,
    Shard,
    load_part,
    parse_shard,
    select,
    shard_of,
)
from trio_collector.errors import ConfigError

EXCHANGES = ("binance", "coinbase", "upbit", "okx", "bybit")
MARKETS = [(exchange, f"coin{n}usdt") for exchange in EXCHANGES for n in range(400)]

CONFIG = parse_config("""
[[markets]]
exchange = "binance"
symbols = ["btcusdt", "ethusdt", "solusdt", "adausdt"]
feeds = ["trades"]
depth = 10
[[markets]]
exchange = "okx"
symbols = ["BTC-USDT", "ETH-USDT"]
[[markets]]
exchange = "bybit"
symbols = ["BTCUSDT"]
category = "linear"
""")


def owners(shards: int) -> list[int]:
    """Return the shard of each of MARKETS."""
    return [shard_of(exchange, symbol, shards) for exchange, symbol in MARKETS]


@pytest.mark.parametrize("shards", [1, 2, 3, 4, 8, 16])
def test_adding_a_shard_moves_its_part_alone(shards: int) -> None:
    """Of 2000 markets a new shard takes 1/n, give or take a fifth; none moves between old ones.

    Measured: 974 to the 2nd (1000 expected), 503 to the 4th (500), 206 to the 9th (222).
    """
    before, after = owners(shards), owners(shards + 1)
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {shards}
    expected = len(MARKETS) / (shards + 1)
    assert 0.8 * expected <= len(moved) <= 1.2 * expected


@pytest.mark.parametrize("shards", [2, 5, 16])
def test_shards_are_about_equal(shards: int) -> None:
    """No shard has a third more or less than its part of 2000 markets."""
    sizes = Counter(owners(shards))
    assert len(sizes) == shards
    for size in sizes.values():
        assert 0.67 < size / (len(MARKETS) / shards) < 1.34


def test_a_market_stays_where_it_was() -> None:
    """The shard of a market is the same in every process and every version: these are from 0.1."""
    assert [shard_of("binance", "btcusdt", shards) for shards in (1, 2, 4, 8)] == [0, 0, 0, 0]
    assert [shard_of("okx", "ETH-USDT", shards) for shards in (2, 3, 4, 16)] == [0, 0, 0, 12]
    assert [shard_of("upbit", "KRW-BTC", shards) for shards in (2, 3, 4, 16)] == [0, 2, 2, 7]
    assert [shard_of("coinbase", "BTC-USD", shards) for shards in (2, 3, 4, 16)] == [0, 0, 0, 8]


def test_spelling_does_not_matter() -> None:
    """A market has one shard, however its symbol is written."""
    assert len({shard_of("okx", name, 64) for name in ("BTC-USDT", "btcusdt", "btc_usdt")}) == 1


def test_exchanges_are_apart() -> None:
    """One symbol of five exchanges does not go to one shard."""
    assert len({shard_of(exchange, "btcusdt", 64) for exchange in EXCHANGES}) > 1


@pytest.mark.parametrize("shards", [1, 2, 3, 7])
def test_every_market_has_one_shard(shards: int) -> None:
    """The shards of a configuration together collect each market once, with its options."""
    parts = [select(CONFIG, Shard(ordinal, shards)) for ordinal in range(shards)]
    found = [
        (market.exchange, symbol)
        for part in parts
        for market in part.markets
        for symbol in market.symbols
    ]
    wanted = [(market.exchange, symbol) for market in CONFIG.markets for symbol in market.symbols]
    assert sorted(found) == sorted(wanted)
    for part in parts:
        assert part.storage == CONFIG.storage
        for market in part.markets:
            (original,) = (each for each in CONFIG.markets if each.exchange == market.exchange)
            assert (market.feeds, market.depth, market.category) == (
                original.feeds,
                original.depth,
                original.category,
            )


def test_one_of_one_is_everything() -> None:
    """The only shard collects what no shard would."""
    assert select(CONFIG, Shard(0, 1)) == CONFIG


def test_a_shard_may_be_empty() -> None:
    """With more shards than markets some have nothing to do, and that is no error."""
    parts = [select(CONFIG, Shard(ordinal, 50)) for ordinal in range(50)]
    assert sum(not part.markets for part in parts) >= 43


@pytest.mark.parametrize(
    ("text", "shard"),
    [("0/1", (0, 1)), ("1/4", (1, 4)), (" 3/4\n", (3, 4)), (f"0/{MAX_SHARDS}", (0, MAX_SHARDS))],
)
def test_parse(text: str, shard: tuple[int, int]) -> None:
    """A shard is written ORDINAL/SHARDS, and renders itself so."""
    assert parse_shard(text) == shard
    assert str(parse_shard(text)) == text.strip()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "'' is no shard; write ORDINAL/SHARDS; 0/4 is the first of four"),
        ("$ORDINAL/4", "'$ORDINAL/4' is no shard; "),
        ("collector-1/4", "'collector-1/4' is no shard; "),
        ("-1/4", "'-1/4' is no shard; "),
        ("1/4/2", "'1/4/2' is no shard; "),
        ("٣/4", "'٣/4' is no shard; "),
        ("9999999999/1", "'9999999999/1' is no shard; "),
        ("4/4", "'4/4' does not exist; shards count from 0, and the last is 3/4"),
        ("0/0", "'0/0' is one of 0 shards; there are 1 to 10000"),
        ("0/10001", "'0/10001' is one of 10001 shards; there are 1 to 10000"),
    ],
)
def test_parse_problems(text: str, problem: str) -> None:
    """What is no shard is a problem of --shard, with its remedy."""
    with pytest.raises(ConfigError) as caught:
        parse_shard(text)
    assert str(caught.value).startswith(f"--shard: {problem}")


EXAMPLE = Path(__file__).resolve().parents[2] / "config.example.toml"


def test_the_example_is_divided() -> None:
    """The markets of config.example.toml are divided among three, none left out."""
    sizes = [
        sum(len(market.symbols) for market in load_part(EXAMPLE, f"{ordinal}/3").markets)
        for ordinal in range(3)
    ]
    assert sum(sizes) == 10
    assert max(sizes) < 10


def test_a_file_without_shards() -> None:
    """Without a shard a file is loaded as a whole; a wrong shard is found before the file is read."""
    assert load_part(EXAMPLE, None) == parse_config(EXAMPLE.read_text(encoding="utf-8"))
    with pytest.raises(ConfigError, match="--shard"):
        load_part(Path("missing.toml"), "3/3")
