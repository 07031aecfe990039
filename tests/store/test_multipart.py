"""A large file goes in parts: all of them, or nothing stays behind."""

import os
from itertools import pairwise

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from tests.support.bucket import (
    Fault,
    FaultScript,
    Operation,
)
from tests.support.stores import ContentOf, OpenStore, ScriptedClient, StartBucket, put_and_cancel
from trio_collector.errors import (
    ObjectExists,
    StoreError,
    StoreRejected,
    StoreThrottling,
    StoreUnavailable,
)
from trio_collector.store.client import Client, FilePart, S3Request
from trio_collector.store.digest import to_base64
from trio_collector.store.local_file import LocalFile
from trio_collector.store.multipart import SentPart, put_in_parts, render_parts
from trio_collector.store.object_store import ObjectInfo
from trio_collector.store.responses import StoreResponse


@pytest.fixture
async def large(content_of: ContentOf, small_parts: int) -> LocalFile:
    return await content_of(os.urandom(4 * small_parts))


async def test_part_is_sent_again(
    fast_clock: trio.testing.MockClock,
    start_bucket: StartBucket,
    store_of: OpenStore,
    large: LocalFile,
) -> None:
    """A part that fails does not cost the others."""
    bucket = await start_bucket()
    bucket.set_faults(FaultScript(plan=(None, Fault.CUT_BODY, Fault.RESET, Fault.CUT_BODY)))
    await store_of(bucket).put("key", large)
    creations = [r for r in bucket.requests if r.operation is Operation.CREATE_UPLOAD]
    assert len(creations) == 1
    assert bucket.objects["key"].etag == f'"{(await large.digest_with_md5()).etag}"'


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(Fault.ERROR_IN_200, StoreUnavailable), (Fault.CONFLICT, StoreUnavailable)],
)
async def test_completing_fails(
    fast_clock: trio.testing.MockClock,
    fault: Fault,
    kind: type[StoreError],
    start_bucket: StartBucket,
    store_of: OpenStore,
    large: LocalFile,
) -> None:
    """Completing may fail with any status; the upload is aborted."""
    bucket = await start_bucket()
    bucket.set_faults(FaultScript(plan=(fault,)))
    if fault is Fault.CONFLICT:
        bucket.set_faults(FaultScript(plan=(None, None, None, None, None, fault)))
    with pytest.raises(kind, match="CompleteMultipartUpload"):
        await store_of(bucket).put("key", large)
    assert not bucket.objects
    assert not bucket.uploads


async def test_refused_part(
    fast_clock: trio.testing.MockClock,
    start_bucket: StartBucket,
    store_of: OpenStore,
    large: LocalFile,
) -> None:
    """A part that may not be put ends the upload, which is aborted."""
    bucket = await start_bucket(denied=frozenset({Operation.UPLOAD_PART}))
    with pytest.raises(StoreRejected, match="UploadPart key: 403 AccessDenied"):
        await store_of(bucket).put("key", large)
    assert not bucket.uploads


async def test_taken_name(
    start_bucket: StartBucket, store_of: OpenStore, large: LocalFile, content_of: ContentOf
) -> None:
    """A name that is taken is refused at the end, and no part stays."""
    bucket = await start_bucket()
    store = store_of(bucket)
    await store.put("key", await content_of(b"rows"))
    with pytest.raises(ObjectExists):
        await store.put("key", large)
    assert not bucket.uploads


async def test_cancelled_parts(
    start_bucket: StartBucket, store_of: OpenStore, large: LocalFile
) -> None:
    """A cancelled upload is aborted on the way out, which takes a moment."""
    bucket = await start_bucket()
    bucket.set_faults(FaultScript(plan=(None, Fault.STALLED_REPLY)))
    assert await put_and_cancel(store_of(bucket), large, bucket, 2)
    assert not bucket.uploads
    assert not bucket.objects


async def test_abort_has_an_end(
    fast_clock: trio.testing.MockClock,
    start_bucket: StartBucket,
    store_of: OpenStore,
    large: LocalFile,
) -> None:
    """A store that is gone does not hold up the end of the process; a word says what is left."""
    bucket = await start_bucket()
    bucket.set_faults(FaultScript(plan=(None,), rate=1.0, kinds=(Fault.CLOSED,)))
    with capture_logs() as entries, trio.fail_after(60), pytest.raises(StoreUnavailable):
        await store_of(bucket).put("key", large)
    assert "upload in parts not aborted" in [each["event"] for each in entries]
    assert bucket.uploads


