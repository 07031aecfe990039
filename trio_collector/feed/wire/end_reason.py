"""Why sessions end: the fixed list of reasons, and the text for a refused handshake.

Every end reaches the log, a metric and the ledger under one of these names.
"""

import enum
from collections.abc import Iterable

from trio_collector import backoff
from trio_collector.errors import SessionEnded


class EndReason(enum.StrEnum):
    """The one reason of a session's end."""

    CONNECT_FAILED = "connect_failed"  # no address, refused, or no answer in time
    TLS_ERROR = "tls_error"  # the certificate's problem is in the detail
    REJECTED_HANDSHAKE = "rejected_handshake"  # an HTTP status instead of a WebSocket
    SUBSCRIBE_FAILED = "subscribe_failed"  # everything refused, or not answered in time
    CLOSE_FRAME = "close_frame"  # the exchange closed it; its code is kept
    STREAM_ENDED = "stream_ended"  # the connection broke without a close frame
    PROTOCOL_ERROR = "protocol_error"  # not WebSocket, or a message over the limit
    DEAD_TIMEOUT = "dead_timeout"  # no byte at all for message_timeout_secs
    DATA_TIMEOUT = "data_timeout"  # bytes, but no data on any topic
    PING_FAILED = "ping_failed"  # a keepalive message was not answered or could not be sent
    BREAKER = "breaker"  # too many unreadable frames
    HANDOVER = "handover"  # left on purpose, for a successor or as one that came too late
    STOPPED = "stopped"  # the collector was asked to stop
    BUG = "bug"  # an unforeseen error; the log has its traceback


# HTTP statuses that concern every connection from this address.
BANNED = frozenset({418, 429})

# Codes that the WebSocket library reports for what our side found wrong in the peer's bytes.
# https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1
PROTOCOL_ERROR_CODES = frozenset({1002, 1007, 1009})
NO_CLOSE_FRAME = 1006


def connection_closed(code: int, words: str | None) -> SessionEnded:
    """Return the end of a session whose WebSocket was closed with `code`."""
    if code == NO_CLOSE_FRAME:
        return SessionEnded(EndReason.STREAM_ENDED, words or "the connection broke")
    reason = EndReason.PROTOCOL_ERROR if code in PROTOCOL_ERROR_CODES else EndReason.CLOSE_FRAME
    return SessionEnded(reason, f"{code} {words or ''}".rstrip(), code=code)


# Statuses whose cause is known; others are reported by number.
_MEANING = {
    301: "moved; set base_url to the new address",
    302: "moved; set base_url to the new address",
    403: "forbidden: the address is blocked, by country or by the exchange's firewall",
    404: "no WebSocket at this path; check base_url",
    418: "banned for too many requests",
    429: "too many requests",
    451: "not served in this country",
    503: "the exchange is unavailable",
}
_PLACE_MATTERS = frozenset({403, 451})


def rejected_handshake(
    status: int,
    headers: Iterable[tuple[bytes, bytes]],
    *,
    now_s: float,
    fallback_url: str | None = None,
) -> SessionEnded:
    """Return the end of a session whose WebSocket handshake was answered with `status`."""
    detail = f"HTTP {status}: {_MEANING.get(status, 'the handshake was refused')}"
    if status in _PLACE_MATTERS and fallback_url:
        detail += f"; try base_url = {fallback_url!r}"
    fields = {name.lower(): value for name, value in headers}
    location = fields.get(b"location")
    if location is not None:
        detail += f" (it names {location.decode('latin-1')!r})"
    return SessionEnded(
        EndReason.REJECTED_HANDSHAKE,
        detail,
        code=status,
        retry_after_s=parse_retry_after(fields.get(b"retry-after", b""), now_s),
    )


# Binance bans an address for up to 3 days. A longer wait is a mistake, or malicious.
# https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits
LONGEST_RETRY_AFTER_S = 3 * 86_400.0


def parse_retry_after(value: bytes, now_s: float) -> float | None:
    """Return the seconds that a Retry-After header asks for; None if it makes no sense.

    Both forms of RFC 9110 section 10.2.3 are read: seconds, and a date (`now_s` is Unix time).
    """
    text = value.decode("latin-1").strip()
    return backoff.parse_retry_after(text, now_s, LONGEST_RETRY_AFTER_S)
