"""Which messages are kept while several sessions carry the same topics.

In a handover, and always where a market is received twice, most messages come more than once. The
stream on disk should have each of them once, and lose none if a session is lost. Every session has
a *lane*; what it reads is judged there.

* Where the exchange's ids are alike on every connection, a message whose id came over another lane
  is a repetition and dropped; the rest is kept as it comes, from whichever lane is first. The
  streams are checked for holes together: what one lane skips another may bring a moment later, so
  a hole is told only when nobody has filled it for GRACE_S.
* Where they are not, nothing tells that two messages are the same. One lane *leads* a topic and is
  kept; the others hold back what they read since the leader was last heard, and a little more. When
  the leader leaves, or brings nothing while another does, the next one leads and what it held back
  is kept: some rows come twice then, and none is missing. A gap counts on the lane that leads.
* A message that starts a book afresh is kept from every lane: it resets what a reader has built.

With one lane nothing is judged. Times are monotonic, in seconds.
"""

import enum
import math
from collections import deque
from collections.abc import Callable, Container, Iterable
from typing import NamedTuple

from trio_collector.events import Batch, ConnectionSequence, DataType, Event, Stream, Topic
from trio_collector.feed.continuity.pending_gaps import PendingGap, PendingGaps
from trio_collector.feed.continuity.sequence import Duplicate, Gap, SequenceChecker

# How long another lane may take to bring what one has skipped: ways to an exchange differ by
# fractions of a second; a lane that stalls for longer is found by its silence.
GRACE_S = 2.0

# What is held back reaches this far behind the leader's latest data ...
MARGIN_S = 2.0
# ... and the leader is taken for dead when it has not brought for this long what another has.
LATE_S = 3.0

# Ids to know a repetition by, for each topic: twice as many at most, and 0.3 MB. The fastest streams
# have some 1000 messages a second, and a lane that is further behind only makes rows too many.
IDS = 1024


class Verdict(enum.Enum):
    """What becomes of a message."""

    KEEP = enum.auto()
    DROP = enum.auto()  # it came over another lane before
    HOLD = enum.auto()  # another lane leads


class Held(NamedTuple):
    """Rows that are held back, since when, and what was found in them."""

    at: float
    batch: Batch
    findings: list[Gap | Duplicate]


class LineArbiter:
    """The lanes of one connection's topics.

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
        self._sources: list[ArbiterInput] = []
        self._leaders: dict[Topic, ArbiterInput] = {}
        self._led_at: dict[Topic, float] = {}  # when the leader was heard
        self._seen: dict[Topic, _SeenIds] = {}
        self._pending = PendingGaps(contiguous_ids)

    @property
    def is_shared(self) -> bool:
        """Whether there is more than one lane, so that messages are judged."""
        return len(self._sources) > 1

    def open_input(self, nudge: Callable[[], None]) -> "ArbiterInput":
        """Return the lane of a new session; nothing of it counts before it has entered.

        `nudge` is called when it has something to release though nothing was read.
        """
        return ArbiterInput(self, nudge)

    def enter(self, source: "ArbiterInput") -> None:
        """Let `source` take part; the one that was alone until now leads."""
        self._sources.append(source)
        if len(self._sources) == 2:
            self._seen.clear()
            first = self._sources[0]
            self._leaders = dict.fromkeys(first.topics, first)
            self._led_at = dict.fromkeys(first.topics, self.now())

    def leave(self, source: "ArbiterInput") -> bool:
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
        return False

    def lead(self, topic: Topic, source: "ArbiterInput") -> None:
        """Let `source` lead `topic` from now on."""
        self._leaders[topic] = source
        self._led_at[topic] = self.now()
        source.release(topic)

    def leads(self, topic: Topic, source: "ArbiterInput") -> bool:
        """Return whether `source` leads `topic`; it does where nobody else does."""
        return self._leaders.setdefault(topic, source) is source

    def heard(self, topic: Topic) -> None:
        """Note data of the lane that leads `topic`."""
        self._led_at[topic] = self.now()

    def led_at(self, topic: Topic) -> float:
        """Return when the leader of `topic` was heard last."""
        return self._led_at.get(topic, 0.0)

    def judge_by_id(
        self, source: "ArbiterInput", topic: Topic, event: Event, at_us: int
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
        elif isinstance(finding, Duplicate):
            # Kept even if it fills nothing: a row too many harms less than one too few.
            self._pending.fill(topic, event)
        return Verdict.KEEP

    def take_gaps(self) -> list[PendingGap]:
        """Return the holes that nobody is going to fill any more."""
        return self._pending.take(self.now() - GRACE_S if self.is_shared else math.inf)


class ArbiterInput:
    """One session's part; `topics` are those that it asks for."""

    def __init__(self, arbiter: LineArbiter, nudge: Callable[[], None]) -> None:
        self.topics: list[Topic] = []
        self._arbiter = arbiter
        self._nudge = nudge
        self._own = SequenceChecker(arbiter.contiguous_ids)
        self._held: dict[Topic, deque[Held]] = {}
        self._released: list[Held] = []

    @property
    def is_shared(self) -> bool:
        """Whether there is another lane, so that messages are judged."""
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

    def own(self, topics: Iterable[Topic]) -> list[Topic]:
        """Return those of `topics` that are missing what this lane misses."""
        if not self.is_shared:
            return list(topics)
        return [
            topic
            for topic in topics
            if topic.data_type not in self._arbiter.global_ids and self._arbiter.leads(topic, self)
        ]

    def continuity_of(self, data_type: DataType) -> SequenceChecker:
        """Return what checks the ids of `data_type` while this lane is the only one."""
        return self._arbiter.continuity if data_type in self._arbiter.global_ids else self._own

    def reached(self, topic: Topic) -> int | None:
        """Return the id that `topic` has reached; None if there is none."""
        return self.continuity_of(topic.data_type).reached(topic)

    def check_connection(self, sequence: ConnectionSequence) -> Gap | Duplicate | None:
        """Return what a frame's number on this connection proves."""
        return self._own.check_connection(sequence)

    def judge(self, event: Event, at_us: int) -> tuple[Verdict, Gap | Duplicate | None]:
        """Return what becomes of `event`, read at `at_us`, and what its ids prove of this lane."""
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
        self._nudge()

    def release_all(self) -> None:
        """Let everything that is held back be kept."""
        for topic in list(self._held):
            self.release(topic)
        self._nudge()  # for holes that nobody fills now

    def take_released(self) -> list[Held]:
        """Return what is to be kept after all, in its order."""
        released, self._released = self._released, []
        return released

    def take_gaps(self) -> list[PendingGap]:
        """Return the holes that no lane is going to fill any more."""
        return self._arbiter.take_gaps()


class _SeenIds:
    """The latest ids of a topic, and over which lane each came first."""

    def __init__(self) -> None:
        self._new: dict[str, ArbiterInput] = {}
        self._old: dict[str, ArbiterInput] = {}

    def is_first(self, sequence_id: str, source: ArbiterInput) -> bool:
        """Note an id; return whether no other lane has brought it.

        The same lane may bring it again: some exchanges repeat an id on purpose.
        """
        first = self._new.get(sequence_id) or self._old.get(sequence_id)
        if first is not None:
            return first is source
        if len(self._new) >= IDS:
            self._old, self._new = self._new, {}
        self._new[sequence_id] = source
        return True
