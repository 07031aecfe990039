"""What a fault makes of a request that has come whole: the response, if there is one."""

import hashlib
from collections.abc import Callable

from tests.support.bucket.faults.fault import Fault
from tests.support.bucket.http.error import S3Error
from tests.support.bucket.http.response import Response
from tests.support.bucket.request.body import encode_digest
from tests.support.bucket.request.signature import skew_error
from tests.support.bucket.settings import MAX_SKEW_S

_CHECKSUM = "x-amz-checksum-sha256"
# Of no content that there is. The number of parts, where there is one, stays as it was: a lie that
# cannot be compared is none.
_FALSE = hashlib.sha256(b"false").digest()


def refuse(fault: Fault | None, *, request_time: str, now: float, retry_after_s: int) -> None:
    """Raise the S3Error of a fault that keeps the bucket from doing anything."""
    match fault:
        case Fault.ERROR_BEFORE:
            raise S3Error("InternalError", "we encountered an internal error; please try again")
        case Fault.SLOW_DOWN:
            headers = {"retry-after": str(retry_after_s)}
            raise S3Error("SlowDown", "please reduce your request rate", headers=headers)
        case Fault.CONFLICT:
            raise S3Error("ConditionalRequestConflict", "a conflicting operation was in progress")
        case Fault.EXPIRED_TOKEN:
            raise S3Error("ExpiredToken", "the provided token has expired", status=403)
        case Fault.SKEWED:
            raise skew_error(request_time, now + 2 * MAX_SKEW_S)
        case Fault.NOT_FOUND_YET:
            raise S3Error("NoSuchKey", "the specified key does not exist")
        case Fault.ERROR_IN_200:
            raise S3Error("InternalError", "we encountered an internal error", status=200)


def falsify(fault: Fault | None, response: Response, error: Callable[[], Response]) -> Response:
    """Return the response that `fault` makes of a true one; `error` makes a 500."""
    match fault:
        case Fault.ERROR_AFTER:
            return error()
        case Fault.TRUNCATED_XML:
            whole = response if response.body else error()
            return whole._replace(body=whole.body[: len(whole.body) // 2])
        case Fault.FALSE_CHECKSUM if _CHECKSUM in response.headers:
            parts = response.headers[_CHECKSUM].partition("-")
            return _with(response, _CHECKSUM, encode_digest(_FALSE) + "".join(parts[1:]))
        case Fault.FALSE_CHECKSUM | Fault.FALSE_ETAG if "etag" in response.headers:
            parts = response.headers["etag"].strip('"').partition("-")
            return _with(response, "etag", f'"{_FALSE.hex()[:32]}{"".join(parts[1:])}"')
        case Fault.FALSE_SIZE if "content-length" in response.headers:
            size = int(response.headers["content-length"])
            return _with(response, "content-length", str(size + 1))
    return response


def _with(response: Response, name: str, value: str) -> Response:
    return response._replace(headers={**response.headers, name: value})
