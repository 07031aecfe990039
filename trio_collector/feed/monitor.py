"""The state of one session's topics: asked for, granted, live, stale, refused; and what follows.

Nothing waits here and nothing is told: `observe` takes what came with one read, the `check_`
functions what did not come in time, and each returns the actions that follow. `now` is monotonic,
in seconds, and stands still while nothing can be read (`listening_clock`); `at_us` is the wall clock.

A book with a gap and a topic that is silent among others are asked for again, alone. A session all
of whose topics are silent, or whose end the exchange has announced, asks for a successor and goes on.
"""

import math
from collections.abc import Mapping

from trio_collector.errors import SessionEnded
from trio_collector.events import (
    Ack,
    Batch,
    Control,
    DataType,
    Echo,
    GoingAway,
    Pong,
    Rejection,
    Topic,
)
from trio_collector.exchanges.adapter import SubscribeRequest
from trio_collector.feed import actions
from trio_collector.feed.actions import Action
from trio_collector.feed.books.resync import BookResync
from trio_collector.feed.books.snapshots import BookSnapshots
from trio_collector.feed.continuity.arbitration import ArbiterSource
from trio_collector.feed.continuity.sequence import Gap, SequenceFinding
from trio_collector.feed.decoder import Decoded
from trio_collector.feed.health.adaptive_timeout import AdaptiveTimeout
from trio_collector.feed.health.breaker import Breaker
from trio_collector.feed.health.staleness import Staleness
from trio_collector.feed.planning.connections import ConnectionPlan
from trio_collector.feed.subscriptions import Subscriptions
from trio_collector.feed.wire.end_reason import EndReason

ACK_S = 10.0  # the slowest exchange acks within a second

# A topic that was granted and has been quiet for so long, where the other session has no data
# either, counts as live.
SETTLE_S = 10.0


