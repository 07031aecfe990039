"""Which tests may be skipped when nobody looks: in CI any other skip fails the run.

A test that is skipped because a program is not there says nothing, and a run in which that happens
unseen says less each year. `$CI` is `true` in `.ci/run`, which installs what it can and names what
it could not in `$NOT_INSTALLED`.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAILED = pytest.ExitCode.TESTS_FAILED


def is_not_installed(package: str) -> bool:
    """Return whether `.ci/run` tried to install a package of Debian's, and could not."""
    return package in os.environ.get("NOT_INSTALLED", "").split()


class ExpectedSkip(NamedTuple):
    """A reason that tests give, and where it is a good one."""

    words: str
    is_expected: Callable[[], bool]


EXPECTED = (
    # Recordings of real traffic, which are too large for the repository and lie beside it.
    ExpectedSkip("../shared/captures", lambda: not (ROOT.parent / "shared/captures").is_dir()),
    # Swift keeps metadata in extended attributes; the tmpfs of many a container has none. Its tests
    # have twins that run against the simulated bucket.
    ExpectedSkip("Swift keeps metadata in user xattrs", lambda: True),
    ExpectedSkip("syncfs is of Linux", lambda: sys.platform != "linux"),
    # Containers often have IPv4 alone.
    ExpectedSkip("no IPv6 on this machine", lambda: True),
    # Not every Debian has kubectl, and a container has no systemd.
    ExpectedSkip("kubectl is not installed", lambda: True),
    ExpectedSkip("systemd-analyze is not installed", lambda: True),
    ExpectedSkip("promtool is not installed", lambda: is_not_installed("prometheus")),
    ExpectedSkip("prometheus is not installed", lambda: is_not_installed("prometheus")),
    ExpectedSkip("no Chromium on this machine", lambda: is_not_installed("chromium")),
)


def is_expected(reason: str) -> bool:
    """Return whether a test may be skipped on this machine for `reason`."""
    return any(skip.words in reason and skip.is_expected() for skip in EXPECTED)


class SkipJudge:
    """A pytest plugin that fails a run in which a test was skipped unexpectedly."""

    def __init__(self) -> None:
        self.unexpected: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self._judge(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._judge(report)

    def _judge(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        # A skip's text is of three parts: file, line and reason.
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if not is_expected(reason):
            self.unexpected.append(f"{report.nodeid}: {reason}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.unexpected and session.exitstatus in (pytest.ExitCode.OK, FAILED):
            session.exitstatus = FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.unexpected:
            terminalreporter.section("skipped, and not expected to be: tests/support/skips.py")
            for line in self.unexpected:
                terminalreporter.line(line, red=True)


def pytest_configure(config: pytest.Config) -> None:
    """Judge skips in CI; elsewhere a missing program is nobody's fault."""
    if os.environ.get("CI") == "true":
        config.pluginmanager.register(SkipJudge())
