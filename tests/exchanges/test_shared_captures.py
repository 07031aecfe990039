"""Recorded sessions and documents' examples, parsed to what their README says of them."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from trio_collector.events import (
    Ack,
    ConnectionSequence,
    DataType,
    Event,
    GoingAway,
    Heartbeat,
    IgnoredMessage,
    Parsed,
    Pong,
    Rejection,
    UnknownMessage,
)
from trio_collector.exchanges.adapter import Adapter
from trio_collector.exchanges.binance import Binance
from trio_collector.exchanges.bybit import Bybit
from trio_collector.exchanges.coinbase import Coinbase
from trio_collector.exchanges.okx import Okx
from trio_collector.exchanges.upbit import Upbit

CAPTURES = Path(__file__).resolve().parents[3] / "shared" / "captures"
pytestmark = pytest.mark.skipif(
    not CAPTURES.is_dir(), reason="the recordings of ../shared/captures are not here"
)

BOOK, TRADE = "orderbook", "trade"

# What each file means, counted: data types of events, names of controls.
MEANINGS: dict[str, tuple[Adapter, dict[str, int]]] = {
    "binance/docs_errors.jsonl": (Binance(), {"Rejection": 6}),
    "binance/docs_examples.jsonl": (
        Binance(),
        {BOOK: 1, TRADE: 2, "GoingAway": 2, "Ack": 3, "IgnoredMessage": 2, "UnknownMessage": 3},
    ),
    "binance/session_2021_combined.jsonl": (Binance(), {BOOK: 177, TRADE: 2, "UnknownMessage": 86}),
    "binance/session_2023_tr_combined.jsonl": (Binance(), {BOOK: 84, "UnknownMessage": 55}),
    "binance/spot_messages_2021_2022.jsonl": (Binance(), {BOOK: 2, TRADE: 1, "UnknownMessage": 1}),
    "bybit/docs_control.jsonl": (Bybit(), {"Ack": 3, "Pong": 4, "IgnoredMessage": 2}),
    "bybit/docs_data.jsonl": (
        Bybit(),
        {BOOK: 2, TRADE: 1, "UnknownMessage": 2, "IgnoredMessage": 1},
    ),
    "bybit/errors.jsonl": (Bybit(), {"Rejection": 2, "Ack": 1}),
    "bybit/spot_v5_2023_tardis.jsonl": (Bybit(), {BOOK: 4, TRADE: 2}),
    "bybit/spot_v5_2024.jsonl": (Bybit(), {BOOK: 2, TRADE: 1, "Ack": 1}),
    "coinbase/errors.jsonl": (Coinbase(), {"Rejection": 2}),
    "coinbase/l2_snapshot_update_nautilus.jsonl": (
        Coinbase(),
        {BOOK: 2, "Ack": 1, "ConnectionSequence": 3},
    ),
    "coinbase/l2_update_2023.jsonl": (Coinbase(), {BOOK: 1, "ConnectionSequence": 1}),
    "coinbase/trades_heartbeats_2024.jsonl": (
        Coinbase(),
        {TRADE: 1, "Ack": 2, "Heartbeat": 1, "ConnectionSequence": 4},
    ),
    "okx/books5_2023.jsonl": (Okx(book_channel="books5"), {BOOK: 1}),
    "okx/docs_bbo_trades.jsonl": (Okx(book_channel="bbo-tbt"), {BOOK: 1, TRADE: 2}),
    "okx/docs_books.jsonl": (Okx(), {BOOK: 2}),
    "okx/docs_control.jsonl": (
        Okx(),
        {"Ack": 1, "Rejection": 2, "GoingAway": 1, "IgnoredMessage": 2},
    ),
    "okx/messages_2021_2023_tardis.jsonl": (Okx(), {"Ack": 1, TRADE: 1, "UnknownMessage": 4}),
    "okx/pong.txt": (Okx(), {"Pong": 1}),
    "okx/session_2022_public.jsonl": (
        Okx(),
        {"Ack": 18, BOOK: 290, TRADE: 74, "UnknownMessage": 28},
    ),
    "okx/spot_messages_2022.jsonl": (Okx(), {TRADE: 1, "UnknownMessage": 3}),
    "upbit/default_format.jsonl": (Upbit(), {BOOK: 1, TRADE: 1}),
    "upbit/docs_control.jsonl": (Upbit(), {"Pong": 1, "Rejection": 1, "IgnoredMessage": 1}),
    "upbit/session_2021_simple_part1.jsonl": (Upbit(), {BOOK: 90, TRADE: 134}),
}


def parse_all(name: str) -> list[Parsed]:
    adapter = MEANINGS[name][0]
    return [adapter.parse_message(line) for line in (CAPTURES / name).read_bytes().splitlines()]


def events_of(name: str, data_type: DataType) -> list[Event]:
    return [
        item
        for parsed in parse_all(name)
        for item in parsed
        if isinstance(item, Event) and item.data_type is data_type
    ]


def by_symbol(events: list[Event]) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = {}
    for event in events:
        found.setdefault(event.symbol, []).append(event)
    return found


def test_every_recording_is_parsed_here() -> None:
    """No file of messages from an exchange is left out; REST bodies and sent messages are none."""
    recorded = {
        path.relative_to(CAPTURES).as_posix()
        for path in CAPTURES.glob("*/*")
        if path.suffix == ".jsonl" or path.name == "pong.txt"
    }
    assert recorded - set(MEANINGS) == {
        "binance/rest_depth_2021.jsonl",
        "okx/session_2022_public.sent.jsonl",
        "upbit/session_2021_simple.sent.jsonl",
    }


@pytest.mark.parametrize("name", MEANINGS)
def test_recording_means_what_its_readme_says(name: str) -> None:
    """Every message is read, none is unreadable, and the kinds are as many as counted."""
    found = Counter(
        item.data_type.value if isinstance(item, Event) else type(item).__name__
        for parsed in parse_all(name)
        for item in parsed
    )
    assert found == MEANINGS[name][1]


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        (
            "binance/session_2021_combined.jsonl",
            {"nknusdt": 150, "lrcbtc": 15, "blzeth": 10, "runeeur": 2},
        ),
        ("binance/session_2023_tr_combined.jsonl", None),
    ],
)
def test_binance_diffs_have_no_gap(name: str, rows: dict[str, int] | None) -> None:
    """Each diff of a symbol follows on the one before."""
    streams = by_symbol(events_of(name, DataType.ORDERBOOK))
    for events in streams.values():
        assert all(event.previous_id == before.last_id for before, event in pairwise(events))
    if rows is not None:
        assert {symbol: len(events) for symbol, events in streams.items()} == rows


def test_binance_first_diffs_are_those_of_the_readme() -> None:
    """The ids of the first diffs let the books be spliced with the snapshots of that day."""
    streams = by_symbol(events_of("binance/session_2021_combined.jsonl", DataType.ORDERBOOK))
    firsts = {symbol: (events[0].previous_id or 0) + 1 for symbol, events in streams.items()}
    assert firsts == {
        "nknusdt": 499869750,
        "blzeth": 281916627,
        "lrcbtc": 259345536,
        "runeeur": 15602510,
    }


def test_binance_books_by_http_are_spliced_with_diffs() -> None:
    """Each book of that day ends where one of its diffs does, and the next diff follows on it."""
    streams = by_symbol(events_of("binance/session_2021_combined.jsonl", DataType.ORDERBOOK))
    bodies = (CAPTURES / "binance" / "rest_depth_2021.jsonl").read_bytes().splitlines()
    symbols = ("NKNUSDT", "BLZETH", "LRCBTC", "RUNEEUR")  # as their .recv_time.txt has them
    for symbol, body in zip(symbols, bodies, strict=True):
        book = Binance().parse_snapshot(symbol, body)
        assert book.symbol == symbol.lower()
        assert book.is_reset
        diffs = streams[book.symbol]
        assert book.last_id in [diff.last_id for diff in diffs]
        assert book.last_id in [diff.previous_id for diff in diffs]


def names_in(value: object) -> set[str]:
    """Return the names of all fields in `value`."""
    if isinstance(value, list):
        return set().union(*map(names_in, value))
    if isinstance(value, dict):
        return set(value).union(*map(names_in, value.values()))
    return set()


@pytest.mark.parametrize("name", MEANINGS)
def test_fields_of_data_are_known(name: str) -> None:
    """No recorded message of data has a field that the adapter does not know."""
    adapter = MEANINGS[name][0]
    lines = (CAPTURES / name).read_bytes().splitlines()
    for line, parsed in zip(lines, parse_all(name), strict=True):
        if any(isinstance(item, Event) for item in parsed):
            assert names_in(json.loads(line)) <= adapter.known_fields


def test_okx_acks_again_what_runs_already() -> None:
    """In 2022 nine feeds were asked for again as the list grew: 18 acks, and none is a refusal."""
    acks = [found[0] for found in parse_all("okx/session_2022_public.jsonl")[:18]]
    assert all(isinstance(ack, Ack) for ack in acks)


@pytest.mark.parametrize("name", [name for name in MEANINGS if "/session" in name])
def test_same_ids_are_ids_of_one_message(name: str) -> None:
    """Where ids are alike on every connection, no two messages of a stream share one."""
    adapter = MEANINGS[name][0]
    seen: Counter[tuple[str, str]] = Counter()
    for parsed in parse_all(name):
        for item in parsed:
            if (
                isinstance(item, Event)
                and item.data_type in adapter.global_ids
                and item.sequence_id
            ):
                seen[item.symbol, f"{item.data_type} {item.sequence_id}"] += 1
    assert max(seen.values(), default=1) == 1


def test_binance_partial_book_is_attributed_by_its_stream() -> None:
    """A partial book without its stream is kept, but belongs to nobody."""
    [partial] = parse_all("binance/spot_messages_2021_2022.jsonl")[2]
    assert partial == Event("ethusdt", DataType.ORDERBOOK, "17044571457", None)
    [raw] = parse_all("binance/docs_examples.jsonl")[11]
    assert isinstance(raw, UnknownMessage)


def test_binance_shutdown_is_announced_in_both_forms() -> None:
    """Raw and wrapped."""
    raw, wrapped = parse_all("binance/docs_examples.jsonl")[:2]
    assert raw == wrapped == (GoingAway("serverShutdown"),)


def test_okx_session_starts_with_three_snapshots() -> None:
    """3 snapshots and 287 updates; in 2022 without ids, so that nothing is proven."""
    books = events_of("okx/session_2022_public.jsonl", DataType.ORDERBOOK)
    assert Counter(book.is_reset for book in books) == {True: 3, False: 287}
    assert {(book.previous_id, book.last_id, book.sequence_id) for book in books} == {
        (None, None, "")
    }
    assert all(book.exchange_us for book in books)


def test_okx_trades_of_documents_are_counted() -> None:
    """count 3 and tradeId 130639474 follow on 130639471."""
    for event in events_of("okx/docs_bbo_trades.jsonl", DataType.TRADE):
        assert (event.previous_id, event.last_id) == (130639471, 130639474)


def test_okx_books_of_documents_follow_on_each_other() -> None:
    """The update's prevSeqId is the snapshot's seqId."""
    snapshot, update = events_of("okx/docs_books.jsonl", DataType.ORDERBOOK)
    assert snapshot.is_reset
    assert snapshot.previous_id is None
    assert update.previous_id == snapshot.last_id == 123456


def test_upbit_trades_go_back_in_their_ids() -> None:
    """Four markets; 13 trades carry a lower id than an earlier one: ids prove nothing."""
    name = "upbit/session_2021_simple_part1.jsonl"
    streams = by_symbol(events_of(name, DataType.TRADE))
    lower = 0
    for events in streams.values():
        highest = 0
        for event in events:
            lower += int(event.sequence_id) < highest
            highest = max(highest, int(event.sequence_id))
    assert lower == 13
    books = by_symbol(events_of(name, DataType.ORDERBOOK))
    assert len(set(streams) | set(books)) == 4
    assert all(event.previous_id is None for events in streams.values() for event in events)


def test_upbit_formats_agree() -> None:
    """Long keys mean what short ones do."""
    book, trade = parse_all("upbit/default_format.jsonl")
    assert book == (Event("krweth", DataType.ORDERBOOK, "", 1_746_601_573_804_000),)
    assert trade == (Event("krweth", DataType.TRADE, "1696585056846000", 1_696_585_056_910_000),)


def test_coinbase_trades_come_newest_first() -> None:
    """Two trades in one frame are one row with the higher id."""
    [event] = events_of("coinbase/trades_heartbeats_2024.jsonl", DataType.TRADE)
    assert (event.sequence_id, event.previous_id, event.last_id) == (
        "22381691",
        22381689,
        22381691,
    )


def test_coinbase_frames_are_numbered_over_all_channels() -> None:
    """Acks and heartbeats count, too."""
    parsed = parse_all("coinbase/trades_heartbeats_2024.jsonl")
    assert [found[0] for found in parsed] == [ConnectionSequence(n) for n in (1, 2, 0, 1)]
    assert parsed[3][1] == Heartbeat()


def test_bybit_trades_of_one_frame_are_one_row() -> None:
    """Four trades, oldest first; the last one gives the id."""
    four, one = events_of("bybit/spot_v5_2023_tardis.jsonl", DataType.TRADE)
    assert four.sequence_id == "2290000000050703792"
    assert one.symbol == "btcusdc"


def test_bybit_delta_follows_on_its_snapshot() -> None:
    """Recorded 19 ms apart, with u growing by one."""
    snapshot, delta = events_of("bybit/spot_v5_2024.jsonl", DataType.ORDERBOOK)
    assert snapshot.is_reset
    assert delta.previous_id == snapshot.last_id


def test_bybit_controls_are_told_apart() -> None:
    """Pongs of both shapes, acks of spot and linear, refusals of one topic and of none."""
    kinds = [type(found[0]) for found in parse_all("bybit/docs_control.jsonl")]
    assert kinds == [IgnoredMessage, Pong, Pong, Pong, Pong, Ack, Ack, Ack, IgnoredMessage]
    unknown, running, invalid = (found[0] for found in parse_all("bybit/errors.jsonl"))
    assert isinstance(unknown, Rejection)
    assert unknown.topics
    assert isinstance(running, Ack)
    assert isinstance(invalid, Rejection)
    assert invalid.is_whole_request
