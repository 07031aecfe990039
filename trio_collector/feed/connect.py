"""From a URL to a connected stream: name, TCP, TLS, and what went wrong there in words.

trio-websocket would do this as well, but tells of a bad certificate as of a time-out.
"""

import ssl
import urllib.parse
from collections.abc import Iterator

import trio

from trio_collector.errors import SessionEnded

# A silent NAT entry or a peer that lost power is found within 15 + 4 * 15 s. macOS calls the idle
# time TCP_KEEPALIVE.
KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPALIVE": 15, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}

# X509_V_ERR_* of OpenSSL's x509_vfy.h, in the words of whoever has to mend it.
_CERTIFICATE_FAULTS = {
    9: "certificate not yet valid",
    10: "certificate expired",
    18: "untrusted CA",
    19: "untrusted CA",
    20: "untrusted CA",
    21: "untrusted CA",
    62: "host mismatch",
    64: "host mismatch",
}
# What OpenSSL's versions say of a first record that is none.
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})

DEFAULT_PORTS = {"ws": 80, "wss": 443}


async def connect_stream(url: str, ssl_context: ssl.SSLContext) -> trio.abc.Stream:
    """Connect to the host of `url`, with TLS for wss; the deadline is the caller's.

    Raises SessionEnded: `connect_failed` or `tls_error`, in words. Cancelling closes what was open.
    """
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    stream = await _connect_tcp(host, parts.port or DEFAULT_PORTS[parts.scheme])
    if parts.scheme == "ws":
        return stream
    # Exchanges close without TLS's farewell, as HTTPS servers do.
    tls = trio.SSLStream(stream, ssl_context, server_hostname=host, https_compatible=True)
    try:
        await tls.do_handshake()
    except trio.BrokenResourceError as exc:
        await trio.aclose_forcefully(stream)
        raise SessionEnded("tls_error", f"{host}: {_tls_fault(exc.__cause__)}") from exc
    except trio.Cancelled:
        await trio.aclose_forcefully(stream)
        raise
    return tls


async def _connect_tcp(host: str, port: int) -> trio.SocketStream:
    try:
        stream = await trio.open_tcp_stream(host, port)  # sets TCP_NODELAY
    except (OSError, UnicodeError) as exc:
        faults = dict.fromkeys(map(_connect_fault, _leaves(exc)))
        raise SessionEnded("connect_failed", f"{host}:{port}: {', '.join(faults)}") from exc
    stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(trio.socket, name):
            stream.setsockopt(trio.socket.IPPROTO_TCP, getattr(trio.socket, name), value)
    return stream


def _leaves(exc: BaseException) -> Iterator[BaseException]:
    """Yield what went wrong at each address that was tried."""
    group = exc.__cause__
    if isinstance(group, BaseExceptionGroup):
        yield from group.exceptions
    else:
        yield exc


def _connect_fault(exc: BaseException) -> str:
    match exc:
        case trio.socket.gaierror():
            return f"name not found ({exc.strerror})"
        case UnicodeError():
            return "not a host name"
        case ConnectionRefusedError():
            return "refused"
        case OSError():
            return f"unreachable ({exc.strerror or exc})"
    return str(exc)


def _tls_fault(exc: BaseException | None) -> str:
    match exc:
        case ssl.SSLCertVerificationError():
            fault = _CERTIFICATE_FAULTS.get(exc.verify_code, "certificate refused")
            return f"{fault} ({exc.verify_message})"
        case ssl.SSLError() if exc.reason in _NOT_TLS:
            return f"the server does not speak TLS ({exc.reason})"
        case ssl.SSLEOFError() | ssl.SSLSyscallError() | None:
            return "closed during the TLS handshake"
        case ssl.SSLError() if exc.reason:
            return exc.reason.lower().replace("_", " ")
    return str(exc)
