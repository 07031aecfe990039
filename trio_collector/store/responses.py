"""What a response of the store means: success, a name that is taken, try later, or ask a person.

A response is read defensively. A body is XML that may be cut off, so fields are searched for and a
missing one is empty. Only code, message, region and request id are read, because the body that
rejects a signature quotes the request, session token included. A status of 200 may be an error: S3
starts its response to CompleteMultipartUpload before it knows the outcome, and may send an Error
in the body.
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

import html
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from trio_collector.backoff import parse_http_date, parse_retry_after
from trio_collector.errors import (
    BucketMissing,
    ObjectExists,
    StoreError,
    StoreRejected,
    StoreThrottling,
    StoreUnavailable,
)
from trio_collector.store.object_store import ObjectInfo

MAX_TEXT = 300
LONGEST_RETRY_AFTER_S = 3600.0  # what a response may ask for; longer would be as good as never

# The keys are not wrong but too old: new ones are fetched.
STALE_KEYS = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})

_THROTTLING = frozenset(
    {"SlowDown", "ServiceUnavailable", "RequestLimitExceeded", "Throttling", "TooManyRequests"}
)
# 4xx that a later attempt may overcome: a race, a connection that was too slow, bytes that changed
# on the way, and an object that is gone right after it was there.
_PASSING = STALE_KEYS | {
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "NoSuchKey",
    "NoSuchUpload",
    "OperationAborted",
    "RequestTimeout",
    "TemporaryRedirect",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
}
_REMEDIES = {
    "AccessDenied": "allow it in the policy of the user or role, and in that of the bucket",
    "AllAccessDisabled": "ask the owner of the account",
    "AuthorizationHeaderMalformed": "set aws.region to the region of the bucket",
    "BucketAlreadyExists": "the name belongs to somebody else; choose another aws.bucket",
    "IllegalLocationConstraintException": "set aws.region to the region of the bucket",
    "InvalidAccessKeyId": "check the access key, and that aws.endpoint_url is its store",
    "InvalidBucketName": "correct aws.bucket",
    "InvalidToken": "check the session token, or unset AWS_SESSION_TOKEN",
    "NoSuchBucket": "create the bucket, correct aws.bucket, or set aws.create_bucket",
    "PermanentRedirect": "set aws.region to the region of the bucket",
    "SignatureDoesNotMatch": "check the secret key, and that it belongs to the access key",
}
_TEXTS = {
    301: "the bucket is in another region",
    401: "the keys were not accepted",
    403: "refused",
    404: "not there",
}


class StoreResponse(NamedTuple):
    """A whole response; the names of `headers` are case-insensitive."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    def field(self, name: str) -> str:
        """Return the text of the first element `name` of the body; "" if it is not whole."""
        pattern = rf"<{name}(?: [^>]*)?>([^<]*)</{name}>"
        found = re.search(pattern, self.body.decode("utf-8", "replace"))
        return html.unescape(found[1]).strip() if found else ""

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300 and b"<Error>" not in self.body


def error_of(what: str, response: StoreResponse, now_s: float) -> StoreError:
    """Return `response`, which is no success, as the error of the request `what`.

    `now_s` is our clock (Unix time), to tell how wrong it is.
    """
    code = response.field("Code")
    kind, remedy = _kind_of(response.status, code)
    detail = _printable(response.field("Message")) or _TEXTS.get(response.status, "no reason given")
    if region := response.headers.get("x-amz-bucket-region") or response.field("Region"):
        detail += f" (region {_printable(region)})"
    if code == "RequestTimeTooSkewed":
        remedy = _skew_remedy(response, now_s)
    status = f"{response.status} {_printable(code)}".rstrip()
    request_id = _printable(response.headers.get("x-amz-request-id") or response.field("RequestId"))
    return kind(
        f"{what}: {status}: {detail}",
        status=response.status,
        code=code,
        request_id=request_id,
        retry_after_s=retry_after_s(response.headers.get("retry-after", ""), now_s),
        remedy=remedy,
    )


def _kind_of(status: int, code: str) -> tuple[Callable[..., StoreError], str]:
    remedy = _REMEDIES.get(code, "")
    if status == 412:
        return ObjectExists, ""
    if code == "NoSuchBucket":
        return BucketMissing, remedy
    if code in _THROTTLING or status in (429, 503):
        return StoreThrottling, ""
    if code in _PASSING or (status in (307, 408, 409, 425) and code not in _REMEDIES):
        return StoreUnavailable, ""
    if code in _REMEDIES:
        return StoreRejected, remedy
    if status == 501:
        return StoreRejected, "this store lacks what was asked for"
    if status < 300 or status >= 500:
        return StoreUnavailable, ""
    if status == 301:
        return StoreRejected, _REMEDIES["PermanentRedirect"]
    return StoreRejected, "check aws.endpoint_url, aws.region, aws.bucket and the keys"


def retry_after_s(text: str, now_s: float) -> float:
    """Return how many seconds a Retry-After header asks for; 0 where it makes no sense."""
    return parse_retry_after(text, now_s, LONGEST_RETRY_AFTER_S, _is_number) or 0.0


def _is_number(text: str) -> bool:
    """Return whether this can be seconds. Stores send fractions of them as well."""
    return text[:1].isdigit()


def object_info_of(headers: Mapping[str, str], *, has_size: bool) -> ObjectInfo:
    """Return what the headers of a response to PUT, or to HEAD (`has_size`), say of the object."""
    length = headers.get("content-length", "") if has_size else ""
    encryption = headers.get("x-amz-server-side-encryption", "")
    customers = "x-amz-server-side-encryption-customer-algorithm" in headers
    etag = headers.get("etag")
    return ObjectInfo(
        size=int(length) if length.isascii() and length.isdecimal() else None,
        checksum=headers.get("x-amz-checksum-sha256"),
        etag=unquote_etag(etag) if etag else None,
        is_encrypted=encryption.startswith("aws:kms") or customers,
    )


def unquote_etag(etag: str) -> str:
    """Return an ETag without its quotes, and without the mark of a weak one."""
    return etag.removeprefix("W/").strip('"')


def _skew_remedy(response: StoreResponse, now_s: float) -> str:
    remedy = "set this machine's clock, and let NTP keep it; rows carry its time as well"
    try:
        skew_s = now_s - parse_http_date(response.headers.get("date", ""))
    except (ValueError, OverflowError):
        return remedy
    return f"it is {abs(skew_s):.0f} s {'ahead' if skew_s > 0 else 'behind'}: {remedy}"


def _printable(text: str) -> str:
    """Return `text` from outside as one short line."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:MAX_TEXT]
