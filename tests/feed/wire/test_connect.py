"""Connecting: TCP and TLS to whatever a URL names, and in words what was wrong."""

import datetime
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trustme

from trio_collector.errors import SessionEnded
from trio_collector.feed.wire.connect import connect_stream

Serve = Callable[[trio.abc.Stream], Awaitable[None]]


@asynccontextmanager
async def _listening(serve: Serve) -> AsyncIterator[str]:
    """Serve TCP connections on a port of the system's choice; gives its ws URL."""
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}/feed?x=1"
        nursery.cancel_scope.cancel()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def _trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@asynccontextmanager
async def _tls_listening(certificate: trustme.LeafCert) -> AsyncIterator[str]:
    """Serve TLS that greets with `hi`; gives the wss URL, at `localhost`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)

    async def serve(stream: trio.abc.Stream) -> None:
        tls = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        try:
            await tls.send_all(b"hi")
        except trio.BrokenResourceError:
            pass  # the client refused the certificate
        finally:
            await trio.aclose_forcefully(tls)

    async with _listening(serve) as url:
        yield url.replace("ws://127.0.0.1", "wss://localhost")


async def test_tls_connects(authority: trustme.CA) -> None:
    """A certificate for the host, by a CA that is trusted, is taken; TLS is done on return."""
    async with _tls_listening(authority.issue_cert("localhost")) as url:
        stream = await connect_stream(url, _trusting(authority))
        assert isinstance(stream, trio.SSLStream)
        assert stream.server_hostname == "localhost"
        assert await stream.receive_some() == b"hi"
        await stream.aclose()


PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("host", "not_after", "is_trusted", "text"),
    [
        ("other.example", None, True, "localhost: host mismatch (Hostname mismatch"),
        ("localhost", None, False, "localhost: untrusted CA (unable to get local issuer"),
        ("localhost", PAST, True, "localhost: certificate expired (certificate has expired"),
    ],
)
async def test_a_bad_certificate_is_named(
    authority: trustme.CA,
    host: str,
    not_after: datetime.datetime | None,
    is_trusted: bool,
    text: str,
) -> None:
    """The words say what is wrong with the certificate."""
    context = _trusting(authority if is_trusted else trustme.CA())
    before = PAST - datetime.timedelta(days=1)
    certificate = (
        authority.issue_cert(host, not_before=before, not_after=not_after)
        if not_after
        else authority.issue_cert(host)
    )
    async with _tls_listening(certificate) as url:
        with pytest.raises(SessionEnded) as ended:
            await connect_stream(url, context)
    assert ended.value.reason == "tls_error"
    assert text in ended.value.detail


@pytest.mark.parametrize(
    ("greeting", "text"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "127.0.0.1: the server does not speak TLS"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "127.0.0.1: the server does not speak TLS"),
        (b"", "127.0.0.1: closed during the TLS handshake"),
    ],
)
async def test_a_server_without_tls_is_named(greeting: bytes, text: str) -> None:
    """A server that answers in plain text, or hangs up, does not look like a timeout."""

    async def serve(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(greeting)

    async with _listening(serve) as url:
        with pytest.raises(SessionEnded) as ended:
            await connect_stream(url.replace("ws:", "wss:"), ssl.create_default_context())
    assert ended.value.reason == "tls_error"
    assert text in ended.value.detail


async def test_a_closed_port_is_refused() -> None:
    """Nobody listens: the words say so, and where."""
    with socket.socket() as placeholder:
        placeholder.bind(("127.0.0.1", 0))
        port = placeholder.getsockname()[1]
        with pytest.raises(SessionEnded) as ended:
            await connect_stream(f"ws://127.0.0.1:{port}/", ssl.create_default_context())
    assert ended.value.reason == "connect_failed"
    assert ended.value.detail == f"127.0.0.1:{port}: refused"


class Resolver(trio.abc.HostnameResolver):
    """A name server that knows no names."""

    async def getaddrinfo(self, *_args: object, **_kwargs: object) -> list[object]:  # type: ignore[override]  # never returns
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, *_args: object) -> tuple[str, str]:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("nowhere.example", "nowhere.example:443: name not found (Name or service not known)"),
        ("a" * 64 + ".example", ": not a host name"),
    ],
)
async def test_an_unknown_name_is_named(host: str, text: str) -> None:
    """A name that does not resolve, or cannot, is told from a host that is down."""
    trio.socket.set_custom_hostname_resolver(Resolver())
    with pytest.raises(SessionEnded) as ended:
        await connect_stream(f"wss://{host}/", ssl.create_default_context())
    assert ended.value.reason == "connect_failed"
    assert text in ended.value.detail


async def test_dead_peers_are_found() -> None:
    """TCP asks a silent peer every 15 s, and sends small messages at once."""

    async def serve(stream: trio.abc.Stream) -> None:
        await stream.receive_some()

    async with _listening(serve) as url:
        stream = await connect_stream(url, ssl.create_default_context())
        assert isinstance(stream, trio.SocketStream)
        assert stream.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        if hasattr(socket, "TCP_KEEPIDLE"):
            assert stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15
            assert stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 15
            assert stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 4
        await stream.aclose()


async def test_cancelling_a_tls_handshake_closes_the_socket() -> None:
    """A server that never answers is left by the caller's deadline, without a leak."""
    hung_up = trio.Event()

    async def serve(stream: trio.abc.Stream) -> None:
        while await stream.receive_some():
            scope.cancel()
        hung_up.set()

    with trio.fail_after(10):
        async with _listening(serve) as url:
            with trio.CancelScope() as scope:
                await connect_stream(url.replace("ws:", "wss:"), ssl.create_default_context())
            assert scope.cancelled_caught
            await hung_up.wait()
