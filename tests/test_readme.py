"""What the README promises is kept: its lines, its links, and `.ci/run`, which runs them.

That what the documents tell to type works, is the subject of test_docs.py.
"""

import re
import subprocess
from pathlib import Path

import pytest

from trio_collector.config.loading import parse_config

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CI = ROOT / ".ci" / "run"
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGES.md", *sorted((ROOT / "docs").rglob("*.md"))]


def marked(document: str, mark: str) -> list[str]:
    """Return the fenced blocks of `document` under the comment `mark`."""
    blocks = re.findall(rf"(?ms)^<!-- {re.escape(mark)} -->\n```\w*\n(.*?)^```$", document)
    return [str(block) for block in blocks]


def test_ci_runs_the_readme() -> None:
    """`.ci/run` executes exactly the README's test line, then lint, format and types."""
    (line,) = marked(README, "ci: tests")
    plan = subprocess.run([CI, "--plan"], capture_output=True, text=True)
    assert (plan.returncode, plan.stderr) == (0, "")
    assert plan.stdout.splitlines() == [
        line.strip(),
        ".venv/bin/ruff check .",
        ".venv/bin/ruff format --check .",
        ".venv/bin/mypy",
    ]


def test_ci_is_sound() -> None:
    """`.ci/run` can be started, and stops at the first failure."""
    assert CI.stat().st_mode & 0o111 == 0o111
    assert "\nset -euo pipefail\n" in CI.read_text()
    assert subprocess.run(["bash", "-n", CI]).returncode == 0


@pytest.mark.parametrize("name", ["demo", "tests"])
def test_readme_lines_are_complete(name: str) -> None:
    """Each of the two lines makes its own environment and needs no other line."""
    (line,) = marked(README, f"ci: {name}")
    create, install, work = line.strip().split(" && ")
    assert create == "python3 -m venv .venv"
    assert re.fullmatch(r"\.venv/bin/pip install -e ('\.\[dev\]'|\.)", install)
    assert work.startswith(".venv/bin/python -m ")


def test_readme_configuration() -> None:
    """The configuration that the README shows is a good one."""
    (text,) = marked(README, "config")
    assert [market.exchange for market in parse_config(text).markets] == ["binance", "coinbase"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    """A link from one document to a file of the repository finds it."""
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_errors_are_explained() -> None:
    """docs/operations.md says of every event at ERROR what it asks of you."""
    told = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for path in sorted((ROOT / "trio_collector").rglob("*.py")):
        code = path.read_text(encoding="utf-8")
        for phrase in re.findall(r"log\.(?:error|exception|critical)\(\s*\"([^\"]+)\"", code):
            assert f"| `{phrase}` |" in told, f"{path.name} logs {phrase!r}; add a row for it"
