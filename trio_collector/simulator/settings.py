"""What is simulated, and how fast."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from trio_collector.simulator.faults.catalog import NEED_TLS
from trio_collector.simulator.faults.script import FaultScript

EXCHANGES = ("binance", "coinbase", "upbit", "okx", "bybit")

DEFAULT_EXCHANGES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "binance": ("BTCUSDT", "ETHUSDT"),
        "coinbase": ("BTC-USD", "ETH-USD"),
        "upbit": ("KRW-BTC", "KRW-ETH"),
        "okx": ("BTC-USDT", "ETH-USDT"),
        "bybit": ("BTCUSDT", "ETHUSDT"),
    }
)


class Simulation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of a simulator; the same seed makes the same markets.

    A symbol that is not in `exchanges` is unknown to its exchange. Rates are means for one topic; the
    interval in a topic's name (`@100ms`) is not kept, so that a simulator can be faster than an exchange.
    """

    exchanges: Mapping[str, tuple[str, ...]] = (
        DEFAULT_EXCHANGES  # as the exchange spells its symbols
    )
    seed: int = 0
    books_per_s: float = 10.0
    trades_per_s: float = 5.0
    port: int = 0  # 0: chosen by the system
    is_tls: bool = False
    captures: Path | None = None  # DIR/<exchange>/*.jsonl is sent instead of random markets
    is_recording: bool = False  # keep every data frame that was sent, in memory
    record_path: Path | None = None  # and append it to this file
    entries_path: Path | None = None  # and every frame of every fate to this one
    faults: FaultScript = FaultScript()
    # Each exchange also listens on a port of its own, which its base URL then names, so that faults
    # before a request is read can concern one exchange. A script of faults implies it.
    has_own_ports: bool = False
    tick_s: float = 0.02
    # A client that lets this much pile up is cut off. About 10 s of 40 connections at full rate.
    max_queue_bytes: int = 64 * 2**20

    def __post_init__(self) -> None:
        unknown = set(self.exchanges) - set(EXCHANGES)
        if unknown:
            raise ValueError(f"no such exchanges: {', '.join(sorted(unknown))}")
        if not self.is_tls and any(fault.kind in NEED_TLS for fault in self.faults.faults):
            raise ValueError("a fault of TLS needs is_tls")
