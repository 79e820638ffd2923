"""HTTP connections that wait for no client forever, and a server that ends without losing one.

uvicorn leaves both to the proxy before it. Imports no MXNet.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import Sequence
from typing import Any

from uvicorn import Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 10.0  # for the first line and the headers of a request
MOST_HEADER_BYTES = 1 << 16  # and what the system hands over at once
LEAVE_SECONDS = 1.0  # for clients that keep connections open, to be told that they close
TICK = 0.02
CLOSE = (b"connection", b"close")


class Connection(HttpToolsProtocol):
    """A connection on which a request has to come within some seconds, once it has begun to.

    What is no HTTP is answered in JSON, as every other mistake is.
    """

    _deadline: asyncio.TimerHandle | None = None
    _size = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        self._expect_headers()

    def on_message_begin(self) -> None:
        """A request begins, the first one or another."""
        self._expect_headers()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Only the body is still to come."""
        self._expect_nothing()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A part of a request has come."""
        is_idle = self.cycle is not None and self.cycle.response_complete
        if self._deadline is None and is_idle:  # blank lines may come, which begin no request
            self._expect_headers()

        if self._deadline is not None and self._size > MOST_HEADER_BYTES:
            text = f"the headers are larger than {MOST_HEADER_BYTES} bytes"
            self._refuse("431 Request Header Fields Too Large", text)
            return

        self._size += len(data)
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, and hang up."""
        self._refuse("400 Bad Request", f"the request is no HTTP: {msg}")

    def _refuse(self, status: str, text: str) -> None:
        content = json.dumps({"error": text}).encode()
        head = (
            f"HTTP/1.1 {status}\r\n"
            "content-type: application/json\r\n"
            f"content-length: {len(content)}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + content)
        self.transport.close()

    def _expect_headers(self) -> None:
        self._expect_nothing()
        self._deadline = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _expect_nothing(self) -> None:
        self._size = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class DrainingServer(Server):
    """A server that, at its end, answers whoever has connected before."""

    async def shutdown(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Tell clients to leave, take those that still wait at the port, and close it."""
        self.server_state.default_headers = [*self.server_state.default_headers, CLOSE]
        spares = [listener.dup() for listener in sockets or []]

        for listening in self.servers:
            listening.close()
        await asyncio.sleep(TICK)  # until the loop has let go of them
        for listener in sockets or []:
            listener.close()

        for spare in spares:
            await self._take_last(spare)
        await self._until_left()
        await super().shutdown()

    async def _take_last(self, listener: socket.socket) -> None:
        """Close a port without losing connections that the system has made and nobody took."""
        waiting = []
        with listener, contextlib.suppress(OSError):
            listener.setblocking(False)
            while True:
                client, _ = listener.accept()
                waiting.append(client)

        loop = asyncio.get_running_loop()
        for client in waiting:
            client.setblocking(False)
            await loop.connect_accepted_socket(self._connection, client)

    def _connection(self) -> asyncio.Protocol:
        protocol_class: Any = self.config.http_protocol_class
        return protocol_class(
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )

    async def _until_left(self) -> None:
        """Wait until no client is connected, or the idle ones have had their time."""
        ticks = int(LEAVE_SECONDS / TICK)
        for _ in range(ticks):
            if not self.server_state.connections:
                return
            await asyncio.sleep(TICK)
