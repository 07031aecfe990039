"""The verdict: each thing that can be wrong has its code and its severity."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from trio_collector.endpoint.health import assess_health
from trio_collector.telemetry.status_document import (
    ConnectionStatus,
    Status,
    StatusDocument,
    StreamStatus,
)

Changed = Callable[..., StatusDocument]


def stream(symbol: str = "btcusdt", **changes: Any) -> StreamStatus:
    """Return a sound stream with `changes`."""
    sound: dict[str, Any] = {
        "exchange": "binance",
        "symbol": symbol,
        "data_type": "trade",
        "connection": f"binance:{symbol}:trades",
        "state": "live",
        "was_subscribed": True,
        "is_dead": False,
        "rows": 10,
        "rows_per_s": 1.0,
        "age_s": 0.5,
        "lag_ms": 3.0,
        "gaps": 0,
        "latest_gap_age_s": None,
    }
    return StreamStatus(**{**sound, **changes})


def connection(name: str = "binance:btcusdt:trades", **changes: Any) -> ConnectionStatus:
    sound: dict[str, Any] = {
        "name": name,
        "is_up": True,
        "sessions": 1,
        "since_s": 60.0,
        "streams": 1,
    }
    return ConnectionStatus(**{**sound, **changes})


@pytest.fixture
def changed(healthy: StatusDocument) -> Changed:
    """Return the document of two sound streams with something changed; storage by its own keys."""

    def change(storage: dict[str, Any] | None = None, **changes: Any) -> StatusDocument:
        sound = {
            "streams": (stream(), stream("ethusdt")),
            "connections": (connection(), connection("binance:ethusdt:trades")),
            "storage": msgspec.structs.replace(
                healthy.storage, max_inflight_bytes=1_000, **(storage or {})
            ),
        }
        return msgspec.structs.replace(healthy, **{**sound, **changes})

    return change


def codes(document: StatusDocument) -> tuple[Status, list[str], list[str]]:
    health = assess_health(document)
    return (
        health.status,
        [reason.code for reason in health.reasons],
        [reason.code for reason in health.obstacles],
    )


def test_sound(changed: Changed) -> None:
    """A document that nothing is wrong with has no reasons."""
    assert codes(changed()) == (Status.HEALTHY, [], [])
    assert assess_health(changed()).is_ready


GAP = stream(gaps=1, latest_gap_age_s=30.0)
OLD_GAP = stream(gaps=1, latest_gap_age_s=3600.0)
REFUSED = stream(state="refused", was_subscribed=False, is_dead=True)
DEAD = stream(is_dead=True, state="down")
UNASKED = stream(was_subscribed=False, state="waiting")
DOWN = connection(is_up=False, reason="close_frame")

# What is wrong, the status, the code, and whether the collector is not ready because of it.
TROUBLES: list[tuple[dict[str, Any], Status, str, bool]] = [
    ({"storage": {"is_disk_low": True}}, Status.UNHEALTHY, "disk_low", True),
    ({"storage": {"failing_streams": 1}}, Status.UNHEALTHY, "disk_error", True),
    ({"connections": (DOWN, DOWN)}, Status.UNHEALTHY, "no_connection", True),
    ({"streams": (DEAD, DEAD)}, Status.UNHEALTHY, "all_dead", True),
    ({"streams": (UNASKED, stream())}, Status.DEGRADED, "not_subscribed", True),
    (
        {"streams": (UNASKED, stream()), "uptime_s": 5.0},
        Status.STARTING,
        "not_subscribed",
        True,
    ),
    ({"streams": (DEAD, stream())}, Status.DEGRADED, "dead_stream", True),
    ({"storage": {"spool_age_s": 1000.0, "spool_files": 3}}, Status.DEGRADED, "backlog", True),
    ({"is_draining": True}, Status.DEGRADED, "draining", True),
    ({"storage": {"delivery_refusal": "403"}}, Status.DEGRADED, "store_refuses", False),
    ({"storage": {"is_store_down": True}}, Status.DEGRADED, "store_down", False),
    ({"connections": (DOWN, connection())}, Status.DEGRADED, "connections_down", False),
    ({"streams": (REFUSED, stream())}, Status.DEGRADED, "refused", False),
    ({"dropped_recently": 5}, Status.DEGRADED, "dropped", False),
    ({"streams": (GAP, stream())}, Status.DEGRADED, "gaps", False),
    ({"storage": {"inflight_bytes": 950}}, Status.DEGRADED, "backpressure", False),
]


@pytest.mark.parametrize(
    ("trouble", "status", "code", "is_obstacle"),
    TROUBLES,
    ids=[f"{code}-{status}" for _, status, code, _ in TROUBLES],
)
def test_each_trouble(
    trouble: dict[str, Any], status: Status, code: str, is_obstacle: bool, changed: Changed
) -> None:
    """One trouble is one reason, an obstacle or not."""
    expected = (status, [code], [code] if is_obstacle else [])
    assert codes(changed(**trouble)) == expected


@pytest.mark.parametrize(
    "calm",
    [
        {"streams": (OLD_GAP, stream())},
        {"storage": {"spool_age_s": 800.0, "spool_files": 9}},
        {"storage": {"inflight_bytes": 890}},
        {"storage": {"disk_error": "of the past"}},
        {"connections": (DOWN, DOWN), "uptime_s": 5.0},
    ],
    ids=["old gap", "young spool", "half full", "past error", "connecting"],
)
def test_what_is_no_trouble(calm: dict[str, Any], changed: Changed) -> None:
    """What is over, young or far from its limit is no reason."""
    assert codes(changed(**calm)) == (Status.HEALTHY, [], [])


def test_the_worst_comes_first(changed: Changed) -> None:
    """The status is that of the worst reason, which is the first."""
    document = changed(storage={"is_disk_low": True}, streams=(GAP, DEAD))
    assert codes(document) == (
        Status.UNHEALTHY,
        ["disk_low", "dead_stream", "gaps"],
        ["disk_low", "dead_stream"],
    )


def test_silence_while_stopping(changed: Changed) -> None:
    """While a collector stops, closed connections and streams without data are no reasons."""
    document = changed(is_draining=True, streams=(DEAD, UNASKED), connections=(DOWN, DOWN))
    assert codes(document) == (Status.DEGRADED, ["draining"], ["draining"])


def test_names(changed: Changed) -> None:
    """A reason names a few, and how many more there are."""
    dead = [msgspec.structs.replace(DEAD, symbol=f"s{number}") for number in range(5)]
    streams = (*dead, stream())
    (reason,) = assess_health(changed(streams=streams)).reasons
    assert reason.text == "no data: binance s0 trade, binance s1 trade, binance s2 trade and 2 more"
