"""Splitters that repeat a grouped cross-validation over different partitions."""

from __future__ import annotations

import warnings
from collections import Counter
from math import factorial, prod
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from sklearn.model_selection import BaseCrossValidator, GroupKFold, StratifiedGroupKFold
from sklearn.utils import check_random_state

from skfmri._validation import check_number, check_per_volume

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from skfmri._types import RandomState, Values, Volumes


class _RepeatedGroupSplits(BaseCrossValidator):
    """Repeat a shuffled splitter that keeps groups whole; subclasses choose the partitions."""

    # Read by scikit-learn if metadata routing is on: requests groups without set_*_request.
    __metadata_request__split: ClassVar = {"groups": True}

    def __init__(
        self, n_splits: int = 5, *, n_repeats: int = 10, random_state: RandomState = None
    ) -> None:
        self.n_splits = n_splits
        self.n_repeats = n_repeats
        self.random_state = random_state

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:
        """Return the number of splits, ``n_splits * n_repeats``.

        Parameters
        ----------
        X, y, groups : object, default=None
            Ignored; present because scikit-learn passes them.

        Returns
        -------
        n_splits : int
            Number of pairs that `split` yields.
        """
        check_number(self.n_splits, "n_splits", least=2)
        check_number(self.n_repeats, "n_repeats", least=1)
        return int(self.n_splits * self.n_repeats)

    def split(
        self, X: Volumes, y: Values | None = None, groups: Values | None = None
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Yield the indices of training and test samples, fold by fold and repeat by repeat.

        All partitions are drawn before the first pair is yielded, so a lack of partitions is
        noticed before any model is fitted.

        Parameters
        ----------
        X : NiftiSamples or array-like of shape (n_samples, ...)
            Only the number of samples matters, and `X.groups` and `X.y` if they are needed.
        y : array-like of shape (n_samples,), default=None
            Labels. Only stratified splits need them; None takes `X.y`.
        groups : array-like of shape (n_samples,), default=None
            The group of each sample; None takes `X.groups`.

        Yields
        ------
        train : ndarray of int
            Indices of the training samples, in ascending order.
        test : ndarray of int
            Indices of the test samples, in ascending order.

        Raises
        ------
        ValueError
            If groups are missing, do not match X, are fewer than `n_splits`, or if fewer than
            `n_repeats` distinct partitions exist or were found.
        """
        self.get_n_splits()
        n_samples = X.shape[0] if hasattr(X, "shape") else len(X)
        codes, n_groups = _encode_groups(X, groups, n_samples)
        if n_groups < self.n_splits:
            raise ValueError(
                f"{self.n_splits} folds need at least {self.n_splits} groups, but found "
                f"{n_groups} {'group' if n_groups == 1 else 'groups'} in {n_samples} samples. "
                f"Set n_splits to at most {max(n_groups, 2)} or pass more groups."
            )
        indices = np.arange(n_samples)
        for fold_of_group in self._partitions(X, y, codes, n_groups):
            fold_of_sample = fold_of_group[codes]
            for fold in range(self.n_splits):
                in_test = fold_of_sample == fold
                yield indices[~in_test], indices[in_test]


class RepeatedGroupKFold(_RepeatedGroupSplits):
    r"""Repeat `GroupKFold` over different partitions of the groups.

    One partition of a few groups into folds is one draw out of many, and the mean score depends
    on it; repeats show how much. scikit-learn repeats only splitters that ignore groups. Simply
    drawing shuffled folds again has a trap: few groups have few partitions, and the scores of a
    partition that is drawn twice count twice. Here no partition is ever repeated.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2 and at most the number of groups.
    n_repeats : int, default=10
        Number of partitions, at most the number of distinct ones.
    random_state : int, RandomState instance or None, default=None
        Chooses the partitions. An int gives the same splits on every call of `split`.

    See Also
    --------
    RepeatedStratifiedGroupKFold : Also balances the classes over the folds.
    sklearn.model_selection.GroupKFold : One partition; equal to one repeat when it shuffles.

    Notes
    -----
    Folds are balanced in their number of groups, not of samples: `G` groups fall into `k` folds
    of ``G // k`` or ``G // k + 1`` groups. With sizes :math:`s_1, ..., s_k`, of which
    :math:`m_s` folds have the size :math:`s`, there are

    .. math:: \frac{G!}{\prod_i s_i! \; \prod_s m_s!}

    distinct partitions, each equally likely: 1 for 8 groups in 8 folds, 15 for 6 groups in 3.
    More repeats than that are an error.

    If `groups` is None, they are taken from `X.groups`, which `NiftiSamples` has. The splitter
    requests groups itself if metadata routing is on.

    Examples
    --------
    >>> import numpy as np
    >>> from skfmri import RepeatedGroupKFold
    >>> runs = np.array(["a", "a", "b", "b", "c", "c", "d", "d"])
    >>> cv = RepeatedGroupKFold(n_splits=2, n_repeats=3, random_state=0)
    >>> for train, test in cv.split(runs, groups=runs):
    ...     print(*np.unique(runs[train]), "|", *np.unique(runs[test]))
    a b | c d
    c d | a b
    b d | a c
    a c | b d
    b c | a d
    a d | b c
    """

    def _partitions(self, X, y, codes, n_groups):
        groups = np.arange(n_groups)

        def draw(random_state):
            splitter = GroupKFold(self.n_splits, shuffle=True, random_state=random_state)
            return _fold_of_group(splitter.split(groups, groups=groups), groups)

        rng = check_random_state(self.random_state)
        first = draw(rng)
        n_distinct = _count_partitions(np.bincount(first))
        if n_distinct < self.n_repeats:
            raise ValueError(
                f"n_repeats={self.n_repeats} needs as many distinct partitions, but {n_groups} "
                f"groups in {self.n_splits} folds have {n_distinct}. Set n_repeats to at most "
                f"{n_distinct} or choose another n_splits."
            )
        partitions = {_partition_key(first): first}
        while len(partitions) < self.n_repeats:
            fold_of_group = draw(rng)
            partitions.setdefault(_partition_key(fold_of_group), fold_of_group)
        return list(partitions.values())


class RepeatedStratifiedGroupKFold(_RepeatedGroupSplits):
    """Repeat `StratifiedGroupKFold` over different partitions of the groups.

    If groups differ in their labels, folds of whole groups can miss a class. This splitter
    balances classes as far as whole groups allow and, like `RepeatedGroupKFold`, never yields
    the same partition twice, so no score is counted twice.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2 and at most the number of groups.
    n_repeats : int, default=10
        Number of partitions.
    random_state : int, RandomState instance or None, default=None
        Chooses the partitions. An int gives the same splits on every call of `split`.

    See Also
    --------
    RepeatedGroupKFold : Ignores the labels; its number of partitions is known.
    sklearn.model_selection.StratifiedGroupKFold : One partition.

    Notes
    -----
    scikit-learn shuffles only among groups whose class counts vary equally, so labels may leave
    few partitions, and no formula says how many. Partitions are drawn until `n_repeats` distinct
    ones are found; after ``50 + 10 * found`` draws in a row without a new one `split` gives up
    with an error that says how many were found. Not every partition is equally likely. scikit-learn
    sometimes leaves a fold without a group; such partitions are drawn again.

    If `groups` or `y` is None, it is taken from `X.groups` or `X.y`, which `NiftiSamples`
    has. The splitter requests groups itself if metadata routing is on.

    Examples
    --------
    >>> import numpy as np
    >>> from skfmri import RepeatedStratifiedGroupKFold
    >>> runs = np.array(["a", "b", "c", "d"])
    >>> labels = np.array(["cat", "cat", "face", "face"])
    >>> cv = RepeatedStratifiedGroupKFold(n_splits=2, n_repeats=2, random_state=0)
    >>> for train, test in cv.split(runs, labels, groups=runs):
    ...     print(*runs[train], "|", *runs[test])
    a d | b c
    b c | a d
    a c | b d
    b d | a c
    """

    def _partitions(self, X, y, codes, n_groups):
        labels = _find_labels(X, y, len(codes))
        rng = check_random_state(self.random_state)

        def draw():
            splitter = StratifiedGroupKFold(self.n_splits, shuffle=True, random_state=rng)
            return _fold_of_group(splitter.split(codes, labels, codes), codes)

        partitions, n_vain = {}, 0
        with warnings.catch_warnings():
            while len(partitions) < self.n_repeats:
                fold_of_group = draw()
                # scikit-learn warns of rare classes at each draw; the first warning is enough.
                warnings.simplefilter("ignore", UserWarning)
                key = _partition_key(fold_of_group)
                # scikit-learn may put all groups into fewer folds, so that nothing is tested.
                has_empty_fold = len(set(key)) < self.n_splits
                n_vain = n_vain + 1 if has_empty_fold or key in partitions else 0
                if not has_empty_fold:
                    partitions.setdefault(key, fold_of_group)
                if n_vain > 50 + 10 * len(partitions):
                    raise ValueError(self._too_few(len(partitions), n_vain, n_groups))
        return list(partitions.values())

    def _too_few(self, n_found, n_vain, n_groups):
        if not n_found:
            return (
                f"{n_groups} groups cannot be stratified into {self.n_splits} folds: {n_vain} "
                f"draws in a row left a fold without a group. Set n_splits to less than "
                f"{self.n_splits}, or use RepeatedGroupKFold, which ignores the labels."
            )
        return (
            f"n_repeats={self.n_repeats} needs as many distinct partitions, but {n_vain} draws in "
            f"a row gave none but the {n_found} found for {n_groups} groups in {self.n_splits} "
            f"stratified folds. Set n_repeats to at most {n_found} or choose another n_splits."
        )


def _encode_groups(X, groups, n_samples):
    """Return each sample's group as a number from 0, and the number of groups."""
    if groups is None:
        groups = getattr(X, "groups", None)
    if groups is None:
        raise ValueError(
            "Found no groups: the groups argument is None, and X has none either. Pass groups, or "
            "samples that carry them: NiftiSamples(images, groups=...)."
        )
    groups = check_per_volume(groups, n_samples, "group label")
    try:
        names, codes = np.unique(groups, return_inverse=True)
    except TypeError as error:
        types = ", ".join(sorted({type(group).__name__ for group in groups}))
        raise ValueError(
            f"Group labels must have one sortable type, but have the types {types}. "
            "Give each sample a group, for example its run as an integer."
        ) from error
    return codes, len(names)


def _find_labels(X, y, n_samples):
    y = getattr(X, "y", None) if y is None else y
    if y is None:
        raise ValueError(
            "Found no labels: y is None, and X has none either. Pass y, or use "
            "RepeatedGroupKFold, which needs no labels."
        )
    y = np.asarray(y)
    # A column, such as one of a table, is taken as scikit-learn takes it.
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    y = check_per_volume(y, n_samples, "label")
    if y.dtype.kind == "f" and (y != np.round(y)).any():
        raise ValueError(
            f"Stratified splits balance classes, but y holds numbers such as "
            f"{y[y != np.round(y)][0]:g}. Use RepeatedGroupKFold, which needs no labels."
        )
    return y


def _fold_of_group(splits, codes):
    """Return the number of the fold that tests each group, an array of shape (n_groups,)."""
    fold_of_group = np.empty(codes.max() + 1, dtype=int)
    for fold, (_, test) in enumerate(splits):
        fold_of_group[codes[test]] = fold
    return fold_of_group


def _partition_key(fold_of_group):
    """Return a key that partitions share if they differ only in the order of their folds."""
    new_name = {}
    return tuple(new_name.setdefault(fold, len(new_name)) for fold in fold_of_group.tolist())


def _count_partitions(sizes):
    """Return the number of ways to divide groups into unordered folds of these sizes."""
    sizes = [int(size) for size in sizes]
    orders = prod(factorial(size) for size in sizes)
    renamings = prod(factorial(count) for count in Counter(sizes).values())
    return factorial(sum(sizes)) // (orders * renamings)
