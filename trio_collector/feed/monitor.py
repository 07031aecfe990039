"""How a session stands with its topics: what was asked for and granted, is live, silent, unreadable.

Nothing waits here. `notice` judges what came with one read: it tells the log, returns what is to be
sent, and leaves in `ending` why the session should end. The `judge_` functions do the same for what
did not come in time. All times but `at_us` are monotonic, in seconds.

A book with a hole (`resync`) and a topic that is silent among others are asked for again, alone.
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
from trio_collector.feed.books.resync import BookResync
from trio_collector.feed.books.snapshots import BookSnapshots
from trio_collector.feed.continuity.arbitration import ArbiterInput
from trio_collector.feed.continuity.sequence import Gap
from trio_collector.feed.decoder import Decoded, SequenceFinding
from trio_collector.feed.end_reason import EndReason
from trio_collector.feed.health.adaptive_timeout import AdaptiveTimeout
from trio_collector.feed.health.breaker import Breaker
from trio_collector.feed.health.drift import Drift
from trio_collector.feed.health.staleness import Staleness
from trio_collector.feed.plan import ConnectionPlan
from trio_collector.feed.session_log import SessionLog, names_of
from trio_collector.feed.subscriptions import Subscriptions

ACK_S = 10.0  # the slowest venue acks within a second

# A topic that was granted and is quiet for so long where the other session has no data either may
# be taken for as good as live.
SETTLE_S = 10.0


class SessionMonitor:
    """The standing of `topics` in one session; `ending` is None while it may go on."""

    def __init__(
        self,
        connection: ConnectionPlan,
        topics: list[Topic],
        ledger: SessionLog,
        source: ArbiterInput,
        snapshots: BookSnapshots,
        timeouts: Mapping[Topic, AdaptiveTimeout],
        drift: Drift,
        now: float,
    ) -> None:
        self.ending: SessionEnded | None = None
        self.leaving: SessionEnded | None = None  # why the session should be relieved
        self.carried_s = 0.0  # from the first data to the latest
        self._connection = connection
        self._topics = topics
        self._ledger = ledger
        self._source = source
        self.resync = BookResync(connection, snapshots)
        self._subscriptions = Subscriptions(sends_acks=connection.adapter.sends_acks)
        self._drift = drift
        self._staleness = Staleness(topics, timeouts, now)
        self._breaker = Breaker()
        self._granted: dict[Topic, float] = {}  # since when
        self._heard: dict[Topic, float] = {}  # the latest data of those that are live
        self._first_data = math.inf  # when it came
        self._request_id = 1

    @property
    def refused(self) -> set[Topic]:
        """The topics that the exchange refused."""
        return self._subscriptions.refused

    @property
    def wanted(self) -> list[Topic]:
        """The topics of the session, but for refused ones."""
        return [topic for topic in self._topics if topic not in self.refused]

    # What is sent.

    def start(self, now: float) -> list[SubscribeRequest]:
        """The connection is open: count silence from here on; return what to send."""
        self._staleness.restart(now)
        return self._requests_for(self._topics)

    def is_needed(self, request: SubscribeRequest) -> bool:
        """Whether `request`, planned a while ago, is still to be sent."""
        return self._subscriptions.is_needed(request)

    def must_wait(self, request: SubscribeRequest) -> bool:
        """Whether `request` has to wait for the answer to an earlier one."""
        return self._subscriptions.must_wait(request)

    def ask(self, request: SubscribeRequest, now: float) -> None:
        """Note that `request` is about to be sent; its answer may be quick."""
        self._subscriptions.ask(request, now)
        for topic in request.topics:
            self._staleness.asked(topic, now)

    def sent(self, request: SubscribeRequest, now: float) -> None:
        """Note that `request` was sent."""
        self._note_granted(self._subscriptions.sent(request), None, now)

    def _note_granted(self, topics: list[Topic], at_us: int | None, now: float) -> None:
        self._granted.update(dict.fromkeys(topics, now))
        self._ledger.subscribed(topics, at_us)

    def _ask_again(self, topics: list[Topic]) -> list[SubscribeRequest]:
        """Return what ends the subscriptions of `topics` and begins them afresh; may be nothing."""
        adapter = self._connection.adapter
        wanted = [self._connection.topics[topic] for topic in topics]
        requests = adapter.build_unsubscribe_messages(wanted, self._request_id)
        if not requests:
            return []
        self._request_id += len(requests)
        self._subscriptions.reopen(topics)
        return [*requests, *self._requests_for(topics)]

    def _requests_for(self, topics: list[Topic]) -> list[SubscribeRequest]:
        wanted = [self._connection.topics[topic] for topic in topics]
        requests = self._connection.adapter.build_subscribe_messages(wanted, self._request_id)
        self._request_id += len(requests)
        return requests

    # What came.

    def notice(self, rows: Decoded, at_us: int, now: float) -> list[SubscribeRequest]:
        """Judge what came with one read; return what to send."""
        requests = [each for control in rows.controls for each in self._act(control, at_us, now)]
        for batch in rows.batches:
            if batch.stream.data_type is not DataType.UNPARSED:
                self._hear(batch, now)
        for topic in rows.resets:  # before the holes, of which one may lie behind
            self.resync.note(topic, at_us)
        for finding in rows.findings:
            self._find(finding, at_us, now)
        if due := self.resync.take_requests(now):
            requests += self._ask_again(due)
        self._ledger.news(self._drift.note(rows, now))
        unreadable = len(rows.unreadable)
        if unreadable:
            self._ledger.unreadable(unreadable)
        is_broken = self._breaker.record(rows.frames - unreadable, unreadable, now)
        if is_broken and self.ending is None:
            self._ledger.broken(self.wanted, at_us)
            self._end(EndReason.BREAKER, "most frames could not be read")
        return requests

    def _hear(self, batch: Batch, now: float) -> None:
        topic = batch.stream.topic
        self._staleness.heard(topic, now)
        is_first = topic not in self._heard
        self._heard[topic] = now
        self._first_data = min(self._first_data, now)
        self.carried_s = now - self._first_data
        if self.leaving is not None and self.leaving.reason == EndReason.DATA_TIMEOUT:
            self.leaving = None  # it was a pause
        if is_first:
            self._note_granted(self._subscriptions.heard(topic), batch.received_us, now)
            self._ledger.live(topic, batch.received_us)
            if batch.frames:
                self._ledger.news(self._drift.look(batch.frames[0]))
            self.resync.begin(topic, now)

    def _find(self, finding: SequenceFinding, at_us: int, now: float) -> None:
        """Tell what the ids say; a book with a hole needs a new base."""
        topics = [finding.topic] if finding.topic else self._source.own(self.wanted)
        self._ledger.found(finding, topics, at_us if finding.at_us is None else finding.at_us)
        if isinstance(finding.finding, Gap):
            for topic in topics:
                self.resync.lose(topic, now)

    def _act(self, control: Control, at_us: int, now: float) -> list[SubscribeRequest]:
        match control:
            case Ack():
                self._note_granted(self._subscriptions.grant(control), at_us, now)
            case Rejection():
                return self._refuse(control, at_us)
            case Echo(text):
                return [SubscribeRequest(None, text, ())]
            case Pong():
                self._ledger.pong_received()
            case GoingAway(reason):
                self._leave(EndReason.HANDOVER, f"announced by the exchange: {reason}")
        return []

    def _refuse(self, rejection: Rejection, at_us: int) -> list[SubscribeRequest]:
        refusal = self._subscriptions.refuse(rejection)
        if refusal.refused or not refusal.again:
            self._ledger.rejected(refusal.refused, rejection.reason, at_us)
        for topic in refusal.refused:
            self._staleness.forget(topic)
        if not self.wanted:
            self._end(EndReason.SUBSCRIBE_FAILED, rejection.reason)
        return [each for group in refusal.again for each in self._requests_for(group)]

    # What did not come.

    def pause(self, pause_s: float) -> None:
        """Hold nothing against the exchange for the latest `pause_s`: nothing was read in them."""
        self._staleness.pause(pause_s)
        self._subscriptions.pause(pause_s)

    def next_stale(self) -> float:
        """Return when `judge_silence` has something to judge; inf if never."""
        return self._staleness.next_deadline()

    def judge_silence(self, now: float) -> list[SubscribeRequest]:
        """Report topics without data; return what to send for them.

        If they are all there are, the session should be relieved instead: that costs nothing if
        the exchange has only paused.
        """
        stale = self._staleness.judge(now)
        for each in stale:
            self._ledger.stale(each)
        if self._staleness.is_total():
            if stale:
                limit_s = max(each.limit_s for each in stale)
                self._ledger.timed_out()
                self._leave(EndReason.DATA_TIMEOUT, f"no data for {limit_s:.3g} s")
            return []
        return self._ask_again([each.topic for each in stale]) if stale else []

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
        """Return when data of `topic` came latest."""
        return self._heard.get(topic, -math.inf)

    def next_overdue(self, now: float) -> float:
        """Return when `judge_acks` may have something to judge."""
        return self._subscriptions.next_deadline(now, ACK_S)

    def judge_acks(self, now: float) -> None:
        """End the session if topics were neither granted nor refused in time."""
        overdue = self._subscriptions.overdue(now, ACK_S)
        if overdue:
            names = ", ".join(names_of(overdue))
            text = f"no answer within {ACK_S:g} s to the subscription of {names}"
            self._end(EndReason.SUBSCRIBE_FAILED, text)

    def _leave(self, reason: EndReason, detail: str) -> None:
        if self.leaving is None:
            self.leaving = SessionEnded(reason, detail)

    def _end(self, reason: EndReason, detail: str) -> None:
        if self.ending is None:
            self.ending = SessionEnded(reason, detail)
