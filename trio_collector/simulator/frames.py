"""What a simulated venue sends: WebSocket frames, and the streams that each belongs to.

A server's frames are not masked (RFC 6455, 5.1), so a frame is a head of 2 to 10 bytes and the
payload as it is. Written by hand because one call for a frame, through wsproto, is what would bound
the rate of a simulator that has to outrun a collector.
"""

import enum
import functools
import struct
from typing import NamedTuple


class Opcode(enum.IntEnum):
    """Kinds of frames (RFC 6455, 5.2)."""

    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class StreamKey(NamedTuple):
    """What a data frame is recorded under: `orderbook` or `trade` of one symbol, in plain spelling.

    Bybit's linear and inverse markets, whose symbols are those of spot, have them behind a dot.
    """

    exchange: str
    symbol: str
    data_type: str


class Frame(NamedTuple):
    """One message to a client; without streams it is a control message, such as an ack."""

    payload: bytes
    streams: tuple[StreamKey, ...] = ()
    opcode: Opcode = Opcode.TEXT


def text_frame(text: str, *streams: StreamKey) -> Frame:
    """Return a text frame of `text`."""
    return Frame(text.encode(), streams)


def close_frame(code: int, reason: str = "") -> Frame:
    """Return the frame that ends a connection; nothing may follow it."""
    return Frame(struct.pack("!H", code) + reason.encode(), opcode=Opcode.CLOSE)


@functools.lru_cache(maxsize=4096)
def head(opcode: Opcode, length: int) -> bytes:
    """Return what stands before a payload of `length` bytes in an unmasked, final frame."""
    first = 0x80 | opcode
    if length < 126:
        return bytes((first, length))
    if length < 65_536:
        return struct.pack("!BBH", first, 126, length)
    return struct.pack("!BBQ", first, 127, length)


def plain_symbol(symbol: str) -> str:
    """Return `symbol` in lower case without `-`, `_` and `/`."""
    return symbol.lower().translate(_NO_SEPARATORS)


_NO_SEPARATORS = str.maketrans("", "", "-_/")
