"""Line arbitration: which messages are kept while several sessions carry the same topics.

In a handover, and always where a market is received over two lines, most messages come more than
once. The stream on disk has each of them once, and loses none if a session is lost. Every session
is a *source*; what it reads is judged here.

* Where the exchange's ids are the same on every connection, a message whose id came from another
  source is a copy and dropped; the rest is kept as it comes, from whichever source is first. The
  ids are checked together: what one source skips another may bring a moment later, so a gap is
  reported only when nobody has filled it for GRACE_S.
* Where they are not, nothing tells that two messages are the same. One source *leads* a topic and
  is kept; the others hold back what they read since the leader was last heard, and a little more.
  When the leader leaves, or brings nothing while another does, the next one leads and what it held
  back is kept: some rows come twice then, and none is missing. A gap counts on the source that leads.
* A message that starts a book afresh is kept from every source: it resets what a reader has built.

With one source nothing is judged. Times are monotonic, in seconds.
"""

import enum
import math
from collections import deque
from collections.abc import Callable, Container, Iterable
from typing import NamedTuple

from trio_collector.events import Batch, ConnectionSequence, DataType, Event, Stream, Topic
from trio_collector.feed.continuity.pending_gaps import PendingGap, PendingGaps
from trio_collector.feed.continuity.sequence import Duplicate, Gap, SequenceChecker

# How long another source may take to bring what one has skipped: paths to an exchange differ by
# fractions of a second; a source that stalls for longer is found by its silence.
GRACE_S = 2.0

# What is held back reaches this far behind the leader's latest data ...
MARGIN_S = 2.0
# ... and the leader is taken for dead when it has not brought for this long what another has.
LATE_S = 3.0

# Ids to know a repetition by, for each topic: twice as many at most, and 0.3 MB. The fastest streams
# have some 1000 messages a second; a source that is further behind yields copies, never a loss.
IDS = 1024


class Verdict(enum.Enum):
    """What becomes of a message."""

    KEEP = enum.auto()
    DROP = enum.auto()  # it came over another source before
    HOLD = enum.auto()  # another source leads


class Held(NamedTuple):
    """Rows that are held back, since when, and what was found in them."""

    at: float
    batch: Batch
    findings: list[Gap | Duplicate]


class LineArbiter:
    """The sources of one connection's topics.

    `global_ids` names the data types whose ids are alike on every connection; `contiguous_ids` those
    whose ids leave no number out.
    """

    def __init__(
        self,
        global_ids: Container[DataType],
        contiguous_ids: Container[DataType],
        now: Callable[[], float],
    ) -> None:
        self.now = now
        self.global_ids = global_ids
        self.contiguous_ids = contiguous_ids
        self.continuity = SequenceChecker(
            contiguous_ids
        )  # of the streams whose ids outlive a connection
        self._sources: list[ArbiterSource] = []
        self._leaders: dict[Topic, ArbiterSource] = {}
        self._led_at: dict[Topic, float] = {}  # when the leader was heard
        self._seen: dict[Topic, _SeenIds] = {}
        self._pending = PendingGaps(contiguous_ids)

    @property
    def is_shared(self) -> bool:
        """Whether there is more than one source, so that messages are judged."""
        return len(self._sources) > 1

    def open_source(self, on_release: Callable[[], None]) -> "ArbiterSource":
        """Return the input of a new session; nothing of it counts before it has entered.

        `on_release` is called when the end of another session has released something, or has left
        gaps that nobody fills any more.
        """
        return ArbiterSource(self, on_release)

    def enter(self, source: "ArbiterSource") -> None:
        """Let `source` take part; the one that was alone until now leads."""
        self._sources.append(source)
        if len(self._sources) == 2:
            self._seen.clear()
            first = self._sources[0]
            self._leaders = dict.fromkeys(first.topics, first)
            self._led_at = dict.fromkeys(first.topics, self.now())

    def leave(self, source: "ArbiterSource") -> bool:
        """Let `source` go; return whether it was the last one."""
        if source not in self._sources:
            return not self._sources
        self._sources.remove(source)
        led = [topic for topic, leader in self._leaders.items() if leader is source]
        for topic in led:
            del self._leaders[topic]
        if not self._sources:
            return True
        heir = self._sources[0]
        if not self.is_shared:
            heir.release_all()
        else:
            for topic in led:
                self.lead(topic, heir)
        heir.on_release()
        return False

    def lead(self, topic: Topic, source: "ArbiterSource") -> None:
        """Let `source` lead `topic` from now on."""
        self._leaders[topic] = source
        self._led_at[topic] = self.now()
        source.release(topic)

    def leads(self, topic: Topic, source: "ArbiterSource") -> bool:
        """Return whether `source` leads `topic`; it does where nobody else does."""
        return self._leaders.setdefault(topic, source) is source

    def heard(self, topic: Topic) -> None:
        """Note data of the source that leads `topic`."""
        self._led_at[topic] = self.now()

    def led_at(self, topic: Topic) -> float:
        """Return when the leader of `topic` was heard last."""
        return self._led_at.get(topic, 0.0)

    def judge_by_id(
        self, source: "ArbiterSource", topic: Topic, event: Event, at_us: int
    ) -> Verdict:
        """Return what becomes of a message whose id is alike on every connection."""
        seen = self._seen.get(topic)
        if seen is None:
            seen = self._seen[topic] = _SeenIds()
        if event.sequence_id and not seen.is_first(event.sequence_id, source):
            # Exchanges that put several messages into one need not do so alike everywhere.
            return Verdict.KEEP if self._pending.fill(topic, event) else Verdict.DROP
        finding = self.continuity.check(event)
        if isinstance(finding, Gap):
            self._pending.add(PendingGap(topic, finding, at_us, self.now()))
        else:
            # A duplicate is kept even if it fills nothing: a row too many harms less than one too
            # few. A message that spans a gap and reaches beyond it fills it, too.
            self._pending.fill(topic, event)
        return Verdict.KEEP

    def take_gaps(self) -> list[PendingGap]:
        """Return the gaps that nobody is going to fill any more."""
        return self._pending.expire(self.now() - GRACE_S if self.is_shared else math.inf)


