"""The image: pinned, from wheels with hashes, not root, and with a health check."""

import json
import re
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def rest_of(stage: list[Any], name: str) -> list[str]:
    """Return what follows each instruction `name` of `stage`."""
    return [each.rest for each in stage if each.name == name]


def test_base_is_pinned(deploy: Path, dockerfile: list[list[Any]]) -> None:
    """Both stages start from one release of Python, and none from a tag that moves between them."""
    (argument,) = re.findall(r"(?m)^ARG PYTHON_IMAGE=(\S+)$", (deploy / "Dockerfile").read_text())
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm(@sha256:[0-9a-f]{64})?", argument)
    assert [rest_of(stage, "FROM") for stage in dockerfile] == [
        ["${PYTHON_IMAGE} AS build"],
        ["${PYTHON_IMAGE}"],
    ]


def test_pip_takes_wheels_with_hashes_alone(dockerfile: list[list[Any]]) -> None:
    """Whatever pip gets from outside is a wheel with a known hash; what is ours is from the build."""
    commands = [run for stage in dockerfile for run in rest_of(stage, "RUN") if " install " in run]
    installs = [command for command in commands if "pip" in command]
    assert len(installs) == 3
    for command in installs:
        is_locked = "--require-hashes" in command and "--only-binary :all:" in command
        assert is_locked or ("--no-index" in command and "--no-deps" in command), command
    (wheel,) = (run for run in rest_of(dockerfile[0], "RUN") if "pip wheel" in run)
    assert "--no-deps" in wheel
    assert "--no-build-isolation" in wheel


def test_final_stage(dockerfile: list[list[Any]]) -> None:
    """It runs as a number that is not root, in exec form, with one volume, and stops by SIGTERM."""
    final = dockerfile[-1]
    (user,) = rest_of(final, "USER")
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    assert [json.loads(each) for each in rest_of(final, "VOLUME")] == [["/data"]]
    assert rest_of(final, "STOPSIGNAL") == ["SIGTERM"]
    (entrypoint,) = map(json.loads, rest_of(final, "ENTRYPOINT"))
    assert entrypoint == ["/opt/collector/bin/python", "-m", "trio_collector"]
    assert [json.loads(each) for each in rest_of(final, "CMD")] == [["run"]]
    # Nobody becomes root again, and nothing is installed behind the build's back.
    last = [each.name for each in final].index("USER")
    assert not {"RUN", "COPY", "ADD"} & {each.name for each in final[last:]}
    assert "pip" not in " ".join(rest_of(final, "RUN"))


def test_health_check(deploy: Path, dockerfile: list[list[Any]]) -> None:
    """It is in exec form, asks by a file that is copied, and has a patience longer than its own."""
    (check,) = rest_of(dockerfile[-1], "HEALTHCHECK")
    options, _, command = check.partition(" CMD ")
    program, script = json.loads(command)
    assert program == "/opt/collector/bin/python"
    assert f"deploy/healthcheck.py {script}" in rest_of(dockerfile[-1], "COPY")
    (timeout_s,) = re.findall(r"--timeout=(\d+)s", options)
    (own_s,) = re.findall(r"TIMEOUT_S = ([\d.]+)", (deploy / "healthcheck.py").read_text())
    assert float(own_s) < float(timeout_s)


def test_copied_files_are_let_through(deploy: Path, dockerfile: list[list[Any]]) -> None:
    """Each file that is copied exists, and is an exception of the ignore file that ignores the rest."""
    lines = (deploy / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    sources = {
        source
        for stage in dockerfile
        for copy in rest_of(stage, "COPY")
        if not copy.startswith("--from")
        for source in copy.split()[:-1]
    }
    for source in sources:
        assert (ROOT / source).exists()
    assert {rule[1:] for rule in rules if rule.startswith("!")} == sources


def test_no_secrets(dockerfile: list[list[Any]]) -> None:
    """No instruction carries a secret, and ADD, which unpacks and downloads, is not used."""
    for stage in dockerfile:
        for each in stage:
            assert each.name != "ADD"
            assert not re.search(r"(?i)secret|password|token|api_?key", each.rest)


@pytest.mark.parametrize("name", ["requirements.txt", "build-requirements.txt"])
def test_requirements_are_locked(deploy: Path, name: str) -> None:
    """Each line is an exact version with one or two hashes: for one file, or one for each machine."""
    text = (deploy / name).read_text()
    blocks = re.split(r"(?<!\\)\n", text.strip())[1:]
    assert blocks
    for block in blocks:
        assert re.fullmatch(
            r"[a-z0-9-]+==[\w.]+( \\\n    --hash=sha256:[0-9a-f]{64}){1,2}", block
        ), block


def test_requirements_fit_the_project(deploy: Path) -> None:
    """Every dependency of the project is locked, at a version that it allows."""
    locked = dict(
        re.findall(r"(?m)^([a-z0-9-]+)==([\w.]+)", (deploy / "requirements.txt").read_text())
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for wanted in project["dependencies"]:
        name, lowest = re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", wanted).groups()  # type: ignore[union-attr]  # another form is a failure
        assert name in locked, f"run deploy/lock.py: {name} is new"
        assert numbers(locked[name]) >= numbers(lowest)


def numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of `version`, for comparison."""
    return tuple(int(each) for each in re.findall(r"\d+", version)[:3])


@pytest.fixture
def healthcheck(deploy: Path) -> ModuleType:
    module = ModuleType("healthcheck")
    code = (deploy / "healthcheck.py").read_text()
    exec(compile(code, "healthcheck.py", "exec"), module.__dict__)  # it is ours
    return module


@pytest.fixture
def answer() -> Iterator[tuple[int, list[int]]]:
    """Serve /live on a port, with the status that is the list's last."""
    statuses = [200]

    class Live(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses[-1] if self.path == "/live" else 404)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Live) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port, statuses
        server.shutdown()
        thread.join()


def test_health_check_asks_live(
    healthcheck: ModuleType,
    answer: tuple[int, list[int]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is 0 while /live says 200, whatever proxy the environment names, and else 1 with a reason."""
    port, statuses = answer
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert healthcheck.main(port) == 0
    assert capsys.readouterr() == ("", "")
    statuses.append(503)
    assert healthcheck.main(port) == 1
    assert "/live says 503" in capsys.readouterr().err


def test_health_check_without_answer(
    healthcheck: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nobody listens it is 1."""
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        port = server.server_port
    assert healthcheck.main(port) == 1
    assert "no answer" in capsys.readouterr().err
