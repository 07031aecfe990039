"""In CI a skip that is not expected fails the run; elsewhere none does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import skips

CONFTEST = "from tests.support.skips import pytest_configure\n"
TESTS = """
import pytest

def test_passes():
    pass

def test_is_skipped():
    pytest.skip({reason!r})
"""
COLLECTED = "import pytest\npytest.skip({reason!r}, allow_module_level=True)\n"
XFAIL = (
    "import pytest\n@pytest.mark.xfail(reason={reason!r})\ndef test_fails():\n    assert False\n"
)


def run(folder: Path, source: str, *options: str, **environ: str) -> tuple[int, str]:
    """Run tests with the judge; return exit code and output."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_some.py").write_text("def test_passes():\n    pass\n")
    (folder / "test_skipped.py").write_text(source)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-c",
            os.devnull,
            "-p",
            "no:cacheprovider",
            "-p",
            "xdist.plugin",
            *options,
            folder,
        ],
        cwd=skips.ROOT,
        # To load all plugins that are installed takes longer than the rest.
        env={
            **os.environ,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "NOT_INSTALLED": "",
            **environ,
        },
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["one process", "two processes"])
def test_an_unexpected_skip(tmp_path: Path, options: tuple[str, ...]) -> None:
    """It fails the run, which says which test it was, and why."""
    code, output = run(tmp_path, TESTS.format(reason="no rain"), *options, CI="true")
    assert code == 1, output
    assert "test_skipped.py::test_is_skipped: Skipped: no rain" in output


def test_an_unexpected_skip_of_a_file(tmp_path: Path) -> None:
    code, output = run(tmp_path, COLLECTED.format(reason="no rain"), CI="true")
    assert code == 1, output


@pytest.mark.parametrize(
    ("source", "reason", "environ"),
    [
        (TESTS, "no rain", {"CI": ""}),
        (TESTS, "no IPv6 on this machine", {"CI": "true"}),
        (TESTS, "promtool is not installed", {"CI": "true", "NOT_INSTALLED": "prometheus"}),
        (XFAIL, "no rain", {"CI": "true"}),
    ],
    ids=["not in CI", "expected", "not installed", "expected failure"],
)
def test_what_passes(tmp_path: Path, source: str, reason: str, environ: dict[str, str]) -> None:
    code, output = run(tmp_path, source.format(reason=reason), **environ)
    assert code == 0, output


def test_what_can_be_installed_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOT_INSTALLED", "chromium")
    assert skips.is_expected("Skipped: no Chromium on this machine: apt-get install chromium")
    assert not skips.is_expected("Skipped: promtool is not installed; on Debian: …")


def test_recordings_beside_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they are, no test may say that they are not."""
    reason = "Skipped: the recordings of ../shared/captures are not here"
    monkeypatch.setattr(skips, "ROOT", tmp_path / "repository")
    assert skips.is_expected(reason)
    (tmp_path / "shared" / "captures").mkdir(parents=True)
    assert not skips.is_expected(reason)
