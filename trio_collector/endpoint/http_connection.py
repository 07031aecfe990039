"""One visitor's HTTP connection: hypercorn's, over a stream that can be cut at any moment.

hypercorn shields its sends from cancelling and sets them no deadline, so a client that does not
read would hold up the shutdown until it leaves. Here every send has a deadline, and `cut` closes
the socket under whatever hypercorn does with it.

HTTP/2 is left out: hypercorn would follow a client from HTTP/1.1 there (preface, or h2c), and the
endpoint needs nothing of it.
"""

import trio
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState

SEND_S = 5.0


class CuttableStream(trio.abc.HalfCloseableStream):
    """A TCP stream whose sends have a deadline."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.socket = stream.socket  # hypercorn asks it for the addresses
        self.active_at = trio.current_time()
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`; raises BrokenResourceError if the client does not take it in SEND_S."""
        with trio.move_on_after(SEND_S):
            await self._stream.send_all(data)
            self.active_at = trio.current_time()
            return
        # hypercorn would go on with the next request, and send its response into this one.
        self.socket.close()
        raise trio.BrokenResourceError(f"the client took no data for {SEND_S:g} s")

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self._stream.receive_some(max_bytes)
        self.active_at = trio.current_time()
        return data

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Http1Server(TCPServer):
    """hypercorn's connection, which does not change to HTTP/2."""

    async def _read_data(self) -> None:
        # Called once, before the first byte. The wrapper's only work is to change the protocol.
        self.protocol = self.protocol.protocol  # type: ignore[assignment]  # has what is called here
        await super()._read_data()


class HttpConnection:
    """A visitor's connection, from its acceptance until it is closed."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = CuttableStream(stream)
        self._scope = trio.CancelScope()

    @property
    def active_at(self) -> float:
        """When bytes last went in or out, in trio's time."""
        return self._stream.active_at

    async def serve(self, app: AppWrapper, config: Config) -> None:
        """Serve requests until the client leaves or the connection is cut.

        Raises what hypercorn raises on requests that it does not foresee.
        """
        state = ConnectionState({})
        stream = self._stream
        server = _Http1Server(app, config, WorkerContext(None), state, stream)  # type: ignore[arg-type]  # typed for TLS alone, takes any stream
        with self._scope:
            try:
                await server.run()
            finally:
                stream.socket.close()

    def cut(self) -> None:
        """Close the connection at once; a send that waits under a shield ends with it."""
        self._scope.cancel()
        self._stream.socket.close()
