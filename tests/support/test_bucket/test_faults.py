"""Every fault does to the client what its name says, and the record is of what really happened."""

import base64
import hashlib
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import trio

from tests.support.bucket import (
    USUAL_FAULTS,
    Bucket,
    BucketSettings,
    Fault,
    FaultScript,
    Operation,
    is_afterwards,
    serve_client,
)
from tests.support.bucket.faults.fault import FaultDice, applies_to
from tests.support.stores import StartBucket

Ask = Callable[..., Awaitable[httpx.Response]]
BODY = b"rows" * 100_000
CHECKSUM = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
BROKEN = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


def test_dice_follow_the_plan() -> None:
    """A planned fault waits for a request that it applies to; None lets a request pass."""
    dice = FaultDice(FaultScript(plan=(Fault.FALSE_SIZE, None, Fault.ERROR_BEFORE)))
    put, head = Operation.PUT_OBJECT, Operation.HEAD_OBJECT
    drawn = [dice.draw(operation) for operation in (put, put, head, put, head, put)]
    assert drawn == [None, None, Fault.FALSE_SIZE, None, Fault.ERROR_BEFORE, None]


def test_dice_have_a_seed() -> None:
    """The same script makes the same faults; `rate` of the requests fail, each in its own ways."""
    script = FaultScript(rate=0.6, seed=7)
    draws = [[FaultDice(script).draw(each) for each in Operation] for _ in range(2)]
    assert draws[0] == draws[1]
    dice = FaultDice(script)
    drawn = Counter(dice.draw(Operation.PUT_OBJECT) for _ in range(10_000))
    assert 3_800 < drawn.pop(None) < 4_200
    assert set(drawn) == {f for f in USUAL_FAULTS if applies_to(f, Operation.PUT_OBJECT)}


STATUSES = {
    Fault.ERROR_BEFORE: (500, "InternalError"),
    Fault.SLOW_DOWN: (503, "SlowDown"),
    Fault.CONFLICT: (409, "ConditionalRequestConflict"),
    Fault.EXPIRED_TOKEN: (403, "ExpiredToken"),
    Fault.SKEWED: (403, "RequestTimeTooSkewed"),
    Fault.ERROR_AFTER: (500, "InternalError"),
}


@pytest.mark.parametrize("fault", STATUSES)
async def test_refusing_faults(
    fault: Fault, start_bucket: StartBucket, store_of: Callable[..., Any], ask: Ask
) -> None:
    """A fault with a status answers with it, and has stored what it was sent or has not."""
    bucket = await start_bucket()
    bucket.set_faults(FaultScript(plan=(fault,), retry_after_s=7))
    response = await ask(store_of(bucket), "PUT", "key", content=BODY)
    status, code = STATUSES[fault]
    assert (response.status_code, f"<Code>{code}</Code>" in response.text) == (status, True)
    assert ("key" in bucket.objects) == is_afterwards(fault)
    assert response.headers.get("retry-after") == ("7" if fault is Fault.SLOW_DOWN else None)
    (served,) = bucket.requests
    assert (served.status, served.fault, served.key) == (status, fault, "key")


@pytest.mark.parametrize(
    "fault",
    [Fault.CLOSED, Fault.CUT_BODY, Fault.RESET, Fault.LOST_REPLY, Fault.CUT_REPLY],
)
async def test_breaking_faults(
    fault: Fault, start_bucket: StartBucket, store_of: Callable[..., Any], ask: Ask
) -> None:
    """A connection that breaks leaves the object stored or not, and the client without a word."""
    bucket = await start_bucket()
    bucket.set_faults(FaultScript(plan=(fault,)))
    with pytest.raises(BROKEN):
        await ask(store_of(bucket), "PUT", "key", content=BODY)
    assert ("key" in bucket.objects) == is_afterwards(fault)
    (served,) = bucket.requests
    assert (served.status, served.fault) == (None, fault)
    assert (await ask(store_of(bucket), "PUT", "key", content=BODY)).is_success


@pytest.mark.parametrize("fault", [Fault.STALLED_BODY, Fault.STALLED_REPLY, Fault.DRIP])
async def test_endless_faults(
    fault: Fault, start_bucket: StartBucket, store_of: Callable[..., Any], ask: Ask
) -> None:
    """A client without a deadline of its own would wait for ever."""
    bucket = await start_bucket()
    bucket.set_faults(FaultScript(plan=(fault,)))
    with trio.move_on_after(0.3) as patience:
        await ask(store_of(bucket), "PUT", "key", content=BODY)
    assert patience.cancelled_caught
    assert ("key" in bucket.objects) == is_afterwards(fault)


async def test_drip(start_bucket: StartBucket, store_of: Callable[..., Any], ask: Ask) -> None:
    """An answer that drips is whole in the end."""
    bucket = await start_bucket()
    bucket.set_faults(FaultScript(plan=(Fault.DRIP,), drip_s=0))
    assert (await ask(store_of(bucket), "PUT", "key", content=BODY)).is_success


