"""Metrics have the names that dashboards know, and exist before anything has happened."""

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from trio_collector.events import DataType, Stream
from trio_collector.feed.wire.end_reason import EndReason
from trio_collector.telemetry import metrics

# The Rust collector's names, with their labels. Those of S3 come with the delivery to it.
KEPT = {
    "collector_websocket_connected": {"exchange", "symbol"},
    "collector_websocket_reconnects_total": {"exchange", "symbol"},
    "collector_last_message_timestamp_seconds": {"exchange", "symbol"},
    "collector_messages_received_total": {"exchange", "symbol", "data_type"},
    "collector_messages_dropped_total": {"reason"},
    "collector_message_timeouts_total": {"exchange", "symbol"},
    "collector_websocket_pings_sent_total": {"exchange", "symbol"},
    "collector_websocket_pongs_received_total": {"exchange", "symbol"},
    "collector_parquet_rows_written_total": set(),
    "collector_parquet_rows_buffered": set(),
    "collector_parquet_files_rotated_total": {"exchange", "symbol"},
    "collector_parquet_write_errors_total": set(),
    "collector_channel_queue_depth": set(),
    "collector_upload_queue_depth": set(),
    "collector_parse_circuit_breaks_total": {"exchange"},
    "collector_latency_exchange_to_collector_ms_count": {"exchange"},
    "collector_start_timestamp_seconds": set(),
}

STREAMS = [
    Stream("preset", "btcusdt", DataType.ORDERBOOK),
    Stream("preset", "ethusdt", DataType.TRADE),
]


@pytest.fixture
def series() -> dict[str, list[tuple[dict[str, str], float]]]:
    """What /metrics would say of an exchange that nothing has happened on."""
    metrics.preset(STREAMS, EndReason)
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    text = generate_latest(metrics.REGISTRY).decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.get("exchange", "preset") == "preset":
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


@pytest.mark.parametrize("name", KEPT)
def test_names_are_kept(name: str, series: dict[str, list[tuple[dict[str, str], float]]]) -> None:
    """Every metric that the Rust collector had is there from the start, with its labels."""
    assert {frozenset(labels) for labels, _value in series[name]} == {frozenset(KEPT[name])}


def test_every_series_starts_at_0(
    series: dict[str, list[tuple[dict[str, str], float]]],
) -> None:
    """What has not happened reads 0 instead of being absent, for each stream, market and reason."""
    received = series["collector_messages_received_total"]
    assert [
        (labels["exchange"], labels["symbol"], labels["data_type"]) for labels, _value in received
    ] == STREAMS
    assert {labels["symbol"] for labels, _value in series["collector_websocket_connected"]} == {
        "btcusdt",
        "ethusdt",
    }
    reasons = [labels["reason"] for labels, _value in series["collector_disconnects_total"]]
    assert reasons == [ending.value for ending in EndReason]
    of_exchange = [
        value for samples in series.values() for labels, value in samples if "exchange" in labels
    ]
    assert set(of_exchange) == {0.0}


def test_names_are_ours() -> None:
    """All are called collector_…, or process_… as everywhere, and counters end in _total."""
    for family in metrics.REGISTRY.collect():
        assert family.name.startswith(("collector_", "process_"))
        if family.type == "counter":
            assert {each.name.rpartition("_")[2] for each in family.samples} <= {"total"}


def test_received_rows() -> None:
    """Rows are returned by stream, as many as were counted."""
    stream = Stream("counted", "btcusdt", DataType.UNPARSED)
    metrics.messages_received.labels(*stream).inc(3)
    metrics.messages_received.labels(*stream).inc(4)
    assert metrics.received_rows()[stream] == 7
    assert metrics.received_rows()[stream._replace(symbol="ethusdt")] == 0


def test_total() -> None:
    """The sum of a metric is that of all its series."""
    before = metrics.total(metrics.gaps), metrics.total(metrics.websocket_connected)
    for symbol, number in (("btcusdt", 2), ("ethusdt", 3)):
        metrics.gaps.labels("summed", symbol, "trade").inc(number)
        metrics.websocket_connected.labels("summed", symbol).set(number)
    after = metrics.total(metrics.gaps), metrics.total(metrics.websocket_connected)
    assert (after[0] - before[0], after[1] - before[1]) == (5, 5)
    for symbol in ("btcusdt", "ethusdt"):
        metrics.websocket_connected.remove("summed", symbol)
