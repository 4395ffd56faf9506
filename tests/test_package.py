"""What holds for the package as a whole: its surface, its imports, its documentation."""

import ast
import doctest
import importlib
import importlib.metadata
import inspect
import io
import json
import pickle
import pkgutil
import re
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path

import pytest
from numpydoc.docscrape import FunctionDoc
from numpydoc.validate import validate

import skfmri
from skfmri.datasets import load_bids_runs, load_bids_samples
from skfmri.datasets.defaults import BIDS
from skfmri.docstrings import PLACEHOLDER
from skfmri.estimators.defaults import SLAB_CNN, VOLUME_CNN
from skfmri.preprocessing.defaults import ROTATOR, ZSCORER

CHECKOUT = Path(__file__).parents[1]
ROOT = Path(skfmri.__file__).parent
MODULES = [
    module.name
    for module in pkgutil.walk_packages(skfmri.__path__, "skfmri.")
    if not module.name.endswith("__main__")
]
DOCSTRING_RULES = {
    "GL08": "has no docstring",
    "SS01": "has no summary",
    "SS03": "its summary does not end with a period",
    "PR01": "leaves a parameter out",
    "PR02": "documents a parameter that it does not take",
    "RT01": "does not say what it returns",
    "YD01": "does not say what it yields",
}


def is_ours(value, module_name):
    """Whether a class or function is defined in a module, as opposed to imported by it."""
    is_code = inspect.isclass(value) or inspect.isfunction(value)
    return is_code and value.__module__.startswith(module_name)


def public_objects():
    """Classes and functions that a user reaches from the root, by their full names."""
    found = []
    for value in (getattr(skfmri, name) for name in skfmri.__all__):
        if inspect.ismodule(value):
            names = getattr(value, "__all__", [key for key in vars(value) if key[0] != "_"])
            members = [getattr(value, name) for name in names]
            found += [item for item in members if is_ours(item, value.__name__)]
        elif is_ours(value, "skfmri"):
            found.append(value)
    return {f"{item.__module__}.{item.__qualname__}": item for item in found}


def public_methods(cls):
    """Methods and properties that a class has from the package, not from another library."""
    for base in (base for base in cls.__mro__ if is_ours(base, "skfmri")):
        for name, value in vars(base).items():
            value = getattr(value, "__func__", value)
            is_method = inspect.isfunction(value) or isinstance(value, property)
            if is_method and not name.startswith("_"):
                yield f"{base.__module__}.{base.__qualname__}.{name}", value


PUBLIC = public_objects()
DOCUMENTED = PUBLIC | {
    name: method
    for cls in PUBLIC.values()
    if inspect.isclass(cls)
    for name, method in public_methods(cls)
}
CALLABLES = [name for name, value in DOCUMENTED.items() if not isinstance(value, property)]
ROOT_CODE = [name for name in sorted(skfmri.__all__) if callable(getattr(skfmri, name))]


NAMED = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
SOURCES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted(ROOT.rglob("*.py"))
}


def docstring_lines(tree):
    """Numbers of the lines that are docstrings of a module, class or function."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, (ast.Module, *NAMED))]
    texts = [node.body[0] for node in nodes if ast.get_docstring(node, clean=False) is not None]
    return {line for text in texts for line in range(text.lineno, text.end_lineno + 1)}


def lengths(source):
    """Lines of a file, and of the body of each of its functions, docstrings not counted."""
    tree = ast.parse(source)
    left_out = docstring_lines(tree)
    bodies = {}
    for node in ast.walk(tree):
        if isinstance(node, NAMED) and not isinstance(node, ast.ClassDef):
            body = [statement for statement in node.body if statement.lineno not in left_out]
            lines = range(body[0].lineno, node.end_lineno + 1) if body else []
            bodies[f"{node.name} in line {node.lineno}"] = len(set(lines) - left_out)
    return len(source.splitlines()) - len(left_out), bodies


def modules_after(statement):
    """Names of the modules that a new process holds after one statement."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    # PYTHONSAFEPATH, set in conftest.py, keeps the checkout out of sys.path.
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout))


def documented_defaults(value):
    """Type texts and default texts of the parameters that a docstring describes itself.

    ``a, b : int, default=1`` says 1 of both, ``a, b : int, default 1, 2`` says it one by one.
    """
    for entry in FunctionDoc(None, doc=inspect.getdoc(value))["Parameters"]:
        if " ".join(entry.desc).startswith("As in"):
            continue
        names = [name.strip(" *") for name in entry.name.split(",")]
        match = re.search(r"\bdefaults?(?:=|:\s*|\s+)(.+)$", entry.type)
        text = match[1].strip().replace("`", "") if match else None
        texts = text.split(", ") if text else [None]
        if len(names) == 1 or len(texts) != len(names):
            texts = [text] * len(names)
        for name, default_text in zip(names, texts, strict=True):
            yield name, entry.type, default_text


