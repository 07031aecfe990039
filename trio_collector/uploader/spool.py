"""The spool: sealed files in data_dir that nobody has delivered yet.

The folder is the queue. Whatever an earlier process left is in it without further ado, and a store
that is down for days costs disk, not memory. A sealed file whose journal still stands beside it is
not in the spool: the writer has not let go of it.
"""

from pathlib import Path, PurePosixPath
from typing import NamedTuple

from trio_collector import layout


class SealedFile(NamedTuple):
    """A sealed file on its way: where it is, and its key, which is its path below the root."""

    path: Path
    key: PurePosixPath


def find_sealed(data_dir: Path) -> list[SealedFile]:
    """Return what is in the spool, oldest first."""
    found = []
    for path in data_dir.rglob(f"*{layout.SEALED}"):
        key = PurePosixPath(path.relative_to(data_dir).as_posix())
        place = layout.parse_segment_path(key)
        if place is None or path.with_suffix(layout.JOURNAL).exists():
            continue
        found.append((place.first_ms, SealedFile(path, key)))
    return [sealed for _, sealed in sorted(found)]
