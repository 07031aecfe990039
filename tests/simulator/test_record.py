from pathlib import Path

import pytest

from trio_collector.simulator.net.frames import Fate, Frame, StreamKey, foreign_frame, lost, unsent
from trio_collector.simulator.record import Entry, SentRecord, read_entries

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


PLAIN = Frame(b"plain", (BOOK,), ids=(1, 2))


def test_fates_are_distinguished() -> None:
    """What a client could read is a frame; everything has its entry, in order, with its ids."""
    sent = SentRecord(is_recording=True)
    both = Frame(b"both", (BOOK, OTHER), ids=(5, 5))
    frames = [
        PLAIN,
        lost(both),
        PLAIN._replace(fate=Fate.REPEATED),
        PLAIN._replace(fate=Fate.LATE),
        Frame(b"spoiled", (BOOK,), ids=(3, 4), fate=Fate.SPOILED),
        Frame(b"null", fate=Fate.SPOILED),
        foreign_frame("{}"),
        unsent(PLAIN),
        Frame(b"pong"),
    ]
    for frame in frames:
        sent.add("coinbase", frame, 7)
    assert sent.counts == {BOOK: 3}
    assert sent.frames == {BOOK: [b"plain"] * 3}
    assert sent.spoiled == {"coinbase": [b"spoiled", b"null"]}
    assert sent.foreign == {"coinbase": [b"{}"]}
    assert sent.control_counts == {"coinbase": 1}
    assert sent.fates[OTHER, Fate.LOST] == sent.fates[BOOK, Fate.LOST] == 1
    nobody = StreamKey("coinbase", "", "unparsed")
    assert sent.entries == [
        Entry(1, 7, BOOK, Fate.SENT, b"plain", (1, 2)),
        Entry(2, 7, BOOK, Fate.LOST, b"both", (5, 5)),
        Entry(2, 7, OTHER, Fate.LOST, b"both", (5, 5)),
        Entry(3, 7, BOOK, Fate.REPEATED, b"plain", (1, 2)),
        Entry(4, 7, BOOK, Fate.LATE, b"plain", (1, 2)),
        Entry(5, 7, BOOK, Fate.SPOILED, b"spoiled", (3, 4)),
        Entry(6, 7, nobody, Fate.SPOILED, b"null", None),
        Entry(7, 7, nobody, Fate.FOREIGN, b"{}", None),
        Entry(8, 7, BOOK, Fate.UNSENT, b"plain", (1, 2)),
    ]


def test_entries_are_kept_in_a_file(tmp_path: Path) -> None:
    """Any bytes come back as they were; a line that is still being written is left out."""
    path = tmp_path / "entries"
    frames = [
        PLAIN,
        lost(PLAIN),
        Frame(bytes(range(256)) + b"%0A%09%25", (OTHER,), fate=Fate.SPOILED),
        Frame(b"", (OTHER,), fate=Fate.SPOILED),
    ]
    with SentRecord(is_recording=True, entries_path=path) as sent:
        for frame in frames:
            sent.add("coinbase", frame, 3)
        sent.flush()
        assert list(read_entries(path)) == sent.entries
    with path.open("ab") as file:
        file.write(b"3\tcoinb")
    assert list(read_entries(path)) == sent.entries


def test_visits_are_numbered() -> None:
    """A connection has one number in the record and another one at its exchange."""
    sent = SentRecord()
    first, second = (
        sent.open_connection("okx", "/okx", 4, 1.5),
        sent.open_connection("upbit", "/u", 1, 2.5),
    )
    assert [first.id, second.id] == [1, 2]
    assert sent.connections == [first, second]
