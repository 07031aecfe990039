"""The bucket without its sockets: who may do what, and what comes of it."""

from tests.support.bucket import multipart, objects
from tests.support.bucket.answer import Answer
from tests.support.bucket.body import Body, check_body, check_framing
from tests.support.bucket.contents import Contents
from tests.support.bucket.operation import Operation, find_operation
from tests.support.bucket.refusal import Refusal
from tests.support.bucket.request import Address, Request
from tests.support.bucket.settings import BucketSettings, Credential
from tests.support.bucket.signature import check_signature

# The operations whose answer tells how the object is encrypted.
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

    def admit(self, request: Request, address: Address, now: float) -> Operation:
        """Return what `request` is about, if its head says nothing against it; raises Refusal."""
        check_signature(request, self.credentials, self.settings.region, now)
        operation = find_operation(request.method, address.key, request.parameters)
        check_framing(request)
        if operation in self.settings.denied:
            raise Refusal("AccessDenied", f"you are not authorized to perform s3:{operation}")
        is_there = self.contents.is_created or operation is Operation.CREATE_BUCKET
        if address.bucket != self.settings.bucket or not is_there:
            raise Refusal(
                "NoSuchBucket",
                "the specified bucket does not exist",
                details={"BucketName": address.bucket},
            )
        return operation

    def carry_out(
        self, operation: Operation, request: Request, key: str, *, body: Body, now: float
    ) -> Answer:
        """Do what is asked for, and return the answer; raises Refusal."""
        check_body(request, body)
        answer = self._dispatch(operation, request, key, body, now)
        if self.settings.etags == "kms" and operation in _ENCRYPTING:
            encryption = {"x-amz-server-side-encryption": "aws:kms"}
            return answer._replace(headers={**answer.headers, **encryption})
        return answer

    def _dispatch(
        self, operation: Operation, request: Request, key: str, body: Body, now: float
    ) -> Answer:
        contents, settings = self.contents, self.settings
        match operation:
            case Operation.PUT_OBJECT:
                return objects.put_object(contents, request, key, body=body, now=now)
            case Operation.GET_OBJECT | Operation.HEAD_OBJECT:
                has_checksums = settings.has_checksums
                return objects.get_object(contents, request, key, has_checksums=has_checksums)
            case Operation.DELETE_OBJECT:
                contents.objects.pop(key, None)
                return Answer(204, {})
            case Operation.LIST_OBJECTS:
                return objects.list_objects(contents, request, settings.bucket)
            case Operation.CREATE_BUCKET:
                return objects.create_bucket(contents, settings, body)
            case Operation.HEAD_BUCKET:
                return Answer(200, {"x-amz-bucket-region": settings.region})
            case Operation.GET_BUCKET_LOCATION:
                return objects.bucket_location(settings)
            case _:
                return self._dispatch_part(operation, request, key, body, now)

    def _dispatch_part(
        self, operation: Operation, request: Request, key: str, body: Body, now: float
    ) -> Answer:
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
