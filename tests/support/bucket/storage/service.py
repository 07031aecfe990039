"""The bucket without sockets and faults: authorization, and which operation does what."""

from tests.support.bucket.http.error import S3Error
from tests.support.bucket.http.response import Response
from tests.support.bucket.request.body import Body, check_body, check_framing
from tests.support.bucket.request.head import Address, Request
from tests.support.bucket.request.operation import Operation, find_operation
from tests.support.bucket.request.signature import check_signature
from tests.support.bucket.settings import BucketSettings, Credential
from tests.support.bucket.storage import multipart, objects
from tests.support.bucket.storage.contents import Contents

# The operations whose response says how the object is encrypted.
_ENCRYPTING = frozenset(
    {
        Operation.PUT_OBJECT,
        Operation.GET_OBJECT,
        Operation.HEAD_OBJECT,
        Operation.CREATE_UPLOAD,
        Operation.UPLOAD_PART,
        Operation.COMPLETE_UPLOAD,
    }
)


class Service:
    """Answers requests; knows no faults and no network. Times are Unix times."""

    def __init__(self, settings: BucketSettings) -> None:
        self.settings = settings
        self.credentials: dict[str, Credential] = {
            settings.access_key: Credential(settings.secret_key, settings.session_token)
        }
        self.contents = Contents(is_created=settings.is_created, etags=settings.etags)

    def authorize(self, request: Request, address: Address, now: float) -> Operation:
        """Return the operation of `request`; raises S3Error if its head does not allow it."""
        check_signature(request, self.credentials, self.settings.region, now)
        operation = find_operation(request.method, address.key, request.parameters)
        check_framing(request)
        if operation in self.settings.denied:
            raise S3Error("AccessDenied", f"you are not authorized to perform s3:{operation}")
        is_there = self.contents.is_created or operation is Operation.CREATE_BUCKET
        if address.bucket != self.settings.bucket or not is_there:
            raise S3Error(
                "NoSuchBucket",
                "the specified bucket does not exist",
                details={"BucketName": address.bucket},
            )
        return operation

    def execute(
        self, operation: Operation, request: Request, key: str, *, body: Body, now: float
    ) -> Response:
        """Execute `operation` and return the response; raises S3Error."""
        check_body(request, body)
        response = self._dispatch(operation, request, key, body, now)
        if self.settings.etags == "kms" and operation in _ENCRYPTING:
            encryption = {"x-amz-server-side-encryption": "aws:kms"}
            return response._replace(headers={**response.headers, **encryption})
        return response

    def _dispatch(
        self, operation: Operation, request: Request, key: str, body: Body, now: float
    ) -> Response:
        contents, settings = self.contents, self.settings
        match operation:
            case Operation.PUT_OBJECT:
                return objects.put_object(contents, request, key, body=body, now=now)
            case Operation.GET_OBJECT | Operation.HEAD_OBJECT:
                has_checksums = settings.has_checksums
                return objects.get_object(contents, request, key, has_checksums=has_checksums)
            case Operation.DELETE_OBJECT:
                contents.objects.pop(key, None)
                return Response(204, {})
            case Operation.LIST_OBJECTS:
                return objects.list_objects(contents, request, settings.bucket)
            case Operation.CREATE_BUCKET:
                return objects.create_bucket(contents, settings, body)
            case Operation.HEAD_BUCKET:
                return Response(200, {"x-amz-bucket-region": settings.region})
            case Operation.GET_BUCKET_LOCATION:
                return objects.bucket_location(settings)
            case _:
                return self._dispatch_part(operation, request, key, body, now)

    def _dispatch_part(
        self, operation: Operation, request: Request, key: str, body: Body, now: float
    ) -> Response:
        contents, bucket = self.contents, self.settings.bucket
        match operation:
            case Operation.CREATE_UPLOAD:
                return multipart.create_upload(contents, request, key, bucket=bucket, now=now)
            case Operation.UPLOAD_PART:
                return multipart.upload_part(contents, request, key, body=body)
            case Operation.COMPLETE_UPLOAD:
                size = self.settings.min_part_bytes
                return multipart.complete_upload(
                    contents, request, key, body=body, min_part_bytes=size, now=now
                )
            case Operation.ABORT_UPLOAD:
                return multipart.abort_upload(contents, request, key)
            case _:
                return multipart.list_uploads(contents, request, bucket)
