"""The csv files that notebooks/measured.ipynb shows: of the report's tables, and coherent."""

import json

import numpy as onp
import pandas as pd
import pytest
from helpers import ROOT

from d2l_autorec.models.registry import make_config
from d2l_autorec.runs.tables import published_tables

MEASURED = ROOT / "notebooks" / "measured"
FILES = sorted(MEASURED.glob("*.csv"))
NAMES = {path.stem for path in FILES}
TABLES = {name: table for name, table in published_tables().items() if name in NAMES}


def read(path):
    return pd.read_csv(path, dtype={"model": str}, float_precision="round_trip")


@pytest.mark.parametrize("name", TABLES)
def test_rows_are_those_of_the_report(name):
    """Published values and options are today's: a row that was changed has to be measured anew.

    A row that the table has not was measured by `run` with its options.
    """
    table = TABLES[name]
    lines = {line["model"]: line for line in read(MEASURED / f"{name}.csv").to_dict("records")}
    for line in lines.values():
        assert make_config(json.loads(line["options"])).dataset == line["dataset"]

    known = [row for row in table.rows if row.label in lines]
    assert known
    for row in known:
        line = lines[row.label]
        assert json.loads(line["options"]) == json.loads(
            json.dumps({**table.options, **row.options})
        )
        published = line.get("published_value")
        assert published == row.value or (row.value is None and pd.isna(published))


def column_of_runs(name):
    """What each run of a table's rows found; a rounded copy of an earlier report lacks it."""
    return f"{TABLES[name].metrics[0]}_of_runs"


WITH_RUNS = [name for name in TABLES if column_of_runs(name) in read(MEASURED / f"{name}.csv")]


@pytest.mark.parametrize("name", WITH_RUNS)
def test_means_and_deviations_are_those_of_the_runs(name):
    table = read(MEASURED / f"{name}.csv")
    metric = TABLES[name].metrics[0]
    for line in table.to_dict("records"):
        values = list(map(float, str(line[column_of_runs(name)]).split()))
        assert len(values) == line["runs"]
        assert line[metric] == pytest.approx(onp.mean(values), rel=1e-12)
        if len(values) > 1:
            assert line[f"{metric}_sd"] == pytest.approx(onp.std(values, ddof=1), rel=1e-6)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_other_figure_has_its_command(path):
    if path.stem not in TABLES:
        assert read(path).command.str.match(r"python |pytest |tests/").all()


def test_files_are_small():
    assert sum(path.stat().st_size for path in FILES) < 60_000
