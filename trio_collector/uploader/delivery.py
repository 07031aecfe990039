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
    NameTaken,
    StoreRefused,
    StoreUnavailable,
    WrongContent,
)
from trio_collector.uploader.content import Content, open_content
from trio_collector.uploader.digest import Digest
from trio_collector.uploader.ladder import (
    Origin,
    Verdict,
    contradiction,
    disagreement,
    plan_origin,
    plan_verification,
)
from trio_collector.uploader.spool import SealedFile
from trio_collector.uploader.store import ObjectStore, Stored
from trio_collector.uploader.workers import Workers

log = structlog.get_logger(__name__)


class Upload:
    """One file on its way; it keeps the hashes from attempt to attempt."""

    def __init__(
        self, sealed: SealedFile, store: ObjectStore, workers: Workers | None = None
    ) -> None:
        self._sealed = sealed
        self._store = store
        self._workers = workers
        self._content: Content | None = None

    async def attempt(self) -> tuple[PurePosixPath, Content]:
        """Bring the file into the store; return the key it has there, and what is there, proven.

        Raises StoreError and OSError. Cancelling leaves the file in the spool, as does all else.
        """
        self._content = content = await self._open()
        key = self._sealed.key
        while not await self._place(str(key), content):
            log.warning("name is taken by other content", key=str(key))
            key = key.with_name(f"{int(key.stem) + 1}{key.suffix}")
        return key, content

    async def _open(self) -> Content:
        """Return the content, with what is known of it unless the file has changed."""
        content = await open_content(self._sealed.path, self._workers)
        known = self._content
        return known if known and known.version == content.version else content

    async def _place(self, key: str, content: Content) -> bool:
        """Return whether `content` is under `key` now, proven; False if the name is others'."""
        there = await self._look(key)
        if there is None:
            try:
                said = await self._put(key, content)
            except NameTaken:
                there = await self._store.head(key)
            else:
                await self._verify(key, content, said)
                return True
        if there is None:
            raise StoreUnavailable(f"{key}: taken, says PUT; not there, says HEAD")
        return await self._is_ours(key, content, there)

    async def _look(self, key: str) -> Stored | None:
        """Return what is under `key`, if that can be known.

        Without the right to list a bucket, HEAD refuses what is not there. PUT will tell.
        """
        try:
            return await self._store.head(key)
        except StoreRefused as exc:
            if exc.code != "AccessDenied":
                raise
            return None

    async def _put(self, key: str, content: Content) -> Stored:
        try:
            return await self._store.put(key, content)
        except BucketMissing:
            await self._store.ensure_bucket()
            return await self._store.put(key, content)

    async def _verify(self, key: str, content: Content, said: Stored) -> None:
        """Return if the store has what was sent and `said` is what it said of it."""
        head = await self._store.head(key)
        if head is None:
            raise WrongContent(f"{key}: stored, says PUT; not there, says HEAD")
        if fault := disagreement(said, head):
            raise WrongContent(f"{key}: PUT and HEAD tell of {fault}")
        digest, verdict = await self._judge(content, head, said)
        if fault := contradiction(digest, said) or contradiction(digest, head):
            raise WrongContent(f"{key}: the store tells of {fault}")
        if verdict is Verdict.NEEDS_READING:
            fetched = await self._fetch(key, head)
            if not fetched.is_same(digest):
                raise WrongContent(f"{key}: GET returns other content than was stored")

    async def _is_ours(self, key: str, content: Content, there: Stored) -> bool:
        """Return whether the object under `key` is our content; raises WrongContent if unclear."""
        digest, verdict = await self._judge(content, there)
        if verdict is Verdict.PROVEN:
            return True
        origin = plan_origin(digest, there, await self._fetch(key, there))
        if origin is Origin.UNCLEAR:
            raise WrongContent(f"{key}: HEAD and GET tell of different content")
        return origin is Origin.OURS

    async def _judge(
        self, content: Content, head: Stored, said: Stored | None = None
    ) -> tuple[Digest, Verdict]:
        """Return what HEAD proves about `content`, and by which digest."""
        digest = await content.digest()
        verdict = plan_verification(digest, head, said)
        if verdict is Verdict.NEEDS_MD5:
            digest = await content.digest_with_md5()
            verdict = plan_verification(digest, head, said)
        return digest, verdict

    async def _fetch(self, key: str, head: Stored) -> Digest:
        if head.size is None:
            raise StoreUnavailable(f"{key}: HEAD tells no size")
        return await self._store.fetch_digest(key, head.size)
