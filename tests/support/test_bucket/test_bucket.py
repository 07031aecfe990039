"""What the bucket can be set to, and what of S3 OpenStack Swift does not do."""

import base64
import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.support.bucket import Credential, Operation
from tests.support.stores import StartBucket

Ask = Callable[..., Awaitable[httpx.Response]]
StoreOf = Callable[..., Any]
BODY = b"rows" * 1000
KMS = "x-amz-server-side-encryption"


def checksum_of(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def code_of(response: httpx.Response) -> str:
    return response.text.partition("<Code>")[2].partition("</Code>")[0]


async def test_checksums(start_bucket: StartBucket, store_of: StoreOf, ask: Ask) -> None:
    """A checksum that was sent is returned by PUT, and by HEAD when asked for."""
    bucket = await start_bucket()
    sent = {"x-amz-checksum-sha256": checksum_of(BODY)}
    put = await ask(store_of(bucket), "PUT", "key", content=BODY, headers=sent)
    asked = {"x-amz-checksum-mode": "ENABLED"}
    head = await ask(store_of(bucket), "HEAD", "key", headers=asked)
    for response in (put, head):
        assert response.headers["x-amz-checksum-sha256"] == checksum_of(BODY)
    plain = await ask(store_of(bucket), "HEAD", "key")
    assert "x-amz-checksum-sha256" not in plain.headers


async def test_without_checksums(start_bucket: StartBucket, store_of: StoreOf, ask: Ask) -> None:
    """A bucket without checksums checks them, and returns none on HEAD."""
    bucket = await start_bucket(has_checksums=False)
    sent = {"x-amz-checksum-sha256": checksum_of(BODY)}
    assert (await ask(store_of(bucket), "PUT", "key", content=BODY, headers=sent)).is_success
    head = await ask(store_of(bucket), "HEAD", "key", headers={"x-amz-checksum-mode": "ENABLED"})
    assert "x-amz-checksum-sha256" not in head.headers


@pytest.mark.parametrize(("etags", "header"), [("kms", "aws:kms"), ("opaque", None)])
async def test_etags(
    etags: str, header: str | None, start_bucket: StartBucket, store_of: StoreOf, ask: Ask
) -> None:
    """An ETag need not be an MD5; with KMS it looks like one, and a header says that it is none."""
    bucket = await start_bucket(etags=etags)
    await ask(store_of(bucket), "PUT", "key", content=BODY)
    head = await ask(store_of(bucket), "HEAD", "key")
    assert hashlib.md5(BODY).hexdigest() not in head.headers["etag"]
    assert head.headers.get(KMS) == header
    assert (len(head.headers["etag"].strip('"')) == 32) == (etags == "kms")


async def test_creation(start_bucket: StartBucket, store_of: StoreOf, ask: Ask) -> None:
    """A bucket that is not there is created once, in its own region."""
    bucket = await start_bucket(is_created=False)
    store = store_of(bucket)
    assert code_of(await ask(store, "PUT", "key", content=BODY)) == "NoSuchBucket"
    assert (await ask(store, "HEAD")).status_code == 404
    assert code_of(await ask(store, "PUT")) == "IllegalLocationConstraintException"
    where = (
        b"<CreateBucketConfiguration><LocationConstraint>eu-test-1</LocationConstraint>"
        b"</CreateBucketConfiguration>"
    )
    assert (await ask(store, "PUT", content=where)).is_success
    assert code_of(await ask(store, "PUT", content=where)) == "BucketAlreadyOwnedByYou"
    assert (await ask(store, "HEAD")).is_success
    assert "eu-test-1</LocationConstraint>" in (await ask(store, "GET", query="location=")).text


async def test_denied(start_bucket: StartBucket, store_of: StoreOf, ask: Ask) -> None:
    """What is denied is refused, and the rest is not."""
    bucket = await start_bucket(denied=frozenset({Operation.DELETE_OBJECT}))
    assert (await ask(store_of(bucket), "PUT", "key", content=BODY)).is_success
    refused = await ask(store_of(bucket), "DELETE", "key")
    assert (refused.status_code, code_of(refused)) == (403, "AccessDenied")
    assert "key" in bucket.objects


async def test_tokens(start_bucket: StartBucket, store_of: StoreOf, ask: Ask) -> None:
    """Keys of a session need their token, and are of no use when it has expired."""
    bucket = await start_bucket(session_token="session")
    store = store_of(bucket)
    assert (await ask(store, "PUT", "key", content=BODY)).is_success
    assert code_of(await ask(store._replace(token=None), "PUT", "k")) == "InvalidToken"
    bucket.credentials[bucket.access_key] = Credential(bucket.secret_key, "session", time.time())
    assert code_of(await ask(store, "PUT", "key", content=BODY)) == "ExpiredToken"


async def test_virtual_addressing(start_bucket: StartBucket, store_of: StoreOf, ask: Ask) -> None:
    """In front of `.localhost` stands the bucket, and the whole path is the key."""
    bucket = await start_bucket()
    host = {"host": f"{bucket.bucket}.localhost:{bucket.port}"}
    # The client's way of writing a path, bucket first, makes that the key's first part here.
    assert (await ask(store_of(bucket), "PUT", "key", content=BODY, headers=host)).is_success
    assert set(bucket.objects) == {f"{bucket.bucket}/key"}


async def test_parts_with_checksums(start_bucket: StartBucket, store_of: StoreOf, ask: Ask) -> None:
    """An upload with checksums wants one of each part, twice, and returns that of them all."""
    bucket = await start_bucket(min_part_bytes=1)
    store = store_of(bucket)
    algorithm = {"x-amz-checksum-algorithm": "SHA256"}
    await ask(store, "POST", "key", query="uploads=", headers=algorithm)
    (upload,) = bucket.uploads
    query = f"partNumber=1&uploadId={upload}"
    assert code_of(await ask(store, "PUT", "key", query=query, content=BODY)) == "InvalidRequest"
    sent = {"x-amz-checksum-sha256": checksum_of(BODY)}
    part = await ask(store, "PUT", "key", query=query, content=BODY, headers=sent)
    listed = f"<PartNumber>1</PartNumber><ETag>{part.headers['etag']}</ETag>"
    checked = f"{listed}<ChecksumSHA256>{checksum_of(BODY)}</ChecksumSHA256>"
    answers = []
    for parts in (listed, checked):
        document = f"<CompleteMultipartUpload><Part>{parts}</Part></CompleteMultipartUpload>"
        query = f"uploadId={upload}"
        answers.append(await ask(store, "POST", "key", query=query, content=document.encode()))
    assert [answer.status_code for answer in answers] == [400, 200]
    composite = f"{checksum_of(hashlib.sha256(BODY).digest())}-1"
    assert composite in answers[-1].text
    assert bucket.objects["key"].checksum == composite


async def test_complete_only_once(start_bucket: StartBucket, store_of: StoreOf, ask: Ask) -> None:
    """If-None-Match: * holds for an upload in parts as well, when it is completed."""
    bucket = await start_bucket()
    store = store_of(bucket)
    await ask(store, "PUT", "key", content=BODY)
    await ask(store, "POST", "key", query="uploads=")
    (upload,) = bucket.uploads
    part = await ask(store, "PUT", "key", query=f"partNumber=1&uploadId={upload}", content=BODY)
    document = (
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
        f"<ETag>{part.headers['etag']}</ETag></Part></CompleteMultipartUpload>"
    )
    done = await ask(
        store,
        "POST",
        "key",
        query=f"uploadId={upload}",
        content=document.encode(),
        headers={"if-none-match": "*"},
    )
    assert done.status_code == 412
    assert bucket.objects["key"].writes == 1


async def test_digests_alone(start_bucket: StartBucket, store_of: StoreOf, ask: Ask) -> None:
    """A bucket that keeps no content knows what it was, and cannot give it back."""
    bucket = await start_bucket(is_keeping_content=False)
    await ask(store_of(bucket), "PUT", "key", content=BODY)
    stored = bucket.objects["key"]
    assert (stored.content, stored.sha256) == (None, hashlib.sha256(BODY).hexdigest())
    assert (await ask(store_of(bucket), "GET", "key")).status_code == 501


async def test_claims(start_bucket: StartBucket, store_of: StoreOf, ask: Ask) -> None:
    """A bucket that does not hash still checks signatures, and repeats what it was told."""
    bucket = await start_bucket(is_hashing=False)
    sent = {"x-amz-checksum-sha256": checksum_of(BODY)}
    wrong = store_of(bucket, secret_key="guess")
    assert (await ask(wrong, "PUT", "key", content=BODY, headers=sent)).status_code == 403
    assert (await ask(store_of(bucket), "PUT", "key", content=BODY, headers=sent)).is_success
    assert bucket.objects["key"].checksum == checksum_of(BODY)
    assert bucket.objects["key"].size_bytes == len(BODY)


async def test_listing_pages(start_bucket: StartBucket, store_of: StoreOf, ask: Ask) -> None:
    """Keys are listed in their order, a page at a time."""
    bucket = await start_bucket()
    store = store_of(bucket)
    for key in ("b", "a/2", "a/1", "c&d"):
        await ask(store, "PUT", key, content=BODY)
    first = (await ask(store, "GET", query="list-type=2&max-keys=2")).text
    assert "<Key>a/1</Key>" in first
    assert "<IsTruncated>true</IsTruncated>" in first
    token = first.partition("<NextContinuationToken>")[2].partition("<")[0]
    query = f"continuation-token={token.replace('/', '%2F')}&list-type=2"
    second = (await ask(store, "GET", query=query)).text
    assert [key in second for key in ("a/1", "a/2", "<Key>b<", "c&amp;d")] == [
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("method", "query", "headers"),
    [
        ("GET", "acl=", {}),
        ("PUT", "tagging=", {}),
        ("PUT", "", {"if-none-match": '"etag"'}),
        ("PUT", "", {"x-amz-checksum-crc64nvme": "AAAAAAAAAAA="}),
    ],
)
async def test_what_is_not_simulated(
    method: str,
    query: str,
    headers: dict[str, str],
    start_bucket: StartBucket,
    store_of: StoreOf,
    ask: Ask,
) -> None:
    """What the bucket does not know it refuses, instead of passing over it."""
    response = await ask(store_of(await start_bucket()), method, "k", query=query, headers=headers)
    assert (response.status_code, code_of(response)) == (501, "NotImplemented")


async def test_aws_chunked(start_bucket: StartBucket, store_of: StoreOf, ask: Ask) -> None:
    """Bodies that carry their own framing are refused, and not stored frame and all."""
    bucket = await start_bucket()
    response = await ask(
        store_of(bucket),
        "PUT",
        "key",
        content=BODY,
        payload_hash="STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    )
    assert code_of(response) == "NotImplemented"
    assert not bucket.objects


async def test_expect(start_bucket: StartBucket, store_of: StoreOf, ask: Ask) -> None:
    """A client that waits for leave to send its body hears of an error before it does."""
    bucket = await start_bucket()
    store = store_of(bucket, secret_key="guess")
    response = await ask(store, "PUT", "key", content=BODY, unsigned={"expect": "100-continue"})
    assert response.status_code == 403
