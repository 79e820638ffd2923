"""`python -m d2l_autorec.serve`: how it starts, what it refuses, and how it ends."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
from helpers import (
    ROOT,
    WITHOUT_MXNET,
    Server,
    assert_user_error,
    finish,
    items_in,
    remaining,
    started,
    wait_until,
)

from d2l_autorec.serving import app  # noqa: F401  # before `serve` tells it where workers measure
from d2l_autorec.serving.server import reserve, url_of
from d2l_autorec.serving.tables import NotExportedError, load_served
from d2l_autorec.support.errors import DataWarning
from d2l_autorec.trained_model import load_run

BODY = json.dumps({"ratings": {"1": 5, "2": 3}, "n": 5}).encode()
HEADERS = {"content-type": "application/json"}
NOHUP = ("-c", f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{WITHOUT_MXNET}")
# a model that keeps 200 MB more, which the first process has made
LARGE = f"""
import numpy as np
from d2l_autorec.serving import app
usual = app.Answers.__init__

def large(answers, *arguments):
    usual(answers, *arguments)
    answers.more = np.ones(25_000_000)

app.Answers.__init__ = large
{WITHOUT_MXNET}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An item-based run, exported."""
    model = finish(tmp_path_factory.mktemp("serve") / "run")
    model.export(model.path / "export")
    return model.path


@pytest.fixture(scope="module")
def user_run(tmp_path_factory):
    """A user-based run, not exported."""
    return finish(tmp_path_factory.mktemp("serve") / "run", based="user").path


def recommend(server):
    answer = server.client.post("/recommend", content=BODY, headers=HEADERS)
    assert answer.status_code == 200, answer.text
    return items_in(answer.json()["recommendations"])


def by_library(run):
    return items_in(load_run(run).recommend_new_user({1: 5, 2: 3}, 5))


@pytest.mark.smoke
@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_begins_and_ends_in_a_line_each(run, number, code):
    with Server(run, "--workers", "2") as server:
        assert recommend(server) == by_library(run)
        assert server.stop(number) == code

    name = signal.Signals(number).name
    assert server.log.read_text() == f"d2l_autorec.serve: stopped: {name}\n"


def test_nohup_protects_it_and_a_killed_worker_is_replaced(run):
    with Server(run, program=NOHUP) as server:
        expected = recommend(server)
        (worker,) = children(server.process.pid)
        server.process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert recommend(server) == expected
        assert children(server.process.pid) == [worker]

        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: children(server.process.pid) not in ([], [worker]))
        wait_until(lambda: not refuses(server.port))  # until the new worker listens
        assert recommend(server) == expected


def test_other_machines_are_told_of():
    told = "^whoever reaches 0.0.0.0 is answered, unencrypted and without a password$"
    with pytest.warns(DataWarning, match=told), reserve("0.0.0.0", 0) as reserved:
        assert url_of(reserved).startswith("http://0.0.0.0:")


def test_workers_share_the_model(run, tmp_path):
    """200 MB of tables are there once, however many workers answer by them."""
    copy = shutil.copytree(run, tmp_path / "run")
    with Server(copy, "--workers", "3", program=("-c", LARGE)) as server:
        for _ in range(30):
            recommend(server)
        workers = children(server.process.pid)
        assert len(workers) == 3
        for worker in workers:
            assert kib(worker, "Rss") > 200_000
            assert kib(worker, r"Private_\w+") < 60_000


def test_ctrl_c_reaches_every_process(run, tmp_path):
    """A terminal sends it to the workers, too."""
    own = dict(start_new_session=True, env={**os.environ, "D2L_AUTOREC_TEST": str(tmp_path)})
    process = started(tmp_path, "serve", str(run), "--port", "0", "--workers", "2", **own)
    httpx.get(f"{process.stdout.readline().split()[0]}/health")
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "d2l_autorec.serve: stopped: SIGINT\n"
    assert remaining(tmp_path, 5) == []


def test_without_an_export_another_process_makes_one(user_run):
    """MXNet is loaded there, and this one goes on without it."""
    with Server(user_run) as server:
        assert recommend(server) == by_library(user_run)

    assert len(server.log.read_text().splitlines()) == 1
    assert not (user_run / "export").exists()


def test_an_old_export_is_not_served(run, tmp_path):
    other = finish(tmp_path / "other", seed=5).path
    with pytest.raises(NotExportedError, match="is no export of the run as it is now"):
        load_served(other, run / "export")


@pytest.mark.parametrize("name", ["tables.npz", "metadata.json"])
def test_a_damaged_export_is_not_served(run, tmp_path, name):
    copy = shutil.copytree(run, tmp_path / "run")
    path = copy / "export" / name
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(NotExportedError, match=f"{copy / 'export'}"):
        load_served(copy)

    path.unlink()
    with pytest.raises(NotExportedError):
        load_served(copy)


def test_an_address_that_is_taken(run, in_process):
    with reserve("127.0.0.1", 0) as taken:
        taken.listen()
        port = str(taken.getsockname()[1])
        process = in_process("serve", run, "--port", port)
    assert_user_error(process, f"127.0.0.1, port {port}, cannot be listened on (Address already in")


@pytest.mark.parametrize(
    "words, fragment",
    [
        ("--port 65536", "--port: it is '65536': it must be a whole number, from 0 to 65535"),
        ("--workers 0", "--workers: it is '0': it must be a whole number, from 1 to 64"),
        ("--host no.such.host.invalid", "no.such.host.invalid, port 8000, cannot be"),
        ("--host 192.0.2.1", "192.0.2.1, port 8000, cannot be listened on"),
        ("--allowed-host https://a.org", "'https://a.org': it must be a name, as rec."),
    ],
)
def test_options(run, in_process, words, fragment):
    assert_user_error(in_process("serve", run, *words.split()), fragment)


def test_without_the_extra_one_line_says_so(run, in_process, monkeypatch):
    monkeypatch.delitem(sys.modules, "d2l_autorec.serving.app")
    monkeypatch.setitem(sys.modules, "fastapi", None)
    process = in_process("serve", run)
    assert_user_error(process, "serving needs fastapi: pip install 'd2l_autorec[serve]'")


def test_without_export_and_mxnet_one_line_says_so(user_run, in_process, tmp_path, monkeypatch):
    """The other process does not find it."""
    hide = WITHOUT_MXNET.partition("runpy.run_module")[0]
    (tmp_path / "sitecustomize.py").write_text(hide)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    process = in_process("serve", user_run, "--port", "0")
    assert process.returncode == 2
    assert "cannot be exported: d2l_autorec needs MXNet" in process.stderr.splitlines()[-1]


def test_requests_in_hand_are_answered(run):
    """Their bodies come only after the signal, and no other connection is taken then."""
    with Server(run, "--workers", "2") as server, contextlib.ExitStack() as closing:
        connections = [
            http.client.HTTPConnection("127.0.0.1", server.port, timeout=30) for _ in range(50)
        ]
        for connection in connections:
            closing.callback(connection.close)
            connection.putrequest("POST", "/recommend")
            for name, value in {**HEADERS, "content-length": str(len(BODY))}.items():
                connection.putheader(name, value)
            connection.endheaders(BODY[:5])

        time.sleep(1)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: refuses(server.port))

        for connection in connections:
            connection.send(BODY[5:])
            answer = connection.getresponse()
            assert answer.status == 200
            assert len(json.loads(answer.read())["recommendations"]) == 5
        assert server.process.wait(timeout=60) == 143


def test_stop_under_load(run):
    """Clients that keep their connections are told to close them, and no request is lost."""
    outcomes: Counter = Counter()
    with Server(run, "--workers", "2") as server:
        clients = [
            threading.Thread(target=ask_until_closed, args=(server.port, outcomes))
            for _ in range(8)
        ]
        for client in clients:
            client.start()
        time.sleep(1)
        server.process.send_signal(signal.SIGTERM)
        for client in clients:
            client.join(timeout=60)
        assert server.process.wait(timeout=60) == 143

    assert outcomes["answered"] > 8 and outcomes["told to close"] == 8
    assert outcomes["lost"] == 0


def ask_until_closed(port, outcomes):
    """Ask again and again by one connection, until an answer says that it closes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while True:
        try:
            connection.request("POST", "/recommend", BODY, HEADERS)
            answer = connection.getresponse()
            content = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            outcomes["lost"] += 1
            return

        assert answer.status == 200 and len(content["recommendations"]) == 5
        outcomes["answered"] += 1
        if answer.will_close:
            outcomes["told to close"] += 1
            connection.close()
            return


@pytest.mark.parametrize("starting", [False, True])
def test_workers_end_with_their_parent(run, starting):
    with Server(run, "--workers", "2") as server:
        if not starting:
            recommend(server)
        wait_until(lambda: len(children(server.process.pid)) == 2)
        workers = children(server.process.pid)
        server.process.kill()
        server.process.wait()
        wait_until(lambda: not any(map(is_alive, workers)))


def refuses(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


def children(parent):
    with open(f"/proc/{parent}/task/{parent}/children") as file:
        return [int(word) for word in file.read().split()]


def kib(pid, name):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(map(int, re.findall(rf"^{name}:\s+(\d+) kB", file.read(), re.MULTILINE)))


def is_alive(pid):
    """Whether the process runs: one that nobody has waited for yet is a zombie, "Z"."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
