"""The way of one sealed file into the store: look, put, verify.

                   ┌──────── the next millisecond's name ◀──────────┐
    key ─▶ look ─▶ taken? ──yes─▶ ours? ──no, that is certain───────┘
             ▲       no             └──yes─▶ done
             │       ▼
             └─412─ put ─▶ verify ─▶ done

Every step may be cut off, answered wrongly, or not at all; it raises, and the next attempt begins
at the top, where it finds what the one before has done. What is there and has our content is ours,
whoever put it there: thus a lost answer, a crash before the removal from the spool and a second
attempt all end under one name. A name is given up only to content that is certainly not ours.
"""

from pathlib import PurePosixPath

import structlog

from trio_collector.errors import (
    BucketMissing,
    IntegrityError,
    ObjectExists,
    StoreRejected,
    StoreUnavailable,
)
from trio_collector.store.digest import Digest
from trio_collector.store.local_file import LocalFile, open_local_file
from trio_collector.store.object_store import ObjectInfo, ObjectStore
from trio_collector.threads import Workers
from trio_collector.uploader.spool import SealedFile
from trio_collector.uploader.verification import (
    Owner,
    Proof,
    contradiction,
    disagreement,
    plan_origin,
    plan_verification,
)

log = structlog.get_logger(__name__)


class Upload:
    """One file on its way; it keeps the hashes from attempt to attempt."""

    def __init__(
        self, sealed: SealedFile, store: ObjectStore, workers: Workers | None = None
    ) -> None:
        self._sealed = sealed
        self._store = store
        self._workers = workers
        self._content: LocalFile | None = None

    async def attempt(self) -> tuple[PurePosixPath, LocalFile]:
        """Bring the file into the store; return the key it has there, and what is there, proven.

        Raises StoreError and OSError. Cancelling leaves the file in the spool, as does all else.
        """
        self._content = content = await self._open()
        key = self._sealed.key
        while not await self._place(str(key), content):
            log.warning("name is taken by other content", key=str(key))
            key = key.with_name(f"{int(key.stem) + 1}{key.suffix}")
        return key, content

    async def _open(self) -> LocalFile:
        """Return the content, with what is known of it unless the file has changed."""
        content = await open_local_file(self._sealed.path, self._workers)
        known = self._content
        return known if known and known.version == content.version else content

    async def _place(self, key: str, content: LocalFile) -> bool:
        """Return whether `content` is under `key` now, proven; False if the name is others'."""
        there = await self._look(key)
        if there is None:
            try:
                said = await self._put(key, content)
            except ObjectExists:
                there = await self._store.head(key)
            else:
                await self._verify(key, content, said)
                return True
        if there is None:
            raise StoreUnavailable(f"{key}: taken, says PUT; not there, says HEAD")
        return await self._is_ours(key, content, there)

    async def _look(self, key: str) -> ObjectInfo | None:
        """Return what is under `key`, if that can be known.

        Without the right to list a bucket, HEAD refuses what is not there. PUT will tell.
        """
        try:
            return await self._store.head(key)
        except StoreRejected as exc:
            if exc.code != "AccessDenied":
                raise
            return None

    async def _put(self, key: str, content: LocalFile) -> ObjectInfo:
        try:
            return await self._store.put(key, content)
        except BucketMissing:
            await self._store.ensure_bucket()
            return await self._store.put(key, content)

    async def _verify(self, key: str, content: LocalFile, said: ObjectInfo) -> None:
        """Return if the store has what was sent and `said` is what it said of it."""
        head = await self._store.head(key)
        if head is None:
            raise IntegrityError(f"{key}: stored, says PUT; not there, says HEAD")
        if fault := disagreement(said, head):
            raise IntegrityError(f"{key}: PUT and HEAD tell of {fault}")
        digest, verdict = await self._judge(content, head, said)
        if fault := contradiction(digest, said) or contradiction(digest, head):
            raise IntegrityError(f"{key}: the store tells of {fault}")
        if verdict is Proof.NEEDS_READING:
            fetched = await self._fetch(key, head)
            if not fetched.is_same(digest):
                raise IntegrityError(f"{key}: GET returns other content than was stored")

    async def _is_ours(self, key: str, content: LocalFile, there: ObjectInfo) -> bool:
        """Return whether the object under `key` is our content; raises WrongContent if unclear."""
        digest, verdict = await self._judge(content, there)
        if verdict is Proof.PROVEN:
            return True
        origin = plan_origin(digest, there, await self._fetch(key, there))
        if origin is Owner.UNCLEAR:
            raise IntegrityError(f"{key}: HEAD and GET tell of different content")
        return origin is Owner.OURS

    async def _judge(
        self, content: LocalFile, head: ObjectInfo, said: ObjectInfo | None = None
    ) -> tuple[Digest, Proof]:
        """Return what HEAD proves about `content`, and by which digest."""
        digest = await content.digest()
        verdict = plan_verification(digest, head, said)
        if verdict is Proof.NEEDS_MD5:
            digest = await content.digest_with_md5()
            verdict = plan_verification(digest, head, said)
        return digest, verdict

    async def _fetch(self, key: str, head: ObjectInfo) -> Digest:
        if head.size is None:
            raise StoreUnavailable(f"{key}: HEAD tells no size")
        return await self._store.fetch_digest(key, head.size)
