"""Write the readme of a distribution, which a package index shows without the files around it."""

import re
import tomllib
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
LOCAL_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)]+)\)")


def with_addresses(text, repository):
    """Replace paths in links by addresses; without a repository, by their text alone."""

    def replaced(match):
        mark, shown, path = match.groups()
        if repository is None:
            return f"({shown}: {path} of the source.)" if mark else shown
        return f"{mark}[{shown}]({repository}/{'raw' if mark else 'blob'}/HEAD/{path})"

    return LOCAL_LINK.sub(replaced, text)


urls = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
setup(
    long_description=with_addresses(
        (HERE / "README.md").read_text(encoding="utf-8"), urls.get("Repository")
    ),
    long_description_content_type="text/markdown",
)
