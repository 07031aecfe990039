"""One process per data_dir."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trio_collector.errors import DataDirLocked
from trio_collector.writer.lock import lock_data_dir


def test_the_holder_is_named(tmp_path: Path) -> None:
    """A second holder is refused, with the path and the pid of the first."""
    with lock_data_dir(tmp_path):
        with pytest.raises(DataDirLocked, match=f"process {os.getpid()} collects") as caught:
            with lock_data_dir(tmp_path):
                pass
    assert caught.value.path == tmp_path / ".lock"


def test_the_folder_is_created(tmp_path: Path) -> None:
    """A data_dir that is absent is created, private."""
    with lock_data_dir(tmp_path / "data" / "parquet"):
        assert (tmp_path / "data" / "parquet").stat().st_mode & 0o777 == 0o700


def test_the_lock_ends_with_its_holder(tmp_path: Path) -> None:
    """A process that ended, however, holds no lock."""
    script = (
        "import os, sys, pathlib\n"
        "from trio_collector.writer.lock import lock_data_dir\n"
        "with lock_data_dir(pathlib.Path(sys.argv[1])):\n"
        "    os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)]).returncode == 9
    with lock_data_dir(tmp_path):
        pass
    with lock_data_dir(tmp_path):
        pass
