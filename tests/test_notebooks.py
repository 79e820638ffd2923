"""The notebooks: committed executed and clean, and they run from their folder."""

import ast
import re
from textwrap import dedent

import nbclient
import nbformat
import pytest
from helpers import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"), key=lambda path: path.name)
MACHINE_PATH = re.compile(
    r"(?<![\w./:])/(?:tmp|work|home|root|usr|opt|var|mnt|Users|private)/"
    r"|(?<!\w)[A-Z]:\\"
)
QUICK = {  # for each notebook: constants that make it quick
    "autorec.ipynb": dict(
        DATASET="auto",
        BATCH_SIZE=64,
        HIDDEN=20,
        EPOCHS=2,
        SEEDS=(0,),
        STOP=dict(val_ratio=0.1, epochs=2, patience=1),
        WEIGHT_DECAYS=(1e-4,),
        MF_EPOCHS=1,
        STARS=(5, 1),
        OFFERED=20,
        HIDDEN_SIZES=(5, 20),
        DEPTHS=((20,), (20, 10)),
        GRID_HIDDEN=5,
        ENCODERS=("identity", "sigmoid"),
        DECODERS=("identity", "sigmoid"),
        CONTEXT_EPOCHS=1,
    ),
    "measured.ipynb": {},  # it reads csv files alone
    "mult_vae.ipynb": dict(
        DATASET="auto", HELDOUT=0.1, DIMS=((8, 4), (10, 5)), EPOCHS=5, BATCH=50, PASSES=2
    ),
    "own_ratings.ipynb": dict(
        READERS=80,
        BOOKS=60,
        RATINGS=2000,
        GENRES=("crime", "poetry"),
        FOLDS=2,
        TRIALS=2,
        NEWCOMERS=3,
        GIVEN=(1, 4),
    ),
}
TINY = dict(DATASET="synthetic:60x80x900", USER=1, ITEM=80)
QUICKER = """
import d2l_autorec
for config in (d2l_autorec.AutoRecConfig, d2l_autorec.MFConfig):
    config.presets["best"]["updates"] = 20
"""  # the first cell of a quick run: no constant of a notebook sets the length of a preset
CLICKS = {  # a cell that uses a notebook's controls, and says what they should show then
    "autorec.ipynb": "films[0].index = 1\nstars[0].value = 3\nrecommended()"
}
SHOWN = {  # the package's own code that a reader must find
    "autorec.ipynb": {
        "AutoRec",
        "evaluator",
        "predict_at",
        "train_recsys_rating",
        "fit",
        "train_epoch",
        "train_step",
        "split_and_load",
    }
}
SOURCE = re.compile(
    r"`([\w.]+)`, in `(d2l_autorec/[\w/]+\.py)`:\n\n```python\n(.*)\n```", re.DOTALL
)
FIGURE = re.compile(r"(?<![\d.])\d\.\d{3,}(?!\d)")
SAID = {  # sentences without figures, and what shows in the outputs that they are true
    "mult_vae.ipynb": {
        "Smaller data have fewer updates, and beta hardly leaves 0.": r"original, .* 0\.00\d",
        "The second pass repeats the first up to its best epoch.": (
            r"equal up to there .*\n.*\n(\d+-\d+ .* True .*\n){3}"
        ),
        "The first call decides.": (
            r"first call in training +samples +samples\n"
            r"first call in prediction +does not sample +does not sample"
        ),
    },
    "own_ratings.ipynb": {
        "A wrong column name is reported": "error: user='Card number': .* did you mean Card no.",
        "a missing rating, a rating off the scale, and a rating that is there twice": (
            r"(?s)error: .* is missing; .*error: .* outside the scale .*error: .* are repeated"
        ),
    },
}
DEFINITION = re.compile(r"^(?:class|def) (\w+)", re.MULTILINE)
NAMED_TEST = re.compile(r"\[`(test_\w+)`\]\(([^)]+)\)")

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


