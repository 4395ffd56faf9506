"""Test volumes that the initial weights of a network were trained on."""

import warnings

import numpy as np

from skfmri.estimators.origin import fitted_network, remembered_fits, sources_of, trained_on
from skfmri.samples import NiftiSamples
from skfmri.samples.digests import all_digests, volume_digests

WAY_OUT = (
    "Leave them out of the samples, samples[~find_training_volumes(path, samples)], or start from "
    "a decoder that was trained on other volumes."
)


def find_seen(estimators, X):
    """Return which samples are known to be behind the initial weights of networks.

    Parameters
    ----------
    estimators : list of estimator or None
        Networks, pipelines or searches.
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Samples.

    Returns
    -------
    is_seen : ndarray of bool, shape (n_samples,)
    unknown : str or None
        Why others may be behind them, too; None if they cannot, or if no network has initial
        weights.
    """
    is_seen = np.zeros(len(X), bool)
    sources = [source for estimator in estimators for source in sources_of(estimator)]
    if not sources:
        return is_seen, None
    digests, are_known, is_image = set(), True, isinstance(X, NiftiSamples)
    for source in sources:
        known = trained_on(fitted_network(source))
        fitted, before = (_of(X, each) for each in (remembered_fits(source), known.remembered))
        digests |= known.digests
        for each in fitted + before:
            is_seen |= each.holds(X)
        # What a pipeline was fitted to in this process is known without a file.
        are_known &= known.knows_earlier if fitted else known.is_complete
    if digests:
        of_samples = all_digests(X) if is_image else [{d} for d in volume_digests(np.asarray(X))]
        is_seen |= [not digests.isdisjoint(each) for each in of_samples]
    if not are_known:
        return is_seen, (
            "initial_weights do not say which volumes they were trained on, so test volumes may be "
            "among these. Save that decoder with save(..., samples=), and start from what load "
            "returns"
        )
    if not is_image:
        return is_seen, (
            "X is an array, whose volumes are recognised only if they are as in the files that "
            "initial_weights were trained on. Pass NiftiSamples"
        )
    return is_seen, None


def _of(X, fits):
    """Return those of some fits that were to other volumes of the same samples."""
    # What a fit remembers is None in a copy that was pickled.
    is_image = isinstance(X, NiftiSamples)
    return [each for each in fits if each is not None and is_image and each.is_of(X)]


def splits_with_seen(is_seen, splits):
    """Yield number, seen test samples and test samples of each split that has any seen."""
    for number, (_, test) in enumerate(splits):
        if is_seen[test].any():
            yield number, test[is_seen[test]], test


def describe_seen(number, seen, test):
    """Return the message on test samples of a split that initial weights were trained on."""
    return (
        f"In split {number} initial_weights were trained on {len(seen)} of the {len(test)} test "
        f"volumes ({len(seen) / len(test):.0%}), such as sample {seen[0]}. {WAY_OUT}"
    )


def refuse_seen(estimators, X, splits):
    """Raise ValueError if initial weights of a network were trained on test samples.

    Warns if that is not known.

    Parameters
    ----------
    estimators : list of estimator
        The decoder and its baselines.
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Samples.
    splits : list of (ndarray, ndarray)
        Training and test indices.
    """
    is_seen, unknown = find_seen(estimators, X)
    found = list(splits_with_seen(is_seen, splits))
    if found:
        raise ValueError(
            f"The scores of {len(found)} of {len(splits)} splits could not be trusted. "
            f"{describe_seen(*found[0])}"
        )
    if unknown is not None:
        # Skips `evaluated` and `evaluate_decoder`.
        warnings.warn(f"{unknown}.", UserWarning, stacklevel=4)
