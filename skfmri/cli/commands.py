"""Commands of the ``skfmri`` program."""

# An interrupt while modules are imported is one like any other: nothing that takes time to import
# is imported before `main` has begun.
import contextlib
import importlib
import os
import signal
import sys
import threading
import warnings

COMMANDS = {
    "decode": ("skfmri.cli.decode", "run_decode"),
    "demo": ("skfmri.cli.decode", "run_demo"),
    "report": ("skfmri.cli.rebuild", "run_report"),
    "predict": ("skfmri.cli.predict", "run_predict"),
}
OK, USER_MISTAKE, DIVERGED, INTERRUPTED, TERMINATED = 0, 2, 3, 130, 143


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
        interrupt, 143 after SIGTERM.
    """
    # Before TensorFlow loads, here and in workers: its start-up messages are no news to a user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    args = None
    with _stopped_by_signals() as received, warnings.catch_warnings():
        try:
            parser = importlib.import_module("skfmri.cli.arguments").make_parser()
            # So a shell asks with the help of argcomplete what could be typed next.
            if "_ARGCOMPLETE" in os.environ:
                importlib.import_module("argcomplete").autocomplete(parser)
            args = parser.parse_args(argv)
            args.argv = sys.argv[1:] if argv is None else list(argv)
            importlib.import_module("skfmri.cli.usage").check_usage(args)
            if not args.traceback:
                warnings.showwarning = _warner()
            module, function = COMMANDS[args.command]
            return getattr(importlib.import_module(module), function)(args)
        except SystemExit:
            raise
        except BaseException as error:
            # Compiled modules make other errors of an interrupt while they are imported.
            if received or _is_interrupt(error):
                return _stopped(received, args)
            is_mistake = isinstance(error, ValueError | TypeError | OSError)
            if not is_mistake or (args is not None and args.traceback):
                raise
            _complain(error, args)
            return USER_MISTAKE


@contextlib.contextmanager
def _stopped_by_signals():
    """Interrupt the command when a signal asks it to stop, and give a list of such signals."""
    received, earlier = [], {}

    def stop(number, frame):
        received.append(number)
        raise KeyboardInterrupt

    try:
        # Only there can handlers be set.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                # A command that runs under nohup, or behind a shell, ignores some on purpose.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    earlier[number] = signal.signal(number, stop)
        yield received
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _is_interrupt(error):
    """Return whether an error is an interrupt, or what a compiled module made of one."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _stopped(received, args):
    """Say what is left of a command that was stopped, and return its exit status."""
    is_terminated = signal.SIGTERM in received
    verb = "terminated" if is_terminated else "interrupted"
    print(f"skfmri: {verb}.{_way_on(args)}", file=sys.stderr)
    return TERMINATED if is_terminated else INTERRUPTED


def _way_on(args):
    """Return how to go on with a command that keeps what it has finished."""
    if not hasattr(args, "resume"):
        return ""
    return " Finished folds are kept; the same command with --resume goes on from there."


def _complain(error, args):
    """Print an error in one line."""
    # The words of the command line are those of its settings, which were not imported before.
    from skfmri._files import NO_SPACE
    from skfmri._validation import printable
    from skfmri.cli.wording import describe_error

    message = describe_error(error)
    if isinstance(error, OSError) and error.errno in NO_SPACE and "--resume" not in message:
        message += _way_on(args)
    print(f"skfmri: error: {printable(message)}", file=sys.stderr)


def _warner():
    """Return a function that prints each warning in one line, and none twice."""
    from skfmri._validation import printable
    from skfmri.cli.wording import in_options

    shown = set()

    def show(message, category, filename, lineno, file=None, line=None):
        text = printable(in_options(str(message)))
        if text not in shown:
            shown.add(text)
            print(f"skfmri: warning: {text}", file=sys.stderr)

    return show
