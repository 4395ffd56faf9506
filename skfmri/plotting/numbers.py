"""Predictions of a regressor beside the true numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import r2_score

from skfmri._validation import digits_apart
from skfmri.docstrings import fill_docstring
from skfmri.plotting._axes import make_axes, turn_long_labels
from skfmri.plotting._fonts import fit_fonts
from skfmri.plotting._parameter_docs import PLOTS
from skfmri.plotting._tables import number_rows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

POINT_COLOR, LINE_COLOR, MEAN_COLOR = "#0072B2", "0.4", "#D55E00"
# Share of the span of the numbers that is left free around them.
MARGIN = 0.05
# More points than these are an image in a vector file, which would take megabytes otherwise.
MOST_DRAWN = 2000
# Samples of a group, in the median over groups, from which on boxes are clearer than points.
LEAST_BOXED = 8
MOST_NAMED = 12
HALF_WIDTH = 0.35


@fill_docstring(PLOTS)
def plot_predicted(
    predictions: pd.DataFrame, *, model: str = "decoder", ax: Axes | None = None
) -> Axes:
    """Draw the predicted against the true number of each held-out sample.

    A correlation is blind to predictions that are all too high, or vary too little. Here both show
    as a distance from the line on which predictions are right.

    Parameters
    ----------
    predictions : pandas.DataFrame
        One row per prediction with "label" and "predicted", which are numbers, and optionally
        "model", "repeat" and "sample", such as ``predictions`` of :class:`~skfmri.DecodingResult`.
    {model}
    {ax}

    Returns
    -------
    ax : matplotlib.axes.Axes
        Both axes have the same limits and scale.

    Raises
    ------
    ValueError
        If the table is empty or lacks a column, there is no such model, or labels or predictions
        are not numbers.
    {predictions_type}

    Warns
    -----
    UserWarning
        If predictions are not finite; they are not drawn.

    Notes
    -----
    A point is the mean prediction for a sample over repeats. R2 and mean absolute error in the
    title are those of single repeats, averaged, as in ``summary`` of the result.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfmri.plotting import plot_predicted
    >>> table = pd.DataFrame({"label": [20.0, 40.0, 60.0], "predicted": [26.0, 40.0, 54.0]})
    >>> ax = plot_predicted(table)
    >>> ax.get_title()
    'R2 0.910, mean absolute error 4'
    """
    rows, means = number_rows(predictions, model, ["label", "predicted"])
    ax = make_axes(ax, (4.6, 4.6))
    ax.plot(
        *(means["label"], means["predicted"]),
        "o",
        color=POINT_COLOR,
        markersize=5 if len(means) <= 200 else 3,
        markeredgewidth=0,
        alpha=0.6 if len(means) <= 200 else 0.35,
        rasterized=len(means) > MOST_DRAWN,
    )
    both = means[["label", "predicted"]].to_numpy()
    low, high = both.min(), both.max()
    free = MARGIN * (high - low) or 1.0
    ends = low - free, high + free
    ax.plot(ends, ends, "--", color=LINE_COLOR, linewidth=1, label="predicted = true", zorder=1)
    ax.set(xlim=ends, ylim=ends, xlabel="true", ylabel="predicted", title=_scores_in_words(rows))
    ax.title.set_fontsize("medium")
    ax.set_aspect("equal")
    ax.legend(loc="upper left", frameon=False)
    return ax


@fill_docstring(PLOTS)
def plot_residuals(
    predictions: pd.DataFrame, *, model: str = "decoder", ax: Axes | None = None
) -> Axes:
    """Draw how far predictions of numbers are off in each group.

    Shows groups that are predicted too high or too low as a whole, such as a site, and whether
    errors depend on the number itself.

    Parameters
    ----------
    predictions : pandas.DataFrame
        As in :func:`plot_predicted`, with "group" in addition. Groups are drawn in the order of
        their names, or of the categories of a categorical column.
    {model}
    {ax}

    Returns
    -------
    ax : matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the table is empty or lacks a column, there is no such model, or labels or predictions
        are not numbers.
    {predictions_type}

    Warns
    -----
    UserWarning
        If predictions are not finite; they are not drawn.

    Notes
    -----
    A residual is predicted minus true, with the mean prediction for a sample over repeats. If each
    group has a single number, such as the age of a subject, groups are sorted by it, and its values
    stand along the axis in place of names. Groups of 8 samples or more, in the median, are boxes
    with quartiles and median, whose whiskers reach to the last residual; smaller ones are points,
    with a bar at their mean. Of more than 12 groups, some are named.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfmri.plotting import plot_residuals
    >>> table = pd.DataFrame({"group": ["b", "a"], "label": [60.0, 20.0]})
    >>> ax = plot_residuals(table.assign(predicted=[55.0, 30.0]))
    >>> ax.lines[0].get_ydata().tolist()
    [10.0, -5.0]
    """
    _, means = number_rows(predictions, model, ["group", "label", "predicted"])
    means = means.assign(residual=means["predicted"] - means["label"])
    of_groups = means.groupby("group", observed=True)
    labels = of_groups["label"]
    is_sorted = bool((labels.min() == labels.max()).all())
    # A stable sort leaves groups of one number in their order.
    order = labels.first().sort_values(kind="stable") if is_sorted else labels.first()
    residuals = [of_groups["residual"].get_group(name).to_numpy() for name in order.index]
    ax = make_axes(ax, (min(4.6 + 0.08 * len(order), 10), 3.8))
    is_boxed = np.median([len(values) for values in residuals]) >= LEAST_BOXED
    (_draw_boxes if is_boxed else _draw_points)(ax, residuals)
    ax.axhline(0, color=LINE_COLOR, linestyle="--", linewidth=1, zorder=1)
    shown = np.unique(np.linspace(0, len(order) - 1, MOST_NAMED).round().astype(int))
    texts = list(map(str, order.index))
    if is_sorted:
        n_digits = digits_apart(order, 4)
        texts = [f"{value:.{n_digits}g}" for value in order]
    ax.set_xticks(shown, [texts[place] for place in shown])
    ax.set_xlim(-0.7, len(order) - 0.3)
    ax.set(xlabel="true number of the group, in order" if is_sorted else "group")
    ax.set(ylabel="predicted minus true")
    fit_fonts(ax)
    turn_long_labels(ax)
    return ax


def _scores_in_words(rows):
    """Return R2 and mean absolute error, as means over repeats."""
    repeats = rows.groupby("repeat") if "repeat" in rows else [(0, rows)]
    r2 = np.mean([_r2(each["label"], each["predicted"]) for _, each in repeats])
    r2 = f"{r2:.3f}" if np.isfinite(r2) else "not defined"
    error = (rows["predicted"] - rows["label"]).abs().mean()
    return f"R2 {r2}, mean absolute error {error:.4g}"


def _r2(labels, predicted):
    # scikit-learn has a value for labels that do not vary, which means nothing.
    return r2_score(labels, predicted) if np.ptp(labels) else np.nan


def _draw_points(ax, residuals):
    places = np.arange(len(residuals))
    sizes = [len(values) for values in residuals]
    ax.plot(
        *(np.repeat(places, sizes), np.concatenate(residuals)),
        "o",
        color=POINT_COLOR,
        markersize=4,
        markeredgewidth=0,
        alpha=0.6,
        rasterized=sum(sizes) > MOST_DRAWN,
    )
    if max(sizes) > 1:
        means = [values.mean() for values in residuals]
        ax.hlines(means, places - HALF_WIDTH, places + HALF_WIDTH, MEAN_COLOR, linewidth=2)


def _draw_boxes(ax, residuals):
    ax.boxplot(
        residuals,
        positions=np.arange(len(residuals)),
        widths=2 * HALF_WIDTH,
        whis=(0, 100),
        manage_ticks=False,
        boxprops={"color": POINT_COLOR},
        whiskerprops={"color": POINT_COLOR},
        capprops={"color": POINT_COLOR},
        medianprops={"color": MEAN_COLOR, "linewidth": 2},
    )
