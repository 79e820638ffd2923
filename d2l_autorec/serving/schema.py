"""Types of what the HTTP API is asked and answers."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, model_validator
from typing_extensions import TypeAliasType

MOST_ITEMS = 1000  # that may be asked for at once
MOST_LETTERS = 200  # of a search, as in the page's box


def _as_id(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError("an id is a whole number or a string")
    return value


def _digits(value: Any) -> Any:
    if isinstance(value, str) and not value.removeprefix("-").isdecimal():
        raise ValueError(f"Input should be a whole number, from 1 to {MOST_ITEMS}")
    return value


Id = Annotated[int | str, BeforeValidator(_as_id)]
Ids = TypeAliasType("Ids", Annotated[list[Id], FailFast()])  # one error of many is enough
Ratings = dict[str, float] | Ids
Number = Annotated[
    int, Field(ge=1, le=MOST_ITEMS, description="How many items"), BeforeValidator(_digits)
]


class OfItem(BaseModel):
    """Parameters of similar items, as of every address; unknown ones are refused."""

    n: Number = 10

    model_config = ConfigDict(extra="forbid")


class OfUser(OfItem):
    """Parameters of a known user's recommendations."""

    user: str


class Words(OfItem):
    """Words of a title or an id; without any, the most popular items are found."""

    search: Annotated[str, Field(max_length=MOST_LETTERS)] = ""


class Body(BaseModel):
    """JSON without unknown names, and of the types that are asked for: "5" is no number."""

    model_config = ConfigDict(extra="forbid", strict=True)


class NewUser(Body):
    """Someone whom training did not see."""

    ratings: Ratings
    n: Number = 10

    model_config = ConfigDict(json_schema_extra={"examples": [{"ratings": {"50": 5}, "n": 10}]})


class Wanted(Body):
    """Items whose scores are wanted, of a user or of someone with these ratings."""

    user: Id | None = None
    ratings: Ratings | None = None
    items: Annotated[Ids, Field(max_length=MOST_ITEMS)]

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
    """An item, and the number of its known ratings."""

    ratings: int


class Recommendations(BaseModel):
    """Recommended items, best first."""

    recommendations: list[Recommendation]
    remarks: list[str]


class Predictions(BaseModel):
    """Scores in the order asked for."""

    predictions: list[ScoredItem]


class SimilarItems(BaseModel):
    """Similar items, most similar first."""

    items: list[SimilarItem]
    remarks: list[str]


class FoundItems(BaseModel):
    """Found items, most popular first."""

    items: list[FoundItem]


class Problem(BaseModel):
    """What is wrong with a request, in one line."""

    error: str
