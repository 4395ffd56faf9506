"""What a type checker sees of the package, in programs of users."""

import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import skfmri

CHECKOUT = Path(__file__).parents[1]
TYPED = Path(__file__).parent / "typed"
PAGES = [*CHECKOUT.glob("README.md"), *(CHECKOUT / "docs").glob("*.rst")]
GALLERY = sorted((CHECKOUT / "docs" / "examples").glob("*/*.py"))
ROOT = Path(skfmri.__file__).parent


def public_functions():
    """Functions and methods that a user calls, by their full names."""
    found = {}
    for value in (getattr(skfmri, name) for name in skfmri.__all__):
        home, members = "skfmri", [value]
        if inspect.ismodule(value):
            home = value.__name__
            names = getattr(value, "__all__", [name for name in vars(value) if name[0] != "_"])
            members = [getattr(value, name) for name in names]
        found |= {item.__qualname__: item for item in members if is_ours(item, home)}
    bases = {base for cls in found.values() if inspect.isclass(cls) for base in cls.__mro__}
    for base in filter(is_ours, bases):
        for name, value in vars(base).items():
            value = getattr(value, "__func__", getattr(value, "fget", value))
            if is_ours(value) and (name == "__init__" or not name.startswith("_")):
                found[f"{base.__qualname__}.{name}"] = value
    return {name: value for name, value in found.items() if inspect.isfunction(value)}


def is_ours(value, home="skfmri"):
    """Return whether a class or function is defined in the package, or in a module of it."""
    is_code = inspect.isclass(value) or inspect.isfunction(value)
    return is_code and value.__module__.startswith(home)


def untyped(function):
    """Return the parameters that have no type, and "return" if the result has none."""
    signature = inspect.signature(function)
    parameters = [p for p in signature.parameters.values() if p.name not in ("self", "cls")]
    missing = [p.name for p in parameters if p.annotation is p.empty]
    if signature.return_annotation is signature.empty:
        missing.append("return")
    return missing


def program_of(page):
    """Return the Python code of a page, each line where it is in the page."""
    lines = page.read_text(encoding="utf-8").split("\n")
    code = [""] * len(lines)
    for start, line in enumerate(lines):
        if (directive := re.match(r"( *)\.\. code-block:: python$", line)) is not None:
            margin, end = directive[1] + "   ", start + 1
            while end < len(lines) and (not lines[end].strip() or lines[end].startswith(margin)):
                end += 1
            code[start + 1 : end] = dedent("\n".join(lines[start + 1 : end])).split("\n")
        elif line == "```python":
            end = lines.index("```", start)
            code[start + 1 : end] = lines[start + 1 : end]
    return "\n".join(code)


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """Errors that mypy --strict reports in all programs: line and code, by the program's name."""
    pytest.importorskip("mypy", reason="mypy comes with the extra lint")
    folder = tmp_path_factory.mktemp("programs")
    for page in PAGES:
        if (code := program_of(page)).strip():
            (folder / f"page_{page.stem.lower()}.py").write_text(code, encoding="utf-8")
    programs = [*folder.glob("*.py"), *GALLERY, *TYPED.glob("*.py")]
    environment = dict(os.environ)
    if "site-packages" not in ROOT.parts:
        environment["MYPYPATH"] = str(ROOT.parent)
    # The annotations of the package are under test, not the lines below them.
    command = ["mypy", "--strict", "--ignore-missing-imports", "--follow-imports=silent"]
    command += ["--config-file=", "--cache-dir=cache", "--no-pretty", "--no-error-summary"]
    result = subprocess.run(
        [sys.executable, "-m", *command, *map(str, programs)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert not result.stderr
    found = {path.name: set() for path in programs}
    for line in result.stdout.splitlines():
        if (match := re.match(r"(.+):(\d+): error: .* \[([\w-]+)\]$", line)) is not None:
            found[Path(match[1]).name].add((int(match[2]), match[3]))
    return found


def test_every_parameter_and_result_has_a_type():
    functions = public_functions()
    assert {"evaluate_decoder", "NiftiSamples.from_array", "plot_map"} < functions.keys()
    missing = {name: untyped(function) for name, function in functions.items()}
    assert {name: names for name, names in missing.items() if names} == {}


@pytest.mark.parametrize(
    "stub", sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("__init__.pyi"))
)
def test_a_stub_names_what_its_package_hands_on(stub):
    package = importlib.import_module(".".join(("skfmri", *Path(stub).parts[:-1])))
    names = re.findall(r"(\w+) as \1\b", (ROOT / stub).read_text(encoding="utf-8"))
    assert sorted(names) == sorted(package.__all__)
    for name in names:
        assert getattr(package, name) is not None


@pytest.mark.parametrize("name", ["decode_images.py", "results.py"])
def test_programs_of_users_pass(reported, name):
    assert reported[name] == set()


def test_every_mistake_is_found_where_it_is(reported):
    lines = (TYPED / "mistakes.py").read_text(encoding="utf-8").splitlines()
    found = (re.search(r"# error: ([\w-]+)$", line) for line in lines)
    expected = {(number, code[1]) for number, code in enumerate(found, 1) if code is not None}
    assert len(expected) > 30
    assert reported["mistakes.py"] == expected


# An installed package is tested from an archive that need not hold the documentation.
@pytest.mark.skipif(not GALLERY, reason="the documentation is not beside the tests")
def test_programs_of_the_documentation_pass(reported):
    # A page shows parts of programs, whose data come from the reader, and functions of the
    # reader's own, which need no types.
    own = {"name-defined", "no-untyped-def", "no-untyped-call"}
    programs = reported.keys() - {path.name for path in TYPED.glob("*.py")}
    assert {"page_readme.py", "page_index.py", *(path.name for path in GALLERY)} <= programs
    errors = {name: {e for e in reported[name] if e[1] not in own} for name in programs}
    assert {name: found for name, found in errors.items() if found} == {}
