"""Scores of each fold, model by model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skfmri.docstrings import fill_docstring
from skfmri.plotting._axes import make_axes, turn_long_labels
from skfmri.plotting._fonts import fit_fonts
from skfmri.plotting._parameter_docs import PLOTS
from skfmri.plotting._tables import check_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

FOLD_COLOR, MEAN_COLOR, CHANCE_COLOR = "#8A939B", "#0072B2", "#55606B"
HALF_WIDTH = 0.18
# What scikit-learn puts before the name of an error to make it a score.
ERROR = "neg_"


@fill_docstring(PLOTS)
def plot_folds(
    folds: pd.DataFrame,
    *,
    metric: str = "accuracy",
    chance: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the score of every fold for each model, joined fold by fold.

    Models are compared on the same folds, so what matters is whether the lines rise or fall, not
    how far the points of one model spread.

    Parameters
    ----------
    folds : pandas.DataFrame
        Table with "model", "fold" and a column per metric, such as ``folds`` of
        :class:`~skfmri.DecodingResult`. Models are drawn in the order of the table.
    metric : str, default="accuracy"
        Column to draw. One that begins with ``neg_``, such as ``neg_mean_absolute_error``, is drawn
        as the error that it is the negative of.
    chance : float, default=None
        Score of the best guess that ignores the data, as :func:`~skfmri.evaluation.chance_level`
        returns it, drawn as a dashed line; None draws none.
    {ax}

    Returns
    -------
    ax : matplotlib.axes.Axes
        Grey points are folds, and the blue bar is their mean.

    Raises
    ------
    ValueError
        If the table lacks a column, has no rows, or the metric has no score at all.
    TypeError
        If `folds` is not a table.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfmri.plotting import plot_folds
    >>> folds = pd.DataFrame({"model": ["decoder", "decoder", "linear", "linear"]})
    >>> folds = folds.assign(fold=[0, 1, 0, 1], accuracy=[0.7, 0.8, 0.8, 0.9])
    >>> ax = plot_folds(folds, chance=0.5)
    >>> [label.get_text() for label in ax.get_xticklabels()]
    ['decoder', 'linear']
    """
    table = check_table(folds, ["model", "fold", metric], "folds")
    scores = table.pivot_table(index="fold", columns="model", values=metric, sort=False)
    if scores.empty:
        raise ValueError(f"No fold has a score in {metric!r}. Choose another metric.")
    models = [model for model in dict.fromkeys(table["model"]) if model in scores]
    scores = scores[models]
    if metric.startswith(ERROR):
        scores, chance = -scores, None if chance is None else -chance
    ax = make_axes(ax, (1.6 + 1.2 * len(models), 3.6))
    places = np.arange(len(models))
    for row in scores.to_numpy():
        ax.plot(places, row, color=FOLD_COLOR, linewidth=0.8, marker="o", markersize=4)
    means = scores.mean().to_numpy()
    ax.hlines(means, places - HALF_WIDTH, places + HALF_WIDTH, MEAN_COLOR, linewidth=3, zorder=3)
    if chance is not None:
        ax.axhline(chance, color=CHANCE_COLOR, linestyle="--", linewidth=1)
        ax.annotate(
            "chance",
            (1, chance),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 3),
            textcoords="offset points",
            ha="right",
            color=CHANCE_COLOR,
            fontsize="small",
        )
    ax.set_xticks(places, models)
    ax.set_xlim(-0.5, len(models) - 0.5)
    ax.set_ylabel(metric.removeprefix(ERROR).replace("_", " "))
    turn_long_labels(ax)
    fit_fonts(ax)
    return ax
