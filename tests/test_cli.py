"""The command line as its users run it: real processes, their output and exit codes."""

import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import orjson
import pytest
import trio

import trio_collector
from tests.support.bucket import Bucket
from trio_collector.events import DataType, Stream
from trio_collector.simulator import Simulation, Simulator
from trio_collector.writer.lock import lock_data_dir

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = str(ROOT / "config.example.toml")

RunCli = Callable[..., subprocess.CompletedProcess[str]]
Environment = Callable[..., dict[str, str]]
WaitUntil = Callable[[Callable[[], bool]], Awaitable[None]]
StartSimulator = Callable[[Simulation], Awaitable[Simulator]]
ReadFrames = Callable[[Path], dict[Stream, list[bytes]]]

# The command line, with a collector whose drain never ends.
HANGING_DRAIN = """
import trio
from trio_collector import cli
from trio_collector.commands import run

async def collect(config, connections, stop):
    print("collecting", flush=True)
    await stop.wait()
    print("draining", flush=True)
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()

run.collect = collect
cli.main()
"""

BROKEN_WRITER = """
from trio_collector import app, cli

async def run_writer(*arguments, **options):
    raise ZeroDivisionError("a bug")

app.run_writer = run_writer
cli.main()
"""


def write_config(folder: Path, *, mode: str = "local", data_dir: str = "", more: str = "") -> str:
    """Write a configuration whose only market cannot be reached; return its path."""
    path = folder / "config.toml"
    path.write_text(f"""
[storage]
mode = "{mode}"
data_dir = "{data_dir or folder / "spool"}"
local_path = "{folder / "archive"}"
min_free_bytes = 0
{more}
[[markets]]
exchange = "binance"
symbols = ["btcusdt"]
base_url = "ws://127.0.0.1:1"
""")
    return str(path)


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_version(run_cli: RunCli) -> None:
    """--version prints the version and nothing else."""
    done = run_cli("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{trio_collector.__version__}\n", "")


def test_check_shows_the_plan(run_cli: RunCli, tmp_path: Path) -> None:
    """`check` prints each connection with its URL, and a summary; it creates nothing."""
    done = run_cli("check", "--config", EXAMPLE)
    assert (done.returncode, done.stderr) == (0, "")
    for words in (
        "binance:btcusdt:orderbook",
        "coinbase:ethusd:trades",
        "upbit:krwbtc:orderbook",
        "wss://ws.okx.com/ws/v5/public",
        "bybit:ethusdt:trades",
        f"{EXAMPLE} is valid: 20 connections, 20 streams, storage mode 's3'\n",
    ):
        assert words in done.stdout
    assert files_in(tmp_path) == []


HASTY = "[websocket]\nmessage_timeout_secs = 5\n"  # allowed, and likely a mistake


def test_check_shows_both_lines(run_cli: RunCli, tmp_path: Path) -> None:
    """A market that is received twice is two connections, each with its address."""
    more = '[[markets]]\nexchange = "binance"\nsymbols = ["XYZUSDT"]\nconnections = 2\n'
    done = run_cli("check", "--config", write_config(tmp_path, more=more), "--json")
    urls = {each["name"]: each["url"] for each in orjson.loads(done.stdout)["connections"]}
    assert urls["binance:xyzusdt:trades"] != urls["binance:xyzusdt:trades #2"]


def test_check_warns(run_cli: RunCli, tmp_path: Path) -> None:
    """What is allowed and likely a mistake is a warning, and the configuration is valid."""
    done = run_cli("check", "--config", write_config(tmp_path, more=HASTY))
    assert (done.returncode, done.stderr) == (0, "")
    warning, summary = done.stdout.splitlines()[-2:]
    assert warning.startswith("warning: websocket.message_timeout_secs: 5: ")
    assert summary.endswith("is valid: 2 connections, 2 streams, storage mode 'local'")


