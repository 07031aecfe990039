"""Keepalive: what is sent and when, and which silence ends a session."""

import math
from collections.abc import AsyncIterator

import pytest
import trio
import trio_websocket
from trio.testing import MockClock

from tests.support.virtual_time import elapsed_s
from trio_collector.errors import SessionEnded
from trio_collector.exchanges.adapter import Keepalive
from trio_collector.feed.wire.end_reason import EndReason
from trio_collector.feed.wire.keepalive import SEND_S, run_keepalive, send_message

TEXT = Keepalive("text", 20, "ping")
IDLE = Keepalive("text", 20, "ping", is_idle_only=True)
FRAME = Keepalive("frame", 20)


class Line:
    """Both ends of a WebSocket in memory, and what the keepalive of the first reports."""

    def __init__(self) -> None:
        self.ours, self.theirs = trio.testing.memory_stream_pair()
        self.latest_read = 0.0
        self.sent: list[float] = []
        self.pongs: list[float] = []
        self.client: trio_websocket.WebSocketConnection
        self.server: trio_websocket.WebSocketConnection

    async def open(self, nursery: trio.Nursery) -> None:
        nursery.start_soon(self._accept, nursery)
        self.client = await trio_websocket.wrap_client_stream(
            nursery,
            self.ours,  # type: ignore[arg-type]  # any trio.abc.Stream, its docstring says
            "exchange.test",
            "/",
        )

    async def _accept(self, nursery: trio.Nursery) -> None:
        request = await trio_websocket.wrap_server_stream(nursery, self.theirs)
        self.server = await request.accept()

    async def keep_alive(self, policy: Keepalive, for_s: float) -> None:
        """Run the keepalive for `for_s` seconds."""
        with trio.move_on_after(for_s):
            await run_keepalive(
                self.client,
                policy,
                lambda: self.latest_read,
                lambda: self.sent.append(elapsed_s()),
                lambda: self.pongs.append(elapsed_s()),
            )

    def clog(self) -> None:
        """Let nothing that we send leave any more."""
        self.ours.send_stream.send_all_hook = trio.sleep_forever

    def deafen(self) -> None:
        """Let nothing of what the exchange sends arrive any more."""
        self.theirs.send_stream.send_all_hook = trio.sleep_forever


@pytest.fixture
async def line(nursery: trio.Nursery) -> AsyncIterator[Line]:
    """An open WebSocket."""
    line = Line()
    await line.open(nursery)
    yield line
    nursery.cancel_scope.cancel()


async def test_texts_at_every_interval(autojump_clock: MockClock, line: Line) -> None:
    """A text goes out at every interval, whatever comes in; its answer is the adapter's to read."""
    line.latest_read = math.inf
    await line.keep_alive(TEXT, 70)
    assert line.sent == [20, 40, 60]
    assert [await line.server.get_message() for _ in range(3)] == ["ping"] * 3


async def test_texts_only_when_idle(
    autojump_clock: MockClock, line: Line, nursery: trio.Nursery
) -> None:
    """A text for idle connections goes out after so much silence, counted from the latest byte."""

    async def read() -> None:
        for _ in range(3):
            await trio.sleep(15)
            line.latest_read = trio.current_time()

    nursery.start_soon(read)
    await line.keep_alive(IDLE, 100)
    assert line.sent == [65, 85]


async def test_answered_pings(autojump_clock: MockClock, line: Line) -> None:
    """A ping frame goes out at every interval and its pong is counted."""
    await line.keep_alive(FRAME, 70)
    assert line.sent == line.pongs == [20, 40, 60]


async def test_an_unanswered_ping_on_a_silent_line(autojump_clock: MockClock, line: Line) -> None:
    """A pong that does not come within the interval, and nothing else either, is the end."""
    line.deafen()
    with pytest.raises(SessionEnded) as ended:
        await line.keep_alive(FRAME, 100)
    assert ended.value.reason == EndReason.PING_FAILED
    assert ended.value.detail == "no pong and no data within 20 s"
    assert elapsed_s() == 40


async def test_an_unanswered_ping_among_data(autojump_clock: MockClock, line: Line) -> None:
    """While bytes come a missing pong proves nothing: it may wait behind them."""
    line.deafen()
    line.latest_read = math.inf
    await line.keep_alive(FRAME, 70)
    assert line.sent == [20, 40, 60]
    assert line.pongs == []


@pytest.mark.parametrize("policy", [TEXT, FRAME])
async def test_a_closed_connection(
    autojump_clock: MockClock, line: Line, policy: Keepalive
) -> None:
    """On a closed connection the keepalive ends with the code of the close frame."""
    await line.server.aclose(1001, "going away")
    with pytest.raises(SessionEnded) as ended:
        await line.keep_alive(policy, 70)
    assert (ended.value.reason, ended.value.code) == (EndReason.CLOSE_FRAME, 1001)


async def test_a_message_that_does_not_leave(autojump_clock: MockClock, line: Line) -> None:
    """A peer that has stopped reading is given up after ten seconds."""
    line.clog()
    with pytest.raises(SessionEnded, match="a message did not leave within 10 s"):
        await send_message(line.client, "hello")
    assert elapsed_s() == SEND_S
