"""The HTTP API of a trained model, and its page; imports no MXNet.

request -> limits of size and time -> typed by pydantic -> one worker thread: `Answers` -> JSON
"""

import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import anyio
from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, ConfigDict, model_validator
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..support.errors import UnknownId, UserError
from .answers import MOST_ITEMS, Answers

PAGE = Path(__file__).parent / "page"
MOST_BYTES = 1 << 20  # of a request's body
SECONDS = 30.0  # for reading a request and answering it
Id = int | str


class Strict(BaseModel):
    """A request's body: without unknown fields, and without conversions."""

    model_config = ConfigDict(extra="forbid", strict=True)


class NewUser(Strict):
    """Someone whom training did not see."""

    ratings: dict[str, float] | list[Id]
    n: int = 10

    model_config = ConfigDict(json_schema_extra={"examples": [{"ratings": {"50": 5}, "n": 10}]})


class Wanted(Strict):
    """Items that a user, or someone with ratings, has an opinion of."""

    user: Id | None = None
    ratings: dict[str, float] | list[Id] | None = None
    items: list[Id]

    model_config = ConfigDict(json_schema_extra={"examples": [{"user": 196, "items": [50, 181]}]})

    @model_validator(mode="after")
    def _one_person(self) -> "Wanted":
        if (self.user is None) == (self.ratings is None):
            raise ValueError("give either user or ratings")
        return self


class Item(BaseModel):
    """An item; the title is empty where none is known."""

    item: Id
    title: str


class SimilarItem(Item):
    """An item, and the cosine of its vector and another's."""

    similarity: float


class ScoredItem(Item):
    """An item, and its predicted rating or, of a model that ranks, its score."""

    score: float


class Recommendation(ScoredItem):
    """A recommended item, and the rated ones that contribute most."""

    because: list[SimilarItem]


class FoundItem(Item):
    """An item, and how many ratings of it are known."""

    ratings: int


class Recommendations(BaseModel):
    """Best first."""

    recommendations: list[Recommendation]
    remarks: list[str]


class Predictions(BaseModel):
    """In the order asked for."""

    predictions: list[ScoredItem]


class SimilarItems(BaseModel):
    """Most similar first."""

    items: list[SimilarItem]
    remarks: list[str]


class FoundItems(BaseModel):
    """Most popular first."""

    items: list[FoundItem]


class About(BaseModel):
    """The model: `result` is what result.json holds."""

    kind: str
    scale: tuple[float, float]
    users: int
    items: int
    result: dict[str, Any]


class Problem(BaseModel):
    """What is wrong with a request, in one line."""

    error: str


class StrictJSON(Request):
    """A request whose JSON has no key twice, and no NaN or infinite number."""

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
            raise HTTPException(400, f"the body is no JSON: {error}") from error


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {repeated!r} occurs more than once")
    return content


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


class StrictRoute(APIRoute):
    """A route whose requests are `StrictJSON`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The usual handler, with a request of that class."""
        usual = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await usual(StrictJSON(request.scope, request.receive))

        return handle


class TimeLimit:
    """Answers 503 in the place of an application that takes too long, 408 of a slow client.

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

        is_read = is_answered = False

        async def receive_and_note() -> Message:
            nonlocal is_read
            message = await receive()
            is_read = not message.get("more_body", False)
            return message

        async def send_and_note(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        with anyio.move_on_after(self._seconds) as limit:
            await self._app(scope, receive_and_note, send_and_note)

        if limit.cancelled_caught and not is_answered:
            late = _late(is_read, self._seconds)
            await late(scope, receive, send)


def _late(is_read: bool, seconds: float) -> JSONResponse:
    if is_read:
        return problem(503, f"no answer within {seconds:g} seconds: ask for less, or later")
    return problem(408, f"the request was not complete within {seconds:g} seconds")


def problem(status: int, text: str, headers: Any = None) -> JSONResponse:
    """An error as the API answers it."""
    return JSONResponse({"error": " ".join(text.split())}, status, headers)


def make_app(answers: Answers, seconds: float = SECONDS) -> FastAPI:
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
        description="Recommendations of a trained model.",
        version=str(answers.about()["result"].get("model", "")),
        max_body_size=MOST_BYTES,
        responses={422: {"model": Problem, "description": "A mistake in the request"}},
    )
    app.router.route_class = StrictRoute
    app.add_middleware(TimeLimit, seconds=seconds)

    _answer_errors(app)
    _add_routes(app, answers)
    app.mount("/", StaticFiles(directory=PAGE, html=True))
    return app


def _answer_errors(app: FastAPI) -> None:
    """Every error is one line of JSON."""

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
    async def of_ours(_: Request, error: Exception) -> JSONResponse:
        return problem(500, "a mistake of the server's: its log says which")


def _first_of(error: RequestValidationError) -> str:
    """The first of pydantic's errors, of several kinds that a value may have the nearest."""
    errors = error.errors()
    deepest = max(errors, key=lambda one: len(one["loc"]))
    _, *names = deepest["loc"]

    place = ".".join(str(name) for name in names if "[" not in str(name))
    message = deepest["msg"].removeprefix("Value error, ")
    if not place:
        return message
    return f"{place}: {message}"


def _add_routes(app: FastAPI, answers: Answers) -> None:
    turn = CapacityLimiter(1)
    Number = Annotated[int, Query(description=f"from 1 to {MOST_ITEMS}")]

    async def ask(question: Callable[..., Any], *arguments: Any) -> JSONResponse:
        """The answer of the one thread that computes, so that others can be given up meanwhile."""
        content = await to_thread.run_sync(
            question, *arguments, limiter=turn, abandon_on_cancel=True
        )
        return JSONResponse(content)

    @app.get("/recommend", response_model=Recommendations)
    async def recommend(user: str, n: Number = 10) -> Response:
        """The best unseen items of a user that the model knows."""
        return await ask(answers.recommend, user, n)

    @app.post("/recommend", response_model=Recommendations)
    async def recommend_new_user(asked: NewUser) -> Response:
        """The best items for someone whom training did not see.

        `ratings` are ratings by item id; of a model that ranks a list of item ids.
        """
        return await ask(answers.recommend_new_user, asked.ratings, asked.n)

    @app.post("/predict", response_model=Predictions)
    async def predict(asked: Wanted) -> Response:
        """What a user, or someone with these ratings, would give to each item."""
        if asked.ratings is not None:
            return await ask(answers.predict_new_user, asked.ratings, asked.items)
        return await ask(answers.predict, asked.user, asked.items)

    @app.get("/items/{item:path}/similar", response_model=SimilarItems)
    async def similar_items(item: str, n: Number = 10) -> Response:
        """The items most like an item."""
        return await ask(answers.similar_items, item, n)

    @app.get("/items", response_model=FoundItems)
    async def search(search: str = "", n: Number = 10) -> Response:
        """Items whose title or id contains every word, popular ones first."""
        return await ask(answers.search, search, n)

    @app.get("/model", response_model=About)
    async def about() -> Response:
        """What the model is."""
        return await ask(answers.about)

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether the server answers."""
        return {"status": "ok"}
