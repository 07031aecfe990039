"""When a segment ends, and how rows are cut."""

from collections.abc import Callable

import pytest

from trio_collector.events import Batch
from trio_collector.format.journal import SegmentSize
from trio_collector.layout import US_PER_HOUR
from trio_collector.writer import rotation, seal
from trio_collector.writer.rotation import SegmentLimits

NOON_US = 1_700_049_600_000_000  # 2023-11-15 12:00:00 UTC
LIMITS = SegmentLimits(max_age_s=600, max_bytes=1000)

MakeBatch = Callable[..., Batch]


@pytest.mark.parametrize(
    ("size", "received_us", "takes"),
    [
        (SegmentSize(NOON_US, 10), NOON_US, True),
        (SegmentSize(NOON_US, 10), NOON_US + US_PER_HOUR - 1, True),
        (SegmentSize(NOON_US, 10), NOON_US + US_PER_HOUR, False),
        (SegmentSize(NOON_US, 10), NOON_US - 1, False),  # the clock was set back
        (SegmentSize(NOON_US, 999), NOON_US, True),
        (SegmentSize(NOON_US, 1000), NOON_US, False),
    ],
)
def test_takes(size: SegmentSize, received_us: int, takes: bool) -> None:
    """A segment takes rows of its own UTC hour until it has its size."""
    assert rotation.takes(size, received_us, LIMITS) is takes


@pytest.mark.parametrize(
    ("size", "now_us", "is_over"),
    [
        (SegmentSize(NOON_US, 10), NOON_US + 599_999_999, False),
        (SegmentSize(NOON_US, 10), NOON_US + 600_000_000, True),
        (SegmentSize(NOON_US + US_PER_HOUR - 1, 10), NOON_US + US_PER_HOUR, True),
        (SegmentSize(NOON_US, 10), NOON_US - US_PER_HOUR, False),  # the clock was set back
        (SegmentSize(NOON_US, 1000), NOON_US, True),
    ],
)
def test_is_over(size: SegmentSize, now_us: int, is_over: bool) -> None:
    """A segment that no row comes to ends with its hour or its age."""
    assert rotation.is_over(size, now_us, LIMITS) is is_over


def test_appends_never_cross_an_hour(make_batch: MakeBatch) -> None:
    """Rows of two hours go into two appends, in order."""
    times = [NOON_US, NOON_US + 1, NOON_US + US_PER_HOUR, NOON_US + US_PER_HOUR + 1]
    batches = [make_batch(received_us=at) for at in times]
    assert list(rotation.appends(batches)) == [batches[:2], batches[2:]]


def test_appends_are_bounded(make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    """An append holds at most so many rows, and about so many bytes."""
    monkeypatch.setattr(rotation, "MAX_APPEND_ROWS", 5)
    batches = [make_batch(2) for _ in range(5)]
    assert [len(part) for part in rotation.appends(batches)] == [2, 2, 1]
    monkeypatch.setattr(rotation, "MAX_APPEND_BYTES", 25)
    batches = [make_batch(frames=[b"x" * size]) for size in (10, 10, 10, 99, 1)]
    assert [len(part) for part in rotation.appends(batches)] == [2, 1, 1, 1]


def test_an_append_may_have_exactly_its_limit(
    make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many rows and bytes as allowed go into one append, in the first and in the next."""
    monkeypatch.setattr(rotation, "MAX_APPEND_ROWS", 4)
    batches = [make_batch(2) for _ in range(6)]
    assert [len(part) for part in rotation.appends(batches)] == [2, 2, 2]
    monkeypatch.setattr(rotation, "MAX_APPEND_BYTES", 20)
    batches = [make_batch(frames=[b"x" * 10]) for _ in range(6)]
    assert [len(part) for part in rotation.appends(batches)] == [2, 2, 2]


def test_an_append_fits_into_a_row_group() -> None:
    """A record batch of a journal is never larger than a row group of the sealed file."""
    assert rotation.MAX_APPEND_ROWS <= seal.GROUP_ROWS
    assert rotation.MAX_APPEND_BYTES <= seal.GROUP_BYTES


def test_no_rows_no_append() -> None:
    """Nothing is cut into nothing."""
    assert list(rotation.appends([])) == []
