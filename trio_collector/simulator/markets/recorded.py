"""Recorded sessions instead of random markets: `DIR/<exchange>/*.jsonl`, one message a line.

A file is one recorded session; files are sent in the order of their names, each line byte for byte
(Upbit's as binary frames). Left out are files that no exchange sent to a subscriber:

    *.sent.jsonl   what a client sent
    docs_*         examples of documents
    errors*        refusals, some of them put together by hand
    rest_*         bodies of REST answers

and lines that would end or refuse the session. Other control messages (acks, pongs, heartbeats) are
sent as they are. Every subscription is granted by the exchange's own ack first; the first connection
that subscribes then gets everything once, all others stay silent.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from trio_collector.simulator.markets.exchange import (
    ExchangeFacts,
    SimulatedExchange,
    Subscriber,
    Topic,
)
from trio_collector.simulator.markets.market import Market
from trio_collector.simulator.net.frames import Frame, Opcode, StreamKey

RECORDED = "recorded"

# Long enough for a client to send all its subscriptions, so that their acks come first.
DELAY_MS = 100.0
LINES_PER_STEP = 1_000

_BREAKING = {
    "binance": (b'"serverShutdown"', b'{"error":', b'{"code":'),
    "coinbase": (b'"type":"error"',),
    "upbit": (b'{"error":',),
    "okx": (b'"event":"error"', b'"event":"notice"', b'"event":"channel-conn-count-error"'),
    "bybit": (b'"success":false',),
}
_LEFT_OUT = ("docs_", "errors", "rest_")


def recorded_stream(exchange: str) -> StreamKey:
    """Return what the recorded lines of `exchange` are recorded under."""
    return StreamKey(exchange, "*", RECORDED)


def read_lines(captures: Path, exchange: str) -> list[bytes]:
    """Return the lines to send for `exchange`, in order; raises OSError if they cannot be read."""
    lines = itertools.chain.from_iterable(
        path.read_bytes().split(b"\n")
        for path in sorted((captures / exchange).glob("*.jsonl"))
        if not path.name.endswith(".sent.jsonl") and not path.name.startswith(_LEFT_OUT)
    )
    return [line for line in lines if line and not _is_breaking(exchange, line)]


class RecordedExchange(SimulatedExchange):
    """An exchange with every symbol and no changes; its recording is sent to one subscriber."""

    def __init__(self, facts: ExchangeFacts, lines: Iterable[bytes], *, now_ms: float) -> None:
        super().__init__(facts, now_ms=now_ms)
        opcode = Opcode.BINARY if facts.exchange == "upbit" else Opcode.TEXT
        streams = (recorded_stream(facts.exchange),)
        self._frames: Iterator[Frame] = iter([Frame(line, streams, opcode) for line in lines])
        self._reader: Subscriber | None = None
        self._begin_ms = 0.0

    def find(self, symbol: str) -> Market | None:
        name = self.facts.market_symbol(symbol)
        if name not in self.markets:
            self.list_markets([name], books_per_s=0, trades_per_s=0, seed=RECORDED)
        return self.markets[name]

    def join(
        self, name: str, make: Callable[[], Topic], subscriber: Subscriber
    ) -> tuple[Topic, Iterable[Frame]]:
        topic, _snapshot = super().join(name, make, subscriber)
        if self._reader is None:
            self._reader = subscriber
            self._begin_ms = self.stepped_ms + DELAY_MS
        return topic, ()

    def step(self, now_ms: float) -> None:
        self.stepped_ms = now_ms
        if self._reader is not None and now_ms >= self._begin_ms:
            self._reader.post(itertools.islice(self._frames, LINES_PER_STEP))


def _is_breaking(exchange: str, line: bytes) -> bool:
    return any(mark in line for mark in _BREAKING.get(exchange, ()))
