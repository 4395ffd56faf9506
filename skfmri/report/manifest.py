"""The list of files that a run has left in a directory."""

# Read before anything that takes time to load, so nothing of the kind is imported here.
import json
import os
from pathlib import Path

MANIFEST = "manifest.json"
FORMAT, VERSION = "skfmri results", 1


def read_manifest(directory):
    """Return the command that wrote to a directory, and the files that it listed.

    Parameters
    ----------
    directory : str or path-like
        The directory, which need not exist.

    Returns
    -------
    command : str or None
        None without a manifest.
    names : list
        As they are in the manifest, which may have been altered.

    Raises
    ------
    ValueError
        If a file of that name is not a manifest.
    """
    path = Path(directory) / MANIFEST
    if not os.path.lexists(path):
        return None, []
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise ValueError(f"its format is {manifest['format']!r}")
        command, names = manifest["command"], manifest["files"]
        if not isinstance(names, list):
            raise TypeError("files is not a list")
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ValueError(
            f"{path} is not the manifest of results of skfmri: {type(error).__name__}: {error}. "
            "Move it away, or choose another directory."
        ) from error
    return command, names


def refuse_results(directory, names):
    """Raise ValueError because a directory holds earlier results, which may not be replaced."""
    raise ValueError(
        f"{directory} already holds {', '.join(names)}. Choose another directory, or pass "
        "--overwrite, or --resume to go on with the run that left them."
    )
