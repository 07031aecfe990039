"""One request to S3: keys, signature, exchange, and the error that a response stands for."""

import hashlib
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import NamedTuple, TypeVar

import httpx
import structlog
import trio

from trio_collector import __version__
from trio_collector.config.settings import AwsSection
from trio_collector.errors import StoreError, StoreUnavailable
from trio_collector.store.addressing import plan_address
from trio_collector.store.credentials import AccessKeys, CredentialChain
from trio_collector.store.digest import Part
from trio_collector.store.http import STALL_S, deadline_s, exchange, read_response
from trio_collector.store.local_file import LocalFile
from trio_collector.store.responses import STALE_KEYS, StoreResponse, error_of
from trio_collector.store.signing import sign_headers

log = structlog.get_logger(__name__)

T = TypeVar("T")

# The keys of a role may come from two services in turn; botocore gives each some seconds and retries.
CREDENTIALS_S = 60.0

CONDITION = "if-none-match"
CHECKSUM = "x-amz-checksum-sha256"
CHECKSUM_ALGORITHM = "x-amz-checksum-algorithm"

# Headers that a store may not support, in the order in which they are left out.
OPTIONAL_HEADERS = (CONDITION, CHECKSUM, CHECKSUM_ALGORITHM)


class FilePart(NamedTuple):
    """A range of a file that is the body of a request, and its hash."""

    content: LocalFile
    part: Part
    sha256: bytes


class S3Request(NamedTuple):
    """One request: what S3 calls it, and its contents. Header names are in lower case."""

    operation: str
    method: str
    key: str = ""
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = {}
    body: bytes | FilePart = b""
    limit_s: float | None = None  # of the whole exchange; None: derived from its size
    stall_s: float = STALL_S

    @property
    def size(self) -> int:
        return len(self.body) if isinstance(self.body, bytes) else self.body.part.size

    @property
    def sha256(self) -> str:
        """The hash of the body, in hexadecimal."""
        if isinstance(self.body, bytes):
            return hashlib.sha256(self.body).hexdigest()
        return self.body.sha256.hex()

    def __str__(self) -> str:
        return f"{self.operation} {self.key}".rstrip()


class Client:
    """Sends requests to one bucket. Each is one attempt: whether to retry is decided above."""

    def __init__(
        self,
        aws: AwsSection,
        credentials: CredentialChain,
        ssl_context: ssl.SSLContext,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._address = plan_address(aws)
        self._region = aws.region
        self._credentials = credentials
        self._one_at_a_time = trio.CapacityLimiter(1)
        self._ssl_context = ssl_context
        self._now_s = now_s
        self._keys: AccessKeys | None = None  # the latest
        self._unsupported: set[str] = set()  # headers that the store has no support for

    async def expect_success(self, request: S3Request) -> StoreResponse:
        """Return the response to `request`, which is a success; raises StoreError for any other.

        If the store answers 501, the request is repeated without the optional header that the
        store may not support.
        """
        response = await self.send(request)
        if response.status == 501 and (header := self._dispensable(request)):
            self._unsupported.add(header)
            log.warning("the store lacks a check, going on without it", header=header)
            return await self.expect_success(request)
        if not response.is_success:
            raise self.error_of(request, response)
        return response

    async def send(self, request: S3Request) -> StoreResponse:
        """Return the response to `request`, whatever it is; raises StoreError if there is none."""
        return await self.exchange(request, read_response)

    async def exchange(
        self, request: S3Request, receive: Callable[[httpx.Response], Awaitable[T]]
    ) -> T:
        """Return what `receive` makes of the response to `request`.

        Raises StoreError, OSError if the body's file cannot be read, and what `receive` raises.
        """
        self._keys = keys = await self._fresh_keys()
        async with AsyncExitStack() as stack:
            stream: httpx.AsyncByteStream
            if isinstance(request.body, bytes):
                stream = httpx.ByteStream(request.body)
            else:
                body = request.body.content.body(request.body.part)
                stream = await stack.enter_async_context(body)
            return await exchange(
                self._sign(request, keys, stream),
                receive,
                what=str(request),
                ssl_context=self._ssl_context,
                limit_s=request.limit_s or deadline_s(request.size),
                stall_s=request.stall_s,
            )

    def supports(self, header: str) -> bool:
        """Return whether an optional header is sent to this store."""
        return header not in self._unsupported

    def error_of(self, request: S3Request, response: StoreResponse) -> StoreError:
        """Return the error of a request; keys that are too old are not used again."""
        error = error_of(str(request), response, self._now_s())
        if error.code in STALE_KEYS:
            self._credentials.forget()
        if self._keys:
            error.args = (self._keys.redact(str(error)),)
        return error

    def _dispensable(self, request: S3Request) -> str | None:
        """Return the next header of `request` to go on without."""
        sent = (header for header in OPTIONAL_HEADERS if header in request.headers)
        return next(filter(self.supports, sent), None)

    def _sign(
        self, request: S3Request, keys: AccessKeys, stream: httpx.AsyncByteStream
    ) -> httpx.Request:
        url = self._address.url(request.key, request.query)
        headers = {name: text for name, text in request.headers.items() if self.supports(name)}
        headers["host"] = self._address.host
        if request.method in ("PUT", "POST"):
            headers["content-length"] = str(request.size)
        signed = sign_headers(
            request.method, url, headers, body_sha256=request.sha256, keys=keys, region=self._region
        )
        signed |= {"accept-encoding": "identity", "user-agent": f"trio_collector/{__version__}"}
        return httpx.Request(request.method, url, headers=signed, stream=stream)

    async def _fresh_keys(self) -> AccessKeys:
        """Return the keys of this attempt. Cancelling leaves the thread to end by itself."""
        try:
            with trio.fail_after(CREDENTIALS_S):
                return await trio.to_thread.run_sync(
                    self._credentials.freeze, limiter=self._one_at_a_time, abandon_on_cancel=True
                )
        except trio.TooSlowError as exc:
            raise StoreUnavailable(f"no credentials after {CREDENTIALS_S:.0f} s") from exc
