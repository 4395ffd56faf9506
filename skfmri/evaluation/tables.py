"""Tables of an evaluation, built from the outcomes of its folds."""

import warnings

import numpy as np
import pandas as pd
from sklearn.exceptions import UndefinedMetricWarning

from skfmri.evaluation.folds import repeat_of_split
from skfmri.evaluation.kinds import ModelScores
from skfmri.evaluation.scoring import chance_level, score_groups
from skfmri.statistics import (
    bootstrap_interval,
    bootstrap_interval_of_sums,
    corrected_resampled_t_test,
)

# What the history of a network records of classes or of numbers.
CURVES = ("loss", "accuracy", "mean_absolute_error")


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


def warn_of_undefined(of_pools, reasons, kind):
    """Warn once of each metric that some pools leave undefined.

    Parameters
    ----------
    of_pools : pandas.DataFrame
        Scores of the decoder, one row per pool and one column per metric.
    reasons : dict of str to str
        Messages of errors by metric, as the scorer left them.
    kind : type
        `Classes` or `Numbers`.
    """
    for metric in of_pools:
        n_undefined = int(of_pools[metric].isna().sum())
        if n_undefined:
            reason = reasons.get(metric, kind.why_undefined).strip().removesuffix(".")
            warnings.warn(
                f"{metric} is not defined in {n_undefined} of {len(of_pools)} {kind.unit}, so it "
                f"cannot be tested: {reason}. {kind.when_undefined}",
                UndefinedMetricWarning,
                stacklevel=4,
            )


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
    if not tables:
        return pd.DataFrame(columns=["fold", "epoch", "loss", "accuracy"])
    table = pd.concat(tables, ignore_index=True)
    curves = [name for name in CURVES if name in table]
    validated = [f"val_{name}" for name in curves if f"val_{name}" in table]
    return table[["fold", "epoch", *curves, *validated]]


def scores_of_models(outcomes, folds, score, metrics, kind, *, splits, y, groups):
    """Return all scores of each model.

    Parameters
    ----------
    outcomes : dict of str to list of dict
        For each model what `fit_and_predict` returned for each split.
    folds : pandas.DataFrame
        From `fold_table`.
    score : callable
        From `make_scorer_of`.
    metrics : list of str
        Names of the metrics.
    kind : type
        `Classes` or `Numbers`.
    splits, y, groups
        As in `fold_row`.

    Returns
    -------
    scores : dict of str to ModelScores
    """
    found = {}
    for model, of_model in outcomes.items():
        pools = kind.pools(of_model, splits)
        of_folds = folds[folds["model"] == model]
        of_groups = score_groups(score, metrics, pools, y, groups)
        of_groups.insert(0, "model", model)
        of_pools = of_folds[metrics]
        if not kind.is_classes:
            of_pools = pd.DataFrame(
                [score(pool.outcome, y[pool.test], np.arange(len(pool.test))) for pool in pools]
            )
        found[model] = ModelScores(pools, of_pools, of_folds, of_groups)
    return found


def summary_table(scores, y, groups, bootstrap, kind):
    """Return one row per model and metric: score, interval over groups, chance.

    Parameters
    ----------
    scores : dict of str to ModelScores
        By the name of the model.
    y, groups : ndarray of shape (n_samples,)
        Labels and groups.
    bootstrap : dict
        "n_bootstraps", "confidence" and "random_state" of the intervals.
    kind : type
        `Classes` or `Numbers`.

    Returns
    -------
    table : pandas.DataFrame
    """
    rows = []
    for model, of_model in scores.items():
        for metric in of_model.of_pools:
            values = of_model.score(metric), of_model.of_folds[metric].std(ddof=1)
            interval = _interval(kind.sums(metric, of_model, y, groups), bootstrap)
            rows.append((model, metric, *values, *interval, chance_level(y, metric)))
        for metric in kind.within_groups:
            of_groups = of_model.of_groups
            defined = of_groups[of_groups[metric].notna()] if metric in of_groups else ()
            if len(defined):
                mean = np.average(defined[metric], weights=defined["weight"])
                interval = bootstrap_interval(defined[metric], defined["weight"], **bootstrap)
                values = mean, defined[metric].std(ddof=1)
                rows.append((model, f"{metric}_within_groups", *values, *interval, 0.0))
    columns = ["model", "metric", "score", "std", "low", "high", "chance"]
    return pd.DataFrame(rows, columns=columns)


def comparison_table(scores, y, groups, bootstrap, kind):
    """Return one row per other model and metric: the score of the first model minus its score.

    Parameters
    ----------
    scores, y, groups, bootstrap, kind
        As in `summary_table`.

    Returns
    -------
    table : pandas.DataFrame
    """
    rows = []
    (_, first), *others = scores.items()
    sizes = [first.of_folds[name].to_numpy() for name in ("n_train", "n_test")]
    for baseline, other in others:
        for metric in first.of_pools:
            gaps = _gap(kind.parts(metric, first, y), kind.parts(metric, other, y))
            test = corrected_resampled_t_test(gaps, *sizes, confidence=bootstrap["confidence"])
            of_pools = [each.of_pools[metric].to_numpy() for each in (first, other)]
            both = [kind.sums(metric, each, y, groups) for each in (first, other)]
            interval = _interval(_difference(*both), bootstrap)
            rows.append(
                {
                    "baseline": baseline,
                    "metric": metric,
                    # NaN if it is so in any pool.
                    "difference": np.mean(_gap(*of_pools)),
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


def _gap(scores, others):
    """Return differences of scores, without those that rounding leaves between equal ones."""
    gaps = scores - others
    return np.where(np.abs(gaps) > 1e-12 * np.abs(scores), gaps, 0 * gaps)


def _difference(first, other):
    """Return the sums of two models side by side, with the difference of their scores."""
    if first is None or other is None:
        return None
    (sums, score), (other_sums, other_score) = first, other

    def difference(totals):
        return _gap(score(totals[:, 0]), other_score(totals[:, 1]))

    return np.stack([sums, other_sums], axis=1), difference


def _interval(sums_and_score, bootstrap):
    if sums_and_score is None:
        return np.nan, np.nan
    return bootstrap_interval_of_sums(*sums_and_score, **bootstrap)
