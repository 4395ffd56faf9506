"""Permutation tests, with the permutations that a design allows."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from skfmri._validation import check_number, check_per_volume

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from skfmri._types import RandomGenerator, Values


class PermutationTest(NamedTuple):
    """Result of a permutation test.

    Attributes
    ----------
    pvalue : float
        Probability that shuffled labels score as well.
    n_permutations : int
        Number of permutations used.
    stopped_early : bool
        Whether enough of them scored as well that the rest was not needed.
    scores : ndarray of shape (n_permutations,)
        Their scores, as they were compared with that of the true labels.
    scheme : {"within", "groups"} or None
        How labels were permuted, as in `permute_labels`; None if that is not known.
    refitted : bool
        Whether each permutation fitted the models anew. If not, predictions were kept.
    """

    pvalue: float
    n_permutations: int
    stopped_early: bool
    scores: np.ndarray
    scheme: str | None = None
    refitted: bool = True


def permutation_scheme(y: Values, groups: Values) -> Literal["within", "groups"]:
    """Return the scheme by which labels can be permuted.

    Parameters
    ----------
    y, groups : array-like of shape (n_samples,)
        Labels and groups.

    Returns
    -------
    scheme : {"within", "groups"}
        "within" if any group holds two labels, otherwise "groups".

    Raises
    ------
    ValueError
        If all labels are equal, so that no permutation changes anything.

    Examples
    --------
    >>> from skfmri.statistics import permutation_scheme
    >>> permutation_scheme(["face", "house", "face", "house"], [1, 1, 2, 2])
    'within'
    >>> permutation_scheme(["patient", "patient", "control", "control"], [1, 1, 2, 2])
    'groups'
    """
    y = np.asarray(y)
    groups = check_per_volume(groups, len(y), "group label")
    if not (y != y[:1]).any():
        raise ValueError(
            f"All {len(y)} samples share one label, so there is nothing to permute. Pass samples "
            "of two classes or more."
        )
    return "groups" if _mixed_group(y, groups) is None else "within"


def permute_labels(
    y: Values,
    groups: Values,
    *,
    blocks: Values | None = None,
    scheme: Literal["auto", "within", "groups"] = "auto",
    reorder: bool = False,
    random_state: RandomGenerator = None,
) -> NDArray[Any]:
    """Return labels shuffled within each group, or among groups that hold one label each.

    If groups hold several labels, exchanging labels across groups would also test whether groups
    differ. If neighbours in time are alike, exchanging single volumes makes the distribution under
    chance too narrow, so volumes of one stimulation block should move together. If each group has
    one label, such as a diagnosis per subject, groups are what can be exchanged.

    Parameters
    ----------
    y, groups : array-like of shape (n_samples,)
        Labels and groups.
    blocks : array-like of shape (n_samples,), default=None
        Stretches of samples of one group that share a label; the labels of the blocks of a group
        are shuffled among its blocks. Names only need to be unique within a group.
    scheme : {"auto", "within", "groups"}, default="auto"
        "within" shuffles the labels within each group; groups of a single label keep it. "groups"
        shuffles the labels of whole groups among the groups, each of which must have a single
        label. "auto" is "within" if any group holds two labels, otherwise "groups".
    reorder : bool, default=False
        Whether blocks of a group follow each other in a new order, each with its length, instead of
        exchanging labels in place. Then each label keeps its number of samples, also if blocks of
        one label are longer. It is for stretches in time, as `label_stretches` finds them, not for
        blocks that must stay whole, such as subjects.
    random_state : int, numpy.random.Generator or None, default=None
        Draws the permutation.

    Returns
    -------
    shuffled : ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        If a block holds two labels, if all labels are equal, or if the scheme does not suit the
        groups: "within" needs a group of two labels, "groups" needs groups of one label each.

    Notes
    -----
    Shuffling whole groups assumes that, if labels mean nothing, any group could have had the label
    of any other: groups must not come in matched pairs or from several sites. If they do, pass the
    pairs or sites as `groups`, and the subjects as `blocks`. The same holds for blocks. If those of
    one label are longer by design, as stretches of a frequent label are, exchanging labels in place
    makes this label rarer, and a decoder that predicts it everywhere looks better with the true
    labels than with any others.

    Examples
    --------
    >>> from skfmri.statistics import permute_labels
    >>> shuffled = permute_labels(list("aabb"), [0, 0, 0, 0], blocks=[1, 1, 2, 2], random_state=0)
    >>> "".join(shuffled) in ("aabb", "bbaa")
    True
    >>> shuffled = permute_labels(list("aabb"), [1, 1, 2, 2], random_state=0)
    >>> "".join(shuffled) in ("aabb", "bbaa")
    True
    """
    rng = np.random.default_rng(random_state)
    y = np.asarray(y)
    shuffled = y.copy()
    for labels, rows, unit in exchangeable_units(y, groups, blocks=blocks, scheme=scheme):
        order = rng.permutation(len(labels))[np.newaxis]
        shuffled[rows] = place_labels(labels, unit, order, reorder=reorder)[0]
    return shuffled


def place_labels(
    labels: NDArray[Any], unit: NDArray[np.intp], orders: NDArray[np.intp], *, reorder: bool
) -> NDArray[Any]:
    """Return the labels of samples after units were brought into each of several orders.

    Parameters
    ----------
    labels : ndarray of shape (n_units,)
        Label of each unit.
    unit : ndarray of shape (n_samples,)
        The unit of each sample, as `exchangeable_units` returns it.
    orders : ndarray of int, of shape (n_orders, n_units)
        Permutations of the units.
    reorder : bool
        As in `permute_labels`; units must then follow each other in ascending order.

    Returns
    -------
    placed : ndarray of shape (n_orders, n_samples)

    Examples
    --------
    >>> import numpy as np
    >>> from skfmri.statistics import place_labels
    >>> labels, unit, orders = np.array(["a", "b"]), np.array([0, 0, 0, 1]), np.array([[1, 0]])
    >>> "".join(place_labels(labels, unit, orders, reorder=False)[0])
    'bbba'
    >>> "".join(place_labels(labels, unit, orders, reorder=True)[0])
    'baaa'
    """
    if not reorder:
        return labels[orders][:, unit]
    lengths = np.bincount(unit, minlength=len(labels))
    return np.repeat(labels[orders].ravel(), lengths[orders].ravel()).reshape(len(orders), -1)


def exchangeable_units(
    y: Values,
    groups: Values,
    *,
    blocks: Values | None = None,
    scheme: Literal["auto", "within", "groups"] = "auto",
) -> list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Return the sets of units among which `permute_labels` shuffles labels.

    Parameters
    ----------
    y, groups, blocks, scheme
        As in `permute_labels`.

    Returns
    -------
    sets : list of (ndarray, ndarray, ndarray)
        For each set the labels of its units, of shape (n_units,), the rows of their samples, of
        shape (n_rows,), and the position of the unit of each row.

    Raises
    ------
    ValueError
        As in `permute_labels`.

    Examples
    --------
    >>> from skfmri.statistics import exchangeable_units
    >>> [(labels, rows, unit)] = exchangeable_units(list("aabb"), [1, 1, 2, 2])
    >>> labels.tolist(), rows.tolist(), unit.tolist()
    (['a', 'b'], [0, 1, 2, 3], [0, 0, 1, 1])
    """
    y = np.asarray(y)
    groups = check_per_volume(groups, len(y), "group label")
    blocks = np.arange(len(y)) if blocks is None else check_per_volume(blocks, len(y), "block")
    if _check_scheme(scheme, y, groups) == "groups":
        _, first, group = np.unique(groups, return_index=True, return_inverse=True)
        return [(y[first], np.arange(len(y)), group)]
    sets = []
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        names, first, unit = np.unique(blocks[rows], return_index=True, return_inverse=True)
        labels = y[rows][first]
        torn = np.flatnonzero(y[rows] != labels[unit])
        if len(torn):
            raise ValueError(
                f"Block {names[unit[torn[0]]]} of group {group} holds the labels "
                f"{labels[unit[torn[0]]]} and {y[rows][torn[0]]}. Samples of one block must "
                "share a label."
            )
        sets.append((labels, rows, unit))
    return sets


