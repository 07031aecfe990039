"""What the five dialects share: joined topics, pending frames, and when each side was last heard.

A dialect follows its documents unless a fault changes its behaviour: then acks are refused, missing
or late, pings are not answered, and topics are silent, whose frames the record counts as lost.
"""

import abc
from collections.abc import Callable, Iterable
from typing import ClassVar

from trio_collector.simulator.dialects.behaviour import Behaviour, StreamFilter
from trio_collector.simulator.markets.exchange import ExchangeFacts, SimulatedExchange, Topic
from trio_collector.simulator.net.frames import Frame, Opcode, StreamKey, close_frame, lost


class SilencedSubscriber:
    """Subscribes in place of a dialect that a fault has silenced: its frames are lost."""

    def __init__(self, dialect: "Dialect") -> None:
        self._dialect = dialect

    def deliver(self, topic: Topic, frame: Frame) -> None:
        """Take one frame of a silenced topic."""
        self.post((frame,))

    def post(self, frames: Iterable[Frame]) -> None:
        """Take frames that are as they would go out."""
        self._dialect.post(map(lost, frames))


class Dialect(abc.ABC):
    """One connection of one exchange; `target` is the path and query that the client asked for."""

    facts: ClassVar[ExchangeFacts]

    def __init__(self, exchange: SimulatedExchange, target: str, now_ms: int) -> None:
        self.exchange = exchange
        self.target = target
        self.topics: dict[str, Topic] = {}
        self.pending: list[Frame] = []
        self.opened_ms = self.heard_ms = self.sent_ms = now_ms
        self.is_closed = False
        self.behaviour = Behaviour()
        self._is_gone = False
        self._late_acks: list[tuple[int, Frame]] = []  # and when they are due
        self._silent_filters: list[StreamFilter] = []
        self._silent_from_start: set[str] = set()  # topics that were silent from the first
        self._silenced = SilencedSubscriber(self)

    @abc.abstractmethod
    def answer(self, message: bytes, now_ms: int) -> None:
        """Do what the client's `message` asks; never raises, whatever the bytes are."""

    @abc.abstractmethod
    def send_due(self, now_ms: int) -> None:
        """Send what is due by the clock."""

    def receive(self, message: bytes, now_ms: int) -> None:
        """Take a text or binary message from the client."""
        self.heard_ms = now_ms
        if not self.is_closed:
            self.answer(message, now_ms)

    def receive_control(self, opcode: Opcode, payload: bytes, now_ms: int) -> None:
        """Take a ping (its pong is sent already) or a pong from the client."""
        self.heard_ms = now_ms

    def deliver(self, topic: Topic, frame: Frame) -> None:
        """Take a frame of a topic that this connection has joined."""
        self.pending.append(frame)

    def post(self, frames: Iterable[Frame]) -> None:
        """Take frames that are as they go out."""
        self.pending.extend(frames)

    def flush(self, now_ms: int) -> list[Frame]:
        """Return what is to be sent now; nothing follows a close frame."""
        if self._is_gone:
            return []
        if not self.is_closed:
            if self._late_acks:
                self._send_late_acks(now_ms)
            self.send_due(now_ms)
        self._is_gone = self.is_closed
        frames, self.pending = self.pending, []
        if frames:
            self.sent_ms = now_ms
        return frames

    def unsubscribe_all(self) -> None:
        """Leave every topic: none delivers here any more."""
        for name in list(self.topics):
            self.drop(name)

    def join(self, name: str, make: Callable[[], Topic]) -> None:
        """Subscribe to the topic `name` and deliver its snapshot; a second time does nothing."""
        if name in self.topics:
            return
        topic, snapshot = self.exchange.join(name, make, self)
        self.topics[name] = topic
        if self.behaviour.grants_silence(topic.stream):
            self._silent_from_start.add(name)
        if name in self._silent_from_start or self._is_silent_about(topic.stream):
            self._silence(topic)
        recipient = self._silenced if self._silenced in topic.subscribers else self
        for frame in snapshot:
            recipient.deliver(topic, frame)

    def drop(self, name: str) -> None:
        """Unsubscribe from the topic `name`, if it is joined."""
        topic = self.topics.pop(name, None)
        self._silent_from_start.discard(name)
        if topic is not None:
            topic.subscribers.pop(self, None)
            topic.subscribers.pop(self._silenced, None)

    def close(self, code: int, reason: str) -> None:
        """End the connection after what is pending."""
        self.unsubscribe_all()
        self.is_closed = True
        self.pending.append(close_frame(code, reason))

    def stop(self) -> None:
        """Send nothing more; the caller ends the connection."""
        self.unsubscribe_all()
        self.is_closed = self._is_gone = True

    def acknowledge(self, reply: Frame) -> None:
        """Send the answer to a request, unless a fault withholds or delays it."""
        if self.behaviour.withholds_acks:
            return
        delay_ms = self.behaviour.ack_delay_ms
        if delay_ms:
            self._late_acks.append((self.heard_ms + delay_ms, reply))
        else:
            self.pending.append(reply)

    def silence(self, streams: StreamFilter) -> None:
        """Send nothing of `streams` any more, while their ids go on."""
        self._silent_filters.append(streams)
        for topic in self.topics.values():
            if streams.matches(topic.stream):
                self._silence(topic)

    def unsilence(self, streams: StreamFilter) -> None:
        """Send `streams` again, from where they are by now."""
        self._silent_filters.remove(streams)
        for name, topic in self.topics.items():
            if name not in self._silent_from_start and not self._is_silent_about(topic.stream):
                topic.subscribers.pop(self._silenced, None)
                topic.subscribers[self] = None

    def send_notice(self, now_ms: int) -> None:  # noqa: B027 - most exchanges send no such notice
        """Announce that the connection is going to end, where the exchange does so."""

    @abc.abstractmethod
    def send_unknown(self, now_ms: int) -> None:
        """Send a message of a type that was not subscribed."""

    def _silence(self, topic: Topic) -> None:
        topic.subscribers.pop(self, None)
        topic.subscribers[self._silenced] = None

    def _is_silent_about(self, stream: StreamKey) -> bool:
        return any(streams.matches(stream) for streams in self._silent_filters)

    def _send_late_acks(self, now_ms: int) -> None:
        due = [reply for due_ms, reply in self._late_acks if due_ms <= now_ms]
        self._late_acks = [each for each in self._late_acks if each[0] > now_ms]
        self.pending += due

    def close_when_silent(self, now_ms: int, limit_ms: int, code: int, reason: str) -> None:
        """End the connection if neither side has said anything for `limit_ms`."""
        latest = max(self.heard_ms, self.sent_ms)
        if not self.pending and now_ms - latest >= limit_ms:
            self.close(code, reason)
