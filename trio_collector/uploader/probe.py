"""A real test of the bucket: PUT, HEAD, GET, verify, DELETE, and what is wrong in plain words.

The object is a few bytes under `PROBE_FOLDER`, where no reader of the archive looks. It stays if it
may not be deleted; uploading does not need that right.
"""

import secrets
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import NamedTuple, TypeVar

import trio

from trio_collector.config.settings import AwsSection
from trio_collector.errors import ObjectExists, StoreError
from trio_collector.store.local_file import LocalFile, open_local_file
from trio_collector.store.object_store import ObjectInfo, ObjectStore
from trio_collector.store.s3 import open_store
from trio_collector.uploader.verification import Proof, contradiction, plan_verification

PROBE_FOLDER = "trio_collector.probe"
PROBE_BYTES = b"trio_collector tried whether it may write here; this may be deleted\n"

# What a policy has to allow for each step. HEAD and GET are one right.
_RIGHTS = {
    "put": "s3:PutObject",
    "head": "s3:GetObject",
    "get": "s3:GetObject",
    "delete": "s3:DeleteObject",
}

T = TypeVar("T")


class ProbeFinding(NamedTuple):
    """The result of one step."""

    step: str
    is_ok: bool
    text: str
    remedy: str = ""  # what to do about a failure, or what could be better after a success


async def probe_store(aws: AwsSection, store: ObjectStore | None = None) -> list[ProbeFinding]:
    """Return the results of the steps up to the first that failed; the bucket may be created.

    Never raises StoreError. Cancelling may leave the probe object in the bucket.
    """
    if store is None:
        store = await trio.to_thread.run_sync(open_store, aws)
    probe = _Probe(aws, store)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe"
        path.write_bytes(PROBE_BYTES)
        await probe.run(await open_local_file(path))
    return probe.findings


class _Probe:
    """The steps, and their results so far."""

    def __init__(self, aws: AwsSection, store: ObjectStore) -> None:
        self.findings: list[ProbeFinding] = []
        self._aws = aws
        self._store = store
        self._key = f"{PROBE_FOLDER}/{secrets.token_hex(8)}"

    async def run(self, content: LocalFile) -> None:
        if not await self._reach_bucket():
            return
        put = await self._try("put", self._store.put(self._key, content))
        if put is None:
            return
        self._note("put", f"{len(PROBE_BYTES)} bytes stored as {self._key}")
        await self._verify(content, put)
        await self._try_overwriting(content)
        await self._delete()

    async def _reach_bucket(self) -> bool:
        try:
            await self._store.ensure_bucket()
        except StoreError as exc:
            if exc.code != "AccessDenied":
                self._fail("bucket", exc)
                return False
            # Uploading needs no right to the bucket itself, and PUT finds out whether it exists.
            self._note("bucket", f"{self._aws.bucket} may not be listed, which is not needed")
        else:
            self._note("bucket", f"{self._aws.bucket} is there")
        return True

    async def _verify(self, content: LocalFile, put: ObjectInfo) -> None:
        head = await self._try("head", self._store.head(self._key))
        if head is None:
            return
        self._note("head", f"{head.size} bytes, checksum {head.checksum}, ETag {head.etag}")
        fetched = await self._try("get", self._store.fetch_digest(self._key, head.size or 0))
        if fetched is None:
            return
        self._note("get", "read back")
        digest = await content.digest_with_md5()
        fault = contradiction(digest, put) or contradiction(digest, head)
        if not fetched.is_same(digest):
            text, remedy = "other content came back than was stored", "do not use this store"
            self.findings.append(ProbeFinding("verify", False, text, remedy))
        elif fault:
            text, remedy = f"the store tells of {fault}", "every file would be kept and tried again"
            self.findings.append(ProbeFinding("verify", False, text, remedy))
        elif plan_verification(digest, head) is Proof.PROVEN:
            self._note("verify", "proven by " + ("checksum" if head.checksum else "MD5 ETag"))
        else:
            advice = "each file is read back after it was stored, which doubles the traffic"
            self._note("verify", "the store tells neither a checksum nor an MD5", advice)

    async def _try_overwriting(self, content: LocalFile) -> None:
        """Check that the store does not overwrite: PUT under a name that is taken."""
        try:
            await self._store.put(self._key, content)
        except ObjectExists:
            self._note("condition", "a name that is taken is refused")
        except StoreError as exc:
            self._fail("condition", exc)
        else:
            advice = "give each machine its own aws.home_server_name; versioning keeps old objects"
            self._note("condition", "the store overwrites names that are taken", advice)

    async def _delete(self) -> None:
        try:
            await self._store.delete(self._key)
        except StoreError as exc:
            advice = f"nothing, or delete {self._key}; uploading does not need that right"
            self._note("delete", f"the probe object stays: {exc}", advice)
        else:
            self._note("delete", "the probe object is gone")

    async def _try(self, step: str, call: Awaitable[T | None]) -> T | None:
        """Return what `call` returns; None, with a finding, if it fails."""
        try:
            result = await call
        except StoreError as exc:
            self._fail(step, exc)
            return None
        if result is None:
            text, remedy = "not there right after it was stored", "check what else uses the bucket"
            self.findings.append(ProbeFinding(step, False, text, remedy))
        return result

    def _note(self, step: str, text: str, advice: str = "") -> None:
        self.findings.append(ProbeFinding(step, True, text, advice))

    def _fail(self, step: str, exc: StoreError) -> None:
        remedy = exc.remedy or "try again; if it lasts, ask whoever runs the store"
        if exc.code == "AccessDenied" and step in _RIGHTS:
            remedy = f"allow {_RIGHTS[step]} on arn:aws:s3:::{self._aws.bucket}/*"
        self.findings.append(ProbeFinding(step, False, str(exc), remedy))
