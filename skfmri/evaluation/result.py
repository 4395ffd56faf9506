"""Results of an evaluation, as tables or sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

from skfmri.evaluation.comparison import WAYS, WAYS_TO_NUMBERS, comparison_sentences
from skfmri.evaluation.words import metric_in_words, range_in_words, score_in_words
from skfmri.statistics import PermutationTest

if TYPE_CHECKING:
    from skfmri._types import KnownByUser, Normalize

DECODER, DUMMY = "decoder", "dummy"
PERMUTED = {
    "within": "of the labels within groups",
    "groups": "of the labels of whole groups",
    None: "of the labels",
}


@dataclass(frozen=True, repr=False)
class DecodingResult:
    """Result of `evaluate_decoder`; ``print`` shows a summary in words.

    Every table is a pandas DataFrame. Sentences and the permutation test refer to the first
    metric.

    Attributes
    ----------
    folds : pandas.DataFrame
        One row per model and fold: ``model``, ``repeat``, ``fold``, ``groups_held_out``,
        ``n_train``, ``n_test``, one column per metric, NaN where it is not defined,
        ``seconds_fit``, ``seconds_predict`` and, if they apply, ``n_epochs`` of early stopping,
        ``best_params`` of a search, and ``diverged``: whether the loss of a network, or of one of
        its members, was not finite in any epoch.
    predictions : pandas.DataFrame
        One row per model and prediction for a held-out sample: ``model``, ``repeat``, ``fold``,
        ``sample``, ``group``, ``label``, ``predicted`` and, if there are probabilities,
        ``p_<class>`` for each class.
    groups : pandas.DataFrame
        One row per model and group: ``model``, ``group``, ``weight``, which is its share in the
        mean over folds, of a regressor its share of the predictions, and the metrics of that
        group's samples alone.
    learning_curves : pandas.DataFrame
        One row per fold and epoch of a network: ``fold``, ``epoch``, then ``loss``, ``accuracy``
        or ``mean_absolute_error`` and, with validation data, the same with ``val_`` in front. Empty
        for other decoders.
    summary : pandas.DataFrame
        One row per model and metric: ``score``, the mean over folds, ``std`` over folds, ``low``
        and ``high`` of the interval from a bootstrap over groups, and ``chance``. The ``score`` of
        a regressor is that of the predictions of all folds together, averaged over repeats; its
        ``std`` leaves out folds without a score. Rows ``pearson_within_groups`` and
        ``spearman_within_groups`` are means over the groups in which labels vary, and their ``std``
        is over these groups. ``chance`` is :func:`~skfmri.evaluation.chance_level`.
    comparisons : pandas.DataFrame
        One row per baseline and metric: ``difference``, decoder minus baseline, with ``low``,
        ``high``, ``t``, ``df`` and ``p_value`` of the corrected resampled t-test, and
        ``group_low`` and ``group_high`` from the bootstrap over groups. Metrics of regressors that
        are no means over folds, such as correlations, have no test: NaN.
    permutation_test : PermutationTest or None
        Test of the first metric against shuffled labels; the only one that says whether the decoder
        is better than chance.
    untested : str or None
        Why a permutation test that was asked for was not made.
    metrics : list of str
        Names of the metrics.
    classes : list or None
        The classes; None for a regressor.
    confidence : float
        Confidence level of all intervals.
    random_state : int
        Seed with which the evaluation can be repeated.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skfmri import evaluate_decoder
    >>> X, y = np.tile([[0.0], [1.0], [0.2], [0.3]], (4, 1)), np.tile([0, 1], 8)
    >>> result = evaluate_decoder(
    ...     LogisticRegression(), X, y, groups=np.repeat([1, 2, 3, 4], 4), baseline=None
    ... )
    >>> result.confusion()
    predicted  0  1
    label
    0          8  0
    1          4  4
    """

    folds: pd.DataFrame
    predictions: pd.DataFrame
    groups: pd.DataFrame
    learning_curves: pd.DataFrame
    summary: pd.DataFrame
    comparisons: pd.DataFrame
    permutation_test: PermutationTest | None
    untested: str | None
    metrics: list[str]
    classes: KnownByUser
    confidence: float
    random_state: int

    def confusion(
        self, model: str = DECODER, *, normalize: Normalize | None = None
    ) -> pd.DataFrame:
        """Return the confusion matrix, summed over folds.

        Parameters
        ----------
        model : str, default="decoder"
            The decoder or the name of a baseline.
        normalize : {"true", "pred", "all"} or None, default=None
            As in `sklearn.metrics.confusion_matrix`; "true" makes rows sum to 1.

        Returns
        -------
        matrix : pandas.DataFrame of shape (n_classes, n_classes)
            True classes in rows, predicted ones in columns.

        Raises
        ------
        ValueError
            If the decoder is a regressor, or there is no such model.
        """
        if self.classes is None:
            raise ValueError(
                "A regressor predicts numbers, which have no confusion matrix. Draw predictions "
                "with skfmri.plotting.plot_predicted."
            )
        names = self.predictions["model"].unique().tolist()
        if model not in names:
            raise ValueError(f"There is no model {model!r}, only {', '.join(map(repr, names))}.")
        rows = self.predictions[self.predictions["model"] == model]
        matrix = confusion_matrix(
            rows["label"], rows["predicted"], labels=self.classes, normalize=normalize
        )
        return pd.DataFrame(
            matrix,
            index=pd.Index(self.classes, name="label"),
            columns=pd.Index(self.classes, name="predicted"),
        )

    def sentences(self) -> list[str]:
        """Return the result in words: the score, the permutation test, the comparisons.

        A network that diverged comes first. The dummy is not compared with: if groups differ in
        their labels, it predicts the wrong class for those held out, and any decoder beats it. If
        the decoder is a network and not clearly better than the best of the linear models, or
        clearly worse than another model, the model to prefer is named, with the way to use it.

        Returns
        -------
        sentences : list of str
        """
        metric, percent = self.metrics[0], f"{self.confidence:.0%}"
        row = self.summary[
            (self.summary["model"] == DECODER) & (self.summary["metric"] == metric)
        ].iloc[0]
        n_groups = self.groups["group"].nunique()
        text = f"{metric_in_words(metric)} {score_in_words(metric, row['score'])}"
        if np.isfinite(row["low"]):
            text += f", {percent} interval {range_in_words(metric, row['low'], row['high'])}"
            text += f" over {n_groups} groups"
        if np.isfinite(row["chance"]):
            text += f"; chance {score_in_words(metric, row['chance'])}"
        sentences = [*divergence_sentences(self.folds), text + "."]
        sentences += self._claims()
        if self.classes is None and self._is_better() and row["score"] < row["chance"]:
            sentences.append(
                "Predictions go with the labels, but a constant would be closer to them: their "
                "mean or their scale is off."
            )
        return sentences + self._comparisons()

    def _comparisons(self):
        """Return how the first metric compares with that of other models but the dummy."""
        is_compared = (self.comparisons["metric"] == self.metrics[0]) & (
            self.comparisons["baseline"] != DUMMY
        )
        rows = self.comparisons[is_compared].to_dict("records")
        is_network = not self.learning_curves.empty
        ways = WAYS_TO_NUMBERS if self.classes is None else WAYS
        return comparison_sentences(rows, self.confidence, is_network, ways)

    def _is_better(self):
        """Return whether a test calls the score better than chance."""
        test = self.permutation_test
        return test is not None and test.pvalue <= 1 - self.confidence

    def _claims(self):
        """Return whether the score is better than chance, or why that was not tested."""
        if self.permutation_test is not None:
            return [claim_sentence(self.permutation_test, 1 - self.confidence)]
        return [] if self.untested is None else [f"No claim about chance: {self.untested}"]

    def __str__(self):
        columns = ["model", "metric", "score", "std", "low", "high", "chance"]
        table = self.summary[columns].to_string(index=False, float_format="{:.3f}".format)
        return "\n".join([table, "", *self.sentences()])

    __repr__ = __str__


def divergence_sentences(folds):
    """Return a sentence for each model whose network diverged."""
    if "diverged" not in folds:
        return []
    sentences = []
    for model, of_model in folds.groupby("model", sort=False)["diverged"]:
        if of_model.any():
            network = "The network" if model == DECODER else f"The network of {model}"
            sentences.append(
                f"{network} diverged in {of_model.sum()} of {len(of_model)} folds: its loss was "
                "not finite, so these scores mean nothing. Lower learning_rate."
            )
    return sentences


def claim_sentence(test, level):
    """Return whether the score is better than chance, in words, with p and its source."""
    text = "Better than chance" if test.pvalue <= level else "Not clearly better than chance"
    text += f": p = {test.pvalue:.3g} from {test.n_permutations} permutations "
    text += PERMUTED[test.scheme]
    if not test.refitted:
        return text + ", with the predictions kept."
    end = "; stopped early because the result is clear" if test.stopped_early else ""
    return text + f", with refits{end}."


def describe_result(result):
    """Return the scores and tests of an evaluation as JSON-serialisable values.

    Parameters
    ----------
    result : DecodingResult
        From `evaluate_decoder`.

    Returns
    -------
    description : dict
        ``summary``, the rows of that table with None for NaN; ``sentences``; ``n_folds``,
        ``n_groups``, ``confidence``, ``random_state``; ``permutation_test``, which is None or has
        ``p_value``, ``n_permutations``, ``scheme``, "within" or "groups", and ``refitted``;
        ``untested``, why there is none.
    """
    test = result.permutation_test
    permutation_test = None
    if test is not None:
        permutation_test = {
            "p_value": test.pvalue,
            "n_permutations": test.n_permutations,
            "scheme": test.scheme,
            "refitted": test.refitted,
        }
    return {
        "summary": result.summary.astype(object).replace(np.nan, None).to_dict("records"),
        "sentences": result.sentences(),
        "n_folds": int((result.folds["model"] == DECODER).sum()),
        "n_groups": int(result.groups["group"].nunique()),
        "confidence": result.confidence,
        "random_state": int(result.random_state),
        "permutation_test": permutation_test,
        "untested": result.untested,
    }
