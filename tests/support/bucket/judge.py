"""From a request to its answer, faults included, and the record of it.

A request is judged by its head, received, carried out, recorded and answered, in this order. A
fault takes the place of one of these steps, and befalls only what deserves an answer: a request
that is not signed right is refused whatever the script says.
"""

from typing import NamedTuple

from tests.support.bucket import outcome
from tests.support.bucket.answer import Answer, http_date
from tests.support.bucket.body import Body
from tests.support.bucket.faults import Fault
from tests.support.bucket.handle import Bucket, Served
from tests.support.bucket.operation import Operation
from tests.support.bucket.refusal import Refusal
from tests.support.bucket.request import Address, Request

_UNANSWERED = frozenset({Fault.LOST_REPLY, Fault.STALLED_REPLY, Fault.CUT_REPLY})
_BROKEN_OFF = frozenset({Fault.CUT_BODY, Fault.RESET, Fault.STALLED_BODY})
_CONTENT = frozenset({Operation.PUT_OBJECT, Operation.UPLOAD_PART})


class Case(NamedTuple):
    """A request whose head has come, judged: `refusal` says why it is not carried out."""

    request: Request
    key: str
    operation: Operation | None
    fault: Fault | None
    refusal: Refusal | None

    @property
    def limit_bytes(self) -> int | None:
        """How much of the body the bucket takes before a fault; None for all of it."""
        if self.fault is Fault.CLOSED:
            return 0
        return self.request.body_bytes // 2 if self.fault in _BROKEN_OFF else None


def judge(bucket: Bucket, request: Request) -> Case:
    """Return the case of a request whose head has come."""
    address = Address("", "")
    try:
        address = request.address()
        operation = bucket.service.admit(request, address, bucket.clock())
    except Refusal as refusal:
        return Case(request, address.key, None, None, refusal)
    return Case(request, address.key, operation, bucket.dice.draw(operation), None)


def new_body(bucket: Bucket, case: Case) -> Body:
    """Return what the body of the case is gathered in."""
    if case.refusal is not None:
        return Body(is_kept=False)
    if case.operation not in _CONTENT:
        return Body()
    if not bucket.settings.is_hashing:
        return Body(is_kept=False, claims=case.request)
    return Body(is_kept=bucket.settings.is_keeping_content)


def answer_case(bucket: Bucket, case: Case, body: Body) -> Answer:
    """Carry the request out, record it, and return the answer, which a fault may keep back."""
    try:
        if case.refusal is not None:
            raise case.refusal
        answer = _carry_out(bucket, case, body)
    except Refusal as refusal:
        record(bucket, case, refusal.status, refusal.code)
        return document(bucket, case, refusal)
    failure = Refusal("InternalError", "we encountered an internal error")
    answer = outcome.falsify(case.fault, answer, lambda: document(bucket, case, failure))
    record(bucket, case, None if case.fault in _UNANSWERED else answer.status)
    return answer


def _carry_out(bucket: Bucket, case: Case, body: Body) -> Answer:
    assert case.operation is not None
    now = bucket.clock()
    outcome.refuse(
        case.fault,
        request_time=case.request.header("x-amz-date") or "",
        now=now,
        retry_after_s=bucket.script.retry_after_s,
    )
    answer = bucket.service.carry_out(case.operation, case.request, case.key, body=body, now=now)
    if case.fault is Fault.CORRUPTED:
        bucket.service.contents.corrupt(case.key)
    return answer


def document(bucket: Bucket, case: Case, refusal: Refusal) -> Answer:
    """Return what tells the client of `refusal`; to HEAD the status alone."""
    body = refusal.document(case.request.path, request_id(bucket))
    headers = {"content-type": "application/xml", **refusal.headers}
    return Answer(refusal.status, headers, b"" if case.request.method == "HEAD" else body)


def record(bucket: Bucket, case: Case, status: int | None, code: str = "") -> None:
    """Write down what came of the case."""
    request = case.request
    bucket.requests.append(
        Served(bucket.clock(), case.operation, request.method, case.key, status, code, case.fault)
    )


def dress(bucket: Bucket, answer: Answer) -> Answer:
    """Return `answer` with the headers that every answer has."""
    usual = {
        "date": http_date(bucket.clock()),
        "server": "AmazonS3",
        "x-amz-request-id": request_id(bucket),
    }
    return answer._replace(headers={**usual, **answer.headers})


def request_id(bucket: Bucket) -> str:
    return f"{len(bucket.requests):016X}"
