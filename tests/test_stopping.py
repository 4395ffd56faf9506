import errno
import os
import signal
import subprocess
import sys
import threading
import warnings

import pytest

import skfmri.cli.decode
import skfmri.cli.predict
from skfmri.cli import main

WAY_ON = "Finished folds are kept; the same command with --resume goes on from there."
ENDS = {
    signal.SIGINT: (130, f"skfmri: interrupted. {WAY_ON}\n"),
    signal.SIGTERM: (143, f"skfmri: terminated. {WAY_ON}\n"),
}


def command_that(act, monkeypatch):
    monkeypatch.setattr(skfmri.cli.decode, "run_demo", lambda args: act())


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_ends_a_command_with_one_line(number, monkeypatch, capsys):
    command_that(lambda: signal.raise_signal(number), monkeypatch)
    before = signal.getsignal(number)
    status, message = ENDS[number]
    assert main(["demo"]) == status
    assert capsys.readouterr().err == message
    assert signal.getsignal(number) is before


def test_a_command_that_keeps_nothing_promises_nothing(tmp_path, monkeypatch, capsys):
    for name in ("model", "image"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        skfmri.cli.predict, "run_predict", lambda args: signal.raise_signal(signal.SIGTERM)
    )
    assert main(["predict", "model", "image"]) == 143
    assert capsys.readouterr().err == "skfmri: terminated.\n"


@pytest.mark.parametrize("raised", [ImportError, SystemError, RuntimeError, AttributeError])
def test_a_signal_that_a_library_turns_into_another_error_is_still_one(raised, monkeypatch, capsys):
    def act():
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise raised("half imported") from None

    command_that(act, monkeypatch)
    assert main(["demo"]) == 143
    assert capsys.readouterr().err == ENDS[signal.SIGTERM][1]


def test_a_signal_that_is_ignored_stays_so(monkeypatch):
    command_that(lambda: signal.raise_signal(signal.SIGINT), monkeypatch)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert main(["demo"]) is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_command_runs_outside_the_main_thread(monkeypatch):
    command_that(lambda: 0, monkeypatch)
    found = []
    thread = threading.Thread(target=lambda: found.append(main(["demo"])))
    thread.start()
    thread.join()
    assert found == [0]


STOP_AT = """
import signal, sys

class Finder:
    def find_spec(name, path=None, target=None):
        if name == {module!r}:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Finder)
from skfmri.cli import main
sys.exit(main(["demo"]))
"""


@pytest.mark.parametrize("module", ["argparse", "skfmri.cli.arguments", "numpy", "sklearn"])
def test_an_interrupt_of_imports_prints_no_traceback(module, tmp_path):
    finished = subprocess.run(
        [sys.executable, "-c", STOP_AT.format(module=module)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (finished.returncode, finished.stdout) == (130, "")
    (line,) = finished.stderr.splitlines()
    assert line.startswith("skfmri: interrupted.")
    assert os.listdir(tmp_path) == []


class TestErrors:
    FULL = OSError(errno.ENOSPC, "results/folds.csv cannot be written: no space")

    @pytest.mark.parametrize("argv", [["demo"], ["report", "results"]])
    def test_a_full_disk_says_how_to_go_on_if_there_is_a_way(
        self, argv, tmp_path, monkeypatch, capsys
    ):
        (tmp_path / "results").mkdir()
        monkeypatch.chdir(tmp_path)

        def act(args):
            raise self.FULL

        monkeypatch.setattr(skfmri.cli.decode, "run_demo", act)
        monkeypatch.setattr("skfmri.cli.rebuild.run_report", act)
        assert main(argv) == 2
        expected = f"skfmri: error: {self.FULL.strerror}"
        expected += f" {WAY_ON}\n" if argv == ["demo"] else "\n"
        assert capsys.readouterr().err == expected

    def test_control_characters_do_not_reach_the_terminal(self, monkeypatch, capsys):
        def act():
            warnings.warn("label '\x1b[2J'", stacklevel=1)
            raise ValueError("label '\x1b[31m'\n and \x07")

        command_that(act, monkeypatch)
        assert main(["demo"]) == 2
        assert capsys.readouterr().err.splitlines() == [
            r"skfmri: warning: label '\x1b[2J'",
            r"skfmri: error: label '\x1b[31m' and \x07",
        ]

    def test_a_warning_is_one_line_with_options_and_comes_once(self, monkeypatch, capsys):
        def act():
            for threshold in (0.05, 0.05, 0.06):
                with warnings.catch_warnings():  # as libraries do, which forgets what was shown
                    warnings.warn(f"std_threshold={threshold}\nis silent", stacklevel=1)
            return 0

        command_that(act, monkeypatch)
        assert main(["demo"]) == 0
        assert capsys.readouterr().err.splitlines() == [
            "skfmri: warning: --std-threshold 0.05 is silent",
            "skfmri: warning: --std-threshold 0.06 is silent",
        ]
        warnings.warn("afterwards", stacklevel=1)
        assert "skfmri" not in capsys.readouterr().err

    def test_traceback_shows_errors_as_they_arose(self, monkeypatch):
        def act():
            raise ValueError("slab=None")

        command_that(act, monkeypatch)
        with pytest.raises(ValueError, match="slab=None"):
            main(["demo", "--traceback"])

    @pytest.mark.parametrize("raised", [KeyError, RecursionError, MemoryError, AssertionError])
    def test_mistakes_of_the_library_are_not_taken_for_those_of_the_user(self, raised, monkeypatch):
        def act():
            raise raised

        command_that(act, monkeypatch)
        with pytest.raises(raised):
            main(["demo"])
