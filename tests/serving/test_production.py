"""What serving/production.py advises, run: from a csv file to a server behind nginx, by week."""

import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
from helpers import ROOT, Server, wait_until

from d2l_autorec.serving import production

NAME = "recommend.example"
CLIENTS = 6


def recipe(text):
    """The example of the page that has this text."""
    blocks = re.split(r"::\n", production.__doc__)[1:]
    (found,) = [block for block in blocks if text in block]
    lines = re.match(r"(?:    .*\n|\n)+", found)[0].splitlines()
    return "\n".join(line.removeprefix("    ") for line in lines) + "\n"


def changed(text, **others):
    """An example with other addresses and paths, each of which it has."""
    for old, new in others.items():
        assert old in text, old
        text = text.replace(old, str(new))
    return text


def write_week(path, users):
    """Ratings with text ids and times of so many users."""
    rng = np.random.default_rng(users)
    lines = ["user,item,rating,timestamp"]
    for user in range(users):
        for item in rng.choice(60, 15, replace=False):
            stars = 1 + (user % 3 + item) % 3 * 2
            lines.append(f"u-{user},Film {item},{stars},{1_700_000_000 + rng.integers(10**6)}")
    path.write_text("\n".join(lines) + "\n")


def train_week(folder, users):
    write_week(folder / "week.csv", users)
    script = changed(
        recipe("#!/bin/sh"), **{"/srv/d2l_autorec": folder, "--quiet": "--quiet --epochs 2"}
    )
    environment = {
        **os.environ,
        "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    subprocess.run(["sh", "-c", script, "weekly", "week.csv"], check=True, env=environment)


@contextmanager
def nginx(folder, port, upstream):
    """The proxy of the page, with a certificate for NAME, at another port."""
    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 "
        f"-subj /CN={NAME} -addext subjectAltName=DNS:{NAME} 2>/dev/null && "
        "echo shop:$(openssl passwd -apr1 secret) > users",
        shell=True,
        check=True,
        cwd=folder,
    )
    site = changed(
        recipe("limit_req_zone"),
        **{
            "127.0.0.1:8000": f"127.0.0.1:{upstream}",
            "listen 443": f"listen 127.0.0.1:{port}",
            "/etc/ssl/recommend.pem": folder / "cert.pem",
            "/etc/ssl/recommend.key": folder / "key.pem",
            "/etc/nginx/d2l_autorec.users": folder / "users",
            "50r/s": "5000r/s",
        },
    )
    user = "user root;\n" if os.getuid() == 0 else ""
    main = f"{user}daemon off;\npid {folder}/pid;\nerror_log {folder}/nginx.log;\nevents {{}}\n"
    (folder / "nginx.conf").write_text(f"{main}http {{\naccess_log off;\n{site}\n}}\n")
    process = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf")])
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0


def client_of(folder, port):
    """A client of the proxy, whose connections are kept open."""
    return httpx.Client(
        base_url=f"https://127.0.0.1:{port}",
        verify=ssl.create_default_context(cafile=str(folder / "cert.pem")),
        headers={"host": NAME},
        auth=("shop", "secret"),
        timeout=60,
        event_hooks={"request": [lambda asked: asked.extensions.update(sni_hostname=NAME)]},
    )


def ask_until(stopped, client, outcomes):
    while not stopped.is_set():
        for method, path, body in (
            ("GET", "/recommend?user=u-3&n=5", None),
            ("POST", "/recommend", {"ratings": {"Film 3": 5, "Film 7": 1}, "n": 5}),
            ("POST", "/recommend/batch", {"users": ["u-1", "u-39", "u-59"], "n": 5}),
        ):
            try:
                answer = client.request(method, path, json=body)
                status = answer.status_code if answer.json() else "empty"
            except (httpx.HTTPError, ValueError) as error:
                status = repr(error)
            outcomes[status] += 1


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")
def test_next_week_is_taken_up_behind_nginx_and_no_request_is_lost(tmp_path):
    for name in ("new", "runs"):
        (tmp_path / name).mkdir()
    train_week(tmp_path, users=40)

    outcomes, stopped = Counter(), threading.Event()
    with Server(tmp_path / "runs", "--workers", "2") as server:
        port = server.port + 1 if server.port < 65535 else server.port - 1
        with nginx(tmp_path, port, server.port):
            client = client_of(tmp_path, port)
            wait_until(lambda: answers(client))
            assert client.get("/model", auth=None).status_code == 401
            assert client.get("/metrics").status_code == 404

            threads = [
                threading.Thread(target=ask_until, args=(stopped, each, outcomes))
                for each in (client_of(tmp_path, port) for _ in range(CLIENTS))
            ]
            for thread in threads:
                thread.start()
            assert users_of(client) == {40}
            train_week(tmp_path, users=60)
            wait_until(lambda: users_of(client) == {60})
            before = sum(outcomes.values())
            time.sleep(3)  # the old model is gone
            stopped.set()
            for thread in threads:
                thread.join()

            assert users_of(client) == {60}
            assert set(outcomes) == {200} and sum(outcomes.values()) > before > 100
    assert "is served from now on\n" in server.log.read_text()
    print(f"{outcomes[200]} requests, none lost")


def answers(client):
    try:
        return client.get("/health").status_code == 200
    except httpx.ConnectError:
        return False


def users_of(client):
    return {client.get("/model").json()["users"] for _ in range(10)}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_the_unit_is_one_of_systemd(tmp_path):
    unit = recipe("[Service]").replace("/srv/d2l_autorec/venv/bin/python", sys.executable)
    (tmp_path / "d2l_autorec.service").write_text(unit)
    found = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", tmp_path / "d2l_autorec.service"],
        capture_output=True,
        text=True,
    )
    assert (found.returncode, found.stderr) == (0, "")
