"""What the five dialects share: topics joined, frames pending, and when who was heard.

A dialect has manners. They are good, unless a fault has spoiled them; then acks are refused,
withheld or late, pings go unanswered, and topics fall silent, of which the record hears as lost.
"""

import abc
from collections.abc import Callable, Iterable
from typing import ClassVar

from trio_collector.simulator.dialects.manners import Manners, Streams
from trio_collector.simulator.markets.exchange import ExchangeFacts, SimulatedExchange, Topic
from trio_collector.simulator.net.frames import Frame, Opcode, StreamKey, close_frame, lost


class Absentee:
    """Stands in for a dialect that has fallen silent: what it would be sent is lost."""

    def __init__(self, dialect: "Dialect") -> None:
        self._dialect = dialect

    def deliver(self, topic: Topic, frame: Frame) -> None:
        """Take one frame of a topic that nothing is said of."""
        self.post((frame,))

    def post(self, frames: Iterable[Frame]) -> None:
        """Take frames that are as they would go out."""
        self._dialect.post(map(lost, frames))


class Dialect(abc.ABC):
    """One connection of one venue; `target` is the path and query that the client asked for."""

    facts: ClassVar[ExchangeFacts]

    def __init__(self, exchange: SimulatedExchange, target: str, now_ms: int) -> None:
        self.exchange = exchange
        self.target = target
        self.topics: dict[str, Topic] = {}
        self.pending: list[Frame] = []
        self.opened_ms = self.heard_ms = self.sent_ms = now_ms
        self.is_closed = False
        self.manners = Manners()
        self._is_gone = False
        self._late_acks: list[tuple[int, Frame]] = []  # and when they are due
        self._silent: list[Streams] = []
        self._unspoken: set[str] = set()  # topics that were silent from the first
        self._absentee = Absentee(self)

    @abc.abstractmethod
    def answer(self, message: bytes, now_ms: int) -> None:
        """Do what the client's `message` asks; never raises, whatever the bytes are."""

    @abc.abstractmethod
    def on_time(self, now_ms: int) -> None:
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
            self.on_time(now_ms)
        self._is_gone = self.is_closed
        frames, self.pending = self.pending, []
        if frames:
            self.sent_ms = now_ms
        return frames

    def leave(self) -> None:
        """Be gone: no topic delivers here any more."""
        for name in list(self.topics):
            self.drop(name)

    def join(self, name: str, make: Callable[[], Topic]) -> None:
        """Subscribe to the topic `name` and deliver its snapshot; a second time does nothing."""
        if name in self.topics:
            return
        topic, snapshot = self.exchange.join(name, make, self)
        self.topics[name] = topic
        if self.manners.grants_silence(topic.stream):
            self._unspoken.add(name)
        if name in self._unspoken or self._is_silent_about(topic.stream):
            self._hush(topic)
        speaker = self._absentee if self._absentee in topic.subscribers else self
        for frame in snapshot:
            speaker.deliver(topic, frame)

    def drop(self, name: str) -> None:
        """Unsubscribe from the topic `name`, if it is joined."""
        topic = self.topics.pop(name, None)
        self._unspoken.discard(name)
        if topic is not None:
            topic.subscribers.pop(self, None)
            topic.subscribers.pop(self._absentee, None)

    def close(self, code: int, reason: str) -> None:
        """End the connection after what is pending."""
        self.leave()
        self.is_closed = True
        self.pending.append(close_frame(code, reason))

    def depart(self) -> None:
        """Say nothing more: somebody else ends the connection."""
        self.leave()
        self.is_closed = self._is_gone = True

    def acknowledge(self, reply: Frame) -> None:
        """Send the answer to a request, as far as manners go."""
        if self.manners.withholds_acks:
            return
        delay_ms = self.manners.ack_delay_ms
        if delay_ms:
            self._late_acks.append((self.heard_ms + delay_ms, reply))
        else:
            self.pending.append(reply)

    def fall_silent(self, streams: Streams) -> None:
        """Say nothing of `streams` any more, while their ids go on."""
        self._silent.append(streams)
        for topic in self.topics.values():
            if streams.cover(topic.stream):
                self._hush(topic)

    def speak_again(self, streams: Streams) -> None:
        """Go on with `streams` where they are by now."""
        self._silent.remove(streams)
        for name, topic in self.topics.items():
            if name not in self._unspoken and not self._is_silent_about(topic.stream):
                topic.subscribers.pop(self._absentee, None)
                topic.subscribers[self] = None

    def say_notice(self, now_ms: int) -> None:  # noqa: B027 - most venues have no words for it
        """Announce that the connection is going to end, where the venue has words for it."""

    @abc.abstractmethod
    def say_unknown(self, now_ms: int) -> None:
        """Send a message of a type that nobody has asked for."""

    def _hush(self, topic: Topic) -> None:
        topic.subscribers.pop(self, None)
        topic.subscribers[self._absentee] = None

    def _is_silent_about(self, stream: StreamKey) -> bool:
        return any(streams.cover(stream) for streams in self._silent)

    def _send_late_acks(self, now_ms: int) -> None:
        due = [reply for due_ms, reply in self._late_acks if due_ms <= now_ms]
        self._late_acks = [each for each in self._late_acks if each[0] > now_ms]
        self.pending += due

    def close_when_silent(self, now_ms: int, limit_ms: int, code: int, reason: str) -> None:
        """End the connection if neither side has said anything for `limit_ms`."""
        latest = max(self.heard_ms, self.sent_ms)
        if not self.pending and now_ms - latest >= limit_ms:
            self.close(code, reason)
