"""What result.json states is of the model that is served, whatever was measured in training."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import d2l_autorec as d2l
from d2l_autorec.models.registry import make_config
from d2l_autorec.runs.ranking import load_clicks
from d2l_autorec.runs.rating import load_and_split

LENGTH = dict(
    epochs=st.integers(1, 12),
    eval_every=st.sampled_from([2, 3, 1]),
    patience=st.integers(2, 6),
    lr=st.sampled_from([0.3, 0.05, 0.002]),
    seed=st.integers(0, 9),
)
SCHEDULES = {
    "constant": {},
    "step": dict(lr_step=2),
    "cosine": dict(lr_warmup=0.4),
    "plateau": dict(lr_step=1),
}
PHASES = {
    "autorec": ({}, {"refit": True}, {"hidden": (5, 3, 5), "pretrain": True, "refit": True}),
    "mf": ({}, {"refit": True}),
    "mult-vae": ({}, {"search_beta": True, "anneal_steps": 20}),
    "mult-dae": ({}, {"early_stopping": "loss"}),
}
SIZES = {"autorec": {"hidden": (5,)}, "mf": {"factors": 3}}
FIGURES = ("test_rmse", "test_mae", "test_clipped_rmse", "chapter_rmse")
RANKS = ("test_ndcg@100", "test_recall@20", "test_map@5", "test_loss")


@st.composite
def runs(draw, model):
    """Options of a run with validation that lasts a moment."""
    options = {name: draw(values) for name, values in LENGTH.items()}
    schedule = draw(st.sampled_from(sorted(SCHEDULES)))
    options.update(SCHEDULES[schedule], lr_schedule=schedule, model=model)
    options["batch_size"] = 64 if model == "mf" else 8
    options.update(SIZES.get(model, {"hidden": (6, 3)}))
    options.update(draw(st.sampled_from(PHASES[model])))

    if options.get("pretrain"):
        options["pretrain_epochs"] = (2, 1)
    if model in ("autorec", "mf"):
        return {**options, "dataset": "synthetic:30x25x300", "val_ratio": 0.2}
    return {**options, "dataset": "synthetic:50x40x900", "heldout_users": 9, "threshold": 3.0}


@pytest.mark.parametrize("model", PHASES)
@settings(max_examples=5, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_is_stated_is_of_the_served_model(model, data):
    config = make_config({**data.draw(runs(model)), "quiet": True, "cpus": 1})
    served = d2l.train_model(config)

    if model in ("autorec", "mf"):
        figures = FIGURES
        found = served.evaluate(load_and_split(config)[1])
    else:
        figures = RANKS
        found = served.evaluate(load_clicks(config))

    for figure in figures:
        assert found[figure] == pytest.approx(served.metrics[figure], abs=1e-6), figure
