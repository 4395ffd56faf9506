"""Files that appear only when they are complete."""

import contextlib
import json
import os
import tempfile
from pathlib import Path


def write_whole(path, text):
    """Write a text file that appears only when it is complete."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        # mkstemp makes files for their owner only; results follow the user's own mask.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def write_json(path, content):
    """Write a JSON file that appears only when it is complete."""
    write_whole(path, json.dumps(content, indent=2, default=str) + "\n")
