"""Draw the thumbnail of the real-runs example: twelve runs, each left out once.

Run: pip install ".[plot]" && python docs/pictures/leave_one_run_out.py
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap


def main():
    figure, ax = plt.subplots(figsize=(4, 2.8), layout="constrained")
    ax.pcolormesh(
        np.eye(12),
        cmap=ListedColormap(["#9ECAE1", "#D55E00"]),
        edgecolors="white",
        linewidth=2,
    )
    ax.invert_yaxis()
    ax.set_xticks(np.arange(12) + 0.5, np.arange(1, 13))
    ax.set_yticks(np.arange(12) + 0.5, np.arange(1, 13))
    ax.tick_params(length=0)
    ax.set(xlabel="run", ylabel="fold", title="each fold tests one run")
    ax.spines[:].set_visible(False)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