def label_stretches(y: Values, groups: Values) -> NDArray[np.intp]:
    """Return blocks of samples that follow each other within a group with one label.

    Neighbours in time are alike, so they are not independent observations. These are the blocks to
    keep together in a permutation if nothing more is known of the design.

    Parameters
    ----------
    y, groups : array-like of shape (n_samples,)
        Labels and groups, in the order of acquisition within each group.

    Returns
    -------
    blocks : ndarray of int, of shape (n_samples,)
        For `permute_labels`.

    Examples
    --------
    >>> from skfmri.statistics import label_stretches
    >>> label_stretches(["face", "face", "house", "face", "face"], [1, 1, 1, 1, 2]).tolist()
    [0, 0, 1, 2, 3]
    """
    y = np.asarray(y)
    groups = check_per_volume(groups, len(y), "group label")
    order = np.argsort(groups, kind="stable")
    begins = (y[order][1:] != y[order][:-1]) | (groups[order][1:] != groups[order][:-1])
    blocks = np.empty(len(y), dtype=int)
    blocks[order] = np.concatenate([[0], np.cumsum(begins)])
    return blocks


def _check_scheme(scheme, y, groups):
    """Return "within" or "groups", or raise ValueError if the groups do not allow the scheme."""
    if scheme not in ("auto", "within", "groups"):
        raise ValueError(f"scheme must be 'auto', 'within' or 'groups', but is {scheme!r}.")
    possible = permutation_scheme(y, groups)
    if scheme == "within" and possible == "groups":
        raise ValueError(
            "Every group holds one label only, so labels cannot be exchanged within groups. Pass "
            "scheme='groups' to shuffle the labels of whole groups, or groups within which labels "
            "can be exchanged, such as sites or pairs of subjects."
        )
    if scheme == "groups" and possible == "within":
        group, one, other = _mixed_group(y, groups)
        raise ValueError(
            f"Group {group} holds the labels {one} and {other}, so the labels of whole groups "
            "cannot be shuffled. Pass scheme='within' to shuffle labels within groups."
        )
    return possible


