"""Connects that come to nothing, as a client sees them on the wire."""

import email.utils
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from trio_collector.simulator import Fault, Kind, Simulator
from trio_collector.simulator.net.handshake import GARBAGE

WithFaults = Callable[..., Awaitable[Simulator]]
Connect = Callable[[Simulator, str], Awaitable[Any]]

OKX = "/okx/ws/v5/public"
STATUSES = {
    Kind.STATUS_301: b"HTTP/1.1 301",
    Kind.STATUS_403: b"HTTP/1.1 403",
    Kind.STATUS_418: b"HTTP/1.1 418",
    Kind.STATUS_429: b"HTTP/1.1 429",
    Kind.STATUS_451: b"HTTP/1.1 451",
    Kind.STATUS_503: b"HTTP/1.1 503",
}


def header(response: bytes, name: bytes) -> bytes:
    """Return the value of a header; nothing if it is not there."""
    for line in response.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip()
    return b""


async def test_refused(with_faults: WithFaults, dial: Connect, connect: Connect) -> None:
    """The first connect of one exchange is reset at once; its second, and another's, are not."""
    simulator = await with_faults(Fault(kind=Kind.REFUSED, exchange="okx", connection=1))
    other = await connect(simulator, "bybit")
    client = await dial(simulator, "okx")
    with pytest.raises(trio.BrokenResourceError):
        await client.stream.receive_some()
    again = await connect(simulator, "okx")
    assert await again.hear(1)
    assert await other.hear(1)
    assert [each.kind for each in simulator.injected_faults] == [Kind.REFUSED]
    assert [info.number for info in simulator.sent.connections] == [1, 2]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Kind.TLS_WRONG_HOST, "IP address mismatch"),
        (Kind.TLS_EXPIRED, "certificate has expired"),
        (Kind.TLS_UNTRUSTED, "certificate verify failed"),
    ],
)
async def test_certificates(
    with_faults: WithFaults, dial: Connect, connect: Connect, kind: Kind, words: str
) -> None:
    """A client that trusts the simulator refuses, and says why."""
    fault = Fault(kind=kind, exchange="okx", connection=1)
    simulator = await with_faults(fault, is_tls=True)
    client = await dial(simulator, "okx")
    with pytest.raises(trio.BrokenResourceError) as caught:
        await client.shake_hands(OKX)
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    assert words in str(caught.value.__cause__)
    again = await connect(simulator, "okx")
    assert await again.hear(1)


async def test_plain_text_where_tls_was_meant(with_faults: WithFaults, dial: Connect) -> None:
    """The server does not speak TLS at all."""
    simulator = await with_faults(Fault(kind=Kind.PLAINTEXT, exchange="okx"), is_tls=True)
    client = await dial(simulator, "okx")
    with pytest.raises(trio.BrokenResourceError) as caught:
        await client.shake_hands(OKX)
    assert isinstance(caught.value.__cause__, ssl.SSLError)
    assert "WRONG_VERSION_NUMBER" in str(caught.value.__cause__)


async def test_silent_handshake(with_faults: WithFaults, dial: Connect) -> None:
    """The request is taken, and no answer comes."""
    simulator = await with_faults(Fault(kind=Kind.HANDSHAKE_SILENT))
    client = await dial(simulator, "okx")
    with trio.move_on_after(0.2) as scope:
        await client.shake_hands(OKX)
    assert scope.cancelled_caught
    assert client.response == b""
    assert simulator.connections == set()


async def test_slow_handshake(with_faults: WithFaults, dial: Connect) -> None:
    """The answer drips; who waits for it has a sound WebSocket."""
    simulator = await with_faults(Fault(kind=Kind.HANDSHAKE_SLOW, drip_s=0.002))
    client = await dial(simulator, "okx")
    before = trio.current_time()
    response = await client.shake_hands(OKX)
    assert trio.current_time() - before > 0.002 * len(response)
    await client.subscribe("okx")
    assert len(await client.hear(10)) == 10


