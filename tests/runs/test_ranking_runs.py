"""The commands with models that rank clicks: runs, resumes, options, use, export, comparison."""

import json
import shlex
import warnings
from dataclasses import replace

import numpy as onp
import pandas as pd
import pytest
from helpers import (
    assert_user_error,
    epochs_of,
    history_of,
    items_in,
    outcome,
    parameters,
    succeeded,
    train_into,
)
from mxnet import np

from d2l_autorec.models.catalog.mult_vae import MultDAEConfig, MultVAEConfig
from d2l_autorec.runs import experiment
from d2l_autorec.runs.figures import save_curve
from d2l_autorec.runs.folder import RunFolder
from d2l_autorec.support.files import read_json
from d2l_autorec.trained_model import load_run
from d2l_autorec.training import history as histories

MODELS, BASELINES = ["mult-vae", "mult-dae"], ["popularity", "ease"]
SMALL = dict(dataset="synthetic:200x80x5000", heldout_users=30, quiet=True, cpus=1)
NETWORK = dict(hidden=(12, 6), batch_size=40, lr=0.02, epochs=6)
ARGUMENTS = ("--dataset", "synthetic:200x80x5000", "--heldout-users", "30", "--quiet")
QUICK = (*ARGUMENTS, "--hidden", "12,6", "--batch-size", "40", "--epochs", "2")
SUFFIXES = ("ndcg@100", "recall@20", "recall@50", "loss")
pytestmark = pytest.mark.filterwarnings("ignore::d2l_autorec.support.errors.DataWarning")


def finish(out, model, **options):
    """Train a small run into `out`; what result.json holds."""
    given = {**SMALL, **(NETWORK if model in MODELS else {}), **options}
    return train_into(out, model=model, **given)


