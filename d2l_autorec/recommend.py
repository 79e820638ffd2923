"""Recommend items by a finished run, or predict ratings, on the scale of its ratings file.

Items that a user has rated are left out unless --include-rated says otherwise; items that nobody
rated in the training part are never recommended.

for example:
  python -m d2l_autorec.recommend runs/mine --user 42
  python -m d2l_autorec.recommend runs/mine --user 42 --items 50,181
  python -m d2l_autorec.recommend runs/mine --similar-items 50 -n 5
  python -m d2l_autorec.recommend runs/mine --new-user ratings.csv
  python -m d2l_autorec.recommend runs/mine --user 42 --exclude seen.csv
  python -m d2l_autorec.recommend runs/mine --all out.csv
"""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .models.options import AT_LEAST_1
from .runs.options import whole_number
from .serving.filters import add_filters, given_ids, selection_of
from .support.cli import Parser, leave, run_command
from .support.errors import ConfigError
from .support.terminal import show_steps, step
from .support.texts import aligned, flag, significant
from .training.engine import start_mxnet

TABLES = (".csv", ".csv.gz", ".csv.zst", ".parquet", ".feather")  # how the file of --all may end
SUPPORTED = 10  # where an item in the table has fewer ratings, the table shows their numbers

if TYPE_CHECKING:
    from .serving.predictor import Predictor, Scored


