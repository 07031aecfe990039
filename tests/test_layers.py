"""The rooms of the package and their doors, checked: who imports whom, who waits, who knows the time.

A room is a folder; `feed/wire` is a room inside of `feed`. DOORS says which rooms each one may
import from, beside itself. The vocabulary, which every room may import, is what lies beside the
package's `__init__` and is not named in DOORS. Stages (feed, writer, uploader, endpoint) never
import each other: they meet in `app.py`.
"""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "trio_collector"
MOST_IN_ROOT, MOST_IN_ROOM = 15, 14

DOORS: dict[str, set[str]] = {
    "config": set(),
    "telemetry": set(),
    "logs": {"telemetry"},
    "format": set(),
    "exchanges": {"config"},
    "store": {"config", "telemetry"},
    "feed/wire": {"exchanges"},
    "feed/continuity": set(),
    "feed/health": set(),
    "feed/limits": {"exchanges"},
    "feed/planning": {"config", "exchanges", "feed/health", "feed/limits"},
    "feed/books": {"exchanges", "feed/limits", "feed/planning", "feed/wire", "telemetry"},
    "feed": {
        "config",
        "exchanges",
        "feed/books",
        "feed/continuity",
        "feed/health",
        "feed/limits",
        "feed/planning",
        "feed/wire",
        "telemetry",
    },
    "writer": {"config", "format", "telemetry"},
    "uploader": {"config", "store", "telemetry"},
    "endpoint": {"config", "telemetry"},
    # Nor the adapters: the simulator shares no parsing with what it tests.
    "simulator": {"config"},
    "app": {"config", "endpoint", "exchanges", "feed", "telemetry", "uploader", "writer"},
    "commands": {"app", "config", "feed", "logs", "simulator", "telemetry", "uploader"},
    "cli": {"app", "commands", "config", "logs", "simulator", "uploader"},
    "__main__": {"cli"},
}
# Who enters `feed` from outside may enter its rooms, too: `app` hands out what is shared.
ROOMS_OF_FEED = {room for room in DOORS if room.startswith("feed/")}
# What the vocabulary may import beside itself.
VOCABULARY = {"budget.py": {"telemetry"}}

# The files that wait, by room. Everything else returns at once, or runs in a worker thread.
WAITS: dict[str, set[str]] = {
    "": {"budget.py", "threads.py", "app.py", "cli.py"},
    "commands": {"demo.py", "run.py", "signals.py", "simulate.py", "status.py"},
    "endpoint": {"http_connection.py", "routes.py", "sampler.py", "server.py", "task.py"},
    "feed": {
        "context.py",
        "line.py",
        "listening_clock.py",
        "requests.py",
        "sender.py",
        "session.py",
        "task.py",
    },
    "feed/books": {"fetch.py"},
    "feed/limits": {"exchange_limits.py"},
    "feed/wire": {
        "connect.py",
        "failures.py",
        "http.py",
        "keepalive.py",
        "transport.py",
        "websocket.py",
    },
    "simulator": {"clock.py", "server.py"},
    "simulator/net": {
        "connection.py",
        "connection_end.py",
        "handshake.py",
        "http.py",
        "outbox.py",
        "ports.py",
        "rest_service.py",
    },
    "store": {"body.py", "client.py", "http.py", "local_file.py", "multipart.py", "s3.py"},
    "telemetry": {"loop_lag.py", "minute_line.py"},
    "uploader": {"delivery.py", "probe.py", "task.py"},
    "writer": {"flusher.py", "sealer.py", "task.py"},
}
WAITING = {"trio", "trio_websocket", "hypercorn", "httpx"}
BLOCKING = {"asyncio", "socket", "subprocess", "threading", "select", "selectors", "requests"}
NAMES_ERRORS = {"connection_errors.py"}  # of socket, and calls nothing of it

# Rooms whose files, unless they wait, are pure: no files, no clock, no dice. Likewise single files.
PURE_ROOMS = {"exchanges", "feed", "simulator"}
PURE_FILES = {
    "backoff.py",
    "config/market_checks.py",
    "config/markets.py",
    "config/settings.py",
    "config/sharding.py",
    "config/toml.py",
    "config/urls.py",
    "connection_errors.py",
    "endpoint/health.py",
    "endpoint/history.py",
    "endpoint/responses.py",
    "endpoint/status_builder.py",
    "events.py",
    "layout.py",
    "ledger.py",
    "logs/redaction.py",
    "logs/repeats.py",
    "schemas.py",
    "store/addressing.py",
    "store/digest.py",
    "store/responses.py",
    "telemetry/live_state.py",
    "telemetry/recent_events.py",
    "telemetry/status_document.py",
    "telemetry/storage_state.py",
    "telemetry/stream_state.py",
    "uploader/backlog.py",
    "uploader/retry_schedule.py",
    "uploader/verification.py",
    "writer/rotation.py",
}
# They belong to a pure room and read or write files all the same: in a worker thread, or once.
DISK = {
    "simulator/faults/file.py",
    "simulator/markets/recorded.py",
    "simulator/net/tls.py",
    "simulator/record.py",
}
IMPURE = {"io", "os", "secrets", "shutil", "tempfile", "time"}