async def test_closed_handshake(with_faults: WithFaults, dial: Connect) -> None:
    """FIN comes instead of an answer."""
    simulator = await with_faults(Fault(kind=Kind.HANDSHAKE_CLOSED))
    client = await dial(simulator, "okx")
    assert await client.shake_hands(OKX) == b""
    assert client.ending == "fin"


async def test_garbage(with_faults: WithFaults, dial: Connect) -> None:
    """What comes is not HTTP."""
    simulator = await with_faults(Fault(kind=Kind.HANDSHAKE_GARBAGE))
    client = await dial(simulator, "okx")
    await client.stream.send_all(b"GET /okx/ws/v5/public HTTP/1.1\r\nHost: x\r\n")
    await client.stream.send_all(
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert await client._receive() == GARBAGE


async def test_wrong_accept(with_faults: WithFaults, dial: Connect) -> None:
    """101 comes with the accept of another key than that of the request."""
    simulator = await with_faults(Fault(kind=Kind.WRONG_ACCEPT))
    client = await dial(simulator, "okx")
    response = await client.shake_hands(OKX)
    assert response.startswith(b"HTTP/1.1 101")
    accept = header(response, b"sec-websocket-accept")
    assert len(accept) == 28
    assert accept != b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, 1.3


@pytest.mark.parametrize("kind", STATUSES)
async def test_statuses(
    with_faults: WithFaults, dial: Connect, connect: Connect, kind: Kind
) -> None:
    """The answer is a status; the connect after it is let in."""
    simulator = await with_faults(Fault(kind=kind, exchange="okx", times=1))
    client = await dial(simulator, "okx")
    response = await client.shake_hands(OKX)
    assert response.startswith(STATUSES[kind])
    assert header(response, b"retry-after") == b""
    assert bool(header(response, b"location")) == (kind is Kind.STATUS_301)
    assert await (await connect(simulator, "okx")).hear(1)


async def test_retry_after(with_faults: WithFaults, dial: Connect) -> None:
    """Retry-After comes in seconds or as a date."""
    simulator = await with_faults(
        Fault(kind=Kind.STATUS_429, connection=1, retry_after_s=7),
        Fault(kind=Kind.STATUS_503, connection=2, retry_after_s=90, is_retry_date=True),
    )
    first = await (await dial(simulator, "okx")).shake_hands(OKX)
    second = await (await dial(simulator, "okx")).shake_hands(OKX)
    assert header(first, b"retry-after") == b"7"
    date = email.utils.parsedate_to_datetime(header(second, b"retry-after").decode())
    now_s = simulator._clock.now_ms() / 1_000
    assert now_s + 85 < date.timestamp() < now_s + 91


async def test_ban(with_faults: WithFaults, dial: Connect, connect: Connect) -> None:
    """Every connect is refused with the time that is left, until it is over; other exchanges are not banned."""
    simulator = await with_faults()
    simulator.inject(Fault(kind=Kind.IP_BAN, exchange="okx", for_s=1, status=418))
    response = b""
    for _ in range(2):
        response = await (await dial(simulator, "okx")).shake_hands(OKX)
        assert response.startswith(b"HTTP/1.1 418")
        assert header(response, b"retry-after") == b"1"
    assert await (await connect(simulator, "bybit")).hear(1)
    while not response.startswith(b"HTTP/1.1 101"):
        response = await (await dial(simulator, "okx")).shake_hands(OKX)


async def test_a_path_alone(with_faults: WithFaults, dial: Connect) -> None:
    """A fault may concern one of the paths of an exchange."""
    simulator = await with_faults(Fault(kind=Kind.STATUS_403, path="/bybit/v5/public/linear"))
    spot = await (await dial(simulator, "bybit")).shake_hands("/bybit/v5/public/spot")
    linear = await (await dial(simulator, "bybit")).shake_hands("/bybit/v5/public/linear")
    assert spot.startswith(b"HTTP/1.1 101")
    assert linear.startswith(b"HTTP/1.1 403")
