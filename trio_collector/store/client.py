"""One call to S3: keys, signature, exchange, and what the answer means if it is no success."""

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

# A role's keys may come by way of two services; botocore gives each some seconds and tries again.
CREDENTIALS_S = 60.0

CONDITION = "if-none-match"
CHECKSUM = "x-amz-checksum-sha256"
CHECKSUM_ALGORITHM = "x-amz-checksum-algorithm"

# Headers that a store may not know, in the order in which they are given up.
OPTIONAL_HEADERS = (CONDITION, CHECKSUM, CHECKSUM_ALGORITHM)


class FilePart(NamedTuple):
    """A range of a file that is the body of a call, and its hash."""

    content: LocalFile
    part: Part
    sha256: bytes


class S3Request(NamedTuple):
    """One request: what S3 calls it, and what goes into it. Header names are in lower case."""

    operation: str
    method: str
    key: str = ""
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = {}
    body: bytes | FilePart = b""
    limit_s: float | None = None  # of the whole exchange; by its size where there is none
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
    """Performs calls to one bucket. Each is one attempt; nothing is tried twice here."""

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
        self._unknown: set[str] = set()  # headers that the store does not know

    async def grant(self, call: S3Request) -> StoreResponse:
        """Return the answer to `call`, which is a success; raises StoreError for any other.

        A store that answers 501 is asked once more, without the check that it may not know.
        """
        answer = await self.ask(call)
        if answer.status == 501 and (header := self._dispensable(call)):
            self._unknown.add(header)
            log.warning("the store lacks a check, going on without it", header=header)
            return await self.grant(call)
        if not answer.is_success:
            raise self.fault(call, answer)
        return answer

    async def ask(self, call: S3Request) -> StoreResponse:
        """Return whatever is answered to `call`; raises StoreError if nothing is."""
        return await self.perform(call, read_response)

    async def perform(
        self, call: S3Request, receive: Callable[[httpx.Response], Awaitable[T]]
    ) -> T:
        """Return what `receive` makes of the answer to `call`.

        Raises StoreError, OSError if the body's file cannot be read, and what `receive` raises.
        """
        self._keys = keys = await self._fresh_keys()
        async with AsyncExitStack() as stack:
            stream: httpx.AsyncByteStream
            if isinstance(call.body, bytes):
                stream = httpx.ByteStream(call.body)
            else:
                body = call.body.content.read(call.body.part)
                stream = await stack.enter_async_context(body)
            return await exchange(
                self._request(call, keys, stream),
                receive,
                what=str(call),
                ssl_context=self._ssl_context,
                limit_s=call.limit_s or deadline_s(call.size),
                stall_s=call.stall_s,
            )

    def sends(self, header: str) -> bool:
        """Return whether an optional header is sent to this store."""
        return header not in self._unknown

    def fault(self, call: S3Request, answer: StoreResponse) -> StoreError:
        """Return what is wrong; keys that the store finds too old are not used again."""
        fault = error_of(str(call), answer, self._now_s())
        if fault.code in STALE_KEYS:
            self._credentials.forget()
        if self._keys:
            fault.args = (self._keys.redact(str(fault)),)
        return fault

    def _dispensable(self, call: S3Request) -> str | None:
        """Return the next header of `call` to go on without."""
        sent = (each for each in OPTIONAL_HEADERS if each in call.headers)
        return next((each for each in sent if each not in self._unknown), None)

    def _request(
        self, call: S3Request, keys: AccessKeys, stream: httpx.AsyncByteStream
    ) -> httpx.Request:
        url = self._address.url(call.key, call.query)
        headers = {name: text for name, text in call.headers.items() if name not in self._unknown}
        headers["host"] = self._address.host
        if call.method in ("PUT", "POST"):
            headers["content-length"] = str(call.size)
        signed = sign_headers(
            call.method, url, headers, body_sha256=call.sha256, keys=keys, region=self._region
        )
        signed |= {"accept-encoding": "identity", "user-agent": f"trio_collector/{__version__}"}
        return httpx.Request(call.method, url, headers=signed, stream=stream)

    async def _fresh_keys(self) -> AccessKeys:
        """Return the keys of this attempt. Cancelling leaves the thread to end by itself."""
        try:
            with trio.fail_after(CREDENTIALS_S):
                return await trio.to_thread.run_sync(
                    self._credentials.freeze, limiter=self._one_at_a_time, abandon_on_cancel=True
                )
        except trio.TooSlowError as exc:
            raise StoreUnavailable(f"no credentials after {CREDENTIALS_S:.0f} s") from exc