def _mixed_group(y, groups):
    """Return a group that holds two labels, with both, or None if there is none."""
    names, first, group = np.unique(groups, return_index=True, return_inverse=True)
    other = np.flatnonzero(y != y[first][group])
    if not len(other):
        return None
    found = group[other[0]]
    return names[found], y[first[found]], y[other[0]]


def prediction_permutation_test(score: float, permuted_scores: Values) -> PermutationTest:
    r"""Return the p-value of a cross-validated score whose predictions are kept.

    Fitting a model anew for each permutation is exact, but may take days. Scoring the
    predictions for held-out samples against shuffled labels takes no fit at all.

    Parameters
    ----------
    score : float
        Score with the true labels.
    permuted_scores : array-like of shape (n_permutations,)
        Scores of the same predictions with shuffled labels. NaN counts as having reached the score.

    Returns
    -------
    result : PermutationTest
        ``scores`` are the permuted scores after they were spread out.

    Raises
    ------
    ValueError
        If the score is NaN.

    Notes
    -----
    Taken as they are, such scores vary too little: labels also train the models that predict other
    labels, and shuffling them behind the predictions leaves that out. If predictions are linear in
    the labels of the training samples, the score is a quadratic form :math:`y^T S y`, where `S` is
    zero between samples of one group. Its variance over all labels is :math:`\|S\|^2 + \mathrm{tr}
    S^2`, at most twice the variance :math:`\|S\|^2` with the predictions kept. So the permuted
    scores are spread out from their mean by :math:`\sqrt 2` before they are compared. p is
    ``(g + 1) / (n + 1)`` if `g` of `n` reach the score. ``benchmarks/false_claims.py`` counts how
    often noise is called better than chance.

    See Also
    --------
    sequential_permutation_test : For scores of models that were fitted anew.

    Examples
    --------
    >>> from skfmri.statistics import prediction_permutation_test
    >>> prediction_permutation_test(0.9, [0.4, 0.5, 0.6]).pvalue
    0.25
    """
    least = _least(score)
    permuted = np.asarray(permuted_scores, float)
    centre = np.nanmean(permuted) if np.isfinite(permuted).any() else np.nan
    spread = centre + np.sqrt(2) * (permuted - centre)
    reached = int((~(spread < least)).sum())
    n_used = len(permuted)
    return PermutationTest((reached + 1) / (n_used + 1), n_used, False, spread, refitted=False)


