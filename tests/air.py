"""How dense the code is: figures over function bodies, docstrings and blank lines apart.

    python tests/air.py [FOLDER]

Prints, for a package: syntax nodes and characters a line, and conditional
expressions and blank lines a hundred lines. Fails where a bound is passed.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef
MOST_CONDITIONALS, FEWEST_BLANKS = 1.5, 10.0  # a hundred body lines


def functions_of(tree: ast.AST) -> Iterator[Function]:
    """Every outermost function of a module, methods included."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node
        else:
            yield from functions_of(node)


def body_of(function: Function) -> list[ast.stmt]:
    """The statements of a function, without its docstring."""
    first = function.body[0]
    is_docstring = (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )
    return function.body[1:] if is_docstring else function.body


def measure(folder: Path) -> dict[str, float]:
    """The figures of all modules below a folder."""
    nodes = characters = conditionals = blanks = lines = 0

    for path in sorted(folder.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        text = source.splitlines()

        for function in functions_of(ast.parse(source)):
            body = body_of(function)
            if not body:
                continue
            rows = text[body[0].lineno - 1 : body[-1].end_lineno]
            full = [row for row in rows if row.strip()]
            lines += len(full)
            blanks += len(rows) - len(full)
            characters += sum(len(row.strip()) for row in full)

            for node in (inner for statement in body for inner in ast.walk(statement)):
                nodes += 1
                conditionals += isinstance(node, ast.IfExp)

    return {
        "nodes a line": nodes / lines,
        "characters a line": characters / lines,
        "conditional expressions a hundred lines": 100 * conditionals / lines,
        "blank lines a hundred lines": 100 * blanks / lines,
    }


def main() -> int:
    """Print the figures; 1 where a bound is passed."""
    figures = measure(Path(sys.argv[1] if sys.argv[1:] else "d2l_autorec"))
    for name, value in figures.items():
        print(f"{value:6.1f} {name}")

    crowded = figures["conditional expressions a hundred lines"] > MOST_CONDITIONALS
    breathless = figures["blank lines a hundred lines"] < FEWEST_BLANKS
    return int(crowded or breathless)


if __name__ == "__main__":
    sys.exit(main())
