"""From a URL to a connected stream: name, TCP, TLS, and a readable text for what went wrong.

trio-websocket can connect as well, but reports a bad certificate as a time-out.
"""

import ssl
import urllib.parse
from collections.abc import Iterator

import trio

from trio_collector.connection_errors import tcp_fault, tls_fault
from trio_collector.errors import SessionEnded

# A silent NAT entry or a peer that lost power is found within 15 + 4 * 15 s. macOS calls the idle
# time TCP_KEEPALIVE.
KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPALIVE": 15, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}

DEFAULT_PORTS = {"ws": 80, "wss": 443}


async def connect_stream(url: str, ssl_context: ssl.SSLContext) -> trio.abc.Stream:
    """Connect to the host of `url`, with TLS for wss; the deadline is the caller's.

    Raises SessionEnded: `connect_failed` or `tls_error`. Cancelling closes what was open.
    """
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    stream = await _connect_tcp(host, parts.port or DEFAULT_PORTS[parts.scheme])
    if parts.scheme == "ws":
        return stream
    # Exchanges close without TLS's close_notify, as HTTPS servers do.
    tls = trio.SSLStream(stream, ssl_context, server_hostname=host, https_compatible=True)
    try:
        await tls.do_handshake()
    except trio.BrokenResourceError as exc:
        await trio.aclose_forcefully(stream)
        raise SessionEnded("tls_error", f"{host}: {tls_fault(exc.__cause__).text}") from exc
    except trio.Cancelled:
        await trio.aclose_forcefully(stream)
        raise
    return tls


async def _connect_tcp(host: str, port: int) -> trio.SocketStream:
    try:
        stream = await trio.open_tcp_stream(host, port)  # sets TCP_NODELAY
    except (OSError, UnicodeError) as exc:
        faults = dict.fromkeys(tcp_fault(leaf).text for leaf in _leaves(exc))
        raise SessionEnded("connect_failed", f"{host}:{port}: {', '.join(faults)}") from exc
    stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(trio.socket, name):
            stream.setsockopt(trio.socket.IPPROTO_TCP, getattr(trio.socket, name), value)
    return stream


def _leaves(exc: BaseException) -> Iterator[BaseException]:
    """Yield the error of each address that was tried."""
    group = exc.__cause__
    if isinstance(group, BaseExceptionGroup):
        yield from group.exceptions
    else:
        yield exc
