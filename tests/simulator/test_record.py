from pathlib import Path

import pytest

from trio_collector.simulator.frames import Frame, StreamKey
from trio_collector.simulator.record import SentRecord

BOOK = StreamKey("coinbase", "btcusd", "orderbook")
OTHER = StreamKey("coinbase", "ethusd", "orderbook")


def test_a_frame_counts_for_each_of_its_streams() -> None:
    """A frame about two products is one frame of each; payloads are kept on request."""
    sent = SentRecord(is_recording=True)
    sent.add("coinbase", Frame(b"both", (BOOK, OTHER)))
    sent.add("coinbase", Frame(b"one", (BOOK,)))
    assert sent.counts == {BOOK: 2, OTHER: 1}
    assert sent.frames == {BOOK: [b"both", b"one"], OTHER: [b"both"]}


def test_control_frames_are_counted_apart() -> None:
    """An ack belongs to no stream."""
    sent = SentRecord(is_recording=True)
    sent.add("okx", Frame(b"pong"))
    assert not sent.counts
    assert not sent.frames
    assert sent.control_counts == {"okx": 1}


def test_file_holds_a_line_for_each_frame_and_stream(tmp_path: Path) -> None:
    """The file is appended to, flushed on request and closed at the end."""
    path = tmp_path / "sent.tsv"
    for payload in (b"one", b"two"):
        with SentRecord(path=path) as sent:
            sent.add("coinbase", Frame(payload, (BOOK,)))
            sent.flush()
            assert path.read_bytes().endswith(b"coinbase\tbtcusd\torderbook\t" + payload + b"\n")
    assert len(path.read_bytes().splitlines()) == 2


@pytest.mark.parametrize("payload", [b"a\tb", b"a\nb"])
def test_a_payload_that_breaks_the_file_is_refused(tmp_path: Path, payload: bytes) -> None:
    """Tabs and newlines would be read as the file's own."""
    with (
        SentRecord(path=tmp_path / "sent.tsv") as sent,
        pytest.raises(ValueError, match="tab or a newline"),
    ):
        sent.add("coinbase", Frame(payload, (BOOK,)))
