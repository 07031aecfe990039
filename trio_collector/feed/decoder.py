"""From the frames of one read to rows: the part of a session that runs for every message.

Each frame becomes a row in every stream that it concerns, and a row in `unparsed` if it concerns
none: because no adapter can read it, or because it is of a kind that is not collected. Controls
and what the ids say about missing messages are handed to the session, which acts on them.

Where other sessions carry the same topics, the arbiter says which rows are kept.
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
    Stream,
    Topic,
    UnknownMessage,
)
from trio_collector.exchanges.adapter import Adapter
from trio_collector.feed.continuity.arbitration import ArbiterSource, Held, Verdict
from trio_collector.feed.continuity.sequence import SequenceFinding

# The symbol of unparsed rows on a connection with several markets. Normalised symbols hold no
# underscore, so no market is called this.
CONNECTION = "_connection"


class Decoded(NamedTuple):
    """What one read of the socket held."""

    frames: int
    batches: list[Batch]  # one without rows says that its topic had data
    controls: list[Control]
    findings: list[SequenceFinding]
    unreadable: list[UnreadableFrame]
    resets: list[Topic]  # what was started afresh


class FrameDecoder:
    """Decodes the frames of one session."""

    def __init__(self, adapter: Adapter, topics: Sequence[Topic], source: ArbiterSource) -> None:
        self._adapter = adapter
        self._source = source
        self._continuity = {each: source.continuity_of(each) for each in DataType}
        symbols = {topic.symbol for topic in topics}
        symbol = symbols.pop() if len(symbols) == 1 else CONNECTION
        self.unparsed = Stream(adapter.name, symbol, DataType.UNPARSED)
        self._repeated = 0

    def decode(self, received_us: int, frames: Sequence[bytes]) -> Decoded:
        """Return what `frames`, which came with one read at `received_us`, hold."""
        parse = self._adapter.parse_message
        is_shared = self._source.is_shared
        rows = Decoded(len(frames), [], [], [], [], [])
        batches: dict[tuple[str, DataType], Batch] = {}
        held: dict[Topic, Held] = {}
        for frame in frames:
            try:
                parsed = parse(frame)
            except UnreadableFrame as exc:
                rows.unreadable.append(exc)
                self._keep_unparsed(rows, received_us, frame)
                continue
            is_unknown = False
            for item in parsed:
                if not isinstance(item, Event):
                    self._read_control(rows, item)
                    is_unknown = is_unknown or isinstance(item, UnknownMessage)
                    continue
                batch = batches.get((item.symbol, item.data_type))
                if batch is None:
                    batch = self._open_batch(rows, item, received_us)
                    batches[item.symbol, item.data_type] = batch
                if item.is_reset:
                    rows.resets.append(Topic(item.symbol, item.data_type))
                if is_shared:
                    self._judge(rows, batch, held, item, frame)
                    continue
                batch.append(item.sequence_id, item.exchange_us, frame)
                if item.last_id is not None:
                    self._check(rows, item)
            if is_unknown:
                self._keep_unparsed(rows, received_us, frame)
        for each in held.values():
            self._source.hold(each)
        return self._with_released(rows)

    def take_repeated(self) -> int:
        """Return how many rows another session had brought before, since the last call."""
        repeated, self._repeated = self._repeated, 0
        return repeated

    def keep_raw(self, received_us: int, frames: Sequence[bytes]) -> Decoded:
        """Return `frames` as they came: for when reading them is what failed."""
        rows = Decoded(len(frames), [], [], [], [], [])
        for frame in frames:
            self._keep_unparsed(rows, received_us, frame)
        return rows

    def release(self) -> Decoded:
        """Return what is no longer held back, and gaps that nobody fills any more."""
        return self._with_released(Decoded(0, [], [], [], [], []))

    def _judge(
        self,
        rows: Decoded,
        batch: Batch,
        held: dict[Topic, Held],
        event: Event,
        frame: bytes,
    ) -> None:
        """Keep a row, hold it back, or drop it as a repetition, as the arbiter says."""
        verdict, finding = self._source.judge(event, batch.received_us)
        topic = Topic(event.symbol, event.data_type)
        if verdict is Verdict.DROP:
            self._repeated += 1
        elif verdict is Verdict.KEEP:
            batch.append(event.sequence_id, event.exchange_us, frame)
            if finding is not None:
                rows.findings.append(SequenceFinding(topic, finding))
        else:
            waiting = held.get(topic)
            if waiting is None:
                waiting = self._source.start_holding(batch.stream, batch.received_us)
                held[topic] = waiting
            waiting.batch.append(event.sequence_id, event.exchange_us, frame)
            if finding is not None:
                waiting.findings.append(finding)

    def _with_released(self, rows: Decoded) -> Decoded:
        """Return `rows`, behind what is no longer held back."""
        for gap in self._source.take_gaps():
            rows.findings.append(SequenceFinding(gap.topic, gap.gap, gap.at_us))
        released = self._source.take_released()
        if not released:
            return rows
        for each in released:
            topic = each.batch.stream.topic
            found = [SequenceFinding(topic, what, each.batch.received_us) for what in each.findings]
            rows.findings[:0] = found
        return rows._replace(batches=[*(each.batch for each in released), *rows.batches])

    def _open_batch(self, rows: Decoded, event: Event, received_us: int) -> Batch:
        stream = Stream(self._adapter.name, event.symbol, event.data_type)
        batch = Batch(stream, received_us)
        rows.batches.append(batch)
        return batch

    def _check(self, rows: Decoded, event: Event) -> None:
        finding = self._continuity[event.data_type].check(event)
        if finding is not None:
            rows.findings.append(SequenceFinding(Topic(event.symbol, event.data_type), finding))

    def _read_control(self, rows: Decoded, item: Control) -> None:
        if not isinstance(item, ConnectionSequence):
            rows.controls.append(item)
            return
        finding = self._source.check_connection(item)
        if finding is not None:
            rows.findings.append(SequenceFinding(None, finding))

    def _keep_unparsed(self, rows: Decoded, received_us: int, frame: bytes) -> None:
        last = rows.batches[-1] if rows.batches else None
        if last is None or last.stream is not self.unparsed:
            last = Batch(self.unparsed, received_us)
            rows.batches.append(last)
        last.append("", None, frame)
