"""Tests of differences between models that were scored on the same data."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

from skfmri.statistics.intervals import check_confidence

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from skfmri._types import Values


class TTestResult(NamedTuple):
    """Result of a t-test.

    Attributes
    ----------
    mean : float
        Mean difference.
    statistic, df, pvalue : float
        t, degrees of freedom and two-sided p.
    low, high : float
        Confidence interval of the mean difference.
    """

    mean: float
    statistic: float
    pvalue: float
    df: int
    low: float
    high: float


def corrected_resampled_t_test(
    differences: Values, n_train: int | Values, n_test: int | Values, *, confidence: float = 0.95
) -> TTestResult:
    r"""Test whether two models differ, given their differences over folds that share samples.

    Folds of one cross-validation share training samples, and repeats share all samples. A
    plain t-test treats them as independent and finds differences where there are none.

    Parameters
    ----------
    differences : array-like of shape (n_folds,)
        Score of one model minus that of the other, in each fold of each repeat.
    n_train, n_test : int or array-like of shape (n_folds,)
        Numbers of training and test samples.
    confidence : float, default=0.95
        Of the interval.

    Returns
    -------
    result : TTestResult
        ``mean``, ``statistic``, ``pvalue`` (two-sided), ``df``, ``low``, ``high``. For one fold
        all but the mean are NaN; if all differences are equal, p is 1 if they are 0, else 0.

    Notes
    -----
    With the mean :math:`\bar d` and variance :math:`s^2` of `J` differences,

    .. math:: t = \frac{\bar d}{\sqrt{(1 / J + n_\text{test} / n_\text{train})\, s^2}}

    approximately has a t distribution with ``J - 1`` degrees of freedom. If folds differ in size,
    the ratio is averaged over them.

    References
    ----------
    C. Nadeau, Y. Bengio (2003). Inference for the generalization error. Machine Learning 52,
    239-281. https://doi.org/10.1023/A:1024068626366

    Examples
    --------
    >>> from skfmri.statistics import corrected_resampled_t_test
    >>> result = corrected_resampled_t_test([0.0, 0.1, 0.2], n_train=40, n_test=20)
    >>> round(result.statistic, 4), result.df
    (1.0954, 2)
    """
    differences = np.asarray(differences, float)
    check_confidence(confidence)
    if differences.ndim != 1 or not len(differences):
        raise ValueError(f"differences has shape {differences.shape}. Pass one per fold.")
    ratios = np.asarray(n_test, float) / np.asarray(n_train, float)
    if ratios.ndim and ratios.shape != differences.shape:
        raise ValueError(
            f"Found {len(ratios)} fold sizes for {len(differences)} differences. Pass one number "
            "of training and of test samples, or one per fold."
        )
    n_folds, mean = len(differences), float(differences.mean())
    df = n_folds - 1
    if not df:
        nan = float("nan")
        return TTestResult(mean, nan, nan, 0, nan, nan)
    scale = np.sqrt((1 / n_folds + ratios.mean()) * differences.var(ddof=1))
    # Even if all differences are equal, rounding leaves a tiny spread.
    if scale <= 1e-12 * max(abs(mean), 1e-300) or not differences.any():
        statistic = float(np.copysign(np.inf, mean)) if mean else 0.0
        return TTestResult(mean, statistic, 0.0 if mean else 1.0, df, mean, mean)
    statistic = mean / scale
    half = stats.t.ppf((1 + confidence) / 2, df) * scale
    pvalue = 2 * stats.t.sf(abs(statistic), df)
    return TTestResult(
        mean, float(statistic), float(pvalue), df, float(mean - half), float(mean + half)
    )


def holm_correction(p_values: Values) -> NDArray[np.float64]:
    """Return p-values corrected for their number by the method of Holm.

    The smallest is multiplied by the number of tests, the next by one less, and so on. The chance
    that any true null hypothesis has a corrected p-value of at most 0.05 is then at most 0.05,
    however the tests depend on each other.

    Parameters
    ----------
    p_values : array-like of shape (n_tests,)
        Of tests made on the same data.

    Returns
    -------
    corrected : ndarray of shape (n_tests,)

    References
    ----------
    Holm, S. (1979). A simple sequentially rejective multiple test procedure. Scandinavian
    Journal of Statistics, 6, 65-70. https://www.jstor.org/stable/4615733

    Examples
    --------
    >>> from skfmri.statistics import holm_correction
    >>> holm_correction([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p_values = np.asarray(p_values, float)
    order = np.argsort(p_values)
    multiplied = p_values[order] * np.arange(len(order), 0, -1)
    corrected = np.empty_like(p_values)
    corrected[order] = np.minimum(np.maximum.accumulate(multiplied), 1)
    return corrected
