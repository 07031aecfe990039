"""How a session stands with its topics: what was asked for and granted, is live, silent, unreadable.

Nothing waits here. `notice` judges what came with one read: it tells the log, returns what is to be
sent, and leaves in `ending` why the session should end. The `judge_` functions do the same for what
did not come in time. All times but `at_us` are monotonic, in seconds.
"""

import math

from trio_collector.errors import SessionEnded
from trio_collector.events import (
    Ack,
    Batch,
    Control,
    DataType,
    Foreign,
    Notice,
    Pong,
    Rejection,
    Reply,
    Topic,
)
from trio_collector.exchanges.adapter import SubscribeRequest
from trio_collector.feed.breaker import Breaker
from trio_collector.feed.ending import Ending
from trio_collector.feed.plan import Connection
from trio_collector.feed.reading import Rows
from trio_collector.feed.sessionlog import SessionLog, names_of
from trio_collector.feed.silence import Silence
from trio_collector.feed.subscribing import Subscribing

ACK_S = 10.0  # the slowest venue acks within a second


class Standing:
    """The standing of `topics` in one session; `ending` is None while it may go on."""

    def __init__(
        self, connection: Connection, topics: list[Topic], ledger: SessionLog, now: float
    ) -> None:
        self.ending: SessionEnded | None = None
        self.carried_s = 0.0  # from the first data to the latest
        self._connection = connection
        self._topics = topics
        self._ledger = ledger
        self._subscribing = Subscribing(sends_acks=connection.adapter.sends_acks)
        self._silence = Silence(topics, connection.data_timeout_s, now)
        self._breaker = Breaker()
        self._live: set[Topic] = set()
        self._first_data = math.inf  # when it came
        self._request_id = 1

    @property
    def refused(self) -> set[Topic]:
        """The topics that the exchange refused."""
        return self._subscribing.refused

    @property
    def wanted(self) -> list[Topic]:
        """The topics of the session, but for refused ones."""
        return [topic for topic in self._topics if topic not in self.refused]

    # What is sent.

    def start(self, now: float) -> list[SubscribeRequest]:
        """The connection is open: count silence from here on; return what to send."""
        self._silence.restart(now)
        return self._requests_for(self._topics)

    def is_needed(self, request: SubscribeRequest) -> bool:
        """Whether `request`, planned a while ago, is still to be sent."""
        return self._subscribing.is_needed(request)

    def must_wait(self, request: SubscribeRequest) -> bool:
        """Whether `request` has to wait for the answer to an earlier one."""
        return self._subscribing.must_wait(request)

    def ask(self, request: SubscribeRequest, now: float) -> None:
        """Note that `request` is about to be sent; its answer may be quick."""
        self._subscribing.ask(request, now)

    def sent(self, request: SubscribeRequest) -> None:
        """Note that `request` was sent."""
        self._ledger.subscribed(self._subscribing.sent(request))

    def _requests_for(self, topics: list[Topic]) -> list[SubscribeRequest]:
        wanted = [self._connection.topics[topic] for topic in topics]
        requests = self._connection.adapter.build_subscribe_messages(wanted, self._request_id)
        self._request_id += len(requests)
        return requests

    # What came.

    def notice(self, rows: Rows, at_us: int, now: float) -> list[SubscribeRequest]:
        """Judge what came with one read; return what to send."""
        requests = [each for control in rows.controls for each in self._act(control, at_us)]
        for batch in rows.batches:
            if batch.stream.data_type is not DataType.UNPARSED:
                self._hear(batch, now)
        for finding in rows.findings:
            topics = [finding.topic] if finding.topic else self.wanted
            self._ledger.found(finding, topics, at_us)
        if rows.unreadable:
            self._ledger.unreadable(rows.unreadable)
        unreadable = len(rows.unreadable)
        is_broken = self._breaker.record(rows.frames - unreadable, unreadable, now)
        if is_broken and self.ending is None:
            self._ledger.broken(self.wanted, at_us)
            self._end(Ending.BREAKER, "most frames could not be read")
        return requests

    def _hear(self, batch: Batch, now: float) -> None:
        topic = Topic(batch.stream.symbol, batch.stream.data_type)
        self._silence.heard(topic, now)
        self._first_data = min(self._first_data, now)
        self.carried_s = now - self._first_data
        if topic not in self._live:
            self._live.add(topic)
            self._ledger.subscribed(self._subscribing.heard(topic), batch.received_us)
            self._ledger.live(topic, batch.received_us)

    def _act(self, control: Control, at_us: int) -> list[SubscribeRequest]:
        match control:
            case Ack():
                self._ledger.subscribed(self._subscribing.grant(control), at_us)
            case Rejection():
                return self._refuse(control, at_us)
            case Reply(text):
                return [SubscribeRequest(None, text, ())]
            case Pong():
                self._ledger.pong_received()
            case Notice(reason):
                self._end(Ending.HANDOVER, f"announced by the exchange: {reason}")
            case Foreign(kind):
                self._ledger.foreign(kind)
        return []

    def _refuse(self, rejection: Rejection, at_us: int) -> list[SubscribeRequest]:
        refusal = self._subscribing.refuse(rejection)
        if refusal.refused or not refusal.again:
            self._ledger.rejected(refusal.refused, rejection.reason, at_us)
        for topic in refusal.refused:
            self._silence.forget(topic)
        if not self.wanted:
            self._end(Ending.SUBSCRIBE_FAILED, rejection.reason)
        return [each for group in refusal.again for each in self._requests_for(group)]

    # What did not come.

    def pause(self, pause_s: float) -> None:
        """Hold nothing against the exchange for the latest `pause_s`: nothing was read in them."""
        self._silence.pause(pause_s)
        self._subscribing.pause(pause_s)

    def next_stale(self) -> float:
        """Return when `judge_silence` has something to judge; inf if never."""
        return self._silence.next_deadline()

    def judge_silence(self, now: float) -> None:
        """Report topics without data; end the session if they are all."""
        limit_s = self._connection.data_timeout_s
        stale = self._silence.newly_stale(now)
        if stale:
            self._ledger.stale(stale, limit_s)
        if self._silence.is_total():
            self._ledger.timed_out()
            self._end(Ending.DATA_TIMEOUT, f"no data for {limit_s:g} s")

    def next_overdue(self, now: float) -> float:
        """Return when `judge_acks` may have something to judge."""
        return self._subscribing.next_deadline(now, ACK_S)

    def judge_acks(self, now: float) -> None:
        """End the session if topics were neither granted nor refused in time."""
        overdue = self._subscribing.overdue(now, ACK_S)
        if overdue:
            names = ", ".join(names_of(overdue))
            text = f"no answer within {ACK_S:g} s to the subscription of {names}"
            self._end(Ending.SUBSCRIBE_FAILED, text)

    def _end(self, reason: Ending, detail: str) -> None:
        if self.ending is None:
            self.ending = SessionEnded(reason, detail)
