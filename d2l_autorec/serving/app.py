"""The HTTP API of a trained model, and its page. Nothing here imports MXNet.

request -> middleware -> types of `schema` -> `Answers`, for large requests in a thread -> JSON
"""

import asyncio
import mimetypes
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Response
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic_core import to_json

from .. import __version__
from ..support.errors import UnknownIdError
from . import schema
from .filters import Selection
from .middleware import MISTAKES, TRAINED, Guard, Posts, answer_error, metrics_text
from .new_user import predict_new_user, rated_by, recommend_new_user
from .predictor import Predictor, Scored, shortage

# The number of the model's users and items, times that of what is given and asked for. This many
# take some milliseconds; a smaller request is answered sooner than it is handed to a thread.
AT_ONCE = 1_000_000
PAGE = Path(__file__).parent / "page"
# The page loads nothing from elsewhere, and is not framed; browsers ask anew after an upgrade.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
TAGS = {
    "recommend": "Recommendations and predictions",
    "items": "Search, and similar items",
    "server": "The model, and the health of the server",
}
PROBLEMS = (400, 404, 413, 415, 421, 422, 500, 503)
Given = Mapping[Any, float] | Sequence[Any] | None


@dataclass
class Answers:
    """The answers of a model, in types that JSON has.

    The methods answer for a user that the model knows, or for a person that training did not see,
    by that person's `ratings`.

    Parameters
    ----------
    predictor : Predictor
        The model.
    result : mapping
        The content of result.json.
    fallback : {'popularity'}, optional
        What an unknown user gets in place of an error.
    trained : float
        When the run was finished, in seconds since 1970.
    """

    predictor: Predictor
    result: Mapping[str, Any]
    fallback: str | None = None
    trained: float = 0

    def __post_init__(self) -> None:
        self.known = self.predictor.ratings.num_users + self.predictor.ratings.num_items
        self.predictor.prepare()

    def recommend(self, user: Any, ratings: Given, asked: schema.Filtered) -> dict[str, Any]:
        """Return the best unseen items for a person, with reasons."""
        predictor = self.predictor
        remarks: list[str] = []
        selection = asked.selection(remarks.append)
        if ratings is None:
            found = predictor.recommend(user, selection, self.fallback)
            rated = predictor.inputs_of(predictor.users.find([user])[0])
        else:
            rated = rated_by(predictor, ratings)
            found = recommend_new_user(predictor, rated, selection)

        rows = _rows(found)
        reasons = predictor.reasons(predictor.items.positions(row["item"] for row in rows), rated)
        for row, reason in zip(rows, reasons):
            row["because"] = _rows(reason, "similarity")
        if len(found) < asked.n:
            remarks.append(shortage(len(found), asked.n))
        return {"recommendations": rows, "remarks": remarks}

    def recommend_each(self, asked: schema.Users) -> dict[str, Any]:
        """Return the recommendations for each of the users, or an error for an unknown one."""
        answers = []
        for user in asked.users:
            try:
                answer = self.recommend(user, None, asked)
            except UnknownIdError as error:
                answer = {"error": str(error)}
            answers.append({"user": user, **answer})
        return {"answers": answers}

    def predict(self, asked: schema.Wanted) -> dict[str, Any]:
        """Return a person's predicted ratings, or scores, of some items."""
        predictor = self.predictor
        if asked.ratings is None:
            return {"predictions": _rows(predictor.score(asked.user, asked.items))}

        scores = predict_new_user(predictor, rated_by(predictor, asked.ratings))
        wanted = predictor.items.positions(asked.items)
        return {"predictions": _rows(predictor.scored(wanted, predictor.shown(scores[wanted])))}

    def similar_items(self, item: Any, n: int) -> dict[str, Any]:
        """Return the items that are most like an item."""
        remarks: list[str] = []
        found = self.predictor.similar_items(item, Selection(n, remark=remarks.append))
        return {"items": _rows(found, "similarity"), "remarks": remarks}

    def search(self, text: str, n: int) -> dict[str, Any]:
        """Return items whose title or id contains the words of `text`, popular ones first."""
        found = self.predictor.search(text, n)
        return {"items": [{"item": i, "title": t, "ratings": count} for i, t, _, count in found]}

    def about(self) -> dict[str, Any]:
        """Return a description of the model, with the content of result.json."""
        ratings = self.predictor.ratings
        return {
            "kind": self.predictor.config.task,
            "scale": ratings.bounds,
            "users": ratings.num_users,
            "items": ratings.num_items,
            "trained": datetime.fromtimestamp(self.trained, timezone.utc).isoformat(),
            "result": self.result,
        }


