"""Which version of a file it is, as far as the filesystem tells without reading it."""

from pathlib import Path
from typing import NamedTuple


class FileStamp(NamedTuple):
    """What changes with a file's content."""

    inode: int
    size: int
    modified_ns: int


def file_stamp(path: Path) -> FileStamp:
    """Return which version of the file `path` this is. Raises OSError."""
    facts = path.stat()
    return FileStamp(facts.st_ino, facts.st_size, facts.st_mtime_ns)
