"""What README and docs/ tell to type works: it is run here, or listed with the reason why it is not.

A folder stands for the clone: what is in the repository are links, `.venv` is the environment of the
tests, `demo-data` was made by the README's own line, and `config.toml` is the README's, but with
simulated exchanges behind the same names. Shell is run command by command; what runs until Ctrl-C
gets it as soon as it works.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import duckdb
import pytest

from trio_collector.config.loading import parse_config
from trio_collector.errors import ConfigError
from trio_collector.telemetry import metrics

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TIMEOUT_S = 60
DEMO_S = "3"
RUN = {"sh", "python", "sql"}
READ = {"", "toml", "yaml"}  # drawings, output, configuration
# A piece of code within a sentence is a command if it begins with one of these.
PROGRAMS = (
    "python",
    ".venv/bin/",
    "pip-audit ",
    "pytest ",
    "docker ",
    "kubectl ",
    "systemd-analyze ",
)

ENGINE, INDEX = "needs a container engine", "needs a package index"
UNIT = "changes the machine; the unit is judged in tests/deploy/test_manifests.py"
FIXTURE = "the fixture `demo` runs it, for fewer seconds"

# How each command begins that is not run, and why.
NOT_RUN = {
    "python3 -m venv .venv": "would change the environment that runs the tests",
    ".venv/bin/pip install -e .": INDEX,
    ".venv/bin/pip install -e '.[dev]'": INDEX,
    ".venv/bin/pip install duckdb": INDEX,
    ".venv/bin/python -m pytest": "is what runs this",
    ".venv/bin/python -m trio_collector demo --seconds 20 --dir demo-data": FIXTURE,
    "python -m trio_collector demo": FIXTURE,
    "python -m trio_collector check --s3": "needs a bucket; tests/test_cli.py has one",
    "python -m trio_collector status --url http://collector-3:9090": "needs another machine",
    "pytest -m live": "talks to the real exchanges",
    "docker build ": ENGINE,
    "docker run --detach --name collector ": ENGINE,
    "docker stop": ENGINE,
    "docker compose --file deploy/compose.yaml up --build --detach": ENGINE,
    "docker buildx imagetools inspect ": "needs a registry of images",
    "python3.11 deploy/lock.py": INDEX,
    "python -m tests.bench.container_steps": INDEX,
    "pip-audit --requirement deploy/requirements.txt": "needs a list of what is known",
    "kubectl apply --kustomize deploy/kubernetes": "needs a cluster",
    "kubectl --namespace market-data create secret ": "needs a cluster",
    "sudo useradd ": UNIT,
    "sudo python3.11 -m venv /opt/trio_collector": UNIT,
    "sudo /opt/trio_collector/bin/pip install ": UNIT,
    "sudo install ": UNIT,
    "sudo systemctl ": UNIT,
    "journalctl --unit trio-collector --follow": UNIT,
    "systemd-analyze security": UNIT,
    "trades = spark.read": "needs Spark",
}
# Debian's packages of programs without which a block is skipped.
PACKAGES = {"promtool": "prometheus", "kubectl": "kubernetes-client"}
UNTIL_STOPPED = re.compile(r"-m trio_collector (run|simulate|status .*--watch)")


class Block(NamedTuple):
    """A piece of a document that can be run."""

    name: str
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """The commands of a block of shell; another language is one command."""
        if self.language != "sh":
            return [self.text]
        whole = re.findall(r"(?ms)^([^\n]*<<'?(\w+)'?\n.*?^\2$|(?:[^\n]*\\\n)*[^\n]+)$", self.text)
        lines = [re.sub(r"\s+# .*$", "", command) for command, _end in whole]
        return [part for line in lines for part in line.split(" && ")]


def blocks_of(path: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a document, and the commands within its sentences."""
    text = path.read_text(encoding="utf-8")
    fence = r"(?ms)^```(\w*)\n(.*?)^```$"
    for number, (language, block) in enumerate(re.findall(fence, text), start=1):
        yield Block(f"{path.name}-{number}", language, block)
    for span in re.findall(r"`([^`\n]+ [^`\n]+)`", re.sub(fence, "", text)):
        if span.startswith(PROGRAMS):
            yield Block(f"{path.name}-{span}", "sh", span)


BLOCKS = [block for path in DOCUMENTS for block in blocks_of(path)]


def reason_not_to_run(command: str) -> str | None:
    return next((why for begin, why in NOT_RUN.items() if command.startswith(begin)), None)


def test_languages_are_known() -> None:
    """A fence is of a language that is run here, or of one that is only read."""
    assert {block.language for block in BLOCKS} <= RUN | READ


