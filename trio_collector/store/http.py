"""One request to the store and its response: a connection of its own, and a total deadline.

Every attempt has a fresh client, for two reasons: S3 wants the name looked up again before a retry,
and a pool of httpcore 1.0 loses slots when a request is cancelled while it connects (its issue
1093). Two timeouts apply: no progress for `STALL_S` ends an attempt, and so does the total deadline,
because httpx has none and a slow trickle would never time out. Proxies of the environment are not
used and redirects are not followed: a proxy would see what is signed, a redirect would send it on.
"""

import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import h11
import httpx
import trio

from trio_collector.connection_errors import Obstacle, tcp_fault, tls_fault
from trio_collector.errors import StoreError, StoreRejected, StoreUnavailable
from trio_collector.store.responses import StoreResponse

CONNECT_S = 10.0
STALL_S = 30.0

# The slowest rate that counts as progress. Of a line of 10 Mbit/s that is shared by four uploads of
# four parts, each gets 78 kB/s.
SLOWEST_BYTES_PER_S = 64 << 10
RESPONSE_S = 60.0

# Of a response that is read whole: errors and the ends of multipart uploads have less than 2 KiB.
MAX_RESPONSE_BYTES = 64 << 10

T = TypeVar("T")


def deadline_s(size: int) -> float:
    """Return how long an attempt that moves `size` bytes may take."""
    return RESPONSE_S + size / SLOWEST_BYTES_PER_S


async def exchange(
    request: httpx.Request,
    receive: Callable[[httpx.Response], Awaitable[T]],
    *,
    what: str,
    ssl_context: ssl.SSLContext,
    limit_s: float,
    stall_s: float,
) -> T:
    """Send `request` and return what `receive` makes of the response; `what` names it in errors.

    Raises StoreUnavailable, StoreRejected for a certificate that is not accepted, and what the
    body and `receive` raise. Cancelling closes the connection.
    """
    timeout = httpx.Timeout(stall_s, connect=CONNECT_S)
    with _as_store_errors(what, limit_s):
        with trio.fail_after(limit_s):
            async with httpx.AsyncClient(
                verify=ssl_context, timeout=timeout, trust_env=False, follow_redirects=False
            ) as client:
                response = await client.send(request, stream=True)
                try:
                    return await receive(response)
                finally:
                    await response.aclose()


async def read_response(response: httpx.Response) -> StoreResponse:
    """Return the whole response; raises StoreUnavailable if it is over `MAX_RESPONSE_BYTES`."""
    body = bytearray()
    # Ends the reading here, with all of httpx's generators; `break` would leave them suspended.
    with trio.CancelScope() as enough:
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_RESPONSE_BYTES:
                enough.cancel()
    if len(body) > MAX_RESPONSE_BYTES:
        raise StoreUnavailable(f"an answer of more than {MAX_RESPONSE_BYTES} bytes")
    return StoreResponse(response.status_code, response.headers, bytes(body))


@contextmanager
def _as_store_errors(what: str, limit_s: float) -> Iterator[None]:
    try:
        yield
    except trio.TooSlowError as exc:
        raise StoreUnavailable(f"{what}: not done after {limit_s:.0f} s") from exc
    except httpx.ConnectError as exc:
        raise _connect_fault(what, exc) from exc
    except httpx.TimeoutException as exc:
        raise StoreUnavailable(f"{what}: {_TIMEOUTS[type(exc)]}") from exc
    except (httpx.HTTPError, h11.ProtocolError) as exc:
        text = str(exc) or type(exc).__name__
        raise StoreUnavailable(f"{what}: the connection broke: {text}") from exc


_TIMEOUTS = {
    httpx.ConnectTimeout: f"no connection after {CONNECT_S:.0f} s",
    httpx.ReadTimeout: "no answer",
    httpx.WriteTimeout: "the store takes nothing more",
    httpx.PoolTimeout: "no connection",
}


def _connect_fault(what: str, exc: httpx.ConnectError) -> StoreError:
    """Return why there is no connection, from the root cause."""
    cause = _root_cause(exc)
    obstacle, text = tls_fault(cause) if isinstance(cause, ssl.SSLError) else tcp_fault(cause)
    kind = StoreRejected if obstacle is Obstacle.CERTIFICATE else StoreUnavailable
    remedy = _REMEDIES[obstacle]
    return kind(f"{what}: no connection: {text}", code=obstacle.value, remedy=remedy)


_REMEDIES = {
    Obstacle.NAME: "check aws.endpoint_url, aws.region, aws.addressing_style and the name server",
    Obstacle.REFUSED: "check host and port of aws.endpoint_url, and that the store runs",
    Obstacle.NETWORK: "check the network",
    Obstacle.CERTIFICATE: (
        "check aws.endpoint_url and the clock; SSL_CERT_FILE names further authorities"
    ),
    Obstacle.TLS: "check that aws.endpoint_url is https and its port speaks TLS",
}


def _root_cause(exc: BaseException) -> BaseException:
    """Return what led to `exc`; of several addresses that were tried, the error of the last.

    The pool of httpcore raises again `from None`, so the cause may be in the context alone.
    """
    while True:
        below = exc.__cause__ or exc.__context__
        if isinstance(exc, BaseExceptionGroup):
            below = exc.exceptions[-1]
        if below is None:
            return exc
        exc = below
