"""What every adapter promises, tried on the own captures and on anything else.

`sixth_exchange.py` keeps the same promises with a file of its own and nothing else.

`captures/<exchange>/<name>.jsonl` holds messages, one on a line, written for these tests in the
forms that the exchanges send; the lines of `<name>.expected` say what they mean.
"""

import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.exchanges.sixth_exchange import SixthExchange
from trio_collector.config.markets import Market
from trio_collector.errors import UnreadableFrame
from trio_collector.events import Control, DataType, Event, FeedType, Parsed, Topic
from trio_collector.exchanges import ADAPTERS, create_adapter
from trio_collector.exchanges.adapter import Adapter, Subscription

CAPTURES = Path(__file__).parent / "captures"
SYMBOLS = {
    "binance": "DOGEUSDT",
    "coinbase": "SOL-USD",
    "upbit": "KRW-XRP",
    "okx": "TON-USDT",
    "bybit": "SUIUSDT",
    SixthExchange.name: "SOL/USD",
}
NAMES = [*ADAPTERS, SixthExchange.name]
# The feed ends a session after 30 s without a frame (message_timeout_secs).
SILENCE_S = 30.0

Check = Callable[[Parsed], None]


class Capture(NamedTuple):
    """One message, and what it means."""

    exchange: str
    name: str
    frame: bytes
    meaning: str


def read_captures() -> list[Capture]:
    """Return every message of `captures/`."""
    return [
        Capture(path.parent.name, f"{path.parent.name}/{path.stem}:{number}", frame, meaning)
        for path in sorted(CAPTURES.glob("*/*.jsonl"))
        for number, (frame, meaning) in enumerate(
            zip(
                path.read_bytes().splitlines(),
                path.with_suffix(".expected").read_text("utf-8").splitlines(),
                strict=True,
            ),
            1,
        )
    ]


def adapter_of(exchange: str, base_url: str | None = None) -> Adapter:
    market = Market(exchange="okx", symbols=(SYMBOLS[exchange],), base_url=base_url)
    if exchange == SixthExchange.name:
        return SixthExchange.from_market(market, None)
    return create_adapter(msgspec.structs.replace(market, exchange=exchange))


def describe(parsed: Parsed) -> str:
    """Return what a frame means on one line; what is empty is left out."""
    return " ".join(map(_describe, parsed))


def _describe(item: Event | Control) -> str:
    fields = {
        name: value
        for name, value in msgspec.to_builtins(item).items()
        if value not in ((), None) and value is not False
    }
    return f"{type(item).__name__} {msgspec.json.encode(fields).decode()}"


ALL = read_captures()
OBJECTS = [capture for capture in ALL if capture.frame.startswith(b"{")]
ADAPTER = {name: adapter_of(name) for name in NAMES}
each_capture = pytest.mark.parametrize("capture", ALL, ids=lambda capture: capture.name)
each_exchange = pytest.mark.parametrize("exchange", NAMES)


def test_every_exchange_has_captures() -> None:
    """No adapter escapes these tests."""
    assert {capture.exchange for capture in ALL} == set(NAMES)


@each_capture
def test_capture_means_what_is_written_beside_it(capture: Capture, require_sound: Check) -> None:
    """Each message is understood completely."""
    parsed = ADAPTER[capture.exchange].parse_message(capture.frame)
    require_sound(parsed)
    assert describe(parsed) == capture.meaning


@each_capture
def test_cut_capture_is_unreadable(capture: Capture) -> None:
    """A message cut at any byte is an unreadable frame and keeps its bytes."""
    adapter = ADAPTER[capture.exchange]
    for length in range(len(capture.frame)):
        cut = capture.frame[:length]
        with pytest.raises(UnreadableFrame) as caught:
            adapter.parse_message(cut)
        assert caught.value.frame == cut
        assert caught.value.exchange == capture.exchange


@each_capture
@pytest.mark.parametrize(
    "garbage", [b"x", b"}", b"]", b",", b"{}", b"\0", b"\xff", b" 1", b"\x00{"]
)
def test_garbage_behind_a_capture_is_unreadable(capture: Capture, garbage: bytes) -> None:
    """A message with anything but white space behind it is an unreadable frame."""
    with pytest.raises(UnreadableFrame):
        ADAPTER[capture.exchange].parse_message(capture.frame + garbage)


@each_exchange
@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"null",
        b"17",
        b'"text"',
        b"[]",
        b"{}",
        b"[1]",
        b'{"unknown":1}',
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"data":' * 100_000,
        b'{"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b'{"x":' + b"9" * 10_000 + b"}",
        b'{"ty":"trade","type":"error","channel":"l2_data","topic":"publicTrade.X"}',
    ],
    ids=lambda frame: repr(frame[:12]),
)
def test_nonsense_is_unreadable(exchange: str, frame: bytes) -> None:
    """What is none of the documented messages is unreadable, however deep or long."""
    with pytest.raises(UnreadableFrame, match=exchange):
        ADAPTER[exchange].parse_message(frame)


