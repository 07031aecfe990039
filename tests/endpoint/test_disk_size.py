"""The size of the disk that rows are written to is known before its folder exists."""

import shutil
from pathlib import Path

import pytest

from trio_collector.endpoint.disk_size import measure_disk


def test_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    """The size is that of the filesystem that the folder will be on."""
    assert measure_disk(str(tmp_path / "not" / "yet")) == shutil.disk_usage(tmp_path).total


def test_a_disk_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken disk has no size."""

    def fail(_path: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(shutil, "disk_usage", fail)
    assert measure_disk(str(tmp_path)) is None
