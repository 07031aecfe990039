"""Which of several collectors collects a market: rendezvous hashing.

A market has a weight for every shard, which is a hash of both, and belongs to the shard with the
highest. The shards agree without communicating:

* a market has the same shard in every process, on every machine, in every version: the hash is
  BLAKE2b over bytes that are defined here, not Python's `hash`;
* a shard that is added takes over the markets that weigh most with it, about 1/n, and no market
  moves between two of the old shards. `hash % n` would move nearly all of them;
* all feeds of a market stay together, and so do a symbol's spot and derivative markets.
"""

import re
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import msgspec

from trio_collector.config.loading import load_config
from trio_collector.config.markets import Market, plain_symbol
from trio_collector.config.settings import Config
from trio_collector.errors import ConfigError, Problem

# Far more than anybody has machines: a typing error must not cost a million hashes.
MAX_SHARDS = 10_000


class Shard(NamedTuple):
    """One of `shards` collectors; `ordinal` counts from 0, as a StatefulSet counts its pods."""

    ordinal: int
    shards: int

    def __str__(self) -> str:
        return f"{self.ordinal}/{self.shards}"


def parse_shard(text: str) -> Shard:
    """Return the shard that `text` names, such as `1/4`; raises ConfigError."""
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text.strip())
    if match is None:
        raise _problem(f"{text!r} is no shard; write ORDINAL/SHARDS; 0/4 is the first of four")
    shard = Shard(int(match[1]), int(match[2]))
    if not 1 <= shard.shards <= MAX_SHARDS:
        raise _problem(f"{text!r} is one of {shard.shards} shards; there are 1 to {MAX_SHARDS}")
    if shard.ordinal >= shard.shards:
        last = Shard(shard.shards - 1, shard.shards)
        raise _problem(f"{text!r} does not exist; shards count from 0, and the last is {last}")
    return shard


def _problem(text: str) -> ConfigError:
    return ConfigError([Problem("--shard", text)])


def shard_of(exchange: str, symbol: str, shards: int) -> int:
    """Return the ordinal of the shard, of `shards`, that collects `symbol` in any spelling."""
    market = f"{exchange}/{plain_symbol(symbol)}".encode()
    return max(range(shards), key=lambda ordinal: _weight(market, ordinal))


def _weight(market: bytes, ordinal: int) -> bytes:
    return blake2b(b"%d:%b" % (ordinal, market), digest_size=8).digest()


def load_part(path: Path, shard: str | None) -> Config:
    """Return the configuration in the file `path`, with the markets of `shard` alone if given.

    Raises ConfigError with every problem of the file, or with the one of `shard`.
    """
    part = None if shard is None else parse_shard(shard)
    config = load_config(path)
    return config if part is None else select(config, part)


def select(config: Config, shard: Shard) -> Config:
    """Return `config` with the markets of `shard` alone, in their order.

    With few markets for many shards none may be left: such a collector idles.
    """
    selected = (_select_symbols(market, shard) for market in config.markets)
    return msgspec.structs.replace(
        config, markets=tuple(market for market in selected if market.symbols)
    )


def _select_symbols(market: Market, shard: Shard) -> Market:
    symbols = tuple(
        symbol
        for symbol in market.symbols
        if shard_of(market.exchange, symbol, shard.shards) == shard.ordinal
    )
    return msgspec.structs.replace(market, symbols=symbols)
