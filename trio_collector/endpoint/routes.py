"""The routes: an ASGI application that reads nothing of a request but its method and path.

Bodies are never read: the response is sent at once, and hypercorn closes a connection whose request
has not ended by then.
"""

import structlog
import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope
from prometheus_client import generate_latest

from trio_collector.endpoint import responses
from trio_collector.endpoint.page import page_response
from trio_collector.endpoint.responses import Response
from trio_collector.endpoint.sampler import StatusSampler
from trio_collector.telemetry import metrics

log = structlog.get_logger(__name__)

POLICY_VIOLATION = 1008  # RFC 6455, 7.4.1; before the handshake is done it becomes a 403
MAX_VIEWERS = 20
EVENTS = "/events"
RECONNECT = b"retry: 3000\n\n"  # ms, for the browser

# Prometheus scrapes every few seconds; more frequent requests get the same text again.
RENDER_EVERY_S = 1.0


class RenderedMetrics:
    """The metrics as text, rendered in a thread by one request for all that come meanwhile."""

    def __init__(self) -> None:
        self._lock = trio.Lock()
        self._text = b""
        self._rendered_at = float("-inf")

    async def read(self) -> bytes:
        """Return the text, at most RENDER_EVERY_S old; a cancelled call leaves the older text."""
        async with self._lock:
            if trio.current_time() - self._rendered_at >= RENDER_EVERY_S:
                # A thousand streams take 0.1 s to render; a thread keeps the event loop free meanwhile.
                self._text = await trio.to_thread.run_sync(
                    generate_latest, metrics.REGISTRY, abandon_on_cancel=True
                )
                self._rendered_at = trio.current_time()
        return self._text


class Routes:
    """What each path shows of `sampler`."""

    def __init__(self, sampler: StatusSampler) -> None:
        self._sampler = sampler
        self._metrics = RenderedMetrics()
        self._viewers = 0

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Respond to a request; a WebSocket is refused."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": None})
        elif scope["type"] == "http":
            await self._respond(scope["method"], scope["path"], receive, send)

    async def _respond(
        self, method: str, path: str, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        if method not in ("GET", "HEAD"):
            response = responses.WRONG_METHOD
        elif path == EVENTS and self._viewers >= MAX_VIEWERS:
            response = responses.TOO_MANY_VIEWERS
        elif path == EVENTS and method == "GET":
            await self._stream_events(receive, send)
            return
        else:
            response = await self._response(path)
        await _send_start(send, response.status, response.header_items())
        await send({"type": "http.response.body", "body": response.body, "more_body": False})

    async def _response(self, path: str) -> Response:
        """Return the response of the route `path`; a bug in it is logged, and is a 500."""
        try:
            return await self._route(path)
        except Exception:
            log.exception("bug in the endpoint", path=path)
            return responses.FAILED

    async def _route(self, path: str) -> Response:
        if path == "/metrics":
            return responses.metrics_response(await self._metrics.read())
        match path:
            case "/":
                return page_response()
            case "/health":
                return responses.health_response(self._sampler.document())
            case "/ready":
                return responses.ready_response(self._sampler.document())
            case "/live":
                return responses.ALIVE
            case "/api/status":
                return responses.status_response(self._sampler.document_with_histories())
        return responses.NOT_FOUND

    async def _stream_events(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Send the state with its histories, then every sample, until the client leaves."""
        self._viewers += 1
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_events, send)
                while (await receive())["type"] != "http.disconnect":
                    pass
                nursery.cancel_scope.cancel()
        finally:
            self._viewers -= 1

    async def _send_events(self, send: ASGISendCallable) -> None:
        headers = {"content-type": "text/event-stream", **responses.COMMON_HEADERS}
        items = [(name.encode(), value.encode()) for name, value in headers.items()]
        await _send_start(send, responses.OK, items)
        event = RECONNECT + responses.render_event(self._sampler.document_with_histories())
        while True:
            await send({"type": "http.response.body", "body": event, "more_body": True})
            await self._sampler.wait_sample()
            event = self._sampler.event()


async def _send_start(
    send: ASGISendCallable, status: int, headers: list[tuple[bytes, bytes]]
) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
