"""Complete data messages, cut out of the bytes of a WebSocket connection in one pass.

A `FrameSplitter` stands between the socket and trio-websocket. It keeps whole data messages for
the collector, as bytes, and leaves everything else to trio-websocket::

    received bytes ──┬── the HTTP response of the handshake ──▶ control
                     ├── pings and pongs, byte for byte ──────▶ control
                     ├── whole text and binary messages ──────▶ payloads
                     └── from a close frame or anything
                         irregular on, for ever ──────────────▶ control

Irregular is what wsproto refuses: reserved bits and opcodes, masked frames, lengths not encoded
the shortest way, broken control frames, continuations out of place, text that is not UTF-8; and a
message over the limit. The splitter does not report it. It passes the bytes on unchanged, so that
wsproto in trio-websocket finds the fault and closes with its own code (1002, 1007, 1009).

For that wsproto has to see:

* Between messages, nothing more: whole data frames leave no state behind.
* Within a fragmented message, its start. The fragments held back are passed on first, as one frame.
* For a message over the limit, its size. trio-websocket counts the characters of text and the
  bytes of binary, so the message is passed on as binary, piece by piece as it comes.

Cost: each byte is copied a fixed number of times however the bytes are cut, because the start of
an unfinished frame waits in a bytearray until the frame is whole; its header is parsed three times
at most. Memory: one message and one read. Slicing through a memoryview is not faster: measured, it
is slower at every size met here, because a row needs bytes of its own anyway.
"""

import codecs
import re

TEXT = 0x1
BINARY = 0x2

_FIN = 0x80
_OPCODE = 0x0F
_PING = 0x9
_PONG = 0xA
_CONTROLS = frozenset({_FIN | _PING, _FIN | _PONG})
_STARTS = frozenset({TEXT, BINARY, _FIN | TEXT, _FIN | BINARY})
_CONTINUATIONS = frozenset({0, _FIN})

# The second byte of a header is the length up to 125; 126 and 127 say how many bytes of length
# follow, and a length that fits a shorter form is an error. RFC 6455, section 5.2
_SHORT = 125
_LENGTH_BYTES = {126: 2, 127: 8}
_LEAST_LENGTH = {126: 126, 127: 65_536}

# h11, which reads the handshake, takes a bare newline for the end of a line, and gives up on a
# head of more than 16 KiB (h11._connection.DEFAULT_MAX_INCOMPLETE_EVENT_SIZE).
_HEAD_END = re.compile(rb"\n\r?\n")
_SWITCHING_PROTOCOLS = re.compile(rb"HTTP/\d\.\d 101\b")
_MAX_HEAD_BYTES = 16_384


