"""The content of result.json, and how it is reported to the user.

Without a test part (`test_ratio=0`, `heldout_users=0`) there is no key that begins with test_
but for the sizes of that part, and no baseline.

Every run:

- `model`, `preset`, `based` (AutoRec: the rows are users or items), `dataset`, `users`, `items`,
  `example_user`: one of the users, for a first try
- `kernel`, `devices`, `train_seconds` (training alone), `ratings_per_second`
- `epochs` of the last phase, `most_epochs` that were allowed, `best_epoch` by validation (null
  without), `train_loss` (mean over rows) and `train_rmse` (observed ratings, dropout on) of the
  epoch whose parameters are kept
- `baseline`: user and item means, or popularity; on the same test part it has `baseline_test_rmse`
  or `baseline_test_ndcg@100`; of ratings also `global_mean_test_rmse`
- `start`, the run that it goes on from, `start_train_seconds` of that and `start_test_rmse` or
  `start_test_ndcg@100`: its error on the same test part, before
- `serves_means` where validation chose the user and item means that a network begins with
- `files`: SHA-256 of every other file

Ratings, in rating units:

- `test_rmse`, `test_mae`: what is served, clipped to the scale if the run clips; both ways they
  are `test_clipped_rmse`, `test_clipped_mae`, `test_unclipped_rmse`, `test_unclipped_mae`
- `test_without_cold_rmse`, `test_without_cold_mae`: without the `cold_test_ratings`, whose user or
  item has no training rating
- `test_user_mean_rmse`, `test_user_mean_mae`: each user counts alike
- `test_by_user_ratings`, `test_by_item_ratings`: by how many training ratings user or item have
- `chapter_rmse`: what the chapter's evaluator says, which clips nothing and gives cold ratings no
  mean
- `split`, `train_ratings`, `validation_ratings`, `test_ratings`, `validation_rmse` of the best
  epoch, `weight_decay` that the optimizer was given

Rankings, means over test users, at each cut-off K of `cut_offs`:

- `test_ndcg@K`, `test_recall@K` (hits over min(K, held-out clicks), Liang et al. 2018),
  `test_plain_recall@K` (hits over held-out clicks), `test_precision@K`, `test_hit_rate@K`,
  `test_mrr@K`, `test_map@K`, each with its standard error over users, `test_ndcg@K_se`
- beyond accuracy, of everybody's first K items: `test_novelty@K` (mean of -log2 of the share of
  training users who clicked an item, in bits) and `test_diversity@K` (mean of 1 - cosine of two
  items' clicks), with standard errors; `test_coverage@K`: share of all items that are there for
  anybody; `test_gini@K`: of how often an item is, from 0 (all alike) to 1 (always the same one)
- `test_loss`, `test_loss_se`: negative log likelihood of the held-out clicks
- `train_users`, `validation_users`, `heldout_users` for the test, `test_users` of them that are
  measured, `test_users_without_held_out`, which are not; of a split by time all are trained on
- `train_clicks`; of validation and test users those that are shown, `validation_tr_clicks` and
  `test_tr_clicks`, and those held out, `validation_te_clicks` and `test_te_clicks`
- `repeated_clicks` on the same item by the same user, which count once; `threshold`, the lowest
  rating that is a click, where the clicks were made of ratings
- `chosen`: options that a model chose by validation (EASE)
- `validation_ndcg@100` of the best epoch; `best_beta` of a Mult-VAE
"""

import json
import math
import sys
from pathlib import Path
from typing import Any, TypeAlias

from ..data.clicks import PIECES
from ..data.sources import data_shown
from ..models.kinds import RunConfig
from ..models.registry import model_class
from ..support.files import telling_damage
from ..support.machine import DISTRIBUTED
from ..support.terminal import remark, wrapped
from ..support.texts import aligned, as_command, seconds_shown, significant, with_flags
from ..training.history import label_of
from .options import as_texts, own_options
from .tables import unmeasured

