"""The report: runs are shared, resumed and not repeated; figures and remarks are right."""

import argparse
import dataclasses
import json
import signal

import numpy as onp
import pandas as pd
import pytest
from helpers import assert_user_error, outcome, succeeded

from d2l_autorec.models.registry import make_config
from d2l_autorec.report import configs_of, name_of
from d2l_autorec.runs import runner
from d2l_autorec.runs.tables import METRICS, Line, Row, published_tables, rows_of, section
from d2l_autorec.support.errors import Interrupted
from d2l_autorec.support.texts import csv_text

TABLES = published_tables()
QUICK = ("--quick", "--table", "chapter", "--out", "out")


def test_quick_report_and_again(in_process, tmp_path):
    """Every row is there; no run is repeated, and one without its result goes on as it began."""
    first = succeeded(in_process("report", *QUICK))
    text = (tmp_path / "out" / "report.md").read_text()
    assert "No figure here is a result" in text
    for row in TABLES["chapter"].rows:
        assert f"| {row.label} |" in text and f"| {row.label} |" in first.stdout
    assert (tmp_path / "out" / "chapter.png").stat().st_size > 5000
    written = pd.read_csv(tmp_path / "out" / "chapter.csv")
    assert list(written.model) == [row.label for row in TABLES["chapter"].rows]
    assert set(written.dataset) == {"synthetic"}
    results = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/runs/*/result.json")}
    assert len(results) == 7
    again = in_process("report", *QUICK)
    assert again.stdout == first.stdout and again.stderr == "report: out/report.md\n"
    assert results == {path: path.stat().st_mtime_ns for path in results}

    folder = next(tmp_path.glob("out/runs/autorec-*"))
    whole, options = outcome(folder), (folder / "config.json").read_bytes()
    (folder / "result.json").unlink()
    process = in_process("report", *QUICK)
    assert process.returncode == 0 and folder.name in process.stderr
    assert outcome(folder) == whole and (folder / "config.json").read_bytes() == options


def test_ctrl_c_names_the_report(in_process, tmp_path, monkeypatch):
    """Not the one of its runs that was under way."""

    def stopped(*_, **__):
        raise Interrupted(signal.SIGTERM, "go on with `train_model(resume=out/runs/one)`")

    monkeypatch.setattr(runner, "run_training", stopped)
    process = in_process("report", "--quick", "--table", "chapter", "--out", "my out")
    assert process.returncode == 143
    assert process.stderr.endswith(
        "stopped: SIGTERM; go on with python -m d2l_autorec.report --quick --table chapter "
        "--out 'my out'\n"
    )


def options_of(**given):
    return argparse.Namespace(
        **{"data_dir": None, "threads": None, "seeds": None, "quick": False, **given}
    )


def test_seeds_and_folds():
    chapter, folds = TABLES["chapter"], TABLES["folds"]
    assert [c.seed for c in configs_of(chapter, chapter.rows[0], options_of())] == [0, 1, 2, 3, 4]
    assert [c.seed for c in configs_of(chapter, chapter.rows[0], options_of(seeds=2))] == [0, 1]
    splits = [c.split for c in configs_of(folds, folds.rows[0], options_of(seeds=2))]
    assert splits == ["u1", "u2", "u3", "u4", "u5"]


def test_runs_are_told_apart_and_shared():
    paper = {"preset": "paper", "dataset": "ml-1m"}
    assert name_of(make_config(paper)) == name_of(make_config({**paper, "quiet": True}))
    assert name_of(make_config(paper)) != name_of(make_config({**paper, "hidden": (499,)}))
    depth, paper_table = (TABLES[name] for name in ("depth", "paper"))
    shallow = configs_of(depth, depth.rows[0], options_of())[0]
    assert name_of(shallow) in {
        name_of(config)
        for row in paper_table.rows
        for config in configs_of(paper_table, row, options_of())
    }


@pytest.mark.parametrize("name", TABLES)
def test_every_row_is_a_configuration(name):
    table = TABLES[name]
    for row in table.rows:
        for config in configs_of(table, row, options_of()):
            assert config.dataset == table.options["dataset"]


def test_means_and_deviations_by_hand():
    row = Row("a model", {})
    line = Line(row, [{"test_rmse": v, "test_mae": 1.0} for v in (0.4, 0.5, 0.9)])
    table = TABLES["chapter"]
    assert line.shown("test_rmse") == "0.6000 ± 0.2646"  # sqrt((.04 + .01 + .09) / 2)
    assert "| 0.6000 ± 0.2646 |" in section(table, [line])
    single = Line(row, [{"test_rmse": 0.5, "test_mae": 1.0}])
    assert single.shown("test_rmse") == "0.5000"


def test_csv_has_every_digit_of_the_table(tmp_path):
    """Read back, it is what the runs had; means and deviations against NumPy's."""
    values = [0.1 + 0.2, 2 / 3, 0.9]
    results = [{"dataset": "x", "test_rmse": v, "test_mae": v / 2} for v in values]
    row = Row("a, b", {"hidden": (5,)}, "0.898 (the book)", 0.898)
    table = dataclasses.replace(TABLES["chapter"], options={"preset": "best"})
    lines = [Line(row, results), Line(Row("mean", {"model": "mean"}), results[:1])]
    (tmp_path / "t.csv").write_text(csv_text(rows_of(table, lines)))
    written = pd.read_csv(tmp_path / "t.csv", float_precision="round_trip")
    first, second = written.to_dict("records")
    assert first["model"] == "a, b" and first["runs"] == 3
    assert json.loads(first["options"]) == {"preset": "best", "hidden": [5]}
    assert list(map(float, first["test_rmse_of_runs"].split())) == values
    assert first["test_rmse"] == pytest.approx(onp.mean(values), abs=1e-15)
    assert first["test_mae_sd"] == pytest.approx(onp.std(values, ddof=1) / 2, abs=1e-15)
    assert (first["published"], first["published_value"]) == ("0.898 (the book)", 0.898)
    missing = {*written.columns[written.iloc[1].isna()]}
    assert missing == {"test_rmse_sd", "test_mae_sd", "published", "published_value"}


def test_standard_errors_of_rankings_by_hand():
    names = METRICS["ranking"]
    errors = {f"{name}_se": 0.02 for name in names}
    results = [{"dataset": "x", **dict.fromkeys(names, v), **errors} for v in (0.4, 0.5)]
    line = Line(Row("a model", {}), results)
    assert line.shown("test_ndcg@100") == "0.4500 ± 0.0707 (0.0200)"
    assert "| a model | 0.4500 ± 0.0707 (0.0200) |" in section(TABLES["ranking"], [line])
    [written] = rows_of(TABLES["ranking"], [line])
    assert written["test_ndcg@100_se"] == 0.02


def test_quick_report_of_rankings(in_process, tmp_path):
    succeeded(in_process("report", "--quick", "--table", "ranking-1m", "--out", "out"))
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| Recall@50 | Coverage@10 | Novelty@10 | Diversity@10 | Gini@10 | runs |" in text
    for row in TABLES["ranking-1m"].rows:
        assert f"| {row.label} |" in text
    assert (tmp_path / "out" / "ranking-1m.png").stat().st_size > 5000


def test_errors(in_process):
    assert_user_error(in_process("report", "--table", "odd"), "'odd' is none of chapter, folds")
    assert_user_error(
        in_process("report", "--seeds", "0"),
        "--seeds: it is '0': it must be a whole number, from 1 to 1000",
    )


def test_advice_that_a_report_can_follow(in_process, tmp_path):
    (tmp_path / "clicks.csv").write_text("u,i\nu,j\nv,i\n")
    (tmp_path / "few.csv").write_text("".join(f"u,i{k},{1 + k}\n" for k in range(4)))
    assert_user_error(
        in_process("report", "--ratings", "clicks.csv"),
        "; --model ease (for report: --task ranking), which ranks clicks, needs no rating",
    )
    process = in_process("report", "--ratings", "few.csv", "--folds", "2")
    assert "raise it, add ratings, or let run train without validation, by --val-ratio 0" in (
        process.stderr
    )