def test_check_as_json(run_cli: RunCli, tmp_path: Path) -> None:
    """`check --json` prints the same for machines, on stdout alone."""
    done = run_cli("check", "--config", write_config(tmp_path, more=HASTY), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    plan = orjson.loads(done.stdout)
    assert len(plan["connections"]) == 2
    assert plan["connections"][0] == {
        "name": "binance:btcusdt:orderbook",
        "exchange": "binance",
        "url": "ws://127.0.0.1:1/stream",
        "data_timeout_s": 15.0,
        "streams": ["binance/btcusdt/orderbook"],
    }
    assert [warning["place"] for warning in plan["warnings"]] == ["websocket.message_timeout_secs"]


def test_check_of_a_shard(run_cli: RunCli) -> None:
    """With --shard the markets of that shard alone are checked."""
    plans = [
        orjson.loads(run_cli("check", "--config", EXAMPLE, "--shard", f"{i}/2", "--json").stdout)
        for i in range(2)
    ]
    names = [{each["name"] for each in plan["connections"]} for plan in plans]
    assert all(names)
    assert len(names[0] | names[1]) == len(names[0]) + len(names[1]) == 20


def test_config_is_found_by_the_environment(run_cli: RunCli, tmp_path: Path) -> None:
    """$CONFIG_PATH names the file where --config does not."""
    done = run_cli("check", CONFIG_PATH=write_config(tmp_path))
    assert done.returncode == 0
    assert f"{tmp_path / 'config.toml'} is valid: 2 connections, 2 streams" in done.stdout


@pytest.mark.parametrize("command", [(), ("run",), ("check",)], ids=["none", "run", "check"])
def test_missing_config(command: tuple[str, ...], run_cli: RunCli, tmp_path: Path) -> None:
    """A file that is not there is named, in one line; nothing is created."""
    done = run_cli(*command)
    hint = "config.toml: no such file; name one with --config FILE or $CONFIG_PATH\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", hint)
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("command", ["run", "check"])
def test_every_problem_has_a_line(command: str, run_cli: RunCli, tmp_path: Path) -> None:
    """All problems of a configuration are printed at once, a line each; nothing is created."""
    more = '[websocket]\nstreams_per_connection = 0\n[[markets]]\nexchange = "ftx"\nsymbols = []\n'
    path = write_config(tmp_path, mode="tape", more=more)
    done = run_cli(command, "--config", path)
    assert (done.returncode, done.stdout) == (2, "")
    places = [line.split(":")[0] for line in done.stderr.splitlines()]
    assert sorted(places) == [
        "markets[0].exchange",
        "markets[0].symbols",
        "storage.mode",
        "websocket.streams_per_connection",
    ]
    assert files_in(tmp_path) == [tmp_path / "config.toml"]


def test_check_tells_how_long_the_start_takes(run_cli: RunCli, tmp_path: Path) -> None:
    """The limits of each exchange make a time to the last subscription, and a hint if it is long."""
    symbols = ", ".join(f'"C{number}-USDT"' for number in range(100))
    more = f'[[markets]]\nexchange = "okx"\nsymbols = [{symbols}]\n'
    config = write_config(tmp_path, more=more)
    done = run_cli("check", "--config", config)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.replace("│", " ").split() for line in done.stdout.splitlines()]
    assert ["okx", "200", "200", "1", "min", "13", "s"] in rows
    assert ["binance", "2", "2", "1", "s"] in rows
    (hint,) = [line for line in done.stdout.splitlines() if line.startswith("hint: ")]
    assert "streams_per_connection = 29 it would take 7 connections and 3 s" in hint
    as_json = orjson.loads(run_cli("check", "--config", config, "--json").stdout)
    assert hint == f"hint: {as_json['hints'][0]}"
    okx, binance = as_json["startup"]
    assert binance == {
        "exchange": "binance",
        "connections": 2,
        "subscriptions": 2,
        "subscribed_after_s": 0.1,
    }
    assert 72 < okx["subscribed_after_s"] < 74


def test_check_refuses_what_has_no_room(run_cli: RunCli, tmp_path: Path) -> None:
    """More connections than an exchange allows at a time are a problem of the configuration."""
    symbols = ", ".join(f'"C{number}USDT"' for number in range(501))
    more = f'[[markets]]\nexchange = "bybit"\nsymbols = [{symbols}]\n'
    done = run_cli("check", "--config", write_config(tmp_path, more=more))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("websocket.streams_per_connection: 1002 connections to ")
    assert done.stderr.endswith("and bybit allows 1000 at a time; set it to 2 or more\n")


async def test_check_tries_the_bucket(
    run_cli: RunCli, tmp_path: Path, start_bucket: Callable[..., Awaitable[Bucket]]
) -> None:
    """`check --s3` prints the result of each step, and fails with a remedy."""
    bucket = await start_bucket()
    aws = f'[aws]\nendpoint_url = "{bucket.endpoint_url}"\nregion = "{bucket.region}"\n'
    config = write_config(tmp_path, mode="s3", more=f'{aws}bucket = "{bucket.bucket}"')
    outputs = []
    for secret, code in ((bucket.secret_key, 0), ("wrong", 1)):
        keys = {"AWS_ACCESS_KEY": bucket.access_key, "AWS_SECRET_KEY": secret}
        check = partial(run_cli, "check", "--s3", "--config", config, **keys)
        done = await trio.to_thread.run_sync(check)
        assert done.returncode == code, done.stdout
        assert f"bucket {bucket.bucket}:" in done.stdout
        assert secret not in done.stdout + done.stderr
        outputs.append(done.stdout)
    assert not bucket.objects
    assert "secret" in outputs[-1]


