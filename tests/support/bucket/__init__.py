"""A strict S3 bucket on this machine: it believes nothing that it can check, and fails on demand.

Started inside a nursery::

    bucket = await nursery.start(serve_bucket, BucketSettings())
    bucket.set_faults(FaultScript(rate=0.5, seed=1))
    bucket.endpoint_url, bucket.access_key, bucket.secret_key, bucket.region, bucket.bucket
    bucket.objects, bucket.uploads, bucket.requests

Signatures, clocks, payload hashes, checksums, tokens, regions and conditions are verified as
Amazon documents them, by code that the uploader does not share. Times and faults are scripted; what
is recorded is what really happened.
"""

from tests.support.bucket.contents import StoredObject, Upload
from tests.support.bucket.faults import USUAL_FAULTS, Fault, FaultScript, is_afterwards
from tests.support.bucket.handle import Bucket, Served
from tests.support.bucket.operation import Operation
from tests.support.bucket.server import serve_bucket, serve_client
from tests.support.bucket.settings import BucketSettings, Credential

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
