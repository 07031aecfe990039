"""A book of Binance from diffs over WebSocket and a snapshot by REST is the market's own.

https://github.com/binance/binance-spot-api-docs "How to manage a local order book correctly"
"""

import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import httpx
import pytest
import trio_websocket

from trio_collector.simulator import Fault, FaultScript, Kind, Simulation, Simulator
from trio_collector.simulator.markets.market import Market

Side = dict[Decimal, Decimal]
Apply = Callable[[Side, Any], None]
Truth = Callable[[Market | None], tuple[Side, Side]]
Start = Callable[[Simulation], Awaitable[Simulator]]


async def fetch(simulator: Simulator) -> Any:
    """Ask for the depth by REST."""
    url = simulator.base_url("binance").replace("ws", "http", 1) + "/api/v3/depth"
    async with httpx.AsyncClient() as client:
        return (await client.get(url, params={"symbol": "BTCUSDT", "limit": 1000})).json()


async def next_diff(client: trio_websocket.WebSocketConnection) -> Any:
    return json.loads(await client.get_message())["data"]


@pytest.mark.parametrize(
    ("faults", "is_behind"),
    [
        ((), False),
        ((Fault(kind=Kind.REST_LAG, delay_s=0.1),), False),
        ((Fault(kind=Kind.REST_STALE, times=1),), True),
        ((Fault(kind=Kind.LATE_FEED, exchange="binance", delay_s=0.1),), False),
    ],
    ids=["in time", "lagging", "stale at first", "ahead"],
)
async def test_spliced_by_the_documented_rule(
    start: Start, apply: Apply, truth: Truth, faults: tuple[Fault, ...], is_behind: bool
) -> None:
    """However far the snapshot is from the diffs, the book of both is the true one."""
    simulator = await start(
        Simulation(tick_s=0.005, books_per_s=500, trades_per_s=0, faults=FaultScript(faults=faults))
    )
    exchange = simulator.exchanges["binance"]
    market = exchange.markets["BTCUSDT"]
    exchange.step(exchange.stepped_ms + 100)  # so that something has happened since the start
    url = simulator.base_url("binance") + "/stream"
    async with trio_websocket.open_websocket_url(url) as client:
        await client.send_message('{"method":"SUBSCRIBE","params":["btcusdt@depth@100ms"],"id":1}')
        assert json.loads(await client.get_message()) == {"result": None, "id": 1}
        diff = await next_diff(client)
        snapshot = await fetch(simulator)
        if is_behind:
            assert snapshot["lastUpdateId"] < diff["U"] - 1
            snapshot = await fetch(simulator)
        bids, asks, last_id = Side(), Side(), snapshot["lastUpdateId"]
        apply(bids, snapshot["bids"])
        apply(asks, snapshot["asks"])
        simulator.pause()
        end_id = market.book(0).last_id
        while diff["u"] <= snapshot["lastUpdateId"] and diff["u"] < end_id:
            diff = await next_diff(client)
        if diff["u"] > snapshot["lastUpdateId"]:
            assert diff["U"] <= snapshot["lastUpdateId"] + 1 <= diff["u"]
        while True:
            if diff["u"] > last_id:
                assert diff["U"] == last_id + 1 or last_id == snapshot["lastUpdateId"]
                apply(bids, diff["b"])
                apply(asks, diff["a"])
                last_id = diff["u"]
            if last_id == end_id:
                break
            diff = await next_diff(client)
    assert (bids, asks) == truth(market)
