"""S3 and what speaks like it, as an ObjectStore.

    PUT        If-None-Match: *          an object is never overwritten; 412 is ObjectExists
               x-amz-content-sha256      signed: a body that changed on the way is rejected
               x-amz-checksum-sha256     kept by the store, and shown by HEAD if supported
    HEAD       x-amz-checksum-mode       asks for that checksum
    multipart  above 64 MiB, see multipart.py

The first and the third are not sent again to a store without support for them (501). Delivery
sends HEAD before PUT, so that such a store overwrites objects only in a race of two collectors.
"""

import html
import os
import ssl
from collections.abc import Mapping
from functools import partial

import httpx
import structlog
import trio

from trio_collector.config.settings import AwsSection
from trio_collector.errors import (
    BucketMissing,
    IntegrityError,
    StoreError,
    StoreRejected,
    StoreUnavailable,
)
from trio_collector.store.body import CHUNK_BYTES
from trio_collector.store.client import CHECKSUM, CONDITION, Client, FilePart, S3Request
from trio_collector.store.credentials import CredentialChain
from trio_collector.store.digest import Digest, Hasher, to_base64
from trio_collector.store.http import deadline_s, read_response
from trio_collector.store.local_file import LocalFile
from trio_collector.store.multipart import PARTS_AT_ONCE, put_in_parts
from trio_collector.store.object_store import ObjectInfo
from trio_collector.store.responses import StoreResponse, object_info_of
from trio_collector.threads import Worker, Workers, thread_workers

NO_OBJECT = "trio_collector.probe/none"
HEAD_BUCKET_REMEDY = "nothing; or allow s3:ListBucket"

log = structlog.get_logger(__name__)


def open_store(
    aws: AwsSection, workers: Workers | None = None, environ: Mapping[str, str] = os.environ
) -> "S3Store":
    """Return the store that `aws` names. It reads the system's certificates: run it in a thread."""
    client = Client(aws, CredentialChain(environ), ssl.create_default_context())
    return S3Store(aws, client, workers)


class S3Store:
    """A bucket of S3."""

    def __init__(self, aws: AwsSection, client: Client, workers: Workers | None = None) -> None:
        self._aws = aws
        self._client = client
        self._workers = workers or thread_workers()
        self._creating = trio.Lock()
        self._part_slots = trio.CapacityLimiter(PARTS_AT_ONCE)

    async def ensure_bucket(self) -> None:
        request = S3Request("HeadBucket", "HEAD")
        async with self._creating:
            response = await self._client.send(request)
            if response.status == 404:
                await self._create_bucket()
            elif not response.is_success:
                raise await self._reason_of(request, response)

    async def put(self, key: str, content: LocalFile) -> ObjectInfo:
        if content.is_multipart:
            return await put_in_parts(self._client, self._part_slots, key, content)
        (part,) = content.parts
        body = FilePart(content, part, await content.sha256(part))
        headers = {CONDITION: "*", CHECKSUM: to_base64(body.sha256)}
        request = S3Request("PutObject", "PUT", key, headers=headers, body=body)
        return object_info_of((await self._client.expect_success(request)).headers, has_size=False)

    async def head(self, key: str) -> ObjectInfo | None:
        request = S3Request("HeadObject", "HEAD", key, headers={"x-amz-checksum-mode": "ENABLED"})
        response = await self._client.send(request)
        if response.status == 404:
            return None
        if not response.is_success:
            raise await self._reason_of(request, response)
        return object_info_of(response.headers, has_size=True)

    async def fetch_digest(self, key: str, size: int) -> Digest:
        request = S3Request("GetObject", "GET", key, limit_s=deadline_s(size))

        async def receive(body: httpx.Response) -> Digest:
            if body.status_code != 200:
                raise self._client.error_of(request, await read_response(body))
            return await _hash_body(body, size, str(request), self._workers.hashing)

        return await self._client.exchange(request, receive)

    async def delete(self, key: str) -> None:
        await self._client.expect_success(S3Request("DeleteObject", "DELETE", key))

    async def _create_bucket(self) -> None:
        if not self._aws.create_bucket:
            text = f"bucket {self._aws.bucket} is missing"
            remedy = "create it, correct aws.bucket, or set aws.create_bucket"
            raise BucketMissing(text, status=404, code="NoSuchBucket", remedy=remedy)
        request = S3Request("CreateBucket", "PUT", body=_location(self._aws))
        response = await self._client.send(request)
        if response.is_success:
            log.info("bucket created", bucket=self._aws.bucket, region=self._aws.region)
        elif response.field("Code") != "BucketAlreadyOwnedByYou":  # another collector was faster
            raise self._client.error_of(request, response)

    async def _reason_of(self, head: S3Request, response: StoreResponse) -> StoreError:
        """Return why HEAD was rejected. Its response has no body, so GET is sent for the reason.

        For the bucket itself, GET asks for an object that does not exist.
        """
        if response.status not in (400, 401, 403):
            return self._client.error_of(head, response)
        key = head.key or NO_OBJECT
        request = S3Request("GetObject", "GET", key, headers={"range": "bytes=0-0"})
        reason = await self._client.send(request)
        if not head.key and reason.field("Code") == "NoSuchKey":
            text = f"{head}: {response.status}: the bucket is there and may not be looked at"
            return StoreRejected(
                text, status=response.status, code="AccessDenied", remedy=HEAD_BUCKET_REMEDY
            )
        if reason.is_success or reason.status == 416:
            return StoreUnavailable(f"{head}: {response.status}, yet GET is granted")
        return self._client.error_of(request, reason)


async def _hash_body(response: httpx.Response, size: int, what: str, hashing: Worker) -> Digest:
    """Return the identity of a body; raises IntegrityError unless it has `size` bytes."""
    hasher = Hasher(size)
    buffer = bytearray()
    with trio.CancelScope() as enough:  # as in http.read_response
        async for chunk in response.aiter_raw():
            buffer += chunk
            if len(buffer) >= CHUNK_BYTES:
                await hashing(partial(hasher.feed, bytes(buffer)))
                buffer.clear()
            if hasher.missing < 0:
                enough.cancel()
    hasher.feed(bytes(buffer))
    if hasher.missing:
        raise IntegrityError(f"{what}: {size - hasher.missing} bytes came instead of {size}")
    return hasher.finish()


def _location(aws: AwsSection) -> bytes:
    """Return the body of CreateBucket. AWS accepts every region's name but that of us-east-1."""
    if aws.region == "us-east-1":
        return b""
    namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
    return (
        f'<CreateBucketConfiguration xmlns="{namespace}">'
        f"<LocationConstraint>{html.escape(aws.region)}</LocationConstraint></CreateBucketConfiguration>"
    ).encode()
