"""What a client sends so that an exchange keeps its connection.

A missing pong does not prove a dead peer, because it may wait behind megabytes of data. A
connection on which nothing at all came since the ping does. (trio-websocket's ping waits for its
pong for ever: https://github.com/python-trio/trio-websocket/issues/82.)
"""

from collections.abc import Awaitable, Callable

import trio
import trio_websocket

from trio_collector.errors import SessionEnded
from trio_collector.exchanges.adapter import Keepalive
from trio_collector.feed.wire.end_reason import EndReason
from trio_collector.feed.wire.failures import closed_session

# A small message that takes longer never leaves: the peer has stopped reading.
SEND_S = 10.0


async def send_message(websocket: trio_websocket.WebSocketConnection, text: str) -> None:
    """Send `text`.

    Raises SessionEnded when it does not leave within SEND_S or the connection is gone.
    """
    await _within(SEND_S, websocket.send_message(text))


async def run_keepalive(
    websocket: trio_websocket.WebSocketConnection,
    policy: Keepalive,
    latest_read: Callable[[], float],
    on_sent: Callable[[], None],
    on_pong: Callable[[], None],
) -> None:
    """Send keepalive messages as `policy` says; ends by cancellation or by SessionEnded.

    `latest_read` returns when (trio time) the latest byte came.
    """
    due = trio.current_time() + policy.interval_s
    while True:
        await trio.sleep_until(due)
        if policy.is_idle_only and latest_read() + policy.interval_s > trio.current_time():
            due = latest_read() + policy.interval_s
            continue
        sent_at = trio.current_time()
        due = sent_at + policy.interval_s
        if policy.kind == "text":
            await send_message(websocket, policy.text)
            on_sent()
            continue
        on_sent()
        if await _is_answered(websocket, policy.interval_s):
            on_pong()
        elif latest_read() <= sent_at:
            raise SessionEnded(
                EndReason.PING_FAILED, f"no pong and no data within {policy.interval_s:g} s"
            )


async def _is_answered(websocket: trio_websocket.WebSocketConnection, wait_s: float) -> bool:
    with trio.move_on_after(wait_s):
        await _within(wait_s + SEND_S, websocket.ping())
        return True
    return False


async def _within(limit_s: float, call: Awaitable[None]) -> None:
    try:
        with trio.fail_after(limit_s):
            await call
    except trio_websocket.ConnectionClosed as exc:
        raise closed_session(exc) from exc
    except trio.TooSlowError as exc:
        text = f"a message did not leave within {limit_s:g} s"
        raise SessionEnded(EndReason.PING_FAILED, text) from exc
