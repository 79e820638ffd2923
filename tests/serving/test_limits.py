"""What takes too long, or fails, is answered in a line while others are answered."""

import asyncio
import logging
import threading

import httpx
import pytest

import d2l_autorec
from d2l_autorec.serving.app import Answers, make_app

SLOW = "/recommend?user=1"


class Stub(Answers):
    """Answers that wait for the test, or fail."""

    known = 1_000_000  # of so many, everything is computed in another thread
    trained = 0

    def __init__(self):
        self.go_on = threading.Event()

    def recommend(self, *_):
        self.go_on.wait(20)
        return {"recommendations": [], "remarks": []}

    def search(self, text, n):
        raise ZeroDivisionError("a mistake of ours, in /home/somebody")


@pytest.fixture
def stub():
    stub = Stub()
    yield stub
    stub.go_on.set()


def asked(stub, *paths, seconds=0.3):
    """The answers to requests that are made at once."""

    async def ask():
        transport = httpx.ASGITransport(make_app(stub, seconds), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await asyncio.gather(*map(client.get, paths))

    return asyncio.run(ask())


def test_an_answer_that_takes_too_long_is_given_up(stub):
    late, waited, health = asked(stub, SLOW, SLOW, "/health")
    assert health.status_code == 200
    for answer in (late, waited):
        assert answer.status_code == 503
        assert answer.json() == {"error": "not done within 0.3 seconds: try again later"}


def test_an_answer_in_time_is_given(stub):
    stub.go_on.set()
    (answer,) = asked(stub, SLOW)
    assert answer.json() == {"recommendations": [], "remarks": []}


def test_a_mistake_of_ours_tells_nothing_of_the_machine(stub, caplog):
    with caplog.at_level(logging.ERROR):
        (answer,) = asked(stub, "/items")
    assert answer.status_code == 500
    assert answer.json() == {"error": "internal error; see the server's log"}


def test_the_api_is_described_without_anything_from_elsewhere(stub):
    page, answer = asked(stub, "/docs", "/openapi.json")
    assert "http://" not in page.text and "https://" not in page.text

    description = answer.json()
    assert description["info"]["version"] == d2l_autorec.__version__
    paths = description["paths"]
    assert {path: sorted(verbs) for path, verbs in paths.items()} == {
        "/recommend": ["get", "post"],
        "/recommend/batch": ["post"],
        "/predict": ["post"],
        "/items/{item}/similar": ["get"],
        "/items": ["get"],
        "/model": ["get"],
        "/health": ["get"],
    }
    problem = {"$ref": "#/components/schemas/Problem"}
    for verbs in paths.values():
        for operation in verbs.values():
            assert operation["description"]
            assert operation["tags"][0] in ("recommend", "items", "server")
            errors = {
                status: answer["content"]["application/json"]["schema"]
                for status, answer in operation["responses"].items()
                if status != "200"
            }
            statuses = ("400", "404", "413", "415", "421", "422", "500", "503")
            assert errors == dict.fromkeys(statuses, problem)

    of_query = [
        parameter["schema"]
        for path in ("/recommend", "/items", "/items/{item}/similar")
        for parameter in description["paths"][path]["get"]["parameters"]
        if parameter["name"] == "n"
    ]
    of_body = description["components"]["schemas"]["NewUser"]["properties"]["n"]
    for number in (*of_query, of_body):
        assert (number["type"], number["minimum"], number["maximum"]) == ("integer", 1, 1000)
    assert len(of_query) == 3


@pytest.mark.parametrize("path", ["/", "/page.js", "/page.css"])
def test_the_page_may_load_nothing_from_elsewhere(stub, path):
    (file,) = asked(stub, path)
    assert file.status_code == 200
    assert file.headers["content-security-policy"].startswith("default-src 'self';")
    assert file.headers["cache-control"] == "no-cache"
