"""Routes: an ASGI application that reads nothing of a request but its method and path.

Bodies are never read: an answer goes out at once, and hypercorn closes a connection whose request
has not ended with it.
"""

import structlog
import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope
from prometheus_client import generate_latest

from trio_collector import metrics
from trio_collector.endpoint import answers
from trio_collector.endpoint.answers import Answer
from trio_collector.endpoint.board import Board
from trio_collector.endpoint.page import page_answer

log = structlog.get_logger(__name__)

POLICY_VIOLATION = 1008  # RFC 6455, 7.4.1; before the handshake is done it becomes a 403
MAX_VIEWERS = 20
EVENTS = "/events"
RECONNECT = b"retry: 3000\n\n"  # ms, for the browser

# Prometheus scrapes every few seconds; whoever asks more often gets the same again.
RENDER_EVERY_S = 1.0


class RenderedMetrics:
    """The metrics as text, rendered in a thread, by one of those who ask for all of them."""

    def __init__(self) -> None:
        self._lock = trio.Lock()
        self._text = b""
        self._rendered_at = float("-inf")

    async def read(self) -> bytes:
        """Return the text, at most RENDER_EVERY_S old."""
        async with self._lock:
            if trio.current_time() - self._rendered_at >= RENDER_EVERY_S:
                # A thousand streams take 0.1 s to render; in a thread the loop goes on turning.
                self._text = await trio.to_thread.run_sync(
                    generate_latest, metrics.REGISTRY, abandon_on_cancel=True
                )
                self._rendered_at = trio.current_time()
        return self._text


class App:
    """The endpoint's routes over `board`."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._metrics = RenderedMetrics()
        self._viewers = 0

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Answer a request; a WebSocket is refused."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": None})
        elif scope["type"] == "http":
            await self._answer(scope["method"], scope["path"], receive, send)

    async def _answer(
        self, method: str, path: str, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        if method not in ("GET", "HEAD"):
            answer = answers.WRONG_METHOD
        elif path == EVENTS and self._viewers >= MAX_VIEWERS:
            answer = answers.TOO_MANY_VIEWERS
        elif path == EVENTS and method == "GET":
            await self._stream_events(receive, send)
            return
        else:
            answer = await self._read(path)
        await _send_start(send, answer.status, answer.header_items())
        await send({"type": "http.response.body", "body": answer.body, "more_body": False})

    async def _read(self, path: str) -> Answer:
        """Return the answer of the route `path`; a bug in one is answered, and told."""
        try:
            match path:
                case "/":
                    return page_answer()
                case "/metrics":
                    return answers.metrics_answer(await self._metrics.read())
                case "/health":
                    return answers.health_answer(self._board.snapshot())
                case "/ready":
                    return answers.ready_answer(self._board.snapshot())
                case "/live":
                    return answers.ALIVE
                case "/api/status":
                    return answers.status_answer(self._board.with_histories())
                case _:
                    return answers.NOT_FOUND
        except Exception:
            log.exception("bug in the endpoint", path=path)
            return answers.FAILED

    async def _stream_events(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Send the state, and then every sample, until the client leaves."""
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
        headers = {"content-type": "text/event-stream", **answers.COMMON_HEADERS}
        items = [(name.encode(), value.encode()) for name, value in headers.items()]
        await _send_start(send, answers.OK, items)
        event = RECONNECT + answers.render_event(self._board.with_histories())
        while True:
            await send({"type": "http.response.body", "body": event, "more_body": True})
            await self._board.wait_sample()
            event = self._board.event()


async def _send_start(
    send: ASGISendCallable, status: int, headers: list[tuple[bytes, bytes]]
) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
