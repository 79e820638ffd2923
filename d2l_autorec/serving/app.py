"""The HTTP API of a trained model, and its page; imports no MXNet.

request -> Guard -> types of `schema` -> `Answers`, of large requests in another thread -> JSON
"""

import asyncio
import ipaddress
import mimetypes
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import anyio
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from pydantic_core import to_json
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import __version__
from ..support.errors import UnknownIdError, UserError
from . import schema
from .new_user import positions_and_values, predict_new_user, recommend_new_user
from .predictor import Predictor, Scored, shortage

# Users and items of the model, times what is given and asked for: some milliseconds. A request of
# few is answered sooner than it is handed to another thread.
AT_ONCE = 1_000_000
MOST_BYTES = 1 << 20  # of a request's body
LOOPBACK = "localhost"
CLOSE = {"connection": "close"}  # what is left of the request is not read
PAGE = Path(__file__).parent / "page"
# Nothing comes from elsewhere, nothing is framed, and after an upgrade a browser asks anew.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
PROBLEMS = (400, 404, 413, 415, 421, 422, 500, 503)
Given = Mapping[Any, float] | Sequence[Any] | None


class Answers:
    """Answers of a model as JSON's types.

    Someone is a user that the model knows, or ratings of a person that training did not see.

    Parameters
    ----------
    predictor : Predictor
    result : mapping
        What result.json holds.
    """

    def __init__(self, predictor: Predictor, result: Mapping[str, Any]) -> None:
        self._predictor = predictor
        self._result = result
        predictor.prepare()

    def recommend(self, user: Any, ratings: Given, n: int) -> dict[str, Any]:
        """Return the best unseen items of someone, and why."""
        predictor = self._predictor
        remarks: list[str] = []
        if ratings is None:
            found = predictor.recommend(user, n, remarks.append)
            rated = predictor.inputs_of(predictor.users.positions([user])[0])
        else:
            rated = positions_and_values(predictor, ratings)
            found = recommend_new_user(predictor, *rated, n)

        positions = predictor.items.positions([scored.item for scored in found])
        reasons = predictor.reasons(positions, *rated)
        rows = [
            {**row, "because": _rows(reason, "similarity")}
            for row, reason in zip(_rows(found), reasons)
        ]
        if len(found) < n:
            remarks.append(shortage(len(found), n))
        return {"recommendations": rows, "remarks": remarks}

    def predict(self, user: Any, ratings: Given, items: Sequence[Any]) -> dict[str, Any]:
        """Return what someone would give to each of `items`."""
        predictor = self._predictor
        if ratings is None:
            return {"predictions": _rows(predictor.score(user, items))}

        scores = predict_new_user(predictor, *positions_and_values(predictor, ratings))
        wanted = predictor.items.positions(items)
        return {"predictions": _rows(predictor.scored(wanted, predictor.shown(scores[wanted])))}

    def similar_items(self, item: Any, n: int) -> dict[str, Any]:
        """Return the items most like an item."""
        remarks: list[str] = []
        found = self._predictor.similar_items(item, n, remarks.append)
        return {"items": _rows(found, "similarity"), "remarks": remarks}

    def search(self, text: str, n: int) -> dict[str, Any]:
        """Return items whose title or id contains the words of `text`, popular ones first."""
        found = self._predictor.search(text, n)
        return {"items": [{"item": i, "title": t, "ratings": int(count)} for i, t, count in found]}

    def about(self) -> dict[str, Any]:
        """Return what result.json says, and what is asked for and answered."""
        ratings = self._predictor.ratings
        return {
            "kind": self._predictor.config.task,
            "scale": list(ratings.bounds),
            "users": ratings.num_users,
            "items": ratings.num_items,
            "result": dict(self._result),
        }


def _rows(found: Sequence[Scored], score: str = "score") -> list[dict[str, Any]]:
    return [{"item": item, "title": title, score: value} for item, title, value in found]


def make_app(answers: Answers, seconds: float, hosts: Collection[str] = ()) -> FastAPI:
    """Return the application.

    Parameters
    ----------
    answers : Answers
    seconds : float
        For reading a request and answering it.
    hosts : collection of str
        Names that this server is called by, beside localhost and addresses.
    """
    app = FastAPIOffline(
        redoc_url=None,
        title="d2l_autorec",
        version=__version__,
        description="What a trained model recommends.",
        responses=dict.fromkeys(PROBLEMS, {"model": schema.Problem}),
        redirect_slashes=False,
    )
    app.add_middleware(Guard, seconds=seconds, hosts=hosts)

    _answer_errors(app)
    _add_routes(app, answers)
    for file in PAGE.iterdir():
        _add_page(app, file)
    return app


