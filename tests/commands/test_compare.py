"""`python -m d2l_autorec.compare`."""

import json

import numpy as np
import pandas as pd
import pytest
from helpers import assert_user_error, finish, train_into, words_in
from scipy import stats

from d2l_autorec.compare import draw, read_run
from d2l_autorec.support.files import read_json
from d2l_autorec.support.texts import seconds_shown

SET = "synthetic:60x80x900"  # of `finish`


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs on the same ratings, and one on others."""
    folder = tmp_path_factory.mktemp("runs")
    finish(folder / "a")
    finish(folder / "b", based="user", epochs=1)
    finish(folder / "other", dataset="synthetic:50x70x700")
    return folder


def test_table(runs, in_process):
    process = in_process("compare", runs / "a", runs / "b")
    assert process.returncode == 0 and process.stderr == "", process.stderr
    head, *lines = process.stdout.split("\n\n")[0].splitlines()
    assert head.split("  ")[0] == "run" and head.endswith("seconds   behind the best")
    for name, line in zip("ab", lines):
        result = read_json(runs / name / "result.json")
        expected = [str(runs / name), "autorec", f"({result['based']}-based)", "synthetic"]
        expected += [str(result["epochs"])]
        expected += [f"{result[metric]:.4f}" for metric in ("test_rmse", "test_mae")]
        expected += [seconds_shown(result["train_seconds"])]
        assert line.split()[:8] == expected


def test_runs_are_paired_over_users(runs, in_process):
    """By scipy's test of the files of users, which say what result.json says."""
    users = [pd.read_csv(runs / name / "users.csv") for name in "ab"]
    for name, frame in zip("ab", users):
        result = read_json(runs / name / "result.json")
        assert frame.rmse.mean() == pytest.approx(result["test_user_mean_rmse"])
        squares = (frame.rmse**2 * frame.ratings).sum() / frame.ratings.sum()
        assert np.sqrt(squares) == pytest.approx(result["test_rmse"])
    assert users[0].user.tolist() == users[1].user.tolist()

    behind, best = sorted((frame.rmse for frame in users), key=np.mean, reverse=True)
    paths = [str(runs / name) for name in "ab"]
    [found] = filter(None, (row["behind"] for row in rows_of(in_process, *paths)))
    assert found["mean"] == pytest.approx((behind - best).mean())
    assert found["error"] == pytest.approx(stats.sem(behind - best))
    assert found["is_sure"] == (stats.ttest_rel(behind, best).pvalue < 0.05)
    text = in_process("compare", *paths).stdout
    sign = "" if found["is_sure"] else "~ "
    assert f"{sign}{found['mean']:+.4f} ± {found['error']:.4f}\n" in text
    assert "behind the best: mean difference of the users' RMSE ± its standard error" in text


def rows_of(in_process, *paths):
    return json.loads(in_process("compare", *paths, "--json").stdout)


def test_rankings_are_paired_too(in_process, tmp_path):
    for name, model in (("a", "popularity"), ("b", "item-knn")):
        options = dict(dataset="synthetic:300x60x6000", threshold=4.0, quiet=True)
        train_into(tmp_path / name, model=model, **options)
    rows = rows_of(in_process, "a", "b")
    values = [row["test_ndcg@100"] for row in rows]
    worse = min((0, 1), key=values.__getitem__)
    assert rows[1 - worse]["behind"] is None
    assert rows[worse]["behind"]["mean"] == pytest.approx(min(values) - max(values))


def test_json_and_figure(runs, in_process, tmp_path):
    figure = tmp_path / "c.png"
    paths = str(runs / "a"), str(runs / "b")
    process = in_process("compare", *paths, "--json", "--figure", figure)
    first, second = json.loads(process.stdout)
    names = "run model dataset epochs test_rmse test_mae train_seconds behind"
    assert list(first) == names.split()
    assert (first["epochs"], second["epochs"]) == (3, 1)
    assert process.stderr == f"figure: {figure}\n"
    assert figure.read_bytes().startswith(b"\x89PNG") and list(tmp_path.iterdir()) == [figure]


def test_figure_shows_each_run_by_its_folders_name(runs, drawn, tmp_path):
    finished = [read_run(runs / name) for name in ("a", "b")]
    assert [epoch for epoch, _ in finished[0].curve] == [1, 2, 3]
    assert finished[0].curve[-1][1] == finished[0].result["test_rmse"]
    draw(finished, tmp_path / "c.svg")
    assert "<svg" in (tmp_path / "c.svg").read_text()
    [figure] = drawn
    first, second = figure.axes[0].get_lines()
    assert list(zip(first.get_xdata(), first.get_ydata())) == finished[0].curve
    assert list(zip(second.get_xdata(), second.get_ydata())) == finished[1].curve
    assert second.get_marker() == "o"  # of one epoch
    ends = {f"{name} {run.curve[-1][1]:.4f}" for name, run in zip("ab", finished)}
    assert ends | {"2 runs on synthetic", "test RMSE (rating units)"} < set(words_in(figure))


def test_a_closed_form_is_a_level_in_the_figure(runs, drawn, tmp_path):
    train_into(tmp_path / "bias", dataset=SET, model="bias", quiet=True)
    finished = [read_run(runs / "a"), read_run(tmp_path / "bias")]
    draw(finished, tmp_path / "c.png")
    _, level = drawn[-1].axes[0].get_lines()
    assert set(level.get_ydata()) == {finished[1].result["test_rmse"]}
    assert list(level.get_xdata()) == [0, 1]  # shares of the axes: all epochs
    value = finished[1].result["test_rmse"]
    assert f"{tmp_path.name}/bias {value:.4f}" in words_in(drawn[-1])  # lies in another folder


def test_different_data_is_said(runs, in_process):
    process = in_process("compare", *(str(runs / name) for name in ("a", "other", "b")))
    assert process.returncode == 0 and len(process.stdout.splitlines()) == 4
    assert (
        "warning: the runs had 2 different pairs of training and test ratings, so their errors "
        f"are not comparable: {runs / 'a'}, {runs / 'b'}; {runs / 'other'}\n" == process.stderr
    )


def test_user_errors(runs, in_process, tmp_path):
    good = str(runs / "a")
    for arguments, message in (
        ([], "the following arguments are required: RUN_DIR"),
        ([good, str(tmp_path)], f"{tmp_path} is not a run folder: it has no config.json"),
        ([good, "--figure", "c.xyz"], "--figure c.xyz: name a file that ends in .png, .svg or"),
        ([good, "--figure", "no/c.png"], "cannot be written (No such file or directory)"),
    ):
        assert_user_error(in_process("compare", *arguments), message)
