"""Measure skfmri against the alternatives a user would otherwise choose, row by row.

Every side runs in a separate process, in turn with its peers; figures are medians. Run it on an
otherwise idle machine: python benchmarks/speed [--row A B ...] [--repeats 5] [--quick]. A run
without --quick keeps its measurements in measured.json and writes the table of all rows to
RESULTS.md.
"""

import argparse
import inspect
import json
import multiprocessing
import os
import platform
import sys
import tempfile
from datetime import date
from importlib.metadata import version
from pathlib import Path

import runs
import scores
import slabs
import training
from rows import ROWS
from work import Work, alternate, peak_memory, prepare

SIDES = {
    name: function
    for module in (slabs, training, scores, runs)
    for name, function in inspect.getmembers(module, inspect.isfunction)
    if list(inspect.signature(function).parameters) == ["work"] and not name.startswith("_")
}
HERE = Path(__file__).parent
MEASURED = HERE / "measured.json"
RESULTS = HERE.parent / "RESULTS.md"
PACKAGES = (
    "numpy",
    "scikit-learn",
    "tensorflow",
    "keras",
    "scikeras",
    "nilearn",
    "nibabel",
)
PACKAGES += ("torch", "skorch", "isal")


def machine():
    """Describe processor, memory and versions in one sentence."""
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), model)
        flags = next((x for x in lines if x.startswith("flags")), "")
        model += " with AVX-512" if "avx512f" in flags else ""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{os.cpu_count()} cores of {model}, {memory:.0f} GiB of memory, {platform.system()}, "
        f"Python {platform.python_version()}; {versions}; no GPU."
    )


def measure(row, work, repeats):
    """Yield the results of a row after each turn: medians of its sides, and targets reached."""
    print(f"{row.letter}. {row.title}", file=sys.stderr, flush=True)
    if row.prepare is not None:
        _elsewhere(row.prepare, work)
    for number, medians in enumerate(alternate(row.sides, work, repeats), start=1):
        targets = [
            {"what": what, "found": float(found), "allowed": allowed, "unit": unit}
            for what, found, allowed, unit in row.targets(medians, work)
        ]
        yield {
            "title": row.title,
            "medians": medians,
            "targets": targets,
            "repeats": number,
            "date": date.today().isoformat(),
            "version": version("skfmri"),
            "machine": machine(),
        }


def table(measured):
    """Return the rows as a table of Markdown."""
    lines = ["| row | what | measured | allowed | reached | runs |", "|---|---|---|---|---|---|"]
    for letter, row in sorted(measured.items()):
        title = row["title"]
        for target in row["targets"]:
            found, allowed, unit = target["found"], target["allowed"], target["unit"]
            reached = "yes" if found <= allowed else "**no**"
            shown = [_shown(value, unit) for value in (found, allowed)]
            lines.append(
                f"| {letter} | {title} {target['what']} | {shown[0]} | {shown[1]} | {reached} "
                f"| {row['repeats']} |"
            )
            letter = title = ""
    return "\n".join(lines)


def _shown(value, unit):
    if unit:
        return f"{value:.3g} {unit}"
    return f"{value:.2f}" if value > 0.4 else f"1/{1 / value:.1f}"


def details(measured):
    """Return the medians of all sides as a table of Markdown."""
    lines = ["| row | side | medians |", "|---|---|---|"]
    for letter, row in sorted(measured.items()):
        for name, figures in row["medians"].items():
            shown = ", ".join(f"{key} {value:.4g}" for key, value in figures.items())
            lines.append(f"| {letter} | `{name}` | {shown} |")
    return "\n".join(lines)


def write_results(measured):
    rows, machines = {}, {}
    for letter, row in sorted(measured.items()):
        rows.setdefault((row["date"], row["version"]), []).append(letter)
        machines.setdefault(row["machine"], []).append(letter)
    made = [
        f"{', '.join(letters)} on {day} with skfmri {release}"
        for (day, release), letters in sorted(rows.items())
    ]
    described = "\n".join(f"- {', '.join(found)}: {text}" for text, found in machines.items())
    RESULTS.write_text(
        f"""# Speed

Made by `python benchmarks/speed`, which measures and writes this file: rows {"; ".join(made)}.

Machines, with the rows measured there; both sides of a row have the same number of threads, one per
core:

{described}

Work: 384 float32 volumes of 40 x 51 x 41 in one compressed file, rotated by 0.35 rad, slices 12 to
14, z-scored; the default network (2,345,602 parameters), batches of 32, 6 groups. Ratios are those
of medians over runs; every run of a side is a new process, in turn with its peers.

{table(measured)}

Medians: "seconds", "epoch" and "before" in s, without imports; "process" in s from the start of the
process to its end; "peak" in MiB, of the whole process; "result" in MiB, the slabs returned. A peak
includes the pages of mapped files that were read, which the system keeps in memory as long as
nothing else needs it; in row H that is nearly the whole file. Slabs larger than 64 MB are kept in
such a file: those of row G are written, but not read again.

{details(measured)}
"""
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--row", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a smoke run on little data")
    parser.add_argument("--side", choices=sorted(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help="folder for the files (default: temporary)")
    arguments = parser.parse_args()
    if arguments.side:
        found = SIDES[arguments.side](Work(arguments.folder, arguments.quick))
        print(json.dumps(found | {"peak": peak_memory()}))
        return
    repeats = 1 if arguments.quick else arguments.repeats
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        work = Work(Path(folder), arguments.quick)
        _elsewhere(prepare, work, "G" in arguments.row)
        measured = {} if arguments.quick else _measured()
        for letter in arguments.row:
            for found in measure(ROWS[letter], work, repeats):
                measured[letter] = found
                # After each turn, so that an interrupted run keeps its measurements.
                if not arguments.quick:
                    MEASURED.write_text(json.dumps(measured, indent=1) + "\n")
                    write_results(measured)
    print(machine(), table(measured), details(measured), sep="\n\n")


def _elsewhere(function, *arguments):
    """Call a function in a process of its own.

    The peak of a measured process begins at that of the process that starts it.
    """
    maker = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    maker.start()
    maker.join()
    if maker.exitcode:
        sys.exit(f"{function.__name__} failed.")


def _measured():
    return json.loads(MEASURED.read_text()) if MEASURED.exists() else {}


if __name__ == "__main__":
    main()