def read(path):
    """A notebook, checked against the format's schema."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


@pytest.fixture
def notebook(path):
    """The notebook as it is committed."""
    return read(path)


def code_cells(notebook):
    """Its code cells, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def upper_case(tree):
    """Upper-case names that the code assigns, one for each time."""
    return [
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id.isupper()
    ]


def is_literal(value):
    """Whether an expression is a number, a string, or a collection of them, written out."""
    try:
        ast.literal_eval(value)
    except ValueError:
        return False
    return True


def constants(source):
    """Constants of the code: upper-case names to which a statement of a cell assigns literals."""
    return [
        name
        for statement in ast.parse(source).body
        if isinstance(statement, ast.Assign) and is_literal(statement.value)
        for name in upper_case(statement)
    ]


def with_constants(source, values):
    """The code with other values for some of its constants."""
    body = []
    for statement in ast.parse(source).body:
        body.append(ast.unparse(statement))
        body += [f"{name} = {values[name]!r}" for name in upper_case(statement) if name in values]
    return "\n".join(body)


def execute(path, values):
    """Run a copy with other constants in the notebook's folder; a cell's error is raised.

    A first cell shortens presets. Where the notebook has controls, a last cell uses them.
    """
    notebook = read(path)
    for cell in code_cells(notebook):
        cell.source = with_constants(cell.source, values)

    notebook.cells.insert(0, nbformat.v4.new_code_cell(QUICKER))
    if path.name in CLICKS:
        notebook.cells.append(nbformat.v4.new_code_cell(CLICKS[path.name]))

    nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    return notebook


def texts(cells):
    """What the outputs of code cells say, pictures in base64 left out."""
    found = []
    for output in (output for cell in cells for output in cell.outputs):
        data = {kind: text for kind, text in output.get("data", {}).items() if kind != "image/png"}
        found += [output.get("text", ""), *map(str, data.values())]
    return found


def markdown(notebook):
    """Its prose."""
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def executes(path, values):
    """Execute a notebook and its controls; it leaves no file."""
    before = {file.name for file in path.parent.iterdir()}
    notebook = execute(path, values)
    assert {file.name for file in path.parent.iterdir()} == before

    cells = code_cells(notebook)
    assert all(cell.execution_count for cell in cells)
    if path.name in CLICKS:  # what the controls ask for replaces what stood there
        *cells, clicked = cells
        assert set(texts([clicked])) <= set(texts(cells))


def test_executes(path):
    executes(path, {**QUICK[path.name], **TINY})


@pytest.mark.slow
@pytest.mark.realdata
def test_executes_with_real_data(path, data_dir):
    if "DATASET" not in QUICK[path.name]:
        pytest.skip("it has the same data, whatever is at hand")
    executes(path, QUICK[path.name])


def test_constants_are_literals_assigned_once_and_those_of_the_quick_run(path, notebook):
    sources = [cell.source for cell in code_cells(notebook)]
    written = [name for source in sources for name in constants(source)]
    stored = [name for source in sources for name in upper_case(ast.parse(source))]
    assert sorted(stored) == sorted(written) and len(set(written)) == len(written)
    assert QUICK[path.name].keys() <= set(written)


def test_committed_as_executed(path, notebook):
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert len([output for output in outputs if "image/png" in output.get("data", {})]) >= 4
    assert path.stat().st_size < 1_000_000
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) <= {"kernelspec", "language_info", "widgets"}
    # what a page that runs nothing shows of the controls
    assert all(widgets["state"] for widgets in notebook.metadata.get("widgets", {}).values())
    assert not [cell for cell in notebook.cells if set(cell.metadata) - {"jupyter"}]


def test_no_path_of_a_machine(notebook):
    sources = [cell.source for cell in notebook.cells]
    for text in [*sources, *texts(code_cells(notebook)), str(notebook.metadata)]:
        assert not MACHINE_PATH.search(text), text


