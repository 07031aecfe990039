"""What the bucket is like, and who may do what with it."""

import math
from collections.abc import Callable
from typing import Literal

import msgspec

from tests.support.bucket.request.operation import Operation

# What an ETag is: MD5 of the content; 32 digits that only look like it, and a header that says so
# (KMS: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html); or something else.
Etags = Literal["md5", "kms", "opaque"]


class Credential(msgspec.Struct, frozen=True):
    """What belongs to an access key; a `session_token` is asked for where there is one."""

    secret_key: str
    session_token: str | None = None
    expires_at: float = math.inf  # Unix time


class BucketSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a simulated bucket."""

    bucket: str = "archive"
    region: str = "eu-test-1"
    access_key: str = "AKIASIMULATED0000001"
    secret_key: str = "simulated/secret+key"
    session_token: str | None = None
    is_created: bool = True  # False: it answers NoSuchBucket until a client creates it
    denied: frozenset[Operation] = frozenset()  # answered with AccessDenied
    has_checksums: bool = True  # on HEAD and GET; OpenStack Swift never returns them
    etags: Etags = "md5"
    min_part_bytes: int = 5 * 2**20  # of all parts but the last
    is_keeping_content: bool = True  # False: digests alone, for measurements with large files
    is_hashing: bool = True  # False: content is thrown away, and is what the client says it is
    port: int = 0  # 0: chosen by the system
    is_tls: bool = False


# A request may be this old, or as far ahead.
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html (RequestTimeTooSkewed)
MAX_SKEW_S = 15 * 60

Clock = Callable[[], float]  # Unix time
