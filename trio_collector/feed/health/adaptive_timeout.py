"""How long a silence of one topic is normal, learned from its own arrivals.

The limit is what a silence has to reach to be called too long, and is the largest of three:

    3 x the second longest silence that was seen lately     what this topic does
    caution                                                 what is not known well enough yet
    10 s                                                    short stalls of exchanges and networks

**Seen lately** is the latest five to six hours, and the hours around this time of yesterday, so
that a limit follows day and night, and expects tonight what last night was like. A topic that has
fewer than 40 silences in these is judged by the whole latest day.

The second longest, because one extraordinary silence is as likely an outage of the exchange, and must not
make the topic's limit an hour for the rest of the morning; two are a habit. Where silences are
independent (Poisson), and n of them are known, the next one is longer than 3 times the second
longest with probability 24 / ((n+1)(n+2)(n+3)), at any rate: 3e-4 for n = 40, so 0.05 false alarms
a day for a trade every 10 minutes, and far less for more. Twice the second longest would be ten
times as many. What is heavier than Poisson, or changes with the hour, is simulated in
tests/feed/health/test_adaptive_timeout.py.

**Caution** is the limit before anything is learned, at first. It falls by a second for each 8 in
which the topic had data at its pace: to call a silence of a minute long takes having listened
for eight. Each time a silence is called too long caution becomes twice the limit, up to an hour: so
a restart that brings nothing is followed by one that is more patient, and a topic that dies again
after it was revived is found nearly as fast as at first. A silence that went on over a restart was
not the connection's fault; it is counted as one silence of its whole length.

What opens a session, from the subscription to the first data, teaches nothing: many exchanges open
with a snapshot, however quiet the market is. Nor does that snapshot show that a restart has helped.

`now` is monotonic, in seconds. A timeout belongs to a line and outlives its sessions.
"""

from collections import deque

FACTOR = 3
LEAST_SILENCES = 40
# A stream of 10 messages a second that dies is found within this. Poisson arrivals at that pace are
# silent for 2 s less than once a year; what this allows for is stalls of the exchange.
FLOOR_S = 10.0
# The exchange answers a subscription within 10 s, and a large first book takes seconds to arrive.
FIRST_DATA_S = 30.0
# What comes later than this after the request, and later than half the limit, was not brought by
# the restart.
LATE_S = 5.0
LISTENING_FOR_CAUTION = 8.0
MOST_CAUTION_S = 3600.0
# A market that is known to trade every few hours is looked after a few times a day.
CEILING_S = 6 * 3600.0

BUCKET_S = 3600.0
DAY = 25  # buckets: this hour of yesterday is among them
LATEST = 6
YESTERDAY = (21, 22, 23, 24)  # buckets ago: the hours around this time, and what came next
REVIEW_S = 10.0


class _Bucket:
    """The silences of an hour: how many, and the two longest."""

    __slots__ = ("longest_s", "second_s", "silences")

    def __init__(self) -> None:
        self.silences = 0
        self.longest_s = 0.0
        self.second_s = 0.0

    def add(self, silence_s: float) -> None:
        if silence_s > self.longest_s:
            self.longest_s, self.second_s = silence_s, self.longest_s
        elif silence_s > self.second_s:
            self.second_s = silence_s


