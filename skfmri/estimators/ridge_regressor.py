"""Ridge regression over smoothness scales as a regressor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from sklearn.base import RegressorMixin
from sklearn.utils.validation import validate_data

from skfmri.estimators.ridge_base import FLOATS, BaseMultiscaleRidge
from skfmri.estimators.targets import as_columns, check_spread, numbers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from skfmri._types import Values, Volumes

__all__ = ["MultiscaleRidgeRegressor"]


class MultiscaleRidgeRegressor(RegressorMixin, BaseMultiscaleRidge):
    r"""Predict numbers from slabs or volumes by ridge regression at several smoothness scales.

    One ridge regression is fitted to the voxels and one to each of several smoothed copies, and
    their predictions are mixed, as in :class:`MultiscaleRidgeClassifier`. The result is a linear
    model with one weight per voxel. It has nothing to tune: strengths and mixture are chosen by
    leaving each training group out, in closed form, so that a fit takes seconds.

    Parameters
    ----------
    scales : sequence of float, default=(0, 0.5, 1)
        Widths of smoothing: standard deviations of a Gaussian in voxels of X. 0 means voxels as
        they are.
    alphas : sequence of float, default=(0.001, 0.01, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
        Strengths of the penalty to choose from, for each scale and target separately. The unit is
        the mean squared length of the centred training samples, so it depends neither on the units
        of X nor on the number of voxels.

    Attributes
    ----------
    coef_ : ndarray of shape (n_voxels,) or (n_targets, n_voxels), float64
        Weight of each voxel of X, smoothing included, in units of y per unit of X.
    intercept_ : float or ndarray of shape (n_targets,)
        Added to the weighted voxels.
    patterns_ : ndarray of the shape of `coef_`, float64
        How much each voxel changes with each predicted number [1]_. A voxel may have a weight only
        because it helps to cancel noise; patterns show where the signal is.
    scales_ : ndarray of shape (n_scales,)
        Scales that were used: only 0 if X is a table, since it has no neighbours.
    alpha_ : ndarray of shape (n_scales,) or (n_targets, n_scales)
        Strength that was chosen for each scale.
    mixture_ : ndarray of the shape of `alpha_`
        Weight of each scale in the mixture, not negative. If no scale predicts left-out groups
        better than their mean does, all weights are 0, and the mean is predicted.
    sample_shape_ : tuple of int
        Shape of one sample.
    n_features_in_ : int
        Length of axis 1 of X, as in scikit-learn.
    feature_names_in_ : ndarray of str
        Names of the columns, if X was a table that has some.

    See Also
    --------
    skfmri.MultiscaleRidgeClassifier : The same for classes.
    sklearn.linear_model.RidgeCV : One scale, for tables.

    Notes
    -----
    Scale `s` predicts the target as :math:`p_s(x)`, its deviation from the mean of the training
    samples, by ridge regression on smoothed voxels. The model mixes these with the weights
    :math:`w_s`:

    .. math:: f(x) = \bar y + \sum_s w_s \, p_s(x) = \mathrm{coef} \cdot x + \mathrm{intercept}

    Predictions of models fitted without a group, for the samples of this group, decide. The
    strength of each scale is the one of least squared error after the best rescaling of its
    predictions; the mixture is the combination of least squared error without negative weights
    [2]_, which rescales them. Several targets are fitted independently, from one decomposition.

    The work is done on one kernel per scale, of n_samples x n_samples: thousands of samples take
    gigabytes and minutes, hundreds a second or two. Voxels are not standardised; put
    :class:`~skfmri.VoxelZScorer` before it.

    References
    ----------
    .. [1] Haufe, S., Meinecke, F., Görgen, K., Dähne, S., Haynes, J.-D., Blankertz, B., & Bießmann,
       F. (2014). On the interpretation of weight vectors of linear models in multivariate
       neuroimaging. NeuroImage, 87, 96-110. https://doi.org/10.1016/j.neuroimage.2013.10.067
    .. [2] Breiman, L. (1996). Stacked regressions. Machine Learning, 24, 49-64.
       https://doi.org/10.1007/BF00117832

    Examples
    --------
    >>> import numpy as np
    >>> from skfmri import MultiscaleRidgeRegressor
    >>> rng = np.random.default_rng(0)
    >>> X, age = rng.normal(size=(60, 9, 10, 3)), np.repeat(rng.uniform(20, 80, 30), 2)
    >>> X[:, :3, :3] += (age[:, None, None, None] - 50) / 40
    >>> ridge = MultiscaleRidgeRegressor().fit(X, age, groups=np.repeat(np.arange(30), 2))
    >>> weights = ridge.coef_.reshape(X.shape[1:])
    >>> bool(weights[:3, :3].mean() > 10 * abs(weights[3:].mean()))
    True
    """

    def fit(self, X: Volumes, y: Values, *, groups: Values | None = None) -> Self:
        """Fit the ridge regressions, and choose strengths and mixture.

        Parameters
        ----------
        X : array-like of shape (n_samples, x, y, z) or (n_samples, n_features)
            Slabs, volumes or rows of features. float32 stays float32 while it is smoothed; any
            other type becomes float64.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Numbers, in any unit.
        groups : array-like of shape (n_samples,), default=None
            Runs or subjects that are left out together. None takes ``X.groups``, which
            :class:`~skfmri.NiftiSamples` has; if there are none, each sample is left out alone.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a scale is negative or a strength not positive, if X or y holds values that are not
            finite, if a target is the same for all samples, or if groups do not fit X.
        TypeError
            If a scale or a strength is not a number.

        Warns
        -----
        UserWarning
            If there are no groups, or only one: each sample is then left out alone, and what is
            chosen is too optimistic if samples of a run resemble each other.
        """
        settings = self._check_parameters()
        groups = getattr(X, "groups", None) if groups is None else groups
        X, y = validate_data(
            self, X, y, allow_nd=True, dtype=FLOATS, multi_output=True, ensure_min_samples=2
        )
        y = numbers(y, "y", type(self).__name__)
        columns = as_columns(y)
        check_spread(columns)
        self._fit(X, columns, groups, settings)
        if y.ndim == 1:
            for name in ("coef_", "patterns_", "alpha_", "mixture_"):
                setattr(self, name, getattr(self, name)[0])
            self.intercept_ = float(self.intercept_[0])
        return self

    def predict(self, X: Volumes) -> NDArray[np.float64]:
        """Return ``X.reshape(n_samples, -1) @ coef_.T + intercept_``.

        Parameters
        ----------
        X : array-like of shape (n_samples, x, y, z) or (n_samples, n_features)
            Samples on the grid of the training samples.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets), float64
            In the units of y.
        """
        predicted = self._scores(X)
        return predicted[:, 0] if self.coef_.ndim == 1 else predicted

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
