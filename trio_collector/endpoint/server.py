"""The server: sockets, clients, and a new start after whatever goes wrong.

    supervise ─▶ listen ─▶ accept ─▶ one task and one scope for each client
        ▲                    │
        └──── backoff ◀──────┘  the port is taken, the network is gone, a bug

hypercorn's `serve` is not used, though hypercorn serves: one malformed upgrade request ends it for
all clients (its issue 225), it takes any number of them, and it waits for clients that do not read.
Here its connections run one by one: an error ends the connection that it is in, the least active
client leaves when there are too many, and hanging up needs nobody's consent.
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
from trio_collector.endpoint.client import Client
from trio_collector.endpoint.routes import App
from trio_collector.telemetry import metrics

log = structlog.get_logger(__name__)

# Prometheus and a few browsers, each with up to six connections, are less than half of it; and a
# tenth of the file descriptors that Linux grants a process by default.
MAX_CLIENTS = 100
BACKLOG = 100
# A request has to be complete within this, and so has the next one on the same connection.
IDLE_S = 5
MAX_HEAD_BYTES = 16_384
MAX_REQUESTS = 100  # on one connection
# The kernel gives a connection up whose data nobody acknowledged for so long.
UNACKNOWLEDGED_MS = 3_000

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 60.0
WELL_S = 60.0  # of serving, and the delays start over
MAX_KINDS = 20  # of errors that are told


def hypercorn_config() -> Config:
    """Return hypercorn's settings, for few and small requests."""
    config = Config()
    config.accesslog = None
    # It would call every crossing of an answer with a client's mistake an error. What goes wrong in
    # the routes is logged there.
    config.errorlog = None
    config.keep_alive_timeout = IDLE_S
    config.keep_alive_max_requests = MAX_REQUESTS
    config.h11_max_incomplete_size = MAX_HEAD_BYTES
    config.include_server_header = False
    return config


class Server:
    """Serves `app` on one address; `url` tells which, while it does."""

    def __init__(self, section: CollectorSection, app: App) -> None:
        self.port: int | None = None
        self.url: str | None = None
        self.has_tried = trio.Event()  # to listen: now `port` is known, or that there is none yet
        self._section = section
        self._config = hypercorn_config()
        self._app = wrap_app(app, 0, "asgi")
        self._backoff = Backoff(FIRST_DELAY_S, LONGEST_DELAY_S, random.Random())
        self._began = math.inf
        self._clients: set[Client] = set()
        self._told: set[str] = set()

    async def run(self) -> None:
        """Serve until cancelled, whatever happens."""
        while True:
            try:
                listeners = await self._listen()
                self._begin(listeners)
                await self._serve(listeners)
            except Exception as exc:  # noqa: BLE001 - told, and tried again: that is its whole work
                await trio.sleep(self._end(exc))

    def _begin(self, listeners: Sequence[trio.SocketListener]) -> None:
        self.port = listeners[0].socket.getsockname()[1]
        self.url = f"http://{_host_for_browsers(self._section.metrics_host)}:{self.port}/"
        self.has_tried.set()
        self._began = trio.current_time()
        log.info("endpoint listens", url=self.url, host=self._section.metrics_host)

    def _end(self, exc: Exception) -> float:
        """Tell the end of serving; return how long to wait before the next start."""
        self.port = self.url = None
        self.has_tried.set()
        if trio.current_time() - self._began >= WELL_S:
            self._backoff.reset()
            self._told.clear()
        fields = {"host": self._section.metrics_host, "port": self._section.metrics_port}
        self._tell_once(logging.ERROR, "endpoint does not answer, it is tried again", exc, **fields)
        return self._backoff.next_delay()

    async def _listen(self) -> list[trio.SocketListener]:
        """Return listeners; what they accept inherits the timeout. Raises OSError."""
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
                    self._serve_client, list(listeners), handler_nursery=nursery
                )
            finally:
                for client in self._clients:
                    client.hang_up()

    async def _serve_client(self, stream: trio.SocketStream) -> None:
        self._make_room()
        client = Client(stream)
        self._clients.add(client)
        try:
            await client.serve(self._app, self._config)
        except Exception as exc:  # noqa: BLE001 - told; whatever a client sets off is its own end
            metrics.endpoint_client_errors.inc()
            text = "connection to the endpoint ended by an error"
            self._tell_once(logging.WARNING, text, exc)
        finally:
            self._clients.discard(client)

    def _make_room(self) -> None:
        """Let the client go that has been silent for longest, if there are too many."""
        if len(self._clients) >= MAX_CLIENTS:
            silent = min(self._clients, key=lambda client: client.active_at)
            self._clients.discard(silent)
            silent.hang_up()

    def _tell_once(self, level: int, text: str, exc: Exception, **fields: object) -> None:
        """Log an error, each kind once; a traceback says more than a bug's name."""
        kind = f"{text}: {exc!r}"
        if kind in self._told or len(self._told) >= MAX_KINDS:
            level = logging.DEBUG
        else:
            self._told.add(kind)
        is_bug = level == logging.ERROR and not isinstance(exc, OSError)
        log.log(level, text, error=repr(exc), exc_info=exc if is_bug else None, **fields)


def _host_for_browsers(host: str) -> str:
    """Return what to write into a URL for `host`, that is, for this machine where it is any."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
