"""The measurement of mutants in `bench/` tells what tests notice from what they do not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.mutations import read_mutants

PLUGINS = "-p pytest_trio.plugin"  # what `pyproject.toml` has an option of
ROOT = Path(__file__).resolve().parents[1]
SOURCE = """
def is_small(number: int) -> bool:
    return number < 3
"""
WEAK = """
from tiny import is_small

def test_small():
    assert is_small(2) and not is_small(4)
"""
STRONG = WEAK.replace("is_small(4)", "is_small(3)")


@pytest.fixture
def changes(tmp_path: Path) -> "Changes":
    return Changes(tmp_path)


class Changes:
    """The mutants of a source."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "source.py"

    def __call__(self, source: str) -> list[str]:
        self.path.write_text(source)
        return [mutant.change for mutant in read_mutants(self.path)[1]]


def run(folder: Path, tests: str) -> subprocess.CompletedProcess[str]:
    (folder / "tiny.py").write_text(SOURCE)
    (folder / "test_tiny.py").write_text(tests)
    command = [sys.executable, "-m", "tests.bench.mutants", str(folder / "tiny.py")]
    return subprocess.run(
        [*command, "--tests", str(folder / "test_tiny.py")],
        cwd=ROOT,
        # To load all plugins that are installed takes longer than the rest.
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": PLUGINS},
        capture_output=True,
        text=True,
    )


def test_a_survivor(tmp_path: Path) -> None:
    """A boundary that no test has is printed with file, line, function and change."""
    done = run(tmp_path, WEAK)
    assert done.returncode == 1, done.stdout + done.stderr
    survivors = [line for line in done.stdout.splitlines() if line.startswith("survived")]
    assert survivors == [
        f"survived {tmp_path}/tiny.py:3 is_small: comparison: number < 3 → number <= 3",
        f"survived {tmp_path}/tiny.py:3 is_small: constant: number < 3 → number < 4",
    ]


def test_all_are_killed(tmp_path: Path) -> None:
    """With tests on both sides of the boundary none survives."""
    done = run(tmp_path, STRONG)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| tiny | 5 | 5 | 0 | 0 | 0 | 100.0% |" in done.stdout


def test_conditions(changes: Changes) -> None:
    found = changes("def f(a, b):\n    if a and b:\n        return 1\n    return 2\n")
    assert found == [
        "a and b → a or b",
        "a and b → b",
        "a and b → a",
        "a and b → True",
        "a and b → False",
        "return 1 → return None",
        "return 1 → return 2",
        "return 1 → return 0",
        "return 2 → return None",
        "return 2 → return 3",
        "return 2 → return 1",
    ]


def test_expressions(changes: Changes) -> None:
    """Both sides of a choice, and what is not, or is not added."""
    assert changes("x[a if not b else c]") == [
        "a if not b else c → a",
        "a if not b else c → c",
        "not b → b",
    ]
    assert changes("x[min(a - b)]") == ["min(a - b) → max(a - b)", "a - b → a + b"]


def test_statements(changes: Changes) -> None:
    found = changes("def f(x):\n    x.n += y\n    x.m = y\n    g(x)\n    del x[y]\n    raise x\n")
    assert found == [
        "x.n += y → x.n -= y",
        "x.n += y → pass",
        "x.m = y → pass",
        "g(x) → pass",
        "del x[y] → pass",
        "raise x → pass",
    ]


def test_errors(changes: Changes) -> None:
    found = changes("try:\n    f()\nexcept (A, B):\n    pass\n")
    assert found == ["f() → pass", "except (A, B) → except (B,)", "except (A, B) → except (A,)"]


@pytest.mark.parametrize(
    "source",
    [
        '"""Words."""',
        "GRACE_S = 30 * 60",
        "x: Literal[3]",
        'log.info("words", number=3)',
        'def f():\n    assert x\n    """more words"""',
        '@decorated(order=True)\nclass A:\n    """Words."""',
    ],
)
def test_left_out(changes: Changes, source: str) -> None:
    """What a test could only repeat stays as it is."""
    assert changes(source) == []
