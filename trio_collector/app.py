"""The collector as a whole: what runs inside of what, and in which order it stops.

    endpoint             last, so that /metrics shows the drain
      uploader           ends when the writer has rung for the last time and the spool is empty
        writer           ends when no batch is left; seals what is open
          feeds          first: they leave when `stop` is set, and send what they have read

An outer line outlives the lines inside of it. `stop` reaches the feeds alone; everything else ends
because its channel does. What is still draining after `shutdown_grace_secs` is cut off: the
journals keep it for the next start.
"""

import random
import secrets
import ssl
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import structlog
import trio

from trio_collector import clock
from trio_collector.budget import ByteBudget
from trio_collector.config.settings import Config
from trio_collector.endpoint.task import run_endpoint
from trio_collector.errors import ConfigError
from trio_collector.events import Batch
from trio_collector.exchanges import create_adapter
from trio_collector.exchanges.coinbase_jwt import Signer, read_credentials
from trio_collector.feed.context import FeedContext
from trio_collector.feed.end_reason import EndReason
from trio_collector.feed.health.drift import Drift
from trio_collector.feed.limits.exchange_limits import ExchangeLimits
from trio_collector.feed.limits.start_up_time import room_problems
from trio_collector.feed.plan import ConnectionPlan, plan_connections
from trio_collector.feed.task import run_feed
from trio_collector.telemetry import metrics
from trio_collector.telemetry.live_state import LiveState
from trio_collector.telemetry.loop_lag import watch_loop_lag
from trio_collector.telemetry.minute_line import run_minute_line
from trio_collector.uploader.report import DeliveryState
from trio_collector.uploader.task import run_uploader
from trio_collector.writer.disk_guard import DiskState
from trio_collector.writer.lock import lock_data_dir
from trio_collector.writer.task import run_writer

log = structlog.get_logger(__name__)

# Batches that may wait for the writer, which takes them without waiting for the disk. The bound
# on memory is the byte budget; this one only keeps a bug from hiding behind a long queue.
QUEUE_BATCHES = 10_000
DRAIN_REPORT_S = 5.0


def plan(config: Config, environ: Mapping[str, str]) -> list[ConnectionPlan]:
    """Return the connections that `config` asks for.

    Raises ConfigError for unusable credentials, and where an exchange has no room for all.
    """
    signer = read_credentials(environ, lambda path: Path(path).read_text())
    token = None if signer is None else partial(_fresh_token, signer)
    markets = [(market, create_adapter(market, coinbase_token=token)) for market in config.markets]
    connections = plan_connections(markets, config.websocket)
    if problems := room_problems(connections):
        raise ConfigError(problems)
    return connections


def _fresh_token(signer: Signer) -> str:
    return signer.token(int(time.time()), secrets.token_hex(16))


async def collect(
    config: Config,
    connections: list[ConnectionPlan],
    stop: trio.Event,
    *,
    ssl_context: ssl.SSLContext | None = None,
    now_us: Callable[[], int] = clock.now_us,
    live: LiveState | None = None,
) -> bool:
    """Collect until `stop` is set, then drain; False if the drain was cut off.

    Raises DataDirLocked if another process collects into the same data_dir. Cancelling it loses
    at most what was not yet in a journal.
    """
    storage = config.storage
    live = live or LiveState()
    live.start(connections, now_us())
    live.disk, live.delivery = disk, delivery = DiskState(), DeliveryState()
    metrics.start_timestamp.set(now_us() / 1e6)
    metrics.preset((stream for each in connections for stream in each.streams), EndReason)
    to_writer, batches = trio.open_memory_channel[Batch](QUEUE_BATCHES)
    wake_uploader, wakeups = trio.open_memory_channel[None](1)
    budget = ByteBudget(storage.max_inflight_bytes)
    context = FeedContext(
        websocket=config.websocket,
        budget=budget,
        ssl_context=ssl_context or ssl.create_default_context(),
        exchange_limits={
            each.adapter.name: ExchangeLimits(each.adapter.limits) for each in connections
        },
        drifts={
            each.adapter.name: Drift(each.adapter, trio.current_time()) for each in connections
        },
        stop=stop,
        now_us=now_us,
        random=random.random,
        run=now_us(),
        live=live,
    )
    with lock_data_dir(Path(storage.data_dir)):
        async with trio.open_nursery() as service:
            service.start_soon(watch_loop_lag)
            service.start_soon(run_minute_line)
            await service.start(
                partial(run_endpoint, server=config.aws.home_server_name, now_us=now_us),
                config.collector,
                storage,
                live,
            )

            async with trio.open_nursery() as pipeline:
                pipeline.start_soon(
                    partial(run_uploader, aws=config.aws, state=delivery), storage, wakeups
                )
                pipeline.start_soon(
                    partial(
                        run_writer,
                        server=config.aws.home_server_name or None,
                        now_us=now_us,
                        state=disk,
                        segment_starts=context.segment_starts,
                    ),
                    storage,
                    batches,
                    wake_uploader,
                    budget,
                )

                async with to_writer, trio.open_nursery() as feeds:
                    for connection in connections:
                        feeds.start_soon(run_feed, connection, context, to_writer.clone())
                    await stop.wait()
                    log.info("stopping", feeds=len(connections))
                    live.is_draining = True
                    service.start_soon(report_drain, budget, batches)
                    grace_s = config.collector.shutdown_grace_secs
                    pipeline.cancel_scope.deadline = trio.current_time() + grace_s

            service.cancel_scope.cancel()
    is_clean = not pipeline.cancel_scope.cancelled_caught
    report_end(is_clean)
    return is_clean


def report_end(is_clean: bool) -> None:
    """Log what became of the rows of this process.

    Sealed are those received, those of the ledger, and those that an earlier process left behind.
    """
    log.info(
        "stopped",
        is_clean=is_clean,
        rows_received=metrics.received_rows().total(),
        rows_sealed=int(metrics.total(metrics.parquet_rows_written)),
        rows_dropped=int(metrics.total(metrics.messages_dropped)),
    )


async def report_drain(budget: ByteBudget, batches: trio.MemoryReceiveChannel[Batch]) -> None:
    """Log what is still on its way, as long as the drain takes."""
    while True:
        await trio.sleep(DRAIN_REPORT_S)
        queue = batches.statistics()
        log.info(
            "draining",
            open_feeds=queue.open_send_channels,
            batches_waiting=queue.current_buffer_used,
            bytes_waiting=budget.used_bytes,
        )
