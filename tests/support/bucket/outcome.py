"""What a fault makes of a request that has come whole: the answer, if there is one."""

import hashlib
from collections.abc import Callable

from tests.support.bucket.answer import Answer
from tests.support.bucket.body import encode_digest
from tests.support.bucket.faults import Fault
from tests.support.bucket.refusal import Refusal
from tests.support.bucket.settings import MAX_SKEW_S
from tests.support.bucket.signature import skew_refusal

_CHECKSUM = "x-amz-checksum-sha256"
# Of no content that there is. The number of parts, where there is one, stays as it was: a lie that
# cannot be compared is none.
_FALSE = hashlib.sha256(b"false").digest()


def refuse(fault: Fault | None, *, request_time: str, now: float, retry_after_s: int) -> None:
    """Raise the Refusal of a fault that keeps the bucket from doing anything."""
    match fault:
        case Fault.ERROR_BEFORE:
            raise Refusal("InternalError", "we encountered an internal error; please try again")
        case Fault.SLOW_DOWN:
            headers = {"retry-after": str(retry_after_s)}
            raise Refusal("SlowDown", "please reduce your request rate", headers=headers)
        case Fault.CONFLICT:
            raise Refusal("ConditionalRequestConflict", "a conflicting operation was in progress")
        case Fault.EXPIRED_TOKEN:
            raise Refusal("ExpiredToken", "the provided token has expired", status=403)
        case Fault.SKEWED:
            raise skew_refusal(request_time, now + 2 * MAX_SKEW_S)
        case Fault.NOT_FOUND_YET:
            raise Refusal("NoSuchKey", "the specified key does not exist")
        case Fault.ERROR_IN_200:
            raise Refusal("InternalError", "we encountered an internal error", status=200)


def falsify(fault: Fault | None, answer: Answer, error: Callable[[], Answer]) -> Answer:
    """Return the answer that `fault` puts in the place of a true one; `error` makes a 500."""
    match fault:
        case Fault.ERROR_AFTER:
            return error()
        case Fault.TRUNCATED_XML:
            whole = answer if answer.body else error()
            return whole._replace(body=whole.body[: len(whole.body) // 2])
        case Fault.FALSE_CHECKSUM if _CHECKSUM in answer.headers:
            parts = answer.headers[_CHECKSUM].partition("-")
            return _with(answer, _CHECKSUM, encode_digest(_FALSE) + "".join(parts[1:]))
        case Fault.FALSE_CHECKSUM | Fault.FALSE_ETAG if "etag" in answer.headers:
            parts = answer.headers["etag"].strip('"').partition("-")
            return _with(answer, "etag", f'"{_FALSE.hex()[:32]}{"".join(parts[1:])}"')
        case Fault.FALSE_SIZE if "content-length" in answer.headers:
            size = int(answer.headers["content-length"])
            return _with(answer, "content-length", str(size + 1))
    return answer


def _with(answer: Answer, name: str, value: str) -> Answer:
    return answer._replace(headers={**answer.headers, name: value})
