"""Who may import whom, who may wait, and who may know the time: the shape of the package, checked.

Imports go down: `cli → app, demo → stages → exchanges → vocabulary`. The vocabulary is every
module beside the package's `__init__` that is not named below. Stages meet in `app.py`.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "trio_collector"

# The rooms that each room may import from, beside itself and the vocabulary.
ROOMS: dict[str, set[str]] = {
    "config": set(),
    "telemetry": set(),
    "logs": {"telemetry"},
    "format": set(),
    "exchanges": {"config"},
    "store": {"config", "telemetry"},
    "feed": {"config", "exchanges", "telemetry"},
    "writer": {"config", "feed", "format", "telemetry"},
    "uploader": {"config", "store", "telemetry"},
    "endpoint": {"config", "telemetry"},
    "simulator": {"config"},  # nor the adapters: it shares no parsing with what it tests
    "app": {"config", "endpoint", "exchanges", "feed", "telemetry", "uploader", "writer"},
    "commands": {"app", "config", "exchanges", "feed", "simulator", "telemetry", "uploader"},
    "cli": {"app", "commands", "config", "logs", "simulator", "uploader"},
    "__main__": {"cli"},
}

# The files that wait. Everything else returns at once, or is run in a worker thread.
WAITS = {
    "app.py",
    "budget.py",
    "cli.py",
    "commands/demo.py",
    "endpoint/routes.py",
    "endpoint/sampler.py",
    "endpoint/client.py",
    "endpoint/server.py",
    "endpoint/task.py",
    "feed/requests.py",
    "feed/wire/connect.py",
    "feed/context.py",
    "feed/wire/failures.py",
    "feed/books/fetch.py",
    "feed/wire/http.py",
    "feed/receiver.py",
    "feed/wire/keepalive.py",
    "feed/line.py",
    "feed/sender.py",
    "feed/session.py",
    "feed/task.py",
    "feed/wire/transport.py",
    "feed/limits/exchange_limits.py",
    "telemetry/loop_lag.py",
    "simulator/clock.py",
    "simulator/net/connection.py",
    "simulator/net/connection_end.py",
    "simulator/net/handshake.py",
    "simulator/net/http.py",
    "simulator/net/outbox.py",
    "simulator/net/ports.py",
    "simulator/net/rest_service.py",
    "simulator/server.py",
    "commands/status.py",
    "store/body.py",
    "store/client.py",
    "store/local_file.py",
    "uploader/delivery.py",
    "store/multipart.py",
    "uploader/probe.py",
    "telemetry/minute_line.py",
    "store/s3.py",
    "uploader/task.py",
    "store/http.py",
    "writer/flusher.py",
    "writer/sealer.py",
    "writer/task.py",
    "threads.py",
}
WAITING = {"trio", "trio_websocket", "hypercorn", "httpx"}
BLOCKING = {"asyncio", "socket", "subprocess", "threading", "select", "selectors", "requests"}
NAMES_ERRORS = {"connection_errors.py"}  # of socket, and calls nothing of it

# Rooms whose files, unless they wait, are pure: no files, no clock, no dice.
PURE_ROOMS = {"exchanges", "feed", "simulator"}
PURE_FILES = {
    "backoff.py",
    "feed/books/segment_starts.py",
    "endpoint/responses.py",
    "endpoint/health.py",
    "endpoint/history.py",
    "endpoint/status_builder.py",
    "events.py",
    "connection_errors.py",
    "layout.py",
    "ledger.py",
    "config/markets.py",
    "logs/redaction.py",
    "logs/repeats.py",
    "schemas.py",
    "telemetry/status_document.py",
    "config/sharding.py",
    "config/toml.py",
    "store/addressing.py",
    "store/responses.py",
    "uploader/backlog.py",
    "store/digest.py",
    "uploader/verification.py",
    "uploader/retry_schedule.py",
    "uploader/state.py",
    "config/urls.py",
    "telemetry/live_state.py",
    "writer/rotation.py",
}
# They belong to a pure room and read or write files all the same: in a worker thread, or once.
DISK = {
    "simulator/faults/file.py",
    "simulator/record.py",
    "simulator/markets/recorded.py",
    "simulator/net/tls.py",
}
IMPURE = {"io", "os", "secrets", "shutil", "tempfile", "time"}


class Module(NamedTuple):
    """One file of the package, as the rules see it."""

    path: str  # below the package, such as `feed/task.py`
    tree: ast.Module

    @property
    def room(self) -> str:
        """The folder, or the name of a file beside the package's `__init__`."""
        return self.path.split("/")[0].removesuffix(".py")

    def imports(self) -> Iterator[tuple[int, str]]:
        """Yield line and full name of each import, wherever it stands in the file."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.path}:{node.lineno}: a relative import"
                # `from trio_collector import metrics` imports a module, not a name.
                if node.module == "trio_collector":
                    yield from (
                        (node.lineno, f"{node.module}.{alias.name}") for alias in node.names
                    )
                else:
                    yield node.lineno, node.module or ""


MODULES = [
    Module(path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_bytes()))
    for path in sorted(PACKAGE.rglob("*.py"))
]


def room_of(name: str) -> str:
    """Return the room of the module `trio_collector.<room>...`."""
    return name.split(".")[1] if "." in name else "__init__"


def is_pure(module: Module) -> bool:
    """Return whether the rules want `module` to be a function of its arguments alone."""
    if module.path in WAITS | DISK:
        return False
    return module.room in PURE_ROOMS or module.path in PURE_FILES


def calls(module: Module) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of each call."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.path)
def test_imports_go_down(module: Module) -> None:
    """A room imports only from the rooms below it; stages meet in app.py."""
    allowed = ROOMS.get(module.room, {"telemetry"}) | {module.room}
    for line, name in module.imports():
        if name.split(".")[0] != "trio_collector" or room_of(name) not in ROOMS:
            continue
        assert room_of(name) in allowed, (
            f"{module.path}:{line} imports {name}, but {module.room} may import from"
            f" {', '.join(sorted(allowed)) or 'no room'} and the vocabulary alone"
        )


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.path)
def test_few_files_wait(module: Module) -> None:
    """Only the files named in WAITS import trio; no other has a way to block."""
    if module.path in WAITS:
        return
    forbidden = (WAITING | BLOCKING) - ({"socket"} if module.path in NAMES_ERRORS else set())
    for line, name in module.imports():
        assert name.split(".")[0] not in forbidden, (
            f"{module.path}:{line} imports {name}: it returns and lets another file wait,"
            " or it is named in WAITS of this test"
        )
    for node in ast.walk(module.tree):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await), (
            f"{module.path}:{getattr(node, 'lineno', 0)} is async and may not wait"
        )


def test_files_that_wait_do() -> None:
    """A file named in WAITS, once it is there, really imports what waits, or awaits what does."""
    for module in MODULES:
        if module.path in WAITS:
            names = {name.split(".")[0] for _, name in module.imports()}
            awaits = any(isinstance(node, ast.Await) for node in ast.walk(module.tree))
            assert awaits or names & WAITING, f"{module.path} waits for nothing; take it off WAITS"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.path)
def test_nothing_sleeps_in_a_thread(module: Module) -> None:
    """Nothing calls time.sleep: what waits, waits in trio."""
    for line, name in calls(module):
        assert name not in ("time.sleep", "sleep"), f"{module.path}:{line} calls {name}"


@pytest.mark.parametrize(
    "module", [each for each in MODULES if is_pure(each)], ids=lambda module: module.path
)
def test_pure_files(module: Module) -> None:
    """Pure files open nothing, and are given the time and random numbers."""
    for line, name in module.imports():
        assert name.split(".")[0] not in IMPURE, f"{module.path}:{line} imports {name}"
    for line, name in calls(module):
        assert name != "open", f"{module.path}:{line} opens a file"
        is_dice = name in ("uuid.uuid1", "uuid.uuid4") or (
            name.startswith("random.") and not name.startswith("random.Random")
        )
        is_clock = name.endswith((".now", ".utcnow", ".today", "now_us")) and "datetime" in name
        assert not is_dice, f"{module.path}:{line} calls {name}; take the generator as an argument"
        assert not is_clock, f"{module.path}:{line} calls {name}; take the time as an argument"
    assert "trio_collector.clock" not in {name for _, name in module.imports()}, (
        f"{module.path} imports the clock; take the time as an argument"
    )


def test_names_of_the_rules_exist() -> None:
    """A file that the rules name and that is nowhere is a typing error, or is still to come."""
    to_come: set[str] = set()
    named = WAITS | PURE_FILES | DISK
    missing = named - {module.path for module in MODULES}
    assert missing <= to_come, f"no such file: {', '.join(sorted(missing - to_come))}"
