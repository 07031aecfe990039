"""The command line: arguments in, one call, an exit code out.

Exit codes: 0 stopped cleanly, 1 failed, 2 bad configuration or usage. What a command found goes to
stdout, everything else to stderr.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import orjson
import structlog
import trio
import typer
from rich.console import Console

from trio_collector import __version__
from trio_collector.app import collect, plan
from trio_collector.commands.check import Check
from trio_collector.commands.demo import run_demo
from trio_collector.commands.open_files import raise_file_limit
from trio_collector.commands.status import DEFAULT_URL, show_status
from trio_collector.config.settings import Config, find_config, load_config, warnings
from trio_collector.config.sharding import parse_shard, select
from trio_collector.errors import CollectorError, ConfigError, leaves_of
from trio_collector.logs.redaction import secret_values
from trio_collector.logs.setup import LogFiles, configure_logging, flush_logging, log_level
from trio_collector.simulator.faults.file import load_script
from trio_collector.simulator.faults.script import FaultScript
from trio_collector.simulator.server import serve_simulator
from trio_collector.simulator.settings import Simulation
from trio_collector.uploader.probe import probe_store

log = structlog.get_logger(__name__)

Result = TypeVar("Result")

cli = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Order books and trades of five exchanges, from WebSockets into crash-proof Parquet.",
)

EXIT_FAILED = 1
EXIT_CONFIG = 2

# How long a busy event loop may keep the interpreter from the threads that write. With CPython's
# 5 ms an append, which needs the interpreter some 40 times, falls behind a firehose: 443 MB of
# resident memory for 290,000 rows/s, against 296 MB with this, at the same rate.
# (tests/bench/firehose.py)
SWITCH_INTERVAL_S = 0.0005

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="Configuration; else $CONFIG_PATH, else ./config.toml."),
]


ShardOption = Annotated[
    str | None,
    typer.Option("--shard", metavar="I/N", help="Collect the I-th part of N alone, from 0."),
]


@cli.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    config: ConfigOption = None,
    shard: ShardOption = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Collect, when no command is given."""
    if version:
        typer.echo(__version__)
    elif context.invoked_subcommand is None:
        run(config, shard)


@cli.command()
def run(config: ConfigOption = None, shard: ShardOption = None) -> None:
    """Collect until SIGTERM or SIGINT; a second signal ends at once."""
    with _exit_codes():
        level, secrets = log_level(os.environ), secret_values(os.environ)
        configure_logging(level, secrets=secrets)
        loaded = _load(find_config(config, os.environ), shard)
        connections = plan(loaded, os.environ)
        section = loaded.collector
        files = LogFiles(Path(section.log_dir), section.log_retention_days)
        configure_logging(
            level, section.log_format, files=files if section.log_dir else None, secrets=secrets
        )
        if not connections:
            log.warning("this shard has no market", shard=shard)
        for problem in warnings(loaded):
            log.warning("configuration", place=problem.place, problem=problem.text)
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        raise_file_limit()
        is_clean = trio.run(_until_signal, partial(collect, loaded, connections))
    if not is_clean:
        log.error("drain cut off", remedy="the next start seals what is left in data_dir")
        sys.exit(EXIT_FAILED)


def _load(path: Path, shard: str | None) -> Config:
    """Return the configuration, with the markets of `shard` alone; raises ConfigError."""
    part = None if shard is None else parse_shard(shard)
    config = load_config(path)
    return config if part is None else select(config, part)


async def _until_signal(work: Callable[[trio.Event], Awaitable[Result]]) -> Result:
    """Return what `work` does; the event that it is given is set at a signal."""
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(_watch_signals, stop)
        result = await work(stop)
        nursery.cancel_scope.cancel()
    return result