def problem(status: int, text: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return an error as the API answers it: one line."""
    line = " ".join(text.split()).encode("utf-8", "backslashreplace").decode()
    return JSONResponse({"error": line}, status, headers)


class Guard:
    """Refusal of requests that are for another host, too large or too slow.

    Parameters
    ----------
    app : ASGIApp
    seconds : float
        For reading a request and answering it.
    hosts : collection of str
        Names that are served beside localhost. An address is always served: a page of another
        site, whose name leads to this machine (DNS rebinding), asks by that name.
    """

    def __init__(self, app: ASGIApp, seconds: float, hosts: Collection[str]) -> None:
        self._app = app
        self._seconds = seconds
        self._hosts = {LOOPBACK, *(host.lower().partition(":")[0] for host in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, by the application where it is not refused."""
        refused = self._refusal(scope, Headers(scope=scope))
        if refused is not None:
            await refused(scope, receive, send)
            return

        if scope["method"] == "HEAD":  # the server leaves out the body
            scope = {**scope, "method": "GET"}
        size = 0
        is_answered = False

        async def read() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MOST_BYTES:
                raise HTTPException(413, f"the body is larger than {MOST_BYTES} bytes", CLOSE)
            return message

        async def write(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        with anyio.move_on_after(self._seconds) as limit:
            await self._app(scope, read, write)
        if limit.cancelled_caught and not is_answered:
            text = f"not done within {self._seconds:g} seconds: try again later"
            await problem(503, text, CLOSE)(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        """Return the answer to a request that is not to be read."""
        host = headers.get("host") or LOOPBACK  # every browser says one
        kind, _, _ = headers.get("content-type", "").partition(";")
        if not self._is_served(host):
            return problem(421, f"{host!r} is not served: see --allowed-host", CLOSE)
        if scope["method"] == "POST" and kind.strip().lower() != "application/json":
            return problem(415, "send JSON, with content-type: application/json", CLOSE)
        if scope["method"] == "POST" and scope["query_string"]:
            return problem(422, "a POST takes no parameters in the address, only JSON", CLOSE)
        return None

    def _is_served(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            return name in self._hosts or bool(ipaddress.ip_address(name))
        except ValueError:
            return False


def _answer_errors(app: FastAPI) -> None:
    """Answer every error by one line of JSON."""

    @app.exception_handler(UserError)
    async def of_the_library(_: Request, error: UserError) -> JSONResponse:
        return problem(404 if isinstance(error, UnknownIdError) else 422, str(error))

    @app.exception_handler(RequestValidationError)
    async def of_a_type(_: Request, error: RequestValidationError) -> JSONResponse:
        # where a value may be of several types, the error of the nearest one
        deepest = max(error.errors(), key=lambda one: len(one["loc"]))
        if deepest["type"] == "json_invalid":
            return problem(400, f"the body is no JSON: {deepest['ctx']['error']}")

        # a type that the value was tried as has brackets, as list[...]
        names = [str(name) for name in deepest["loc"][1:] if "[" not in str(name)]
        message = deepest["msg"].removeprefix("Value error, ")
        return problem(422, f"{'.'.join(names) or 'the body'}: {message}")

    @app.exception_handler(HTTPException)
    async def of_http(_: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(Exception)
    async def of_ours(_: Request, __: Exception) -> JSONResponse:
        return problem(500, "internal error; see the server's log")


def _add_routes(app: FastAPI, answers: Answers) -> None:
    about = answers.about()
    known = about["users"] + about["items"]
    thread = ThreadPoolExecutor(1)  # what takes long there keeps no other request waiting

    async def ask(size: int, question: Callable[..., Any], *arguments: Any) -> Response:
        """Return the answer to a question; `size` counts what is given and asked for."""
        if size * known <= AT_ONCE:
            content = question(*arguments)
        else:
            loop = asyncio.get_running_loop()
            content = await loop.run_in_executor(thread, question, *arguments)
        return Response(to_json(content), media_type="application/json")

    @app.get("/recommend", response_model=schema.Recommendations)
    async def recommend(asked: Annotated[schema.OfUser, Query()]) -> Response:
        """Recommend unseen items to a user that the model knows."""
        return await ask(asked.n, answers.recommend, asked.user, None, asked.n)

    @app.post("/recommend", response_model=schema.Recommendations)
    async def recommend_new_user(asked: schema.NewUser) -> Response:
        """Recommend items to someone whom training did not see.

        `ratings` are ratings by item id; of a model that ranks, a list of item ids.
        """
        size = len(asked.ratings) + asked.n
        return await ask(size, answers.recommend, None, asked.ratings, asked.n)

    @app.post("/predict", response_model=schema.Predictions)
    async def predict(asked: schema.Wanted) -> Response:
        """Predict what a user, or someone with these ratings, would give to each item."""
        size = len(asked.items) + len(asked.ratings or ())
        return await ask(size, answers.predict, asked.user, asked.ratings, asked.items)

    @app.get("/items/{item:path}/similar", response_model=schema.SimilarItems)
    async def similar_items(item: str, asked: Annotated[schema.OfItem, Query()]) -> Response:
        """Find the items most like an item."""
        return await ask(asked.n, answers.similar_items, item, asked.n)

    @app.get("/items", response_model=schema.FoundItems)
    async def search(asked: Annotated[schema.Words, Query()]) -> Response:
        """Find items whose title or id contains every word, popular ones first."""
        return await ask(asked.n, answers.search, asked.search, asked.n)

    @app.get("/model")
    async def model() -> dict[str, Any]:
        """Describe the model: its kind (rating or ranking), its scale, what result.json holds."""
        return about

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Say that the server answers."""
        return {"status": "ok"}


def _add_page(app: FastAPI, file: Path) -> None:
    kind, _ = mimetypes.guess_type(file.name)
    content = file.read_bytes()
    address = "/" if file.name == "index.html" else f"/{file.name}"

    @app.get(address, include_in_schema=False)
    async def page() -> Response:
        return Response(content, media_type=kind, headers=PAGE_HEADERS)
