"""The collector as a whole, over real sockets: what was sent is stored, whatever becomes of it."""

import math
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import msgspec
import orjson
import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from tests.support.bucket import Bucket
from tests.support.collector import RunningCollector
from trio_collector import app
from trio_collector.budget import ByteBudget
from trio_collector.config.markets import Market
from trio_collector.config.settings import AwsSection, CollectorSection, Config, StorageSection
from trio_collector.disk import LocalDisk
from trio_collector.events import Batch, DataType, Stream
from trio_collector.feed.context import FeedContext
from trio_collector.feed.planning.connections import ConnectionPlan
from trio_collector.format.journal_reader import open_journal
from trio_collector.simulator import Simulation, Simulator
from trio_collector.writer.task import run_writer

Frames = dict[Stream, list[bytes]]
StartSimulator = Callable[[Simulation], Awaitable[Simulator]]
WaitUntil = Callable[[Callable[[], bool]], Awaitable[None]]
Received = Callable[[], Counter[Stream]]
ReadFrames = Callable[[Path], Frames]

BRISK = Simulation(is_recording=True, books_per_s=40, trades_per_s=30)
ROWS_EACH = 25
ONE_OF_EACH = {
    "binance": ("BTCUSDT",),
    "coinbase": ("BTC-USD",),
    "upbit": ("KRW-BTC",),
    "okx": ("BTC-USDT",),
    "bybit": ("BTCUSDT",),
}
DATA = (DataType.ORDERBOOK, DataType.TRADE)


def sent_frames(simulator: Simulator) -> Frames:
    """Return what the simulator says it sent."""
    return {
        Stream(key.exchange, key.symbol, DataType(key.data_type)): frames
        for key, frames in simulator.sent.frames.items()
    }


def data_of(stored: Frames) -> Frames:
    """Return the streams of `stored` that hold data."""
    return {stream: frames for stream, frames in stored.items() if stream.data_type in DATA}


def streams_of(connections: list[ConnectionPlan]) -> set[Stream]:
    return {stream for connection in connections for stream in connection.streams}


@pytest.fixture
def catch_up(received: Received, wait_until: WaitUntil) -> Callable[..., Awaitable[None]]:
    """Wait until each stream has some rows; pause the markets; wait for what is on its way."""

    async def wait(simulator: Simulator, run: RunningCollector) -> None:
        streams = streams_of(run.connections)
        await wait_until(lambda: all(received()[stream] >= ROWS_EACH for stream in streams))
        simulator.pause()
        await simulator.wait_sent()
        sent = sum(map(len, simulator.sent.frames.values()))
        await wait_until(lambda: received().total() >= sent)

    return wait


@pytest.mark.parametrize("streams_per_connection", [1, 50])
@pytest.mark.parametrize("is_tls", [False, True], ids=["ws", "wss"])
async def test_everything_sent_is_stored_once(
    is_tls: bool,
    streams_per_connection: int,
    tmp_path: Path,
    nursery: trio.Nursery,
    start_simulator: StartSimulator,
    config_for: Callable[..., Config],
    stored_frames: ReadFrames,
    catch_up: Callable[..., Awaitable[None]],
) -> None:
    """Every data frame of five exchanges is a row, byte for byte, in order, and only once."""
    settings = msgspec.structs.replace(BRISK, is_tls=is_tls)
    simulator = await start_simulator(settings)
    trust = ssl.create_default_context(cadata=simulator.ca_pem.decode()) if is_tls else None
    config = config_for(simulator, websocket={"streams_per_connection": streams_per_connection})
    run = RunningCollector(config, ssl_context=trust)
    assert len(run.connections) == (5 if streams_per_connection > 1 else 20)
    nursery.start_soon(run.run)
    await catch_up(simulator, run)
    await run.end()
    assert run.is_clean
    stored = stored_frames(tmp_path / "archive")
    assert data_of(stored) == sent_frames(simulator)
    assert set(data_of(stored)) == streams_of(run.connections)
    assert not any(stream.data_type is DataType.UNPARSED for stream in stored)
    assert ledger_of(stored) == {
        stream: ["live", "stopped", "subscribed"] for stream in streams_of(run.connections)
    }
    assert leftovers(tmp_path / "spool") == []


