"""What a collector must have on disk, told from what the simulator says became of every frame.

For each stream every readable frame that was handed to the kernel must be stored, byte for byte,
but for

* the last frames of a connection: they were in the sockets when it ended, and the ledger has that
  end;
* copies: what came over two connections at once is kept once, where the exchange's ids tell.

Nothing else may be stored, and nothing when the ledger says that the stream was not covered. Holes are worked out from the ids of what is stored, in its order, by a
rule of this file's own, and compared with the gaps that the ledger tells: none missed, none false.
"""

import hashlib
import json
import math
import operator
import re
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from trio_collector import layout
from trio_collector.simulator.net.frames import Fate
from trio_collector.simulator.record import read_entries

READABLE = frozenset({Fate.SENT, Fate.REPEATED, Fate.LATE})
SNAPSHOTS = (b'"action":"snapshot"', b'"type":"snapshot"')

SEQUENTIAL_ID = re.compile(rb'"sid":(\d+)')  # of a trade of Upbit
TRADE_ID = re.compile(rb'"trade_id":"(\d+)"')
# Coinbase counts the frames of a connection; ids of trades are far above these numbers.
MOST_FRAMES = 1_000_000

# Streams whose ids prove what is missing, and those of them that a new session starts afresh.
PROVABLE = {
    ("binance", "trade"),
    ("okx", "orderbook"),
    ("okx", "trade"),
    ("bybit", "orderbook"),
    ("coinbase", "trade"),
}
SAME_IDS = {
    ("binance", "trade"),
    ("binance", "orderbook"),
    ("okx", "orderbook"),
    ("okx", "trade"),
    ("coinbase", "trade"),
    ("upbit", "trade"),
}

Name = tuple[str, str, str]  # exchange, symbol, data type


def digest_of(frame: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(frame, digest_size=8).digest(), "big", signed=True)


class Sent:
    """The frames of one stream, in the order of the wire, as parallel arrays."""

    def __init__(self, *, is_book: bool = False, counts_frames: bool = False) -> None:
        self._is_book = is_book
        self._counts_frames = counts_frames  # the ids are those of a connection's frames: Coinbase
        self.connections = array("i")
        self.digests = array("q")
        self.fates: Counter[Fate] = Counter()
        self.ids: dict[int, tuple[int, int]] = {}  # of a digest
        self.snapshots: set[int] = set()  # digests
        self.skipped: dict[int, set[int]] = {}  # frames of a connection that did not come whole
        self.numbers: dict[int, int] = {}  # of frames that did, by digest

    def add(self, connection: int, fate: Fate, payload: bytes, ids: tuple[int, int] | None) -> None:
        self.fates[fate] += 1
        if self._counts_frames and ids is not None:
            if fate in READABLE - {Fate.LATE}:
                self.numbers[digest_of(payload)] = ids[0]
            elif fate is not Fate.UNSENT:
                self.skipped.setdefault(connection, set()).add(ids[0])
            traded = [int(number) for number in TRADE_ID.findall(payload)]
            ids = (min(traded), max(traded)) if traded else None
        if fate not in READABLE:
            return
        if ids is None and (found := SEQUENTIAL_ID.search(payload)):
            ids = (int(found[1]), int(found[1]))
        digest = digest_of(payload)
        self.connections.append(connection)
        self.digests.append(digest)
        if ids is not None:
            self.ids[digest] = ids
        if self._is_book and any(mark in payload for mark in SNAPSHOTS):
            self.snapshots.add(digest)


class Verdict(NamedTuple):
    """What became of one stream; `faults` is what must not be."""

    name: Name
    sent: int
    stored: int
    tail: int  # unread when their connection ended
    copies: int
    gaps: int
    duplicates: int
    faults: list[str]


def read_sent(entries: Path) -> dict[Name, Sent]:
    """Return what was sent, by stream."""
    streams: dict[Name, Sent] = {}
    for entry in read_entries(entries):
        name = (entry.stream.exchange, entry.stream.symbol, entry.stream.data_type)
        stream = streams.get(name)
        if stream is None:
            is_book, counts_frames = name[2] == "orderbook", name[0] == "coinbase"
            stream = streams[name] = Sent(is_book=is_book, counts_frames=counts_frames)
        stream.add(entry.connection, entry.fate, entry.payload, entry.ids)
    return streams


def files_of(root: Path) -> Iterator[tuple[Name, int, Path]]:
    for path in root.rglob(f"*{layout.SEALED}"):
        place = layout.parse_segment_path(PurePosixPath(path.relative_to(root).as_posix()))
        assert place is not None, path
        yield (*place.stream[:2], place.stream.data_type.value), place.first_ms, path