def default_mismatch(default, type_text, default_text):
    """Say how a documented default differs from the real one, or return None."""
    if default is inspect.Parameter.empty:
        return f"documents default={default_text}, but has none" if default_text else None
    if default_text is None:
        silent = default is None and re.search(r"\b(optional|None|[Ii]gnored)\b", type_text)
        return None if silent else f"default={default!r} is not documented"
    try:
        documented = ast.literal_eval(default_text)
    except (SyntaxError, ValueError):
        is_code = inspect.isclass(default) or inspect.isroutine(default)
        documented = (
            default if is_code and default_text.endswith(default.__name__) else default_text
        )
    same = documented == default and type(documented) is type(default)
    return None if same else f"documents default={default_text}, but it is {default!r}"


def default_mismatches(value):
    """Compare every documented default of a class, function or method with the real one."""
    parameters = inspect.signature(value).parameters
    found = {
        name: default_mismatch(parameters[name].default, type_text, default_text)
        for name, type_text, default_text in documented_defaults(value)
        if name in parameters
    }
    return [f"{name}: {message}" for name, message in found.items() if message]


@pytest.mark.parametrize("package", ["keras", "tensorflow", "scikeras", "matplotlib"])
def test_importing_the_root_does_not_load(package):
    assert package not in modules_after("import skfmri")


@pytest.mark.parametrize(
    "name",
    ["NiftiSamples", "clean_runs", "NiftiSlabRotator", "VoxelZScorer", "RepeatedGroupKFold"],
)
def test_keras_is_loaded_by_the_networks_only(name):
    assert not modules_after(f"from skfmri import {name}") & {"keras", "tensorflow"}


@pytest.mark.parametrize("room", ["datasets", "estimators", "preprocessing"])
def test_defaults_are_read_without_what_they_are_for(room):
    loaded = modules_after(f"import skfmri.{room}.defaults")
    assert not loaded & {"keras", "tensorflow", "nilearn", "pandas", "sklearn"}


@pytest.mark.parametrize(
    ("takes", "defaults"),
    [
        (skfmri.SlabCNNClassifier, SLAB_CNN),
        (skfmri.VolumeCNNClassifier, VOLUME_CNN),
        (skfmri.NiftiSlabRotator, ROTATOR),
        (skfmri.VoxelZScorer, ZSCORER),
        (load_bids_samples, BIDS),
    ],
)
def test_defaults_are_those_of_every_parameter(takes, defaults):
    parameters = inspect.signature(takes).parameters.values()
    found = {p.name: p.default for p in parameters if p.default is not p.empty}
    assert found == vars(defaults)


def test_both_bids_loaders_have_the_same_defaults():
    parameters = inspect.signature(load_bids_runs).parameters.values()
    found = {p.name: p.default for p in parameters if p.default is not p.empty}
    assert found.items() <= vars(BIDS).items()
    assert vars(BIDS).keys() - found == {"clean", "detrend", "standardize", "high_pass"}


def test_classifiers_are_found_where_version_0_1_had_them():
    from skfmri.classifier import SlabCNNClassifier, VolumeCNNClassifier

    assert SlabCNNClassifier is skfmri.SlabCNNClassifier
    assert VolumeCNNClassifier is skfmri.VolumeCNNClassifier
    # What a pickle of that version holds in place of a class.
    for name in ("SlabCNNClassifier", "VolumeCNNClassifier"):
        assert pickle.loads(f"cskfmri.classifier\n{name}\n.".encode()) is getattr(skfmri, name)


def test_private_modules_at_the_root_are_ground_for_all():
    private = {name for name in SOURCES if re.fullmatch(r"_[^_][^/]*", name)}
    assert private == {"_arrays.py", "_cache.py", "_files.py", "_types.py", "_validation.py"}


def test_rooms_have_no_private_modules():
    inside = [path.relative_to(ROOT) for path in ROOT.rglob("*") if path.suffix in {".py", ".so"}]
    private = {
        path.as_posix()
        for path in inside
        if len(path.parts) > 1 and re.match("_[^_]", path.name)
        if path.parts[0] not in {"datasets", "plotting"}
        if path.name.partition(".")[0] != "_splines"
    }
    assert not private


def test_no_file_is_longer_than_500_lines():
    found = {name: lengths(source)[0] for name, source in SOURCES.items()}
    assert not {name: n_lines for name, n_lines in found.items() if n_lines > 500}


def test_no_function_is_longer_than_60_lines():
    found = {
        f"{name}: {function}": n_lines
        for name, source in SOURCES.items()
        for function, n_lines in lengths(source)[1].items()
    }
    assert not {name: n_lines for name, n_lines in found.items() if n_lines > 60}