class AdaptiveTimeout:
    """The timeout of one topic, learned from its arrivals; `limit_s` is how long it may be silent."""

    __slots__ = (
        "_buckets",
        "_caution_s",
        "_judged_listened_s",
        "_listened_s",
        "_mute_caution_s",
        "_mute_limit_s",
        "_mute_s",
        "_mutes",
        "_review_at",
        "_reviewed_listened_s",
        "_second_s",
        "_silences",
        "_turn_at",
        "limit_s",
    )

    def __init__(self, initial_s: float) -> None:
        self.limit_s = initial_s
        self._caution_s = initial_s
        self._buckets = deque([_Bucket()], DAY)  # the latest is the first
        self._turn_at = -1.0
        self._review_at = -1.0
        # Of the latest bucket; here, because `record_silence` is called for every batch.
        self._silences = 0
        self._second_s = 0.0
        self._listened_s = 0.0  # the sum of all silences that data ended
        self._reviewed_listened_s = 0.0
        # The silence that is being judged, over restarts.
        self._mutes = 0
        self._mute_s = 0.0
        self._mute_limit_s = 0.0  # before the first judgement, as is
        self._mute_caution_s = 0.0
        self._judged_listened_s = 0.0

    @property
    def first_limit_s(self) -> float:
        """How long a session may be without any data of the topic."""
        return max(self.limit_s, FIRST_DATA_S)

    def record_silence(self, silence_s: float, now: float) -> None:
        """Data ended a silence of `silence_s`, which data of the same session had begun."""
        self._silences += 1
        self._listened_s += silence_s
        if silence_s > self._second_s:
            self._add(silence_s, now)
        if now >= self._review_at:
            self._review(now)

    def record_first_data(self, silence_s: float, now: float) -> None:
        """The first data of a session came `silence_s` after it was asked for."""
        patience_s = self._mute_limit_s / 2 if self._mutes == 1 else 0.0
        if self._mutes and silence_s >= max(patience_s, LATE_S):
            self._mutes += 1  # so late that it is not the restart that brought it
            self._mute_s += silence_s
            self._close_mute()
            self._review(now)

    def record_expiry(self, silence_s: float, now: float) -> None:
        """A silence was judged too long, after `silence_s`; it may go on."""
        if self._mutes and not self._flows():
            self._mutes += 1
            self._mute_s += silence_s
        else:
            self._close_mute()
            self._mutes, self._mute_s, self._mute_limit_s = 1, silence_s, self.limit_s
            self._mute_caution_s = self._caution_s
        self._judged_listened_s = self._listened_s
        doubled_s = min(2 * self.limit_s, MOST_CAUTION_S)
        self._review(now)
        self._caution_s = max(self._caution_s, doubled_s)
        self._set_limit()

    def _add(self, silence_s: float, now: float) -> None:
        bucket = self._buckets[0]
        bucket.add(silence_s)
        self._second_s = bucket.second_s
        if FACTOR * bucket.second_s > self.limit_s:
            self._review(now)

    def _flows(self) -> bool:
        """Whether data has come at its pace since the latest judgement, for as long as it took."""
        return self._listened_s - self._judged_listened_s >= self._mute_limit_s

    def _close_mute(self) -> None:
        """Learn the silence that went on over a restart; or that a restart has helped."""
        if self._mutes > 1:
            self._buckets[0].add(self._mute_s)
            self._second_s = self._buckets[0].second_s
        elif self._mutes == 1:
            self._caution_s = min(self._caution_s, self._mute_caution_s)
        self._mutes, self._mute_s = 0, 0.0

    def _review(self, now: float) -> None:
        """Bring the limit up to date."""
        self._turn(now)
        if self._mutes and self._flows():
            self._close_mute()
        listened_s = self._listened_s - self._reviewed_listened_s
        self._reviewed_listened_s = self._listened_s
        self._caution_s = max(0.0, self._caution_s - listened_s / LISTENING_FOR_CAUTION)
        self._set_limit()
        self._review_at = now + REVIEW_S

    def _set_limit(self) -> None:
        learned_s = min(FACTOR * self._usual_s(), CEILING_S)
        self.limit_s = max(learned_s, self._caution_s, FLOOR_S)

    def _turn(self, now: float) -> None:
        """Begin a new bucket for each hour that has passed."""
        self._buckets[0].silences = self._silences
        if self._turn_at < 0:
            self._turn_at = now + BUCKET_S
        if now < self._turn_at:
            return
        passed = int((now - self._turn_at) // BUCKET_S) + 1
        self._turn_at += passed * BUCKET_S
        self._buckets.extendleft(_Bucket() for _ in range(min(passed, DAY)))
        self._silences, self._second_s = 0, 0.0

    def _usual_s(self) -> float:
        """Return the second longest silence that was seen lately; 0 without two."""
        buckets = list(self._buckets)
        lately = buckets[:LATEST] + [buckets[ago] for ago in YESTERDAY if ago < len(buckets)]
        if sum(bucket.silences for bucket in lately) < LEAST_SILENCES:
            lately = buckets
        longest = sorted(
            silence_s for bucket in lately for silence_s in (bucket.second_s, bucket.longest_s)
        )
        return longest[-2]


class FixedTimeout(AdaptiveTimeout):
    """A limit that the configuration sets: nothing is learned."""

    __slots__ = ()

    @property
    def first_limit_s(self) -> float:
        """How long a session may be without any data of the topic."""
        return self.limit_s

    def record_silence(self, silence_s: float, now: float) -> None:
        """Learn nothing."""

    def record_first_data(self, silence_s: float, now: float) -> None:
        """Learn nothing."""

    def record_expiry(self, silence_s: float, now: float) -> None:
        """Learn nothing."""