def sequential_permutation_test(
    score: float,
    permuted_scores: Iterable[float],
    *,
    n_permutations: int = 1000,
    n_exceedances: int = 10,
) -> PermutationTest:
    """Return the p-value of a score from no more permutations than it takes.

    If a decoder is clearly at chance, a few permutations show it; only a good one needs all of
    them.

    Parameters
    ----------
    score : float
        Score with the true labels.
    permuted_scores : iterable of float
        Score of one permutation after another; read only as far as needed. NaN counts as having
        reached the score, so that permutations without a score never make p smaller.
    n_permutations : int, default=1000
        Largest number of permutations.
    n_exceedances : int, default=10
        Stop once this many of them have reached the score.

    Returns
    -------
    result : PermutationTest
        ``pvalue``, ``n_permutations`` used, ``stopped_early``, and their ``scores``.

    Raises
    ------
    ValueError
        If the score is NaN.

    Notes
    -----
    If the `h`-th permutation that reaches the score is the `l`-th of all, p is ``h / l``;
    if fewer than `h`, say `g`, of all `n` reach it, p is ``(g + 1) / (n + 1)``. Either way, if
    labels mean nothing, p is at most a with a probability of at most a.

    References
    ----------
    J. Besag, P. Clifford (1991). Sequential Monte Carlo p-values. Biometrika 78(2), 301-304.
    https://doi.org/10.1093/biomet/78.2.301

    Examples
    --------
    >>> from skfmri.statistics import sequential_permutation_test
    >>> result = sequential_permutation_test(0.9, [0.4, 0.5, 0.6], n_permutations=3)
    >>> result.pvalue, result.stopped_early
    (0.25, False)
    >>> result = sequential_permutation_test(0.5, [0.4, 0.5, 0.6, 0.5], n_exceedances=2)
    >>> round(result.pvalue, 3), result.n_permutations
    (0.667, 3)
    """
    check_number(n_permutations, "n_permutations", least=1)
    check_number(n_exceedances, "n_exceedances", least=1)
    least = _least(score)
    scores, reached = [], 0
    for permuted in islice(permuted_scores, n_permutations):
        scores.append(float(permuted))
        reached += not permuted < least
        if reached == n_exceedances:
            break
    n_used = len(scores)
    stopped = bool(reached == n_exceedances and n_used < n_permutations)
    pvalue = reached / n_used if stopped else (reached + 1) / (n_used + 1)
    return PermutationTest(float(pvalue), n_used, stopped, np.array(scores))


def _least(score):
    """Return the smallest value that counts as having reached a score, or raise ValueError."""
    if np.isnan(score):
        raise ValueError("score is NaN, so no permutation can be compared with it.")
    # Scores that are equal but were summed in a different order must count as equal.
    return score - 1e-9 * max(1.0, abs(score))
