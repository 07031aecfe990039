"""Every answer means one of: done, taken, again soon, never without a person."""

import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_collector.errors import (
    BucketMissing,
    ObjectExists,
    StoreError,
    StoreRejected,
    StoreThrottling,
    StoreUnavailable,
)
from trio_collector.store.responses import (
    LONGEST_RETRY_AFTER_S,
    StoreResponse,
    error_of,
    object_info_of,
    retry_after_s,
    unquote_etag,
)

NOW_S = 1_795_348_800.0


def error(status: int, code: str = "", text: str = "words", **headers: str) -> StoreResponse:
    """Return an answer as S3 gives it; that to HEAD has no body."""
    body = f"<Error><Code>{code}</Code><Message>{text}</Message><RequestId>R1</RequestId></Error>"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return StoreResponse(status, named, body.encode() if code else b"")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error(412, "PreconditionFailed"), ObjectExists),
        (error(404, "NoSuchBucket"), BucketMissing),
        (error(503, "SlowDown"), StoreThrottling),
        (error(503), StoreThrottling),
        (error(429), StoreThrottling),
        (error(400, "RequestLimitExceeded"), StoreThrottling),
        (error(500, "InternalError"), StoreUnavailable),
        (error(502), StoreUnavailable),
        (error(200, "InternalError"), StoreUnavailable),
        (error(409, "ConditionalRequestConflict"), StoreUnavailable),
        (error(409, "OperationAborted"), StoreUnavailable),
        (error(409), StoreUnavailable),
        (error(400, "RequestTimeout"), StoreUnavailable),
        (error(400, "BadDigest"), StoreUnavailable),
        (error(400, "XAmzContentSHA256Mismatch"), StoreUnavailable),
        (error(404, "NoSuchUpload"), StoreUnavailable),
        (error(307, "TemporaryRedirect"), StoreUnavailable),
        (error(307), StoreUnavailable),
        (error(308), StoreRejected),
        (error(408), StoreUnavailable),
        (error(425), StoreUnavailable),
        (error(426), StoreRejected),
        (error(409, "InvalidBucketName"), StoreRejected),
        (error(400, "ExpiredToken"), StoreUnavailable),
        (error(403, "ExpiredToken"), StoreUnavailable),
        (error(403, "AccessDenied"), StoreRejected),
        (error(200, "AccessDenied"), StoreRejected),
        (error(403, "InvalidAccessKeyId"), StoreRejected),
        (error(403, "SignatureDoesNotMatch"), StoreRejected),
        (error(403, "RequestTimeTooSkewed"), StoreRejected),
        (error(409, "BucketAlreadyExists"), StoreRejected),
        (error(400, "AuthorizationHeaderMalformed"), StoreRejected),
        (error(301, "PermanentRedirect"), StoreRejected),
        (error(301), StoreRejected),
        (error(299, "Odd"), StoreUnavailable),
        (error(300), StoreRejected),
        (error(302), StoreRejected),
        (error(400), StoreRejected),
        (error(401), StoreRejected),
        (error(403), StoreRejected),
        (error(404), StoreRejected),
        (error(501, "NotImplemented"), StoreRejected),
    ],
)
def test_kinds(answer: StoreResponse, kind: type[StoreError]) -> None:
    """What helps is told by the class: nothing but time, another name, or a person."""
    fault = error_of("PutObject key", answer, NOW_S)
    assert type(fault) is kind
    assert fault.is_permanent is issubclass(kind, StoreRejected)
    assert str(fault).startswith(f"PutObject key: {answer.status}")
    if fault.is_permanent:
        assert fault.remedy


REGION = "set aws.region to the region of the bucket"


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        (
            error(403, "AccessDenied"),
            "allow it in the policy of the user or role, and in that of the bucket",
        ),
        (error(403, "AllAccessDisabled"), "ask the owner of the account"),
        (error(400, "AuthorizationHeaderMalformed"), REGION),
        (
            error(409, "BucketAlreadyExists"),
            "the name belongs to somebody else; choose another aws.bucket",
        ),
        (error(400, "IllegalLocationConstraintException"), REGION),
        (
            error(403, "InvalidAccessKeyId"),
            "check the access key, and that aws.endpoint_url is its store",
        ),
        (error(400, "InvalidBucketName"), "correct aws.bucket"),
        (error(400, "InvalidToken"), "check the session token, or unset AWS_SESSION_TOKEN"),
        (
            error(404, "NoSuchBucket"),
            "create the bucket, correct aws.bucket, or set aws.create_bucket",
        ),
        (
            error(403, "SignatureDoesNotMatch"),
            "check the secret key, and that it belongs to the access key",
        ),
        (error(301, "PermanentRedirect"), REGION),
        (error(301), REGION),
        (error(302), "check aws.endpoint_url, aws.region, aws.bucket and the keys"),
        (error(499), "check aws.endpoint_url, aws.region, aws.bucket and the keys"),
        (error(501, "NotImplemented"), "this store lacks what was asked for"),
        (error(412, "PreconditionFailed"), ""),
        (error(503, "SlowDown"), ""),
        (error(409, "ConditionalRequestConflict"), ""),
        (error(500, "InternalError"), ""),
    ],
)
def test_remedies(answer: StoreResponse, remedy: str) -> None:
    """What a person can do is told, and nothing where time alone helps."""
    assert error_of("PutObject key", answer, NOW_S).remedy == remedy


