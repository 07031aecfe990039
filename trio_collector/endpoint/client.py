"""One client's connection: hypercorn's, over a stream that we can cut at any moment.

hypercorn shields what it sends from cancelling and sets it no deadline, so a client that does not
read would hold up the shutdown until it leaves. Here every send has a deadline, and `hang_up`
closes the socket under whatever hypercorn does with it.

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
        """Send `data`; raises BrokenResourceError if the client does not take it."""
        with trio.move_on_after(SEND_S):
            await self._stream.send_all(data)
            self.active_at = trio.current_time()
            return
        # hypercorn would go on with the next request, and the client get one answer in another.
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


class Client:
    """A client and its connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = CuttableStream(stream)
        self._scope = trio.CancelScope()

    @property
    def active_at(self) -> float:
        """When it last sent something or took something, in trio's time."""
        return self._stream.active_at

    async def serve(self, app: AppWrapper, config: Config) -> None:
        """Serve it until it leaves or is hung up on.

        Raises what hypercorn does on requests that it does not foresee.
        """
        state = ConnectionState({})
        # hypercorn's type names the stream under TLS alone; it takes one without as well.
        server = _Http1Server(app, config, WorkerContext(None), state, self._stream)  # type: ignore[arg-type]
        with self._scope:
            try:
                await server.run()
            finally:
                self._stream.socket.close()

    def hang_up(self) -> None:
        """Close the connection at once; a send that waits under a shield ends with it."""
        self._scope.cancel()
        self._stream.socket.close()
