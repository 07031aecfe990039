"""One process per data_dir: two would seal each other's journals.

The lock is the kernel's (flock) and ends with the process, however that ends. The pid in the file
serves the error message alone.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from trio_collector import layout
from trio_collector.disk import FILE_MODE, FOLDER_MODE
from trio_collector.errors import DataDirLocked


@contextlib.contextmanager
def lock_data_dir(data_dir: Path) -> Iterator[None]:
    """Hold `data_dir` for this process; create it if it is absent.

    Raises DataDirLocked, with the pid of the holder, and OSError where it cannot be created.
    """
    data_dir.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
    path = data_dir / layout.LOCK
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, FILE_MODE)
    try:
        _take(descriptor, path)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        holder = f"process {pid}" if pid.isdecimal() else "another process"
        raise DataDirLocked(path, f"{holder} collects into this data_dir") from exc