def test_list_is_up_to_date() -> None:
    """Whatever is listed as not run is in the documents."""
    commands = [command for block in BLOCKS for command in block.commands]
    for begin in NOT_RUN:
        assert any(command.startswith(begin) for command in commands), f"{begin}: nowhere"


class Clone:
    """A folder that looks like a fresh clone in which the README was followed."""

    def __init__(self, folder: Path, base_urls: dict[str, str]) -> None:
        self.folder = folder
        self._base_urls = base_urls
        folder.mkdir()
        for name in ("deploy", "docs", "tests", "trio_collector", "pyproject.toml"):
            (folder / name).symlink_to(ROOT / name)
        (folder / ".venv").symlink_to(sys.prefix)
        texts = [block.text for block in BLOCKS if block.language == "toml"]
        (config,) = (text for text in texts if "[[markets]]" in text)
        (faults,) = (text for text in texts if "[[faults]]" in text)
        for name in ("config.toml", "old-config.toml"):
            (folder / name).write_text(config)
        (folder / "faults.toml").write_text(faults)

    def simulate(self) -> None:
        """Put the simulated exchanges into the configuration, in place of the real ones."""
        path = self.folder / "config.toml"
        text = path.read_text()
        if "base_url" not in text:
            names = r'(?m)^exchange = "(\w+)"$'
            local = re.sub(names, lambda m: f'{m[0]}\nbase_url = "{self._base_urls[m[1]]}"', text)
            path.write_text(f"collector.metrics_port = 0\n{local}")

    def start(self, command: str) -> "subprocess.Popen[str]":
        """Start a command of shell, in a process group of its own."""
        self.simulate()
        return subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, command: str) -> str:
        """Run a command of shell to its end, which is a good one; return what it printed."""
        process = self.start(command)
        try:
            output, errors = process.communicate(timeout=TIMEOUT_S)
        finally:
            kill(process)
        assert process.returncode == 0, f"{command}\n{output}{errors}"
        return output


