"""What a request may take: bytes and seconds. Imports no MXNet."""

from collections.abc import Mapping

import anyio
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 1 << 20  # of a request's body
TOO_LARGE = f"the body is larger than {MOST_BYTES} bytes"
CLOSE = {"connection": "close"}  # what is left of the request is not read


def problem(status: int, text: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error as the API answers it: one line."""
    line = " ".join(text.split()).encode("utf-8", "backslashreplace").decode()
    return JSONResponse({"error": line}, status, headers)


class Limits:
    """Ends requests that are too large, too slow, or take too long to answer.

    413 where the body is larger than `MOST_BYTES`, 408 where the client does not send all of it
    in time, 503 where there is no answer in time.

    Parameters
    ----------
    app : ASGIApp
    seconds : float
        For reading a request and answering it.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        if _announced(scope) > MOST_BYTES:
            too_large = problem(413, TOO_LARGE, CLOSE)
            await too_large(scope, receive, send)
            return

        request = _Reading(receive, send)
        with anyio.move_on_after(self._seconds) as limit:
            await self._app(scope, request.receive, request.send)

        if limit.cancelled_caught and not request.is_answered:
            late = self._late(request.is_reading)
            await late(scope, receive, send)

    def _late(self, is_reading: bool) -> JSONResponse:
        if is_reading:
            return problem(408, f"the request was not complete in {self._seconds:g} seconds", CLOSE)
        return problem(503, f"no answer within {self._seconds:g} seconds: try again later")


def _announced(scope: Scope) -> int:
    """The bytes that the client says it sends; the server has checked that it is a number."""
    return int(Headers(scope=scope).get("content-length", "0"))


class _Reading:
    """A request while it is read and answered: how far it is, and whether it is too large."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._size = 0
        self.is_reading = False
        self.is_answered = False

    async def receive(self) -> Message:
        self.is_reading = True
        message = await self._receive()
        self.is_reading = False

        self._size += len(message.get("body", b""))
        if self._size > MOST_BYTES:
            raise HTTPException(413, TOO_LARGE, CLOSE)
        return message

    async def send(self, message: Message) -> None:
        self.is_answered = True
        await self._send(message)


class HeadAsGet:
    """Answers HEAD as GET; the server leaves out the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)