class Script:
    """What a store answers, part by part: the usual, unless `odd` has something for a request."""

    def __init__(self, **odd: list[StoreResponse | Exception]) -> None:
        self.odd = odd

    def __call__(self, request: S3Request) -> StoreResponse | Exception:
        if left := self.odd.get(request.operation):
            return left.pop(0)
        match request.operation:
            case "CreateMultipartUpload":
                return StoreResponse(200, {}, b"<UploadId>u&amp;1</UploadId>")
            case "UploadPart":
                number = dict(request.query)["partNumber"]
                return StoreResponse(200, {"etag": f'"{number}&"'})
            case "CompleteMultipartUpload":
                body = b"<ETag>&quot;whole&quot;</ETag><ChecksumSHA256>sum</ChecksumSHA256>"
                return StoreResponse(200, {"etag": "early", "content-length": "9"}, body)
        return StoreResponse(204, {})


DOWN = StoreResponse(503, {"retry-after": "0"})


async def put(client: Client, content: LocalFile, slots: int = 4) -> ObjectInfo:
    return await put_in_parts(client, trio.CapacityLimiter(slots), "key", content)


async def test_requests_of_an_upload(large: LocalFile, autojump_clock: object) -> None:
    """Create, the parts, complete: under one id, with the hash of each part, and the condition."""
    client = ScriptedClient(Script())
    info = await put(client, large)
    assert info == ObjectInfo(None, "sum", "whole")
    create, *parts, complete = [request for _, request in client.requests]
    assert str(create) == "CreateMultipartUpload key"
    assert (create.method, create.query) == ("POST", (("uploads", ""),))
    assert create.headers == {"x-amz-checksum-algorithm": "SHA256"}
    upload = ("uploadId", "u&1")
    assert {(part.method, part.key) for part in parts} == {("PUT", "key")}
    assert sorted(part.query for part in parts) == [
        (("partNumber", str(number)), upload) for number in (1, 2, 3, 4)
    ]
    for part in parts:
        assert isinstance(part.body, FilePart)
        assert part.query[0] == ("partNumber", str(part.body.part.number))
        assert part.headers == {"x-amz-checksum-sha256": to_base64(part.body.sha256)}
    assert (complete.method, complete.key, complete.query) == ("POST", "key", (upload,))
    assert complete.headers == {"if-none-match": "*"}
    assert (complete.limit_s, complete.stall_s) == (300, 300)
    sent = [SentPart(n, f"{n}&", await large.sha256(large.parts[n - 1])) for n in (1, 2, 3, 4)]
    assert complete.body == render_parts(sent).encode()


def test_list_of_parts() -> None:
    """The list has number, ETag and checksum of each part, escaped as XML wants it."""
    sent = [SentPart(1, 'a&"', b"\0"), SentPart(2, "b", b"\1")]
    assert render_parts(sent) == (
        '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        "<Part><PartNumber>1</PartNumber><ETag>&quot;a&amp;&quot;&quot;</ETag>"
        "<ChecksumSHA256>AA==</ChecksumSHA256></Part>"
        "<Part><PartNumber>2</PartNumber><ETag>&quot;b&quot;</ETag>"
        "<ChecksumSHA256>AQ==</ChecksumSHA256></Part></CompleteMultipartUpload>"
    )
    assert "Checksum" not in render_parts(sent, with_checksums=False)


async def test_store_without_checksums(large: LocalFile, autojump_clock: object) -> None:
    """A store that knows no checksums is not told any when the upload is completed."""
    client = ScriptedClient(Script(UploadPart=[StoreResponse(501, {})]))
    await put(client, large, slots=1)
    (complete,) = client.sent("CompleteMultipartUpload")
    assert isinstance(complete.body, bytes)
    assert b"Checksum" not in complete.body


async def test_object_without_a_checksum(large: LocalFile, autojump_clock: object) -> None:
    """A store that tells no checksum when the upload is complete tells none."""
    complete = StoreResponse(200, {}, b"<ETag>whole</ETag>")
    client = ScriptedClient(Script(CompleteMultipartUpload=[complete]))
    assert await put(client, large) == ObjectInfo(None, None, "whole")


async def test_parts_at_once(large: LocalFile, autojump_clock: object) -> None:
    """No more parts are under way than there are slots, of all files together."""
    client = ScriptedClient(Script())
    await put(client, large, slots=1)
    times = [time for time, request in client.requests if request.operation == "UploadPart"]
    assert len(set(times)) == 4


