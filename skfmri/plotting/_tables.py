"""Checks on tables of scores, each with its error message."""

import warnings
from numbers import Real

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted


def listed(names):
    """Return names as a list in words, for error messages."""
    return ", ".join(map(repr, names)) or "none"


def check_table(table, columns, name):
    """Return a table that has rows and columns, or raise TypeError or ValueError."""
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"{name} must be a pandas.DataFrame, but is a {type(table).__name__}.")
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(f"{name} has no column {listed(missing)}, only {listed(table)}.")
    if table.empty:
        raise ValueError(f"{name} has the columns {listed(table)}, but no rows.")
    return table


def rows_of_model(predictions, model, columns):
    """Return the predictions of one model, or all if the table has no column of models."""
    table = check_table(predictions, columns, "predictions")
    if "model" not in table:
        return table
    rows = table[table["model"] == model]
    if rows.empty:
        raise ValueError(f"There is no model {model!r}, only {listed(table['model'].unique())}.")
    return rows


def number_rows(predictions, model, columns):
    """Return the predictions of one model for numbers, averaged over repeats.

    Parameters
    ----------
    predictions : pandas.DataFrame
        One row per prediction.
    model : str
        As in `rows_of_model`.
    columns : list of str
        What the table must have; "label" and "predicted" are among them.

    Returns
    -------
    rows : pandas.DataFrame
        As given, one row per prediction with finite numbers.
    means : pandas.DataFrame
        One row per sample.

    Raises
    ------
    ValueError
        If labels or predictions are not numbers, or no prediction is finite.
    """
    rows = rows_of_model(predictions, model, columns)
    for column in ("label", "predicted"):
        if rows[column].dtype.kind in "iuf":
            continue
        others = [value for value in rows[column] if not _is_number(value)]
        if others:
            raise ValueError(
                f"The column {column!r} of predictions holds {others[0]!r}, which is not a number. "
                "For classes use plot_confusion."
            )
        rows = rows.assign(**{column: rows[column].astype(float)})
    is_finite = np.isfinite(rows[["label", "predicted"]]).all(axis=1)
    if not is_finite.all():
        n_lost = np.count_nonzero(~is_finite)
        message = f"{n_lost} of {len(rows)} predictions of {model!r} are not finite"
        if n_lost == len(rows):
            raise ValueError(f"{message}, so there is nothing to draw. The decoder diverged.")
        # Skips the functions here, to point to the plot.
        warnings.warn(f"{message} and are not drawn. The decoder diverged.", stacklevel=3)
        rows = rows[is_finite]
    if "sample" not in rows:
        return rows, rows
    first = dict.fromkeys(set(columns) - {"predicted"}, "first")
    return rows, rows.groupby("sample", as_index=False).agg({**first, "predicted": "mean"})


def refuse_numbers(rows, draws):
    """Raise ValueError if labels or predictions are numbers with fractions, which no class has."""
    for column in rows.columns.intersection(["label", "predicted"]):
        if rows[column].dtype.kind == "f" and (rows[column] % 1 != 0).any():
            example = rows[column][rows[column] % 1 != 0].iloc[0]
            raise ValueError(
                f"{draws} are of classes, but the column {column!r} of predictions holds numbers "
                f"such as {example:g}. For a regressor use plot_predicted or plot_residuals."
            )


def probability_classes(rows, model):
    """Return the names of the classes that predictions give a probability to."""
    classes = [str(name)[2:] for name in rows if str(name).startswith("p_")]
    if not classes or rows[[f"p_{name}" for name in classes]].isna().any(axis=None):
        raise ValueError(
            f"There are no probabilities of {model!r}: columns p_<class> are missing or have gaps; "
            f"the columns are {listed(rows)}. Choose a decoder with predict_proba."
        )
    return classes


def curve_table(history, metric):
    """Return one row per fold and epoch, with the metric among its columns."""
    if isinstance(history, pd.DataFrame):
        table = check_table(history, ["fold", "epoch"], "history")
    elif isinstance(history, dict):
        table = pd.DataFrame(history)
        table = table.assign(fold=0, epoch=np.arange(1, 1 + len(table)))
    else:
        raise TypeError(
            f"history must be a dict of lists or a table, but is a {type(history).__name__}. Pass "
            "history_ of a fitted network, or learning_curves of a DecodingResult."
        )
    if table.empty:
        raise ValueError("history holds no epochs. Pass that of a fitted network.")
    names = [name for name in table if name not in ("fold", "epoch") and name[:4] != "val_"]
    if metric not in names:
        raise ValueError(f"There is no metric {metric!r} in history, only {listed(names)}.")
    twice = table[table.duplicated(["fold", "epoch"])]
    if len(twice):
        raise ValueError(
            f"history holds epoch {twice['epoch'].iloc[0]} of fold {twice['fold'].iloc[0]} twice. "
            "Pass the table of one evaluation."
        )
    return table


def search_table(search, metric):
    """Return the results of a search as a table, and its column with the metric."""
    if hasattr(search, "fit"):
        check_is_fitted(search, "cv_results_")
        search = search.cv_results_
    if not isinstance(search, dict | pd.DataFrame):
        raise TypeError(
            "search must be a fitted GridSearchCV or its cv_results_, but is a "
            f"{type(search).__name__}."
        )
    # Through lists, because masked arrays of parameters would lose their types.
    table = pd.DataFrame({name: list(values) for name, values in search.items()}, dtype=object)
    column = f"mean_test_{metric}"
    if column not in table:
        start = "mean_test_"
        names = [name.removeprefix(start) for name in table if name.startswith(start)]
        raise ValueError(f"There is no metric {metric!r} in the search, only {listed(names)}.")
    if not np.isfinite(table[column].astype(float)).any():
        raise ValueError(f"None of the {len(table)} values of {column} is finite: all fits failed.")
    return table, column


def parameter_columns(results, names):
    """Return the columns of parameters that are given with or without "param_"."""
    found = [column for column in results if column.startswith("param_")]
    columns = [name if name in found else f"param_{name}" for name in names]
    for name, column in zip(names, columns, strict=True):
        if column not in found:
            known = [text.removeprefix("param_") for text in found]
            raise ValueError(f"The search has no parameter {name!r}, only {listed(known)}.")
    if len(set(columns)) < len(columns):
        raise ValueError(f"x and y are both {names[0]!r}. Name two parameters.")
    return columns


def axis_of(values):
    """Return the position of each value along an axis, and the texts of the positions in order."""
    texts = [str(value) for value in values]
    numbers = dict(zip(texts, values, strict=True))
    order = list(numbers)
    if all(isinstance(value, Real) for value in numbers.values()):
        order.sort(key=numbers.get)
    return [order.index(text) for text in texts], order


def _is_number(value):
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)