class ArbiterSource:
    """One session's part; `topics` are those that it asks for."""

    def __init__(self, arbiter: LineArbiter, on_release: Callable[[], None]) -> None:
        self.topics: list[Topic] = []
        self._arbiter = arbiter
        self.on_release = on_release
        self._own = SequenceChecker(arbiter.contiguous_ids)
        self._held: dict[Topic, deque[Held]] = {}
        self._released: list[Held] = []

    @property
    def is_shared(self) -> bool:
        """Whether there is another source, so that messages are judged."""
        return self._arbiter.is_shared

    def enter(self, topics: Iterable[Topic]) -> None:
        """Take part, with `topics`."""
        self.topics = list(topics)
        self._arbiter.enter(self)

    def leave(self) -> bool:
        """Take part no more; return whether nobody does.

        What this one still holds back is forgotten: the leader has brought it.
        """
        self._held.clear()
        return self._arbiter.leave(self)

    def owned(self, topics: Iterable[Topic]) -> list[Topic]:
        """Return those of `topics` that are missing what this source misses."""
        if not self.is_shared:
            return list(topics)
        return [
            topic
            for topic in topics
            if topic.data_type not in self._arbiter.global_ids and self._arbiter.leads(topic, self)
        ]

    def continuity_of(self, data_type: DataType) -> SequenceChecker:
        """Return what checks the ids of `data_type` while this source is the only one."""
        return self._arbiter.continuity if data_type in self._arbiter.global_ids else self._own

    def reached(self, topic: Topic) -> int | None:
        """Return the id that `topic` has reached; None if there is none."""
        return self.continuity_of(topic.data_type).reached(topic)

    def check_connection(self, sequence: ConnectionSequence) -> Gap | Duplicate | None:
        """Return what a frame's number on this connection proves."""
        return self._own.check_connection(sequence)

    def judge(self, event: Event, at_us: int) -> tuple[Verdict, Gap | Duplicate | None]:
        """Return what becomes of `event`, read at `at_us`, and what its ids prove of this source."""
        topic = Topic(event.symbol, event.data_type)
        if event.data_type in self._arbiter.global_ids:
            if event.is_reset:
                return Verdict.KEEP, None
            return self._arbiter.judge_by_id(self, topic, event, at_us), None
        finding = self._own.check(event)
        if self._arbiter.leads(topic, self):
            self._arbiter.heard(topic)
            return Verdict.KEEP, finding
        return Verdict.KEEP if event.is_reset else Verdict.HOLD, finding

    def start_holding(self, stream: Stream, received_us: int) -> Held:
        """Return what rows of `stream` that came with one read are put into, for `hold`."""
        return Held(self._arbiter.now(), Batch(stream, received_us), [])

    def hold(self, rows: Held) -> None:
        """Hold `rows` back; lead their topic if the leader is late."""
        topic = rows.batch.stream.topic
        now, led_at = rows.at, self._arbiter.led_at(topic)
        held = self._held.setdefault(topic, deque())
        held.append(rows)
        while held[0].at < led_at - MARGIN_S:
            held.popleft()
        # What came within the margin, the leader may have brought a moment before.
        missed = next((each.at for each in held if each.at > led_at + MARGIN_S), now)
        if missed <= now - LATE_S:
            self._arbiter.lead(topic, self)

    def release(self, topic: Topic) -> None:
        """Let what is held back of `topic` be kept."""
        self._released += self._held.pop(topic, ())

    def release_all(self) -> None:
        """Let everything that is held back be kept."""
        for topic in list(self._held):
            self.release(topic)

    def take_released(self) -> list[Held]:
        """Return what is to be kept after all, in its order."""
        released, self._released = self._released, []
        return released

    def take_gaps(self) -> list[PendingGap]:
        """Return the gaps that no source is going to fill any more."""
        return self._arbiter.take_gaps()


class _SeenIds:
    """The latest ids of a topic, and over which source each came first."""

    def __init__(self) -> None:
        self._new: dict[str, ArbiterSource] = {}
        self._old: dict[str, ArbiterSource] = {}

    def is_first(self, sequence_id: str, source: ArbiterSource) -> bool:
        """Note an id; return whether no other source has brought it.

        The same source may bring it again: some exchanges repeat an id on purpose.
        """
        first = self._new.get(sequence_id) or self._old.get(sequence_id)
        if first is not None:
            return first is source
        if len(self._new) >= IDS:
            self._old, self._new = self._new, {}
        self._new[sequence_id] = source
        return True
