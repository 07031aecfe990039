"""The whole collector under `kill -9`: the short form of tests/bench/kill9.py."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_kill_loses_nothing_that_was_written() -> None:
    """After kills under load and a clean stop every flushed row is in exactly one file.

    What is missing is of the last seconds; the bench measures that, on a machine that is not busy.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.kill9", "--kills", "3", "--slack", "2", "--writing"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.endswith("good\n"), done.stdout + done.stderr
    assert done.returncode == 0
    assert "0 with open journals" not in done.stdout