def column(folder, name, phase=None):
    return [float(row[name]) for row in epochs_of(folder, phase) if row[name]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run of each model."""
    folder = tmp_path_factory.mktemp("ranking")
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setattr(experiment, "save_curve", save_curve)  # it is looked for
        for model in (*MODELS, *BASELINES):
            finish(folder / model, model)
    return folder


@pytest.mark.parametrize("model", [*MODELS, *BASELINES])
def test_run_folder(runs, model):
    folder, trained = runs / model, model in MODELS
    files = "clicks.npz config.json curve.png metrics.csv result.json users.csv".split()
    files += ["model.params"] * trained
    assert {path.name for path in folder.glob("[!.]*")} == {*files}
    rows, result = epochs_of(folder), read_json(folder / "result.json")
    suffixes = SUFFIXES if trained else SUFFIXES[:3]
    beta = ["beta"] if model == "mult-vae" else []
    measured = [f"{part}_{name}" for part in ("validation", "test") for name in suffixes]
    first = ["phase", "epoch", "lr", "train_loss", *beta, "ratings", "seconds"]
    assert list(rows[0]) == [*first, *measured]
    assert len(rows) == (6 if trained else 1) == result["epochs"]
    ndcg = column(folder, "validation_ndcg@100")
    assert result["best_epoch"] == 1 + ndcg.index(max(ndcg))
    for name in suffixes:
        assert result[f"test_{name}"] == pytest.approx(
            column(folder, f"test_{name}")[result["best_epoch"] - 1], abs=1e-12
        )
        assert 0 <= result[f"test_{name}_se"] < (30 if name == "loss" else 0.2)
    assert ("best_beta" in result) == (model == "mult-vae")
    data = read_json(folder / "config.json")["data"]
    assert data["train_users"] + 2 * 30 <= 200 and data["train_clicks"] == result["train_clicks"]


def test_beta_grows_with_the_updates(runs, tmp_path):
    steps = -(-read_json(runs / "mult-vae" / "result.json")["train_users"] // 40)
    assert column(runs / "mult-vae", "beta") == pytest.approx(
        [epoch * steps / 200_000 for epoch in range(1, 7)]
    )
    finish(tmp_path / "capped", "mult-vae", anneal_cap=0.3, anneal_steps=10 * steps)
    assert column(tmp_path / "capped", "beta") == pytest.approx([0.1, 0.2, 0.3, 0.3, 0.3, 0.3])
    finish(tmp_path / "recotour", "mult-vae", anneal="recotour", anneal_cap=0.51)
    assert column(tmp_path / "recotour", "beta") == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.51])
    finish(tmp_path / "constant", "mult-vae", anneal="constant", anneal_cap=0.1)
    assert column(tmp_path / "constant", "beta") == [0.1] * 6


def test_search_beta(tmp_path):
    """The second phase goes up to the best beta with the slope of the first."""
    search = tmp_path / "run"
    result = finish(search, "mult-vae", search_beta=True, anneal="recotour", epochs=8, seed=1)
    first, second = (column(search, "beta", phase) for phase in ("search", "best-beta"))
    ndcg = column(search, "validation_ndcg@100", "search")
    best = ndcg.index(max(ndcg))
    assert 0 < best < 7, "the test is to see betas below and above the best"
    assert first[-1] == 1.0 and second == first[: best + 1] + [first[best]] * (7 - best)
    assert result["best_beta"] == first[best] == max(second)
    assert column(search, "validation_ndcg@100", "best-beta")[: best + 1] == ndcg[: best + 1]
    again = column(search, "validation_ndcg@100", "best-beta")
    assert result["best_epoch"] == 1 + again.index(max(again))
    assert result["validation_ndcg@100"] == max(again) >= max(ndcg)


@pytest.mark.parametrize("name, choose", [("ndcg@100", max), ("loss", min)])
def test_early_stopping(curves, tmp_path, name, choose):
    result = finish(tmp_path / "run", "mult-dae", early_stopping=name, patience=3, epochs=60)
    assert (tmp_path / "run" / "curve.png").exists()
    scores = column(tmp_path / "run", f"validation_{name}")
    best = 1 + scores.index(choose(scores))
    assert len(scores) == best + 3 == result["epochs"] < 60 and result["best_epoch"] == best
    assert result[f"validation_{name}"] == scores[best - 1]
    assert result["test_ndcg@100"] == column(tmp_path / "run", "test_ndcg@100")[best - 1]


def test_plateau_maximises_ndcg():
    """In 'min' mode the rate falls while the ranking becomes better."""
    config = MultVAEConfig(lr=1.0, lr_schedule="plateau", lr_step=2, lr_factor=0.5)
    better, worse = [0.1, 0.2, 0.3, 0.4, 0.5], [0.5, 0.4, 0.3, 0.2, 0.1]
    for metric, good, bad in (("ndcg@100", better, worse), ("loss", worse, better)):
        chosen = replace(config, early_stopping=metric)
        assert histories.learning_rate(chosen, history_of(good, metric), chosen.epochs) == 1.0
        assert histories.learning_rate(chosen, history_of(bad, metric), chosen.epochs) == 0.25


def test_eval_every(tmp_path):
    result = finish(tmp_path / "run", "mult-vae", eval_every=3, epochs=8)
    rows = epochs_of(tmp_path / "run")
    evaluated = [row["epoch"] for row in rows if row["validation_ndcg@100"]]
    assert evaluated == [row["epoch"] for row in rows if row["test_loss"]] == ["3", "6", "8"]
    assert all(row["beta"] and row["train_loss"] for row in rows) and len(rows) == 8
    assert str(result["best_epoch"]) in evaluated


def test_it_stops_only_where_it_was_evaluated():
    """Epochs without an evaluation cannot be without a better score."""
    config = MultDAEConfig(patience=1, eval_every=3)
    scores = [None, None, 0.1, None, None, 0.2, None, None, 0.15]
    for done in range(1, 9):
        history = history_of(scores[:done], "ndcg@100")
        assert not histories.should_stop(history, config.patience, config.score)
    assert histories.should_stop(history_of(scores, "ndcg@100"), config.patience, config.score)


REFUSED = {
    "--model mult-vae --search-beta --anneal constant": (
        "--search-beta and --anneal constant exclude each other: it needs a beta that grows"
    ),
    "--model ease --heldout-users 100": (
        "--heldout-users 100 and --validation-users 100 hold out 100 and 100 of the 176 users"
    ),
    "--model popularity --threshold 6": "no clicks are left of the 5000 ratings",
}


@pytest.mark.parametrize("words", REFUSED)
def test_user_errors(in_process, tmp_path, words):
    process = in_process("run", *ARGUMENTS[:2], *words.split(), "--out", "run")
    assert_user_error(process, REFUSED[words])
    assert not (tmp_path / "run").exists()


def clicks_file(folder):
    """Clicks without ratings: u0.. of 'a,0'.., in a file of one's own."""
    cells = onp.random.default_rng(3).choice(60 * 30, 700, replace=False)
    lines = [f'u{cell // 30},"a,{cell % 30}"\n' for cell in cells]
    (folder / "clicks.csv").write_text("user,item\n" + "".join(lines))
    return folder / "clicks.csv"


def test_options_are_parsed_and_never_evaluated(in_process, tmp_path):
    """A list of sizes is not eval()ed."""
    sizes = f"__import__('os').mkdir({str(tmp_path / 'made')!r})"
    process = in_process("run", "--model", "mult-vae", *ARGUMENTS, "--hidden", sizes)
    assert_user_error(process, "is not a whole number")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("model", ["ease", "mult-dae"])
def test_the_final_run_can_be_pasted(in_process, tmp_path, model):
    """As all of its options can: `dropout` is a number for the one, and several for the other."""
    given = ("--dropout", "0.5") if model == "mult-dae" else ()
    data = ("--dataset", "synthetic:60x80x1500", "--heldout-users", "5", "--min-user-clicks", "1")
    epochs = ("--epochs", "2", "--hidden", "6") if model == "mult-dae" else ()
    process = in_process("run", "--model", model, *data, *given, *epochs, "--out", "one")
    [line] = [line for line in process.stdout.splitlines() if line.startswith("final run")]
    succeeded(in_process("run", *shlex.split(line)[5:], "--quiet", "--out", "final"))
    result = read_json(tmp_path / "final" / "result.json")
    assert (result["model"], result["heldout_users"]) == (model, 0)
    config = load_run(tmp_path / "final").config
    process = in_process("run", "--from", "one", *data[:2], *epochs[:2], "--out", "after")
    assert "final run" not in succeeded(process).stdout  # its users stay held out
    assert config.dropout == (0.5,) if model == "mult-dae" else config.dropout >= 0


@pytest.mark.parametrize("model", ["mult-vae", "ease"])
def test_own_clicks(tmp_path, in_process, model):
    path, out = clicks_file(tmp_path), tmp_path / "run"
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    network = QUICK[-6:] if model == "mult-vae" else ()
    given = ("--model", model, "--ratings", str(path), "--out", "run", "--quiet")
    process = succeeded(in_process("run", *given, *network))
    result = read_json(out / "result.json")
    assert (result["heldout_users"], result["items"], result["train_users"]) == (6, 30, 48)
    assert result["repeated_clicks"] == 1 and "1 (repeated clicks," in process.stderr
    process = in_process("recommend", "run", "--user", "u3", "-n", "4", "--json")
    clicks = pd.read_csv(path)
    seen = {*clicks.item[clicks.user == "u3"]}
    found = items_in(json.loads(process.stdout))
    assert len(found) == 4 and not set(found) & seen


@pytest.mark.parametrize("model", ["mult-vae", "ease"])
def test_clicks_held_out_by_time(tmp_path, in_process, model):
    """All are trained on; what is loaded measures alike, and recommends no known click."""
    out, network = tmp_path / "run", QUICK[-6:] if model == "mult-vae" else ()
    given = ("--dataset", "synthetic:200x80x5000", "--split", "leave-last-out", "--out", str(out))
    process = succeeded(in_process("run", "--model", model, *given, *network))
    result = read_json(out / "result.json")
    users = result["users"]
    assert f"users           {users} to train, {users} of them to validate" in process.stdout
    assert users == result["train_users"] == result["heldout_users"] == result["test_te_clicks"]
    assert "--heldout-users 0" in process.stdout and "--split" not in process.stdout

    run = load_run(out)
    clicks = RunFolder.read(out).known()[2]
    again = run.evaluate(clicks)
    for name in ("test_ndcg@100", "test_novelty@10", "test_diversity@10", "test_gini@10"):
        assert result[name] == pytest.approx(again[name], rel=1e-5)
    user = clicks.user_ids[3]
    [known] = onp.flatnonzero(run.ratings.user_ids == user)
    seen = run.ratings.item_ids[run.ratings.items[run.ratings.users == known]]
    assert not {each.item for each in run.recommend(user, 80 - len(seen))} & {*seen}


def test_popularity_knows_no_similar_items(runs, in_process):
    assert_user_error(
        in_process("recommend", runs / "popularity", "--similar-items", "7"),
        "--similar-items needs item vectors, and --model popularity has none",
    )


@pytest.mark.parametrize("model", MODELS)
def test_export(runs, in_process, tmp_path, model):
    """The file gives the network's logits for rows of length 1, of any number."""
    onnxruntime = pytest.importorskip("onnxruntime")
    succeeded(in_process("export", runs / model, "--out", tmp_path))
    run = load_run(runs / model)
    rows = run.ratings.to_csr("user").toarray()
    unit = rows / onp.linalg.norm(rows, axis=1, keepdims=True)
    expected = run.net(np.array(rows)).asnumpy()
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    onp.testing.assert_allclose(session.run(None, {"data": unit})[0], expected, atol=1e-4)
    metadata = read_json(tmp_path / "metadata.json")
    assert metadata["item_ids"] == run.ratings.item_ids.tolist()
    assert "divide the row by its Euclidean length" in metadata["preprocessing"]


def test_compare_with_a_run_of_ratings(runs, in_process, tmp_path):
    train_into(tmp_path / "bias", model="bias", dataset="synthetic:60x80x900", quiet=True)
    both = ("compare", str(runs / "ease"), "bias")
    process = in_process(*both)
    assert process.returncode == 0
    assert "test RMSE" in process.stdout and "NDCG@100" in process.stdout
    process = in_process(*both, "--figure", "c.png")
    assert process.returncode == 2 and not (tmp_path / "c.png").exists()
    assert "the runs have no metric in common: draw them apart" in process.stderr


# the dense kernel draws dropout alike for both
@pytest.mark.parametrize(
    "model, kernel", [("mult-vae", "sparse"), ("mult-vae", "dense"), ("mult-dae", "sparse")]
)
def test_a_seed_determines_a_run(tmp_path, model, kernel):
    """Another seed is another run, the same one the same to the bit."""
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        onp.random.seed(seed + len(name))  # NumPy's global generator has no part in it
        finish(tmp_path / name, model, kernel=kernel, seed=seed, epochs=2)
    assert outcome(tmp_path / "a") == outcome(tmp_path / "b")
    a, c = (parameters(tmp_path / name) for name in ("a", "c"))
    assert not any(onp.array_equal(a[name], c[name]) for name in a)