def _rows(found: Sequence[Scored], score: str = "score") -> list[dict[str, Any]]:
    return [dict(zip(("item", "title", score, "ratings"), row)) for row in found]


def make_app(answers: Answers, seconds: float, hosts: Collection[str] = ()) -> FastAPI:
    """Return the application.

    Parameters
    ----------
    answers : Answers
        The answers to begin with.
    seconds : float
        Time limit for reading a request and answering it.
    hosts : collection of str
        Names by which this server may be called, beside localhost and addresses.
    """
    app = FastAPIOffline(
        redoc_url=None,
        title="d2l_autorec",
        version=__version__,
        description="What a trained model recommends. /metrics is for Prometheus.",
        openapi_tags=[{"name": name, "description": text} for name, text in TAGS.items()],
        responses=dict.fromkeys(PROBLEMS, {"model": schema.Problem}),
        redirect_slashes=False,
    )
    use(app, answers)

    for kind in (*MISTAKES, Exception):
        app.add_exception_handler(kind, answer_error)
    _add_routes(app)
    _add_routes_of_server(app)
    app.add_middleware(Posts, routes=app.routes)
    app.add_middleware(Guard, seconds=seconds, hosts=hosts)

    for file in PAGE.iterdir():
        _add_page(app, file)
    return app


def use(app: FastAPI, answers: Answers) -> None:
    """Let the application use these answers from now on."""
    app.state.answers = answers
    TRAINED.set(answers.trained)


def _add_routes(app: FastAPI) -> None:
    thread = ThreadPoolExecutor(1)  # a long computation there keeps no small request waiting

    async def ask(asked: schema.Asked, question: Callable[[Answers], Any]) -> Response:
        """Return the answer to a question."""
        answers = app.state.answers
        if asked.size() * answers.known <= AT_ONCE:
            content = question(answers)
        else:
            content = await asyncio.wrap_future(thread.submit(question, answers))
        return Response(to_json(content), media_type="application/json")

    @app.get("/recommend", response_model=schema.Recommendations, tags=["recommend"])
    async def recommend(asked: Annotated[schema.OfUser, Query()]) -> Response:
        """Recommend unseen items to a user that the model knows."""
        return await ask(asked, lambda answers: answers.recommend(asked.user, None, asked))

    @app.post("/recommend", response_model=schema.Recommendations, tags=["recommend"])
    async def recommend_new_user(asked: schema.NewUser) -> Response:
        """Recommend items to someone whom training did not see.

        `ratings` are ratings by item id; for a model that ranks, a list of item ids.
        """
        return await ask(asked, lambda answers: answers.recommend(None, asked.ratings, asked))

    @app.post("/recommend/batch", response_model=schema.OfEach, tags=["recommend"])
    async def recommend_each(asked: schema.Users) -> Response:
        """Recommend unseen items to several users at once.

        The answer to a user that the model does not know is an error in place of recommendations.
        """
        return await ask(asked, lambda answers: answers.recommend_each(asked))

    @app.post("/predict", response_model=schema.Predictions, tags=["recommend"])
    async def predict(asked: schema.Wanted) -> Response:
        """Predict how a user, or someone with these ratings, would rate each item."""
        return await ask(asked, lambda answers: answers.predict(asked))

    @app.get("/items/{item:path}/similar", response_model=schema.SimilarItems, tags=["items"])
    async def similar_items(item: str, asked: Annotated[schema.OfItem, Query()]) -> Response:
        """Find the items that are most like an item."""
        return await ask(asked, lambda answers: answers.similar_items(item, asked.n))

    @app.get("/items", response_model=schema.FoundItems, tags=["items"])
    async def search(asked: Annotated[schema.Words, Query()]) -> Response:
        """Find items whose title or id contains every word, popular ones first."""
        return await ask(asked, lambda answers: answers.search(asked.search, asked.n))


def _add_routes_of_server(app: FastAPI) -> None:
    @app.get("/model", tags=["server"])
    async def model() -> dict[str, Any]:
        """Describe the model: its kind (rating or ranking), its scale and its result.json."""
        return app.state.answers.about()

    @app.get("/health", tags=["server"])
    async def health() -> dict[str, str]:
        """Say that the server answers."""
        return {"status": "ok"}

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(metrics_text(), media_type=CONTENT_TYPE_LATEST)


def _add_page(app: FastAPI, file: Path) -> None:
    kind, _ = mimetypes.guess_type(file.name)
    answer = Response(file.read_bytes(), media_type=kind, headers=PAGE_HEADERS)

    @app.get("/" if file.name == "index.html" else f"/{file.name}", include_in_schema=False)
    async def page() -> Response:
        return answer
