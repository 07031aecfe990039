"""Lets hypothesis write messages for the adapters to read, as many as one likes.

    python -m tests.fuzz.fuzz_adapters --messages 100000 --seed 1 [--only okx]

A message is a real one that was damaged, or JSON from the words of its exchange, or any bytes.
Damage knows the structure (fields that are left out, come twice, have another name, type or place,
numbers beyond every limit, deep nesting) or is blind (other encodings, cut, joined, overwritten).

Whatever comes, `parse_message` returns what can be stored or raises UnreadableFrame with the bytes;
and through FrameReader each frame is a row in every stream that it concerns, or an `unparsed` row,
or it was a control. What breaks that is shown as small as hypothesis can make it. tests/fuzz runs a
short form with every other test.
"""

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import msgspec
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

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
DATA_PLACES = 8  # answers have fewer fields
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


# ---- messages as trees, in which a field may come twice and a number be anything ----


class Fields(list[tuple[str, Any]]):
    """An object, as the list of its fields."""


class Text(str):
    """A value as it is to be written; real texts are plain `str`."""

    __slots__ = ()


# JSON, though not what is expected anywhere.
ODD = r"""
    true false null -0 -1 0 1.5 1e3 1e400 -1e400 {} [] [[]] {"a":1,"a":2}
    "" "0" "-1" "1e5" "NaN" "~" "../../x" "\u0000" "\u202e" "\ud83d\ude00"
    "9999-12-31T23:59:59Z" "0001-01-01T00:00:00Z" "1970-01-01T00:00:00-23:59"
"""
NUMBERS = (2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30, "9" * 400, "1" * 5000)
ODD_VALUES = [
    *map(Text, ODD.split()),
    *(Text(number) for number in NUMBERS),
    Text("[" * 500 + "]" * 500),
    Text('{"a":' * 500 + "1" + "}" * 500),
    Text(json.dumps("x" * 5_000)),
    Text(json.dumps("ẞ币😀" * 200, ensure_ascii=False)),
]
# What is no JSON, or deeper than any reader goes.
BROKEN = r"""
    NaN Infinity -Infinity 00 +1 0x10 .5 5. 'a' tru "\x" "\ud800" "\udc00\ud800"
"""
BROKEN_VALUES = [
    *map(Text, BROKEN.split()),
    Text('"\t"'),
    Text("[" * 3_000 + "]" * 3_000),
    Text("[" * 40_000),
    Text('{"a":' * 3_000),
]


def read_tree(message: bytes) -> Any:
    """Return `message` as a tree; None where it is no JSON."""
    try:
        return json.loads(message, object_pairs_hook=Fields, parse_float=Text, parse_int=Text)
    except ValueError:
        return None


def write_tree(tree: Any, *, is_ascii: bool) -> str:
    if isinstance(tree, Text):
        return str(tree)
    if isinstance(tree, Fields):
        fields = (f"{json.dumps(key)}:{write_tree(item, is_ascii=is_ascii)}" for key, item in tree)
        return "{" + ",".join(fields) + "}"
    if isinstance(tree, list):
        return "[" + ",".join(write_tree(item, is_ascii=is_ascii) for item in tree) + "]"
    return json.dumps(tree, ensure_ascii=is_ascii)


def copy_tree(tree: Any) -> Any:
    if isinstance(tree, Fields):
        return Fields((key, copy_tree(item)) for key, item in tree)
    return [copy_tree(item) for item in tree] if isinstance(tree, list) else tree


def places_in(tree: Any) -> list[tuple[Any, int]]:
    """Return each container in `tree` with each of its positions."""
    if not isinstance(tree, list):
        return []
    found = []
    for position, entry in enumerate(tree):
        found.append((tree, position))
        found += places_in(entry[1] if isinstance(tree, Fields) else entry)
    return found


def put(container: Any, position: int, value: Any) -> None:
    is_object = isinstance(container, Fields)
    container[position] = (container[position][0], value) if is_object else value


def value_at(container: Any, position: int) -> Any:
    entry = container[position]
    return entry[1] if isinstance(container, Fields) else entry


# ---- strategies ----


