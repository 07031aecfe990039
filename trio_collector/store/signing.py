"""Signature version 4 by botocore's public pieces, over a hash that is already known.

botocore's `S3SigV4Auth` would hash the body itself, on the event loop. A file is hashed in a thread
beforehand, and `payload` returns that result. Nothing is presigned: such a URL is a secret, and URLs
get logged.
https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from collections.abc import Mapping

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest

from trio_collector.store.credentials import AccessKeys


class _HashedBodyAuth(S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    def __init__(self, keys: AccessKeys, region: str, body_sha256: str) -> None:
        super().__init__(keys, "s3", region)
        self._body_sha256 = body_sha256

    def payload(self, request: AWSRequest) -> str:
        return self._body_sha256


def sign_headers(
    method: str,
    url: str,
    headers: Mapping[str, str],
    *,
    body_sha256: str,
    keys: AccessKeys,
    region: str,
) -> dict[str, str]:
    """Return `headers` with those that sign the request, valid for 15 minutes from now.

    `url` is quoted already, `body_sha256` is hexadecimal. Takes about 0.15 ms.
    """
    request = AWSRequest(method=method, url=url, headers=dict(headers))
    _HashedBodyAuth(keys, region, body_sha256).add_auth(request)
    return dict(request.headers.items())
