"""What a simulated exchange sends: WebSocket frames, and the streams that each belongs to.

A server's frames are not masked (RFC 6455, 5.1), so a frame is a head of 2 to 10 bytes and the
payload as it is. Written by hand, because a call of wsproto for each frame would bound the rate of a
simulator that has to be faster than a collector.
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


class Fate(enum.StrEnum):
    """What became of a frame on one connection."""

    SENT = "sent"  # whole and in its place
    REPEATED = "repeated"  # once more, after it was sent
    LATE = "late"  # whole, after frames that it should precede
    SPOILED = "spoiled"  # replaced by something that no adapter can read
    FOREIGN = "foreign"  # valid, of a type that was not subscribed
    LOST = "lost"  # not sent, while the connection and the exchange's ids went on
    UNSENT = "unsent"  # not sent, because the connection ended first


class Frame(NamedTuple):
    """One message to a client; without streams it is a control message, such as an ack.

    `ids` are the first and the last id that it covers, in the numbering that lets a reader detect gaps;
    None where the exchange has none.
    """

    payload: bytes
    streams: tuple[StreamKey, ...] = ()
    opcode: Opcode = Opcode.TEXT
    ids: tuple[int, int] | None = None
    fate: Fate = Fate.SENT
    wire: bytes | None = None  # what goes out instead of one regular frame


def text_frame(text: str, *streams: StreamKey, ids: tuple[int, int] | None = None) -> Frame:
    """Return a text frame of `text`."""
    return Frame(text.encode(), streams, _TEXT, ids)


_TEXT = Opcode.TEXT  # looking a member up in its enum takes 84 ns in CPython 3.11


def foreign_frame(text: str, opcode: Opcode = Opcode.TEXT) -> Frame:
    """Return a message of a type that was not subscribed."""
    return Frame(text.encode(), (), opcode, fate=Fate.FOREIGN)


def lost(frame: Frame) -> Frame:
    """Return `frame` as one that is recorded where it would have been sent, and is not sent."""
    return frame._replace(fate=Fate.LOST, wire=b"")


def unsent(frame: Frame) -> Frame:
    """Return `frame` as one that was not sent because the connection ended."""
    return frame._replace(fate=Fate.UNSENT, wire=b"")


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
