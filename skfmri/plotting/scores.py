"""Scores of decoders, from the tables of an evaluation or of a search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import ConfusionMatrixDisplay

from skfmri.docstrings import fill_docstring
from skfmri.plotting._axes import class_colors, make_axes, style_cells, turn_long_labels
from skfmri.plotting._fonts import fit_fonts
from skfmri.plotting._parameter_docs import PLOTS
from skfmri.plotting._tables import (
    axis_of,
    curve_table,
    listed,
    parameter_columns,
    probability_classes,
    refuse_numbers,
    rows_of_model,
    search_table,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from skfmri._types import Normalize

CURVE_COLORS = {"training": "#0072B2", "validation": "#D55E00"}
SHARES = {
    "true": "share of true class",
    "pred": "share of predicted class",
    "all": "share of all predictions",
    None: "number of predictions",
}
PROBABILITY_BINS = np.linspace(0, 1, 21)
MOST_OVERLAID = 3


@fill_docstring(PLOTS)
def plot_learning_curves(
    history: Mapping[str, Sequence[float]] | pd.DataFrame,
    *,
    metric: str = "accuracy",
    ax: Axes | None = None,
) -> Axes:
    """Draw a metric over the epochs of training, of one fit or as the mean over folds.

    Parameters
    ----------
    history : dict or pandas.DataFrame
        ``history_`` of a fitted network, or a table with "fold", "epoch" and one column per
        metric, such as ``learning_curves`` of :class:`~skfmri.DecodingResult`.
    metric : str, default="accuracy"
        Metric to draw, such as "loss" or, of a regressor, "mean_absolute_error": on training data
        and, if `history` also has it with the prefix ``val_``, on validation data.
    {ax}

    Returns
    -------
    ax : matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If `history` is empty or lacks a column, or holds an epoch of a fold twice.
    TypeError
        If `history` is neither a dict nor a table.

    Notes
    -----
    With several folds, the line is their mean and the band extends from the lowest to the highest.
    Folds that stop early drop out of mean and band, so a curve may jump; a dashed line marks the
    last epoch that all folds reached.

    Examples
    --------
    >>> from skfmri.plotting import plot_learning_curves
    >>> ax = plot_learning_curves({"accuracy": [0.5, 0.75], "val_accuracy": [0.5, 0.625]})
    >>> [line.get_label() for line in ax.lines]
    ['training', 'validation']
    """
    table = curve_table(history, metric)
    columns = {"training": metric}
    if f"val_{metric}" in table and table[f"val_{metric}"].notna().any():
        columns["validation"] = f"val_{metric}"
    ax = make_axes(ax, (5.6, 3.8))
    for name, column in columns.items():
        folds = table.pivot(index="epoch", columns="fold", values=column)
        _draw_curve(ax, folds, name, CURVE_COLORS[name])
    last_epochs = table.groupby("fold")["epoch"].max()
    if last_epochs.min() < last_epochs.max():
        label = "all folds train until here"
        ax.axvline(last_epochs.min(), color="0.4", linestyle="--", linewidth=1, label=label)
    ax.set(xlabel="epoch", ylabel=metric.replace("_", " "))
    ax.set_ylim((0, 1) if "accuracy" in metric else (0, None))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    handles, _ = ax.get_legend_handles_labels()
    if len(last_epochs) > 1:
        handles.append(Patch(color="0.5", alpha=0.3, linewidth=0, label="lowest to highest fold"))
    ax.legend(handles=handles)
    fit_fonts(ax)
    return ax


@fill_docstring(PLOTS)
def plot_confusion(
    predictions: pd.DataFrame,
    *,
    model: str = "decoder",
    normalize: Normalize | None = "true",
    ax: Axes | None = None,
) -> Axes:
    """Draw how often each class was predicted for each true class, over all folds.

    Parameters
    ----------
    predictions : pandas.DataFrame
        One row per prediction with "label", "predicted" and optionally "model", such as
        ``predictions`` of :class:`~skfmri.DecodingResult`.
    {model}
    normalize : {"true", "pred", "all"} or None, default="true"
        As in `sklearn.metrics.confusion_matrix`: "true" makes rows sum to 1; None counts.
    {ax}

    Returns
    -------
    ax : matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the table is empty or lacks a column, holds numbers with fractions in place of classes,
        or there is no such model.
    {predictions_type}

    Examples
    --------
    >>> import pandas as pd
    >>> from skfmri.plotting import plot_confusion
    >>> table = pd.DataFrame({"label": list("aabb"), "predicted": list("abbb")})
    >>> ax = plot_confusion(table)
    >>> ax.images[0].get_array().tolist()
    [[0.5, 0.5], [0.0, 1.0]]
    """
    if normalize not in SHARES:
        raise ValueError(f"normalize must be one of {listed(SHARES)}, but is {normalize!r}.")
    rows = rows_of_model(predictions, model, ["label", "predicted"])
    refuse_numbers(rows, "Confusion matrices")
    classes = np.unique(np.concatenate([rows["label"].to_numpy(), rows["predicted"].to_numpy()]))
    size = 3.0 + 0.45 * len(classes)
    ax = make_axes(ax, (size + 1.3, size))
    display = ConfusionMatrixDisplay.from_predictions(
        rows["label"],
        rows["predicted"],
        labels=classes,
        normalize=normalize,
        values_format="d" if normalize is None else ".2f",
        cmap="Blues",
        colorbar=False,
        # Cells fill the axes: a layout leaves too little room for the labels of a fixed square.
        im_kw={"vmin": 0, "vmax": 1 if normalize else None, "aspect": "auto"},
        ax=ax,
    )
    style_cells(ax, display.im_, display.text_)
    fit_fonts(ax)
    turn_long_labels(ax)
    ax.figure.colorbar(display.im_, ax=ax, label=SHARES[normalize])
    ax.set(xlabel="predicted class", ylabel="true class")
    return ax


@fill_docstring(PLOTS)
def plot_probabilities(
    predictions: pd.DataFrame,
    *,
    model: str = "decoder",
    of: str | int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw histograms of the predicted probability, one per true class.

    Parameters
    ----------
    predictions : pandas.DataFrame
        One row per prediction with "label", ``p_<class>`` for each class and optionally "model",
        such as ``predictions`` of :class:`~skfmri.DecodingResult`.
    {model}
    of : str or int, default=None
        The class whose probability is drawn. None takes the second of two classes; with more
        classes, the probability assigned to the true class of each sample.
    {ax}

    Returns
    -------
    ax : matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the table is empty or lacks a column, holds numbers with fractions in place of classes,
        or there is no such model or class.
    {predictions_type}

    Notes
    -----
    All histograms have 20 bins from 0 to 1. Those of up to three true classes are overlaid; with
    more classes, each has a separate baseline, all on the same scale.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfmri.plotting import plot_probabilities
    >>> table = pd.DataFrame({"label": list("ab"), "p_a": [0.9, 0.2], "p_b": [0.1, 0.8]})
    >>> ax = plot_probabilities(table)
    >>> ax.get_xlabel()
    'predicted probability of b'
    """
    rows = rows_of_model(predictions, model, ["label"])
    refuse_numbers(rows, "Probabilities")
    classes = probability_classes(rows, model)
    labels = rows["label"].astype(str).to_numpy()
    values, name = _chosen_probability(rows, labels, classes, of)
    counts = {
        label: np.histogram(values[labels == label], PROBABILITY_BINS)[0]
        for label in [*classes, *sorted(set(labels) - set(classes))]
        if label in labels
    }
    overlaid = len(counts) <= MOST_OVERLAID
    ax = make_axes(ax, (5.6, 3.8 if overlaid else 1.6 + 0.45 * len(counts)))
    (_overlay if overlaid else _stack)(ax, counts)
    ax.set(xlabel=f"predicted probability of {name}", xlim=(0, 1))
    fit_fonts(ax)
    return ax


