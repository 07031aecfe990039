"""HTTP/1.1 of the bucket around h11: heads, bodies as they come, responses, and broken ends."""

import struct

import h11
import trio

from tests.support.bucket.http.response import Response

CHUNK_BYTES = 262_144
Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream] | trio.abc.Stream


async def next_event(stream: Stream, http: h11.Connection) -> h11.Event | type[h11.PAUSED]:
    """Return what comes next; a client that waits for leave to send its body gets it."""
    while (event := http.next_event()) is h11.NEED_DATA:
        if http.they_are_waiting_for_100_continue:
            go_ahead = h11.InformationalResponse(status_code=100, headers=[])
            await stream.send_all(http.send(go_ahead) or b"")
        http.receive_data(bytes(await stream.receive_some(CHUNK_BYTES)))
    assert not isinstance(event, type) or event is h11.PAUSED
    return event


async def send_response(stream: Stream, http: h11.Connection, response: Response) -> None:
    """Send `response`; a long body goes in pieces, so that TLS does not block other tasks."""
    await stream.send_all(_head(http, response))
    for start in range(0, len(response.body), CHUNK_BYTES):
        chunk = response.body[start : start + CHUNK_BYTES]
        await stream.send_all(http.send(h11.Data(data=chunk)) or b"")
    await stream.send_all(http.send(h11.EndOfMessage()) or b"")


async def send_half(stream: Stream, http: h11.Connection, response: Response) -> None:
    """Send the first half of `response`."""
    whole = _whole(http, response)
    await stream.send_all(whole[: len(whole) // 2])


async def send_drops(
    stream: Stream, http: h11.Connection, response: Response, interval_s: float
) -> None:
    """Send `response` byte by byte."""
    whole = _whole(http, response)
    for position in range(len(whole)):
        await stream.send_all(whole[position : position + 1])
        await trio.sleep(interval_s)


def _whole(http: h11.Connection, response: Response) -> bytes:
    rest = [h11.Data(data=response.body), h11.EndOfMessage()]
    return _head(http, response) + b"".join(http.send(event) or b"" for event in rest)


def _head(http: h11.Connection, response: Response) -> bytes:
    headers = {"content-length": str(len(response.body)), **response.headers}
    head = h11.Response(status_code=response.status, headers=list(headers.items()))
    return http.send(head) or b""


async def wait_left(stream: Stream) -> None:
    """Read nothing of use until the client closes the connection."""
    while await stream.receive_some(CHUNK_BYTES):
        pass


def set_reset(stream: Stream) -> None:
    """Let closing `stream` send an RST instead of a FIN, where there is a socket below it."""
    transport = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    if isinstance(transport, trio.SocketStream):
        # l_onoff = 1, l_linger = 0: socket(7).
        linger = struct.pack("ii", 1, 0)
        transport.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger)
