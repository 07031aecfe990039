"""How long each topic of a session has been silent.

A topic is *stale* when it had no data for as long as its rhythm allows, counted from the session's
start, or from its request, while there was none: so one deadline finds a feed that died and one
that never began. Each silence is reported once; data ends it.

What a topic is used to is learned by its rhythm, which outlives the session.
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
    """The data clock of one topic."""

    __slots__ = ("has_begun", "is_stale", "latest", "timeout")

    def __init__(self, timeout: AdaptiveTimeout, latest: float) -> None:
        self.timeout = timeout
        self.latest = latest  # less the pauses until then
        self.has_begun = False
        self.is_stale = False

    @property
    def limit_s(self) -> float:
        return self.timeout.limit_s if self.has_begun else self.timeout.first_limit_s


class Staleness:
    """The data clocks of one session's topics; `now` is monotonic, in seconds."""

    def __init__(
        self, topics: Iterable[Topic], timeouts: Mapping[Topic, AdaptiveTimeout], now: float
    ) -> None:
        self._paused_s = 0.0
        self._clocks = {topic: _TopicTimer(timeouts[topic], now) for topic in topics}

    def restart(self, now: float) -> None:
        """Count every silence from `now` on."""
        for clock in self._clocks.values():
            clock.latest = now - self._paused_s

    def asked(self, topic: Topic, now: float) -> None:
        """Count the silence of `topic` from `now` on, when it is asked for.

        If it was stale, it is being asked for again: what comes next opens it, and is no sign that
        it was merely quiet. A topic that has data keeps its clock.
        """
        clock = self._clocks.get(topic)
        if clock is not None and (clock.is_stale or not clock.has_begun):
            clock.has_begun = False
            clock.latest = now - self._paused_s

    def pause(self, pause_s: float) -> None:
        """Leave the latest `pause_s` seconds out of every silence."""
        self._paused_s += pause_s

    def heard(self, topic: Topic, now: float) -> None:
        """Note data of `topic`."""
        clock = self._clocks.get(topic)
        if clock is None:
            return
        latest = now - self._paused_s
        if clock.has_begun:
            clock.timeout.heard(latest - clock.latest, now)
        else:
            clock.timeout.began(latest - clock.latest, now)
            clock.has_begun = True
        clock.latest = latest
        clock.is_stale = False

    def forget(self, topic: Topic) -> None:
        """Stop watching `topic`: the exchange refused it."""
        self._clocks.pop(topic, None)

    def judge(self, now: float) -> list[StaleTopic]:
        """Return the topics whose silence has become too long since the last call."""
        found = []
        for topic, clock in self._clocks.items():
            if not clock.is_stale and now >= self._deadline(clock):
                clock.is_stale = True
                found.append(StaleTopic(topic, clock.limit_s, clock.has_begun))
                clock.timeout.missed(now - self._paused_s - clock.latest, now)
        return found

    def is_total(self) -> bool:
        """Whether no topic that is watched has had data in time."""
        return all(clock.is_stale for clock in self._clocks.values())

    def next_deadline(self) -> float:
        """Return when the next topic becomes stale, if nothing is heard; inf if none can.

        Data may bring it nearer: a limit that is learned falls. Look again every `REVIEW_S`.
        """
        return min(
            (self._deadline(clock) for clock in self._clocks.values() if not clock.is_stale),
            default=math.inf,
        )

    def _deadline(self, clock: _TopicTimer) -> float:
        # Compared with `now` as it is: a difference could be rounded to just below the limit.
        return clock.latest + clock.limit_s + self._paused_s
