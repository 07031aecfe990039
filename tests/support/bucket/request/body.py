"""The body of a request: hashed as it comes, and compared with what the client says it is."""

import base64
import binascii
import hashlib
import re
import zlib

from tests.support.bucket.http.error import S3Error
from tests.support.bucket.request.head import Request

UNSIGNED = "UNSIGNED-PAYLOAD"
CHECKSUM_PREFIX = "x-amz-checksum-"
# As in the headers' names. The uploader uses the one, other clients the other.
ALGORITHMS = ("sha256", "crc32")
_HEX_SHA256 = re.compile(r"[0-9a-f]{64}")


class Body:
    """What has come of a body so far; its `content` only if it is kept.

    With `claims`, the head of the request, nothing is hashed and the digests are what it says: a
    measurement of a client is not to be one of the bucket.
    """

    def __init__(self, *, is_kept: bool = True, claims: Request | None = None) -> None:
        self.size_bytes = 0
        self._claims = claims
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc32 = 0
        self._chunks: list[bytes] | None = [] if is_kept else None

    def feed(self, chunk: bytes) -> None:
        self.size_bytes += len(chunk)
        if self._claims:
            return
        self._sha256.update(chunk)
        self._md5.update(chunk)
        self._crc32 = zlib.crc32(chunk, self._crc32)
        if self._chunks is not None:
            self._chunks.append(chunk)

    @property
    def content(self) -> bytes | None:
        return None if self._chunks is None else b"".join(self._chunks)

    @property
    def sha256(self) -> bytes:
        if self._claims:
            return bytes.fromhex(self._claims.header("x-amz-content-sha256") or "")
        return self._sha256.digest()

    @property
    def md5(self) -> bytes:
        return self.sha256[:16] if self._claims else self._md5.digest()

    def checksum(self, algorithm: str) -> bytes:
        """Return the checksum that goes by this name, one of ALGORITHMS."""
        if algorithm == "sha256":
            return self.sha256
        claim = self._claims.header(CHECKSUM_PREFIX + algorithm) if self._claims else None
        return base64.b64decode(claim) if claim else self._crc32.to_bytes(4, "big")


def sent_algorithm(request: Request) -> str | None:
    """Return the algorithm of the checksum that came with the body; None if none did."""
    return next((name for name in ALGORITHMS if request.header(CHECKSUM_PREFIX + name)), None)


def checksum_of(algorithm: str, content: bytes) -> bytes:
    """Return the checksum of `content`."""
    body = Body(is_kept=False)
    body.feed(content)
    return body.checksum(algorithm)


def check_framing(request: Request) -> None:
    """Return if the bucket can read the body that is going to come; raises S3Error."""
    payload_hash = request.header("x-amz-content-sha256") or ""
    if payload_hash.startswith("STREAMING-") or request.header("x-amz-trailer"):
        raise S3Error("NotImplemented", "aws-chunked bodies are not simulated")
    if payload_hash != UNSIGNED and not _HEX_SHA256.fullmatch(payload_hash):
        raise S3Error("InvalidArgument", "x-amz-content-sha256 is neither a hash nor a known word")
    if request.method == "PUT" and request.header("content-length") is None:
        raise S3Error("MissingContentLength", "you must provide the Content-Length HTTP header")


def check_body(request: Request, body: Body) -> None:
    """Return if `body` is what each of the request's headers says it is; raises S3Error."""
    payload_hash = request.header("x-amz-content-sha256")
    if payload_hash not in (UNSIGNED, body.sha256.hex()):
        raise S3Error(
            "XAmzContentSHA256Mismatch",
            "the provided x-amz-content-sha256 does not match what was computed",
            details={"S3ComputedContentSHA256": body.sha256.hex()},
        )
    if (md5 := request.header("content-md5")) is not None and _decode(md5, 16) != body.md5:
        raise S3Error("BadDigest", "the Content-MD5 you specified did not match what we received")
    for name, value in request.headers:
        algorithm = name.removeprefix(CHECKSUM_PREFIX)
        if algorithm == name or algorithm in ("algorithm", "mode", "type"):
            continue
        if algorithm not in ALGORITHMS:
            raise S3Error("NotImplemented", f"{name} is not simulated")
        computed = body.checksum(algorithm)
        if _decode(value, len(computed)) != computed:
            raise S3Error("BadDigest", f"the {algorithm} you specified did not match")


def _decode(text: str, size_bytes: int) -> bytes:
    try:
        digest = base64.b64decode(text, validate=True)
    except binascii.Error as exc:
        raise S3Error("InvalidDigest", f"{text!r} is not base64") from exc
    if len(digest) != size_bytes:
        raise S3Error("InvalidDigest", f"{text!r} is not a digest of {size_bytes} bytes")
    return digest


def encode_digest(digest: bytes) -> str:
    """Return `digest` as headers and documents carry it."""
    return base64.b64encode(digest).decode("ascii")
