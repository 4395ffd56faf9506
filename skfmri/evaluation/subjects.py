"""One decoder per subject, with a test of their mean."""

from __future__ import annotations

import hashlib
import re
import zlib
from contextlib import ExitStack
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.model_selection import LeaveOneGroupOut, check_cv
from sklearn.utils import _safe_indexing

from skfmri._validation import check_per_volume, find_labels_and_groups
from skfmri.evaluation.decoder import evaluated
from skfmri.evaluation.ledger import Ledger
from skfmri.evaluation.permutation import mean_of_shuffled
from skfmri.evaluation.subjects_result import SUBJECT, SubjectsResult, combine_results
from skfmri.evaluation.targets import predicts_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from skfmri._types import Estimator, FilePath, Scoring, Splitter, Values, Volumes

# Names that are file names everywhere.
PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}")
SEED_LEDGER = "seed.jsonl"
MOST_NAMED = 10


def evaluate_subjects(
    estimator: Estimator,
    X: Volumes,
    y: Values | None = None,
    *,
    subjects: Values | None = None,
    groups: Values | None = None,
    cv: int | Splitter | None = None,
    scoring: Scoring = None,
    baseline: str | Sequence[str] | Estimator | Mapping[str, Any] | None = ("linear", "multiscale"),
    blocks: Values | None = None,
    permutation: Literal["auto", "within", "groups"] | None = "auto",
    n_permutations: int = 0,
    n_bootstraps: int = 10_000,
    confidence: float = 0.95,
    ledger: FilePath | None = None,
    n_jobs: int | None = None,
    random_state: int | None = None,
    on_fold: Callable[[dict[str, Any]], object] | None = None,
    on_fitted: Callable[[Any, int, Any, Any, Any], object] | None = None,
) -> SubjectsResult:
    """Cross-validate one decoder per subject, and test the mean of their scores.

    If every subject has several runs, the usual question is not whether a decoder works for new
    subjects, but whether the runs of each subject allow decoding. Each subject is evaluated by
    :func:`~skfmri.evaluate_decoder`, with its samples alone, so a subject never trains the decoder
    of another. The mean over subjects gets an interval over subjects and a permutation test.

    Parameters
    ----------
    estimator : classifier, pipeline or search
        The decoder; clones of it are fitted.
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Samples of all subjects.
    y : array-like of shape (n_samples,), default=None
        Labels; None takes ``X.y``.
    subjects : array-like of shape (n_samples,), default=None
        The subject of each sample; None takes ``X.subjects``.
    groups : array-like of shape (n_samples,), default=None
        What must not be split within a subject, such as runs; None takes ``X.groups``. Groups of
        different subjects may have the same names.
    cv : int, splitter or None, default=None
        Any scikit-learn splitter, applied to each subject; None leaves one group out at a time.
    scoring : str, callable, list, dict or None, default=None
        As in :func:`~skfmri.evaluate_decoder`; the first metric is the one that is tested.
    baseline : str, sequence of str, estimator, dict or None, default=("linear", "multiscale")
        As in :func:`~skfmri.evaluate_decoder`.
    blocks : array-like of shape (n_samples,), default=None
        As in :func:`~skfmri.evaluate_decoder`.
    permutation : {"auto", "within", "groups"} or None, default="auto"
        How labels of each subject are shuffled, as in :func:`~skfmri.evaluate_decoder`. None makes
        no test.
    n_permutations : int, default=0
        Largest number of permutations with refits, for each subject; each costs as much as the
        cross-validation of that subject. With 0, predictions are kept.
    n_bootstraps : int, default=10000
        Number of times the subjects are drawn for the intervals; at least 100.
    confidence : float, default=0.95
        Confidence level of all intervals.
    ledger : path-like, default=None
        Directory that keeps finished folds and permutations, in one file per subject. If the call
        is killed at any moment, the same call continues where it stopped and ends with the same
        numbers. If subjects were added, those that are finished are not computed again.
    n_jobs : int, default=None
        Number of joblib workers. Subjects follow each other; their folds are spread.
    random_state : int, default=None
        Gives each subject and each fold a different seed. The seed of a subject depends on its
        name, not on the other subjects. None draws one, which the result and the ledger record.
    on_fold : callable, default=None
        Called after each fold with its row of `SubjectsResult.folds`, a dict.
    on_fitted : callable, default=None
        Called in each fold as ``on_fitted(subject, fold, decoder, X_test, y_test)``, as in
        :func:`~skfmri.evaluate_decoder`; `fold` counts the folds of that subject from 0.

    Returns
    -------
    result : SubjectsResult

    Raises
    ------
    ValueError
        If the estimator is a regressor, if subjects, labels or groups are missing, if there is only
        one subject, if a subject has a single group or lacks a class, or for the reasons of
        :func:`~skfmri.evaluate_decoder`; the message names the subject.
    TypeError
        If `cv` is a list of splits, which cannot fit every subject.

    See Also
    --------
    evaluate_decoder : One decoder for the samples of all subjects.

    Notes
    -----
    - The test compares the mean over subjects with means in which the labels of every subject are
      shuffled independently, within the groups of the subject. So it needs no symmetric scores and
      no common chance level, as flipping the signs of ``score - chance`` would: cross-validated
      scores without an effect are skewed and often lie below chance [1]_. As for a single decoder,
      predictions are kept and the shuffled scores spread out
      (:func:`skfmri.statistics.prediction_permutation_test`), or with `n_permutations` all
      decoders are fitted anew (:func:`skfmri.statistics.sequential_permutation_test`).
    - A small p says that some subjects can be decoded. It does not say that most can, nor that the
      effect exists in the typical person: the same is true of a t-test of accuracies, since no true
      accuracy lies below chance [2]_. Look at the scores of the subjects.
    - Differences to baselines are tested with a paired t-test over subjects.

    References
    ----------
    .. [1] J. Stelzer, Y. Chen, R. Turner (2013). Statistical inference and multiple testing
       correction in classification-based multi-voxel pattern analysis (MVPA). NeuroImage 65, 69-82.
       https://doi.org/10.1016/j.neuroimage.2012.09.063
    .. [2] C. Allefeld, K. Görgen, J.-D. Haynes (2016). Valid population inference for
       information-based imaging: from the second-level t-test to prevalence inference. NeuroImage
       141, 378-392. https://doi.org/10.1016/j.neuroimage.2016.07.040

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
    >>> print(result.sentences()[0])
    mean accuracy 1.000 over 2 subjects (1.000 to 1.000), 95% interval 1.000 to 1.000; chance 0.500.
    """
    if predicts_numbers(estimator):
        raise ValueError(
            "One decoder per subject is for classes, but this decoder is a regressor. Use "
            "evaluate_decoder, for the samples of one subject at a time or for all subjects."
        )
    y, groups = find_labels_and_groups(X, y, groups)
    rows_of_subjects = find_subjects(X, y, groups, subjects)
    _check_splitter(cv)
    blocks = None if blocks is None else check_per_volume(blocks, len(y), "block")
    results, shuffled = {}, {}
    with ExitStack() as held:
        seed = random_state
        if ledger is not None:
            ledger = Path(ledger)
            seed = _recorded_seed(held, ledger / SEED_LEDGER, seed)
        elif seed is None:
            seed = _drawn_seed()
        n_folds = 0
        for subject, rows in rows_of_subjects.items():
            try:
                results[subject], shuffled[subject] = evaluated(
                    *(held, estimator, _safe_indexing(X, rows), y[rows]),
                    groups=groups[rows],
                    cv=cv,
                    scoring=scoring,
                    baseline=baseline,
                    blocks=None if blocks is None else blocks[rows],
                    permutation=permutation,
                    n_permutations=n_permutations,
                    n_bootstraps=n_bootstraps,
                    confidence=confidence,
                    ledger=None if ledger is None else ledger / ledger_name(subject),
                    n_jobs=n_jobs,
                    random_state=_seed_of_subject(seed, subject),
                    on_fold=on_fold and partial(_report_fold, on_fold, subject, n_folds),
                    on_fitted=on_fitted and partial(on_fitted, subject),
                )
            except ValueError as error:
                raise ValueError(f"Subject {subject}: {error}") from error
            n_folds += 1 + int(results[subject].folds["fold"].max())
        test = untested = None
        if permutation is not None:
            test, untested = _test_mean(results, shuffled, n_permutations, 1 - confidence)
    bootstrap = {"n_bootstraps": n_bootstraps, "confidence": confidence, "random_state": seed}
    return combine_results(
        results, rows_of_subjects, permutation_test=test, untested=untested, bootstrap=bootstrap
    )


