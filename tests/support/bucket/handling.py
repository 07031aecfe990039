"""From a request to its response, faults included, and the record of it.

The head is examined, the body received, the request executed, recorded and answered, in this order.
A fault replaces one of these steps. It applies to sound requests only: one with a wrong signature is
refused, whatever the script says.
"""

from typing import NamedTuple

from tests.support.bucket.bucket import Bucket, Served
from tests.support.bucket.faults import effects
from tests.support.bucket.faults.fault import Fault
from tests.support.bucket.http.error import S3Error
from tests.support.bucket.http.response import Response, http_date
from tests.support.bucket.request.body import Body
from tests.support.bucket.request.head import Address, Request
from tests.support.bucket.request.operation import Operation

_UNANSWERED = frozenset({Fault.LOST_REPLY, Fault.STALLED_REPLY, Fault.CUT_REPLY})
_BROKEN_OFF = frozenset({Fault.CUT_BODY, Fault.RESET, Fault.STALLED_BODY})
_CONTENT = frozenset({Operation.PUT_OBJECT, Operation.UPLOAD_PART})


class Received(NamedTuple):
    """A request whose head was examined; `error` says why it is not executed."""

    request: Request
    key: str
    operation: Operation | None
    fault: Fault | None
    error: S3Error | None

    @property
    def limit_bytes(self) -> int | None:
        """How much of the body the bucket takes before a fault; None for all of it."""
        if self.fault is Fault.CLOSED:
            return 0
        return self.request.body_bytes // 2 if self.fault in _BROKEN_OFF else None


def examine(bucket: Bucket, request: Request) -> Received:
    """Examine the head of `request`, and draw its fault."""
    address = Address("", "")
    try:
        address = request.address()
        operation = bucket.service.authorize(request, address, bucket.clock())
    except S3Error as error:
        return Received(request, address.key, None, None, error)
    return Received(request, address.key, operation, bucket.dice.draw(operation), None)


def new_body(bucket: Bucket, received: Received) -> Body:
    """Return where the body of `received` is collected."""
    if received.error is not None:
        return Body(is_kept=False)
    if received.operation not in _CONTENT:
        return Body()
    if not bucket.settings.is_hashing:
        return Body(is_kept=False, claims=received.request)
    return Body(is_kept=bucket.settings.is_keeping_content)


def respond(bucket: Bucket, received: Received, body: Body) -> Response:
    """Carry the request out, record it, and return the response, which a fault may keep back."""
    try:
        if received.error is not None:
            raise received.error
        response = _execute(bucket, received, body)
    except S3Error as error:
        record(bucket, received, error.status, error.code)
        return error_response(bucket, received, error)
    failure = S3Error("InternalError", "we encountered an internal error")
    response = effects.falsify(
        received.fault, response, lambda: error_response(bucket, received, failure)
    )
    record(bucket, received, None if received.fault in _UNANSWERED else response.status)
    return response


def _execute(bucket: Bucket, received: Received, body: Body) -> Response:
    assert received.operation is not None
    now = bucket.clock()
    effects.refuse(
        received.fault,
        request_time=received.request.header("x-amz-date") or "",
        now=now,
        retry_after_s=bucket.script.retry_after_s,
    )
    response = bucket.service.execute(
        received.operation, received.request, received.key, body=body, now=now
    )
    if received.fault is Fault.CORRUPTED:
        bucket.service.contents.corrupt(received.key)
    return response


def error_response(bucket: Bucket, received: Received, error: S3Error) -> Response:
    """Return the response for `error`; for HEAD only its status."""
    body = error.document(received.request.path, request_id(bucket))
    headers = {"content-type": "application/xml", **error.headers}
    return Response(error.status, headers, b"" if received.request.method == "HEAD" else body)


def record(bucket: Bucket, received: Received, status: int | None, code: str = "") -> None:
    """Record the result of a request."""
    request = received.request
    bucket.requests.append(
        Served(
            bucket.clock(),
            received.operation,
            request.method,
            received.key,
            status,
            code,
            received.fault,
        )
    )


def with_common_headers(bucket: Bucket, response: Response) -> Response:
    """Return `response` with the headers that every response has."""
    usual = {
        "date": http_date(bucket.clock()),
        "server": "AmazonS3",
        "x-amz-request-id": request_id(bucket),
    }
    return response._replace(headers={**usual, **response.headers})


def request_id(bucket: Bucket) -> str:
    return f"{len(bucket.requests):016X}"
