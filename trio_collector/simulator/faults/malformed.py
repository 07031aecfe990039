"""Bytes on the wire that RFC 6455 forbids, and some that it allows and few servers send.

The forbidden ones are all that wsproto, as a client, can find fault with: each `ParseFailed` of its
frame_protocol.py has at least one here.
"""

import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from trio_collector.simulator.faults.fault import Kind
from trio_collector.simulator.net.frames import Frame, Opcode, head

_TEXT, _CONTINUATION, _PING, _CLOSE = 0x1, 0x0, 0x9, 0x8
_FIN = 0x80


class Malformed(NamedTuple):
    """Bytes that end a connection, and the close code that a client owes the server for them."""

    wire: bytes
    code: int


def _frame(first: int, payload: bytes) -> bytes:
    return bytes((first, len(payload))) + payload


def _close(code: int, reason: bytes = b"") -> bytes:
    return _frame(_FIN | _CLOSE, struct.pack("!H", code) + reason)


_TEXT_START = _frame(_TEXT, b'{"a":')
_EURO_CUT = "€".encode()[:2]

PROTOCOL_ERROR, NOT_UTF8 = 1002, 1007

MALFORMED: Mapping[Kind, Malformed] = MappingProxyType(
    {
        Kind.RESERVED_OPCODE: Malformed(_frame(_FIN | 0x3, b"{}"), PROTOCOL_ERROR),
        Kind.RESERVED_CONTROL_OPCODE: Malformed(_frame(_FIN | 0xB, b"{}"), PROTOCOL_ERROR),
        Kind.RSV1: Malformed(_frame(_FIN | 0x40 | _TEXT, b"{}"), PROTOCOL_ERROR),
        Kind.RSV2: Malformed(_frame(_FIN | 0x20 | _TEXT, b"{}"), PROTOCOL_ERROR),
        Kind.RSV3: Malformed(_frame(_FIN | 0x10 | _TEXT, b"{}"), PROTOCOL_ERROR),
        Kind.MASKED_FRAME: Malformed(
            bytes((_FIN | _TEXT, 0x82)) + bytes(4) + b"{}", PROTOCOL_ERROR
        ),
        Kind.FRAGMENTED_PING: Malformed(_frame(_PING, b"1"), PROTOCOL_ERROR),
        Kind.LONG_PING: Malformed(
            struct.pack("!BBH", _FIN | _PING, 126, 126) + bytes(126), PROTOCOL_ERROR
        ),
        Kind.LONE_CONTINUATION: Malformed(_frame(_FIN | _CONTINUATION, b"{}"), PROTOCOL_ERROR),
        Kind.INTERRUPTED_MESSAGE: Malformed(
            _TEXT_START + _frame(_FIN | _TEXT, b"{}"), PROTOCOL_ERROR
        ),
        Kind.LENGTH_16_NOT_SHORTEST: Malformed(
            struct.pack("!BBH", _FIN | _TEXT, 126, 5) + b"[1,2]", PROTOCOL_ERROR
        ),
        Kind.LENGTH_64_NOT_SHORTEST: Malformed(
            struct.pack("!BBQ", _FIN | _TEXT, 127, 200) + b" " * 200, PROTOCOL_ERROR
        ),
        Kind.LENGTH_64_SIGNED: Malformed(
            struct.pack("!BBQ", _FIN | _TEXT, 127, 2**63) + b"{}", PROTOCOL_ERROR
        ),
        Kind.TEXT_NOT_UTF8: Malformed(_frame(_FIN | _TEXT, b'{"a":"\xff"}'), NOT_UTF8),
        Kind.TEXT_CUT_UTF8: Malformed(_frame(_FIN | _TEXT, b'{"a":"' + _EURO_CUT), NOT_UTF8),
        Kind.FRAGMENTS_NOT_UTF8: Malformed(
            _TEXT_START + _frame(_FIN | _CONTINUATION, b'"\xff"}'), NOT_UTF8
        ),
        Kind.CLOSE_ONE_BYTE: Malformed(_frame(_FIN | _CLOSE, b"\x03"), PROTOCOL_ERROR),
        Kind.CLOSE_CODE_LOW: Malformed(_close(999), PROTOCOL_ERROR),
        Kind.CLOSE_CODE_HIGH: Malformed(_close(5000), PROTOCOL_ERROR),
        Kind.CLOSE_CODE_LOCAL: Malformed(_close(1006), PROTOCOL_ERROR),
        Kind.CLOSE_CODE_RESERVED: Malformed(_close(2999), PROTOCOL_ERROR),
        Kind.CLOSE_REASON_NOT_UTF8: Malformed(_close(1000, b"\xff"), NOT_UTF8),
    }
)


def whole(frame: Frame) -> bytes:
    """Return `frame` as a server sends it."""
    return head(frame.opcode, len(frame.payload)) + frame.payload


def fragmented(frame: Frame, count: int) -> bytes:
    """Return `frame` in about `count` fragments, with a ping after the first."""
    size = max(1, -(-len(frame.payload) // count))
    parts = [frame.payload[at : at + size] for at in range(0, len(frame.payload), size)] or [b""]
    pieces = []
    for place, part in enumerate(parts):
        full = bytearray(head(frame.opcode, len(part)))
        is_last = place == len(parts) - 1
        full[0] = (_FIN if is_last else 0) | (_CONTINUATION if place else frame.opcode)
        pieces.append(bytes(full) + part)
    pieces.insert(1, head(Opcode.PING, 4) + b"part")
    return b"".join(pieces)
