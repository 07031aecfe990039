"""Operations on whole objects, and on the bucket itself."""

import re
from collections.abc import Iterator

from tests.support.bucket.http.error import S3Error
from tests.support.bucket.http.response import Element, Response, http_date, iso_date, xml_response
from tests.support.bucket.request.body import CHECKSUM_PREFIX, Body, sent_algorithm
from tests.support.bucket.request.head import Request
from tests.support.bucket.settings import BucketSettings
from tests.support.bucket.storage.contents import Contents, StoredObject

_CONSTRAINT = re.compile(rb"<LocationConstraint[^>]*>([^<]*)</LocationConstraint>")
_RANGE = re.compile(r"bytes=([0-9]+)-([0-9]+)")
# The region that is asked for by naming none.
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
CLASSIC_REGION = "us-east-1"
MAX_KEYS = 1000


def create_bucket(contents: Contents, settings: BucketSettings, body: Body) -> Response:
    """Create the bucket in the region that the body names."""
    match = _CONSTRAINT.search(body.content or b"")
    region = match[1].decode() if match else CLASSIC_REGION
    if region != settings.region:
        raise S3Error(
            "IllegalLocationConstraintException",
            f"the location constraint {region!r} is incompatible with this endpoint's region",
        )
    if contents.is_created:
        raise S3Error("BucketAlreadyOwnedByYou", "the bucket exists, and you own it")
    contents.is_created = True
    return Response(200, {"location": f"/{settings.bucket}"})


def bucket_location(settings: BucketSettings) -> Response:
    region = "" if settings.region == CLASSIC_REGION else settings.region
    return xml_response("LocationConstraint", region)


def check_absent(contents: Contents, request: Request, key: str) -> None:
    """Raise S3Error if the client wants to store only where nothing is, and something is."""
    condition = request.header("if-none-match")
    if condition is None:
        return
    if condition != "*":
        raise S3Error("NotImplemented", "If-None-Match of a PUT takes nothing but *")
    if key in contents.objects:
        raise S3Error(
            "PreconditionFailed",
            "at least one of the pre-conditions you specified did not hold",
            details={"Condition": "If-None-Match"},
        )


def put_object(
    contents: Contents, request: Request, key: str, *, body: Body, now: float
) -> Response:
    """Store a whole object."""
    check_absent(contents, request, key)
    stored = contents.store(key, body, algorithm=sent_algorithm(request), now=now)
    return Response(200, {"etag": stored.etag, **_checksum_headers(stored)})


def get_object(contents: Contents, request: Request, key: str, *, has_checksums: bool) -> Response:
    """Return an object; of one whose content is not kept there is only HEAD."""
    stored = find_object(contents, key)
    headers = _object_headers(stored, request, has_checksums=has_checksums)
    if request.method == "HEAD":
        return Response(200, headers)
    if stored.content is None:
        raise S3Error("NotImplemented", "this bucket keeps no content")
    return _cut_range(request.header("range"), Response(200, headers, stored.content))


def _cut_range(text: str | None, whole: Response) -> Response:
    """Return the part of `whole` that a Range header asks for, in the form `bytes=A-B` alone."""
    match = _RANGE.fullmatch(text or "")
    if match is None:
        return whole
    size, first, last = len(whole.body), int(match[1]), int(match[2])
    if first >= size or last < first:
        raise S3Error("InvalidRange", "the requested range is not satisfiable")
    part = whole.body[first : last + 1]
    place = {
        "content-length": str(len(part)),
        "content-range": f"bytes {first}-{first + len(part) - 1}/{size}",
    }
    return Response(206, {**whole.headers, **place}, part)


def find_object(contents: Contents, key: str) -> StoredObject:
    """Return the object; raises S3Error if there is none."""
    try:
        return contents.objects[key]
    except KeyError:
        raise S3Error(
            "NoSuchKey", "the specified key does not exist", details={"Key": key}
        ) from None


def _object_headers(
    stored: StoredObject, request: Request, *, has_checksums: bool
) -> dict[str, str]:
    headers = {
        "content-length": str(stored.size_bytes),
        "content-type": "binary/octet-stream",
        "etag": stored.etag,
        "last-modified": http_date(stored.stored_at),
    }
    is_asked = (request.header("x-amz-checksum-mode") or "").upper() == "ENABLED"
    return headers | _checksum_headers(stored) if is_asked and has_checksums else headers


def _checksum_headers(stored: StoredObject) -> dict[str, str]:
    if stored.checksum is None:
        return {}
    return {
        f"{CHECKSUM_PREFIX}{stored.algorithm}": stored.checksum,
        "x-amz-checksum-type": "COMPOSITE" if stored.parts else "FULL_OBJECT",
    }


def list_objects(contents: Contents, request: Request, bucket: str) -> Response:
    """List keys in their order, a page at a time."""
    parameters = request.parameters
    prefix, after = parameters.get("prefix", ""), parameters.get("continuation-token", "")
    size = min(int(parameters.get("max-keys", MAX_KEYS)), MAX_KEYS)
    keys = sorted(key for key in contents.objects if key.startswith(prefix) and key > after)
    return xml_response("ListBucketResult", _listing(contents, bucket, keys[: size + 1], size))


def _listing(contents: Contents, bucket: str, keys: list[str], size: int) -> Iterator[Element]:
    """Yield the elements of a page of `size` keys; one key more says that there are more."""
    yield "Name", bucket
    yield "KeyCount", str(min(len(keys), size))
    yield "MaxKeys", str(size)
    yield "IsTruncated", "true" if len(keys) > size else "false"
    if len(keys) > size > 0:
        yield "NextContinuationToken", keys[size - 1]
    for key in keys[:size]:
        stored = contents.objects[key]
        yield (
            "Contents",
            [
                ("Key", key),
                ("LastModified", iso_date(stored.stored_at)),
                ("ETag", stored.etag),
                ("Size", str(stored.size_bytes)),
                ("StorageClass", "STANDARD"),
            ],
        )
