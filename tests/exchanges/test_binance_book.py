"""Whole books of Binance, asked for by HTTP."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_collector.errors import UnreadableFrame
from trio_collector.events import DataType, Event
from trio_collector.exchanges.adapter import SnapshotRequest
from trio_collector.exchanges.binance import Binance
from trio_collector.exchanges.binance_book import REST_WEIGHT, WEIGHTS, render_request

BODY = b'{"lastUpdateId":160,"bids":[["0.0024","10"]],"asks":[["0.0026","100"],["0.003","1"]]}'
DIFF = Binance(orderbook="diff")


@pytest.mark.parametrize(("depth", "weight"), [(100, 5), (500, 25), (1000, 50), (5000, 250)])
def test_weight_is_that_of_the_depth(depth: int, weight: int) -> None:
    """Deeper books cost more, and any fits into a minute many times."""
    request = render_request("https://x.example", "btcusdt", depth)
    url = f"https://x.example/api/v3/depth?symbol=BTCUSDT&limit={depth}"
    assert request == SnapshotRequest(url, weight)
    assert REST_WEIGHT.times >= 10 * max(WEIGHTS.values())


def test_symbol_is_quoted() -> None:
    """Binance lists symbols outside ASCII."""
    url = render_request("https://x.example", "币安usdt", 100).url
    assert url.endswith("?symbol=%E5%B8%81%E5%AE%89USDT&limit=100")
    assert url.isascii()


def test_a_book_is_a_reset_of_its_stream() -> None:
    """It has reached its id, follows on nothing, and carries no time."""
    expected = Event(
        "btcusdt", DataType.ORDERBOOK, "160", None, previous_id=None, last_id=160, is_reset=True
    )
    assert DIFF.parse_snapshot("BTC-USDT", BODY) == expected
    empty = b'{"asks":[],"bids":[],"lastUpdateId":0,"more":{"new":1}}'
    assert DIFF.parse_snapshot("X", empty).last_id == 0


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"code":-1121,"msg":"Invalid symbol."}', "code -1121: Invalid symbol."),
        (b'{"code":-1003,"msg":"Too many requests","lastUpdateId":1,"bids":[],"asks":[]}', "-1003"),
        (b'{"lastUpdateId":1,"bids":[]}', "without id or levels"),
        (b'{"bids":[],"asks":[]}', "without id or levels"),
        (b'{"lastUpdateId":-1,"bids":[],"asks":[]}', "Expected"),
        (b'{"lastUpdateId":9223372036854775808,"bids":[],"asks":[]}', "range|Expected"),
        (b'{"lastUpdateId":"1","bids":[],"asks":[]}', "Expected `int"),
        (b'{"lastUpdateId":1,"bids":[["1"]],"asks":[]}', "length 2"),
        (b'{"lastUpdateId":1,"bids":[["1","1","1"]],"asks":[]}', "length 2"),
        (b'{"lastUpdateId":1,"bids":[[1,"1"]],"asks":[]}', "Expected `str`"),
        (b'{"lastUpdateId":1,"bids":{},"asks":[]}', "Expected `array"),
        (b"<html>451</html>", "malformed"),
        (b"[]", "Expected `object`"),
        (b"", "truncated"),
        (b'{"skipped":"\xff","lastUpdateId":1,"bids":[],"asks":[]}', "utf-8"),
    ],
)
def test_anything_else_is_unreadable(body: bytes, reason: str) -> None:
    """An error of Binance's is told in its words; its bytes are kept."""
    with pytest.raises(UnreadableFrame, match=reason) as caught:
        DIFF.parse_snapshot("btcusdt", body)
    assert caught.value.frame == body


def test_cut_book_is_unreadable() -> None:
    """A book that is cut at any byte, or has anything behind it, is none."""
    bodies = [BODY[:length] for length in range(len(BODY))] + [BODY + b"}", BODY + BODY]
    for body in bodies:
        with pytest.raises(UnreadableFrame):
            DIFF.parse_snapshot("btcusdt", body)


def test_a_symbol_of_no_letters_is_unreadable() -> None:
    """There is one error, whatever is asked."""
    with pytest.raises(UnreadableFrame):
        DIFF.parse_snapshot("-", BODY)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_book_or_unreadable(body: bytes) -> None:
    """Whatever an HTTP server answers, there is one error."""
    with contextlib.suppress(UnreadableFrame):
        DIFF.parse_snapshot("btcusdt", body)