Block: TypeAlias = list[tuple[str, str]]  # the lines that end a run: a label and its text
ACCURACY = ("ndcg", "recall", "plain_recall", "precision", "hit_rate", "mrr", "map")
MEASURES = (*ACCURACY, "coverage", "novelty", "diversity", "gini")
OF_THE_TEST = ("test_ratio", "heldout_users", "validation_users", "split", "folds", "fold", "seeds")


def tell(config: RunConfig, result: dict[str, Any]) -> None:
    """Print a result, in words or as JSON; remarks go to stderr.

    Parameters
    ----------
    config : RunConfig
        The options of the run.
    result : dict
        The content of result.json, and the folder as 'run'.
    """
    with telling_damage(Path(result["run"]) / "result.json"):  # of a run that was finished before
        remarks = [*_about_length(config, result), *_about_result(result)]
        if config.from_ and config.at_once:
            remarks.append(f"`model={config.model}` is computed at once: it was fitted anew to all")
        block = [*_summary(result), *_about_training(config, result), *_about_start(config, result)]
        block.append(("run folder", result["run"]))
        table = _by_cut_off(result)
        closing = closing_block(block, config, result, result["run"])

    _say(config, result, remarks, table, closing)


def tell_several(config: RunConfig, summary: dict[str, Any]) -> None:
    """Print the results of several folds or seeds, in words or as JSON; remarks go to stderr.

    Parameters
    ----------
    config : RunConfig
        The options of the runs.
    summary : dict
        The result of `train_several`.
    """
    folder, (word, numbers), name = summary["run"], config.repeats, config.score.metric
    results = summary[f"{word}s"]
    first = results[0]
    remarks = [*shortfall({**first, **summary}), *unmeasured(results)]

    label = f"test {label_of(name)}"
    block = _summary(first)[:1]
    table = ""
    titles = {f"test_{name}": label, f"baseline_test_{name}": summary.get("baseline", "")}
    if columns := {metric: title for metric, title in titles.items() if metric in summary}:
        lines = [[word, *columns.values()]]
        for number, result in zip(numbers, results):
            lines.append([str(number), *(f"{result[metric]:.4f}" for metric in columns)])
        table = aligned(lines, left=1)
        score = f"{summary[f'test_{name}']:.4f} ± {summary[f'test_{name}_sd']:.4f} over "
        score += f"{len(results)} {word}s{against_baseline(summary, name)}"
        block.append((label, score))

    block.append(("run folders", folder))
    closing = closing_block(block, config, first, f"{folder}/{word}-{numbers[0]}")
    _say(config, summary, remarks, table, closing)


def _say(
    config: RunConfig, result: dict[str, Any], remarks: list[str], table: str, closing: str
) -> None:
    """Print remarks on stderr, and the result in words or as JSON."""
    for text in remarks:
        remark(with_flags(text))
    if config.json:
        folders = "run folder" if len(config.repeats[1]) == 1 else "run folders"
        print(f"{folders}: {result['run']}", file=sys.stderr)
        print(json.dumps(result))
        return
    print(f"{table}\n\n{closing}" if table else closing)


def against_baseline(result: dict[str, Any], metric: str) -> str:
    """Return how a metric compares to the baseline: ', 4.6 % below popularity (0.2551)'."""
    if f"baseline_test_{metric}" not in result:
        return ""

    value, other = result[f"test_{metric}"], result[f"baseline_test_{metric}"]
    name = f"{result['baseline']} ({other:.4f})"
    if math.isclose(value, other, rel_tol=1e-4):
        return f", as good as {name}"

    side = "above" if value > other else "below"
    share = f"{significant(100 * abs(value - other) / other, 2)} % " if other else ""
    return f", {share}{side} {name}"


