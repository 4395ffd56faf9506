"""A warning if a split has cut through the groups that samples carry."""

# An integer cv makes random or consecutive folds. Where it is chosen, in scikit-learn, nobody knows
# the groups; a step of a pipeline sees them twice: in `fit` with the training volumes, and later
# with those to be scored. Only subsets of the same samples are compared, since groups of other
# samples may have the same names by chance. What is remembered holds no volumes, and does not leave
# the process: a pickle has None in its place, so that hashes do not depend on it.

import warnings
import weakref

import numpy as np

from skfmri.samples import NiftiSamples
from skfmri.samples.nifti import has_groups, origin_of

_warned_of = weakref.WeakSet()


class FittedGroups:
    """Volumes and groups of a fit, by number and name.

    Parameters
    ----------
    samples : NiftiSamples
        Training samples.
    """

    def __init__(self, samples):
        self.origin = weakref.ref(origin_of(samples))
        self.volumes = set(_volume_numbers(samples).tolist())
        self.groups = set(samples.groups.tolist())

    def is_of(self, samples):
        """Return whether samples are subsets of the same samples as those fitted on."""
        return self.origin() is origin_of(samples)

    def holds(self, samples):
        """Return which volumes of such samples were fitted on.

        Parameters
        ----------
        samples : NiftiSamples
            Samples for which `is_of` is true.

        Returns
        -------
        is_fitted : ndarray of bool, shape (n_samples,)
        """
        return np.isin(_volume_numbers(samples), list(self.volumes))

    def __reduce__(self):
        return _nothing, ()


def warn_of_cut_groups(fitted, samples):
    """Warn once if volumes were not fitted on, but others of their groups were.

    Parameters
    ----------
    fitted : FittedGroups or None
        What is known of the fit.
    samples : NiftiSamples
        Samples to be transformed or predicted.

    Warns
    -----
    UserWarning
        With the share of the volumes, and the way out.
    """
    origin = origin_of(samples)
    if fitted is None or not fitted.is_of(samples) or origin in _warned_of:
        return
    cut = [
        group
        for number, group in zip(
            _volume_numbers(samples).tolist(), samples.groups.tolist(), strict=True
        )
        if number not in fitted.volumes and group in fitted.groups
    ]
    if not cut:
        return
    _warned_of.add(origin)
    share = f"{len(cut)} of {len(samples)} volumes"
    keep_whole = (
        "cv=GroupKFold(5) with groups=samples.groups or, with metadata routing, "
        'params={"groups": samples.groups}'
    )
    if has_groups(samples):
        message = (
            f"{share} were not fitted on, but others of their groups were, such as of group "
            f"{cut[0]!r}. The split cuts through groups, as an integer cv does, and scores look "
            f"better than they would for new groups. Keep groups whole: {keep_whole}. Splitters "
            "of skfmri find the groups of samples themselves."
        )
    else:
        message = (
            f"The samples carry no groups, so the volumes of an image count as one, and {share} "
            "were not fitted on while others of their image were. If volumes of one run or subject "
            "are on both sides of the split, scores look better than they would for new ones. Name "
            "what belongs together, NiftiSamples(images, groups=...), and keep it whole: "
            f"{keep_whole}. If the split does so already, groups in the samples silence this."
        )
    # Between `transform` and its caller is a frame of scikit-learn.
    warnings.warn(message, UserWarning, stacklevel=4)


def count_as_fitted(steps, samples):
    """Count training volumes that a pipeline has left out as those that its steps were fitted on.

    Parameters
    ----------
    steps : iterable of estimator
        Fitted steps.
    samples : NiftiSamples or array-like
        All samples of the training set.
    """
    for step in steps:
        fitted = getattr(step, "_fitted_on", None)
        if fitted is not None and fitted.is_of(samples):
            fitted.volumes.update(_volume_numbers(samples).tolist())


def carry_groups(X, groups):
    """Return samples that carry the groups by which they are split, or other data unchanged.

    Parameters
    ----------
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Samples; not changed.
    groups : ndarray of shape (n_samples,)
        Groups.

    Returns
    -------
    X : NiftiSamples or array-like
    """
    if isinstance(X, NiftiSamples):
        X = X[:]
        X.groups = groups
    return X


def _nothing():
    """Return None, when a pickle is read."""


def _volume_numbers(samples):
    """Return a number for each volume that no other volume of the same samples has."""
    images, positions = samples.acquisition_order()
    return images.astype(np.int64) << 32 | positions