class Seeds:
    """What hypothesis builds from, for one target."""

    def __init__(self, folder: str) -> None:
        self.messages = real_messages(folder)
        self.trees = [tree for each in self.messages if (tree := read_tree(each)) is not None]
        # Messages of data come three times as often as the many kinds of answers.
        self.trees += 2 * [tree for tree in self.trees if len(places_in(tree)) > DATA_PLACES]
        texts = b" ".join(self.messages).decode()
        self.words = sorted(set(re.findall(r"[\w.@!-]+", texts)))
        self.values = sorted({write_tree(value, is_ascii=False) for value in self._values()})

    def _values(self) -> Iterable[Any]:
        for tree in self.trees:
            for container, position in places_in(tree):
                yield value_at(container, position)


@st.composite
def damaged_trees(draw: st.DrawFn, seeds: Seeds) -> bytes:
    """Real messages whose structure is damaged in up to four places."""
    tree = copy_tree(draw(st.sampled_from(seeds.trees)))
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 2, 3, 4]))):
        places = places_in(tree)
        if not places:
            break
        container, position = places[draw(st.integers(0, len(places) - 1))]
        damage_place(draw, seeds, container, position)
    text = write_tree(tree, is_ascii=draw(st.booleans()))
    return text.encode("utf-8", "surrogatepass")


def damage_place(draw: st.DrawFn, seeds: Seeds, container: Any, position: int) -> None:
    value = value_at(container, position)
    match draw(st.integers(0, 9)):
        case 0:
            del container[position]
        case 1:
            container.insert(draw(st.integers(0, len(container))), container[position])
        case 2:
            odd = ODD_VALUES if draw(st.integers(0, 4)) else BROKEN_VALUES
            put(container, position, draw(st.sampled_from(odd)))
        case 3:
            put(container, position, Text(draw(st.sampled_from(seeds.values))))
        case 4:
            put(container, position, [value])
        case 5:
            container.reverse()
        case 6 if isinstance(container, Fields):
            container[position] = (draw(st.sampled_from(seeds.words)), value)
        case 7:
            is_number = isinstance(value, Text)
            put(container, position, str(value) if is_number else Text(draw(integers)))
        case _:
            put(container, position, draw(st.text(max_size=6)))


integers = (st.integers() | st.integers(-(2**65), 2**65)).map(str)


@st.composite
def damaged_bytes(draw: st.DrawFn, seeds: Seeds) -> bytes:
    """Real messages that are cut, joined, overwritten or in another encoding."""
    frame = draw(st.sampled_from(seeds.messages))
    match draw(st.integers(0, 6)):
        case 0:
            return frame[: draw(st.integers(0, len(frame)))]
        case 1:
            return frame + draw(st.sampled_from(seeds.messages))
        case 2:
            return draw(st.sampled_from([b"\xef\xbb\xbf", b" ", b"\n", b"\0", b"[", b"{"])) + frame
        case 3:
            other = draw(st.sampled_from(["utf-16", "utf-16-be", "utf-32", "latin-1", "utf-7"]))
            return frame.decode().encode(other, "replace")
        case 4:
            position = draw(st.integers(0, len(frame)))
            return frame[:position] + draw(st.binary(max_size=6)) + frame[position:]
        case 5:
            changed = bytearray(frame)
            for _ in range(draw(st.integers(1, 3))):
                changed[draw(st.integers(0, len(changed) - 1))] ^= 1 << draw(st.integers(0, 7))
            return bytes(changed)
    start = draw(st.integers(0, len(frame)))
    return frame[:start] + frame[draw(st.integers(start, len(frame))) :]


def documents(seeds: Seeds) -> st.SearchStrategy[bytes]:
    """JSON from the words of the exchange."""
    words = st.sampled_from(seeds.words)
    values = st.sampled_from(seeds.values).map(Text) | st.sampled_from(ODD_VALUES) | words
    tree = st.recursive(
        values,
        lambda inner: (
            st.lists(inner, max_size=3) | st.lists(st.tuples(words, inner), max_size=6).map(Fields)
        ),
        max_leaves=8,
    )
    return tree.map(lambda each: write_tree(each, is_ascii=False).encode("utf-8", "replace"))


def messages(seeds: Seeds) -> st.SearchStrategy[bytes]:
    trees, others = damaged_trees(seeds), damaged_bytes(seeds)
    strange = documents(seeds) | st.binary(max_size=60)
    # Named more often: what still looks like a message finds most.
    return st.sampled_from([trees] * 7 + [others] * 2 + [strange]).flatmap(lambda each: each)


# ---- what must hold ----


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
    """Require that through FrameReader every frame is where it belongs, and nowhere else."""
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
    seeds = Seeds(target.folder)
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