@pytest.mark.parametrize("capture", OBJECTS, ids=lambda capture: capture.name)
def test_message_that_is_not_utf8_is_unreadable(capture: Capture) -> None:
    """Bytes that are not UTF-8 are found in skipped fields, too: rows are kept as text."""
    frame = b'{"skipped":"\xff",' + capture.frame[1:]
    with pytest.raises(UnreadableFrame):
        ADAPTER[capture.exchange].parse_message(frame)


@pytest.mark.parametrize("capture", OBJECTS, ids=lambda capture: capture.name)
def test_number_beyond_64_bits_is_unreadable_or_skipped(
    capture: Capture, require_sound: Check
) -> None:
    """An id or time that no column can hold makes a frame unreadable, never a wrong row."""
    message = json.loads(capture.frame)
    for number in (2**63, -(2**63) - 1, 2**64, 10**30, 1e300, 1.5, -1, 0, True, None, "", "9" * 40):
        changed = json.dumps(_with_numbers(message, number)).encode()
        parse_or_unreadable(capture.exchange, changed, require_sound)


def _with_numbers(value: Any, number: object) -> Any:
    """Return `value` with each number in it, also those in quotes, replaced by `number`."""
    if isinstance(value, dict):
        return {key: _with_numbers(item, number) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_numbers(item, number) for item in value]
    is_number = isinstance(value, int | float) or (isinstance(value, str) and value.isdigit())
    return number if is_number else value


def parse_or_unreadable(exchange: str, frame: bytes, require_sound: Check) -> None:
    """Parse `frame`; what comes back is sound, or it is unreadable."""
    with contextlib.suppress(UnreadableFrame):
        require_sound(ADAPTER[exchange].parse_message(frame))


# The words of all exchanges, so that what hypothesis builds comes near to real messages.
WORDS = """
    stream data e E s t a u U b lastUpdateId bids asks result id error code msg trade aggTrade
    depthUpdate btcusdt@depth20 channel timestamp sequence_num events type product_id updates
    trades trade_id subscriptions l2_data market_trades heartbeats snapshot update level2 ty cd
    tms sid obu orderbook sequential_id status UP method arg instId action ts seqId prevSeqId
    tradeId count event subscribe notice books topic publicTrade.X orderbook.50.X T i success
    ret_msg req_id op ping pong delta BTC-USD 1 1790000000000 2026-11-01T10:00:00Z
"""
words = st.sampled_from(re.findall(r"\S+", WORDS))
scalars = st.none() | st.booleans() | st.integers() | st.floats() | words | st.text(max_size=8)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=8),
    max_leaves=12,
)


@given(st.sampled_from(NAMES), st.binary(max_size=80))
def test_any_bytes_parse_or_are_unreadable(
    require_sound: Check, exchange: str, frame: bytes
) -> None:
    """Whatever the bytes are, there is one error."""
    parse_or_unreadable(exchange, frame, require_sound)


@given(st.sampled_from(NAMES), documents)
def test_any_json_parses_or_is_unreadable(
    require_sound: Check, exchange: str, document: Any
) -> None:
    """Whatever the JSON says, there is one error."""
    parse_or_unreadable(exchange, json.dumps(document).encode(), require_sound)


@given(st.sampled_from(ALL), st.data())
def test_damaged_captures_parse_or_are_unreadable(
    require_sound: Check, capture: Capture, data: st.DataObject
) -> None:
    """A message with bytes replaced, lost or put in, is sound or unreadable."""
    frame = capture.frame
    start = data.draw(st.integers(0, len(frame)))
    stop = data.draw(st.integers(start, min(len(frame), start + 12)))
    patch = data.draw(st.binary(max_size=6) | words.map(str.encode) | st.just(b'"'))
    damaged = frame[:start] + patch + frame[stop:]
    parse_or_unreadable(capture.exchange, damaged, require_sound)


@given(st.sampled_from(OBJECTS), st.data())
def test_captures_with_other_values_parse_or_are_unreadable(
    require_sound: Check, capture: Capture, data: st.DataObject
) -> None:
    """A field that is missing or of another type makes a frame unreadable, or does not matter."""
    message = json.loads(capture.frame)
    place, key = data.draw(st.sampled_from(_places(message)))
    if data.draw(st.booleans()):
        del place[key]
    else:
        place[key] = data.draw(documents)
    parse_or_unreadable(capture.exchange, json.dumps(message).encode(), require_sound)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return each (container, key) within `value`."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, item in items:
        found.append((value, key))
        if isinstance(item, dict | list):
            found += _places(item)
    return found


