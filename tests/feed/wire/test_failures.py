"""What leaves a session's tasks as an exception is the end of the session, under its reason."""

import h11
import pytest
import trio_websocket
import wsproto.utilities

from trio_collector.errors import SessionEnded
from trio_collector.feed.wire.end_reason import EndReason
from trio_collector.feed.wire.failures import closed_session, end_of

DEAD = SessionEnded(EndReason.DEAD_TIMEOUT, "no byte for 30 s")
BUG = KeyError("bug")
BROKEN = trio_websocket.ConnectionClosed(None)
GARBAGE = wsproto.utilities.RemoteProtocolError("Bad opcode")


def end(exc: Exception) -> SessionEnded:
    return end_of(exc, now_s=0.0, fallback_url="wss://other.test")


def group(*excs: Exception) -> ExceptionGroup[Exception]:
    return ExceptionGroup("", [ExceptionGroup("", list(excs))])


def test_a_planned_end_is_itself() -> None:
    """A SessionEnded is the end, however deep in groups."""
    assert end(DEAD) is DEAD
    assert end(group(DEAD)) is DEAD


def test_a_closed_websocket_keeps_its_code() -> None:
    """The code and words of a close frame are kept; without a frame the stream ended."""
    reason = trio_websocket.CloseReason(4004, "no data")
    ending = end(trio_websocket.ConnectionClosed(reason))
    assert (ending.reason, ending.code) == (EndReason.CLOSE_FRAME, 4004)
    assert "no data" in ending.detail
    assert closed_session(BROKEN).reason == EndReason.STREAM_ENDED
    assert end(group(BROKEN)).reason == EndReason.STREAM_ENDED


def test_a_refused_handshake_is_in_words() -> None:
    """The status, its meaning and the wish of the exchange are in the end."""
    rejected = trio_websocket.ConnectionRejected(451, ((b"retry-after", b"7"),), None)
    ending = end(group(rejected))
    assert (ending.reason, ending.code) == (EndReason.REJECTED_HANDSHAKE, 451)
    assert ending.retry_after_s == 7
    assert "wss://other.test" in ending.detail


@pytest.mark.parametrize(
    "exc",
    [
        h11.RemoteProtocolError("illegal status line"),
        GARBAGE,
        UnicodeDecodeError("ascii", b"\xff", 0, 1, "ordinal not in range"),
    ],
)
def test_a_peer_that_speaks_something_else(exc: Exception) -> None:
    """What h11 and wsproto cannot read is a protocol error, with their words."""
    ending = end(group(exc))
    assert ending.reason == EndReason.PROTOCOL_ERROR
    assert str(exc) in ending.detail


def test_everything_else_is_a_bug() -> None:
    """An exception that nobody planned is named as it is."""
    ending = end(BUG)
    assert (ending.reason, ending.detail) == (EndReason.BUG, "KeyError('bug')")


@pytest.mark.parametrize(
    ("excs", "reason"),
    [
        ((DEAD, BUG), EndReason.BUG),
        ((BROKEN, BUG, GARBAGE), EndReason.BUG),
        ((BROKEN, DEAD), EndReason.DEAD_TIMEOUT),
        ((GARBAGE, DEAD), EndReason.DEAD_TIMEOUT),
        ((GARBAGE, BROKEN), EndReason.PROTOCOL_ERROR),
    ],
)
def test_of_several_the_one_that_says_most(excs: tuple[Exception, ...], reason: str) -> None:
    """A bug is never hidden behind an end, nor an end behind what a broken stream brings along."""
    assert end(group(*excs)).reason == reason
