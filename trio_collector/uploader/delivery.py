"""The delivery of one sealed file into the store: HEAD, PUT, verify.

                   ┌──────── the next millisecond's name ◀──────────┐
    key ─▶ HEAD ─▶ taken? ──yes─▶ ours? ──certainly not─────────────┘
             ▲       no             └──yes─▶ done
             │       ▼
             └─412─ PUT ─▶ verify ─▶ done

Every step may fail halfway, or get a wrong response or none. It raises then, and the next attempt
starts at the top, where it finds what the one before has done. An object with our content is ours,
no matter who stored it. So a lost response, a crash before the removal from the spool, and a second
attempt all end under one name. A name is given up only to content that is certainly not ours.
"""

from pathlib import PurePosixPath

import structlog

from trio_collector.disk import LOCAL_DISK, Disk
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
from trio_collector.uploader.spool import SealedFile, next_millisecond
from trio_collector.uploader.verification import (
    Owner,
    Proof,
    contradiction,
    disagreement,
    plan_owner,
    plan_verification,
)

log = structlog.get_logger(__name__)


class Upload:
    """The upload of one file. It keeps the file's hashes from attempt to attempt."""

    def __init__(
        self,
        sealed: SealedFile,
        store: ObjectStore,
        workers: Workers | None = None,
        disk: Disk = LOCAL_DISK,
    ) -> None:
        self._sealed = sealed
        self._store = store
        self._workers = workers
        self._disk = disk
        self._content: LocalFile | None = None

    async def attempt(self) -> tuple[PurePosixPath, LocalFile]:
        """Bring the file into the store; return its key there, and the file that is proven there.

        Raises StoreError, DiskError and OSError. The file stays in the spool in any case.
        """
        self._content = content = await self._open()
        key = self._sealed.key
        while not await self._place(str(key), content):
            log.warning("name is taken by other content", key=str(key))
            key = next_millisecond(key)
        return key, content

    async def _open(self) -> LocalFile:
        """Return the file, with the hashes that are known unless it has changed."""
        content = await open_local_file(self._sealed.path, self._workers, self._disk)
        known = self._content
        return known if known and known.stamp == content.stamp else content

    async def _place(self, key: str, content: LocalFile) -> bool:
        """Return whether `content` is proven to be under `key` now; False if the name is taken."""
        there = await self._head(key)
        if there is None:
            try:
                put = await self._put(key, content)
            except ObjectExists:
                there = await self._store.head(key)
            else:
                await self._verify(key, content, put)
                return True
        if there is None:
            raise StoreUnavailable(f"{key}: taken, says PUT; not there, says HEAD")
        return await self._is_ours(key, content, there)

    async def _head(self, key: str) -> ObjectInfo | None:
        """Return what is under `key`; None if nothing is, or if the store does not tell.

        Without the right to list a bucket, HEAD of a missing object is denied. PUT then finds out.
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

    async def _verify(self, key: str, content: LocalFile, put: ObjectInfo) -> None:
        """Return if the store has what was sent; `put` is what the response to PUT said of it."""
        head = await self._store.head(key)
        if head is None:
            raise IntegrityError(f"{key}: stored, says PUT; not there, says HEAD")
        if fault := disagreement(put, head):
            raise IntegrityError(f"{key}: PUT and HEAD tell of {fault}")
        digest, proof = await self._compare(content, head, put)
        if fault := contradiction(digest, put) or contradiction(digest, head):
            raise IntegrityError(f"{key}: the store tells of {fault}")
        if proof is Proof.NEEDS_READING:
            fetched = await self._fetch(key, head)
            if not fetched.is_same(digest):
                raise IntegrityError(f"{key}: GET returns other content than was stored")

    async def _is_ours(self, key: str, content: LocalFile, there: ObjectInfo) -> bool:
        """Return whether the object under `key` is our content; raises IntegrityError if unclear."""
        digest, proof = await self._compare(content, there)
        if proof is Proof.PROVEN:
            return True
        owner = plan_owner(digest, there, await self._fetch(key, there))
        if owner is Owner.UNCLEAR:
            raise IntegrityError(f"{key}: HEAD and GET tell of different content")
        return owner is Owner.OURS

    async def _compare(
        self, content: LocalFile, head: ObjectInfo, put: ObjectInfo | None = None
    ) -> tuple[Digest, Proof]:
        """Return the digest that `content` was compared by, and what HEAD proves about it."""
        digest = await content.digest()
        proof = plan_verification(digest, head, put)
        if proof is Proof.NEEDS_MD5:
            digest = await content.digest_with_md5()
            proof = plan_verification(digest, head, put)
        return digest, proof

    async def _fetch(self, key: str, head: ObjectInfo) -> Digest:
        if head.size is None:
            raise StoreUnavailable(f"{key}: HEAD tells no size")
        return await self._store.fetch_digest(key, head.size)
