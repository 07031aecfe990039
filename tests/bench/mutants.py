"""How many small wrong changes of a module its tests notice.

    python -m tests.bench.mutants [MODULE ...] [--tests PATH ...] [--sample N] [--seed N]
                                  [--timeout S] [--jobs N]

MODULE is `writer.seal`, `writer/seal`, a room (`feed/continuity`) or the path of a file; without
one, the core is tried (CORE below). For each mutant (`mutations.py` lists the kinds) the module's
own tests run, `tests/writer/test_seal.py`, or those that `--tests` names, in a fork of a process
that has imported the libraries already: half a second and what the tests take to the first failure.

How to read the result: a mutant that is *killed* made a test fail, one that has a *timeout* ran in
circles, which a test run notices as well. Each that *survived* is printed as

    survived trio_collector/budget.py:38 ByteBudget.acquire: condition: turn.is_set() → True

and is one of three: behaviour that no test asserts (write the test), code that nothing needs
(remove it), or a change that changes nothing. The last are listed in `equivalent_mutants.toml`,
each with its reason, by module, function and text, so that they outlive moved lines; they do not
count. An entry there that fits no mutant any more is reported as stale. The score is killed and
timeouts by all that count; below 95 % in any module the exit code is 1. With `--sample` it is an
estimate, from that many mutants of each module, the same ones for the same seed.
"""

import argparse
import ast
import importlib
import os
import random
import resource
import select
import signal
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType

import hypothesis
import pytest

from tests.bench.mutations import Mutant, read_mutants

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "trio_collector"
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.toml")
CORE = (
    *(f"format.{name}" for name in ("columns", "header", "journal", "journal_reader")),
    "format.sealed_file",
    *(f"writer.{name}" for name in ("row_buffer", "journals", "recovery", "rotation", "seal")),
    *(f"writer.{name}" for name in ("disk_guard", "segment")),
    *(f"uploader.{name}" for name in ("verification", "delivery", "local_archive")),
    *("store.responses", "store.digest"),
    *("exchanges.okx", "exchanges.coinbase"),
    *("feed.continuity", "feed.wire.frames"),
    *(f"feed.health.{name}" for name in ("adaptive_timeout", "staleness", "breaker")),
    *("layout", "config.sharding", "budget"),
)
# Tests beside `test_<module>.py` that are a module's own: a contract that it fulfils with others.
# One without a file of its own has those alone.
MORE_TESTS = {
    "format.header": ("format/test_journal.py", "format/test_sealed_file.py"),
    "format.journal": ("format/test_journal_reader.py",),
    "writer.recovery": ("writer/test_power_loss.py",),
    "writer.seal": ("writer/test_power_loss.py", "format/test_sealed_file.py"),
    "feed.continuity.pending_gaps": ("feed/continuity/test_arbitration.py",),
    "exchanges.okx": ("exchanges/test_contract.py",),
    "exchanges.coinbase": ("exchanges/test_contract.py",),
}
ENOUGH = 0.95
NICE = 10
# A mutant may append for ever; the tests of the core stay below a third of it.
MEMORY_BYTES = 6 * 2**30
PATIENCE = 6.0  # times what the unchanged module takes, on a machine that does other things as well
LEAST_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Target:
    """A module to change, and the tests that should notice."""

    name: str
    path: Path
    tests: tuple[Path, ...]

    @property
    def module(self) -> str:
        """The name that tests import it by."""
        return f"trio_collector.{self.name}" if self.path.is_relative_to(PACKAGE) else self.name


@dataclass
class Outcome:
    """What became of the mutants of one module."""

    target: Target
    killed: int = 0
    timeouts: int = 0
    equivalent: int = 0
    survivors: list[Mutant] = field(default_factory=list)

    @property
    def counted(self) -> int:
        return self.killed + self.timeouts + len(self.survivors)

    @property
    def score(self) -> float:
        return 1 - len(self.survivors) / self.counted if self.counted else 1.0


