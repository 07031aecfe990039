"""What the documents show works, and `.ci/run` runs what the README says."""

import re
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trio_collector.config import parse_config
from trio_collector.events import DataType, Stream
from trio_collector.layout import JOURNAL, SEALED, segment_path
from trio_collector.schemas import file_schema, journal_schema

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CI = ROOT / ".ci" / "run"
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGES.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOON_MS = 1_795_348_800_000  # 2026-11-22T12:00:00Z


def marked(document: str, mark: str) -> list[str]:
    """Return the fenced blocks of `document` under the comment `mark`."""
    blocks = re.findall(rf"(?ms)^<!-- {re.escape(mark)} -->\n```\w*\n(.*?)^```$", document)
    return [str(block) for block in blocks]


SNIPPETS = [
    pytest.param(code, id=f"{path.name}-{number}")
    for path in DOCUMENTS
    for number, code in enumerate(marked(path.read_text(encoding="utf-8"), "runnable"))
]


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


def row(data: bytes | str, **names: str) -> dict[str, list[object]]:
    """Return the columns of one row; `names` are those that only a sealed file has."""
    return {
        **{key: [value] for key, value in names.items()},
        "exchange_sequence_id": ["7"],
        "timestamp_collector": [NOON_MS * 1_000],
        "timestamp_exchange": [None],
        "data": [data],
    }


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A folder with a small archive, half of it with a server's name, and a growing journal."""
    for symbol, server in (("btcusdt", None), ("ethusdt", "quiet-red-heron")):
        for data_type in DataType:
            stream = Stream("binance", symbol, data_type)
            data = b"\xff" if data_type is DataType.UNPARSED else '{"event":"live"}'
            path = tmp_path / "archive" / f"{segment_path(stream, server, NOON_MS)}{SEALED}"
            path.parent.mkdir(parents=True)
            columns = row(data, exchange="binance", symbol=symbol)
            pq.write_table(pa.table(columns, schema=file_schema(data_type)), path)
    journal = tmp_path / "data" / "parquet" / f"1{JOURNAL}"
    journal.parent.mkdir(parents=True)
    table = pa.table(row("{}"), schema=journal_schema(DataType.TRADE))
    with pa.ipc.new_stream(journal, table.schema) as writer:
        writer.write_table(table)
    (tmp_path / "data" / "archive").symlink_to(tmp_path / "archive")
    return tmp_path


@pytest.mark.parametrize("code", SNIPPETS)
def test_snippets_run(
    code: str, archive: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The Python that is shown for reading an archive reads one."""
    monkeypatch.chdir(archive)
    exec(compile(code, "snippet", "exec"), {})  # the documents are ours
    assert capsys.readouterr().out.strip()
