"""One Swift for all processes of a test run: a start takes as long as a hundred of its tests.

The first process that needs it starts it (`swift_server.py`) and leaves a note where it is; the
others read the note. Its standard input is a named pipe that each of them holds open, so that it
ends with the last of them, whatever they die of.
"""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).with_name("swift_server.py")


@contextlib.contextmanager
def shared_swift(folder: Path) -> Iterator[Mapping[str, str]]:
    """Find the Swift of `folder`, or start it; $SWIFT_PYTHON names a Python that has it.

    The process that started it waits at the end for the others that use it.
    """
    with _locked(folder), contextlib.ExitStack() as undo:
        user = os.open(_pipe(folder), os.O_RDWR)  # to write alone would wait for the server
        undo.callback(os.close, user)
        note = folder / "place.json"
        server = None if note.exists() else _start(folder)
        if server:
            note.write_text(_place(server, folder))
        place = json.loads(note.read_text())
        undo.pop_all()
    try:
        yield place
    finally:
        with _locked(folder):
            if server:
                note.unlink()  # who comes now starts another one
            os.close(user)
        if server:
            server.communicate()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _pipe(folder: Path) -> Path:
    path = folder / "users"
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path)
    return path


def _start(folder: Path) -> "subprocess.Popen[str]":
    python = os.environ.get("SWIFT_PYTHON") or sys.executable
    own = tempfile.mkdtemp(dir=folder)
    users = os.open(_pipe(folder), os.O_RDONLY)
    try:
        return subprocess.Popen(
            [python, _SCRIPT, own], stdin=users, stdout=subprocess.PIPE, text=True
        )
    finally:
        os.close(users)


def _place(server: "subprocess.Popen[str]", folder: Path) -> str:
    """Return where the server is, as soon as it says so."""
    assert server.stdout is not None
    place = server.stdout.readline()
    if not place:
        server.communicate()
        pytest.fail(f"Swift does not start; is it installed ('.[dev]')? See {folder}/*/*.log")
    return place
