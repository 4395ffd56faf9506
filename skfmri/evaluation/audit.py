"""A search for leaks before a score is trusted."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from nibabel.spatialimages import SpatialImage
from sklearn.model_selection import LeaveOneGroupOut, check_cv

from skfmri.evaluation.leaks import (
    CHEAP_CHECKS,
    CHECKS,
    Context,
    Finding,
    Skip,
    named,
    splits_of_one_class,
)
from skfmri.evaluation.targets import are_classes, find_target_and_groups
from skfmri.preprocessing.centering import describe_balance
from skfmri.preprocessing.cut_groups import carry_groups
from skfmri.samples import NiftiSamples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skfmri._types import CrossValidation, Estimator, Values, Volumes

__all__ = ["CHEAP_CHECKS", "Finding", "LeakageReport", "audit_leakage"]

MOST_SHOWN = 5
LARGEST_UNNOTED_SHARE = 0.05


@dataclass(frozen=True, repr=False)
class LeakageReport:
    """What `audit_leakage` found.

    ``print`` shows all findings; ``assert report.ok`` shows the first one of each check.

    Attributes
    ----------
    findings : tuple of Finding
        Each with ``check``, ``message``, ``split`` and the indices ``train`` and ``test`` of the
        samples concerned.
    passed : tuple of str
        Checks that found nothing.
    skipped : dict of str to str
        Checks that could not be run, and why.
    notes : tuple of str
        What is not a leak but makes scores hard to interpret, such as splits that test one class,
        or a forced choice between volumes that were centred together.
    """

    findings: tuple[Finding, ...]
    passed: tuple[str, ...]
    skipped: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if no check found a leak."""
        return not self.findings

    def to_frame(self) -> pd.DataFrame:
        """Return one row per finding.

        Returns
        -------
        table : pandas.DataFrame
            Columns ``check``, ``split``, ``message``, ``n_train`` and ``n_test``.
        """
        rows = [
            (item.check, item.split, item.message, len(item.train), len(item.test))
            for item in self.findings
        ]
        return pd.DataFrame(rows, columns=["check", "split", "message", "n_train", "n_test"])

    def _messages(self):
        found = {}
        for finding in self.findings:
            found.setdefault(finding.check, []).append(finding.message)
        return found

    def __str__(self):
        lines = [f"{name}: passed" for name in self.passed]
        lines += [f"{name}: skipped, {reason}" for name, reason in self.skipped.items()]
        for name, messages in self._messages().items():
            lines.append(f"{name}: {len(messages)} found")
            lines += [f"  {message}" for message in messages[:MOST_SHOWN]]
            if len(messages) > MOST_SHOWN:
                lines.append(f"  and {len(messages) - MOST_SHOWN} more")
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)

    def __repr__(self):
        # One line with the findings first, since pytest shows no more than 240 characters.
        found = [
            f"{name}: {len(messages)} found, {messages[0]}"
            for name, messages in self._messages().items()
        ]
        return f"<{' '.join(found)}>" if found else f"<no leak; passed {', '.join(self.passed)}>"


def audit_leakage(
    estimator: Estimator | None,
    X: Volumes,
    y: Values | None = None,
    *,
    groups: Values | None = None,
    cv: CrossValidation = None,
    checks: Sequence[str] | None = None,
) -> LeakageReport:
    """Look for ways in which test data leak into training.

    A leak raises no error and makes every curve look better. Use this in a test of your analysis:
    ``assert report.ok`` fails with the first finding of each check, ``print(report)`` lists more.

    Parameters
    ----------
    estimator : classifier, regressor, pipeline, search or None
        Never fitted itself; None skips the checks that need it.
    X : NiftiSamples, list of images or array-like of shape (n_samples, ...)
        Samples.
    y : array-like of shape (n_samples,), default=None
        Labels; None takes ``X.y``.
    groups : array-like of shape (n_samples,), default=None
        What must not be split; None takes ``X.groups``.
    cv : int, splitter, iterable or None, default=None
        Any scikit-learn splitter; None leaves one group out at a time.
    checks : sequence of str, default=None
        Names of the checks to run; None runs all.

    Returns
    -------
    report : LeakageReport
        ``report.ok`` is True if nothing was found. A leak never raises an error.

    Raises
    ------
    ValueError
        If labels or groups are missing or do not match X, or if a check is unknown.

    Notes
    -----
    groups
        A group on both sides of a split. A note names splits that test on subjects whose other
        runs are trained on together with other subjects, if the samples know their `subjects`: then
        the score is not for new subjects.
    duplicates
        Volumes on both sides that are identical, or that correlate above 0.99 once the mean
        volume is subtracted: copies that were rounded, rescaled or saved again.
    neighbours
        Volumes of one run on both sides, within 5 volumes of each other, which is about the
        haemodynamic response; of :func:`~skfmri.average_blocks`, means of such volumes, and of
        :func:`~skfmri.estimate_trials`, any estimates of one run, which share its noise. Needs
        `NiftiSamples`, which know the runs.
    classes
        A split that trains without one of the classes. A note in ``report.notes``, which is not a
        finding, names splits that test one class only. Left out for a regressor.
    standardised
        Data that were z-scored over all samples beforehand. Z-scoring each run separately is not a
        leak, as long as each run is on one side only.
    centred
        A split that cuts through volumes that :func:`~skfmri.center_groups` has centred together.
        Notes name centred groups with one volume per class, which makes a forced choice, and those
        whose classes are not equally frequent; of a regressor, how much of the variance of y lies
        between centred groups.
    repeats
        The same test samples in two splits, so that one score counts twice.
    inner
        Early stopping, or the cross-validation of a search, on groups that are also fitted.
    initial_weights
        Test volumes that a decoder was trained on before, from whose weights a network starts, or
        one before that. They are known of decoders that :func:`skfmri.load` has read from a file
        saved with ``samples=``, and of pipelines fitted to other volumes of the same `NiftiSamples`
        in this process.
    transformers
        Fits the steps before the last on the first split, with and without altered test samples:
        the transformed training samples must not change, neither alone nor in one batch with test
        samples. Steps that were fitted before, or that hold data of all samples, are also found.
        This is the only check that fits anything and that reads all volumes into memory.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import KFold
    >>> from skfmri import audit_leakage
    >>> X, y, groups = np.arange(8.0)[:, np.newaxis], [0, 1] * 4, [1, 1, 1, 2, 2, 3, 3, 3]
    >>> audit_leakage(LogisticRegression(), X, y, groups=groups).ok
    True
    >>> report = audit_leakage(LogisticRegression(), X, y, groups=groups, cv=KFold(2))
    >>> print(report.findings[0].message)
    Split 0 has group 2 on both sides.
    """
    if isinstance(X, list) and isinstance(X[0], str | PathLike | SpatialImage):
        X = NiftiSamples(X, groups=groups)
    y, groups = find_target_and_groups(estimator, X, y, groups)
    X = carry_groups(X, groups)
    unknown = [name for name in checks or () if name not in CHECKS]
    if unknown:
        raise ValueError(
            f"There is no check {unknown[0]!r}. The checks are {', '.join(map(repr, CHECKS))}."
        )
    cv = LeaveOneGroupOut() if cv is None else check_cv(cv, y, classifier=are_classes(estimator, y))
    splits = [tuple(map(np.asarray, split)) for split in cv.split(X, y, groups)]
    context = Context(estimator, X, y, groups, splits)
    findings, passed, skipped = [], [], {}
    for name in CHECKS if checks is None else checks:
        try:
            found = list(CHECKS[name](context))
        except Skip as reason:
            skipped[name] = str(reason)
            continue
        findings += found
        if not found:
            passed.append(name)
    notes = ()
    if checks is None or "classes" in checks:
        notes += _notes_on_classes(context)
    if checks is None or "centred" in checks:
        notes += _notes_on_centring(context)
    if checks is None or "groups" in checks:
        notes += _notes_on_subjects(context)
    return LeakageReport(tuple(findings), tuple(passed), skipped, notes)