class Rows:
    """The rows of one stream, in the files' order, as parallel arrays."""

    def __init__(self) -> None:
        self.digests = array("q")
        self.received_us = array("q")


def read_rows(root: Path) -> tuple[dict[Name, Rows], dict[Name, list[dict[str, Any]]]]:
    """Return all rows of data, and the ledger, by stream."""
    data: dict[Name, Rows] = {}
    ledger: dict[Name, list[dict[str, Any]]] = {}
    for name, _first_ms, path in sorted(files_of(root)):
        table = pq.read_table(path, columns=["data", "timestamp_collector"])
        values, times = (column.to_pylist() for column in table.columns)
        if name[2] == "status":
            for text, at_us in zip(values, times, strict=True):
                row = {"at_us": at_us, **json.loads(text)}
                ledger.setdefault((*name[:2], row["data_type"]), []).append(row)
        else:
            rows = data.setdefault(name, Rows())
            rows.digests.extend(
                digest_of(v if isinstance(v, bytes) else v.encode()) for v in values
            )
            rows.received_us.extend(times)
    return data, ledger


def covered(ledger: Iterable[dict[str, Any]]) -> list[tuple[float, float]]:
    """Return when a stream was received, by its ledger alone: disjoint intervals, in order."""
    begun: dict[tuple[int, str, int], int] = {}
    ended: dict[tuple[int, str, int], int] = {}
    for row in ledger:
        session = (row.get("run", 0), row.get("connection", ""), row.get("session", 0))
        if row["event"] == "live":
            begun[session] = row["at_us"]
        elif row["event"] in ("disconnected", "stopped"):
            ended[session] = row["at_us"]
    intervals: list[tuple[float, float]] = []
    for session, start in sorted(begun.items(), key=operator.itemgetter(1)):
        end = ended.get(session, math.inf)  # a crash leaves none: up to the last row
        if intervals and start <= intervals[-1][1]:
            intervals[-1] = (intervals[-1][0], max(intervals[-1][1], end))
        else:
            intervals.append((start, end))
    return intervals


def _uncovered(times: Iterable[int], intervals: list[tuple[float, float]]) -> int:
    starts = [start for start, _end in intervals]
    found = 0
    for at_us in times:
        index = bisect_right(starts, at_us) - 1
        found += index < 0 or at_us > intervals[index][1]
    return found


def judge_stream(name: Name, sent: Sent, stored: Rows, ledger: list[dict[str, Any]]) -> Verdict:
    """Return the verdict on one stream."""
    faults: list[str] = []
    rows = stored.digests
    if outside := _uncovered(stored.received_us, covered(ledger)):
        faults.append(f"{outside} rows came when the stream was not covered, says the ledger")
    kept, times = Counter(rows), Counter(sent.digests)
    for digest, count in (kept - times).items():
        faults.append(f"{count} rows were never sent ({digest:x})")
    tail, copies, lost = _missing(name, sent, kept, times)
    if lost:
        faults.append(f"{lost} frames were sent, and are neither stored nor last of a connection")
    ends = Counter(row["event"] for row in ledger)
    if tail and not ends["disconnected"] + ends["stopped"]:
        faults.append(f"{tail} frames unread, and no end in the ledger")
    gaps = [row for row in ledger if row["event"] == "gap"]
    if name[0] == "coinbase":
        of_frames = [row for row in gaps if row["expected"] <= MOST_FRAMES]
        faults += _compare_skipped(sent, kept, of_frames)
    if (name[0], name[2]) in PROVABLE:
        expected = expected_gaps(sent, rows, has_same_ids=(name[0], name[2]) in SAME_IDS)
        faults += _compare_gaps(name, expected, gaps, rows, sent)
    elif name[0] != "coinbase" and gaps:
        faults.append(f"{len(gaps)} gaps that nothing can prove")
    return Verdict(
        name, len(sent.digests), len(rows), tail, copies, len(gaps), ends["duplicate"], faults
    )


def _missing(
    name: Name, sent: Sent, kept: Counter[int], times: Counter[int]
) -> tuple[int, int, int]:
    """Return how many frames are not stored: the last of a connection, copies, and the rest."""
    short = times - kept
    is_same = (name[0], name[2]) in SAME_IDS
    stored = {one for digest in kept for one in _span(sent.ids.get(digest))} if is_same else set()
    tail = copies = lost = 0
    by_connection: dict[int, list[int]] = {}
    for connection, digest in zip(sent.connections, sent.digests, strict=True):
        by_connection.setdefault(connection, []).append(digest)
    for digests in by_connection.values():
        is_tail = True
        for digest in reversed(digests):
            if not short[digest]:
                is_tail = False
                continue
            short[digest] -= 1
            ids = _span(sent.ids.get(digest))
            if kept[digest] or (is_same and ids and stored.issuperset(ids)):
                copies += 1
                is_tail = is_tail and not is_same
            elif is_tail:
                tail += 1
            else:
                lost += 1
    return tail, copies, lost