def find_targets(names: Sequence[str], tests: Sequence[Path]) -> Iterator[Target]:
    """Yield the modules that the names mean."""
    for name in names:
        path = Path(name) if name.endswith(".py") else PACKAGE / name.replace(".", "/")
        files = sorted(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        if not all(file.is_file() for file in files):
            sys.exit(f"{name}: no such module below trio_collector, folder there, or file")
        yield from (_target(file.resolve(), tests) for file in files if file.stem != "__init__")


def _target(path: Path, tests: Sequence[Path]) -> Target:
    if not path.is_relative_to(PACKAGE):
        return Target(path.stem, path, tuple(tests))
    place = path.relative_to(PACKAGE)
    name = ".".join(place.with_suffix("").parts)
    own = ROOT / "tests" / place.with_name(f"test_{place.name}")
    more = [ROOT / "tests" / file for file in MORE_TESTS.get(name, ())]
    return Target(name, path, tuple(tests) or (*([own] if own.exists() or not more else []), *more))


class ChangedModule(MetaPathFinder, InspectLoader):
    """Imports one module from a tree instead of from its file."""

    def __init__(self, target: Target, tree: ast.Module) -> None:
        self.target = target
        self.tree = tree

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.target.module:
            return None
        return spec_from_loader(fullname, self, origin=str(self.target.path))

    def get_source(self, fullname: str) -> str:
        return self.target.path.read_text()

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.tree, str(self.target.path), "exec", dont_inherit=True)


class Examples:
    """A pytest plugin: Hypothesis draws the same examples each time, and does not shrink them."""

    def pytest_sessionstart(self) -> None:
        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        hypothesis.settings.register_profile(
            "mutants", phases=phases, database=None, derandomize=True, deadline=None
        )
        hypothesis.settings.load_profile("mutants")


def run_tests(target: Target, tree: ast.Module) -> int:
    """Run the tests in this process, with a changed module; return pytest's exit code."""
    sys.meta_path.insert(0, ChangedModule(target, tree))
    options = (
        f"-x -q --assert=plain -p no:cacheprovider --rootdir {ROOT} -c {ROOT / 'pyproject.toml'}"
    )
    overridden = ["-o", "addopts=--import-mode=importlib", "-m", "not live and not slow"]
    tests = [str(path) for path in target.tests]
    return pytest.main([*options.split(), *overridden, *tests], plugins=[Examples()])


class Trial:
    """A run of the tests in a process of its own."""

    def __init__(self, target: Target, tree: ast.Module, mutant: Mutant | None = None) -> None:
        self.mutant = mutant
        self.started = time.monotonic()
        self.output = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        self.ended, ends = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(target, tree, ends)
        os.close(ends)

    def _run(self, target: Target, tree: ast.Module, ends: int) -> None:
        code = 70  # anything else than 0: an error that nobody caught is noticed as well
        try:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for number in (1, 2):
                os.dup2(self.output.fileno(), number)
            if self.mutant:
                self.mutant.site.put(self.mutant.replacement)
            code = run_tests(target, tree)
            if not self.mutant:
                os.write(ends, "\n".join(sorted(sys.modules)).encode())
        finally:
            if sys.exc_info()[0]:
                traceback.print_exc()
            sys.stdout.flush()
            os._exit(code)

    def wait(self) -> tuple[int, str, str]:
        """Return the exit code, what the process reports, and what it printed."""
        with os.fdopen(self.ended, encoding="utf-8") as pipe:
            report = pipe.read()
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        with self.output:
            self.output.seek(0)
            return code, report, self.output.read().decode(errors="replace")

    def kill(self) -> None:
        """End it and what it started."""
        os.killpg(self.pid, signal.SIGKILL)
        self.wait()


def check_unchanged(target: Target, tree: ast.Module) -> float:
    """Run the unchanged module; import the libraries it needs here; return how long it takes."""
    code, report, output = Trial(target, tree).wait()
    if code != 0:
        sys.exit(f"{output}\n{target.name}: its tests fail without a change ({code})")
    for name in report.split("\n"):
        if not name.startswith(("trio_collector", "tests", "test_", "conftest", "__")):
            _import_library(name)
    started = time.monotonic()
    Trial(target, tree).wait()
    return time.monotonic() - started


def _import_library(name: str) -> None:
    # Test files are among the names, and some modules can only be imported by others.
    try:
        importlib.import_module(name)
    except ImportError:
        return


