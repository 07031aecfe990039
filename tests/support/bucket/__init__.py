"""A strict S3 bucket on this machine: it verifies everything that it can, and fails on demand.

    server ─▶ http.protocol ─▶ handling ─▶ request (head, signature, operation, body)
                                  │ ▲
                        faults ───┘ └──▶ storage (service, objects, multipart, contents)

`bucket` is what a test sees of it, `settings` what it can be given.

Started inside a nursery::

    bucket = await nursery.start(serve_bucket, BucketSettings())
    bucket.set_faults(FaultScript(rate=0.5, seed=1))
    bucket.endpoint_url, bucket.access_key, bucket.secret_key, bucket.region, bucket.bucket
    bucket.objects, bucket.uploads, bucket.requests

Signatures, clocks, payload hashes, checksums, tokens, regions and conditions are verified as
Amazon documents them, by code that the uploader does not share. Times and faults are scripted; the
record says what really happened.
"""

from tests.support.bucket.bucket import Bucket, Served
from tests.support.bucket.faults.fault import USUAL_FAULTS, Fault, FaultScript, is_afterwards
from tests.support.bucket.request.operation import Operation
from tests.support.bucket.server import serve_bucket, serve_client
from tests.support.bucket.settings import BucketSettings, Credential
from tests.support.bucket.storage.contents import StoredObject, Upload

__all__ = [
    "USUAL_FAULTS",
    "Bucket",
    "BucketSettings",
    "Credential",
    "Fault",
    "FaultScript",
    "Operation",
    "Served",
    "StoredObject",
    "Upload",
    "is_afterwards",
    "serve_bucket",
    "serve_client",
]
