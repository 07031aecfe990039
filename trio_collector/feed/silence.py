"""How long each topic of a session has been silent.

A topic is *stale* when it had no data for `limit_s`, counted from the session's start while there
was none: so one deadline finds a feed that died and one that never began. Each silence is reported
once; data ends it.
"""

import math
from collections.abc import Iterable

from trio_collector.events import Topic


class Silence:
    """The data clocks of one session's topics; `now` is monotonic, in seconds."""

    def __init__(self, topics: Iterable[Topic], limit_s: float, now: float) -> None:
        self._limit_s = limit_s
        self._paused_s = 0.0
        self._latest = dict.fromkeys(topics, now)  # less the pauses until then
        self._stale: set[Topic] = set()

    def restart(self, now: float) -> None:
        """Count every silence from `now` on."""
        self._latest = dict.fromkeys(self._latest, now - self._paused_s)

    def pause(self, pause_s: float) -> None:
        """Leave the latest `pause_s` seconds out of every silence."""
        self._paused_s += pause_s

    def heard(self, topic: Topic, now: float) -> None:
        """Note data of `topic`."""
        if topic in self._latest:
            self._latest[topic] = now - self._paused_s
            self._stale.discard(topic)

    def forget(self, topic: Topic) -> None:
        """Stop watching `topic`: the exchange refused it."""
        self._latest.pop(topic, None)
        self._stale.discard(topic)

    def newly_stale(self, now: float) -> list[Topic]:
        """Return the topics whose silence has become too long since the last call."""
        found = [
            topic
            for topic, latest in self._latest.items()
            if now >= self._deadline(latest) and topic not in self._stale
        ]
        self._stale.update(found)
        return found

    def is_total(self) -> bool:
        """Whether no topic that is watched has had data in time."""
        return len(self._stale) == len(self._latest)

    def next_deadline(self) -> float:
        """Return when the next topic becomes stale, if nothing is heard; inf if none can."""
        running = (latest for topic, latest in self._latest.items() if topic not in self._stale)
        return self._deadline(min(running, default=math.inf))

    def _deadline(self, latest: float) -> float:
        # Compared with `now` as it is: a difference could be rounded to just below the limit.
        return latest + self._limit_s + self._paused_s