def main(argv: Sequence[str] | None = None) -> None:
    """Parse `argv` and print what is asked for."""
    options = _parser().parse_args(argv)
    _check(options)
    options.n = options.n or 10

    show_steps(not options.quiet and not options.json)
    step("loading MXNet")
    start_mxnet(one_cpu=True)
    from .serving.predictor import predictor_of
    from .trained_model import load_run

    step(f"opening {options.run}")
    predictor = predictor_of(load_run(options.run))

    if options.all is not None:
        written = write_all(predictor, options)
        sentence = "{rows} recommendations for {users} users: {file}".format(**written)
        print(json.dumps(written, indent=2) if options.json else sentence)
        if fewer := written["users_with_fewer"]:
            print(f"{fewer} users have fewer than {options.n} items left", file=sys.stderr)
    else:
        column = score_name(predictor) if options.similar_items is None else "similarity"
        _print_scored(_asked_for(predictor, options), options, column)


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
        help=f"write the best unseen items of every user, as the name ends: {', '.join(TABLES)}",
    )
    parser.add_argument(
        "--items",
        action="append",
        metavar="IDS",
        help="with --user: rate these items instead, given as those of --exclude",
    )
    add_filters(parser)
    parser.add_argument(
        "--include-rated", action="store_true", help="leave in what the user has rated"
    )
    parser.add_argument(
        "-n", type=whole_number(AT_LEAST_1), metavar="N", help="number of items [10]"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, only the result")
    return parser


def _check(options: argparse.Namespace) -> None:
    """Raise ConfigError for options that would have no effect."""
    if options.items is not None and options.user is None:
        raise ConfigError("--items needs --user ID: whose ratings are to be predicted")
    if options.all is not None and not options.all.endswith(TABLES):
        raise ConfigError(f"--all is {options.all}: its name must end with {', '.join(TABLES)}")

    unused: dict[str, str] = {}
    if options.user is None:
        unused["fallback"] = "it is for an unknown `user`"
    if options.similar_items is not None:
        unused["include_rated"] = "it is for what a user has rated"
    if options.items is not None:
        names = ("n", "exclude", "only", "min_ratings", "fallback", "include_rated")
        unused = dict.fromkeys(names, "--items says which items")
    for name, why in unused.items():
        if getattr(options, name):
            raise ConfigError(f"{flag(name)} has no effect: {why}; leave it out")


def _asked_for(predictor: "Predictor", options: argparse.Namespace) -> "list[Scored]":
    from .serving.new_user import read_new_user, recommend_new_user

    if options.items is not None:
        return predictor.score(options.user, given_ids(options.items, predictor.items))

    selection = selection_of(options, predictor.items)
    if options.similar_items is not None:
        return predictor.similar_items(options.similar_items, selection)
    if options.new_user is not None:
        rated = read_new_user(Path(options.new_user), predictor)
        return recommend_new_user(predictor, rated, selection)
    return predictor.recommend(options.user, selection, options.fallback)


def score_name(predictor: "Predictor") -> str:
    """Return the name of the column of scores: 'score', or 'predicted_rating'."""
    return "score" if predictor.config.task == "ranking" else "predicted_rating"


def _print_scored(found: "list[Scored]", options: argparse.Namespace, column: str) -> None:
    """Print the table, or its JSON; say on stderr if it is shorter than asked for."""
    from .serving.predictor import shortage

    if options.items is None and len(found) < options.n:
        print(shortage(len(found), options.n), file=sys.stderr)

    if options.json:
        rows = [
            {"item": item, "title": title, column: round(score, 6), "ratings": ratings}
            for item, title, score, ratings in found
        ]
        print(json.dumps(rows, indent=2))
        return
    if not found:
        return

    lines = [["item", "title", column.replace("_", " "), "ratings"]]
    for item, title, score, ratings in found:
        lines.append([str(item), title, _shown(score, column), str(ratings)])
    has_titles = any(row.title for row in found)
    is_supported = min(row.ratings for row in found) >= SUPPORTED
    is_supported &= not (options.min_ratings or options.fallback)
    lines = [line[:1] + line[1:2] * has_titles + line[2 : 4 - is_supported] for line in lines]
    print(aligned(lines, 1 + has_titles))


def _shown(score: float, column: str) -> str:
    if column != "score":
        return f"{score:.3f}"
    return f"{score:,.0f}" if score.is_integer() else significant(score, 4)  # a count of clicks


def write_all(predictor: "Predictor", options: argparse.Namespace) -> dict[str, Any]:
    """Write the best items of every user to the file that --all names.

    Its columns are user, item, title (where there are titles), predicted_rating (score, for a
    model of clicks), rank (from 1) and ratings, the number of ratings that the item has. Users
    are in index order. After an error, what was there before stays.

    Returns
    -------
    dict
        file, rows, users, and users_with_fewer: how many users have fewer than `n` items left.

    Raises
    ------
    ConfigError
        If the file cannot be written.
    """
    import numpy as np
    import pyarrow as pa
    from tqdm.auto import tqdm

    from .support.files import replacing, table_writer

    path, ratings = Path(options.all), predictor.ratings
    selection = selection_of(options, predictor.items)
    ids = ratings.item_ids.tolist()
    users, items = pa.array(ratings.user_ids.tolist()), pa.array(ids)
    titles = pa.array([ratings.titles.get(item, "") for item in ids])
    rows = fewer = 0

    with replacing(path) as part, ExitStack() as opened:
        write = None
        bar = tqdm(total=len(users), unit="user", disable=options.quiet, dynamic_ncols=True)
        for block, best, scores in predictor.best_of_all(selection):
            row, rank = np.nonzero(scores > -np.inf)
            best = best[row, rank]
            columns = {"user": users.take(pa.array(block[row])), "item": items.take(pa.array(best))}
            if ratings.titles:
                columns["title"] = titles.take(pa.array(best))
            columns[score_name(predictor)] = scores[row, rank]
            columns |= {"rank": rank + 1, "ratings": predictor.counts[best]}

            table = pa.table(columns)
            write = write or opened.enter_context(table_writer(part, table.schema)).write
            write(table)
            rows += len(best)
            fewer += int((np.bincount(row, minlength=len(block)) < options.n).sum())
            bar.update(len(block))
        bar.close()

    return {"file": str(path), "rows": rows, "users": len(users), "users_with_fewer": fewer}


if __name__ == "__main__":
    leave(run_command("d2l_autorec.recommend", main))