async def test_everything_sent_is_in_the_bucket(
    tmp_path: Path,
    nursery: trio.Nursery,
    monkeypatch: pytest.MonkeyPatch,
    start_simulator: StartSimulator,
    start_bucket: Callable[..., Awaitable[Bucket]],
    config_for: Callable[..., Config],
    stored_frames: ReadFrames,
    catch_up: Callable[..., Awaitable[None]],
) -> None:
    """With mode s3 every frame sent is a row of an object in the bucket, and the spool is empty."""
    bucket = await start_bucket()
    for name, value in (("ACCESS", bucket.access_key), ("SECRET", bucket.secret_key)):
        monkeypatch.setenv(f"AWS_{name}_KEY", value)
    simulator = await start_simulator(BRISK)
    aws = AwsSection(region=bucket.region, bucket=bucket.bucket, endpoint_url=bucket.endpoint_url)
    config = msgspec.structs.replace(config_for(simulator, mode="s3"), aws=aws)
    run = RunningCollector(config)
    nursery.start_soon(run.run)
    await catch_up(simulator, run)
    await run.end()
    assert run.is_clean
    for key, stored in bucket.objects.items():
        path = tmp_path / "fetched" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stored.content or b"")
    assert data_of(stored_frames(tmp_path / "fetched")) == sent_frames(simulator)
    assert leftovers(tmp_path / "spool") == []


def ledger_of(stored: Frames) -> dict[Stream, list[str]]:
    """Return the sorted events of each stream's ledger."""
    events: dict[Stream, list[str]] = {}
    for stream, frames in stored.items():
        if stream.data_type is DataType.STATUS:
            for entry in map(orjson.loads, frames):
                about = stream._replace(data_type=DataType(entry["data_type"]))
                events.setdefault(about, []).append(entry["event"])
    return {stream: sorted(names) for stream, names in events.items()}


def leftovers(spool: Path) -> list[Path]:
    """Return the files in the spool, but for the lock."""
    return [path for path in spool.rglob("*") if path.is_file() and path.name != ".lock"]


async def test_end_in_order(
    nursery: trio.Nursery,
    start_simulator: StartSimulator,
    config_for: Callable[..., Config],
    catch_up: Callable[..., Awaitable[None]],
) -> None:
    """At the end all sessions end, then all segments are sealed, then the last file is delivered."""
    simulator = await start_simulator(BRISK)
    run = RunningCollector(config_for(simulator, ONE_OF_EACH))
    with capture_logs() as entries:
        nursery.start_soon(run.run)
        await catch_up(simulator, run)
        await run.end()
    order = [entry["event"] for entry in entries]
    stopping, last = order.index("stopping"), {name: i for i, name in enumerate(order)}
    assert order.count("session ended") == len(run.connections)
    assert stopping < order.index("session ended")
    assert last["session ended"] < order.index("segment sealed")
    assert (
        last["segment sealed"] < last["file archived"] < order.index("stopped") == last["stopped"]
    )
    assert order.count("segment sealed") == order.count("file archived")


@pytest.fixture
def idle_config(tmp_path: Path) -> Config:
    """A configuration for tests whose feeds are fakes."""
    return Config(
        collector=CollectorSection(metrics_port=0, shutdown_grace_secs=24),
        storage=StorageSection(mode="local", data_dir=str(tmp_path), local_path=f"{tmp_path}-a"),
        markets=(Market(exchange="binance", symbols=("btcusdt",)),),
    )


