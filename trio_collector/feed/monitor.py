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
        self.handover_reason: SessionEnded | None = None  # why a successor is wanted
        self.carried_s = 0.0  # from the first data to the latest
        self.subscriptions = Subscriptions(sends_acks=connection.adapter.sends_acks)
        self.resync = BookResync(connection, snapshots)
        self._connection = connection
        self._topics = topics
        self._source = source
        self._staleness = Staleness(topics, timeouts, now)
        self._breaker = Breaker()
        self._is_ending = False
        self._granted_at: dict[Topic, float] = {}  # since when
        self._latest_data: dict[Topic, float] = {}  # the latest data of those that are live
        self._first_data_at = math.inf  # when it came
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

    def record_request(self, request: SubscribeRequest, now: float) -> None:
        """Note that `request` is about to be sent; its answer may be quick."""
        self.subscriptions.record_request(request, now)
        for topic in request.topics:
            self._staleness.record_request(topic, now)

    def record_sent(self, request: SubscribeRequest, now: float) -> list[Action]:
        """Note that `request` was sent."""
        return self._grant(self.subscriptions.record_sent(request), None, now)

    def request_snapshot(self, topic: Topic, now: float) -> list[Action]:
        """The whole book of `topic` is needed once more; a successor where it cannot be fetched."""
        if not self.resync.is_fetched(topic):
            return self._request_handover(
                EndReason.HANDOVER, "a file begins without the whole book"
            )
        self.resync.require(topic, now)
        return self._resync(now)

    def _grant(self, topics: list[Topic], at_us: int | None, now: float) -> list[Action]:
        self._granted_at.update(dict.fromkeys(topics, now))
        return [actions.Subscribed(topics, at_us)] if topics else []

    def _resubscribe(self, topics: list[Topic]) -> list[Action]:
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
        found: list[Action] = [actions.Fetch(topic) for topic in self.resync.start_fetches(now)]
        if due := self.resync.start_requests(now):
            found += self._resubscribe(due)
        return found

    # What came.

    def observe(self, decoded: Decoded, at_us: int, now: float) -> list[Action]:
        """Take what came with one read, at `at_us`; return what follows."""
        found = [
            each
            for control in decoded.controls
            for each in self._observe_control(control, at_us, now)
        ]
        for batch in decoded.batches:
            if batch.stream.data_type is not DataType.UNPARSED:
                found += self._observe_data(batch, now)
        for topic in decoded.resets:  # before the gaps, of which one may lie behind
            self.resync.record_snapshot(topic, at_us)
        for finding in decoded.findings:
            found += self._observe_finding(finding, at_us, now)
        found += self._resync(now)
        return found + self._count_frames(decoded, at_us, now)

    def _observe_data(self, batch: Batch, now: float) -> list[Action]:
        topic = batch.stream.topic
        self._staleness.record_data(topic, now)
        is_first = topic not in self._latest_data
        self._latest_data[topic] = now
        self._first_data_at = min(self._first_data_at, now)
        self.carried_s = now - self._first_data_at
        if (
            self.handover_reason is not None
            and self.handover_reason.reason == EndReason.DATA_TIMEOUT
        ):
            self.handover_reason = None  # it was a pause
        if not is_first:
            return []
        found = self._grant(self.subscriptions.record_data(topic), batch.received_us, now)
        self.resync.record_first_data(topic, now)
        return [*found, actions.Live(topic, batch.received_us)]

    def _observe_finding(self, finding: SequenceFinding, at_us: int, now: float) -> list[Action]:
        """Return that ids are missing or came twice; a book with a gap needs a new snapshot."""
        topics = [finding.topic] if finding.topic else self._source.owned(self.wanted)
        if isinstance(finding.finding, Gap):
            for topic in topics:
                self.resync.record_gap(topic, now)
        found_us = at_us if finding.at_us is None else finding.at_us
        return [actions.Found(finding, topics, found_us)]

    def _observe_control(self, control: Control, at_us: int, now: float) -> list[Action]:
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
                return self._request_handover(
                    EndReason.HANDOVER, f"announced by the exchange: {reason}"
                )
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

    def _count_frames(self, decoded: Decoded, at_us: int, now: float) -> list[Action]:
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
        return min(self.next_stale_deadline(), self.next_ack_deadline(now))

    def next_stale_deadline(self) -> float:
        """Return when `check_staleness` has something to say; inf if never."""
        return self._staleness.next_deadline()

    def next_ack_deadline(self, now: float) -> float:
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
        stale = self._staleness.expire(now)
        found: list[Action] = [actions.Stale(each) for each in stale]
        if not stale:
            return found
        if not self._staleness.are_all_stale():
            return found + self._resubscribe([each.topic for each in stale])
        limit_s = max(each.limit_s for each in stale)
        handover = self._request_handover(EndReason.DATA_TIMEOUT, f"no data for {limit_s:.3g} s")
        return [*found, actions.TimedOut(), *handover]

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
            if topic not in self._latest_data and not self._is_settled(topic, other, now)
        ]

    def _is_settled(self, topic: Topic, other: "SessionMonitor", now: float) -> bool:
        """Return whether `topic` was granted and is as quiet here as it is there."""
        since = self._granted_at.get(topic, math.inf)
        return since + SETTLE_S <= now and other.latest_data_at(topic) < since

    def latest_data_at(self, topic: Topic) -> float:
        """Return when data of `topic` came latest; -inf if none has."""
        return self._latest_data.get(topic, -math.inf)

    def _request_handover(self, reason: EndReason, detail: str) -> list[Action]:
        if self.handover_reason is None:
            self.handover_reason = SessionEnded(reason, detail)
        return [actions.HandOver()]

    def _end(self, reason: EndReason, detail: str) -> list[Action]:
        if self._is_ending:
            return []
        self._is_ending = True
        return [actions.End(SessionEnded(reason, detail))]
