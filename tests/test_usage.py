import os
import subprocess
import sys

import pytest

import skfmri
from skfmri.cli import main
from skfmri.cli.arguments import make_parser
from skfmri.cli.commands import COMMANDS
from skfmri.cli.usage import check_usage

HERE = __file__


@pytest.fixture
def _nothing_loads(monkeypatch):
    """Make the import of what does the work of a command fail."""
    for module, _ in COMMANDS.values():
        monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.usefixtures("_nothing_loads")
@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["decode", HERE, "--out", "x"], "--labels CSV is missing"),
        (["decode", "--labels", HERE, "--out", "x"], "IMAGE is missing"),
        (["decode", "a.nii", "--labels", HERE, "--out", "x"], "There is no file a.nii. Check the"),
        (["decode", HERE, "--labels", "a.csv", "--out", "x"], "Check the path given to --labels"),
        (["decode", "--bids", "x", "--out", "x"], "--bids x needs the task"),
        (["decode", HERE, "--labels", HERE, "--out", "x", "--space", "T1w"], "without --bids ROOT"),
        (["decode", HERE, "--labels", HERE, "--out", "x", "--t-r", "2"], "--t-r does nothing"),
        (["demo", "--anatomy", "a.nii"], "There is no file a.nii. Check the path given to --anat"),
        (["predict", "a.skfmri", HERE], "There is no file a.skfmri."),
        (["predict", HERE, HERE, "a.nii"], "There is no file a.nii."),
        (["report", HERE], "There is no directory"),
        (["decode", "--bogus"], "see skfmri decode --help"),
    ],
)
def test_mistakes_show_before_the_libraries_load(argv, message, capsys):
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.usefixtures("_nothing_loads")
def test_what_is_not_a_mistake_loads_them():
    with pytest.raises(ImportError):
        main(["report", skfmri.__path__[0]])


def test_a_pattern_and_a_link_without_a_target_are_left_to_what_reads_images(tmp_path):
    (tmp_path / "link.nii").symlink_to("nowhere")
    images = [str(tmp_path / "link.nii"), str(tmp_path / "run-*.nii")]
    argv = ["decode", *images, "--labels", HERE, "--out", "x"]
    assert check_usage(make_parser().parse_args(argv)) is None


def test_a_shell_is_told_what_can_follow_only_if_it_asks(monkeypatch):
    argcomplete = pytest.importorskip("argcomplete")
    asked = []
    monkeypatch.setattr(argcomplete, "autocomplete", lambda parser: asked.append(parser.prog))
    with pytest.raises(SystemExit):
        main(["--version"])
    assert asked == []
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    with pytest.raises(SystemExit):
        main(["--version"])
    assert asked == ["skfmri"]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("skfmri decode --axis ", {"x", "y", "z"}),
        ("skfmri demo --slab-ref", {"--slab-reference "}),
    ],
)
def test_completions_are_those_of_the_parser(typed, expected, tmp_path):
    pytest.importorskip("argcomplete")
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": typed, "COMP_POINT": str(len(typed))}
    asked |= {"_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "found")}
    # argcomplete closes files of its process that pytest needs.
    command = [sys.executable, "-m", "skfmri"]
    assert subprocess.run(command, env={**os.environ, **asked}).returncode == 0
    assert set((tmp_path / "found").read_text().split("\n")) == expected
