"""The figures of a search: every trial, the best so far, and what was searched on."""

import pandas as pd
import pytest
from helpers import words_in

from d2l_autorec.runs.search_figures import draw_importance, draw_trials
from d2l_autorec.training.history import NDCG, RMSE

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
    assert {"6 trials, 1 of them ended early", "1 lie outside the axes"} < words
    assert figure.axes[0].get_ylim()[1] < 1.1


def test_of_a_score_the_best_is_the_highest(drawn, tmp_path):
    scores = TRIALS.assign(validation=[0.3, 0.4, 0.35, 0.41, 0.39, 0.2])
    draw_trials(scores, NDCG, "clicks", tmp_path / "t.png")
    best = drawn[0].axes[0].get_lines()[0]
    assert list(best.get_ydata()) == [0.3, 0.4, 0.4, 0.41, 0.41]


def test_importance_is_in_order_and_has_its_numbers(drawn, tmp_path):
    draw_importance({"lr": 0.2, "hidden": 0.7, "wd": 0.1}, "ml-100k", tmp_path / "i.png")
    [axes] = drawn[0].axes
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.1, 0.2, 0.7])
    assert [text.get_text() for text in axes.get_yticklabels()] == ["wd", "lr", "hidden"]
    words = set(words_in(drawn[0]))
    assert {"Which options mattered on ml-100k", "0.10", "0.20", "0.70"} < words