@fill_docstring(PLOTS)
def plot_search(
    search: Any, x: str, y: str, *, metric: str = "score", ax: Axes | None = None
) -> Axes:
    """Draw the mean test score of a search as a heat map over two of its parameters.

    Parameters
    ----------
    search : GridSearchCV, dict or pandas.DataFrame
        A fitted search, or its ``cv_results_``.
    x, y : str
        Names of the parameters along the two axes, with or without the prefix ``param_``.
    metric : str, default="score"
        Which mean test score to draw, if the search has several.
    {ax}

    Returns
    -------
    ax : matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If there is no such parameter or metric, or no score is finite.
    TypeError
        If `search` is neither a search nor its results.

    Notes
    -----
    If the search varied further parameters, each cell shows the best score over them, which is
    optimistic. Cells that were not tried, or whose fits failed, stay empty.

    Examples
    --------
    >>> from skfmri.plotting import plot_search
    >>> results = {
    ...     "param_filters": [16, 32, 16, 32],
    ...     "param_dropout": [0.25, 0.25, 0.5, 0.5],
    ...     "mean_test_score": [0.70, 0.75, 0.80, 0.85],
    ... }
    >>> ax = plot_search(results, "filters", "dropout")
    >>> ax.images[0].get_array().tolist()
    [[0.7, 0.75], [0.8, 0.85]]
    """
    results, column = search_table(search, metric)
    x, y = parameter_columns(results, (x, y))
    (places, x_texts), (lines, y_texts) = axis_of(results[x]), axis_of(results[y])
    scores = np.full((len(y_texts), len(x_texts)), np.nan)
    for line, place, score in zip(lines, places, results[column].astype(float), strict=True):
        scores[line, place] = np.fmax(scores[line, place], score)
    ax = make_axes(ax, (2.6 + 0.8 * len(x_texts), 2.0 + 0.6 * len(y_texts)))
    image = ax.imshow(scores, origin="lower", aspect="auto", cmap="viridis")
    texts = np.empty(scores.shape, dtype=object)
    for (line, place), score in np.ndenumerate(scores):
        text = f"{score:.3f}" if np.isfinite(score) else ""
        texts[line, place] = ax.text(place, line, text, ha="center", va="center")
    style_cells(ax, image, texts)
    ax.set_xticks(range(len(x_texts)), x_texts)
    ax.set_yticks(range(len(y_texts)), y_texts)
    ax.set(xlabel=x.removeprefix("param_"), ylabel=y.removeprefix("param_"))
    fit_fonts(ax)
    turn_long_labels(ax)
    best = "best " if len(set(zip(lines, places, strict=True))) < len(results) else ""
    ax.figure.colorbar(image, ax=ax, label=f"{best}mean test {metric}")
    return ax


