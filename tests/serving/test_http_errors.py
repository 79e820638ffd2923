"""Mistakes and attacks: the HTTP API answers each with one line of JSON, and logs no traceback."""

import contextlib
import json
import re
import socket
import time
import warnings
from pathlib import Path
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from helpers import Server, items_in

import d2l_autorec as d2l
from d2l_autorec.serving.middleware import MOST_BYTES

ODD = ["a/b", "x/similar", "50%", "日本", "q?#&=+", "...", "Amélie", "10", "%2F", "é"]
TITLES = {"a/b": "Amélie (2001)", "10": "Star Wars (1977)", "...": "Matrix, The (1999)"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Ids that are hard to write in an address; user u9 and item 'é' have no training rating."""
    rng = np.random.default_rng(0)
    cells = np.array([(user, item) for user in range(9) for item in range(9) if (user + item) % 4])
    ratings = d2l.Ratings(
        *cells.T,
        rng.integers(1, 6, len(cells)),
        user_ids=np.array([f"u{user}" for user in range(10)], dtype=object),
        item_ids=np.array(ODD, dtype=object),
        scale=(1.0, 5.0),
        titles=TITLES,
        name="odd",
    )
    train, test = ratings.part(np.arange(5, len(cells))), ratings.part(np.arange(5))
    folder = tmp_path_factory.mktemp("odd") / "run"
    model = d2l.train_model(
        d2l.MFConfig(factors=3, epochs=2, quiet=True), train, test, out=str(folder)
    )
    model.export(folder / "export")
    return model


@pytest.fixture(scope="module")
def server(run):
    hosts = ("--allowed-host", "Recommender.example")
    with Server(run.path, "--timeout", "2", *hosts) as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=server.url) as client:
        yield client


def assert_problem(answer, status, *fragments):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    assert "\n" not in answer.text
    for fragment in fragments:
        assert fragment in answer.json()["error"]


def post(client, body, path="/recommend", **headers):
    if isinstance(body, str):
        body = body.encode()
    return client.post(path, content=body, headers={"content-type": "application/json", **headers})


RATINGS = {
    "unknown": ('{"foo": 5}', 404, "item 'foo' is not among the 10 items of this run; its ids"),
    "NUL": ('{"\\u0000": 5}', 404, "item '\\x00' is not"),
    "half a sign": ('{"\\ud800": 5}', 400, "the body is no JSON: unexpected end of hex escape"),
    "above the scale": ('{"10": 6}', 422, "ratings: 6 for item '10' is outside the scale 1..5"),
    "too huge": ('{"10": 1' + 5000 * "0" + "}", 400, "the body is no JSON: number out of range"),
    "text": ('{"10": "5"}', 422, "ratings.10: Input should be a valid number"),
    "same item": ('{"10": 5, " 10": 1}', 422, "item ' 10' is given more than once"),
    "cold": ('{"é": 5}', 422, "none of the rated items has a training rating in this run"),
    "none": ("{}", 422, "ratings is empty: give at least one item"),
    "ids alone": ('["10"]', 422, "ratings holds items alone: give a dict of item to rating"),
    "deep": ("[" * 100_000, 400, "the body is no JSON: recursion limit exceeded"),
}


BODIES = {
    **{name: (f'{{"ratings": {text}, "n": 3}}', *rest) for name, (text, *rest) in RATINGS.items()},
    "empty": ("", 400, "the body is no JSON: EOF while parsing a value at line 1 column 0"),
    "half": ('{"ratings"', 400, "the body is no JSON: EOF while parsing an object at line 1"),
    "no ratings": ("{}", 422, "ratings: Field required"),
    "unknown name": ('{"ratings": {"10": 5}, "m": 3}', 422, "m: Extra inputs are not permitted"),
    "no text": (b'{"ratings": {"\xff": 5}}', 400, "the body is no JSON: invalid unicode"),
    "n of 0": (
        '{"ratings": {"10": 5}, "n": 0}',
        422,
        "n: Input should be greater than or equal to 1",
    ),
    "n a text": ('{"ratings": {"10": 5}, "n": "3"}', 422, "n: Input should be a valid integer"),
}


PREDICTIONS = {
    "nobody": ('{"items": ["10"]}', 422, "give either user or ratings"),
    "both": ('{"user": "u1", "ratings": {"10": 5}, "items": []}', 422, "give either user or"),
    "null": ('{"user": "u1", "items": [null]}', 422, "items.0: an id is a whole number or"),
    "unknown user": ('{"user": "x", "items": ["10"]}', 404, "user 'x' is not among the 10 users"),
    "too many": (f'{{"user": "u1", "items": {[1] * 1001}}}', 422, "items: List should have at"),
    "user a list": ('{"user": ["u1"], "items": []}', 422, "user: an id is a whole number or"),
}


@pytest.mark.parametrize("name", [*BODIES, *PREDICTIONS])
def test_bodies(client, name):
    path = "/predict" if name in PREDICTIONS else "/recommend"
    body, status, error = {**BODIES, **PREDICTIONS}[name]
    assert_problem(post(client, body, path), status, error)


def test_a_batch_answers_each_user(run, client):
    """As alone, and an unknown one does not take the others along."""
    answer = post(client, '{"users": ["u1", "x", "u9"], "n": 3}', "/recommend/batch")
    known, unknown, cold = answer.json()["answers"]
    assert known == {"user": "u1", **client.get("/recommend?user=u1&n=3").json()}
    assert cold == {"user": "u9", **client.get("/recommend?user=u9&n=3").json()}
    assert unknown == {"user": "x", **client.get("/recommend?user=x").json()}

    answer = post(client, f'{{"users": {["u1"] * 101}}}'.replace("'", '"'), "/recommend/batch")
    assert_problem(answer, 422, "users: List should have at most 100 items")


ADDRESSES = {
    "/recommend": (422, "user: Field required"),
    "/recommend?user=x": (404, "user 'x' is not among the 10 users of this run; its ids are like"),
    "/recommend?user=u1&n=0": (422, "n: Input should be greater than or equal to 1"),
    "/recommend?user=u1&n=1e3": (422, "n: Input should be a valid integer"),
    "/recommend?user=u1&n=" + "9" * 30: (422, "n: Input should be less than or equal to 1000"),
    "/recommend?user=u1&N=3": (422, "N: Extra inputs are not permitted"),
    "/items/x/similar": (404, "item 'x' is not among the 10 items"),
    "/items?search=" + "a+" * 101: (422, "search: String should have at most 200 characters"),
    "/nothing": (404, "Not Found"),
    "/%2e%2e/%2e%2e/etc/passwd": (404, "Not Found"),
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses(client, address):
    status, error = ADDRESSES[address]
    assert_problem(client.get(address), status, error)


def test_head_is_get_without_a_body(client):
    answer, whole = client.head("/items?n=2"), client.get("/items?n=2")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(whole.content))


def test_other_types_are_no_json(client):
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = post(client, '{"ratings": {"10": 5}}', **{"content-type": kind})
        assert_problem(answer, 415, "send JSON, with content-type: application/json")


@pytest.mark.parametrize("item", ODD)
def test_every_id_has_an_address(run, client, item):
    """Also one with a slash, or that ends as the address does."""
    answer = client.get(f"/items/{quote(item, safe='')}/similar?n=3")
    assert answer.status_code == 200, answer.text

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        expected = run.similar_items(item, 3)
    assert items_in(answer.json()["items"]) == items_in(expected)
    assert answer.json()["remarks"] == [str(warning.message) for warning in caught]
    assert bool(caught) == (item == "é")  # which nobody rated in training


def test_a_user_without_ratings_is_remarked_on(client):
    answer = client.get("/recommend?user=u9&n=2").json()
    assert answer["remarks"] == ["user u9 has no training rating: the items' means are shown"]
    assert len(answer["recommendations"]) == 2


@pytest.mark.parametrize(
    "text, expected",
    [
        ("AMELIE", ["a/b", "Amélie"]),
        ("amélie 2001", ["a/b"]),
        ("the matrix", ["..."]),
        ("wars star", ["10"]),
        ("日", ["日本"]),
        ("nothing", []),
    ],
)
def test_search(client, text, expected):
    answer = client.get("/items", params={"search": text})
    assert sorted(row["item"] for row in answer.json()["items"]) == sorted(expected)


def test_fewer_items_than_asked_for_are_remarked_on(client):
    rated = dict.fromkeys(ODD[:8], 4)
    answer = post(client, json.dumps({"ratings": rated})).json()
    assert len(answer["recommendations"]) == 1  # the other one has no training rating
    assert answer["remarks"] == ["only 1 items are left to choose from, 10 were asked for"]

    answer = post(client, json.dumps({"ratings": {**rated, ODD[8]: 1}})).json()
    assert answer["recommendations"] == []
    assert answer["remarks"] == [
        "every item is rated already or left out by a filter: there is nothing to recommend"
    ]


# What httpx does not send.


def raw(server, *pieces, seconds=10.0):
    """Everything that the server answers to these bytes until it hangs up or is silent."""
    answer = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
            while piece := connection.recv(1 << 16):
                answer += piece
        except (TimeoutError, ConnectionError):
            pass
    return answer


def head(length, path="/recommend"):
    return (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        f"content-type: application/json\r\n{length}\r\n\r\n"
    ).encode()


def assert_raw_problem(answer, status, fragment):
    first, _, rest = answer.partition(b"\r\n")
    headers, _, body = rest.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"content-type: application/json" in headers
    assert fragment in json.loads(body)["error"]


def test_large_bodies(server, client):
    too_large = f"the body is larger than {MOST_BYTES} bytes"
    fitting = b'{"ratings": {"10": 5}}'.ljust(MOST_BYTES)
    assert post(client, fitting).status_code == 200
    assert_problem(post(client, fitting + b" "), 413, too_large)

    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    chunked = raw(server, head("transfer-encoding: chunked"), *[chunk] * 20)
    assert_raw_problem(chunked, 413, too_large)


@pytest.mark.parametrize(
    "host, status",
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("[::1]:8000", 200),
        ("recommender.example:8000", 200),
        ("evil.example", 421),
        ("evil.example:localhost", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost@evil.example", 421),
        ("", 200),
    ],
)
def test_hosts(client, host, status):
    """A page of another site, whose name leads here, gets no answer."""
    for path in ("/health", "/", "/docs"):
        assert client.get(path, headers={"host": host}).status_code == status


@pytest.mark.parametrize("path", ["/x/..", "//evil.example/..", "/static-offline-docs", "/items/"])
@pytest.mark.parametrize("host", ["evil.example", "localhost"])
def test_nothing_leads_to_another_host(server, path, host):
    request = f"GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
    answer = raw(server, request.encode())
    status = int(answer.split()[1])
    assert status == 421 if host == "evil.example" else status in (307, 404)
    assert b"evil" not in answer.lower().partition(b"location:")[2].partition(b"\r\n")[0]


def test_parameters_of_a_post(client):
    answer = post(client, '{"ratings": {"10": 5}}', "/recommend?n=3")
    assert_problem(answer, 422, "a POST takes no parameters in the address, only JSON")


def test_slow_bodies(server):
    start = time.monotonic()
    answer = raw(server, head("content-length: 20"), b"{")
    assert_raw_problem(answer, 503, "not done within 2 seconds")
    assert 1.5 < time.monotonic() - start < 8


# What clients can make the server keep: 997 and 905 MB before.


def resident(server):
    """Megabytes of all its processes."""
    parent = server.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in (parent, *children)]
    return sum(int(re.search(r"VmRSS:\s+(\d+)", text)[1]) for text in texts) / 1024


def send_until_refused(connection, piece, megabytes):
    connection.settimeout(2)
    with contextlib.suppress(OSError):  # it hangs up, or takes no more
        for _ in range(megabytes * 2**20 // len(piece)):
            connection.sendall(piece)


def test_trailers_without_end(server, client):
    before = resident(server)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head("transfer-encoding: chunked") + b"2\r\n{}\r\n0\r\n")
        trailers = b"".join(b"x%d: 1\r\n" % number for number in range(10_000))
        send_until_refused(connection, trailers, 50)
        assert resident(server) - before < 50
    assert client.get("/health").status_code == 200


def test_answers_that_nobody_reads(server, client):
    before = resident(server)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        request = b"GET /page.js HTTP/1.1\r\nhost: localhost\r\n\r\n"
        send_until_refused(connection, request * 1000, 20)
        assert resident(server) - before < 50
        assert client.get("/health").status_code == 200


def test_nothing_was_logged(server):
    """After all of the above."""
    assert server.log.read_text() == ""
