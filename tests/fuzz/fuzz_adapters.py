"""Lets hypothesis write messages for the adapters to read, as many as one likes.

    python -m tests.fuzz.fuzz_adapters --messages 100000 --seed 1 [--only okx]

A message is a real one that was damaged, or JSON from the words of its exchange, or any bytes.
Damage knows the structure (fields that are left out, come twice, have another name, type or place,
numbers beyond every limit, deep nesting) or is blind (other encodings, cut, joined, overwritten).

Whatever comes, `parse_message` returns what can be stored or raises UnreadableFrame with the bytes;
and through FrameDecoder each frame is a row in every stream that it concerns, or an `unparsed` row,
or it was a control. What breaks that is shown as small as hypothesis can make it. tests/fuzz runs a
short form with every other test.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import hypothesis
import msgspec
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.damage import Seeds, messages
from trio_collector.errors import UnreadableFrame
from trio_collector.events import DataType, Event, Parsed, UnknownMessage
from trio_collector.exchanges.adapter import Adapter
from trio_collector.exchanges.binance import Binance
from trio_collector.exchanges.bybit import Bybit
from trio_collector.exchanges.coinbase import Coinbase
from trio_collector.exchanges.okx import Okx
from trio_collector.exchanges.upbit import Upbit
from trio_collector.feed.continuity.arbitration import LineArbiter
from trio_collector.feed.decoder import FrameDecoder
from trio_collector.layout import encode_name

TESTS = Path(__file__).resolve().parents[1]
CAPTURES = TESTS / "exchanges" / "captures"
# Whole books are long, and damage to their hundredth level is damage to their third.
MAX_SEED_BYTES = 1_500
# Hypothesis remembers all that it tried since it was seeded, and it begins with what is simplest.
MESSAGES_OF_A_SEED = 5_000
FEWEST_OF_A_SEED = 100
INT64 = 2**63
MAX_COMPONENT_BYTES = 255  # of a path, on every filesystem in use


class Target(NamedTuple):
    """What reads, and where real messages for it are."""

    adapters: tuple[Adapter, ...]
    folder: str
    parse: Callable[[Adapter, bytes], Parsed]


def parse_frame(adapter: Adapter, frame: bytes) -> Parsed:
    return adapter.parse_message(frame)


def parse_body(adapter: Adapter, body: bytes) -> Parsed:
    return (adapter.parse_snapshot("DOGEUSDT", body),)


DIFF = Binance(orderbook="diff")
TARGETS = {
    "binance": Target((Binance(), DIFF), "binance", parse_frame),
    "binance-http": Target((DIFF,), "binance-http", parse_body),
    "coinbase": Target((Coinbase(),), "coinbase", parse_frame),
    "upbit": Target((Upbit(),), "upbit", parse_frame),
    "okx": Target(
        (Okx(), Okx(book_channel="books5"), Okx(book_channel="bbo-tbt")), "okx", parse_frame
    ),
    "bybit": Target((Bybit(), Bybit(category="linear")), "bybit", parse_frame),
}

BODIES = (
    b'{"lastUpdateId":499869752,"bids":[["0.3521","672.0"],["0.352","1"]],"asks":[["0.4","2"]]}',
    b'{"lastUpdateId":7,"bids":[],"asks":[]}',
    b'{"code":-1121,"msg":"Invalid symbol."}',
)


def real_messages(folder: str) -> list[bytes]:
    """Return real messages, or such as were written in their form."""
    if folder == "binance-http":
        return list(BODIES)
    lines = [
        line
        for path in sorted((CAPTURES / folder).glob("*.jsonl"))
        for line in path.read_bytes().splitlines()
    ]
    return [line for line in lines if len(line) <= MAX_SEED_BYTES]


class Tally:
    """What became of the messages, each counted once however often hypothesis writes it."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self._seen: set[int] = set()

    @property
    def total(self) -> int:
        return sum(self.kinds.values())

    def count(self, frame: bytes, parsed: Parsed | None) -> None:
        if hash(frame) not in self._seen:
            self._seen.add(hash(frame))
            self.kinds[kind_of(parsed)] += 1


