"""Ridge regression over smoothness scales as a classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from skfmri.estimators.ridge_base import FLOATS, BaseMultiscaleRidge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from skfmri._types import Values, Volumes

__all__ = ["MultiscaleRidgeClassifier"]


class MultiscaleRidgeClassifier(ClassifierMixin, BaseMultiscaleRidge):
    r"""Classify slabs or volumes by ridge regression on voxels at several smoothness scales.

    Neighbouring voxels carry similar signal and different noise, which a plain linear model of all
    voxels does not know. Here one ridge regression is fitted to the voxels and one to each of
    several smoothed copies, and their predictions are mixed. The result is still a linear model,
    with one weight per voxel and class. It has nothing to tune: strengths, mixture and temperature
    are chosen by leaving each training group out, in closed form, so that a fit takes seconds.

    Parameters
    ----------
    scales : sequence of float, default=(0, 0.5, 1)
        Widths of smoothing: standard deviations of a Gaussian in voxels of X. 0 means voxels as
        they are.
    alphas : sequence of float, default=(0.001, 0.01, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
        Strengths of the penalty to choose from, for each scale separately. The unit is the mean
        squared length of the centred training samples, so it depends neither on the units of X
        nor on the number of voxels.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Classes, sorted.
    coef_ : ndarray of shape (n_classes, n_voxels), float64
        Weight of each voxel of X, smoothing included. For two classes there is one row: the
        weights in favour of the second.
    intercept_ : ndarray of shape (n_classes,)
        Added to the weighted voxels; of length 1 for two classes.
    patterns_ : ndarray of the shape of `coef_`, float64
        How much each voxel changes with each decision value [1]_. A voxel may have a weight only
        because it helps to cancel noise; patterns show where the signal is.
    scales_ : ndarray of shape (n_scales,)
        Scales that were used: only 0 if X is a table, since it has no neighbours.
    alpha_ : ndarray of shape (n_scales,)
        Strength that was chosen for each scale.
    mixture_ : ndarray of shape (n_scales,)
        Weight of each scale in the mixture; not negative, and their sum is 1.
    temperature_ : float
        Divides the mixed predictions, which makes them decision values.
    sample_shape_ : tuple of int
        Shape of one sample.
    n_features_in_ : int
        Length of axis 1 of X, as in scikit-learn.
    feature_names_in_ : ndarray of str
        Names of the columns, if X was a table that has some.

    See Also
    --------
    skfmri.evaluate_decoder : Compares a decoder with this model on the same folds.
    sklearn.linear_model.RidgeClassifierCV : One scale, for tables.

    Notes
    -----
    Scale `s` predicts the indicator of each class :math:`k` as :math:`p_{sk}(x)`, by ridge
    regression on smoothed voxels with an intercept that is not penalised. Decision values mix
    these with the weights :math:`w_s` and the temperature :math:`T`, before a single softmax,

    .. math:: d_k(x) = \frac{1}{T} \sum_s w_s \, p_{sk}(x) = \mathrm{coef}_k \cdot x +
        \mathrm{intercept}_k, \quad P(k \mid x) = \frac{e^{d_k(x)}}{\sum_j e^{d_j(x)}}

    and for two classes there is one decision value, :math:`d_1 - d_0`, as in scikit-learn.

    Predictions of models fitted without a group, for the samples of this group, decide. The
    strength of each scale is the one of least squared error after the best rescaling of its
    predictions, since a strong penalty, which shrinks them all, may still rank samples best; the
    mixture is the combination of least squared error without negative weights [2]_; the temperature
    gives the least log loss, with the targets of Platt [3]_, which keep it finite if classes are
    separated perfectly. Samples whose class occurs in no other group are trained on, but do not
    take part in the choice.

    The work is done on one kernel per scale, of n_samples x n_samples: thousands of samples take
    gigabytes and minutes, hundreds a second or two. Voxels are not standardised; put
    :class:`~skfmri.VoxelZScorer` before it. Smoothing takes what lies outside the slab as 0, the
    mean of z-scored voxels.

    References
    ----------
    .. [1] Haufe, S., Meinecke, F., Görgen, K., Dähne, S., Haynes, J.-D., Blankertz, B., & Bießmann,
       F. (2014). On the interpretation of weight vectors of linear models in multivariate
       neuroimaging. NeuroImage, 87, 96-110. https://doi.org/10.1016/j.neuroimage.2013.10.067
    .. [2] Breiman, L. (1996). Stacked regressions. Machine Learning, 24, 49-64.
       https://doi.org/10.1007/BF00117832
    .. [3] Platt, J. (1999). Probabilistic outputs for support vector machines and comparisons to
       regularized likelihood methods. In Advances in Large Margin Classifiers, 61-74. MIT Press.

    Examples
    --------
    Two categories differ in one corner of 9 x 10 x 3 voxels; the weights become a map.

    >>> import numpy as np
    >>> from skfmri import MultiscaleRidgeClassifier
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(48, 9, 10, 3)), np.tile(["face", "house"], 24)
    >>> X[y == "house", :3, :3] += 1
    >>> ridge = MultiscaleRidgeClassifier().fit(X, y, groups=np.repeat([1, 2, 3, 4], 12))
    >>> ridge.scales_.tolist(), ridge.mixture_.round(1).tolist()
    ([0.0, 0.5, 1.0], [0.0, 0.9, 0.1])
    >>> weights = ridge.coef_.reshape(-1, *X.shape[1:])
    >>> weights.shape, bool(weights[0, :3, :3].mean() > 10 * abs(weights[0, 3:].mean()))
    ((1, 9, 10, 3), True)

    Behind a :class:`~skfmri.NiftiSlabRotator` in a pipeline, the map becomes an image in the space
    of the slab or of the original volumes:

    >>> def weight_images(pipeline):
    ...     rotator, ridge = pipeline[0], pipeline[-1]
    ...     maps = ridge.coef_.reshape(-1, *rotator.slab_shape_)
    ...     return rotator.to_nifti(maps), rotator.inverse_transform(maps)
    """

    classes_: NDArray[Any]
    temperature_: float

    def fit(self, X: Volumes, y: Values, *, groups: Values | None = None) -> Self:
        """Fit the ridge regressions, and choose strengths, mixture and temperature.

        Parameters
        ----------
        X : array-like of shape (n_samples, x, y, z) or (n_samples, n_features)
            Slabs, volumes or rows of features. float32 stays float32 while it is smoothed; any
            other type becomes float64.
        y : array-like of shape (n_samples,)
            Classes: numbers, strings or booleans, at least two of them.
        groups : array-like of shape (n_samples,), default=None
            Runs or subjects that are left out together. None takes ``X.groups``, which
            :class:`~skfmri.NiftiSamples` has; if there are none, each sample is left out alone.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a scale is negative or a strength not positive, if X holds values that are not
            finite, if y holds fewer than two classes or each of them only once, or if groups do
            not fit X.
        TypeError
            If a scale or a strength is not a number.

        Warns
        -----
        UserWarning
            If there are no groups, or no class occurs in more than one: each sample is then left
            out alone, and what is chosen is too optimistic if samples of a run resemble each other.
            If some classes occur in one group only: their samples do not take part in the choice.
        """
        settings = self._check_parameters()
        groups = getattr(X, "groups", None) if groups is None else groups
        X, y = validate_data(self, X, y, allow_nd=True, dtype=FLOATS)
        check_classification_targets(y)
        classes, labels = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(
                f"y holds 1 class, {classes.tolist()[0]!r}, but a classifier needs at least two. "
                "Choose samples of other classes too."
            )
        found = self._fit(X, labels, groups, settings, len(classes))
        self.classes_ = classes
        self.temperature_ = float(found.temperature)
        return self

    def decision_function(self, X: Volumes) -> NDArray[np.float64]:
        """Return ``X.reshape(n_samples, -1) @ coef_.T + intercept_``.

        Parameters
        ----------
        X : array-like of shape (n_samples, x, y, z) or (n_samples, n_features)
            Samples on the grid of the training samples.

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes), float64
            Log odds of the second of two classes; of more, the logarithm of each probability up to
            a constant for each sample.
        """
        scores = self._scores(X)
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X: Volumes) -> NDArray[np.float64]:
        """Return the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, x, y, z) or (n_samples, n_features)
            Samples on the grid of the training samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
            Rows sum to 1; columns in the order of ``classes_``.
        """
        return probabilities_of(self.decision_function(X))

    def predict(self, X: Volumes) -> NDArray[Any]:
        """Return the most probable class.

        Parameters
        ----------
        X : array-like of shape (n_samples, x, y, z) or (n_samples, n_features)
            Samples on the grid of the training samples.

        Returns
        -------
        ndarray of shape (n_samples,)
            Entries of ``classes_``.
        """
        predictions = predictions_of(self.decision_function(X))
        return self.classes_[predictions]


def probabilities_of(scores):
    """Return the probability of each class for decision values.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
        As from `MultiscaleRidgeClassifier.decision_function`.

    Returns
    -------
    probabilities : ndarray of shape (n_samples, n_classes)
    """
    if scores.ndim == 1:
        return expit(np.column_stack([-scores, scores]))
    return softmax(scores, axis=1)


def predictions_of(scores):
    """Return the position of the most probable class for decision values.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
        As from `MultiscaleRidgeClassifier.decision_function`.

    Returns
    -------
    positions : ndarray of shape (n_samples,), int
    """
    return (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)
