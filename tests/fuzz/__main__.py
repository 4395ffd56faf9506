"""Many mutants of every kind of file, with a table of what came of them.

Run it in the checkout: python -m tests.fuzz --mutants 10000. Mutants run in a process of their own
for each kind, which is started again after the mutant that ended it. The seeds of failures are
shown, and --kinds with --seed repeats one of them.
"""

import argparse
import collections
import faulthandler
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from .driver import CLEAR, FAILURE, KINDS, RIGHT, SECONDS, Outcome, load_kind, outcomes

MUTANTS = 10_000
# A page with its pictures takes a second.
SHARES = {"pages": 20}


def main():
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--mutants", type=int, default=MUTANTS, help="number of each kind")
    parser.add_argument("--first", type=int, default=0, help="seed of the first")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--seed", type=int, help="repeat this mutant; its file is kept")
    parser.add_argument(
        "--worker", nargs=3, metavar=("KIND", "FIRST", "END"), help=argparse.SUPPRESS
    )
    options = parser.parse_args()
    if options.worker:
        name, first, end = options.worker
        return _work(name, range(int(first), int(end)))
    if options.seed is not None:
        return _repeat(options.kinds, options.seed)
    failures = {}
    print("| kind | mutants | right answer | clear error | failure |")
    print("|---|---|---|---|---|")
    for name in options.kinds:
        n_mutants = max(1, options.mutants // SHARES.get(name, 1))
        counts, failures[name] = _run(name, options.first, options.first + n_mutants)
        shown = [counts[verdict] for verdict in (RIGHT, CLEAR, FAILURE)]
        print(f"| {name} | {n_mutants} | {' | '.join(map(str, shown))} |", flush=True)
    for name, found in failures.items():
        for outcome in found:
            print(f"\n{name} --seed {outcome.seed}: {outcome.what}\n{outcome.message}")
    return int(any(failures.values()))


def _run(name, first, end):
    """Return how many mutants had each verdict, and the failures."""
    counts, failures = collections.Counter(), []
    while first < end:
        command = [sys.executable, "-m", "tests.fuzz", "--worker", name, str(first), str(end)]
        # A pipe that nobody reads would fill with warnings, and the process would wait for ever.
        with tempfile.TemporaryFile() as errors:
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process:
                for line in process.stdout:
                    outcome = Outcome(*json.loads(line))
                    counts[outcome.verdict] += 1
                    first = outcome.seed + 1
                    if outcome.verdict == FAILURE:
                        failures.append(outcome)
            errors.seek(0)
            said = errors.read().decode(errors="replace")[-3000:]
        if first < end:
            counts[FAILURE] += 1
            message = f"The process ended with status {process.returncode}.\n{said}"
            failures.append(Outcome(first, FAILURE, "unknown", message))
            first += 1
    return counts, failures


def _work(name, seeds):
    with tempfile.TemporaryDirectory() as folder:
        _use_cache(folder)
        # What does not even end at the alarm of the guard ends here.
        faulthandler.dump_traceback_later(10 * SECONDS, exit=True)
        for outcome in outcomes(load_kind(name), seeds, folder, counts_memory=True):
            print(json.dumps(outcome), flush=True)
            faulthandler.dump_traceback_later(10 * SECONDS, exit=True)
        faulthandler.cancel_dump_traceback_later()
    return 0


def _repeat(kinds, seed):
    verdicts = []
    for name in kinds:
        folder = tempfile.mkdtemp(prefix=f"{name}-{seed}-")
        _use_cache(folder)
        for outcome in outcomes(load_kind(name), [seed], folder, counts_memory=True):
            print(f"{name}, seed {seed}: {outcome.what}\n{outcome.verdict}: {outcome.message}")
            print(f"Files: {Path(folder) / 'mutant'}")
            verdicts.append(outcome.verdict)
    return int(FAILURE in verdicts)


def _use_cache(folder):
    """Keep decoded copies among the other files of the run."""
    os.environ["SKFMRI_CACHE"] = str(Path(folder) / "cache")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


if __name__ == "__main__":
    sys.exit(main())
