"""The responses: status, headers and body of each route, except the stream of events."""

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST

from trio_collector.telemetry.status_document import (
    Reason,
    Status,
    StatusDocument,
    StreamStatus,
)

OK, UNAVAILABLE = 200, 503
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
HTML = "text/html; charset=utf-8"

# Of every response: no caching, no sniffing of its type, no referrer.
COMMON_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


class Response(msgspec.Struct, frozen=True):
    """A whole HTTP response."""

    status: int
    body: bytes
    content_type: str = TEXT
    headers: dict[str, str] = {}

    def header_items(self) -> list[tuple[bytes, bytes]]:
        fields = {
            "content-type": self.content_type,
            "content-length": str(len(self.body)),
            **COMMON_HEADERS,
            **self.headers,
        }
        return [(name.encode(), value.encode()) for name, value in fields.items()]


NOT_FOUND = Response(404, b"not found\n")
WRONG_METHOD = Response(405, b"GET and HEAD only\n", headers={"allow": "GET, HEAD"})
TOO_MANY_VIEWERS = Response(UNAVAILABLE, b"too many viewers\n", headers={"retry-after": "10"})
FAILED = Response(500, b"internal error\n")
ALIVE = Response(OK, b"alive\n")


class Count(msgspec.Struct):
    """How many connections are up."""

    up: int
    total: int


class StreamHealth(msgspec.Struct):
    """One stream, in short."""

    exchange: str
    symbol: str
    data_type: str
    state: str
    age_seconds: float | None
    gaps: int
    last_gap_seconds: float | None


class HealthBody(msgspec.Struct):
    """The body of /health."""

    status: Status
    reasons: tuple[Reason, ...]
    uptime_seconds: float
    connections: Count
    messages_dropped: int
    version: str
    streams: list[StreamHealth]


class ReadyBody(msgspec.Struct):
    """The body of /ready."""

    is_ready: bool
    reasons: tuple[Reason, ...]


def metrics_response(text: bytes) -> Response:
    """Return the metrics in Prometheus' text format."""
    return Response(OK, text, CONTENT_TYPE_LATEST)


def health_response(document: StatusDocument) -> Response:
    """Return the verdict, with counts and ages; 503 if it is unhealthy."""
    health = document.health
    body = HealthBody(
        status=health.status,
        reasons=health.reasons,
        uptime_seconds=round(document.uptime_s, 3),
        connections=Count(document.connections_up, len(document.connections)),
        messages_dropped=document.messages_dropped,
        version=document.version,
        streams=[_stream_health(each) for each in document.streams],
    )
    return _json(UNAVAILABLE if health.status is Status.UNHEALTHY else OK, body)


def _stream_health(stream: StreamStatus) -> StreamHealth:
    return StreamHealth(
        stream.exchange,
        stream.symbol,
        stream.data_type,
        stream.state,
        stream.age_s,
        stream.gaps,
        stream.latest_gap_age_s,
    )


def ready_response(document: StatusDocument) -> Response:
    """Return whether the collector is ready; 503 with the reasons if it is not."""
    health = document.health
    body = ReadyBody(health.is_ready, health.obstacles)
    return _json(OK if health.is_ready else UNAVAILABLE, body)


def status_response(document: StatusDocument) -> Response:
    """Return the status document itself."""
    return _json(OK, document)


def render_event(document: StatusDocument) -> bytes:
    """Return `document` as a server-sent event, which is one line: JSON has no line breaks."""
    return b"data: " + msgspec.json.encode(document) + b"\n\n"


def _json(status: int, body: msgspec.Struct) -> Response:
    return Response(status, msgspec.json.encode(body) + b"\n", JSON)
