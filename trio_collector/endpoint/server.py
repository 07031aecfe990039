"""The server: listens, serves each connection in a task, and starts again after any failure.

    run ─▶ listen ─▶ accept ─▶ one task and one scope for each connection
     ▲                 │
     └──── backoff ◀───┘  the port is taken, the network is gone, a bug

hypercorn's own `serve` is not used: one malformed upgrade request ends it for all clients (its
issue 225), it accepts any number of them, and it waits for clients that do not read. Here its
connections run one by one: an error ends the connection in which it occurs, the least active
connection is cut when there are too many, and the shutdown cuts all of them.
"""

import logging
import math
import random
import socket
from collections.abc import Sequence

import structlog
import trio
from hypercorn.config import Config
from hypercorn.utils import wrap_app

from trio_collector.backoff import Backoff
from trio_collector.config.settings import CollectorSection
from trio_collector.endpoint.http_connection import HttpConnection
from trio_collector.endpoint.routes import Routes
from trio_collector.telemetry import metrics

log = structlog.get_logger(__name__)

# Prometheus and a few browsers, each with up to six connections, need less than half of these; and
# they are a tenth of the file descriptors that Linux grants a process by default.
MAX_CONNECTIONS = 100
BACKLOG = 100
# A request must be complete within this time, and so must the next one on the same connection.
IDLE_S = 5
MAX_HEAD_BYTES = 16_384
MAX_REQUESTS = 100  # on one connection
# The kernel gives up a connection whose data was not acknowledged for this time.
UNACKNOWLEDGED_MS = 3_000

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 60.0
WELL_S = 60.0  # after serving this long, the delays start over
MAX_KINDS = 20  # of errors that are logged above DEBUG


def hypercorn_config() -> Config:
    """Return hypercorn's settings for a few small requests."""
    config = Config()
    config.accesslog = None
    # It would log an error for each client that leaves or errs while it is being served. What goes
    # wrong in the routes is logged there.
    config.errorlog = None
    config.keep_alive_timeout = IDLE_S
    config.keep_alive_max_requests = MAX_REQUESTS
    config.h11_max_incomplete_size = MAX_HEAD_BYTES
    config.include_server_header = False
    return config


class Server:
    """Serves `routes` on one address; `url` is that address while it does."""

    def __init__(self, section: CollectorSection, routes: Routes) -> None:
        self.port: int | None = None
        self.url: str | None = None
        self.has_tried = trio.Event()  # to listen, with success or without
        self._section = section
        self._config = hypercorn_config()
        self._app = wrap_app(routes, 0, "asgi")
        self._backoff = Backoff(FIRST_DELAY_S, LONGEST_DELAY_S, random.Random())
        self._began = math.inf
        self._connections: set[HttpConnection] = set()
        self._logged: set[str] = set()

    async def run(self) -> None:
        """Serve until cancelled, whatever fails."""
        while True:
            try:
                listeners = await self._listen()
                self._begin(listeners)
                await self._serve(listeners)
            except Exception as exc:  # noqa: BLE001 - logged and tried again: no error may end more than the serving
                await trio.sleep(self._end(exc))

    def _begin(self, listeners: Sequence[trio.SocketListener]) -> None:
        self.port = listeners[0].socket.getsockname()[1]
        self.url = f"http://{_host_for_browsers(self._section.metrics_host)}:{self.port}/"
        self.has_tried.set()
        self._began = trio.current_time()
        log.info("endpoint listens", url=self.url, host=self._section.metrics_host)

    def _end(self, exc: Exception) -> float:
        """Log the end of serving; return how many seconds to wait before the next start."""
        self.port = self.url = None
        self.has_tried.set()
        if trio.current_time() - self._began >= WELL_S:
            self._backoff.reset()
            self._logged.clear()
        fields = {"host": self._section.metrics_host, "port": self._section.metrics_port}
        self._log_once(logging.ERROR, "endpoint does not answer, it is tried again", exc, **fields)
        return self._backoff.next_delay()

    async def _listen(self) -> list[trio.SocketListener]:
        """Return listeners, whose connections inherit the kernel's timeout; raises OSError."""
        listeners = await trio.open_tcp_listeners(
            self._section.metrics_port, host=self._section.metrics_host, backlog=BACKLOG
        )
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            for each in listeners:
                timeout = (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
                each.socket.setsockopt(*timeout)
        return list(listeners)

    async def _serve(self, listeners: Sequence[trio.SocketListener]) -> None:
        async with trio.open_nursery() as nursery:
            try:
                await trio.serve_listeners(
                    self._serve_connection, list(listeners), handler_nursery=nursery
                )
            finally:
                for connection in self._connections:
                    connection.cut()

    async def _serve_connection(self, stream: trio.SocketStream) -> None:
        self._make_room()
        connection = HttpConnection(stream)
        self._connections.add(connection)
        try:
            await connection.serve(self._app, self._config)
        except Exception as exc:  # noqa: BLE001 - logged; an error ends its own connection alone
            metrics.endpoint_client_errors.inc()
            text = "connection to the endpoint ended by an error"
            self._log_once(logging.WARNING, text, exc)
        finally:
            self._connections.discard(connection)

    def _make_room(self) -> None:
        """Cut the least active connection if there are too many."""
        if len(self._connections) >= MAX_CONNECTIONS:
            idle = min(self._connections, key=lambda each: each.active_at)
            self._connections.discard(idle)
            idle.cut()

    def _log_once(self, level: int, text: str, exc: Exception, **fields: object) -> None:
        """Log an error, each kind once above DEBUG; a bug with its traceback."""
        kind = f"{text}: {exc!r}"
        if kind in self._logged or len(self._logged) >= MAX_KINDS:
            level = logging.DEBUG
        else:
            self._logged.add(kind)
        is_bug = level == logging.ERROR and not isinstance(exc, OSError)
        log.log(level, text, error=repr(exc), exc_info=exc if is_bug else None, **fields)


def _host_for_browsers(host: str) -> str:
    """Return how a URL names `host`; an address that stands for all of them is this machine."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
