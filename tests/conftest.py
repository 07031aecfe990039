"""What the tests of the whole share: a simulator, a configuration for it, the rows on disk, a CLI."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import hypothesis
import msgspec
import pyarrow.parquet as pq
import pytest
import trio

from tests.support import registry, skips
from tests.support.bucket import Bucket, BucketSettings, serve_bucket
from tests.support.shared_swift import shared_swift
from trio_collector import layout
from trio_collector.config.markets import Market
from trio_collector.config.settings import (
    CollectorSection,
    Config,
    StorageSection,
    WebsocketSection,
)
from trio_collector.events import Stream
from trio_collector.simulator import DEFAULT_EXCHANGES, Simulation, Simulator, serve_simulator
from trio_collector.telemetry import metrics

CLI_TIMEOUT_S = 60  # a hung process must not hang the tests
PATIENCE_S = 30.0
POLL_S = 0.02

# What would change a command that a test runs.
FOREIGN_VARIABLES = ("CONFIG_PATH", "LOG_LEVEL", "COINBASE_", "AWS_")


# How long an example takes says something about the machine's load, and nothing about the code.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")


pytest_configure = skips.pytest_configure


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Run single files and tests in this process; what is of more than one uses every core."""
    names = [argument.split("::")[0] for argument in config.args]
    return 0 if len(names) == 1 and Path(names[0]).is_file() else None


@pytest.fixture(autouse=True)
def _new_registry() -> None:
    """Count from 0 in each test."""
    registry.reset()


@pytest.fixture
def start_simulator(nursery: trio.Nursery) -> Callable[[Simulation], Awaitable[Simulator]]:
    """Start a simulator that ends with the test."""

    async def start(settings: Simulation) -> Simulator:
        simulator = await nursery.start(serve_simulator, settings)
        assert isinstance(simulator, Simulator)
        return simulator

    return start


@pytest.fixture
def config_for(tmp_path: Path) -> Callable[..., Config]:
    """Make the configuration that collects from a simulator into `spool` and `archive`."""

    def make(
        simulator: Simulator,
        exchanges: Mapping[str, tuple[str, ...]] = DEFAULT_EXCHANGES,
        *,
        websocket: Mapping[str, Any] | None = None,
        **storage: Any,
    ) -> Config:
        folders = {"data_dir": str(tmp_path / "spool"), "local_path": str(tmp_path / "archive")}
        return Config(
            collector=CollectorSection(metrics_port=0),
            storage=StorageSection(**{"mode": "local", "min_free_bytes": 0, **folders, **storage}),
            websocket=WebsocketSection(**(websocket or {})),
            markets=tuple(
                msgspec.convert(
                    {"exchange": name, "symbols": symbols, "base_url": simulator.base_url(name)},
                    Market,
                )
                for name, symbols in exchanges.items()
            ),
        )

    return make


@pytest.fixture
def stored_frames() -> Callable[[Path], dict[Stream, list[bytes]]]:
    """Return the frames of all sealed files below a folder, by stream, in the files' order."""

    def read(root: Path) -> dict[Stream, list[bytes]]:
        files = []
        for path in root.rglob(f"*{layout.SEALED}"):
            place = layout.parse_segment_path(PurePosixPath(path.relative_to(root).as_posix()))
            assert place is not None, path
            files.append((place.stream, place.first_ms, path))
        frames: dict[Stream, list[bytes]] = {}
        for stream, _first_ms, path in sorted(files):
            column = pq.read_table(path, columns=["data"])["data"]
            frames.setdefault(stream, []).extend(map(_bytes_of, column.to_pylist()))
        return frames

    return read


def _bytes_of(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


@pytest.fixture
def received() -> Callable[[], Counter[Stream]]:
    """Return the rows that this process has received since the test began, by stream."""
    before = metrics.received_rows()
    return lambda: metrics.received_rows() - before


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Wait until a condition of another task's making holds; counts and files have no event."""

    async def wait(condition: Callable[[], bool]) -> None:
        with trio.fail_after(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 - see above
                await trio.sleep(POLL_S)

    return wait


@pytest.fixture
def cli_environment() -> Callable[..., dict[str, str]]:
    """Return the environment for a command: ours, without what the collector would read in it."""

    def environment(**variables: str) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(FOREIGN_VARIABLES)
        }
        return {**kept, "COLUMNS": "160", **variables}

    return environment


@pytest.fixture
def run_cli(
    tmp_path: Path, cli_environment: Callable[..., dict[str, str]]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `python -m trio_collector` with arguments, in an empty folder, to its end."""
    folder = tmp_path / "cwd"
    folder.mkdir()

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "trio_collector", *arguments],
            cwd=folder,
            env=cli_environment(**variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CLI_TIMEOUT_S,
        )

    return run


@pytest.fixture
def start_bucket(nursery: trio.Nursery) -> Callable[..., Awaitable[Bucket]]:
    """Start a simulated bucket that ends with the test."""

    async def start(**settings: Any) -> Bucket:
        bucket = await nursery.start(serve_bucket, BucketSettings(**settings))
        assert isinstance(bucket, Bucket)
        return bucket

    return start


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Run a real S3 server for all tests: `endpoint_url`, `access_key`, `secret_key`, `region`.

    Workers of one run share it; each test has a bucket whose name no other test has.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "swift"
    folder.mkdir(exist_ok=True)
    if not has_xattrs(folder):
        pytest.skip(f"Swift keeps metadata in user xattrs, which {folder} does not have")
    with shared_swift(folder) as place:
        yield place


def has_xattrs(folder: Path) -> bool:
    """Return whether files in `folder` can have user xattrs."""
    if sys.platform != "linux":
        return False
    try:
        os.setxattr(folder, "user.probe", b"1")
    except OSError:
        return False
    return True
