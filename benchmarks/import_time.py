"""Measure how long ``import skfmri`` takes beyond ``import numpy``.

Each import runs in several new processes; the table shows the median and the smallest time.
"""

import argparse
import statistics
import subprocess
import sys

IMPORTS = [
    ("pass", "import numpy"),
    ("import numpy", "import skfmri"),
    ("import numpy", "from skfmri import NiftiSamples"),
    ("import numpy", "from skfmri import SlabCNNClassifier"),
]
CODE = """
import time
{before}
start = time.perf_counter()
{timed}
print(time.perf_counter() - start)
"""


def import_seconds(before, timed):
    command = [sys.executable, "-c", CODE.format(before=before, timed=timed)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three processes instead of eleven")
    n_processes = 3 if parser.parse_args().quick else 11

    print(f"{'after':<14}{'timed':<38}{'median s':>10}{'fastest s':>11}")
    for before, timed in IMPORTS:
        import_seconds(before, timed)  # fills the file cache
        seconds = [import_seconds(before, timed) for _ in range(n_processes)]
        print(f"{before:<14}{timed:<38}{statistics.median(seconds):>10.3f}{min(seconds):>11.3f}")


if __name__ == "__main__":
    main()
