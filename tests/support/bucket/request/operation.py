"""The operations of S3 that the bucket knows, told from a request's method and parameters."""

import enum
from collections.abc import Collection

from tests.support.bucket.http.error import S3Error


class Operation(enum.StrEnum):
    """An operation, as S3 calls it."""

    CREATE_BUCKET = "CreateBucket"
    HEAD_BUCKET = "HeadBucket"
    GET_BUCKET_LOCATION = "GetBucketLocation"
    LIST_OBJECTS = "ListObjectsV2"
    LIST_UPLOADS = "ListMultipartUploads"
    PUT_OBJECT = "PutObject"
    GET_OBJECT = "GetObject"
    HEAD_OBJECT = "HeadObject"
    DELETE_OBJECT = "DeleteObject"
    CREATE_UPLOAD = "CreateMultipartUpload"
    UPLOAD_PART = "UploadPart"
    COMPLETE_UPLOAD = "CompleteMultipartUpload"
    ABORT_UPLOAD = "AbortMultipartUpload"


# Method, whether there is a key, the parameter that tells it from others, and the operation.
_TABLE = (
    ("PUT", False, None, Operation.CREATE_BUCKET),
    ("HEAD", False, None, Operation.HEAD_BUCKET),
    ("GET", False, "location", Operation.GET_BUCKET_LOCATION),
    ("GET", False, "list-type", Operation.LIST_OBJECTS),
    ("GET", False, "uploads", Operation.LIST_UPLOADS),
    ("PUT", True, "partNumber", Operation.UPLOAD_PART),
    ("PUT", True, None, Operation.PUT_OBJECT),
    ("GET", True, None, Operation.GET_OBJECT),
    ("HEAD", True, None, Operation.HEAD_OBJECT),
    ("DELETE", True, "uploadId", Operation.ABORT_UPLOAD),
    ("DELETE", True, None, Operation.DELETE_OBJECT),
    ("POST", True, "uploads", Operation.CREATE_UPLOAD),
    ("POST", True, "uploadId", Operation.COMPLETE_UPLOAD),
)

# Parameters that change what an operation does. Not knowing them, the bucket must not obey.
_UNKNOWN = frozenset(
    {"acl", "attributes", "delete", "policy", "tagging", "uploads", "versionId", "versions"}
)


def find_operation(method: str, key: str, parameters: Collection[str]) -> Operation:
    """Return the operation that is asked for; raises S3Error for one that is not known."""
    for candidate, has_key, parameter, operation in _TABLE:
        if (candidate, has_key) != (method, bool(key)):
            continue
        if parameter in parameters or (parameter is None and not _UNKNOWN & set(parameters)):
            return operation
    raise S3Error("NotImplemented", f"{method} with {sorted(parameters)} is not simulated")
