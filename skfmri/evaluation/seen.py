"""Test volumes that the initial weights of a network were trained on."""

import warnings

import numpy as np

from skfmri.estimators.origin import fitted_network, sources_of, steps_of, trained_on
from skfmri.samples import NiftiSamples
from skfmri.samples.digests import all_digests, volume_digests

WAY_OUT = (
    "Leave them out of the samples, samples[~find_training_volumes(path, samples)], or start from "
    "a decoder that was trained on other volumes."
)


def find_seen(estimator, X):
    """Return which samples are known to be behind the initial weights of networks.

    Parameters
    ----------
    estimator : estimator or None
        The decoder: a network, pipeline or search.
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Samples.

    Returns
    -------
    is_seen : ndarray of bool, shape (n_samples,)
    unknown : str or None
        Why others may be behind them, too; None if they cannot, or if no network has initial
        weights.
    """
    is_seen, sources = np.zeros(len(X), bool), sources_of(estimator)
    if not sources:
        return is_seen, None
    digests, are_known, is_image = set(), True, isinstance(X, NiftiSamples)
    for source in sources:
        known, fitted = trained_on(fitted_network(source)), _fitted_here(source, X)
        digests |= known.digests
        for each in fitted:
            is_seen |= each.holds(X)
        # What a pipeline was fitted to in this process is known without a file.
        are_known &= known.is_complete if not fitted else known.knows_earlier
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


def _fitted_here(source, X):
    """Return what steps of a source remember of a fit to other volumes of the same samples."""
    found = [getattr(step, "_fitted_on", None) for step in steps_of(source)]
    is_image = isinstance(X, NiftiSamples)
    return [each for each in found if each is not None and is_image and each.is_of(X)]


def describe_seen(number, seen, test):
    """Return the message on test samples of a split that initial weights were trained on."""
    return (
        f"In split {number} initial_weights were trained on {len(seen)} of the {len(test)} test "
        f"volumes ({len(seen) / len(test):.0%}), such as sample {seen[0]}. {WAY_OUT}"
    )


def refuse_seen(estimator, X, splits):
    """Raise ValueError if initial weights of a network were trained on test samples.

    Warns if that is not known.

    Parameters
    ----------
    estimator : estimator
        The decoder.
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Samples.
    splits : list of (ndarray, ndarray)
        Training and test indices.
    """
    is_seen, unknown = find_seen(estimator, X)
    found = [(number, test[is_seen[test]], test) for number, (_, test) in enumerate(splits)]
    found = [split for split in found if len(split[1])]
    if found:
        raise ValueError(
            f"The scores of {len(found)} of {len(splits)} splits could not be trusted. "
            f"{describe_seen(*found[0])}"
        )
    if unknown is not None:
        # Skips `evaluated` and `evaluate_decoder`.
        warnings.warn(f"{unknown}.", UserWarning, stacklevel=4)
