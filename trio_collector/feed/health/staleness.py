"""How long each topic of a session has been silent.

A topic is *stale* when it had no data for as long as its timeout allows, counted from the session's
start, or from its request, while there was none: so one deadline finds a feed that died and one
that never began. Each silence is reported once; data ends it.

What a topic is used to is learned by its timeout, which outlives the session.
"""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from trio_collector.events import Topic
from trio_collector.feed.health.adaptive_timeout import AdaptiveTimeout


class StaleTopic(NamedTuple):
    """A topic that was silent for `limit_s`; not `has_begun` if it never had data in the session."""

    topic: Topic
    limit_s: float
    has_begun: bool


class _TopicTimer:
    """How long one topic has been silent."""

    __slots__ = ("has_begun", "is_stale", "latest", "timeout")

    def __init__(self, timeout: AdaptiveTimeout, latest: float) -> None:
        self.timeout = timeout
        self.latest = latest
        self.has_begun = False
        self.is_stale = False

    @property
    def limit_s(self) -> float:
        return self.timeout.limit_s if self.has_begun else self.timeout.first_limit_s


class Staleness:
    """The timers of one session's topics; `now` is a listening time, in seconds."""

    def __init__(
        self, topics: Iterable[Topic], timeouts: Mapping[Topic, AdaptiveTimeout], now: float
    ) -> None:
        self._timers = {topic: _TopicTimer(timeouts[topic], now) for topic in topics}

    def restart(self, now: float) -> None:
        """Count every silence from `now` on."""
        for timer in self._timers.values():
            timer.latest = now

    def record_request(self, topic: Topic, now: float) -> None:
        """Count the silence of `topic` from `now` on, when it is asked for.

        If it was stale, it is being asked for again: what comes next opens it, and is no sign that
        it was merely quiet. A topic that has data keeps its time.
        """
        timer = self._timers.get(topic)
        if timer is not None and (timer.is_stale or not timer.has_begun):
            timer.has_begun = False
            timer.latest = now

    def record_data(self, topic: Topic, now: float) -> None:
        """Note data of `topic`."""
        timer = self._timers.get(topic)
        if timer is None:
            return
        if timer.has_begun:
            timer.timeout.record_silence(now - timer.latest, now)
        else:
            timer.timeout.record_first_data(now - timer.latest, now)
            timer.has_begun = True
        timer.latest = now
        timer.is_stale = False

    def forget(self, topic: Topic) -> None:
        """Stop watching `topic`: the exchange refused it."""
        self._timers.pop(topic, None)

    def expire(self, now: float) -> list[StaleTopic]:
        """Return the topics whose silence has become too long since the last call."""
        found = []
        for topic, timer in self._timers.items():
            if not timer.is_stale and now >= self._deadline(timer):
                timer.is_stale = True
                found.append(StaleTopic(topic, timer.limit_s, timer.has_begun))
                timer.timeout.record_expiry(now - timer.latest, now)
        return found

    def are_all_stale(self) -> bool:
        """Whether no topic that is watched has had data in time."""
        return all(timer.is_stale for timer in self._timers.values())

    def next_deadline(self) -> float:
        """Return when the next topic becomes stale, if nothing is heard; inf if none can.

        Data may bring it nearer: a limit that is learned falls. Look again every `REVIEW_S`.
        """
        return min(
            (self._deadline(timer) for timer in self._timers.values() if not timer.is_stale),
            default=math.inf,
        )

    def _deadline(self, timer: _TopicTimer) -> float:
        # Compared with `now` as it is: a difference could be rounded to just below the limit.
        return timer.latest + timer.limit_s