class Module(NamedTuple):
    """One file of the package, as the rules see it."""

    path: str  # below the package, such as `feed/task.py`
    tree: ast.Module

    @property
    def name(self) -> str:
        """The name to import it by, below the package."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def room(self) -> str:
        return room_of(self.name)

    @property
    def waits(self) -> bool:
        return self.path.rpartition("/")[2] in WAITS.get(self.folder, ())

    def imports(self) -> Iterator[tuple[int, str]]:
        """Yield line and full name of each import, wherever it stands in the file."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.path}:{node.lineno}: a relative import"
                yield from _imported(node)


def _imported(node: ast.ImportFrom) -> Iterator[tuple[int, str]]:
    """Yield what `from A import B` imports: the module A.B, where there is one, else A."""
    for alias in node.names:
        full = f"{node.module}.{alias.name}"
        yield (
            node.lineno,
            full if full.removeprefix("trio_collector.") in NAMES else node.module or "",
        )


NAMES = {
    path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
}
MODULES = [
    Module(path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_bytes()))
    for path in sorted(PACKAGE.rglob("*.py"))
]
each_module = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.path)


def room_of(name: str) -> str:
    """Return the room of a module by its name below the package; "" for the vocabulary."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        if (room := "/".join(parts[:length])) in DOORS:
            return room
    return ""


def own_imports(module: Module) -> Iterator[tuple[int, str]]:
    """Yield line and name, below the package, of each module of ours that `module` imports."""
    for line, name in module.imports():
        if name.startswith("trio_collector."):
            yield line, name.removeprefix("trio_collector.")


def is_pure(module: Module) -> bool:
    """Return whether the rules want `module` to be a function of its arguments alone."""
    if module.waits or module.path in DISK:
        return False
    return module.path.split("/")[0] in PURE_ROOMS or module.path in PURE_FILES


def calls(module: Module) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of each call."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


@each_module
def test_doors(module: Module) -> None:
    """A room imports only from the rooms that its door names; stages meet in app.py."""
    doors = DOORS.get(module.room) if module.room else VOCABULARY.get(module.path, set())
    assert doors is not None
    allowed = doors | {module.room, ""} | (ROOMS_OF_FEED if "feed" in doors else set())
    for line, name in own_imports(module):
        assert room_of(name) in allowed, (
            f"{module.path}:{line} imports {name}, but {module.room or 'the vocabulary'} may import"
            f" from {', '.join(sorted(allowed - {''})) or 'no room'} and the vocabulary alone"
        )


def test_no_circle() -> None:
    """Neither rooms nor files import each other in a circle."""
    TopologicalSorter({**DOORS}).prepare()
    TopologicalSorter(
        {module.name: {name for _, name in own_imports(module)} for module in MODULES}
    ).prepare()


def test_rooms_are_small() -> None:
    """The root and each folder hold as many files as a newcomer can look over."""
    files: dict[str, list[str]] = {}
    for module in MODULES:
        files.setdefault(module.folder, []).append(module.path)
    assert len(files.pop("")) <= MOST_IN_ROOT
    assert {room: len(names) for room, names in files.items() if len(names) > MOST_IN_ROOM} == {}


def test_every_room_says_what_it_is_for() -> None:
    """Each folder has an `__init__` with a docstring."""
    for module in MODULES:
        if module.path.endswith("__init__.py"):
            assert ast.get_docstring(module.tree), f"{module.path} says nothing"
    folders = {module.folder for module in MODULES}
    assert folders == {module.folder for module in MODULES if module.path.endswith("__init__.py")}


@each_module
def test_few_files_wait(module: Module) -> None:
    """Only the files named in WAITS import trio; no other has a way to block."""
    if module.waits:
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
    """A file named in WAITS really imports what waits, or awaits what does."""
    for module in MODULES:
        if module.waits:
            names = {name.split(".")[0] for _, name in module.imports()}
            awaits = any(isinstance(node, ast.Await) for node in ast.walk(module.tree))
            assert awaits or names & WAITING, f"{module.path} waits for nothing; take it off WAITS"


@each_module
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
    """A file that the rules name and that is nowhere is a typing error."""
    waiting = {f"{room}/{name}".lstrip("/") for room, names in WAITS.items() for name in names}
    missing = (waiting | PURE_FILES | DISK | VOCABULARY.keys()) - {each.path for each in MODULES}
    assert not missing, f"no such file: {', '.join(sorted(missing))}"
