"""The judge of the fault benchmarks: what it must notice, and what nothing could have told."""

from collections import Counter

from tests.bench import truth
from trio_collector.simulator.net.frames import Fate

BOOK = ("bybit", "btcusdt", "orderbook")


def book(*frames: tuple[int, Fate, int]) -> truth.Sent:
    """Return a book of which each frame has a connection, a fate and an id."""
    sent = truth.Sent(is_book=True)
    for connection, fate, number in frames:
        sent.add(connection, fate, f"frame {number}".encode(), (number, number))
    return sent


def trades(*frames: tuple[int, Fate, int]) -> truth.Sent:
    """Return trades whose frames are counted on each connection."""
    sent = truth.Sent(counts_frames=True)
    for connection, fate, number in frames:
        payload = f'{connection}/{number} "trade_id":"{100 * connection + number}"'
        sent.add(connection, fate, payload.encode(), (number, number))
    return sent


def holes(sent: truth.Sent, *, has_same_ids: bool) -> list[tuple[int, int]]:
    return truth.expected_gaps(sent, sent.digests, has_same_ids=has_same_ids)


def test_a_hole_within_a_connection_is_due() -> None:
    sent = book((1, Fate.SENT, 5), (1, Fate.LOST, 6), (1, Fate.SENT, 7))
    assert holes(sent, has_same_ids=False) == [(5, 6)]


def test_a_connection_whose_snapshot_was_lost_follows_nothing() -> None:
    frames = (1, Fate.SENT, 5), (2, Fate.LOST, 8), (2, Fate.SENT, 9)
    assert holes(book(*frames), has_same_ids=False) == []
    assert holes(book(*frames), has_same_ids=True) == [(5, 8)]


def skipped(sent: truth.Sent, *told: tuple[int, int]) -> list[str]:
    gaps = [{"expected": expected, "got": got} for expected, got in told]
    return truth._compare_skipped(sent, Counter(sent.digests), gaps)


def test_a_gap_of_frames_is_that_of_a_connection_that_needs_it() -> None:
    unneeded = (1, Fate.SENT, 3), (1, Fate.SPOILED, 4)  # the last one: nothing came behind it
    needed = (2, Fate.SENT, 3), (2, Fate.SPOILED, 4), (2, Fate.SENT, 5)
    assert skipped(trades(*unneeded, *needed), (4, 5)) == []


def test_a_gap_of_frames_that_is_not_told_is_noticed() -> None:
    both = [(c, fate, 3 + i) for c in (1, 2) for i, fate in enumerate(("sent", "lost", "sent"))]
    sent = trades(*[(c, Fate(fate), number) for c, fate, number in both])
    assert skipped(sent, (4, 5), (4, 5)) == []
    assert skipped(sent, (4, 5)) == ["1 frames skipped on a connection and not told"]
    assert skipped(sent, (4, 5), (4, 5), (4, 5)) == ["false gap of frames: 4 to 5"]
