"""CONTRIBUTING.md says what is so."""

import re
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
TEXT = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def rows_below(heading):
    """Cells of the table below a heading."""
    section = TEXT.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def names_in(cell):
    return re.findall(r"`([^`]+)`", cell)


def test_its_layers_are_those_that_are_checked():
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = [
        contract
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers" and contract["containers"] == ["skfmri"]
    ]
    layers = [layer.split(" | ") for layer in contract["layers"]]
    rows = rows_below("Where things live")
    assert [names_in(rooms) for _, rooms, _ in rows] == layers
    assert [int(number) for number, *_ in rows] == list(range(len(layers)))[::-1]
    assert len(layers) <= 11


@pytest.mark.parametrize("row", rows_below("Where do I change ..."), ids=lambda row: row[0])
def test_the_file_to_open_first_exists(row):
    (name,) = names_in(row[1])
    assert (CHECKOUT / name).is_file()


def test_every_file_that_it_names_exists():
    names = set(re.findall(r"`((?:skfmri|tests|docs|benchmarks)/[\w./]+\.\w+)`", TEXT))
    assert names
    assert not [name for name in names if not (CHECKOUT / name).exists()]
