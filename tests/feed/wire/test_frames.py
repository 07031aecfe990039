"""The splitter and wsproto together give what wsproto alone would."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.frames import HANDSHAKE, cut, read_with_splitter, read_with_wsproto, server_frame
from trio_collector.feed.wire.frames import FrameSplitter

LIMIT = 1 << 20
BAD_UTF8 = (b"\xff", b"ab\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80")

texts = st.text(max_size=40).map(str.encode) | st.sampled_from([b"x" * 126, b"y" * 65_536])
payloads = texts | st.binary(max_size=140) | st.sampled_from(BAD_UTF8)
cuts = st.lists(st.integers(1, 300), max_size=8)


@st.composite
def frames(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    """Draw a payload and how it is framed: mostly as it should be."""
    opcode = draw(st.sampled_from([1, 1, 1, 2, 2, 0, 0, 9, 10]) | st.integers(0, 15))
    payload = draw(st.binary(max_size=20) if opcode > 7 else payloads)
    odd: dict[str, Any] = {}
    if opcode < 8:
        odd["is_final"] = draw(st.booleans())
    if draw(st.integers(0, 15)) == 0:
        fault = {"rsv": st.integers(1, 7), "is_masked": st.just(value=True)}
        fault |= {"length_form": st.sampled_from([126, 127]), "is_final": st.booleans()}
        name = draw(st.sampled_from(sorted(fault)))
        odd[name] = draw(fault[name])
    return payload, {"opcode": opcode, **odd}


sequences = st.lists(frames(), max_size=12)


def _open(max_message_bytes: int) -> FrameSplitter:
    splitter = FrameSplitter(max_message_bytes)
    splitter.feed(HANDSHAKE)
    return splitter


@given(sequence=sequences, lengths=cuts, limit=st.sampled_from([LIMIT, 130, 30]))
@settings(max_examples=500)
def test_any_frames_in_any_cuts(
    sequence: list[tuple[bytes, dict[str, Any]]],
    lengths: list[int],
    limit: int,
) -> None:
    """Messages, pings, pongs and the code are those of wsproto, whatever comes in whatever cuts."""
    data = b"".join(server_frame(payload, **framing) for payload, framing in sequence)
    expected = read_with_wsproto([data], limit)
    whole = read_with_splitter([data], limit)
    assert read_with_splitter(cut(data, lengths), limit) == whole
    if whole.code == 1009 and whole != expected:
        # Over the limit. wsproto may meet bad text first, and does not count the up to three bytes
        # of a character that is not whole, so that it may read on to the next frame.
        assert read_with_wsproto([data], limit - 3).code in (1007, 1009)
        expected = expected._replace(code=1009, pings=whole.pings, pongs=whole.pongs)
    if expected.code == 1007 and whole.code is None:
        # Bad text in a frame that is not whole is found when it is, or passes the limit.
        assert read_with_splitter([data, bytes(limit)], limit).code in (1007, 1009)
        expected = expected._replace(code=None)
    assert whole == expected


@given(data=st.binary(max_size=300), lengths=cuts)
def test_any_bytes_in_any_cuts(data: bytes, lengths: list[int]) -> None:
    """Bytes that are no frames at all give the same however they are cut."""
    pieces = cut(data, lengths)
    assert read_with_splitter(pieces, LIMIT) == read_with_splitter([data], LIMIT)


@given(sequence=sequences, length=st.integers(0, 400), lengths=cuts)
def test_a_message_that_is_not_complete_is_not_delivered(
    sequence: list[tuple[bytes, dict[str, Any]]],
    length: int,
    lengths: list[int],
) -> None:
    """What a connection that ends anywhere gives is the beginning of what it would have given."""
    data = b"".join(server_frame(payload, **framing) for payload, framing in sequence)
    all_of_it = read_with_splitter([data], LIMIT)
    part = read_with_splitter(cut(data[:length], lengths), LIMIT)
    assert part.messages == all_of_it.messages[: len(part.messages)]
    assert part.code in (None, all_of_it.code)


def test_every_cut_of_a_connection() -> None:
    """Handshake, messages and pings come out the same with one cut at any place."""
    ping = server_frame(b"p", 9)
    frames = [
        server_frame(b"one"),
        ping,
        server_frame(b"\x00\xff", 2),
        server_frame(b"tw", is_final=False),
        ping,
        server_frame(b"", 0, is_final=False),
        server_frame(b"o", 0),
        server_frame(b"z" * 300),
        server_frame(b"w" * 70_000),
    ]
    data = HANDSHAKE + b"".join(frames)
    for at in (*range(600), len(data) - 1):
        splitter = FrameSplitter(LIMIT)
        first, second = splitter.feed(data[:at]), splitter.feed(data[at:])
        expected = [b"one", b"\x00\xff", b"two", b"z" * 300, b"w" * 70_000]
        assert first[0] + second[0] == expected
        assert first[1] + second[1] == HANDSHAKE + ping + ping


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
def test_frames_may_come_with_the_handshake(newline: bytes) -> None:
    """Frames behind the head of a 101 response are split, with either kind of newline."""
    head = newline.join([b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"", b""])
    splitter = FrameSplitter(LIMIT)
    assert splitter.feed(head + server_frame(b"x")) == ([b"x"], head)
    assert splitter.is_open
    assert splitter.response_head == head


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\n\x81\x01xbody\r\n\r\n",
        b"HTTP/1.1 1012 Odd\r\n\r\n\x81\x01x",
        b"SSH-2.0-OpenSSH\r\n\r\n\x81\x01x",
        b"x" * 17_000 + b"\r\n\r\n\x81\x01x",
    ],
)
def test_another_answer_than_101_passes_through(answer: bytes) -> None:
    """Whatever is no 101 response goes to trio-websocket, to the last byte."""
    splitter = FrameSplitter(LIMIT)
    pieces = [splitter.feed(answer[at : at + 1]) for at in range(len(answer))]
    assert all(payloads == [] for payloads, _ in pieces)
    assert b"".join(control for _, control in pieces) == answer
    assert splitter.is_passing
    assert not splitter.is_open


def test_what_follows_a_close_frame_passes_through() -> None:
    """Data behind a close frame is not data any more."""
    splitter = _open(LIMIT)
    close, data = server_frame(b"\x03\xe8", 8), server_frame(b"late")
    assert splitter.feed(server_frame(b"x") + close + data) == ([b"x"], close + data)
    assert splitter.feed(data) == ([], data)


@pytest.mark.parametrize("text", BAD_UTF8)
@pytest.mark.parametrize("opcodes", [(1,), (1, 0), (1, 0, 0)])
def test_text_that_is_not_utf8_is_1007(text: bytes, opcodes: tuple[int, ...]) -> None:
    """Text that is not UTF-8 ends the connection, in one frame or in several."""
    size = -(-len(text) // len(opcodes))
    data = b"".join(
        server_frame(text[i * size : (i + 1) * size], opcode, is_final=i == len(opcodes) - 1)
        for i, opcode in enumerate(opcodes)
    )
    assert read_with_splitter([data], LIMIT) == ([], [], [], 1007)


def test_a_character_may_lie_across_fragments() -> None:
    """UTF-8 is judged over the whole message."""
    data = server_frame(b"\xe2\x82", is_final=False) + server_frame(b"\xac", 0)
    assert read_with_splitter([data], LIMIT).messages == ["€".encode()]


@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.parametrize("payload", [b"x" * 101, "é".encode() * 51])
def test_a_message_over_the_limit_is_1009(kind: int, payload: bytes) -> None:
    """The limit counts bytes, of text too, in one frame or in several; the limit itself passes."""
    fits = server_frame(payload[:100], 2)
    whole = server_frame(payload, kind)
    parts = server_frame(payload[:50], kind, is_final=False) + server_frame(payload[50:], 0)
    for data in (fits + whole, fits + parts):
        assert read_with_splitter([data], 100) == ([payload[:100]], [], [], 1009)


def test_a_message_over_the_limit_is_not_kept() -> None:
    """Its bytes pass through as they come, with the first from the header on."""
    splitter = _open(1000)
    data = server_frame(b"x" * 100_000)
    assert splitter.feed(data[:10]) == ([], b"\x82" + data[1:10])
    assert splitter.feed(data[10:5000]) == ([], data[10:5000])


def test_a_control_frame_that_is_too_long_is_not_kept() -> None:
    """It is irregular from its header on, and nothing is waited for."""
    splitter = _open(LIMIT)
    head = server_frame(b"x" * 70_000, 9)[:10]
    assert splitter.feed(head) == ([], head)
    assert splitter.is_passing


def test_empty_fragments_cost_nothing() -> None:
    """A message of endless empty fragments does not grow."""
    splitter = _open(LIMIT)
    splitter.feed(server_frame(b"a", is_final=False))
    splitter.feed(server_frame(b"", 0, is_final=False) * 100_000)
    assert len(splitter._fragments) == 1
    assert splitter.feed(server_frame(b"b", 0)) == ([b"ab"], b"")


@pytest.mark.parametrize("piece_bytes", [64, 65_536])
def test_a_huge_frame_in_small_pieces(piece_bytes: int) -> None:
    """A frame of 16 MiB in 64-byte pieces takes a fraction of a second: cost is linear in bytes."""
    payload = bytes(range(128)) * (1 << 17)
    splitter = _open(len(payload))
    pieces = cut(server_frame(payload), [piece_bytes])
    got = [message for piece in pieces for message in splitter.feed(piece)[0]]
    assert got == [payload]


def test_payloads_are_bytes_of_their_own() -> None:
    """A payload stays as it is when the buffer it came in is used again."""
    splitter = _open(LIMIT)
    received = bytearray(server_frame(b"abc"))
    (payload,), _ = splitter.feed(received)
    received[:] = bytes(len(received))
    assert type(payload) is bytes
    assert payload == b"abc"


@pytest.mark.parametrize("opcode", [9, 10])
@pytest.mark.parametrize("kind", [1, 2])
def test_a_ping_does_not_count_towards_the_limit(kind: int, opcode: int) -> None:
    """Between the fragments of a message near the limit, a control frame passes and no more."""
    ping = server_frame(b"p" * 125, opcode)
    first = server_frame(b"x" * 90, kind, is_final=False)
    last = server_frame(b"y" * 10, 0)
    splitter = _open(100)
    assert splitter.feed(first + ping + last) == ([b"x" * 90 + b"y" * 10], ping)
    assert not splitter.is_passing


@pytest.mark.parametrize("size", [0, 125, 126, 255, 256, 382, 511, 32_894, 65_535, 65_536, 65_662])
def test_messages_of_every_form_of_length(size: int) -> None:
    """Both bytes of a length of two count, whatever they are."""
    payload = bytes(range(128)) * (size // 128) + b"x" * (size % 128)
    assert _open(LIMIT).feed(server_frame(payload) + server_frame(b"next")) == (
        [payload, b"next"],
        b"",
    )