def shortfall(result: dict[str, Any]) -> list[str]:
    """Return a remark if the model is no better than the baseline."""
    if result.get("global_mean_test_rmse") == 0:
        return ["all ratings are equal: if each row is a click, rank items with `model=ease`"]
    if result.get("serves_means"):
        return ["validation found nothing beyond user and item means: they are what is served"]
    if "baseline" not in result:
        return []

    ranks = "test_rmse" not in result
    metric, whose = ("ndcg@100", "popularity") if ranks else ("rmse", "the user and item means")
    value, other = result[f"test_{metric}"], result[f"baseline_test_{metric}"]
    if value > other if ranks else value < other:
        return []

    advice = "these ratings may hold no more than means"
    if ranks:
        ease = "try another `penalty`" if result["model"] == "ease" else "try `model=ease`"
        advice = f"{ease}, or more clicks"
    elif result["preset"] != "best" and "best" in model_class(result["model"]).presets:
        advice = "try `preset=best`"
    return [f"no better than {whose}, whose test {label_of(metric)} is {other:.4f}: {advice}"]


def _about_result(result: dict[str, Any]) -> list[str]:
    """Return remarks on the test metrics."""
    remarks = shortfall(result)
    if cold := result.get("cold_test_ratings"):
        text = (
            f"{cold:,} of {result['test_ratings']:,} test ratings are of a user or item without "
            "training ratings and were predicted by a mean"
        )
        if result["test_without_cold_rmse"] is not None:
            text += f"; test RMSE without them {result['test_without_cold_rmse']:.4f}"
        remarks.append(text)

    return [*remarks, *unmeasured([result])]


def _summary(result: dict[str, Any]) -> Block:
    """Return the lines on the data and the test errors."""
    source = data_shown(result["dataset"])
    source += f": {result['users']:,} users, {result['items']:,} items"
    if "train_users" in result:
        return _summary_of_clicks(result, source)

    parts = f"{result['train_ratings']:,} to train"
    if result.get("validation_ratings"):
        parts += f" ({result['validation_ratings']:,} of them to validate)"
    if not result["test_ratings"]:
        return [("data set", source), ("ratings", f"{parts}, none to test")]

    parts += f", {result['test_ratings']:,} to test"
    score = f"{result['test_rmse']:.4f}{against_baseline(result, 'rmse')}"
    if "baseline" in result:
        score += f", mean {result['global_mean_test_rmse']:.4f}"
    return [("data set", source), ("ratings", parts), ("test RMSE", score)]


def _summary_of_clicks(result: dict[str, Any], source: str) -> Block:
    """Return the lines on the data, the held-out users, and test metrics with standard errors."""
    users, train = result["users"], result["train_users"]
    validation, held_out = result["validation_users"], result["heldout_users"]
    clicks = sum(result[f"{piece}_clicks"] for piece in PIECES)
    of_them = " of them" * (train + validation + held_out > users)
    parts = f"{train:,} to train, {validation:,}{of_them} to validate, {held_out:,} to test"
    block = [("data set", f"{source}, {clicks:,} clicks"), ("users", parts)]
    for name in ("NDCG@100", "Recall@20", "Recall@50") if held_out else ():
        metric = name.lower()
        score = f"{result[f'test_{metric}']:.4f} ± {result[f'test_{metric}_se']:.4f}"
        block.append((f"test {name}", score + against_baseline(result, metric)))
    return block


def _by_cut_off(result: dict[str, Any]) -> str:
    """Return a table with a line for each cut-off of a ranking; '' if there is none."""
    if "cut_offs" not in result:
        return ""

    capitals = ("ndcg", "mrr", "map")
    titles = [name.upper() if name in capitals else name.replace("_", " ") for name in MEASURES]
    lines = [["at", *titles]]
    for k in result["cut_offs"]:
        lines.append([str(k), *(f"{result[f'test_{name}@{k}']:.4f}" for name in MEASURES)])
    return aligned(lines, left=0)