def _notes_on_classes(context):
    """Return what the classes of the test samples mean for scores."""
    if not context.has_classes:
        return ()
    one_class = splits_of_one_class(context)
    if not one_class:
        return ()
    verb = "tests" if len(one_class) == 1 else "test"
    return (
        f"{named('Split', 'Splits', one_class)} of {len(context.splits)} {verb} one class only. "
        "ROC AUC is not defined for one class, and to predict the most frequent class of the "
        "training samples may score far below chance, so compare scores with shuffled labels: "
        "n_permutations of evaluate_decoder.",
    )


def _notes_on_subjects(context):
    """Return that scores are not for new subjects if subjects are on both sides of a split."""
    subjects = getattr(context.X, "subjects", None)
    if subjects is None:
        return ()
    # A decoder of one subject can only be tested on this subject.
    shared = [
        number
        for number, (train, test) in enumerate(context.splits)
        if len(np.unique(subjects[train])) > 1 and np.isin(subjects[test], subjects[train]).any()
    ]
    if not shared:
        return ()
    verb = "tests" if len(shared) == 1 else "test"
    return (
        f"{named('Split', 'Splits', shared)} of {len(context.splits)} {verb} on subjects whose "
        "other volumes are trained on, together with those of other subjects. The score is for new "
        "volumes of these subjects, not for new subjects. For new subjects, keep each subject in "
        "one group; for one decoder per subject, use evaluate_subjects, on the command line "
        "--per-subject.",
    )


def _notes_on_centring(context):
    """Return what the labels of volumes that were centred together mean for scores."""
    if not context.has_classes:
        return _notes_on_centred_numbers(context)
    notes = []
    for group_of, source in context.centrings:
        balance = describe_balance(context.y, group_of)
        n_groups, n_unbalanced = balance["n_groups"], balance["n_unbalanced"]
        n_centred = np.bincount(source.group_of)[group_of]
        # Volumes of which others were left out later are not compared with each other alone.
        is_whole = np.bincount(group_of)[group_of] == n_centred
        n_forced = describe_balance(context.y[is_whole], group_of[is_whole])["n_forced_choice"]
        if n_forced:
            notes.append(
                f"{n_forced} of {n_groups} groups that were centred hold one volume per class. "
                "These volumes are compared with each other: a forced choice, which is easier than "
                "classifying a single volume."
            )
        if n_unbalanced:
            notes.append(
                f"Classes are not equally frequent in {n_unbalanced} of {n_groups} groups that "
                "were centred, so their means lean towards a class. Centring took away "
                f"{balance['removed_share']:.1%} of the variance of the labels."
            )
    return tuple(notes)


def _notes_on_centred_numbers(context):
    """Return how much of the variance of numbers centring took out of the volumes."""
    notes = []
    for group_of, _ in context.centrings:
        removed = describe_balance(context.y.astype(float), group_of)["removed_share"]
        if removed > LARGEST_UNNOTED_SHARE:
            notes.append(
                f"{removed:.0%} of the variance of y lies between groups that were centred, and "
                "centring took that much of its effect out of the volumes. Only what varies within "
                "these groups can be predicted."
            )
    return tuple(notes)
