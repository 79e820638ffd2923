"""What curve.png shows: lines, baseline, best epoch, last values, and words that are true."""

import numpy as onp
import pytest
from helpers import assert_labels_apart, words_in

from d2l_autorec.runs.curves import Words, draw_series, save_curve, series_of_run
from d2l_autorec.training.history import NDCG, RMSE, EpochRecord

RATING = {"model": "autorec", "based": "item", "dataset": "a$b$", "split": "random"}
MEANS = {"baseline": "user and item means", "baseline_test_rmse": 0.95}


def history_of(test, validation=None, train=None, metric="rmse"):
    """Epochs with these metrics."""
    count = len(test)
    validation = validation or [None] * count
    train = train or [None] * count
    return [
        EpochRecord(
            epoch=place + 1,
            train_loss=1.0,
            train_rmse=train[place],
            ratings=10,
            seconds=1.0,
            test={metric: test[place]},
            validation={metric: validation[place]} if validation[place] else {},
        )
        for place in range(count)
    ]


def lines_of(axes):
    """Each line's values, by colour and style."""
    return [list(map(float, line.get_ydata())) for line in axes.get_lines()]


FALLING = [3.0, 1.5, 1.1, 1.0, 0.96, 0.94, 0.92, 0.91, 0.905, 0.9]


def test_lines_last_values_and_the_baseline(drawn, tmp_path):
    history = history_of(FALLING, train=[2 * value for value in FALLING])
    save_curve(history, {**RATING, **MEANS}, tmp_path / "curve.png", RMSE)
    [figure] = drawn
    [axes] = figure.axes
    train, test, baseline = lines_of(axes)
    assert train == [2 * value for value in FALLING] and test == FALLING
    assert baseline == [0.95, 0.95]
    words = words_in(figure)
    assert {"train 1.8000", "test 0.9000", "user and item means 0.9500"} < set(words)
    assert {"autorec (item-based) on a$b$", "epoch", "RMSE (rating units)"} < set(words)
    assert_labels_apart(figure)


def test_the_first_epochs_do_not_flatten_the_rest_and_this_is_said(drawn, tmp_path):
    save_curve(history_of(FALLING), {**RATING, **MEANS}, tmp_path / "curve.png", RMSE)
    [axes] = drawn[0].axes
    low, high = axes.get_ylim()
    assert low < 0.9 and 1.1 < high < 1.2
    assert "the first 2 epochs are cut off above (to 3.00)" in words_in(drawn[0])


def test_the_best_validation_epoch_is_marked(drawn, tmp_path):
    validation = [*FALLING[:-2], 0.95, 0.99]
    save_curve(history_of(FALLING, validation), RATING, tmp_path / "curve.png", RMSE)
    [axes] = drawn[0].axes
    assert "best epoch 8: validation RMSE 0.9100, test 0.9100" in words_in(drawn[0])
    upright, points = axes.get_lines()[-2:]
    assert set(upright.get_xdata()) == set(points.get_xdata()) == {8}
    assert_labels_apart(drawn[0])


def test_of_a_score_the_best_is_the_highest(drawn, tmp_path):
    history = history_of([0.2, 0.4, 0.3], [0.3, 0.5, 0.4], metric="ndcg@100")
    result = {"model": "mult-vae", "dataset": "x", "best_epoch": 2}
    save_curve(history, result, tmp_path / "curve.png", NDCG)
    words = words_in(drawn[0])
    assert "best epoch 2: validation NDCG@100 0.5000, test 0.4000" in words
    assert "NDCG@100" in words and not [word for word in words if "rating units" in word]


def test_epochs_without_evaluation_are_left_out(drawn, tmp_path):
    history = history_of([None, 0.95, None, 0.9])
    save_curve(history, RATING, tmp_path / "curve.png", RMSE)
    [line] = drawn[0].axes[0].get_lines()
    assert list(line.get_xdata()) == [2, 4] and list(line.get_ydata()) == [0.95, 0.9]


def test_a_line_of_one_epoch_is_seen(drawn, tmp_path):
    save_curve(history_of([0.9]), RATING, tmp_path / "curve.png", RMSE)
    [axes] = drawn[0].axes
    [line] = axes.get_lines()
    assert line.get_marker() == "o" and list(axes.get_xticks()) == [1]


def test_a_closed_form_is_a_level_without_epochs(drawn, tmp_path):
    history = history_of([0.47], [0.48], metric="ndcg@100")
    result = {"model": "ease", "dataset": "x", "best_epoch": 1}
    result |= {"baseline": "popularity", "baseline_test_ndcg@100": 0.26}
    save_curve(history, result, tmp_path / "curve.png", NDCG)
    [axes] = drawn[0].axes
    assert lines_of(axes) == [[0.48, 0.48], [0.47, 0.47], [0.26, 0.26]]
    assert len(axes.get_xticks()) == 0
    assert not [word for word in words_in(drawn[0]) if "best epoch" in word]
    assert_labels_apart(drawn[0])


@pytest.mark.parametrize("based", ["item", "user"])
def test_a_reconstruction_is_not_called_a_test(drawn, tmp_path, based):
    result = {**RATING, "based": based, "split": "held-out-rows"}
    save_curve(history_of(FALLING), result, tmp_path / "curve.png", RMSE)
    words = words_in(drawn[0])
    assert f"held-out {based}s 0.9000" in words and "reconstruction RMSE (rating units)" in words
    assert not [word for word in words if "test" in word]


def test_a_refit_says_where_its_epochs_come_from(drawn, tmp_path):
    result = {**RATING, "best_epoch": 10}
    save_curve(history_of(FALLING), result, tmp_path / "curve.png", RMSE)
    assert [word for word in words_in(drawn[0]) if "refitted on all training ratings" in word]


@pytest.mark.parametrize("count", [1, 2, 12, 28])
def test_labels_of_many_lines_are_apart_and_no_two_lines_look_alike(drawn, tmp_path, count):
    rng = onp.random.default_rng(0)
    lines = [[(epoch, 0.9 + rng.random() / 500) for epoch in range(1, 20)] for _ in range(count)]
    names = [f"a-run-with-a-long-name-{place}" for place in range(count)]
    models = ["ease" if place % 5 == 4 else "mf" for place in range(count)]
    series = [
        series_of_run(place, names[place], lines[place], {"model": models[place]}, "test_rmse")
        for place in range(count)
    ]
    draw_series(series, Words("runs", [], "test RMSE"), tmp_path / "c.png")
    assert len({(one.color, one.style) for one in series}) == count
    assert_labels_apart(drawn[0])
    assert len(drawn[0].axes[0].texts) == count


def test_the_label_of_a_run_is_what_was_kept(drawn, tmp_path):
    points = [(1, 0.99), (2, 0.9), (3, 0.95)]
    result = {"model": "autorec", "best_epoch": 2, "test_rmse": 0.9}
    stopped = series_of_run(0, "stopped", points, result, "test_rmse")
    refitted = series_of_run(1, "refitted", points, {**result, "best_epoch": 3}, "test_rmse")
    assert stopped.kept == (2, 0.9) and refitted.kept is None
    draw_series([stopped, refitted], Words("runs", [], "test RMSE"), tmp_path / "c.png")
    words = words_in(drawn[0])
    assert {"stopped 0.9000", "refitted 0.9500"} < set(words)
    assert "a dot marks the epoch that was kept, where it is not the last" in words
    [dot] = [line for line in drawn[0].axes[0].get_lines() if line.get_marker() == "o"]
    assert (list(dot.get_xdata()), list(dot.get_ydata())) == ([2], [0.9])
