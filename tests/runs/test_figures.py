"""Figures of runs, tables and searches: their values, and words that are true."""

import numpy as onp
import pandas as pd
import pytest
from helpers import words_in

from d2l_autorec.runs.figures import (
    draw_runs,
    draw_table,
    draw_trials,
    look_of,
    save_curve,
    series_of_run,
)
from d2l_autorec.runs.tables import Line, Row, published_tables
from d2l_autorec.training.history import RMSE, EpochRecord

TABLES = published_tables()
RATING = {"model": "autorec", "based": "item", "dataset": "a$b$", "split": "random"}
MEANS = {"baseline": "user and item means", "baseline_test_rmse": 0.95}


def history_of(test, validation=None, train=None, metric="rmse"):
    """Epochs with these metrics."""
    nothing = [None] * len(test)
    columns = zip(test, validation or nothing, train or nothing)
    return [
        EpochRecord(k + 1, 1.0, rmse, 10, 1.0, {metric: t}, {metric: v} if v else {})
        for k, (t, v, rmse) in enumerate(columns)
    ]


def lines_of(axes):
    """Each line's values, by colour and style."""
    return [list(map(float, line.get_ydata())) for line in axes.get_lines()]


FALLING = [3.0, 1.5, 1.1, 1.0, 0.96, 0.94, 0.92, 0.91, 0.905, 0.9]


def test_lines_last_values_and_the_baseline(drawn, tmp_path):
    history = history_of(FALLING, train=[2 * value for value in FALLING])
    save_curve(history, {**RATING, **MEANS}, tmp_path / "curve.png", "rmse")
    [figure] = drawn
    [axes] = figure.axes
    train, test, baseline = lines_of(axes)
    assert train == [2 * value for value in FALLING] and test == FALLING
    assert baseline == [0.95, 0.95]
    words = words_in(figure)
    assert {"train 1.8000", "test 0.9000", "user and item means 0.9500"} < set(words)
    assert {"autorec (item-based) on a$b$", "epoch", "RMSE (rating units)"} < set(words)


def test_the_first_epochs_do_not_flatten_the_rest(drawn, tmp_path):
    save_curve(history_of(FALLING), {**RATING, **MEANS}, tmp_path / "curve.png", "rmse")
    low, high = drawn[0].axes[0].get_ylim()
    assert low < 0.9 and 1.1 < high < 1.2


def test_the_best_validation_epoch_is_marked(drawn, tmp_path):
    validation = [*FALLING[:-2], 0.95, 0.99]
    result = {**RATING, "best_epoch": 8}
    save_curve(history_of(FALLING, validation), result, tmp_path / "curve.png", "rmse")
    [axes] = drawn[0].axes
    assert {"validation 0.9100", "test 0.9100"} < set(words_in(drawn[0]))
    dots = [line for line in axes.get_lines() if line.get_marker() == "o"]
    assert [list(dot.get_xdata()) for dot in dots] == [[8], [8]]


def test_a_score_is_no_rating(drawn, tmp_path):
    history = history_of([0.2, 0.4, 0.3], [0.3, 0.5, 0.4], metric="ndcg@100")
    result = {"model": "mult-vae", "dataset": "x", "best_epoch": 2}
    save_curve(history, result, tmp_path / "curve.png", "ndcg@100")
    words = words_in(drawn[0])
    assert {"validation 0.5000", "test 0.4000"} < set(words)
    assert "NDCG@100" in words and not [word for word in words if "rating units" in word]


def test_a_closed_form_is_a_level_without_epochs(drawn, tmp_path):
    history = history_of([0.47], [0.48], metric="ndcg@100")
    result = {"model": "ease", "dataset": "x", "best_epoch": 1}
    result |= {"baseline": "popularity", "baseline_test_ndcg@100": 0.26}
    save_curve(history, result, tmp_path / "curve.png", "ndcg@100")
    [axes] = drawn[0].axes
    assert lines_of(axes) == [[0.48, 0.48], [0.47, 0.47], [0.26, 0.26]]
    assert len(axes.get_xticks()) == 0


def test_a_refit_says_where_its_epochs_come_from(drawn, tmp_path):
    result = {**RATING, "best_epoch": 10}
    save_curve(history_of(FALLING), result, tmp_path / "curve.png", "rmse")
    assert [word for word in words_in(drawn[0]) if "refitted on all training ratings" in word]