@pytest.mark.parametrize(
    ("fault", "header"),
    [
        (Fault.FALSE_SIZE, "content-length"),
        (Fault.FALSE_ETAG, "etag"),
        (Fault.FALSE_CHECKSUM, "x-amz-checksum-sha256"),
    ],
)
async def test_lying_faults(
    fault: Fault, header: str, start_bucket: StartBucket, store_of: Callable[..., Any], ask: Ask
) -> None:
    """HEAD lies once about what is there, and tells the truth the next time."""
    bucket = await start_bucket()
    store = store_of(bucket)
    sent = {"x-amz-checksum-sha256": CHECKSUM}
    await ask(store, "PUT", "key", content=BODY, headers=sent)
    bucket.set_faults(FaultScript(plan=(fault,)))
    mode = {"x-amz-checksum-mode": "ENABLED"}
    false = await ask(store, "HEAD", "key", headers=mode)
    true = await ask(store, "HEAD", "key", headers=mode)
    names = ("content-length", "etag", "x-amz-checksum-sha256")
    assert [name for name in names if false.headers[name] != true.headers[name]] == [header]
    assert true.headers["x-amz-checksum-sha256"] == CHECKSUM
    assert bucket.objects["key"].sha256 == hashlib.sha256(BODY).hexdigest()


async def test_not_found_yet(
    start_bucket: StartBucket, store_of: Callable[..., Any], ask: Ask
) -> None:
    """HEAD may not see what was just stored."""
    bucket = await start_bucket()
    store = store_of(bucket)
    await ask(store, "PUT", "key", content=BODY)
    bucket.set_faults(FaultScript(plan=(Fault.NOT_FOUND_YET,)))
    assert [(await ask(store, "HEAD", "key")).status_code for _ in range(2)] == [404, 200]


async def test_corrupted(start_bucket: StartBucket, store_of: Callable[..., Any], ask: Ask) -> None:
    """A bucket that stores another byte acknowledges the right ones; HEAD and GET tell."""
    bucket = await start_bucket()
    store = store_of(bucket)
    bucket.set_faults(FaultScript(plan=(Fault.CORRUPTED,)))
    put = await ask(store, "PUT", "key", content=BODY)
    head = await ask(store, "HEAD", "key")
    assert put.is_success
    assert put.headers["etag"] != head.headers["etag"]
    assert (await ask(store, "GET", "key")).content[1:] == BODY[1:]
    assert bucket.objects["key"].sha256 != hashlib.sha256(BODY).hexdigest()


@pytest.mark.parametrize("fault", [Fault.ERROR_IN_200, Fault.TRUNCATED_XML])
async def test_complete(
    fault: Fault, start_bucket: StartBucket, store_of: Callable[..., Any], ask: Ask
) -> None:
    """Status 200 of CompleteMultipartUpload may be an error, or half of a document."""
    bucket = await start_bucket()
    store = store_of(bucket)
    await ask(store, "POST", "key", query="uploads=")
    (upload,) = bucket.uploads
    part = await ask(store, "PUT", "key", query=f"partNumber=1&uploadId={upload}", content=BODY)
    listed = (
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
        f"<ETag>{part.headers['etag']}</ETag></Part></CompleteMultipartUpload>"
    )
    bucket.set_faults(FaultScript(plan=(fault,)))
    done = await ask(store, "POST", "key", query=f"uploadId={upload}", content=listed.encode())
    assert done.status_code == 200
    assert ("<Error>" in done.text) == (fault is Fault.ERROR_IN_200)
    assert not done.text.endswith("</CompleteMultipartUploadResult>")
    assert ("key" in bucket.objects) == is_afterwards(fault)
    assert bool(bucket.uploads) != is_afterwards(fault)


async def test_a_bad_signature_has_no_faults(
    start_bucket: StartBucket, store_of: Callable[..., Any], ask: Ask
) -> None:
    """Faults apply to sound requests only: under faults, too, a wrong signature is refused."""
    bucket = await start_bucket()
    bucket.set_faults(FaultScript(rate=1.0))
    wrong = store_of(bucket, secret_key="guess")
    codes = {(await ask(wrong, "PUT", "key", content=BODY)).status_code for _ in range(5)}
    assert codes == {403}
    assert not bucket.objects


async def test_pause(start_bucket: StartBucket, store_of: Callable[..., Any], ask: Ask) -> None:
    """A bucket that is gone answers nobody, and is as it was when it is back."""
    bucket = await start_bucket()
    bucket.pause()
    with pytest.raises(BROKEN):
        await ask(store_of(bucket), "PUT", "key", content=BODY)
    assert not bucket.requests
    bucket.resume()
    assert (await ask(store_of(bucket), "PUT", "key", content=BODY)).is_success


async def test_tls(start_bucket: StartBucket) -> None:
    """With TLS only a client that trusts `ca_pem` trusts it."""
    bucket = await start_bucket(is_tls=True)
    context = ssl.create_default_context(cadata=bucket.ca_pem.decode())
    async with httpx.AsyncClient(verify=context, trust_env=False) as client:
        assert (await client.get(bucket.endpoint_url)).status_code == 403
    async with httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(bucket.endpoint_url)


async def test_memory_stream(autojump_clock: trio.testing.MockClock) -> None:
    """A bucket serves any stream, so that a test can have a bucket on a virtual clock."""
    client, server = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        bucket = Bucket(BucketSettings(), lambda: 0.0)
        nursery.start_soon(serve_client, bucket, server)
        await client.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await client.receive_some()).startswith(b"HTTP/1.1 403 ")
        await client.aclose()
    (served,) = bucket.requests
    assert served.code == "AccessDenied"
