"""The size of the filesystem that rows are written to."""

import shutil
from pathlib import Path


def measure_disk(folder: str) -> int | None:
    """Return the size in bytes of the filesystem that `folder` is on, or will be on.

    None if the disk does not answer; the writer reports what is wrong with it.
    """
    path = Path(folder).absolute()
    for place in (path, *path.parents):
        try:
            return shutil.disk_usage(place).total
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None
