"""What the five dialects share: topics joined, frames pending, and when who was heard."""

import abc
from collections.abc import Callable
from typing import ClassVar

from trio_collector.simulator.frames import Frame, Opcode, close_frame
from trio_collector.simulator.venue import Topic, Venue, VenueFacts


class Dialect(abc.ABC):
    """One connection of one venue; `target` is the path and query that the client asked for."""

    facts: ClassVar[VenueFacts]

    def __init__(self, venue: Venue, target: str, now_ms: int) -> None:
        self.venue = venue
        self.target = target
        self.topics: dict[str, Topic] = {}
        self.pending: list[Frame] = []
        self.opened_ms = self.heard_ms = self.sent_ms = now_ms
        self.is_closed = False
        self._is_gone = False

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

    def flush(self, now_ms: int) -> list[Frame]:
        """Return what is to be sent now; nothing follows a close frame."""
        if self._is_gone:
            return []
        if not self.is_closed:
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
        topic, snapshot = self.venue.join(name, make, self)
        self.topics[name] = topic
        for frame in snapshot:
            self.deliver(topic, frame)

    def drop(self, name: str) -> None:
        """Unsubscribe from the topic `name`, if it is joined."""
        topic = self.topics.pop(name, None)
        if topic is not None:
            topic.subscribers.pop(self, None)

    def close(self, code: int, reason: str) -> None:
        """End the connection after what is pending."""
        self.leave()
        self.is_closed = True
        self.pending.append(close_frame(code, reason))

    def close_when_silent(self, now_ms: int, limit_ms: int, code: int, reason: str) -> None:
        """End the connection if neither side has said anything for `limit_ms`."""
        latest = max(self.heard_ms, self.sent_ms)
        if not self.pending and now_ms - latest >= limit_ms:
            self.close(code, reason)
