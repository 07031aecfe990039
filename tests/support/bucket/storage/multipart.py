"""Operations on uploads in parts.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

import xml.etree.ElementTree as ET

from tests.support.bucket.http.error import S3Error
from tests.support.bucket.http.response import Response, iso_date, xml_response
from tests.support.bucket.request.body import (
    ALGORITHMS,
    CHECKSUM_PREFIX,
    Body,
    encode_digest,
    sent_algorithm,
)
from tests.support.bucket.request.head import Request
from tests.support.bucket.storage.contents import Contents, Part, Upload
from tests.support.bucket.storage.objects import check_absent

MAX_PART_NUMBER = 10_000
FULL = "FULL_OBJECT"  # the other type of checksum, which is of the content instead of the parts


def create_upload(
    contents: Contents, request: Request, key: str, *, bucket: str, now: float
) -> Response:
    """Open an upload; with x-amz-checksum-algorithm, every part needs its checksum."""
    name = request.header("x-amz-checksum-algorithm")
    algorithm = name.lower() if name else None
    if algorithm not in (None, *ALGORITHMS) or request.header("x-amz-checksum-type") == FULL:
        raise S3Error("NotImplemented", f"the checksum {name} is not simulated")
    upload = contents.open_upload(key, algorithm=algorithm, now=now)
    return xml_response(
        "InitiateMultipartUploadResult",
        [("Bucket", bucket), ("Key", key), ("UploadId", upload.upload_id)],
    )


def upload_part(contents: Contents, request: Request, key: str, *, body: Body) -> Response:
    """Store a part under its number."""
    upload = _find_upload(contents, request, key)
    text = request.parameters["partNumber"]
    number = int(text) if text.isascii() and text.isdecimal() else 0
    if not 1 <= number <= MAX_PART_NUMBER:
        raise S3Error("InvalidArgument", f"part number must be from 1 to {MAX_PART_NUMBER}")
    sent = sent_algorithm(request)
    if upload.algorithm not in (None, sent):
        raise S3Error(
            "InvalidRequest", f"checksum type mismatch: expected {upload.algorithm}, actual {sent}"
        )
    part = contents.add_part(upload, number, body)
    if sent is None:
        return Response(200, {"etag": part.etag})
    checksum = encode_digest(body.checksum(sent))
    return Response(200, {"etag": part.etag, f"{CHECKSUM_PREFIX}{sent}": checksum})


def complete_upload(
    contents: Contents, request: Request, key: str, *, body: Body, min_part_bytes: int, now: float
) -> Response:
    """Make an object of the parts that the body lists."""
    upload = _find_upload(contents, request, key)
    parts = _listed_parts(upload, body.content or b"")
    if any(part.size_bytes < min_part_bytes for part in parts[:-1]):
        raise S3Error("EntityTooSmall", f"a part but the last has {min_part_bytes} bytes or more")
    check_absent(contents, request, key)
    stored = contents.join(upload, parts, now)
    elements = [("Key", key), ("ETag", stored.etag)]
    if stored.algorithm and stored.checksum:
        elements += [(_element(stored.algorithm), stored.checksum), ("ChecksumType", "COMPOSITE")]
    return xml_response("CompleteMultipartUploadResult", elements)


def abort_upload(contents: Contents, request: Request, key: str) -> Response:
    """Forget an upload and its parts."""
    upload = _find_upload(contents, request, key)
    del contents.uploads[upload.upload_id]
    return Response(204, {})


def list_uploads(contents: Contents, request: Request, bucket: str) -> Response:
    """List the uploads that are open, all on one page."""
    prefix = request.parameters.get("prefix", "")
    uploads = sorted(contents.uploads.values(), key=lambda upload: (upload.key, upload.opened_at))
    found = [upload for upload in uploads if upload.key.startswith(prefix)]
    elements = [
        (
            "Upload",
            [
                ("Key", upload.key),
                ("UploadId", upload.upload_id),
                ("Initiated", iso_date(upload.opened_at)),
            ],
        )
        for upload in found
    ]
    return xml_response(
        "ListMultipartUploadsResult", [("Bucket", bucket), ("IsTruncated", "false"), *elements]
    )


def _find_upload(contents: Contents, request: Request, key: str) -> Upload:
    upload = contents.uploads.get(request.parameters.get("uploadId", ""))
    if upload is None or upload.key != key:
        raise S3Error("NoSuchUpload", "the upload does not exist; it may be completed or aborted")
    return upload


def _listed_parts(upload: Upload, document: bytes) -> list[Part]:
    """Return the parts that CompleteMultipartUpload's body lists, each checked; raises S3Error."""
    try:
        root = ET.fromstring(document)
    except ET.ParseError as exc:
        raise S3Error("MalformedXML", "the XML you provided was not well-formed") from exc
    listed = [{_name(e): e.text or "" for e in part} for part in root if _name(part) == "Part"]
    numbers = [int(part.get("PartNumber", "0")) for part in listed]
    if not numbers or _name(root) != "CompleteMultipartUpload":
        raise S3Error("MalformedXML", "the XML you provided did not list any part")
    if numbers != sorted(set(numbers)):
        raise S3Error("InvalidPartOrder", "the list of parts was not in ascending order")
    return [_match(upload, number, part) for number, part in zip(numbers, listed, strict=True)]


def _match(upload: Upload, number: int, listed: dict[str, str]) -> Part:
    part = upload.parts.get(number)
    if part is None or listed.get("ETag", "").strip('"') != part.etag.strip('"'):
        raise S3Error("InvalidPart", f"part {number} could not be found, or its ETag is another")
    if upload.algorithm is None or part.checksum is None:
        return part
    checksum = listed.get(_element(upload.algorithm))
    if checksum is None:
        raise S3Error("InvalidRequest", f"the checksum of part {number} is missing in the request")
    if checksum != encode_digest(part.checksum):
        raise S3Error("InvalidPart", f"the checksum of part {number} is another")
    return part


def _element(algorithm: str) -> str:
    """Return the name of the element that carries a checksum, such as ChecksumSHA256."""
    return f"Checksum{algorithm.upper()}"


def _name(element: ET.Element) -> str:
    """Return the element's name without its namespace."""
    return element.tag.rpartition("}")[2]
