"""The README's Python, as it stands there."""

import ast
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from helpers import ROOT

import d2l_autorec as d2l

README = (ROOT / "README.md").read_text(encoding="utf-8")


def code_blocks(text: str) -> list[str]:
    """Indented paragraphs, with the blank lines between them."""
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.startswith("    ") or not line.strip():
            blocks[-1].append(line)
        else:
            blocks.append([])

    return [dedent("\n".join(lines)).strip() for lines in blocks if any(map(str.strip, lines))]


def is_python(block: str) -> bool:
    try:
        ast.parse(block)
    except SyntaxError:
        return False
    return "d2l." in block or "import d2l_autorec" in block


EXAMPLES = [block for block in code_blocks(README) if is_python(block)]


@pytest.mark.realdata
def test_the_examples_run_one_after_the_other(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("D2L_AUTOREC_DATA", str(data_dir))
    names: dict = {}
    for block in EXAMPLES:
        exec(compile(block, "README.md", "exec"), names)

    assert names["model"].metrics["test_rmse"] == pytest.approx(0.90, abs=0.02)
    assert len(names["model"].history) == 25
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "out"}
    assert np.array_equal(names["ratings"].values, [5, 3, 4])
    assert isinstance(names["ratings"], d2l.Ratings)


def test_it_shows_a_model_and_a_frame():
    together = "\n".join(EXAMPLES)
    for call in ("train_model", "recommend_new_user", "load_run", "Ratings.from_frame"):
        assert f".{call}(" in together or f"d2l.{call}(" in together
