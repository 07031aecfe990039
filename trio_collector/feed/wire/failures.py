"""What the exceptions of a session mean: each is the end of it, under one of the fixed reasons.

A peer that does not speak WebSocket makes h11 and wsproto raise. trio-websocket lets some of that
out of its own task, where it arrives in a group, beside what was cancelled with it.
"""

import h11
import trio_websocket
import wsproto.utilities

from trio_collector.errors import SessionEnded, leaves_of
from trio_collector.feed.wire.end_reason import (
    NO_CLOSE_FRAME,
    EndReason,
    connection_closed,
    rejected_handshake,
)

# A header that has to be ASCII and is not makes wsproto raise the last one.
_NOT_WEBSOCKET = (h11.ProtocolError, wsproto.utilities.ProtocolError, UnicodeDecodeError)


def closed_session(exc: trio_websocket.ConnectionClosed) -> SessionEnded:
    """Return the end of a session whose WebSocket is closed."""
    if exc.reason is None:
        return connection_closed(NO_CLOSE_FRAME, None)
    return connection_closed(exc.reason.code, exc.reason.reason)


def end_of(exc: Exception, *, now_s: float, fallback_url: str | None) -> SessionEnded:
    """Return the end that `exc`, which left a session's task, means; `bug` where it is unforeseen.

    Of several, a bug is told before anything else, and last what a broken connection looks like
    to whoever still reads from it. `now_s` is Unix time.
    """
    return min((_ending_of_one(cause, now_s, fallback_url) for cause in leaves_of(exc)), key=_rank)


def _ending_of_one(exc: BaseException, now_s: float, fallback_url: str | None) -> SessionEnded:
    match exc:
        case SessionEnded():
            return exc
        case trio_websocket.ConnectionClosed():
            return closed_session(exc)
        case trio_websocket.ConnectionRejected():
            return rejected_handshake(
                exc.status_code, exc.headers or (), now_s=now_s, fallback_url=fallback_url
            )
    if isinstance(exc, _NOT_WEBSOCKET):
        return SessionEnded(EndReason.PROTOCOL_ERROR, f"not WebSocket: {exc}")
    return SessionEnded(EndReason.BUG, repr(exc))


def _rank(ending: SessionEnded) -> int:
    if ending.reason == EndReason.BUG:
        return 0
    return 2 if ending.reason in (EndReason.PROTOCOL_ERROR, EndReason.STREAM_ENDED) else 1
