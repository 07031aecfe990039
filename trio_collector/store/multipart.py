"""A large file in parts: create, parts, complete; abort if any of it fails.

Nothing is visible under the key before it is complete, and the condition (`If-None-Match: *`) is
part of completing. A part that fails is sent again a few times, because one of sixty often does.
Then, or when the attempt is cancelled, the upload is aborted, so that the store does not go on
charging for its parts. The abort is best effort: a kill, or a lost response to *create*, leaves parts
behind that only a lifecycle rule of the bucket removes (AbortIncompleteMultipartUpload).
https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

import html
from typing import NamedTuple

import structlog
import trio

from trio_collector.errors import DiskError, StoreError, StoreUnavailable
from trio_collector.store.client import (
    CHECKSUM,
    CHECKSUM_ALGORITHM,
    CONDITION,
    Client,
    FilePart,
    S3Request,
)
from trio_collector.store.digest import Part, to_base64
from trio_collector.store.local_file import LocalFile
from trio_collector.store.object_store import ObjectInfo
from trio_collector.store.responses import object_info_of, unquote_etag

log = structlog.get_logger(__name__)

# Parts that are sent at a time, of all files together. Each takes a few MiB of memory.
PARTS_AT_ONCE = 4

PART_ATTEMPTS = 4
PART_RETRY_S = 0.5  # doubles

# "Could take several minutes", says the documentation of CompleteMultipartUpload.
COMPLETE_S = 300.0

# Long enough for one exchange over a bad line, short enough for the end of the process.
ABORT_S = 3.0
ABORT_RETRY_S = 0.2


async def put_in_parts(
    client: Client, slots: trio.CapacityLimiter, key: str, content: LocalFile
) -> ObjectInfo:
    """Store `content` under `key`; raises as `ObjectStore.put` does.

    Cancelling aborts the upload, as any failure does, and takes at most `ABORT_S` for that.
    """
    upload = await _create(client, key)
    try:
        sent = await _put_parts(client, slots, upload, content)
        return await _complete(client, upload, sent)
    except BaseException:
        # Shielded, because the process may be ending: what is not aborted now stays for good.
        with trio.move_on_after(ABORT_S, shield=True) as patience:
            await _abort(client, upload)
        if patience.cancelled_caught:
            error = f"no answer in {ABORT_S:.0f} s"
            log.warning("upload in parts not aborted", key=key, error=error)
        raise


class SentPart(NamedTuple):
    """A part that the store has: its number, the ETag it was given, and its SHA-256."""

    number: int
    etag: str
    sha256: bytes


class _Upload:
    """An open upload: its key, and the id that the store gave it."""

    def __init__(self, key: str, upload_id: str) -> None:
        self.key = key
        self.query = (("uploadId", upload_id),)


async def _create(client: Client, key: str) -> _Upload:
    headers = {CHECKSUM_ALGORITHM: "SHA256"}
    request = S3Request(
        "CreateMultipartUpload", "POST", key, query=(("uploads", ""),), headers=headers
    )
    response = await client.expect_success(request)
    upload_id = response.field("UploadId")
    if not upload_id:
        raise StoreUnavailable(f"{request}: an answer without an id", status=response.status)
    return _Upload(key, upload_id)


async def _put_parts(
    client: Client, slots: trio.CapacityLimiter, upload: _Upload, content: LocalFile
) -> list[SentPart]:
    """Send all parts; return them in order. The first failure cancels the other parts."""
    sent: list[SentPart] = []

    async def put(part: Part) -> None:
        async with slots:
            body = FilePart(content, part, await content.sha256(part))
            etag = await _put_part(client, upload, body)
        sent.append(SentPart(part.number, etag, body.sha256))

    try:
        async with trio.open_nursery() as nursery:
            for part in content.parts:
                nursery.start_soon(put, part)
    except* (StoreError, DiskError, OSError) as group:
        raise _worst(group) from None
    return sorted(sent)


async def _put_part(client: Client, upload: _Upload, body: FilePart) -> str:
    """Send one part, in up to `PART_ATTEMPTS` attempts, and return its ETag."""
    query = (("partNumber", str(body.part.number)), *upload.query)
    headers = {CHECKSUM: to_base64(body.sha256)}
    request = S3Request("UploadPart", "PUT", upload.key, query=query, headers=headers, body=body)
    for attempt in range(PART_ATTEMPTS - 1):
        try:
            return _etag((await client.expect_success(request)).headers.get("etag"), request)
        except StoreUnavailable as exc:
            await trio.sleep(max(exc.retry_after_s, PART_RETRY_S * 2**attempt))
    return _etag((await client.expect_success(request)).headers.get("etag"), request)


def _etag(etag: str | None, request: S3Request) -> str:
    if not etag:
        raise StoreUnavailable(f"{request}: an answer without an ETag")
    return unquote_etag(etag)


async def _complete(client: Client, upload: _Upload, sent: list[SentPart]) -> ObjectInfo:
    request = S3Request(
        "CompleteMultipartUpload",
        "POST",
        upload.key,
        query=upload.query,
        headers={CONDITION: "*"},
        body=render_parts(sent, with_checksums=client.supports(CHECKSUM)).encode(),
        limit_s=COMPLETE_S,
        stall_s=COMPLETE_S,
    )
    response = await client.expect_success(request)
    etag = response.field("ETag")
    if not etag:
        raise StoreUnavailable(f"{request}: an answer that is not whole", status=response.status)
    # The headers were sent before the object existed: only the body describes it.
    checksum = response.field("ChecksumSHA256") or None
    info = object_info_of(response.headers, has_size=False)
    return info._replace(etag=unquote_etag(etag), checksum=checksum)


def render_parts(sent: list[SentPart], *, with_checksums: bool = True) -> str:
    """Return the list of parts that completes an upload."""
    items = "".join(_render_part(part, with_checksum=with_checksums) for part in sent)
    namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
    return f'<CompleteMultipartUpload xmlns="{namespace}">{items}</CompleteMultipartUpload>'


def _render_part(part: SentPart, *, with_checksum: bool) -> str:
    checksum = f"<ChecksumSHA256>{to_base64(part.sha256)}</ChecksumSHA256>" if with_checksum else ""
    etag = f"&quot;{html.escape(part.etag)}&quot;"
    return f"<Part><PartNumber>{part.number}</PartNumber><ETag>{etag}</ETag>{checksum}</Part>"


async def _abort(client: Client, upload: _Upload) -> None:
    """Abort an upload, in as many attempts as the caller's deadline allows."""
    request = S3Request("AbortMultipartUpload", "DELETE", upload.key, query=upload.query)
    while True:
        try:
            response = await client.send(request)
        except StoreUnavailable:
            await trio.sleep(ABORT_RETRY_S)
            continue
        except StoreError as exc:
            log.warning("upload in parts not aborted", key=upload.key, error=str(exc))
            return
        if response.is_success or response.status == 404:
            return
        await trio.sleep(ABORT_RETRY_S)


def _worst(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return one of several failures: a permanent one if there is any."""
    return max(group.exceptions, key=lambda exc: getattr(exc, "is_permanent", False))