async def _watch_signals(
    stop: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Set `stop` at the first signal; end the process at the second.

    The second does not wait for worker threads: the journals make a kill safe at any moment.
    """
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            name = signal.Signals(number).name
            if stop.is_set():
                log.warning("second signal, ending at once", signal=name)
                flush_logging(1.0)
                os._exit(EXIT_FAILED)
            log.info("signal received", signal=name)
            stop.set()


@cli.command()
def check(
    config: ConfigOption = None,
    shard: ShardOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    tries_s3: Annotated[
        bool, typer.Option("--s3", help="Try the bucket for real as well.")
    ] = False,
) -> None:
    """Validate the configuration and print the connections it asks for; no network but for --s3."""
    with _exit_codes():
        path = find_config(config, os.environ)
        loaded = _load(path, shard)
        connections = plan(loaded, os.environ)
        findings = trio.run(probe_store, loaded.aws) if tries_s3 else []
        found = Check(str(path), loaded, connections, warnings(loaded), findings)
    if as_json:
        typer.echo(orjson.dumps(found.as_json()))
    else:
        found.show(Console())
    if not found.is_good:
        sys.exit(EXIT_FAILED)


@cli.command()
def demo(
    seconds: Annotated[float, typer.Option(min=1, help="How long to collect.")] = 20.0,
    directory: Annotated[Path, typer.Option("--dir", help="Where the files go.")] = Path(
        "demo-data"
    ),
) -> None:
    """Collect from five simulated exchanges; needs no network and no credentials."""
    with _exit_codes():
        level = log_level({"LOG_LEVEL": "WARNING", **os.environ})
        configure_logging(level, secrets=secret_values(os.environ))
        is_complete = trio.run(_until_signal, partial(run_demo, directory, seconds))
        sys.exit(0 if is_complete else EXIT_FAILED)


@cli.command()
def simulate(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
    captures: Annotated[
        Path | None, typer.Option(help="Send the recorded lines of DIR/<exchange>/*.jsonl.")
    ] = None,
    is_tls: Annotated[bool, typer.Option("--tls", help="Serve wss with an own authority.")] = False,
    record: Annotated[
        Path | None, typer.Option(help="Append every data frame that was sent to this file.")
    ] = None,
    faults: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Let go wrong what this script says.")
    ] = None,
) -> None:
    """Serve the five simulated exchanges until SIGTERM or SIGINT."""
    with _exit_codes():
        configure_logging(log_level(os.environ))
        settings = Simulation(
            port=port,
            captures=captures,
            is_tls=is_tls,
            record_path=record,
            faults=load_script(faults, is_tls=is_tls) if faults else FaultScript(),
        )
        trio.run(_until_signal, partial(_simulate, settings))


async def _simulate(settings: Simulation, stop: trio.Event) -> None:
    async with trio.open_nursery() as nursery:
        simulator = await nursery.start(serve_simulator, settings)
        # Whoever started this reads where the simulator is from one line of JSON.
        typer.echo(orjson.dumps(simulator.describe()).decode())
        await stop.wait()
        nursery.cancel_scope.cancel()


@cli.command()
def status(
    url: Annotated[str, typer.Option(help="Where the collector answers.")] = DEFAULT_URL,
    is_watch: Annotated[bool, typer.Option("--watch", help="Keep showing it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the snapshot as JSON.")] = False,
) -> None:
    """Show how a running collector is."""
    with _exit_codes():
        try:
            trio.run(partial(show_status, url, is_watch=is_watch, as_json=as_json))
        except* KeyboardInterrupt:  # the usual way to leave --watch
            pass


@contextlib.contextmanager
def _exit_codes() -> Iterator[None]:
    """Turn the errors that are raised on purpose into lines on stderr and an exit code."""
    code = 0
    try:
        yield
    except* ConfigError as group:
        for exc in leaves_of(group):
            typer.echo(str(exc), err=True)
        code = EXIT_CONFIG
    except* (CollectorError, OSError) as group:
        for exc in leaves_of(group):
            typer.echo(f"error: {exc}", err=True)
        code = EXIT_FAILED
    if code:
        sys.exit(code)


def main() -> None:
    """Run the command line."""
    cli()