@pytest.mark.parametrize("count", [1, 2, 12, 28])
def test_the_legend_of_many_lines_fits_and_no_two_lines_look_alike(drawn, tmp_path, count):
    rng = onp.random.default_rng(0)
    lines = [[(epoch, 0.9 + rng.random() / 500) for epoch in range(1, 20)] for _ in range(count)]
    names = [f"a-run-with-a-long-name-{place}" for place in range(count)]
    models = ["ease" if place % 5 == 4 else "mf" for place in range(count)]
    series = [
        series_of_run(names[place], lines[place], look_of(place), {"model": models[place]})
        for place in range(count)
    ]
    draw_runs(series, tmp_path / "c.png", "runs", "test RMSE")
    assert len({(one.color, one.style) for one in series}) == count
    [legend] = drawn[0].legends
    assert len(legend.get_texts()) == count
    height = drawn[0].get_window_extent().height
    assert legend.get_window_extent().height <= height


def test_the_label_of_a_run_is_what_was_kept(drawn, tmp_path):
    points = [(1, 0.99), (2, 0.9), (3, 0.95)]
    result = {"model": "autorec", "best_epoch": 2, "test_rmse": 0.9}
    stopped = series_of_run("stopped", points, look_of(0), result)
    refitted = series_of_run("refitted", points, look_of(1), {**result, "best_epoch": 3})
    assert stopped.kept == (2, 0.9) and refitted.kept is None
    draw_runs([stopped, refitted], tmp_path / "c.png", "runs", "test RMSE")
    words = words_in(drawn[0])
    assert {"stopped 0.9000", "refitted 0.9500"} < set(words)
    assert "a dot marks the epoch that was kept, where it is not the last" in words
    [dot] = [line for line in drawn[0].axes[0].get_lines() if line.get_marker() == "o"]
    assert (list(dot.get_xdata()), list(dot.get_ydata())) == ([2], [0.9])


def runs_of(*values, **more):
    """Results with these RMSEs."""
    return [{"dataset": "ml-1m", "split": "random", "test_rmse": v, **more} for v in values]


def test_published_values_stand_beside_ours(drawn, tmp_path):
    lines = [
        Line(Row("a", {}, "0.8", 0.8), runs_of(0.7, 0.9)),
        Line(Row("b", {}), runs_of(0.6, 0.6)),
    ]
    draw_table(TABLES["paper"], lines, tmp_path / "t.png")
    [axes] = drawn[0].axes
    published = axes.get_lines()[-1]
    assert list(published.get_xdata()) == [0.8] and list(published.get_ydata()) == [0.25]
    [container] = axes.containers
    assert list(container[0].get_xdata()) == pytest.approx([0.8, 0.6])
    assert list(container[0].get_ydata()) == [0, 1]
    low, high = sorted(axes.get_ylim())
    assert low < -0.2 and high > 1.2  # no row at the edge
    words = words_in(drawn[0])
    assert {"here", "published", TABLES["paper"].title, "test RMSE"} < set(words)
    assert "ml-1m, split random: mean ± standard deviation of 2 runs" in words


TRIALS = pd.DataFrame(
    {
        "trial": [1, 2, 3, 4, 5, 6],
        "state": ["complete"] * 5 + ["pruned"],
        "model": ["autorec", "mf", "autorec", "mf", "autorec", "mf"],
        "validation": [0.95, 0.92, 0.94, 7.0, 0.90, 0.99],
    }
)


def test_trials_and_the_best_so_far(drawn, tmp_path):
    draw_trials(TRIALS, RMSE, "ml-100k", tmp_path / "t.png")
    [figure] = drawn
    best, autorec, mf = figure.axes[0].get_lines()
    assert list(best.get_ydata()) == [0.95, 0.92, 0.92, 0.92, 0.90]
    assert list(autorec.get_xdata()) == [1, 3, 5] and list(mf.get_ydata()) == [0.92, 7.0]
    assert autorec.get_marker() != mf.get_marker()
    words = set(words_in(figure))
    assert {"A search on ml-100k", "autorec", "mf", "best so far", "validation RMSE"} < words
    assert "6 trials, 1 of them ended early; 1 beyond the picture" in words
    assert figure.axes[0].get_ylim()[1] < 1.1
