"""The HTTP API of a trained model, and its page; imports no MXNet.

request -> limits -> JSON -> types -> `Answers`, of large requests in another thread -> JSON
"""

import asyncio
import json
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from ..support.errors import UnknownId, UserError
from . import messages
from .answers import Answers
from .limits import HeadAsGet, Limits, problem

PAGE = Path(__file__).parent / "page"
# Nothing comes from elsewhere, nothing is framed, and after an upgrade a browser asks anew.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
AT_ONCE = 200  # ratings and items: a request of few is answered sooner than handed over


def make_app(answers: Answers, seconds: float) -> FastAPI:
    """The application.

    Parameters
    ----------
    answers : Answers
    seconds : float
        For reading a request and answering it.
    """
    app = FastAPIOffline(
        redoc_url=None,
        title="d2l_autorec",
        description="What a trained model recommends.",
        responses={422: {"model": messages.Problem, "description": "A mistake in the request"}},
    )
    app.router.route_class = StrictRoute
    app.add_middleware(Limits, seconds=seconds)
    app.add_middleware(HeadAsGet)

    _answer_errors(app)
    _add_routes(app, answers)
    app.mount("/", Page(directory=PAGE, html=True))
    return app


class Page(StaticFiles):
    """The files of the page."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """A file, with `PAGE_HEADERS`."""
        response = super().file_response(*args, **kwargs)
        response.headers.update(PAGE_HEADERS)
        return response


class StrictRequest(Request):
    """A request whose JSON has no name twice, and no NaN or infinite number."""

    async def json(self) -> Any:
        """The body; raises HTTPException 400."""
        try:
            return json.loads(
                await self.body(),
                object_pairs_hook=_without_repetition,
                parse_constant=_refuse_constant,
            )
        except RecursionError as error:
            raise HTTPException(400, "the body is no JSON: it is nested too deeply") from error
        except ValueError as error:  # UnicodeDecodeError among them
            reason = str(error).partition(";")[0]
            raise HTTPException(400, f"the body is no JSON: {reason}") from error


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError(f"{_first_repeated([name for name, _ in pairs])!r} stands there twice")
    return content


def _first_repeated(names: list[str]) -> str | None:
    met: set[str] = set()
    for name in names:
        if name in met:
            return name
        met.add(name)
    return None


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no number")


class StrictRoute(APIRoute):
    """A route whose requests are `StrictRequest`, and have no parameter twice."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The usual handler, with a request of that class."""
        usual = super().get_route_handler()

        async def handle(request: Request) -> Response:
            parameters = [name for name, _ in request.query_params.multi_items()]
            repeated = _first_repeated(parameters)
            if repeated is not None:
                raise HTTPException(422, f"{repeated} is given twice: keep one of them")

            if request.method == "POST" and not _is_json(request):
                raise HTTPException(415, "send JSON, with content-type: application/json")
            return await usual(StrictRequest(request.scope, request.receive))

        return handle


def _is_json(request: Request) -> bool:
    kind, _, _ = request.headers.get("content-type", "").partition(";")
    return kind.strip().lower() == "application/json"


def _answer_errors(app: FastAPI) -> None:
    """Let every error be one line of JSON."""

    @app.exception_handler(UserError)
    async def of_the_library(_: Request, error: UserError) -> JSONResponse:
        status = 422
        if isinstance(error, UnknownId):
            status = 404
        return problem(status, str(error))

    @app.exception_handler(RequestValidationError)
    async def of_a_type(_: Request, error: RequestValidationError) -> JSONResponse:
        return problem(422, _first_of(error))

    @app.exception_handler(HTTPException)
    async def of_http(_: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(Exception)
    async def of_ours(_: Request, __: Exception) -> JSONResponse:
        return problem(500, "a mistake of the server's: its log says which")


def _first_of(error: RequestValidationError) -> str:
    """The first of pydantic's errors; where a value may be of several types, of the nearest."""
    deepest = max(error.errors(), key=lambda one: len(one["loc"]))
    _, *names = deepest["loc"]

    # a type that the value was tried as has brackets, as list[...]
    place = ".".join(str(name) for name in names if "[" not in str(name))
    message = deepest["msg"].removeprefix("Value error, ")
    return f"{place or 'the body'}: {message}"


class Asking:
    """Asks `Answers` at once or, of large requests, in another thread: those can be given up."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)

    async def __call__(
        self, size: int, question: Callable[..., dict[str, Any]], *arguments: Any
    ) -> Response:
        """The answer to a question; `size` counts what is given and what is asked for."""
        if size <= AT_ONCE:
            content = question(*arguments)
        else:
            loop = asyncio.get_running_loop()
            content = await loop.run_in_executor(self._thread, question, *arguments)
        return Response(to_json(content), media_type="application/json")


def _add_routes(app: FastAPI, answers: Answers) -> None:
    ask = Asking()

    @app.get("/recommend", response_model=messages.Recommendations)
    async def recommend(asked: Annotated[messages.OfUser, Query()]) -> Response:
        """The best unseen items of a user that the model knows."""
        return await ask(asked.n, answers.recommend, asked.user, asked.n)

    @app.post("/recommend", response_model=messages.Recommendations)
    async def recommend_new_user(asked: messages.NewUser) -> Response:
        """The best items for someone whom training did not see.

        `ratings` are ratings by item id; of a model that ranks, a list of item ids.
        """
        size = asked.n + len(asked.ratings)
        return await ask(size, answers.recommend_new_user, asked.ratings, asked.n)

    @app.post("/predict", response_model=messages.Predictions)
    async def predict(asked: messages.Wanted) -> Response:
        """What a user, or someone with these ratings, would give to each item."""
        size = len(asked.items)
        if asked.ratings is None:
            return await ask(size, answers.predict, asked.user, asked.items)

        size += len(asked.ratings)
        return await ask(size, answers.predict_new_user, asked.ratings, asked.items)

    @app.get("/items/{item:path}/similar", response_model=messages.SimilarItems)
    async def similar_items(item: str, asked: Annotated[messages.OfItem, Query()]) -> Response:
        """The items most like an item."""
        return await ask(asked.n, answers.similar_items, item, asked.n)

    @app.get("/items", response_model=messages.FoundItems)
    async def search(asked: Annotated[messages.Words, Query()]) -> Response:
        """Items whose title or id contains every word, popular ones first."""
        return await ask(asked.n, answers.search, asked.search, asked.n)

    @app.get("/model", response_model=messages.About)
    async def about() -> Response:
        """What the model is."""
        return JSONResponse(answers.about())

    @app.get("/health", response_model=messages.Health)
    async def health() -> Response:
        """Whether the server answers."""
        return JSONResponse({"status": "ok"})
