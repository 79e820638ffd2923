"""Predict ratings of a finished run, on the scale of its ratings file.

Items that a user rated in the training part are never recommended, nor are items that nobody rated
there.

for example:
  python -m d2l_autorec.recommend runs/mine --user 42
  python -m d2l_autorec.recommend runs/mine --user 42 --items 50,181
  python -m d2l_autorec.recommend runs/mine --similar-items 50 -n 5
  python -m d2l_autorec.recommend runs/mine --new-user ratings.csv
  python -m d2l_autorec.recommend runs/mine --all out.csv
"""

import argparse
import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .models.options import AT_LEAST_1
from .runs.options import whole_number
from .support.cli import Parser, leave, run_command
from .support.errors import ConfigError
from .support.terminal import show_steps, step
from .support.texts import aligned, significant
from .training.engine import start_mxnet

if TYPE_CHECKING:
    from .serving.predictor import Scored
    from .trained_model import TrainedModel


def main(argv: Sequence[str] | None = None) -> None:
    """Parse `argv` and print what is asked for."""
    options = _parser().parse_args(argv)
    if options.items is not None and options.user is None:
        raise ConfigError("--items needs --user ID: whose ratings are to be predicted")
    if options.items is not None and options.n is not None:
        raise ConfigError("-n has no effect: --items says which items; leave it out")
    options.n = options.n or 10

    show_steps(not options.quiet and not options.json)
    step("loading MXNet")
    start_mxnet(one_cpu=True)
    from .trained_model import load_run

    step(f"opening {options.run}")
    run = load_run(options.run)

    if options.all is not None:
        written = write_all(run, Path(options.all), options.n, progress=not options.quiet)
        sentence = "{rows} recommendations for {users} users: {file}".format(**written)
        print(json.dumps(written, indent=2) if options.json else sentence)
        if fewer := written["users_with_fewer"]:
            print(f"{fewer} users have fewer than {options.n} unseen items", file=sys.stderr)
    else:
        column = score_name(run) if options.similar_items is None else "similarity"
        _print_scored(_asked_for(run, options), options, column)


def _parser() -> Parser:
    parser = Parser("d2l_autorec.recommend", __doc__, "RUN_DIR --user ID [options]")
    parser.add_argument("run", metavar="RUN_DIR", help="folder that d2l_autorec.run has written")
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--user", metavar="ID", help="the best unseen items of this user")
    asked.add_argument("--similar-items", metavar="ID", help="nearest items, by cosine similarity")
    asked.add_argument(
        "--new-user",
        metavar="FILE",
        help="best items for someone who was not in "
        "training: a csv file with the columns item,rating",
    )
    asked.add_argument(
        "--all",
        metavar="FILE",
        help="write the best unseen items of every user: user,item,predicted_rating,rank",
    )
    parser.add_argument("--items", metavar="A,B,...", help="with --user: rate these items instead")
    parser.add_argument(
        "-n", type=whole_number(AT_LEAST_1), metavar="N", help="number of items [10]"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, only the result")
    return parser


def _asked_for(run: "TrainedModel", options: argparse.Namespace) -> "list[Scored]":
    from .serving.new_user import read_new_user, recommend_new_user
    from .serving.predictor import predictor_of

    predictor = predictor_of(run)
    if options.similar_items is not None:
        return predictor.similar_items(options.similar_items, options.n)
    if options.new_user is not None:
        items, values = read_new_user(Path(options.new_user), predictor)
        return recommend_new_user(predictor, items, values, options.n)
    if options.items is not None:
        rows = csv.reader(io.StringIO(options.items), skipinitialspace=True)  # "a, b" is one id
        return predictor.score(options.user, [item for row in rows for item in row])
    return predictor.recommend(options.user, options.n)


def score_name(run: "TrainedModel") -> str:
    """Return what a run's scores are."""
    return "score" if run.config.task == "ranking" else "predicted_rating"


def _print_scored(found: "list[Scored]", options: argparse.Namespace, column: str) -> None:
    """Print the table, or its JSON; on stderr, whether it is shorter than asked for."""
    from .serving.predictor import shortage

    if options.items is None and len(found) < options.n:
        print(shortage(len(found), options.n), file=sys.stderr)

    if options.json:
        rows = [
            {"item": item, "title": title, column: round(score, 6)} for item, title, score in found
        ]
        print(json.dumps(rows, indent=2))
    elif found:
        lines = [["item", "title", column.replace("_", " ")]]
        lines += [[str(item), title, _shown(score, column)] for item, title, score in found]
        if not any(row.title for row in found):
            lines = [[item, score] for item, _, score in lines]
        print(aligned(lines, len(lines[0]) - 1))


def _shown(score: float, column: str) -> str:
    if column != "score":
        return f"{score:.3f}"
    return f"{score:,.0f}" if score.is_integer() else significant(score, 4)  # a count of clicks


def write_all(
    run: "TrainedModel", path: Path, n: int = 10, progress: bool = True
) -> dict[str, Any]:
    """Write the best unseen items of every user to a csv file, or leave what was there.

    Columns user, item, predicted_rating (score, of a model of clicks), rank (from 1); users in
    index order.

    Parameters
    ----------
    run : TrainedModel
    path : Path
    n : int
        Items a user.
    progress : bool
        Show a bar on stderr.

    Returns
    -------
    dict
        file, rows, users, and users_with_fewer: those with less than `n` unseen items.

    Raises
    ------
    ConfigError
        If `n` is below 1, or the file cannot be written.
    """
    import numpy as np
    from tqdm.auto import tqdm

    from .serving.predictor import predictor_of
    from .support.files import replacing

    predictor = predictor_of(run)
    users = run.ratings.user_ids.tolist()
    items = run.ratings.item_ids.tolist()
    rows = fewer = 0

    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item", score_name(run), "rank"])

        everyone = predictor.best(np.arange(len(users)), n)
        for user, best, scores in tqdm(
            everyone, total=len(users), unit="user", disable=not progress, dynamic_ncols=True
        ):
            ranked = enumerate(zip(best.tolist(), scores.tolist()), 1)
            writer.writerows(
                (users[user], items[item], f"{score:.6g}", rank) for rank, (item, score) in ranked
            )
            rows += len(best)
            fewer += len(best) < n

    return {"file": str(path), "rows": rows, "users": len(users), "users_with_fewer": fewer}


if __name__ == "__main__":
    leave(run_command("d2l_autorec.recommend", main))
