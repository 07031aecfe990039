"""Messages that no adapter can read, made of messages that it could.

Each function takes a payload and returns another one. All are valid WebSocket messages; only their
content is not.
"""

import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from trio_collector.simulator.faults.fault import Kind
from trio_collector.simulator.net.frames import Fate, Frame, Opcode

# Python's own limit of nesting is 1,000, and msgspec has about the same. (research/reliability.md)
DEPTH = 10_000
DIGITS = b"9" * 400

# A member's number, also one that comes as text.
_NUMBER = re.compile(rb'(:"?)\d[\d.e+-]*("?[,}\]])')


def corrupt(kind: Kind, frame: Frame) -> Frame:
    """Return `frame` with a payload that cannot be read."""
    opcode = Opcode.BINARY if kind is Kind.NOT_UTF8 else frame.opcode
    return frame._replace(
        payload=CORRUPTIONS[kind](frame.payload), opcode=opcode, fate=Fate.SPOILED, wire=None
    )


def add_field(frame: Frame) -> Frame:
    """Return `frame`, an object, with one more field."""
    field = b'{"simulatorField":{"new":[1,"a",null]},'
    return frame._replace(payload=field + frame.payload[1:])


def _retype(value: Any) -> Any:
    """Return something of another JSON type than `value`, and of the same shape as far as it has one."""
    if isinstance(value, dict):
        return {key: _retype(item) for key, item in value.items()}
    if isinstance(value, list):
        return "text"
    return 7 if isinstance(value, str) else {"n": str(value)}


def _wrong_types(payload: bytes) -> bytes:
    return json.dumps(_retype(json.loads(payload))).encode()


def _garbage(payload: bytes) -> bytes:
    return b"<html>" + payload[::-1][:100].replace(b"<", b"") + b"</html>"


def _nested(payload: bytes) -> bytes:
    return b'{"x":' * DEPTH + b"1" + b"}" * DEPTH


def _huge(payload: bytes) -> bytes:
    return _NUMBER.sub(rb"\g<1>%b\g<2>" % DIGITS, payload)


CORRUPTIONS: Mapping[Kind, Callable[[bytes], bytes]] = MappingProxyType(
    {
        Kind.GARBAGE_TEXT: _garbage,
        Kind.TRUNCATED_JSON: lambda payload: payload[: len(payload) // 2],
        Kind.WRONG_TYPES: _wrong_types,
        Kind.DEEP_NESTING: _nested,
        Kind.NOT_UTF8: lambda payload: payload[:-2] + b"\xff\xfe" + payload[-2:],
        Kind.EMPTY_MESSAGE: lambda payload: b"",
        Kind.NULL_MESSAGE: lambda payload: b"null",
        Kind.HUGE_NUMBERS: _huge,
    }
)