def read_one(target: Target, adapter: Adapter, frame: bytes) -> Parsed | None:
    """Return what `frame` says, None if it is unreadable."""
    try:
        parsed = target.parse(adapter, frame)
    except UnreadableFrame as exc:
        unreadable = exc
    else:
        require_sound(parsed, frame)
        return parsed
    assert (unreadable.exchange, unreadable.frame) == (adapter.name, frame)
    unreadable.reason.encode()
    return None


def require_sound(parsed: Parsed, frame: bytes) -> None:
    """Require that what an adapter returned can be counted, compared and stored."""
    assert isinstance(parsed, tuple)
    assert parsed or frame
    events = [item for item in parsed if isinstance(item, Event)]
    assert len({(event.symbol, event.data_type) for event in events}) == len(events)
    for event in events:
        frame.decode()
        assert event.symbol == event.symbol.lower()
        assert 0 < len(encode_name(event.symbol)) <= MAX_COMPONENT_BYTES
        assert event.exchange_us is None or 0 < event.exchange_us < INT64
        for number in (event.previous_id, event.last_id):
            assert number is None or -INT64 <= number < INT64
        event.sequence_id.encode()
    msgspec.json.encode(parsed)


def require_kept(adapter: Adapter, frames: list[bytes], found: list[Parsed | None]) -> None:
    """Require that through FrameDecoder every frame is where it belongs, and nowhere else."""
    source = LineArbiter(adapter.global_ids, adapter.contiguous_ids, lambda: 0.0).open_source(
        lambda: None
    )
    rows = FrameDecoder(adapter, [], source).decode(1, frames)
    expected: Counter[tuple[str, str, bytes]] = Counter()
    for frame, parsed in zip(frames, found, strict=True):
        events = [item for item in parsed or () if isinstance(item, Event)]
        expected.update((event.symbol, event.data_type, frame) for event in events)
        if parsed is None or any(isinstance(item, UnknownMessage) for item in parsed):
            expected["_connection", DataType.UNPARSED, frame] += 1
    kept = Counter(
        (batch.stream.symbol, batch.stream.data_type, frame)
        for batch in rows.batches
        for frame in batch.frames
    )
    assert kept == expected
    unreadable = [frame for frame, parsed in zip(frames, found, strict=True) if parsed is None]
    assert [each.frame for each in rows.unreadable] == unreadable
    assert rows.frames == len(frames)


def kind_of(parsed: Parsed | None) -> str:
    if parsed is None:
        return "unreadable"
    if any(isinstance(item, Event) for item in parsed):
        return "event"
    return "foreign" if any(isinstance(item, UnknownMessage) for item in parsed) else "control"


def run(name: str, wanted: int, seed: int) -> Tally:
    """Read `wanted` messages that differ, from `seed` on; raises what should not be raised."""
    target, tally = TARGETS[name], Tally()
    seeds = Seeds(real_messages(target.folder))
    while tally.total < wanted:
        size = min(MESSAGES_OF_A_SEED, max(FEWEST_OF_A_SEED, wanted - tally.total))
        run_seed(target, seeds, tally, size=size, seed=seed)
        seed += 1
    return tally


def run_seed(target: Target, seeds: Seeds, tally: Tally, *, size: int, seed: int) -> None:
    @hypothesis.seed(seed)
    @settings(
        max_examples=size,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(target.adapters), st.sampled_from(seeds.messages), messages(seeds))
    def check(adapter: Adapter, other: bytes, frame: bytes) -> None:
        frames = [other, frame, other]  # that come with one read of the socket
        found = [read_one(target, adapter, each) for each in frames]
        if target.parse is parse_frame:
            require_kept(adapter, frames, found)
        tally.count(frame, found[1])

    check()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=TARGETS)
    options = parser.parse_args()
    for name in [options.only] if options.only else TARGETS:
        started = time.monotonic()
        tally = run(name, options.messages, options.seed)
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(tally.kinds.items()))
        seconds = time.monotonic() - started
        sys.stdout.write(f"{name}: {tally.total:,} messages: {kinds}; {seconds:.0f} s\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