def environment() -> dict[str, str]:
    """Return ours, without what the collector would read in it, and with the `python` of tests."""
    foreign = ("CONFIG_PATH", "LOG_LEVEL", "COINBASE_", "AWS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return {**kept, "PATH": path, "COLUMNS": "160"}


def wait_for(process: "subprocess.Popen[str]", phrases: str) -> str:
    """Read the log of `process` up to a line that has one of `phrases`; return the line."""
    assert process.stderr is not None
    deadline = time.monotonic() + TIMEOUT_S
    lines = []
    for line in process.stderr:
        lines.append(line)
        if re.search(phrases, line):
            return line
        if time.monotonic() > deadline:
            break
    kill(process)
    pytest.fail(f"it did not come to {phrases}:\n{''.join(lines)}")


def kill(process: "subprocess.Popen[str]") -> None:
    """End `process` and what it started, if they still are."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def interrupt(process: "subprocess.Popen[str]") -> str:
    """Press Ctrl-C; return what was printed by a process that ends well of it."""
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, f"{output}{errors}"
    return output


@pytest.fixture(scope="module")
def new_clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Clone]]:
    """Make a folder, for exchanges that are simulated in another process."""
    command = [sys.executable, "-m", "trio_collector", "simulate"]
    with subprocess.Popen(
        command, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as simulator:
        assert simulator.stdout is not None
        base_urls = json.loads(simulator.stdout.readline())["base_urls"]
        yield lambda: Clone(tmp_path_factory.mktemp("docs") / "clone", base_urls)
        simulator.terminate()


@pytest.fixture(scope="module")
def demo(new_clone: Callable[[], Clone]) -> Path:
    """What the README's demo leaves, in fewer seconds."""
    clone = new_clone()
    (line,) = {
        command
        for block in BLOCKS
        for command in block.commands
        if NOT_RUN.get(command) == FIXTURE and "--seconds 20" in command
    }
    printed = clone.run(line.replace("--seconds 20", f"--seconds {DEMO_S}"))
    assert "frames sent is stored, once." in printed
    return clone.folder / "demo-data"


@pytest.fixture(scope="module")
def collecting(new_clone: Callable[[], Clone], demo: Path) -> Iterator[tuple[Clone, str]]:
    """A folder with an archive in which a collector runs, and the address of its page.

    One market of the archive came from another machine, which has a name.
    """
    clone = new_clone()
    (clone.folder / "demo-data").symlink_to(demo)
    archive = clone.folder / "archive"
    shutil.copytree(demo / "archive", archive)
    for data_type in (archive / "binance" / "ethusdt").iterdir():
        named = data_type / "quiet-red-heron"
        named.mkdir()
        for day in data_type.glob("2*"):
            day.rename(named / day.name)
    (clone.folder / "data").mkdir()
    (clone.folder / "data" / "archive").symlink_to(archive)
    process = clone.start("python -m trio_collector run")
    url = json.loads(wait_for(process, "endpoint listens"))["url"]
    wait_for(process, "stream live")
    wait_for_journals(clone.folder)
    yield clone, url
    interrupt(process)


def wait_for_journals(folder: Path) -> None:
    """Wait until rows are in the journals; the process that writes them does not tell."""
    deadline = time.monotonic() + TIMEOUT_S
    while not (sizes := [path.stat().st_size for path in folder.rglob("*.arrows")]) or 0 in sizes:
        assert time.monotonic() < deadline, "no journals"
        time.sleep(0.05)


def runnable(language: str) -> list[object]:
    """Return the blocks of `language` of which something is to be run, for a test each."""
    return [
        pytest.param(block, id=block.name)
        for block in BLOCKS
        if block.language == language and not all(map(reason_not_to_run, block.commands))
    ]


@pytest.mark.parametrize("block", runnable("python"))
def test_python(
    block: Block,
    collecting: tuple[Clone, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The Python that is shown for reading an archive reads one."""
    clone, _url = collecting
    monkeypatch.chdir(clone.folder)
    exec(compile(block.text, block.name, "exec"), {})  # the documents are ours
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("block", runnable("sql"))
def test_sql(block: Block, collecting: tuple[Clone, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The SQL that is shown returns rows."""
    clone, _url = collecting
    monkeypatch.chdir(clone.folder)
    answer = duckdb.sql(block.text)
    assert answer is not None
    assert answer.fetchall()


@pytest.mark.slow
@pytest.mark.parametrize("block", runnable("sh"))
def test_shell(
    block: Block, new_clone: Callable[[], Clone], request: pytest.FixtureRequest
) -> None:
    """Each command prints something and succeeds, by itself or when it is interrupted."""
    clone = new_clone()
    for command in block.commands:
        if command.startswith("#") or reason_not_to_run(command):
            continue
        program = command.split()[0]
        if program in PACKAGES and shutil.which(program) is None:
            pytest.skip(f"{program} is not installed; on Debian: {PACKAGES[program]}")
        where = ""
        if "trio_collector status" in command:
            _clone, url = request.getfixturevalue("collecting")
            where = f" --url {url}"
        run = partial(run_until_stopped, clone) if UNTIL_STOPPED.search(command) else clone.run
        assert run(f"{command}{where}").strip() or "<<" in command, f"{command} says nothing"


def run_until_stopped(clone: Clone, command: str) -> str:
    """Interrupt `command` when it is at work; return what it printed."""
    process = clone.start(command)
    if " run" in command:
        is_idle = "this shard" in wait_for(process, "stream live|this shard has no market")
        if is_idle:
            wait_for(process, "endpoint listens")
        interrupt(process)
        return "it collects"
    if " simulate" in command:
        assert process.stdout is not None
        where = process.stdout.readline()  # told when it serves
        return where + interrupt(process)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2)  # on no terminal it prints nothing until it ends
    return interrupt(process)


def test_problems_that_are_shown() -> None:
    """docs/configuration.md shows the real output for a configuration with two mistakes."""
    (shown,) = (block.text for block in BLOCKS if "loacl" in block.text)
    market = '[[markets]]\nexchange = "okx"\nsymbols = ["{}-USDT"]\n'
    text = "".join(market.format(name) for name in ("A", "B", "C"))
    with pytest.raises(ConfigError) as caught:
        parse_config(f'storage.mode = "loacl"\n{text}feeds = ["trade"]\n')
    assert str(caught.value) == shown.rstrip()


def test_scrape_configuration(tmp_path: Path) -> None:
    """Prometheus takes the configuration that docs/deploying.md shows."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed; on Debian: apt-get install prometheus")
    (shown,) = (block.text for block in BLOCKS if block.language == "yaml")
    (tmp_path / "prometheus.yml").write_text(shown)
    command = ["promtool", "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_is_told() -> None:
    """docs/metrics.md has one row for each metric, with its kind and labels, and for no other."""
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| `(\w+)` \| (\w+) \| ([\w, ]*?) ?\|", text)
    told = {name: (kind, labels) for name, kind, labels in rows}
    assert len(told) == len(rows)
    known = {}
    for family in metrics.REGISTRY.collect():
        end = {"counter": "_total", "info": "_info"}.get(family.type, "")
        known[f"{family.name}{end}"] = family.type
    assert {name: kind for name, (kind, _labels) in told.items()} == known
    for metric in vars(metrics).values():
        names = getattr(metric, "_labelnames", None)
        if names and (family := metric.collect()[0]).type != "info":
            end = "_total" if family.type == "counter" else ""
            assert told[f"{family.name}{end}"][1] == ", ".join(names)