def test_figures_in_prose_are_those_of_the_outputs(notebook):
    shown = "\n".join(texts(code_cells(notebook)))
    typed = set(FIGURE.findall(markdown(notebook)))
    assert not {figure for figure in typed if figure not in shown}


def test_what_is_said_shows_in_the_outputs(path, notebook):
    prose = " ".join(markdown(notebook).split())
    shown = "\n".join(texts(code_cells(notebook)))
    for sentence, evidence in SAID.get(path.name, {}).items():
        assert sentence in prose
        assert re.search(evidence, shown), sentence


def test_tests_that_are_named_are_there(path, notebook):
    for name, file in NAMED_TEST.findall(markdown(notebook)):
        assert f"def {name}(" in (path.parent / file).read_text(encoding="utf-8")


def without_docstring(node, lines):
    """The lines of a definition, less its docstring."""
    kept = lines[node.lineno - 1 : node.end_lineno]
    if ast.get_docstring(node) is not None:
        first = node.body[0]
        del kept[first.lineno - node.lineno : first.end_lineno - node.lineno + 1]
    return dedent("\n".join(kept))


def test_shows_the_code_of_the_package_as_it_is(path, notebook):
    found = map(SOURCE.fullmatch, texts(code_cells(notebook)))
    shown = [match.groups() for match in found if match]
    assert {name for name, _, _ in shown} >= SHOWN.get(path.name, set())

    for name, file, code in shown:
        source = (ROOT / file).read_text(encoding="utf-8")
        own = [
            without_docstring(node, source.splitlines())
            for node in ast.walk(ast.parse(source))
            if isinstance(node, (ast.ClassDef, ast.FunctionDef))
            if node.name == name.rpartition(".")[2]
        ]
        assert code in own, f"{name} has changed: execute {path.name} anew"


def test_defines_nothing_that_the_package_has(notebook):
    own = {name for cell in code_cells(notebook) for name in DEFINITION.findall(cell.source)}
    for module in (ROOT / "d2l_autorec").rglob("*.py"):
        assert not own & set(DEFINITION.findall(module.read_text(encoding="utf-8"))), module


def test_needs_no_more_of_the_package_than_its_own_name(notebook):
    for cell in code_cells(notebook):
        assert not re.search(r"^\s*(import|from) d2l_autorec\.", cell.source, re.MULTILINE)
        assert "set_np" not in cell.source


TOO_WIDE = """() =>
    [...document.querySelectorAll('body, .jp-OutputArea-output, .jp-RenderedMarkdown')]
    .filter(element => element.scrollWidth > element.clientWidth + 1)
    .map(element => element.innerText.slice(0, 80))"""
LEFTOVER = re.compile(r"<(Figure|IPython|pandas)|Traceback|Warning:|\bTODO\b")
MARKUP = re.compile(r"[$\\*]|</?\w")  # TeX needs MathJax, from the network
OPTIONAL = re.compile(r"(file|data):|https://.*/(require\.js|mathjax|@jupyter-widgets)/")


def test_its_web_page(path, browser, tmp_path):
    """Without a network nothing is cut off, left over or missing, formulas and styles included."""
    nbconvert = pytest.importorskip("nbconvert")
    content, _ = nbconvert.HTMLExporter().from_filename(str(path))
    (tmp_path / "page.html").write_text(content, encoding="utf-8")

    with browser.new_context(viewport={"width": 1000, "height": 800}, offline=True) as context:
        page = context.new_page()
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / "page.html").as_uri())
        assert page.evaluate(TOO_WIDE) == []
        assert not LEFTOVER.search(page.inner_text("body"))

        page.add_style_tag(content="code, pre { display: none }")
        assert not MARKUP.search("".join(page.locator(".jp-RenderedMarkdown").all_inner_texts()))
        assert not [url for url in asked if not OPTIONAL.match(url)]