def expected_gaps(sent: Sent, rows: Iterable[int], *, has_same_ids: bool) -> list[tuple[int, int]]:
    """Return the holes in the ids of `rows`, in their order: the id before, and the id after.

    Where ids are those of a connection, nothing tells what the first row of one follows if the
    snapshot before it was lost; that the stream was not covered, the ledger says.
    """
    found = []
    reached: int | None = None
    connection_of = {} if has_same_ids else dict(zip(sent.digests, sent.connections, strict=True))
    begun: set[int | None] = {None}
    for digest in rows:
        first, last = sent.ids[digest]
        connection = connection_of.get(digest)
        is_fresh = connection not in begun or digest in sent.snapshots
        begun.add(connection)
        if reached is None or is_fresh:
            reached = last
        elif first > reached + 1:
            found.append((reached, first - 1))
            reached = last
        else:
            reached = max(reached, last)
    return found


def _compare_gaps(
    name: Name,
    expected: list[tuple[int, int]],
    told: list[dict[str, Any]],
    rows: Iterable[int],
    sent: Sent,
) -> list[str]:
    """Return which gaps were missed, and which are false."""
    due = Counter(expected)
    got = Counter(
        (row["expected"], row["got"])
        for row in told
        if name[0] != "coinbase" or row["expected"] > MOST_FRAMES
    )
    # A snapshot has the id of the latest change that is in it, and not that change.
    changes = (digest for digest in rows if digest not in sent.snapshots)
    stored = {one for digest in changes for one in _span(sent.ids[digest])}
    missed = [gap for gap in (due - got).elements() if not stored.issuperset(_behind(gap))]
    # Between sessions a snapshot hides from the rule above what was lost before it.
    false = [
        gap
        for gap in (got - due).elements()
        if not _behind(gap) or not stored.isdisjoint(_behind(gap))
    ]
    return [f"gap missed: {gap}" for gap in missed[:5]] + [f"false gap: {gap}" for gap in false[:5]]


def _compare_skipped(sent: Sent, kept: Counter[int], told: list[dict[str, Any]]) -> list[str]:
    """Compare the frames that a connection skipped with the gaps told of its count."""
    faults = []
    read: dict[int, list[int]] = {}  # frames of a connection that are stored
    for connection, digest in zip(sent.connections, sent.digests, strict=True):
        if kept[digest] and digest in sent.numbers:
            read.setdefault(connection, []).append(sent.numbers[digest])
    # Nothing tells which number the first frame of a connection should have.
    due = {connection: set[int]() for connection in sent.skipped}
    for connection, skipped in sent.skipped.items():
        frames_read = read.get(connection, [0])
        due[connection] = {each for each in skipped if min(frames_read) < each < max(frames_read)}
    covered = {connection: set[int]() for connection in sent.skipped}
    for row in told:
        frames = set(range(row["expected"], row["got"]))
        # The row does not name the simulator's connection: one that needs it comes first.
        whose = [c for c, skipped in sent.skipped.items() if frames <= skipped - covered[c]]
        if whose:
            covered[max(whose, key=lambda c: len(frames & due[c]))] |= frames
        else:
            faults.append(f"false gap of frames: {row['expected']} to {row['got']}")
    for connection, frames in due.items():
        if missed := frames - covered[connection]:
            faults.append(f"{len(missed)} frames skipped on a connection and not told")
    return faults


def _behind(gap: tuple[int, int]) -> range:
    """Return the ids that a gap says are missing."""
    return range(gap[0] + 1, gap[1] + 1)


def _span(ids: tuple[int, int] | None) -> range:
    return range(0) if ids is None else range(ids[0], ids[1] + 1)


def judge(entries: Path, archive: Path) -> list[Verdict]:
    """Return the verdict on each stream that was sent or stored."""
    sent = read_sent(entries)
    data, ledger = read_rows(archive)
    names = sorted({name for name in (*sent, *data) if name[2] in ("orderbook", "trade")})
    return [
        judge_stream(name, sent.get(name, Sent()), data.get(name, Rows()), ledger.get(name, []))
        for name in names
    ]
