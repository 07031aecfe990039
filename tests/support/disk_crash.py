"""A disk whose power fails: what was not synced is gone, or is there in part.

POSIX promises little, and this is all of it that `CrashDisk` assumes:

* the bytes of a file survive once the file was synced after they were written;
* a name (created, renamed or removed, of a file or a folder) survives once its folder was synced;
* a rename happened or did not. Between two folders, the sync of one makes only its half durable;
* what was not synced may survive, in any order and each by itself.

The last point is what a double that drops everything would miss: where a folder was not synced
between a rename and the deletion that relies on it, the deletion alone may survive. A `PowerLoss`
names one choice of what survives; `POWER_LOSSES` holds those that tell mistakes apart.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import msgspec

from tests.support.disk import WatchedDisk

# What is found below the root, by relative path: the bytes of a file, None for a folder.
Tree = Mapping[PurePath, bytes | None]


class _File(msgspec.Struct, eq=False):
    content: bytes
    synced: bytes = b""


class NameChange(NamedTuple):
    """A change of names in `folder` that was not synced yet."""

    folder: Path
    added: Path | None
    removed: Path | None
    file: _File | None  # that `added` names; None for a folder
    is_rename: bool = False  # or one half of it


class PowerLoss(NamedTuple):
    """Which of the changes that were not synced survive, and what a file holds then."""

    name: str
    keeps: Callable[[NameChange], bool]
    content: Callable[[_File], bytes]


def _synced(file: _File) -> bytes:
    return file.synced


def _zeroed(file: _File) -> bytes:
    """Return what a filesystem shows that wrote down the size, but not the bytes."""
    return file.synced + bytes(len(file.content) - len(file.synced))


def _torn(file: _File) -> bytes:
    return file.content[: (len(file.synced) + len(file.content)) // 2]


POWER_LOSSES: Sequence[PowerLoss] = (
    PowerLoss("nothing unsynced", lambda _change: False, _synced),
    PowerLoss("names without bytes", lambda _change: True, _synced),
    PowerLoss("names with zeros", lambda _change: True, _zeroed),
    PowerLoss("names with torn bytes", lambda _change: True, _torn),
    PowerLoss("removals alone", lambda change: not (change.added or change.is_rename), _synced),
    PowerLoss("additions alone", lambda change: bool(change.added or change.is_rename), _synced),
)


class CrashDisk(WatchedDisk):
    """A disk that knows what a power loss would leave below `root`.

    What is there at the beginning has been synced. `before_call` is called before each call, with
    its name: whatever `left_by` returns then is what a power loss at this moment leaves.
    """

    def __init__(self, root: Path, before_call: Callable[[str], None] = lambda _call: None) -> None:
        super().__init__()
        self.root = root
        self.before_call = before_call
        self._names: dict[Path, _File | None] = {}  # as they are now
        self._open: dict[int, _File] = {}
        for path in sorted(root.rglob("*")):
            self._names[path] = None if path.is_dir() else _found(path)
        self._synced_names = dict(self._names)
        self._unsynced: list[NameChange] = []

    def check(self, call: str) -> bool:
        self.before_call(call)
        return False

    def create(self, path: Path) -> int:
        descriptor = super().create(path)
        file = _File(b"")
        self._open[descriptor] = file
        self._change(NameChange(path.parent, path, None, file))
        return descriptor

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        taken = super().write(descriptor, content)
        self._open[descriptor].content += bytes(content[:taken])
        return taken

    def sync(self, descriptor: int) -> None:
        super().sync(descriptor)
        file = self._open[descriptor]
        file.synced = file.content

    def sync_all(self, descriptor: int) -> None:
        super().sync_all(descriptor)
        for file in [*self._names.values(), *self._open.values()]:
            if file is not None:
                file.synced = file.content
        self._synced_names, self._unsynced = dict(self._names), []

    def close(self, descriptor: int) -> None:
        super().close(descriptor)
        self._open.pop(descriptor, None)

    def make_folder(self, path: Path) -> None:
        super().make_folder(path)
        self._change(NameChange(path.parent, path, None, None))

    def sync_folder(self, path: Path) -> None:
        super().sync_folder(path)
        for change in self._unsynced:
            if change.folder == path:
                _apply(change, self._synced_names)
        self._unsynced = [change for change in self._unsynced if change.folder != path]

    def rename(self, old: Path, new: Path) -> None:
        super().rename(old, new)
        file = self._names[old]
        if old.parent == new.parent:
            self._change(NameChange(new.parent, new, old, file, is_rename=True))
        else:
            self._change(NameChange(new.parent, new, None, file, is_rename=True))
            self._change(NameChange(old.parent, None, old, None, is_rename=True))

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self._change(NameChange(path.parent, None, path, None))

    def left_by(self, loss: PowerLoss) -> Tree:
        """Return what a power loss at this moment leaves below the root."""
        names = dict(self._synced_names)
        for change in self._unsynced:
            if loss.keeps(change):
                _apply(change, names)
        return {
            path.relative_to(self.root): None if file is None else loss.content(file)
            for path, file in names.items()
            if all(folder in names for folder in path.parents if self.root in folder.parents)
        }

    def _change(self, change: NameChange) -> None:
        self._unsynced.append(change)
        _apply(change, self._names)


def _found(path: Path) -> _File:
    content = path.read_bytes()
    return _File(content, content)


def _apply(change: NameChange, names: dict[Path, _File | None]) -> None:
    if change.removed is not None:
        names.pop(change.removed, None)
    if change.added is not None:
        names[change.added] = change.file


def restore(tree: Tree, root: Path) -> None:
    """Write `tree` below `root`."""
    root.mkdir(parents=True)
    for path, content in sorted(tree.items()):
        if content is None:
            (root / path).mkdir()
        else:
            (root / path).write_bytes(content)