class FrameSplitter:
    """Splits what a server sends, from the first byte of its HTTP response on.

    `response_head` is the head of that response once it is complete, else empty; `is_open` says
    that it grants the upgrade (101). `is_passing` says that everything goes to `control` from here
    on: the upgrade is refused, a close frame came, or something irregular did.
    """

    def __init__(self, max_message_bytes: int) -> None:
        self.response_head = b""
        self.is_open = False
        self.is_passing = False
        self._max_bytes = max_message_bytes
        self._head = bytearray()
        self._partial = bytearray()  # the start of the frame that is not whole yet
        self._wanted_bytes = 0  # how long _partial has to be before it is parsed again
        self._opcode = 0  # of the fragmented message in progress; 0 if none is
        self._fragments = bytearray()  # its payload so far
        self._text = codecs.getincrementaldecoder("utf-8")()  # as far as that is text

    def feed(self, received: bytes | bytearray) -> tuple[list[bytes], bytes]:
        """Return the messages that are complete with `received`, and the bytes for trio-websocket."""
        data = bytes(received)
        payloads: list[bytes] = []
        if self.is_passing:
            return payloads, data
        if not self.is_open:
            return self._feed_head(data)
        control: list[bytes] = []
        start = self._complete_partial(data, payloads, control) if self._partial else 0
        if start < len(data):
            self._split(data, start, payloads, control)
        return payloads, b"".join(control)

    def _feed_head(self, data: bytes) -> tuple[list[bytes], bytes]:
        known = len(self._head)
        self._head += data
        end = _HEAD_END.search(self._head, max(0, known - 2))
        if end is None:
            self.is_passing = len(self._head) > _MAX_HEAD_BYTES
            return [], data
        self.response_head = bytes(self._head[: end.end()])
        self._head.clear()
        if not _SWITCHING_PROTOCOLS.match(self.response_head):
            self.is_passing = True
            return [], data
        self.is_open = True
        cut = len(self.response_head) - known
        payloads, control = self.feed(data[cut:])
        return payloads, data[:cut] + control

    def _complete_partial(self, data: bytes, payloads: list[bytes], control: list[bytes]) -> int:
        """Add to the unfinished frame what it lacks; return where the next one starts."""
        start = 0
        while self._partial and start < len(data):
            lacking = self._wanted_bytes - len(self._partial)
            self._partial += data[start : start + lacking]
            start += lacking
            if len(self._partial) == self._wanted_bytes:
                begun, self._partial = bytes(self._partial), bytearray()
                self._split(begun, 0, payloads, control)
        return start

    def _split(self, data: bytes, start: int, payloads: list[bytes], control: list[bytes]) -> None:
        """Split `data` from `start` on into frames, and keep the start of one that is not whole."""
        while not self.is_passing:
            if not self._opcode:
                start = _cut_plain(data, start, self._max_bytes, payloads)
            end = self._take_frame(data, start, payloads, control)
            if end == start and not self.is_passing:
                self._partial += data[start:]
                return
            start = end
        control.append(data[start:])

    def _take_frame(self, data: bytes, at: int, payloads: list[bytes], control: list[bytes]) -> int:
        """Handle one frame of any kind; return its end, or `at` if it is not whole or is passed on."""
        if len(data) - at < 2:
            return self._wait(2, at)
        first, short = data[at], data[at + 1]
        if not self._is_regular(first, short):
            return self._pass_on(at, control)
        start = at + 2 + _LENGTH_BYTES.get(short, 0)
        if len(data) < start:
            return self._wait(start - at, at)
        length = int.from_bytes(data[at + 2 : start], "big") if short > _SHORT else short
        if length < _LEAST_LENGTH.get(short, 0):
            return self._pass_on(at, control)
        if first not in _CONTROLS and len(self._fragments) + length > self._max_bytes:
            return self._pass_on_oversize(first, at, control)
        end = start + length
        if len(data) < end:
            return self._wait(end - at, at)
        if first in _CONTROLS:
            control.append(data[at:end])
        elif not self._add(first, data[start:end], payloads):
            return self._pass_on(at, control)
        return end

    def _is_regular(self, first: int, short: int) -> bool:
        """Return whether a frame with these first two bytes is allowed here and handled here."""
        if first in _CONTROLS:
            return short <= _SHORT
        is_unmasked = short < 0x80
        return is_unmasked and first in (_CONTINUATIONS if self._opcode else _STARTS)

    def _add(self, first: int, payload: bytes, payloads: list[bytes]) -> bool:
        """Add a data frame to its message; return False if it makes text that is not UTF-8."""
        opcode, is_final = self._opcode or first & _OPCODE, bool(first & _FIN)
        if opcode == TEXT:
            try:
                self._text.decode(payload, is_final)
            except UnicodeDecodeError:
                return False
        if not is_final:
            self._opcode = opcode
            self._fragments += payload
        else:
            payloads.append(bytes(self._fragments) + payload if self._opcode else payload)
            self._opcode, self._fragments = 0, bytearray()
        return True

    def _wait(self, needed: int, at: int) -> int:
        self._wanted_bytes = needed
        return at

    def _pass_on(self, at: int, control: list[bytes]) -> int:
        """Pass everything from `at` on, behind the fragments that were held back."""
        self.is_passing = True
        if self._opcode:
            control.append(_start_frame(self._opcode, self._fragments))
            self._opcode, self._fragments = 0, bytearray()
        return at

    def _pass_on_oversize(self, first: int, at: int, control: list[bytes]) -> int:
        """Pass everything from `at` on, with the message as binary."""
        if self._opcode:
            self._opcode = BINARY
            return self._pass_on(at, control)
        self.is_passing = True
        control.append(bytes([first & _FIN | BINARY]))
        return at + 1


def _cut_plain(data: bytes, at: int, max_bytes: int, payloads: list[bytes]) -> int:
    """Cut out the whole, unfragmented messages of up to 64 KiB that start at `at`.

    Returns where something else starts. This is the hot loop: with small messages most of the
    collector's time per row is spent here.
    """
    size = len(data)
    append = payloads.append
    shortest = min(_SHORT, max_bytes)
    while at + 1 < size:
        length = data[at + 1]
        start = at + 2
        if length > shortest:
            if length != 126 or at + 4 > size:
                return at
            length = data[at + 2] << 8 | data[at + 3]
            start = at + 4
            if not _SHORT < length <= max_bytes:
                return at
        end = start + length
        payload = data[start:end]
        if data[at] == _FIN | TEXT:
            if end > size or not (payload.isascii() or _is_utf8(payload)):
                return at
        elif data[at] != _FIN | BINARY or end > size:
            return at
        append(payload)
        at = end
    return at


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _start_frame(opcode: int, payload: bytes | bytearray) -> bytes:
    """Return the unfinished first frame of a fragmented message."""
    size = len(payload)
    if size <= _SHORT:
        head = bytes([opcode, size])
    elif size < _LEAST_LENGTH[127]:
        head = bytes([opcode, 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([opcode, 127]) + size.to_bytes(8, "big")
    return head + payload
