"""Public addresses are filled in at one place, and the files that repeat one agree with it."""

import re
import runpy
import shutil
import tomllib
from pathlib import Path

import pytest
import setuptools

CHECKOUT = Path(__file__).parents[1]
NONE_YET = {
    "README.md": ("no public address", "Repository"),
    "CITATION.cff": ("no public address", "Repository"),
    "CODE_OF_CONDUCT.md": ("does not exist yet", "Contact"),
    "docs/releasing.rst": ("no public address", "Repository"),
}


@pytest.mark.parametrize("name", NONE_YET)
def test_a_file_says_that_there_is_no_address_only_while_there_is_none(name):
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    urls = settings["project"]["urls"]
    sentence, kind = NONE_YET[name]
    text = (CHECKOUT / name).read_text(encoding="utf-8")
    if kind in urls:
        assert sentence not in text, f"{name} says that there is no address: give it {urls[kind]}"
        assert urls[kind] in text or name == "docs/releasing.rst"
    else:
        assert sentence in text


def readme_of_distribution(folder, monkeypatch, urls):
    """Return what setup.py passes on in a copy of the checkout with other addresses."""
    for name in ("setup.py", "README.md", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, folder)
    settings = folder / "pyproject.toml"
    text = settings.read_text(encoding="utf-8")
    head, tail = text.split("[project.urls]\n")
    settings.write_text(f"{head}[project.urls]\n{urls}\n[{tail.split('[', 1)[1]}", encoding="utf-8")
    passed = {}
    monkeypatch.setattr(setuptools, "setup", passed.update)
    runpy.run_path(str(folder / "setup.py"))
    assert passed["long_description_content_type"] == "text/markdown"
    return passed["long_description"]


def test_a_package_index_gets_absolute_addresses(tmp_path, monkeypatch):
    address = "https://example.org/skfmri"
    text = readme_of_distribution(tmp_path, monkeypatch, f'Repository = "{address}"')
    assert f"]({address}/raw/HEAD/docs/pictures/overview.png)" in text
    assert f"[CONTRIBUTING.md]({address}/blob/HEAD/CONTRIBUTING.md)" in text
    assert "](docs/" not in text


def test_a_package_index_gets_no_broken_picture_while_there_is_no_address(tmp_path, monkeypatch):
    text = readme_of_distribution(tmp_path, monkeypatch, "")
    assert "![" not in text
    assert "docs/pictures/overview.png of the source.)" in text
    assert "](docs/" not in text


def test_paths_in_the_readme_exist():
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    paths = set(re.findall(r"\]\((?!\w+:|#)([^)]+)\)", text))
    assert len(paths) >= 4
    assert not [path for path in paths if not (CHECKOUT / path).exists()]