def test_lengths_leave_docstrings_out():
    source = '"""A module,\n\nwith more."""\n\n\ndef outer():\n    """One."""\n    a = (\n'
    source += '        1,\n    )\n\n    def inner():\n        """Two\n        lines."""\n'
    source += "        return a\n\n    return inner\n"
    n_lines, bodies = lengths(source)
    assert n_lines == len(source.splitlines()) - 3 - 1 - 2
    assert bodies == {"outer in line 6": 8, "inner in line 12": 1}


@pytest.mark.parametrize("command", ["", "decode", "demo", "report", "predict"])
def test_help_loads_nothing_heavy(command):
    argv = [*command.split(), "--help"]
    # The exit of --help would end the process before its modules are listed.
    statement = (
        "from contextlib import redirect_stdout, suppress\n"
        "from io import StringIO\n"
        "from skfmri.cli import main\n"
        f"with suppress(SystemExit), redirect_stdout(StringIO()): main({argv!r})"
    )
    heavy = {"keras", "tensorflow", "matplotlib", "sklearn", "nilearn", "pandas", "numpy"}
    assert not modules_after(statement) & heavy


def test_building_samples_loads_neither_keras_nor_matplotlib():
    statement = (
        "import numpy, skfmri\n"
        "skfmri.NiftiSamples.from_array(numpy.zeros((2, 3, 4, 5)), numpy.eye(4))"
    )
    assert not modules_after(statement) & {"keras", "tensorflow", "matplotlib"}


def test_the_installed_package_is_the_one_under_test():
    try:
        distribution = importlib.metadata.distribution("skfmri")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("skfmri is on the path, but not installed")
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        pytest.skip("skfmri is installed in editable mode: the checkout is what is installed")
    assert Path(skfmri.__file__).samefile(distribution.locate_file("skfmri/__init__.py"))
    assert distribution.version == skfmri.__version__


@pytest.mark.parametrize("name", ["py.typed", "__init__.pyi"])
def test_type_information_is_shipped(name):
    assert (Path(skfmri.__file__).parent / name).is_file()


@pytest.mark.parametrize("name", sorted(skfmri.__all__))
def test_every_public_name_resolves_and_has_a_docstring(name):
    assert inspect.getdoc(getattr(skfmri, name))


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_in_one_sentence_what_it_is_for(name):
    docstring = inspect.getdoc(importlib.import_module(name))
    assert docstring, f"{name} has no docstring"
    sentence = docstring.split("\n\n")[0]
    assert sentence.endswith(".")
    assert " and " not in sentence.replace("\n", " ")


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_docstrings_are_complete(name):
    # A record documents its fields as attributes: a function makes it, not the user.
    is_record = is_dataclass(DOCUMENTED[name]) or hasattr(DOCUMENTED[name], "_fields")
    rules = DOCSTRING_RULES.keys() - ({"PR01"} if is_record else set())
    assert not [message for code, message in validate(name)["errors"] if code in rules]


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_shared_texts_are_filled_into_docstrings(name):
    assert not PLACEHOLDER.findall(inspect.getdoc(DOCUMENTED[name]))


@pytest.mark.parametrize("name", ROOT_CODE)
def test_docstrings_hold_an_example(name):
    assert ">>> " in inspect.getdoc(getattr(skfmri, name))


@pytest.mark.parametrize("name", sorted(CALLABLES))
def test_documented_defaults_are_the_real_ones(name):
    assert not default_mismatches(DOCUMENTED[name])


def test_a_wrong_default_would_be_noticed():
    def scale(data, factor=0.5, *, offset=1, name=None, low=0, high=1):
        """Scale.

        Parameters
        ----------
        data : array, default=None
            Data.
        factor : float, default=2.0
            Factor.
        offset : int
            Offset.
        name : str, optional
            Name.
        low, high : int; default 0, 10
            Limits.
        """

    assert default_mismatches(scale) == [
        "data: documents default=None, but has none",
        "factor: documents default=2.0, but it is 0.5",
        "offset: default=1 is not documented",
        "high: documents default=10, but it is 1",
    ]


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_show(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in doctest.DocTestFinder().find(importlib.import_module(name)):
        runner.run(test, out=output.write)
    assert runner.summarize(verbose=False).failed == 0, output.getvalue()


def test_the_reference_lists_every_public_class_and_function():
    listed = set((CHECKOUT / "docs" / "api.rst").read_text().split())
    missing = []
    for name in PUBLIC:
        module, _, own_name = name.rpartition(".")
        package = ".".join(module.split(".")[:2])
        if not {f"skfmri.{own_name}", f"{package}.{own_name}", module, package} & listed:
            missing.append(name)
    assert not missing
