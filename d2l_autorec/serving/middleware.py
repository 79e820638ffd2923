"""The middleware of every request: it is measured, and refused or answered in time."""

import ipaddress
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import anyio
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..support.errors import UnknownIdError, UserError

MOST_BYTES = 1 << 20  # limit of a request's body
LOOPBACK = "localhost"
CLOSE = {"connection": "close"}  # closes the connection, as the rest of the request is not read
BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
MISTAKES = (UserError, HTTPException, RequestValidationError, ValidationError)
# Measurements are in files that all processes share, and so in no registry.
DURATIONS = Histogram(
    "http_request_duration_seconds",
    "Time from the headers of a request to the end of its answer",
    ["method", "path", "status"],
    registry=None,
    buckets=BOUNDS,
)
TRAINED = Gauge(
    "d2l_autorec_model_trained_timestamp_seconds",
    "When the run that is served was finished: time() less this is the model's age",
    registry=None,
    multiprocess_mode="mostrecent",
)


def problem(status: int, text: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the answer of an error: JSON with one line of text."""
    line = " ".join(text.split()).encode("utf-8", "backslashreplace").decode()
    return JSONResponse({"error": line}, status, headers)


async def answer_error(_: Any, error: Any) -> JSONResponse:
    """Return the answer to a request that raised an error; one of `MISTAKES` is explained."""
    if isinstance(error, HTTPException):
        return problem(error.status_code, str(error.detail), error.headers)
    if isinstance(error, UserError):
        return problem(404 if isinstance(error, UnknownIdError) else 422, str(error))
    if not isinstance(error, (RequestValidationError, ValidationError)):
        return problem(500, "internal error; see the server's log")

    # a value that may be of several types has several errors: the deepest is of the nearest type
    deepest = max(error.errors(), key=lambda one: len(one["loc"]))
    if deepest["type"] == "json_invalid":
        return problem(400, f"the body is no JSON: {deepest['ctx']['error']}")

    # FastAPI's path begins with the place, as 'query'; names with brackets are types it has tried
    path = deepest["loc"][isinstance(error, RequestValidationError) :]
    names = [str(name) for name in path if "[" not in str(name)]
    message = deepest["msg"].removeprefix("Value error, ")
    return problem(422, f"{'.'.join(names) or 'the body'}: {message}")


def metrics_text() -> bytes:
    """Return the measurements of all processes together, in Prometheus' text format."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return generate_latest(registry)


class Guard:
    """Middleware that refuses requests to other hosts, without JSON or too slow, and times all.

    Parameters
    ----------
    app : ASGIApp
        The application.
    seconds : float
        Time limit for reading a request and answering it.
    hosts : collection of str
        Names that are served beside localhost. Numerical addresses are always served: a page of
        another site whose name leads to this machine (DNS rebinding) asks by that name.
    """

    def __init__(self, app: ASGIApp, seconds: float, hosts: Collection[str]) -> None:
        self._app = app
        self._seconds = seconds
        self._hosts = {LOOPBACK, *(host.lower().partition(":")[0] for host in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request: refuse it, or hand it to the application."""
        began = time.perf_counter()
        status = 0

        async def write(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        if scope["method"] == "HEAD":  # the server leaves out the body
            scope = {**scope, "method": "GET"}
        try:
            answer: ASGIApp = self._refusal(scope) or self._app
            with anyio.move_on_after(self._seconds) as limit:
                await answer(scope, receive, write)
            if limit.cancelled_caught and not status:
                text = f"not done within {self._seconds:g} seconds: try again later"
                await problem(503, text, CLOSE)(scope, receive, write)
        finally:
            # few methods and paths, whatever is asked for
            method = scope["method"] if scope["method"] in ("GET", "POST") else "other"
            path = getattr(scope.get("route"), "path", "other")
            measured = DURATIONS.labels(method, path, status or 500)
            measured.observe(time.perf_counter() - began)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        """Return the answer to a request that is refused, or None."""
        headers = Headers(scope=scope)
        host = headers.get("host") or LOOPBACK  # every browser names one
        if not self._is_served(host):
            return problem(421, f"{host!r} is not served: see --allowed-host", CLOSE)

        if scope["method"] == "POST":
            kind = headers.get("content-type", "").partition(";")[0]
            if kind.strip().lower() != "application/json":
                return problem(415, "send JSON, with content-type: application/json", CLOSE)
            if scope["query_string"]:
                return problem(422, "a POST takes no parameters in the address, only JSON", CLOSE)
        return None

    def _is_served(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            return name in self._hosts or bool(ipaddress.ip_address(name))
        except ValueError:
            return False


class Posts:
    """Middleware that answers POSTs by pydantic alone, without FastAPI's routing.

    That takes as long as most answers.

    Parameters
    ----------
    app : ASGIApp
        The application for all other requests.
    routes : iterable of routes
        The routes. The endpoint of a POST has one parameter, `asked`, with the type of the body.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[Any]) -> None:
        self._app = app
        self._routes = {
            route.path: route for route in routes if "POST" in getattr(route, "methods", ())
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a POST to a known address, and hand on the others."""
        route = self._routes.get(scope["path"])
        if route is None or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return

        scope["route"] = route
        try:
            asked = route.endpoint.__annotations__["asked"]
            answer = await route.endpoint(asked.model_validate_json(await _body(receive)))
        except MISTAKES as error:
            answer = await answer_error(scope, error)
        await answer(scope, receive, send)


async def _body(receive: Receive) -> bytearray:
    """Return the body of a request, or the part of it that came before the client went away."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MOST_BYTES:
            raise HTTPException(413, f"the body is larger than {MOST_BYTES} bytes", CLOSE)
        if not message.get("more_body"):
            return body
