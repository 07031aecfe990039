"""docs/frame.md is true: every file that it names takes part in bringing a frame to the bucket."""

import re
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import pytest
import trio

import trio_collector
from tests.support.bucket import Bucket
from tests.support.collector import RunningCollector
from trio_collector.config.settings import AwsSection, Config
from trio_collector.simulator import Simulation, Simulator

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(trio_collector.__file__).parent
BINANCE = {"binance": ("BTCUSDT",)}
# What the page names for cases that a single small file of an idle machine does not meet.
NOT_MET = {
    "store/multipart.py": "for files over 64 MiB",
    "uploader/local_archive.py": "with mode local",
}


def named(page: str) -> set[str]:
    """Return the files of the package that a page names."""
    return set(re.findall(r"`([a-z0-9_/]+\.py)`", (ROOT / "docs" / page).read_text()))


@pytest.fixture
def called_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """The files in which anything is called from now on, in this thread and in trio's workers."""
    files: set[str] = set()
    in_thread = trio.to_thread.run_sync

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call":
            files.add(frame.f_code.co_filename)

    async def run_sync(work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        def noted() -> Any:
            sys.setprofile(note)
            try:
                return work(*arguments)
            finally:
                sys.setprofile(None)

        return await in_thread(noted, **options)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
    sys.setprofile(note)
    yield files
    sys.setprofile(None)


async def test_a_frame_passes_every_file_that_the_page_names(
    tmp_path: Path,
    nursery: trio.Nursery,
    monkeypatch: pytest.MonkeyPatch,
    called_files: set[str],
    start_simulator: Callable[[Simulation], Awaitable[Simulator]],
    start_bucket: Callable[..., Awaitable[Bucket]],
    config_for: Callable[..., Config],
    wait_until: Callable[[Callable[[], bool]], Awaitable[None]],
) -> None:
    """From a simulated Binance to a simulated bucket, with every call noted."""
    simulator = await start_simulator(Simulation(exchanges=BINANCE))
    bucket = await start_bucket()
    monkeypatch.setenv("AWS_ACCESS_KEY", bucket.access_key)
    monkeypatch.setenv("AWS_SECRET_KEY", bucket.secret_key)
    aws = AwsSection(region=bucket.region, bucket=bucket.bucket, endpoint_url=bucket.endpoint_url)
    config = msgspec.structs.replace(config_for(simulator, BINANCE, mode="s3"), aws=aws)
    run = RunningCollector(config)
    nursery.start_soon(run.run)
    await wait_until(lambda: run.rows() > 10)
    await run.end()
    assert run.is_clean
    files = [Path(name) for name in called_files]
    seen = {path.relative_to(PACKAGE).as_posix() for path in files if PACKAGE in path.parents}
    missing = named("frame.md") - NOT_MET.keys() - seen
    assert missing == set()


@pytest.mark.parametrize("page", ["frame.md", "architecture.md"])
def test_files_that_are_named_exist(page: str) -> None:
    """A page names files where they are."""
    roots = (PACKAGE, ROOT)
    assert [name for name in named(page) if not any((at / name).exists() for at in roots)] == []
