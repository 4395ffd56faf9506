"""Tables of a report, as text ready for a page."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from skfmri._validation import digits_apart
from skfmri.evaluation.result import DECODER, DUMMY
from skfmri.report.methods import CONFIDENCE
from skfmri.report.methods_trials import unit_of_samples
from skfmri.report.results import NUMBER_COLUMNS
from skfmri.report.words import (
    NOTHING,
    exact,
    number,
    oriented,
    p_value,
    score,
    score_range,
    significant,
    upper,
    words_of,
)

# More columns than these are set in smaller type.
MANY = 10
# Digits of the numbers that a decoder predicts.
DIGITS = 4


@dataclass(frozen=True)
class Table:
    """A table whose first column names its rows.

    Attributes
    ----------
    caption : str
        What it shows.
    columns : list of str
        Titles.
    rows : list of list of str
        Cells.
    footer : list of list of str
        Rows that sum the others up.
    n_text : int
        Number of columns, from the left, that hold text.
    kind : str
        "by-class" if columns of numbers are named after classes; "many" if there are many columns;
        "settings" if the second column may be long.
    """

    caption: str
    columns: list
    rows: list
    footer: tuple = ()
    n_text: int = 1
    kind: str = ""


def group_table(results):
    """Return the number of samples of each group and class, or the numbers of each group."""
    return (_number_table if results.predicts_numbers else _count_table)(results)


def _number_table(results):
    table = results.numbers_per_group()
    numbers = results.samples()["label"]
    every, n_digits = numbers.agg(list(NUMBER_COLUMNS)), digits_apart(numbers, DIGITS)
    samples = f"{upper(unit_of_samples(results))}s"
    columns = ["Group", samples, "Different numbers", "Lowest", "Mean", "Highest", "SD"]
    rows = [_number_cells(group, row, n_digits) for group, row in _rows(table)]
    footer = (_number_cells("All", every.tolist(), n_digits),)
    return Table("Numbers to predict in each group", columns, rows, footer)


def _number_cells(name, values, n_digits):
    *counts, low, mean, high, spread = values
    numbers = [significant(value, n_digits) for value in (low, mean, high)]
    return [name, *map(exact, counts), *numbers, significant(spread, DIGITS)]


def _count_table(results):
    counts = results.volumes_per_group()
    rows = [[group, *map(str, row), str(sum(row))] for group, row in _rows(counts)]
    totals = counts.sum()
    n_samples = totals.sum()
    return Table(
        f"{upper(unit_of_samples(results))}s of each group and class",
        ["Group", *counts.columns, "All"],
        rows,
        (
            ["All", *map(str, totals), str(n_samples)],
            ["Share", *(number(n / n_samples) for n in totals), number(1)],
        ),
        kind=_kind(results.classes),
    )


def score_table(results):
    """Return the mean score of each model."""
    rows = [
        [
            row["model"],
            words_of(row["metric"]),
            score(row["metric"], row["score"]),
            score_range(row["metric"], row["low"], row["high"]),
            spread(row["metric"], row["std"]),
            score(row["metric"], row["chance"]),
        ]
        for row in results.summary.to_dict("records")
    ]
    mean = "Score" if results.predicts_numbers else "Mean"
    unit = "subjects" if results.n_subjects else "folds"
    columns = ["Model", "Metric", mean, f"{CONFIDENCE} interval", f"SD of {unit}", "Chance"]
    return Table("Scores on held-out groups", columns, rows, n_text=2)


def subject_table(results):
    """Return the scores of each subject."""
    metric = results.metrics[0]
    table = results.subjects.set_index(["model", "metric", "subject"])
    others = [name for name in results.models if name not in (DECODER, DUMMY)]
    shown = [(DECODER, name) for name in results.metrics] + [(name, metric) for name in others]
    rows = []
    for subject in dict.fromkeys(results.subjects["subject"]):
        own = table.loc[(DECODER, metric, subject)]
        scores = [table["score"].get((*column, subject)) for column in shown]
        p_text = p_value(own["p_value"]).removeprefix("p ").removeprefix("= ")
        rows.append(
            [
                subject,
                *(score(name, value) for (_, name), value in zip(shown, scores, strict=True)),
                score_range(metric, own["low"], own["high"]),
                score(metric, own["chance"]),
                p_text if np.isfinite(own["p_value"]) else NOTHING,
            ]
        )
    titles = [upper(f"{model} {words_of(name)}") for model, name in shown]
    columns = ["Subject", *titles, f"{CONFIDENCE} interval", "Chance", "p"]
    caption = (
        f"Scores of each subject; interval, chance and p are those of the {words_of(metric)} of "
        "the decoder"
    )
    return Table(caption, columns, rows)


def comparison_table(results):
    """Return the differences of the decoder to the other models, or None."""
    if results.comparisons.empty:
        return None
    rows = [
        [
            row["baseline"],
            words_of(row["metric"]),
            score(row["metric"], row["difference"], signed=True),
            score_range(row["metric"], row["low"], row["high"], signed=True),
            number(oriented(row["metric"], row["t"]), 2),
            exact(row["df"]) if np.isfinite(row["p_value"]) else NOTHING,
            p_value(row["p_value"]).removeprefix("p ").removeprefix("= ")
            if np.isfinite(row["p_value"])
            else NOTHING,
            score_range(row["metric"], row.get("group_low"), row.get("group_high"), signed=True),
        ]
        for row in results.comparisons.to_dict("records")
    ]
    columns = ["Decoder minus", "Metric", "Difference", f"{CONFIDENCE} interval, t-test", "t", "df"]
    unit = "subjects" if results.n_subjects else "groups"
    columns += ["p", f"{CONFIDENCE} interval, {unit}"]
    return Table("Differences to other models on the same folds", columns, rows, n_text=2)


def fold_table(results):
    """Return the held-out groups of each fold with their scores."""
    own = results.of_model("folds", DECODER)
    first = {"Fold": (own["fold"] + 1).map(exact)}
    if own["repeat"].max() > 0:
        first["Repeat"] = (own["repeat"] + 1).map(exact)
    if results.n_subjects:
        first["Subject"] = own["subject"]
    first["Held-out groups"] = own["groups_held_out"]
    scores = {
        (model, metric): results.of_model("folds", model)
        .set_index("fold")[metric]
        .reindex(own["fold"])
        for model in results.models
        for metric in (results.metrics if model == DECODER else [results.metric_of_folds])
        if metric in own
    }
    if results.predicts_numbers:
        # Most metrics are undefined in folds that hold a single number.
        scores = {key: values for key, values in scores.items() if values.notna().any()}
    last = {"Training": own["n_train"].map(exact), "Test": own["n_test"].map(exact)}
    for name, column, digits in (("Epochs", "n_epochs", 0), ("Seconds", "seconds_fit", 1)):
        if column in own:
            last[name] = [number(value, digits) for value in own[column]]
    shown = dict(first)
    for (model, metric), values in scores.items():
        texts = [score(metric, value) for value in values]
        shown[upper(f"{model} {words_of(metric)}")] = texts
    shown |= last
    footer = () if results.predicts_numbers else _fold_footer(scores, len(first), len(last))
    rows = [list(cells) for cells in zip(*shown.values(), strict=True)]
    caption = "Scores of each fold"
    kind = "many" if len(shown) > MANY else ""
    return Table(caption, list(shown), rows, footer, n_text=len(first), kind=kind)


def _fold_footer(scores, n_before, n_after):
    """Return mean and standard deviation over folds; of numbers these are not the scores."""
    blank, end = [""] * (n_before - 1), [""] * n_after
    means = [score(metric, _mean(values)) for (_, metric), values in scores.items()]
    spreads = [spread(metric, _std(values)) for (_, metric), values in scores.items()]
    return ["Mean", *blank, *means, *end], ["SD", *blank, *spreads, *end]


def confusion_table(results):
    """Return how often each class was predicted for each true class, summed over folds."""
    rows = results.of_model("predictions", DECODER)
    classes = results.classes
    counts = pd.crosstab(rows["label"], rows["predicted"])
    counts = counts.reindex(index=classes, columns=classes, fill_value=0)
    return Table(
        "Predictions of the decoder, true classes in rows",
        ["True class", *classes],
        [[name, *map(str, row)] for name, row in _rows(counts)],
        kind=_kind(classes),
    )


def class_table(results):
    """Return how well each class was recognised, over all predictions of the decoder."""
    rows = results.of_model("predictions", DECODER)
    recall, precision = (
        (rows["label"] == rows["predicted"]).groupby(rows[column]).mean()
        for column in ("label", "predicted")
    )
    n_volumes = rows["label"].value_counts()
    cells = [
        [
            name,
            str(n_volumes.get(name, 0)),
            number(recall.get(name)),
            number(precision.get(name)),
            number(_area_under_curve(rows, name)),
        ]
        for name in results.classes
    ]
    columns = ["Class", "Predictions", "Recall", "Precision", "ROC AUC"]
    return Table("The decoder, class by class", columns, cells)


def _area_under_curve(rows, name):
    """Return the mean over folds of the area under the ROC curve of one class, or None."""
    column = f"p_{name}"
    if column not in rows or rows[column].isna().any():
        return None
    areas = [
        roc_auc_score(fold["label"] == name, fold[column])
        for _, fold in rows.groupby(["repeat", "fold"])
        if (fold["label"] == name).nunique() == 2
    ]
    return float(np.mean(areas)) if areas else None


def settings_table(results):
    """Return the arguments of the command."""
    rows = [[name, as_text(value)] for name, value in results.record["settings"].items()]
    return Table("Arguments of the command", ["Setting", "Value"], rows, n_text=2, kind="settings")


def parameter_table(results):
    """Return all parameters of the pipeline, defaults included."""
    pipeline = results.section("pipeline")
    parts = {"pipeline": pipeline, **pipeline["steps"]}
    rows = [
        [f"{part} {name}" if part == "pipeline" else f"{part}__{name}", as_text(value)]
        for part, described in parts.items()
        for name, value in described["parameters"].items()
    ]
    caption = "Parameters of the pipeline"
    return Table(caption, ["Parameter", "Value"], rows, n_text=2, kind="settings")


def version_table(results):
    """Return the versions of the libraries."""
    versions = results.record.get("versions") or {}
    rows = [[*pair] for pair in versions.items()]
    caption = "Versions of the software"
    return Table(caption, ["Name", "Version"], rows, n_text=2, kind="settings")


def _kind(classes):
    return "by-class many" if len(classes) > MANY else "by-class"


def spread(metric, value):
    """Return a standard deviation of scores, with as many digits as they have."""
    return score(metric, oriented(metric, value))


def as_text(value):
    """Return a value of a JSON file as a reader would write it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict) and value.keys() == {"class", "parameters"}:
        given = ", ".join(f"{name}={as_text(inner)}" for name, inner in value["parameters"].items())
        return f"{value['class']}({given})"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {as_text(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(as_text, value)) or "none"
    return str(value)


def _mean(values):
    # A fold without a score leaves no mean, as in the summary.
    return values.mean(skipna=False)


def _std(values):
    return values.std(skipna=False)


def _rows(frame):
    return zip(frame.index, frame.to_numpy().tolist(), strict=True)
