"""A disk that stands still: whether the exchange's pings are answered meanwhile.

    python -m tests.bench.stuck_writer [--connections N] [--rate N] [--stuck S]

An exchange of our own, on this machine, pings every connection each 100 ms and notes how long the
pong took, while it sends trades. The real collector receives them; its journal thread is kept from
working for `--stuck` seconds, as a disk would that does not answer. Server and collector share a
process and its loop, so their own delays are in the figures.
"""

import argparse
import itertools
import json
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar
from unittest import mock

import trio
import trio_websocket

from tests.bench import lab
from trio_collector import app
from trio_collector.config.markets import Market
from trio_collector.config.settings import CollectorSection, Config, StorageSection
from trio_collector.events import FeedType
from trio_collector.telemetry.live_state import LiveState
from trio_collector.threads import Worker, thread_worker
from trio_collector.writer import task as writer

PING_S = 0.1
BEFORE_S, AFTER_S = 5.0, 5.0
MOST_S = 1.0

Result = TypeVar("Result")


class Exchange:
    """Binance as far as its trades go, and how long its pings took: when sent, and seconds."""

    def __init__(self, rate: float) -> None:
        self.pongs: list[tuple[float, float]] = []
        self.sent = 0
        self._rate = rate

    async def serve(self, request: trio_websocket.WebSocketRequest) -> None:
        websocket = await request.accept()
        asked = json.loads(await websocket.get_message())
        await websocket.send_message(json.dumps({"result": None, "id": asked["id"]}))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ping, websocket)
                nursery.start_soon(self._listen, websocket)
                await self._send(websocket, asked["params"][0])
        except* trio_websocket.ConnectionClosed:
            pass

    async def _listen(self, websocket: trio_websocket.WebSocketConnection) -> None:
        while True:
            await websocket.get_message()

    async def _ping(self, websocket: trio_websocket.WebSocketConnection) -> None:
        while True:
            sent = trio.current_time()
            await websocket.ping()
            self.pongs.append((sent, trio.current_time() - sent))
            await trio.sleep_until(sent + PING_S)

    async def _send(self, websocket: trio_websocket.WebSocketConnection, stream: str) -> None:
        symbol = stream.partition("@")[0].upper()
        for number in itertools.count(1):
            ms = time.time_ns() // 1_000_000
            trade = {"e": "trade", "E": ms, "s": symbol, "t": number, "p": "1.0", "q": "1", "T": ms}
            await websocket.send_message(json.dumps({"stream": stream, "data": trade}))
            self.sent += 1
            await trio.sleep(1 / self._rate)


class Disk:
    """Workers that stand still while `is_stuck`."""

    def __init__(self) -> None:
        self.works = threading.Event()
        self.works.set()

    def new_worker(self) -> Worker:
        work = thread_worker()

        async def worker(job: Callable[[], Result]) -> Result:
            def wait_and_do() -> Result:
                self.works.wait()
                return job()

            return await work(wait_and_do)

        return worker


async def run(directory: Path, options: argparse.Namespace) -> bool:
    """Collect, let the disk stand still, and judge."""
    exchange, disk, live = Exchange(options.rate), Disk(), LiveState()
    run_writer = partial(writer.run_writer, new_worker=disk.new_worker)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            trio_websocket.serve_websocket, exchange.serve, "127.0.0.1", 0, None
        )
        config = Config(
            collector=CollectorSection(metrics_port=0),
            storage=StorageSection(
                mode="local",
                data_dir=str(directory / "spool"),
                local_path=str(directory / "archive"),
                min_free_bytes=0,
            ),
            markets=(
                Market(
                    exchange="binance",
                    symbols=tuple(f"C{n}USDT" for n in range(options.connections)),
                    feeds=(FeedType.TRADES,),
                    base_url=f"ws://127.0.0.1:{server.port}",
                ),
            ),
        )
        stop = trio.Event()

        async def collect() -> None:
            connections = app.plan(config, {})
            for connection in connections:  # the exchange is ours: it has no limit
                adapter = connection.adapter
                adapter.limits = adapter.limits._replace(connects=())
            with mock.patch.object(app, "run_writer", run_writer):
                await app.collect(config, connections, stop, live=live)
            nursery.cancel_scope.cancel()

        nursery.start_soon(collect)
        await wait_up(live, options.connections)
        await trio.sleep(BEFORE_S)
        began = trio.current_time()
        disk.works.clear()
        await trio.sleep(options.stuck)
        disk.works.set()
        ended = trio.current_time()
        await trio.sleep(AFTER_S)
        rows = sum(each.rows for each in live.streams.values())
        stop.set()
    ends = sum(each.session > 1 for each in live.connections.values())
    during = [took for sent, took in exchange.pongs if began <= sent <= ended]
    other = [took for sent, took in exchange.pongs if not began <= sent <= ended]
    for name, took in (("while it stood still", during), ("else", other)):
        print(
            f"{len(took):,} pongs {name}: median {lab.quantile(took, 0.5) * 1e3:.2f} ms,"
            f" p99 {lab.quantile(took, 0.99) * 1e3:.2f} ms, longest {max(took) * 1e3:.1f} ms"
        )
    print(f"{rows:,} rows received of {exchange.sent:,} sent by then; {ends} sessions ended")
    return max(during) <= MOST_S and ends == 0


async def wait_up(live: LiveState, connections: int) -> None:
    """Wait until so many connections are up; nobody tells of it."""
    is_up = False
    while not is_up:
        await trio.sleep(0.1)
        is_up = sum(each.is_up for each in live.connections.values()) == connections


def main() -> None:
    parser = lab.open_parser(__doc__)
    parser.add_argument("--connections", type=int, default=40)
    parser.add_argument("--rate", type=float, default=15.0, help="messages/s of each connection")
    parser.add_argument("--stuck", type=float, default=10.0, help="seconds")
    with tempfile.TemporaryDirectory() as directory:
        is_good = trio.run(run, Path(directory), parser.parse_args())
    lab.finish(is_good=is_good)


if __name__ == "__main__":
    main()
