"""The command line: typer turns arguments into one call, and the call ends in an exit code.

Exit codes: 0 stopped cleanly, 1 failed, 2 bad configuration or usage. A command's result goes to
stdout, everything else to stderr.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import orjson
import trio
import typer
from rich.console import Console

from trio_collector import __version__
from trio_collector.app import plan
from trio_collector.commands.check import Check
from trio_collector.commands.demo import run_demo
from trio_collector.commands.run import run_collector
from trio_collector.commands.signals import run_until_signal
from trio_collector.commands.simulate import run_simulator
from trio_collector.commands.status import DEFAULT_URL, show_status
from trio_collector.config.checks import warnings
from trio_collector.config.loading import find_config
from trio_collector.config.sharding import load_part
from trio_collector.errors import CollectorError, ConfigError, leaves_of
from trio_collector.logs.redaction import secret_values
from trio_collector.logs.setup import configure_logging, log_level
from trio_collector.simulator.faults.file import load_script
from trio_collector.simulator.faults.script import FaultScript
from trio_collector.simulator.settings import Simulation
from trio_collector.uploader.probe import probe_store

cli = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Order books and trades of five exchanges, from WebSockets into crash-proof Parquet.",
)

EXIT_FAILED = 1
EXIT_CONFIG = 2

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
        is_clean = run_collector(config, shard)
    if not is_clean:
        sys.exit(EXIT_FAILED)


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
        loaded = load_part(path, shard)
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
        is_complete = trio.run(run_until_signal, partial(run_demo, directory, seconds))
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
        trio.run(run_until_signal, partial(run_simulator, settings))


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
    """Turn errors that are raised on purpose into lines on stderr and an exit code."""
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
