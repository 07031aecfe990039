"""One HTTP request, for what an exchange does not send over its WebSocket."""

import ssl
from typing import NamedTuple

import httpx


class HttpResponse(NamedTuple):
    """The response to a request: the status, the header Retry-After, and the body."""

    status: int
    retry_after: bytes
    body: bytes


async def http_get(url: str, ssl_context: ssl.SSLContext, max_bytes: int) -> HttpResponse:
    """Return the response to GET `url`, without following redirections; raises httpx.HTTPError.

    Each request has its own client: a shared one loses a slot of its pool for ever when a request
    is cancelled while connecting.
    https://github.com/encode/httpcore/issues/642
    """
    async with (
        httpx.AsyncClient(verify=ssl_context, timeout=None) as client,
        client.stream("GET", url) as response,
    ):
        body = bytearray()
        async for part in response.aiter_bytes():
            body += part
            if len(body) > max_bytes:
                raise httpx.DecodingError(f"more than {max_bytes} bytes")
        retry_after = response.headers.get("retry-after", "").encode()
        return HttpResponse(response.status_code, retry_after, bytes(body))
