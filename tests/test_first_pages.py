"""What a newcomer copies from the first pages works."""

import ast
import builtins
import inspect
import re
import runpy
import shlex
import tomllib
from pathlib import Path

import nibabel
import pandas as pd
import pytest
from nilearn._utils.data_gen import create_fake_bids_dataset

from skfmri import SlabCNNClassifier
from skfmri.cli import main
from skfmri.cli.arguments import make_parser

CHECKOUT = Path(__file__).parents[1]
DOCS = CHECKOUT / "docs"
PAGES = [CHECKOUT / "README.md", *sorted(DOCS.glob("*.rst"))]
# Names of what a page leaves to its reader: data, and a decoder that other pages build.
OF_THE_READER = {
    *("X", "y", "ages", "chunks", "confounds", "groups", "images", "labels", "maps", "masks"),
    *("samples", "subjects", "table", "cv", "grid", "pipe", "result", "ResidualClassifier"),
}
START, START_BIDS = DOCS / "getting_started.rst", DOCS / "getting_started_bids.rst"


def blocks(path, language):
    """Texts of the code blocks of a page in one language."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        language = "" if language == "console" else language
        return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    found = re.findall(
        rf"^( *)\.\. code-block:: {language}\n\n((?:\1   .*\n|\n)+)", text, re.MULTILINE
    )
    return [
        re.sub(rf"^{indent}   ", "", block, flags=re.MULTILINE).rstrip() + "\n"
        for indent, block in found
    ]


def undefined(code):
    """Names that a program reads, but neither imports nor defines."""
    nodes = list(ast.walk(ast.parse(code)))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    known = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    known |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    known |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    known |= {name.asname or name.name for node in imports for name in node.names}
    return {node.id for node in names} - known - set(dir(builtins))


def commands(path):
    """Calls of ``skfmri`` that a page shows, also within a sentence, as lists of arguments."""
    lines = "\n".join(blocks(path, "console")).replace("\\\n", " ").splitlines()
    found = [line.removeprefix("$ ") for line in lines]
    found += re.findall(r"``(skfmri \w+ [^`]+)``", path.read_text(encoding="utf-8"))
    calls = [shlex.split(line)[1:] for line in found if line.startswith("skfmri ")]
    return [call for call in calls if call[1:] != ["--help"]]


def shortened(code, **changes):
    """Replace parts of a program, each of which must be there."""
    for old, new in changes.items():
        assert old in code
        code = code.replace(old, new)
    return code


def test_the_first_page_and_the_readme_show_the_same_program():
    # Which tests/test_readme.py runs.
    assert blocks(DOCS / "index.rst", "python") == blocks(CHECKOUT / "README.md", "python")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_imports_what_its_programs_use(path):
    assert undefined("\n".join(blocks(path, "python"))) <= OF_THE_READER


@pytest.mark.parametrize(
    ("path", "arguments"),
    [(path, arguments) for path in PAGES for arguments in commands(path)],
    ids=lambda value: value.stem if isinstance(value, Path) else "_".join(value[:2]),
)
def test_the_command_line_takes_every_command_that_is_shown(path, arguments):
    make_parser().parse_args(arguments)


def test_commands_are_found_where_they_are_shown():
    found = {path.stem: [call[0] for call in commands(path)] for path in PAGES}
    assert found["README"] == ["decode", "decode", "predict"]
    assert found["installation"] == ["demo"]
    assert found["getting_started_bids"] == ["decode"]


@pytest.mark.parametrize("path", [START, START_BIDS], ids=lambda path: path.stem)
def test_options_in_the_tables_exist(path, capsys):
    with pytest.raises(SystemExit):
        main(["decode", "--help"])
    known = set(re.findall(r"--[a-z0-9-]+", capsys.readouterr().out))
    shown = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", path.read_text(encoding="utf-8")))
    assert len(shown) >= 8
    assert shown - {"--help"} <= known


def test_the_five_minute_start_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    example, program = blocks(START, "python")
    exec(shortened(example, **{"n_subjects=24": "n_subjects=6, n_maps=2, n_chunks=3"}), {})
    table = pd.read_csv("labels.csv")
    assert nibabel.load("maps.nii.gz").shape[3] == len(table) == 24
    exec(shortened(program, **{"for_small_samples()": "for_small_samples(epochs=1)"}), {})
    assert re.search(r"^accuracy .* over 3 groups; chance 0\.500", capsys.readouterr().out, re.M)
    assert len(pd.read_csv("predictions.csv")) >= 24
    (arguments,) = commands(START)
    assert main([*arguments, "--folds", "2", "--epochs", "1", "--no-maps", "--quiet"]) == 0
    assert Path("results", "report.html").stat().st_size > 0


def test_the_start_with_bids_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    root = create_fake_bids_dataset(n_sub=2, n_ses=0, tasks=["faces"], n_runs=[1])
    for path in root.rglob("*_events.tsv"):
        rows = [(0, 12, "face"), (12, 12, "house"), (24, 12, "face")]
        events = pd.DataFrame(rows, columns=["onset", "duration", "trial_type"])
        events.to_csv(path, sep="\t", index=False)
    (program,) = blocks(START_BIDS, "python")
    changes = {
        '"study"': repr(str(root)),
        "MNI152NLin2009cAsym": "MNI",
        # Thirty confounds explain thirty volumes.
        'confounds="simple"': 'confounds=("high_pass",)',
        "slab=(20, 23)": "slab=(2, 4)",
        "for_small_samples()": "for_small_samples(epochs=1, n_blocks=0)",
    }
    exec(shortened(program, **changes), {})
    shown = capsys.readouterr().out
    assert re.search(r"^NiftiSamples\(\d+ volumes .* 2 groups\)$", shown, re.M)
    assert re.search(r"^accuracy \d", shown, re.M)


def test_every_dependency_is_explained():
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (DOCS / "installation.rst").read_text(encoding="utf-8")
    listed = re.findall(r"^   \* - ([\w, -]+)$", page, re.MULTILINE)
    explained = {name for row in listed for name in row.split(", ")} - {"Package"}
    required = {re.match(r"[\w-]+", item)[0] for item in project["dependencies"]}
    assert explained == required
    extras = project["optional-dependencies"]
    assert not [name for name in extras if f"``{name}``" not in page]


@pytest.mark.parametrize(
    ("name", "is_listed"),
    [("fit", True), ("predict_proba", True), ("initialize", False), ("partial_fit", False)],
)
def test_members_that_only_refuse_are_not_in_the_reference(name, is_listed):
    leave_out = runpy.run_path(str(DOCS / "conf.py"))["leave_out_members"]
    member = inspect.getattr_static(SlabCNNClassifier, name)
    assert (leave_out(None, "class", name, member, False, None) is None) == is_listed
