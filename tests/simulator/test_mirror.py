"""Simulator and adapters are two readings of the same documents; here they meet."""

import urllib.parse
from typing import Any

import msgspec
import pytest

from trio_collector.config.markets import Market
from trio_collector.events import (
    ConnectionSequence,
    Event,
    FeedType,
    Parsed,
    Rejection,
    UnknownMessage,
)
from trio_collector.exchanges import create_adapter
from trio_collector.exchanges.adapter import Adapter, Subscription
from trio_collector.simulator import DEFAULT_EXCHANGES, Simulation
from trio_collector.simulator.conversation import Conversation
from trio_collector.simulator.net.frames import Frame

MARKETS = [
    {"exchange": "binance"},
    {"exchange": "binance", "depth": 5},
    {"exchange": "coinbase"},
    {"exchange": "upbit"},
    {"exchange": "upbit", "units": 5},
    {"exchange": "okx"},
    {"exchange": "okx", "book_channel": "books5"},
    {"exchange": "okx", "book_channel": "bbo-tbt"},
    {"exchange": "bybit", "category": "spot"},
    {"exchange": "bybit", "category": "linear"},
    {"exchange": "bybit", "category": "inverse"},
]


def converse(options: dict[str, Any]) -> tuple[Adapter, list[Frame]]:
    """Let an adapter subscribe to all markets of its exchange and listen for some seconds."""
    symbols = DEFAULT_EXCHANGES[options["exchange"]]
    url = f"ws://127.0.0.1:1/{options['exchange']}"
    fields = {**options, "symbols": symbols, "base_url": url}
    adapter = create_adapter(msgspec.convert(fields, Market))
    path = urllib.parse.urlsplit(adapter.websocket_url()).path
    conversation = Conversation(path, Simulation(books_per_s=50, trades_per_s=50))
    frames = []
    wanted = [Subscription(symbol, feed) for symbol in symbols for feed in FeedType]
    for request in adapter.build_subscribe_messages(wanted):
        frames += conversation.say(request.text)
    return adapter, frames + conversation.wait(4_000)


@pytest.mark.parametrize(
    "options", MARKETS, ids=lambda options: "-".join(map(str, options.values()))
)
def test_adapters_understand_what_the_simulator_says(options: dict[str, Any]) -> None:
    """Every frame is about the streams it is recorded under; nothing is refused, foreign or missed."""
    adapter, frames = converse(options)
    parsed = [adapter.parse_message(frame.payload) for frame in frames]
    for frame, said in zip(frames, parsed, strict=True):
        events = [event for event in said if isinstance(event, Event)]
        assert [(event.symbol, event.data_type) for event in events] == [
            (stream.symbol, stream.data_type) for stream in frame.streams
        ]
        assert not any(isinstance(item, Rejection | UnknownMessage) for item in said)
    assert find_gaps(parsed) == []
    assert len({stream for frame in frames for stream in frame.streams}) == 4


def find_gaps(parsed: list[Parsed]) -> list[Event | ConnectionSequence]:
    """Return what does not follow what came before it."""
    gaps: list[Event | ConnectionSequence] = []
    last_ids: dict[tuple[str, str], int | None] = {}
    number = -1
    for item in (item for said in parsed for item in said):
        if isinstance(item, ConnectionSequence):
            number += 1
            if item.number != number:
                gaps.append(item)
        elif isinstance(item, Event):
            key = (item.symbol, item.data_type)
            follows = item.previous_id is None or item.is_reset or key not in last_ids
            if not follows and last_ids[key] != item.previous_id:
                gaps.append(item)
            last_ids[key] = item.last_id
    return gaps
