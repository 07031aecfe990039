"""What S3 says when it does not do what it is asked to: a status, a code, and an XML document.

Codes and statuses: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from collections.abc import Mapping
from types import MappingProxyType
from xml.sax.saxutils import escape

STATUSES: Mapping[str, int] = MappingProxyType(
    {
        "AccessDenied": 403,
        "AuthorizationHeaderMalformed": 400,
        "BadDigest": 400,
        "BucketAlreadyOwnedByYou": 409,
        "ConditionalRequestConflict": 409,
        "EntityTooSmall": 400,
        "ExpiredToken": 400,
        "IllegalLocationConstraintException": 400,
        "InternalError": 500,
        "InvalidAccessKeyId": 403,
        "InvalidArgument": 400,
        "InvalidDigest": 400,
        "InvalidPart": 400,
        "InvalidPartOrder": 400,
        "InvalidRange": 416,
        "InvalidRequest": 400,
        "InvalidToken": 400,
        "InvalidURI": 400,
        "KeyTooLongError": 400,
        "MalformedXML": 400,
        "MissingContentLength": 411,
        "NoSuchBucket": 404,
        "NoSuchKey": 404,
        "NoSuchUpload": 404,
        "NotImplemented": 501,
        "PreconditionFailed": 412,
        "RequestTimeTooSkewed": 403,
        "SignatureDoesNotMatch": 403,
        "SlowDown": 503,
        "XAmzContentSHA256Mismatch": 400,
    }
)


class S3Error(Exception):
    """A request that is not carried out.

    `details` are further elements of the document, `headers` further ones of the response.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        details: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status or STATUSES[code]
        self.details = dict(details or {})
        self.headers = dict(headers or {})

    def document(self, resource: str, request_id: str) -> bytes:
        """Return the XML that tells the client."""
        elements = {
            "Code": self.code,
            "Message": self.message,
            **self.details,
            "Resource": resource,
            "RequestId": request_id,
        }
        inner = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in elements.items())
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'.encode()
