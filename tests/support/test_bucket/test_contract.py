"""The simulated bucket and OpenStack Swift say the same: what one refuses, so does the other."""

import base64
import hashlib
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
import pytest

Ask = Callable[..., Awaitable[httpx.Response]]

BODY = b"rows of a day" * 1000
OTHER = b"other rows"


def base64_of(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def sha256_of(content: bytes) -> str:
    return base64_of(hashlib.sha256(content).digest())


def code_of(response: httpx.Response) -> str:
    """Return the code of an error document."""
    return response.text.partition("<Code>")[2].partition("</Code>")[0]


@pytest.fixture(params=["bucket", "swift"])
async def store(
    request: pytest.FixtureRequest,
    start_bucket: Callable[..., Awaitable[Any]],
    store_of: Callable[..., Any],
    ask: Ask,
) -> Any:
    """A store with a bucket in it: the simulated one, or the real one."""
    if request.param == "bucket":
        return store_of(await start_bucket())
    swift: Mapping[str, str] = request.getfixturevalue("swift")
    fake = store_of(await start_bucket())
    name = f"contract-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"  # workers share Swift
    store = fake._replace(**swift, bucket=name)
    assert (await ask(store, "PUT")).status_code in (200, 409)
    return store


@pytest.mark.parametrize(
    "key",
    [
        "plain.parquet",
        "binance/btcusdt/trade/2026-11-22/1.parquet",
        "a b+c:d=e,f@g&h/i;j.parquet",
        "~2e/ünïcödé-鍵.parquet",
        "double//slash/100%25.parquet",
    ],
)
async def test_round_trip(store: Any, ask: Ask, key: str) -> None:
    """What was put under any name is there, as it was."""
    put = await ask(store, "PUT", key, content=BODY)
    assert put.status_code == 200, put.text
    head = await ask(store, "HEAD", key)
    assert int(head.headers["content-length"]) == len(BODY)
    etag = hashlib.md5(BODY, usedforsecurity=False).hexdigest()
    assert head.headers["etag"].strip('"') == put.headers["etag"].strip('"') == etag
    assert (await ask(store, "GET", key)).content == BODY
    part = await ask(store, "GET", key, headers={"range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, BODY[:4])
    assert key in (await ask(store, "GET", query="list-type=2")).text.replace("&amp;", "&")
    assert (await ask(store, "DELETE", key)).status_code == 204
    assert (await ask(store, "HEAD", key)).status_code == 404


REFUSED: Mapping[str, tuple[int, str, Mapping[str, Any]]] = {
    "hash": (400, "XAmzContentSHA256Mismatch", {"payload_hash": hashlib.sha256(OTHER).hexdigest()}),
    "checksum": (
        400,
        "BadDigest",
        {"headers": {"x-amz-checksum-sha256": sha256_of(OTHER)}},
    ),
    "md5": (
        400,
        "BadDigest",
        {"headers": {"content-md5": base64_of(hashlib.md5(OTHER).digest())}},
    ),
    "malformed md5": (400, "InvalidDigest", {"headers": {"content-md5": "no digest"}}),
    "skew": (403, "RequestTimeTooSkewed", {"skew_s": -7200}),
    "signature": (403, "SignatureDoesNotMatch", {"unsigned": {"x-amz-date": "20000101T000000Z"}}),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_refusals(store: Any, ask: Ask, name: str) -> None:
    """A body that is not what its headers say, and a bad signature, store nothing."""
    status, code, lie = REFUSED[name]
    response = await ask(store, "PUT", "refused", content=BODY, **lie)
    if name != "signature":  # that one is too old as well, and either is a reason
        assert code_of(response) == code
    assert response.status_code == status
    assert (await ask(store, "HEAD", "refused")).status_code == 404


async def test_keys(store: Any, ask: Ask) -> None:
    """A wrong secret and an unknown key are told apart from a missing bucket."""
    wrong = await ask(store._replace(secret_key="guess"), "PUT", "x", content=BODY)
    assert (wrong.status_code, code_of(wrong)) == (403, "SignatureDoesNotMatch")
    unknown = await ask(store._replace(access_key="nobody:x"), "PUT", "x", content=BODY)
    assert unknown.status_code == 403
    missing = await ask(store._replace(bucket="nowhere"), "PUT", "x", content=BODY)
    assert (missing.status_code, code_of(missing)) == (404, "NoSuchBucket")


async def test_region(store: Any, ask: Ask) -> None:
    """A signature for another region is refused, and the right one named."""
    response = await ask(store._replace(region="mars-1"), "PUT", "x", content=BODY)
    assert (response.status_code, code_of(response)) == (400, "AuthorizationHeaderMalformed")
    assert f"<Region>{store.region}</Region>" in response.text


async def test_condition(store: Any, ask: Ask) -> None:
    """If-None-Match: * stores where nothing is, and else leaves what is there."""
    condition = {"if-none-match": "*"}
    assert (await ask(store, "PUT", "once", content=BODY, headers=condition)).is_success
    again = await ask(store, "PUT", "once", content=OTHER, headers=condition)
    assert (again.status_code, code_of(again)) == (412, "PreconditionFailed")
    assert (await ask(store, "GET", "once")).content == BODY
    await ask(store, "DELETE", "once")


async def test_missing_object(store: Any, ask: Ask) -> None:
    """What is not there is 404, told with a code to GET and without to HEAD."""
    response = await ask(store, "GET", "nothing")
    assert (response.status_code, code_of(response)) == (404, "NoSuchKey")
    assert (await ask(store, "HEAD", "nothing")).status_code == 404


async def open_upload(store: Any, ask: Ask, key: str) -> str:
    response = await ask(store, "POST", key, query="uploads=")
    assert response.status_code == 200, response.text
    return response.text.partition("<UploadId>")[2].partition("</UploadId>")[0]


async def put_part(store: Any, ask: Ask, key: str, upload: str, *, number: int, size: int) -> str:
    query = f"partNumber={number}&uploadId={upload}"
    response = await ask(store, "PUT", key, query=query, content=bytes([number]) * size)
    assert response.status_code == 200, response.text
    return response.headers["etag"].strip('"')


def error_response(etags: list[tuple[int, str]]) -> bytes:
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        for number, etag in etags
    )
    return f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()


PART_BYTES = 5 * 2**20


async def test_multipart(store: Any, ask: Ask) -> None:
    """Parts become an object whose ETag is made of theirs, and the upload is no more."""
    upload = await open_upload(store, ask, "parts")
    etags = [
        (number, await put_part(store, ask, "parts", upload, number=number, size=size))
        for number, size in ((1, PART_BYTES), (2, 10))
    ]
    done = await ask(
        store, "POST", "parts", query=f"uploadId={upload}", content=error_response(etags)
    )
    assert done.status_code == 200
    assert "<Error>" not in done.text
    head = await ask(store, "HEAD", "parts")
    joined = b"".join(bytes.fromhex(etag) for _, etag in etags)
    assert head.headers["etag"].strip('"') == f"{hashlib.md5(joined).hexdigest()}-2"
    assert int(head.headers["content-length"]) == PART_BYTES + 10
    assert upload not in (await ask(store, "GET", query="uploads=")).text
    await ask(store, "DELETE", "parts")


async def test_multipart_refusals(store: Any, ask: Ask) -> None:
    """Parts that are unknown, in disorder or too small make no object; the upload stays."""
    upload = await open_upload(store, ask, "bad")
    etags = [
        (number, await put_part(store, ask, "bad", upload, number=number, size=10))
        for number in (1, 2)
    ]
    query = f"uploadId={upload}"
    for listed, code in (
        (etags, "EntityTooSmall"),
        (etags[::-1], "InvalidPartOrder"),
        ([(1, "0" * 32)], "InvalidPart"),
        ([(3, etags[0][1])], "InvalidPart"),
        ([], "MalformedXML"),
    ):
        response = await ask(store, "POST", "bad", query=query, content=error_response(listed))
        assert code_of(response) == code, listed
    assert upload in (await ask(store, "GET", query="uploads=")).text
    assert (await ask(store, "DELETE", "bad", query=query)).status_code == 204
    gone = await ask(store, "POST", "bad", query=query, content=error_response(etags))
    assert (gone.status_code, code_of(gone)) == (404, "NoSuchUpload")
    assert (await ask(store, "HEAD", "bad")).status_code == 404
