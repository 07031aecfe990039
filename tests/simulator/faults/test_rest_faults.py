"""REST requests that go wrong."""

from collections.abc import Awaitable, Callable

import httpx
import pytest
import trio

from trio_collector.simulator import Fault, Kind, Simulator

WithFaults = Callable[..., Awaitable[Simulator]]


async def ask(simulator: Simulator, limit: int = 100) -> httpx.Response:
    """Ask for the depth of one market."""
    url = simulator.base_url("binance").replace("ws", "http", 1) + "/api/v3/depth"
    async with httpx.AsyncClient() as client:
        return await client.get(url, params={"symbol": "BTCUSDT", "limit": limit})


async def test_status(with_faults: WithFaults) -> None:
    """Any status, with Retry-After."""
    simulator = await with_faults(
        Fault(kind=Kind.REST_STATUS, status=418, retry_after_s=30, times=1)
    )
    answer = await ask(simulator)
    assert [answer.status_code, answer.headers["retry-after"]] == [418, "30"]
    assert (await ask(simulator)).status_code == 200


async def test_weight(with_faults: WithFaults) -> None:
    """Requests are weighed by their limit, the answer says how much; too much is a 429."""
    simulator = await with_faults(Fault(kind=Kind.REST_WEIGHT, weight=80))
    used = [(await ask(simulator, limit)).headers["x-mbx-used-weight-1m"] for limit in (100, 500)]
    if used == ["5", "30"]:  # else a minute of the clock has begun in between
        answer = await ask(simulator, 1_000)
        assert answer.status_code == 200
        answer = await ask(simulator, 5_000)
        assert answer.status_code == 429
        assert 0 < int(answer.headers["retry-after"]) <= 60
        assert [each.kind for each in simulator.injected_faults] == [Kind.REST_WEIGHT]


async def test_a_ban_meets_rest_too(with_faults: WithFaults) -> None:
    """Who is banned is banned everywhere."""
    simulator = await with_faults(Fault(kind=Kind.IP_BAN, exchange="binance", status=418))
    assert (await ask(simulator)).status_code == 418


async def test_garbage(with_faults: WithFaults) -> None:
    """200, and no JSON."""
    simulator = await with_faults(Fault(kind=Kind.REST_GARBAGE))
    answer = await ask(simulator)
    assert answer.status_code == 200
    with pytest.raises(ValueError, match="Expecting value"):
        answer.json()


async def test_cut(with_faults: WithFaults) -> None:
    """The body ends before its length."""
    simulator = await with_faults(Fault(kind=Kind.REST_CUT))
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        await ask(simulator)


async def test_silence(with_faults: WithFaults) -> None:
    """No answer comes."""
    simulator = await with_faults(Fault(kind=Kind.REST_SILENT))
    with trio.move_on_after(0.2) as scope:
        await ask(simulator)
    assert scope.cancelled_caught


async def test_lag(with_faults: WithFaults) -> None:
    """The snapshot is of the moment of the request; by its arrival the market is further."""
    simulator = await with_faults(Fault(kind=Kind.REST_LAG, delay_s=0.2))
    market = simulator.exchanges["binance"].markets["BTCUSDT"]
    before = market.book(0).last_id
    answer = (await ask(simulator)).json()
    assert before <= answer["lastUpdateId"] < market.book(0).last_id


async def test_stale(with_faults: WithFaults) -> None:
    """The snapshot is that of the start, however often one asks."""
    simulator = await with_faults(Fault(kind=Kind.REST_STALE))
    opening = simulator._handshake._rest._opening_books["BTCUSDT"]
    exchange = simulator.exchanges["binance"]
    exchange.step(exchange.stepped_ms + 100)
    assert exchange.markets["BTCUSDT"].book(0).last_id > opening.last_id
    for limit in (5, 1_000):
        answer = (await ask(simulator, limit)).json()
        assert answer["lastUpdateId"] == opening.last_id
        assert len(answer["bids"]) == min(limit, 50)


async def test_what_went_wrong_can_be_asked_for(with_faults: WithFaults) -> None:
    """GET /simulator/faults tells it to a test in another process."""
    simulator = await with_faults(Fault(kind=Kind.REST_STATUS, times=1))
    await ask(simulator)
    url = f"http://127.0.0.1:{simulator.port}/simulator/faults"
    async with httpx.AsyncClient() as client:
        (fault,) = (await client.get(url)).json()["faults"]
    assert [fault["kind"], fault["exchange"]] == ["rest_status", "binance"]
