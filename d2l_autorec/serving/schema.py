"""The types of requests to the HTTP API, and of its answers."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, model_validator
from typing_extensions import TypeAliasType

from .filters import Selection

MOST_ITEMS = 1000  # items that may be asked for at once
MOST_USERS = 100  # users that may be asked for at once
MOST_LETTERS = 200  # length of a search's text, as in the page's box


def _as_id(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError("an id is a whole number or a string")
    return value


Id = Annotated[int | str, BeforeValidator(_as_id)]
IdList = Annotated[list[Id], FailFast()]
Ids = TypeAliasType("Ids", IdList)  # FailFast: the first error is enough
Ratings = dict[str, float] | Ids
Number = Annotated[int, Field(ge=1, le=MOST_ITEMS, description="How many items")]


class Asked(BaseModel):
    """The base of requests; unknown names are refused."""

    model_config = ConfigDict(extra="forbid")

    def size(self) -> int:
        """Return how many items, users and ratings are given and asked for."""
        given = [value for value in vars(self).values() if isinstance(value, (dict, list))]
        return getattr(self, "n", 0) + sum(map(len, given))


class OfItem(Asked):
    """The parameters of a request for similar items."""

    n: Number = 10


class Words(OfItem):
    """The words of a search; without any, the most popular items are found."""

    search: Annotated[str, Field(max_length=MOST_LETTERS)] = ""


class Filtered(OfItem):
    """The parameters that say which items may be recommended."""

    exclude: IdList = Field([], description="Items to leave out")
    only: IdList = Field(  # None where it is not given
        None,  # type: ignore[arg-type]
        description="Items to choose from; by default all",
    )
    filter_already_rated: bool = Field(True, description="Leave out what the user has rated")
    min_ratings: int = Field(0, ge=0, description="Leave out items with fewer ratings")

    def selection(self, remark: Callable[[str], None]) -> Selection:
        """Return the selection of items that was asked for."""
        is_unrated = self.filter_already_rated
        return Selection(self.n, self.exclude, self.only, is_unrated, self.min_ratings, remark)


class OfUser(Filtered):
    """The parameters of a request for recommendations to a known user."""

    user: str


def in_body(example: dict[str, Any]) -> ConfigDict:
    """Return the settings of a JSON body, with an example; types are strict: "5" is refused."""
    return ConfigDict(strict=True, json_schema_extra={"examples": [example]})


class NewUser(Filtered):
    """The ratings of someone whom training did not see."""

    ratings: Ratings

    model_config = in_body({"ratings": {"50": 5}, "n": 10})


class Users(Filtered):
    """Several users that the model knows."""

    users: Annotated[Ids, Field(max_length=MOST_USERS)]

    model_config = in_body({"users": [196, 186], "n": 10})

    def size(self) -> int:
        """Return the size for each user, times their number."""
        return len(self.users) * super().size()


class Wanted(Asked):
    """Items to predict, for a user or for someone with these ratings."""

    user: Id | None = None
    ratings: Ratings | None = None
    items: Annotated[Ids, Field(max_length=MOST_ITEMS)]

    model_config = in_body({"user": 196, "items": [50, 181]})

    @model_validator(mode="after")
    def _one_person(self) -> "Wanted":
        if (self.user is None) == (self.ratings is None):
            raise ValueError("give either user or ratings")
        return self


class Item(BaseModel):
    """An item with its number of known ratings; the title is empty if none is known."""

    item: Id
    title: str
    ratings: int  # number of known ratings


class SimilarItem(Item):
    """An item, and its similarity to another one."""

    similarity: float


class ScoredItem(Item):
    """An item, and its predicted rating or, by a model that ranks, its score."""

    score: float


class Recommendation(ScoredItem):
    """A recommended item, and the rated ones that contribute most."""

    because: list[SimilarItem]


class Problem(BaseModel):
    """An error: what is wrong with a request, in one line."""

    error: str


class Recommendations(BaseModel):
    """Recommended items, best first."""

    recommendations: list[Recommendation]
    remarks: list[str]


class OfKnown(Recommendations):
    """The items that are recommended to a user."""

    user: Id


class OfUnknown(Problem):
    """An error in place of a user's recommendations, in one line."""

    user: Id


class OfEach(BaseModel):
    """The answers for several users, in the order asked for."""

    answers: list[OfKnown | OfUnknown]


class Predictions(BaseModel):
    """The predictions, in the order of the items asked for."""

    predictions: list[ScoredItem]


class SimilarItems(BaseModel):
    """Similar items, most similar first."""

    items: list[SimilarItem]
    remarks: list[str]


class FoundItems(BaseModel):
    """Found items, most popular first."""

    items: list[Item]
