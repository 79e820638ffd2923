"""The lines that end a run: what was trained on what, how good it is, and how to go on."""

import csv
import shlex

import pytest
from helpers import succeeded

from d2l_autorec.models.registry import make_config
from d2l_autorec.runs.result import closing_block
from d2l_autorec.support.files import read_json

SMALL = ("--dataset", "synthetic:60x80x900", "--out", "out")
OF_CLICKS = ("--threshold", "3", "--min-user-clicks", "2", "--heldout-users", "10")
EPOCHS = ("--epochs", "2", "--hidden", "8")


def block(text):
    """Labels of the closing block, and what stands behind each."""
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("data set"))
    width = lines[first].index("GENERATED")
    return {line[:width].strip(): line[width:] for line in lines[first:]}


def test_of_ratings(in_process, tmp_path):
    process = in_process("run", *SMALL, *EPOCHS, "--val-ratio", "0.1")
    result = read_json(tmp_path / "out" / "result.json")
    said = block(process.stdout)

    assert said["data set"] == "GENERATED ratings (synthetic): 60 users, 80 items"
    train, test = result["train_ratings"], result["test_ratings"]
    assert train + test == 900
    validation = result["validation_ratings"]
    assert said["ratings"] == f"{train} to train ({validation} of them to validate), {test} to test"

    rmse, means = result["test_rmse"], result["baseline_test_rmse"]
    assert said["test RMSE"].startswith(f"{rmse:.4f}, ")
    means_alone = result["global_mean_test_rmse"]
    expected = f" % above user and item means ({means:.4f}), mean {means_alone:.4f}"
    assert said["test RMSE"].endswith(expected)
    percent = float(said["test RMSE"].split()[1])
    assert percent == pytest.approx(100 * (rmse / means - 1), rel=0.06)

    assert said["trained"].startswith("2 epochs on cpu(0), ")
    assert "ratings/sec, train loss 0." in said["trained"]
    assert said["best epoch"].startswith(f"{result['best_epoch']}, validation RMSE ")
    assert said["run folder"] == "out"
    assert [*said][-1] == "next"
    assert_it_works(in_process, said["next"])
    lines = [line for line in process.stdout.splitlines() if not line.startswith("final run")]
    assert max(map(len, lines)) <= 80


def assert_it_works(in_process, command):
    """The next command recommends ten items."""
    python, flag, module, *words = shlex.split(command)
    assert (python, flag) == ("python", "-m")
    process = succeeded(in_process(module.removeprefix("d2l_autorec."), *words))
    assert len(process.stdout.splitlines()) == 11  # a head and ten items


@pytest.mark.parametrize("model", ["mult-vae", "ease", "popularity"])
def test_of_clicks(in_process, tmp_path, model):
    epochs = EPOCHS if model == "mult-vae" else ()
    process = in_process("run", "--model", model, *SMALL, *OF_CLICKS, *epochs)
    result = read_json(tmp_path / "out" / "result.json")
    table, text = process.stdout.split("\n\n")
    said = block(text)
    head, *rows = table.splitlines()
    assert head.split()[:3] == ["at", "NDCG", "recall"]
    assert [row.split()[0] for row in rows] == ["5", "10", "20", "50", "100"]
    assert rows[-1].split()[1] == said["test NDCG@100"].split()[0]

    users = result["train_users"] + 2 * result["heldout_users"]
    assert f": {users} users, {result['items']} items, " in said["data set"]
    assert said["users"] == f"{users - 20} to train, 10 to validate, 10 to test"
    assert said["test NDCG@100"].startswith(f"{result['test_ndcg@100']:.4f} ± 0.")
    assert ("popularity (0." in said["test NDCG@100"]) == (model != "popularity")
    assert ("clicks/sec" in said["trained"]) == bool(epochs)
    assert_it_works(in_process, said["next"])


@pytest.mark.parametrize(
    "options",
    [
        ("--based", "user", *EPOCHS),
        ("--model", "mf", "--epochs", "1"),
        ("--model", "mean"),
    ],
)
def test_the_next_command_works(in_process, options):
    assert_it_works(in_process, block(in_process("run", *SMALL, *options).stdout)["next"])


@pytest.mark.parametrize("ids", [["$x", "o'neil"], ["-7", "é b"]])
def test_ids_and_folders_are_quoted_for_the_shell(in_process, tmp_path, ids):
    with open(tmp_path / "mine.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item", "rating"])
        for number in range(40):
            writer.writerow([ids[number % 2], f"i{number // 2}", 1 + number % 5])

    words = ("--ratings", "mine.csv", "--model", "bias", "--out", "my runs/a&b")
    process = succeeded(in_process("run", *words))
    _, command = process.stdout.splitlines()[-1].split(maxsplit=1)
    _, _, _, *words = shlex.split(command)
    assert words[0] == "my runs/a&b"
    succeeded(in_process("recommend", *words))


def test_an_id_that_looks_like_an_option():
    config = make_config({})
    assert closing_block([], config, {"example_user": "-x y"}, "a").endswith(" --user='-x y'")
