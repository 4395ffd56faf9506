"""Tables of an evaluation, built from the outcomes of its folds."""

import warnings

import numpy as np
import pandas as pd
from sklearn.exceptions import UndefinedMetricWarning

from skfmri.evaluation.scoring import chance_level, score_groups
from skfmri.statistics import bootstrap_interval, corrected_resampled_t_test


def fold_row(model, fold, outcome, *, splits, y, groups, score):
    """Return the row of one model and fold as a dict.

    Parameters
    ----------
    model : str
        Name of the model.
    fold : int
        Position among the splits.
    outcome : dict
        What `fit_and_predict` returned.
    splits : list of (ndarray, ndarray)
        Training and test indices.
    y, groups : ndarray of shape (n_samples,)
        Labels and groups.
    score : callable
        From `make_scorer_of`.

    Returns
    -------
    row : dict
    """
    train, test = splits[fold]
    row = {
        "model": model,
        "repeat": repeat_of_split(splits)[fold],
        "fold": fold,
        "groups_held_out": " ".join(map(str, np.unique(groups[test]))),
        "n_train": len(train),
        "n_test": len(test),
        **score(outcome, y[test], np.arange(len(test))),
        "seconds_fit": outcome["seconds_fit"],
        "seconds_predict": outcome["seconds_predict"],
    }
    extra = {name: outcome.get(name) for name in ("n_epochs", "best_params")}
    losses = (outcome.get("history") or {}).get("loss")
    if losses is not None:
        extra["diverged"] = not np.isfinite(losses).all()
    return row | {name: value for name, value in extra.items() if value is not None}


def fold_table(outcomes, row_of):
    """Return one row per model and fold.

    Parameters
    ----------
    outcomes : dict of str to list of dict
        For each model what `fit_and_predict` returned for each split.
    row_of : callable
        `fold_row` with all arguments but the model's name, the fold and the outcome.

    Returns
    -------
    table : pandas.DataFrame
    """
    table = pd.DataFrame(
        row_of(name, fold, outcome)
        for name, of_fold in outcomes.items()
        for fold, outcome in enumerate(of_fold)
    )
    if "diverged" in table:
        # Models without a loss per epoch cannot diverge.
        table["diverged"] = table["diverged"].eq(True)
    return table


def warn_of_undefined(folds, metrics, reasons):
    """Warn once of each metric that some folds leave undefined.

    Parameters
    ----------
    folds : pandas.DataFrame
        From `fold_table`.
    metrics : list of str
        Names of the metrics.
    reasons : dict of str to str
        Messages of errors by metric, as the scorer left them.
    """
    folds = folds[folds["model"] == folds["model"].iloc[0]]
    for metric in metrics:
        n_undefined = int(folds[metric].isna().sum())
        if n_undefined:
            reason = reasons.get(metric, "their test samples lack a class.")
            warnings.warn(
                f"{metric} is not defined in {n_undefined} of {len(folds)} folds, so it cannot be "
                f"tested: {reason} If a class is missing, hold out groups that have all classes, "
                "or choose another metric, such as accuracy.",
                UndefinedMetricWarning,
                stacklevel=4,
            )


def repeat_of_split(splits):
    """Return for each split how often its test samples were tested before."""
    n_tested = np.zeros(1 + max(int(max(map(np.max, split))) for split in splits), dtype=int)
    repeats = []
    for _, test in splits:
        repeats.append(int(n_tested[test].max()))
        n_tested[test] += 1
    return repeats


def prediction_table(outcomes, splits, y, groups):
    """Return one row per model and prediction for a held-out sample.

    Parameters
    ----------
    outcomes : dict of str to list of dict
        For each model what `fit_and_predict` returned for each split.
    splits, y, groups
        As in `fold_row`.

    Returns
    -------
    table : pandas.DataFrame
    """
    repeats, tables = repeat_of_split(splits), []
    for model, results in outcomes.items():
        for fold, (outcome, (_, test)) in enumerate(zip(results, splits, strict=True)):
            table = pd.DataFrame(
                {
                    "model": model,
                    "repeat": repeats[fold],
                    "fold": fold,
                    "sample": test,
                    "group": groups[test],
                    "label": y[test],
                    "predicted": outcome["predict"],
                }
            )
            if "predict_proba" in outcome:
                table[[f"p_{name}" for name in outcome["classes"]]] = outcome["predict_proba"]
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def learning_curve_table(outcomes):
    """Return one row per fold and epoch of a network; empty if there is none."""
    tables = [
        pd.DataFrame({"fold": fold, "epoch": np.arange(1, 1 + len(history["loss"])), **history})
        for fold, history in enumerate(outcome.get("history") for outcome in outcomes)
        if history
    ]
    columns = ["fold", "epoch", "loss", "accuracy", "val_loss", "val_accuracy"]
    if not tables:
        return pd.DataFrame(columns=columns[:4])
    table = pd.concat(tables, ignore_index=True)
    return table[[name for name in columns if name in table]]


def group_table(outcomes, splits, y, groups, score, metrics):
    """Return the scores of each group for each model."""
    tables = []
    for model, results in outcomes.items():
        table = score_groups(score, metrics, results, splits, y, groups)
        table.insert(0, "model", model)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def summary_table(folds, group_scores, y, metrics, bootstrap):
    """Return one row per model and metric: mean over folds, interval over groups, chance."""
    rows = []
    for model in folds["model"].unique():
        of_fold = folds[folds["model"] == model]
        of_group = group_scores[group_scores["model"] == model]
        for metric in metrics:
            interval = _interval(of_group[metric], of_group["weight"], bootstrap)
            rows.append(
                {
                    "model": model,
                    "metric": metric,
                    "score": of_fold[metric].mean(),
                    "std": of_fold[metric].std(ddof=1),
                    "low": interval[0],
                    "high": interval[1],
                    "chance": chance_level(y, metric),
                }
            )
    return pd.DataFrame(rows)


def comparison_table(folds, group_scores, metrics, bootstrap):
    """Return one row per other model and metric: the score of the first model minus its score."""
    rows = []
    decoder, *baselines = folds["model"].unique()
    first, first_groups = (table[table["model"] == decoder] for table in (folds, group_scores))
    for baseline in baselines:
        other = folds[folds["model"] == baseline]
        other_groups = group_scores[group_scores["model"] == baseline]
        for metric in metrics:
            test = corrected_resampled_t_test(
                first[metric].to_numpy() - other[metric].to_numpy(),
                first["n_train"].to_numpy(),
                first["n_test"].to_numpy(),
                confidence=bootstrap["confidence"],
            )
            gaps = first_groups[metric].to_numpy() - other_groups[metric].to_numpy()
            interval = _interval(gaps, first_groups["weight"], bootstrap)
            rows.append(
                {
                    "baseline": baseline,
                    "metric": metric,
                    "difference": test.mean,
                    "low": test.low,
                    "high": test.high,
                    "t": test.statistic,
                    "df": test.df,
                    "p_value": test.pvalue,
                    "group_low": interval[0],
                    "group_high": interval[1],
                }
            )
    return pd.DataFrame(rows)


def _interval(scores, weights, bootstrap):
    scores = np.asarray(scores)
    if not np.isfinite(scores).all():
        return np.nan, np.nan
    return bootstrap_interval(scores, np.asarray(weights), **bootstrap)
