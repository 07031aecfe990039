"""Random faults on real sockets: the short form of tests/bench/feed_faults.py."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BENCH = "tests.bench.feed_faults"


@pytest.mark.slow
def test_every_frame_is_accounted_for() -> None:
    """Whatever goes wrong on 40 connections, each frame is stored or its loss is on record."""
    done = subprocess.run(
        [sys.executable, "-m", BENCH, "mix", "--minutes", "0.25", "--rate", "1", "--each", "30"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.endswith("good\n"), done.stdout + done.stderr
    assert done.returncode == 0
