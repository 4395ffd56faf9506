"""Phrases that read as translated do not come back."""

import re
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
PHRASES = {
    r"\bby heart\b": "memorised, overfits",
    r"\bthese very\b": "the same",
    r"\bby custom\b": "by convention",
    r"\bwhoever\b": "if you, anyone who",
    r"\bmay not be trusted\b": "do not trust",
    r"\btold in\b": "written, described",
    r"\bin (what|values that) JSON knows\b": "as JSON-serialisable values",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\btakes? (it|them|volumes|this) for\b": "predicts, regards as",
    r"(?<!there )\bis no (?!longer\b|such\b|more\b)\w": "is not a",
    r"\bnamed right\b": "correctly classified",
    r"\bonce more\b": "again",
    r"\bfor want of\b": "for lack of",
}
SUFFIXES = {".py", ".rst", ".md", ".html", ".pyi", ".c"}


def texts():
    """Files that people read, but for this one and those that are frozen."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    if not listed:
        pytest.skip("the checkout is not under version control")
    kept = [CHECKOUT / name for name in listed if Path(name).suffix in SUFFIXES]
    return [path for path in kept if path.exists() and path != Path(__file__)]


@pytest.mark.parametrize("phrase", PHRASES)
def test_a_phrase_does_not_return(phrase):
    found = [
        f"{path.relative_to(CHECKOUT)}:{number}: {line.strip()}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(phrase, line, re.IGNORECASE)
    ]
    assert not found, f"write {PHRASES[phrase]!r} instead in\n" + "\n".join(found)


def test_a_phrase_would_be_found():
    assert re.search(r"\bby heart\b", "it learns them by heart")
    (is_no,) = [phrase for phrase in PHRASES if "is no" in phrase]
    for text, expected in (("x is no optimizer", True), ("There is no file", False)):
        assert bool(re.search(is_no, text, re.IGNORECASE)) is expected
