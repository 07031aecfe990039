"""How long it takes until everything is subscribed, by the exchanges' limits alone.

A dry run of the queue that the feeds wait in (`limits.rate_queue`): every session enters at second
0, and once granted it sends its requests at the rate that the exchange allows. The network adds a
second or so, once, because connections do not wait for each other's handshakes.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from trio_collector.errors import Problem
from trio_collector.exchanges.adapter import Adapter, Subscription
from trio_collector.feed.limits.rate_limiter import RateLimiter
from trio_collector.feed.limits.rate_queue import RateQueue, open_shared_limiter
from trio_collector.feed.planning.connections import ConnectionPlan

# A start slower than this is worth a hint.
SLOW_S = 60.0
# This many streams share a connection without trouble on each of the five; a few allow fewer.
MANY_STREAMS = 100


class Startup(NamedTuple):
    """The start of one exchange; `subscribed_after_s` is when its last stream is requested."""

    exchange: str
    connections: int
    subscriptions: int
    subscribed_after_s: float


def plan_startup(connections: Iterable[ConnectionPlan]) -> list[Startup]:
    """Return how each exchange of `connections` starts, in the order of their first."""
    return [_plan_exchange(group) for group in _by_exchange(connections)]


def _by_exchange(connections: Iterable[ConnectionPlan]) -> list[list[ConnectionPlan]]:
    groups: dict[str, list[ConnectionPlan]] = {}
    for connection in connections:
        groups.setdefault(connection.adapter.name, []).append(connection)
    return list(groups.values())


def _plan_exchange(connections: Sequence[ConnectionPlan]) -> Startup:
    adapter = connections[0].adapter
    sessions = [each for each in connections for _line in range(each.lines)]
    queue = RateQueue(adapter.limits.connects, open_shared_limiter(adapter.limits))
    tickets = {queue.enter(shared=_messages(session)): session for session in sessions}
    now = done = 0.0
    while queue.first is not None:
        ticket = queue.first
        now = queue.due(ticket, now)
        queue.grant(ticket, now)
        done = max(done, now + _requests_s(tickets[ticket]))
    subscriptions = sum(len(each.subscriptions) for each in sessions)
    return Startup(adapter.name, len(sessions), subscriptions, done)


def _messages(connection: ConnectionPlan) -> int:
    """Return how many messages subscribe everything on a connection."""
    return len(connection.adapter.build_subscribe_messages(connection.subscriptions))


def _requests_s(connection: ConnectionPlan) -> float:
    """Return how long it takes to send them."""
    rate = connection.adapter.limits.requests
    limiter = RateLimiter([rate] if rate else [])
    return max((limiter.reserve(0.0) for _ in range(_messages(connection))), default=0.0)


# Advice.


def startup_hints(connections: Iterable[ConnectionPlan]) -> list[str]:
    """Return advice for each exchange whose start is slow and could be faster."""
    hints = []
    for group in _by_exchange(connections):
        slow = _plan_exchange(group)
        size = min(MANY_STREAMS, group[0].adapter.limits.topics_per_connection)
        fast = _plan_exchange(_regroup(group, size))
        if slow.subscribed_after_s >= SLOW_S and 2 * fast.connections <= slow.connections:
            hints.append(
                f"{slow.exchange} is subscribed after {in_words(slow.subscribed_after_s)}, for it"
                f" limits how often one may connect; with streams_per_connection = {size} it would"
                f" take {fast.connections} connections and {in_words(fast.subscribed_after_s)}"
            )
    return hints


def _regroup(connections: Sequence[ConnectionPlan], size: int) -> list[ConnectionPlan]:
    """Return `connections` as they would be with `size` streams on each."""
    wanted: dict[int, tuple[ConnectionPlan, list[Subscription]]] = {}
    for each in connections:
        wanted.setdefault(id(each.adapter), (each, []))[1].extend(each.subscriptions)
    return [
        msgspec.structs.replace(first, subscriptions=tuple(subscriptions[start : start + size]))
        for first, subscriptions in wanted.values()
        for start in range(0, len(subscriptions), size)
    ]


def room_problems(connections: Iterable[ConnectionPlan]) -> list[Problem]:
    """Return a problem for each URL that would get more connections than it allows at a time."""
    urls: dict[str, Adapter] = {}
    open_to: Counter[str] = Counter()
    streams_to: Counter[str] = Counter()
    for each, line in itertools.chain.from_iterable(
        ((connection, line) for line in range(connection.lines)) for connection in connections
    ):
        url = each.adapter.websocket_url(line)
        urls[url] = each.adapter
        open_to[url] += 1
        streams_to[url] += len(each.subscriptions)
    return [
        _no_room(adapter, url, open_to[url], streams_to[url])
        for url, adapter in urls.items()
        if adapter.limits.connections is not None and open_to[url] > adapter.limits.connections
    ]


def _no_room(adapter: Adapter, url: str, connections: int, streams: int) -> Problem:
    most = adapter.limits.connections or 0
    size = math.ceil(streams / most)
    remedy = f"set it to {size} or more"
    if size > adapter.limits.topics_per_connection:
        remedy = "divide the markets among machines (--shard)"
    text = f"{connections} connections to {url}, and {adapter.name} allows {most} at a time"
    return Problem("websocket.streams_per_connection", f"{text}; {remedy}")


def in_words(seconds: float) -> str:
    """Return a duration as people write it."""
    whole = math.ceil(seconds)
    if whole < 1:
        return "at once"
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"