@each_exchange
def test_subscriptions_are_asked_for_once(exchange: str) -> None:
    """Every topic is in exactly one request, and ids count up from the first one."""
    adapter = ADAPTER[exchange]
    wanted = [Subscription(SYMBOLS[exchange], feed) for feed in FeedType]
    requests = adapter.build_subscribe_messages(wanted, first_id=40)
    name = adapter.normalize_symbol(SYMBOLS[exchange])
    topics = [topic for request in requests for topic in request.topics]
    assert sorted(topics) == [Topic(name, DataType.ORDERBOOK), Topic(name, DataType.TRADE)]
    assert all(json.loads(request.text) for request in requests)
    ids = [request.id for request in requests if request.id is not None]
    assert ids == [str(40 + index) for index in range(len(ids))]
    assert ids == [] or len(ids) == len(requests)


@each_exchange
def test_nothing_is_asked_for_without_subscriptions(exchange: str) -> None:
    """No subscriptions, no requests."""
    assert ADAPTER[exchange].build_subscribe_messages([]) == []


@each_exchange
def test_requests_follow_from_their_arguments(exchange: str) -> None:
    """The same subscriptions make the same requests: no dice, no clock, no state."""
    wanted = [Subscription(SYMBOLS[exchange], FeedType.TRADES)]
    assert ADAPTER[exchange].build_subscribe_messages(wanted) == adapter_of(
        exchange
    ).build_subscribe_messages(wanted)


@each_exchange
def test_ending_a_subscription_asks_for_nothing(exchange: str) -> None:
    """Requests that end subscriptions name no topics, and none has the id of one that asks."""
    adapter = ADAPTER[exchange]
    wanted = [Subscription(SYMBOLS[exchange], feed) for feed in FeedType]
    requests = adapter.build_unsubscribe_messages(wanted, first_id=40)
    asked = adapter.build_subscribe_messages(wanted, first_id=40)
    assert bool(requests) == (exchange != "upbit")
    assert {request.topics for request in requests} <= {()}
    assert all("unsubscribe" in request.text.lower() for request in requests)
    ids = {request.id for request in requests if request.id is not None}
    assert len(ids) in (0, len(requests))
    assert not ids & {request.id for request in asked}
    assert adapter.build_unsubscribe_messages([]) == []


@each_exchange
def test_books_by_http_are_binances(exchange: str) -> None:
    """No other exchange is asked for books; what is given to it all the same is unreadable."""
    adapter = ADAPTER[exchange]
    assert adapter.snapshot_request(SYMBOLS[exchange]) is None
    if exchange != "binance":
        assert adapter.limits.rest_weight is None
        with pytest.raises(UnreadableFrame) as caught:
            adapter.parse_snapshot(SYMBOLS[exchange], b"{}")
        assert caught.value.frame == b"{}"


def names_in(value: Any) -> set[str]:
    """Return the names of all fields in `value`."""
    if isinstance(value, list):
        return set().union(*map(names_in, value))
    if isinstance(value, dict):
        return set(value).union(*map(names_in, value.values()))
    return set()


@each_capture
def test_fields_of_data_are_known(capture: Capture) -> None:
    """A message of data has fields that are known, but for one that shows what is new."""
    if "Event" in capture.meaning:
        unknown = names_in(json.loads(capture.frame)) - ADAPTER[capture.exchange].known_fields
        assert unknown <= ({"new", "key", "deep"} if b'"new"' in capture.frame else set())


@each_exchange
def test_keepalive_beats_the_watchdog(exchange: str) -> None:
    """What is sent to keep a connection brings an answer within the silence that is allowed."""
    keepalive = ADAPTER[exchange].keepalive
    assert keepalive is None or keepalive.interval_s <= SILENCE_S - 10


@each_exchange
def test_base_url_is_honoured(exchange: str) -> None:
    """A host alone is enough, and a whole URL stays as it is."""
    bare = f"ws://127.0.0.1:9000/{exchange}"
    url = adapter_of(exchange, bare).websocket_url()
    assert url.startswith(bare)
    again = adapter_of(exchange, url)
    assert again.websocket_url() == url
    assert again.websocket_url(line=1) == url
    assert adapter_of(exchange, bare + "/").websocket_url().rstrip("/") == url


@each_exchange
def test_names_do_not_change_when_normalised_again(exchange: str) -> None:
    """The name of a row names the same rows."""
    adapter = ADAPTER[exchange]
    name = adapter.normalize_symbol(SYMBOLS[exchange])
    assert adapter.normalize_symbol(name) == name
    assert adapter.name == exchange
