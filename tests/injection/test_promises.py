"""The page "What happens when" names tests that exist."""

import ast
import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "docs" / "what_happens_when.rst"
NAMED = sorted(set(re.findall(r"``(tests/[\w/]+\.py::[\w:]+)``", PAGE.read_text("utf-8"))))


def test_every_promise_names_a_test():
    rows = re.findall(r"^   \* - (.*?)(?=^   \* - |^\S|\Z)", PAGE.read_text("utf-8"), re.M | re.S)
    promises = [row for row in rows if not row.startswith("What happens")]
    assert len(promises) > 20
    assert not [row for row in promises if "``tests/" not in row]


@pytest.mark.parametrize("name", NAMED)
def test_the_test_exists(name):
    file, *inside = name.split("::")
    body = ast.parse((CHECKOUT / file).read_text("utf-8")).body
    for part in inside:
        (found,) = [node for node in body if getattr(node, "name", None) == part]
        body = found.body
    assert inside[-1].startswith("test_")
