"""Which model for some ratings: paired differences, and sentences that the figures bear out."""

import pytest
from helpers import assert_user_error, own_file, succeeded

from d2l_autorec.models.registry import make_config
from d2l_autorec.report import name_of
from d2l_autorec.runs.tables import Line, Row, conclusion, models_table

NDCG = "test_ndcg@100"
RATINGS = models_table("rating", {"folds": 3}, "x")


def line(label, values, metric="test_rmse"):
    """A line of a table with these figures, one a fold."""
    return Line(Row(label, {}), [{metric: value} for value in values])


MEANS = line("means", (0.95, 0.94, 0.96))


def test_a_winner():
    compared = [MEANS, line("A", (0.90, 0.89, 0.91)), line("B", (0.92, 0.911, 0.93))]
    text = conclusion(RATINGS, compared)
    assert text.startswith(
        "A is best (test RMSE 0.9000); the next, B, is behind by 0.0203 ± 0.0003"
    )


def test_folds_that_do_not_tell():
    """B is behind by three standard errors, of which three folds need 4.3."""
    compared = [MEANS, line("A", (0.90, 0.89, 0.91)), line("B", (0.901, 0.893, 0.914))]
    compared.append(line("C", (0.900001, 0.890001, 0.910001)))
    text = conclusion(RATINGS, compared)
    assert text == "A is best (test RMSE 0.9000), but these folds do not tell it from B, C."


def test_nothing_beats_the_means():
    compared = [MEANS, line("A", (0.97, 0.965, 0.98))]
    text = conclusion(RATINGS, compared)
    assert text.startswith("No model beats means (test RMSE 0.9500) on these data; the next, A,")


def test_a_report_of_an_own_file(in_process, brief, tmp_path):
    """Four models on the same folds; again, nothing is run anew; another content, all is."""
    path = own_file(tmp_path)
    first = succeeded(in_process("report", "--ratings", path.name, "--folds", "3"))
    text = (tmp_path / "runs" / "report-mine" / "report.md").read_text()
    for label in ("user and item means", "matrix factorization", "I-AutoRec", "U-AutoRec"):
        assert f"| {label} |" in text and f"| {label} |" in first.stdout
    assert "standard error" in text and "Which model for mine.csv" in text
    assert "published" not in text
    assert any(words in text for words in ("is best", "No model beats"))
    assert (tmp_path / "runs" / "report-mine" / "models.png").stat().st_size > 5000
    assert len([*tmp_path.glob("runs/report-mine/runs/*/result.json")]) == 12

    again = in_process("report", "--ratings", path.name, "--folds", "3")
    assert again.stdout == first.stdout and again.stderr.count("\n") == 1

    lines = path.read_text().splitlines()
    config = make_config(ratings=str(path))
    before = name_of(config)
    path.write_text("\n".join(lines[:-1]) + "\n")
    assert name_of(config) != before


@pytest.mark.filterwarnings("ignore")
def test_a_single_split_has_no_errors():
    table = models_table("ranking", {"split": "time"}, "x")
    assert table.values == ["time"] and table.options["split"] == "time"
    text = conclusion(table, [line("A", [0.3], "test_ndcg@100"), line("B", [0.4], "test_ndcg@100")])
    assert text == "B is best (test NDCG@100 0.4000); one split does not say how sure that is."


def test_test_users_that_are_not_measured_are_counted():
    lines = [line("A", [0.3, 0.3], "test_ndcg@100"), line("B", [0.4, 0.5], "test_ndcg@100")]
    for result in lines[0].results:
        result |= {"heldout_users": 50, "test_users_without_held_out": 40}
    text = conclusion(models_table("ranking", {"folds": 3}, "x"), lines)
    assert text.endswith("A. 80 of 100 test users have no held-out click and are not measured.")


def test_a_report_of_clicks(in_process, brief, tmp_path):
    own_file(tmp_path)
    words = ("--ratings", "mine.csv", "--task", "ranking", "--min-user-clicks", "1")
    succeeded(in_process("report", *words, "--folds", "3", "--out", "out"))
    text = (tmp_path / "out" / "report.md").read_text()
    for label in ("popularity", "EASE", "Mult-DAE", "Mult-VAE", "RecVAE"):
        assert f"| {label} |" in text
    assert "NDCG@100" in text


def test_a_report_of_tuned_models(in_process, brief, tmp_path):
    own_file(tmp_path)
    words = ("--ratings", "mine.csv", "--folds", "2", "--tune", "--trials", "2")
    succeeded(in_process("report", *words, "--out", "out"))
    # means choose their damping themselves: three models of two folds are searched
    assert len([*(tmp_path / "out" / "searches").glob("*/study.log")]) == 6


REFUSED = {
    "--tune": ["--tune has no effect on the published tables", "--ratings FILE"],
    "--folds 3": ["--folds has no effect on the published tables"],
    "--ratings mine.csv --quick": ["--quick has no effect on your own data: l"],
    "--ratings mine.csv --table paper": ["--table has no effect on your own data"],
    "--ratings mine.csv --trials 3": ["--trials has no effect", "--tune"],
    "--ratings mine.csv --folds 1": ["--folds is 1", "from 2 to 1000"],
    "--ratings mine.csv --threshold 3": ["--threshold is an option of"],
    "--ratings mine.csv --seeds 3": ["--seeds has no effect"],
    "--ratings none.csv": ["none.csv"],
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_a_report_refuses(words, in_process, tmp_path):
    own_file(tmp_path)
    assert_user_error(in_process("report", *words.split()), *REFUSED[words])
    assert not (tmp_path / "runs").exists()
