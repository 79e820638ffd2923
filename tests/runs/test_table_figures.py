"""The figures of the report: what they are made of, and no point over another."""

import dataclasses

import pytest
from helpers import words_in

from d2l_autorec.runs.paper_tables import TABLES, Line, Row
from d2l_autorec.runs.table_figures import draw_table, made_of


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


def test_a_curve_has_its_values_and_the_published_one_around_ours(drawn, tmp_path):
    table = TABLES["hidden"]
    lines = [Line(row, runs_of(0.9 - row.x / 10_000)) for row in table.rows]
    draw_table(table, lines, tmp_path / "t.png")
    [axes] = drawn[0].axes
    published = axes.get_lines()[-1]
    assert (list(published.get_xdata()), list(published.get_ydata())) == ([500], [0.831])
    assert published.get_fillstyle() == "none"
    assert [text.get_text() for text in axes.texts][:2] == ["0.8990", "0.8980"]
    assert "0.831" in [text.get_text() for text in axes.texts]
    assert [word for word in words_in(drawn[0]) if "split random: one run each" in word]


@pytest.mark.parametrize("name", TABLES)
def test_every_published_value_of_a_curve_has_its_place(name):
    """Nothing published is left out of a figure for want of an x."""
    table = TABLES[name]
    if table.x_label:
        assert all(row.x is not None for row in table.rows)


def test_what_a_figure_is_made_of():
    folds = [Line(Row("a", {}), runs_of(1, split="u1") + runs_of(2, split="u2"))]
    assert made_of(folds) == "ml-1m, split u1, u2: mean ± standard deviation of 2 runs"
    clicks = [{"dataset": "ml-1m", "heldout_users": 500}] * 3
    lines = [Line(Row("a", {}), clicks), Line(Row("b", {}), clicks[:1])]
    text = "ml-1m, 500 test users: mean ± standard deviation of 1 or 3 runs"
    assert made_of(lines) == text
    mixed = dataclasses.replace(lines[0].row, label="c")
    assert made_of([Line(mixed, runs_of(1))]) == "ml-1m, split random: one run each"


def test_figures_of_others_are_called_what_they_are(drawn, tmp_path):
    table = TABLES["ranking"]
    result = {"dataset": "ml-100k", "heldout_users": 100, "test_ndcg@100": 0.26}
    lines = [Line(row, [result]) for row in table.rows[:2]]
    draw_table(table, lines, tmp_path / "t.png")
    assert "an independent PyTorch program" in words_in(drawn[0])
    assert "published" not in words_in(drawn[0])