class SessionMonitor:
    """The state of `topics` in one session."""

    def __init__(
        self,
        connection: ConnectionPlan,
        topics: list[Topic],
        source: ArbiterSource,
        snapshots: BookSnapshots,
        timeouts: Mapping[Topic, AdaptiveTimeout],
        now: float,
    ) -> None:
        self.leaving: SessionEnded | None = None  # why a successor is wanted
        self.carried_s = 0.0  # from the first data to the latest
        self.subscriptions = Subscriptions(sends_acks=connection.adapter.sends_acks)
        self.resync = BookResync(connection, snapshots)
        self._connection = connection
        self._topics = topics
        self._source = source
        self._staleness = Staleness(topics, timeouts, now)
        self._breaker = Breaker()
        self._is_ending = False
        self._granted: dict[Topic, float] = {}  # since when
        self._heard: dict[Topic, float] = {}  # the latest data of those that are live
        self._first_data = math.inf  # when it came
        self._request_id = 1

    @property
    def refused(self) -> set[Topic]:
        """The topics that the exchange refused."""
        return self.subscriptions.refused

    @property
    def wanted(self) -> list[Topic]:
        """The topics of the session, but for refused ones."""
        return [topic for topic in self._topics if topic not in self.refused]

    # What is sent.

    def start(self, now: float) -> list[SubscribeRequest]:
        """The connection is open: count silence from here on; return what to send."""
        self._staleness.restart(now)
        return self._requests_for(self._topics)

    def ask(self, request: SubscribeRequest, now: float) -> None:
        """Note that `request` is about to be sent; its answer may be quick."""
        self.subscriptions.ask(request, now)
        for topic in request.topics:
            self._staleness.asked(topic, now)

    def sent(self, request: SubscribeRequest, now: float) -> list[Action]:
        """Note that `request` was sent."""
        return self._grant(self.subscriptions.sent(request), None, now)

    def need_snapshot(self, topic: Topic, now: float) -> list[Action]:
        """The whole book of `topic` is needed once more; a successor where it cannot be fetched."""
        if not self.resync.is_fetched(topic):
            return self._leave(EndReason.HANDOVER, "a file begins without the whole book")
        self.resync.need(topic, now)
        return self._resync(now)

    def _grant(self, topics: list[Topic], at_us: int | None, now: float) -> list[Action]:
        self._granted.update(dict.fromkeys(topics, now))
        return [actions.Subscribed(topics, at_us)] if topics else []

    def _ask_again(self, topics: list[Topic]) -> list[Action]:
        """Return what ends the subscriptions of `topics` and begins them afresh; may be nothing."""
        adapter = self._connection.adapter
        wanted = [self._connection.topics[topic] for topic in topics]
        requests = adapter.build_unsubscribe_messages(wanted, self._request_id)
        if not requests:
            return []
        self._request_id += len(requests)
        self.subscriptions.reopen(topics)
        return [actions.Send(each) for each in (*requests, *self._requests_for(topics))]

    def _requests_for(self, topics: list[Topic]) -> list[SubscribeRequest]:
        wanted = [self._connection.topics[topic] for topic in topics]
        requests = self._connection.adapter.build_subscribe_messages(wanted, self._request_id)
        self._request_id += len(requests)
        return requests

    def _resync(self, now: float) -> list[Action]:
        """Return what brings the books that are needed."""
        found: list[Action] = [actions.Fetch(topic) for topic in self.resync.take_fetches(now)]
        if due := self.resync.take_requests(now):
            found += self._ask_again(due)
        return found

    # What came.

    def observe(self, decoded: Decoded, at_us: int, now: float) -> list[Action]:
        """Take what came with one read, at `at_us`; return what follows."""
        found = [
            each for control in decoded.controls for each in self._control(control, at_us, now)
        ]
        for batch in decoded.batches:
            if batch.stream.data_type is not DataType.UNPARSED:
                found += self._hear(batch, now)
        for topic in decoded.resets:  # before the gaps, of which one may lie behind
            self.resync.note(topic, at_us)
        for finding in decoded.findings:
            found += self._find(finding, at_us, now)
        found += self._resync(now)
        return found + self._count(decoded, at_us, now)

    def _hear(self, batch: Batch, now: float) -> list[Action]:
        topic = batch.stream.topic
        self._staleness.heard(topic, now)
        is_first = topic not in self._heard
        self._heard[topic] = now
        self._first_data = min(self._first_data, now)
        self.carried_s = now - self._first_data
        if self.leaving is not None and self.leaving.reason == EndReason.DATA_TIMEOUT:
            self.leaving = None  # it was a pause
        if not is_first:
            return []
        found = self._grant(self.subscriptions.heard(topic), batch.received_us, now)
        self.resync.begin(topic, now)
        return [*found, actions.Live(topic, batch.received_us)]

    def _find(self, finding: SequenceFinding, at_us: int, now: float) -> list[Action]:
        """Return that ids are missing or came twice; a book with a gap needs a new snapshot."""
        topics = [finding.topic] if finding.topic else self._source.own(self.wanted)
        if isinstance(finding.finding, Gap):
            for topic in topics:
                self.resync.lose(topic, now)
        found_us = at_us if finding.at_us is None else finding.at_us
        return [actions.Found(finding, topics, found_us)]

    def _control(self, control: Control, at_us: int, now: float) -> list[Action]:
        match control:
            case Ack():
                return self._grant(self.subscriptions.grant(control), at_us, now)
            case Rejection():
                return self._refuse(control, at_us)
            case Echo(text):
                return [actions.Send(SubscribeRequest(None, text, ()))]
            case Pong():
                return [actions.PongReceived()]
            case GoingAway(reason):
                return self._leave(EndReason.HANDOVER, f"announced by the exchange: {reason}")
        return []

    def _refuse(self, rejection: Rejection, at_us: int) -> list[Action]:
        refusal = self.subscriptions.refuse(rejection)
        found: list[Action] = []
        if refusal.refused or not refusal.again:
            found.append(actions.Rejected(refusal.refused, rejection.reason, at_us))
        for topic in refusal.refused:
            self._staleness.forget(topic)
        if not self.wanted:
            found += self._end(EndReason.SUBSCRIBE_FAILED, rejection.reason)
        again = [each for group in refusal.again for each in self._requests_for(group)]
        return found + [actions.Send(each) for each in again]

    def _count(self, decoded: Decoded, at_us: int, now: float) -> list[Action]:
        """Count what could be read and what not; return what follows where too much could not."""
        unreadable = len(decoded.unreadable)
        found: list[Action] = [actions.Unreadable(unreadable)] if unreadable else []
        is_broken = self._breaker.record(decoded.frames - unreadable, unreadable, now)
        if is_broken and not self._is_ending:
            found.append(actions.Broken(self.wanted, at_us))
            found += self._end(EndReason.BREAKER, "most frames could not be read")
        return found

    # What did not come.

    def next_deadline(self, now: float) -> float:
        """Return when a `check_` function may have something to say, if nothing comes until then."""
        return min(self.next_stale(), self.next_overdue(now))

    def next_stale(self) -> float:
        """Return when `check_staleness` has something to say; inf if never."""
        return self._staleness.next_deadline()

    def next_overdue(self, now: float) -> float:
        """Return when `check_acks` may have something to say."""
        return self.subscriptions.next_deadline(now, ACK_S)

    def check(self, now: float) -> list[Action]:
        """Take what has not come in time; return what follows."""
        return [*self.check_staleness(now), *self.check_acks(now)]

    def check_staleness(self, now: float) -> list[Action]:
        """Return that topics have no data, and what is sent for them.

        If they are all there are, the session wants a successor instead: that costs nothing if
        the exchange has only paused.
        """
        stale = self._staleness.judge(now)
        found: list[Action] = [actions.Stale(each) for each in stale]
        if not stale:
            return found
        if not self._staleness.is_total():
            return found + self._ask_again([each.topic for each in stale])
        limit_s = max(each.limit_s for each in stale)
        leave = self._leave(EndReason.DATA_TIMEOUT, f"no data for {limit_s:.3g} s")
        return [*found, actions.TimedOut(), *leave]

    def check_acks(self, now: float) -> list[Action]:
        """End the session if topics were neither granted nor refused in time."""
        overdue = self.subscriptions.overdue(now, ACK_S)
        if not overdue:
            return []
        names = ", ".join(topic.name for topic in overdue)
        text = f"no answer within {ACK_S:g} s to the subscription of {names}"
        return self._end(EndReason.SUBSCRIBE_FAILED, text)

    def lags(self, other: "SessionMonitor", now: float) -> list[Topic]:
        """Return the topics that `other` carries and this session does not yet."""
        return [
            topic
            for topic in other.wanted
            if topic not in self._heard and not self._is_settled(topic, other, now)
        ]

    def _is_settled(self, topic: Topic, other: "SessionMonitor", now: float) -> bool:
        """Return whether `topic` was granted and is as quiet here as it is there."""
        since = self._granted.get(topic, math.inf)
        return since + SETTLE_S <= now and other.heard_at(topic) < since

    def heard_at(self, topic: Topic) -> float:
        """Return when data of `topic` came latest; -inf if none has."""
        return self._heard.get(topic, -math.inf)

    def _leave(self, reason: EndReason, detail: str) -> list[Action]:
        if self.leaving is None:
            self.leaving = SessionEnded(reason, detail)
        return [actions.HandOver()]

    def _end(self, reason: EndReason, detail: str) -> list[Action]:
        if self._is_ending:
            return []
        self._is_ending = True
        return [actions.End(SessionEnded(reason, detail))]
