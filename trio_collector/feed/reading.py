"""From the frames of one read to rows: the part of a session that runs for every message.

Each frame becomes a row in every stream that it concerns, and a row in `unparsed` if it concerns
none: because no adapter can read it, or because it is of a kind that is not collected. Controls
and what the ids say about missing messages are handed to the session, which acts on them.
"""

from collections.abc import Sequence
from typing import NamedTuple

from trio_collector.errors import UnreadableFrame
from trio_collector.events import (
    Batch,
    ConnectionSequence,
    Control,
    DataType,
    Event,
    Foreign,
    Stream,
    Topic,
)
from trio_collector.exchanges.adapter import Adapter
from trio_collector.feed.continuity import Continuity, Duplicate, Gap

# The symbol of unparsed rows on a connection with several markets. Normalised symbols hold no
# underscore, so no market is called this.
CONNECTION = "_connection"


class Finding(NamedTuple):
    """What the ids say about `topic`; about the whole connection where that is None."""

    topic: Topic | None
    finding: Gap | Duplicate


class Rows(NamedTuple):
    """What one read of the socket held."""

    frames: int
    batches: list[Batch]
    controls: list[Control]
    findings: list[Finding]
    unreadable: list[UnreadableFrame]


class FrameReader:
    """Reads the frames of one connection."""

    def __init__(self, adapter: Adapter, topics: Sequence[Topic], continuity: Continuity) -> None:
        self._adapter = adapter
        self._continuity = continuity
        symbols = {topic.symbol for topic in topics}
        symbol = symbols.pop() if len(symbols) == 1 else CONNECTION
        self.unparsed = Stream(adapter.name, symbol, DataType.UNPARSED)

    def read(self, received_us: int, frames: Sequence[bytes]) -> Rows:
        """Return what `frames`, which came with one read at `received_us`, hold."""
        parse = self._adapter.parse_message
        rows = Rows(len(frames), [], [], [], [])
        batches: dict[tuple[str, DataType], Batch] = {}
        for frame in frames:
            try:
                parsed = parse(frame)
            except UnreadableFrame as exc:
                rows.unreadable.append(exc)
                self._keep_unparsed(rows, received_us, frame)
                continue
            is_foreign = False
            for item in parsed:
                if not isinstance(item, Event):
                    self._read_control(rows, item)
                    is_foreign = is_foreign or isinstance(item, Foreign)
                    continue
                batch = batches.get((item.symbol, item.data_type))
                if batch is None:
                    batch = self._open_batch(rows, item, received_us)
                    batches[item.symbol, item.data_type] = batch
                batch.append(item.sequence_id, item.exchange_us, frame)
                if item.last_id is not None:
                    self._check(rows, item)
            if is_foreign:
                self._keep_unparsed(rows, received_us, frame)
        return rows

    def keep(self, received_us: int, frames: Sequence[bytes]) -> Rows:
        """Return `frames` as they came: for when reading them is what failed."""
        rows = Rows(len(frames), [], [], [], [])
        for frame in frames:
            self._keep_unparsed(rows, received_us, frame)
        return rows

    def _open_batch(self, rows: Rows, event: Event, received_us: int) -> Batch:
        stream = Stream(self._adapter.name, event.symbol, event.data_type)
        batch = Batch(stream, received_us)
        rows.batches.append(batch)
        return batch

    def _check(self, rows: Rows, event: Event) -> None:
        finding = self._continuity.check(event)
        if finding is not None:
            rows.findings.append(Finding(Topic(event.symbol, event.data_type), finding))

    def _read_control(self, rows: Rows, item: Control) -> None:
        if not isinstance(item, ConnectionSequence):
            rows.controls.append(item)
            return
        finding = self._continuity.check_connection(item)
        if finding is not None:
            rows.findings.append(Finding(None, finding))

    def _keep_unparsed(self, rows: Rows, received_us: int, frame: bytes) -> None:
        last = rows.batches[-1] if rows.batches else None
        if last is None or last.stream is not self.unparsed:
            last = Batch(self.unparsed, received_us)
            rows.batches.append(last)
        last.append("", None, frame)