def find_subjects(X, y, groups, subjects=None):
    """Return the positions of the samples of each subject, or raise ValueError.

    Parameters
    ----------
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Samples.
    y, groups : ndarray of shape (n_samples,)
        Labels and groups.
    subjects : array-like of shape (n_samples,), default=None
        Subjects; None takes ``X.subjects``.

    Returns
    -------
    rows_of_subjects : dict of object to ndarray of int
        In the order of the names.
    """
    subjects = getattr(X, "subjects", None) if subjects is None else subjects
    if subjects is None:
        raise ValueError(
            "There are no subjects. Pass subjects=, one per sample, or name them in the samples: "
            "NiftiSamples(..., subjects=...)."
        )
    subjects = check_per_volume(subjects, len(y), "subject")
    names = np.unique(subjects).tolist()
    if len(names) < 2:
        raise ValueError(
            f"All samples are of subject {names[0]}. Pass samples of two subjects or more, or use "
            "evaluate_decoder."
        )
    rows_of_subjects = {name: np.flatnonzero(subjects == name) for name in names}
    _check_subjects(rows_of_subjects, y, groups)
    return rows_of_subjects


def _check_subjects(rows_of_subjects, y, groups):
    """Raise ValueError that names all subjects without two groups or without a class."""
    classes, problems, single = np.unique(y), [], []
    for name, rows in rows_of_subjects.items():
        missing = np.setdiff1d(classes, y[rows]).tolist()
        if missing:
            problems.append(f"{name} has no sample of {', '.join(map(str, missing))}")
        elif len(np.unique(groups[rows])) < 2:
            single.append(name)
            problems.append(f"{name} has one group only")
    if len(single) == len(rows_of_subjects):
        raise ValueError(
            f"Each of the {len(single)} subjects has one group only, so there is nothing to hold "
            "out within a subject. Pass their runs as groups=."
        )
    if problems:
        shown = "; ".join(problems[:MOST_NAMED])
        if len(problems) > MOST_NAMED:
            shown += f"; and {len(problems) - MOST_NAMED} more"
        raise ValueError(
            f"{len(problems)} of {len(rows_of_subjects)} subjects cannot be decoded alone: "
            f"{shown}. Leave them out, for example with samples[~np.isin(samples.subjects, names)]."
        )


