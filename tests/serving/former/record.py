"""How this folder was made: `python record.py FOLDER`, with commit b23865f as `d2l_autorec`.

Trains five small runs on generated ratings, and writes beside them what that
version's commands say of them, what its export computes, and the test ratings.
"""

import contextlib
import io
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from mxnet import gluon, npx
from mxnet import np as mxnp

from d2l_autorec import export, recommend, run
from d2l_autorec.config import read_config
from d2l_autorec.rating_task import load_and_split

DATA = ["--dataset", "synthetic:40x30x600", "--epochs", "2", "--cpus", "1", "--quiet"]
DENSE = ["--hidden", "4", "--init-sigma", "0.5", "--batch-size", "8"]
CLICKS = ["--heldout-users", "8", "--threshold", "3", "--batch-size", "8"]
RUNS = {
    "autorec-item": DENSE,
    "autorec-user": [*DENSE, "--based", "user", "--clip"],
    "mf": ["--model", "mf", "--factors", "4", "--init-sigma", "0.5", "--batch-size", "32"],
    "mult-vae": ["--model", "mult-vae", "--hidden", "8,4", *CLICKS],
    "ease": ["--model", "ease", *CLICKS[:4]],
}
QUESTIONS = {
    "recommend": ["--user", "7"],
    "predict": ["--user", "7", "--items", "1,2,3"],
    "similar": ["--similar-items", "3"],
    "new_user": ["--new-user", "new.csv"],
}
NEW_USER = "item,rating\n1,5\n2,1\n4,4\n"


def said(command, *arguments: str) -> str:
    """What a command prints."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        command.main(arguments)
    return text.getvalue()


def exported(folder: Path, scratch: Path) -> list:
    """What the exported network makes of three rows with one rating each."""
    said(export, str(folder), "--format", "mxnet", "--out", str(scratch))
    files = [str(scratch / name) for name in ("model-symbol.json", "model-0000.params")]
    meta = json.loads((scratch / "metadata.json").read_text())

    columns = len(meta["item_ids"])
    if meta["based"] == "item":
        columns = len(meta["user_ids"])

    npx.set_np()
    block = gluon.SymbolBlock.imports(files[0], ["data"], files[1])
    return block(mxnp.array(np.eye(3, columns, dtype="float32"))).asnumpy().tolist()


def main() -> None:
    """Train, ask and write."""
    target = Path(sys.argv[1]).resolve()
    answers: dict = {}

    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        for name, options in RUNS.items():
            run.main([*DATA, *options, "--out", name])
            answers[name] = {}

            Path("new.csv").write_text(NEW_USER)
            if "--heldout-users" in options:
                Path("new.csv").write_text("item\n1\n2\n4\n")

            for question, words in QUESTIONS.items():
                if (name, question) == ("ease", "similar"):
                    continue  # it has no item vectors
                found = said(recommend, name, *words, "--json")
                answers[name][question] = json.loads(found)

            if name not in ("mf", "ease"):
                answers[name]["exported"] = exported(Path(name), Path(scratch, "out"))
                shutil.rmtree("out")

            for unwanted in ("curve.png", ".lock"):
                Path(name, unwanted).unlink(missing_ok=True)
            shutil.copytree(name, target / name)

        test = load_and_split(read_config(target / "mf"))[1]
        users = test.user_ids[test.users].tolist()
        items = test.item_ids[test.items].tolist()
        rows = zip(users, items, test.values.tolist())
        lines = [f"{user},{item},{value:g}\n" for user, item, value in rows]
        (target / "test.csv").write_text("".join(["user,item,rating\n", *lines]))

    (target / "answers.json").write_text(json.dumps(answers) + "\n")


if __name__ == "__main__":
    main()
