"""A newer run is taken up by every worker, and a broken one is not; all of it is measured."""

import os
import re
import shutil

import pytest
from helpers import Server, finish, items_in, wait_until
from prometheus_client.parser import text_string_to_metric_families

from d2l_autorec.serving.filters import Selection
from d2l_autorec.serving.tables import load_served


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two exported runs of other data, user-based: their network is ONNX."""
    folder = tmp_path_factory.mktemp("runs")
    for name, dataset in (("first", "synthetic:60x80x900"), ("second", "synthetic:61x80x900")):
        model = finish(folder / name, based="user", dataset=dataset)
        model.export(model.path / "export")
    return folder


def users_of(server):
    """How many users each of the workers has."""
    return {server.client.get("/model").json()["users"] for _ in range(20)}


def measured(server, name):
    """Values of a metric by method, path and status."""
    families = text_string_to_metric_families(server.client.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return {tuple(sample.labels.values()): sample.value for sample in samples}


def trained(server):
    (found,) = measured(server, "d2l_autorec_model_trained_timestamp_seconds").values()
    return found


def test_workers_take_up_what_a_link_leads_to(runs, tmp_path):
    link = tmp_path / "current"
    link.symlink_to(runs / "first")
    with Server(link, "--workers", "2") as server:
        assert users_of(server) == {60}
        finished = (runs / "first" / "result.json").stat().st_mtime
        assert trained(server) == pytest.approx(finished)

        (tmp_path / "new").symlink_to(runs / "second")
        (tmp_path / "new").replace(link)
        wait_until(lambda: users_of(server) == {61})
        finished = (runs / "second" / "result.json").stat().st_mtime
        assert trained(server) == pytest.approx(finished)

        answer = server.client.get("/recommend?user=3&n=5").json()["recommendations"]
        best = load_served(runs / "second")[0].recommend(3, Selection(5))
        assert items_in(answer) == items_in(best)
        assert server.stop() == 143
    first, second = server.log.read_text().splitlines()
    assert first == f"{runs / 'second'} is served from now on"
    assert second == "d2l_autorec.serve: stopped: SIGTERM"


def test_of_a_folder_of_runs_the_latest_is_served_and_a_broken_one_is_not(runs, tmp_path):
    shutil.copytree(runs / "first", tmp_path / "1")
    with Server(tmp_path) as server:
        shutil.copytree(runs / "second", tmp_path / "2", ignore=shutil.ignore_patterns("*.params"))
        os.utime(tmp_path / "2" / "result.json")
        wait_until(server.log.read_text)
        assert users_of(server) == {60}
        assert re.fullmatch(
            r"not taken up, the model before it answers on: \S+/2/model.params is missing or "
            r"damaged .*\n",
            server.log.read_text(),
        )

        shutil.copy(runs / "second" / "model.params", tmp_path / "2")
        wait_until(lambda: users_of(server) == {61})


def test_metrics_are_of_all_workers_together_and_an_access_log_has_each_request(runs):
    with Server(runs / "first", "--workers", "2", "--access-log") as server:
        for _ in range(30):
            server.client.get("/recommend?user=3")
        line = server.process.stdout.readline()
        server.client.get("/items/5/similar")
        server.client.post("/recommend", json={"ratings": {}})
        server.client.get("/whatever")
        server.client.request("ODD", "/recommend")
        server.client.get("/health", headers={"host": "evil.example"})
        assert measured(server, "http_request_duration_seconds_count") == {
            ("GET", "/recommend", "200"): 30,
            ("GET", "/items/{item:path}/similar", "200"): 1,
            ("POST", "/recommend", "422"): 1,
            ("GET", "other", "404"): 1,
            ("GET", "other", "421"): 1,
            ("other", "/recommend", "405"): 1,
        }
    logged = r'\[\S+ \S+ \S+\] 127.0.0.1 - "GET /recommend HTTP/1.1" 200 \d+\.\d+\n'
    assert re.fullmatch(logged, line)