async def test_delays_of_a_part(large: LocalFile, autojump_clock: object) -> None:
    """A part is tried four times, after 0.5, 1 and 2 s or what the store asks for."""
    asked = StoreResponse(503, {"retry-after": "7"})
    client = ScriptedClient(Script(UploadPart=[DOWN, DOWN, DOWN]))
    await put(client, large, slots=1)
    times = [time for time, request in client.requests if request.operation == "UploadPart"]
    assert [after - before for before, after in pairwise(times[:4])] == [
        pytest.approx(each, abs=0.01) for each in (0.5, 1, 2)
    ]
    client = ScriptedClient(Script(UploadPart=[asked, DOWN]))
    await put(client, large, slots=1)
    times = [time for time, request in client.requests if request.operation == "UploadPart"]
    assert times[1] - times[0] == pytest.approx(7, abs=0.01)
    assert times[2] - times[1] == pytest.approx(1, abs=0.01)


async def test_part_that_never_gets_there(large: LocalFile, autojump_clock: object) -> None:
    """After four attempts the upload is aborted, and its error is that of the part."""
    client = ScriptedClient(Script(UploadPart=[DOWN] * 4))
    with pytest.raises(StoreThrottling, match="UploadPart key: 503"):
        await put(client, large, slots=1)
    assert len(client.sent("UploadPart")) == 4
    (abort,) = client.sent("AbortMultipartUpload")
    assert (abort.method, abort.key, abort.query) == ("DELETE", "key", (("uploadId", "u&1"),))


async def test_part_that_is_rejected(large: LocalFile, autojump_clock: object) -> None:
    """What needs a person is not tried again."""
    client = ScriptedClient(Script(UploadPart=[StoreResponse(403, {})]))
    with pytest.raises(StoreRejected, match="UploadPart key: 403"):
        await put(client, large, slots=1)
    assert len(client.sent("UploadPart")) == 1


async def test_permanent_failure_outweighs_others(large: LocalFile, autojump_clock: object) -> None:
    """Of parts that fail at the same time, the one that needs a person is told."""
    answers: list[StoreResponse | Exception] = [OSError("io"), StoreRejected("no"), OSError("io")]
    client = ScriptedClient(Script(UploadPart=answers))
    for part in large.parts:
        await large.sha256(part)
    with pytest.raises(StoreRejected):
        await put(client, large)


@pytest.mark.parametrize(
    ("operation", "response", "words"),
    [
        ("CreateMultipartUpload", StoreResponse(200, {}, b"<Upload"), "an answer without an id"),
        (
            "CompleteMultipartUpload",
            StoreResponse(200, {}, b"<ETag>"),
            "an answer that is not whole",
        ),
        ("UploadPart", StoreResponse(200, {}), "an answer without an ETag"),
    ],
)
async def test_answer_that_lacks_something(
    operation: str,
    response: StoreResponse,
    words: str,
    large: LocalFile,
    autojump_clock: object,
) -> None:
    """An answer without what is needed is none, and is told with its request."""
    answers: list[StoreResponse | Exception] = [response] * 4
    client = ScriptedClient(Script(**{operation: answers}))
    with pytest.raises(StoreUnavailable, match=f"{operation} key: {words}"):
        await put(client, large, slots=1)
    is_open = operation != "CreateMultipartUpload"
    assert len(client.sent("AbortMultipartUpload")) == is_open


@pytest.mark.parametrize(
    ("answers", "aborts", "is_logged"),
    [
        ([StoreResponse(204, {})], 1, False),
        ([StoreResponse(404, {})], 1, False),  # it is gone already
        ([StoreResponse(500, {}), StoreUnavailable("away"), StoreResponse(204, {})], 3, False),
        ([StoreRejected("no")], 1, True),
        ([StoreResponse(403, {})] * 99, 15, True),  # for 3 s, five times a second
    ],
)
async def test_abort(
    answers: list[StoreResponse | Exception],
    aborts: int,
    is_logged: bool,
    large: LocalFile,
    autojump_clock: object,
) -> None:
    """An abort is tried again for 3 s; what stays behind is told."""
    script = Script(UploadPart=[StoreRejected("no")], AbortMultipartUpload=answers)
    client = ScriptedClient(script)
    with capture_logs() as entries, pytest.raises(StoreRejected):
        await put(client, large, slots=1)
    assert len(client.sent("AbortMultipartUpload")) == aborts
    told = [each for each in entries if each["event"] == "upload in parts not aborted"]
    assert len(told) == is_logged
    if is_logged:
        assert told[0]["key"] == "key"
        assert told[0]["error"] in ("no", "no answer in 3 s")
