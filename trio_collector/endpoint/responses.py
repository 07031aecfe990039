"""What is answered: status, headers and body of each route, but for streams of events."""

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST

from trio_collector.telemetry.status_document import Health, Reason, Status, StatusDocument

OK, UNAVAILABLE = 200, 503
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
HTML = "text/html; charset=utf-8"

# What every answer carries: it is of this moment, it is what it says, and it is nobody's frame.
COMMON_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


class Response(msgspec.Struct, frozen=True):
    """A whole answer."""

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
    """How many of them are up."""

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
    """What /health says."""

    status: Status
    reasons: tuple[Reason, ...]
    uptime_seconds: float
    connections: Count
    messages_dropped: int
    version: str
    streams: list[StreamHealth]


class ReadyBody(msgspec.Struct):
    """What /ready says."""

    is_ready: bool
    reasons: tuple[Reason, ...]


def metrics_response(text: bytes) -> Response:
    """Return the metrics, for Prometheus."""
    return Response(OK, text, CONTENT_TYPE_LATEST)


def health_response(snapshot: StatusDocument) -> Response:
    """Return how the collector is; 503 if it is unhealthy."""
    health: Health = snapshot.health
    body = HealthBody(
        status=health.status,
        reasons=health.reasons,
        uptime_seconds=round(snapshot.uptime_s, 3),
        connections=Count(snapshot.connections_up, len(snapshot.connections)),
        messages_dropped=snapshot.messages_dropped,
        version=snapshot.version,
        streams=[
            StreamHealth(
                each.exchange,
                each.symbol,
                each.data_type,
                each.state,
                each.age_s,
                each.gaps,
                each.latest_gap_age_s,
            )
            for each in snapshot.streams
        ],
    )
    return _json(UNAVAILABLE if health.status is Status.UNHEALTHY else OK, body)


def ready_response(snapshot: StatusDocument) -> Response:
    """Return whether the collector does its work; 503 and why, if it does not."""
    health = snapshot.health
    body = ReadyBody(health.is_ready, health.obstacles)
    return _json(OK if health.is_ready else UNAVAILABLE, body)


def status_response(snapshot: StatusDocument) -> Response:
    """Return the snapshot itself."""
    return _json(OK, snapshot)


def render_event(snapshot: StatusDocument) -> bytes:
    """Return a snapshot as a server-sent event. JSON holds no line break, so it is one line."""
    return b"data: " + msgspec.json.encode(snapshot) + b"\n\n"


def _json(status: int, body: msgspec.Struct) -> Response:
    return Response(status, msgspec.json.encode(body) + b"\n", JSON)
