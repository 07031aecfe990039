"""News of an exchange: told once, bounded, found in samples."""

from collections.abc import Callable

import orjson
import pytest
from prometheus_client import Counter, Gauge

from tests.support.scripted_exchange import make_connection
from trio_collector.errors import UnreadableFrame
from trio_collector.events import Batch, Control, DataType, Heartbeat, Stream, UnknownMessage
from trio_collector.feed.decoder import Decoded
from trio_collector.feed.drift import (
    MOST_BYTES,
    MOST_LETTERS,
    MOST_NAMES,
    MOST_REMEMBERED,
    NEW_FIELD,
    NEW_KIND,
    SAMPLE_MESSAGES,
    SAMPLE_S,
    Drift,
    DriftWarning,
    field_names,
)
from trio_collector.feed.health.mix import LEAST_MESSAGES, WINDOW_S, WINDOWS_TO_LEARN
from trio_collector.telemetry import metrics

MakeDrift = Callable[..., Drift]


def read(
    *frames: bytes,
    data_type: DataType = DataType.TRADE,
    controls: tuple[Control, ...] = (),
    unreadable: tuple[str, ...] = (),
) -> Decoded:
    """Return what a read with `frames` of one stream, and these others, held."""
    batch = Batch(Stream("drifting", "btc", data_type), 0)
    for frame in frames:
        batch.append("", None, frame)
    errors = [UnreadableFrame("drifting", reason, b"?") for reason in unreadable]
    messages = len(frames) + len(controls) + len(errors)
    return Decoded(messages, [batch], list(controls), [], errors, [])


def field(name: str) -> DriftWarning:
    return DriftWarning(NEW_FIELD, {"field": name})


def value(metric: Counter | Gauge) -> float:
    """Return what the metric of the exchange reads."""
    (sample,) = [
        sample
        for family in metric.collect()
        for sample in family.samples
        if sample.labels["exchange"] == "drifting"
    ]
    return float(sample.value)


@pytest.fixture
def drift() -> Drift:
    """Watch an exchange that is known to send `price` and `size`; its metrics begin at 0."""
    for metric in (metrics.unknown_kinds, metrics.unknown_fields, metrics.mix_shift):
        metric.clear()
    known = frozenset({"price", "size"})
    adapter = make_connection(name="drifting", known_fields=known).adapter
    return Drift(adapter, 0)


def test_new_kinds_are_told_once(drift: Drift) -> None:
    """Messages that are not collected, or that nobody can read, are news the first time."""
    rows = read(controls=(UnknownMessage("index"), Heartbeat()), unreadable=("bad byte 17",))
    assert drift.observe(rows, 1) == [
        DriftWarning(NEW_KIND, {"kind": "index"}),
        DriftWarning(NEW_KIND, {"kind": "unreadable: bad byte #"}),
    ]
    assert (
        drift.observe(read(controls=(UnknownMessage("index"),), unreadable=("bad byte 3",)), 2)
        == []
    )
    assert value(metrics.unknown_kinds) == 2


def test_new_fields_are_told_once(drift: Drift) -> None:
    """Fields that the adapter does not know are news the first time, wherever they are."""
    assert drift.check_fields(b'{"price":"1","new":{"deep":[[{"deeper":1}],{"size":2}]}}') == [
        field("deep"),
        field("deeper"),
        field("new"),
    ]
    assert drift.check_fields(b'{"new":1}') == []
    assert value(metrics.unknown_fields) == 3


def test_known_messages_are_no_news(drift: Drift) -> None:
    """Neither are frames that are no JSON, nor large ones."""
    large = orjson.dumps({"new": "x" * MOST_BYTES})
    for frame in (b'{"price":"1","size":[["2"]]}', b"pong", b"\xff", b"", large):
        assert drift.check_fields(frame) == []


def test_an_adapter_that_knows_nothing() -> None:
    """Where no fields are known, none are unknown."""
    drift = Drift(make_connection(known_fields=frozenset()).adapter, 0)
    assert drift.check_fields(b'{"new":1}') == []


def test_one_message_in_a_while_is_looked_at(drift: Drift) -> None:
    """Of what comes within 0.1 s the first is looked at, and no other."""
    assert drift.observe(read(b'{"a":1}'), 0) == [field("a")]
    assert drift.observe(read(b'{"b":1}'), SAMPLE_S / 2) == []
    assert drift.observe(read(b'{"c":1}'), SAMPLE_S) == [field("c")]


def test_one_of_many_is_looked_at(drift: Drift) -> None:
    """However fast they come, one of each thousand is looked at."""
    drift.observe(read(b"{}"), 0)
    looked_at = [drift.observe(read(b'{"n%d":1}' % number), 0.01) for number in range(3000)]
    assert sum(map(len, looked_at)) == 3
    assert SAMPLE_MESSAGES == 1000


def test_only_data_is_looked_at(drift: Drift) -> None:
    """Unparsed rows have fields of their own, and repeated ones are not there."""
    assert drift.observe(read(b'{"x":1}', data_type=DataType.UNPARSED), 0) == []
    assert drift.observe(read(), 0) == []
    assert drift.observe(read(b'{"y":1}'), 0) == [field("y")]


def test_names_are_bounded(drift: Drift) -> None:
    """So many are told, then that there are more; so many are counted, and each is cut."""
    news = [drift.check_fields(orjson.dumps({f"{number:05}": 1})) for number in range(1500)]
    told = [each.fields["field"] for some in news for each in some]
    assert told[:MOST_NAMES] == [f"{number:05}" for number in range(MOST_NAMES)]
    assert told[MOST_NAMES:] == ["and more, which are only counted"]
    assert value(metrics.unknown_fields) == MOST_REMEMBERED


def test_long_names_are_cut(drift: Drift) -> None:
    """Names that differ behind the cut are one."""
    assert drift.check_fields(orjson.dumps({"x" * 200: 1})) == [field("x" * MOST_LETTERS)]
    assert drift.check_fields(orjson.dumps({"x" * 300: 1})) == []


def test_the_shift_is_a_metric(drift: Drift) -> None:
    """What the mix says reaches the gauge: trades that are gone, say."""
    books = read(*[b"{}"] * LEAST_MESSAGES, data_type=DataType.ORDERBOOK)
    trades = read(*[b"{}"] * LEAST_MESSAGES)
    for window in range(1, WINDOWS_TO_LEARN + 1):
        drift.observe(books, (window - 1) * WINDOW_S)
        drift.observe(trades, window * WINDOW_S)
    assert value(metrics.mix_shift) == 0
    drift.observe(books, (WINDOWS_TO_LEARN + 1) * WINDOW_S)
    assert value(metrics.mix_shift) > 0.3


def test_field_names_at_any_depth() -> None:
    """Depth is bounded by the parser alone: what it reads is walked, the rest has no names."""
    assert field_names(b'[{"a":[{"b":null}]},[[{"c":{"d":1}}]],2]') == {"a", "b", "c", "d"}
    assert field_names(b'{"a":' * 1000 + b"1" + b"}" * 1000) == {"a"}
    assert field_names(b'{"a":' * 5000 + b"1" + b"}" * 5000) == set()