@pytest.mark.parametrize(
    "code",
    [
        *["BadDigest", "ConditionalRequestConflict", "ExpiredToken", "ExpiredTokenException"],
        *["IncompleteBody", "NoSuchKey", "NoSuchUpload", "OperationAborted", "RequestTimeout"],
        *["TemporaryRedirect", "TokenRefreshRequired", "XAmzContentChecksumMismatch"],
        "XAmzContentSHA256Mismatch",
    ],
)
def test_codes_that_time_mends(code: str) -> None:
    """Some codes are worth another attempt, whatever the status is."""
    for status in (200, 301, 400, 403, 404):
        assert type(error_of("x", error(status, code), NOW_S)) is StoreUnavailable


@pytest.mark.parametrize(
    "code",
    ["SlowDown", "ServiceUnavailable", "RequestLimitExceeded", "Throttling", "TooManyRequests"],
)
def test_codes_that_throttle(code: str) -> None:
    """Being asked to slow down is known by its code, whatever the status is."""
    for status in (200, 400, 403, 500):
        assert type(error_of("x", error(status, code), NOW_S)) is StoreThrottling


@pytest.mark.parametrize(
    ("status", "body", "is_success"),
    [
        (200, b"", True),
        (204, b"", True),
        (299, b"<Ok/>", True),
        (199, b"", False),
        (300, b"", False),
        (412, b"", False),
        (200, b"<Error><Code>InternalError</Code></Error>", False),
    ],
)
def test_success(status: int, body: bytes, is_success: bool) -> None:
    """A success has a status of 2xx and no error in its body."""
    assert StoreResponse(status, {}, body).is_success is is_success


def test_request_id() -> None:
    """The id that the store's operators ask for is in a header, or else in the body."""
    named = error(403, "AccessDenied", x_amz_request_id="R2")
    assert error_of("x", named, NOW_S).request_id == "R2"
    assert error_of("x", error(403, "AccessDenied"), NOW_S).request_id == "R1"
    assert error_of("x", error(403), NOW_S).request_id == ""


def test_region_in_the_body() -> None:
    """The right region may be told in the body alone."""
    body = b"<Error><Code>PermanentRedirect</Code><Region>eu-x-2</Region></Error>"
    text = "x: 301 PermanentRedirect: the bucket is in another region (region eu-x-2)"
    assert str(error_of("x", StoreResponse(301, {}, body), NOW_S)) == text


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (301, "the bucket is in another region"),
        (401, "the keys were not accepted"),
        (403, "refused"),
        (404, "not there"),
        (500, "no reason given"),
    ],
)
def test_answer_without_a_body(status: int, text: str) -> None:
    """To HEAD there is nothing but a status, which is put into words."""
    assert (
        str(error_of("HeadObject key", error(status), NOW_S)) == f"HeadObject key: {status}: {text}"
    )


def test_words() -> None:
    """A fault says what, why, where and whom to ask."""
    answer = error(
        301, "PermanentRedirect", "use another &amp; better", x_amz_bucket_region="eu-x-1"
    )
    fault = error_of("PutObject key", answer, NOW_S)
    text = "PutObject key: 301 PermanentRedirect: use another & better (region eu-x-1)"
    assert (str(fault), fault.code, fault.request_id) == (text, "PermanentRedirect", "R1")
    assert fault.remedy == "set aws.region to the region of the bucket"


CLOCK = "set this machine's clock, and let NTP keep it; rows carry its time as well"


@pytest.mark.parametrize(
    ("ahead_s", "remedy"),
    [
        (1200, f"it is 1200 s ahead: {CLOCK}"),
        (-3600, f"it is 3600 s behind: {CLOCK}"),
        (0, f"it is 0 s behind: {CLOCK}"),
        (None, CLOCK),
    ],
)
def test_skew(ahead_s: int | None, remedy: str) -> None:
    """A clock that is wrong is told by how much, from the Date of the answer."""
    date = "?" if ahead_s is None else email.utils.formatdate(NOW_S - ahead_s, usegmt=True)
    fault = error_of("PutObject", error(403, "RequestTimeTooSkewed", date=date), NOW_S)
    assert fault.remedy == remedy
    assert type(fault) is StoreRejected
    for odd in ({}, {"date": "Mon, 06 Nov 99999999999999999999 08:49:37 GMT"}):
        answer = error(403, "RequestTimeTooSkewed", **odd)
        assert error_of("PutObject", answer, NOW_S).remedy == CLOCK


