"""Commands of the ``skfmri`` program."""

import importlib
import os
import sys

from skfmri.cli.arguments import make_parser

# Modules of commands import much: not before the arguments are understood.
COMMANDS = {
    "decode": ("skfmri.cli.decode", "run_decode"),
    "demo": ("skfmri.cli.decode", "run_demo"),
    "report": ("skfmri.cli.rebuild", "run_report"),
    "predict": ("skfmri.cli.predict", "run_predict"),
}
OK, USER_MISTAKE, DIVERGED, INTERRUPTED = 0, 2, 3, 130


def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : list of str, default=None
        Arguments; None takes those of the process.

    Returns
    -------
    status : int
        0 if all went well, 2 after a mistake in the input, 3 if the network diverged, 130 after an
        interrupt.
    """
    # Before TensorFlow loads, here and in workers: its start-up messages are no news to a user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    args = None
    try:
        args = make_parser().parse_args(argv)
        module, function = COMMANDS[args.command]
        return getattr(importlib.import_module(module), function)(args)
    except (KeyboardInterrupt, ImportError, SystemError) as error:
        if not _is_interrupt(error):
            raise
        way_out = "; --resume goes on where it stopped" if hasattr(args, "resume") else ""
        print(f"skfmri: interrupted{way_out}.", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, TypeError, OSError) as error:
        if args is not None and args.traceback:
            raise
        print(f"skfmri: error: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_MISTAKE


def _is_interrupt(error):
    """Return whether an error is an interrupt, or what a compiled module made of one."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None
