"""The bucket's listener, and one task for each connection."""

import time

import h11
import structlog
import trio

from tests.support.bucket.bucket import HOST, Bucket
from tests.support.bucket.faults.fault import Fault
from tests.support.bucket.handling import (
    Received,
    examine,
    new_body,
    record,
    respond,
    with_common_headers,
)
from tests.support.bucket.http import protocol
from tests.support.bucket.http.protocol import Stream
from tests.support.bucket.http.response import Response
from tests.support.bucket.request.body import Body
from tests.support.bucket.request.head import Request
from tests.support.bucket.settings import BucketSettings, Clock
from trio_collector.simulator.net.tls import create_identity

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


async def serve_bucket(
    settings: BucketSettings,
    clock: Clock = time.time,
    *,
    task_status: trio.TaskStatus[Bucket] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; started with the running bucket. Raises OSError for a taken port."""
    bucket = Bucket(settings, clock)
    (listener,) = await trio.open_tcp_listeners(settings.port, host=HOST)
    bucket.port = listener.socket.getsockname()[1]

    async def serve(stream: Stream) -> None:
        await serve_client(bucket, stream)

    if settings.is_tls:
        identity = create_identity()
        bucket.ca_pem = identity.ca_pem
        encrypted = trio.SSLListener(listener, identity.context, https_compatible=True)
        task_status.started(bucket)
        await trio.serve_listeners(serve, [encrypted])
    else:
        task_status.started(bucket)
        await trio.serve_listeners(serve, [listener])


async def serve_client(bucket: Bucket, stream: Stream) -> None:
    """Serve one connection, which the caller closes; it need not be a socket."""
    http = h11.Connection(h11.SERVER)
    try:
        while not bucket.is_paused and await _serve_request(bucket, stream, http):
            http.start_next_cycle()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return
    except h11.ProtocolError as exc:
        log.info("not a request", error=str(exc))


async def _serve_request(bucket: Bucket, stream: Stream, http: h11.Connection) -> bool:
    """Serve one request; False if the connection cannot be used any more."""
    head = await protocol.next_event(stream, http)
    if not isinstance(head, h11.Request) or bucket.is_paused:
        return False
    received = examine(bucket, Request.from_h11(head))
    body = new_body(bucket, received)
    # A client that waits for 100 Continue gets the error instead.
    is_sent = received.error is None or not http.they_are_waiting_for_100_continue
    if is_sent and not await _receive_body(stream, http, received, body):
        record(bucket, received, None)
        await _break_off(bucket, stream, received.fault)
        return False
    response = respond(bucket, received, body)
    await _send(bucket, stream, http, received, with_common_headers(bucket, response))
    return http.our_state is h11.DONE and http.their_state is h11.DONE


async def _receive_body(
    stream: Stream, http: h11.Connection, received: Received, body: Body
) -> bool:
    """Receive the body; False if a fault or the client cut it off."""
    limit_bytes = received.limit_bytes
    while limit_bytes is None or body.size_bytes < limit_bytes:
        event = await protocol.next_event(stream, http)
        if isinstance(event, h11.EndOfMessage):
            return True
        if not isinstance(event, h11.Data):
            return False
        body.feed(bytes(event.data))
    return False


async def _break_off(bucket: Bucket, stream: Stream, fault: Fault | None) -> None:
    if fault is Fault.STALLED_BODY:
        await trio.sleep(bucket.script.stall_s)
    elif fault is Fault.RESET:
        protocol.set_reset(stream)


async def _send(
    bucket: Bucket, stream: Stream, http: h11.Connection, received: Received, response: Response
) -> None:
    """Send `response`, or as much of it as the fault allows."""
    match received.fault:
        case Fault.LOST_REPLY:
            return
        case Fault.STALLED_REPLY:
            with trio.move_on_after(bucket.script.stall_s):
                await protocol.wait_left(stream)
        case Fault.CUT_REPLY:
            await protocol.send_half(stream, http, response)
            # h11 does not know that the connection cannot be used any more.
            http.send_failed()
        case Fault.DRIP:
            await protocol.send_drops(stream, http, response, bucket.script.drip_s)
        case _:
            await protocol.send_response(stream, http, response)
