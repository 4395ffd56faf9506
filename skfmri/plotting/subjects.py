"""Scores of subjects, each with a decoder of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skfmri.docstrings import fill_docstring
from skfmri.plotting._axes import class_colors, make_axes
from skfmri.plotting._fonts import fit_fonts
from skfmri.plotting._parameter_docs import PLOTS
from skfmri.plotting._tables import check_table, listed

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@fill_docstring(PLOTS)
def plot_subjects(
    subjects: pd.DataFrame,
    *,
    metric: str = "accuracy",
    model: str = "decoder",
    ax: Axes | None = None,
) -> Axes:
    """Draw the score of each subject, with chance and the mean over subjects.

    Parameters
    ----------
    subjects : pandas.DataFrame
        One row per subject, model and metric with "subject", "model", "metric", "score", "low",
        "high" and "chance", such as ``subjects`` of :class:`~skfmri.SubjectsResult`.
    metric : str, default="accuracy"
        Metric to draw.
    {model}
    {ax}

    Returns
    -------
    ax : matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the table is empty or lacks a column, or has no such model or metric.
    TypeError
        If `subjects` is not a table.

    Notes
    -----
    The line through a score is its interval over the groups of that subject. Chance is drawn for
    each subject, since it depends on the balance of the classes.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfmri.plotting import plot_subjects
    >>> table = pd.DataFrame({"subject": ["01", "02"], "score": [0.75, 0.5], "chance": 0.5})
    >>> table = table.assign(model="decoder", metric="accuracy", low=0.5, high=0.8)
    >>> ax = plot_subjects(table)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['01', '02']
    """
    columns = ["subject", "model", "metric", "score", "low", "high", "chance"]
    table = check_table(subjects, columns, "subjects")
    for column, name in (("model", model), ("metric", metric)):
        if not (table[column] == name).any():
            raise ValueError(
                f"There is no {column} {name!r}, only {listed(table[column].unique())}."
            )
    rows = table[(table["model"] == model) & (table["metric"] == metric)]
    places = np.arange(len(rows))
    ax = make_axes(ax, (5.6, 1.4 + 0.28 * len(rows)))
    color, chance_color, _ = class_colors(3)
    ax.hlines(places, rows["low"], rows["high"], color=color, linewidth=1.5, alpha=0.5)
    ax.plot(rows["score"], places, "o", color=color, label="score")
    if rows["chance"].notna().any():
        ax.plot(rows["chance"], places, "|", color=chance_color, markersize=11, label="chance")
    mean = rows["score"].mean(skipna=False)
    if np.isfinite(mean):
        label = f"mean, {mean:.3f}"
        ax.axvline(mean, color="0.4", linestyle="--", linewidth=1, label=label)
    ax.set_yticks(places, [str(name) for name in rows["subject"]])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set(xlabel=metric.replace("_", " "), ylabel="subject")
    # Above, since scores may lie anywhere.
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
    fit_fonts(ax)
    return ax