def closing_block(block: Block, config: RunConfig, result: dict[str, Any], folder: str) -> str:
    """Return the aligned lines of a block, followed by the commands to go on with."""
    if not config.quiet:
        if final := final_command(config, result):
            block.append(("final run", final))
        block.append(("next", as_command("recommend", folder, user=str(result["example_user"]))))
    indent = 2 + max(len(label) for label, _ in block)
    lines = [
        wrapped(line, sys.stdout, indent, " \\" * value.startswith("python "))
        for line, (_, value) in zip(aligned(block, left=2).splitlines(), block)
    ]
    return "\n".join(lines)


def final_command(config: RunConfig, result: dict[str, Any]) -> str:
    """Return a command that trains the same model on all data, without a test, or ''."""
    is_tested = result.get("test_ratings") or result.get("heldout_users")
    two_files = "train" in config.own_files()
    splits_as_start = config.from_ and (config.task == "ranking" or config.split != "random")
    if not is_tested or two_files or splits_as_start or config.kvstore in DISTRIBUTED:
        return ""

    own = own_options(config) | {"preset": config.preset} | result.get("chosen", {})
    options = as_texts({name: value for name, value in own.items() if name not in OF_THE_TEST})
    if config.default_preset(options) == config.preset:
        del options["preset"]
    if config.model == RunConfig.model:
        del options["model"]
    if config.task == "rating":
        return as_command("run", **options, test_ratio="0")

    if not config.at_once:
        users, tested = (vars(config)[name] for name in ("validation_users", "heldout_users"))
        options["validation_users"] = f"{tested if users is None else users:g}"
    return as_command("run", **options, heldout_users="0")


def _about_training(config: RunConfig, result: dict[str, Any]) -> Block:
    """Return the line on how long and how fast the run was trained, and which epoch is kept."""
    devices = ", ".join(result["devices"])
    if result["train_loss"] is None:
        seconds = seconds_shown(result["train_seconds"])
        return [("trained", f"in closed form, {seconds} s on {devices}")]

    epochs = f"{result['epochs']:,} epochs" if result["epochs"] > 1 else "1 epoch"
    counted = "clicks" if config.task == "ranking" else "ratings"
    rate = f"{significant(result['ratings_per_second'])} {counted}/sec"
    loss = f"train loss {significant(result['train_loss'])}"
    block = [("trained", f"{epochs} on {devices}, {rate}, {loss}")]

    if best := result["best_epoch"]:
        kept = "parameters of that epoch"
        if "refit" in config.phases:
            kept = "refitted on all training ratings"
        metric = config.score.metric
        validation = significant(result[f"validation_{metric}"], 4)
        block.append(("best epoch", f"{best}, validation {label_of(metric)} {validation}; {kept}"))
    return block


def _about_start(config: RunConfig, result: dict[str, Any]) -> Block:
    """Return lines that compare a run with the one it goes on from, and say how to train anew."""
    if not result.get("start"):
        return []

    metric = config.score.metric
    before, now = (seconds_shown(result[f"{of}train_seconds"]) for of in ("start_", ""))
    text = f"{result['start']}, which was trained in {before} s (this one in {now} s)"
    if f"start_test_{metric}" not in result:
        return [("went on from", text)]

    text += f", whose test {label_of(metric)} is {result[f'start_test_{metric}']:.4f}"
    own, specs = own_options(config), config.__dataclass_fields__
    data = [name for name in own if specs[name].metadata["group"] == "data" or name == "seed"]
    options = as_texts({name: own[name] for name in data if name not in config.warm})
    anew = as_command("run", **options, anew=True)
    return [("went on from", text), ("to compare", anew)]


def _about_length(config: RunConfig, result: dict[str, Any]) -> list[str]:
    """Return a remark if more epochs may be better."""
    best = result["best_epoch"] or 0
    if config.at_once or config.eval_every >= best or best != result.get("most_epochs"):
        return []  # a single evaluation shows no trend

    name = "epochs" if vars(config).get("updates") is None else "updates"
    return [
        f"the validation {label_of(config.score.metric)} was still improving at epoch {best}, "
        f"the last: raise `{name}`"
    ]
