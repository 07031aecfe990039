"""The check of a request's signature (AWS Signature Version 4), from Amazon's documents alone.

It shares no code with botocore, whose signer the uploader uses: the two are independent readings.

    signature = HMAC(signing key, string to sign)
    signing key = HMAC(HMAC(HMAC(HMAC("AWS4" + secret, date), region), "s3"), "aws4_request")
    string to sign = algorithm, time, scope, SHA-256(canonical request)
    canonical request = method, path, query, headers, "", signed headers, payload hash

For S3 the path is encoded once and never normalised; `//` and `..` stay what they are.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import datetime
import hashlib
import hmac
import re
import urllib.parse
from collections.abc import Mapping
from typing import NamedTuple

from tests.support.bucket.http.error import S3Error
from tests.support.bucket.http.response import http_date
from tests.support.bucket.request.head import Request
from tests.support.bucket.settings import MAX_SKEW_S, Credential

ALGORITHM = "AWS4-HMAC-SHA256"
_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} +Credential=(?P<scope>[^,\s]+), *SignedHeaders=(?P<headers>[a-z0-9;\-]+),"
    r" *Signature=(?P<signature>[0-9a-f]{64})"
)
_TIME_FORMAT = "%Y%m%dT%H%M%SZ"


class Authorization(NamedTuple):
    """What the Authorization header says."""

    access_key: str
    date: str
    region: str
    signed_headers: list[str]
    signature: str

    @property
    def scope(self) -> str:
        return f"{self.date}/{self.region}/s3/aws4_request"


def check_signature(
    request: Request, credentials: Mapping[str, Credential], region: str, now: float
) -> None:
    """Return if `request` was signed with one of `credentials`, for `region`, and just now.

    Raises S3Error.
    """
    authorization = _parse_authorization(request)
    credential = credentials.get(authorization.access_key)
    if credential is None:
        raise S3Error("InvalidAccessKeyId", "the access key id does not exist in our records")
    _check_region(authorization, region)
    time = _check_time(request, authorization, now)
    _check_signed_headers(request, authorization)
    _check_match(request, authorization, credential, time)
    _check_token(request, credential, now)


def _parse_authorization(request: Request) -> Authorization:
    header = request.header("authorization")
    if header is None:
        raise S3Error("AccessDenied", "the request is not signed")
    match = _AUTHORIZATION.fullmatch(header)
    if match is None:
        raise S3Error("AuthorizationHeaderMalformed", "the authorization header is malformed")
    access_key, *scope = match["scope"].rsplit("/", 4)
    if len(scope) != 4 or scope[2:] != ["s3", "aws4_request"]:
        raise S3Error("AuthorizationHeaderMalformed", "the credential is malformed")
    signed = match["headers"].split(";")
    return Authorization(access_key, scope[0], scope[1], signed, match["signature"])


def _check_region(authorization: Authorization, region: str) -> None:
    if authorization.region != region:
        raise S3Error(
            "AuthorizationHeaderMalformed",
            f"the region '{authorization.region}' is wrong; expecting '{region}'",
            details={"Region": region},
            headers={"x-amz-bucket-region": region},
        )


def _check_time(request: Request, authorization: Authorization, now: float) -> str:
    """Return the time of the signature, as it was signed."""
    text = request.header("x-amz-date") or ""
    try:
        signed_at = datetime.datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=datetime.UTC)
    except ValueError as exc:
        raise S3Error("AccessDenied", "a valid x-amz-date is required") from exc
    if abs(signed_at.timestamp() - now) > MAX_SKEW_S:
        raise skew_error(text, now)
    if authorization.date != text[:8]:
        raise S3Error("AuthorizationHeaderMalformed", "the date of the scope is another one")
    return text


def skew_error(request_time: str, now: float) -> S3Error:
    """Return the error for a client whose clock is wrong."""
    server_time = datetime.datetime.fromtimestamp(now, datetime.UTC)
    return S3Error(
        "RequestTimeTooSkewed",
        "the difference between the request time and the server's time is too large",
        details={
            "RequestTime": request_time,
            "ServerTime": f"{server_time:%Y-%m-%dT%H:%M:%SZ}",
            "MaxAllowedSkewMilliseconds": str(MAX_SKEW_S * 1000),
        },
        headers={"date": http_date(now)},
    )


def _check_signed_headers(request: Request, authorization: Authorization) -> None:
    """Raise unless host and every x-amz- header are signed, and in the order of the alphabet."""
    signed = authorization.signed_headers
    present = {name for name, _ in request.headers}
    needed = {"host"} | {name for name in present if name.startswith("x-amz-")}
    if missing := needed - set(signed):
        raise S3Error(
            "AccessDenied",
            "there were headers present in the request which were not signed",
            details={"HeadersNotSigned": ", ".join(sorted(missing))},
        )
    if signed != sorted(set(signed)) or not set(signed) <= present:
        raise S3Error("SignatureDoesNotMatch", "the list of signed headers is not right")


def _check_match(
    request: Request, authorization: Authorization, credential: Credential, time: str
) -> None:
    canonical = canonical_request(request, authorization.signed_headers)
    digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
    to_sign = "\n".join((ALGORITHM, time, authorization.scope, digest))
    key = f"AWS4{credential.secret_key}".encode()
    for part in authorization.scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    expected = hmac.digest(key, to_sign.encode(), "sha256").hex()
    if not hmac.compare_digest(expected, authorization.signature):
        # S3 includes all of this, also the session token: a client that logs it leaks a secret.
        raise S3Error(
            "SignatureDoesNotMatch",
            "the signature we calculated does not match the one you provided",
            details={"StringToSign": to_sign, "CanonicalRequest": canonical},
        )


def canonical_request(request: Request, signed_headers: list[str]) -> str:
    """Return the text whose hash is signed."""
    payload_hash = request.header("x-amz-content-sha256")
    if payload_hash is None:
        raise S3Error("InvalidRequest", "missing required header: x-amz-content-sha256")
    headers = (f"{name}:{_canonical_value(request, name)}\n" for name in signed_headers)
    return "\n".join(
        (
            request.method,
            _encode(request.path, safe="/"),
            _canonical_query(request.query),
            "".join(headers),
            ";".join(signed_headers),
            payload_hash,
        )
    )


def _canonical_value(request: Request, name: str) -> str:
    values = (value for known, value in request.headers if known == name)
    return ",".join(" ".join(value.split()) for value in values)


def _canonical_query(query: str) -> str:
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    return "&".join(
        f"{name}={value}" for name, value in sorted((_encode(k), _encode(v)) for k, _, v in pairs)
    )


def _encode(raw: str, safe: str = "") -> str:
    """Return `raw`, which may be encoded already, as the documents want it encoded.

    Letters, digits and `-._~` stay, and nothing else but what is `safe`.
    """
    return urllib.parse.quote(urllib.parse.unquote_to_bytes(raw.encode("latin-1")), safe=safe)


def _check_token(request: Request, credential: Credential, now: float) -> None:
    token = request.header("x-amz-security-token")
    if token != credential.session_token:
        raise S3Error("InvalidToken", "the provided token is malformed or otherwise invalid")
    if now >= credential.expires_at:
        raise S3Error("ExpiredToken", "the provided token has expired")
