"""Results of one decoder per subject, as tables or sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skfmri.evaluation.result import (
    DECODER,
    DecodingResult,
    divergence_sentences,
)
from skfmri.statistics import bootstrap_interval, corrected_resampled_t_test

SUBJECT = "subject"
TABLES = ("folds", "predictions", "groups", "learning_curves")


@dataclass(frozen=True, repr=False)
class SubjectsResult(DecodingResult):
    """Result of `evaluate_subjects`; ``print`` shows a summary in words.

    It has the tables of a :class:`DecodingResult`, over all subjects: ``folds``, ``predictions``,
    ``groups`` and ``learning_curves`` have the column ``subject`` in addition. Folds are numbered
    through all subjects, so each number occurs once. ``sample`` is the position among the samples
    that were passed, and ``weight`` the share in the mean over subjects.

    Attributes
    ----------
    results : dict of object to DecodingResult
        For each subject what :func:`~skfmri.evaluate_decoder` found in the samples of that subject.
    subjects : pandas.DataFrame
        One row per subject, model and metric: ``subject``, ``model``, ``metric``, ``score``,
        ``std`` over folds, ``low`` and ``high`` of the interval over the groups of the subject,
        ``chance``, and ``p_value`` of the permutation test of that subject alone, which is NaN but
        for the first metric of the decoder.
    summary : pandas.DataFrame
        One row per model and metric: ``score``, the mean over subjects, ``std`` over subjects,
        ``low`` and ``high`` of the interval from a bootstrap over subjects, and ``chance``, the
        mean over subjects.
    comparisons : pandas.DataFrame
        One row per baseline and metric: ``difference``, decoder minus baseline, with ``low``,
        ``high``, ``t``, ``df`` and ``p_value`` of the paired t-test over subjects, and
        ``group_low`` and ``group_high`` from the bootstrap over subjects.
    permutation_test : PermutationTest or None
        Test of the mean over subjects of the first metric against shuffled labels.
    untested : str or None
        Why a permutation test that was asked for was not made.
    metrics, classes, confidence
        As in :class:`DecodingResult`.
    random_state : int
        Seed with which the evaluation can be repeated.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skfmri import evaluate_subjects
    >>> X, y = np.array([[-1.0], [1.0]] * 12), np.array(["low", "high"] * 12)
    >>> runs, subjects = np.tile(np.repeat([0, 1, 2], 4), 2), np.repeat(["01", "02"], 12)
    >>> result = evaluate_subjects(
    ...     LogisticRegression(), X, y, subjects=subjects, groups=runs, random_state=0
    ... )
    >>> result.subjects.loc[result.subjects["model"] == "decoder", "score"].tolist()
    [1.0, 1.0, 1.0, 1.0]
    >>> len(result.results["02"].folds) * 2 == len(result.folds)
    True
    """

    results: dict[Any, DecodingResult]
    subjects: pd.DataFrame

    def sentences(self) -> list[str]:
        """Return the result in words: the mean score, the permutation tests, the comparisons.

        Returns
        -------
        sentences : list of str
        """
        metric = self.metrics[0]
        mean, of_subjects = (
            table[(table["model"] == DECODER) & (table["metric"] == metric)]
            for table in (self.summary, self.subjects)
        )
        mean, scores = mean.iloc[0], of_subjects["score"]
        sentences = divergence_sentences(self.folds)
        text = f"mean {metric} {mean['score']:.3f} over {len(scores)} subjects"
        if np.isfinite(mean["low"]):
            text += f" ({scores.min():.3f} to {scores.max():.3f})"
            text += f", {self.confidence:.0%} interval {mean['low']:.3f} to {mean['high']:.3f}"
        if np.isfinite(mean["chance"]):
            text += f"; chance {mean['chance']:.3f}"
        sentences.append(f"{text}.")
        sentences += self._claims()
        level = 1 - self.confidence
        tested = of_subjects["p_value"].dropna()
        if len(tested):
            n_better = int((tested <= level).sum())
            sentences.append(
                f"Better than chance when tested alone: {n_better} of {len(tested)} subjects "
                f"(p at most {level:.2g}, not corrected for their number)."
            )
        return sentences + self._comparisons()


def combine_results(results, rows_of_subjects, *, permutation_test, untested, bootstrap):
    """Return the results of all subjects as one.

    Parameters
    ----------
    results : dict of object to DecodingResult
        One per subject.
    rows_of_subjects : dict of object to ndarray of int
        Positions of the samples of each subject.
    permutation_test : PermutationTest or None
        Test of the mean.
    untested : str or None
        Why there is none.
    bootstrap : dict
        "n_bootstraps", "confidence" and "random_state" of the intervals.

    Returns
    -------
    result : SubjectsResult
    """
    first = next(iter(results.values()))
    subjects = _subject_table(results)
    return SubjectsResult(
        **{name: _joined(results, rows_of_subjects, name) for name in TABLES},
        summary=_summary_table(subjects, bootstrap),
        comparisons=_comparison_table(subjects, bootstrap),
        permutation_test=permutation_test,
        untested=untested,
        metrics=first.metrics,
        classes=first.classes,
        confidence=first.confidence,
        random_state=bootstrap["random_state"],
        results=results,
        subjects=subjects,
    )


def _joined(results, rows_of_subjects, name):
    """Return a table of all subjects, with folds and samples numbered through."""
    tables, n_folds = [], 0
    for subject, result in results.items():
        table = getattr(result, name).copy()
        if "fold" in table:
            table["fold"] += n_folds
        if "sample" in table:
            table["sample"] = rows_of_subjects[subject][table["sample"]]
        if "weight" in table:
            table["weight"] /= len(results)
        table.insert(0, SUBJECT, subject)
        tables.append(table)
        n_folds += 1 + int(result.folds["fold"].max())
    filled = [table for table in tables if not table.empty]
    return pd.concat(filled, ignore_index=True) if filled else tables[0]


def _subject_table(results):
    tables = []
    for subject, result in results.items():
        table = result.summary.assign(p_value=np.nan)
        if result.permutation_test is not None:
            is_tested = (table["model"] == DECODER) & (table["metric"] == result.metrics[0])
            table.loc[is_tested, "p_value"] = result.permutation_test.pvalue
        table.insert(0, SUBJECT, subject)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _summary_table(subjects, bootstrap):
    """Return one row per model and metric: mean over subjects, interval, chance."""
    rows = []
    for (model, metric), table in _by_model(subjects):
        scores = table["score"]
        low, high = _interval(scores, bootstrap)
        rows.append(
            {
                "model": model,
                "metric": metric,
                "score": scores.mean(skipna=False),
                "std": scores.std(ddof=1, skipna=False),
                "low": low,
                "high": high,
                "chance": table["chance"].mean(skipna=False),
            }
        )
    return pd.DataFrame(rows)


def _comparison_table(subjects, bootstrap):
    """Return one row per other model and metric: the score of the decoder minus its score."""
    scores = {key: table["score"].to_numpy() for key, table in _by_model(subjects)}
    rows = []
    for (model, metric), others in scores.items():
        if model == DECODER:
            continue
        gaps = scores[DECODER, metric] - others
        # Subjects share no training samples, so this is the usual paired t-test.
        test = corrected_resampled_t_test(
            gaps, n_train=1, n_test=0, confidence=bootstrap["confidence"]
        )
        group_low, group_high = _interval(gaps, bootstrap)
        rows.append(
            {
                "baseline": model,
                "metric": metric,
                "difference": test.mean,
                "low": test.low,
                "high": test.high,
                "t": test.statistic,
                "df": test.df,
                "p_value": test.pvalue,
                "group_low": group_low,
                "group_high": group_high,
            }
        )
    return pd.DataFrame(rows)


def _by_model(subjects):
    """Yield model and metric with the rows of all subjects, for models that all subjects have."""
    n_subjects = subjects[SUBJECT].nunique()
    for key, table in subjects.groupby(["model", "metric"], sort=False):
        if len(table) == n_subjects:
            yield key, table


def _interval(scores, bootstrap):
    scores = np.asarray(scores)
    if not np.isfinite(scores).all():
        return np.nan, np.nan
    return bootstrap_interval(scores, **bootstrap)
