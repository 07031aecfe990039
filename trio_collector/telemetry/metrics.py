"""Every metric, declared once. Names and labels of the Rust collector are kept.

Stages count per batch, after success; dropped rows are counted with a reason. `preset` creates every
series that the configuration implies, so that a counter that has not moved reads 0 instead of being
absent.
"""

import collections
from collections.abc import Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)

from trio_collector import __version__
from trio_collector.events import DataType, Stream

REGISTRY = CollectorRegistry()

# A `_created` series beside each counter would make /metrics half as long again, and is not needed:
# the start of the process is a metric of its own.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types there

MARKET = ("exchange", "symbol")
STREAM = ("exchange", "symbol", "data_type")


def _counter(name: str, text: str, labels: Iterable[str] = ()) -> Counter:
    return Counter(f"collector_{name}", text, labels, registry=REGISTRY)


def _gauge(name: str, text: str, labels: Iterable[str] = ()) -> Gauge:
    return Gauge(f"collector_{name}", text, labels, registry=REGISTRY)


# Feeds.
websocket_connected = _gauge("websocket_connected", "Sessions that are open", MARKET)
websocket_reconnects = _counter("websocket_reconnects_total", "Sessions after the first", MARKET)
disconnects = _counter("disconnects_total", "Ends of sessions", ("exchange", "reason"))
last_message = _gauge(
    "last_message_timestamp_seconds", "Unix time of the latest row's arrival", MARKET
)
messages_received = _counter("messages_received_total", "Rows received", STREAM)
messages_dropped = _counter("messages_dropped_total", "Rows received and not kept", ("reason",))
messages_repeated = _counter(
    "messages_repeated_total", "Rows that another session had brought before", ("exchange",)
)
book_failures = _counter(
    "book_failures_total", "Whole books asked for by HTTP in vain", ("exchange",)
)
message_timeouts = _counter("message_timeouts_total", "Sessions ended by silence", MARKET)
pings_sent = _counter("websocket_pings_sent_total", "Keepalive messages sent", MARKET)
pongs_received = _counter("websocket_pongs_received_total", "Answers to them", MARKET)
gaps = _counter("gaps_total", "Holes proven by the exchange's ids", STREAM)
unparsed = _counter("unparsed_total", "Frames that no adapter could read", ("exchange",))
unknown_kinds = _counter(
    "unknown_kinds_total", "Kinds of messages that are not collected, at their first", ("exchange",)
)
unknown_fields = _counter(
    "unknown_fields_total", "Fields that the adapter does not know, at their first", ("exchange",)
)
mix_shift = _gauge(
    "message_mix_shift", "How far the mix of messages is from what is usual, 0 to 1", ("exchange",)
)
circuit_breaks = _counter(
    "parse_circuit_breaks_total", "Sessions ended by the breaker", ("exchange",)
)
latency_ms = Histogram(
    "collector_latency_exchange_to_collector_ms",
    "Exchange's time of a batch's last row to the socket read, ms",
    ("exchange",),
    buckets=(1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000),
    registry=REGISTRY,
)

# From the socket to the journal.
inflight_bytes = _gauge("inflight_bytes", "Bytes of rows received and not yet in a journal")
inflight_wait_seconds = _counter("inflight_wait_seconds_total", "Time feeds waited for room")
channel_queue_depth = _gauge("channel_queue_depth", "Batches waiting for the writer")

# Writer.
parquet_rows_written = _counter("parquet_rows_written_total", "Rows in sealed files")
parquet_rows_buffered = _gauge("parquet_rows_buffered", "Rows not yet in a journal")
journal_rows = _counter("journal_rows_total", "Rows written to journals")
parquet_files_rotated = _counter("parquet_files_rotated_total", "Files sealed", MARKET)
parquet_write_errors = _counter("parquet_write_errors_total", "Failed writes, syncs and seals")
seal_seconds = Histogram(
    "collector_seal_seconds",
    "Time to turn a journal into a sealed file",
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30),
    registry=REGISTRY,
)
disk_free_bytes = _gauge("disk_free_bytes", "Free bytes of the filesystem of data_dir")