def test_unknown_log_level(run_cli: RunCli, tmp_path: Path) -> None:
    """An unknown LOG_LEVEL is a usage error that names the levels."""
    done = run_cli("run", "--config", write_config(tmp_path), LOG_LEVEL="loud")
    choice = "LOG_LEVEL: unknown level 'loud'; choose one of debug, info, warning, warn, error\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", choice)


@pytest.mark.parametrize("command", ["run", "check"])
def test_wrong_coinbase_key(command: str, run_cli: RunCli, tmp_path: Path) -> None:
    """A key that cannot sign is an error at the start that names the variable, not the key."""
    more = '[[markets]]\nexchange = "coinbase"\nsymbols = ["BTC-USD"]\n'
    path = write_config(tmp_path, more=more)
    done = run_cli(
        command,
        "--config",
        path,
        COINBASE_API_KEY="organizations/x/apiKeys/y",
        COINBASE_API_SECRET="canary-no-key",
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("COINBASE_API_SECRET: ")
    assert len(done.stderr.splitlines()) == 1
    assert "canary" not in done.stderr
    assert files_in(tmp_path) == [tmp_path / "config.toml"]


def test_unknown_option(run_cli: RunCli) -> None:
    """Bad usage is exit code 2, like a bad configuration."""
    done = run_cli("check", "--colour")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--colour" in done.stderr


def test_locked_data_dir(run_cli: RunCli, tmp_path: Path) -> None:
    """A second collector on the same data_dir fails, and names the process that has it."""
    path = write_config(tmp_path)
    with lock_data_dir(tmp_path / "spool"):
        holder = (tmp_path / "spool" / ".lock").read_text().strip()
        done = run_cli("run", "--config", path)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    (line,) = lines
    assert line.startswith("error: ")
    assert line.endswith(f"process {holder} collects into this data_dir")


def test_data_dir_that_cannot_be(run_cli: RunCli, tmp_path: Path) -> None:
    """A data_dir that cannot be created is one readable line."""
    (tmp_path / "file").touch()
    path = write_config(tmp_path, data_dir=str(tmp_path / "file" / "spool"))
    done = run_cli("run", "--config", path)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert line == f"error: [Errno 20] Not a directory: '{tmp_path / 'file' / 'spool'}'"


class Process:
    """A command that runs beside the test; its output is in files."""

    def __init__(self, process: trio.Process, folder: Path) -> None:
        self._process = process
        self._folder = folder

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    @property
    def stdout(self) -> str:
        return (self._folder / "stdout").read_text()

    @property
    def log(self) -> list[dict[str, object]]:
        """The whole lines of its log so far."""
        lines = (self._folder / "stderr").read_bytes().split(b"\n")[:-1]
        return [orjson.loads(line) for line in lines]

    def count(self, event: str) -> int:
        return sum(entry["event"] == event for entry in self.log)

    @property
    def stderr(self) -> str:
        return (self._folder / "stderr").read_text()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def wait(self) -> int:
        with trio.fail_after(30):
            return await self._process.wait()


@pytest.fixture
def start_cli(
    tmp_path: Path, cli_environment: Environment
) -> Callable[..., AbstractAsyncContextManager[Process]]:
    """Run Python with arguments beside the test; what is left of it at the end is killed."""

    @asynccontextmanager
    async def start(*arguments: str) -> AsyncIterator[Process]:
        with (tmp_path / "stdout").open("wb") as out, (tmp_path / "stderr").open("wb") as err:
            process = await trio.lowlevel.open_process(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=cli_environment(),
            )
        try:
            yield Process(process, tmp_path)
        finally:
            if process.returncode is None:
                process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()

    return start


StartCli = Callable[..., AbstractAsyncContextManager[Process]]


def simulator_config(folder: Path, simulator: Simulator) -> str:
    path = folder / "config.toml"
    markets = "".join(
        f'[[markets]]\nexchange = "{name}"\nsymbols = ["{symbol}"]\n'
        f'base_url = "{simulator.base_url(name)}"\n'
        for name, symbol in (("binance", "BTCUSDT"), ("okx", "BTC-USDT"), ("upbit", "KRW-BTC"))
    )
    storage = f'mode = "local"\ndata_dir = "{folder}/spool"\nlocal_path = "{folder}/archive"\n'
    path.write_text(f"[storage]\n{storage}min_free_bytes = 0\n{markets}")
    return str(path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda each: each.name)
async def test_signal_drains(
    number: signal.Signals,
    tmp_path: Path,
    start_cli: StartCli,
    start_simulator: StartSimulator,
    wait_until: WaitUntil,
    stored_frames: ReadFrames,
) -> None:
    """SIGTERM and SIGINT end the collector with 0 and all it received in sealed files."""
    simulator = await start_simulator(
        Simulation(is_recording=True, books_per_s=50, trades_per_s=50)
    )
    config = simulator_config(tmp_path, simulator)
    async with start_cli("-m", "trio_collector", "run", "--config", config) as process:
        await wait_until(lambda: process.count("stream live") == 6)
        process.send(number)
        assert await process.wait() == 0
    assert process.stdout == ""
    last = process.log[-1]
    assert (last["event"], last["is_clean"], last["rows_dropped"]) == ("stopped", True, 0)
    stored = stored_frames(tmp_path / "archive")
    kept = {stream: frames for stream, frames in stored.items() if stream.data_type in DATA}
    assert sum(map(len, kept.values())) == last["rows_received"]
    assert sum(map(len, stored.values())) == last["rows_sealed"]
    sent = {Stream(*key): frames for key, frames in simulator.sent.frames.items()}  # type: ignore[arg-type]  # a StrEnum equals its text
    assert kept.keys() == sent.keys()
    for stream, frames in kept.items():  # what was in the sockets at the stop was not received
        assert frames == sent[stream][: len(frames)]
    assert [path.name for path in files_in(tmp_path / "spool")] == [".lock"]


DATA = (DataType.ORDERBOOK, DataType.TRADE)


async def test_second_signal_ends_at_once(
    tmp_path: Path, start_cli: StartCli, wait_until: WaitUntil
) -> None:
    """While a drain hangs, another signal ends the process with 1, whatever still runs."""
    config = write_config(tmp_path)
    async with start_cli("-c", HANGING_DRAIN, "run", "--config", config) as process:
        await wait_until(lambda: "collecting" in process.stdout)
        process.send(signal.SIGTERM)
        await wait_until(lambda: "draining" in process.stdout)
        assert process.returncode is None
        process.send(signal.SIGINT)
        with trio.fail_after(5):
            assert await process.wait() == 1
    assert process.log[-1]["event"] == "second signal, ending at once"


async def test_stop_before_anything_came(
    tmp_path: Path, start_cli: StartCli, wait_until: WaitUntil
) -> None:
    """A collector that reaches nobody stops as cleanly as one that does."""
    config = write_config(tmp_path)
    async with start_cli("-m", "trio_collector", "--config", config) as process:
        await wait_until(lambda: process.count("session ended") == 2)
        process.send(signal.SIGTERM)
        assert await process.wait() == 0
    ended = next(entry for entry in process.log if entry["event"] == "session ended")
    assert (ended["reason"], ended["detail"]) == ("connect_failed", "127.0.0.1:1: refused")
    assert process.log[-1]["event"] == "stopped"


async def test_bug_is_exit_code_1(tmp_path: Path, start_cli: StartCli) -> None:
    """A bug in the writer ends the process with 1 and a traceback."""
    config = write_config(tmp_path)
    async with start_cli("-c", BROKEN_WRITER, "run", "--config", config) as process:
        assert await process.wait() == 1
    assert "ZeroDivisionError: a bug" in process.stderr


async def test_simulate_says_where_it_is(
    tmp_path: Path, start_cli: StartCli, wait_until: WaitUntil
) -> None:
    """`simulate` prints one line of JSON with its URLs once it listens, and ends with 0."""
    async with start_cli("-m", "trio_collector", "simulate", "--tls") as process:
        await wait_until(lambda: process.stdout.endswith("\n"))
        process.send(signal.SIGTERM)
        assert await process.wait() == 0
    (line,) = process.stdout.splitlines()
    told = orjson.loads(line)
    assert told["base_urls"]["okx"] == f"wss://127.0.0.1:{told['port']}/okx"
    assert told["ca_pem"].startswith("-----BEGIN CERTIFICATE-----")