def _draw_curve(ax, folds, name, color):
    n_folds = folds.shape[1]
    label = name if n_folds == 1 else f"{name}, mean of {n_folds} folds"
    marker = "o" if len(folds) <= 20 else None
    ax.plot(folds.index, folds.mean(axis=1), color=color, label=label, marker=marker, markersize=4)
    if n_folds > 1:
        low, high = folds.min(axis=1), folds.max(axis=1)
        ax.fill_between(folds.index, low, high, color=color, alpha=0.2, linewidth=0)


def _chosen_probability(rows, labels, classes, of):
    """Return one probability per prediction, and the name of its class in words."""
    if of is not None and str(of) not in classes:
        raise ValueError(f"There is no probability of {of!r}, only of {listed(classes)}.")
    if of is not None or len(classes) == 2:
        name = classes[1] if of is None else str(of)
        return rows[f"p_{name}"].to_numpy(), name
    unknown = sorted(set(labels) - set(classes))
    if unknown:
        raise ValueError(
            f"There is no probability of {listed(unknown)}, only of {listed(classes)}."
        )
    columns = [classes.index(label) for label in labels]
    probabilities = rows[[f"p_{name}" for name in classes]].to_numpy()
    return probabilities[np.arange(len(rows)), columns], "the true class"


def _overlay(ax, counts):
    for (label, heights), color in zip(counts.items(), class_colors(len(counts)), strict=True):
        ax.stairs(
            heights,
            PROBABILITY_BINS,
            fill=True,
            facecolor=to_rgba(color, 0.35),
            edgecolor=color,
            linewidth=1.2,
            label=label,
        )
    ax.set(ylabel="number of predictions", ylim=(0, None))
    ax.legend(title="true class")


def _stack(ax, counts):
    """Draw each histogram on a separate baseline, the first at the top."""
    highest = max(heights.max() for heights in counts.values())
    lines = 1.1 * highest * np.arange(len(counts))[::-1]
    for line, heights, color in zip(lines, counts.values(), class_colors(len(counts)), strict=True):
        ax.stairs(heights + line, PROBABILITY_BINS, baseline=line, fill=True, color=color)
    ax.hlines(lines, 0, 1, color="0.7", linewidth=0.8)
    ax.set_yticks(lines, counts)
    ax.set(ylabel=f"true class (highest bar: {highest} predictions)", ylim=(0, None))
