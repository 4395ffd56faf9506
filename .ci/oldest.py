"""Print the oldest version of each dependency that pyproject.toml allows, as requirements."""

import re
import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def oldest(requirement):
    """Return ``name==lowest.*`` for ``name>=lowest``, or None where no lowest is given."""
    found = re.match(r"([\w-]+)>=([\d.]+)", requirement)
    if not found:
        return None
    name, version = found.groups()
    parts = version.split(".")
    parts += ["0"] * (2 - len(parts))
    return f"{name}=={version}" if len(parts) > 2 else f"{name}=={'.'.join(parts)}.*"


extras = PROJECT["optional-dependencies"]
wanted = PROJECT["dependencies"] + [item for name in sys.argv[1:] for item in extras[name]]
print("\n".join(filter(None, map(oldest, wanted))))
