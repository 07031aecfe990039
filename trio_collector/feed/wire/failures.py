"""From the exception that ended a session to one of the fixed reasons.

A peer that does not speak WebSocket makes h11 and wsproto raise. trio-websocket lets some of these
errors out of its own task; they arrive in a group, beside what was cancelled with them.
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
    """Return the end that `exc`, which left a session's task, means; `bug` if it is unforeseen.

    Of several a bug comes first. Last come `protocol_error` and `stream_ended`, which a task that
    reads from a broken connection also reports. `now_s` is Unix time.
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
