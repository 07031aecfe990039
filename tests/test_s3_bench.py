"""The evidence of delivery in small: the measurements in `bench/` run, and find nothing wrong."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 110


def run_bench(name: str, *arguments: str, **variables: str) -> str:
    """Return what a measurement printed; it ends itself when it takes too long."""
    command = [sys.executable, "-m", f"tests.bench.{name}", *arguments, "--timeout", str(LIMIT_S)]
    environ = {name: text for name, text in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        command, cwd=ROOT, env={**environ, **variables}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_faults() -> None:
    """Behind a bad line and with a bad store every file is delivered once, and none is removed early."""
    output = run_bench("s3_faults", "--uploads", "60", "--large", "0", "--speed", "40")
    assert "60 verified in the store, 0 missing or wrong" in output


@pytest.mark.slow
def test_kills(swift: Mapping[str, str]) -> None:
    """Killed anywhere between append and removal, the chain loses nothing and doubles nothing."""
    output = run_bench("s3_kill9", "--kills", "12", SWIFT_PLACE=json.dumps(dict(swift)))
    assert "0 files left on disk" in output


@pytest.mark.slow
def test_speed() -> None:
    """The measurement of speed runs; what it measures is of no use beside other tests."""
    command = [
        sys.executable,
        "-m",
        "tests.bench.s3_speed",
        "--mb",
        "8",
        "--rounds",
        "1",
        "--lag-mb",
        "0",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)
    assert "MB/s" in done.stdout, done.stdout + done.stderr
