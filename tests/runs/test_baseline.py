"""Beside every result stands that of a model which every other has to beat."""

import numpy as np
import pytest
from helpers import train_into, train_run

from d2l_autorec.data.means import fit_means
from d2l_autorec.evaluation.metrics import rmse
from d2l_autorec.models.registry import make_config
from d2l_autorec.runs.rating import load_and_split

SET = "synthetic:60x80x900"
SMALL = dict(dataset=SET, hidden=(4,), epochs=2, quiet=True, cpus=1)
BASELINES = ("popularity", "ease")
CLICKS = dict(dataset=SET, threshold=3.0, min_user_clicks=1, heldout_users=12, quiet=True)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"based": "user"},
        {"model": "mf"},
        {"kernel": "dense"},
        {"clip": True},
        {"val_ratio": 0.3, "refit": True},
        {"cpus": 2},
    ],
)
def test_user_and_item_means(options, tmp_path):
    given = {**SMALL, **options, "out": str(tmp_path / "run")}
    if options.get("model") == "mf":
        del given["hidden"]
    config = make_config(given)
    result = train_run(config)
    train, test = load_and_split(config)

    predicted = fit_means(train.to_csr("user")).at(test.users, test.items)
    if config.clip:
        predicted = predicted.clip(1, 5)

    assert result["baseline"] == "user and item means"
    assert result["baseline_test_rmse"] == pytest.approx(rmse(test.values, predicted), rel=1e-6)
    by_mean = rmse(test.values, np.full(len(test), train.values.mean()))
    assert result["global_mean_test_rmse"] == pytest.approx(by_mean, rel=1e-6)


@pytest.mark.parametrize("model", ["mean", "bias"])
def test_means_are_not_compared_with_themselves(model, tmp_path):
    assert "baseline" not in train_into(tmp_path / "run", dataset=SET, model=model)