def try_mutants(
    target: Target, tree: ast.Module, mutants: Sequence[Mutant], *, jobs: int, timeout_s: float
) -> Outcome:
    """Run the tests once for each mutant, `jobs` at a time."""
    outcome = Outcome(target)
    waiting = list(reversed(mutants))
    running: dict[int, Trial] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            trial = Trial(target, tree, waiting.pop())
            running[trial.ended] = trial
        ended, _, _ = select.select(list(running), [], [], 1.0)
        for number in ended:
            judge(outcome, running.pop(number))
        late = [t for t in running.values() if time.monotonic() - t.started > timeout_s]
        for trial in late:
            del running[trial.ended]
            trial.kill()
            outcome.timeouts += 1
    return outcome


def judge(outcome: Outcome, trial: Trial) -> None:
    """Count a trial that ended."""
    assert trial.mutant is not None
    if trial.wait()[0] != 0:
        outcome.killed += 1
        return
    outcome.survivors.append(trial.mutant)
    print(f"survived {render_mutant(outcome.target, trial.mutant)}", flush=True)


def render_mutant(target: Target, mutant: Mutant) -> str:
    path = target.path.relative_to(ROOT) if target.path.is_relative_to(ROOT) else target.path
    function = mutant.site.function or "module"
    return f"{path}:{mutant.line} {function}: {mutant.operator}: {mutant.change}"


def read_equivalent(target: Target) -> dict[str, dict[str, str]]:
    """Return what changes nothing in a module: the reasons by function and change."""
    entries = tomllib.loads(EQUIVALENT.read_text()) if EQUIVALENT.exists() else {}
    found: dict[str, dict[str, str]] = entries.get(target.name, {})
    return found


def try_module(target: Target, options: argparse.Namespace) -> Outcome:
    """Try a module's mutants, or a sample of them, and report."""
    tree, mutants = read_mutants(target.path)
    reasons = read_equivalent(target)
    counted = [m for m in mutants if m.change not in reasons.get(m.site.function or "module", ())]
    if options.sample and options.sample < len(counted):
        counted = random.Random(options.seed).sample(counted, options.sample)
    duration_s = check_unchanged(target, tree)
    timeout_s = options.timeout or max(LEAST_TIMEOUT_S, PATIENCE * duration_s)
    print(f"{target.name}: {len(counted)} mutants, {duration_s:.1f} s each", flush=True)
    outcome = try_mutants(target, tree, counted, jobs=options.jobs, timeout_s=timeout_s)
    present = {(m.site.function or "module", m.change) for m in mutants}
    outcome.equivalent = sum(
        m.change in reasons.get(m.site.function or "module", ()) for m in mutants
    )
    for function, changes in reasons.items():
        for change in changes:
            if (function, change) not in present:
                print(f"stale in {EQUIVALENT.name}: {target.name} {function}: {change}")
    return outcome


def report(outcomes: Sequence[Outcome]) -> None:
    """Print the table of all modules."""
    print("\n| module | mutants | killed | timeout | survived | equivalent | score |")
    print("|---|---|---|---|---|---|---|")
    for o in outcomes:
        numbers = (o.counted, o.killed, o.timeouts, len(o.survivors), o.equivalent)
        print(f"| {o.target.name} | {' | '.join(map(str, numbers))} | {o.score:.1%} |")
    counted = sum(o.counted for o in outcomes)
    survived = sum(len(o.survivors) for o in outcomes)
    print(f"\n{1 - survived / (counted or 1):.1%} of {counted} mutants noticed")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", default=CORE)
    parser.add_argument("--tests", nargs="+", type=Path, default=(), metavar="PATH")
    parser.add_argument("--sample", type=int, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--timeout", type=float, metavar="S")
    parser.add_argument("--jobs", type=int, default=1, metavar="N")
    options = parser.parse_args()
    os.nice(NICE)
    tests = [path.resolve() for path in options.tests]
    os.chdir(ROOT)
    targets = list(find_targets(options.modules, tests))
    missing = [str(path) for target in targets for path in target.tests if not path.exists()]
    if missing:
        sys.exit(f"no such tests, name some with --tests: {', '.join(missing)}")
    outcomes = [try_module(target, options) for target in targets]
    report(outcomes)
    sys.exit(any(outcome.score < ENOUGH for outcome in outcomes))


if __name__ == "__main__":
    main()
