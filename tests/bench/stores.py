"""Stores to measure against: a real S3 server and the simulated bucket, as processes of their own.

Run as a script it is the simulated bucket, told its settings as JSON:

    python -m tests.bench.stores '{"is_keeping_content": false}'

Every process that is started here dies with the one that started it.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import botocore.config
import botocore.session
import msgspec
import trio

from tests.support.bucket import Bucket, BucketSettings, serve_bucket
from trio_collector.config.settings import AwsSection

ROOT = Path(__file__).resolve().parents[2]
SWIFT_SERVER = ROOT / "tests" / "support" / "swift_server.py"
STOP_S = 20.0


class Store(NamedTuple):
    """Where a store is, and the keys to it."""

    endpoint_url: str
    access_key: str
    secret_key: str
    region: str
    bucket: str = "archive"

    def aws(self, endpoint_url: str = "") -> AwsSection:
        """Return the configuration's section, by way of a proxy if one is named."""
        return AwsSection(
            region=self.region, bucket=self.bucket, endpoint_url=endpoint_url or self.endpoint_url
        )

    def environ(self) -> dict[str, str]:
        """Return the variables that lend the keys."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}


def store_of(bucket: Bucket) -> Store:
    """Return the store that a bucket of this process is."""
    return Store(
        bucket.endpoint_url, bucket.access_key, bucket.secret_key, bucket.region, bucket.bucket
    )


@contextlib.contextmanager
def swift() -> Iterator[Store]:
    """Run OpenStack Swift, in an empty folder; $SWIFT_PYTHON names a Python that has it.

    If $SWIFT_PLACE tells as JSON where one is running, that one gets a new bucket instead.
    """
    place = os.environ.get("SWIFT_PLACE")
    if place:
        yield Store(**json.loads(place), bucket=f"bench-{secrets.token_hex(8)}")
        return
    python = os.environ.get("SWIFT_PYTHON") or sys.executable
    with tempfile.TemporaryDirectory(prefix="swift-", ignore_cleanup_errors=True) as folder:
        with _served([python, str(SWIFT_SERVER), folder]) as store:
            yield store


@contextlib.contextmanager
def simulated(**settings: Any) -> Iterator[Store]:
    """Run a simulated bucket."""
    with _served([sys.executable, "-m", "tests.bench.stores", json.dumps(settings)]) as store:
        yield store


@contextlib.contextmanager
def _served(command: Sequence[str]) -> Iterator[Store]:
    """Run a server that says where it is, and that ends when its standard input does."""
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            ready = server.stdout.readline()
            if not ready:
                raise SystemExit(f"does not start: {' '.join(command)}")
            yield Store(**json.loads(ready))
            server.communicate(timeout=STOP_S)
        finally:
            server.kill()


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent is gone (Linux: prctl(2))."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


class Reader:
    """Reads a store by botocore's own client: independent of the uploader, without a detour."""

    def __init__(self, store: Store) -> None:
        self._bucket = store.bucket
        self._client: Any = botocore.session.Session().create_client(
            "s3",
            region_name=store.region,
            endpoint_url=store.endpoint_url,
            aws_access_key_id=store.access_key,
            aws_secret_access_key=store.secret_key,
            config=botocore.config.Config(s3={"addressing_style": "path"}),
        )

    def keys(self) -> list[str]:
        """Return all keys; none if there is no bucket."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket)
        try:
            return [each["Key"] for page in pages for each in page.get("Contents", ())]
        except self._client.exceptions.NoSuchBucket:
            return []

    def content(self, key: str) -> bytes | None:
        """Return an object; None if there is none."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
        except (self._client.exceptions.NoSuchKey, self._client.exceptions.NoSuchBucket):
            return None
        return bytes(answer["Body"].read())

    def sha256(self, key: str) -> str | None:
        """Return the hash of an object in hexadecimal; None if there is none."""
        content = self.content(key)
        return None if content is None else hashlib.sha256(content).hexdigest()

    def open_uploads(self) -> int:
        """Return how many uploads in parts were left open."""
        return len(self._client.list_multipart_uploads(Bucket=self._bucket).get("Uploads", ()))

    def create_bucket(self) -> None:
        """Create the bucket, unless it is there: the simulated one is."""
        constraint = {"LocationConstraint": self._client.meta.region_name}
        is_classic = self._client.meta.region_name == "us-east-1"
        options = {} if is_classic else {"CreateBucketConfiguration": constraint}
        with contextlib.suppress(self._client.exceptions.BucketAlreadyOwnedByYou):
            self._client.create_bucket(Bucket=self._bucket, **options)


async def _serve(settings: BucketSettings) -> None:
    async with trio.open_nursery() as nursery:
        bucket: Bucket = await nursery.start(serve_bucket, settings)
        print(json.dumps(store_of(bucket)._asdict()), flush=True)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(_serve, msgspec.convert(json.loads(sys.argv[1]), BucketSettings))
