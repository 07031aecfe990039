"""What the tests of the bucket share: two stores to ask, and a client that can be made to lie."""

import datetime
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Self
from urllib.parse import quote

import botocore.auth
import httpx
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.support.bucket import Bucket

TIMEOUT_S = 10.0


class Store(NamedTuple):
    """Where a store is, and the keys to it."""

    endpoint_url: str
    access_key: str
    secret_key: str
    region: str
    bucket: str
    token: str | None = None


class _Once(httpx.AsyncByteStream):
    """A body in one piece. Not a generator: those of httpx are left half run when sending fails."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._content:
            raise StopAsyncIteration
        content, self._content = self._content, b""
        return content


class _Auth(botocore.auth.S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """botocore's signer, told what the hash of the body is."""

    payload_hash = ""

    def payload(self, request: AWSRequest) -> str:
        return self.payload_hash


@pytest.fixture
def store_of() -> Callable[..., Store]:
    """Return how to reach a simulated bucket, with some of it changed."""

    def store_of(bucket: Bucket, **changes: Any) -> Store:
        store = Store(
            bucket.endpoint_url,
            bucket.access_key,
            bucket.secret_key,
            bucket.region,
            bucket.bucket,
            bucket.settings.session_token,
        )
        return store._replace(**changes)

    return store_of


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Awaitable[httpx.Response]]:
    """Send one request, signed by botocore; `skew_s` is how wrong our clock is.

    `headers` are signed, `unsigned` are set afterwards, over what was signed.
    """

    async def ask(
        store: Store,
        method: str,
        key: str = "",
        *,
        query: str = "",
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
        unsigned: Mapping[str, str] | None = None,
        payload_hash: str = "",
        skew_s: float = 0.0,
    ) -> httpx.Response:
        now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=skew_s)
        monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: now)
        path = f"/{store.bucket}/{quote(key, safe='/-_.~')}" if key else f"/{store.bucket}"
        url = f"{store.endpoint_url}{path}" + (f"?{query}" if query else "")
        request = AWSRequest(method, url, headers=dict(headers or {}))
        auth = _Auth(
            Credentials(store.access_key, store.secret_key, store.token), "s3", store.region
        )
        auth.payload_hash = payload_hash or hashlib.sha256(content).hexdigest()
        auth.add_auth(request)
        framing = {
            "host": store.endpoint_url.partition("//")[2],
            "content-length": str(len(content)),
        }
        final = {**framing, **request.headers, **(unsigned or {})}
        async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client:
            return await client.send(
                httpx.Request(method, url, headers=final, stream=_Once(content))
            )

    return ask