def _check_splitter(cv):
    if cv is not None and not isinstance(cv, Integral) and not hasattr(cv, "split"):
        raise TypeError(
            f"cv must be a splitter, an integer or None, which apply to each subject, but is "
            f"{type(cv).__name__}. Splits as indices cannot fit every subject."
        )


class WithinSubjects:
    """Splits of each subject by itself, as positions among the samples of all subjects.

    Parameters
    ----------
    rows_of_subjects : dict of object to ndarray of int
        From `find_subjects`.
    cv : int, splitter or None, default=None
        As in `evaluate_subjects`.
    """

    def __init__(self, rows_of_subjects, cv=None):
        self.rows_of_subjects, self.cv = rows_of_subjects, cv

    def split(self, X, y, groups):
        """Yield training and test positions, one subject after the other.

        Parameters
        ----------
        X : NiftiSamples or array-like of shape (n_samples, ...)
            Samples.
        y, groups : ndarray of shape (n_samples,)
            Labels and groups.

        Yields
        ------
        train, test : ndarray of int
        """
        cv = LeaveOneGroupOut() if self.cv is None else check_cv(self.cv, y, classifier=True)
        for rows in self.rows_of_subjects.values():
            for train, test in cv.split(_safe_indexing(X, rows), y[rows], groups[rows]):
                yield rows[train], rows[test]

    def get_n_splits(self, X, y, groups):
        """Return the number of splits of all subjects; parameters as in `split`."""
        return sum(1 for _ in self.split(X, y, groups))


def ledger_name(subject):
    """Return the name of the ledger of a subject, which may be called like no file can be.

    Parameters
    ----------
    subject : object
        Name of the subject.

    Returns
    -------
    name : str
    """
    text = str(subject)
    if not PLAIN_NAME.fullmatch(text):
        digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]
        text = f"{re.sub(r'[^A-Za-z0-9]+', '_', text)[:30]}.{digest}"
    return f"subject-{text}.jsonl"


def _recorded_seed(held, path, random_state):
    """Return the seed of an earlier call with the same ledger, or record a new one."""
    free = ("random_state",) if random_state is None else ()
    seed = _drawn_seed() if random_state is None else random_state
    book = held.enter_context(Ledger(path, {"random_state": seed}, free=free))
    if not book.n_found:
        book.add("begun", {})
    return book.identity["random_state"]


def _drawn_seed():
    return int(np.random.SeedSequence().generate_state(1)[0] >> 1)


def _seed_of_subject(seed, subject):
    entropy = [seed, zlib.crc32(str(subject).encode(errors="surrogatepass"))]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0] >> 1)


def _report_fold(on_fold, subject, n_before, row):
    on_fold({SUBJECT: subject, **row, "fold": row["fold"] + n_before})


def _test_mean(results, shuffled, n_permutations, level):
    """Return the test of the mean over subjects, and why there is none if there is none."""
    lacking = [subject for subject in results if shuffled[subject] is None]
    if not lacking:
        return mean_of_shuffled(list(shuffled.values())).test(n_permutations, level)
    reason = f"subject {lacking[0]}: {results[lacking[0]].untested}"
    if len(lacking) > 1:
        reason = f"{len(lacking)} of {len(results)} subjects cannot be tested, such as {reason}"
    return None, reason
