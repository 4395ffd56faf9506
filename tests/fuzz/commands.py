"""The command line, run in this process with its output caught."""

import contextlib
import io
import warnings

from skfmri.cli.commands import main


class RefusedError(ValueError):
    """The line that the command printed before it ended with status 2."""


def run_command(*argv):
    """Return what a command printed; raise RefusedError if it refused its input."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        status = main([str(argument) for argument in argv])
    shown, complaint = out.getvalue(), err.getvalue()
    assert "\x1b" not in shown + complaint, "an escape sequence reached the terminal"
    if status == 2:
        raise RefusedError(complaint)
    assert status == 0, f"status {status}: {complaint}"
    return shown
