"""How a TCP connection can end, with or without TLS on top."""

import contextlib
import fcntl
import struct
import termios

import trio

RECEIVE_BYTES = 65_536
DELIVERY_S = 1.0  # for the kernel to deliver what it has; a client that does not read loses it
DELIVERY_POLL_S = 0.001

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


def transport_of(stream: Stream) -> trio.SocketStream:
    """Return the TCP connection of `stream`."""
    return stream.transport_stream if isinstance(stream, trio.SSLStream) else stream


def set_reset(stream: trio.SocketStream) -> None:
    """Let closing `stream` send an RST: l_onoff = 1, l_linger = 0 (socket(7))."""
    stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))


async def prepare_reset(stream: trio.SocketStream) -> None:
    """Let closing `stream` send an RST after all data was delivered.

    An RST makes the kernel drop what it has not delivered yet; waits up to DELIVERY_S for that.
    """
    with trio.move_on_after(DELIVERY_S):
        while unacked_bytes(stream):  # noqa: ASYNC110 - the kernel has no event for it
            await trio.sleep(DELIVERY_POLL_S)
    set_reset(stream)


def unacked_bytes(stream: trio.SocketStream) -> int:
    """Return how many bytes the kernel still has to deliver (SIOCOUTQ, tcp(7))."""
    answer = bytearray(4)
    with contextlib.suppress(OSError):  # other systems do not know the question
        fcntl.ioctl(stream.socket.fileno(), termios.TIOCOUTQ, answer)
    return int(struct.unpack("i", answer)[0])


async def discard(stream: trio.abc.ReceiveStream) -> None:
    """Read until the client closes."""
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while await stream.receive_some(RECEIVE_BYTES):
            pass


async def finish(stream: Stream) -> None:
    """Send FIN, without a close_notify of TLS, and wait until the client closes."""
    transport = transport_of(stream)
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await transport.send_eof()
    await discard(transport)