# Delivery.
UPLOAD_STATUSES = ("success", "failure")
UPLOAD_ERRORS = ("unavailable", "throttled", "refused", "wrong_content", "disk")
upload_queue_depth = _gauge("upload_queue_depth", "Sealed files waiting in the spool")
spool_bytes = _gauge("spool_bytes", "Bytes of the sealed files waiting in the spool")
spool_age_seconds = _gauge("spool_age_seconds", "Time since the oldest of them was sealed")
s3_upload_seconds = Histogram(
    "collector_s3_upload_seconds",
    "Time of an attempt to upload and verify a file",
    ("status",),
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
    registry=REGISTRY,
)
s3_upload_failures = _counter("s3_upload_failures_total", "Attempts to upload that failed")
s3_upload_retries = _counter("s3_upload_retries_total", "Attempts to upload after a file's first")
s3_errors = _counter("s3_errors_total", "Failed attempts by what was wrong", ("reason",))
s3_upload_bytes = _counter("s3_upload_bytes_total", "Bytes of files that the store has, verified")
s3_sent_bytes = _counter("s3_sent_bytes_total", "Bytes sent to the store, with those sent again")

# The endpoint.
endpoint_client_errors = _counter(
    "endpoint_client_errors_total", "Connections to the endpoint that ended by an error"
)

# The process. Memory, processor time and open files have the names that every Prometheus client
# gives them (process_resident_memory_bytes and so on); where there is no /proc they are absent.
ProcessCollector(registry=REGISTRY)
build_info = Info("collector_build", "What runs: the version", registry=REGISTRY)
build_info.info({"version": __version__})
start_timestamp = _gauge("start_timestamp_seconds", "Unix time of the start")
log_lines_dropped = _counter(
    "log_lines_dropped_total", "Log lines not written, by where they were lost", ("reason",)
)
loop_lag_seconds = Histogram(
    "collector_loop_lag_seconds",
    "How late the event loop wakes a sleeper",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1),
    registry=REGISTRY,
)
loop_stalls = _counter("loop_stalls_total", "Times the event loop stood still for 0.25 s or more")


_OF_MARKETS = (
    websocket_connected,
    websocket_reconnects,
    last_message,
    message_timeouts,
    pings_sent,
    pongs_received,
    parquet_files_rotated,
)
_OF_EXCHANGES = (
    unparsed,
    circuit_breaks,
    latency_ms,
    messages_repeated,
    book_failures,
    unknown_kinds,
    unknown_fields,
    mix_shift,
)


def preset(streams: Iterable[Stream], reasons: Iterable[str]) -> None:
    """Create every series of `streams` and of the ends of sessions, at 0."""
    reasons = tuple(reasons)
    for stream in streams:
        _preset_stream(stream)
        for reason in reasons:
            disconnects.labels(stream.exchange, reason)
    messages_dropped.labels("disk")
    for status in UPLOAD_STATUSES:
        s3_upload_seconds.labels(status)
    for reason in UPLOAD_ERRORS:
        s3_errors.labels(reason)


def _preset_stream(stream: Stream) -> None:
    messages_received.labels(*stream)
    gaps.labels(*stream)
    for of_market in _OF_MARKETS:
        of_market.labels(stream.exchange, stream.symbol)
    for of_exchange in _OF_EXCHANGES:
        of_exchange.labels(stream.exchange)


def received_rows() -> collections.Counter[Stream]:
    """Return the rows received by this process so far."""
    rows: collections.Counter[Stream] = collections.Counter()
    for metric in messages_received.collect():
        for sample in metric.samples:
            if sample.name.endswith("_total"):
                labels = sample.labels
                data_type = DataType(labels["data_type"])
                rows[Stream(labels["exchange"], labels["symbol"], data_type)] = int(sample.value)
    return rows


def total(metric: Counter | Gauge) -> float:
    """Return the sum of all series of `metric`."""
    return sum(sample.value for family in metric.collect() for sample in family.samples)