def test_only_named_fields_are_told() -> None:
    """The body of a refused signature quotes the request; nothing of it is passed on."""
    body = (
        b"<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message>"
        b"<CanonicalRequest>x-amz-security-token:CANARY</CanonicalRequest>"
        b"<AWSAccessKeyId>CANARY</AWSAccessKeyId></Error>"
    )
    assert "CANARY" not in repr(vars(error_of("PutObject", StoreResponse(403, {}, body), NOW_S)))


def test_text_is_one_short_line() -> None:
    """What a store says cannot forge lines of a log, nor fill it."""
    fault = error_of("PutObject", error(403, "AccessDenied", "a\nb\x1b[2J" + "c" * 10_000), NOW_S)
    assert str(fault).isprintable()
    assert len(str(fault)) < 500


@given(st.integers(200, 599), st.binary(max_size=200), st.text(max_size=20))
def test_any_answer_is_judged(status: int, body: bytes, header: str) -> None:
    """Whatever comes is judged, cut in the middle or not XML at all."""
    headers = {"retry-after": header, "date": header, "content-length": header, "etag": header}
    answer = StoreResponse(status, headers, body)
    assert isinstance(error_of("x", answer, NOW_S), StoreError)
    object_info_of(headers, has_size=True)


def test_cut_document() -> None:
    """Of a document that is cut, the fields that are whole count."""
    whole = error(503, "SlowDown").body
    for end in range(len(whole)):
        fault = error_of("x", StoreResponse(500, {}, whole[:end]), NOW_S)
        assert isinstance(fault, StoreUnavailable)
        assert fault.code in ("", "SlowDown")


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("", 0),
        ("7", 7),
        ("1.5", 1.5),
        ("-3", 0),
        ("1e9", LONGEST_RETRY_AFTER_S),
        ("9" * 400, LONGEST_RETRY_AFTER_S),
        ("nan", 0),
        ("soon", 0),
        (email.utils.formatdate(NOW_S + 30, usegmt=True), 30),
        (email.utils.formatdate(NOW_S - 30, usegmt=True), 0),
    ],
)
def test_retry_after(text: str, wait_s: float) -> None:
    """Seconds or a date, within reason; what makes no sense asks for nothing."""
    assert retry_after_s(text, NOW_S) == wait_s
    answer = error(503, retry_after=text)
    assert error_of("x", answer, NOW_S).retry_after_s == wait_s
    assert error_of("x", error(503), NOW_S).retry_after_s == 0


def test_stored() -> None:
    """Headers tell size, checksum and ETag; the size only where it is the object's."""
    headers = {"content-length": "12", "etag": '"abc"', "x-amz-checksum-sha256": "sum"}
    assert object_info_of(headers, has_size=True) == (12, "sum", "abc", False)
    assert object_info_of(headers, has_size=False) == (None, "sum", "abc", False)
    assert object_info_of({"etag": 'W/"abc"'}, has_size=True) == (None, None, "abc", False)


@pytest.mark.parametrize(
    ("headers", "is_encrypted"),
    [
        ({"x-amz-server-side-encryption": "AES256"}, False),
        ({"x-amz-server-side-encryption": "aws:kms"}, True),
        ({"x-amz-server-side-encryption": "aws:kms:dsse"}, True),
        ({"x-amz-server-side-encryption-customer-algorithm": "AES256"}, True),
    ],
)
def test_encryption(headers: dict[str, str], is_encrypted: bool) -> None:
    """With a key of the store's or the customer's an ETag is no MD5."""
    assert object_info_of(headers, has_size=False).is_encrypted is is_encrypted


@pytest.mark.parametrize(
    ("text", "etag"), [('"xyz"', "xyz"), ('W/"W/z"', "W/z"), ("zW/", "zW/"), ('""', "")]
)
def test_etag(text: str, etag: str) -> None:
    """An ETag comes without its quotes and without the mark of a weak one, and else as it is."""
    assert unquote_etag(text) == etag


def test_size_is_digits() -> None:
    """A size that is no number is none; without headers there is nothing."""
    for text in ("", "x", "-1", "1.0", "\u0661"):
        assert object_info_of({"content-length": text}, has_size=True).size is None
    assert object_info_of({}, has_size=True) == (None, None, None, False)
    assert StoreResponse(204, {}).body == b""