class Stages:
    """Fakes of the three stages that note when they begin and end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.notes: list[str] = []
        self.seal_s = 10.0
        for name in ("run_feed", "run_writer", "run_uploader"):
            monkeypatch.setattr(app, name, getattr(self, name))

    async def run_feed(
        self,
        connection: ConnectionPlan,
        context: FeedContext,
        to_writer: trio.MemorySendChannel[Batch],
    ) -> None:
        async with to_writer:
            await context.stop.wait()
            await trio.sleep(1)
            await to_writer.send(Batch(connection.streams[0], 0))
            self.notes.append("feed ends")

    async def run_writer(
        self,
        _storage: StorageSection,
        batches: trio.MemoryReceiveChannel[Batch],
        wake_uploader: trio.MemorySendChannel[None],
        _budget: ByteBudget,
        **_rest: object,
    ) -> None:
        async with batches, wake_uploader:
            async for _batch in batches:
                self.notes.append("writer takes a batch")
            await trio.sleep(self.seal_s)
            wake_uploader.send_nowait(None)
            self.notes.append("writer ends")

    async def run_uploader(
        self, _storage: StorageSection, wakeups: trio.MemoryReceiveChannel[None], **_rest: object
    ) -> None:
        async with wakeups:
            async for _ring in wakeups:
                self.notes.append("uploader hears")
            await trio.sleep(5)
            self.notes.append("uploader ends")


async def test_each_stage_outlives_the_one_before(
    idle_config: Config, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """The writer ends after the feeds and has all they sent, the uploader ends after the writer."""
    stages = Stages(monkeypatch)
    run = RunningCollector(idle_config)
    run.stop.set()
    await run.run()
    assert run.is_clean
    assert sorted(stages.notes[:4]) == [*["feed ends"] * 2, *["writer takes a batch"] * 2]
    assert stages.notes[4:-1] in (
        ["writer ends", "uploader hears"],
        ["uploader hears", "writer ends"],
    )
    assert stages.notes[-1] == "uploader ends"
    assert trio.current_time() == pytest.approx(16)


async def test_drain_has_a_deadline(
    idle_config: Config, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """A drain that takes longer than shutdown_grace_secs is cut off and reported while it lasts."""
    stages = Stages(monkeypatch)
    stages.seal_s = math.inf
    run = RunningCollector(idle_config)
    with capture_logs() as entries:
        run.stop.set()
        await run.run()
    assert run.is_clean is False
    assert trio.current_time() == pytest.approx(24)
    assert [entry["event"] for entry in entries].count("draining") == 4


class StuckDisk(LocalDisk):
    """A disk on which no sealed file ever gets its name."""

    def rename(self, old: Path, new: Path) -> None:
        trio.from_thread.run(trio.sleep_forever)


async def test_cut_off_drain_leaves_the_journals(
    tmp_path: Path,
    nursery: trio.Nursery,
    monkeypatch: pytest.MonkeyPatch,
    start_simulator: StartSimulator,
    config_for: Callable[..., Config],
    stored_frames: ReadFrames,
    catch_up: Callable[..., Awaitable[None]],
) -> None:
    """What could not be sealed in time is in journals, and the next start seals it."""
    simulator = await start_simulator(BRISK)
    config = config_for(simulator, ONE_OF_EACH)
    hasty = Config(
        collector=CollectorSection(shutdown_grace_secs=0.5),
        storage=config.storage,
        markets=config.markets,
    )
    with monkeypatch.context() as patch:
        patch.setattr(app, "run_writer", partial(run_writer, disk=StuckDisk()))
        run = RunningCollector(hasty)
        nursery.start_soon(run.run)
        await catch_up(simulator, run)
        await run.end()
    assert run.is_clean is False
    assert journaled(tmp_path / "spool") == sent_frames(simulator)
    assert stored_frames(tmp_path / "archive") == {}
    await restart(config)
    stored = stored_frames(tmp_path / "archive")
    assert data_of(stored) == sent_frames(simulator)
    assert leftovers(tmp_path / "spool") == []


def journaled(spool: Path) -> Frames:
    """Return the data in the journals below `spool`."""
    frames: Frames = {}
    for path in sorted(spool.rglob("*.arrows")):
        with open_journal(path) as journal:
            rows = [text.encode() for batch in journal for text in batch["data"].to_pylist()]
            frames.setdefault(journal.header.stream, []).extend(rows)
    return data_of(frames)


async def restart(config: Config) -> RunningCollector:
    """Start the collector and stop it at once: what was left behind is settled first."""
    run = RunningCollector(config)
    run.stop.set()
    await run.run()
    assert run.is_clean
    return run


async def test_restart_recovers(
    tmp_path: Path,
    nursery: trio.Nursery,
    start_simulator: StartSimulator,
    config_for: Callable[..., Config],
    stored_frames: ReadFrames,
    catch_up: Callable[..., Awaitable[None]],
    wait_until: WaitUntil,
) -> None:
    """What a collector that died had written down is sealed by the next one, and told about."""
    simulator = await start_simulator(BRISK)
    config = config_for(simulator, ONE_OF_EACH, flush_interval_secs=0.1)
    run = RunningCollector(config)
    nursery.start_soon(run.run)
    await catch_up(simulator, run)
    sent = sent_frames(simulator)
    await wait_until(lambda: journaled(tmp_path / "spool") == sent)
    run.scope.cancel()
    await run.ended.wait()
    assert stored_frames(tmp_path / "archive") == {}
    await restart(config)
    stored = stored_frames(tmp_path / "archive")
    assert data_of(stored) == sent
    assert leftovers(tmp_path / "spool") == []
    events = ledger_of(stored)
    assert all("recovered" in events[stream] for stream in streams_of(run.connections))


async def test_unparsed_rows_survive(
    tmp_path: Path,
    nursery: trio.Nursery,
    start_simulator: StartSimulator,
    config_for: Callable[..., Config],
    stored_frames: ReadFrames,
    received: Received,
    wait_until: WaitUntil,
) -> None:
    """What no adapter can read is stored as it came, also when it is no text."""
    strange = [b'{"type":"orderbook","code":', b"\xff\xfe not UTF-8", b"[]", b"\0"]
    folder = tmp_path / "captures" / "upbit"
    folder.mkdir(parents=True)
    (folder / "strange.jsonl").write_bytes(b"\n".join(strange))
    simulator = await start_simulator(Simulation(captures=folder.parent))
    run = RunningCollector(config_for(simulator, {"upbit": ("KRW-BTC",)}))
    nursery.start_soon(run.run)
    await wait_until(lambda: received().total() == len(strange))
    await run.end()
    stored = stored_frames(tmp_path / "archive")
    assert stored[Stream("upbit", "krwbtc", DataType.UNPARSED)] == strange
    assert data_of(stored) == {}


async def test_bug_in_the_writer_ends_the_process(
    idle_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that nobody planned comes out of collect; it does not go on without a writer."""

    async def broken_writer(*_arguments: object, **_options: object) -> None:
        raise ZeroDivisionError("a bug")

    Stages(monkeypatch)
    monkeypatch.setattr(app, "run_writer", broken_writer)
    run = RunningCollector(idle_config)
    with trio.fail_after(10), pytest.raises(ExceptionGroup) as caught:
        await run.run()
    assert caught.group_contains(ZeroDivisionError, match="a bug")


async def test_end_tells_how_many_rows(
    nursery: trio.Nursery,
    start_simulator: StartSimulator,
    config_for: Callable[..., Config],
    catch_up: Callable[..., Awaitable[None]],
) -> None:
    """The last line says how many rows came, were sealed (the ledger's with them) and were lost."""
    simulator = await start_simulator(BRISK)
    run = RunningCollector(config_for(simulator, {"bybit": ("BTCUSDT",)}))
    before = _totals()
    nursery.start_soon(run.run)
    await catch_up(simulator, run)
    with capture_logs() as entries:
        await run.end()
    told = entries[-1]
    assert (told["event"], told["is_clean"]) == ("stopped", True)
    sent = sum(map(len, simulator.sent.frames.values()))
    ledger_rows = 3 * len(streams_of(run.connections))
    assert told["rows_received"] - before[0] == sent
    assert told["rows_sealed"] - before[1] == sent + ledger_rows
    assert told["rows_dropped"] - before[2] == 0


def _totals() -> tuple[int, ...]:
    with capture_logs() as entries:
        app.report_end(is_clean=True)
    return tuple(entries[0][f"rows_{what}"] for what in ("received", "sealed", "dropped"))
